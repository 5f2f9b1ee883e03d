//! Random histories of checkpoints that share files, on a simulated disk: what is referred to is
//! there, and what nobody needs is gone in the end. Each law is shown to find the fault that it is for.
//!
//! `MILLPOND_FUZZ_SECONDS` (default 1) is the time to spend; `MILLPOND_FUZZ_SEED` replays one history.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use millpond_checkpoint::{Released, Scope, SharedStateRegistry, SnapshotFiles};
use millpond_types::CheckpointId;

/// What the driver of the registry does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The files of a base are not kept for what builds on it.
    NoLease,
    /// Files of others are not told.
    NoProtection,
    /// What a failed checkpoint has written is left.
    NoCleanUp,
    /// A complete checkpoint is told late, behind the end of its lease.
    LeaseFirst,
    /// A checkpoint is forgotten, and never removed.
    Forgotten,
}

#[test]
fn what_is_referred_to_is_there_and_what_is_not_goes_in_the_end() {
    if let Ok(seed) = std::env::var("MILLPOND_FUZZ_SEED") {
        let seed = seed.parse().expect("a number");
        World::new(seed, None).run().expect("the laws hold");
        return;
    }
    let seconds = std::env::var("MILLPOND_FUZZ_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(1);
    let until = Instant::now() + Duration::from_secs(seconds);
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let first = since_1970.as_nanos() as u64;
    let mut histories = 0;
    while histories < 500 || Instant::now() < until {
        let seed = match histories {
            0..500 => histories,
            more => first.wrapping_add(more),
        };
        if let Err(broken) = World::new(seed, None).run() {
            panic!("{broken}; replay with MILLPOND_FUZZ_SEED={seed}");
        }
        histories += 1;
    }
    println!("{histories} histories");
}

#[test]
fn each_planted_fault_is_found() {
    for fault in [
        Fault::NoLease,
        Fault::NoProtection,
        Fault::NoCleanUp,
        Fault::LeaseFirst,
        Fault::Forgotten,
    ] {
        let found = (0..500).find_map(|seed| World::new(seed, Some(fault)).run().err());
        assert!(found.is_some(), "{fault:?} is not found in 500 histories");
    }
}

/// Random numbers: xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % end
    }

    fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }
}

/// A checkpoint in progress.
struct Pending {
    base: BTreeSet<String>,
    files: BTreeSet<String>,
}

struct World {
    random: Random,
    fault: Option<Fault>,
    registry: SharedStateRegistry,
    retained: usize,
    disk: BTreeSet<String>,
    of_others: BTreeSet<String>,
    complete: BTreeMap<CheckpointId, SnapshotFiles>,
    pending: BTreeMap<CheckpointId, Pending>,
    /// The newest complete one that what begins may build on.
    base: Option<CheckpointId>,
    next: CheckpointId,
    written: u64,
    claims: BTreeSet<String>,
}

type Law = Result<(), String>;

impl World {
    fn new(seed: u64, fault: Option<Fault>) -> World {
        let mut world = World {
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            fault,
            registry: SharedStateRegistry::default(),
            retained: 1,
            disk: BTreeSet::new(),
            of_others: BTreeSet::new(),
            complete: BTreeMap::new(),
            pending: BTreeMap::new(),
            base: None,
            next: 8,
            written: 0,
            claims: BTreeSet::new(),
        };
        world.retained = 1 + world.random.below(3) as usize;
        world.start();
        world
    }

    /// The snapshot that the job is started from: none, claimed, or not.
    fn start(&mut self) {
        let directory = "file:/old/chk-7".to_owned();
        let inside = (0..3).map(|n| format!("{directory}/{n}"));
        let files: BTreeSet<String> = inside
            .chain((0..3).map(|n| format!("file:/old/shared/{n}")))
            .collect();
        let claimed = match self.random.below(4) {
            0 => return,
            1 => false,
            _ => true,
        };
        self.disk.extend(files.iter().cloned());
        let of_others: BTreeSet<String> = match claimed {
            true => files
                .iter()
                .filter(|f| f.ends_with("shared/1"))
                .cloned()
                .collect(),
            false => files.clone(),
        };
        if self.fault != Some(Fault::NoProtection) {
            self.registry.protect(of_others.iter().cloned());
        }
        self.of_others = of_others;
        let snapshot = SnapshotFiles {
            directory: directory.clone(),
            claimed,
            files,
        };
        // LEGACY: files of it are referred to although they are not the job's.
        self.base = Some(7);
        if claimed {
            self.registry.add(7, snapshot.clone());
            self.claims.insert(directory);
            self.complete.insert(7, snapshot);
        } else {
            self.pending.clear();
            self.legacy(snapshot);
        }
    }

    /// Keeps the files of a snapshot that is not the job's where what builds on it finds them.
    fn legacy(&mut self, snapshot: SnapshotFiles) {
        self.base = None;
        if self.random.percent(50) {
            let id = self.begin();
            let pending = self.pending.get_mut(&id).expect("begun");
            pending.base = snapshot.files;
        }
    }

