//! Clusters whose leader Apache ZooKeeper elects: real servers, in processes of their own.
//!
//! Sessions are as short as is wise on a busy machine.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::channel;

use millpond_exactness::cluster::Cluster;
use millpond_exactness::job_process::{Bench, continue_process, stop_process};
use millpond_exactness::takeover;
use millpond_exactness::zookeeper::{ENSEMBLE, ZooKeeper};
use millpond_leadership::{Election, Leader, election};
use millpond_types::config::Configuration;

/// Long enough for a stall of a busy machine.
const SESSION: &str = "8 s";

/// Long enough for servers to elect another leader of theirs on a busy machine.
const SESSION_OF_ENSEMBLE: &str = "20 s";

/// Long enough for ZooKeeper to start again on a busy machine, and for the job to end.
const LONG_SESSION: &str = "10 min";

fn options(quorum: &str, session: &str) -> Vec<String> {
    vec![
        "high-availability.type=zookeeper".to_owned(),
        format!("high-availability.zookeeper.quorum={quorum}"),
        format!("high-availability.zookeeper.client.session-timeout={session}"),
        "high-availability.zookeeper.client.retry-wait=200 ms".to_owned(),
    ]
}

fn elects(zookeeper: &ZooKeeper, session: &str) -> Arc<dyn Election> {
    elects_at(&zookeeper.quorum(), session)
}

