//! Edits of keyed state: what they are to one operator, and how its entries pass through them.
//!
//! All edits of an operator are one pass. Each entry goes through the edits of its state in order;
//! an edit that sets a key takes the old entries of that key out and puts the new ones in where
//! they ended, or, for a key that was not there, at the end of its state or key group. What an
//! edit puts in goes through the edits behind it, so that the order of edits is what counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use millpond_serializer::{Value, ValueCodec};
use millpond_snapshot::{
    Entry, Error, KeyedHeader, KeyedStateType, LIST_DELIMITER, StateKind, StateMeta, is_ambiguous,
    put_length, split_key,
};
use millpond_types::{KeyGroup, KeyGroupRange};
use serde_json::Value as Json;

use super::condition::{Condition, Field};
use crate::entry_writer::{EntryWriter, WrittenSubtask};
use crate::keyed_input::KeyedInput;
use crate::parallel::in_parallel;
use crate::rehash::KeyHasher;
use crate::snapshot_writer::SnapshotWriter;

/// The keyed state of one operator, and what is to be done to it.
pub(super) struct KeyedPlan<'a> {
    pub(super) input: KeyedInput<'a>,
    /// The state under each index of the header: as it will be, or `None` if it is dropped.
    states: Vec<Option<StateMeta>>,
    /// Which edit dropped a state.
    dropped_by: Vec<usize>,
    steps: Vec<Step>,
    codecs: Vec<StateCodecs>,
    hasher: KeyHasher,
}

/// One edit of one state.
struct Step {
    /// The number of the edit.
    edit: usize,
    state: usize,
    action: StepAction,
}

enum StepAction {
    Set(SetKey),
    Delete(Condition),
    /// Milliseconds to be added.
    Shift(i64),
}

/// Key and value of a canonical entry.
type NewEntry = (Vec<u8>, Vec<u8>);

/// What becomes of a key.
struct SetKey {
    /// Key and namespace, as entries begin.
    head: Vec<u8>,
    /// Only the entry of this user key.
    user_key: Option<Vec<u8>>,
    /// The key group, unless only Java knows the hash code of the key.
    group: Option<KeyGroup>,
    entries: Vec<NewEntry>,
    /// Whether it was put in.
    done: AtomicBool,
}

/// How the parts of a state's entries are read and written.
struct StateCodecs {
    namespace: ValueCodec,
    /// The whole value as its serializer has it: a list, a map.
    whole: ValueCodec,
    layout: ValueLayout,
}

enum ValueLayout {
    Value,
    List(ValueCodec),
    Map(ValueCodec, ValueCodec),
    Timer(ValueCodec),
}

impl StateCodecs {
    fn of(meta: &StateMeta) -> Result<Self, Error> {
        let value = meta.value_serializer()?;
        let layout = match (meta.kind, meta.keyed_state_type(), value.nested()) {
            (StateKind::PriorityQueue, _, _) => ValueLayout::Timer(ValueCodec::new(value)),
            (_, Some(KeyedStateType::List), [element]) => {
                ValueLayout::List(ValueCodec::new(element))
            }
            (_, Some(KeyedStateType::Map), [key, value]) => {
                ValueLayout::Map(ValueCodec::new(key), ValueCodec::new(value))
            }
            (_, _, _) => ValueLayout::Value,
        };
        let namespace = match meta.kind {
            StateKind::PriorityQueue => value,
            StateKind::KeyValue
            | StateKind::KeyValueV2
            | StateKind::Operator
            | StateKind::Broadcast => meta.namespace_serializer()?,
        };
        Ok(StateCodecs {
            namespace: ValueCodec::new(namespace),
            whole: ValueCodec::new(value),
            layout,
        })
    }
}

