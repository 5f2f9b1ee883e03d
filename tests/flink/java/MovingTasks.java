import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.flink.api.common.state.AggregatingStateDescriptor;
import org.apache.flink.api.common.state.AppendingState;
import org.apache.flink.api.common.state.ReducingStateDescriptor;
import org.apache.flink.api.common.state.StateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.core.execution.SavepointFormatType;
import org.apache.flink.runtime.jobgraph.JobGraph;
import org.apache.flink.runtime.state.KeyedStateBackend;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.KeyedStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.InternalTimer;
import org.apache.flink.streaming.api.operators.InternalTimerService;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.operators.Triggerable;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/** What {@link Peer} does with the job of {@link Moving}. */
final class MovingTasks {
    static String run(String[] task) throws Exception {
        switch (task[0]) {
            case "moving-run": return go(task[1], Long.parseLong(task[2]), Long.parseLong(task[3]), task[4].equals("drain"), Double.parseDouble(task[5]), task[6], task[7], task[8], task[9]);
            case "moving-state": return state(task[1], task[2], task[3], task[4]);
            default: throw new IllegalArgumentException(task[0]);
        }
    }

    private static String go(String savepoint, long until, long stopAt, boolean drain, double perSecond, String parallelism, String backend, String into, String lines) throws Exception {
        StreamExecutionEnvironment env = Peer.environment(parallelism, backend);
        env.getConfig().setAutoWatermarkInterval(20);
        Moving.OUT.clear();
        Moving.build(env, until, perSecond, lines);
        JobGraph graph = Peer.graph(env, savepoint);
        Peer.submit(graph);
        while (!(Moving.reached(stopAt) && Peer.running(graph))) {
            if (Peer.ended(graph)) return Peer.failure(graph);
            Thread.sleep(5);
        }
        Peer.stop(graph, into, drain, SavepointFormatType.CANONICAL);
        long lowest = Collections.min(Moving.OUT.values());
        return "ok stopped between " + lowest + " and " + Collections.max(Moving.OUT.values());
    }

    /** Writes all state of a savepoint, a sorted line per entry. */
    private static String state(String savepoint, String parallelism, String backend, String file) throws Exception {
        StreamExecutionEnvironment env = Peer.environment(parallelism, backend);
        DataStream<Long> left = env.addSource(new Dump.Source("left", List.of(Moving.OFFSETS), List.of()), Types.LONG).uid("left");
        DataStream<Long> right = env.addSource(new Dump.Source("right", List.of(), List.of(Moving.OFFSETS)), Types.LONG).uid("right");
        DataStream<Long> rules = env.addSource(new Dump.Source("rules", List.of(Moving.OFFSETS), List.of()), Types.LONG).setParallelism(1).uid("rules");
        KeyedStream<Long, String> byKey = left.union(right, rules).keyBy(n -> "", Types.STRING);
        byKey.transform("counts", Types.LONG, new Dump.Operator<String>("counts").keyed(Moving.COUNT).timers()).uid("counts");
        byKey.transform("sums", Types.LONG, new Windows("sums", new ReducingStateDescriptor<>("window-contents", (a, b) -> a, Moving.NUMBER))).uid("sums");
        byKey.transform("spans", Types.LONG, new Windows("spans", new AggregatingStateDescriptor<>("window-contents", new Moving.Span(), Moving.PAIR))).uid("spans");
        // Each subtask tells its copy of the rules.
        byKey.transform("bills", Types.LONG, new Dump.Operator<String>("bills").keyed(Moving.TOTAL, Moving.OPEN).broadcast(Moving.RULES).timers()).uid("bills");
        // The sink of Millpond has state of its own: which files are to be published.
        left.transform("lines", Types.LONG, new Dump.Operator<Long>("lines")).uid("lines");
        String failure = Peer.restore(env, savepoint);
        if (failure != null) return failure;
        List<String> rows = new ArrayList<>(Dump.ROWS);
        Collections.sort(rows);
        Files.write(Path.of(file), rows);
        return "ok " + rows.size() + " entries";
    }

    /** Contents and timers of tumbling windows. */
    private static final class Windows extends AbstractStreamOperator<Long> implements OneInputStreamOperator<Long, Long>, Triggerable<String, TimeWindow> {
        private final String uid;
        private final StateDescriptor<?, ?> contents;
        private final TypeSerializer<TimeWindow> windows = new TimeWindow.Serializer();

        Windows(String uid, StateDescriptor<?, ?> contents) {
            this.uid = uid;
            this.contents = contents;
        }

        @Override
        public void initializeState(StateInitializationContext context) throws Exception {
            super.initializeState(context);
            KeyedStateBackend<String> backend = getKeyedStateBackend();
            backend.getPartitionedState(new TimeWindow(0, 1), windows, contents);
            List<Tuple2<String, TimeWindow>> found;
            try (Stream<Tuple2<String, TimeWindow>> stream = backend.getKeysAndNamespaces("window-contents")) {
                found = stream.collect(Collectors.toList());
            }
            for (Tuple2<String, TimeWindow> entry : found) {
                backend.setCurrentKey(entry.f0);
                tell("window-contents", entry.f0, entry.f1, ((AppendingState<?, ?>) backend.getPartitionedState(entry.f1, windows, contents)).get());
            }
        }

        private void tell(String state, Object key, TimeWindow window, Object value) {
            Dump.ROWS.add(Kinds.row(uid, state, key, window.getStart() + ".." + window.getEnd() + "=" + value));
        }

        @Override
        public void open() throws Exception {
            super.open();
            InternalTimerService<TimeWindow> service = getInternalTimerService("window-timers", windows, this);
            service.forEachEventTimeTimer((window, time) -> tell("event", getCurrentKey(), window, time));
            service.forEachProcessingTimeTimer((window, time) -> tell("processing", getCurrentKey(), window, time));
        }

        @Override
        public void processElement(StreamRecord<Long> record) {}

        @Override
        public void onEventTime(InternalTimer<String, TimeWindow> timer) {}

        @Override
        public void onProcessingTime(InternalTimer<String, TimeWindow> timer) {}
    }

    private MovingTasks() {}
}
