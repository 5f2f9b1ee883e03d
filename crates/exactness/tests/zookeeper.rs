//! Clusters whose leader Apache ZooKeeper elects: a real one, in a process of its own.
//!
//! Sessions are as short as is wise on a busy machine.

use std::sync::Arc;
use std::sync::mpsc::channel;

use millpond_exactness::cluster::Cluster;
use millpond_exactness::job_process::{Bench, continue_process, stop_process};
use millpond_exactness::takeover;
use millpond_exactness::zookeeper::ZooKeeper;
use millpond_leadership::{Election, Leader, election};
use millpond_types::config::Configuration;

/// Long enough for a stall of a busy machine.
const SESSION: &str = "8 s";

/// Long enough for ZooKeeper to start again on a busy machine, and for the job to end.
const LONG_SESSION: &str = "10 min";

fn options(zookeeper: &ZooKeeper, session: &str) -> Vec<String> {
    vec![
        "high-availability.type=zookeeper".to_owned(),
        format!("high-availability.zookeeper.quorum={}", zookeeper.quorum()),
        format!("high-availability.zookeeper.client.session-timeout={session}"),
        "high-availability.zookeeper.client.retry-wait=200 ms".to_owned(),
    ]
}

fn elects(zookeeper: &ZooKeeper, session: &str) -> Arc<dyn Election> {
    let options = options(zookeeper, session);
    let pairs = options.iter().filter_map(|pair| pair.split_once('='));
    let election = election(&Configuration::from_pairs(pairs)).expect("an election");
    election.expect("it is highly available")
}

fn leader_at(port: u16) -> Leader {
    Leader {
        rpc: format!("host:{port}"),
        rest: format!("host:{}", port + 1),
    }
}

fn bench() -> Bench {
    takeover::bench(env!("CARGO_BIN_EXE_exactness-job"))
}

fn start<'a>(bench: &'a Bench, zookeeper: &ZooKeeper, session: &str) -> Cluster<'a> {
    takeover::start(bench, &options(zookeeper, session))
}

#[test]
fn one_leads_and_the_next_one_when_it_gives_up() {
    let Some(zookeeper) = ZooKeeper::start("zookeeper: an election") else {
        return;
    };
    let election = elects(&zookeeper, SESSION);
    election.leader().expect_err("nobody leads");
    let first = election.campaign(&mut || panic!("nobody leads"));
    let first = first.expect("nobody leads");
    let why = election.leader().expect_err("it has not told").to_string();
    assert!(why.contains("not told"), "{why}");
    for port in [1, 3] {
        first.publish(&leader_at(port)).expect("it leads");
        assert_eq!(election.leader().expect("told"), leader_at(port));
    }
    let (events, heard) = channel();
    let other = elects(&zookeeper, SESSION);
    let second = std::thread::spawn(move || {
        let leads = other.campaign(&mut || events.send("waits").expect("heard"));
        let leads = leads.expect("it waits");
        leads.publish(&leader_at(5)).expect("it leads");
        leads.term().holds()
    });
    assert_eq!(heard.recv(), Ok("waits"));
    assert_eq!(election.leader().expect("told"), leader_at(3));
    assert!(first.term().holds());
    drop(first);
    assert!(second.join().expect("no panic"));
}

/// It is cut off: what it could be told does not come.
#[test]
fn a_leader_that_reaches_nobody_knows_by_its_own_clock_that_it_leads_no_more() {
    let Some(zookeeper) = ZooKeeper::start("zookeeper: a leader that is cut off") else {
        return;
    };
    let election = elects(&zookeeper, "3 s");
    let leads = election.campaign(&mut || panic!("nobody leads"));
    let leads = leads.expect("nobody leads");
    let term = leads.term();
    stop_process(zookeeper.process());
    let why = leads.wait_until_lost();
    assert!(!term.holds(), "{why}");
    assert!(why.contains("ZooKeeper"), "{why}");
    leads.publish(&leader_at(1)).expect_err("it leads no more");
    continue_process(zookeeper.process());
    drop(leads);
    let again = election.campaign(&mut || {}).expect("it may try again");
    again.publish(&leader_at(3)).expect("it leads");
    assert_eq!(election.leader().expect("told"), leader_at(3));
    assert!(!term.holds(), "what is over stays so");
}

#[test]
fn a_standby_goes_on_with_the_jobs_of_a_leader_that_is_killed() {
    let Some(zookeeper) = ZooKeeper::start("zookeeper: a leader that is killed") else {
        return;
    };
    let bench = bench();
    let mut cluster = start(&bench, &zookeeper, SESSION);
    cluster.add_standby();
    let job = takeover::running(&mut cluster);
    takeover::by_a_kill(&bench, &mut cluster, job);
    cluster.end();
}

#[test]
fn a_leader_that_stands_still_for_longer_than_its_session_leads_no_more() {
    let Some(zookeeper) = ZooKeeper::start("zookeeper: a leader that stands still") else {
        return;
    };
    let bench = bench();
    let mut cluster = start(&bench, &zookeeper, SESSION);
    cluster.add_standby();
    let job = takeover::running(&mut cluster);
    takeover::by_a_leader_that_stands_still(&bench, &mut cluster, job);
    cluster.end();
}

#[test]
fn masters_that_stand_still_with_their_leader_end_when_they_wake_up() {
    let Some(zookeeper) = ZooKeeper::start("zookeeper: a leader and a master that stand still")
    else {
        return;
    };
    let bench = bench();
    let mut cluster = start(&bench, &zookeeper, SESSION);
    cluster.add_standby();
    let job = takeover::running(&mut cluster);
    takeover::by_a_machine_that_stands_still(&bench, &mut cluster, job);
    cluster.end();
}

#[test]
fn a_job_goes_on_while_zookeeper_is_gone_for_less_than_a_session() {
    let Some(mut zookeeper) = ZooKeeper::start("zookeeper: it is gone for a while") else {
        return;
    };
    let bench = bench();
    let mut cluster = start(&bench, &zookeeper, LONG_SESSION);
    let job = takeover::running(&mut cluster);
    let leader = cluster.job_manager();
    zookeeper.kill();
    job.wait_for_checkpoints(3);
    zookeeper.restart();
    job.wait_for_checkpoints(3);
    takeover::ends_well(&bench, &mut cluster, &job, "ZooKeeper was gone");
    assert_eq!(job.failed_attempts(), 0);
    assert_eq!(cluster.job_manager(), leader);
    cluster.add_standby();
    cluster.end();
}
