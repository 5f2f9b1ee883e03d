//! Laws of state: key groups, what snapshots hold, and what a coordinator believes of them.

use std::collections::{BTreeMap, BTreeSet};

use millpond_job::dispatcher::CheckpointStatus;
use millpond_types::{CheckpointId, KeyGroup, KeyGroupRange};

use crate::job::{Key, Row};
use crate::state::Content;
use crate::world::World;

impl World {
    /// Each key group has one owner, and both ways of asking for it agree.
    pub(crate) fn check_key_groups(&mut self, m: usize) {
        for vertex in 0..self.masters[m].graph.vertices.len() {
            let vertex = &self.masters[m].graph.vertices[vertex];
            let (parallelism, max) = (vertex.parallelism, vertex.max_parallelism);
            let ranges = (0..parallelism).map(|subtask| {
                (
                    subtask,
                    KeyGroupRange::of_subtask(subtask, parallelism, max),
                )
            });
            let owned = ranges.flat_map(|(subtask, range)| range.iter().map(move |g| (g, subtask)));
            let expected = (0..max as u16).map(KeyGroup);
            let expected = expected.map(|group| (group, group.subtask(parallelism, max)));
            let holds = owned.eq(expected);
            self.law(holds, || {
                format!("{max} key groups are no partition over {parallelism} subtasks")
            });
        }
    }

    /// What a coordinator believes, behind an event that changes it most.
    pub(crate) fn check_store(&mut self, m: usize) {
        let most = self.setting.config.num_retained as usize;
        let master = &self.masters[m];
        let laws = &master.laws;
        let candidates = master.coordinator.recovery_candidates();
        let is_start = |id| {
            laws.started_from
                .as_ref()
                .is_some_and(|f| f.checkpoint == id)
        };
        let holds = candidates.iter().all(|candidate| {
            let is_known = laws.complete.contains(&candidate.checkpoint);
            (is_known || is_start(candidate.checkpoint))
                && (self.disk.snapshot(&candidate.directory).is_some()
                    || self.is_of_others(m, &candidate.directory))
        });
        let kept = candidates.iter().filter(|candidate| {
            let options = laws.options.get(&candidate.checkpoint);
            options.is_some_and(|options| !options.is_savepoint)
        });
        let kept = kept.count();
        let newest = master.coordinator.recovery_policy().newest_committed;
        let committed = laws.committed;
        self.law(holds, || {
            format!("a recovery point of master {m} is not complete, or not there: {candidates:?}")
        });
        self.law(kept <= most, || {
            format!("{kept} checkpoints are kept, and {most} may be")
        });
        self.law(newest == committed, || {
            format!("{newest:?} is the newest commit known, and {committed:?} was told")
        });
        self.check_claim(m);
        let statistics = self.masters[m].coordinator.statistics();
        let sum = statistics.in_progress + statistics.completed + statistics.failed;
        let total = statistics.total;
        let in_history = statistics.history.iter();
        let in_history = in_history.filter(|r| r.status == CheckpointStatus::InProgress);
        let holds = total == sum && in_history.count() as u64 == statistics.in_progress;
        self.law(holds, || "the statistics do not add up".to_owned());
    }

    /// A snapshot is what a sequential run would have at its positions.
    pub(crate) fn check_content(&mut self, m: usize, id: CheckpointId, content: &Content) {
        let mut splits: Vec<u32> = content.positions.iter().map(|(split, _)| *split).collect();
        splits.sort_unstable();
        let all = self.job.splits.len() as u32;
        self.law(splits.iter().copied().eq(0..all), || {
            format!("snapshot {id} has positions of the splits {splits:?}, and there are {all}")
        });
        let expected = content.counted(&self.job);
        let mut counts: BTreeMap<Key, u32> = BTreeMap::new();
        for file in &content.files {
            let found = self.disk.read(file).map(|file| file.counts.clone());
            let is_there = found.is_some();
            self.law(is_there, || format!("\"{file}\" of snapshot {id} is gone"));
            for (key, count) in found.into_iter().flatten() {
                let is_new = counts.insert(key, count).is_none();
                self.law(is_new, || {
                    format!("snapshot {id} has key {key} twice, \"{file}\" is one of its files")
                });
            }
        }
        self.law(counts == expected, || {
            format!("snapshot {id} has the counts {counts:?}, and its positions say {expected:?}")
        });
        let mut prepared: BTreeSet<Row> = content.to_sink.iter().copied().collect();
        let lineage = self.masters[m].lineage;
        let output = &self.lineages[lineage].output;
        for transaction in &content.transactions {
            prepared.extend(output.rows_of(*transaction).iter().copied());
        }
        let stray = prepared
            .iter()
            .find(|(key, number)| expected.get(key).is_none_or(|count| number > count))
            .copied();
        self.law(stray.is_none(), || {
            format!("snapshot {id} holds {stray:?} to be committed, which is behind it")
        });
        for (key, count) in expected {
            let lost = (1..=count).find(|number| {
                let output = &self.lineages[lineage].output;
                !prepared.contains(&(key, *number)) && !output.is_committed((key, *number))
            });
            self.law(lost.is_none(), || {
                format!(
                    "record {lost:?} of key {key} is before snapshot {id}, and in no transaction"
                )
            });
        }
    }
}
