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
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.api.common.state.AggregatingStateDescriptor;
import org.apache.flink.api.common.state.AppendingState;
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
import org.apache.flink.api.common.typeutils.base.LongSerializer;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.api.java.typeutils.runtime.TupleSerializer;
import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.runtime.state.KeyedStateBackend;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.VoidNamespace;
import org.apache.flink.runtime.state.VoidNamespaceSerializer;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;
import org.apache.flink.streaming.api.datastream.KeyedStream;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.InternalTimer;
import org.apache.flink.streaming.api.operators.InternalTimerService;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.operators.Triggerable;
import org.apache.flink.streaming.api.windowing.windows.GlobalWindow;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.streaming.api.windowing.windows.Window;
import org.apache.flink.streaming.runtime.streamrecord.StreamElementSerializer;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.util.function.SerializableSupplier;

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

    /**
     * Windows: contents, state of a count trigger, and timers. Contents of merging windows are told by the window that they
     * are of: where they lie is the engine's choice.
     */
    static final class Windows<K, W extends Window> extends AbstractStreamOperator<Long> implements OneInputStreamOperator<Long, Long>, Triggerable<K, W> {
        private final String uid;
        private final TypeSerializer<W> windows;
        private final SerializableSupplier<W> any;
        private final StateDescriptor<?, ?> contents;
        private final boolean merging;
        private final boolean counting;

        Windows(String uid, TypeSerializer<W> windows, SerializableSupplier<W> any, StateDescriptor<?, ?> contents, boolean merging, boolean counting) {
            this.uid = uid;
            this.windows = windows;
            this.any = any;
            this.contents = contents;
            this.merging = merging;
            this.counting = counting;
        }

        @Override
        public void initializeState(StateInitializationContext context) throws Exception {
            super.initializeState(context);
            if (merging) {
                tellMerged();
                return;
            }
            for (Tuple2<K, W> entry : entries(contents)) {
                getKeyedStateBackend().setCurrentKey(entry.f0);
                tell("window-contents", entry.f0, entry.f1, read(contents, entry.f1));
            }
            if (!counting) return;
            ReducingStateDescriptor<Long> count = new ReducingStateDescriptor<>("count", Long::sum, LongSerializer.INSTANCE);
            for (Tuple2<K, W> entry : entries(count)) {
                getKeyedStateBackend().setCurrentKey(entry.f0);
                tell("count", entry.f0, entry.f1, read(count, entry.f1));
            }
        }

        @SuppressWarnings({"unchecked", "rawtypes"})
        private void tellMerged() throws Exception {
            Map<Object, Long> entries = new HashMap<>();
            Map<String, K> keys = new HashMap<>();
            for (Tuple2<K, W> entry : entries(contents)) {
                entries.merge(Sample.text(entry.f0), 1L, Long::sum);
                keys.put(Sample.text(entry.f0), entry.f0);
            }
            TupleSerializer<Tuple2<W, W>> pair = new TupleSerializer<>((Class) Tuple2.class, new TypeSerializer[] {windows, windows});
            ListStateDescriptor<Tuple2<W, W>> set = new ListStateDescriptor<>("merging-window-set", pair);
            KeyedStateBackend<K> backend = getKeyedStateBackend();
            for (K key : keys.values()) {
                backend.setCurrentKey(key);
                ROWS.add(Kinds.row(uid, "entries", key, entries.get(Sample.text(key))));
                for (Tuple2<W, W> merged : backend.getPartitionedState(VoidNamespace.INSTANCE, VoidNamespaceSerializer.INSTANCE, set).get()) {
                    tell("window-contents", key, merged.f0, read(contents, merged.f1));
                }
            }
        }

        /** Keys and windows that have a value. */
        private Set<Tuple2<K, W>> entries(StateDescriptor<?, ?> state) throws Exception {
            KeyedStateBackend<K> backend = getKeyedStateBackend();
            // Registers the state: serializers that do not fit are refused here.
            backend.getPartitionedState(any.get(), windows, state);
            try (Stream<Tuple2<K, W>> stream = backend.getKeysAndNamespaces(state.getName())) {
                return stream.collect(Collectors.toSet());
            }
        }

        private Object read(StateDescriptor<?, ?> state, W window) throws Exception {
            Object found = ((AppendingState<?, ?>) getKeyedStateBackend().getPartitionedState(window, windows, state)).get();
            if (!(found instanceof Iterable)) return found;
            List<Object> items = new ArrayList<>();
            for (Object item : (Iterable<?>) found) {
                if (item instanceof StreamRecord) {
                    StreamRecord<?> record = (StreamRecord<?>) item;
                    items.add((record.hasTimestamp() ? record.getTimestamp() : "none") + "=" + record.getValue());
                } else items.add(item);
            }
            return items;
        }

        private void tell(String state, Object key, W window, Object value) {
            if (window instanceof TimeWindow) value = ((TimeWindow) window).getStart() + ".." + ((TimeWindow) window).getEnd() + "=" + value;
            ROWS.add(Kinds.row(uid, state, key, value));
        }

        @Override
        public void open() throws Exception {
            super.open();
            InternalTimerService<W> service = getInternalTimerService("window-timers", windows, this);
            service.forEachEventTimeTimer((window, time) -> tell("event", getCurrentKey(), window, time));
            service.forEachProcessingTimeTimer((window, time) -> tell("processing", getCurrentKey(), window, time));
        }

        @Override
        public void processElement(StreamRecord<Long> record) {}

        @Override
        public void onEventTime(InternalTimer<K, W> timer) {}

        @Override
        public void onProcessingTime(InternalTimer<K, W> timer) {}
    }

    /** The windows of {@link Kinds}, each behind {@code source}. */
    static void windows(KeyedStream<Long, String> source) {
        SerializableSupplier<TimeWindow> time = () -> new TimeWindow(0, 1);
        TypeSerializer<TimeWindow> times = new TimeWindow.Serializer();
        TypeSerializer<GlobalWindow> global = new GlobalWindow.Serializer();
        ReducingStateDescriptor<Long> sum = new ReducingStateDescriptor<>("window-contents", Long::sum, Types.LONG);
        AggregatingStateDescriptor<Long, Tuple2<Long, Long>, Tuple2<Long, Long>> sumAndCount = new AggregatingStateDescriptor<>(
            "window-contents", new Accumulator(), Types.TUPLE(Types.LONG, Types.LONG));
        ListStateDescriptor<Long> all = new ListStateDescriptor<>("window-contents", Types.LONG);
        @SuppressWarnings({"unchecked", "rawtypes"})
        ListStateDescriptor<StreamRecord<Long>> records = new ListStateDescriptor<>("window-contents", (TypeSerializer) new StreamElementSerializer<>(LongSerializer.INSTANCE));
        add(source, new Windows<String, TimeWindow>("windows", times, time, sum, false, false));
        add(source, new Windows<String, TimeWindow>("sessions", times, time, sumAndCount, true, false));
        add(source, new Windows<String, TimeWindow>("sliding", times, time, all, false, false));
        add(source, new Windows<String, GlobalWindow>("counted", global, GlobalWindow::get, sum, false, true));
        add(source, new Windows<String, GlobalWindow>("last", global, GlobalWindow::get, records, false, true));
    }

    private static <W extends Window> void add(KeyedStream<Long, String> source, Windows<String, W> operator) {
        source.transform(operator.uid, Types.LONG, operator).uid(operator.uid);
    }

    /** As {@link Kinds.SumAndCount}, with the accumulator for its result. */
    private static final class Accumulator implements AggregateFunction<Long, Tuple2<Long, Long>, Tuple2<Long, Long>> {
        private final Kinds.SumAndCount inner = new Kinds.SumAndCount();

        @Override
        public Tuple2<Long, Long> createAccumulator() {
            return inner.createAccumulator();
        }

        @Override
        public Tuple2<Long, Long> add(Long n, Tuple2<Long, Long> accumulator) {
            return inner.add(n, accumulator);
        }

        @Override
        public Tuple2<Long, Long> getResult(Tuple2<Long, Long> accumulator) {
            return accumulator;
        }

        @Override
        public Tuple2<Long, Long> merge(Tuple2<Long, Long> a, Tuple2<Long, Long> b) {
            return inner.merge(a, b);
        }
    }

    private Dump() {}
}
