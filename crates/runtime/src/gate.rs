//! Watermarks, idleness and ends, merged over all senders of a task.
//!
//! A sender is an upstream operator and its subtask, never a worker: after a union two operators
//! share a worker. The watermark is the minimum over the senders that are not idle.

/// What the senders of all inputs have said.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    senders: Vec<Vec<Sender>>,
    watermark: Option<i64>,
    idle: bool,
}

#[derive(Clone, Copy, Debug)]
struct Sender {
    watermark: i64,
    idle: bool,
    ended: bool,
    expected: bool,
}

/// What changed for the task as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The merged watermark has risen.
    Watermark(i64),
    /// All senders have become idle, or one is back.
    Idle(bool),
    /// Every sender of every input has ended.
    Ended,
}

impl Gates {
    /// Adds an input that hears the subtasks in `expected` of an operator with `senders` subtasks.
    pub(crate) fn add(&mut self, senders: u32, expected: impl Fn(u32) -> bool) {
        let sender = |subtask| Sender {
            watermark: i64::MIN,
            idle: false,
            ended: false,
            expected: expected(subtask),
        };
        self.senders.push((0..senders).map(sender).collect());
    }

    /// A sender's watermark; it never falls.
    pub(crate) fn watermark(&mut self, gate: usize, sender: u32, watermark: i64) -> Option<Change> {
        let sender = &mut self.senders[gate][sender as usize];
        sender.watermark = sender.watermark.max(watermark);
        sender.idle = false;
        self.merge()
    }

    /// A sender has become idle or is back.
    pub(crate) fn idle(&mut self, gate: usize, sender: u32, idle: bool) -> Option<Change> {
        self.senders[gate][sender as usize].idle = idle;
        let all = self.expected().all(|sender| sender.idle || sender.ended)
            && self.expected().any(|sender| sender.idle);
        if all != self.idle {
            self.idle = all;
            return Some(Change::Idle(all));
        }
        self.merge()
    }

    /// A sender has ended.
    pub(crate) fn end(&mut self, gate: usize, sender: u32) -> Option<Change> {
        self.senders[gate][sender as usize].ended = true;
        self.expected()
            .all(|sender| sender.ended)
            .then_some(Change::Ended)
    }

    /// The merged watermark; `i64::MIN` before the first.
    pub(crate) fn current(&self) -> i64 {
        self.watermark.unwrap_or(i64::MIN)
    }

    fn expected(&self) -> impl Iterator<Item = &Sender> {
        self.senders
            .iter()
            .flatten()
            .filter(|sender| sender.expected)
    }

    fn merge(&mut self) -> Option<Change> {
        let lowest = self
            .expected()
            .filter(|sender| !sender.idle)
            .map(|sender| sender.watermark)
            .min()?;
        if lowest > self.current() {
            self.watermark = Some(lowest);
            return Some(Change::Watermark(lowest));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_sender_that_is_not_idle_decides() {
        let mut gates = Gates::default();
        gates.add(2, |_| true);
        gates.add(1, |_| true);
        assert_eq!(gates.watermark(0, 0, 10), None);
        assert_eq!(gates.watermark(0, 1, 7), None);
        assert_eq!(gates.watermark(1, 0, 9), Some(Change::Watermark(7)));
        assert_eq!(gates.idle(0, 1, true), Some(Change::Watermark(9)));
        assert_eq!(gates.watermark(0, 1, 8), None, "a watermark never falls");
        assert_eq!(gates.watermark(0, 1, 20), None);
        assert_eq!(gates.watermark(1, 0, 30), Some(Change::Watermark(10)));
    }

    #[test]
    fn the_end_is_when_every_expected_sender_has_ended() {
        let mut gates = Gates::default();
        gates.add(3, |subtask| subtask == 1);
        gates.add(1, |_| true);
        assert_eq!(gates.end(0, 1), None);
        assert_eq!(gates.end(1, 0), Some(Change::Ended));
    }

    #[test]
    fn all_idle_senders_make_the_task_idle_and_one_brings_it_back() {
        let mut gates = Gates::default();
        gates.add(2, |_| true);
        assert_eq!(gates.idle(0, 0, true), None);
        assert_eq!(gates.idle(0, 1, true), Some(Change::Idle(true)));
        assert_eq!(gates.idle(0, 0, false), Some(Change::Idle(false)));
    }
}
