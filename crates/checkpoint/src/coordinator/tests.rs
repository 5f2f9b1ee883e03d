//! One rule of the coordinator each; their interplay is simulated in `tests/prop_coordinator.rs`.

use millpond_job::gateway::{EpochEnd, FromWorker};
use millpond_job::graph::{
    ChainingStrategy, NodeId, NodeKind, Partitioner, StreamEdge, StreamGraph, StreamNode,
};
use millpond_job::{JobStatus, OperatorAcknowledgement, SubtaskAcknowledgement};
use millpond_snapshot::{StateRead, SubtaskSnapshot};
use millpond_types::JobId;

use super::*;
use crate::action::Outcome;
use crate::config::Retention;

const SUBTASKS: [(u32, u32); 4] = [(0, 0), (0, 1), (1, 0), (1, 1)];

/// Two vertices, "source" and "counter", of two subtasks each.
fn graph() -> JobGraph {
    let node = |id: u32, name: &str, kind: NodeKind| StreamNode {
        id: NodeId(id),
        name: name.to_owned(),
        uid: Some(name.to_owned()),
        uid_hash: None,
        kind,
        parallelism: 2,
        max_parallelism: None,
        chaining: ChainingStrategy::Always,
    };
    let graph = StreamGraph {
        nodes: vec![
            node(0, "source", NodeKind::Source),
            node(1, "counter", NodeKind::Sink),
        ],
        edges: vec![StreamEdge {
            from: NodeId(0),
            to: NodeId(1),
            input: 0,
            partitioner: Partitioner::Hash,
            side_output: None,
        }],
    };
    JobGraph::build(&graph, true, true).expect("is a job")
}

fn config() -> CoordinatorConfig {
    let mut config = CoordinatorConfig::new(JobId([0xab; 16]), "file:/c/job");
    config.interval_ms = Some(1000);
    config.timeout_ms = 10_000;
    config
}

fn trigger(number: u8) -> TriggerId {
    TriggerId([number; 16])
}

/// A coordinator whose job runs on two processes, and everything it has asked for.
struct Rig {
    coordinator: Coordinator,
    now_ms: u64,
    attempt: Attempt,
    all: Vec<Action>,
}

impl Rig {
    /// The job runs since time 0.
    fn running(config: CoordinatorConfig) -> Rig {
        let coordinator = Coordinator::new(config, &graph(), 1);
        let mut rig = Rig {
            coordinator,
            now_ms: 0,
            attempt: 0,
            all: Vec::new(),
        };
        rig.next_attempt();
        rig
    }

    fn next_attempt(&mut self) {
        self.attempt += 1;
        let attempt = self.attempt;
        self.tell(Event::AttemptStarted {
            attempt,
            processes: 2,
        });
        for process in 0..2 {
            self.tell(Event::Worker(FromWorker::Running {
                attempt,
                process,
                read: StateRead::default(),
            }));
        }
    }

    fn tell(&mut self, event: Event) -> Vec<Action> {
        let actions = self.coordinator.handle(self.now_ms, event);
        self.all.extend(actions.iter().cloned());
        actions
    }

    fn at(&mut self, now_ms: u64) -> Vec<Action> {
        self.now_ms = now_ms;
        self.tell(Event::Timer)
    }

    /// Both processes confirm the end of an epoch.
    fn confirm(&mut self, epoch: Epoch) -> Vec<Action> {
        let attempt = self.attempt;
        self.tell(Event::Worker(FromWorker::Announced {
            attempt,
            process: 0,
            epoch,
        }));
        self.tell(Event::Worker(FromWorker::Announced {
            attempt,
            process: 1,
            epoch,
        }))
    }

    fn part(
        &mut self,
        checkpoint: CheckpointId,
        vertex: u32,
        subtask: u32,
        committing: bool,
    ) -> Vec<Action> {
        let acknowledgement = SubtaskAcknowledgement {
            vertex: VertexIndex(vertex),
            subtask,
            operators: vec![OperatorAcknowledgement {
                operator: graph().vertices[vertex as usize].operators[0].id,
                state: SubtaskSnapshot::default(),
                files: Vec::new(),
                states: Vec::new(),
                positions: Vec::new(),
                pending_transactions: committing,
                ended: false,
            }],
            metrics: Default::default(),
        };
        let attempt = self.attempt;
        self.tell(Event::Worker(FromWorker::Acknowledge {
            attempt,
            checkpoint,
            acknowledgement,
        }))
    }

    /// All subtasks acknowledge; what the last one leads to.
    fn parts(&mut self, checkpoint: CheckpointId) -> Vec<Action> {
        let each = SUBTASKS.map(|(vertex, subtask)| self.part(checkpoint, vertex, subtask, false));
        each.into_iter().next_back().expect("four subtasks")
    }

    /// As [`parts`](Self::parts), with transactions in the second vertex.
    fn committing_parts(&mut self, checkpoint: CheckpointId) {
        for (vertex, subtask) in SUBTASKS {
            self.part(checkpoint, vertex, subtask, vertex == 1);
        }
    }

    fn written(&mut self, checkpoint: CheckpointId) -> Vec<Action> {
        self.tell(Event::MetadataWritten {
            checkpoint,
            result: Ok(()),
        })
    }

    /// Takes a checkpoint that has just been announced to its end.
    fn complete(&mut self, checkpoint: CheckpointId, epoch: Epoch) -> Vec<Action> {
        self.confirm(epoch);
        self.parts(checkpoint);
        self.written(checkpoint)
    }

    fn decline(&mut self, checkpoint: CheckpointId) -> Vec<Action> {
        self.tell(Event::Worker(FromWorker::Decline {
            attempt: self.attempt,
            checkpoint,
            vertex: VertexIndex(1),
            subtask: 0,
            reason: "disk full".to_owned(),
        }))
    }

