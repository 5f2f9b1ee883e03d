//! The one that was elected for a time: has it extended again and again, until it leads no more.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::election::{Leader, Leadership};
use crate::term::Term;

/// The pause after a renewal that has failed, at most.
const RETRY: Duration = Duration::from_millis(200);

/// For how long an end of this leader's own will waits until the service knows of it. Whoever ends it may lose patience.
const FAREWELL: Duration = Duration::from_secs(5);

/// What a service holds for the leader.
pub(crate) trait Holding: Send + 'static {
    /// Has the service hold this, which is where the leader is, for longer.
    fn renew(&mut self, leader: &[u8]) -> Renewed;

    /// Has the service let the next one lead at once.
    ///
    /// # Errors
    ///
    /// It is missed first; why, for people.
    fn give_up(&mut self) -> Result<(), String>;
}

/// What came of a renewal.
#[derive(Debug)]
pub(crate) enum Renewed {
    /// This process leads until then, in terms of [`now_ms`](crate::now_ms).
    Until(u64),
    /// Try again; why, for people.
    Failed(String),
    /// It leads no more; why, for people.
    Lost(String),
}

/// What the leader wants, and who is told when it is done.
enum Order {
    /// The service holds this, which is where the leader is.
    Publish(Vec<u8>, Sender<()>),
    /// It leads no more.
    GiveUp(Sender<()>),
}

/// Held by the leader.
pub(crate) struct Leading {
    term: Term,
    orders: Mutex<Sender<Order>>,
    lost: Mutex<Receiver<String>>,
}

impl Leading {
    /// Leads for a term that has begun and is renewed every `interval`.
    pub(crate) fn start(holding: impl Holding, term: Term, interval: Duration) -> io::Result<Self> {
        let (orders, queue) = channel();
        let (tell, lost) = channel();
        let of_thread = term.clone();
        std::thread::Builder::new()
            .name("leader-term".to_owned())
            .spawn(move || {
                let mut holding = holding;
                let why = keep(&mut holding, &of_thread, interval, &queue);
                of_thread.end();
                // The process is about to end.
                let _ = tell.send(why);
            })?;
        Ok(Leading {
            term,
            orders: Mutex::new(orders),
            lost: Mutex::new(lost),
        })
    }
}

impl Leadership for Leading {
    fn publish(&self, leader: &Leader) -> io::Result<()> {
        let (done, wait) = channel();
        let data = serde_json::to_vec(leader)?;
        let is_over = || io::Error::other("this job manager leads no more");
        {
            let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
            let order = Order::Publish(data, done);
            orders.send(order).map_err(|_| is_over())?;
        }
        wait.recv().map_err(|_| is_over())
    }

    fn term(&self) -> Term {
        self.term.clone()
    }

    fn wait_until_lost(&self) -> String {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let why = lost.recv();
        why.unwrap_or_else(|_| "nothing renews the leadership any more".to_owned())
    }

    fn give_up(&self) {
        let (done, wait) = channel();
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        // Otherwise it leads no more already.
        if orders.send(Order::GiveUp(done)).is_ok()
            && wait.recv_timeout(FAREWELL + RETRY) == Err(RecvTimeoutError::Timeout)
        {
            tracing::warn!(
                "nobody is told in time that this job manager leads no more: it is missed first"
            );
        }
        self.term.end();
    }
}

