import java.io.Serializable;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.flink.api.common.eventtime.SerializableTimestampAssigner;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.KeyedStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.streaming.api.functions.co.KeyedBroadcastProcessFunction;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.util.Collector;

/** The job of {@code examples/moving.rs} in Flink: the same uids, names of states, types, and lines. */
final class Moving {
    static final long NUMBER_MS = 10;
    static final long PERIOD = 100;
    static final long PERIOD_MS = PERIOD * NUMBER_MS;
    static final long WINDOW_MS = 5000;
    static final long FAR_MS = 4_102_444_800_000L;
    static final int SPLITS = 8;

    static final TypeInformation<Tuple2<String, Long>> NUMBER = Types.TUPLE(Types.STRING, Types.LONG);
    static final TypeInformation<Tuple2<Long, Long>> PAIR = Types.TUPLE(Types.LONG, Types.LONG);
    static final ListStateDescriptor<Long> OFFSETS = new ListStateDescriptor<>("offsets", Types.LONG);
    static final ValueStateDescriptor<Long> COUNT = new ValueStateDescriptor<>("count", Types.LONG);
    /** What only Flink can read: Kryo. Millpond does not register it and carries it along. */
    static final ValueStateDescriptor<UUID> TOKEN = new ValueStateDescriptor<>("token", Types.GENERIC(UUID.class));
    static final ValueStateDescriptor<Long> TOTAL = new ValueStateDescriptor<>("total", Types.LONG);
    static final MapStateDescriptor<Long, Long> OPEN = new MapStateDescriptor<>("open", Types.LONG, Types.LONG);
    static final MapStateDescriptor<Long, Long> RULES = new MapStateDescriptor<>("rules", Types.LONG, Types.LONG);

    /** Of each split of each source, up to which number all are out; one job runs at a time. */
    static final Map<String, Long> OUT = new ConcurrentHashMap<>();

    /** Whether all sources have come to a number. */
    static boolean reached(long number) {
        return OUT.size() == 2 * SPLITS + 1 && OUT.values().stream().allMatch(out -> out >= number);
    }

    interface Make<T> extends Serializable {
        T of(long n);
    }

    /** Makes the numbers of some splits below {@code until}, always the lowest that is left, and then waits to be stopped. */
    static final class Numbers<T> extends Legacy.Source<T> implements CheckpointedFunction {
        private final String uid;
        private final boolean union;
        private final int splits;
        private final long unit;
        private final long until;
        private final double perSecond;
        private final Make<T> make;
        private final List<Long> next = new ArrayList<>();
        private transient ListState<Long> offsets;
        private volatile boolean running = true;

        /** @param unit how many numbers one of this source stands for */
        Numbers(String uid, boolean union, int splits, long unit, long until, double perSecond, Make<T> make) {
            this.uid = uid;
            this.union = union;
            this.splits = splits;
            this.unit = unit;
            this.until = until / unit;
            this.perSecond = perSecond / unit;
            this.make = make;
        }

        @Override
        public void initializeState(FunctionInitializationContext context) throws Exception {
            int subtask = Legacy.subtask(getRuntimeContext());
            int parallelism = Legacy.parallelism(getRuntimeContext());
            offsets = union ? context.getOperatorStateStore().getUnionListState(OFFSETS) : context.getOperatorStateStore().getListState(OFFSETS);
            if (context.isRestored()) for (Long offset : offsets.get()) next.add(offset);
            else for (long split = 0; split < splits; split++) next.add(split);
            if (union || !context.isRestored()) next.removeIf(number -> number % splits % parallelism != subtask);
        }

        @Override
        public void snapshotState(FunctionSnapshotContext context) throws Exception {
            offsets.update(next);
        }

        private void report(long number) {
            OUT.put(uid + " " + number % splits, number * unit);
        }