    fn savepoint(&mut self, number: u8, then: AfterSavepoint) -> Vec<Action> {
        let directory = format!("file:/s/savepoint-{number}");
        self.tell(Event::TriggerSavepoint {
            trigger: trigger(number),
            directory,
            then,
            format: millpond_job::dispatcher::SavepointFormat::Canonical,
        })
    }

    fn end_sources(&mut self) -> Vec<Action> {
        let attempt = self.attempt;
        let ended = |subtask| FromWorker::SourceEnded {
            attempt,
            vertex: VertexIndex(0),
            subtask,
        };
        self.tell(Event::Worker(ended(0)));
        self.tell(Event::Worker(ended(1)))
    }

    fn candidates(&self) -> Vec<CheckpointId> {
        self.coordinator
            .recovery_candidates()
            .iter()
            .map(|c| c.checkpoint)
            .collect()
    }

    /// Why a savepoint failed.
    fn savepoint_failure(&self, number: u8) -> String {
        match self.coordinator.savepoint_status(trigger(number)) {
            Some(Operation::Completed(Err(failure))) => failure.message,
            other => panic!("savepoint {number} has not failed: {other:?}"),
        }
    }
}

/// The snapshots that are announced: number, epoch, whether a savepoint, how the job ends.
fn announced(actions: &[Action]) -> Vec<(CheckpointId, Epoch, bool, Option<StopMode>)> {
    let mut announced = Vec::new();
    for action in actions {
        if let Action::Send(ToWorker::Announce {
            epoch,
            end: EpochEnd::Snapshot(options),
            ..
        }) = action
        {
            announced.push((options.id, *epoch, options.is_savepoint, options.stop));
        }
    }
    announced
}

fn discarded(actions: &[Action]) -> Vec<(CheckpointId, DiscardReason)> {
    let mut discarded = Vec::new();
    for action in actions {
        if let Action::Discard {
            checkpoint, reason, ..
        } = action
        {
            discarded.push((*checkpoint, *reason));
        }
    }
    discarded
}

fn has_sent(actions: &[Action], message: ToWorker) -> bool {
    actions.contains(&Action::Send(message))
}

fn notified(actions: &[Action]) -> Vec<CheckpointId> {
    let mut notified = Vec::new();
    for action in actions {
        if let Action::Send(ToWorker::NotifyComplete { checkpoint, .. }) = action {
            notified.push(*checkpoint);
        }
    }
    notified
}

fn failed_attempt(actions: &[Action]) -> Option<&str> {
    let mut reasons = actions.iter().filter_map(|action| {
        if let Action::FailAttempt { reason } = action {
            Some(reason.as_str())
        } else {
            None
        }
    });
    reasons.next()
}

// The epoch protocol.

#[test]
fn sources_advance_only_when_every_process_has_confirmed_the_announcement() {
    let mut rig = Rig::running(config());
    assert_eq!(announced(&rig.at(1000)), [(1, 0, false, None)]);
    let one = FromWorker::Announced {
        attempt: 1,
        process: 1,
        epoch: 0,
    };
    assert!(rig.tell(Event::Worker(one)).is_empty());
    let other = FromWorker::Announced {
        attempt: 1,
        process: 0,
        epoch: 0,
    };
    let actions = rig.tell(Event::Worker(other));
    assert_eq!(
        actions,
        [Action::Send(ToWorker::Advance {
            attempt: 1,
            epoch: 0
        })]
    );
}

#[test]
fn a_checkpoint_given_up_while_it_is_announced_uses_its_epoch_all_the_same() {
    let mut config = config();
    config.tolerable_failed = 5;
    let mut rig = Rig::running(config);
    rig.at(1000);
    let actions = rig.decline(1);
    assert!(has_sent(
        &actions,
        ToWorker::NotifyAborted {
            attempt: 1,
            checkpoint: 1
        }
    ));
    assert_eq!(discarded(&actions), [(1, DiscardReason::Aborted)]);
    let actions = rig.savepoint(1, AfterSavepoint::Continue);
    assert!(announced(&actions).is_empty(), "epoch 0 has not ended");
    let actions = rig.confirm(0);
    assert!(has_sent(
        &actions,
        ToWorker::Advance {
            attempt: 1,
            epoch: 0
        }
    ));
    assert_eq!(announced(&actions), [(2, 1, true, None)]);
}

#[test]
fn epochs_begin_anew_with_an_attempt_and_checkpoint_numbers_do_not() {
    let mut rig = Rig::running(config());
    rig.at(1000);
    rig.complete(1, 0);
    rig.tell(Event::AttemptFailed {
        reason: "killed".to_owned(),
    });
    rig.next_attempt();
    assert_eq!(announced(&rig.at(2000)), [(2, 0, false, None)]);
}

#[test]
fn messages_of_an_older_attempt_change_nothing() {
    let mut rig = Rig::running(config());
    rig.at(1000);
    rig.tell(Event::AttemptFailed {
        reason: "killed".to_owned(),
    });
    rig.next_attempt();
    rig.at(2000);
    let before = rig.all.len();
    for process in 0..2 {
        rig.tell(Event::Worker(FromWorker::Announced {
            attempt: 1,
            process,
            epoch: 0,
        }));
    }
    let ended = FromWorker::SourceEnded {
        attempt: 1,
        vertex: VertexIndex(0),
        subtask: 0,
    };
    rig.tell(Event::Worker(ended));
    assert_eq!(rig.all.len(), before);
}

#[test]
fn an_epoch_ends_without_a_snapshot_before_ticks_run_out() {
    let mut config = config();
    config.interval_ms = None;
    config.tick_reset_interval_ms = 5000;
    let mut rig = Rig::running(config);
    assert_eq!(rig.coordinator.next_deadline(), Some(5000));
    let actions = rig.at(5000);
    let nothing = ToWorker::Announce {
        attempt: 1,
        epoch: 0,
        end: EpochEnd::Nothing,
    };
    assert_eq!(actions, [Action::Send(nothing)]);
    rig.now_ms = 5100;
    rig.confirm(0);
    assert_eq!(rig.coordinator.next_deadline(), Some(10_100));
}

