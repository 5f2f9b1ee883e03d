import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.state.ReducingState;
import org.apache.flink.api.common.state.ReducingStateDescriptor;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.streaming.api.functions.ProcessFunction;
import org.apache.flink.util.Collector;

/** The job of kinds.rs in Flink, and what it must have in its state by plain arithmetic. */
final class Kinds {
    static final long FAR_MS = 4_102_444_800_000L;

    /** One keyed operator. */
    static final class Pair<K, V> {
        final String uid;
        final Sample<K> key;
        final Sample<V> value;

        Pair(String uid, Sample<K> key, Sample<V> value) {
            this.uid = uid;
            this.key = key;
            this.value = value;
        }

        ValueStateDescriptor<V> valueState() {
            return new ValueStateDescriptor<>("value", value.type);
        }

        ListStateDescriptor<V> listState() {
            return new ListStateDescriptor<>("list", value.type);
        }

        MapStateDescriptor<K, V> mapState() {
            return new MapStateDescriptor<>("map", key.type, value.type);
        }

        ReducingStateDescriptor<V> reducingState() {
            Sample<V> sample = value;
            return new ReducingStateDescriptor<>("reducing", sample::combine, value.type);
        }
    }

    static final List<Pair<?, ?>> PAIRS = List.of(
        new Pair<>("string-string", Sample.STRING, Sample.STRING),
        new Pair<>("long-long", Sample.LONG, Sample.LONG),
        new Pair<>("int-int", Sample.INT, Sample.INT),
        new Pair<>("short-short", Sample.SHORT, Sample.SHORT),
        new Pair<>("byte-byte", Sample.BYTE, Sample.BYTE),
        new Pair<>("boolean-boolean", Sample.BOOLEAN, Sample.BOOLEAN),
        new Pair<>("string-double", Sample.STRING, Sample.DOUBLE),
        new Pair<>("long-float", Sample.LONG, Sample.FLOAT),
        new Pair<>("int-bytes", Sample.INT, Sample.BYTES),
        new Pair<>("tuple2-tuple3", Sample.tuple(Sample.STRING, Sample.LONG), Sample.tuple(Sample.INT, Sample.STRING, Sample.DOUBLE)),
        new Pair<>("string-list", Sample.STRING, Sample.LIST),
        new Pair<>("long-map", Sample.LONG, Sample.MAP));

    @SuppressWarnings("unchecked")
    static <K, V> Pair<K, V> pair(String uid) {
        for (Pair<?, ?> pair : PAIRS) if (pair.uid.equals(uid)) return (Pair<K, V>) pair;
        throw new IllegalArgumentException(uid);
    }

    static final ListStateDescriptor<Long> OFFSETS = new ListStateDescriptor<>("offsets", Types.LONG);
    static final ListStateDescriptor<String> TEXTS = new ListStateDescriptor<>("texts", Sample.STRING.type);
    static final ListStateDescriptor<Map<String, Integer>> MAPS = new ListStateDescriptor<>("maps", Sample.MAP.type);
    static final Sample<Tuple2<String, Long>> PAIR = Sample.tuple(Sample.STRING, Sample.LONG);
    static final ListStateDescriptor<Tuple2<String, Long>> UNION = new ListStateDescriptor<>("pairs", PAIR.type);

    static String row(String uid, String state, Object key, Object value) {
        return uid + " " + state + " " + (key == null ? "" : Sample.text(key) + " ") + Sample.text(value);
    }

    // ---- by plain arithmetic

