//! Runs the operators of a chain, each element as far as it goes before the next.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use millpond_job::metrics::OperatorMetrics;
use millpond_operator::{Element, FunctionError, Operator, Output, Port, SnapshotContext};
use millpond_operator::{OperatorSnapshot, source::InputStatus};
use millpond_types::{CheckpointId, OperatorId};

use crate::edge::EdgeWriter;
use crate::task_time::nanoseconds;

/// One operator of the chain.
pub(crate) struct Link {
    /// Its id in snapshots.
    pub(crate) id: OperatorId,
    /// The operator.
    pub(crate) operator: Box<dyn Operator>,
    /// Where its output goes.
    pub(crate) routes: Vec<Route>,
    /// It had ended in the snapshot that it was restored from.
    pub(crate) had_ended: bool,
    /// The end of its input was processed before the snapshot that it was restored from, and no
    /// record has come since: it is not to be finished once more.
    pub(crate) had_finished: bool,
    inbox: VecDeque<(usize, Element)>,
    ended: bool,
    metrics: OperatorMetrics,
}

impl Link {
    /// An operator with nothing to do yet.
    pub(crate) fn new(id: OperatorId, operator: Box<dyn Operator>, routes: Vec<Route>) -> Self {
        Link {
            id,
            operator,
            routes,
            had_ended: false,
            had_finished: false,
            inbox: VecDeque::new(),
            ended: false,
            metrics: OperatorMetrics::default(),
        }
    }
}

/// One way out of an operator.
pub(crate) struct Route {
    /// The output that it carries.
    pub(crate) port: Port,
    /// Where it leads.
    pub(crate) target: Target,
}

/// Where a route leads.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// To another operator of the chain.
    Link {
        /// Its position.
        position: usize,
        /// Which of its inputs.
        input: usize,
    },
    /// Out of the task.
    Edge(usize),
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Something was processed, by the operator at this position; there may be more.
    Worked(usize),
    /// Nothing is to do.
    Idle,
    /// There is work, but a sink's outside world takes no more for now.
    Blocked,
}

/// The operators of one subtask and the edges out of it.
pub(crate) struct Chain {
    links: Vec<Link>,
    pub(crate) edges: Vec<EdgeWriter>,
    output: Output,
}

impl Chain {
    /// A chain; every link stands behind those that feed it.
    pub(crate) fn new(links: Vec<Link>, edges: Vec<EdgeWriter>) -> Self {
        Chain {
            links,
            edges,
            output: Output::default(),
        }
    }

    /// Gives an element to the head.
    pub(crate) fn give(&mut self, input: usize, element: Element) {
        self.links[0].inbox.push_back((input, element));
    }

    /// Whether every operator has done all its work.
    pub(crate) fn is_idle(&self) -> bool {
        self.links
            .iter()
            .all(|link| link.inbox.is_empty() && !link.operator.is_paused())
    }

    /// Processes one element, the one that has come farthest.
    pub(crate) fn step(&mut self) -> Result<Step, FunctionError> {
        let busy = |link: &Link| !link.inbox.is_empty() || link.operator.is_paused();
        let Some(position) = self.links.iter().rposition(busy) else {
            return Ok(Step::Idle);
        };
        let link = &mut self.links[position];
        if link.operator.is_blocked() {
            return Ok(Step::Blocked);
        }
        if link.operator.is_paused() {
            link.operator.resume(&mut self.output)?;
        } else if let Some((input, element)) = link.inbox.pop_front() {
            match element {
                Element::Records(_) | Element::Watermark(_) => {
                    if let Element::Records(batch) = &element {
                        link.metrics.records_in += batch.len() as u64;
                        // There is more input than there was: its end is another one.
                        link.had_finished = false;
                    }
                    link.operator.process(input, element, &mut self.output)?;
                }
                Element::Idle(_) => self.output.push(Port::Main, element),
                Element::EndOfData => {
                    if !link.ended {
                        link.ended = true;
                        if link.had_finished {
                            link.operator.finish_again(&mut self.output)?;
                        } else {
                            link.operator.finish(&mut self.output)?;
                        }
                        self.output.push(Port::Main, Element::EndOfData);
                    }
                }
            }
        }
        self.carry(position)?;
        Ok(Step::Worked(position))
    }

    /// Asks the head, a source, for records; returns their number too.
    pub(crate) fn poll(&mut self, limit: usize) -> Result<(InputStatus, u64), FunctionError> {
        let status = self.links[0].operator.poll(limit, &mut self.output)?;
        let records = self.output.records() as u64;
        self.links[0].metrics.records_in += records;
        self.carry(0)?;
        Ok((status, records))
    }

