import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.connector.source.lib.NumberSequenceSource;
import org.apache.flink.api.connector.source.util.ratelimit.RateLimiterStrategy;
import org.apache.flink.connector.datagen.source.DataGeneratorSource;
import org.apache.flink.connector.datagen.source.GeneratorFunction;
import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;
import org.apache.flink.util.Collector;

/**
 * The job of millpond-bench in Flink: the same records, a counter per key, nothing behind it. Tuned as a user of Flink
 * would: object reuse on, the key itself is the record, no watermarks.
 */
final class Numbers {
    private static final long TOTAL = 1L << 40;

    static long mixed(long z) {
        z += 0x9e3779b97f4a7c15L;
        z = (z ^ (z >>> 30)) * 0xbf58476d1ce4e5b9L;
        z = (z ^ (z >>> 27)) * 0x94d049bb133111ebL;
        return z ^ (z >>> 31);
    }

    /** The first {@code keys} records visit every key once, all later ones are random. */
    private static final class KeyNumbers implements java.io.Serializable {
        private final long keys;
        /** Null if all keys come equally often. */
        private final Zipf zipf;

        KeyNumbers(long keys, String distribution) {
            this.keys = keys;
            zipf = switch (distribution) {
                case "uniform" -> null;
                case "zipf" -> new Zipf(keys);
                default -> throw new IllegalArgumentException("distribution " + distribution);
            };
        }

        long of(long record) {
            if (record < keys) return record;
            long random = mixed(~record);
            if (zipf != null) return zipf.rank(random) - 1;
            return Math.multiplyHigh(random, keys) + (random >> 63 & keys);
        }
    }

    static long longKey(long number) {
        return mixed(number);
    }

    static String stringKey(long number) {
        byte[] text = {'u', 's', 'e', 'r', '-', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0'};
        int place = text.length;
        for (; number > 0; number /= 10) text[--place] = (byte) ('0' + number % 10);
        return new String(text, StandardCharsets.ISO_8859_1);
    }

    /** A record from the number of its key. */
    interface Record<K> extends java.io.Serializable {
        K of(long number);
    }

    /** Writes "milliseconds,records" to a file ten times a second, and "first,milliseconds" once. */
    private static final class Probe {
        private static final Map<Integer, AtomicLong> COUNTS = new ConcurrentHashMap<>();
        private static Thread thread;

        static synchronized AtomicLong of(String file, int subtask) {
            AtomicLong count = new AtomicLong();
            COUNTS.put(subtask, count);
            if (thread == null) {
                thread = new Thread(() -> write(file));
                thread.setDaemon(true);
                thread.start();
            }
            return count;
        }

        private static void write(String file) {
            try (PrintWriter lines = new PrintWriter(file)) {
                boolean seen = false;
                while (!Thread.currentThread().isInterrupted()) {
                    long now = System.currentTimeMillis();
                    long sum = COUNTS.values().stream().mapToLong(AtomicLong::get).sum();
                    if (!seen && sum > 0) {
                        seen = true;
                        lines.println("first," + now);
                    }
                    lines.println(now + "," + sum);
                    lines.flush();
                    Thread.sleep(seen ? 100 : 10);
                }
            } catch (InterruptedException | java.io.IOException ended) {
                // the job is over
            }
        }

        /** Appends "subtask,milliseconds" to a file that the job's processes share: its first record of this attempt. */
        static void first(String file, int subtask) throws java.io.IOException {
            byte[] line = (subtask + "," + System.currentTimeMillis() + "\n").getBytes(StandardCharsets.US_ASCII);
            Files.write(Path.of(file + ".firsts"), line, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
        }

        static synchronized void stop() {
            if (thread != null) thread.interrupt();
            thread = null;
            COUNTS.clear();
        }
    }

    private static final class Counter<K> extends KeyedProcessFunction<K, K, Long> implements CheckpointedFunction {
        private final String file;
        private transient ValueState<Long> count;
        private transient AtomicLong probe;
        private transient long records;

        Counter(String file) {
            this.file = file;
        }

        @Override
        public void initializeState(FunctionInitializationContext context) {
            count = context.getKeyedStateStore().getState(new ValueStateDescriptor<>("count", Types.LONG));
            probe = Probe.of(file, getRuntimeContext().getTaskInfo().getIndexOfThisSubtask());
        }

        @Override
        public void snapshotState(FunctionSnapshotContext context) {}

        @Override
        public void processElement(K key, Context context, Collector<Long> out) throws Exception {
            Long before = count.value();
            Long now = before == null ? 1L : before + 1;
            count.update(now);
            out.collect(now);
            records++;
            if ((records & 0xff) == 0 || records == 1) probe.lazySet(records);
            if (records == 1) Probe.first(file, getRuntimeContext().getTaskInfo().getIndexOfThisSubtask());
        }

        @Override
        public void close() {
            Probe.stop();
        }
    }

    /**
     * Arguments: number of keys, file of the probe, number of source splits (fixed by the first run), distribution of the
     * keys: uniform or zipf.
     */
    static <K> void run(String[] arguments, Record<K> record, TypeInformation<K> type) throws Exception {
        KeyNumbers numbers = new KeyNumbers(Long.parseLong(arguments[0]), arguments[3]);
        long splits = Long.parseLong(arguments[2]);
        long chunk = TOTAL / splits;
        StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment();
        env.getConfig().enableObjectReuse();
        env.setMaxParallelism(128);
        // A split is a range of numbers; its n-th number stands for the record n * splits + split.
        GeneratorFunction<Long, K> generator = number -> record.of(numbers.of(number % chunk * splits + number / chunk));
        DataGeneratorSource<K> source = new DataGeneratorSource<>(generator, new NumberSequenceSource(0, TOTAL - 1), RateLimiterStrategy.noOp(), type);
        env.fromSource(source, WatermarkStrategy.noWatermarks(), "numbers").uid("source")
            .keyBy(key -> key, type)
            .process(new Counter<K>(arguments[1])).returns(Types.LONG).uid("counter").name("counter")
            .sinkTo(new DiscardingSink<>()).uid("sink");
        env.execute("keyed count");
    }

    private Numbers() {}
}
