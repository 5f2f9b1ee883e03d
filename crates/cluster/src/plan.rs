//! Planning a restore: does the reading and asking that [`StatePlan`] needs.

use std::sync::Arc;

use millpond_checkpoint::plan::{DescribedOperator, PlanInput, PlanOptions, StatePlan};
use millpond_operator::{OpenContext, SubtaskInfo};
use millpond_runtime::{Program, contain};
use millpond_snapshot::{Error, LoadedSnapshot};
use millpond_state::StateDescription;
use millpond_types::{Clock, JobId, SystemClock};

use crate::options::RestoreOptions;
use crate::pointer;
use crate::storage::Storage;

/// Whether entries are counted where the snapshot does not say how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Only of operators whose state would be left behind.
    WhereItMatters,
    /// Of all operators: reads all keyed state.
    Everywhere,
}

/// Plans the restore of a snapshot into a program, without running it.
///
/// # Errors
///
/// The snapshot cannot be loaded, or its headers cannot be read.
pub fn plan_restore(
    program: &Program,
    restore: Option<&RestoreOptions>,
    count: Count,
) -> Result<StatePlan, String> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let described = describe(program, JobId([0; 16]), false, &clock);
    let Some(restore) = restore else {
        return Ok(StatePlan::new(PlanInput {
            pointer: "",
            snapshot: None,
            graph: &program.graph,
            program: &described,
            options: PlanOptions::default(),
        }));
    };
    let snapshot =
        pointer::load(&Storage::default(), &restore.path).map_err(|error| error.message)?;
    plan_states(
        program,
        &described,
        &restore.path,
        &snapshot,
        restore.plan_options(),
        count,
    )
    .map_err(|error| error.to_string())
}

/// Plans the restore of a snapshot that is loaded, into a program whose operators were asked.
pub(crate) fn plan_states(
    program: &Program,
    described: &[DescribedOperator],
    pointer: &str,
    snapshot: &LoadedSnapshot,
    options: PlanOptions,
    count: Count,
) -> Result<StatePlan, Error> {
    let mut inventory = snapshot.inventory()?;
    if count == Count::Everywhere {
        for operator in &mut inventory {
            if operator.states.iter().any(|state| state.entries.is_none()) {
                snapshot.count_entries(operator)?;
            }
        }
    }
    let plan = |inventory: &_| {
        StatePlan::new(PlanInput {
            pointer,
            snapshot: Some((&snapshot.metadata, inventory)),
            graph: &program.graph,
            program: described,
            options,
        })
    };
    let first = plan(&inventory);
    let uncounted = first.uncounted();
    if uncounted.is_empty() {
        return Ok(first);
    }
    // Whether there is anything in them decides whether they need a word of the user.
    for operator in inventory.iter_mut().filter(|o| uncounted.contains(&o.id)) {
        snapshot.count_entries(operator)?;
    }
    Ok(plan(&inventory))
}

/// Asks every operator which state it has.
///
/// Functions are opened for it, in this process, on state that is empty. What one of them fails or
/// panics with is its answer.
pub(crate) fn describe(
    program: &Program,
    job: JobId,
    checkpointing: bool,
    clock: &Arc<dyn Clock>,
) -> Vec<DescribedOperator> {
    let mut described = Vec::new();
    for vertex in &program.graph.vertices {
        for operator in &vertex.operators {
            let node = &program.nodes[operator.node.0 as usize];
            let info = SubtaskInfo {
                job,
                attempt: 0,
                operator: operator.id,
                name: operator.name.clone(),
                subtask: 0,
                parallelism: vertex.parallelism,
                max_parallelism: vertex.max_parallelism,
                checkpointing,
                describing: true,
            };
            let context = OpenContext::to_describe(info, Arc::clone(clock));
            let asked = contain(|| (node.operator)().describe(context));
            let states: Result<StateDescription, String> = match asked {
                Ok(Ok(states)) => Ok(states),
                Ok(Err(error)) => Err(error.chain()),
                Err(panic) => Err(panic),
            };
            described.push(DescribedOperator {
                id: operator.id,
                has_coordinator: node.coordinator.is_some(),
                states,
            });
        }
    }
    described
}
