//! Laws of attempts: when they begin, and what from.

use millpond_checkpoint::RestartConfig;
use millpond_types::CheckpointId;

use crate::world::World;

impl World {
    /// How many failures the restart strategy counts now, and how many of them it lets pass.
    fn failures(&self, m: usize) -> (usize, usize, u64) {
        let failures = &self.masters[m].laws.failures_ms;
        let newest = failures.last().copied().unwrap_or(0);
        match &self.setting.restart {
            RestartConfig::None => (failures.len(), 0, 0),
            RestartConfig::FixedDelay { attempts, delay_ms } => {
                (failures.len(), *attempts as usize, *delay_ms)
            }
            RestartConfig::FailureRate {
                max_failures_per_interval,
                interval_ms,
                delay_ms,
            } => {
                let recent = failures.iter().filter(|at| newest - **at <= *interval_ms);
                (
                    recent.count(),
                    *max_failures_per_interval as usize,
                    *delay_ms,
                )
            }
            RestartConfig::ExponentialDelay {
                initial_backoff_ms,
                jitter_factor,
                reset_backoff_threshold_ms,
                attempts_before_reset_backoff,
                ..
            } => {
                let quiet = |pair: &&[u64]| pair[1] - pair[0] < *reset_backoff_threshold_ms;
                let in_a_row = failures.windows(2).rev().take_while(quiet).count();
                let least = (*initial_backoff_ms as f64 * (1.0 - jitter_factor)) as u64;
                let limit = attempts_before_reset_backoff.map_or(usize::MAX, |n| n as usize);
                let count = (in_a_row + 1).min(failures.len());
                (count, limit, least.saturating_sub(1))
            }
        }
    }

    /// An attempt begins behind failures: as late and as rarely as the restart strategy says.
    pub(crate) fn check_begin(&mut self, m: usize) {
        let Some(newest) = self.masters[m].laws.failures_ms.last().copied() else {
            return;
        };
        let (counted, limit, delay_ms) = self.failures(m);
        let now_ms = self.now_ms;
        self.law(counted <= limit, || {
            format!("master {m} restarts behind {counted} failures, and may behind {limit}")
        });
        self.law(now_ms >= newest + delay_ms, || {
            format!("master {m} restarts before a delay of {delay_ms} ms from {newest}")
        });
    }

    /// A job has failed for good: the strategy allows no more.
    pub(crate) fn check_final_failure(&mut self, m: usize) {
        let all = self.masters[m].laws.failures_ms.len();
        let (_, limit, _) = self.failures(m);
        self.law(all > limit, || {
            format!("master {m} gives up behind {all} failures, and may restart behind {limit}")
        });
    }

    pub(crate) fn check_recovery(
        &mut self,
        m: usize,
        restored: Option<CheckpointId>,
        skipped: &[(CheckpointId, String)],
    ) {
        let master = &mut self.masters[m];
        master.laws.has_fallen_back |= !skipped.is_empty();
        let laws = &master.laws;
        let committed = laws.committed;
        let newest = laws.complete.iter().rev().find(|id| {
            let stored = self.disk.snapshot(&laws.options[id].directory);
            !laws.aborted.contains(id) && stored.is_some_and(|snapshot| !snapshot.damaged)
        });
        let newest = newest.copied().filter(|_| !laws.has_fallen_back);
        self.law(restored >= committed, || {
            format!("{restored:?} is restored, behind the commit of {committed:?}")
        });
        self.law(restored >= newest, || {
            format!("{restored:?} is restored, and {newest:?} is newer, complete and intact")
        });
        let laws = &mut self.masters[m].laws;
        if let Some(id) = restored
            && laws.with_transactions.contains(&id)
        {
            laws.committed = laws.committed.max(Some(id));
        }
    }
}
