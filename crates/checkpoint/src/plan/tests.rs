use millpond_job::JobGraph;
use millpond_job::graph::{ChainingStrategy, NodeId, NodeKind, StreamGraph, StreamNode};
use millpond_serializer::FlinkType;
use millpond_serializer::SerializerSnapshot;
use millpond_snapshot::{
    KeyGroupOffsets, KeyGroupsKind, KeyedHandle, KeyedStateType, Metadata, OperatorInventory,
    OperatorRecord, OperatorSnapshot, StateInventory, StateMeta, StreamHandle, SubtaskRecord,
    SubtaskSnapshot, Trailer,
};
use millpond_state::{KeyedBackend, OperatorStateBackend, StateDescription, StateTtlConfig};
use millpond_types::{JobId, KeyGroupRange, ManualClock, OperatorId};

use super::*;

/// A graph of one operator, with this uid.
fn graph(uid: &str) -> JobGraph {
    let node = StreamNode {
        id: NodeId(0),
        name: "Counter".to_owned(),
        uid: Some(uid.to_owned()),
        uid_hash: None,
        kind: NodeKind::Source,
        parallelism: 2,
        max_parallelism: None,
        chaining: ChainingStrategy::Always,
    };
    let graph = StreamGraph {
        nodes: vec![node],
        edges: Vec::new(),
    };
    JobGraph::build(&graph, true, true).expect("is a job")
}

/// What an operator with String keys says that registers state by `register`.
fn keyed(register: impl FnOnce(&KeyedBackend<String>)) -> StateDescription {
    let backend = KeyedBackend::new(128, KeyGroupRange::of_subtask(0, 2, 128));
    register(&backend);
    StateDescription {
        keyed: Some(backend.describe()),
        operator: Some(OperatorStateBackend::new().describe()),
    }
}

fn value(name: &str, of: SerializerSnapshot, entries: Option<u64>) -> StateInventory {
    let void = SerializerSnapshot::void_namespace();
    StateInventory {
        metas: vec![StateMeta::key_value(name, KeyedStateType::Value, void, of)],
        entries,
        bytes: entries.map(|entries| entries * 10),
    }
}

fn timers(name: &str, entries: u64) -> StateInventory {
    let element = SerializerSnapshot::timer(
        String::serializer_snapshot(),
        SerializerSnapshot::void_namespace(),
    );
    StateInventory {
        metas: vec![StateMeta::priority_queue(name, element)],
        entries: Some(entries),
        bytes: None,
    }
}

/// A snapshot of the operator "counter" with String keys and these states.
fn snapshot(states: Vec<StateInventory>) -> (Metadata, Vec<OperatorInventory>) {
    let id = OperatorId::of_uid("counter");
    let mut operator = OperatorSnapshot::new(id, 3, 256);
    let subtask = SubtaskSnapshot {
        managed_keyed: Some(KeyedHandle::KeyGroups {
            kind: KeyGroupsKind::Savepoint,
            groups: KeyGroupOffsets {
                first: 0,
                offsets: vec![1; 256],
            },
            stream: StreamHandle::Relative {
                name: "millpond-1".to_owned(),
                size: 9,
            },
        }),
        ..SubtaskSnapshot::default()
    };
    operator.subtasks.push((0, subtask));
    let mut metadata = Metadata::new(7);
    metadata.operators.push(operator);
    let inventory = OperatorInventory {
        id,
        keys: vec![String::serializer_snapshot()],
        states,
        unreadable: Vec::new(),
    };
    (metadata, vec![inventory])
}

struct Case {
    metadata: Metadata,
    inventory: Vec<OperatorInventory>,
    graph: JobGraph,
    program: Vec<DescribedOperator>,
}

impl Case {
    fn new(states: Vec<StateInventory>, program: StateDescription) -> Self {
        let (metadata, inventory) = snapshot(states);
        Case {
            metadata,
            inventory,
            graph: graph("counter"),
            program: vec![DescribedOperator {
                id: OperatorId::of_uid("counter"),
                has_coordinator: false,
                states: Ok(program),
            }],
        }
    }