impl<'a> KeyedPlan<'a> {
    pub(super) fn new(input: KeyedInput<'a>, max_parallelism: u32) -> Result<Self, Error> {
        let header = input.header();
        let codecs = header.states.iter().map(StateCodecs::of);
        Ok(KeyedPlan {
            codecs: codecs.collect::<Result<_, _>>()?,
            hasher: KeyHasher::new(header, max_parallelism),
            states: header.states.iter().cloned().map(Some).collect(),
            dropped_by: vec![0; header.states.len()],
            steps: Vec::new(),
            input,
        })
    }

    /// The names of all states, as edits so far have left them.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.states.iter().flatten().map(|meta| meta.name.as_str())
    }

    /// Whether a state had this name before all edits.
    pub(super) fn had(&self, name: &str) -> bool {
        let states = &self.input.header().states;
        states.iter().any(|meta| meta.name == name)
    }

    pub(super) fn state(&self, name: &str) -> Option<usize> {
        let is_it = |meta: &Option<StateMeta>| meta.as_ref().is_some_and(|meta| meta.name == name);
        self.states.iter().position(is_it)
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.states.iter().all(Option::is_none)
    }

    pub(super) fn drop_state(&mut self, state: usize, edit: usize) {
        self.states[state] = None;
        self.dropped_by[state] = edit;
    }

    pub(super) fn rename(&mut self, state: usize, name: &str) -> Result<(), String> {
        let Some(meta) = &mut self.states[state] else {
            return Err("the state was dropped".to_owned());
        };
        if meta.kind == StateKind::PriorityQueue {
            return Err("Flink finds timers by their names, which cannot be changed".to_owned());
        }
        meta.name = name.to_owned();
        Ok(())
    }

    pub(super) fn delete(
        &mut self,
        state: usize,
        condition: &Condition,
        edit: usize,
    ) -> Result<(), String> {
        let codecs = &self.codecs[state];
        let unknown = condition.fields().find(|field| match codecs.layout {
            ValueLayout::Value | ValueLayout::List(_) => {
                matches!(field, Field::UserKey | Field::Timestamp)
            }
            ValueLayout::Map(..) => *field == Field::Timestamp,
            ValueLayout::Timer(_) => matches!(field, Field::UserKey | Field::Value),
        });
        if let Some(field) = unknown {
            return Err(format!("its entries have no {}", field.word()));
        }
        self.steps.push(Step {
            edit,
            state,
            action: StepAction::Delete(condition.clone()),
        });
        Ok(())
    }

    /// Shifts the timers of all queues that are wanted; returns whether there are any.
    pub(super) fn shift_timers(
        &mut self,
        wanted: impl Fn(&str) -> bool,
        by_ms: i64,
        edit: usize,
    ) -> Result<bool, String> {
        let mut found = false;
        for state in 0..self.states.len() {
            let Some(meta) = &self.states[state] else {
                continue;
            };
            if meta.kind != StateKind::PriorityQueue || !wanted(&meta.name) {
                continue;
            }
            let of_windows = meta
                .value_serializer()
                .ok()
                .and_then(|timer| timer.nested().get(1))
                .is_some_and(|namespace| namespace.class.contains(".windowing.windows."));
            if of_windows {
                return Err(format!(
                    "\"{}\" are the timers of windows, which fire when their window ends",
                    meta.name
                ));
            }
            found = true;
            self.steps.push(Step {
                edit,
                state,
                action: StepAction::Shift(by_ms),
            });
        }
        Ok(found)
    }

    /// Sets a key of a state; values with time-to-live were last used at `now_ms`.
    pub(super) fn set(
        &mut self,
        state: usize,
        fields: &[(Field, Json)],
        now_ms: i64,
        edit: usize,
    ) -> Result<(), String> {
        let header = self.input.header();
        let codecs = &self.codecs[state];
        let field = |wanted: Field| {
            let found = fields.iter().find(|(field, _)| *field == wanted);
            found.map(|(_, json)| json)
        };
        let key_json = field(Field::Key).ok_or("it is keyed state: key=JSON is missing")?;
        let value_json = field(Field::Value).ok_or("value=JSON is missing")?;
        if field(Field::Timestamp).is_some() || matches!(codecs.layout, ValueLayout::Timer(_)) {
            return Err("timers are shifted or deleted, not set".to_owned());
        }
        let key = parse(self.hasher.codec(), key_json, now_ms, "key")?;
        let namespace_json = field(Field::Namespace).unwrap_or(&Json::Null);
        let namespace = parse(&codecs.namespace, namespace_json, now_ms, "namespace")?;
        let namespace_serializer = header.states[state]
            .namespace_serializer()
            .map_err(|error| error.to_string())?;
        let ambiguous = is_ambiguous(&header.key_serializer, namespace_serializer);
        let mut head = Vec::new();
        for (codec, value) in [(self.hasher.codec(), &key), (&codecs.namespace, &namespace)] {
            let start = head.len();
            encode(codec, value, &mut head)?;
            if ambiguous {
                put_length(head.len() - start, &mut head);
            }
        }
        let user_key = match (&codecs.layout, field(Field::UserKey)) {
            (_, None) => None,
            (ValueLayout::Map(codec, _), Some(json)) => {
                let mut out = Vec::new();
                encode(codec, &parse(codec, json, now_ms, "user_key")?, &mut out)?;
                Some(out)
            }
            (_, Some(_)) => return Err("it is no map: user_key makes no sense".to_owned()),
        };
        let entries = new_entries(codecs, &head, user_key.as_deref(), value_json, now_ms)?;
        self.steps.push(Step {
            edit,
            state,
            action: StepAction::Set(SetKey {
                head,
                user_key,
                group: self.hasher.group_of(&key).ok(),
                entries,
                done: AtomicBool::new(false),
            }),
        });
        Ok(())
    }

    /// Writes the edited state of all subtasks; `counts` has a counter for each edit.
    pub(super) fn write(
        &self,
        writer: &SnapshotWriter,
        parallelism: u32,
        max_parallelism: u32,
        counts: &[AtomicU64],
    ) -> Result<Vec<WrittenSubtask>, Error> {
        let mut places = Vec::new();
        let mut states = Vec::new();
        for meta in &self.states {
            places.push(meta.as_ref().map(|meta| {
                states.push(meta.clone());
                states.len() - 1
            }));
        }
        let header = Arc::new(KeyedHeader {
            states,
            ..self.input.header().clone()
        });
        let format = self.input.format();
        let subtasks: Vec<u32> = (0..parallelism).collect();
        let written = in_parallel(&subtasks, |index| {
            let range = KeyGroupRange::of_subtask(*index, parallelism, max_parallelism);
            let out = EntryWriter::new(writer, header.clone(), format, range, max_parallelism)?;
            let mut pass = Pass::new(self, &places, range, out, counts);
            self.input
                .read(range)
                .try_for_each(|entry| pass.entry(entry))?;
            pass.finish()
        })?;
        let lost = self.steps.iter().find(|step| match &step.action {
            StepAction::Set(set) => set.group.is_none() && !set.done.load(Ordering::Relaxed),
            StepAction::Delete(_) | StepAction::Shift(_) => false,
        });
        match lost {
            None => Ok(written),
            Some(step) => Err(Error::unsupported(format!(
                "edit {}: the key is not there yet, and where it belongs only its Java class \
                 knows: keys are {}",
                step.edit + 1,
                self.input.header().key_serializer.describe()
            ))),
        }
    }
}

