use super::*;
use crate::{FlinkType, Row};

fn reason(answer: Compatibility) -> String {
    let Compatibility::Incompatible(why) = answer else {
        panic!("{answer:?}");
    };
    why.to_string()
}

fn pojo(fields: &[(&str, SerializerSnapshot)]) -> SerializerSnapshot {
    let entry = |(name, value): &(&str, SerializerSnapshot)| OptionalEntry {
        name: (*name).to_owned(),
        key: None,
        value: Some(value.clone()),
    };
    SerializerSnapshot::pojo("p.P", fields.iter().map(entry).collect())
}

#[test]
fn the_worst_part_decides_and_the_reason_names_part_and_both_types() {
    let old = <(String, i32)>::serializer_snapshot();
    assert_eq!(<(String, i32)>::resolve(&old), Compatibility::AsIs);
    assert_eq!(
        reason(<(String, i64)>::resolve(&old)),
        "field \"f1\": was Integer, now Long"
    );
    assert_eq!(
        reason(<(String,)>::resolve(&old)),
        "was Tuple<String, Integer>, now Tuple<String>"
    );
    let old = SerializerSnapshot::list(pojo(&[("zip", i32::serializer_snapshot())]));
    let new = SerializerSnapshot::list(pojo(&[("zip", i64::serializer_snapshot())]));
    assert_eq!(
        reason(new.resolve(&old)),
        "field \"element.zip\": was Integer, now Long"
    );
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

#[test]
fn fields_of_a_pojo_come_and_go_by_migration_but_keep_their_types() {
    let (long, text) = (i64::serializer_snapshot(), String::serializer_snapshot());
    let old = pojo(&[("a", long.clone()), ("b", text.clone())]);
    assert_eq!(old.resolve(&old), Compatibility::AsIs);
    let more = pojo(&[
        ("a", long.clone()),
        ("b", text.clone()),
        ("c", text.clone()),
    ]);
    assert_eq!(more.resolve(&old), Compatibility::AfterMigration);
    assert_eq!(old.resolve(&more), Compatibility::AfterMigration);
    let swapped = pojo(&[("b", text.clone()), ("a", long.clone())]);
    assert_eq!(swapped.resolve(&old), Compatibility::AfterMigration);
    let other_type = pojo(&[("a", text.clone()), ("c", text)]);
    assert_eq!(
        reason(other_type.resolve(&old)),
        "field \"a\": was Long, now String"
    );
    let mut other_class = old.clone();
    if let SnapshotBody::Pojo { class, .. } = &mut other_class.body {
        *class = "p.Q".to_owned();
    }
    assert_eq!(
        reason(other_class.resolve(&old)),
        "was Pojo p.P, now Pojo p.Q"
    );
}

#[test]
fn subclasses_of_a_pojo_may_come_but_registered_ones_may_not_go() {
    let base = pojo(&[]);
    let entry = || OptionalEntry {
        name: "p.Sub".to_owned(),
        key: None,
        value: Some(pojo(&[])),
    };
    let mut registered_one = base.clone();
    if let SnapshotBody::Pojo { registered, .. } = &mut registered_one.body {
        registered.push(entry());
    }
    assert_eq!(registered_one.resolve(&base), Compatibility::Reconfigured);
    assert_eq!(
        reason(base.resolve(&registered_one)),
        "registered subclass \"p.Sub\" was removed"
    );
    let mut seen_one = base.clone();
    if let SnapshotBody::Pojo { other, .. } = &mut seen_one.body {
        other.push(entry());
    }
    assert_eq!(base.resolve(&seen_one), Compatibility::Reconfigured);
}

#[test]
fn enum_constants_may_be_added_and_reordered_but_not_removed() {
    let constants = |names: &[&str]| SerializerSnapshot::java_enum("p.E", names);
    let old = constants(&["A", "B"]);
    assert_eq!(old.resolve(&old), Compatibility::AsIs);
    assert_eq!(
        constants(&["C", "B", "A"]).resolve(&old),
        Compatibility::Reconfigured
    );
    assert_eq!(
        reason(constants(&["B", "C"]).resolve(&old)),
        "enum constant \"A\" was removed"
    );
    let inside = pojo(&[("color", constants(&["B"]))]);
    assert_eq!(
        reason(inside.resolve(&pojo(&[("color", old)]))),
        "field \"color\": enum constant \"A\" was removed"
    );
}

#[test]
fn arrays_nullables_and_rows_have_rules_for_what_is_around_their_parts() {
    let long = i64::serializer_snapshot;
    let longs = SerializerSnapshot::object_array("java.lang.Long", long());
    let numbers = SerializerSnapshot::object_array("java.lang.Number", long());
    assert_eq!(
        reason(numbers.resolve(&longs)),
        "was GenericArray<Long>, which was declared otherwise"
    );
    let mut padded = SerializerSnapshot::nullable(long());
    if let SnapshotBody::Composite { outer, .. } = &mut padded.body {
        *outer = vec![0, 0, 0, 8];
    }
    assert!(!reason(SerializerSnapshot::nullable(long()).resolve(&padded)).is_empty());
    let row = <Row<(Option<i64>,)>>::serializer_snapshot();
    let mut without_kind = row.clone();
    if let SnapshotBody::Composite { outer, .. } = &mut without_kind.body {
        *outer = vec![0];
    }
    assert_eq!(row.resolve(&without_kind), Compatibility::AfterMigration);
}

#[test]
fn kryo_registrations_may_be_added_but_not_removed() {
    let kryo = |names: &[&str]| {
        let entry = |name: &&str| OptionalEntry {
            name: (*name).to_owned(),
            key: None,
            value: None,
        };
        SerializerSnapshot {
            class: format!("{}kryo.KryoSerializerSnapshot", crate::class::RUNTIME),
            version: 2,
            body: SnapshotBody::Kryo {
                class: "k.K".to_owned(),
                maps: [names.iter().map(entry).collect(), vec![], vec![]],
            },
        }
    };
    let old = kryo(&["a", "b"]);
    assert_eq!(kryo(&["a", "b", "c"]).resolve(&old), Compatibility::AsIs);
    assert_eq!(kryo(&["b", "a"]).resolve(&old), Compatibility::Reconfigured);
    assert_eq!(
        reason(kryo(&["a"]).resolve(&old)),
        "Kryo registration \"b\" was removed"
    );
}