    fn plan(&self, options: PlanOptions) -> StatePlan {
        StatePlan::new(PlanInput {
            pointer: "/sp",
            snapshot: Some((&self.metadata, &self.inventory)),
            graph: &self.graph,
            program: &self.program,
            options,
        })
    }

    fn verdicts(&self) -> [Verdict; 3] {
        let options = |allow, ignore| PlanOptions {
            allow_non_restored_state: allow,
            ignore_unregistered_state: ignore,
        };
        [
            options(false, false),
            options(false, true),
            options(true, false),
        ]
        .map(|options| self.plan(options).verdict)
    }
}

use Verdict::{Allowed, Clean, Impossible, NeedsAllowNonRestoredState as Needs};

#[test]
fn a_renamed_state_is_not_lost_without_a_word() {
    let renamed = keyed(|backend| {
        backend.value_state::<i64>("total").expect("free");
    });
    let case = Case::new(
        vec![value("count", i64::serializer_snapshot(), Some(20))],
        renamed,
    );
    assert_eq!(case.verdicts(), [Needs, Allowed, Allowed]);
    let plan = case.plan(PlanOptions::default());
    let refusal = plan.refusal().expect("refused");
    for part in [
        "checkpoint/savepoint /sp",
        "state \"count\" (value of Long, 20 entries)",
        "(uid \"counter\")",
        "--allowNonRestoredState",
        "execution.state-recovery.ignore-unregistered-state",
        "millpond state edit",
    ] {
        assert!(refusal.contains(part), "{part}: {refusal}");
    }
}

#[test]
fn what_is_empty_needs_no_word() {
    let case = Case::new(
        vec![
            value("count", i64::serializer_snapshot(), Some(0)),
            timers("_timer_state/event_user-timers", 0),
            value("other type", i64::serializer_snapshot(), Some(0)),
        ],
        keyed(|backend| {
            backend.value_state::<String>("other type").expect("free");
        }),
    );
    assert_eq!(case.verdicts(), [Clean; 3]);
}

#[test]
fn what_nobody_has_counted_may_be_something() {
    let case = Case::new(
        vec![value("count", i64::serializer_snapshot(), None)],
        keyed(|_| ()),
    );
    assert_eq!(case.verdicts(), [Needs, Allowed, Allowed]);
    let uncounted = case.plan(PlanOptions::default()).uncounted();
    assert_eq!(uncounted, [OperatorId::of_uid("counter")]);
}

#[test]
fn timers_without_a_service_are_told_apart() {
    let case = Case::new(
        vec![timers("_timer_state/event_window-timers", 4)],
        keyed(|backend| {
            backend
                .timers::<millpond_serializer::VoidNamespace>("user-timers")
                .expect("free");
        }),
    );
    assert_eq!(case.verdicts(), [Needs, Allowed, Allowed]);
    let plan = case.plan(PlanOptions::default());
    let outcomes: Vec<_> = plan.states().map(|(_, state)| state.outcome).collect();
    assert_eq!(
        outcomes,
        [Outcome::New, Outcome::New, Outcome::UnclaimedTimers]
    );
}

#[test]
fn another_type_or_kind_is_impossible_whatever_is_allowed() {
    let text = keyed(|backend| {
        backend.value_state::<String>("count").expect("free");
    });
    let case = Case::new(
        vec![value("count", i64::serializer_snapshot(), Some(1))],
        text,
    );
    assert_eq!(case.verdicts(), [Impossible; 3]);
    let refusal = case.plan(PlanOptions::default()).refusal();
    let refusal = refusal.expect("refused");
    assert!(
        refusal.contains("\"count\"") && refusal.contains("Long") && refusal.contains("String"),
        "{refusal}"
    );
    let list = keyed(|backend| {
        backend.list_state::<i64>("count").expect("free");
    });
    let case = Case::new(
        vec![value("count", i64::serializer_snapshot(), Some(1))],
        list,
    );
    assert_eq!(case.verdicts(), [Impossible; 3]);
}

