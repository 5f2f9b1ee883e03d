import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.api.common.state.AggregatingState;
import org.apache.flink.api.common.state.AggregatingStateDescriptor;
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
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.java.tuple.Tuple;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.runtime.state.KeyedStateBackend;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.VoidNamespace;
import org.apache.flink.runtime.state.VoidNamespaceSerializer;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ArrayNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.JsonNodeFactory;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ObjectNode;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.InternalTimer;
import org.apache.flink.streaming.api.operators.InternalTimerService;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.operators.Triggerable;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * The content of a golden snapshot, as its JSON file tells it, beside what Flink was given of it. A row is
 * "uid state [key, value]", with a window "uid state [key, [start, end], value]".
 */
final class Sidecar {
    private static final ObjectMapper JSON = new ObjectMapper();

    /** What Flink must be given; sorted by nobody. */
    static List<String> expected(Path file) throws Exception {
        List<String> rows = new ArrayList<>();
        for (JsonNode operator : JSON.readTree(file.toFile()).get("operators")) {
            String uid = operator.get("uid").asText();
            for (String kind : new String[] {"keyed_states", "operator_states"}) {
                for (JsonNode state : operator.path(kind)) {
                    for (JsonNode row : state.get("content")) rows.add(row(uid, state.get("name").asText(), row));
                }
            }
            if (!operator.has("timers")) continue;
            for (String kind : new String[] {"event", "processing"}) {
                for (JsonNode row : operator.get("timers").get(kind)) rows.add(row(uid, kind, row));
            }
        }
        return rows;
    }

    /** A job with an operator for each of those that the file tells of, which says what state it was given. */
    static void build(StreamExecutionEnvironment env, Path file) throws Exception {
        env.disableOperatorChaining();
        DataStream<Object> source = null;
        for (JsonNode operator : JSON.readTree(file.toFile()).get("operators")) {
            String uid = operator.get("uid").asText();
            String text = operator.toString();
            if (!operator.has("key_type")) {
                SingleOutputStreamOperator<Object> made = source == null
                    ? env.addSource(new Source(text), type(key(file)))
                    : source.transform("dump", type("long"), new Operator<Object>(text));
                made.uid(uid);
                if (source == null) source = made;
            } else {
                if (source == null) source = env.addSource(new Source(null), type(operator.get("key_type").asText()));
                TypeInformation<Object> type = type(operator.get("key_type").asText());
                source.keyBy(record -> record, type).transform("dump", type("long"), new Operator<Object>(text)).uid(uid);
            }
        }
    }

    /** The type of the records: that of the keys, if there are any. */
    private static String key(Path file) throws Exception {
        for (JsonNode operator : JSON.readTree(file.toFile()).get("operators")) {
            if (operator.has("key_type")) return operator.get("key_type").asText();
        }
        return "long";
    }

    private static String row(String uid, String state, JsonNode row) {
        return uid + " " + state + " " + sorted(row);
    }

    /** With the fields of objects in order. */
    private static JsonNode sorted(JsonNode node) {
        if (node.isArray()) {
            ArrayNode items = JsonNodeFactory.instance.arrayNode();
            for (JsonNode item : node) items.add(sorted(item));
            return items;
        }
        if (!node.isObject()) return node;
        List<String> names = new ArrayList<>();
        node.fieldNames().forEachRemaining(names::add);
        names.sort(null);
        ObjectNode fields = JsonNodeFactory.instance.objectNode();
        for (String name : names) fields.set(name, sorted(node.get(name)));
        return fields;
    }

    private static JsonNode json(Object value) {
        JsonNodeFactory make = JsonNodeFactory.instance;
        if (value instanceof Tuple) {
            ArrayNode items = make.arrayNode();
            for (int field = 0; field < ((Tuple) value).getArity(); field++) items.add(json(((Tuple) value).getField(field)));
            return items;
        }
        if (value instanceof Map) {
            ObjectNode fields = make.objectNode();
            ((Map<?, ?>) value).forEach((key, item) -> fields.set(String.valueOf(key), json(item)));
            return fields;
        }
        if (value instanceof Iterable) {
            ArrayNode items = make.arrayNode();
            for (Object item : (Iterable<?>) value) items.add(json(item));
            return items;
        }
        return JSON.valueToTree(value);
    }

    private static ArrayNode array(Object... parts) {
        ArrayNode items = JsonNodeFactory.instance.arrayNode();
        for (Object part : parts) items.add(part instanceof JsonNode ? (JsonNode) part : json(part));
        return items;
    }