    /// Sends an element out of the head, as if it had made it.
    pub(crate) fn emit(&mut self, element: Element) -> Result<(), FunctionError> {
        if matches!(element, Element::EndOfData) {
            self.links[0].ended = true;
        }
        self.output.push(Port::Main, element);
        self.carry(0)
    }

    /// Calls every operator whose time has come.
    pub(crate) fn on_processing_time(&mut self, now_ms: u64) -> Result<(), FunctionError> {
        for position in 0..self.links.len() {
            let operator = &mut self.links[position].operator;
            if operator
                .next_processing_time()
                .is_some_and(|at| at <= now_ms)
            {
                let begin = Instant::now();
                operator.on_processing_time(now_ms, &mut self.output)?;
                self.carry(position)?;
                self.spent(position, begin.elapsed());
            }
        }
        Ok(())
    }

    /// Tells every operator that its input is held back, and not idle.
    pub(crate) fn held_back(&mut self, now_ms: u64) {
        for link in &mut self.links {
            link.operator.held_back(now_ms);
        }
    }

    /// When the first operator wants to be called, in milliseconds since 1970.
    pub(crate) fn next_processing_time(&self) -> Option<u64> {
        self.links
            .iter()
            .filter_map(|link| link.operator.next_processing_time())
            .min()
    }

    /// How many records the head, a source, could emit and has not.
    pub(crate) fn pending_records(&self) -> Option<u64> {
        self.links[0].operator.pending_records()
    }

    /// Counts time that the operator at `position` has worked.
    pub(crate) fn spent(&mut self, position: usize, time: Duration) {
        self.links[position].metrics.busy_ns += nanoseconds(time);
    }

    /// Counters of every operator, in order.
    pub(crate) fn metrics(&self) -> Vec<OperatorMetrics> {
        self.links.iter().map(|link| link.metrics).collect()
    }

    /// Packs what the edges have kept back.
    pub(crate) fn flush(&mut self) -> Result<(), FunctionError> {
        self.edges.iter_mut().try_for_each(EdgeWriter::flush)
    }

    /// Freezes every operator, in order.
    pub(crate) fn snapshot(
        &mut self,
        context: SnapshotContext,
    ) -> Result<Vec<(OperatorId, OperatorSnapshot)>, FunctionError> {
        debug_assert!(self.is_idle());
        let freeze = |link: &mut Link| {
            let mut snapshot = link.operator.snapshot(context)?;
            snapshot.finished = link.had_ended;
            snapshot.ended = link.ended || link.had_finished;
            Ok((link.id, snapshot))
        };
        self.links.iter_mut().map(freeze).collect()
    }

    /// Takes the results of what operators do on other threads.
    pub(crate) fn poll_background(&mut self) -> Result<(), FunctionError> {
        self.links
            .iter_mut()
            .try_for_each(|link| link.operator.poll_background())
    }

    /// Whether an operator does something on another thread that the end has to wait for.
    pub(crate) fn has_background_work(&self) -> bool {
        self.links
            .iter()
            .any(|link| link.operator.has_background_work())
    }

    /// The checkpoint is complete.
    pub(crate) fn notify_complete(&mut self, id: CheckpointId) -> Result<(), FunctionError> {
        self.links
            .iter_mut()
            .try_for_each(|link| link.operator.notify_complete(id))
    }

    /// The checkpoint will never complete.
    pub(crate) fn notify_aborted(&mut self, id: CheckpointId) -> Result<(), FunctionError> {
        self.links
            .iter_mut()
            .try_for_each(|link| link.operator.notify_aborted(id))
    }

    /// Lets every operator do a slice of house-keeping; returns whether there is more.
    pub(crate) fn maintain(&mut self) -> bool {
        let mut more = false;
        for link in &mut self.links {
            more |= link.operator.maintain();
        }
        more
    }

    fn carry(&mut self, position: usize) -> Result<(), FunctionError> {
        while let Some((port, element)) = self.output.pop() {
            let link = &mut self.links[position];
            let everywhere = match &element {
                Element::Records(batch) => {
                    link.metrics.records_out += batch.len() as u64;
                    false
                }
                Element::Watermark(_) | Element::Idle(_) | Element::EndOfData => true,
            };
            let routes = &link.routes;
            let matching: Vec<Target> = routes
                .iter()
                .filter(|route| everywhere || route.port == port)
                .map(|route| route.target)
                .collect();
            let Some((last, others)) = matching.split_last() else {
                continue;
            };
            for target in others {
                self.hand(*target, element.clone())?;
            }
            self.hand(*last, element)?;
        }
        Ok(())
    }

    fn hand(&mut self, target: Target, element: Element) -> Result<(), FunctionError> {
        match target {
            Target::Link { position, input } => {
                self.links[position].inbox.push_back((input, element));
                Ok(())
            }
            Target::Edge(edge) => self.edges[edge].write(element),
        }
    }
}
