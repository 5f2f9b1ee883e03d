//! Against a server that answers as the API server is documented to: there is no real one in these tests.
//!
//! A lease lasts for an hour, which no test outlives. How long a candidate has seen it unchanged is told by a
//! clock of the test.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use millpond_api_server::{ApiServer, Mood};
use serde_json::{Value, json};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn lasting(lease: Duration, retry: Duration) -> KubernetesOptions {
    KubernetesOptions {
        cluster: "blue".to_owned(),
        namespace: "prod".to_owned(),
        lease_duration: lease,
        renew_deadline: lease,
        retry_period: retry,
    }
}

/// Renewals that are not waited for.
fn often() -> KubernetesOptions {
    lasting(HOUR, Duration::from_millis(20))
}

/// No renewal but where a test asks for one.
fn seldom() -> KubernetesOptions {
    lasting(HOUR, HOUR / 2)
}

/// A clock that moves when it is told to.
#[derive(Clone, Default)]
struct Watch(Arc<AtomicU64>);

impl Watch {
    fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    fn clock(&self) -> Clock {
        let time = Arc::clone(&self.0);
        Arc::new(move || time.load(Ordering::SeqCst))
    }
}

/// A clock by which hours pass between two looks.
fn hasty() -> Clock {
    let time = AtomicU64::new(0);
    Arc::new(move || time.fetch_add(2 * HOUR.as_millis() as u64, Ordering::SeqCst))
}

fn election(server: &ApiServer, options: &KubernetesOptions, clock: Clock) -> Kubernetes {
    let api = Api::of_pod(options, |key| server.variable(key)).expect("a pod");
    Kubernetes::new(options.clone(), api, clock)
}

fn candidate(server: &ApiServer, clock: Clock) -> Candidate {
    let election = election(server, &seldom(), clock);
    election.candidate().expect("a name")
}

/// One that leads, and renews only when it is told to.
fn leader(server: &ApiServer) -> Candidate {
    let mut leader = candidate(server, hasty());
    while leader.try_to_lead().expect("answers") != Tried::Leads {}
    leader
}

fn lease(server: &ApiServer) -> Value {
    server.lease("prod", "blue-leader").expect("a Lease")
}

fn edit(server: &ApiServer, key: &str, value: Value) {
    server.edit("prod", "blue-leader", |lease| lease["spec"][key] = value);
}

fn leader_at(port: u16) -> Leader {
    Leader {
        rpc: format!("host:{port}"),
        rest: format!("host:{}", port + 1),
    }
}

#[test]
fn one_leads_and_tells_where_it_is_and_the_next_one_waits() {
    let server = ApiServer::start();
    let election = election(&server, &often(), hasty());
    election.leader().expect_err("nobody leads");
    let leads = election.campaign(&mut || panic!("nobody leads"));
    let leads = leads.expect("nobody leads");
    let why = election.leader().expect_err("it has not told").to_string();
    assert!(why.contains("not told"), "{why}");
    for port in [1, 3] {
        leads.publish(&leader_at(port)).expect("it leads");
        assert_eq!(election.leader().expect("told"), leader_at(port));
    }
    assert!(leads.term().holds());
    let mut other = candidate(&server, Watch::default().clock());
    assert_eq!(other.try_to_lead().expect("answers"), Tried::StandsBy);
    let lease = lease(&server);
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 3600);
    assert_eq!(lease["spec"]["leaseTransitions"], 0);
    assert_eq!(lease["metadata"]["labels"]["app"], "blue");
}

#[test]
fn a_lease_is_taken_when_it_was_seen_unchanged_for_its_duration_and_not_before() {
    let server = ApiServer::start();
    let mut first = leader(&server);
    assert!(first.renew(b"{}").expect("answers"));
    let watch = Watch::default();
    let mut second = candidate(&server, watch.clock());
    let mut tries = || second.try_to_lead().expect("answers");
    assert_eq!(tries(), Tried::StandsBy);
    watch.advance(3599);
    assert_eq!(tries(), Tried::StandsBy);
    assert!(first.renew(b"{}").expect("answers"));
    watch.advance(3599);
    assert_eq!(tries(), Tried::StandsBy, "it was renewed meanwhile");
    watch.advance(3599);
    assert_eq!(tries(), Tried::StandsBy, "that was seen 3599 s ago");
    watch.advance(1);
    assert_eq!(tries(), Tried::Leads);
    let taken = lease(&server);
    assert_eq!(taken["spec"]["leaseTransitions"], 1);
    let told = &taken["metadata"]["annotations"]["millpond/leader"];
    assert!(told.is_null(), "where the former one was: {told}");
}

