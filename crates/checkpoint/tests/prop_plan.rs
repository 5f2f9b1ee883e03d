//! The plan of a restore is what the restore then does, for random pairs of snapshot and program.
//!
//! A snapshot is written by the state backends themselves and read back; a program is described by
//! empty backends. Then every subtask restores and registers as an operator does, and what came of
//! it is compared with the plan, state by state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millpond_checkpoint::plan::{
    DescribedOperator, Outcome, PlanInput, PlanOptions, StatePlan, Verdict,
};
use millpond_checkpoint::{RestorePlan, RestoreRequest};
use millpond_fs::Location;
use millpond_fs::memory::MemoryFileSystem;
use millpond_job::JobGraph;
use millpond_job::graph::{ChainingStrategy, NodeId, NodeKind, StreamGraph, StreamNode};
use millpond_serializer::{FlinkKey, FlinkPojo, VoidNamespace};
use millpond_snapshot::{
    KeyGroupsKind, KeyedHandle, LoadedSnapshot, Metadata, OperatorRecord, OperatorSnapshot,
    OperatorStateHandle, StateRecord, StreamHandle, SubtaskRecord, SubtaskSnapshot, Trailer, load,
    write_metadata,
};
use millpond_state::{KeyedBackend, OperatorStateBackend, Result, StateDescription};
use millpond_types::{JobId, KeyGroupRange, OperatorId};
use proptest::prelude::*;

const MAX_PARALLELISM: u32 = 8;

/// What a keyed state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keyed {
    Long,
    Text,
    List,
    Map,
    Reducing,
    /// A POJO.
    Order,
    /// The same with a field more and one less.
    LaterOrder,
    /// Of the service of this name, whatever the state is called.
    Timers(&'static str),
}

#[derive(FlinkPojo, Clone, Debug)]
#[flink(class = "shop.Order", crate = "millpond_serializer")]
struct Order {
    cents: i64,
    note: String,
}

#[derive(FlinkPojo, Clone, Debug)]
#[flink(class = "shop.Order", crate = "millpond_serializer")]
struct LaterOrder {
    cents: i64,
    paid: bool,
}

/// What an operator state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listed {
    Split,
    SplitText,
    Union,
    Broadcast,
}

/// The states of an operator, each with how many keys or elements it has.
#[derive(Clone, Debug)]
struct States {
    long_keys: bool,
    parallelism: u32,
    keyed: BTreeMap<&'static str, (Keyed, u8)>,
    listed: BTreeMap<&'static str, (Listed, u8)>,
}

/// Adds an entry for the current key, or an element.
type Fill = Box<dyn FnMut(u8)>;

fn register_keyed<K: FlinkKey>(backend: &KeyedBackend<K>, name: &str, kind: Keyed) -> Result<Fill> {
    Ok(match kind {
        Keyed::Long => {
            let mut state = backend.value_state::<i64>(name)?;
            Box::new(move |n| state.update(i64::from(n)))
        }
        Keyed::Text => {
            let mut state = backend.value_state::<String>(name)?;
            Box::new(move |n| state.update(n.to_string()))
        }
        Keyed::List => {
            let mut state = backend.list_state::<i64>(name)?;
            Box::new(move |n| state.add(i64::from(n)))
        }
        Keyed::Map => {
            let mut state = backend.map_state::<String, i64>(name)?;
            Box::new(move |n| state.put("k".to_owned(), i64::from(n)))
        }
        Keyed::Reducing => {
            let mut state = backend.reducing_state::<i64>(name, |a, b| a + b)?;
            Box::new(move |n| state.add(i64::from(n)))
        }
        Keyed::Order => {
            let mut state = backend.value_state::<Order>(name)?;
            Box::new(move |n| {
                let (cents, note) = (i64::from(n), n.to_string());
                state.update(Order { cents, note });
            })
        }
        Keyed::LaterOrder => {
            let mut state = backend.value_state::<LaterOrder>(name)?;
            Box::new(move |n| {
                let (cents, paid) = (i64::from(n), n > 1);
                state.update(LaterOrder { cents, paid });
            })
        }
        Keyed::Timers(service) => {
            let timers = backend.timers::<VoidNamespace>(service)?.handle();
            Box::new(move |n| timers.register_event_time(&VoidNamespace, i64::from(n)))
        }
    })
}

