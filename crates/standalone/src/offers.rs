//! What jobs in elastic mode were told of the slots that they could have.

use std::collections::BTreeMap;

use millpond_types::JobId;

use crate::slot_pool::{SlotPool, Want};

/// The newest offer to each job in elastic mode.
#[derive(Debug, Default)]
pub(crate) struct Offers {
    told: BTreeMap<JobId, Option<u32>>,
}

impl Offers {
    /// A job is in elastic mode; with each request it is to be told anew.
    pub(crate) fn follow(&mut self, job: JobId) {
        self.told.insert(job, None);
    }

    /// A job has ended, or its master.
    pub(crate) fn forget(&mut self, job: JobId) {
        self.told.remove(&job);
    }

    /// The jobs that could have another number of slots than they were told, by what each wants.
    pub(crate) fn changed(
        &mut self,
        pool: &SlotPool,
        want: impl Fn(JobId) -> Want,
    ) -> Vec<(JobId, u32)> {
        let wants = self.told.keys().map(|job| (*job, want(*job)));
        let mut changed = Vec::new();
        for (job, share) in pool.shares(&wants.collect()) {
            let told = self.told.insert(job, Some(share)).flatten();
            if told != Some(share) {
                changed.push((job, share));
            }
        }
        changed
    }
}