#[test]
fn a_process_that_never_confirms_fails_the_attempt_since_no_epoch_can_follow() {
    let mut config = config();
    config.tolerable_failed = 5;
    let mut rig = Rig::running(config);
    rig.at(1000);
    rig.tell(Event::Worker(FromWorker::Announced {
        attempt: 1,
        process: 0,
        epoch: 0,
    }));
    let actions = rig.at(61_000);
    assert!(failed_attempt(&actions).is_some_and(|reason| reason.contains("process 1")));
}

// Completing.

#[test]
fn a_checkpoint_is_complete_only_when_its_metadata_is_durable() {
    let mut rig = Rig::running(config());
    rig.at(1000);
    rig.confirm(0);
    let actions = rig.parts(1);
    assert!(matches!(&actions[..], [Action::Complete(_)]), "{actions:?}");
    assert!(rig.coordinator.is_finalizing());
    assert!(rig.candidates().is_empty());
    let actions = rig.written(1);
    assert_eq!(notified(&actions), [1]);
    assert_eq!(rig.candidates(), [1]);
}

#[test]
fn parts_are_handed_over_in_order_of_vertex_and_subtask_and_a_repeated_one_counts_once() {
    let mut rig = Rig::running(config());
    rig.at(1000);
    rig.part(1, 1, 1, false);
    rig.part(1, 1, 1, false);
    rig.part(1, 0, 1, false);
    rig.part(1, 1, 0, false);
    let actions = rig.part(1, 0, 0, false);
    let [Action::Complete(completion)] = &actions[..] else {
        panic!("{actions:?}")
    };
    let order: Vec<_> = completion
        .acknowledgements
        .iter()
        .map(|part| (part.vertex.0, part.subtask))
        .collect();
    assert_eq!(order, SUBTASKS);
    assert_eq!(rig.coordinator.statistics().history[0].num_acknowledged, 4);
}

#[test]
fn once_the_metadata_is_being_written_neither_a_decline_nor_the_timeout_ends_a_checkpoint() {
    let mut rig = Rig::running(config());
    rig.at(1000);
    rig.confirm(0);
    rig.parts(1);
    assert!(rig.decline(1).is_empty());
    rig.at(20_000);
    assert_eq!(notified(&rig.written(1)), [1]);
}

#[test]
fn a_part_that_comes_after_its_checkpoint_was_given_up_is_discarded() {
    let mut config = config();
    config.tolerable_failed = 1;
    let mut rig = Rig::running(config);
    rig.at(1000);
    rig.decline(1);
    let actions = rig.part(1, 0, 0, false);
    let directory = "file:/c/job/chk-1".to_owned();
    let reason = DiscardReason::Late;
    assert_eq!(
        actions,
        [Action::Discard {
            checkpoint: 1,
            directory,
            reason,
            scope: Scope::Whole,
            released: Released::default(),
        }]
    );
    let actions = rig.decline(1);
    assert_eq!(
        discarded(&actions),
        [(1, DiscardReason::Late)],
        "it may have written some"
    );
}

#[test]
fn a_complete_checkpoint_subsumes_older_ones_in_progress_and_surplus_complete_ones() {
    let mut config = config();
    config.max_concurrent = 3;
    let mut rig = Rig::running(config);
    rig.at(1000);
    rig.complete(1, 0);
    rig.at(2000);
    rig.confirm(1);
    rig.at(3000);
    let actions = rig.complete(3, 2);
    assert_eq!(notified(&actions), [3]);
    let gone = discarded(&actions);
    assert_eq!(
        gone,
        [(2, DiscardReason::Aborted), (1, DiscardReason::Subsumed)]
    );
    assert_eq!(rig.coordinator.statistics().failed, 1);
    assert_eq!(failed_attempt(&rig.all), None, "being subsumed is no fault");
}

#[test]
fn numbers_continue_from_the_snapshot_that_the_job_was_started_from() {
    let mut rig = Rig::running(config());
    rig.coordinator.start_from(StartedFrom {
        checkpoint: 26,
        directory: "file:/old".to_owned(),
        is_savepoint: true,
        mode: ClaimMode::NoClaim,
        files: Vec::new(),
        files_of_others: Vec::new(),
        state_bytes: 0,
        pending_transactions: false,
    });
    assert_eq!(rig.candidates(), [26]);
    assert_eq!(announced(&rig.at(1000)), [(27, 0, false, None)]);
    rig.complete(27, 0);
    assert_eq!(rig.candidates(), [27, 26]);
}

// Times.

#[test]
fn the_first_checkpoint_comes_one_interval_after_all_tasks_run() {
    let mut rig = Rig::running(config());
    assert_eq!(rig.coordinator.next_deadline(), Some(1000));
    assert!(rig.at(999).is_empty());
    assert_eq!(announced(&rig.at(1000)).len(), 1);
}

#[test]
fn a_checkpoint_that_takes_longer_than_the_interval_is_followed_by_the_next_at_once() {
    let mut rig = Rig::running(config());
    rig.at(1000);
    rig.confirm(0);
    assert!(rig.at(2500).is_empty(), "only one at a time");
    rig.parts(1);
    assert_eq!(announced(&rig.written(1)), [(2, 1, false, None)]);
}

#[test]
fn the_minimum_pause_holds_the_next_checkpoint_back() {
    let mut config = config();
    config.min_pause_ms = 700;
    config.max_concurrent = 4;
    let mut rig = Rig::running(config);
    rig.at(1000);
    rig.confirm(0);
    assert!(rig.at(2500).is_empty(), "a pause forces one at a time");
    rig.parts(1);
    assert!(announced(&rig.written(1)).is_empty());
    assert_eq!(rig.coordinator.next_deadline(), Some(3200));
    assert_eq!(announced(&rig.at(3200)), [(2, 1, false, None)]);
}

