import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.apache.flink.api.common.JobStatus;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.core.execution.SavepointFormatType;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.runtime.execution.ExecutionState;
import org.apache.flink.runtime.executiongraph.AccessExecutionVertex;
import org.apache.flink.runtime.jobgraph.JobGraph;
import org.apache.flink.runtime.jobgraph.SavepointRestoreSettings;
import org.apache.flink.runtime.jobmaster.JobResult;
import org.apache.flink.runtime.minicluster.MiniCluster;
import org.apache.flink.runtime.minicluster.MiniClusterConfiguration;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/**
 * A real Flink that restores, checks and writes savepoints in one mini cluster. Each line of the file given is a task:
 * <pre>
 * check-kinds SAVEPOINT RECORDS KEYS PARALLELISM BACKEND
 * write-kinds SAVEPOINT|- RECORDS KEYS PARALLELISM BACKEND CANONICAL|NATIVE|COMPRESSED DIRECTORY   (moved there)
 * write-windows RECORDS KEYS PARALLELISM BACKEND DIRECTORY   (windows and broadcast state alone; moved there)
 * check-counts SAVEPOINT long|string RECORDS KEYS PARALLELISM BACKEND
 * check-sidecar SAVEPOINT FILE PARALLELISM BACKEND   (all that the JSON file of a golden snapshot tells)
 * moving-run SAVEPOINT|- UNTIL STOP-AT stop|drain|native RATE PARALLELISM BACKEND DIRECTORY LINES   (moved there; LINES.SUBTASK)
 * moving-state SAVEPOINT PARALLELISM BACKEND FILE   (all state, a sorted line per entry)
 * </pre>
 * COMPRESSED is canonical with compressed key groups. A task behind "not" must fail.
 * Prints one line per task, "ok ..." or "FAIL ..."; exit code 0 if all are ok.
 */
public final class Peer {
    private static MiniCluster cluster;

    public static void main(String[] arguments) throws Exception {
        Configuration configuration = new Configuration();
        configuration.setString("io.tmp.dirs", arguments[1]);
        configuration.setString("taskmanager.memory.network.min", "32m");
        configuration.setString("taskmanager.memory.network.max", "32m");
        configuration.setString("taskmanager.memory.managed.size", "256m");
        configuration.setString("taskmanager.memory.segment-size", "4kb");
        configuration.setString("rest.address", "127.0.0.1");
        configuration.setString("rest.bind-address", "127.0.0.1");
        configuration.setString("rest.bind-port", "0");
        cluster = new MiniCluster(new MiniClusterConfiguration.Builder().setConfiguration(configuration).setNumTaskManagers(1).setNumSlotsPerTaskManager(4).build());
        cluster.start();
        int failed = 0;
        for (String line : Files.readAllLines(Path.of(arguments[0]))) {
            String result;
            try {
                result = line.startsWith("not ") ? contrary(run(line.substring(4).split(" "))) : run(line.split(" "));
            } catch (Throwable problem) {
                Throwable last = problem;
                while (last.getCause() != null) last = last.getCause();
                result = "FAIL " + problem + " ... " + last;
                problem.printStackTrace();
            }
            if (!result.startsWith("ok")) failed++;
            System.out.println(result + "  <- " + line);
        }
        System.out.flush();
        System.exit(failed == 0 ? 0 : 1);
    }

    private static String contrary(String result) {
        return result.startsWith("ok") ? "FAIL no difference was seen" : "ok, as it must, " + result;
    }

