//! Which entries an edit means: tests of their key, value and so on, as JSON.

use std::cmp::Ordering;

use serde_json::Value as Json;

/// A part of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Key,
    Namespace,
    UserKey,
    Value,
    /// When a timer fires.
    Timestamp,
}

impl Field {
    const ALL: [(Field, &str); 5] = [
        (Field::Key, "key"),
        (Field::Namespace, "namespace"),
        (Field::UserKey, "user_key"),
        (Field::Value, "value"),
        (Field::Timestamp, "timestamp"),
    ];

    pub(super) fn of_word(word: &str) -> Option<Field> {
        let known = Self::ALL.iter().find(|(_, name)| *name == word);
        known.map(|(field, _)| *field)
    }

    pub(super) fn word(self) -> &'static str {
        let known = Self::ALL.iter().find(|(field, _)| *field == self);
        known.map_or("", |(_, name)| name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl Comparison {
    /// Longer signs first, so that none is taken for its beginning.
    pub(super) const ALL: [(Comparison, &'static str); 7] = [
        (Comparison::NotEqual, "!="),
        (Comparison::AtMost, "<="),
        (Comparison::AtLeast, ">="),
        (Comparison::Equal, "=="),
        (Comparison::Equal, "="),
        (Comparison::Less, "<"),
        (Comparison::Greater, ">"),
    ];
}

/// One test; a part that is missing counts as null.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Test {
    pub(super) field: Field,
    pub(super) path: Vec<String>,
    pub(super) comparison: Comparison,
    pub(super) literal: Json,
}

/// All of the tests.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition(pub(super) Vec<Test>);

impl Condition {
    /// The fields that are tested.
    pub(super) fn fields(&self) -> impl Iterator<Item = Field> + '_ {
        self.0.iter().map(|test| test.field)
    }

    /// Whether an entry passes; `part` shows a field of it.
    pub(super) fn holds<E>(
        &self,
        mut part: impl FnMut(Field) -> Result<Json, E>,
    ) -> Result<bool, E> {
        for test in &self.0 {
            let json = part(test.field)?;
            if !test.holds(&json) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Test {
    fn holds(&self, json: &Json) -> bool {
        let step = |json: &'_ Json, part: &String| -> Option<Json> {
            match json {
                Json::Object(fields) => fields.get(part).cloned(),
                Json::Array(items) => items.get(part.parse::<usize>().ok()?).cloned(),
                Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => None,
            }
        };
        let found = self
            .path
            .iter()
            .try_fold(json.clone(), |json, part| step(&json, part))
            .unwrap_or(Json::Null);
        let order = compare(&found, &self.literal);
        match self.comparison {
            Comparison::Equal => order == Some(Ordering::Equal),
            Comparison::NotEqual => order != Some(Ordering::Equal),
            Comparison::Less => order == Some(Ordering::Less),
            Comparison::AtMost => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Comparison::Greater => order == Some(Ordering::Greater),
            Comparison::AtLeast => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

/// Numbers compare as numbers, texts by their characters; anything else is equal or not.
fn compare(a: &Json, b: &Json) -> Option<Ordering> {
    match (a, b) {
        (Json::Number(x), Json::Number(y)) => match (x.as_i128(), y.as_i128()) {
            (Some(x), Some(y)) => Some(x.cmp(&y)),
            (_, _) => x.as_f64()?.partial_cmp(&y.as_f64()?),
        },
        (Json::String(x), Json::String(y)) => Some(x.cmp(y)),
        (_, _) => (a == b).then_some(Ordering::Equal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tests_look_into_values_and_compare_like_with_like() {
        let value = json!({"name": "b", "marks": [1, 2.5], "none": null});
        let holds = |path: &[&str], comparison, literal: Json| {
            let test = Test {
                field: Field::Value,
                path: path.iter().map(|part| (*part).to_owned()).collect(),
                comparison,
                literal,
            };
            test.holds(&value)
        };
        assert!(holds(&["name"], Comparison::Greater, json!("a")));
        assert!(!holds(&["name"], Comparison::Greater, json!(1)));
        assert!(holds(&["marks", "0"], Comparison::Equal, json!(1.0)));
        assert!(holds(&["marks", "1"], Comparison::AtMost, json!(2.5)));
        assert!(holds(&["marks"], Comparison::Equal, json!([1, 2.5])));
        assert!(holds(&["none"], Comparison::Equal, json!(null)));
        assert!(holds(&["missing", "0"], Comparison::Equal, json!(null)));
        assert!(holds(&["missing"], Comparison::NotEqual, json!(0)));
        assert!(!holds(&["missing"], Comparison::Less, json!(5)));
    }
}