#[test]
fn as_many_checkpoints_as_allowed_are_in_progress_and_savepoints_do_not_count() {
    let mut config = config();
    config.max_concurrent = 2;
    let mut rig = Rig::running(config);
    rig.at(1000);
    rig.confirm(0);
    rig.savepoint(1, AfterSavepoint::Continue);
    rig.confirm(1);
    assert_eq!(announced(&rig.at(2000)), [(3, 2, false, None)]);
    rig.confirm(2);
    assert!(rig.at(3000).is_empty());
    assert_eq!(
        announced(&rig.savepoint(2, AfterSavepoint::Continue)),
        [(4, 3, true, None)]
    );
}

#[test]
fn a_checkpoint_that_is_not_complete_in_time_is_given_up() {
    let mut config = config();
    config.tolerable_failed = 1;
    let mut rig = Rig::running(config);
    rig.at(1000);
    rig.confirm(0);
    assert_eq!(rig.coordinator.next_deadline(), Some(11_000));
    let actions = rig.at(11_000);
    assert_eq!(discarded(&actions), [(1, DiscardReason::Aborted)]);
    let record = &rig.coordinator.statistics().history[1];
    let message = record.failure_message.as_deref();
    assert_eq!(message, Some("Checkpoint expired before completing."));
}

// What users want.

#[test]
fn a_trigger_while_not_all_tasks_run_fails_with_flinks_text() {
    let mut rig = Rig::running(config());
    rig.tell(Event::AttemptFailed {
        reason: "killed".to_owned(),
    });
    rig.savepoint(1, AfterSavepoint::Continue);
    let job = "ab".repeat(16);
    let expected = format!(
        "Checkpoint triggering task source (1/2) of job {job} is not being executed at the moment. \
         Aborting checkpoint. Failure reason: Not all required tasks are currently running."
    );
    assert_eq!(rig.savepoint_failure(1), expected);
    let statistics = rig.coordinator.statistics();
    assert_eq!((statistics.total, statistics.failed), (1, 1));
    assert!(statistics.history.is_empty());
}

#[test]
fn the_same_trigger_id_twice_starts_one_savepoint() {
    let mut rig = Rig::running(config());
    assert_eq!(
        announced(&rig.savepoint(1, AfterSavepoint::Continue)).len(),
        1
    );
    assert!(rig.savepoint(1, AfterSavepoint::Continue).is_empty());
    rig.complete(1, 0);
    let path = "file:/s/savepoint-1".to_owned();
    let done = Some(Operation::Completed(Ok(path)));
    assert_eq!(rig.coordinator.savepoint_status(trigger(1)), done);
    assert!(rig.savepoint(1, AfterSavepoint::Continue).is_empty());
}

#[test]
fn a_plain_savepoint_commits_nothing_but_is_a_recovery_point_until_a_checkpoint_completes() {
    let mut rig = Rig::running(config());
    rig.at(1000);
    rig.complete(1, 0);
    rig.savepoint(1, AfterSavepoint::Continue);
    let actions = rig.complete(2, 1);
    assert!(notified(&actions).is_empty() && discarded(&actions).is_empty());
    assert_eq!(rig.candidates(), [2, 1]);
    rig.at(2000);
    assert_eq!(
        discarded(&rig.complete(3, 2)),
        [(1, DiscardReason::Subsumed)]
    );
    assert_eq!(rig.candidates(), [3]);
}

#[test]
fn waiting_savepoints_come_before_a_due_checkpoint() {
    let mut rig = Rig::running(config());
    rig.at(1000);
    rig.savepoint(1, AfterSavepoint::Continue);
    rig.now_ms = 2000;
    rig.decline(1);
    rig.tell(Event::AttemptStarted {
        attempt: 2,
        processes: 1,
    });
    rig.attempt = 2;
    rig.tell(Event::Worker(FromWorker::Running {
        attempt: 2,
        process: 0,
        read: StateRead::default(),
    }));
    rig.now_ms = 2500;
    rig.tell(Event::TriggerCheckpoint {
        trigger: trigger(9),
        kind: CheckpointKind::Configured,
    });
    rig.savepoint(2, AfterSavepoint::Continue);
    rig.now_ms = 3000;
    let actions = rig.tell(Event::Worker(FromWorker::Announced {
        attempt: 2,
        process: 0,
        epoch: 0,
    }));
    assert_eq!(announced(&actions), [(3, 1, true, None)]);
}

#[test]
fn a_checkpoint_by_hand_waits_for_a_free_place_but_not_for_the_pause() {
    let mut config = config();
    config.min_pause_ms = 5000;
    let mut rig = Rig::running(config);
    rig.at(1000);
    rig.confirm(0);
    assert!(
        rig.tell(Event::TriggerCheckpoint {
            trigger: trigger(1),
            kind: CheckpointKind::Configured,
        })
        .is_empty()
    );
    rig.parts(1);
    assert_eq!(announced(&rig.written(1)), [(2, 1, false, None)]);
    rig.complete(2, 1);
    let done = Some(Operation::Completed(Ok(2)));
    assert_eq!(rig.coordinator.checkpoint_status(trigger(1)), done);
    assert_eq!(rig.candidates(), [2]);
}

