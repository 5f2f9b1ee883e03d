//! Scenarios: what happens to a cluster by chance, and what is true behind it.

use std::time::Duration;

use millpond_exactness::cluster::Cluster;
use millpond_exactness::job_process::{kill_process, pause_process, wait_for};
use millpond_exactness::lines::difference;
use millpond_exactness::network::{Link, Network, isolated};
use millpond_exactness::oracle::expected;
use millpond_exactness::random::Random;
use millpond_exactness::remains::{collect_garbage, hidden};
use millpond_exactness::seeds::for_each_seed_or;

use crate::disks::{Disk, Disks};
use crate::{CUT, MANAGER, STANDBY, WHOLE, WORKLOAD, bench, free_slots, highly_available};

/// The hosts of task managers.
const WORK: [u8; 2] = [2, 3];

/// What happens to a cluster.
#[derive(Clone, Copy, Debug)]
enum Blow {
    Cut(u8, u8, Duration),
    Poor(Link, Duration),
    Kill(Victim),
    Pause(Victim, Duration),
    Fill(Disk, Duration),
}

#[derive(Clone, Copy, Debug)]
enum Victim {
    Leader,
    Master,
    TaskManager(usize),
    Worker(usize),
}

impl Blow {
    fn random(random: &mut Random) -> Self {
        let time = random.duration(Duration::from_secs(8));
        match random.below(5) {
            0 => {
                let pairs = [(1, 2), (1, 3), (2, 3), (1, 4), (4, 2)];
                let (a, b) = *random.one_of(&pairs);
                Blow::Cut(a, b, time)
            }
            1 => {
                let link = Link {
                    cut: false,
                    lost: random.below(100),
                    delay: random.duration(Duration::from_millis(20)),
                };
                Blow::Poor(link, time)
            }
            2 => Blow::Kill(Victim::random(random)),
            3 => Blow::Fill(*random.one_of(&Disk::ALL), time),
            _ => Blow::Pause(Victim::random(random), time),
        }
    }
}

impl Blow {
    /// Whether the job certainly keeps its master, which removes what its attempts have left.
    fn leaves_the_master(self) -> bool {
        matches!(
            self,
            Blow::Kill(Victim::Worker(_)) | Blow::Fill(Disk::Checkpoints | Disk::Output, _)
        )
    }
}

impl Victim {
    fn random(random: &mut Random) -> Self {
        let place = random.below(WORK.len() as u64) as usize;
        match random.below(4) {
            0 => Victim::Leader,
            1 => Victim::Master,
            2 => Victim::TaskManager(place),
            _ => Victim::Worker(place),
        }
    }

    fn processes(self, cluster: &Cluster, task_managers: &[u32]) -> Vec<u32> {
        match self {
            Victim::Leader => vec![cluster.job_manager()],
            Victim::Master => cluster.children_of(cluster.job_manager()),
            Victim::TaskManager(place) => vec![task_managers[place]],
            Victim::Worker(place) => cluster.children_of(task_managers[place]),
        }
    }
}

#[test]
fn whatever_happens_to_hosts_and_between_them_the_result_is_exact() {
    if !isolated("scenario::whatever_happens_to_hosts_and_between_them_the_result_is_exact") {
        return;
    }
    let network = Network::new(STANDBY);
    for_each_seed_or("MILLPOND_NETWORK_RUNS", Duration::from_secs(60), |seed| {
        let mut random = Random::new(seed);
        let blows: Vec<(Duration, Blow)> = (0..random.between(1, 3))
            .map(|_| {
                let pause = random.duration(Duration::from_secs(1));
                (pause, Blow::random(&mut random))
            })
            .collect();
        let context = format!("seed {seed}, {blows:?}");
        let bench = bench(2_000);
        let Some(disks) = Disks::mount(&bench) else {
            return;
        };
        let mut cluster = highly_available(&bench, &network);
        let ports_of_leader = network.listening(MANAGER);
        let mut task_managers = WORK.map(|host| cluster.add_task_manager_on(host, 1));
        let ports_of_task_manager = network.listening(WORK[0]);
        let mut job = cluster.run(&[("parallelism.default", "2")]);
        let mut standby = STANDBY;
        let under_one_master = blows.iter().all(|(_, blow)| blow.leaves_the_master());
        for (pause, blow) in blows {
            std::thread::sleep(pause);
            match blow {
                Blow::Cut(a, b, time) => {
                    network.set(a, b, CUT);
                    std::thread::sleep(time);
                    network.set(a, b, WHOLE);
                }
                Blow::Poor(link, time) => {
                    network.set_all(link);
                    std::thread::sleep(time);
                    network.set_all(WHOLE);
                }
                Blow::Kill(Victim::Leader) => {
                    cluster.add_standby_on(standby);
                    cluster.kill_leader();
                    cluster.follow(&mut job);
                    standby = MANAGER + STANDBY - standby;
                }
                Blow::Kill(Victim::TaskManager(place)) => {
                    cluster.kill_task_manager(task_managers[place]);
                    task_managers[place] = cluster.add_task_manager_on(WORK[place], 1);
                }
                Blow::Kill(victim) => {
                    let all = victim.processes(&cluster, &task_managers);
                    all.into_iter().for_each(kill_process);
                }
                Blow::Pause(victim, time) => {
                    let all = victim.processes(&cluster, &task_managers);
                    all.into_iter().for_each(|pid| pause_process(pid, time));
                }
                Blow::Fill(disk, time) => disks.keep_full(disk, time),
            }
        }
        cluster.wait_for_end(&job, &context);
        let wrong = difference(&expected(&WORKLOAD), &bench.published());
        assert_eq!(wrong, None, "{context}");
        // The job manager and the task managers.
        wait_for(&format!("all others to be gone, {context}"), || {
            (cluster.processes().len() == 1 + WORK.len()).then_some(())
        });
        free_slots(&mut cluster, WORK.len() as u64);
        for host in WORK {
            let ports = network.listening(host).len();
            assert_eq!(ports, ports_of_task_manager.len(), "host {host}, {context}");
        }
        let ports = [MANAGER, STANDBY].map(|host| network.listening(host).len());
        let none_but_of_leader = [ports_of_leader.len(), 0];
        assert!(
            ports == none_but_of_leader || ports == [0, ports_of_leader.len()],
            "{ports:?}, {context}"
        );
        // Working directories of processes that were killed go at the next start; they are empty.
        let (_, left) = cluster.local_files();
        assert!(left.is_empty(), "{context}: {left:?}");
        cluster.end();
        let left = hidden(&bench.out());
        assert!(!under_one_master || left.is_empty(), "{context}: {left:?}");
        let (wrong, _) = collect_garbage(&bench.checkpoints());
        assert!(wrong.is_empty(), "{context}: {wrong:?}");
    });
}
