import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.state.OperatorStateStore;
import org.apache.flink.api.common.state.ReducingState;
import org.apache.flink.api.common.state.ReducingStateDescriptor;
import org.apache.flink.api.common.state.State;
import org.apache.flink.api.common.state.StateDescriptor;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.runtime.state.KeyedStateBackend;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.VoidNamespace;
import org.apache.flink.runtime.state.VoidNamespaceSerializer;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.InternalTimer;
import org.apache.flink.streaming.api.operators.InternalTimerService;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.operators.Triggerable;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/** Stands in a job where an operator of a snapshot stood, and tells what state it was given. */
final class Dump {
    /** What all subtasks were given; one job runs at a time. */
    static final List<String> ROWS = Collections.synchronizedList(new ArrayList<>());

    /** Operator list states: split, and union (of which subtask 0 tells). */
    static void lists(String uid, List<ListStateDescriptor<?>> split, List<ListStateDescriptor<?>> union, OperatorStateStore store, int subtask) throws Exception {
        for (ListStateDescriptor<?> state : split) for (Object item : store.getListState(state).get()) ROWS.add(Kinds.row(uid, state.getName(), null, item));
        for (ListStateDescriptor<?> state : union) {
            for (Object item : store.getUnionListState(state).get()) if (subtask == 0) ROWS.add(Kinds.row(uid, state.getName(), null, item));
        }
    }

    /** A source that makes nothing. */
    static final class Source extends Legacy.Source<Long> implements CheckpointedFunction {
        private final String uid;
        private final ArrayList<ListStateDescriptor<?>> split;
        private final ArrayList<ListStateDescriptor<?>> union;

        Source(String uid, List<ListStateDescriptor<?>> split, List<ListStateDescriptor<?>> union) {
            this.uid = uid;
            this.split = new ArrayList<>(split);
            this.union = new ArrayList<>(union);
        }

        @Override
        public void initializeState(FunctionInitializationContext context) throws Exception {
            lists(uid, split, union, context.getOperatorStateStore(), Legacy.subtask(getRuntimeContext()));
        }

        @Override
        public void snapshotState(FunctionSnapshotContext context) {}

        @Override
        public void run(SourceContext<Long> context) {}

        @Override
        public void cancel() {}
    }

    /** Any other operator; timers only where asked for. */
    static final class Operator<K> extends AbstractStreamOperator<Long> implements OneInputStreamOperator<Long, Long>, Triggerable<K, VoidNamespace> {
        private final String uid;
        private final ArrayList<StateDescriptor<?, ?>> keyed = new ArrayList<>();
        private final ArrayList<ListStateDescriptor<?>> split = new ArrayList<>();
        private final ArrayList<ListStateDescriptor<?>> union = new ArrayList<>();
        private MapStateDescriptor<?, ?> broadcast;
        private boolean timers;

        Operator(String uid) {
            this.uid = uid;
        }

        Operator<K> keyed(StateDescriptor<?, ?>... states) {
            keyed.addAll(Arrays.asList(states));
            return this;
        }

        Operator<K> lists(List<ListStateDescriptor<?>> ofSplit, List<ListStateDescriptor<?>> ofUnion) {
            split.addAll(ofSplit);
            union.addAll(ofUnion);
            return this;
        }

        Operator<K> broadcast(MapStateDescriptor<?, ?> state) {
            broadcast = state;
            return this;
        }

        Operator<K> timers() {
            timers = true;
            return this;
        }

        @Override
        public void initializeState(StateInitializationContext context) throws Exception {
            super.initializeState(context);
            Dump.lists(uid, split, union, context.getOperatorStateStore(), Legacy.subtask(getRuntimeContext()));
            for (StateDescriptor<?, ?> state : keyed) dump(state);
            if (broadcast == null) return;
            for (Map.Entry<?, ?> entry : context.getOperatorStateStore().getBroadcastState(broadcast).immutableEntries()) {
                ROWS.add(Kinds.row(uid, broadcast.getName(), entry.getKey(), entry.getValue()));
            }
        }

