//! The disks that the hosts share, to be filled.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use millpond_exactness::job_process::{Bench, wait_for};
use millpond_exactness::network::{Network, isolated};
use millpond_exactness::remains::{collect_garbage, hidden};
use millpond_exactness::small_disk::SmallDisk;

use crate::{WORKLOAD, bench, highly_available, running};

/// What lies on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    Checkpoints,
    Output,
    /// What the next leader goes on with: jobs, their programs, their newest checkpoints.
    Leadership,
}

impl Disk {
    pub(crate) const ALL: [Disk; 3] = [Disk::Checkpoints, Disk::Output, Disk::Leadership];

    fn directory(self, bench: &Bench) -> PathBuf {
        match self {
            Disk::Checkpoints => bench.checkpoints(),
            Disk::Output => bench.out(),
            Disk::Leadership => bench.directory().join("ha"),
        }
    }
}

/// One of each.
pub(crate) struct Disks(Vec<(Disk, SmallDisk)>);

impl Disks {
    /// Mounts all, none of which is full by what a job writes; `None`, which is told, where that is not permitted.
    pub(crate) fn mount(bench: &Bench) -> Option<Self> {
        let program = std::fs::metadata(bench.program()).expect("a program").len();
        let mount = |disk: Disk| {
            let room = match disk {
                Disk::Checkpoints | Disk::Output => 0,
                Disk::Leadership => program,
            };
            let mebibytes = 16 + room.div_ceil(1 << 20);
            let mounted = SmallDisk::mount_of(&disk.directory(bench), &format!("{mebibytes}m"));
            mounted.map(|mounted| (disk, mounted))
        };
        Disk::ALL
            .map(mount)
            .into_iter()
            .collect::<Option<_>>()
            .map(Disks)
    }

    fn get(&self, disk: Disk) -> &SmallDisk {
        let all = &self.0;
        let mounted = all.iter().find(|(other, _)| *other == disk);
        &mounted.expect("all are mounted").1
    }

    /// Nothing is freed on it for so long that is not taken at once.
    pub(crate) fn keep_full(&self, disk: Disk, time: Duration) {
        let begin = Instant::now();
        let disk = self.get(disk);
        loop {
            disk.fill();
            if begin.elapsed() >= time {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        disk.make_room();
    }
}

/// Of a full disk is told where somebody looks: in the exceptions of the job or with its checkpoints, and in
/// the log of the leader for what only that one writes.
#[test]
fn a_full_disk_costs_attempts_that_say_so_until_there_is_room() {
    if !isolated("disks::a_full_disk_costs_attempts_that_say_so_until_there_is_room") {
        return;
    }
    let network = Network::new(3);
    for disk in Disk::ALL {
        let bench = bench(2_000);
        let Some(disks) = Disks::mount(&bench) else {
            return;
        };
        let mut cluster = highly_available(&bench, &network);
        let job = running(&mut cluster, 3);
        let mut told = String::new();
        wait_for(&format!("{disk:?} to be told as full"), || {
            disks.get(disk).fill();
            let answers = ["/exceptions", "/checkpoints"].map(|path| job.try_get(path));
            told = format!("{answers:?}{}", cluster.log());
            told.contains("No space left").then_some(())
        });
        disks.get(disk).make_room();
        eprintln!("{disk:?}: {} attempts failed", job.failed_attempts());
        job.wait_for("RUNNING");
        job.wait_for_checkpoints(2);
        cluster.wait_for_end(&job, "there was room again");
        bench.assert_exact(&WORKLOAD);
        cluster.end();
        let left = hidden(&bench.out());
        assert!(left.is_empty(), "{disk:?}: {left:?}");
        let (wrong, _) = collect_garbage(&bench.checkpoints());
        assert!(wrong.is_empty(), "{disk:?}: {wrong:?}");
    }
}