    fn run(mut self) -> Law {
        for _ in 0..self.random.below(60) {
            match self.random.below(10) {
                0..3 => drop(self.begin()),
                3..6 => self.write()?,
                6..8 => self.end_one(true),
                8 => self.end_one(false),
                // A new attempt: all that is in progress ends.
                _ => {
                    while !self.pending.is_empty() {
                        self.end_one(false);
                    }
                }
            }
            self.check()?;
        }
        while !self.pending.is_empty() {
            self.end_one(false);
            self.check()?;
        }
        for id in self.complete.keys().copied().collect::<Vec<_>>() {
            self.remove(id);
            self.check()?;
        }
        let left: Vec<_> = self.disk.difference(&self.of_others).collect();
        if !left.is_empty() {
            return Err(format!("{left:?} are left behind"));
        }
        match self.claims.is_empty() {
            true => Ok(()),
            false => Err(format!("{:?} is claimed for ever", self.claims)),
        }
    }

    fn begin(&mut self) -> CheckpointId {
        let id = self.next;
        self.next += 1;
        let base = self.base.filter(|base| self.complete.contains_key(base));
        let files = base.map(|base| self.complete[&base].files.clone());
        if let Some(base) = base
            && self.fault != Some(Fault::NoLease)
        {
            self.registry.lease(id, base);
        }
        let pending = Pending {
            base: files.unwrap_or_default(),
            files: BTreeSet::new(),
        };
        self.pending.insert(id, pending);
        id
    }

    fn some_pending(&mut self) -> Option<CheckpointId> {
        let count = self.pending.len() as u64;
        let index = (count > 0).then(|| self.random.below(count))?;
        self.pending.keys().nth(index as usize).copied()
    }

    /// A task writes its part: files of the base, and new ones, shared or not.
    fn write(&mut self) -> Law {
        let Some(id) = self.some_pending() else {
            return Ok(());
        };
        let reused: Vec<String> = self.pending[&id].base.iter().cloned().collect();
        for file in reused {
            if self.random.percent(40) {
                if !self.disk.contains(&file) {
                    return Err(format!("{file} is gone as {id} refers to it"));
                }
                self.pending.get_mut(&id).expect("there").files.insert(file);
            }
        }
        self.written += 1;
        let file = match self.random.percent(60) {
            true => format!("file:/c/shared/{}", self.written),
            false => format!("file:/c/chk-{id}/{}", self.written),
        };
        self.disk.insert(file.clone());
        self.pending.get_mut(&id).expect("there").files.insert(file);
        Ok(())
    }

    fn end_one(&mut self, well: bool) {
        let Some(id) = self.some_pending() else {
            return;
        };
        let pending = self.pending.remove(&id).expect("there");
        let directory = format!("file:/c/chk-{id}");
        let newest = self.complete.keys().next_back();
        if !well || newest.is_some_and(|newest| *newest > id) {
            self.abort(id, &directory, &pending.files);
            return;
        }
        let snapshot = SnapshotFiles {
            directory,
            claimed: false,
            files: pending.files,
        };
        let lease_first = self.fault == Some(Fault::LeaseFirst);
        if !lease_first {
            self.registry.add(id, snapshot.clone());
        }
        let released = self.registry.end_lease(id);
        if lease_first {
            self.registry.add(id, snapshot.clone());
        }
        self.complete.insert(id, snapshot);
        self.delete(&released);
        self.base = Some(id);
        while self.complete.len() > self.retained {
            let oldest = *self.complete.keys().next().expect("there");
            if self.fault == Some(Fault::Forgotten) && self.random.percent(5) {
                self.complete.remove(&oldest);
                continue;
            }
            self.remove(oldest);
        }
    }

    fn abort(&mut self, id: CheckpointId, directory: &str, files: &BTreeSet<String>) {
        let mut released = self.registry.end_lease(id);
        let inside = format!("{directory}/");
        self.disk.retain(|file| !file.starts_with(&inside));
        if self.fault != Some(Fault::NoCleanUp) {
            let outside = files.iter().filter(|file| !file.starts_with(&inside));
            released.files.extend(self.registry.unused(outside));
        }
        self.delete(&released);
    }

    fn remove(&mut self, id: CheckpointId) {
        let snapshot = self.complete.remove(&id).expect("there");
        let (scope, released) = self.registry.remove(id).expect("known");
        if scope == Scope::Whole {
            let inside = format!("{}/", snapshot.directory);
            self.disk.retain(|file| !file.starts_with(&inside));
        }
        self.delete(&released);
    }

    fn delete(&mut self, released: &Released) {
        for file in &released.files {
            self.disk.remove(file);
        }
        for directory in &released.claims_ended {
            self.claims.remove(directory);
        }
    }

    fn check(&self) -> Law {
        for (id, snapshot) in &self.complete {
            if let Some(file) = snapshot.files.difference(&self.disk).next() {
                return Err(format!("{file} of checkpoint {id} is gone"));
            }
        }
        for (id, pending) in &self.pending {
            let mut needed = pending.base.union(&pending.files);
            if let Some(file) = needed.find(|file| !self.disk.contains(*file)) {
                return Err(format!("{file} is gone, and {id} in progress may need it"));
            }
        }
        match self.of_others.difference(&self.disk).next() {
            Some(file) => Err(format!("{file} of others is gone")),
            None => Ok(()),
        }
    }
}