fn parse(codec: &ValueCodec, json: &Json, now_ms: i64, what: &str) -> Result<Value, String> {
    codec
        .parse_json_used_at(json, now_ms)
        .map_err(|error| format!("{what}: {error}"))
}

fn encode(codec: &ValueCodec, value: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    codec.encode(value, out).map_err(|error| error.to_string())
}

/// The entries that a key is to have.
fn new_entries(
    codecs: &StateCodecs,
    head: &[u8],
    user_key: Option<&[u8]>,
    json: &Json,
    now_ms: i64,
) -> Result<Vec<NewEntry>, String> {
    let map_value = |codec: &ValueCodec, value: &Value| {
        let mut out = vec![u8::from(value.is_null())];
        if !value.is_null() {
            encode(codec, value, &mut out)?;
        }
        Ok::<_, String>(out)
    };
    match (&codecs.layout, user_key) {
        (ValueLayout::Map(_, codec), Some(user_key)) => {
            let value = match json.is_null() {
                true => Value::Null,
                false => parse(codec, json, now_ms, "value")?,
            };
            let key = [head, user_key].concat();
            Ok(vec![(key, map_value(codec, &value)?)])
        }
        (ValueLayout::Map(key_codec, value_codec), None) => {
            let Value::Map(entries) = parse(&codecs.whole, json, now_ms, "value")? else {
                return Err("value: expected a map".to_owned());
            };
            let entries = entries.iter().map(|(user_key, value)| {
                let mut key = head.to_vec();
                encode(key_codec, user_key, &mut key)?;
                Ok((key, map_value(value_codec, value)?))
            });
            entries.collect()
        }
        (ValueLayout::List(codec), _) => {
            let Json::Array(items) = json else {
                return Err("value: expected a list in brackets".to_owned());
            };
            let mut value = Vec::new();
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    value.push(LIST_DELIMITER);
                }
                encode(codec, &parse(codec, item, now_ms, "value")?, &mut value)?;
            }
            // A list without elements has no entry.
            Ok(match items.is_empty() {
                true => Vec::new(),
                false => vec![(head.to_vec(), value)],
            })
        }
        (ValueLayout::Value | ValueLayout::Timer(_), _) => {
            let mut out = Vec::new();
            let value = parse(&codecs.whole, json, now_ms, "value")?;
            encode(&codecs.whole, &value, &mut out)?;
            Ok(vec![(head.to_vec(), out)])
        }
    }
}

