//! Small state files of a checkpoint, merged into few: who shares a file, and who waits for it.
//!
//! The subtasks of one process form groups as they come, of at most `max-subtasks-per-file`
//! (`execution.checkpointing.file-merging.*`). Those of a group append their small states to the same
//! files. A file is there when it is closed, as on an object store; so a subtask that has written its
//! part waits, and the last one of its group closes the files and acknowledges for all of them:
//!
//! ```text
//!   subtask 0   ──append──▶ waits ┐
//!   subtask 1   ──append──▶ waits ┤
//!   subtask 2   ──append──▶ waits ┤
//!   subtask 3   ──append──▶ closes the files, once ──▶ four acknowledgements
//! ```
//!
//! A group that is not full is closed when no subtask of the process is left that could join it. No
//! checkpoint takes longer by that, as it needs all subtasks; each is one fsync instead of one for each
//! state. When a checkpoint is given up, those that wait in it answer at once: the job master deletes
//! what they name.
//!
//! A physical file belongs to one checkpoint, and nothing is added to it later. So no failure of one
//! checkpoint touches the bytes of another.
//!
//! Rejected: a pool of files that stay open, each acknowledged state made durable by an fsync of its own
//! (Flink 2.3.0, class `FileMergingSnapshotManagerBase`): an object store has no such thing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use millpond_fs::{FileSystem, Location};
use millpond_job::acknowledgement::{AcknowledgeMetrics, SubtaskAcknowledgement};
use millpond_job::gateway::{Attempt, FileMerging};
use millpond_job::{FromWorker, SnapshotOptions};
use millpond_operator::FunctionError;
use millpond_snapshot::{FileRecord, StreamHandle};
use millpond_types::CheckpointId;

use crate::merge_group::{ClosedGroup, GroupPlace, MergeGroup, Scope};
use crate::merged_file::MergedFile;

/// How many checkpoints that were given up are remembered, for subtasks that come to them later.
const REMEMBERED_GIVEN_UP: usize = 1000;
/// The largest state that is appended to a file of several, if that could hold four of them: it is in
/// memory as a whole.
const MAX_APPENDED_BYTES: u64 = 8 << 20;

/// The merged files of one process, in one attempt.
#[derive(Default)]
pub(crate) struct MergedFiles {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Of this process.
    tasks: u32,
    checkpoints: BTreeMap<CheckpointId, Merging>,
    given_up: BTreeSet<CheckpointId>,
    /// Files that other attempts have written, by URI.
    restored: HashMap<String, Weak<MergedFile>>,
}

/// A checkpoint in progress.
struct Merging {
    /// Tasks of this process whose part has not ended.
    missing: u32,
    groups: Vec<Joined>,
    begun: u32,
}

/// A group and those in it.
struct Joined {
    number: u32,
    group: Arc<MergeGroup>,
    members: u32,
    writing: u32,
    waiting: Vec<Answer>,
}

/// What a subtask says when its part is durable.
pub(crate) struct Answer {
    pub(crate) attempt: Attempt,
    pub(crate) checkpoint: CheckpointId,
    /// Name and subtask for people: `counter (1/2)`.
    pub(crate) task: String,
    pub(crate) acknowledgement: SubtaskAcknowledgement,
    /// When its part was begun to be written.
    pub(crate) began: Instant,
    pub(crate) to_master: Sender<FromWorker>,
}

impl Answer {
    /// Says it: nothing is waited for.
    pub(crate) fn at_once(self) {
        self.acknowledge(Duration::ZERO);
    }

    fn acknowledge(mut self, synced: Duration) {
        let metrics = &mut self.acknowledgement.metrics;
        metrics.async_duration_ms = self.began.elapsed().as_millis() as u64;
        metrics.fsync_duration_ms += synced.as_millis() as u64;
        log(&self.task, self.checkpoint, metrics);
        // The master is gone: nobody is left to be told.
        let _ = self.to_master.send(FromWorker::Acknowledge {
            attempt: self.attempt,
            checkpoint: self.checkpoint,
            acknowledgement: self.acknowledgement,
        });
    }

    fn decline(self, reason: String) {
        // The master is gone: nobody is left to be told.
        let _ = self.to_master.send(FromWorker::Decline {
            attempt: self.attempt,
            checkpoint: self.checkpoint,
            vertex: self.acknowledgement.vertex,
            subtask: self.acknowledgement.subtask,
            reason,
        });
    }
}

