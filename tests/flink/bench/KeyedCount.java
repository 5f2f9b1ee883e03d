import org.apache.flink.api.common.typeinfo.Types;

/** Counts per key, keys are longs. */
public final class KeyedCount {
    public static void main(String[] arguments) throws Exception {
        Numbers.run(arguments, Numbers::longKey, Types.LONG);
    }

    private KeyedCount() {}
}