#[test]
fn stop_is_the_last_snapshot_commits_and_is_done_when_the_job_has_finished() {
    let mut rig = Rig::running(config());
    let actions = rig.savepoint(1, AfterSavepoint::Stop);
    assert_eq!(announced(&actions), [(1, 0, true, Some(StopMode::Suspend))]);
    rig.confirm(0);
    assert!(rig.at(5000).is_empty(), "periodic checkpoints pause");
    rig.savepoint(2, AfterSavepoint::Continue);
    assert!(rig.savepoint_failure(2).contains("already being stopped"));
    rig.parts(1);
    assert_eq!(notified(&rig.written(1)), [1]);
    assert_eq!(
        rig.coordinator.savepoint_status(trigger(1)),
        Some(Operation::InProgress)
    );
    assert!(rig.at(9000).is_empty(), "nothing behind a stop");
    let actions = rig.tell(Event::JobEnded {
        status: JobStatus::Finished,
    });
    let outcome = Outcome::Savepoint(Ok("file:/s/savepoint-1".to_owned()));
    assert_eq!(
        actions,
        [Action::Finish {
            trigger: trigger(1),
            outcome
        }]
    );
}

#[test]
fn drain_tells_the_sources_to_drain() {
    let mut rig = Rig::running(config());
    let actions = rig.savepoint(1, AfterSavepoint::Drain);
    assert_eq!(announced(&actions), [(1, 0, true, Some(StopMode::Drain))]);
}

#[test]
fn a_stop_whose_savepoint_fails_leaves_the_job_running_and_checkpoints_go_on() {
    let mut config = config();
    config.tolerable_failed = 1;
    let mut rig = Rig::running(config);
    rig.savepoint(1, AfterSavepoint::Stop);
    rig.confirm(0);
    rig.at(5000);
    let actions = rig.decline(1);
    assert_eq!(failed_attempt(&actions), None);
    let aborted = ToWorker::NotifyAborted {
        attempt: 1,
        checkpoint: 1,
    };
    assert_eq!(actions[1], Action::Send(aborted), "tasks hear it first");
    assert_eq!(announced(&actions), [(2, 1, false, None)]);
    let expected = "Checkpoint was declined. Cause: counter (1/2): disk full";
    assert_eq!(rig.savepoint_failure(1), expected);
}

#[test]
fn sources_that_have_ended_during_a_stop_that_fails_end_the_job_all_the_same() {
    let mut config = config();
    config.interval_ms = None;
    let mut rig = Rig::running(config);
    rig.savepoint(1, AfterSavepoint::Stop);
    assert!(rig.end_sources().is_empty(), "the stop ends the job");
    rig.confirm(0);
    let actions = rig.at(20_000);
    assert!(rig.savepoint_failure(1).contains("expired"));
    assert_eq!(failed_attempt(&actions), None);
    assert_eq!(actions.last(), Some(&Action::EndOfInput));
}

#[test]
fn a_drain_whose_savepoint_fails_fails_the_attempt_whatever_is_tolerated() {
    let mut config = config();
    config.tolerable_failed = 100;
    let mut rig = Rig::running(config);
    rig.savepoint(1, AfterSavepoint::Drain);
    let actions = rig.decline(1);
    let job = "ab".repeat(16);
    let reason = failed_attempt(&actions).expect("fails");
    assert!(reason.starts_with(&format!("Could not stop with a savepoint job \"{job}\".")));
    let expected = "Checkpoint was declined. Cause: counter (1/2): disk full";
    assert_eq!(rig.savepoint_failure(1), expected);
}

#[test]
fn a_job_that_dies_while_stopping_tells_where_its_savepoint_lies() {
    let mut rig = Rig::running(config());
    rig.savepoint(1, AfterSavepoint::Stop);
    rig.complete(1, 0);
    rig.tell(Event::AttemptFailed {
        reason: "killed".to_owned(),
    });
    let message = rig.savepoint_failure(1);
    assert!(message.starts_with("A savepoint has been created at: file:/s/savepoint-1"));
    assert_eq!(rig.candidates(), [1], "and recovers from it");
    rig.next_attempt();
    assert_eq!(announced(&rig.at(5000)).len(), 1, "checkpoints go on");
}

#[test]
fn cancel_with_savepoint_cancels_when_the_savepoint_is_complete() {
    let mut rig = Rig::running(config());
    rig.savepoint(1, AfterSavepoint::Cancel);
    rig.confirm(0);
    assert!(rig.at(5000).is_empty(), "periodic checkpoints pause");
    rig.parts(1);
    let actions = rig.written(1);
    assert!(notified(&actions).is_empty(), "it is no stop");
    assert_eq!(actions.last(), Some(&Action::CancelJob));
    assert!(rig.at(9000).is_empty());
}

#[test]
fn a_cancel_whose_savepoint_fails_leaves_the_job_running_and_checkpoints_go_on() {
    let mut config = config();
    config.tolerable_failed = 1;
    let mut rig = Rig::running(config);
    rig.savepoint(1, AfterSavepoint::Cancel);
    rig.confirm(0);
    rig.at(5000);
    let actions = rig.decline(1);
    assert_eq!(failed_attempt(&actions), None);
    assert_eq!(announced(&actions), [(2, 1, false, None)]);
    assert!(!rig.all.contains(&Action::CancelJob));
}

// The end of the input.

#[test]
fn when_all_sources_have_ended_a_last_checkpoint_is_taken_behind_those_in_progress() {
    let mut rig = Rig::running(config());
    rig.at(1000);
    rig.confirm(0);
    assert!(rig.end_sources().is_empty());
    rig.parts(1);
    let actions = rig.written(1);
    assert_eq!(
        announced(&actions),
        [(2, 1, false, Some(StopMode::EndOfInput))]
    );
    assert_eq!(notified(&rig.complete(2, 1)), [2]);
    assert!(rig.at(9000).is_empty(), "nothing behind it");
}

