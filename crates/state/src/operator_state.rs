//! Operator state: lists that belong to a subtask, not to a key.
//!
//! | mode | after a change of parallelism |
//! | --- | --- |
//! | split | every element goes to one subtask |
//! | union | every element goes to every subtask |
//!
//! The lists are small, so that their image is taken by writing their elements to memory.

use crate::{Error, ErrorKind, Result};
use millpond_serializer::{ByteReader, Compatibility, FlinkType, SerializerSnapshot};
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

/// How a list is spread over subtasks when it is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distribution {
    Split,
    Union,
}

/// A list as the header of a snapshot describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListDescription {
    pub(crate) name: String,
    pub(crate) distribution: Distribution,
    pub(crate) element: SerializerSnapshot,
}

/// A list as bytes.
#[derive(Clone, Debug)]
pub(crate) struct EncodedList {
    pub(crate) description: ListDescription,
    pub(crate) bytes: Vec<u8>,
    /// Where each element ends in `bytes`.
    pub(crate) ends: Vec<usize>,
}

impl EncodedList {
    pub(crate) fn elements(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, &end)| &self.bytes[start..end])
    }
}

/// The operator state of one operator subtask.
#[derive(Default)]
pub struct OperatorStateBackend {
    /// In the order of registration.
    lists: RefCell<Vec<Slot>>,
}

enum Slot {
    Registered(Rc<dyn RegisteredList>),
    /// Restored and not registered: decoded once it is, and written again until then.
    Raw(EncodedList),
}

trait RegisteredList {
    fn description(&self) -> &ListDescription;
    fn resolve(&self, previous: &SerializerSnapshot) -> Compatibility;
    fn encode(&self) -> EncodedList;
    fn restore(
        &self,
        elements: &EncodedList,
    ) -> std::result::Result<(), millpond_serializer::Error>;
}

impl OperatorStateBackend {
    /// Returns a backend without state.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a list whose elements are dealt out to the subtasks on restore.
    ///
    /// # Errors
    ///
    /// Registered, if the name is taken; incompatible, corrupt or unsupported, if a restored
    /// snapshot holds a list of this name that cannot be read as it is declared.
    pub fn list_state<T: FlinkType>(&self, name: &str) -> Result<OperatorListState<T>> {
        self.register(name, Distribution::Split)
    }

    /// Registers a list of which every subtask gets all elements on restore.
    ///
    /// # Errors
    ///
    /// As [`OperatorStateBackend::list_state`].
    pub fn union_list_state<T: FlinkType>(&self, name: &str) -> Result<OperatorListState<T>> {
        self.register(name, Distribution::Union)
    }

    fn register<T: FlinkType>(
        &self,
        name: &str,
        distribution: Distribution,
    ) -> Result<OperatorListState<T>> {
        let list = Rc::new(List::<T> {
            description: ListDescription {
                name: name.to_owned(),
                distribution,
                element: T::serializer_snapshot(),
            },
            elements: RefCell::new(Vec::new()),
        });
        let registered = Slot::Registered(Rc::clone(&list) as Rc<dyn RegisteredList>);
        let mut lists = self.lists.borrow_mut();
        match lists
            .iter_mut()
            .find(|slot| slot.description().name == name)
        {
            Some(Slot::Registered(_)) => {
                return Err(Error::new(ErrorKind::Registered {
                    state: name.to_owned(),
                }));
            }
            Some(slot) => {
                if let Slot::Raw(raw) = slot {
                    restore(&*list, raw)?;
                }
                *slot = registered;
            }
            None => lists.push(registered),
        }
        Ok(OperatorListState { list })
    }

    /// Adds restored elements to the list of their name, or keeps them until it is registered.
    pub(crate) fn restore_list(&self, restored: EncodedList) -> Result<()> {
        let mut lists = self.lists.borrow_mut();
        let name = &restored.description.name;
        match lists
            .iter_mut()
            .find(|slot| slot.description().name == *name)
        {
            Some(Slot::Registered(list)) => restore(&**list, &restored)?,
            Some(Slot::Raw(raw)) => {
                if raw.description != restored.description {
                    return Err(Error::new(ErrorKind::Unsupported {
                        what: format!(
                            "operator state \"{name}\" that its handles describe differently"
                        ),
                    }));
                }
                let start = raw.bytes.len();
                raw.bytes.extend_from_slice(&restored.bytes);
                raw.ends.extend(restored.ends.iter().map(|end| start + end));
            }
            None => lists.push(Slot::Raw(restored)),
        }
        Ok(())
    }