fn register_listed(backend: &OperatorStateBackend, name: &str, kind: Listed) -> Result<Fill> {
    Ok(match kind {
        Listed::Split => {
            let mut list = backend.list_state::<i64>(name)?;
            Box::new(move |n| list.add(i64::from(n)))
        }
        Listed::SplitText => {
            let mut list = backend.list_state::<String>(name)?;
            Box::new(move |n| list.add(n.to_string()))
        }
        Listed::Union => {
            let mut list = backend.union_list_state::<i64>(name)?;
            Box::new(move |n| list.add(i64::from(n)))
        }
        Listed::Broadcast => {
            let mut map = backend.broadcast_state::<String, i64>(name)?;
            Box::new(move |n| {
                map.put(n.to_string(), 1);
            })
        }
    })
}

/// The backends of one subtask, with everything registered.
fn register<K: FlinkKey>(
    states: &States,
    keyed: &KeyedBackend<K>,
    listed: &OperatorStateBackend,
) -> Result<Vec<(Fill, u8, bool)>> {
    let mut fills = Vec::new();
    for (name, (kind, count)) in &states.keyed {
        fills.push((register_keyed(keyed, name, *kind)?, *count, true));
    }
    for (name, (kind, count)) in &states.listed {
        fills.push((register_listed(listed, name, *kind)?, *count, false));
    }
    Ok(fills)
}

fn backend<K: FlinkKey>(subtask: u32, parallelism: u32) -> KeyedBackend<K> {
    let range = KeyGroupRange::of_subtask(subtask, parallelism, MAX_PARALLELISM);
    KeyedBackend::new(MAX_PARALLELISM, range)
}

/// The number of a key, as a key.
trait Numbered: FlinkKey {
    fn numbered(n: u8) -> Self;
}

impl Numbered for String {
    fn numbered(n: u8) -> Self {
        format!("key {n}")
    }
}

impl Numbered for i64 {
    fn numbered(n: u8) -> Self {
        i64::from(n)
    }
}

fn written<K: Numbered>(states: &States) -> Metadata {
    let id = OperatorId::of_uid("op");
    let mut operator = OperatorSnapshot::new(id, states.parallelism, MAX_PARALLELISM);
    let mut subtasks = Vec::new();
    for subtask in 0..states.parallelism {
        let keyed: KeyedBackend<K> = backend(subtask, states.parallelism);
        let listed = OperatorStateBackend::new();
        for (mut fill, count, is_keyed) in register(states, &keyed, &listed).expect("free") {
            for n in 0..count {
                let key = K::numbered(n);
                let group = keyed.key_group(&key);
                if !is_keyed {
                    fill(n);
                } else if keyed.range().contains(group) {
                    keyed.set_current_key(&key, group);
                    fill(n);
                }
            }
        }
        let mut record = SubtaskRecord {
            index: subtask,
            pending_transactions: false,
            ended: false,
            positions: Vec::new(),
            states: Vec::new(),
        };
        let inline = |name: &str, data| StreamHandle::Bytes {
            name: format!("millpond-{name}-{subtask}"),
            data,
        };
        let mut snapshot = SubtaskSnapshot::default();
        let mut bytes = Vec::new();
        let all = keyed.freeze().write(&mut bytes).expect("memory");
        record.states.extend(all.states);
        snapshot.managed_keyed = Some(KeyedHandle::KeyGroups {
            kind: KeyGroupsKind::Savepoint,
            groups: all.groups,
            stream: inline("keyed", bytes),
        });
        let mut bytes = Vec::new();
        let all = listed.freeze().write(&mut bytes).expect("memory");
        record.states.extend(all.states);
        if !all.offsets.is_empty() {
            snapshot.managed_operator = Some(OperatorStateHandle {
                states: all.offsets,
                stream: inline("listed", bytes),
                merged: None,
            });
        }
        operator.subtasks.push((subtask, snapshot));
        subtasks.push(record);
    }
    let mut metadata = Metadata::new(1);
    metadata.operators.push(operator);
    metadata.trailer = Some(Trailer {
        millpond_version: "0.1.0".to_owned(),
        job_id: JobId([1; 16]),
        job_name: "job".to_owned(),
        savepoint: true,
        parent: None,
        files: Vec::new(),
        operators: vec![OperatorRecord {
            id,
            name: "op".to_owned(),
            uid: Some("op".to_owned()),
            subtasks,
        }],
    });
    metadata
}

