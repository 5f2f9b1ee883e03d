import java.time.Duration;
import org.apache.flink.api.common.functions.RuntimeContext;
import org.apache.flink.api.common.state.StateTtlConfig;
import org.apache.flink.streaming.api.functions.source.legacy.RichParallelSourceFunction;
import org.apache.flink.streaming.api.windowing.assigners.EventTimeSessionWindows;
import org.apache.flink.streaming.api.windowing.assigners.SlidingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.assigners.TumblingEventTimeWindows;

/** What moved between Flink 1 and Flink 2; this is the side of Flink 2. */
final class Legacy {
    abstract static class Source<T> extends RichParallelSourceFunction<T> {}

    static int subtask(RuntimeContext context) {
        return context.getTaskInfo().getIndexOfThisSubtask();
    }

    static int parallelism(RuntimeContext context) {
        return context.getTaskInfo().getNumberOfParallelSubtasks();
    }

    static TumblingEventTimeWindows tumbling(long sizeMs) {
        return TumblingEventTimeWindows.of(Duration.ofMillis(sizeMs));
    }

    static EventTimeSessionWindows sessions(long gapMs) {
        return EventTimeSessionWindows.withGap(Duration.ofMillis(gapMs));
    }

    static SlidingEventTimeWindows sliding(long sizeMs, long slideMs) {
        return SlidingEventTimeWindows.of(Duration.ofMillis(sizeMs), Duration.ofMillis(slideMs));
    }

    static StateTtlConfig ttl(long ms) {
        return StateTtlConfig.newBuilder(Duration.ofMillis(ms)).build();
    }

    private Legacy() {}
}
