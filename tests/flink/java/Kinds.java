import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.flink.api.common.eventtime.SerializableTimestampAssigner;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.api.common.state.BroadcastState;
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
import org.apache.flink.streaming.api.datastream.KeyedStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.streaming.api.functions.ProcessFunction;
import org.apache.flink.streaming.api.functions.co.KeyedBroadcastProcessFunction;
import org.apache.flink.streaming.api.functions.windowing.ProcessWindowFunction;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
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

    private static String window(long start, long end, Object value) {
        return start + ".." + end + "=" + value;
    }

    /** Sessions, sliding windows, and windows of so many numbers. */
    private static void expectWindows(long records, long keys, List<String> rows) {
        Map<String, List<long[]>> sessions = new HashMap<>(); // start, end, sum, count
        Map<String, TreeMap<Long, List<Long>>> sliding = new HashMap<>();
        Map<String, List<Long>> counted = new HashMap<>();
        Map<String, List<Long>> last = new HashMap<>();
        Map<String, Long> seen = new HashMap<>();
        for (long n = 0; n < records; n++) {
            String key = Sample.STRING.of(n % keys);
            long time = n * 10 + n / 50 * 500;
            List<long[]> ofKey = sessions.computeIfAbsent(key, unused -> new ArrayList<>());
            // Times rise: only the newest session can go on.
            long[] newest = ofKey.isEmpty() ? null : ofKey.get(ofKey.size() - 1);
            if (newest == null || newest[1] < time) ofKey.add(new long[] {time, time + 450, n, 1});
            else {
                newest[1] = time + 450;
                newest[2] += n;
                newest[3]++;
            }
            for (long start = n * 10 / 500 * 500; start > n * 10 - 1000; start -= 500) {
                sliding.computeIfAbsent(key, unused -> new TreeMap<>()).computeIfAbsent(start, unused -> new ArrayList<>()).add(n);
            }
            List<Long> numbers = counted.computeIfAbsent(key, unused -> new ArrayList<>());
            numbers.add(n);
            if (numbers.size() == 7) numbers.clear();
            numbers = last.computeIfAbsent(key, unused -> new ArrayList<>());
            numbers.add(n);
            if (seen.merge(key, 1L, Long::sum) % 3 == 0) while (numbers.size() > 5) numbers.remove(0);
        }
        sessions.forEach((key, ofKey) -> {
            for (long[] session : ofKey) {
                rows.add(row("sessions", "window-contents", key, window(session[0], session[1], Tuple2.of(session[2], session[3]))));
                rows.add(row("sessions", "event", key, window(session[0], session[1], session[1] - 1)));
            }
            rows.add(row("sessions", "entries", key, (long) ofKey.size()));
        });
        sliding.forEach((key, windows) -> windows.forEach((start, numbers) -> {
            rows.add(row("sliding", "window-contents", key, window(start, start + 1000, numbers)));
            rows.add(row("sliding", "event", key, window(start, start + 1000, start + 999)));
        }));
        counted.forEach((key, numbers) -> {
            if (numbers.isEmpty()) return;
            rows.add(row("counted", "window-contents", key, numbers.stream().mapToLong(n -> n).sum()));
            rows.add(row("counted", "count", key, (long) numbers.size()));
        });
        last.forEach((key, numbers) -> {
            List<String> kept = new ArrayList<>();
            for (Long n : numbers) kept.add(n * 10 + "=" + n);
            rows.add(row("last", "window-contents", key, kept));
            if (seen.get(key) % 3 != 0) rows.add(row("last", "count", key, seen.get(key) % 3));
        });
    }

    /** What the state must hold once the numbers below {@code records} are counted. */
    static List<String> expected(long records, long keys, int parallelism) {
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
        expectWindows(records, keys, rows);
        Map<Long, String> rules = new HashMap<>();
        Map<String, Long> seen = new HashMap<>();
        for (long n = 0; n < records; n++) {
            seen.merge(Sample.STRING.of(n % keys), 1L, Long::sum);
            if (n % 10 != 0) continue;
            if (n % 70 == 60) rules.remove((n + 3) % 13);
            rules.put(n % 13, Sample.STRING.of(n));
        }
        seen.forEach((key, count) -> rows.add(row("rules", "seen", key, count)));
        // Every subtask has a copy.
        for (int subtask = 0; subtask < parallelism; subtask++) rules.forEach((number, rule) -> rows.add(row("rules", "rules", number, rule)));
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

    static final MapStateDescriptor<Long, String> RULES = new MapStateDescriptor<>("rules", Types.LONG, Sample.STRING.type);
    static final ValueStateDescriptor<Long> SEEN = new ValueStateDescriptor<>("seen", Types.LONG);

    static final class Rules extends KeyedBroadcastProcessFunction<String, Long, Long, Long> {
        @Override
        public void processElement(Long n, ReadOnlyContext context, Collector<Long> out) throws Exception {
            ValueState<Long> seen = getRuntimeContext().getState(SEEN);
            seen.update(seen.value() == null ? 1 : seen.value() + 1);
        }

        @Override
        public void processBroadcastElement(Long n, Context context, Collector<Long> out) throws Exception {
            BroadcastState<Long, String> rules = context.getBroadcastState(RULES);
            if (n % 70 == 60) rules.remove((n + 3) % 13);
            rules.put(n % 13, Sample.STRING.of(n));
        }
    }

    /** Sum and number of what was added. */
    static final class SumAndCount implements AggregateFunction<Long, Tuple2<Long, Long>, Long> {
        @Override
        public Tuple2<Long, Long> createAccumulator() {
            return Tuple2.of(0L, 0L);
        }

        @Override
        public Tuple2<Long, Long> add(Long n, Tuple2<Long, Long> accumulator) {
            return Tuple2.of(accumulator.f0 + n, accumulator.f1 + 1);
        }

        @Override
        public Long getResult(Tuple2<Long, Long> accumulator) {
            return accumulator.f0;
        }

        @Override
        public Tuple2<Long, Long> merge(Tuple2<Long, Long> a, Tuple2<Long, Long> b) {
            return Tuple2.of(a.f0 + b.f0, a.f1 + b.f1);
        }
    }

    static final class Size extends ProcessWindowFunction<Long, Long, String, TimeWindow> {
        @Override
        public void process(String key, Context context, Iterable<Long> numbers, Collector<Long> out) {
            long size = 0;
            for (Long unused : numbers) size++;
            out.collect(size);
        }
    }

    private static KeyedStream<Long, String> timed(DataStream<Long> numbers, long keys, SerializableTimestampAssigner<Long> time) {
        return numbers.assignTimestampsAndWatermarks(WatermarkStrategy.<Long>forBoundedOutOfOrderness(Duration.ofSeconds(1_000_000_000)).withTimestampAssigner(time))
            .setParallelism(1) // so that every key goes on seeing its numbers in order
            .keyBy(n -> Sample.STRING.of(n % keys), Types.STRING);
    }

    /** The operators that never fire: windows, and broadcast state. */
    private static void addWindows(DataStream<Long> numbers, long keys) {
        numbers.keyBy(n -> Sample.STRING.of(n % keys), Types.STRING)
            .connect(numbers.filter(n -> n % 10 == 0).setParallelism(1).broadcast(RULES)) // so that all hear the rules in the same order
            .process(new Rules(), Types.LONG).uid("rules");
        SerializableTimestampAssigner<Long> steady = (n, unused) -> n * 10;
        SerializableTimestampAssigner<Long> bursts = (n, unused) -> n * 10 + n / 50 * 500;
        timed(numbers, keys, steady).window(Legacy.tumbling(500)).reduce(Long::sum).returns(Types.LONG).uid("windows");
        timed(numbers, keys, bursts).window(Legacy.sessions(450)).aggregate(new SumAndCount(), Types.TUPLE(Types.LONG, Types.LONG), Types.LONG).uid("sessions");
        timed(numbers, keys, steady).window(Legacy.sliding(1000, 500)).process(new Size(), Types.LONG).uid("sliding");
        timed(numbers, keys, steady).countWindow(7).reduce(Long::sum).returns(Types.LONG).uid("counted");
        timed(numbers, keys, steady).countWindow(5, 3).reduce(Long::sum).returns(Types.LONG).uid("last");
    }

    private static <K, V> void addKeyed(DataStream<Long> numbers, Pair<K, V> pair, long keys) {
        Sample<K> key = pair.key;
        numbers.keyBy(n -> key.of(n % keys), key.type)
            .process(new Keyed<K, V>(pair.uid)).returns(Types.LONG).uid(pair.uid).name(pair.uid);
    }

    /** A job of windows and broadcast state alone. */
    static void buildWindows(StreamExecutionEnvironment env, long records, long keys) {
        addWindows(env.addSource(new Numbers(records), Types.LONG).setParallelism(1).uid("source"), keys);
    }

    static void build(StreamExecutionEnvironment env, long records, long keys) {
        DataStream<Long> numbers = env.addSource(new Numbers(records), Types.LONG).setParallelism(1).uid("source");
        for (Pair<?, ?> pair : PAIRS) addKeyed(numbers, pair, keys);
        numbers.rebalance().process(new Lists()).returns(Types.LONG).uid("lists");
        numbers.keyBy(n -> Sample.STRING.of(n % keys), Types.STRING).process(new Timers()).returns(Types.LONG).uid("timers");
        addWindows(numbers, keys);
    }

    private Kinds() {}
}
