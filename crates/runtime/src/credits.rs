//! The way of credits from receivers to senders in other processes: a dataflow of its own.
//!
//! It lives beside the job's dataflow in the same group of workers, and shares no timestamp with
//! it: a credit is sent at the one time that there is, and holds no frontier of the job back. Each
//! worker keeps the right to send until all its tasks have ended, so the dataflow ends when the last
//! task of the job has, and on workers without tasks it waits for that only. What is on its way is
//! bounded by what the job has in flight: a pair sends one packet for a quarter of its limit.
//!
//! Rejected: a feedback edge within the job's dataflow (a message on it would hold the frontiers of
//! everything downstream), the connection to the job master (a detour, and a second protocol that
//! would have to be kept from overtaking the end of an attempt).

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use timely::dataflow::channels::pact::DistributorPact;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::scheduling::Activator;
use timely::worker::Worker;

use crate::board::Board;
use crate::congestion::Credit;
use crate::packet::{ByWorker, Packet, Packets, Payload};

/// What the tasks of one worker have to tell.
#[derive(Default)]
pub(crate) struct Credits {
    due: RefCell<Vec<Credit>>,
    activator: RefCell<Option<Activator>>,
    closed: Cell<bool>,
}

impl Credits {
    /// Has a credit sent.
    pub(crate) fn send(&self, credit: Credit) {
        self.due.borrow_mut().push(credit);
        self.activate();
    }

    /// No task of this worker will take anything any more.
    pub(crate) fn close(&self) {
        if !self.closed.replace(true) {
            self.activate();
        }
    }

    fn activate(&self) {
        if let Some(activator) = &*self.activator.borrow() {
            activator.activate();
        }
    }
}

/// Builds it on this worker.
pub(crate) fn build(worker: &mut Worker, board: &Rc<Board>) {
    worker.dataflow::<(), _, _>(|scope| {
        let mut operator = OperatorBuilder::new("credits to be sent".to_owned(), scope);
        let (mut output, stream) = operator.new_output::<Packets>();
        let activator = scope.activator_for(operator.operator_info().address);
        board.credits.activator.replace(Some(activator));
        let sending = Rc::clone(board);
        operator.build(move |mut capabilities| {
            move |_| {
                let credits = &sending.credits;
                let due = credits.due.take();
                if let Some(capability) = capabilities.first()
                    && !due.is_empty()
                {
                    let packets = due.iter().map(packet).collect();
                    let mut session = output.activate::<Packets>();
                    session.give(capability, &mut Packets(packets));
                }
                if credits.closed.get() {
                    capabilities.clear();
                }
            }
        });
        let mut operator = OperatorBuilder::new("credits".to_owned(), scope);
        let mut input = operator.new_input(stream, DistributorPact(|_| ByWorker));
        let board = Rc::clone(board);
        operator.build(move |_| {
            move |_| {
                input.for_each(|_, packets| {
                    for packet in packets.0.drain(..) {
                        match packet.payload.into_credit(packet.sender) {
                            Ok(Credit { pair, taken }) => {
                                board.control.backlogs.of(pair).credited(taken);
                            }
                            Err(error) => board.fail(None, error.chain()),
                        }
                    }
                });
            }
        });
    });
}

fn packet(credit: &Credit) -> Packet {
    Packet {
        // Subtask i runs on worker i, for every vertex.
        worker: credit.pair.sender,
        sender: credit.pair.receiver,
        payload: Payload::credit(credit),
    }
}