    private static void tell(String uid, String state, JsonNode row) throws Exception {
        // Read again, so that numbers are of the kinds that the file has.
        Dump.ROWS.add(row(uid, state, JSON.readTree(JSON.writeValueAsString(row))));
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    private static <X> TypeInformation<X> type(String name) {
        switch (name) {
            case "string": return (TypeInformation) Types.STRING;
            case "long": return (TypeInformation) Types.LONG;
            case "int": return (TypeInformation) Types.INT;
            case "tuple(string,long)": return (TypeInformation) Types.TUPLE(Types.STRING, Types.LONG);
            case "tuple(long,long)": return (TypeInformation) Types.TUPLE(Types.LONG, Types.LONG);
            case "tuple(string,long,long)": return (TypeInformation) Types.TUPLE(Types.STRING, Types.LONG, Types.LONG);
            case "pojo(Person)": return (TypeInformation) TypeInformation.of(Person.class);
            default: throw new IllegalArgumentException("type " + name);
        }
    }

    /** Never called: an aggregating state that is only read. */
    static final class Same implements AggregateFunction<Object, Object, Object> {
        @Override
        public Object createAccumulator() {
            return null;
        }

        @Override
        public Object add(Object value, Object accumulator) {
            return accumulator;
        }

        @Override
        public Object getResult(Object accumulator) {
            return accumulator;
        }

        @Override
        public Object merge(Object a, Object b) {
            return a;
        }
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    private static StateDescriptor<?, ?> descriptor(JsonNode state, long ttlMs) {
        String name = state.get("name").asText();
        TypeInformation type = type(state.get("types").get(0).asText());
        StateDescriptor<?, ?> made;
        switch (state.get("kind").asText()) {
            case "value": made = new ValueStateDescriptor<>(name, type); break;
            case "list": made = new ListStateDescriptor<>(name, type); break;
            case "map": made = new MapStateDescriptor<>(name, type, type(state.get("types").get(1).asText())); break;
            case "reducing": made = new ReducingStateDescriptor<>(name, (a, b) -> a, type); break;
            case "aggregating": made = new AggregatingStateDescriptor(name, new Same(), type); break;
            default: throw new IllegalArgumentException(state.get("kind").asText());
        }
        if (ttlMs > 0) made.enableTimeToLive(Legacy.ttl(ttlMs));
        return made;
    }

    /** The value of the current key; null if there is none. */
    private static JsonNode read(State state) throws Exception {
        Object value;
        if (state instanceof ValueState) value = ((ValueState<?>) state).value();
        else if (state instanceof ReducingState) value = ((ReducingState<?>) state).get();
        else if (state instanceof AggregatingState) value = ((AggregatingState<?, ?>) state).get();
        else if (state instanceof ListState) value = ((ListState<?>) state).get();
        else {
            ObjectNode fields = JsonNodeFactory.instance.objectNode();
            for (Map.Entry<?, ?> entry : ((MapState<?, ?>) state).entries()) fields.set(String.valueOf(entry.getKey()), json(entry.getValue()));
            return fields.size() == 0 ? null : fields;
        }
        if (value == null) return null;
        JsonNode shown = json(value);
        return shown.isArray() && state instanceof ListState && shown.size() == 0 ? null : shown;
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    private static void lists(JsonNode operator, OperatorStateStore store, int subtask) throws Exception {
        String uid = operator.get("uid").asText();
        for (JsonNode state : operator.path("operator_states")) {
            String name = state.get("name").asText();
            TypeInformation<Object> type = type(state.get("types").get(0).asText());
            String mode = state.get("mode").asText();
            if (mode.equals("broadcast")) {
                TypeInformation value = type(state.get("types").get(1).asText());
                for (Object found : store.getBroadcastState(new MapStateDescriptor(name, type, value)).entries()) {
                    Map.Entry<?, ?> entry = (Map.Entry<?, ?>) found;
                    if (subtask == 0) tell(uid, name, array(entry.getKey(), entry.getValue()));
                }
                continue;
            }
            ListStateDescriptor<Object> descriptor = new ListStateDescriptor<>(name, type);
            boolean union = mode.equals("union");
            for (Object item : (union ? store.getUnionListState(descriptor) : store.getListState(descriptor)).get()) {
                if (!union || subtask == 0) tell(uid, name, json(item));
            }
        }
    }

    /** A source that makes nothing; {@code operator} is what the file says of it, or null. */
    static final class Source extends Legacy.Source<Object> implements CheckpointedFunction {
        private final String operator;

        Source(String operator) {
            this.operator = operator;
        }

        @Override
        public void initializeState(FunctionInitializationContext context) throws Exception {
            if (operator != null) lists(JSON.readTree(operator), context.getOperatorStateStore(), Legacy.subtask(getRuntimeContext()));
        }

        @Override
        public void snapshotState(FunctionSnapshotContext context) {}

        @Override
        public void run(SourceContext<Object> context) {}

        @Override
        public void cancel() {}
    }

    /** Any other operator. */
    static final class Operator<K> extends AbstractStreamOperator<Object> implements OneInputStreamOperator<Object, Object>, Triggerable<K, Object> {
        private final String text;

        Operator(String text) {
            this.text = text;
        }

        @Override
        @SuppressWarnings({"unchecked", "rawtypes"})
        public void initializeState(StateInitializationContext context) throws Exception {
            super.initializeState(context);
            JsonNode operator = JSON.readTree(text);
            String uid = operator.get("uid").asText();
            lists(operator, context.getOperatorStateStore(), Legacy.subtask(getRuntimeContext()));
            for (JsonNode state : operator.path("keyed_states")) {
                String name = state.get("name").asText();
                boolean windows = state.get("namespace").asText().equals("window");
                KeyedStateBackend<K> backend = getKeyedStateBackend();
                TypeSerializer namespaces = windows ? new TimeWindow.Serializer() : VoidNamespaceSerializer.INSTANCE;
                StateDescriptor descriptor = descriptor(state, operator.path("ttl_ms").asLong(0));
                // Registers the state: serializers that do not fit are refused here.
                backend.getPartitionedState(windows ? new TimeWindow(0, 1) : VoidNamespace.INSTANCE, namespaces, descriptor);
                List<Tuple2<K, Object>> keys;
                if (windows) {
                    try (Stream<Tuple2<K, Object>> stream = backend.getKeysAndNamespaces(name)) {
                        keys = stream.collect(Collectors.toList());
                    }
                } else {
                    try (Stream<K> stream = backend.getKeys(name, VoidNamespace.INSTANCE)) {
                        keys = stream.map(key -> Tuple2.of(key, (Object) VoidNamespace.INSTANCE)).collect(Collectors.toList());
                    }
                }
                Set<String> seen = new HashSet<>(); // RocksDB tells a key of a map state once per entry
                for (Tuple2<K, Object> key : keys) {
                    if (!seen.add(json(key.f0) + " " + key.f1)) continue;
                    backend.setCurrentKey(key.f0);
                    JsonNode value = read(backend.getPartitionedState(key.f1, namespaces, descriptor));
                    if (value == null) continue;
                    if (windows) tell(uid, name, array(key.f0, window(key.f1), value));
                    else tell(uid, name, array(key.f0, value));
                }
            }
        }

        private static ArrayNode window(Object window) {
            return array(((TimeWindow) window).getStart(), ((TimeWindow) window).getEnd());
        }

        @Override
        @SuppressWarnings({"unchecked", "rawtypes"})
        public void open() throws Exception {
            super.open();
            JsonNode timers = JSON.readTree(text).get("timers");
            if (timers == null) return;
            boolean windows = timers.get("namespace").asText().equals("window");
            TypeSerializer namespaces = windows ? new TimeWindow.Serializer() : VoidNamespaceSerializer.INSTANCE;
            InternalTimerService<Object> service = getInternalTimerService(timers.get("service").asText(), namespaces, this);
            service.forEachEventTimeTimer((namespace, time) -> timer("event", windows, namespace, time));
            service.forEachProcessingTimeTimer((namespace, time) -> timer("processing", windows, namespace, time));
        }

        private void timer(String kind, boolean windows, Object namespace, long time) throws Exception {
            String uid = JSON.readTree(text).get("uid").asText();
            if (windows) tell(uid, kind, array(getCurrentKey(), window(namespace), time));
            else tell(uid, kind, array(getCurrentKey(), time));
        }

        @Override
        public void processElement(StreamRecord<Object> record) {}

        @Override
        public void onEventTime(InternalTimer<K, Object> timer) {}

        @Override
        public void onProcessingTime(InternalTimer<K, Object> timer) {}
    }

    private Sidecar() {}
}
