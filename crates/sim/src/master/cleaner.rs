//! The thread that deletes.

use millpond_checkpoint::{Released, Scope};

use crate::bug::Bug;
use crate::world::{What, World};

/// Something to be deleted.
pub(super) struct Deletion {
    snapshot: Option<(String, Scope)>,
    released: Released,
}

impl World {
    pub(super) fn delete(
        &mut self,
        m: usize,
        snapshot: Option<(String, Scope)>,
        mut released: Released,
    ) {
        match self.bug {
            Some(Bug::EarlyDeletion) => {
                if let Some((directory, Scope::Whole)) = &snapshot
                    && let Some(known) = self.disk.snapshot(directory)
                {
                    released.files.extend(known.files.iter().cloned());
                }
            }
            Some(Bug::ForgottenDeletion) => released.files.clear(),
            Some(_) | None => {}
        }
        let is_idle = self.masters[m].cleaning.is_empty();
        self.masters[m]
            .cleaning
            .push_back(Deletion { snapshot, released });
        if is_idle {
            let duration = self.random.pick(&[0, 0, 3, 100]);
            self.later(duration, What::Cleaned { master: m });
        }
    }

    pub(crate) fn cleaned(&mut self, m: usize) {
        if !self.master_takes(m, || What::Cleaned { master: m }) {
            return;
        }
        self.clean_next(m);
        if !self.masters[m].cleaning.is_empty() {
            let duration = self.random.pick(&[0, 0, 3, 100]);
            self.later(duration, What::Cleaned { master: m });
        }
    }

    pub(super) fn clean_next(&mut self, m: usize) {
        let Some(Deletion { snapshot, released }) = self.masters[m].cleaning.pop_front() else {
            return;
        };
        if self.may_delete(m).is_err() {
            // It stays for ever.
            let directory = snapshot.iter().map(|(directory, _)| directory);
            let all = directory.flat_map(|directory| self.disk.files_below(directory));
            self.garbage.extend(all.chain(released.files));
            return;
        }
        if let Some((directory, scope)) = &snapshot {
            // The metadata first, so that what a crash leaves is no snapshot.
            self.disk.delete_metadata(directory);
            if *scope == Scope::Whole {
                let outcome = self.disk.delete_directory(directory);
                self.law_of(outcome.map_err(|what| format!("master {m} deletes {what}")));
            }
        }
        for file in &released.files {
            let outcome = self.disk.delete_file(file);
            self.law_of(outcome.map_err(|user| {
                format!("master {m} deletes \"{file}\", which \"{user}\" refers to")
            }));
        }
        for directory in &released.claims_ended {
            let owner = self.claims.remove(directory);
            self.law(owner == Some(m), || {
                format!("master {m} ends a claim of \"{directory}\", which {owner:?} has")
            });
        }
    }
}
