import org.apache.flink.api.common.functions.RuntimeContext;
import org.apache.flink.api.common.state.StateTtlConfig;
import org.apache.flink.streaming.api.functions.source.RichParallelSourceFunction;
import org.apache.flink.streaming.api.windowing.assigners.EventTimeSessionWindows;
import org.apache.flink.streaming.api.windowing.assigners.SlidingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.assigners.TumblingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.time.Time;

/** What moved between Flink 1 and Flink 2; this is the side of Flink 1. */
final class Legacy {
    abstract static class Source<T> extends RichParallelSourceFunction<T> {}

    static int subtask(RuntimeContext context) {
        return context.getIndexOfThisSubtask();
    }

    static int parallelism(RuntimeContext context) {
        return context.getNumberOfParallelSubtasks();
    }

    static TumblingEventTimeWindows tumbling(long sizeMs) {
        return TumblingEventTimeWindows.of(Time.milliseconds(sizeMs));
    }

    static EventTimeSessionWindows sessions(long gapMs) {
        return EventTimeSessionWindows.withGap(Time.milliseconds(gapMs));
    }

    static SlidingEventTimeWindows sliding(long sizeMs, long slideMs) {
        return SlidingEventTimeWindows.of(Time.milliseconds(sizeMs), Time.milliseconds(slideMs));
    }

    static StateTtlConfig ttl(long ms) {
        return StateTtlConfig.newBuilder(org.apache.flink.api.common.time.Time.milliseconds(ms)).build();
    }

    private Legacy() {}
}