/// The entries of one subtask on their way through the edits.
struct Pass<'a> {
    plan: &'a KeyedPlan<'a>,
    places: &'a [Option<usize>],
    out: EntryWriter<'a>,
    counts: &'a [AtomicU64],
    last_group: KeyGroup,
    /// The group, state and head of the entry that came last.
    place: Option<(KeyGroup, usize)>,
    head: Vec<u8>,
    /// Which steps have put in their entries here already, or belong to another subtask.
    emitted: Vec<bool>,
}

impl<'a> Pass<'a> {
    fn new(
        plan: &'a KeyedPlan<'a>,
        places: &'a [Option<usize>],
        range: KeyGroupRange,
        out: EntryWriter<'a>,
        counts: &'a [AtomicU64],
    ) -> Self {
        let emitted = plan.steps.iter().map(|step| match &step.action {
            StepAction::Set(set) => set.group.is_some_and(|group| !range.contains(group)),
            StepAction::Delete(_) | StepAction::Shift(_) => true,
        });
        Pass {
            plan,
            places,
            out,
            counts,
            last_group: range.last(),
            place: None,
            head: Vec::new(),
            emitted: emitted.collect(),
        }
    }

    fn count(&self, edit: usize, entries: u64) {
        self.counts[edit].fetch_add(entries, Ordering::Relaxed);
    }