    private static <K, V> void expectKeyed(Pair<K, V> pair, long records, long keys, List<String> rows) {
        Map<K, V> value = new LinkedHashMap<>();
        Map<K, List<V>> list = new LinkedHashMap<>();
        Map<K, Map<K, V>> map = new LinkedHashMap<>();
        Map<K, V> reducing = new LinkedHashMap<>();
        for (long n = 0; n < records; n++) {
            K key = pair.key.of(n % keys);
            if (n % 17 == 3) value.remove(key);
            else value.put(key, pair.value.of(n));
            List<V> items = list.computeIfAbsent(key, unused -> new ArrayList<>());
            if (n % 23 == 0) {
                items.clear();
            } else if (n % 19 == 0) {
                items.clear();
                items.add(pair.value.of(n));
                items.add(pair.value.of(n + 1));
            } else if (n % 5 == 0) {
                items.add(pair.value.of(n + 2));
                items.add(pair.value.of(n + 3));
            } else {
                items.add(pair.value.of(n));
            }
            Map<K, V> entries = map.computeIfAbsent(key, unused -> new HashMap<>());
            entries.put(pair.key.of(n % 13), pair.value.of(n));
            if (n % 11 == 0) entries.remove(pair.key.of((n + 3) % 13));
            if (n % 29 == 5) reducing.remove(key);
            else reducing.merge(key, pair.value.of(n), pair.value::combine);
        }
        value.forEach((key, found) -> rows.add(row(pair.uid, "value", key, found)));
        list.forEach((key, found) -> { if (!found.isEmpty()) rows.add(row(pair.uid, "list", key, found)); });
        map.forEach((key, found) -> { if (!found.isEmpty()) rows.add(row(pair.uid, "map", key, found)); });
        reducing.forEach((key, found) -> rows.add(row(pair.uid, "reducing", key, found)));
    }

    /** What the state must hold once the numbers below {@code records} are counted. */
    static List<String> expected(long records, long keys) {
        List<String> rows = new ArrayList<>();
        for (Pair<?, ?> pair : PAIRS) expectKeyed(pair, records, keys, rows);
        rows.add(row("source", "offsets", null, records));
        Map<String, TreeSet<Long>> event = new HashMap<>();
        Map<String, TreeSet<Long>> processing = new HashMap<>();
        for (long n = 0; n < records; n++) {
            if (n % 3 == 0) rows.add(row("lists", "texts", null, Sample.STRING.of(n)));
            if (n % 10 == 0) rows.add(row("lists", "maps", null, Sample.MAP.of(n)));
            if (n % 5 == 0) rows.add(row("lists", "pairs", null, PAIR.of(n)));
            String key = Sample.STRING.of(n % keys);
            TreeSet<Long> ofKey = event.computeIfAbsent(key, unused -> new TreeSet<>());
            ofKey.add(1000 + n % 70);
            ofKey.remove(1000 + (n + 40) % 90);
            ofKey = processing.computeIfAbsent(key, unused -> new TreeSet<>());
            ofKey.add(FAR_MS + n % 50);
            ofKey.remove(FAR_MS + (n + 40) % 90);
        }
        Map<String, Map<Long, Long>> windows = new HashMap<>();
        for (long n = 0; n < records; n++) {
            windows.computeIfAbsent(Sample.STRING.of(n % keys), unused -> new HashMap<>()).merge(n * 10 / 500 * 500, n, Long::sum);
        }
        windows.forEach((key, sums) -> sums.forEach((start, sum) -> {
            rows.add(row("windows", "window-contents", key, start + ".." + (start + 500) + "=" + sum));
            rows.add(row("windows", "event", key, start + ".." + (start + 500) + "=" + (start + 499)));
        }));
        event.forEach((key, times) -> times.forEach(time -> rows.add(row("timers", "event", key, time))));
        processing.forEach((key, times) -> times.forEach(time -> rows.add(row("timers", "processing", key, time))));
        return rows;
    }

    // ---- as a job of Flink

    /** Makes the numbers below {@code records}, from where it stopped, and then waits to be stopped. */
    static final class Numbers extends Legacy.Source<Long> implements CheckpointedFunction {
        /** Whether all numbers are out; one job runs at a time. */
        static volatile boolean done;

        private final long records;
        private transient ListState<Long> offsets;
        private long next;
        private volatile boolean running = true;

        Numbers(long records) {
            this.records = records;
        }

        @Override
        public void initializeState(FunctionInitializationContext context) throws Exception {
            offsets = context.getOperatorStateStore().getListState(OFFSETS);
            for (Long offset : offsets.get()) next = offset;
        }

        @Override
        public void snapshotState(FunctionSnapshotContext context) throws Exception {
            offsets.update(List.of(next));
        }

        @Override
        public void run(SourceContext<Long> context) throws Exception {
            while (running) {
                synchronized (context.getCheckpointLock()) {
                    if (next < records) context.collect(next++);
                    else done = true;
                }
                if (done) Thread.sleep(5);
            }
        }

        @Override
        public void cancel() {
            running = false;
        }
    }

