//! Whether state that one serializer wrote can be read with another.

use crate::class::Class;
use crate::{SerializerSnapshot, SnapshotBody};

/// What a serializer says about state that an earlier one wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compatibility {
    /// The bytes are the same.
    AsIs,
    /// Values must be read with the old serializer and written with the new one.
    AfterMigration,
    /// The bytes are the same once the new serializer has taken over parts of the old one.
    Reconfigured,
    /// The state cannot be read.
    Incompatible {
        /// What differs.
        reason: String,
    },
}

impl SerializerSnapshot {
    /// Returns whether values that `previous` describes can be read as this snapshot describes.
    ///
    /// Flink's rules for serializers without parameters and for composed ones: the classes must be
    /// equal, and all parts must be compatible. Everything else must be equal. The versions of the
    /// snapshots themselves do not matter.
    pub fn resolve(&self, previous: &SerializerSnapshot) -> Compatibility {
        if self.class != previous.class {
            return incompatible(format!(
                "was {}, now {}",
                previous.describe(),
                self.describe()
            ));
        }
        match (&self.body, &previous.body) {
            (
                SnapshotBody::Composite { outer, nested, .. },
                SnapshotBody::Composite {
                    outer: old_outer,
                    nested: old_nested,
                    ..
                },
            ) => {
                if outer != old_outer || nested.len() != old_nested.len() {
                    return incompatible(format!(
                        "was {}, now {}",
                        previous.describe(),
                        self.describe()
                    ));
                }
                nested
                    .iter()
                    .zip(old_nested)
                    .fold(Compatibility::AsIs, |whole, (new, old)| {
                        whole.and(new.resolve(old))
                    })
            }
            (SnapshotBody::Simple | SnapshotBody::Legacy { .. }, _) => Compatibility::AsIs,
            (new, old) if new == old => Compatibility::AsIs,
            _ => incompatible(format!("{} was declared otherwise", self.describe())),
        }
    }

    /// Returns the type for people: `Tuple<String, Long>`.
    pub fn describe(&self) -> String {
        let name = self.class.rsplit('.').next().unwrap_or(&self.class);
        let name = name.split('$').next().unwrap_or(name);
        let name = name.strip_suffix("Snapshot").unwrap_or(name);
        let name = name.strip_suffix("Serializer").unwrap_or(name);
        match (&self.body, self.known_class()) {
            (SnapshotBody::Composite { nested, .. }, _) => {
                let parts: Vec<_> = nested.iter().map(SerializerSnapshot::describe).collect();
                format!("{name}<{}>", parts.join(", "))
            }
            (SnapshotBody::Enum { class, .. }, _)
            | (SnapshotBody::Pojo { class, .. }, _)
            | (SnapshotBody::Kryo { class, .. }, _)
            | (
                SnapshotBody::Avro {
                    class: Some(class), ..
                },
                _,
            ) => format!("{name} {class}"),
            (SnapshotBody::Simple, Some(Class::Simple(_))) => name.to_owned(),
            (SnapshotBody::Simple | SnapshotBody::Legacy { .. }, _)
            | (SnapshotBody::Avro { class: None, .. }, _) => name.to_owned(),
        }
    }
}

impl Compatibility {
    /// Combines the answers of two parts: the worse one wins.
    #[must_use]
    pub fn and(self, other: Compatibility) -> Compatibility {
        let rank = |answer: &Compatibility| match answer {
            Compatibility::AsIs => 0,
            Compatibility::Reconfigured => 1,
            Compatibility::AfterMigration => 2,
            Compatibility::Incompatible { .. } => 3,
        };
        if rank(&other) > rank(&self) {
            other
        } else {
            self
        }
    }
}

fn incompatible(reason: String) -> Compatibility {
    Compatibility::Incompatible { reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FlinkType;

    #[test]
    fn the_worst_part_decides_and_the_reason_names_both_types() {
        let old = <(String, i32)>::serializer_snapshot();
        assert_eq!(<(String, i32)>::resolve(&old), Compatibility::AsIs);
        let Compatibility::Incompatible { reason } = <(String, i64)>::resolve(&old) else {
            panic!("i32 is not i64");
        };
        assert_eq!(reason, "was Int, now Long");
        let Compatibility::Incompatible { reason } = <(String,)>::resolve(&old) else {
            panic!("arity differs");
        };
        assert_eq!(reason, "was Tuple<String, Int>, now Tuple<String>");
    }

    #[test]
    fn an_old_snapshot_of_the_same_serializer_is_as_is() {
        let mut old = i64::serializer_snapshot();
        old.version = 2;
        old.body = SnapshotBody::Legacy {
            serializer_class: "LongSerializer".to_owned(),
        };
        assert_eq!(i64::resolve(&old), Compatibility::AsIs);
    }
}
