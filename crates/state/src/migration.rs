//! Migrations: what the job says becomes of the values of a type that a state no longer has.
//!
//! Flink's rules let a type grow; they never let it become another one. Where a state needs that,
//! the job gives a function from the old type to the new one, under the name of the state. It is
//! used for a snapshot whose serializer is that of the old type, and never otherwise, so that it
//! can stay in the program for good.
//!
//! A value with time-to-live keeps the time of its last use; the function sees the value alone. Where
//! a state has its time-to-live no longer, the times are dropped (Flink 2.3.0, class
//! `TtlAwareSerializer`).
//!
//! What is chosen, in this order: the type itself, if its bytes are those of the snapshot; a
//! function whose old type has these bytes; the type itself by Flink's rules; a function whose old
//! type can be read by these rules.

use crate::{Error, ErrorKind, Result};
use millpond_serializer::{
    Compatibility, FlinkType, Incompatibility, Reader, SerializerSnapshot, TtlValue, nullable,
};
use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// The migrations of all states of one operator subtask.
#[derive(Default)]
pub(crate) struct Migrations {
    by_state: RefCell<HashMap<String, Rc<StateMigrations>>>,
}

/// The migrations of one state, in the order in which they were given.
#[derive(Default)]
pub(crate) struct StateMigrations {
    state: String,
    functions: RefCell<Vec<Migration>>,
}

/// One function, to some type `New`.
struct Migration {
    /// An `Into<New>`.
    plain: Box<dyn Any>,
    /// An `Into<TtlValue<New>>`.
    with_ttl: Box<dyn Any>,
}

impl Migration {
    /// The function to `Part`, which is `New` or `TtlValue<New>`; `None` if it is neither.
    fn to<Part: 'static>(&self) -> Option<&Into<Part>> {
        let plain = self.plain.downcast_ref();
        plain.or_else(|| self.with_ttl.downcast_ref())
    }
}

type Resolve = fn(&SerializerSnapshot) -> Compatibility;
type MakeReader<T> =
    Box<dyn Fn(&SerializerSnapshot) -> std::result::Result<Reader<T>, Incompatibility>>;

/// A function to values of `New` from values of some old type.
struct Into<New> {
    /// For values as they are.
    plain: (Resolve, MakeReader<New>),
    /// For values behind a bool that says whether they are null.
    nullable: (Resolve, MakeReader<New>),
}

impl<New: FlinkType> Into<New> {
    fn new<Old: FlinkType>(function: impl Fn(Old) -> New + Send + Sync + 'static) -> Self {
        let function = Arc::new(function);
        let mapped = |read: fn(
            &SerializerSnapshot,
        ) -> std::result::Result<Reader<Old>, Incompatibility>|
         -> MakeReader<New> {
            let function = Arc::clone(&function);
            Box::new(move |previous| {
                let function = Arc::clone(&function);
                Ok(read(previous)?.map(move |old| function(old)))
            })
        };
        Into {
            plain: (Old::resolve, mapped(Old::reader)),
            nullable: (
                resolve_nullable::<Old>,
                mapped(|previous| nullable::reader(previous, MAP_VALUE)),
            ),
        }
    }
}

impl Migrations {
    /// Adds a function for the values of a state: of a map its user values, of a list its elements.
    pub(crate) fn add<Old: FlinkType, New: FlinkType>(
        &self,
        state: &str,
        function: impl Fn(Old) -> New + Send + Sync + 'static,
    ) {
        let function = Arc::new(function);
        let of_value = Arc::clone(&function);
        let with_ttl = move |old: TtlValue<Old>| TtlValue {
            last_access: old.last_access,
            value: of_value(old.value),
        };
        let migration = Migration {
            plain: Box::new(Into::new(move |old: Old| function(old))),
            with_ttl: Box::new(Into::new(with_ttl)),
        };
        let migrations = self.of(state);
        migrations.functions.borrow_mut().push(migration);
    }