#[test]
fn a_last_checkpoint_that_fails_is_followed_by_another_one_interval_later() {
    let mut config = config();
    config.tolerable_failed = 1;
    let mut rig = Rig::running(config);
    rig.now_ms = 300;
    let last = Some(StopMode::EndOfInput);
    assert_eq!(announced(&rig.end_sources()), [(1, 0, false, last)]);
    rig.confirm(0);
    rig.now_ms = 500;
    let actions = rig.decline(1);
    assert_eq!(failed_attempt(&actions), None);
    assert_eq!(announced(&actions), []);
    assert_eq!(rig.coordinator.next_deadline(), Some(1300));
    assert_eq!(announced(&rig.at(1300)), [(2, 1, false, last)]);
    assert_eq!(notified(&rig.complete(2, 1)), [2]);
    assert!(rig.at(9000).is_empty(), "nothing behind it");
}

#[test]
fn a_last_checkpoint_that_expires_or_cannot_be_written_is_tried_again_after_the_pause() {
    let mut config = config();
    config.tolerable_failed = 2;
    config.min_pause_ms = 400;
    let mut rig = Rig::running(config);
    rig.end_sources();
    rig.confirm(0);
    assert_eq!(announced(&rig.at(10_000)), [], "expired");
    let last = Some(StopMode::EndOfInput);
    assert_eq!(announced(&rig.at(10_400)), [(2, 1, false, last)]);
    rig.confirm(1);
    rig.parts(2);
    rig.now_ms = 12_000;
    let actions = rig.tell(Event::MetadataWritten {
        checkpoint: 2,
        result: Err("no space left".to_owned()),
    });
    assert_eq!(failed_attempt(&actions), None);
    assert_eq!(announced(&rig.at(12_400)), [(3, 2, false, last)]);
}

#[test]
fn last_checkpoints_that_fail_count_like_all_others() {
    let mut config = config();
    config.tolerable_failed = 1;
    let mut rig = Rig::running(config);
    for attempt in 0..2 {
        let first = 2 * attempt + 1;
        rig.end_sources();
        rig.confirm(0);
        assert_eq!(failed_attempt(&rig.decline(first)), None);
        let later = rig.now_ms + 1000;
        rig.at(later);
        rig.confirm(1);
        let actions = rig.decline(first + 1);
        let reason = failed_attempt(&actions).expect("failed").to_owned();
        assert!(reason.contains("tolerable failure threshold"), "{reason}");
        rig.tell(Event::AttemptFailed { reason });
        rig.next_attempt();
    }
}

#[test]
fn savepoints_and_stops_go_on_while_another_last_checkpoint_is_waited_for() {
    let mut config = config();
    config.tolerable_failed = 1;
    let mut rig = Rig::running(config);
    rig.end_sources();
    rig.confirm(0);
    rig.decline(1);
    let actions = rig.savepoint(1, AfterSavepoint::Continue);
    assert_eq!(announced(&actions), [(2, 1, true, None)]);
    rig.complete(2, 1);
    let actions = rig.savepoint(2, AfterSavepoint::Stop);
    assert_eq!(announced(&actions), [(3, 2, true, Some(StopMode::Suspend))]);
    assert_eq!(notified(&rig.complete(3, 2)), [3]);
    assert!(rig.at(9000).is_empty(), "the stop has ended the job");
}

#[test]
fn without_checkpoints_the_end_of_the_input_ends_the_job_at_once() {
    let mut config = config();
    config.interval_ms = None;
    let mut rig = Rig::running(config);
    assert_eq!(rig.end_sources(), [Action::EndOfInput]);
}

#[test]
fn checkpoints_stop_with_the_first_source_if_they_are_not_to_go_on_without_it() {
    let mut config = config();
    config.checkpoints_after_tasks_finish = false;
    let mut rig = Rig::running(config);
    let ended = FromWorker::SourceEnded {
        attempt: 1,
        vertex: VertexIndex(0),
        subtask: 1,
    };
    rig.tell(Event::Worker(ended));
    assert!(rig.at(5000).is_empty());
    rig.savepoint(1, AfterSavepoint::Continue);
    assert!(
        rig.savepoint_failure(1)
            .contains("checkpoints-after-tasks-finish")
    );
    rig.end_sources();
    assert_eq!(rig.all.last(), Some(&Action::EndOfInput));
}

// Failures.

#[test]
fn more_failures_in_a_row_than_tolerated_fail_the_attempt() {
    let mut config = config();
    config.tolerable_failed = 1;
    let mut rig = Rig::running(config);
    rig.at(1000);
    rig.confirm(0);
    assert_eq!(failed_attempt(&rig.decline(1)), None);
    rig.at(2000);
    rig.confirm(1);
    let actions = rig.decline(2);
    let reason = failed_attempt(&actions).expect("fails");
    assert!(
        reason.starts_with("Exceeded checkpoint tolerable failure threshold."),
        "{reason}"
    );
    assert!(reason.ends_with("counter (1/2): disk full"), "{reason}");
}

#[test]
fn metadata_that_cannot_be_written_counts_and_leaves_nothing() {
    let mut rig = Rig::running(config());
    rig.at(1000);
    rig.confirm(0);
    rig.parts(1);
    let result = Err("no space left".to_owned());
    let actions = rig.tell(Event::MetadataWritten {
        checkpoint: 1,
        result,
    });
    assert_eq!(discarded(&actions), [(1, DiscardReason::Aborted)]);
    assert!(failed_attempt(&actions).is_some());
}

#[test]
fn a_savepoint_counts_only_when_a_task_declines_it() {
    let mut rig = Rig::running(config());
    rig.savepoint(1, AfterSavepoint::Continue);
    rig.confirm(0);
    rig.parts(1);
    let result = Err("no space left".to_owned());
    let actions = rig.tell(Event::MetadataWritten {
        checkpoint: 1,
        result,
    });
    assert_eq!(failed_attempt(&actions), None);
    assert!(rig.savepoint_failure(1).contains("no space left"));
    rig.savepoint(2, AfterSavepoint::Continue);
    rig.confirm(1);
    assert!(failed_attempt(&rig.decline(2)).is_some());
}

