import org.apache.flink.api.common.typeinfo.Types;

/** Counts per key, keys are strings of 16 characters. */
public final class KeyedCountString {
    public static void main(String[] arguments) throws Exception {
        Numbers.run(arguments, Numbers::stringKey, Types.STRING);
    }

    private KeyedCountString() {}
}
