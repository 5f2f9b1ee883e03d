//! Rows: fields that may be null, and what happened to the row.
//!
//! | order | bits or type | meaning |
//! | --- | --- | --- |
//! | 1 | 2 bits | kind, low bit first: +I 00, -U 10, +U 01, -D 11 (since Flink 1.11) |
//! | 2 | a bit per field | 1 if the field is null |
//! | 3 | | the rest of the last byte is 0; bits fill bytes from the highest down |
//! | 4 | field serializers | the fields that are not null |
//!
//! Source: Flink 2.3.0, classes `RowSerializer` and `MaskUtils`.

use crate::{
    ByteReader, ByteWriter, Error, FlinkType, Incompatibility, Reader, SerializerSnapshot, Tuple13,
    Tuple14, Tuple15, Tuple16, Tuple17, Tuple18, Tuple19, Tuple20, Tuple21, Tuple22, Tuple23,
    Tuple24, Tuple25,
};

/// What a row says about a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKind {
    /// A new row.
    #[default]
    Insert,
    /// What a row was before it changed.
    UpdateBefore,
    /// What a row is after it changed.
    UpdateAfter,
    /// A row that is no more.
    Delete,
}

impl RowKind {
    fn from_bits(low: bool, high: bool) -> Self {
        match (low, high) {
            (false, false) => RowKind::Insert,
            (true, false) => RowKind::UpdateBefore,
            (false, true) => RowKind::UpdateAfter,
            (true, true) => RowKind::Delete,
        }
    }

    /// The two bits as they stand at the top of the mask.
    fn mask(self) -> u32 {
        match self {
            RowKind::Insert => 0,
            RowKind::UpdateBefore => 1 << 31,
            RowKind::UpdateAfter => 1 << 30,
            RowKind::Delete => 3 << 30,
        }
    }
}

/// Flink's `Row` with fields by position: `Row<(Option<String>, Option<i64>)>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row<F> {
    /// What the row says about its table.
    pub kind: RowKind,
    /// The fields: a tuple of `Option`s.
    pub fields: F,
}

/// Which fields of a row are null: a bit per field, the first one lowest.
#[derive(Clone, Copy, Debug)]
pub struct Nulls(u32);

impl Nulls {
    fn contains(self, field: usize) -> bool {
        self.0 & (1 << field) != 0
    }
}

/// A tuple of 1 to 25 `Option`s: the fields of a [`Row`].
pub trait RowFields: Clone + Send + Sync + 'static {
    /// How many.
    const COUNT: usize;

    /// The serializers of the fields.
    fn serializers() -> Vec<SerializerSnapshot>;

    /// Which fields are null.
    fn nulls(&self) -> Nulls;

    /// Appends the fields that are not null.
    fn write(&self, out: &mut Vec<u8>);

    /// Reads the fields that are not null.
    ///
    /// # Errors
    ///
    /// As [`FlinkType::read`].
    fn read(nulls: Nulls, input: &mut ByteReader<'_>) -> Result<Self, Error>;

    /// Returns what reads the fields of an earlier serializer.
    ///
    /// # Errors
    ///
    /// As [`FlinkType::reader`].
    fn reader(previous: &SerializerSnapshot) -> Result<FieldsReader<Self>, Incompatibility>;
}

/// Reads the fields of a row that are not null.
pub type FieldsReader<F> =
    Box<dyn Fn(Nulls, &mut ByteReader<'_>) -> Result<F, Error> + Send + Sync>;

/// Reads the mask of a row of `count` fields.
fn read_mask(
    input: &mut ByteReader<'_>,
    has_kind: bool,
    count: usize,
) -> Result<(RowKind, Nulls), Error> {
    let kind_bits = if has_kind { 2 } else { 0 };
    let bytes = input.take((kind_bits + count).div_ceil(8))?;
    let mut mask = [0; 4];
    mask[..bytes.len()].copy_from_slice(bytes);
    let mask = u32::from_be_bytes(mask);
    let kind = match has_kind {
        true => RowKind::from_bits(mask >> 31 & 1 == 1, mask >> 30 & 1 == 1),
        false => RowKind::Insert,
    };
    Ok((kind, Nulls((mask << kind_bits).reverse_bits())))
}

impl<F: RowFields> FlinkType for Row<F> {
    fn serializer_snapshot() -> SerializerSnapshot {
        SerializerSnapshot::row(F::serializers())
    }

    fn fixed_length() -> Option<usize> {
        None
    }

    fn write(&self, out: &mut Vec<u8>) {
        let nulls = self.fields.nulls().0.reverse_bits();
        let mask = (self.kind.mask() | nulls >> 2).to_be_bytes();
        out.put(&mask[..(2 + F::COUNT).div_ceil(8)]);
        self.fields.write(out);
    }

    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        let (kind, nulls) = read_mask(input, true, F::COUNT)?;
        let fields = F::read(nulls, input)?;
        Ok(Row { kind, fields })
    }

    fn converter(previous: &SerializerSnapshot) -> Result<Reader<Self>, Incompatibility> {
        let has_kind = previous.has_row_kind();
        let fields = F::reader(previous)?;
        Ok(Reader::converting(move |input| {
            let (kind, nulls) = read_mask(input, has_kind, F::COUNT)?;
            let fields = fields(nulls, input)?;
            Ok(Row { kind, fields })
        }))
    }
}