fn loaded(metadata: &Metadata) -> Arc<LoadedSnapshot> {
    let fs = MemoryFileSystem::new();
    let directory = Location::parse("/sp").expect("a path");
    write_metadata(&fs, &directory, metadata).expect("room");
    Arc::new(load(Arc::new(fs), &directory).expect("a snapshot"))
}

fn graph(parallelism: u32) -> JobGraph {
    let node = StreamNode {
        id: NodeId(0),
        name: "op".to_owned(),
        uid: Some("op".to_owned()),
        uid_hash: None,
        kind: NodeKind::Source,
        parallelism,
        max_parallelism: None,
        chaining: ChainingStrategy::Always,
    };
    let graph = StreamGraph {
        nodes: vec![node],
        edges: Vec::new(),
    };
    JobGraph::build(&graph, true, true).expect("is a job")
}

fn described<K: FlinkKey>(states: &States) -> StateDescription {
    let keyed: KeyedBackend<K> = backend(0, states.parallelism);
    let listed = OperatorStateBackend::new();
    register(states, &keyed, &listed).expect("names are free");
    StateDescription {
        keyed: Some(keyed.describe()),
        operator: Some(listed.describe()),
    }
}

/// What a restore came to, over all subtasks.
#[derive(Debug, Default)]
struct Restored {
    /// Entries by state, whether it is keyed, those that are carried included.
    entries: BTreeMap<(bool, String), u64>,
    unclaimed: BTreeSet<(bool, String)>,
}

fn restored<K: FlinkKey>(
    snapshot: &LoadedSnapshot,
    states: &States,
    graph: &JobGraph,
) -> Result<Restored> {
    let request = RestoreRequest {
        pointer: "/sp",
        directory: "/sp",
        allow_non_restored_state: true,
    };
    let plan = RestorePlan::new(&snapshot.metadata, graph, request).expect("fits");
    let mut all = Restored::default();
    for subtask in 0..states.parallelism {
        let keyed: KeyedBackend<K> = backend(subtask, states.parallelism);
        let listed = OperatorStateBackend::new();
        let id = OperatorId::of_uid("op");
        let own = plan.operator(id, subtask).expect("is known");
        for handle in &own.keyed {
            keyed.restore(snapshot, handle)?;
        }
        for handle in &own.operator {
            listed.restore(snapshot, handle)?;
        }
        register(states, &keyed, &listed)?;
        let mut add = |is_keyed, records: Vec<StateRecord>| {
            for record in records {
                let entries: u64 = record.key_groups.iter().map(|group| group.entries).sum();
                *all.entries.entry((is_keyed, record.name)).or_default() += entries;
            }
        };
        let mut bytes = Vec::new();
        add(
            true,
            keyed.freeze().write(&mut bytes).expect("memory").states,
        );
        add(
            false,
            listed.freeze().write(&mut bytes).expect("memory").states,
        );
        let names = keyed
            .describe()
            .unclaimed
            .into_iter()
            .map(|one| (true, one));
        let lists = listed
            .describe()
            .unclaimed
            .into_iter()
            .map(|one| (false, one));
        let names = names
            .chain(lists)
            .map(|(keyed, one)| (keyed, one.meta.name));
        all.unclaimed.extend(names);
    }
    Ok(all)
}

fn keyed_kind() -> impl Strategy<Value = Keyed> {
    prop::sample::select(vec![
        Keyed::Long,
        Keyed::Text,
        Keyed::List,
        Keyed::Map,
        Keyed::Reducing,
        Keyed::Order,
        Keyed::LaterOrder,
    ])
}

fn states() -> impl Strategy<Value = States> {
    let listed = prop::sample::select(vec![
        Listed::Split,
        Listed::SplitText,
        Listed::Union,
        Listed::Broadcast,
    ]);
    let names = || prop::sample::select(vec!["a", "b", "c"]);
    let services = prop::sample::subsequence(vec!["user-timers", "window-timers"], 0..=2);
    (
        prop::bool::weighted(0.1),
        1u32..4,
        prop::collection::btree_map(names(), (keyed_kind(), 0u8..4), 0..3),
        prop::collection::btree_map(names(), (listed, 0u8..4), 0..3),
        services,
        0u8..3,
    )
        .prop_map(
            |(long_keys, parallelism, mut keyed, listed, services, timers)| {
                for service in services {
                    keyed.insert(service, (Keyed::Timers(service), timers));
                }
                States {
                    long_keys,
                    parallelism,
                    keyed,
                    listed,
                }
            },
        )
}

