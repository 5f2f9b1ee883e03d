//! What is noted of a key that changes: of a list what it begins with still, of a map its user keys.

use crate::codec::{Codec, EntryPerUserKey, OneEntry};
use crate::frozen::StateWriter;
use crate::map_value::MapValue;
use crate::ttl::{Expiry, Swept};
use millpond_serializer::FlinkType;
use std::collections::BTreeMap;
use std::marker::PhantomData;

/// A mark of a key, for a kind of state.
pub(crate) trait ChangeMark<C: Codec>: Default + Send + Sync + 'static {
    /// Whether a changed value may be written in part, so that changed keys do not tell how much.
    const IN_PARTS: bool;

    /// A clean-up takes expired parts out of a value; `left` is what it leaves. Returns how many parts
    /// were noted.
    fn sweep(&mut self, before: &C::Value, left: Option<&C::Value>) -> usize;

    /// Writes what has become of a key that has these marks, one per interval and oldest first.
    ///
    /// `head` appends key and namespace.
    fn write(
        marks: &[&Self],
        value: Option<&C::Value>,
        expiry: Option<Expiry>,
        head: impl Fn(&mut Vec<u8>),
        writer: &mut StateWriter<'_>,
    ) -> Result<(), millpond_snapshot::Error>;
}

/// The mark of a state with one entry per key.
#[derive(Debug, Default)]
pub(crate) struct ChangedValue {
    /// Whether the key had no value when the interval began.
    is_new: bool,
    begins: Begins,
}

/// What a value still begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Begins {
    /// As it was: nothing is noted yet.
    #[default]
    AsItWas,
    /// With so many elements that it had.
    With(u32),
    Anew,
}

impl ChangedValue {
    /// The value is another one, or gone; it `existed` before.
    #[inline]
    pub(crate) fn replace(&mut self, existed: bool) -> usize {
        if self.begins == Begins::AsItWas {
            self.is_new = !existed;
        }
        self.begins = Begins::Anew;
        0
    }

    /// Elements come behind the `before` that a list has.
    pub(crate) fn append(&mut self, before: usize) -> usize {
        if self.begins == Begins::AsItWas {
            self.begins = match u32::try_from(before) {
                Ok(before @ 1..) => Begins::With(before),
                Ok(0) => {
                    self.is_new = true;
                    Begins::Anew
                }
                Err(_) => Begins::Anew,
            };
        }
        0
    }
}

impl<C: OneEntry> ChangeMark<C> for ChangedValue {
    const IN_PARTS: bool = C::HAS_ELEMENTS;

    fn sweep(&mut self, _before: &C::Value, _left: Option<&C::Value>) -> usize {
        self.replace(true)
    }

    fn write(
        marks: &[&Self],
        value: Option<&C::Value>,
        expiry: Option<Expiry>,
        head: impl Fn(&mut Vec<u8>),
        writer: &mut StateWriter<'_>,
    ) -> Result<(), millpond_snapshot::Error> {
        let is_new = marks.first().is_some_and(|mark| mark.is_new);
        let swept = value.map(|value| (value, expiry.map_or(Swept::All, |e| C::sweep(value, e))));
        match swept {
            Some((_, Swept::Part(left))) => C::write(&left, head, writer),
            Some((value, Swept::All)) => {
                let kept = |mark: &&Self| matches!(mark.begins, Begins::With(_));
                match marks.first().map(|mark| mark.begins) {
                    Some(Begins::With(before)) if marks.iter().all(kept) => {
                        writer.append(head, |out| C::put_behind(value, before as usize, out))
                    }
                    _ => C::write(value, head, writer),
                }
            }
            Some((_, Swept::Nothing)) | None if is_new => Ok(()),
            Some((_, Swept::Nothing)) | None => writer.remove(head),
        }
    }
}

/// The mark of a map: the user keys that change, and whether each had a value before.
#[derive(Debug)]
pub(crate) struct ChangedUserKeys<UK, UV>(BTreeMap<UK, bool>, PhantomData<fn(UV)>);

impl<UK: Ord, UV> Default for ChangedUserKeys<UK, UV> {
    fn default() -> Self {
        ChangedUserKeys(BTreeMap::new(), PhantomData)
    }
}

impl<UK: Ord, UV> ChangedUserKeys<UK, UV> {
    /// A user key gets another value, or loses it; it `existed` before.
    pub(crate) fn change(&mut self, key: UK, existed: bool) -> usize {
        let before = self.0.len();
        self.0.entry(key).or_insert(existed);
        self.0.len() - before
    }
}

impl<UK, UV, C> ChangeMark<C> for ChangedUserKeys<UK, UV>
where
    UK: FlinkType + Ord,
    UV: FlinkType,
    C: EntryPerUserKey<UK, UV>,
{
    const IN_PARTS: bool = true;

    fn sweep(&mut self, before: &MapValue<UK, UV>, left: Option<&MapValue<UK, UV>>) -> usize {
        let mut noted = 0;
        before.for_each(|key, _| {
            if left.is_none_or(|left| left.get(key).is_none()) {
                noted += self.change(key.clone(), true);
            }
        });
        noted
    }

    fn write(
        marks: &[&Self],
        value: Option<&MapValue<UK, UV>>,
        expiry: Option<Expiry>,
        head: impl Fn(&mut Vec<u8>),
        writer: &mut StateWriter<'_>,
    ) -> Result<(), millpond_snapshot::Error> {
        for (interval, mark) in marks.iter().enumerate() {
            for (user_key, existed) in &mark.0 {
                let older = &marks[..interval];
                if older.iter().any(|older| older.0.contains_key(user_key)) {
                    continue;
                }
                let user_value = value.and_then(|map| map.get(user_key));
                let is_over = |value: &&UV| expiry.is_some_and(|expiry| C::is_over(value, expiry));
                match user_value.filter(|value| !is_over(value)) {
                    Some(user_value) => {
                        let mut one = MapValue::new();
                        one.put(user_key.clone(), user_value.clone());
                        C::write(&one, &head, writer)?;
                    }
                    None if *existed => writer.remove(|out| {
                        head(out);
                        user_key.write(out);
                    })?,
                    None => {}
                }
            }
        }
        Ok(())
    }
}