    /// Returns the image of all lists as they are now.
    pub fn freeze(&self) -> OperatorStateImage {
        let lists = self.lists.borrow();
        let lists = lists
            .iter()
            .map(|slot| match slot {
                Slot::Registered(list) => list.encode(),
                Slot::Raw(raw) => raw.clone(),
            })
            .collect();
        OperatorStateImage { lists }
    }
}

impl fmt::Debug for OperatorStateBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = self.lists.borrow();
        let names: Vec<_> = lists.iter().map(|slot| &slot.description().name).collect();
        f.debug_struct("OperatorStateBackend")
            .field("lists", &names)
            .finish()
    }
}

impl Slot {
    fn description(&self) -> &ListDescription {
        match self {
            Slot::Registered(list) => list.description(),
            Slot::Raw(raw) => &raw.description,
        }
    }
}

fn restore(list: &dyn RegisteredList, restored: &EncodedList) -> Result<()> {
    let expected = list.description();
    let found = &restored.description;
    let incompatible = |expected: String, found: String| {
        let state = list.description().name.clone();
        Err(Error::new(ErrorKind::Incompatible {
            state,
            expected,
            found,
        }))
    };
    if expected.distribution != found.distribution {
        return incompatible(
            format!("a {} list", expected.distribution.as_str()),
            format!("a {} list", found.distribution.as_str()),
        );
    }
    match list.resolve(&found.element) {
        Compatibility::AsIs | Compatibility::Reconfigured => {}
        Compatibility::AfterMigration => {
            return Err(Error::new(ErrorKind::Unsupported {
                what: format!("migration of operator state \"{}\"", expected.name),
            }));
        }
        Compatibility::Incompatible { reason } => {
            return incompatible(
                expected.element.describe(),
                format!("{} ({reason})", found.element.describe()),
            );
        }
    }
    list.restore(restored)
        .map_err(|error| Error::reading(format!("operator state \"{}\"", expected.name), error))
}

impl Distribution {
    fn as_str(self) -> &'static str {
        match self {
            Distribution::Split => "split",
            Distribution::Union => "union",
        }
    }
}

struct List<T> {
    description: ListDescription,
    elements: RefCell<Vec<T>>,
}

impl<T: FlinkType> RegisteredList for List<T> {
    fn description(&self) -> &ListDescription {
        &self.description
    }

    fn resolve(&self, previous: &SerializerSnapshot) -> Compatibility {
        T::resolve(previous)
    }

    fn encode(&self) -> EncodedList {
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        for element in self.elements.borrow().iter() {
            element.write(&mut bytes);
            ends.push(bytes.len());
        }
        EncodedList {
            description: self.description.clone(),
            bytes,
            ends,
        }
    }

    fn restore(
        &self,
        elements: &EncodedList,
    ) -> std::result::Result<(), millpond_serializer::Error> {
        let mut list = self.elements.borrow_mut();
        for element in elements.elements() {
            list.push(T::read(&mut ByteReader::new(element))?);
        }
        Ok(())
    }
}

/// A list of this subtask.
pub struct OperatorListState<T> {
    list: Rc<List<T>>,
}

impl<T: FlinkType> OperatorListState<T> {
    /// Returns a copy of the elements; after a restore those that fell to this subtask.
    pub fn get(&self) -> Vec<T> {
        self.list.elements.borrow().clone()
    }

    /// Adds an element at the end.
    pub fn add(&mut self, element: T) {
        self.list.elements.borrow_mut().push(element);
    }

    /// Replaces all elements.
    pub fn update(&mut self, elements: impl IntoIterator<Item = T>) {
        let elements = elements.into_iter().collect();
        *self.list.elements.borrow_mut() = elements;
    }

    /// Removes all elements.
    pub fn clear(&mut self) {
        self.update([]);
    }
}

impl<T> fmt::Debug for OperatorListState<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorListState").finish_non_exhaustive()
    }
}

/// The operator state of one subtask at the moment of its freeze.
#[derive(Debug)]
pub struct OperatorStateImage {
    pub(crate) lists: Vec<EncodedList>,
}

impl OperatorStateImage {
    /// Whether there is no list at all: no handle is needed then.
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// The bytes of all elements together.
    pub fn bytes(&self) -> usize {
        self.lists.iter().map(|list| list.bytes.len()).sum()
    }
}
