//! Which snapshot an attempt is restored from.
//!
//! The newest intact one. Permanent damage (a file missing or cut, a wrong checksum, metadata that
//! cannot be read) moves on to the next older one, loudly; an error that may pass never does. Going
//! back behind a snapshot whose transactions may have been committed would write the same output
//! twice, so it is refused unless an option allows it.

use millpond_types::CheckpointId;

use crate::completed::CompletedSnapshot;

/// What was found when a snapshot was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// Everything is there.
    Intact,
    /// It is lost for good: what is wrong, one text per file.
    Damaged(Vec<String>),
    /// It could not be read now, which says nothing about it.
    Unreachable(String),
}

/// What stands against going back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryPolicy {
    /// The newest snapshot with transactions that the workers were told to commit.
    pub newest_committed: Option<CheckpointId>,
    /// Whether recovery may go back behind it all the same.
    pub allow_fallback_past_committed_transactions: bool,
}

/// What to do next to recover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveryChoice {
    /// There is no snapshot: start without state.
    Empty,
    /// Verify the candidate at this index and ask again with one result more.
    Verify(usize),
    /// Restore the candidate at this index. `skipped` says what was wrong with each newer one.
    Restore {
        /// Position among the candidates.
        index: usize,
        /// Number and damage of each newer one.
        skipped: Vec<(CheckpointId, String)>,
    },
    /// Try again later: the candidate that is to be used cannot be read at present.
    RetryLater {
        /// Why, for people.
        reason: String,
    },
    /// The job cannot be recovered.
    Refuse {
        /// Why and what may be done, for people.
        message: String,
    },
}

/// Decides what to do next, from the candidates (newest first) and what verifying the first
/// `results.len()` of them found.
///
/// Call with no results first, and with one more after each [`RecoveryChoice::Verify`].
///
/// # Examples
///
/// ```
/// use millpond_checkpoint::{RecoveryChoice, RecoveryPolicy, choose_recovery};
///
/// let mut results = Vec::new();
/// # let candidates = Vec::new();
/// # let verify = |_| millpond_checkpoint::Verification::Intact;
/// let choice = loop {
///     match choose_recovery(&candidates, &results, RecoveryPolicy::default()) {
///         RecoveryChoice::Verify(index) => results.push(verify(&candidates[index])),
///         choice => break choice,
///     }
/// };
/// # assert_eq!(choice, RecoveryChoice::Empty);
/// ```
pub fn choose_recovery(
    candidates: &[CompletedSnapshot],
    results: &[Verification],
    policy: RecoveryPolicy,
) -> RecoveryChoice {
    if candidates.is_empty() {
        return RecoveryChoice::Empty;
    }
    let mut skipped: Vec<(CheckpointId, String)> = Vec::new();
    for (index, candidate) in candidates.iter().enumerate() {
        let committed = policy
            .newest_committed
            .filter(|newest| candidate.checkpoint < *newest);
        if let Some(newest) = committed
            && !policy.allow_fallback_past_committed_transactions
        {
            return RecoveryChoice::Refuse {
                message: past_commit(candidate, newest, &skipped),
            };
        }
        match results.get(index) {
            None => return RecoveryChoice::Verify(index),
            Some(Verification::Intact) => return RecoveryChoice::Restore { index, skipped },
            Some(Verification::Unreachable(reason)) => {
                let reason = format!(
                    "{} cannot be read at present, which is no reason to fall back: {reason}",
                    name(candidate)
                );
                return RecoveryChoice::RetryLater { reason };
            }
            Some(Verification::Damaged(damage)) => {
                skipped.push((
                    candidate.checkpoint,
                    format!("{}: {}", name(candidate), damage.join("; ")),
                ));
            }
        }
    }
    let message = format!(
        "no snapshot of this job can be restored, all {} are damaged: {}",
        candidates.len(),
        words(&skipped)
    );
    RecoveryChoice::Refuse { message }
}

fn name(snapshot: &CompletedSnapshot) -> String {
    let kind = if snapshot.is_savepoint {
        "savepoint"
    } else {
        "checkpoint"
    };
    format!("{kind} {} \"{}\"", snapshot.checkpoint, snapshot.directory)
}