    /// The migrations of a state.
    pub(crate) fn of(&self, state: &str) -> Rc<StateMigrations> {
        let mut by_state = self.by_state.borrow_mut();
        let migrations = by_state.entry(state.to_owned()).or_insert_with(|| {
            Rc::new(StateMigrations {
                state: state.to_owned(),
                functions: RefCell::default(),
            })
        });
        Rc::clone(migrations)
    }
}

const MAP_VALUE: &str = "a value of a map";

fn resolve_nullable<T: FlinkType>(previous: &SerializerSnapshot) -> Compatibility {
    match T::NULLABLE {
        true => T::resolve(&SerializerSnapshot::nullable(previous.clone())),
        false => T::resolve(previous),
    }
}

/// The serializer of values whose times of last use are to be dropped; `None` if there are none,
/// or if they are kept.
fn untimed<New: FlinkType>(
    previous: &SerializerSnapshot,
) -> Option<std::result::Result<&SerializerSnapshot, Incompatibility>> {
    let drops = previous.is_ttl() && !New::serializer_snapshot().is_ttl();
    drops.then(|| previous.part(1))
}

impl StateMigrations {
    /// Checks that all functions make values of type `New`, which the state has.
    pub(crate) fn check<New: FlinkType>(&self) -> Result<()> {
        let functions = self.functions.borrow();
        if functions
            .iter()
            .all(|function| function.to::<New>().is_some())
        {
            return Ok(());
        }
        let what = format!(
            "a migration of state \"{}\" to another type than {}, which the state has",
            self.state,
            New::serializer_snapshot().describe()
        );
        Err(Error::new(ErrorKind::Unsupported { what }))
    }

    /// Returns what reads values that `previous` describes.
    pub(crate) fn reader<New: FlinkType>(
        &self,
        previous: &SerializerSnapshot,
    ) -> std::result::Result<Reader<New>, Incompatibility> {
        if let Some(value) = untimed::<New>(previous) {
            return Ok(self.reader(value?)?.behind_time());
        }
        self.choose(previous, New::resolve, New::reader, |migration| {
            &migration.plain
        })
    }

    /// Returns what reads a bool isNull and then values that `previous` describes; `None` if they
    /// are as `New` writes them.
    pub(crate) fn nullable_reader<New: FlinkType>(
        &self,
        previous: &SerializerSnapshot,
    ) -> std::result::Result<Option<Reader<New>>, Incompatibility> {
        if let Some(value) = untimed::<New>(previous) {
            let timed = self.reader::<New>(value?)?.behind_time();
            return Ok(Some(Reader::converting(move |input| {
                nullable::refuse_null(input, MAP_VALUE)?;
                timed.read(input)
            })));
        }
        if resolve_nullable::<New>(previous) == Compatibility::AsIs {
            return Ok(None);
        }
        let own = |previous: &SerializerSnapshot| nullable::reader(previous, MAP_VALUE);
        self.choose(previous, resolve_nullable::<New>, own, |migration| {
            &migration.nullable
        })
        .map(Some)
    }

    fn choose<New: FlinkType>(
        &self,
        previous: &SerializerSnapshot,
        resolve: Resolve,
        own: impl Fn(&SerializerSnapshot) -> std::result::Result<Reader<New>, Incompatibility>,
        form: fn(&Into<New>) -> &(Resolve, MakeReader<New>),
    ) -> std::result::Result<Reader<New>, Incompatibility> {
        let answer = resolve(previous);
        if answer == Compatibility::AsIs {
            return own(previous);
        }
        let functions = self.functions.borrow();
        let functions = functions
            .iter()
            .filter_map(|function| function.to::<New>())
            .map(form);
        for (resolve, reader) in functions.clone() {
            if matches!(
                resolve(previous),
                Compatibility::AsIs | Compatibility::Reconfigured
            ) {
                return reader(previous);
            }
        }
        own(previous).or_else(|why| {
            let mut readers = functions.map(|(_, reader)| reader(previous));
            readers.find_map(std::result::Result::ok).ok_or(why)
        })
    }
}
