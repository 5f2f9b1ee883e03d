//! Builds the timely dataflow of a job: one timely operator per vertex, each around a task.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millpond_job::{JobEdge, JobGraph, JobVertex, Partitioner, VertexIndex};
use millpond_operator::partition::{Partition, ToSubtask};
use millpond_operator::{FunctionError, OpenContext, Port, Wake};
use millpond_snapshot::ChannelStateReader;
use timely::dataflow::channels::pact::{DistributorPact, ParallelizationContract, Pipeline};
use timely::dataflow::channels::pushers::Output;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::progress::frontier::MutableAntichain;
use timely::scheduling::Activator;
use timely::worker::Worker;

use crate::attempt::AttemptOptions;
use crate::barrier::Alignment;
use crate::board::{Board, Scheduled};
use crate::chain::{Chain, Link, Route, Target};
use crate::congestion::{Intake, Pair};
use crate::edge::EdgeWriter;
use crate::gate::Gates;
use crate::in_flight::{self, EdgeName, RestoredEdge, ResumedBatch};
use crate::packet::{ByWorker, Packet, Packets};
use crate::program::Program;
use crate::task::{Again, InputEdge, Task, TaskParts};
use crate::time::Time;

/// Moves everything that has arrived at one input to a receiver.
type Drain = Box<dyn FnMut(&mut dyn FnMut(Time, Packet))>;

/// Builds all vertices on this worker; state is restored on the way.
///
/// # Errors
///
/// The name of the task, and what its operator returned when it was opened.
pub(crate) fn build(
    worker: &mut Worker,
    program: &Program,
    options: &AttemptOptions,
    board: &Rc<Board>,
) -> Result<(), (String, FunctionError)> {
    let index = worker.index() as u32;
    worker.dataflow::<Time, _, _>(|scope| {
        let mut builder = Builder {
            program,
            options,
            board,
            worker: index,
            scope,
            streams: HashMap::new(),
            ends: Vec::new(),
        };
        for vertex in &program.graph.vertices {
            builder.vertex(vertex)?;
        }
        builder.observer();
        Ok(())
    })
}

struct Builder<'a, 'scope> {
    program: &'a Program,
    options: &'a AttemptOptions,
    board: &'a Rc<Board>,
    worker: u32,
    scope: Scope<'scope, Time>,
    /// Of every edge whose sender has been built.
    streams: HashMap<usize, Stream<'scope, Time, Packets>>,
    /// Of every vertex without receivers: carries nothing, tells how far it has come.
    ends: Vec<Stream<'scope, Time, Packets>>,
}