/// What a checkpoint has cost a subtask, in the words of REST.
fn log(task: &str, checkpoint: CheckpointId, metrics: &AcknowledgeMetrics) {
    let AcknowledgeMetrics {
        unaligned,
        start_delay_ms,
        alignment_duration_ns,
        buffered_bytes,
        buffered_records,
        processed_bytes,
        processed_records,
        persisted_bytes,
        persisted_records,
        sync_duration_ms,
        async_duration_ms,
        fsync_duration_ms,
        created_files: _,
    } = metrics;
    tracing::debug!(
        "{task} - finished checkpoint {checkpoint}: start delay {start_delay_ms} ms, alignment {} ms \
         (unaligned: {unaligned}), buffered {buffered_bytes} bytes in {buffered_records} records, \
         processed {processed_bytes} in {processed_records}, persisted {persisted_bytes} in \
         {persisted_records}, synchronous part {sync_duration_ms} ms, asynchronous part \
         {async_duration_ms} ms, fsync {fsync_duration_ms} ms of it",
        alignment_duration_ns / 1_000_000
    );
}

impl Joined {
    /// Ends the files and answers for all.
    fn close(self) {
        match self.group.close() {
            Ok(closed) => self.acknowledge(closed),
            Err(error) => {
                let reason = error.chain();
                for answer in self.waiting {
                    answer.decline(reason.clone());
                }
            }
        }
    }

    fn acknowledge(mut self, closed: ClosedGroup) {
        if let Some(first) = self.waiting.first_mut() {
            let acknowledgement = &mut first.acknowledgement;
            acknowledgement.metrics.created_files += closed.records.len() as u64;
            // One of them tells of the files. Who has state has an operator.
            if let Some(operator) = acknowledgement.operators.first_mut() {
                operator.files.extend(closed.records);
            }
        }
        for answer in self.waiting {
            answer.acknowledge(closed.synced);
        }
    }
}

impl MergedFiles {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; the content is whole in any case.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This process has one task more, which takes part in every checkpoint.
    pub(crate) fn add_task(&self) {
        self.lock().tasks += 1;
    }

    /// A task begins its part of a checkpoint; `None` if nothing is merged.
    pub(crate) fn begin(
        self: &Arc<Self>,
        options: &SnapshotOptions,
        attempt: Attempt,
        process: u32,
    ) -> Option<MergedPart> {
        let merging = options.file_merging?;
        let mut state = self.lock();
        if state.given_up.contains(&options.id) {
            return None;
        }
        let tasks = state.tasks;
        state.checkpoints.entry(options.id).or_insert(Merging {
            missing: tasks,
            groups: Vec::new(),
            begun: 0,
        });
        let (id, at_ms) = (options.id, options.triggered_at_ms);
        Some(MergedPart {
            files: Arc::clone(self),
            checkpoint: id,
            merging,
            seed: format!("{attempt}/{process}/{id}/{at_ms}"),
            group: Mutex::default(),
        })
    }

    /// A checkpoint will not be complete: whoever waits in it answers now.
    pub(crate) fn give_up(&self, checkpoint: CheckpointId) {
        let given_up = {
            let mut state = self.lock();
            state.given_up.insert(checkpoint);
            if state.given_up.len() > REMEMBERED_GIVEN_UP {
                state.given_up.pop_first();
            }
            state.checkpoints.remove(&checkpoint)
        };
        give_up(given_up);
    }

    /// A file of several that another attempt has written, and of which `checkpoint` needs parts.
    pub(crate) fn restored(
        &self,
        uri: &str,
        record: Option<FileRecord>,
        checkpoint: CheckpointId,
    ) -> Arc<MergedFile> {
        let mut state = self.lock();
        if let Some(known) = state.restored.get(uri).and_then(Weak::upgrade) {
            return known;
        }
        state.restored.retain(|_, file| file.strong_count() > 0);
        let file = Arc::new(MergedFile::restored(record, checkpoint));
        state.restored.insert(uri.to_owned(), Arc::downgrade(&file));
        file
    }

    /// A part has ended: with an answer that waits for the group, or without one.
    fn end(&self, part: &MergedPart, answer: Option<Answer>) {
        let group = part.group().take();
        let mut at_once = None;
        let ready = {
            let mut state = self.lock();
            let Some(merging) = state.checkpoints.get_mut(&part.checkpoint) else {
                // Given up meanwhile.
                drop(state);
                if let Some(answer) = answer {
                    answer.at_once();
                }
                return;
            };
            merging.missing = merging.missing.saturating_sub(1);
            let joined = group.as_ref().and_then(|(number, _)| {
                let mut groups = merging.groups.iter_mut();
                groups.find(|joined| joined.number == *number)
            });
            match joined {
                Some(joined) => {
                    joined.writing -= 1;
                    joined.waiting.extend(answer);
                }
                None => at_once = answer,
            }
            let (all, most) = (merging.missing == 0, part.merging.max_subtasks_per_file);
            let is_ready =
                |joined: &mut Joined| joined.writing == 0 && (all || joined.members >= most);
            let ready: Vec<Joined> = merging.groups.extract_if(.., is_ready).collect();
            if all {
                state.checkpoints.remove(&part.checkpoint);
            }
            ready
        };
        // The files are closed without the lock, by whoever was last.
        drop(group);
        if let Some(answer) = at_once {
            answer.at_once();
        }
        for joined in ready {
            joined.close();
        }
    }
}

