import java.io.Serializable;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.api.java.tuple.Tuple3;

/** A type with a value for every number, and a way to make one value of two: the twin of {@code Sample} in kinds.rs. */
abstract class Sample<T> implements Serializable {
    final TypeInformation<T> type;

    Sample(TypeInformation<T> type) {
        this.type = type;
    }

    abstract T of(long n);

    abstract T combine(T a, T b);

    static final Sample<String> STRING = new Sample<String>(Types.STRING) {
        @Override
        String of(long n) {
            switch ((int) (n % 8)) {
                case 0: return n == 0 ? "" : n + "-";
                case 1: return "a " + n;
                case 2: return "\u00e9 \u00fc " + n;
                case 3: return "\ud83d\ude00" + n;
                case 4: return "\0" + n;
                case 5: return "x".repeat((int) (n % 300)) + n;
                case 6: return "\u65e5\u672c" + n;
                default: return String.valueOf(n);
            }
        }

        @Override
        String combine(String a, String b) {
            return a.codePointCount(0, a.length()) < 60 ? a + "|" + b : b;
        }
    };

    /** 64 - bits well mixed bits of a number. */
    private static long mixed(long n, int bits) {
        return n * 0x9e3779b97f4a7c15L >> (64 - bits);
    }

    static final Sample<Long> LONG = new Sample<Long>(Types.LONG) {
        @Override
        Long of(long n) {
            return n % 8 == 0 ? Long.MIN_VALUE + n : n % 8 == 1 ? Long.MAX_VALUE - n : mixed(n, 64);
        }

        @Override
        Long combine(Long a, Long b) {
            return a + b;
        }
    };

    static final Sample<Integer> INT = new Sample<Integer>(Types.INT) {
        @Override
        Integer of(long n) {
            return (int) (n % 8 == 0 ? Integer.MIN_VALUE + n : n % 8 == 1 ? Integer.MAX_VALUE - n : mixed(n, 32));
        }

        @Override
        Integer combine(Integer a, Integer b) {
            return a + b;
        }
    };

    static final Sample<Short> SHORT = new Sample<Short>(Types.SHORT) {
        @Override
        Short of(long n) {
            return (short) (n % 8 == 0 ? Short.MIN_VALUE + n : n % 8 == 1 ? Short.MAX_VALUE - n : mixed(n, 16));
        }

        @Override
        Short combine(Short a, Short b) {
            return (short) (a + b);
        }
    };

    static final Sample<Byte> BYTE = new Sample<Byte>(Types.BYTE) {
        @Override
        Byte of(long n) {
            return (byte) (n % 8 == 0 ? Byte.MIN_VALUE + n : n % 8 == 1 ? Byte.MAX_VALUE - n : mixed(n, 8));
        }

        @Override
        Byte combine(Byte a, Byte b) {
            return (byte) (a + b);
        }
    };

    static final Sample<Boolean> BOOLEAN = new Sample<Boolean>(Types.BOOLEAN) {
        @Override
        Boolean of(long n) {
            return n % 3 == 0;
        }

        @Override
        Boolean combine(Boolean a, Boolean b) {
            return a ^ b;
        }
    };

    static final Sample<Double> DOUBLE = new Sample<Double>(Types.DOUBLE) {
        @Override
        Double of(long n) {
            switch ((int) (n % 8)) {
                case 0: return -0.0;
                case 1: return Double.POSITIVE_INFINITY;
                case 2: return Double.NaN;
                case 3: return Double.MIN_VALUE;
                default: return n * 0.1 - 3.0;
            }
        }

        @Override
        Double combine(Double a, Double b) {
            return Double.isFinite(a) && Double.isFinite(b) ? (Double) (a * 0.5 + b) : b;
        }
    };

    static final Sample<Float> FLOAT = new Sample<Float>(Types.FLOAT) {
        @Override
        Float of(long n) {
            switch ((int) (n % 8)) {
                case 0: return -0.0f;
                case 1: return Float.POSITIVE_INFINITY;
                case 2: return Float.NaN;
                case 3: return Float.MIN_VALUE;
                default: return n * 0.1f - 3.0f;
            }
        }

        @Override
        Float combine(Float a, Float b) {
            return Float.isFinite(a) && Float.isFinite(b) ? (Float) (a * 0.5f + b) : b;
        }
    };

