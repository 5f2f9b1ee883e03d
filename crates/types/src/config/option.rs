//! One option: its key, its older keys, its default and how its text is read.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::time::Duration;

use super::duration::{format_duration, parse_duration};

/// A type that an option can have.
pub trait ConfigValue: Sized {
    /// Reads a value as a user writes it.
    ///
    /// # Errors
    ///
    /// What is wrong with the text, for people.
    fn parse(text: &str) -> Result<Self, String>;

    /// Writes the value so that [`ConfigValue::parse`] reads it.
    fn to_text(&self) -> String;

    /// What an option without a default is when it is not set; `None` if it must have a default.
    fn absent() -> Option<Self> {
        None
    }
}

/// What is known about an option without its type.
#[derive(Clone, Copy, Debug)]
pub struct OptionInfo {
    /// Its current name.
    pub key: &'static str,
    /// Its older names, and keys that it falls back to, the strongest first.
    pub deprecated_keys: &'static [&'static str],
    /// Its default as a user would write it.
    pub default: Option<&'static str>,
    /// What it does, in a sentence or two.
    pub description: &'static str,
    check: fn(&str) -> Result<(), String>,
    may_be_absent: fn() -> bool,
}

impl OptionInfo {
    /// All names, the strongest first.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.key).chain(self.deprecated_keys.iter().copied())
    }

    /// Whether `key` is this option and not another one that it only falls back to.
    pub(super) fn owns(&self, key: &str) -> bool {
        self.key == key
            || (self.deprecated_keys.contains(&key)
                && !super::options::ALL.iter().any(|other| other.key == key))
    }

    /// Whether the option can be not set without having a default.
    pub fn may_be_absent(&self) -> bool {
        (self.may_be_absent)()
    }

    /// Whether `text` is a value of this option.
    ///
    /// # Errors
    ///
    /// What is wrong with the text.
    pub fn check(&self, text: &str) -> Result<(), String> {
        (self.check)(text)
    }
}

/// An option whose values are of type `T`.
#[derive(Clone, Copy, Debug)]
pub struct ConfigOption<T> {
    info: OptionInfo,
    value: PhantomData<fn() -> T>,
}

impl<T: ConfigValue> ConfigOption<T> {
    /// Returns an option. Without a default, `T` must be an `Option`.
    pub const fn new(
        key: &'static str,
        deprecated_keys: &'static [&'static str],
        default: Option<&'static str>,
        description: &'static str,
    ) -> Self {
        let info = OptionInfo {
            key,
            deprecated_keys,
            default,
            description,
            check: check_text::<T>,
            may_be_absent: has_absent::<T>,
        };
        ConfigOption {
            info,
            value: PhantomData,
        }
    }

    /// What an absent option is.
    ///
    /// # Panics
    ///
    /// If the default is not a value of the option: a mistake in the table of options, which its
    /// test finds.
    pub fn default_value(&self) -> T {
        match self.info.default {
            Some(text) => T::parse(text).expect("a test reads every default"),
            None => T::absent().expect("a test reads every default"),
        }
    }
}

impl<T> ConfigOption<T> {
    /// Its current name.
    pub const fn key(&self) -> &'static str {
        self.info.key
    }

    /// What is known about it without its type.
    pub const fn info(&self) -> &OptionInfo {
        &self.info
    }
}

fn check_text<T: ConfigValue>(text: &str) -> Result<(), String> {
    T::parse(text).map(|_| ())
}

fn has_absent<T: ConfigValue>() -> bool {
    T::absent().is_some()
}

impl<T: ConfigValue> ConfigValue for Option<T> {
    fn parse(text: &str) -> Result<Self, String> {
        T::parse(text).map(Some)
    }

    fn to_text(&self) -> String {
        self.as_ref().map(T::to_text).unwrap_or_default()
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl ConfigValue for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn to_text(&self) -> String {
        self.clone()
    }
}

impl ConfigValue for bool {
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!(
                "Unrecognized option for boolean: {text}. Expected either true or false(case insensitive)"
            )),
        }
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

/// A number that an option can have. Not a blanket over `FromStr`: the text says what fits.
fn parse_number<T: std::str::FromStr>(text: &str, expected: &str) -> Result<T, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("expected {expected}"))
}

impl ConfigValue for i32 {
    fn parse(text: &str) -> Result<Self, String> {
        parse_number(text, "a whole number of 32 bits")
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl ConfigValue for i64 {
    fn parse(text: &str) -> Result<Self, String> {
        parse_number(text, "a whole number of 64 bits")
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl ConfigValue for u16 {
    fn parse(text: &str) -> Result<Self, String> {
        parse_number(text, "a whole number from 0 to 65535")
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl ConfigValue for u32 {
    fn parse(text: &str) -> Result<Self, String> {
        parse_number(text, "a whole number, 0 or more")
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl ConfigValue for f64 {
    fn parse(text: &str) -> Result<Self, String> {
        parse_number::<f64>(text, "a number").and_then(|value| {
            value
                .is_finite()
                .then_some(value)
                .ok_or("expected a number".into())
        })
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl ConfigValue for Duration {
    fn parse(text: &str) -> Result<Self, String> {
        parse_duration(text)
    }

    fn to_text(&self) -> String {
        format_duration(*self)
    }
}

/// A map as Flink writes it: `key1:value1,key2:value2`.
impl ConfigValue for BTreeMap<String, String> {
    fn parse(text: &str) -> Result<Self, String> {
        text.split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(|entry| match entry.split_once(':') {
                Some((key, value)) => Ok((key.trim().to_owned(), value.trim().to_owned())),
                None => Err(format!("expected key:value, found {entry}")),
            })
            .collect()
    }

    fn to_text(&self) -> String {
        let entries: Vec<String> = self
            .iter()
            .map(|(key, value)| format!("{key}:{value}"))
            .collect();
        entries.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boolean_is_read_in_any_case_and_nothing_else_is_one() {
        assert_eq!(bool::parse("TRUE"), Ok(true));
        assert_eq!(bool::parse("False"), Ok(false));
        assert!(
            bool::parse("yes")
                .expect_err("no boolean")
                .contains("case insensitive")
        );
    }

    #[test]
    fn a_map_is_read_back_from_its_text() {
        let map = BTreeMap::parse("a:1, b:2").expect("parses");
        assert_eq!(map.len(), 2);
        assert_eq!(BTreeMap::parse(&map.to_text()), Ok(map));
        assert!(BTreeMap::parse("a").is_err());
    }

    #[test]
    fn a_number_out_of_range_is_refused() {
        assert!(u32::parse("-1").is_err());
        assert!(i32::parse("3000000000").is_err());
        assert!(f64::parse("NaN").is_err());
    }
}
