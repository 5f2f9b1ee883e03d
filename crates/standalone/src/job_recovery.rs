//! How a job whose master is gone is started again: from its own newest checkpoint, which it owns.

use std::collections::BTreeMap;

use millpond_fs::Location;
use millpond_job::JobStatus;
use millpond_state_processor::newest_snapshot;
use millpond_types::config::{ClaimMode, Configuration, options};

use crate::job_store::StoredJob;

/// What options begin with that, beside security, tell about the machine of a job manager and not about
/// its jobs.
const OF_THE_MACHINE: [&str; 5] = [
    "io.tmp.dirs",
    "jobmanager.bind-host",
    "jobmanager.master.port",
    "jobmanager.rpc.",
    "rest.",
];

/// A job that was submitted to a job manager elsewhere has its master here now.
pub(crate) fn come_to(machine: &Configuration, configuration: &mut Configuration) {
    let of_the_machine = |key: &str| OF_THE_MACHINE.iter().any(|begin| key.starts_with(begin));
    let elsewhere: Vec<String> = configuration
        .iter()
        .filter(|(key, _)| of_the_machine(key))
        .map(|(key, _)| key.to_owned())
        .collect();
    for key in elsewhere {
        configuration.remove(&key);
    }
    for (key, value) in machine.iter().filter(|(key, _)| of_the_machine(key)) {
        configuration.set(key, value);
    }
    configuration.take_security_of(machine);
}

/// The options for its next master.
///
/// # Errors
///
/// Its checkpoints cannot be read now, which says nothing about them; or the newest is damaged, and an
/// older one would let an exactly-once sink publish again; for people.
pub(crate) fn configuration(job: &StoredJob) -> Result<Configuration, RecoveryError> {
    let mut configuration = Configuration::from_pairs(job.configuration.clone());
    let directory = job.checkpoints.as_deref().map(Location::parse);
    let Some(Ok(directory)) = directory else {
        // Its master has told nothing yet: it has no checkpoint of its own.
        return Ok(configuration);
    };
    if directory.scheme() != "file" {
        return Ok(configuration);
    }
    let newest = newest_snapshot(&[directory])
        .map_err(|error| RecoveryError::Unreadable(error.to_string()))?;
    let may_fall_back = configuration
        .get(&options::ALLOW_FALLBACK_PAST_COMMITTED_TRANSACTIONS)
        .unwrap_or(false);
    if let Some(damaged) = newest.damaged.first().filter(|_| !may_fall_back) {
        return Err(RecoveryError::Damaged(format!(
            "its newest checkpoint \"{}\" is damaged: {}; start it from an older one, or set {}",
            damaged.path,
            damaged
                .damage
                .first()
                .map(String::as_str)
                .unwrap_or_default(),
            options::ALLOW_FALLBACK_PAST_COMMITTED_TRANSACTIONS.key()
        )));
    }
    if newest.snapshot.is_none() && job.has_checkpoint {
        // A disk that is not there comes back; nobody else has deleted all that the job has.
        let directory = job.checkpoints.as_deref().unwrap_or_default();
        return Err(RecoveryError::Unreadable(format!(
            "it has completed a checkpoint, and there is none in \"{directory}\""
        )));
    }
    if let Some(snapshot) = newest.snapshot {
        let own = BTreeMap::from([
            (options::RECOVERY_PATH.key(), snapshot.path),
            (options::CLAIM_MODE.key(), ClaimMode::Claim.to_string()),
            (options::START_WITHOUT_STATE.key(), "false".to_owned()),
        ]);
        configuration.override_with(Configuration::from_pairs(own));
    }
    Ok(configuration)
}

/// Why a job cannot be started again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RecoveryError {
    /// Not now.
    Unreadable(String),
    /// Not at all.
    Damaged(String),
    /// It has ended so, and its last master could not tell any more.
    Ended(JobStatus),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(checkpoints: Option<String>) -> StoredJob {
        StoredJob {
            program: "p".to_owned(),
            arguments: Vec::new(),
            configuration: BTreeMap::from([(
                "execution.state-recovery.path".to_owned(),
                "/given".to_owned(),
            )]),
            checkpoints,
            has_checkpoint: false,
            requirements: None,
            checkpoint_interval_ms: None,
            earlier_masters: 0,
            is_application: false,
        }
    }

    #[test]
    fn a_job_that_comes_from_another_machine_listens_at_this_one() {
        let mut configuration = Configuration::from_pairs([
            ("rest.bind-address", "10.0.0.1"),
            ("rest.port", "8081"),
            ("jobmanager.bind-host", "10.0.0.1"),
            ("parallelism.default", "3"),
        ]);
        let here = Configuration::from_pairs([
            ("rest.bind-address", "10.0.0.2"),
            ("jobmanager.bind-host", "10.0.0.2"),
            ("parallelism.default", "1"),
        ]);
        come_to(&here, &mut configuration);
        let expected = Configuration::from_pairs([
            ("rest.bind-address", "10.0.0.2"),
            ("jobmanager.bind-host", "10.0.0.2"),
            ("parallelism.default", "3"),
        ]);
        assert_eq!(configuration, expected);
    }

    #[test]
    fn without_a_checkpoint_of_its_own_a_job_begins_as_it_was_submitted() {
        let place = tempfile::tempdir().expect("room");
        let empty = Location::of_path(place.path()).expect("a path").to_string();
        for checkpoints in [
            None,
            Some("jobmanager:/checkpoints".to_owned()),
            Some(empty),
        ] {
            let found = configuration(&job(checkpoints)).expect("nothing is damaged");
            assert_eq!(found.raw("execution.state-recovery.path"), Some("/given"));
        }
    }

    #[test]
    fn a_job_whose_checkpoints_are_not_there_does_not_begin_without() {
        let place = tempfile::tempdir().expect("room");
        let gone = Location::of_path(&place.path().join("gone")).expect("a path");
        let had_one = StoredJob {
            has_checkpoint: true,
            ..job(Some(gone.to_string()))
        };
        let why = configuration(&had_one).expect_err("there is none");
        assert!(matches!(why, RecoveryError::Unreadable(_)), "{why:?}");
    }

    #[test]
    fn a_damaged_newest_checkpoint_is_no_reason_to_begin_elsewhere() {
        let place = tempfile::tempdir().expect("room");
        let checkpoint = place.path().join("chk-7");
        std::fs::create_dir(&checkpoint).expect("room");
        std::fs::write(checkpoint.join("_metadata"), "none").expect("room");
        let directory = Location::of_path(place.path()).expect("a path").to_string();
        let why = configuration(&job(Some(directory))).expect_err("damaged");
        assert!(
            matches!(&why, RecoveryError::Damaged(text) if text.contains("chk-7")),
            "{why:?}"
        );
    }
}