    private static String run(String[] task) throws Exception {
        if (task[0].startsWith("moving-")) return MovingTasks.run(task);
        switch (task[0]) {
            case "check-kinds": {
                long records = Long.parseLong(task[2]);
                StreamExecutionEnvironment env = environment(task[4], task[5]);
                DataStream<Long> source = env.addSource(new Dump.Source("source", List.of(Kinds.OFFSETS), List.of()), Types.LONG).setParallelism(1).uid("source");
                for (Kinds.Pair<?, ?> pair : Kinds.PAIRS) dump(source, pair);
                source.rebalance().transform("lists", Types.LONG, new Dump.Operator<Long>("lists").lists(List.of(Kinds.TEXTS, Kinds.MAPS), List.of(Kinds.UNION))).uid("lists");
                source.keyBy(n -> Sample.STRING.of(n), Types.STRING).transform("timers", Types.LONG, new Dump.Operator<String>("timers").timers()).uid("timers");
                source.keyBy(n -> Sample.STRING.of(n), Types.STRING).transform("rules", Types.LONG, new Dump.Operator<String>("rules").keyed(Kinds.SEEN).broadcast(Kinds.RULES)).uid("rules");
                Dump.windows(source.keyBy(n -> Sample.STRING.of(n), Types.STRING));
                return compare(env, task[1], Kinds.expected(records, Long.parseLong(task[3]), Integer.parseInt(task[4])));
            }
            case "check-counts": {
                StreamExecutionEnvironment env = environment(task[5], task[6]);
                ListStateDescriptor<Long> splits = new ListStateDescriptor<>("splits", Types.LONG);
                DataStream<Long> source = env.addSource(new Dump.Source("source", List.of(Kinds.OFFSETS), List.of(splits)), Types.LONG).uid("source");
                ValueStateDescriptor<Long> count = new ValueStateDescriptor<>("count", Types.LONG);
                if (task[2].equals("long")) source.keyBy(n -> n, Types.LONG).transform("counter", Types.LONG, new Dump.Operator<Long>("counter").keyed(count)).uid("counter");
                else source.keyBy(n -> "" + n, Types.STRING).transform("counter", Types.LONG, new Dump.Operator<String>("counter").keyed(count)).uid("counter");
                return compareCounts(env, task[1], task[2].equals("long"), Long.parseLong(task[3]), Integer.parseInt(task[4]));
            }
            case "check-sidecar": {
                StreamExecutionEnvironment env = environment(task[3], task[4]);
                Sidecar.build(env, Path.of(task[2]));
                return compare(env, task[1], Sidecar.expected(Path.of(task[2])));
            }
            case "write-kinds": {
                StreamExecutionEnvironment env = environment(task[4], task[5]);
                env.getConfig().setUseSnapshotCompression(task[6].equals("COMPRESSED"));
                SavepointFormatType format = task[6].equals("NATIVE") ? SavepointFormatType.NATIVE : SavepointFormatType.CANONICAL;
                Kinds.build(env, Long.parseLong(task[2]), Long.parseLong(task[3]));
                return write(env, task[1], format, task[7]);
            }
            case "write-windows": {
                StreamExecutionEnvironment env = environment(task[3], task[4]);
                Kinds.buildWindows(env, Long.parseLong(task[1]), Long.parseLong(task[2]));
                return write(env, "-", SavepointFormatType.CANONICAL, task[5]);
            }
            default: throw new IllegalArgumentException(task[0]);
        }
    }

    /** Runs a job of {@link Kinds} until all numbers are out, and stops it with a savepoint, which is moved to a directory. */
    private static String write(StreamExecutionEnvironment env, String from, SavepointFormatType format, String into) throws Exception {
        Kinds.Numbers.done = false;
        JobGraph graph = graph(env, from);
        submit(graph);
        while (!(Kinds.Numbers.done && running(graph))) {
            if (ended(graph)) return failure(graph);
            Thread.sleep(20);
        }
        stop(graph, into, false, format);
        return "ok written";
    }

    /** Whether every subtask runs: earlier no savepoint can be taken. */
    static boolean running(JobGraph graph) throws Exception {
        for (AccessExecutionVertex vertex : cluster.getExecutionGraph(graph.getJobID()).get().getAllExecutionVertices()) {
            if (vertex.getExecutionState() != ExecutionState.RUNNING) return false;
        }
        return true;
    }

    static boolean ended(JobGraph graph) throws Exception {
        return cluster.getJobStatus(graph.getJobID()).get().isGloballyTerminalState();
    }

    /** Stops a job with a savepoint, which is moved: it may not know where it was made. */
    static void stop(JobGraph graph, String into, boolean drain, SavepointFormatType format) throws Exception {
        String written = cluster.stopWithSavepoint(graph.getJobID(), into, drain, format).get(180, TimeUnit.SECONDS);
        Path directory = Path.of(java.net.URI.create(written));
        for (Path file : list(directory)) Files.move(file, Path.of(into).resolve(file.getFileName()));
        Files.delete(directory);
    }

    private static List<Path> list(Path directory) throws Exception {
        try (java.util.stream.Stream<Path> files = Files.list(directory)) {
            return files.collect(java.util.stream.Collectors.toList());
        }
    }

    private static <K, V> void dump(DataStream<Long> source, Kinds.Pair<K, V> pair) {
        Sample<K> sample = pair.key;
        TypeInformation<K> type = sample.type;
        source.keyBy(n -> sample.of(n), type)
            .transform(pair.uid, Types.LONG, new Dump.Operator<K>(pair.uid).keyed(pair.valueState(), pair.listState(), pair.mapState(), pair.reducingState()))
            .uid(pair.uid);
    }

    static StreamExecutionEnvironment environment(String parallelism, String backend) {
        Configuration configuration = new Configuration();
        configuration.setString("state.backend", backend); // until 1.18
        configuration.setString("state.backend.type", backend);
        // A slot's share of managed memory is less than the buffers of all operators in it: each put would wait for a flush.
        configuration.setString("state.backend.rocksdb.memory.managed", "false");
        StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment(configuration);
        env.configure(configuration);
        env.setParallelism(Integer.parseInt(parallelism));
        return env;
    }