    static final class Keyed<K, V> extends KeyedProcessFunction<K, Long, Long> implements CheckpointedFunction {
        private final String uid;
        private transient Pair<K, V> pair;
        private transient ValueState<V> value;
        private transient ListState<V> list;
        private transient MapState<K, V> map;
        private transient ReducingState<V> reducing;

        Keyed(String uid) {
            this.uid = uid;
        }

        @Override
        public void initializeState(FunctionInitializationContext context) throws Exception {
            pair = pair(uid);
            value = context.getKeyedStateStore().getState(pair.valueState());
            list = context.getKeyedStateStore().getListState(pair.listState());
            map = context.getKeyedStateStore().getMapState(pair.mapState());
            reducing = context.getKeyedStateStore().getReducingState(pair.reducingState());
        }

        @Override
        public void snapshotState(FunctionSnapshotContext context) {}

        @Override
        public void processElement(Long n, Context context, Collector<Long> out) throws Exception {
            if (n % 17 == 3) value.clear();
            else value.update(pair.value.of(n));
            if (n % 23 == 0) list.clear();
            else if (n % 19 == 0) list.update(List.of(pair.value.of(n), pair.value.of(n + 1)));
            else if (n % 5 == 0) list.addAll(List.of(pair.value.of(n + 2), pair.value.of(n + 3)));
            else list.add(pair.value.of(n));
            map.put(pair.key.of(n % 13), pair.value.of(n));
            if (n % 11 == 0) map.remove(pair.key.of((n + 3) % 13));
            if (n % 29 == 5) reducing.clear();
            else reducing.add(pair.value.of(n));
        }
    }

    static final class Lists extends ProcessFunction<Long, Long> implements CheckpointedFunction {
        private transient ListState<String> texts;
        private transient ListState<Map<String, Integer>> maps;
        private transient ListState<Tuple2<String, Long>> pairs;

        @Override
        public void initializeState(FunctionInitializationContext context) throws Exception {
            texts = context.getOperatorStateStore().getListState(TEXTS);
            maps = context.getOperatorStateStore().getListState(MAPS);
            pairs = context.getOperatorStateStore().getUnionListState(UNION);
            if (Legacy.subtask(getRuntimeContext()) != 0) pairs.clear();
        }

        @Override
        public void snapshotState(FunctionSnapshotContext context) {}

        @Override
        public void processElement(Long n, Context context, Collector<Long> out) throws Exception {
            if (n % 3 == 0) texts.add(Sample.STRING.of(n));
            if (n % 10 == 0) maps.add(Sample.MAP.of(n));
            if (n % 5 == 0) pairs.add(PAIR.of(n));
        }
    }

    static final class Timers extends KeyedProcessFunction<String, Long, Long> {
        @Override
        public void processElement(Long n, Context context, Collector<Long> out) {
            context.timerService().registerEventTimeTimer(1000 + n % 70);
            context.timerService().deleteEventTimeTimer(1000 + (n + 40) % 90);
            context.timerService().registerProcessingTimeTimer(FAR_MS + n % 50);
            context.timerService().deleteProcessingTimeTimer(FAR_MS + (n + 40) % 90);
        }
    }

    private static <K, V> void addKeyed(DataStream<Long> numbers, Pair<K, V> pair, long keys) {
        Sample<K> key = pair.key;
        numbers.keyBy(n -> key.of(n % keys), key.type)
            .process(new Keyed<K, V>(pair.uid)).returns(Types.LONG).uid(pair.uid).name(pair.uid);
    }

    static void build(StreamExecutionEnvironment env, long records, long keys) {
        DataStream<Long> numbers = env.addSource(new Numbers(records), Types.LONG).setParallelism(1).uid("source");
        for (Pair<?, ?> pair : PAIRS) addKeyed(numbers, pair, keys);
        numbers.rebalance().process(new Lists()).returns(Types.LONG).uid("lists");
        numbers.keyBy(n -> Sample.STRING.of(n % keys), Types.STRING).process(new Timers()).returns(Types.LONG).uid("timers");
        numbers.assignTimestampsAndWatermarks(WatermarkStrategy.<Long>forBoundedOutOfOrderness(Duration.ofSeconds(1_000_000_000)).withTimestampAssigner((n, unused) -> n * 10))
            .keyBy(n -> Sample.STRING.of(n % keys), Types.STRING)
            .window(Legacy.tumbling(500)).reduce(Long::sum).returns(Types.LONG).uid("windows");
    }

    private Kinds() {}
}