/// As in Flink 2: what is restored counts as used at the restore, or loses its times.
#[test]
fn a_state_that_gets_or_loses_a_time_to_live_is_migrated() {
    let day = StateTtlConfig::new(std::time::Duration::from_secs(86_400));
    let long = i64::serializer_snapshot();
    for (old, config) in [
        (long.clone(), day),
        (SerializerSnapshot::ttl(long), StateTtlConfig::disabled()),
    ] {
        let program = keyed(|backend| {
            let clock = std::sync::Arc::new(ManualClock::at(0));
            let states = backend.with_ttl(config, clock);
            states.value_state::<i64>("count").expect("free");
        });
        let case = Case::new(vec![value("count", old, Some(1))], program);
        assert_eq!(case.verdicts(), [Clean; 3]);
        let plan = case.plan(PlanOptions::default());
        let (_, state) = plan.states().next().expect("one state");
        assert_eq!(state.outcome, Outcome::Migrated);
        let changes = state.changes.iter().map(ToString::to_string);
        let changes: Vec<_> = changes.collect();
        assert!(
            changes.iter().any(|change| change.contains("Ttl")),
            "{changes:?}"
        );
    }
}

#[test]
fn keys_of_another_type_make_all_keyed_state_incompatible() {
    let mut case = Case::new(
        vec![value("count", i64::serializer_snapshot(), Some(1))],
        keyed(|backend| {
            backend.value_state::<i64>("count").expect("free");
        }),
    );
    case.inventory[0].keys = vec![i64::serializer_snapshot()];
    assert_eq!(case.verdicts(), [Impossible; 3]);
    let plan = case.plan(PlanOptions::default());
    assert_eq!(plan.operators[0].states[0].outcome, Outcome::Incompatible);
    let refusal = plan.refusal().expect("refused");
    assert!(refusal.contains("the key"), "{refusal}");
}

#[test]
fn an_operator_that_is_gone_or_takes_no_such_state_is_dropped_not_carried() {
    let states = || vec![value("count", i64::serializer_snapshot(), Some(3))];
    let stateless = Case::new(states(), StateDescription::stateless());
    assert_eq!(stateless.verdicts(), [Needs, Needs, Allowed]);
    let mut gone = Case::new(states(), keyed(|_| ()));
    gone.graph = graph("another");
    gone.program[0].id = OperatorId::of_uid("another");
    assert_eq!(gone.verdicts(), [Needs, Needs, Allowed]);
    for case in [stateless, gone] {
        let plan = case.plan(PlanOptions::default());
        let (_, state) = plan.states().next().expect("one state");
        assert_eq!((state.outcome, state.carried), (Outcome::Dropped, false));
    }
}

#[test]
fn an_operator_that_cannot_say_its_state_is_a_problem_only_if_it_had_some() {
    let mut case = Case::new(
        vec![value("count", i64::serializer_snapshot(), Some(3))],
        keyed(|_| ()),
    );
    case.program[0].states = Err("no such host".to_owned());
    assert_eq!(case.verdicts(), [Impossible; 3]);
    let refusal = case.plan(PlanOptions::default()).refusal();
    assert!(refusal.expect("refused").contains("no such host"));
    case.metadata.operators.clear();
    case.inventory.clear();
    assert_eq!(case.verdicts(), [Clean; 3]);
}

#[test]
fn a_header_that_is_not_understood_is_a_problem() {
    let mut case = Case::new(Vec::new(), keyed(|_| ()));
    let why = "not supported: serializer snapshot class \"RowDataSerializer\"";
    case.inventory[0].unreadable = vec![why.to_owned()];
    assert_eq!(case.verdicts(), [Impossible; 3]);
    let refusal = case.plan(PlanOptions::default()).refusal();
    assert!(refusal.expect("refused").contains("RowDataSerializer"));
}

#[test]
fn the_state_of_a_coordinator_is_not_lost_without_a_word() {
    let mut case = Case::new(Vec::new(), keyed(|_| ()));
    case.metadata.operators[0].coordinator = Some(StreamHandle::Bytes {
        name: "c".to_owned(),
        data: vec![1, 2, 3],
    });
    assert_eq!(case.verdicts(), [Needs, Needs, Allowed]);
    case.program[0].has_coordinator = true;
    assert_eq!(case.verdicts(), [Clean; 3]);
}