/// By the clocks of two machines, one of which is 4 % faster than the other.
#[test]
fn a_term_is_over_before_anybody_else_can_take_the_lease() {
    for seconds in [1_u64, 2, 15, 3600] {
        for renew in [seconds, seconds.div_ceil(2)] {
            let options = KubernetesOptions {
                renew_deadline: Duration::from_secs(renew),
                ..lasting(
                    // Parts of seconds are not in a Lease.
                    Duration::from_millis(seconds * 1000 + 900),
                    Duration::from_millis(100),
                )
            };
            // It is seen by others not before it was written, which is not before it was asked for.
            let taken_ms = 1_000_000 + options.lease_seconds() * 1000 * 96 / 100;
            assert!(options.end_of(1_000_000) < taken_ms, "{options:?}");
        }
    }
}

/// The times in a Lease are by the clock of the leader.
#[test]
fn how_old_a_lease_says_it_is_does_not_matter() {
    let server = ApiServer::start();
    let mut first = leader(&server);
    let watch = Watch::default();
    let mut other = candidate(&server, watch.clock());
    for time in ["2000-01-01T00:00:00.000000Z", "2100-01-01T00:00:00.000000Z"] {
        edit(&server, "renewTime", json!(time));
        assert_eq!(other.try_to_lead().expect("answers"), Tried::StandsBy);
        watch.advance(3599);
        assert_eq!(other.try_to_lead().expect("answers"), Tried::StandsBy);
    }
    watch.advance(1);
    assert_eq!(other.try_to_lead().expect("answers"), Tried::Leads);
    assert!(!first.renew(b"{}").expect("answers"), "another one leads");
}

/// Somebody deletes or edits the Lease behind a leader that has an hour left.
#[test]
fn a_lease_that_was_deleted_emptied_or_shortened_is_waited_for_all_the_same() {
    let server = ApiServer::start();
    type Happens = fn(&ApiServer);
    let behind: [(&str, Happens, Tried); 3] = [
        (
            "deleted",
            |server| server.delete("prod", "blue-leader"),
            Tried::Waits,
        ),
        (
            "emptied",
            |server| edit(server, "holderIdentity", json!("")),
            Tried::Waits,
        ),
        (
            "shortened",
            |server| edit(server, "leaseDurationSeconds", json!(1)),
            Tried::StandsBy,
        ),
    ];
    let mut first = leader(&server);
    for (how, happens, expected) in behind {
        let watch = Watch::default();
        let mut other = candidate(&server, watch.clock());
        happens(&server);
        // It is made by the first try.
        assert_eq!(other.try_to_lead().expect("answers"), expected, "{how}");
        watch.advance(3599);
        assert_eq!(other.try_to_lead().expect("answers"), expected, "{how}");
        watch.advance(1);
        let tried = other.try_to_lead().expect("answers");
        assert_eq!(tried, Tried::Leads, "{how}");
        assert!(!first.renew(b"{}").expect("answers"), "{how}");
        first = other;
    }
}

#[test]
fn a_lease_that_its_leader_gives_back_is_taken_at_once() {
    let server = ApiServer::start();
    let election = election(&server, &often(), hasty());
    let leads = election.campaign(&mut || {}).expect("nobody leads");
    leads.publish(&leader_at(1)).expect("it leads");
    let mut next = candidate(&server, Watch::default().clock());
    assert_eq!(next.try_to_lead().expect("answers"), Tried::StandsBy);
    leads.give_up();
    assert!(!leads.term().holds());
    let why = election.leader().expect_err("nobody leads").to_string();
    assert!(why.contains("not told"), "{why}");
    assert_eq!(next.try_to_lead().expect("answers"), Tried::Leads);
    // Once only: another one empties it behind the next leader.
    edit(&server, "holderIdentity", json!(""));
    let mut other = candidate(&server, Watch::default().clock());
    assert_eq!(other.try_to_lead().expect("answers"), Tried::Waits);
}

#[test]
fn whoever_leads_no_more_gives_nothing_back() {
    let server = ApiServer::start();
    let mut former = leader(&server);
    let watch = Watch::default();
    let mut next = candidate(&server, watch.clock());
    assert_eq!(next.try_to_lead().expect("answers"), Tried::StandsBy);
    watch.advance(3600);
    assert_eq!(next.try_to_lead().expect("answers"), Tried::Leads);
    let before = lease(&server);
    former.give_back().expect("answers");
    assert_eq!(lease(&server), before);
    server.mood(Mood::IsRaced);
    next.give_back().expect_err("another one has written");
    server.mood(Mood::Refuses(503));
    next.give_back().expect_err("refused");
}

