//! The Lease as data, and what a candidate makes of it.

use std::fmt;
use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kubernetes::KubernetesOptions;
use crate::kubernetes::api::{Api, ApiError, Written};

/// The annotation that says where the leader is.
const LEADER: &str = "millpond/leader";

/// The annotation in which a leader that has given the Lease back stands, until another one takes it.
const GIVEN_BACK: &str = "millpond/given-back-by";

/// A clock of this machine: milliseconds since some moment.
pub(crate) type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// A Lease of `coordination.k8s.io/v1`. What others have written into it stays.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lease(pub(crate) Value);

impl Lease {
    /// One that the API server has sent; why it is none otherwise.
    pub(crate) fn from_value(value: Value) -> Result<Self, String> {
        let (metadata, spec) = (&value["metadata"], &value["spec"]);
        // Both are named by each write. Without the uid, one of a Lease that was deleted would make it anew.
        if !metadata["resourceVersion"].is_string() || !metadata["uid"].is_string() {
            return Err("it has no resourceVersion or no uid".to_owned());
        }
        let may_be_written = |part: &Value| part.is_object() || part.is_null();
        match may_be_written(spec) && may_be_written(&metadata["annotations"]) {
            true => Ok(Lease(value)),
            false => Err("spec or annotations are no objects".to_owned()),
        }
    }

    /// One in which nobody stands.
    fn new(options: &KubernetesOptions) -> Self {
        Lease(json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": options.lease_name(),
                "namespace": options.namespace,
                "labels": { "app": options.cluster },
            },
            "spec": { "leaseDurationSeconds": options.lease_seconds() },
        }))
    }

    /// Who leads; nobody if it is new, or was given back.
    pub(crate) fn holder(&self) -> Option<&str> {
        let holder = self.0["spec"]["holderIdentity"].as_str();
        holder.filter(|holder| !holder.is_empty())
    }

    /// Where the leader is, as it has told.
    pub(crate) fn leader(&self) -> Option<&str> {
        self.0["metadata"]["annotations"][LEADER].as_str()
    }

    /// Changes with each write.
    fn version(&self) -> Option<&str> {
        self.0["metadata"]["resourceVersion"].as_str()
    }

    fn seconds(&self) -> Option<u64> {
        self.0["spec"]["leaseDurationSeconds"].as_u64()
    }

    fn taken_by(mut self, identity: &str, seconds: u64) -> Self {
        let transitions = self.0["spec"]["leaseTransitions"].as_u64();
        let is_first = self.holder().is_none() && transitions.is_none();
        let spec = &mut self.0["spec"];
        spec["leaseTransitions"] = match is_first {
            true => json!(0),
            false => json!(transitions.unwrap_or_default() + 1),
        };
        spec["holderIdentity"] = json!(identity);
        spec["leaseDurationSeconds"] = json!(seconds);
        spec["acquireTime"] = json!(now());
        spec["renewTime"] = json!(now());
        // Of the one before.
        self.forget(LEADER);
        self.forget(GIVEN_BACK);
        self
    }

    /// Nobody stands in it, which the one who did has written.
    fn given_back(mut self) -> Self {
        let former = self.0["spec"]["holderIdentity"].take();
        self.0["spec"]["holderIdentity"] = json!("");
        self.0["spec"]["renewTime"] = json!(now());
        self.forget(LEADER);
        self.0["metadata"]["annotations"][GIVEN_BACK] = former;
        self
    }

    fn was_given_back(&self) -> bool {
        self.holder().is_none() && self.0["metadata"]["annotations"][GIVEN_BACK].is_string()
    }

    fn forget(&mut self, annotation: &str) {
        if let Some(annotations) = self.0["metadata"]["annotations"].as_object_mut() {
            annotations.remove(annotation);
        }
    }

    fn renewed(mut self, leader: &[u8]) -> Self {
        self.0["spec"]["renewTime"] = json!(now());
        if !leader.is_empty() {
            let told = String::from_utf8_lossy(leader);
            self.0["metadata"]["annotations"][LEADER] = json!(told);
        }
        self
    }
}

/// For people: a `MicroTime`, RFC 3339 with six digits.
fn now() -> String {
    format!("{:.6}", Timestamp::now())
}

/// A name that no other candidate has: each Lease in which it stands is this one's.
fn identity() -> io::Result<String> {
    let read = |file: &str| Ok::<_, io::Error>(std::fs::read_to_string(file)?.trim().to_owned());
    let host = read("/proc/sys/kernel/hostname")?;
    // Made anew by the kernel for whoever asks.
    Ok(format!("{host}_{}", read("/proc/sys/kernel/random/uuid")?))
}