fn words(skipped: &[(CheckpointId, String)]) -> String {
    skipped
        .iter()
        .map(|(_, text)| text.as_str())
        .collect::<Vec<_>>()
        .join("; ")
}

fn past_commit(
    candidate: &CompletedSnapshot,
    committed: CheckpointId,
    skipped: &[(CheckpointId, String)],
) -> String {
    format!(
        "the newest snapshot that is left is {}, but a sink was told to commit its transactions of \
         snapshot {committed}: going back would write that output twice; repair the newer snapshot, \
         or set execution.state-recovery.allow-fallback-past-committed-transactions to true{}{}",
        name(candidate),
        if skipped.is_empty() {
            ""
        } else {
            "; damaged: "
        },
        words(skipped)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(ids: &[CheckpointId]) -> Vec<CompletedSnapshot> {
        ids.iter()
            .map(|id| CompletedSnapshot {
                checkpoint: *id,
                directory: format!("file:/chk-{id}"),
                is_savepoint: false,
                state_bytes: 0,
                pending_transactions: false,
            })
            .collect()
    }

    fn damaged() -> Verification {
        Verification::Damaged(vec!["\"a\" is missing".to_owned()])
    }

    #[test]
    fn without_any_snapshot_the_job_starts_empty() {
        assert_eq!(
            choose_recovery(&[], &[], RecoveryPolicy::default()),
            RecoveryChoice::Empty
        );
    }

    #[test]
    fn the_newest_intact_snapshot_is_restored_and_older_ones_are_not_even_read() {
        let all = candidates(&[3, 2]);
        let policy = RecoveryPolicy::default();
        assert_eq!(
            choose_recovery(&all, &[], policy),
            RecoveryChoice::Verify(0)
        );
        let choice = choose_recovery(&all, &[Verification::Intact], policy);
        assert_eq!(
            choice,
            RecoveryChoice::Restore {
                index: 0,
                skipped: vec![]
            }
        );
    }

    #[test]
    fn permanent_damage_falls_back_and_says_why() {
        let all = candidates(&[3, 2]);
        let policy = RecoveryPolicy::default();
        assert_eq!(
            choose_recovery(&all, &[damaged()], policy),
            RecoveryChoice::Verify(1)
        );
        let choice = choose_recovery(&all, &[damaged(), Verification::Intact], policy);
        let RecoveryChoice::Restore { index: 1, skipped } = choice else {
            panic!("{choice:?}")
        };
        assert_eq!(
            skipped,
            [(
                3,
                "checkpoint 3 \"file:/chk-3\": \"a\" is missing".to_owned()
            )]
        );
    }

    #[test]
    fn an_error_that_may_pass_is_no_reason_to_fall_back() {
        let all = candidates(&[3, 2]);
        let results = [Verification::Unreachable("timed out".to_owned())];
        let choice = choose_recovery(&all, &results, RecoveryPolicy::default());
        assert!(
            matches!(choice, RecoveryChoice::RetryLater { .. }),
            "{choice:?}"
        );
    }

    #[test]
    fn when_all_are_damaged_the_job_is_not_started_empty() {
        let choice = choose_recovery(&candidates(&[3]), &[damaged()], RecoveryPolicy::default());
        let RecoveryChoice::Refuse { message } = choice else {
            panic!("{choice:?}")
        };
        assert!(
            message.contains("checkpoint 3 \"file:/chk-3\""),
            "{message}"
        );
    }

    #[test]
    fn going_back_behind_a_commit_is_refused_unless_the_option_allows_it() {
        let all = candidates(&[3, 2]);
        let mut policy = RecoveryPolicy {
            newest_committed: Some(3),
            ..RecoveryPolicy::default()
        };
        assert_eq!(
            choose_recovery(&all, &[], policy),
            RecoveryChoice::Verify(0)
        );
        let choice = choose_recovery(&all, &[damaged()], policy);
        let RecoveryChoice::Refuse { message } = choice else {
            panic!("{choice:?}")
        };
        assert!(
            message.contains("allow-fallback-past-committed-transactions"),
            "{message}"
        );
        policy.allow_fallback_past_committed_transactions = true;
        assert_eq!(
            choose_recovery(&all, &[damaged()], policy),
            RecoveryChoice::Verify(1)
        );
    }
}