macro_rules! row {
    ($count:literal, $type:ty, ($($make:tt)*), $($name:ident . $index:tt),+) => {
        impl<$($name: FlinkType),+> RowFields for $type {
            const COUNT: usize = $count;

            fn serializers() -> Vec<SerializerSnapshot> {
                vec![$($name::serializer_snapshot()),+]
            }

            fn nulls(&self) -> Nulls {
                let mut nulls = 0;
                $(nulls |= u32::from(self.$index.is_none()) << $index;)+
                Nulls(nulls)
            }

            fn write(&self, out: &mut Vec<u8>) {
                $(if let Some(value) = &self.$index {
                    value.write(out);
                })+
            }

            fn read(nulls: Nulls, input: &mut ByteReader<'_>) -> Result<Self, Error> {
                Ok($($make)*($(match nulls.contains($index) {
                    true => None,
                    false => Some($name::read(input)?),
                },)+))
            }

            fn reader(previous: &SerializerSnapshot) -> Result<FieldsReader<Self>, Incompatibility> {
                let readers = ($(
                    $name::reader(previous.part($index)?)
                        .map_err(|why| why.within(concat!("f", $index)))?,
                )+);
                Ok(Box::new(move |nulls, input| {
                    Ok($($make)*($(match nulls.contains($index) {
                        true => None,
                        false => Some(readers.$index.read(input)?),
                    },)+))
                }))
            }
        }
    };
}

