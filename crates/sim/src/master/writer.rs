//! The thread that writes metadata.

use std::sync::Arc;

use millpond_checkpoint::Event;
use millpond_types::CheckpointId;

use crate::disk::StoredSnapshot;
use crate::state;
use crate::world::{What, World};

impl World {
    pub(super) fn writer_goes_on(&mut self, m: usize) {
        let duration = match self.is_calm {
            true => 2,
            false => self.random.pick(&[0, 1, 1, 5, 60, 400]),
        };
        self.later(duration, What::MetadataWritten { master: m });
    }

    pub(crate) fn metadata_written(&mut self, m: usize) {
        if !self.master_takes(m, || What::MetadataWritten { master: m }) {
            return;
        }
        let Some((checkpoint, result)) = self.write_next(m) else {
            return;
        };
        if !self.masters[m].writing.is_empty() {
            self.writer_goes_on(m);
        }
        self.note(|| format!("master {m}: metadata of {checkpoint}: {result:?}"));
        self.tell(m, Event::MetadataWritten { checkpoint, result });
        self.master_goes_on(m);
    }

    pub(super) fn write_next(&mut self, m: usize) -> Option<(CheckpointId, Result<(), String>)> {
        let (checkpoint, directory, is_savepoint, metadata) =
            self.masters[m].writing.pop_front()?;
        if self.fault(15) {
            self.see("metadata that cannot be written");
            return Some((checkpoint, Err("no space left on device".to_owned())));
        }
        if let Err(why) = self.may_complete(m, checkpoint) {
            return Some((checkpoint, Err(why)));
        }
        let content = state::content_of(&metadata, &self.masters[m].graph);
        self.check_content(m, checkpoint, &content);
        let snapshot = StoredSnapshot {
            checkpoint,
            metadata: Arc::new(metadata),
            files: content.files,
            is_savepoint,
            lineage: self.masters[m].lineage,
            damaged: false,
        };
        let published = self.disk.publish(directory.clone(), snapshot);
        self.law_of(published.map_err(|file| {
            format!("\"{file}\" of checkpoint {checkpoint} is gone when that is complete")
        }));
        if self.fault(15) {
            self.see("a damaged snapshot");
            self.disk.damage(&directory);
        }
        Some((checkpoint, Ok(())))
    }

    /// What its threads are at when a master dies may be done, and nobody hears of it.
    pub(crate) fn half_done(&mut self, m: usize) {
        if self.random.percent(50) {
            self.write_next(m);
        }
        if self.random.percent(50) {
            self.clean_next(m);
        }
    }
}