/// A snapshot, and a program that mostly has the same states.
fn pairs() -> impl Strategy<Value = (States, States)> {
    (states(), states(), any::<[bool; 6]>()).prop_map(|(old, mut new, keep)| {
        let mut keep = keep.into_iter();
        for (name, state) in &old.keyed {
            if keep.next().unwrap_or(true) {
                new.keyed.insert(name, *state);
            }
        }
        for (name, state) in &old.listed {
            if keep.next().unwrap_or(true) {
                new.listed.insert(name, *state);
            }
        }
        (old, new)
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_plan_is_what_the_restore_then_does((old, new) in pairs()) {
        let metadata = match old.long_keys {
            true => written::<i64>(&old),
            false => written::<String>(&old),
        };
        let snapshot = loaded(&metadata);
        let inventory = snapshot.inventory().expect("readable");
        let mut counted = inventory.clone();
        snapshot.count_entries(&mut counted[0]).expect("readable");
        prop_assert!(
            inventory[0].states.iter().zip(&counted[0].states).all(|(trailer, counted)| {
                trailer.entries.is_none() || trailer == counted
            }),
            "what the trailer says is what a count finds"
        );
        let graph = graph(new.parallelism);
        let states = match new.long_keys {
            true => described::<i64>(&new),
            false => described::<String>(&new),
        };
        let program = [DescribedOperator {
            id: OperatorId::of_uid("op"),
            has_coordinator: false,
            states: Ok(states),
        }];
        let plan = StatePlan::new(PlanInput {
            pointer: "/sp",
            snapshot: Some((&snapshot.metadata, &counted)),
            graph: &graph,
            program: &program,
            options: PlanOptions::default(),
        });
        let done = match new.long_keys {
            true => restored::<i64>(&snapshot, &new, &graph),
            false => restored::<String>(&snapshot, &new, &graph),
        };
        prop_assert_eq!(plan.verdict == Verdict::Impossible, done.is_err(), "{:?} {:?}", plan, done);
        prop_assert_eq!(plan.refusal().is_some(), plan.verdict.exit_code() != 0);
        let Ok(done) = done else { return Ok(()) };
        prop_assert_eq!(plan.verdict == Verdict::Clean, done.unclaimed.is_empty());
        for (_, state) in plan.states() {
            let is_keyed = !["split-list", "union-list", "broadcast"].contains(&state.kind.as_str());
            let name = (is_keyed, state.name.clone());
            let entries = done.entries.get(&name).copied().unwrap_or(0);
            let was_empty = state.entries == Some(0);
            match state.outcome {
                // A map is one element for each subtask, whatever it holds.
                Outcome::New if state.kind == "broadcast" => {}
                Outcome::New => prop_assert_eq!(entries, 0),
                Outcome::Restored => prop_assert!(!done.unclaimed.contains(&name)),
                Outcome::Dropped | Outcome::UnclaimedTimers => {
                    prop_assert!(state.carried);
                    prop_assert_eq!(done.unclaimed.contains(&name), !was_empty, "{:?}", state);
                }
                Outcome::Migrated => {
                    prop_assert!(!done.unclaimed.contains(&name));
                    let changed: Vec<_> = state.changes.iter().map(|c| c.path.as_str()).collect();
                    prop_assert!(changed.contains(&"note") && changed.contains(&"paid"));
                }
                Outcome::Reconfigured | Outcome::Incompatible => {
                    prop_assert!(false, "{:?}", state);
                }
            }
            // Restored or carried, no entry is lost; each subtask has all of a union or a map.
            let copies = match state.kind.as_str() {
                "union-list" => u64::from(new.parallelism),
                "broadcast" => continue,
                _ => 1,
            };
            prop_assert_eq!(entries, state.entries.unwrap_or(0) * copies, "{:?}", state);
        }
    }
}
