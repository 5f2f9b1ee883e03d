//! Names: which table a user means.
//!
//! ```text
//! "counter"."count"     schema: an operator by its uid, id or name; table: one of its states
//! "counter".timers      the timers of an operator
//! count                 a state that only one operator has
//! states                a table of the metadata: it comes before a state of that name
//! ```
//!
//! Upper and lower case are told apart only where both are there. What an operator has is looked
//! up when it is asked for.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::TableType;
use millpond_state_processor::{KeyedState, OpenSnapshot, Operator, Progress, StateType};
use millpond_types::OperatorId;

use crate::Error;
use crate::keyed_provider::KeyedProvider;
use crate::keyed_scan::KeyedTable;
use crate::metadata_tables::{self, MetadataTables};
use crate::operator_table;

/// The schema of the metadata, in which names without a schema are looked for.
pub(crate) const METADATA_SCHEMA: &str = "metadata";
/// The name of the table of an operator's timers.
const TIMERS: &str = "timers";

/// All that is in a snapshot.
#[derive(Debug)]
pub(crate) struct SnapshotCatalog {
    operators: Vec<Arc<OperatorSchema>>,
    metadata: Arc<MetadataSchema>,
    snapshot: Arc<OpenSnapshot>,
}

/// The tables of an operator.
#[derive(Debug)]
pub(crate) struct OperatorSchema {
    name: String,
    id: OperatorId,
    snapshot: Arc<OpenSnapshot>,
    progress: Arc<Progress>,
    /// Looked up once.
    tables: Mutex<Option<Arc<Vec<StateTable>>>>,
}

/// A table, and what it shows.
#[derive(Clone, Debug)]
pub(crate) struct StateTable {
    pub(crate) name: String,
    pub(crate) shows: Shows,
}

/// What a table shows.
#[derive(Clone, Debug)]
pub(crate) enum Shows {
    Keyed(Box<KeyedState>),
    Timers(Vec<KeyedState>),
    /// An operator state, by its name.
    OperatorState(String),
}

/// The tables of the metadata, and states by their bare names.
#[derive(Debug)]
struct MetadataSchema {
    tables: MetadataTables,
    operators: Vec<Arc<OperatorSchema>>,
}

impl SnapshotCatalog {
    pub(crate) fn new(tables: MetadataTables, progress: &Arc<Progress>) -> Self {
        let snapshot = tables.snapshot.clone();
        let mut operators: Vec<Arc<OperatorSchema>> = Vec::new();
        for operator in snapshot.operators().filter(|operator| !operator.is_empty()) {
            let id = operator.id();
            let called = operator.uid().or(operator.name()).map(str::to_owned);
            let is_free = |name: &String| {
                name != METADATA_SCHEMA && operators.iter().all(|known| known.name != *name)
            };
            operators.push(Arc::new(OperatorSchema {
                name: called.filter(is_free).unwrap_or_else(|| id.to_string()),
                id,
                snapshot: snapshot.clone(),
                progress: progress.clone(),
                tables: Mutex::new(None),
            }));
        }
        SnapshotCatalog {
            metadata: Arc::new(MetadataSchema {
                tables,
                operators: operators.clone(),
            }),
            operators,
            snapshot,
        }
    }

    /// The operators with state.
    pub(crate) fn operators(&self) -> &[Arc<OperatorSchema>] {
        &self.operators
    }

    /// Finds an operator by its uid (which need not stand in the snapshot), id or name.
    fn operator(&self, meant: &str) -> Option<&Arc<OperatorSchema>> {
        let named = find(&self.operators, meant, |operator| &operator.name);
        named.or_else(|| {
            let id = self.snapshot.find_operator(meant).ok()?.id();
            self.operators.iter().find(|operator| operator.id == id)
        })
    }
}

/// Finds what has a name, in any case if there is just one.
fn find<'a, T>(all: &'a [T], meant: &str, name: impl Fn(&T) -> &String) -> Option<&'a T> {
    let exact = all.iter().find(|one| name(one) == meant);
    exact.or_else(|| {
        let mut others = all
            .iter()
            .filter(|one| name(one).eq_ignore_ascii_case(meant));
        others.next().filter(|_| others.next().is_none())
    })
}

impl CatalogProvider for SnapshotCatalog {
    fn schema_names(&self) -> Vec<String> {
        let names = self.operators.iter().map(|operator| operator.name.clone());
        names.chain([METADATA_SCHEMA.to_owned()]).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if name == METADATA_SCHEMA {
            return Some(self.metadata.clone());
        }
        let found = self.operator(name)?.clone();
        Some(found)
    }
}

impl OperatorSchema {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn id(&self) -> OperatorId {
        self.id
    }

