//! Laws of the end: of a master, and of a history.

use std::collections::BTreeSet;

use millpond_job::JobStatus;

use crate::world::World;

impl World {
    /// A master has ended by itself: what it leaves is what is to be left.
    pub(crate) fn check_end_of_master(&mut self, m: usize, status: JobStatus) {
        self.check_end_of_claim(m, status);
        let keeps = self.setting.config.retention.keeps(status);
        let master = &self.masters[m];
        let laws = &master.laws;
        let open = laws.triggers.iter().find(|(_, ended)| !**ended);
        let open = open.map(|(trigger, _)| *trigger);
        let in_progress = master.coordinator.statistics().in_progress;
        let mut left = None;
        for (id, options) in &laws.options {
            let is_there = self.disk.snapshot(&options.directory).is_some();
            let may_be = laws.complete.contains(id) && (options.is_savepoint || keeps);
            if is_there && !may_be {
                left = Some(format!("snapshot \"{}\"", options.directory));
            }
        }
        let needed: BTreeSet<&String> = self
            .disk
            .snapshots()
            .flat_map(|(_, snapshot)| &snapshot.files)
            .collect();
        let file = laws.known_files.iter().find(|file| {
            self.disk.read(file).is_some()
                && !needed.contains(file)
                && !self.garbage.contains(*file)
        });
        let left = left.or(file.map(|file| format!("\"{file}\"")));
        // Of what may be another master's nothing is deleted.
        let left = left.filter(|_| !self.is_replaced(m));
        self.law(open.is_none(), || {
            format!("operation {open:?} has no outcome")
        });
        self.law(in_progress == 0, || {
            format!("{in_progress} checkpoints are in progress")
        });
        self.law(left.is_none(), || {
            format!("master {m} ends as {status} and leaves {left:?}, which nobody needs")
        });
    }

    /// The history is over: what was committed is the beginning of what had to be. A job that was ended
    /// together with its last snapshot may take some of its transactions with it.
    pub(crate) fn check_the_end(&mut self) {
        for lineage in 0..self.lineages.len() {
            if !self.lineages[lineage].is_given_up {
                let outcome = self.lineages[lineage].output.counts().map(|_| ());
                self.law_of(outcome);
            }
        }
    }
}