    static final Sample<byte[]> BYTES = new Sample<byte[]>((TypeInformation<byte[]>) Types.PRIMITIVE_ARRAY(Types.BYTE)) {
        @Override
        byte[] of(long n) {
            byte[] bytes = new byte[(int) (n % 97 == 0 ? 3000 : n % 50)];
            for (int place = 0; place < bytes.length; place++) bytes[place] = (byte) (n + place);
            return bytes;
        }

        @Override
        byte[] combine(byte[] a, byte[] b) {
            if (a.length >= 200) return b;
            byte[] both = Arrays.copyOf(a, a.length + b.length);
            System.arraycopy(b, 0, both, a.length, b.length);
            return both;
        }
    };

    static final Sample<List<Long>> LIST = new Sample<List<Long>>(Types.LIST(Types.LONG)) {
        @Override
        List<Long> of(long n) {
            List<Long> list = new ArrayList<>();
            for (long place = 0; place < n % 5; place++) list.add(LONG.of(n + place));
            return list;
        }

        @Override
        List<Long> combine(List<Long> a, List<Long> b) {
            List<Long> both = a.size() < 20 ? new ArrayList<>(a) : new ArrayList<>();
            both.addAll(b);
            return both;
        }
    };

    static final Sample<Map<String, Integer>> MAP = new Sample<Map<String, Integer>>(Types.MAP(Types.STRING, Types.INT)) {
        @Override
        Map<String, Integer> of(long n) {
            Map<String, Integer> map = new HashMap<>();
            for (long place = 0; place < n % 4; place++) map.put(STRING.of(n + place), INT.of(n + place));
            return map;
        }

        @Override
        Map<String, Integer> combine(Map<String, Integer> a, Map<String, Integer> b) {
            Map<String, Integer> both = a.size() < 30 ? new HashMap<>(a) : new HashMap<>();
            both.putAll(b);
            return both;
        }
    };

    static <A, B> Sample<Tuple2<A, B>> tuple(Sample<A> a, Sample<B> b) {
        return new Sample<Tuple2<A, B>>(Types.TUPLE(a.type, b.type)) {
            @Override
            Tuple2<A, B> of(long n) {
                return Tuple2.of(a.of(n), b.of(n + 1));
            }

            @Override
            Tuple2<A, B> combine(Tuple2<A, B> x, Tuple2<A, B> y) {
                return Tuple2.of(a.combine(x.f0, y.f0), b.combine(x.f1, y.f1));
            }
        };
    }

    static <A, B, C> Sample<Tuple3<A, B, C>> tuple(Sample<A> a, Sample<B> b, Sample<C> c) {
        return new Sample<Tuple3<A, B, C>>(Types.TUPLE(a.type, b.type, c.type)) {
            @Override
            Tuple3<A, B, C> of(long n) {
                return Tuple3.of(a.of(n), b.of(n + 1), c.of(n + 2));
            }

            @Override
            Tuple3<A, B, C> combine(Tuple3<A, B, C> x, Tuple3<A, B, C> y) {
                return Tuple3.of(a.combine(x.f0, y.f0), b.combine(x.f1, y.f1), c.combine(x.f2, y.f2));
            }
        };
    }

    /** A value as text; equal texts mean equal types and equal content, to the last bit. */
    static String text(Object value) {
        if (value instanceof Double) return "f64:" + Long.toHexString(Double.doubleToLongBits((Double) value));
        if (value instanceof Float) return "f32:" + Integer.toHexString(Float.floatToIntBits((Float) value));
        if (value instanceof byte[]) return "bytes:" + Arrays.toString((byte[]) value);
        if (value instanceof Tuple) {
            List<String> fields = new ArrayList<>();
            for (int field = 0; field < ((Tuple) value).getArity(); field++) fields.add(text(((Tuple) value).getField(field)));
            return "tuple:" + fields;
        }
        if (value instanceof Map) {
            TreeMap<String, String> entries = new TreeMap<>();
            ((Map<?, ?>) value).forEach((key, item) -> entries.put(text(key), text(item)));
            return "map:" + entries;
        }
        if (value instanceof Iterable) {
            List<String> items = new ArrayList<>();
            for (Object item : (Iterable<?>) value) items.add(text(item));
            return "list:" + items;
        }
        return value.getClass().getSimpleName() + ":" + value;
    }
}
