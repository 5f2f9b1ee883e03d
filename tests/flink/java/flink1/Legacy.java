import org.apache.flink.api.common.functions.RuntimeContext;
import org.apache.flink.streaming.api.functions.source.RichParallelSourceFunction;
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

    private Legacy() {}
}