#[test]
fn a_failed_attempt_gives_up_all_but_what_may_be_on_disk_already() {
    let mut config = config();
    config.max_concurrent = 2;
    let mut rig = Rig::running(config);
    rig.at(1000);
    rig.confirm(0);
    rig.savepoint(1, AfterSavepoint::Continue);
    rig.confirm(1);
    rig.parts(1);
    let actions = rig.tell(Event::AttemptFailed {
        reason: "killed".to_owned(),
    });
    assert_eq!(discarded(&actions), [(2, DiscardReason::Aborted)]);
    assert_eq!(
        rig.savepoint_failure(1),
        "The job has failed. Cause: killed"
    );
    assert!(
        notified(&rig.written(1)).is_empty(),
        "there is nobody to notify"
    );
    assert_eq!(rig.candidates(), [1]);
    assert!(rig.coordinator.recovery_policy().newest_committed.is_none());
}

#[test]
fn metadata_that_is_durable_only_after_the_next_attempt_has_begun_is_discarded() {
    let mut rig = Rig::running(config());
    rig.at(1000);
    rig.confirm(0);
    rig.parts(1);
    rig.tell(Event::AttemptFailed {
        reason: "killed".to_owned(),
    });
    rig.next_attempt();
    let actions = rig.written(1);
    assert_eq!(discarded(&actions), [(1, DiscardReason::Aborted)]);
    assert!(rig.candidates().is_empty());
}

// Commits.

#[test]
fn transactions_are_committed_by_completion_and_by_restoring_but_not_by_a_plain_savepoint() {
    let mut rig = Rig::running(config());
    rig.savepoint(1, AfterSavepoint::Continue);
    rig.confirm(0);
    rig.committing_parts(1);
    rig.written(1);
    assert_eq!(rig.coordinator.recovery_policy().newest_committed, None);
    rig.tell(Event::Restored {
        checkpoint: 1,
        directory: "file:/s/savepoint-1".to_owned(),
        is_savepoint: true,
        skipped: Vec::new(),
    });
    assert_eq!(rig.coordinator.recovery_policy().newest_committed, Some(1));
    rig.at(1000);
    rig.confirm(1);
    rig.committing_parts(2);
    rig.written(2);
    assert_eq!(rig.coordinator.recovery_policy().newest_committed, Some(2));
    rig.at(2000);
    rig.complete(3, 2);
    assert_eq!(
        rig.coordinator.recovery_policy().newest_committed,
        Some(2),
        "3 has none"
    );
}

// The end of the job.

#[test]
fn a_job_that_ends_discards_what_its_retention_does_not_keep() {
    let cases = [
        (Retention::Unset, JobStatus::Canceled, 1),
        (Retention::Unset, JobStatus::Failed, 0),
        (Retention::RetainOnCancellation, JobStatus::Canceled, 0),
        (Retention::RetainOnCancellation, JobStatus::Finished, 1),
    ];
    for (retention, status, gone) in cases {
        let mut config = config();
        config.retention = retention;
        let mut rig = Rig::running(config);
        rig.at(1000);
        rig.complete(1, 0);
        rig.savepoint(1, AfterSavepoint::Continue);
        rig.complete(2, 1);
        let actions = rig.tell(Event::JobEnded { status });
        let discarded = discarded(&actions);
        assert_eq!(discarded.len(), gone, "{retention:?} {status}");
        assert!(
            !discarded.iter().any(|(id, _)| *id == 2),
            "never a savepoint"
        );
        assert_eq!(rig.coordinator.statistics().history[1].discarded, gone == 1);
    }
}

#[test]
fn a_job_that_has_ended_takes_no_trigger() {
    let mut rig = Rig::running(config());
    rig.tell(Event::JobEnded {
        status: JobStatus::Canceled,
    });
    rig.savepoint(1, AfterSavepoint::Continue);
    assert!(
        rig.savepoint_failure(1)
            .starts_with("Could not find Flink job (abab")
    );
    assert_eq!(rig.coordinator.next_deadline(), None);
}

// Statistics.

#[test]
fn statistics_count_everything_and_remember_the_newest() {
    let mut config = config();
    config.history = 2;
    config.tolerable_failed = 9;
    let mut rig = Rig::running(config);
    rig.at(1000);
    rig.complete(1, 0);
    rig.savepoint(1, AfterSavepoint::Continue);
    rig.complete(2, 1);
    rig.at(2000);
    rig.now_ms = 2040;
    rig.decline(3);
    let statistics = rig.coordinator.statistics();
    assert_eq!(
        (statistics.total, statistics.completed, statistics.failed),
        (3, 2, 1)
    );
    assert_eq!(statistics.in_progress, 0);
    let ids: Vec<_> = statistics.history.iter().map(|record| record.id).collect();
    assert_eq!(ids, [3, 2]);
    assert_eq!(
        statistics.latest_completed.as_ref().map(|record| record.id),
        Some(1)
    );
    assert_eq!(
        statistics.latest_savepoint.as_ref().map(|record| record.id),
        Some(2)
    );
    let failed = statistics.latest_failed.as_ref().expect("3 failed");
    assert_eq!((failed.id, failed.end_to_end_duration_ms), (3, 40));
}

// Files that checkpoints share.

impl Rig {
    /// All parts of a checkpoint come, that of the first subtask with these files; its metadata is
    /// written.
    fn complete_with(
        &mut self,
        checkpoint: CheckpointId,
        epoch: Epoch,
        files: &[&str],
    ) -> Vec<Action> {
        self.confirm(epoch);
        let mut actions = self.part_with(checkpoint, files);
        for (vertex, subtask) in &SUBTASKS[1..] {
            actions.extend(self.part(checkpoint, *vertex, *subtask, false));
        }
        let result = Ok(());
        actions.extend(self.tell(Event::MetadataWritten { checkpoint, result }));
        actions
    }