impl<'scope> Builder<'_, 'scope> {
    fn graph(&self) -> &JobGraph {
        &self.program.graph
    }

    fn vertex(&mut self, vertex: &JobVertex) -> Result<(), (String, FunctionError)> {
        let mut operator = OperatorBuilder::new(vertex.name.clone(), self.scope);
        let inputs: Vec<usize> = self
            .graph()
            .inputs(vertex.index)
            .map(|(edge, _)| edge)
            .collect();
        let mut drains = Vec::new();
        for edge in &inputs {
            let stream = self
                .streams
                .remove(edge)
                .expect("vertices are in topological order");
            let pointwise = self.graph().edges[*edge].edge.partitioner.is_pointwise();
            drains.push(if pointwise {
                drain(&mut operator, stream, Pipeline)
            } else {
                drain(&mut operator, stream, DistributorPact(|_| ByWorker))
            });
        }
        let edges: Vec<usize> = self
            .graph()
            .outputs(vertex.index)
            .map(|(edge, _)| edge)
            .collect();
        let mut outputs = Vec::new();
        for edge in &edges {
            let (output, stream) = operator.new_output::<Packets>();
            outputs.push(output);
            self.streams.insert(*edge, stream);
        }
        if edges.is_empty() {
            let (output, stream) = operator.new_output::<Packets>();
            outputs.push(output);
            self.ends.push(stream);
        }
        let address = operator.operator_info().address;
        let activator = self.scope.activator_for(Rc::clone(&address));
        let task = if self.worker < vertex.parallelism {
            let waker = self.scope.worker().sync_activator_for(address.to_vec());
            let wake: Wake = Arc::new(move || {
                // The worker has ended: there is nothing left to wake.
                let _ = waker.activate();
            });
            match self.task(vertex, &inputs, &edges, wake) {
                Ok(task) => Some(Rc::new(RefCell::new(task))),
                Err(error) => {
                    // timely panics over an operator that is begun and not built, and that would be
                    // told in place of the error.
                    operator.build(|_| |_: &[MutableAntichain<Time>]| ());
                    return Err(error);
                }
            }
        } else {
            None
        };
        if let Some(task) = &task {
            let activator = self.scope.activator_for(address);
            self.board.add(Scheduled {
                task: Rc::clone(task),
                activator,
            });
        }
        let board = Rc::clone(self.board);
        operator.build(move |capabilities| {
            let mut runner = Runner {
                task,
                board,
                activator,
                drains,
                outputs,
                capabilities,
                lowest: Vec::new(),
                wake_at: None,
            };
            move |frontiers: &[MutableAntichain<Time>]| runner.activate(frontiers)
        });
        Ok(())
    }

    fn task(
        &self,
        vertex: &JobVertex,
        inputs: &[usize],
        edges: &[usize],
        wake: Wake,
    ) -> Result<Task, (String, FunctionError)> {
        let name = format!(
            "{} ({}/{})",
            vertex.name,
            self.worker + 1,
            vertex.parallelism
        );
        self.board.current.replace(Some(name.clone()));
        let head = self
            .options
            .restore
            .state(vertex.operators[0].id, self.worker);
        let had_ended = head.is_some_and(|restored| restored.finished);
        let mut links = Vec::new();
        for (position, operator) in vertex.operators.iter().enumerate() {
            let program = &self.program.nodes[operator.node.0 as usize];
            let mut link = Link::new(
                operator.id,
                (program.operator)(),
                self.routes(vertex, position, edges),
            );
            let restored = self.options.restore.state(operator.id, self.worker);
            if let Some(restored) = &restored {
                link.had_ended = restored.finished;
                link.had_finished = restored.finished || restored.ended;
            }
            let info = self.options.subtask_info(vertex, operator, self.worker);
            let to_claim = restored
                .as_ref()
                .filter(|restored| !restored.carries_unregistered_state)
                .map(|restored| Arc::clone(&restored.snapshot));
            let context = OpenContext {
                info: info.clone(),
                restored,
                assigned_splits: self.options.restore.splits(operator.id, self.worker),
                clock: Arc::clone(&self.board.clock),
                wake: Arc::clone(&wake),
                backend: self.program.backend.clone(),
            };
            link.operator
                .open(context)
                .and_then(|()| match &to_claim {
                    // The plan has seen to that, if the function registers the same here.
                    Some(snapshot) => {
                        let directory = snapshot.directory.to_string();
                        info.check_claimed(&link.operator.state(), &directory)
                    }
                    None => Ok(()),
                })
                .map_err(|error| error.opening(&operator.name, operator.uid.as_deref()))
                .map_err(|error| (name.clone(), error))?;
            links.push(link);
        }
        let writers = edges.iter().map(|edge| self.writer(*edge)).collect();
        let mut gates = Gates::default();
        let mut input_edges = Vec::new();
        for edge in inputs {
            let JobEdge {
                from,
                edge: stream_edge,
                ..
            } = &self.graph().edges[*edge];
            let pointwise = stream_edge.partitioner.is_pointwise();
            let worker = self.worker;
            gates.add(self.parallelism(*from), |sender| {
                !pointwise || sender == worker
            });
            input_edges.push(InputEdge {
                input: stream_edge.input,
                name: self.edge_name(*edge),
                codec: self.program.edges[*edge].codec,
                intakes: (0..self.parallelism(*from))
                    .map(|sender| self.intake(*edge, sender))
                    .collect(),
            });
        }
        let in_flight = self
            .in_flight(vertex, inputs, &input_edges)
            .map_err(|error| (name.clone(), error))?;
        let may_overtake = inputs.iter().map(|edge| self.may_overtake(*edge)).collect();
        let parts = TaskParts {
            name,
            vertex: vertex.index,
            subtask: self.worker,
            workers: self.options.processes * self.options.workers,
            is_source: vertex.is_source(),
            had_ended,
            chain: Chain::new(links, writers),
            inputs: input_edges,
            gates,
            alignment: Alignment::new(self.options.mode, may_overtake),
            in_flight,
        };
        Ok(Task::new(parts, Rc::clone(self.board)))
    }

    /// Whether an unaligned barrier may overtake the records of an edge.
    fn may_overtake(&self, edge: usize) -> bool {
        self.graph().edges[edge].edge.partitioner.may_be_overtaken()
    }

    /// What an edge is called in a checkpoint.
    fn edge_name(&self, edge: usize) -> EdgeName {
        let JobEdge { from, edge, .. } = &self.graph().edges[edge];
        let sender = self.graph().vertex(*from);
        let position = sender.position(edge.from).expect("it is one of its chain");
        EdgeName {
            sender: sender.operators[position].id,
            input: edge.input as u32,
            side_output: edge.side_output.clone().unwrap_or_default(),
        }
    }

    /// The records that were in flight to this worker's subtask of `vertex`, by input edge.
    fn in_flight(
        &self,
        vertex: &JobVertex,
        inputs: &[usize],
        input_edges: &[InputEdge],
    ) -> Result<Vec<ResumedBatch>, FunctionError> {
        let restored = self
            .options
            .restore
            .state(vertex.operators[0].id, self.worker);
        let Some(restored) = restored.filter(|restored| !restored.in_flight.is_empty()) else {
            return Ok(Vec::new());
        };
        let partitions: Vec<_> = inputs
            .iter()
            .map(|edge| {
                let partition = &self.program.edges[*edge].partition;
                let is_pointwise = self.graph().edges[*edge].edge.partitioner.is_pointwise();
                move |sender: u32| -> Box<dyn Partition> {
                    match is_pointwise {
                        // It redistributed before, as the parallelism was another: any will do.
                        true => Box::new(ToSubtask(sender % vertex.parallelism)),
                        false => partition(sender, vertex.parallelism, vertex.max_parallelism),
                    }
                }
            })
            .collect();
        let edges: Vec<RestoredEdge<'_>> = inputs
            .iter()
            .zip(input_edges)
            .zip(&partitions)
            .map(|((edge, input), partition)| RestoredEdge {
                name: &input.name,
                codec: input.codec,
                partition: match self.graph().edges[*edge].edge.partitioner {
                    Partitioner::Broadcast => None,
                    Partitioner::Forward
                    | Partitioner::Hash
                    | Partitioner::Rebalance
                    | Partitioner::Global => Some(partition),
                },
            })
            .collect();
        let mut all = Vec::new();
        for handle in &restored.in_flight {
            let source = restored.snapshot.open(handle.stream())?;
            let buffers = ChannelStateReader::new(source, handle)?;
            all.extend(in_flight::restore(buffers, handle, &edges, self.worker)?);
        }
        Ok(all)
    }

    /// This worker's end of the pair with a sender.
    fn intake(&self, edge: usize, sender: u32) -> Intake {
        let pair = Pair {
            edge,
            sender,
            receiver: self.worker,
        };
        // Subtask i runs on worker i, for every vertex.
        match self.options.local_workers().contains(&sender) {
            true => Intake::Local(self.board.control.backlogs.of(pair)),
            false => Intake::remote(pair),
        }
    }

    fn parallelism(&self, vertex: VertexIndex) -> u32 {
        self.graph().vertex(vertex).parallelism
    }

    /// The ways out of the operator at `position` of a chain.
    fn routes(&self, vertex: &JobVertex, position: usize, edges: &[usize]) -> Vec<Route> {
        let node = vertex.operators[position].node;
        let port = |side: &Option<String>| side.clone().map_or(Port::Main, Port::Side);
        let chained = vertex
            .chained_edges
            .iter()
            .filter(|edge| edge.from == node)
            .map(|edge| {
                let position = vertex
                    .position(edge.to)
                    .expect("chained edges stay in their chain");
                Route {
                    port: port(&edge.side_output),
                    target: Target::Link {
                        position,
                        input: edge.input,
                    },
                }
            });
        let outgoing = edges.iter().enumerate().filter_map(|(writer, edge)| {
            let edge = &self.graph().edges[*edge].edge;
            (edge.from == node).then(|| Route {
                port: port(&edge.side_output),
                target: Target::Edge(writer),
            })
        });
        chained.chain(outgoing).collect()
    }

    fn writer(&self, edge: usize) -> EdgeWriter {
        let JobEdge {
            to,
            edge: stream_edge,
            ..
        } = &self.graph().edges[edge];
        let receiver = self.graph().vertex(*to);
        let partition = (self.program.edges[edge].partition)(
            self.worker,
            receiver.parallelism,
            receiver.max_parallelism,
        );
        let receivers = match stream_edge.partitioner {
            Partitioner::Forward => self.worker..self.worker + 1,
            Partitioner::Hash
            | Partitioner::Rebalance
            | Partitioner::Broadcast
            | Partitioner::Global => 0..receiver.parallelism,
        };
        let backlogs = (0..receiver.parallelism)
            .map(|subtask| Pair {
                edge,
                sender: self.worker,
                receiver: subtask,
            })
            .map(|pair| self.board.control.backlogs.of(pair))
            .collect();
        EdgeWriter::new(
            partition,
            self.worker,
            receivers,
            self.options.local_workers(),
            backlogs,
        )
    }

    /// Watches how far all sinks have come, and wakes the sources that wait for it.
    fn observer(&mut self) {
        let mut operator = OperatorBuilder::new("sinks".to_owned(), self.scope);
        let mut drains: Vec<Drain> = Vec::new();
        for stream in std::mem::take(&mut self.ends) {
            drains.push(drain(&mut operator, stream, Pipeline));
        }
        let board = Rc::clone(self.board);
        operator.build(move |_| {
            move |frontiers: &[MutableAntichain<Time>]| {
                for drain in &mut drains {
                    drain(&mut |_, _| {});
                }
                let lowest = lowest(frontiers);
                if board.sinks.replace(lowest) != lowest {
                    board.activate_waiting_sources();
                }
            }
        });
    }
}

