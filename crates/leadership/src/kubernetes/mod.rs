//! A Lease of Kubernetes elects: who stands in it leads, for as long as that is renewed.
//!
//! ```text
//! GET, PUT  /apis/coordination.k8s.io/v1/namespaces/<namespace>/leases/<cluster id>-leader
//! POST      /apis/coordination.k8s.io/v1/namespaces/<namespace>/leases
//! ```
//!
//! As in the leader election of client-go: a candidate that sees the Lease unchanged for the duration that
//! stands in it, by its own clock, takes it. Each write names the version that was read, so of two only one
//! comes through (409 for the other). The times in the Lease are for people: no clocks of two machines
//! are compared. The leader counts its [`Term`] from before it has sent the renewal that came through.
//!
//! ```text
//! leader     ask ├──────── 95 % of the duration ────────┤ the term is over
//! server       write
//! candidate       seen ├─────────── the duration, or its own if that is longer ───────────┤ takes it
//! ```
//!
//! Unlike there, a Lease in which nobody stands is waited for as well, and so is one that is not there: whoever
//! has deleted or emptied it has not asked the leader, which finds that out with its next renewal. A leader
//! that gives it back says so in an annotation.

mod api;
mod lease;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use millpond_types::config::{ConfigError, Configuration, options};

use crate::election::{Election, Leader, Leadership};
use crate::kubernetes::api::Api;
use crate::kubernetes::lease::{Candidate, Clock, Tried};
use crate::leading::{Holding, Leading, Renewed};
use crate::term::{Term, now_ms};

/// How often those who follow ask.
const FOLLOW: Duration = Duration::from_secs(2);

/// The longest name of a namespace, in bytes, and of a cluster: it is a label too.
const MAX_LABEL: usize = 63;

/// How the Lease is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KubernetesOptions {
    /// The name of the cluster.
    pub(crate) cluster: String,
    /// Where its objects are.
    pub(crate) namespace: String,
    /// For how long a candidate waits for a leader that is silent.
    pub(crate) lease_duration: Duration,
    /// For how long a leader leads on without a renewal.
    pub(crate) renew_deadline: Duration,
    /// The pause between two renewals, and two looks of a candidate.
    pub(crate) retry_period: Duration,
}

impl KubernetesOptions {
    pub(crate) fn from_configuration(configuration: &Configuration) -> Result<Self, String> {
        let told = |error: ConfigError| error.to_string();
        let key = options::KUBERNETES_CLUSTER.key();
        let cluster = configuration
            .get(&options::KUBERNETES_CLUSTER)
            .map_err(told)?;
        let cluster = cluster
            .filter(|cluster| !cluster.is_empty())
            .ok_or_else(|| {
                let kind = options::HIGH_AVAILABILITY.key();
                format!("{key} has to be set with {kind} = KUBERNETES")
            })?;
        let namespace = configuration
            .get(&options::KUBERNETES_NAMESPACE)
            .map_err(told)?;
        for (key, name) in [
            (key, &cluster),
            (options::KUBERNETES_NAMESPACE.key(), &namespace),
        ] {
            if !is_label(name) {
                return Err(format!(
                    "{key} is \"{name}\", expected at most {MAX_LABEL} small letters, digits and -, and no - at the ends"
                ));
            }
        }
        let duration = |option| configuration.get(option).map_err(told);
        let options = KubernetesOptions {
            cluster,
            namespace,
            lease_duration: duration(&options::KUBERNETES_LEASE_DURATION)?,
            renew_deadline: duration(&options::KUBERNETES_RENEW_DEADLINE)?,
            retry_period: duration(&options::KUBERNETES_RETRY_PERIOD)?,
        };
        options.check()?;
        Ok(options)
    }

    fn check(&self) -> Result<(), String> {
        let lease = options::KUBERNETES_LEASE_DURATION.key();
        if self.lease_duration < Duration::from_secs(1) {
            return Err(format!(
                "{lease} has to be at least 1 s: a Lease counts whole seconds"
            ));
        }
        if self.retry_period.is_zero() || self.retry_period * 2 > self.term_length() {
            return Err(format!(
                "{} has to be above 0 and at most half of {lease} and {}",
                options::KUBERNETES_RETRY_PERIOD.key(),
                options::KUBERNETES_RENEW_DEADLINE.key()
            ));
        }
        Ok(())
    }

    /// The name of the Lease.
    pub(crate) fn lease_name(&self) -> String {
        format!("{}-leader", self.cluster)
    }

    /// In whole seconds, as a Lease has it.
    pub(crate) fn lease_seconds(&self) -> u64 {
        self.lease_duration.as_secs().max(1)
    }

    /// For how long a renewal makes a leader.
    fn term_length(&self) -> Duration {
        self.renew_deadline
            .min(Duration::from_secs(self.lease_seconds()))
    }