    fn part_with(&mut self, checkpoint: CheckpointId, files: &[&str]) -> Vec<Action> {
        use millpond_snapshot::{IncrementalHandle, KeyedHandle, NamedStream, StreamHandle};
        let stream = |path: &&str| NamedStream {
            name: (*path).to_owned(),
            stream: StreamHandle::File {
                path: format!("file:/c/job/{path}"),
                size: 10,
            },
        };
        let handle = IncrementalHandle {
            checkpoint_id: checkpoint,
            backend_id: "b".to_owned(),
            range: (0, 128),
            meta: StreamHandle::Bytes {
                name: String::new(),
                data: Vec::new(),
            },
            shared: files.iter().map(stream).collect(),
            private: Vec::new(),
            v2: None,
        };
        let acknowledgement = SubtaskAcknowledgement {
            vertex: VertexIndex(0),
            subtask: 0,
            operators: vec![OperatorAcknowledgement {
                operator: graph().vertices[0].operators[0].id,
                state: SubtaskSnapshot {
                    managed_keyed: Some(KeyedHandle::Incremental(handle)),
                    ..SubtaskSnapshot::default()
                },
                files: Vec::new(),
                states: Vec::new(),
                positions: Vec::new(),
                pending_transactions: false,
                ended: false,
            }],
            metrics: Default::default(),
        };
        let attempt = self.attempt;
        self.tell(Event::Worker(FromWorker::Acknowledge {
            attempt,
            checkpoint,
            acknowledgement,
        }))
    }

    /// The base of the newest snapshot that was announced.
    fn base(&self) -> Option<CheckpointId> {
        let mut base = None;
        for action in &self.all {
            if let Action::Send(ToWorker::Announce {
                end: EpochEnd::Snapshot(options),
                ..
            }) = action
            {
                base = Some(options.base);
            }
        }
        base.expect("one was announced")
    }

    fn start_from(&mut self, mode: ClaimMode) {
        self.coordinator.start_from(StartedFrom {
            checkpoint: 26,
            directory: "file:/old/chk-26".to_owned(),
            is_savepoint: false,
            mode,
            files: vec!["file:/old/shared/a".to_owned()],
            files_of_others: Vec::new(),
            state_bytes: 0,
            pending_transactions: false,
        });
        self.next_attempt();
        self.tell(Event::Restored {
            checkpoint: 26,
            directory: "file:/old/chk-26".to_owned(),
            is_savepoint: false,
            skipped: Vec::new(),
        });
    }
}

/// The files that are deleted one by one.
fn deleted(actions: &[Action]) -> Vec<String> {
    let mut files = Vec::new();
    for action in actions {
        if let Action::Discard { released, .. } | Action::Release(released) = action {
            files.extend(released.files.iter().cloned());
        }
    }
    files
}

#[test]
fn the_first_checkpoint_behind_no_claim_must_be_full_and_those_behind_it_build_on_it() {
    for (mode, first) in [
        (ClaimMode::NoClaim, None),
        (ClaimMode::Claim, Some(26)),
        (ClaimMode::Legacy, Some(26)),
    ] {
        let mut rig = Rig::running(config());
        rig.start_from(mode);
        rig.at(1000);
        assert_eq!(rig.base(), first, "{mode}");
        rig.decline(27);
        rig.next_attempt();
        rig.tell(Event::Restored {
            checkpoint: 26,
            directory: "file:/old/chk-26".to_owned(),
            is_savepoint: false,
            skipped: Vec::new(),
        });
        rig.at(5000);
        assert_eq!(rig.base(), first, "{mode}: none has been complete");
        rig.complete_with(28, 0, &["shared/x"]);
        rig.at(9000);
        assert_eq!(rig.base(), Some(28), "{mode}");
    }
}

#[test]
fn savepoints_and_full_checkpoints_build_on_nothing() {
    let mut rig = Rig::running(config());
    rig.at(1000);
    rig.complete_with(1, 0, &["shared/x"]);
    rig.savepoint(1, AfterSavepoint::Continue);
    assert_eq!(rig.base(), None);
    rig.complete(2, 1);
    rig.tell(Event::TriggerCheckpoint {
        trigger: trigger(2),
        kind: CheckpointKind::Full,
    });
    assert_eq!(rig.base(), None);
    rig.complete(3, 2);
    rig.tell(Event::TriggerCheckpoint {
        trigger: trigger(3),
        kind: CheckpointKind::Incremental,
    });
    assert_eq!(rig.base(), Some(3), "never on the savepoint");
}

#[test]
fn a_shared_file_is_deleted_with_its_last_checkpoint_and_that_of_a_failed_one_at_once() {
    let mut config = config();
    config.tolerable_failed = 1;
    let mut rig = Rig::running(config);
    rig.at(1000);
    rig.complete_with(1, 0, &["shared/a", "shared/b"]);
    rig.at(2000);
    let actions = rig.complete_with(2, 1, &["shared/b", "shared/c"]);
    assert_eq!(deleted(&actions), ["file:/c/job/shared/a"]);
    rig.at(3000);
    rig.confirm(2);
    rig.part_with(3, &["shared/c", "shared/d"]);
    assert_eq!(deleted(&rig.decline(3)), ["file:/c/job/shared/d"]);
    let late = rig.part_with(3, &["shared/b", "shared/e"]);
    assert_eq!(deleted(&late), ["file:/c/job/shared/e"]);
}

#[test]
fn bytes_that_lie_in_files_of_the_base_were_not_written_again() {
    let mut rig = Rig::running(config());
    rig.at(1000);
    rig.complete_with(1, 0, &["shared/a", "shared/b"]);
    rig.at(2000);
    rig.complete_with(2, 1, &["shared/a", "shared/b", "shared/c"]);
    let latest = rig.coordinator.statistics().latest_completed.clone();
    let latest = latest.expect("complete");
    assert_eq!((latest.state_bytes, latest.checkpointed_bytes), (30, 10));
}
