//! The content of a snapshot as one JSON object.
//!
//! ```text
//! {"location", "written_by", "checkpoint_id", "operators": [
//!   {"uid", "operator_id", "name", "parallelism", "max_parallelism", "key_type",
//!    "keyed_states": [{"name", "kind", "namespace", "types", "content": [
//!        [key, value] or [key, namespace, value] ...]}],
//!    "timers": {"service", "namespace", "event": [[key, timestamp] or
//!        [key, namespace, timestamp] ...], "processing": [...]},
//!    "operator_states": [{"name", "mode", "types", "content": [element or [key, value] ...]}],
//!    "coordinator": {"enumerator_version", "hex"}}]}
//! ```
//!
//! A map is an object with its user keys as strings. `timers` is an array if several services
//! have some; what there is nothing of is left out. `key_type` and `keyed_states` are those of
//! operators with keyed state.

use std::io::Write;

use millpond_serializer::{Value, WithTtl, hex, map_key};
use millpond_snapshot::StreamHandle;
use serde::Serialize;
use serde_json::json;

use super::{Reading, RowText, Rows};
use crate::{
    Content, EntryCodec, Error, KeyedState, OpenSnapshot, Operator, Row, StateType,
    coordinator_state,
};

/// Appends a value as JSON.
pub(super) fn put_json(value: &impl Serialize, out: &mut Vec<u8>) {
    // Values are always JSON, and memory takes it.
    if let Err(error) = serde_json::to_writer(&mut *out, value) {
        out.extend_from_slice(json!(error.to_string()).to_string().as_bytes());
    }
}

pub(super) fn put_value(value: &Value, ttl: bool, out: &mut Vec<u8>) {
    match ttl {
        true => put_json(&WithTtl(value), out),
        false => put_json(value, out),
    }
}

pub(super) fn put_values(values: &[Value], ttl: bool, out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        put_value(value, ttl, out);
    }
    out.push(b']');
}

/// Rows as elements of `content`, each behind a comma.
struct Elements {
    ttl: bool,
    /// Key and namespace of the map that is open.
    map: Option<(Value, Value)>,
}

impl Elements {
    fn key(row: &Row, has_namespace: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(b",[");
        put_json(&row.key, out);
        out.push(b',');
        if has_namespace {
            put_json(&row.namespace, out);
            out.push(b',');
        }
    }
}

impl RowText for Elements {
    fn row(&mut self, codec: &EntryCodec, row: &Row, rows: &mut Rows) {
        let has_namespace = !codec.has_void_namespace();
        if let Content::MapEntry(user_key, value) = &row.content {
            let open = self.map.as_ref();
            if open.is_some_and(|(key, namespace)| *key == row.key && *namespace == row.namespace) {
                rows.text.push(b',');
            } else {
                self.end(rows);
                Elements::key(row, has_namespace, &mut rows.text);
                rows.text.push(b'{');
                self.map = Some((row.key.clone(), row.namespace.clone()));
            }
            put_json(&map_key(user_key), &mut rows.text);
            rows.text.push(b':');
            put_value(value, self.ttl, &mut rows.text);
            return;
        }
        Elements::key(row, has_namespace, &mut rows.text);
        match &row.content {
            Content::Value(value) => put_value(value, self.ttl, &mut rows.text),
            Content::List(elements) => put_values(elements, self.ttl, &mut rows.text),
            Content::Timer(timestamp) => put_json(timestamp, &mut rows.text),
            Content::MapEntry(..) => {}
        }
        rows.text.push(b']');
        rows.end_row();
    }

    fn end(&mut self, rows: &mut Rows) {
        if self.map.take().is_some() {
            rows.text.extend_from_slice(b"}]");
            rows.end_row();
        }
    }
}