        private void dump(StateDescriptor<?, ?> state) throws Exception {
            KeyedStateBackend<K> backend = getKeyedStateBackend();
            // Registers the state: serializers that do not fit are refused here.
            backend.getPartitionedState(VoidNamespace.INSTANCE, VoidNamespaceSerializer.INSTANCE, state);
            List<K> keys;
            try (Stream<K> stream = backend.getKeys(state.getName(), VoidNamespace.INSTANCE)) {
                keys = stream.collect(Collectors.toList());
            }
            Set<String> seen = new HashSet<>(); // RocksDB tells a key of a map state once per entry
            for (K key : keys) {
                if (!seen.add(Sample.text(key))) continue;
                backend.setCurrentKey(key);
                Object value = read((State) backend.getPartitionedState(VoidNamespace.INSTANCE, VoidNamespaceSerializer.INSTANCE, state));
                if (value != null) ROWS.add(Kinds.row(uid, state.getName(), key, value));
            }
        }

        private static Object read(State state) throws Exception {
            if (state instanceof ValueState) return ((ValueState<?>) state).value();
            if (state instanceof ReducingState) return ((ReducingState<?>) state).get();
            if (state instanceof ListState) {
                List<Object> items = new ArrayList<>();
                Iterable<?> found = ((ListState<?>) state).get();
                if (found != null) for (Object item : found) items.add(item);
                return items.isEmpty() ? null : items;
            }
            Map<Object, Object> entries = new HashMap<>();
            for (Map.Entry<?, ?> entry : ((MapState<?, ?>) state).entries()) entries.put(entry.getKey(), entry.getValue());
            return entries.isEmpty() ? null : entries;
        }

        @Override
        public void open() throws Exception {
            super.open();
            if (!timers) return;
            InternalTimerService<VoidNamespace> service = getInternalTimerService("user-timers", VoidNamespaceSerializer.INSTANCE, this);
            service.forEachEventTimeTimer((namespace, time) -> ROWS.add(Kinds.row(uid, "event", getCurrentKey(), time)));
            service.forEachProcessingTimeTimer((namespace, time) -> ROWS.add(Kinds.row(uid, "processing", getCurrentKey(), time)));
        }

        @Override
        public void processElement(StreamRecord<Long> record) {}

        @Override
        public void onEventTime(InternalTimer<K, VoidNamespace> timer) {}

        @Override
        public void onProcessingTime(InternalTimer<K, VoidNamespace> timer) {}
    }

    /** A tumbling window with reduce: contents and timers. */
    static final class Windows<K> extends AbstractStreamOperator<Long> implements OneInputStreamOperator<Long, Long>, Triggerable<K, TimeWindow> {
        private final String uid;
        private final TypeSerializer<TimeWindow> windows = new TimeWindow.Serializer();

        Windows(String uid) {
            this.uid = uid;
        }

        @Override
        public void initializeState(StateInitializationContext context) throws Exception {
            super.initializeState(context);
            KeyedStateBackend<K> backend = getKeyedStateBackend();
            ReducingStateDescriptor<Long> contents = new ReducingStateDescriptor<>("window-contents", Long::sum, Types.LONG);
            backend.getPartitionedState(new TimeWindow(0, 1), windows, contents);
            List<Tuple2<K, TimeWindow>> found;
            try (Stream<Tuple2<K, TimeWindow>> stream = backend.getKeysAndNamespaces("window-contents")) {
                found = stream.collect(Collectors.toList());
            }
            for (Tuple2<K, TimeWindow> entry : found) {
                backend.setCurrentKey(entry.f0);
                tell("window-contents", entry.f0, entry.f1, backend.getPartitionedState(entry.f1, windows, contents).get());
            }
        }

        private void tell(String state, Object key, TimeWindow window, Long value) {
            ROWS.add(Kinds.row(uid, state, key, window.getStart() + ".." + window.getEnd() + "=" + value));
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
        public void onEventTime(InternalTimer<K, TimeWindow> timer) {}

        @Override
        public void onProcessingTime(InternalTimer<K, TimeWindow> timer) {}
    }

    private Dump() {}
}