/// Its own clock has not moved on while it stood still: it does not know, and is told.
#[test]
fn a_former_leader_that_comes_back_completes_nothing() {
    let server = ApiServer::start();
    let election = election(&server, &seldom(), hasty());
    let former = election.lead(leader(&server), now_ms());
    let former = former.expect("a thread");
    former.publish(&leader_at(1)).expect("it leads");
    let watch = Watch::default();
    let mut next = candidate(&server, watch.clock());
    assert_eq!(next.try_to_lead().expect("answers"), Tried::StandsBy);
    watch.advance(3600);
    assert_eq!(next.try_to_lead().expect("answers"), Tried::Leads);
    let next = election.lead(next, now_ms()).expect("a thread");
    next.publish(&leader_at(3)).expect("it leads");
    let before = lease(&server);
    former
        .publish(&leader_at(1))
        .expect_err("another one leads");
    let why = former.wait_until_lost();
    assert!(why.contains("blue-leader"), "{why}");
    former.term().check().expect_err("it is over");
    assert_eq!(lease(&server), before, "it has written nothing");
    assert_eq!(election.leader().expect("told"), leader_at(3));
    assert!(next.term().holds());
}

#[test]
fn who_loses_the_race_for_a_write_does_not_lead() {
    let server = ApiServer::start();
    let watch = Watch::default();
    let mut candidate = candidate(&server, watch.clock());
    server.mood(Mood::IsRaced);
    // Made by another one, which is found out then.
    assert_eq!(candidate.try_to_lead().expect("answers"), Tried::Waits);
    assert_eq!(candidate.try_to_lead().expect("answers"), Tried::StandsBy);
    watch.advance(3600);
    server.mood(Mood::IsRaced);
    assert_eq!(candidate.try_to_lead().expect("answers"), Tried::StandsBy);
    assert_eq!(lease(&server)["spec"]["holderIdentity"], "somebody else");
    assert_eq!(candidate.try_to_lead().expect("answers"), Tried::StandsBy);
    watch.advance(3600);
    assert_eq!(candidate.try_to_lead().expect("answers"), Tried::Leads);
}

#[test]
fn a_leader_whose_lease_is_taken_or_deleted_leads_no_more() {
    let server = ApiServer::start();
    let election = election(&server, &often(), hasty());
    let leads = election.campaign(&mut || {}).expect("nobody leads");
    server.mood(Mood::IsRaced);
    let why = leads.wait_until_lost();
    assert!(why.contains("blue-leader"), "{why}");
    assert!(!leads.term().holds());
    let leads = election.campaign(&mut || {}).expect("it is not renewed");
    server.delete("prod", "blue-leader");
    leads.wait_until_lost();
    assert!(!leads.term().holds());
    leads.publish(&leader_at(1)).expect_err("it leads no more");
    assert_eq!(server.lease("prod", "blue-leader"), None);
}

#[test]
fn a_write_whose_answer_is_lost_is_no_other_leader() {
    let server = ApiServer::start();
    let watch = Watch::default();
    let mut candidate = candidate(&server, watch.clock());
    assert_eq!(candidate.try_to_lead().expect("answers"), Tried::Waits);
    watch.advance(3600);
    server.mood(Mood::LosesAnAnswer);
    candidate.try_to_lead().expect_err("no answer");
    // It stands in it, and need not wait for itself.
    assert_eq!(candidate.try_to_lead().expect("answers"), Tried::Leads);
    server.mood(Mood::LosesAnAnswer);
    candidate.renew(b"{}").expect_err("no answer");
    candidate
        .renew(b"{}")
        .expect_err("it is as it was written, which it has to find out");
    assert!(candidate.renew(b"{}").expect("answers"));
}

#[test]
fn an_api_server_that_refuses_or_babbles_is_told_and_asked_again() {
    let server = ApiServer::start();
    let mut leader = leader(&server);
    let cases = [
        (Mood::Refuses(401), "does not believe"),
        (Mood::Refuses(403), "role"),
        (Mood::Refuses(429), "429"),
        (Mood::Refuses(500), "500"),
        (Mood::Refuses(503), "not now"),
        (Mood::Babbles, "no Lease"),
    ];
    for (mood, part) in cases {
        server.mood(mood);
        let mut candidate = candidate(&server, hasty());
        let why = candidate.try_to_lead().expect_err("refused").to_string();
        assert!(why.contains(part), "{why}");
        // It may still lead: that is not known.
        let why = leader.renew(b"{}").expect_err("refused").to_string();
        assert!(why.contains(part), "{why}");
    }
    server.mood(Mood::Answers);
    assert!(leader.renew(b"{}").expect("answers"));
}

