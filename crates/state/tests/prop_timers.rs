//! Timers against a sorted set.

mod standing;

use millpond_serializer::VoidNamespace;
use millpond_types::KeyGroupRange;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
enum Step {
    Register(i64, i64),
    Delete(i64, i64),
    Advance(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let timer = (
        0i64..20,
        prop_oneof![8 => 0i64..50, 1 => Just(i64::MIN), 1 => Just(i64::MAX)],
    );
    let step = prop_oneof![
        6 => timer.clone().prop_map(|(key, time)| Step::Register(key, time)),
        2 => timer.prop_map(|(key, time)| Step::Delete(key, time)),
        2 => prop_oneof![9 => -1i64..60, 1 => Just(i64::MAX)].prop_map(Step::Advance),
    ];
    prop::collection::vec(step, 0..150)
}

proptest! {
    #[test]
    fn timers_fire_once_and_in_the_order_of_time_over_all_key_groups(steps in steps()) {
        let backend = standing::backend::<i64>(128, KeyGroupRange::of_subtask(0, 1, 128));
        let timers = backend.timers::<VoidNamespace>("user-timers").unwrap();
        let handle = timers.handle();
        let mut model = BTreeSet::new();
        for step in steps {
            match step {
                Step::Register(key, time) => {
                    backend.set_current_key(&key, backend.key_group(&key));
                    handle.register_event_time(&VoidNamespace, time);
                    model.insert((time, key));
                }
                Step::Delete(key, time) => {
                    backend.set_current_key(&key, backend.key_group(&key));
                    handle.delete_event_time(&VoidNamespace, time);
                    model.remove(&(time, key));
                }
                Step::Advance(watermark) => {
                    let mut last = i64::MIN;
                    while let Some(timer) = timers.pop_event_timer(watermark) {
                        prop_assert!(last <= timer.timestamp && timer.timestamp <= watermark);
                        prop_assert_eq!(timer.group, backend.key_group(&timer.key));
                        prop_assert!(model.remove(&(timer.timestamp, timer.key)));
                        last = timer.timestamp;
                    }
                    prop_assert!(model.first().is_none_or(|(time, _)| *time > watermark));
                }
            }
            prop_assert_eq!(timers.next_event_time(), model.first().map(|(time, _)| *time));
            prop_assert_eq!(timers.len(), (model.len(), 0));
        }
    }
}

#[test]
fn event_time_and_processing_time_do_not_mix() {
    standing::on_each(|| {
        let backend = standing::backend::<String>(128, KeyGroupRange::of_subtask(0, 1, 128));
        let timers = backend.timers::<VoidNamespace>("user-timers").unwrap();
        let key = "k".to_owned();
        backend.set_current_key(&key, backend.key_group(&key));
        timers.handle().register_processing_time(&VoidNamespace, 5);
        assert_eq!(timers.pop_event_timer(i64::MAX), None);
        assert_eq!(timers.next_processing_time(), Some(5));
        assert_eq!(timers.pop_processing_timer(4), None);
        assert_eq!(
            timers.pop_processing_timer(5).map(|timer| timer.key),
            Some(key)
        );
        assert!(timers.is_empty());
    });
}