    static JobGraph graph(StreamExecutionEnvironment env, String savepoint) {
        JobGraph graph = env.getStreamGraph().getJobGraph();
        if (!savepoint.equals("-")) graph.setSavepointRestoreSettings(SavepointRestoreSettings.forPath(Path.of(savepoint).toUri().toString(), false));
        return graph;
    }

    /** Submits a job, and waits until its job master can be asked. */
    static void submit(JobGraph graph) throws Exception {
        cluster.submitJob(graph).get(60, TimeUnit.SECONDS);
        while (cluster.getJobStatus(graph.getJobID()).get() == JobStatus.INITIALIZING) Thread.sleep(5);
    }

    static String failure(JobGraph graph) throws Exception {
        JobResult result = cluster.requestJobResult(graph.getJobID()).get(60, TimeUnit.SECONDS);
        if (!result.getSerializedThrowable().isPresent()) return "FAIL the job ended by itself";
        StringBuilder text = new StringBuilder("FAIL");
        for (Throwable cause = result.getSerializedThrowable().get().deserializeError(Peer.class.getClassLoader()); cause != null; cause = cause.getCause()) text.append(" | ").append(cause);
        return text.toString();
    }

    /** Runs a job of dumps; null, or why it failed. */
    static String restore(StreamExecutionEnvironment env, String savepoint) throws Exception {
        Dump.ROWS.clear();
        JobGraph graph = graph(env, savepoint);
        submit(graph);
        JobResult result = cluster.requestJobResult(graph.getJobID()).get(60, TimeUnit.SECONDS);
        return result.isSuccess() ? null : failure(graph);
    }

    private static String compare(StreamExecutionEnvironment env, String savepoint, List<String> expected) throws Exception {
        String failure = restore(env, savepoint);
        if (failure != null) return failure;
        List<String> found = new ArrayList<>(Dump.ROWS);
        Collections.sort(expected);
        Collections.sort(found);
        if (expected.equals(found)) return "ok " + found.size() + " rows equal";
        List<String> missing = new ArrayList<>();
        List<String> extra = new ArrayList<>();
        int at = 0;
        int want = 0;
        while (at < found.size() || want < expected.size()) {
            int order = at == found.size() ? -1 : want == expected.size() ? 1 : expected.get(want).compareTo(found.get(at));
            if (order < 0) missing.add(expected.get(want));
            if (order > 0) extra.add(found.get(at));
            if (order <= 0) want++;
            if (order >= 0) at++;
        }
        for (String row : missing.subList(0, Math.min(5, missing.size()))) System.err.println("missing: " + row);
        for (String row : extra.subList(0, Math.min(5, extra.size()))) System.err.println("extra:   " + row);
        return "FAIL " + expected.size() + " rows expected, " + missing.size() + " missing, " + extra.size() + " too many";
    }

    private static long mixed(long z) {
        z += 0x9e3779b97f4a7c15L;
        z = (z ^ (z >>> 30)) * 0xbf58476d1ce4e5b9L;
        z = (z ^ (z >>> 27)) * 0x94d049bb133111ebL;
        return z ^ (z >>> 31);
    }

    /** The counts of keyed_count, by plain arithmetic. */
    private static String compareCounts(StreamExecutionEnvironment env, String savepoint, boolean longs, long records, int keys) throws Exception {
        String failure = restore(env, savepoint);
        if (failure != null) return failure;
        long[] counts = new long[keys];
        for (long n = 0; n < records; n++) counts[(int) (n < keys ? n : Long.remainderUnsigned(mixed(~n), keys))]++;
        List<String> expected = new ArrayList<>();
        for (int key = 0; key < keys; key++) {
            Object name = longs ? (Object) mixed(key) : "key-" + key;
            if (counts[key] > 0) expected.add(Kinds.row("counter", "count", name, counts[key]));
        }
        List<String> found = new ArrayList<>();
        List<Long> offsets = new ArrayList<>();
        int splits = 0;
        for (String row : Dump.ROWS) {
            if (row.startsWith("counter")) found.add(row);
            else if (row.startsWith("source offsets")) offsets.add(Long.parseLong(row.substring(row.lastIndexOf(':') + 1)));
            else splits = Integer.parseInt(row.substring(row.lastIndexOf(':') + 1));
        }
        Collections.sort(expected);
        Collections.sort(found);
        Collections.sort(offsets);
        // Each split goes on with its first record that is not counted.
        List<Long> next = new ArrayList<>();
        for (long split = 0; split < splits; split++) next.add(split + (records - split + splits - 1) / splits * splits);
        Collections.sort(next);
        if (!offsets.equals(next)) return "FAIL offsets " + offsets + ", expected " + next;
        if (expected.equals(found)) return "ok " + found.size() + " counts equal, sum " + records + ", " + splits + " splits";
        return "FAIL " + expected.size() + " counts expected, " + found.size() + " found, not equal";
    }

    private Peer() {}
}