/// Keeps the term; returns why it is over.
fn keep(
    holding: &mut impl Holding,
    term: &Term,
    interval: Duration,
    orders: &Receiver<Order>,
) -> String {
    let mut leader = Vec::new();
    let mut waiting: Vec<Sender<()>> = Vec::new();
    let mut pause = interval;
    let mut failure = None;
    loop {
        match orders.recv_timeout(pause) {
            Ok(Order::Publish(data, done)) => {
                leader = data;
                waiting.push(done);
            }
            Ok(Order::GiveUp(done)) => {
                // First: whoever is told may lead at once.
                term.end();
                give_up(holding);
                // Whoever asked has gone away.
                let _ = done.send(());
                return "it was given up".to_owned();
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return "it was given up".to_owned(),
        }
        match holding.renew(&leader) {
            Renewed::Until(until_ms) => {
                term.extend(until_ms);
                if term.holds() {
                    for done in waiting.drain(..) {
                        // Whoever asked has gone away.
                        let _ = done.send(());
                    }
                }
                pause = interval;
                failure = None;
            }
            Renewed::Failed(why) => {
                if failure.is_none() {
                    tracing::warn!("the leadership is not renewed, which is tried again: {why}");
                }
                failure = Some(why);
                pause = interval.min(RETRY);
            }
            Renewed::Lost(why) => return why,
        }
        if !term.holds() {
            let why = failure.unwrap_or_else(|| "this process stood still".to_owned());
            return format!("the leadership was not renewed in time: {why}");
        }
    }
}

/// Tells the service that nobody leads, for as long as this is waited for.
fn give_up(holding: &mut impl Holding) {
    let begin = Instant::now();
    while let Err(why) = holding.give_up() {
        if begin.elapsed() > FAREWELL {
            tracing::warn!("this job manager leads no more, and is missed first: {why}");
            return;
        }
        std::thread::sleep(RETRY);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::term::now_ms;

    /// Answers as it is told, then not at all.
    struct Answers(Receiver<Renewed>);

    impl Holding for Answers {
        fn renew(&mut self, _leader: &[u8]) -> Renewed {
            let next = self.0.recv();
            next.unwrap_or_else(|_| Renewed::Failed("nobody answers".to_owned()))
        }

        fn give_up(&mut self) -> Result<(), String> {
            Err("nobody answers".to_owned())
        }
    }

    fn leading(left_ms: u64) -> (Sender<Renewed>, Leading) {
        let (answer, answers) = channel();
        let term = Term::until(now_ms() + left_ms, Duration::from_millis(left_ms));
        let leading = Leading::start(Answers(answers), term, Duration::from_millis(1));
        (answer, leading.expect("a thread"))
    }

    fn somewhere() -> Leader {
        Leader {
            rpc: "a:1".to_owned(),
            rest: "a:2".to_owned(),
        }
    }

    /// Refuses twice to let it go, and notes whether it still led when it asked.
    struct Reluctant {
        term: Term,
        led: Arc<Mutex<Vec<bool>>>,
    }

    impl Holding for Reluctant {
        fn renew(&mut self, _leader: &[u8]) -> Renewed {
            Renewed::Until(self.term.until_ms())
        }

        fn give_up(&mut self) -> Result<(), String> {
            let mut led = self.led.lock().expect("no panic");
            led.push(self.term.holds());
            match led.len() {
                1 | 2 => Err("not now".to_owned()),
                _ => Ok(()),
            }
        }
    }

    #[test]
    fn whoever_gives_up_leads_no_more_and_tells_the_service_until_it_hears() {
        let term = Term::until(now_ms() + 600_000, Duration::from_secs(600));
        let led = Arc::new(Mutex::new(Vec::new()));
        let holding = Reluctant {
            term: term.clone(),
            led: Arc::clone(&led),
        };
        let leading = Leading::start(holding, term, Duration::from_millis(1));
        let leading = leading.expect("a thread");
        leading.publish(&somewhere()).expect("it leads");
        leading.give_up();
        assert_eq!(*led.lock().expect("no panic"), [false; 3]);
        leading.publish(&somewhere()).expect_err("it leads no more");
        assert_eq!(leading.wait_until_lost(), "it was given up");
    }

    #[test]
    fn where_the_leader_is_is_told_when_the_service_holds_it() {
        let (answer, leading) = leading(600_000);
        answer
            .send(Renewed::Failed("busy".to_owned()))
            .expect("heard");
        let later = now_ms() + 1_200_000;
        std::thread::scope(|scope| {
            let told = scope.spawn(|| leading.publish(&somewhere()));
            // One for what came before, one for what is told.
            for _ in 0..2 {
                answer.send(Renewed::Until(later)).expect("heard");
            }
            told.join().expect("no panic").expect("it leads");
        });
        assert_eq!(leading.term().until_ms(), later);
    }

    #[test]
    fn a_service_that_does_not_answer_ends_the_term_by_the_clock_of_the_leader() {
        let (answer, leading) = leading(100);
        drop(answer);
        let why = leading.wait_until_lost();
        assert!(why.contains("nobody answers"), "{why}");
        assert!(!leading.term().holds());
        leading.publish(&somewhere()).expect_err("it leads no more");
    }

    #[test]
    fn what_is_lost_is_over_before_its_time() {
        let (answer, leading) = leading(600_000);
        answer
            .send(Renewed::Lost("deleted".to_owned()))
            .expect("heard");
        assert_eq!(leading.wait_until_lost(), "deleted");
        assert!(!leading.term().holds());
    }

    /// The answer comes, but after the time for which it was asked.
    #[test]
    fn a_leader_that_stood_still_leads_no_more_whatever_it_hears_then() {
        let (answer, leading) = leading(20);
        let term = leading.term();
        while term.holds() {
            std::thread::yield_now();
        }
        let later = now_ms() + 600_000;
        std::thread::scope(|scope| {
            let told = scope.spawn(|| leading.publish(&somewhere()));
            // It may have noticed by itself.
            let _ = answer.send(Renewed::Until(later));
            let told = told.join().expect("no panic");
            told.expect_err("it leads no more");
        });
        let why = leading.wait_until_lost();
        assert!(!term.holds(), "{why}");
    }
}