        @Override
        public void run(SourceContext<T> context) throws Exception {
            double mine = perSecond / Legacy.parallelism(getRuntimeContext());
            long started = System.nanoTime();
            long made = 0;
            for (Long number : next) report(number);
            while (running) {
                double allowed = (System.nanoTime() - started) / 1e9 * mine;
                boolean idle = true;
                synchronized (context.getCheckpointLock()) {
                    for (int i = 0; i < 100 && made < allowed; i++) {
                        int lowest = -1;
                        for (int at = 0; at < next.size(); at++) if (lowest < 0 || next.get(at) < next.get(lowest)) lowest = at;
                        if (lowest < 0 || next.get(lowest) >= until) break;
                        long number = next.get(lowest);
                        context.collect(make.of(number));
                        next.set(lowest, number + splits);
                        report(number + splits);
                        made++;
                        idle = false;
                    }
                }
                if (idle) Thread.sleep(2);
            }
        }

        @Override
        public void cancel() {
            running = false;
        }
    }

    static final class Counts extends KeyedProcessFunction<String, Tuple2<String, Long>, String> implements CheckpointedFunction {
        private transient ValueState<Long> count;
        private transient ValueState<UUID> token;

        @Override
        public void initializeState(FunctionInitializationContext context) throws Exception {
            count = context.getKeyedStateStore().getState(COUNT);
            token = context.getKeyedStateStore().getState(TOKEN);
        }

        @Override
        public void snapshotState(FunctionSnapshotContext context) {}

        @Override
        public void processElement(Tuple2<String, Long> number, Context context, Collector<String> out) throws Exception {
            long now = (count.value() == null ? 0 : count.value()) + 1;
            count.update(now);
            if (now == 1) token.update(new UUID(number.f0.hashCode(), 1));
            context.timerService().registerProcessingTimeTimer(FAR_MS);
            if (now % 10 == 0) out.collect("count " + number.f0 + " " + now);
        }
    }

    static final class Span implements AggregateFunction<Tuple2<String, Long>, Tuple2<Long, Long>, Tuple2<Long, Long>> {
        @Override
        public Tuple2<Long, Long> createAccumulator() {
            return Tuple2.of(0L, 0L);
        }

        @Override
        public Tuple2<Long, Long> add(Tuple2<String, Long> number, Tuple2<Long, Long> span) {
            return Tuple2.of(span.f0 + 1, Math.max(span.f1, number.f1));
        }

        @Override
        public Tuple2<Long, Long> getResult(Tuple2<Long, Long> span) {
            return span;
        }

        @Override
        public Tuple2<Long, Long> merge(Tuple2<Long, Long> a, Tuple2<Long, Long> b) {
            return Tuple2.of(a.f0 + b.f0, Math.max(a.f1, b.f1));
        }
    }

    static final class Bills extends KeyedBroadcastProcessFunction<String, Tuple2<String, Long>, Tuple2<Long, Long>, String> implements CheckpointedFunction {
        private transient ValueState<Long> total;
        private transient MapState<Long, Long> open;

        @Override
        public void initializeState(FunctionInitializationContext context) throws Exception {
            total = context.getKeyedStateStore().getState(TOTAL);
            open = context.getKeyedStateStore().getMapState(OPEN);
        }

        @Override
        public void snapshotState(FunctionSnapshotContext context) {}

        @Override
        public void processElement(Tuple2<String, Long> number, ReadOnlyContext context, Collector<String> out) throws Exception {
            long period = number.f1 / PERIOD;
            Long count = open.get(period);
            open.put(period, (count == null ? 0 : count) + 1);
            context.timerService().registerEventTimeTimer((period + 1) * PERIOD_MS - 1);
        }

        @Override
        public void processBroadcastElement(Tuple2<Long, Long> rule, Context context, Collector<String> out) throws Exception {
            context.getBroadcastState(RULES).put(rule.f0, rule.f1);
        }

        @Override
        public void onTimer(long timestamp, OnTimerContext context, Collector<String> out) throws Exception {
            long period = timestamp / PERIOD_MS;
            long price = context.getBroadcastState(RULES).get(period);
            Long count = open.get(period);
            open.remove(period);
            long now = (total.value() == null ? 0 : total.value()) + (count == null ? 0 : count) * price;
            total.update(now);
            out.collect("bill " + context.getCurrentKey() + " " + period + " " + now);
        }
    }

