import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.apache.flink.api.common.state.AggregatingStateDescriptor;
import org.apache.flink.api.common.state.ReducingStateDescriptor;
import org.apache.flink.api.common.state.StateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.core.execution.SavepointFormatType;
import org.apache.flink.runtime.jobgraph.JobGraph;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.KeyedStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;

/** What {@link Peer} does with the job of {@link Moving}. */
final class MovingTasks {
    static String run(String[] task) throws Exception {
        switch (task[0]) {
            case "moving-run": return go(task[1], Long.parseLong(task[2]), Long.parseLong(task[3]), task[4], Double.parseDouble(task[5]), task[6], task[7], task[8], task[9]);
            case "moving-state": return state(task[1], task[2], task[3], task[4]);
            default: throw new IllegalArgumentException(task[0]);
        }
    }

    private static String go(String savepoint, long until, long stopAt, String how, double perSecond, String parallelism, String backend, String into, String lines) throws Exception {
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
        Peer.stop(graph, into, how.equals("drain"), how.equals("native") ? SavepointFormatType.NATIVE : SavepointFormatType.CANONICAL);
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
        byKey.transform("counts", Types.LONG, new Dump.Operator<String>("counts").keyed(Moving.COUNT, Moving.TOKEN).timers()).uid("counts");
        byKey.transform("sums", Types.LONG, windows("sums", new ReducingStateDescriptor<>("window-contents", (a, b) -> a, Moving.NUMBER))).uid("sums");
        byKey.transform("spans", Types.LONG, windows("spans", new AggregatingStateDescriptor<>("window-contents", new Moving.Span(), Moving.PAIR))).uid("spans");
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

    private static Dump.Windows<String, TimeWindow> windows(String uid, StateDescriptor<?, ?> contents) {
        return new Dump.Windows<>(uid, new TimeWindow.Serializer(), () -> new TimeWindow(0, 1), contents, false, false);
    }

    private MovingTasks() {}
}
