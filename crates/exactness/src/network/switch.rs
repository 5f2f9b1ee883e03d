//! What carries packets between hosts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tappers::Tun;

use crate::random::Random;

/// The most packets that are under way: more are lost.
const MAX_DELAYED: usize = 4096;

/// How packets go between two hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// None arrives, and nobody is told.
    pub cut: bool,
    /// How many of a thousand are lost.
    pub lost: u64,
    /// How long each takes, at least.
    pub delay: Duration,
}

/// All links and tunnels.
pub(super) struct Switch {
    tunnels: BTreeMap<u8, Tun>,
    links: Mutex<BTreeMap<(u8, u8), Link>>,
    counts: BTreeMap<(u8, u8), Counts>,
}

#[derive(Default)]
struct Counts {
    carried: AtomicU64,
    lost: AtomicU64,
}

/// A packet that arrives later, in the order of time and then of departure.
struct Delayed {
    due: Instant,
    number: u64,
    to: u8,
    packet: Vec<u8>,
}

impl PartialEq for Delayed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Delayed {}

impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Delayed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

impl Switch {
    /// Carries packets until this process ends.
    pub(super) fn start(tunnels: Vec<(u8, Tun)>) -> Arc<Self> {
        let hosts: Vec<u8> = tunnels.iter().map(|(host, _)| *host).collect();
        let pairs = hosts
            .iter()
            .flat_map(|&a| hosts.iter().map(move |&b| (a, b)));
        let switch = Arc::new(Switch {
            counts: pairs.map(|pair| (pair, Counts::default())).collect(),
            tunnels: tunnels.into_iter().collect(),
            links: Mutex::default(),
        });
        let (later, delayed) = sync_channel(MAX_DELAYED);
        let at_end = Arc::clone(&switch);
        std::thread::spawn(move || at_end.deliver_delayed(&delayed));
        for host in hosts {
            let (switch, later) = (Arc::clone(&switch), later.clone());
            std::thread::spawn(move || switch.carry_from(host, &later));
        }
        switch
    }

    pub(super) fn set(&self, a: u8, b: u8, link: Link) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.insert((a, b), link);
        links.insert((b, a), link);
    }

    pub(super) fn packets(&self, from: u8, to: u8) -> (u64, u64) {
        let counts = &self.counts[&(from, to)];
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&counts.carried), read(&counts.lost))
    }

    fn carry_from(&self, from: u8, later: &SyncSender<Delayed>) {
        let tunnel = &self.tunnels[&from];
        let mut random = Random::new(u64::from(from));
        let mut packet = vec![0; 1 << 16];
        let mut number = 0;
        // The tunnel ends with its host.
        while let Ok(length) = tunnel.recv(&mut packet) {
            let packet = &packet[..length];
            let Some(to) = destination(packet) else {
                continue;
            };
            let Some(counts) = self.counts.get(&(from, to)) else {
                continue;
            };
            let link = {
                let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
                links.get(&(from, to)).copied().unwrap_or_default()
            };
            let arrives = !link.cut
                && random.below(1000) >= link.lost
                && match link.delay.is_zero() {
                    true => self.deliver(to, packet),
                    false => {
                        number += 1;
                        let packet = packet.to_vec();
                        let due = Instant::now() + link.delay;
                        let delayed = Delayed {
                            due,
                            number,
                            to,
                            packet,
                        };
                        later.try_send(delayed).is_ok()
                    }
                };
            let count = match arrives {
                true => &counts.carried,
                false => &counts.lost,
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn deliver(&self, to: u8, packet: &[u8]) -> bool {
        self.tunnels
            .get(&to)
            .is_some_and(|tunnel| tunnel.send(packet).is_ok())
    }

    fn deliver_delayed(&self, delayed: &Receiver<Delayed>) {
        let mut waiting: BinaryHeap<Reverse<Delayed>> = BinaryHeap::new();
        loop {
            let next = waiting.peek().map(|Reverse(next)| next.due);
            let now = Instant::now();
            if next.is_some_and(|due| due <= now) {
                if let Some(Reverse(next)) = waiting.pop() {
                    self.deliver(next.to, &next.packet);
                }
                continue;
            }
            let pause = next.map_or(Duration::from_secs(1), |due| due - now);
            match delayed.recv_timeout(pause) {
                Ok(packet) => waiting.push(Reverse(packet)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

/// The last part of the address that an IPv4 packet goes to.
fn destination(packet: &[u8]) -> Option<u8> {
    let version = packet.first()? >> 4;
    (version == 4).then_some(*packet.get(19)?)
}