    /** Writes lines to a file per subtask, those in front of a snapshot once that is complete: each is out exactly once. */
    static final class Lines extends AbstractStreamOperator<Long> implements OneInputStreamOperator<String, Long> {
        private final String file;
        private transient StringBuilder open;
        private transient TreeMap<Long, String> prepared;

        Lines(String file) {
            this.file = file;
        }

        @Override
        public void open() throws Exception {
            super.open();
            open = new StringBuilder();
            prepared = new TreeMap<>();
        }

        @Override
        public void processElement(StreamRecord<String> line) {
            open.append(line.getValue()).append('\n');
        }

        @Override
        public void snapshotState(StateSnapshotContext context) throws Exception {
            super.snapshotState(context);
            prepared.put(context.getCheckpointId(), open.toString());
            open.setLength(0);
        }

        @Override
        public void notifyCheckpointComplete(long checkpoint) throws Exception {
            super.notifyCheckpointComplete(checkpoint);
            Path path = Path.of(file + "." + Legacy.subtask(getRuntimeContext()));
            Map<Long, String> complete = prepared.headMap(checkpoint, true);
            for (String lines : complete.values()) {
                Files.write(path, lines.getBytes(StandardCharsets.UTF_8), StandardOpenOption.CREATE, StandardOpenOption.APPEND);
            }
            complete.clear();
        }
    }

    private static DataStream<Tuple2<String, Long>> numbers(StreamExecutionEnvironment env, String uid, boolean union, long until, double perSecond, int keys) {
        SerializableTimestampAssigner<Tuple2<String, Long>> inOrder = (number, unused) -> number.f1 * NUMBER_MS;
        return env.addSource(new Numbers<>(uid, union, SPLITS, 1, until, perSecond, n -> Tuple2.of("key-" + n % keys, n)), NUMBER).uid(uid)
            .assignTimestampsAndWatermarks(WatermarkStrategy.<Tuple2<String, Long>>forMonotonousTimestamps().withTimestampAssigner(inOrder));
    }

    static void build(StreamExecutionEnvironment env, long until, double perSecond, String lines) {
        DataStream<Tuple2<String, Long>> left = numbers(env, "left", false, until, perSecond, 37);
        DataStream<Tuple2<String, Long>> right = numbers(env, "right", true, until, perSecond, 53);
        KeyedStream<Tuple2<String, Long>, String> byKey = left.union(right).keyBy(number -> number.f0, Types.STRING);

        SerializableTimestampAssigner<Tuple2<Long, Long>> inOrder = (rule, unused) -> rule.f0 * PERIOD_MS;
        DataStream<Tuple2<Long, Long>> rules = env
            .addSource(new Numbers<>("rules", false, 1, PERIOD, until, perSecond, period -> Tuple2.of(period, period * 7 % 10 + 1)), PAIR)
            .setParallelism(1).uid("rules")
            .assignTimestampsAndWatermarks(WatermarkStrategy.<Tuple2<Long, Long>>forMonotonousTimestamps().withTimestampAssigner(inOrder))
            .setParallelism(1);

        DataStream<String> counts = byKey.process(new Counts(), Types.STRING).uid("counts");
        DataStream<String> sums = byKey.window(Legacy.tumbling(WINDOW_MS))
            .reduce((a, b) -> Tuple2.of(a.f0, a.f1 + b.f1), (key, window, values, out) -> {
                for (Tuple2<String, Long> sum : values) out.collect("sum " + key + " " + window.getStart() + " " + sum.f1);
            }, Types.STRING).uid("sums");
        DataStream<String> spans = byKey.window(Legacy.tumbling(WINDOW_MS))
            .aggregate(new Span(), (key, window, values, out) -> {
                for (Tuple2<Long, Long> span : values) out.collect("span " + key + " " + window.getStart() + " " + span.f0 + " " + span.f1);
            }, PAIR, Types.STRING).uid("spans");
        DataStream<String> bills = byKey.connect(rules.broadcast(RULES)).process(new Bills(), Types.STRING).uid("bills");
        counts.union(sums, spans, bills).transform("lines", Types.LONG, new Lines(lines)).uid("lines");
    }

    private Moving() {}
}
