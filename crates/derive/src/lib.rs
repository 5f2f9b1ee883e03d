//! Derives that give Rust structs and enums the bytes of Flink's POJOs, records and enums.
//!
//! The crate `millpond_serializer` re-exports them, and so does `millpond`'s prelude. What the
//! derived code calls is in `millpond_serializer::{pojo, java_enum, subclass}`.

mod attributes;
mod fields;
mod java_enum;
mod names;
mod pojo;
mod subclasses;

use proc_macro::TokenStream;
use syn::{Data, DeriveInput, Error, parse_macro_input};

/// Makes a struct a Flink type with the layout of a POJO, or an enum of structs one with subclasses.
///
/// Fields are stored in the order of their names and found again by them, so that a later version
/// of the struct may have more, fewer, or other ones. What is gone is read over. What is new has
/// Java's default (zero, false, `None`) or what `default` says; a field that is new and has neither
/// is refused before anything is restored.
///
/// | on the struct | |
/// | --- | --- |
/// | `class = "com.example.Person"` | the Java class it stands for; without it the Rust path (`my_job::Person`), which no class of Flink has. Moving an unnamed struct to another module changes its class, and state of it is then refused |
/// | `hash = "fields"` | makes it a key that hashes as `Objects.hash(...)` of its fields, in the order in which they are written |
/// | `hash = "components"` | makes it a key that hashes as a Java record of its fields |
/// | `hash = "path"` | makes it a key that hashes by `fn(&Self) -> i32` |
/// | `crate = "path"` | where to find `millpond_serializer`; without it `::millpond::serializer` |
///
/// | on a field | |
/// | --- | --- |
/// | `rename = "name"` | its name in Java; without it `zip_code` is `zipCode` |
/// | `default` | a field that is new has `Default::default()` |
/// | `default = "path"` | a field that is new has what `fn() -> T` returns |
/// | `declared_in = "com.example.Base"` | the Java class that declares it, if it is inherited |
/// | `skip` | it is not stored, and has `Default::default()` when read |
///
/// An `Option` is a field that may be null. `Vec`, maps and sets as fields are what Flink 2 makes of
/// `List`, `Map` and `Set`; Flink 1 makes Kryo of them, so that such state does not move between
/// Flink 1 and anything else.
///
/// # Enums of structs
///
/// An enum whose variants hold one POJO each stands for a base class. The variant marked `exact`
/// is the base class itself; the others are its subclasses, `registered` ones (in the order of
/// their registration in Flink) and those that Flink meets on its way.
///
/// # Examples
///
/// ```
/// use millpond_serializer::{ByteReader, FlinkPojo, FlinkType};
///
/// #[derive(FlinkPojo, Clone, Debug, PartialEq)]
/// #[flink(class = "com.example.Person", crate = "millpond_serializer")]
/// struct Person {
///     name: String,
///     home_town: Option<String>,
///     #[flink(rename = "yearOfBirth")]
///     born: i32,
/// }
///
/// let person = Person { name: "Ada".to_owned(), home_town: None, born: 1815 };
/// let mut bytes = Vec::new();
/// person.write(&mut bytes);
/// // Flags, then homeTown (null), name, yearOfBirth.
/// assert_eq!(bytes, [2, 1, 0, 4, b'A', b'd', b'a', 0, 0, 0, 7, 23]);
/// assert_eq!(Person::read(&mut ByteReader::new(&bytes)), Ok(person));
/// ```
#[proc_macro_derive(FlinkPojo, attributes(flink))]
pub fn flink_pojo(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let derived = match &input.data {
        Data::Struct(data) => pojo::derive(&input, data),
        Data::Enum(data) => subclasses::derive(&input, data),
        Data::Union(_) => Err(Error::new_spanned(&input, "a union is no POJO")),
    };
    derived.unwrap_or_else(Error::into_compile_error).into()
}

/// Makes an enum without fields a Flink type with the layout of a Java enum.
///
/// Constants may be added and reordered in later versions; one that is removed is refused with its
/// name before anything is restored.
///
/// | on the enum | |
/// | --- | --- |
/// | `class = "com.example.Color"` | the Java class it stands for; without it the Rust path |
/// | `hash = "ordinal"`, `hash = "name"`, `hash = "path"` | makes it a key, that hashes by the place of the constant, as its name, or by `fn(&Self) -> i32` |
/// | `crate = "path"` | where to find `millpond_serializer`; without it `::millpond::serializer` |
///
/// | on a variant | |
/// | --- | --- |
/// | `rename = "NAME"` | its name in Java; without it `DarkRed` is `DARK_RED` |
///
/// Flink refuses enums as keys, since Java hashes them by their place in memory: a key that is or
/// holds an enum moves only between jobs of Millpond.
///
/// # Examples
///
/// ```
/// use millpond_serializer::{FlinkEnum, FlinkType};
///
/// #[derive(FlinkEnum, Clone, Debug, PartialEq)]
/// #[flink(class = "com.example.Color", crate = "millpond_serializer")]
/// enum Color {
///     Red,
///     DarkRed,
/// }
///
/// let mut bytes = Vec::new();
/// Color::DarkRed.write(&mut bytes);
/// assert_eq!(bytes, [0, 0, 0, 1]);
/// ```
#[proc_macro_derive(FlinkEnum, attributes(flink))]
pub fn flink_enum(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let derived = match &input.data {
        Data::Enum(data) => java_enum::derive(&input, data),
        Data::Struct(_) | Data::Union(_) => Err(Error::new_spanned(
            &input,
            "a Java enum is an enum without fields; for a struct use FlinkPojo",
        )),
    };
    derived.unwrap_or_else(Error::into_compile_error).into()
}
