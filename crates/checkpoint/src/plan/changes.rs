//! What differs between two serializers, part by part.
//!
//! Parts are named as people name them: fields of POJOs by their names, those of tuples and rows
//! `f0`, `f1`, ..., parts of collections `element`, `key` and `value`. What holds exactly one
//! value, such as a nullable one, adds nothing to the path.

use std::fmt;

use millpond_serializer::{SerializerSnapshot, SnapshotBody};
use serde::{Deserialize, Serialize};

/// One difference between the type of a state in a snapshot and in a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FieldChange {
    /// The part that differs, as names joined by dots; empty if it is the whole.
    pub path: String,
    /// Its type in the snapshot; `None` if it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
    /// Its type in the program; `None` if it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self.path.as_str() {
            "" => "the type",
            path => path,
        };
        match (&self.was, &self.now) {
            (Some(was), Some(now)) => write!(f, "{part} was {was}, is {now}"),
            (Some(was), None) => write!(f, "{part} ({was}) is removed"),
            (None, now) => write!(f, "{part} ({}) is new", now.as_deref().unwrap_or_default()),
        }
    }
}

/// Returns what differs, in the order of the parts; nothing if both are equal.
pub(crate) fn changes(old: &SerializerSnapshot, new: &SerializerSnapshot) -> Vec<FieldChange> {
    let mut found = Vec::new();
    compare("", old, new, &mut found);
    found
}

fn compare(
    path: &str,
    old: &SerializerSnapshot,
    new: &SerializerSnapshot,
    found: &mut Vec<FieldChange>,
) {
    if old == new {
        return;
    }
    let whole = |found: &mut Vec<FieldChange>| {
        found.push(FieldChange {
            path: path.to_owned(),
            was: Some(old.describe()),
            now: Some(new.describe()),
        });
    };
    if old.class != new.class {
        return whole(found);
    }
    match (&old.body, &new.body) {
        (
            SnapshotBody::Composite { nested: olds, .. },
            SnapshotBody::Composite { nested: news, .. },
        ) if olds.len() == news.len() && olds != news => {
            for (index, (old_part, new_part)) in olds.iter().zip(news).enumerate() {
                let path = join(path, &part_name(old, index));
                compare(&path, old_part, new_part, found);
            }
        }
        (
            SnapshotBody::Pojo { class, fields, .. },
            SnapshotBody::Pojo {
                class: new_class,
                fields: new_fields,
                ..
            },
        ) if class == new_class => {
            let old: Vec<_> = fields
                .iter()
                .map(|field| (field.name.as_str(), field.value.as_ref()))
                .collect();
            let new: Vec<_> = new_fields
                .iter()
                .map(|field| (field.name.as_str(), field.value.as_ref()))
                .collect();
            compare_fields(path, &old, &new, found);
        }
        (
            SnapshotBody::Enum { class, constants },
            SnapshotBody::Enum {
                class: new_class,
                constants: new_constants,
            },
        ) if class == new_class => compare_constants(path, constants, new_constants, found),
        // Versions of the snapshots themselves mean nothing.
        (SnapshotBody::Simple | SnapshotBody::Legacy { .. }, SnapshotBody::Simple) => {}
        (SnapshotBody::Simple, SnapshotBody::Legacy { .. }) => {}
        (SnapshotBody::Avro { schema, .. }, SnapshotBody::Avro { schema: now, .. })
            if schema == now => {}
        _ => whole(found),
    }
}

fn compare_fields(
    path: &str,
    old: &[(&str, Option<&SerializerSnapshot>)],
    new: &[(&str, Option<&SerializerSnapshot>)],
    found: &mut Vec<FieldChange>,
) {
    let describe = |of: Option<&SerializerSnapshot>| {
        of.map_or_else(|| "an unknown type".to_owned(), |of| of.describe())
    };
    for (name, was) in old {
        let path = join(path, name);
        match (was, new.iter().find(|(other, _)| other == name)) {
            (Some(was), Some((_, Some(now)))) => compare(&path, was, now, found),
            (was, Some((_, now))) if was.is_some() != now.is_some() => {
                found.push(FieldChange {
                    path,
                    was: Some(describe(*was)),
                    now: Some(describe(*now)),
                });
            }
            (_, Some(_)) => {}
            (was, None) => found.push(FieldChange {
                path,
                was: Some(describe(*was)),
                now: None,
            }),
        }
    }
    for (name, now) in new {
        if !old.iter().any(|(other, _)| other == name) {
            found.push(FieldChange {
                path: join(path, name),
                was: None,
                now: Some(describe(*now)),
            });
        }
    }
}