/// Writes the object; returns the number of rows.
pub(super) fn write(
    snapshot: &OpenSnapshot,
    operators: &[Operator<'_>],
    reading: &Reading<'_>,
    out: &mut dyn Write,
) -> Result<u64, Error> {
    let location = json!(snapshot.loaded().directory.to_string());
    let mut head = Vec::new();
    put_json(&snapshot.writer(), &mut head);
    write!(out, "{{\"location\":{location},\"written_by\":")?;
    out.write_all(&head)?;
    let id = snapshot.metadata().checkpoint_id;
    write!(out, ",\"checkpoint_id\":{id},\n\"operators\":[")?;
    let mut rows = 0;
    for (index, operator) in operators.iter().enumerate() {
        let comma = if index > 0 { ",\n" } else { "\n" };
        out.write_all(comma.as_bytes())?;
        rows = write_operator(*operator, reading, rows, out)?;
    }
    out.write_all(b"\n]}\n")?;
    out.flush()?;
    Ok(rows)
}

fn write_operator(
    operator: Operator<'_>,
    reading: &Reading<'_>,
    mut rows: u64,
    out: &mut dyn Write,
) -> Result<u64, Error> {
    let selection = &reading.options.selection;
    let metadata = operator.metadata();
    let states = operator.keyed_states()?;
    write!(
        out,
        "{{\"uid\":{},\"operator_id\":\"{}\",\"name\":{},\"parallelism\":{},\"max_parallelism\":{}",
        json!(operator.uid()),
        operator.id(),
        json!(operator.name()),
        metadata.parallelism,
        metadata.max_parallelism,
    )?;
    let (timers, keyed): (Vec<&KeyedState>, Vec<&KeyedState>) = states
        .iter()
        .filter(|state| selection.takes_state(&state.name))
        .partition(|state| state.kind == StateType::Timers && state.timer_service().is_some());
    if let Some(first) = states.first() {
        write!(out, ",\n \"key_type\":{}", json!(first.key.type_words()))?;
    }
    if !keyed.is_empty() {
        out.write_all(b",\n \"keyed_states\":[")?;
        for (index, state) in keyed.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(
                out,
                "{comma}\n  {{\"name\":{},\"kind\":\"{}\",\"namespace\":{},\"types\":{},\"content\":[",
                json!(state.name),
                state.kind.name(),
                json!(state.namespace_words()),
                json!(state.type_words()),
            )?;
            rows = write_rows(operator, &state.name, reading, rows, &mut |_| Ok(()), out)?;
            out.write_all(b"]}")?;
        }
        out.write_all(b"]")?;
    }
    rows = write_timers(operator, &timers, reading, rows, out)?;
    if selection.takes_operator_state() {
        write_operator_states(operator, reading, out)?;
    }
    if selection.is_all()
        && let Some(StreamHandle::Bytes { data, .. }) = &metadata.coordinator
    {
        let state = coordinator_state(data).ok();
        let (version, bytes) = match &state {
            Some(state) => (Some(state.version), state.bytes.as_slice()),
            None => (None, data.as_slice()),
        };
        let coordinator = json!({"enumerator_version": version, "hex": hex(bytes)});
        write!(out, ",\n \"coordinator\":{coordinator}")?;
    }
    out.write_all(b"}")?;
    Ok(rows)
}

/// Writes the rows of a state as elements of an array; `before` is called in front of the first.
fn write_rows(
    operator: Operator<'_>,
    state: &str,
    reading: &Reading<'_>,
    rows: u64,
    before: &mut dyn FnMut(&mut dyn Write) -> Result<(), Error>,
    out: &mut dyn Write,
) -> Result<u64, Error> {
    let ttl = reading.options.ttl;
    let mut first = true;
    let text = || Elements { ttl, map: None };
    reading.keyed(operator, Some(state), rows, text, &mut |text, _| {
        // Each row stands behind a comma, but the first has none in front.
        let text = match (first, text) {
            (true, [b',', rest @ ..]) => {
                before(out)?;
                first = false;
                rest
            }
            _ => text,
        };
        Ok(out.write_all(text)?)
    })
}

fn write_timers(
    operator: Operator<'_>,
    states: &[&KeyedState],
    reading: &Reading<'_>,
    mut rows: u64,
    out: &mut dyn Write,
) -> Result<u64, Error> {
    let mut services: Vec<(&str, String)> = Vec::new();
    for state in states {
        if let Some((service, _)) = state.timer_service()
            && !services.iter().any(|(known, _)| *known == service)
        {
            services.push((service, state.namespace_words()));
        }
    }
    let several = services.len() > 1;
    let mut written = 0;
    for (service, namespace) in services {
        let open = |written: u32, out: &mut dyn Write| -> Result<(), Error> {
            let head = match (written, several) {
                (0, true) => ",\n \"timers\":[",
                (0, false) => ",\n \"timers\":",
                _ => ",",
            };
            let (service, namespace) = (json!(service), json!(namespace));
            write!(
                out,
                "{head}{{\"service\":{service},\"namespace\":{namespace},\"event\":["
            )?;
            Ok(())
        };
        let mut opened = false;
        for event in [true, false] {
            let name = states
                .iter()
                .find(|state| state.timer_service() == Some((service, event)));
            if !event && opened {
                out.write_all(b"],\"processing\":[")?;
            }
            let Some(state) = name else {
                continue;
            };
            let was_opened = opened;
            let mut before = |out: &mut dyn Write| {
                if !was_opened {
                    open(written, out)?;
                    if !event {
                        out.write_all(b"],\"processing\":[")?;
                    }
                }
                opened = true;
                Ok(())
            };
            rows = write_rows(operator, &state.name, reading, rows, &mut before, out)?;
        }
        if opened {
            out.write_all(b"]}")?;
            written += 1;
        }
    }
    if several && written > 0 {
        out.write_all(b"]")?;
    }
    Ok(rows)
}

fn write_operator_states(
    operator: Operator<'_>,
    reading: &Reading<'_>,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let states = operator.operator_states()?;
    let states = states
        .iter()
        .filter(|state| reading.options.selection.takes_state(&state.name));
    let mut text = Vec::new();
    for state in states {
        let head = if text.is_empty() {
            ",\n \"operator_states\":["
        } else {
            ","
        };
        text.extend_from_slice(head.as_bytes());
        let described = format!(
            "\n  {{\"name\":{},\"mode\":\"{}\",\"types\":{},\"content\":",
            json!(state.name),
            state.mode.name(),
            json!(state.type_words()),
        );
        text.extend_from_slice(described.as_bytes());
        let content: Vec<&Value> = state.content().collect();
        put_json(&content, &mut text);
        text.push(b'}');
    }
    if !text.is_empty() {
        text.push(b']');
    }
    Ok(out.write_all(&text)?)
}
