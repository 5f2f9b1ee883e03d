//! Arrays of Java, which are other types than lists.
//!
//! | type | Java | bytes |
//! | --- | --- | --- |
//! | `Vec<u8>` | byte[] | i32 count, bytes |
//! | [`PrimitiveArray`] | long[], int[], ... | i32 count, elements |
//! | [`StringArray`] | String[] | i32 count, STR (null is 0) |
//! | [`ObjectArray`] | Long[], Person[], ... | i32 count, each: bool is-present, value |
//!
//! Source: Flink 2.3.0, classes `LongPrimitiveArraySerializer` and so on, `StringArraySerializer`,
//! `GenericArraySerializer`.

use std::ops::{Deref, DerefMut};

use crate::{
    ByteReader, ByteWriter, Character, Error, FlinkType, Incompatibility, Reader,
    SerializerSnapshot,
};

/// A primitive type of Java that arrays can have.
pub trait PrimitiveElement: FlinkType {
    /// The name of the serializer of the array, without "Serializer".
    const ARRAY: &'static str;
    /// The bytes of an element.
    const WIDTH: usize;
}

macro_rules! primitive {
    ($($type:ty, $array:literal, $width:literal;)*) => { $(
        impl PrimitiveElement for $type {
            const ARRAY: &'static str = $array;
            const WIDTH: usize = $width;
        }
    )* };
}

primitive! {
    i8, "BytePrimitiveArray", 1;
    bool, "BooleanPrimitiveArray", 1;
    i16, "ShortPrimitiveArray", 2;
    Character, "CharPrimitiveArray", 2;
    i32, "IntPrimitiveArray", 4;
    f32, "FloatPrimitiveArray", 4;
    i64, "LongPrimitiveArray", 8;
    f64, "DoublePrimitiveArray", 8;
}

macro_rules! is_a_vec {
    ($($bound:path)?, $name:ident, $element:ty) => {
        impl<T $(: $bound)?> Deref for $name<T> {
            type Target = Vec<$element>;

            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }

        impl<T $(: $bound)?> DerefMut for $name<T> {
            fn deref_mut(&mut self) -> &mut Self::Target {
                &mut self.0
            }
        }

        impl<T $(: $bound)?> From<Vec<$element>> for $name<T> {
            fn from(elements: Vec<$element>) -> Self {
                $name(elements)
            }
        }
    };
}

/// An array of a primitive type: `PrimitiveArray<i64>` is `long[]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrimitiveArray<T>(pub Vec<T>);

is_a_vec!(, PrimitiveArray, T);

impl<T: PrimitiveElement> FlinkType for PrimitiveArray<T> {
    fn serializer_snapshot() -> SerializerSnapshot {
        SerializerSnapshot::array(T::ARRAY)
    }

    fn fixed_length() -> Option<usize> {
        None
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.put_count(self.0.len());
        self.0.iter().for_each(|element| element.write(out));
    }

    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        let count = input.count(T::WIDTH)?;
        (0..count)
            .map(|_| T::read(input))
            .collect::<Result<_, _>>()
            .map(PrimitiveArray)
    }
}

/// An array of texts, `String[]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StringArray(pub Vec<Option<String>>);

impl FlinkType for StringArray {
    fn serializer_snapshot() -> SerializerSnapshot {
        SerializerSnapshot::array("StringArray")
    }

    fn fixed_length() -> Option<usize> {
        None
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.put_count(self.0.len());
        for text in &self.0 {
            match text {
                Some(text) => out.put_string_value(text),
                None => out.put_null_string_value(),
            }
        }
    }

    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        let count = input.count(1)?;
        let mut texts = Vec::new();
        for _ in 0..count {
            texts.push(input.string_value()?);
        }
        Ok(StringArray(texts))
    }
}

/// An array of objects that may be null: `ObjectArray<i64>` is `Long[]`.
///
/// `String[]` is [`StringArray`].
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectArray<T>(pub Vec<Option<T>>);

is_a_vec!(, ObjectArray, Option<T>);

impl<T: FlinkType> FlinkType for ObjectArray<T> {
    fn serializer_snapshot() -> SerializerSnapshot {
        let element = T::serializer_snapshot();
        let class = element.java_class();
        let class = class.as_deref().unwrap_or("java.lang.Object");
        SerializerSnapshot::object_array(class, element)
    }

    fn fixed_length() -> Option<usize> {
        None
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.put_count(self.0.len());
        for element in &self.0 {
            out.put_bool(element.is_some());
            if let Some(element) = element {
                element.write(out);
            }
        }
    }

    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        read_objects(input, T::read)
    }

    fn converter(previous: &SerializerSnapshot) -> Result<Reader<Self>, Incompatibility> {
        let element = T::reader(previous.part(0)?).map_err(|why| why.within("element"))?;
        Ok(Reader::converting(move |input| {
            read_objects(input, |input| element.read(input))
        }))
    }
}

fn read_objects<T>(
    input: &mut ByteReader<'_>,
    element: impl Fn(&mut ByteReader<'_>) -> Result<T, Error>,
) -> Result<ObjectArray<T>, Error> {
    let count = input.count(1)?;
    let mut elements = Vec::new();
    for _ in 0..count {
        elements.push(match input.bool()? {
            true => Some(element(input)?),
            false => None,
        });
    }
    Ok(ObjectArray(elements))
}
