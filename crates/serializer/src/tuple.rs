//! Tuples: `Tuple1` to `Tuple25` of Flink, the fields one after the other.
//!
//! Rust's own tuples stand for those of 1 to 12 fields; beyond, Rust's can be neither cloned nor
//! compared, so that [`Tuple13`] to [`Tuple25`] are types of their own.
//!
//! Source: Flink 2.3.0, classes `TupleSerializer`, `Tuple2` and so on.

use crate::{ByteReader, Error, FlinkKey, FlinkType, Incompatibility, Reader, SerializerSnapshot};

/// `FlinkType` and `FlinkKey` of a tuple; `$make` stands in front of its fields in parentheses.
macro_rules! fields {
    ($type:ty, ($($make:tt)*), $($name:ident . $index:tt),+) => {
        impl<$($name: FlinkType),+> FlinkType for $type {
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
                Ok($($make)*($($name::read(input)?,)+))
            }

            fn converter(previous: &SerializerSnapshot) -> Result<Reader<Self>, Incompatibility> {
                let readers = ($(part::<$name>(previous, $index)?,)+);
                Ok(Reader::converting(move |input| {
                    Ok($($make)*($(readers.$index.read(input)?,)+))
                }))
            }
        }

        impl<$($name: FlinkKey),+> FlinkKey for $type {
            fn hash_code(&self) -> i32 {
                let mut hash = 0i32;
                $(hash = hash.wrapping_mul(31).wrapping_add(self.$index.hash_code());)+
                hash
            }

            #[inline]
            fn touch(&self) -> usize {
                0 $(^ self.$index.touch())+
            }
        }
    };
}

/// Returns what reads the field at `index`.
fn part<T: FlinkType>(
    previous: &SerializerSnapshot,
    index: usize,
) -> Result<Reader<T>, Incompatibility> {
    T::reader(previous.part(index)?).map_err(|why| why.within(&format!("f{index}")))
}

/// A tuple of Rust.
macro_rules! tuple {
    ($($name:ident . $index:tt),+) => {
        fields!(($($name,)+), (), $($name . $index),+);
    };
}

/// A tuple that Rust has no type for.
macro_rules! wide_tuple {
    ($tuple:ident, $count:literal, $($name:ident . $index:tt),+) => {
        #[doc = concat!("Flink's `Tuple", $count, "`.")]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $tuple<$($name),+>($(
            #[doc = concat!("The field f", $index, ".")]
            pub $name,
        )+);

        fields!($tuple<$($name),+>, ($tuple), $($name . $index),+);
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
wide_tuple!(
    Tuple13, 13, A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8, J.9, K.10, L.11, M.12
);
wide_tuple!(
    Tuple14, 14, A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8, J.9, K.10, L.11, M.12, N.13
);
wide_tuple!(
    Tuple15, 15, A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8, J.9, K.10, L.11, M.12, N.13, O.14
);
wide_tuple!(
    Tuple16, 16, A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8, J.9, K.10, L.11, M.12, N.13, O.14,
    P.15
);
wide_tuple!(
    Tuple17, 17, A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8, J.9, K.10, L.11, M.12, N.13, O.14,
    P.15, Q.16
);
wide_tuple!(
    Tuple18, 18, A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8, J.9, K.10, L.11, M.12, N.13, O.14,
    P.15, Q.16, R.17
);
wide_tuple!(
    Tuple19, 19, A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8, J.9, K.10, L.11, M.12, N.13, O.14,
    P.15, Q.16, R.17, S.18
);
wide_tuple!(
    Tuple20, 20, A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8, J.9, K.10, L.11, M.12, N.13, O.14,
    P.15, Q.16, R.17, S.18, T.19
);
wide_tuple!(
    Tuple21, 21, A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8, J.9, K.10, L.11, M.12, N.13, O.14,
    P.15, Q.16, R.17, S.18, T.19, U.20
);
wide_tuple!(
    Tuple22, 22, A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8, J.9, K.10, L.11, M.12, N.13, O.14,
    P.15, Q.16, R.17, S.18, T.19, U.20, V.21
);
wide_tuple!(
    Tuple23, 23, A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8, J.9, K.10, L.11, M.12, N.13, O.14,
    P.15, Q.16, R.17, S.18, T.19, U.20, V.21, W.22
);
wide_tuple!(
    Tuple24, 24, A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8, J.9, K.10, L.11, M.12, N.13, O.14,
    P.15, Q.16, R.17, S.18, T.19, U.20, V.21, W.22, X.23
);
wide_tuple!(
    Tuple25, 25, A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8, J.9, K.10, L.11, M.12, N.13, O.14,
    P.15, Q.16, R.17, S.18, T.19, U.20, V.21, W.22, X.23, Y.24
);