fn elects_at(quorum: &str, session: &str) -> Arc<dyn Election> {
    let options = options(quorum, session);
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
    takeover::start(bench, &options(&zookeeper.quorum(), session))
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
    stop_process(zookeeper.process(0));
    let why = leads.wait_until_lost();
    assert!(!term.holds(), "{why}");
    assert!(why.contains("ZooKeeper"), "{why}");
    leads.publish(&leader_at(1)).expect_err("it leads no more");
    continue_process(zookeeper.process(0));
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
fn leaders_that_are_killed_in_the_phases_of_checkpoints_lose_nothing() {
    let Some(zookeeper) = ZooKeeper::start("zookeeper: leaders that are killed in phases") else {
        return;
    };
    let bench = bench().with_storage_control();
    let mut cluster = start(&bench, &zookeeper, SESSION);
    let job = takeover::running(&mut cluster);
    takeover::by_kills_in_phases(&bench, &mut cluster, job);
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
    zookeeper.kill(0);
    job.wait_for_checkpoints(3);
    zookeeper.restart();
    job.wait_for_checkpoints(3);
    takeover::ends_well(&bench, &mut cluster, &job, "ZooKeeper was gone");
    assert_eq!(job.failed_attempts(), 0);
    assert_eq!(cluster.job_manager(), leader);
    cluster.add_standby();
    cluster.end();
}

/// A session outlives this test.
#[test]
fn the_next_one_leads_at_once_when_a_leader_gives_up() {
    let Some(zookeeper) = ZooKeeper::start_ensemble("zookeeper: a leader gives up") else {
        return;
    };
    let election = elects(&zookeeper, LONG_SESSION);
    for round in 0..2 {
        let leads = election.campaign(&mut || panic!("nobody leads"));
        let leads = leads.unwrap_or_else(|error| panic!("round {round}: {error}"));
        leads.publish(&leader_at(1)).expect("it leads");
        leads.give_up();
        assert!(!leads.term().holds());
        election.leader().expect_err("nobody leads");
        leads.publish(&leader_at(1)).expect_err("it leads no more");
    }
}

#[test]
fn a_leader_leads_on_whichever_server_of_an_ensemble_is_killed() {
    let Some(mut zookeeper) = ZooKeeper::start_ensemble("zookeeper: each server is killed") else {
        return;
    };
    let election = elects(&zookeeper, SESSION_OF_ENSEMBLE);
    let leads = election.campaign(&mut || panic!("nobody leads"));
    let leads = leads.expect("nobody leads");
    for server in 0..ENSEMBLE {
        zookeeper.kill(server);
        let leader = leader_at(1 + 2 * server as u16);
        leads.publish(&leader).expect("it leads");
        let others = elects(&zookeeper, SESSION_OF_ENSEMBLE);
        assert_eq!(others.leader().expect("told"), leader);
        zookeeper.restart();
    }
    assert!(leads.term().holds());
}

/// One that stands still, or behind a network that loses everything, is connected to and says nothing. Whoever
/// happened to ask it first waited until there was no time left.
#[test]
fn a_server_that_says_nothing_keeps_nobody_from_the_others() {
    let Some(zookeeper) = ZooKeeper::start("zookeeper: servers that say nothing") else {
        return;
    };
    let silent = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let places = silent.iter().map(|silent| silent.local_addr());
    let places = places.map(|place| place.expect("bound").to_string());
    let quorum: Vec<String> = places.chain([zookeeper.quorum()]).collect();
    // Two of three say nothing, which a renewal may find out twice.
    let election = || elects_at(&quorum.join(","), "1 min");
    let leads = election().campaign(&mut || panic!("nobody leads"));
    let leads = leads.expect("nobody leads");
    leads.publish(&leader_at(1)).expect("it leads");
    // Each one asks in an order of its own.
    let asked: Vec<_> = (0..6)
        .map(|_| {
            let election = election();
            std::thread::spawn(move || election.leader())
        })
        .collect();
    for answer in asked {
        let found = answer.join().expect("no panic");
        assert_eq!(found.expect("told"), leader_at(1));
    }
    assert!(leads.term().holds());
}

#[test]
fn a_job_goes_on_when_the_server_that_leads_the_ensemble_is_killed() {
    let Some(mut zookeeper) =
        ZooKeeper::start_ensemble("zookeeper: the ensemble's leader is killed")
    else {
        return;
    };
    let bench = bench();
    let mut cluster = start(&bench, &zookeeper, SESSION_OF_ENSEMBLE);
    cluster.add_standby();
    let job = takeover::running(&mut cluster);
    let killed = zookeeper.leader();
    zookeeper.kill(killed);
    let elected = zookeeper.leader();
    assert_ne!(elected, killed);
    job.wait_for_checkpoints(3);
    // The leader among the job managers is found by those who come now.
    let found = elects(&zookeeper, SESSION_OF_ENSEMBLE).leader();
    assert_eq!(found.expect("it leads").rpc, cluster.address());
    takeover::ends_well(
        &bench,
        &mut cluster,
        &job,
        "the ensemble's leader was killed",
    );
    assert_eq!(job.failed_attempts(), 0);
    cluster.end();
}

#[test]
fn a_standby_goes_on_when_the_leader_is_killed_while_a_server_is_gone() {
    let Some(mut zookeeper) =
        ZooKeeper::start_ensemble("zookeeper: a leader and a server are killed")
    else {
        return;
    };
    let bench = bench();
    let mut cluster = start(&bench, &zookeeper, SESSION);
    cluster.add_standby();
    let job = takeover::running(&mut cluster);
    zookeeper.kill(zookeeper.leader());
    takeover::by_a_kill(&bench, &mut cluster, job);
    cluster.end();
}

#[test]
fn a_job_goes_on_while_the_majority_is_gone_for_less_than_a_session() {
    let Some(mut zookeeper) = ZooKeeper::start_ensemble("zookeeper: no majority for a while")
    else {
        return;
    };
    let bench = bench();
    let mut cluster = start(&bench, &zookeeper, LONG_SESSION);
    let job = takeover::running(&mut cluster);
    let leader = cluster.job_manager();
    (1..ENSEMBLE).for_each(|server| zookeeper.kill(server));
    job.wait_for_checkpoints(3);
    zookeeper.restart();
    job.wait_for_checkpoints(3);
    takeover::ends_well(&bench, &mut cluster, &job, "there was no majority");
    assert_eq!(job.failed_attempts(), 0);
    assert!(cluster.processes().contains(&leader));
    cluster.add_standby();
    cluster.end();
}

/// The one that leads cannot prove it any more, and nobody else can be elected.
#[test]
fn nobody_leads_without_a_majority_and_a_standby_goes_on_when_it_is_back() {
    let Some(mut zookeeper) = ZooKeeper::start_ensemble("zookeeper: no majority for long") else {
        return;
    };
    let bench = bench();
    let mut cluster = start(&bench, &zookeeper, SESSION);
    cluster.add_standby();
    let job = takeover::running(&mut cluster);
    (1..ENSEMBLE).for_each(|server| zookeeper.kill(server));
    takeover::by_a_service_that_is_gone(&bench, &mut cluster, job, || zookeeper.restart());
    cluster.end();
}