fn give_up(merging: Option<Merging>) {
    for joined in merging.into_iter().flat_map(|merging| merging.groups) {
        for answer in joined.waiting {
            answer.at_once();
        }
    }
}

impl Drop for MergedFiles {
    fn drop(&mut self) {
        let checkpoints = std::mem::take(&mut self.lock().checkpoints);
        for merging in checkpoints.into_values() {
            // So that the master knows of all that was written for what will not be complete.
            give_up(Some(merging));
        }
    }
}

/// One task's part of a checkpoint whose small files are merged.
///
/// To be [ended](Self::end): others wait for it.
pub(crate) struct MergedPart {
    files: Arc<MergedFiles>,
    checkpoint: CheckpointId,
    merging: FileMerging,
    seed: String,
    /// The number of its group in this checkpoint, once it has joined one.
    group: Mutex<Option<(u32, Arc<MergeGroup>)>>,
}

impl MergedPart {
    /// The largest state that is appended to a file of several: at least four fit into one.
    pub(crate) fn limit_bytes(&self) -> usize {
        (self.merging.max_file_bytes / 4).min(MAX_APPENDED_BYTES) as usize
    }

    /// Appends a state, which would have been the file `name`; returns where it lies.
    ///
    /// # Errors
    ///
    /// It cannot be written, or the checkpoint was given up.
    pub(crate) fn append(
        &self,
        place: AppendPlace<'_>,
        name: &str,
        bytes: &[u8],
    ) -> Result<(StreamHandle, Arc<MergedFile>), FunctionError> {
        self.join(&place)?.append(place.scope, name, bytes)
    }

    /// As [`MergedFiles::restored`].
    pub(crate) fn restored(
        &self,
        uri: &str,
        record: Option<FileRecord>,
        checkpoint: CheckpointId,
    ) -> Arc<MergedFile> {
        self.files.restored(uri, record, checkpoint)
    }

    /// The part is written or has failed; `answer` is what the subtask says when its bytes are
    /// durable.
    pub(crate) fn end(self, answer: Option<Answer>) {
        let files = Arc::clone(&self.files);
        files.end(&self, answer);
    }

    fn group(&self) -> MutexGuard<'_, Option<(u32, Arc<MergeGroup>)>> {
        self.group.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The group of this part, which it joins with its first state.
    fn join(&self, place: &AppendPlace<'_>) -> Result<Arc<MergeGroup>, FunctionError> {
        let mut own = self.group();
        if let Some((_, group)) = &*own {
            return Ok(Arc::clone(group));
        }
        let mut state = self.files.lock();
        let Some(merging) = state.checkpoints.get_mut(&self.checkpoint) else {
            return Err(FunctionError::new("the checkpoint was given up"));
        };
        let most = self.merging.max_subtasks_per_file;
        let at = match merging.groups.iter().position(|open| open.members < most) {
            Some(at) => at,
            None => {
                let number = merging.begun;
                merging.begun += 1;
                let fs = Arc::clone(place.fs);
                let place = GroupPlace {
                    directory: place.directory.clone(),
                    shared_directory: place.shared_directory.clone(),
                    seed: format!("{}/{number}", self.seed),
                    max_file_bytes: self.merging.max_file_bytes,
                };
                merging.groups.push(Joined {
                    number,
                    group: Arc::new(MergeGroup::new(fs, place)),
                    members: 0,
                    writing: 0,
                    waiting: Vec::new(),
                });
                merging.groups.len() - 1
            }
        };
        let joined = &mut merging.groups[at];
        joined.members += 1;
        joined.writing += 1;
        let group = Arc::clone(&joined.group);
        *own = Some((joined.number, Arc::clone(&group)));
        Ok(group)
    }
}

/// Where a state is appended.
pub(crate) struct AppendPlace<'a> {
    pub(crate) fs: &'a Arc<dyn FileSystem>,
    pub(crate) directory: &'a Location,
    pub(crate) shared_directory: &'a Location,
    pub(crate) scope: Scope,
}

#[cfg(test)]
mod tests;