    /// How long an answer may take: so that a renewal can be tried more than once.
    pub(crate) fn patience(&self) -> Duration {
        self.term_length() / 3
    }

    /// When a leader leads no more that has begun to renew at `asked_ms`. A part is given away, as the
    /// clocks of two machines do not run equally fast.
    fn end_of(&self, asked_ms: u64) -> u64 {
        let length_ms = self.term_length().as_millis() as u64;
        asked_ms + length_ms - length_ms / 20
    }
}

/// Whether Kubernetes takes it as the name of a namespace (RFC 1123, section 2.1).
fn is_label(name: &str) -> bool {
    let is_one = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let is_end = |c: Option<&u8>| c.is_some_and(|&c| c != b'-');
    let bytes = name.as_bytes();
    bytes.len() <= MAX_LABEL
        && bytes.iter().all(|&c| is_one(c))
        && is_end(bytes.first())
        && is_end(bytes.last())
}

/// An election among those who may write one Lease.
pub(crate) struct Kubernetes {
    options: KubernetesOptions,
    api: Arc<Api>,
    /// By which a candidate counts how long a Lease has not changed.
    clock: Clock,
}

impl Kubernetes {
    /// By the API server of the pod that this process is in.
    pub(crate) fn of_pod(options: KubernetesOptions) -> Result<Self, String> {
        let api = Api::of_pod(&options, |key| std::env::var(key).ok())?;
        Ok(Kubernetes::new(options, api, Arc::new(now_ms)))
    }

    fn new(options: KubernetesOptions, api: Api, clock: Clock) -> Self {
        Kubernetes {
            options,
            api: Arc::new(api),
            clock,
        }
    }

    fn candidate(&self) -> io::Result<Candidate> {
        let (api, clock) = (Arc::clone(&self.api), Arc::clone(&self.clock));
        Candidate::new(api, &self.options, clock)
    }

    /// Leads from now on, by a Lease that `candidate` has begun to write at `asked_ms`.
    fn lead(&self, candidate: Candidate, asked_ms: u64) -> io::Result<Leading> {
        let length = self.options.term_length();
        let term = Term::until(self.options.end_of(asked_ms), length);
        let holding = Held {
            candidate,
            options: self.options.clone(),
        };
        Leading::start(holding, term, self.options.retry_period)
    }
}

impl fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kubernetes")
            .field("options", &self.options)
            .field("api", &self.api)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Kubernetes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the leader in {}", self.api)
    }
}

impl Election for Kubernetes {
    fn campaign(&self, standing_by: &mut dyn FnMut()) -> io::Result<Box<dyn Leadership>> {
        let mut candidate = self.candidate()?;
        let (mut is_standing_by, mut is_waiting) = (false, false);
        let mut told = String::new();
        loop {
            let asked_ms = now_ms();
            match candidate.try_to_lead() {
                Ok(Tried::Leads) => return Ok(Box::new(self.lead(candidate, asked_ms)?)),
                Ok(Tried::StandsBy) => {
                    if !std::mem::replace(&mut is_standing_by, true) {
                        standing_by();
                    }
                }
                Ok(Tried::Waits) => {
                    if !std::mem::replace(&mut is_waiting, true) {
                        tracing::info!(
                            "nobody stands in {}: this one leads if that is so for {} s",
                            self.api,
                            self.options.lease_seconds()
                        );
                    }
                }
                Err(error) if error.to_string() == told => {}
                Err(error) => {
                    told = error.to_string();
                    tracing::warn!("no leader can be elected, which is tried again: {told}");
                }
            }
            std::thread::sleep(self.options.retry_period);
        }
    }

    fn leader(&self) -> io::Result<Leader> {
        let lease = self.api.get().map_err(io::Error::other)?;
        let lease =
            lease.ok_or_else(|| io::Error::other(format!("{self} is not there: nobody leads")))?;
        let told = lease
            .leader()
            .ok_or_else(|| io::Error::other(format!("{self} has not told yet where it is")))?;
        Ok(serde_json::from_str(told)?)
    }

    fn look_interval(&self) -> Duration {
        FOLLOW
    }
}

/// A Lease that this process is in.
struct Held {
    candidate: Candidate,
    options: KubernetesOptions,
}

impl Holding for Held {
    fn renew(&mut self, leader: &[u8]) -> Renewed {
        let asked_ms = now_ms();
        match self.candidate.renew(leader) {
            Ok(true) => Renewed::Until(self.options.end_of(asked_ms)),
            Ok(false) => Renewed::Lost(format!(
                "this one is no more the leader in {}",
                self.candidate
            )),
            Err(error) => Renewed::Failed(error.to_string()),
        }
    }

    fn give_up(&mut self) -> Result<(), String> {
        let given_back = self.candidate.give_back();
        given_back.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests;