#[test]
fn a_job_without_a_snapshot_starts_empty() {
    let program = keyed(|backend| {
        backend.value_state::<i64>("count").expect("free");
    });
    let case = Case::new(Vec::new(), program);
    let plan = StatePlan::new(PlanInput {
        pointer: "",
        snapshot: None,
        graph: &case.graph,
        program: &case.program,
        options: PlanOptions::default(),
    });
    assert_eq!(plan.verdict, Clean);
    assert_eq!(plan.snapshot, None);
    let (_, state) = plan.states().next().expect("one state");
    assert_eq!(state.outcome, Outcome::New);
}

#[test]
fn the_plan_as_json_is_what_tools_rely_on() {
    let program = keyed(|backend| {
        backend.value_state::<i64>("count").expect("free");
        backend.value_state::<i64>("new").expect("free");
        backend.value_state::<String>("changed").expect("free");
    });
    let mut case = Case::new(
        vec![
            value("count", i64::serializer_snapshot(), Some(20)),
            value("changed", i64::serializer_snapshot(), Some(2)),
            value("gone", <(i64, String)>::serializer_snapshot(), None),
            timers("_timer_state/event_window-timers", 4),
        ],
        program,
    );
    case.metadata.trailer = Some(Trailer {
        millpond_version: "0.1.0".to_owned(),
        job_id: JobId([1; 16]),
        job_name: "shop".to_owned(),
        savepoint: true,
        parent: None,
        files: Vec::new(),
        operators: vec![OperatorRecord {
            id: OperatorId::of_uid("counter"),
            name: "Counter".to_owned(),
            uid: Some("counter".to_owned()),
            subtasks: vec![SubtaskRecord {
                index: 0,
                pending_transactions: true,
                ended: false,
                positions: vec!["topic-3@17".to_owned()],
                states: Vec::new(),
            }],
        }],
    });
    let plan = case.plan(PlanOptions::default());
    let found = serde_json::to_value(&plan).expect("serializes");
    let expected = serde_json::json!({
        "verdict": "impossible",
        "snapshot": {
            "path": "/sp",
            "checkpoint-id": 7,
            "metadata-version": 3,
            "millpond-version": "0.1.0",
            "job-name": "shop",
        },
        "problems": [],
        "operators": [{
            "uid": "counter",
            "operator-id": OperatorId::of_uid("counter").to_string(),
            "name": "Counter",
            "presence": "both",
            "parallelism": { "snapshot": 3, "program": 2 },
            "max-parallelism": { "snapshot": 256, "program": 256 },
            "key": { "snapshot": "String", "program": "String" },
            "positions": ["topic-3@17"],
            "pending-transactions": true,
            "states": [
                {
                    "name": "count", "kind": "value", "outcome": "restored",
                    "snapshot-type": "Long", "program-type": "Long",
                    "entries": 20, "bytes": 200,
                },
                {
                    "name": "new", "kind": "value", "outcome": "new", "program-type": "Long",
                },
                {
                    "name": "changed", "kind": "value", "outcome": "incompatible",
                    "snapshot-type": "Long", "program-type": "String",
                    "changes": [{ "path": "", "was": "Long", "now": "String" }],
                    "reason": found["operators"][0]["states"][2]["reason"],
                    "entries": 2, "bytes": 20,
                },
                {
                    "name": "gone", "kind": "value", "outcome": "dropped", "carried": true,
                    "snapshot-type": "Tuple<Long, String>",
                },
                {
                    "name": "_timer_state/event_window-timers", "kind": "timers",
                    "outcome": "unclaimed-timers", "carried": true,
                    "snapshot-type": "Timer<String, VoidNamespace>", "entries": 4,
                },
            ],
        }],
    });
    assert_eq!(found, expected, "{found:#}");
    let reason = found["operators"][0]["states"][2]["reason"].as_str();
    assert!(reason.is_some_and(|why| why.contains("Long") && why.contains("String")));
    let read: StatePlan = serde_json::from_value(found).expect("is read back");
    assert_eq!(read, plan);
}
