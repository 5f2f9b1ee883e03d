//! The environment: configuration, sources, and the start of the job.

use std::cell::{Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use millpond_job::NodeKind;
use millpond_operator::functions::FunctionOpenContext;
use millpond_operator::source::{
    Source, SourceFunction, SourceFunctionOperator, SourceReaderOperator, source_coordinator,
};
use millpond_operator::{Data, OperatorFactory, Result as FunctionResult};
use millpond_state::store::StateBackend;
use millpond_types::config::{Configuration, SchedulerMode, options};

use crate::error::{Error, Result};
use crate::execute::{self, JobResult};
use crate::job_client::JobClient;
use crate::plan::{NewNode, Plan};
use crate::service;
use crate::state_backends::StateBackends;
use crate::stream::DataStream;

/// The most subtasks of an operator in reactive mode, unless a maximum parallelism is set.
const REACTIVE_PARALLELISM: u32 = 128;

/// Where a program builds its job.
///
/// Configuration, weakest first: `config.yaml`, what `millpond run` hands over, `-D key=value` among
/// the arguments, what the program sets.
#[derive(Clone)]
pub struct Environment {
    inner: Rc<Inner>,
}

struct Inner {
    configuration: RefCell<Configuration>,
    arguments: Vec<String>,
    plan: Plan,
    state_backends: RefCell<StateBackends>,
}

impl Environment {
    /// An environment from `config.yaml`, the environment and the program's arguments.
    ///
    /// `-D key=value` (or `-Dkey=value`) is taken out of the arguments; all others are left to the
    /// program in [`Environment::args`].
    ///
    /// # Errors
    ///
    /// An option's value is not one; an unreadable file.
    pub fn from_args() -> Result<Self> {
        let mut configuration = service::configuration()?;
        let bad = |error| Error::caused_by("the configuration is not usable", error);
        let mut arguments = Vec::new();
        let mut all = std::env::args().skip(1);
        while let Some(argument) = all.next() {
            match argument.strip_prefix("-D") {
                Some("") => {
                    let option = all.next().ok_or_else(|| {
                        Error::new("-D is the last argument, expected key=value behind it")
                    })?;
                    configuration.parse_dynamic(&option).map_err(bad)?;
                }
                Some(option) => configuration.parse_dynamic(option).map_err(bad)?,
                None => arguments.push(argument),
            }
        }
        Environment::with_arguments(configuration, arguments)
    }

    /// An environment with just this configuration, for tests and embedding.
    ///
    /// # Errors
    ///
    /// An option's value is not one.
    pub fn from_configuration(configuration: Configuration) -> Result<Self> {
        Environment::with_arguments(configuration, Vec::new())
    }

    fn with_arguments(configuration: Configuration, arguments: Vec<String>) -> Result<Self> {
        configuration
            .check()
            .map_err(|error| Error::caused_by("the configuration is not usable", error))?;
        let configuration = RefCell::new(configuration);
        Ok(Environment {
            inner: Rc::new(Inner {
                configuration,
                arguments,
                plan: Plan::default(),
                state_backends: RefCell::new(StateBackends::built_in()),
            }),
        })
    }

    /// The program's own arguments, without its name and without `-D` options.
    pub fn args(&self) -> &[String] {
        &self.inner.arguments
    }

    /// A copy of the configuration.
    pub fn configuration(&self) -> Configuration {
        self.inner.configuration.borrow().clone()
    }

    /// Sets an option, over everything else.
    pub fn set(&self, key: &str, value: &str) -> &Self {
        let stronger = Configuration::from_pairs([(key, value)]);
        self.inner
            .configuration
            .borrow_mut()
            .override_with(stronger);
        self
    }

    /// Sets the number of subtasks of the operators made from now on.
    pub fn set_parallelism(&self, parallelism: u32) -> &Self {
        self.set(options::PARALLELISM.key(), &parallelism.to_string())
    }

    /// Sets the number of key groups of the operators made from now on.
    pub fn set_max_parallelism(&self, max_parallelism: u32) -> &Self {
        self.set(options::MAX_PARALLELISM.key(), &max_parallelism.to_string())
    }

    /// Adds a state backend, which `state.backend.type` then chooses by its name.
    ///
    /// The heap, `hashmap`, needs not be added. `docs/backends.md` shows how one is made.
    pub fn add_state_backend(&self, backend: impl StateBackend + 'static) -> &Self {
        self.inner
            .state_backends
            .borrow_mut()
            .add(Arc::new(backend));
        self
    }

    pub(crate) fn state_backends(&self) -> Ref<'_, StateBackends> {
        self.inner.state_backends.borrow()
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.inner.plan
    }

    /// Of operators that are given none.
    pub(crate) fn parallelism(&self) -> u32 {
        match self.is_reactive() {
            // As many as there may ever be: how many there are is decided by the slots.
            true => self.max_parallelism().unwrap_or(REACTIVE_PARALLELISM),
            false => {
                let configuration = self.inner.configuration.borrow();
                configuration.get(&options::PARALLELISM).unwrap_or(1)
            }
        }
    }

    /// Whether the job uses all slots that there are.
    pub(crate) fn is_reactive(&self) -> bool {
        let configuration = self.inner.configuration.borrow();
        let mode = configuration.get(&options::SCHEDULER_MODE);
        mode == Ok(Some(SchedulerMode::Reactive))
    }

    pub(crate) fn max_parallelism(&self) -> Option<u32> {
        let max = self
            .inner
            .configuration
            .borrow()
            .get(&options::MAX_PARALLELISM)
            .unwrap_or(-1);
        u32::try_from(max).ok().filter(|max| *max > 0)
    }

    pub(crate) fn auto_watermark_interval(&self) -> Duration {
        let interval = self
            .inner
            .configuration
            .borrow()
            .get(&options::AUTO_WATERMARK_INTERVAL);
        interval.unwrap_or(Duration::from_millis(200))
    }

    /// A stream of the records of a source.
    pub fn from_source<S: Source>(&self, source: S, name: &str) -> DataStream<S::Record> {
        let source = Arc::new(source);
        let of_coordinator = Arc::clone(&source);
        let operator: OperatorFactory =
            Arc::new(move || Box::new(SourceReaderOperator::new(Arc::clone(&source))));
        let new = NewNode {
            name: format!("Source: {name}"),
            kind: NodeKind::Source,
            parallelism: self.parallelism(),
            operator,
            coordinator: Some(Arc::new(move || {
                source_coordinator(Arc::clone(&of_coordinator))
            })),
        };
        self.source_node(new)
    }

    /// A stream of the records of a source with state of its own; `open` makes it, once per
    /// subtask.
    pub fn add_source<F: SourceFunction>(
        &self,
        name: &str,
        open: impl Fn(&mut FunctionOpenContext<'_>) -> FunctionResult<F> + Send + Sync + 'static,
    ) -> DataStream<F::Out> {
        let open = Arc::new(open);
        let operator: OperatorFactory =
            Arc::new(move || Box::new(SourceFunctionOperator::new(Arc::clone(&open))));
        self.source_node(NewNode {
            name: format!("Source: {name}"),
            kind: NodeKind::Source,
            parallelism: self.parallelism(),
            operator,
            coordinator: None,
        })
    }

    fn source_node<T: Data>(&self, new: NewNode) -> DataStream<T> {
        let node = self
            .plan()
            .borrow_mut()
            .add(new, self.max_parallelism(), Vec::new());
        DataStream::of_node(self.clone(), node, None)
    }

    /// Runs the job that was built, until it ends.
    ///
    /// In a process that a job master has started this runs as a worker and never returns.
    ///
    /// # Errors
    ///
    /// The job cannot be built or started, or has failed.
    pub fn execute(&self, name: &str) -> Result<JobResult> {
        self.execute_async(name)?.wait()
    }

    /// Starts the job that was built.
    ///
    /// In a process that a job master has started this runs as a worker and never returns.
    ///
    /// # Errors
    ///
    /// The job cannot be built or started.
    pub fn execute_async(&self, name: &str) -> Result<JobClient> {
        execute::execute_async(self, name)
    }
}