/// A Lease that was read, and since when it is as it is, by the clock of this machine.
struct Seen {
    lease: Lease,
    since_ms: u64,
}

/// What came of a try to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tried {
    /// This process leads.
    Leads,
    /// Another one stands in the Lease, or was faster.
    StandsBy,
    /// Nobody stands in it. If it was deleted, somebody may have led by it a moment ago.
    Waits,
}

/// A process that leads, or wants to.
pub(crate) struct Candidate {
    api: Arc<Api>,
    options: KubernetesOptions,
    /// Another one than that of every other process.
    identity: String,
    clock: Clock,
    seen: Option<Seen>,
}

impl Candidate {
    pub(crate) fn new(
        api: Arc<Api>,
        options: &KubernetesOptions,
        clock: Clock,
    ) -> io::Result<Self> {
        Ok(Candidate {
            api,
            options: options.clone(),
            identity: identity()?,
            clock,
            seen: None,
        })
    }

    /// Takes the Lease if its leader has given it back, or it has not changed for as long as anybody may lead by it. A new one is made first
    /// if there is none, and waited for in the same way: the one before may have been deleted behind a leader
    /// that has not noticed yet.
    pub(crate) fn try_to_lead(&mut self) -> Result<Tried, ApiError> {
        let Some(lease) = self.api.get()? else {
            if let Written::Done(lease) = self.api.create(&Lease::new(&self.options))? {
                self.see(lease);
            }
            return Ok(Tried::Waits);
        };
        let own_seconds = self.options.lease_seconds();
        let now_ms = (self.clock)();
        let seen = self.see(lease);
        let seconds = seen.lease.seconds().unwrap_or_default().max(own_seconds);
        let until_ms = seen.since_ms.saturating_add(seconds.saturating_mul(1000));
        let lease = seen.lease.clone();
        let holder = lease.holder();
        // It was taken by this one, which has not heard the answer.
        let is_own = holder == Some(&self.identity);
        let is_free = is_own || lease.was_given_back();
        if !is_free && now_ms < until_ms {
            return Ok(match holder {
                Some(_) => Tried::StandsBy,
                None => Tried::Waits,
            });
        }
        let written = self
            .api
            .update(&lease.taken_by(&self.identity, own_seconds))?;
        Ok(match self.has_written(written) {
            true => Tried::Leads,
            false => Tried::StandsBy,
        })
    }

    /// Renews the Lease, with where the leader is if that is known; whether it is still this one's.
    ///
    /// # Errors
    ///
    /// That is not known, or has to be tried again.
    pub(crate) fn renew(&mut self, leader: &[u8]) -> Result<bool, ApiError> {
        let Some(seen) = &self.seen else {
            return Ok(false);
        };
        let lease = seen.lease.clone().renewed(leader);
        let written = self.api.update(&lease)?;
        match written {
            Written::Conflict => {
                // A renewal whose answer was not heard has come through, or somebody else has written.
                let Some(lease) = self.api.get()? else {
                    return Ok(false);
                };
                let is_own = lease.holder() == Some(&self.identity);
                self.see(lease);
                match is_own {
                    true => Err(ApiError::changed()),
                    false => Ok(false),
                }
            }
            Written::Done(_) | Written::Gone => Ok(self.has_written(written)),
        }
    }

    /// Gives the Lease back, if it is this one's.
    ///
    /// # Errors
    ///
    /// It is not known to be given back.
    pub(crate) fn give_back(&mut self) -> Result<(), ApiError> {
        let lease = self.api.get()?;
        let own = lease.filter(|lease| lease.holder() == Some(&self.identity));
        let Some(own) = own else {
            return Ok(());
        };
        match self.api.update(&own.given_back())? {
            Written::Done(_) | Written::Gone => Ok(()),
            Written::Conflict => Err(ApiError::changed()),
        }
    }

    fn has_written(&mut self, written: Written) -> bool {
        match written {
            Written::Done(lease) => {
                let is_own = lease.holder() == Some(&self.identity);
                self.see(lease);
                is_own
            }
            Written::Conflict | Written::Gone => false,
        }
    }

    fn see(&mut self, lease: Lease) -> &Seen {
        let known = self.seen.take();
        let known = known.filter(|seen| seen.lease.version() == lease.version());
        // Behind the answer: it was as it is not later than now.
        let since_ms = (self.clock)();
        self.seen.insert(known.unwrap_or(Seen { lease, since_ms }))
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.api.fmt(f)
    }
}
