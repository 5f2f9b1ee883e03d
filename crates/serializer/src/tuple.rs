//! Tuples: `Tuple1` to `Tuple12` of Flink, the fields one after the other.

use crate::{ByteReader, Error, FlinkKey, FlinkType, SerializerSnapshot};

macro_rules! tuple {
    ($($name:ident . $index:tt),+) => {
        impl<$($name: FlinkType),+> FlinkType for ($($name,)+) {
            fn serializer_snapshot() -> SerializerSnapshot {
                SerializerSnapshot::tuple(vec![$($name::serializer_snapshot()),+])
            }

            fn fixed_length() -> Option<usize> {
                // A field that says 0 makes the tuple variable, as in Flink.
                [$($name::fixed_length()),+].into_iter().map(|length| length.filter(|l| *l > 0)).sum()
            }

            #[inline]
            fn write(&self, out: &mut Vec<u8>) {
                $(self.$index.write(out);)+
            }

            #[inline]
            fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
                Ok(($($name::read(input)?,)+))
            }
        }

        impl<$($name: FlinkKey),+> FlinkKey for ($($name,)+) {
            fn hash_code(&self) -> i32 {
                let mut hash = 0i32;
                $(hash = hash.wrapping_mul(31).wrapping_add(self.$index.hash_code());)+
                hash
            }
        }
    };
}

tuple!(A.0);
tuple!(A.0, B.1);
tuple!(A.0, B.1, C.2);
tuple!(A.0, B.1, C.2, D.3);
tuple!(A.0, B.1, C.2, D.3, E.4);
tuple!(A.0, B.1, C.2, D.3, E.4, F.5);
tuple!(A.0, B.1, C.2, D.3, E.4, F.5, G.6);
tuple!(A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7);
tuple!(A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8);
tuple!(A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8, J.9);
tuple!(A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8, J.9, K.10);
tuple!(A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8, J.9, K.10, L.11);