    fn operator(&self) -> Result<Operator<'_>, Error> {
        let mut operators = self.snapshot.operators();
        operators
            .find(|operator| operator.id() == self.id)
            .ok_or_else(|| Error::failed(format!("operator {} is gone", self.id)))
    }

    /// The tables, by the headers of the state files.
    pub(crate) fn tables(&self) -> Result<Arc<Vec<StateTable>>, Error> {
        let known = || self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tables) = &*known() {
            return Ok(tables.clone());
        }
        let tables = Arc::new(tables_of(self.operator()?)?);
        *known() = Some(tables.clone());
        Ok(tables)
    }

    pub(crate) fn keyed_table(&self, shows: &Shows) -> Option<KeyedTable> {
        let (snapshot, progress) = (&self.snapshot, &self.progress);
        match shows {
            Shows::Keyed(state) => Some(KeyedTable::of_state(snapshot, self.id, state, progress)),
            Shows::Timers(queues) => Some(KeyedTable::of_timers(
                snapshot,
                self.id,
                queues.clone(),
                progress,
            )),
            Shows::OperatorState(_) => None,
        }
    }

    /// Makes the table that shows something.
    pub(crate) fn provider(&self, shows: &Shows) -> Result<Arc<dyn TableProvider>> {
        if let Some(table) = self.keyed_table(shows) {
            return Ok(Arc::new(KeyedProvider(Arc::new(table))));
        }
        let states = self.operator()?.operator_states().map_err(Error::from)?;
        let is_it = |name: &str| matches!(shows, Shows::OperatorState(known) if known == name);
        match states.iter().find(|state| is_it(&state.name)) {
            Some(state) => operator_table::table(state),
            None => Err(Error::failed("an operator state that is gone").into()),
        }
    }
}

fn tables_of(operator: Operator<'_>) -> Result<Vec<StateTable>, Error> {
    let mut tables: Vec<StateTable> = Vec::new();
    let mut add = |name: &str, shows: Shows| {
        let mut name = name.to_owned();
        // Keyed and operator state may have the same name.
        while tables.iter().any(|table| table.name == name) {
            name.push('_');
        }
        tables.push(StateTable { name, shows });
    };
    let (timers, keyed): (Vec<_>, Vec<_>) = operator
        .keyed_states()?
        .into_iter()
        .partition(|state| state.kind == StateType::Timers);
    for state in keyed {
        add(&state.name.clone(), Shows::Keyed(Box::new(state)));
    }
    let mut names: Vec<&str> = Vec::new();
    for (_, subtask) in &operator.metadata().subtasks {
        let handle = subtask.managed_operator.iter();
        for state in handle.flat_map(|handle| &handle.states) {
            if !names.contains(&state.name.as_str()) {
                names.push(&state.name);
            }
        }
    }
    for name in names {
        add(name, Shows::OperatorState(name.to_owned()));
    }
    if !timers.is_empty() {
        add(TIMERS, Shows::Timers(timers));
    }
    Ok(tables)
}

/// What stands in lists in place of tables that could not be looked up: asking for it says why.
const UNKNOWN: &str = "?";

#[async_trait]
impl SchemaProvider for OperatorSchema {
    fn table_names(&self) -> Vec<String> {
        match self.tables() {
            Ok(tables) => tables.iter().map(|table| table.name.clone()).collect(),
            Err(_) => vec![UNKNOWN.to_owned()],
        }
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let tables = self.tables()?;
        match find(&tables, name, |table| &table.name) {
            Some(table) => Ok(Some(self.provider(&table.shows)?)),
            None => Ok(None),
        }
    }

    async fn table_type(&self, _: &str) -> Result<Option<TableType>> {
        self.tables()?;
        Ok(Some(TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables()
            .is_ok_and(|tables| find(&tables, name, |table| &table.name).is_some())
    }
}

impl MetadataSchema {
    /// The operators and tables of all states of a name.
    fn states(&self, name: &str) -> Result<Vec<(&OperatorSchema, StateTable)>, Error> {
        let mut found = Vec::new();
        for operator in &self.operators {
            let tables = operator.tables()?;
            let table = find(&tables, name, |table| &table.name);
            found.extend(table.map(|table| (&**operator, table.clone())));
        }
        Ok(found)
    }
}

#[async_trait]
impl SchemaProvider for MetadataSchema {
    fn table_names(&self) -> Vec<String> {
        metadata_tables::NAMES.map(str::to_owned).to_vec()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        if let Some(table) = self.tables.table(name)? {
            return Ok(Some(table));
        }
        let mut states = self.states(name)?;
        match states.pop() {
            None => Ok(None),
            Some((operator, table)) if states.is_empty() => {
                Ok(Some(operator.provider(&table.shows)?))
            }
            Some(last) => {
                states.push(last);
                let names = states
                    .iter()
                    .map(|(operator, table)| format!("\"{}\".\"{}\"", operator.name, table.name));
                let names: Vec<String> = names.collect();
                let reason = format!("several operators have a table \"{name}\": say which, ");
                Err(Error::query(reason + &names.join(" or ")).into())
            }
        }
    }

    async fn table_type(&self, _: &str) -> Result<Option<TableType>> {
        Ok(Some(TableType::View))
    }

    fn table_exist(&self, name: &str) -> bool {
        metadata_tables::NAMES.contains(&name)
            || self.states(name).is_ok_and(|states| !states.is_empty())
    }
}