row! { 1, (Option<A>,), (), A.0 }
row! { 2, (Option<A>, Option<B>), (), A.0, B.1 }
row! { 3, (Option<A>, Option<B>, Option<C>), (), A.0, B.1, C.2 }
row! { 4, (Option<A>, Option<B>, Option<C>, Option<D>), (), A.0, B.1, C.2, D.3 }
row! { 5, (Option<A>, Option<B>, Option<C>, Option<D>, Option<E>), (), A.0, B.1, C.2, D.3, E.4 }
row! {
    6, (Option<A>, Option<B>, Option<C>, Option<D>, Option<E>, Option<F>), (), A.0, B.1, C.2, D.3,
    E.4, F.5
}
row! {
    7, (Option<A>, Option<B>, Option<C>, Option<D>, Option<E>, Option<F>, Option<G>), (), A.0, B.1,
    C.2, D.3, E.4, F.5, G.6
}
row! {
    8, (Option<A>, Option<B>, Option<C>, Option<D>, Option<E>, Option<F>, Option<G>, Option<H>),
    (), A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7
}
row! {
    9, (Option<A>, Option<B>, Option<C>, Option<D>, Option<E>, Option<F>, Option<G>, Option<H>,
    Option<I>), (), A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8
}
row! {
    10, (Option<A>, Option<B>, Option<C>, Option<D>, Option<E>, Option<F>, Option<G>, Option<H>,
    Option<I>, Option<J>), (), A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8, J.9
}
row! {
    11, (Option<A>, Option<B>, Option<C>, Option<D>, Option<E>, Option<F>, Option<G>, Option<H>,
    Option<I>, Option<J>, Option<K>), (), A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8, J.9, K.10
}
row! {
    12, (Option<A>, Option<B>, Option<C>, Option<D>, Option<E>, Option<F>, Option<G>, Option<H>,
    Option<I>, Option<J>, Option<K>, Option<L>), (), A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8,
    J.9, K.10, L.11
}
row! {
    13, Tuple13<Option<A>, Option<B>, Option<C>, Option<D>, Option<E>, Option<F>, Option<G>,
    Option<H>, Option<I>, Option<J>, Option<K>, Option<L>, Option<M>>, (Tuple13), A.0, B.1, C.2,
    D.3, E.4, F.5, G.6, H.7, I.8, J.9, K.10, L.11, M.12
}
row! {
    14, Tuple14<Option<A>, Option<B>, Option<C>, Option<D>, Option<E>, Option<F>, Option<G>,
    Option<H>, Option<I>, Option<J>, Option<K>, Option<L>, Option<M>, Option<N>>, (Tuple14), A.0,
    B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8, J.9, K.10, L.11, M.12, N.13
}
row! {
    15, Tuple15<Option<A>, Option<B>, Option<C>, Option<D>, Option<E>, Option<F>, Option<G>,
    Option<H>, Option<I>, Option<J>, Option<K>, Option<L>, Option<M>, Option<N>, Option<O>>,
    (Tuple15), A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8, J.9, K.10, L.11, M.12, N.13, O.14
}
row! {
    16, Tuple16<Option<A>, Option<B>, Option<C>, Option<D>, Option<E>, Option<F>, Option<G>,
    Option<H>, Option<I>, Option<J>, Option<K>, Option<L>, Option<M>, Option<N>, Option<O>,
    Option<P>>, (Tuple16), A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8, J.9, K.10, L.11, M.12,
    N.13, O.14, P.15
}
row! {
    17, Tuple17<Option<A>, Option<B>, Option<C>, Option<D>, Option<E>, Option<F>, Option<G>,
    Option<H>, Option<I>, Option<J>, Option<K>, Option<L>, Option<M>, Option<N>, Option<O>,
    Option<P>, Option<Q>>, (Tuple17), A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8, J.9, K.10, L.11,
    M.12, N.13, O.14, P.15, Q.16
}
row! {
    18, Tuple18<Option<A>, Option<B>, Option<C>, Option<D>, Option<E>, Option<F>, Option<G>,
    Option<H>, Option<I>, Option<J>, Option<K>, Option<L>, Option<M>, Option<N>, Option<O>,
    Option<P>, Option<Q>, Option<R>>, (Tuple18), A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8, J.9,
    K.10, L.11, M.12, N.13, O.14, P.15, Q.16, R.17
}
row! {
    19, Tuple19<Option<A>, Option<B>, Option<C>, Option<D>, Option<E>, Option<F>, Option<G>,
    Option<H>, Option<I>, Option<J>, Option<K>, Option<L>, Option<M>, Option<N>, Option<O>,
    Option<P>, Option<Q>, Option<R>, Option<S>>, (Tuple19), A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7,
    I.8, J.9, K.10, L.11, M.12, N.13, O.14, P.15, Q.16, R.17, S.18
}
row! {
    20, Tuple20<Option<A>, Option<B>, Option<C>, Option<D>, Option<E>, Option<F>, Option<G>,
    Option<H>, Option<I>, Option<J>, Option<K>, Option<L>, Option<M>, Option<N>, Option<O>,
    Option<P>, Option<Q>, Option<R>, Option<S>, Option<T>>, (Tuple20), A.0, B.1, C.2, D.3, E.4,
    F.5, G.6, H.7, I.8, J.9, K.10, L.11, M.12, N.13, O.14, P.15, Q.16, R.17, S.18, T.19
}
row! {
    21, Tuple21<Option<A>, Option<B>, Option<C>, Option<D>, Option<E>, Option<F>, Option<G>,
    Option<H>, Option<I>, Option<J>, Option<K>, Option<L>, Option<M>, Option<N>, Option<O>,
    Option<P>, Option<Q>, Option<R>, Option<S>, Option<T>, Option<U>>, (Tuple21), A.0, B.1, C.2,
    D.3, E.4, F.5, G.6, H.7, I.8, J.9, K.10, L.11, M.12, N.13, O.14, P.15, Q.16, R.17, S.18, T.19,
    U.20
}
row! {
    22, Tuple22<Option<A>, Option<B>, Option<C>, Option<D>, Option<E>, Option<F>, Option<G>,
    Option<H>, Option<I>, Option<J>, Option<K>, Option<L>, Option<M>, Option<N>, Option<O>,
    Option<P>, Option<Q>, Option<R>, Option<S>, Option<T>, Option<U>, Option<V>>, (Tuple22), A.0,
    B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8, J.9, K.10, L.11, M.12, N.13, O.14, P.15, Q.16, R.17,
    S.18, T.19, U.20, V.21
}
row! {
    23, Tuple23<Option<A>, Option<B>, Option<C>, Option<D>, Option<E>, Option<F>, Option<G>,
    Option<H>, Option<I>, Option<J>, Option<K>, Option<L>, Option<M>, Option<N>, Option<O>,
    Option<P>, Option<Q>, Option<R>, Option<S>, Option<T>, Option<U>, Option<V>, Option<W>>,
    (Tuple23), A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8, J.9, K.10, L.11, M.12, N.13, O.14,
    P.15, Q.16, R.17, S.18, T.19, U.20, V.21, W.22
}
row! {
    24, Tuple24<Option<A>, Option<B>, Option<C>, Option<D>, Option<E>, Option<F>, Option<G>,
    Option<H>, Option<I>, Option<J>, Option<K>, Option<L>, Option<M>, Option<N>, Option<O>,
    Option<P>, Option<Q>, Option<R>, Option<S>, Option<T>, Option<U>, Option<V>, Option<W>,
    Option<X>>, (Tuple24), A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8, J.9, K.10, L.11, M.12,
    N.13, O.14, P.15, Q.16, R.17, S.18, T.19, U.20, V.21, W.22, X.23
}
row! {
    25, Tuple25<Option<A>, Option<B>, Option<C>, Option<D>, Option<E>, Option<F>, Option<G>,
    Option<H>, Option<I>, Option<J>, Option<K>, Option<L>, Option<M>, Option<N>, Option<O>,
    Option<P>, Option<Q>, Option<R>, Option<S>, Option<T>, Option<U>, Option<V>, Option<W>,
    Option<X>, Option<Y>>, (Tuple25), A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7, I.8, J.9, K.10, L.11,
    M.12, N.13, O.14, P.15, Q.16, R.17, S.18, T.19, U.20, V.21, W.22, X.23, Y.24
}
