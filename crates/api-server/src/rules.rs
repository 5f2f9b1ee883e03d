//! What is kept, and what is answered.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::Mood;

/// The part of a path before the namespace.
const GROUP: &str = "/apis/coordination.k8s.io/v1/namespaces/";

/// Everything that the server knows.
pub(crate) struct State {
    /// By namespace and name.
    leases: BTreeMap<(String, String), Value>,
    /// One for all that is kept, as in etcd.
    version: u64,
    pub(crate) mood: Mood,
    pub(crate) token: String,
}

impl Default for State {
    fn default() -> Self {
        State {
            leases: BTreeMap::new(),
            version: 1000,
            mood: Mood::Answers,
            token: "secret".to_owned(),
        }
    }
}

impl State {
    pub(crate) fn lease(&self, namespace: &str, name: &str) -> Option<&Value> {
        let key = (namespace.to_owned(), name.to_owned());
        self.leases.get(&key)
    }

    pub(crate) fn keep(&mut self, namespace: &str, name: &str, mut lease: Value) -> Value {
        self.version += 1;
        let metadata = &mut lease["metadata"];
        metadata["namespace"] = json!(namespace);
        metadata["resourceVersion"] = json!(self.version.to_string());
        if metadata["uid"].is_null() {
            metadata["uid"] = json!(format!("uid-{}", self.version));
            metadata["creationTimestamp"] = json!("2026-01-02T03:04:05Z");
        }
        let key = (namespace.to_owned(), name.to_owned());
        self.leases.insert(key, lease.clone());
        lease
    }

    pub(crate) fn delete(&mut self, namespace: &str, name: &str) {
        self.version += 1;
        let key = (namespace.to_owned(), name.to_owned());
        self.leases.remove(&key);
    }