fn lowest_of(frontier: &MutableAntichain<Time>) -> Option<Time> {
    frontier.frontier().first().copied()
}

fn lowest(frontiers: &[MutableAntichain<Time>]) -> Option<Time> {
    frontiers.iter().filter_map(lowest_of).min()
}

fn drain<'scope, P>(
    operator: &mut OperatorBuilder<'scope, Time>,
    stream: Stream<'scope, Time, Packets>,
    pact: P,
) -> Drain
where
    P: ParallelizationContract<Time, Packets>,
{
    let mut input = operator.new_input(stream, pact);
    Box::new(move |receive| {
        input.for_each(|capability, packets| {
            let time = *capability.time();
            for packet in packets.0.drain(..) {
                receive(time, packet);
            }
        });
    })
}

/// A task inside its timely operator.
struct Runner {
    task: Option<Rc<RefCell<Task>>>,
    board: Rc<Board>,
    activator: Activator,
    drains: Vec<Drain>,
    outputs: Vec<Output<Time, Packets>>,
    capabilities: Vec<Capability<Time>>,
    /// The lowest times that can still arrive, by input.
    lowest: Vec<Option<Time>>,
    /// The timer that is already set: a second one would multiply with every activation.
    wake_at: Option<Instant>,
}

impl Runner {
    fn activate(&mut self, frontiers: &[MutableAntichain<Time>]) {
        let Some(task) = self.task.clone() else {
            self.capabilities.clear();
            return;
        };
        if self.board.control.is_cancelled() {
            return;
        }
        let mut task = task.borrow_mut();
        let begin = Instant::now();
        task.resume(begin);
        let mut received = Ok(());
        for (gate, drain) in self.drains.iter_mut().enumerate() {
            drain(&mut |time, packet| {
                let this = task.receive(gate, time, packet);
                if received.is_ok() {
                    received = this;
                }
            });
        }
        self.lowest.clear();
        self.lowest.extend(frontiers.iter().map(lowest_of));
        let outcome = match received.and_then(|()| task.run(&self.lowest, begin)) {
            Ok(outcome) => outcome,
            Err(error) => {
                self.board.fail(Some(task.name().to_owned()), error.chain());
                return;
            }
        };
        // What was made belongs to the old capability, and must leave before it falls.
        for ((edge, output), capability) in task
            .edges()
            .iter_mut()
            .zip(&mut self.outputs)
            .zip(&self.capabilities)
        {
            let packets = edge.take();
            if packets.is_empty() {
                continue;
            }
            let mut session = output.activate::<Packets>();
            for packet in packets {
                session.give(capability, &mut Packets(vec![packet]));
            }
        }
        match outcome.hold {
            Some(time) => self
                .capabilities
                .iter_mut()
                .for_each(|capability| capability.downgrade(&time)),
            None => self.capabilities.clear(),
        }
        let end = Instant::now();
        task.pause(outcome.doing, end);
        drop(task);
        self.schedule(outcome.again, end);
    }

    fn schedule(&mut self, again: Again, now: Instant) {
        if self.wake_at.is_some_and(|at| at <= now) {
            self.wake_at = None;
        }
        match again {
            Again::Now => self.activator.activate(),
            Again::After(delay) => self.wake_after(now, delay),
            Again::WhenWoken => {}
        }
    }

    fn wake_after(&mut self, now: Instant, delay: Duration) {
        if self.wake_at.is_none_or(|at| now + delay < at) {
            self.wake_at = Some(now + delay);
            self.activator.activate_after(delay);
        }
    }
}
