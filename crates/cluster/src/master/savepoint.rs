//! Savepoints that somebody asks for.

use millpond_checkpoint::Event;
use millpond_job::dispatcher::{Operation, OperationFailure, SavepointRequest};
use millpond_snapshot::savepoint_directory;
use millpond_types::TriggerId;

use super::Master;

impl Master {
    pub(super) fn on_savepoint(&mut self, trigger: TriggerId, request: SavepointRequest) {
        if self.coordinator.savepoint_status(trigger).is_some() {
            return;
        }
        let directory = match self.directory_of_savepoint(request.target_directory) {
            Ok(directory) => directory,
            Err(why) => return self.refuse_savepoint(trigger, why),
        };
        self.tell(Event::TriggerSavepoint {
            trigger,
            directory,
            then: request.then,
            format: request.format,
        });
    }

    /// A new directory for a savepoint, in `target` or where the job's savepoints go.
    pub(super) fn directory_of_savepoint(&self, target: Option<String>) -> Result<String, String> {
        let target = target
            .or_else(|| self.options.savepoint_directory.clone())
            .ok_or("no target directory")?;
        let target = millpond_fs::Location::parse(&target).map_err(|error| error.to_string())?;
        let directory = savepoint_directory(&target, self.options.job, crate::random::bytes());
        Ok(directory.to_string())
    }

    fn refuse_savepoint(&mut self, trigger: TriggerId, message: String) {
        let class = "org.apache.flink.util.FlinkException".to_owned();
        let failure = OperationFailure { class, message };
        self.view
            .lock()
            .savepoints
            .insert(trigger, Operation::Completed(Err(failure)));
    }
}
