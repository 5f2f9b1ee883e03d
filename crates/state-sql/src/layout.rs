//! The columns of a table, and which part of a row each one shows.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use millpond_serializer::{Shape, ValueCodec};
use millpond_state_processor::{EntryCodec, KeyedState, Parts, StateType};

use crate::column::data_type;

/// What a column shows of a row of keyed state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Key,
    Namespace,
    KeyGroup,
    /// The user key of a map.
    MapKey,
    /// The place of an element in its list, from 0.
    Position,
    Value,
    /// When a value with time-to-live was used last, in milliseconds.
    LastAccess,
    /// When a timer fires, in milliseconds.
    Timestamp,
    /// "event" or "processing".
    Domain,
    /// Who registered a timer: "user-timers".
    Service,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LayoutColumn {
    pub(crate) role: Role,
    pub(crate) shape: Shape,
}

/// The columns of a table of keyed state, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) columns: Vec<LayoutColumn>,
    /// Whether a row is an element of a list.
    pub(crate) by_element: bool,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Key => "key",
            Role::Namespace => "namespace",
            Role::KeyGroup => "key_group",
            Role::MapKey => "map_key",
            Role::Position => "position",
            Role::Value => "value",
            Role::LastAccess => "last_access",
            Role::Timestamp => "timestamp",
            Role::Domain => "domain",
            Role::Service => "service",
        }
    }

    /// How much of an entry must be decoded for it.
    fn parts(self) -> Parts {
        match self {
            Role::KeyGroup | Role::Domain | Role::Service => Parts::KeyGroup,
            Role::Key | Role::Namespace | Role::MapKey | Role::Timestamp => Parts::Key,
            Role::Position | Role::Value | Role::LastAccess => Parts::All,
        }
    }
}

impl Layout {
    /// The columns of a state; of timers those of one queue.
    pub(crate) fn of_state(state: &KeyedState) -> Self {
        let codec = EntryCodec::new(state.clone());
        let mut columns = Vec::new();
        let mut column = |role, shape| columns.push(LayoutColumn { role, shape });
        column(Role::Key, codec.key().shape());
        if !codec.has_void_namespace() {
            column(Role::Namespace, codec.namespace().shape());
        }
        column(Role::KeyGroup, Shape::Int);
        match state.kind {
            StateType::Timers => {
                column(Role::Timestamp, Shape::Long);
                column(Role::Domain, Shape::Text);
                column(Role::Service, Shape::Text);
            }
            StateType::Map => {
                let user_key = codec.user_key().map_or(Shape::Any, ValueCodec::shape);
                column(Role::MapKey, user_key);
                column(Role::Value, codec.value().shape());
            }
            StateType::List => {
                column(Role::Position, Shape::Long);
                column(Role::Value, codec.value().shape());
            }
            StateType::Value
            | StateType::Reducing
            | StateType::Aggregating
            | StateType::Folding => column(Role::Value, codec.value().shape()),
        }
        if state.has_ttl() {
            column(Role::LastAccess, Shape::Long);
        }
        Layout {
            columns,
            by_element: state.kind == StateType::List,
        }
    }

    /// The columns of all timers of an operator: namespaces of several types are shown as JSON.
    pub(crate) fn of_timers(queues: &[KeyedState]) -> Self {
        let mut all = queues.iter().map(Layout::of_state);
        let mut common = all.next().unwrap_or(Layout {
            columns: Vec::new(),
            by_element: false,
        });
        for other in all {
            for column in other.columns {
                let same_role = |known: &&mut LayoutColumn| known.role == column.role;
                match common.columns.iter_mut().find(same_role) {
                    Some(known) if known.shape == column.shape => {}
                    Some(known) => known.shape = Shape::Any,
                    // A namespace stands behind the key.
                    None => common.columns.insert(1, column),
                }
            }
        }
        common
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        let fields = self.columns.iter().map(|column| {
            // Only these are always there.
            let is_nullable = !matches!(
                column.role,
                Role::KeyGroup | Role::Timestamp | Role::Domain | Role::Service
            );
            Field::new(column.role.name(), data_type(&column.shape), is_nullable)
        });
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// How much of an entry must be decoded for some of the columns.
    pub(crate) fn parts(&self, projection: &[usize]) -> Parts {
        if self.by_element {
            return Parts::All;
        }
        let parts = projection
            .iter()
            .map(|index| self.columns[*index].role.parts());
        parts.max().unwrap_or(Parts::KeyGroup)
    }
}
