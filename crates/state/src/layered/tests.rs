use super::*;
use millpond_serializer::VoidNamespace;
use proptest::prelude::*;
use std::collections::HashMap;

type Group = Layered<i64, VoidNamespace, String>;
type Image = FrozenGroup<i64, VoidNamespace, String>;
type Model = HashMap<i64, String>;

#[derive(Clone, Debug)]
enum Step {
    Put(i64, u8),
    Remove(i64),
    /// Appends in place; removes what has grown long; leaves what is absent.
    Modify(i64),
    /// Appends by value, also to nothing; removes what has grown long.
    Update(i64),
    Freeze,
    /// Drops one of the live images, which one given by this number.
    Drop(usize),
    Maintain(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0i64..24;
    let step = prop_oneof![
        6 => (key.clone(), any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        4 => key.clone().prop_map(Step::Remove),
        4 => key.clone().prop_map(Step::Modify),
        6 => key.prop_map(Step::Update),
        2 => Just(Step::Freeze),
        2 => any::<usize>().prop_map(Step::Drop),
        4 => (0usize..12).prop_map(Step::Maintain),
    ];
    prop::collection::vec(step, 0..200)
}

fn visible(group: &Group) -> Vec<(i64, String)> {
    let mut entries = Vec::new();
    group.for_each(|key, _, value| entries.push((*key, value.clone())));
    entries.sort();
    entries
}

fn image(frozen: &Image) -> Vec<(i64, String)> {
    let mut entries = Vec::new();
    let visited = frozen.try_for_each(|key, _, value| {
        entries.push((*key, value.clone()));
        Ok::<(), ()>(())
    });
    assert_eq!(visited, Ok(()));
    entries.sort();
    entries
}

fn sorted(model: &Model) -> Vec<(i64, String)> {
    let mut entries: Vec<_> = model
        .iter()
        .map(|(key, value)| (*key, value.clone()))
        .collect();
    entries.sort();
    entries
}

fn apply(group: &mut Group, model: &mut Model, images: &mut Vec<(Image, Model)>, step: &Step) {
    apply_counted(group, model, images, step, &ChangedBytes::default());
}

fn apply_counted(
    group: &mut Group,
    model: &mut Model,
    images: &mut Vec<(Image, Model)>,
    step: &Step,
    changed: &ChangedBytes,
) {
    match step {
        Step::Put(key, value) => {
            group.put(Probe::of(key, &VoidNamespace), value.to_string());
            model.insert(*key, value.to_string());
        }
        Step::Remove(key) => {
            group.remove(Probe::of(key, &VoidNamespace));
            model.remove(key);
        }
        Step::Modify(key) => {
            group.modify(Probe::of(key, &VoidNamespace), |value| match value {
                Some(value) if value.len() > 5 => Change::Remove,
                Some(value) => {
                    value.push('m');
                    Change::Keep
                }
                None => Change::Keep,
            });
            match model.get_mut(key) {
                Some(value) if value.len() > 5 => drop(model.remove(key)),
                Some(value) => value.push('m'),
                None => {}
            }
        }
        Step::Update(key) => {
            let update = |value: &mut Option<String>| match value {
                Some(long) if long.len() > 5 => *value = None,
                Some(value) => value.push('u'),
                None => *value = Some(String::new()),
            };
            group.update_with(Probe::of(key, &VoidNamespace), update);
            let mut value = model.remove(key);
            update(&mut value);
            model.extend(value.map(|value| (*key, value)));
        }
        Step::Freeze => match group.freeze(changed) {
            Some(frozen) => images.push((frozen, model.clone())),
            None => assert!(model.is_empty()),
        },
        Step::Drop(which) => {
            if !images.is_empty() {
                let which = which % images.len();
                check_image(&images.swap_remove(which));
            }
        }
        Step::Maintain(budget) => {
            let mut left = *budget;
            match group.maintain(&mut left) {
                Progress::Done => assert!(!group.is_stacked()),
                Progress::Waiting => assert!(!images.is_empty()),
                Progress::More => assert_eq!(left, 0),
            }
        }
    }
}

fn check_image((frozen, model): &(Image, Model)) {
    assert_eq!(image(frozen), sorted(model));
}

proptest! {
    #[test]
    fn a_group_is_a_map_and_an_image_is_the_map_at_its_freeze(steps in steps()) {
        let mut group = Group::new();
        let mut model = Model::new();
        let mut images = Vec::new();
        let changed = ChangedBytes::default();
        for step in &steps {
            apply_counted(&mut group, &mut model, &mut images, step, &changed);
            prop_assert_eq!(group.len(), model.len());
            let in_deltas = group.stack().map_or(0, |stack| {
                stack.deltas().map(|delta| delta.iter().count()).sum::<usize>()
            });
            prop_assert_eq!(
                changed.get(),
                in_deltas * Delta::<i64, VoidNamespace, String>::ENTRY_BYTES
            );
            for key in 0..24 {
                prop_assert_eq!(group.get(Probe::of(&key, &VoidNamespace)), model.get(&key));
            }
        }
        prop_assert_eq!(visible(&group), sorted(&model));
        images.iter().for_each(check_image);
        images.clear();
        let mut budget = usize::MAX;
        prop_assert_eq!(group.maintain(&mut budget), Progress::Done);
        prop_assert!(!group.is_stacked());
        prop_assert_eq!(changed.get(), 0);
        prop_assert_eq!(visible(&group), sorted(&model));
    }
}

#[test]
fn layers_stay_few_while_one_snapshot_is_stuck_and_others_come_and_go() {
    let mut group = Group::new();
    let mut model = Model::new();
    let mut images = Vec::new();
    for key in 0..8 {
        apply(&mut group, &mut model, &mut images, &Step::Put(key, 0));
    }
    apply(&mut group, &mut model, &mut images, &Step::Freeze);
    for round in 0..50 {
        apply(
            &mut group,
            &mut model,
            &mut images,
            &Step::Put(round % 12, 1),
        );
        apply(&mut group, &mut model, &mut images, &Step::Freeze);
        apply(
            &mut group,
            &mut model,
            &mut images,
            &Step::Update(round % 5),
        );
        apply(&mut group, &mut model, &mut images, &Step::Drop(1));
        apply(&mut group, &mut model, &mut images, &Step::Maintain(100));
        let stack = group.stack().expect("an image lives");
        assert!(
            stack.deltas().count() <= 3,
            "{} layers",
            stack.deltas().count()
        );
    }
    check_image(&images[0]);
}

#[test]
fn an_entry_of_two_longs_takes_sixteen_bytes() {
    assert_eq!(size_of::<Entry<i64, VoidNamespace, i64>>(), 16);
}

#[test]
fn a_small_group_lies_in_the_list_of_groups_itself() {
    assert_eq!(size_of::<Group>(), 32);
    assert_eq!(size_of::<Layered<i64, VoidNamespace, i64>>(), 32);
}

#[test]
fn a_group_stays_what_it_is_while_it_grows_from_small_to_large_around_snapshots() {
    let mut group = Layered::<i64, VoidNamespace, i64>::new();
    let keys = 5 * SEGMENT_LOAD as i64;
    let mut images = Vec::new();
    for key in 0..keys {
        group.put(Probe::of(&key, &VoidNamespace), key);
        group.update_with(Probe::of(&(key / 2), &VoidNamespace), |value| {
            *value = value.map(|value| value + 1_000_000);
        });
        if key % 9_000 == 8_999 {
            images.push((
                group.freeze(&ChangedBytes::default()).expect("not empty"),
                group.len(),
            ));
        }
        if key % 20_000 == 19_999 {
            images.clear();
        }
        group.maintain(&mut 1_000);
    }
    for (frozen, len) in images {
        let mut found = 0;
        let counted = frozen.try_for_each(|_, _, _| {
            found += 1;
            Ok::<(), ()>(())
        });
        assert_eq!((counted, found), (Ok(()), len));
    }
    while group.maintain(&mut 1_000) != Progress::Done {}
    assert!(matches!(&group, Layered::Other(other) if matches!(**other, Other::Owned(_))));
    assert_eq!(group.len(), keys as usize);
    for key in 0..keys {
        let added = 1_000_000 * if key < keys / 2 { 2 } else { 0 };
        let expected = key + added;
        assert_eq!(
            group.get(Probe::of(&key, &VoidNamespace)),
            Some(&expected),
            "{key}"
        );
    }
    for key in 0..keys {
        group.remove(Probe::of(&key, &VoidNamespace));
    }
    assert_eq!(group.len(), 0);
}
