import org.apache.flink.api.common.functions.RuntimeContext;
import org.apache.flink.streaming.api.functions.source.legacy.RichParallelSourceFunction;

/** What moved between Flink 1 and Flink 2; this is the side of Flink 2. */
final class Legacy {
    abstract static class Source<T> extends RichParallelSourceFunction<T> {}

    static int subtask(RuntimeContext context) {
        return context.getTaskInfo().getIndexOfThisSubtask();
    }

    private Legacy() {}
}
