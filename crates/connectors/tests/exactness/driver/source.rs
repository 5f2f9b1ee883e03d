//! Runs all subtasks of a source on the thread of the test.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use millpond_operator::batch::downcast;
use millpond_operator::source::{
    InputStatus, ReaderContext, Source, SourceReader, SourceSplit, SplitEnumerator,
};
use millpond_operator::{Collector, Element, Output, Result, Wake};
use millpond_types::ManualClock;

use super::{JOB, subtask_info};

/// The state of a source in a snapshot.
#[derive(Clone, Debug)]
pub(crate) struct SourceSnapshot {
    enumerator: Vec<u8>,
    splits: Vec<Vec<u8>>,
    pub(crate) positions: Vec<String>,
}

pub(crate) struct SourceJob<S: Source> {
    enumerator: S::Enumerator,
    pub(crate) readers: Vec<S::Reader>,
    pub(crate) clock: Arc<ManualClock>,
    woken: Receiver<()>,
}

impl<S: Source> SourceJob<S> {
    pub(crate) fn start(
        source: &S,
        parallelism: u32,
        restored: Option<&SourceSnapshot>,
    ) -> Result<Self> {
        let enumerator_version = <S::Enumerator as SplitEnumerator<S::Split>>::VERSION;
        let mut enumerator = source.create_enumerator(
            restored.map(|snapshot| (enumerator_version, snapshot.enumerator.as_slice())),
        )?;
        let mut splits: Vec<Vec<u8>> = restored
            .map(|snapshot| snapshot.splits.clone())
            .unwrap_or_default();
        splits.extend(
            enumerator
                .discover_splits()?
                .iter()
                .map(SourceSplit::serialize),
        );
        let clock = Arc::new(ManualClock::at(1_000_000));
        let (wake, woken) = channel();
        let mut readers = Vec::new();
        for subtask in 0..parallelism {
            let mut reader = source.create_reader(ReaderContext {
                info: subtask_info(JOB, 1, subtask, parallelism),
                clock: clock.clone(),
                wake: wake_by(wake.clone()),
            })?;
            let own = splits
                .iter()
                .skip(subtask as usize)
                .step_by(parallelism as usize);
            let own: Result<Vec<S::Split>> = own
                .map(|bytes| S::Split::deserialize(S::Split::VERSION, bytes))
                .collect();
            reader.add_splits(own?)?;
            reader.notify_no_more_splits();
            readers.push(reader);
        }
        Ok(SourceJob {
            enumerator,
            readers,
            clock,
            woken,
        })
    }

    pub(crate) fn poll(
        &mut self,
        subtask: usize,
        limit: usize,
    ) -> Result<(InputStatus, Vec<S::Record>)> {
        let mut collector = Collector::default();
        let status = self.readers[subtask].poll_next(limit, &mut collector)?;
        let mut output = Output::default();
        collector.flush(&mut output);
        let mut records = Vec::new();
        while let Some((_, element)) = output.pop() {
            if let Element::Records(batch) = element {
                records.extend(downcast::<S::Record>(batch).rows);
            }
        }
        assert!(
            records.len() <= limit,
            "{} records, at most {limit} were asked for",
            records.len()
        );
        Ok((status, records))
    }

    /// Polls all subtasks in turn until `enough` records came or all have ended; returns whether
    /// all have ended.
    pub(crate) fn run(
        &mut self,
        enough: usize,
        limit: usize,
        records: &mut Vec<S::Record>,
    ) -> Result<bool> {
        loop {
            let (mut ended, mut moved) = (0, false);
            for subtask in 0..self.readers.len() {
                if records.len() >= enough {
                    return Ok(false);
                }
                let (status, more) = self.poll(subtask, limit.min(enough - records.len()))?;
                moved |= !more.is_empty() || status == InputStatus::MoreAvailable;
                ended += usize::from(status == InputStatus::EndOfInput);
                records.extend(more);
            }
            if ended == self.readers.len() {
                return Ok(true);
            }
            if !moved {
                self.wait();
            }
        }
    }

    pub(crate) fn run_to_end(&mut self) -> Result<Vec<S::Record>> {
        let mut records = Vec::new();
        self.run(usize::MAX, 1000, &mut records)?;
        Ok(records)
    }

    /// Waits until a reader wakes its task.
    pub(crate) fn wait(&self) {
        self.woken
            .recv_timeout(Duration::from_secs(60))
            .expect("a waiting reader is woken");
        while self.woken.try_recv().is_ok() {}
    }

    pub(crate) fn snapshot(&mut self) -> SourceSnapshot {
        let mut splits = Vec::new();
        for reader in &mut self.readers {
            splits.extend(reader.snapshot_state(1).expect("positions are known"));
        }
        SourceSnapshot {
            enumerator: self.enumerator.snapshot_state(),
            positions: splits.iter().map(SourceSplit::position).collect(),
            splits: splits.iter().map(SourceSplit::serialize).collect(),
        }
    }

    /// Drops the readers and waits until all their threads have ended.
    pub(crate) fn stop(self) {
        drop(self.readers);
        // Every thread holds a sender of this channel.
        loop {
            match self.woken.recv_timeout(Duration::from_secs(60)) {
                Ok(()) => {}
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("a thread goes on"),
            }
        }
    }
}

fn wake_by(wake: Sender<()>) -> Wake {
    Arc::new(move || {
        // The driver may be gone already.
        let _ = wake.send(());
    })
}