    /// The code and the body of an answer.
    pub(crate) fn decide(
        &mut self,
        method: &str,
        path: &str,
        authorization: &str,
        body: &[u8],
    ) -> (u16, Value) {
        if authorization != format!("Bearer {}", self.token) {
            return refusal(401, "Unauthorized");
        }
        if let Mood::Refuses(code) = self.mood {
            return refusal(code, "not now");
        }
        let mut parts = path.strip_prefix(GROUP).unwrap_or_default().split('/');
        let (namespace, kind) = (parts.next().unwrap_or(""), parts.next());
        if namespace.is_empty() || kind != Some("leases") {
            return refusal(404, "the server could not find the requested resource");
        }
        let sent: Value = match (method, serde_json::from_slice(body)) {
            ("GET", _) => Value::Null,
            (_, Ok(sent)) => sent,
            (_, Err(error)) => return refusal(400, &error.to_string()),
        };
        let name = match (parts.next(), parts.next()) {
            (Some(name), None) => name.to_owned(),
            (None, None) => sent["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            _ => return refusal(404, "the server could not find the requested resource"),
        };
        if method != "GET" && self.mood == Mood::IsRaced {
            self.mood = Mood::Answers;
            let mut other = self.lease(namespace, &name).unwrap_or(&sent).clone();
            other["spec"]["holderIdentity"] = json!("somebody else");
            self.keep(namespace, &name, other);
        }
        let is_collection = path.ends_with("/leases");
        let known = self.lease(namespace, &name).cloned();
        match (method, is_collection, known) {
            ("GET", false, Some(lease)) => (200, lease),
            ("PUT", false, Some(known)) => self.update(namespace, &name, &known, sent),
            ("POST", true, known) => self.create(namespace, &name, known.as_ref(), sent),
            ("PUT", false, None) => self.make_by_update(namespace, &name, sent),
            ("GET", false, None) => {
                let group = "leases.coordination.k8s.io";
                refusal(404, &format!("{group} \"{name}\" not found"))
            }
            _ => refusal(405, "the server does not allow this method"),
        }
    }

    fn create(
        &mut self,
        namespace: &str,
        name: &str,
        known: Option<&Value>,
        sent: Value,
    ) -> (u16, Value) {
        let is_versioned = sent["metadata"]["resourceVersion"].is_string();
        if is_versioned {
            let why = "resourceVersion should not be set on objects to be created";
            return refusal(400, why);
        }
        if let Some(why) = invalid(namespace, name, &sent) {
            return refusal(422, &why);
        }
        if known.is_some() {
            let group = "leases.coordination.k8s.io";
            return refusal(409, &format!("{group} \"{name}\" already exists"));
        }
        (201, self.keep(namespace, name, sent))
    }

    /// `AllowCreateOnUpdate` is true for Leases; a uid is a precondition, which what is not there does not meet.
    fn make_by_update(&mut self, namespace: &str, name: &str, mut sent: Value) -> (u16, Value) {
        if let Some(uid) = sent["metadata"]["uid"].as_str() {
            let why = format!(
                "Operation cannot be fulfilled on leases.coordination.k8s.io \"{name}\": StorageError: invalid \
                 object, Code: 4, Key: /registry/leases/{namespace}/{name}, ResourceVersion: 0, \
                 AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: "
            );
            return refusal(409, &why);
        }
        sent["metadata"]["resourceVersion"] = Value::Null;
        self.create(namespace, name, None, sent)
    }

    fn update(&mut self, namespace: &str, name: &str, known: &Value, sent: Value) -> (u16, Value) {
        let of = |lease: &Value, key: &str| lease["metadata"][key].as_str().map(str::to_owned);
        let Some(version) = of(&sent, "resourceVersion") else {
            let why =
                "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update";
            return refusal(422, why);
        };
        if let Some(why) = invalid(namespace, name, &sent) {
            return refusal(422, &why);
        }
        let is_same = of(&sent, "uid") == of(known, "uid");
        if !is_same || Some(version) != of(known, "resourceVersion") {
            let why = format!(
                "Operation cannot be fulfilled on leases.coordination.k8s.io \"{name}\": the object has been \
                 modified; please apply your changes to the latest version and try again"
            );
            return refusal(409, &why);
        }
        (200, self.keep(namespace, name, sent))
    }
}

/// What is wrong with a Lease that was sent.
fn invalid(namespace: &str, name: &str, sent: &Value) -> Option<String> {
    let (metadata, spec) = (&sent["metadata"], &sent["spec"]);
    if sent["kind"] != "Lease" || sent["apiVersion"] != "coordination.k8s.io/v1" {
        return Some("kind or apiVersion".to_owned());
    }
    if metadata["name"] != name || metadata["namespace"] != namespace {
        return Some("the name of the object does not match the name on the URL".to_owned());
    }
    let strings = |part: &Value| {
        let map = part.as_object();
        map.is_none_or(|map| map.values().all(Value::is_string))
    };
    if !strings(&metadata["annotations"]) || !strings(&metadata["labels"]) {
        return Some("annotations and labels are strings".to_owned());
    }
    let number = |key: &str, least: i64| {
        let value = &spec[key];
        value.is_null() || value.as_i64().is_some_and(|value| value >= least)
    };
    if !number("leaseDurationSeconds", 1) || !number("leaseTransitions", 0) {
        return Some("spec.leaseDurationSeconds: must be greater than 0".to_owned());
    }
    let times = ["acquireTime", "renewTime"];
    let wrong = times.iter().find(|key| !is_micro_time(&spec[**key]));
    wrong.map(|key| format!("spec.{key}: is no MicroTime"))
}

/// `2006-01-02T15:04:05.000000Z`, which is what `MicroTime` of apimachinery reads.
fn is_micro_time(value: &Value) -> bool {
    let pattern = "dddd-dd-ddTdd:dd:dd.ddddddZ";
    let fits = |text: &str| {
        let fits_one = |(found, expected): (char, char)| match expected {
            'd' => found.is_ascii_digit(),
            other => found == other,
        };
        text.len() == pattern.len() && text.chars().zip(pattern.chars()).all(fits_one)
    };
    value.is_null() || value.as_str().is_some_and(fits)
}

fn refusal(code: u16, message: &str) -> (u16, Value) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "code": code,
    });
    (code, status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(state: &mut State, method: &str, path: &str, lease: &Value) -> u16 {
        let body = lease.to_string();
        let (code, _) = state.decide(method, path, "Bearer secret", body.as_bytes());
        code
    }

    #[test]
    fn a_lease_is_written_only_over_the_version_that_was_read() {
        let mut state = State::default();
        let (all, one) = (
            format!("{GROUP}prod/leases"),
            format!("{GROUP}prod/leases/a"),
        );
        let new = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": "a", "namespace": "prod" },
            "spec": { "leaseDurationSeconds": 15, "renewTime": "2026-01-02T03:04:05.000006Z" },
        });
        assert_eq!(code(&mut state, "GET", &one, &Value::Null), 404);
        assert_eq!(code(&mut state, "POST", &all, &new), 201);
        assert_eq!(code(&mut state, "POST", &all, &new), 409);
        let first = state.lease("prod", "a").expect("it was made").clone();
        assert_eq!(code(&mut state, "PUT", &one, &first), 200);
        assert_eq!(code(&mut state, "PUT", &one, &first), 409, "an old version");
        assert_eq!(code(&mut state, "PUT", &one, &new), 422, "no version");
        let second = state.lease("prod", "a").expect("it was made").clone();
        let wrong = [
            ("leaseDurationSeconds", json!(0)),
            ("renewTime", json!("2026-01-02T03:04:05Z")),
        ];
        for (key, value) in wrong {
            let mut lease = second.clone();
            lease["spec"][key] = value;
            assert_eq!(code(&mut state, "PUT", &one, &lease), 422, "{key}");
        }
        state.delete("prod", "a");
        assert_eq!(code(&mut state, "PUT", &one, &second), 409, "another uid");
        assert_eq!(code(&mut state, "PUT", &one, &new), 201, "made by it");
    }
}
