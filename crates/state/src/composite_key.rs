//! Key and namespace as the bytes in front of a value.

use millpond_serializer::{ByteReader, FlinkKey, FlinkType, Namespace};
use millpond_snapshot::{Error, put_length, read_length};

/// Whether key and namespace need their lengths beside them to be told apart.
pub(crate) fn is_ambiguous<K: FlinkType, N: FlinkType>() -> bool {
    K::fixed_length().is_none() && N::fixed_length().is_none()
}

/// Appends a part of an ambiguous key.
pub(crate) fn put_with_length<T: FlinkType>(part: &T, out: &mut Vec<u8>) {
    let start = out.len();
    part.write(out);
    put_length(out.len() - start, out);
}

/// Appends key and namespace.
pub(crate) fn put_head<K: FlinkKey, N: Namespace>(key: &K, namespace: &N, out: &mut Vec<u8>) {
    if is_ambiguous::<K, N>() {
        put_with_length(key, out);
        put_with_length(namespace, out);
    } else {
        key.write(out);
        namespace.write(out);
    }
}

/// Reads key and namespace; what follows them is left.
#[inline]
pub(crate) fn read_head<K: FlinkKey, N: Namespace>(
    input: &mut ByteReader<'_>,
) -> Result<(K, N), Error> {
    let begin = input.position();
    let key = K::read(input)?;
    let ambiguous = is_ambiguous::<K, N>();
    if ambiguous {
        read_length(input.position() - begin, input)?;
    }
    let start = input.position();
    let namespace = N::read(input)?;
    if ambiguous {
        read_length(input.position() - start, input)?;
    }
    Ok((key, namespace))
}