    fn entry(&mut self, entry: Entry<'_>) -> Result<(), Error> {
        let place = (entry.key_group, entry.state);
        if self.place != Some(place) {
            self.leave_state()?;
            if self.place.is_none_or(|(group, _)| group < entry.key_group) {
                self.leave_groups_before(Some(entry.key_group))?;
            }
            self.place = Some(place);
            self.head.clear();
        }
        if self.places[entry.state].is_none() {
            self.count(self.plan.dropped_by[entry.state], 1);
            return Ok(());
        }
        if !self.plan.steps.iter().any(|step| step.state == entry.state) {
            return self.put(place, entry.key, entry.value);
        }
        let header = self.plan.input.header();
        let parts = split_key(header, entry.state, entry.key)?;
        let head_bytes = entry.key.len() - parts.user_key.len();
        if self.head != entry.key[..head_bytes] {
            self.leave_head()?;
            self.head.clear();
            self.head.extend_from_slice(&entry.key[..head_bytes]);
        }
        self.through(0, place, head_bytes, entry.key, entry.value)
    }

    /// Sends an entry through the steps from `first` on.
    fn through(
        &mut self,
        first: usize,
        place: (KeyGroup, usize),
        head_bytes: usize,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), Error> {
        let plan = self.plan;
        let mut shifted: Option<Vec<u8>> = None;
        for step in &plan.steps[first..] {
            if step.state != place.1 {
                continue;
            }
            let key = shifted.as_deref().unwrap_or(key);
            match &step.action {
                StepAction::Set(set) => {
                    let (head, user_key) = key.split_at(head_bytes);
                    let other = set.user_key.as_ref().is_some_and(|mine| mine != user_key);
                    if head == set.head && !other {
                        return Ok(());
                    }
                }
                StepAction::Delete(condition) => {
                    if self.holds(condition, place.1, key, value)? {
                        self.count(step.edit, 1);
                        return Ok(());
                    }
                }
                StepAction::Shift(by_ms) => {
                    let moved = shift(key, *by_ms)?;
                    shifted = Some(moved);
                    self.count(step.edit, 1);
                }
            }
        }
        self.put(place, shifted.as_deref().unwrap_or(key), value)
    }

    fn put(
        &mut self,
        (group, state): (KeyGroup, usize),
        key: &[u8],
        value: &[u8],
    ) -> Result<(), Error> {
        match self.places[state] {
            Some(state) => self.out.put(group, state, key, value),
            None => Ok(()),
        }
    }

    fn holds(
        &self,
        condition: &Condition,
        state: usize,
        key: &[u8],
        value: &[u8],
    ) -> Result<bool, Error> {
        let header = self.plan.input.header();
        let codecs = &self.plan.codecs[state];
        if let ValueLayout::Timer(codec) = &codecs.layout {
            let Value::Timer {
                timestamp,
                key,
                namespace,
            } = codec.decode_all(key)?
            else {
                return Err(Error::corrupt(0, "a timer", "another value"));
            };
            return condition.holds(|field| {
                Ok(match field {
                    Field::Key => json(&key)?,
                    Field::Namespace => json(&namespace)?,
                    Field::Timestamp => Json::from(timestamp),
                    Field::UserKey | Field::Value => Json::Null,
                })
            });
        }
        let parts = split_key(header, state, key)?;
        condition.holds(|field| {
            let shown = |codec: &ValueCodec, bytes: &[u8]| json(&codec.decode_all(bytes)?);
            match (field, &codecs.layout) {
                (Field::Key, _) => shown(self.plan.hasher.codec(), parts.key),
                (Field::Namespace, _) => shown(&codecs.namespace, parts.namespace),
                (Field::UserKey, ValueLayout::Map(codec, _)) => shown(codec, parts.user_key),
                (Field::Value, ValueLayout::Map(_, codec)) => match value {
                    [0, value @ ..] => shown(codec, value),
                    _ => Ok(Json::Null),
                },
                (Field::Value, ValueLayout::List(codec)) => list_json(codec, value),
                (Field::Value, _) => shown(&codecs.whole, value),
                (Field::UserKey | Field::Timestamp, _) => Ok(Json::Null),
            }
        })
    }