#[test]
fn the_token_is_read_anew_for_each_request() {
    let server = ApiServer::start();
    let mut leader = leader(&server);
    server.believe("next");
    leader.renew(b"{}").expect_err("an old token");
    server.give_token("next\n");
    assert!(leader.renew(b"{}").expect("a new token"));
}

#[test]
fn only_an_api_server_that_the_files_of_the_pod_vouch_for_is_told_the_token() {
    let (server, stranger) = (ApiServer::start(), ApiServer::start());
    let of = |variable: &dyn Fn(&str) -> Option<String>| Api::of_pod(&often(), variable);
    let other = |key: &str| match key {
        "KUBERNETES_CERTS_CA_FILE" => stranger.variable(key),
        _ => server.variable(key),
    };
    let why = of(&other).expect("a pod").get().expect_err("a stranger");
    let why = why.to_string();
    assert!(
        why.contains("not reached") && why.contains("ertificate"),
        "{why}"
    );
    let nowhere = of(&|_| None).expect_err("no pod");
    assert!(nowhere.contains("KUBERNETES_SERVICE_HOST"), "{nowhere}");
    let token = server.variable("KUBERNETES_AUTH_SERVICEACCOUNT_TOKEN");
    let token = token.expect("a file");
    let no_certificate = |key: &str| match key {
        "KUBERNETES_CERTS_CA_FILE" => Some(token.clone()),
        _ => server.variable(key),
    };
    let why = of(&no_certificate).expect_err("no certificate");
    assert!(
        why.contains("token") && why.contains("no certificate"),
        "{why}"
    );
    let no_file = |key: &str| match key {
        "KUBERNETES_CERTS_CA_FILE" => None,
        _ => server.variable(key),
    };
    if !Path::new("/var/run/secrets/kubernetes.io").exists() {
        let why = of(&no_file).expect_err("no pod");
        assert!(why.contains("/serviceaccount/ca.crt"), "{why}");
    }
}

#[test]
fn a_leader_whose_api_server_hangs_knows_by_its_own_clock_that_it_leads_no_more() {
    let server = ApiServer::start();
    let short = lasting(Duration::from_secs(2), Duration::from_millis(200));
    let election = election(&server, &short, hasty());
    let leads = election.campaign(&mut || {}).expect("nobody leads");
    server.mood(Mood::Hangs);
    let why = leads.wait_until_lost();
    assert!(why.contains("not renewed in time"), "{why}");
    assert!(!leads.term().holds());
}

#[test]
fn options_that_cannot_be_are_refused_by_name() {
    let of = |pairs: &[(&str, &str)]| {
        KubernetesOptions::from_configuration(&Configuration::from_pairs(pairs.iter().copied()))
    };
    let lease = "high-availability.kubernetes.leader-election.lease-duration";
    let retry = "high-availability.kubernetes.leader-election.retry-period";
    let cluster = ("kubernetes.cluster-id", "blue");
    let default = of(&[cluster]).expect("fine");
    assert_eq!(default.namespace, "default");
    assert_eq!(default.lease_name(), "blue-leader");
    assert_eq!(default.lease_seconds(), 15);
    assert_eq!(default.term_length(), Duration::from_secs(15));
    assert_eq!(default.retry_period, Duration::from_secs(5));
    let long = "a".repeat(64);
    for name in ["../x", "", "-x", "x-", "A", "a.b", long.as_str()] {
        let key = "kubernetes.cluster-id";
        let why = of(&[(key, name)]).expect_err(name);
        assert!(why.contains(key), "{why}");
    }
    let cases = [
        (of(&[]), "kubernetes.cluster-id"),
        (
            of(&[cluster, ("kubernetes.namespace", "")]),
            "kubernetes.namespace",
        ),
        (of(&[cluster, (lease, "10 ms")]), lease),
        (of(&[cluster, (retry, "20 s")]), retry),
        (of(&[cluster, (retry, "0 s")]), retry),
    ];
    for (found, key) in cases {
        let why = found.expect_err(key);
        assert!(why.contains(key), "{why}");
    }
}