fn compare_constants(path: &str, old: &[String], new: &[String], found: &mut Vec<FieldChange>) {
    let change = |constant: &String, was: bool| FieldChange {
        path: join(path, constant),
        was: was.then(|| "constant".to_owned()),
        now: (!was).then(|| "constant".to_owned()),
    };
    let before = found.len();
    found.extend(
        old.iter()
            .filter(|c| !new.contains(c))
            .map(|c| change(c, true)),
    );
    found.extend(
        new.iter()
            .filter(|c| !old.contains(c))
            .map(|c| change(c, false)),
    );
    if found.len() == before {
        found.push(FieldChange {
            path: path.to_owned(),
            was: Some(format!("constants {}", old.join(", "))),
            now: Some(format!("constants {}", new.join(", "))),
        });
    }
}

fn join(path: &str, part: &str) -> String {
    match (path, part) {
        ("", part) => part.to_owned(),
        (path, "") => path.to_owned(),
        (path, part) => format!("{path}.{part}"),
    }
}

/// The name of a part of a composite serializer.
fn part_name(of: &SerializerSnapshot, index: usize) -> String {
    let class = of.class.rsplit(['.', '$']).next().unwrap_or_default();
    let kind = class.strip_suffix("SerializerSnapshot").unwrap_or(class);
    match (kind, index) {
        ("List" | "Set" | "GenericArray", _) => "element".to_owned(),
        ("Map" | "Timer", 0) => "key".to_owned(),
        ("Map", _) => "value".to_owned(),
        ("Timer", _) => "namespace".to_owned(),
        ("JavaEither", 0) => "left".to_owned(),
        ("JavaEither", _) => "right".to_owned(),
        ("Tuple" | "Row", index) => format!("f{index}"),
        _ if of.nested().len() == 1 => String::new(),
        _ => format!("part{index}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_serializer::{FlinkType, OptionalEntry};

    fn words(old: &SerializerSnapshot, new: &SerializerSnapshot) -> Vec<String> {
        changes(old, new).iter().map(ToString::to_string).collect()
    }

    fn pojo(fields: &[(&str, SerializerSnapshot)]) -> SerializerSnapshot {
        let fields = fields.iter().map(|(name, value)| OptionalEntry {
            name: (*name).to_owned(),
            key: None,
            value: Some(value.clone()),
        });
        SerializerSnapshot {
            class: "org.apache.flink.api.java.typeutils.runtime.PojoSerializerSnapshot".to_owned(),
            version: 2,
            body: SnapshotBody::Pojo {
                class: "shop.Order".to_owned(),
                fields: fields.collect(),
                registered: Vec::new(),
                other: Vec::new(),
            },
        }
    }

    #[test]
    fn a_difference_is_named_by_the_path_to_it() {
        let old = <(String, Vec<i64>)>::serializer_snapshot();
        assert_eq!(words(&old, &old), [""; 0]);
        let new = <(String, Vec<String>)>::serializer_snapshot();
        let found = changes(&old, &new);
        assert_eq!(found.len(), 1);
        assert!(found[0].path.starts_with("f1"), "{found:?}");
        let whole = words(&i64::serializer_snapshot(), &String::serializer_snapshot());
        assert_eq!(whole, ["the type was Long, is String"]);
    }

    #[test]
    fn fields_are_matched_by_name_whatever_their_order() {
        let (text, number) = (String::serializer_snapshot(), i64::serializer_snapshot());
        let old = pojo(&[("a", text.clone()), ("b", number.clone())]);
        let swapped = pojo(&[("b", number.clone()), ("a", text.clone())]);
        assert_eq!(words(&old, &swapped), [""; 0]);
        let new = pojo(&[("b", text.clone()), ("c", number)]);
        assert_eq!(
            words(&old, &new),
            [
                "a (String) is removed",
                "b was Long, is String",
                "c (Long) is new"
            ]
        );
    }
}