    /// Puts in what is set for the key that ends here.
    fn leave_head(&mut self) -> Result<(), Error> {
        let Some(place) = self.place else {
            return Ok(());
        };
        if self.head.is_empty() {
            return Ok(());
        }
        let plan = self.plan;
        for (index, step) in plan.steps.iter().enumerate() {
            if let StepAction::Set(set) = &step.action
                && step.state == place.1
                && set.head == self.head
                && set.group.is_none_or(|group| group == place.0)
            {
                self.emit(index, place)?;
            }
        }
        Ok(())
    }

    /// Puts in what is set for keys that the state which ends here does not have.
    fn leave_state(&mut self) -> Result<(), Error> {
        self.leave_head()?;
        let Some(place) = self.place else {
            return Ok(());
        };
        self.emit_where(|group, state| (group, state) == place)
    }

    /// Puts in what is set in groups in front of `group` (or in all of them) and was left over.
    fn leave_groups_before(&mut self, group: Option<KeyGroup>) -> Result<(), Error> {
        self.emit_where(|of, _| group.is_none_or(|group| of < group))
    }

    fn emit_where(&mut self, wanted: impl Fn(KeyGroup, usize) -> bool) -> Result<(), Error> {
        let plan = self.plan;
        let mut left: Vec<_> = plan
            .steps
            .iter()
            .enumerate()
            .filter(|(index, _)| !self.emitted[*index])
            .filter_map(|(index, step)| match &step.action {
                StepAction::Set(set) => {
                    let group = set.group.filter(|group| wanted(*group, step.state))?;
                    Some((group, step.state, &set.head, index))
                }
                StepAction::Delete(_) | StepAction::Shift(_) => None,
            })
            .collect();
        left.sort();
        for (group, state, _, index) in left {
            self.emit(index, (group, state))?;
        }
        Ok(())
    }

    fn emit(&mut self, index: usize, place: (KeyGroup, usize)) -> Result<(), Error> {
        if std::mem::replace(&mut self.emitted[index], true) {
            return Ok(());
        }
        let plan = self.plan;
        let step = &plan.steps[index];
        let StepAction::Set(set) = &step.action else {
            return Ok(());
        };
        set.done.store(true, Ordering::Relaxed);
        self.count(step.edit, set.entries.len().max(1) as u64);
        for (key, value) in &set.entries {
            self.through(index + 1, place, set.head.len(), key, value)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<WrittenSubtask, Error> {
        self.leave_state()?;
        self.leave_groups_before(None)?;
        debug_assert!(self.place.is_none_or(|(group, _)| group <= self.last_group));
        self.out.finish()
    }
}

/// Moves the time in the element of a timer.
fn shift(element: &[u8], by_ms: i64) -> Result<Vec<u8>, Error> {
    let Some((time, rest)) = element.split_first_chunk::<8>() else {
        return Err(Error::corrupt(0, "a timer", "fewer than 8 bytes"));
    };
    let time = i64::from_be_bytes(*time) ^ i64::MIN;
    let moved = time.checked_add(by_ms).ok_or_else(|| {
        Error::incompatible(format!("a timer at {time} cannot be moved by {by_ms} ms"))
    })?;
    Ok([&(moved ^ i64::MIN).to_be_bytes(), rest].concat())
}

pub(super) fn json(value: &Value) -> Result<Json, Error> {
    serde_json::to_value(value)
        .map_err(|error| Error::unsupported(format!("a value that is no JSON: {error}")))
}

fn list_json(codec: &ValueCodec, bytes: &[u8]) -> Result<Json, Error> {
    let mut input = millpond_serializer::ByteReader::new(bytes);
    let mut items = Vec::new();
    while !input.is_empty() {
        if !items.is_empty() {
            let at = input.offset();
            let found = input.u8()?;
            if found != LIST_DELIMITER {
                let found = format!("{found:#04x}");
                return Err(Error::corrupt(at, "',' between list elements", found));
            }
        }
        items.push(json(&codec.decode(&mut input)?)?);
    }
    Ok(Json::Array(items))
}
