//! What jobs in elastic mode were told of the slots that they could have.

use std::collections::BTreeMap;

use millpond_types::JobId;

use crate::slot_pool::SlotPool;

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

    /// The jobs that could have another number of slots than they were told.
    pub(crate) fn changed(&mut self, pool: &SlotPool) -> Vec<(JobId, u32)> {
        let mut changed = Vec::new();
        for (job, told) in &mut self.told {
            if let Some(available) = pool.available(*job)
                && *told != Some(available)
            {
                *told = Some(available);
                changed.push((*job, available));
            }
        }
        changed
    }
}
