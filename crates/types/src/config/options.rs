//! Every option that Millpond reads.
//!
//! Names, older names and defaults are those of Flink 2.3.0 unless the text says otherwise.

use std::collections::BTreeMap;
use std::time::Duration;

use super::option::{ConfigOption, OptionInfo};
use super::{
    CheckpointStorage, CheckpointingMode, ClaimMode, CompactionStyle, CompressionPerLevel,
    ExternalizedCheckpointRetention, HighAvailability, MemorySize, PortRange, PredefinedOptions,
    RestartStrategyType, Scheduler, SchedulerMode, StateBackendType,
};

/// Makes one constant per option and the list of all; a macro, because a function cannot see to it
/// that no option is left out of the list.
macro_rules! options {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty =
        $key:literal, [$($old:literal),*] $(, $default:literal)?;)*) => {
        $(
            $(#[doc = $doc])+
            pub const $name: ConfigOption<$type> = ConfigOption::new(
                $key,
                &[$($old),*],
                options!(@default $($default)?),
                concat!($($doc),+),
            );
        )*

        /// Every option.
        pub const ALL: &[OptionInfo] = &[$(*$name.info()),*];
    };
    (@default) => { None };
    (@default $default:literal) => { Some($default) };
}

options! {
    /// Time between the triggers of checkpoints; not set: no periodic checkpoints.
    CHECKPOINTING_INTERVAL: Option<Duration> = "execution.checkpointing.interval", [];
    /// Whether a record can be counted twice after a failure: EXACTLY_ONCE or AT_LEAST_ONCE.
    CHECKPOINTING_MODE: CheckpointingMode = "execution.checkpointing.mode", [], "EXACTLY_ONCE";
    /// Time after which a checkpoint that is not complete is given up.
    CHECKPOINTING_TIMEOUT: Duration = "execution.checkpointing.timeout", [], "10 min";
    /// Time between the end of a checkpoint and the begin of the next.
    CHECKPOINTING_MIN_PAUSE: Duration = "execution.checkpointing.min-pause", [], "0 ms";
    /// How many checkpoints may be under way at once.
    MAX_CONCURRENT_CHECKPOINTS: u32 =
        "execution.checkpointing.max-concurrent-checkpoints", [], "1";
    /// How many checkpoints may fail in a row before the job is failed over.
    TOLERABLE_FAILED_CHECKPOINTS: u32 =
        "execution.checkpointing.tolerable-failed-checkpoints", [], "0";
    /// What becomes of checkpoints when the job ends. Not set: in Millpond a FAILED job keeps its
    /// newest ones, a cancelled or finished one deletes them.
    EXTERNALIZED_CHECKPOINT_RETENTION: Option<ExternalizedCheckpointRetention> =
        "execution.checkpointing.externalized-checkpoint-retention", [];
    /// Where completed checkpoints go: jobmanager or filesystem. Not set: the file system.
    CHECKPOINT_STORAGE: Option<CheckpointStorage> =
        "execution.checkpointing.storage", ["state.checkpoint-storage"];
    /// The directory below which checkpoints go.
    CHECKPOINTS_DIRECTORY: Option<String> = "execution.checkpointing.dir",
        ["state.checkpoints.dir", "state.backend.fs.checkpointdir"];
    /// Whether checkpoints go into a directory named after the job's id.
    CHECKPOINTS_CREATE_SUBDIRECTORY: bool =
        "execution.checkpointing.create-subdir", ["state.checkpoints.create-subdir"], "true";
    /// The directory below which savepoints go when none is given.
    SAVEPOINT_DIRECTORY: Option<String> = "execution.checkpointing.savepoint-dir",
        ["state.savepoints.dir", "savepoints.state.backend.fs.dir"];
    /// How many completed checkpoints are kept.
    NUM_RETAINED: u32 =
        "execution.checkpointing.num-retained", ["state.checkpoints.num-retained"], "1";
    /// Where the savepoints of old Flink went that named no directory: filesystem, or jobmanager, its
    /// memory, which is lost at its end. Deprecated; not set: the file system.
    SAVEPOINT_STORE: Option<CheckpointStorage> = "savepoints.state.backend", [];
    /// Time between savepoints that are taken by the clock; not set: none are. Millpond's own.
    SAVEPOINT_INTERVAL: Option<Duration> = "execution.savepoint.periodic.interval", [];
    /// How many savepoints that were taken by the clock are kept. Millpond's own.
    SAVEPOINT_HISTORY_MAX_COUNT: u32 = "execution.savepoint.history.max-count", [], "10";
    /// Time after which a savepoint that was taken by the clock is deleted, if it is not the newest
    /// one. Millpond's own.
    SAVEPOINT_HISTORY_MAX_AGE: Duration = "execution.savepoint.history.max-age", [], "24 h";
    /// Whether a checkpoint may leave out what earlier ones hold.
    INCREMENTAL: bool = "execution.checkpointing.incremental", ["state.backend.incremental"], "false";
    /// State of at most this size goes into `_metadata` itself; at most 1 mb.
    DATA_INLINE_THRESHOLD: MemorySize = "execution.checkpointing.data-inline-threshold",
        ["state.storage.fs.memory-threshold", "state.backend.fs.memory-threshold"], "20 kb";
    /// Whether small state files of a checkpoint are merged into few files.
    FILE_MERGING_ENABLED: bool = "execution.checkpointing.file-merging.enabled", [], "false";
    /// Whether a merged file may hold states of several checkpoints. Of no effect: each is closed with
    /// its checkpoint.
    FILE_MERGING_ACROSS_BOUNDARY: bool =
        "execution.checkpointing.file-merging.across-checkpoint-boundary", [], "false";
    /// The size that no merged file exceeds. A state of more than a quarter of it, or of 8 mb, stays a
    /// file of its own.
    FILE_MERGING_MAX_FILE_SIZE: MemorySize =
        "execution.checkpointing.file-merging.max-file-size", [], "32 mb";
    /// Whether a subtask waits for a file that another one writes to. Of no effect: it always does, and
    /// no longer than appending takes.
    FILE_MERGING_POOL_BLOCKING: bool =
        "execution.checkpointing.file-merging.pool-blocking", [], "false";
    /// How many subtasks of one process have their state in one merged file, at least 1.
    FILE_MERGING_MAX_SUBTASKS: u32 =
        "execution.checkpointing.file-merging.max-subtasks-per-file", [], "4";
    /// How many bytes a merged file that checkpoints share may have for each byte of it that the newest
    /// one needs; with more, the next checkpoint does without it. Below 1 there is no limit.
    FILE_MERGING_MAX_SPACE_AMPLIFICATION: f64 =
        "execution.checkpointing.file-merging.max-space-amplification", [], "2.0";
    /// Size of the buffer in front of a file of a checkpoint.
    WRITE_BUFFER_SIZE: MemorySize = "execution.checkpointing.write-buffer-size",
        ["state.storage.fs.write-buffer-size", "state.backend.fs.write-buffer-size"], "4096";
    /// Whether checkpoints overtake records that are in flight.
    UNALIGNED_ENABLED: bool =
        "execution.checkpointing.unaligned.enabled", ["execution.checkpointing.unaligned"], "false";
    /// Time after which an aligned checkpoint becomes an unaligned one.
    ALIGNED_CHECKPOINT_TIMEOUT: Duration = "execution.checkpointing.aligned-checkpoint-timeout",
        ["execution.checkpointing.alignment-timeout"], "0 ms";
    /// Whether checkpoints go on after some tasks have finished.
    CHECKPOINTS_AFTER_TASKS_FINISH: bool =
        "execution.checkpointing.checkpoints-after-tasks-finish",
        ["execution.checkpointing.checkpoints-after-tasks-finish.enabled"], "true";
    /// Whether checkpoints are also written to a local disk.
    LOCAL_BACKUP_ENABLED: bool = "execution.checkpointing.local-backup.enabled",
        ["execution.state-recovery.from-local", "state.backend.local-recovery"], "false";
    /// Directories for these copies, by comma or colon; not set: the first of `io.tmp.dirs`.
    LOCAL_BACKUP_DIRECTORIES: Option<String> = "execution.checkpointing.local-backup.dirs",
        ["taskmanager.state.local.root-dirs"];

    /// The savepoint or retained checkpoint to restore from.
    RECOVERY_PATH: Option<String> =
        "execution.state-recovery.path", ["execution.savepoint.path"];
    /// Whether state is left behind that the program does not claim: of an operator that it lacks,
    /// or of a name that no operator registers. The latter is carried on unread.
    IGNORE_UNCLAIMED_STATE: bool = "execution.state-recovery.ignore-unclaimed-state",
        ["execution.savepoint.ignore-unclaimed-state"], "false";
    /// Whether state of an operator of the program is carried on unread, as Flink does, if the
    /// operator registers no state of its name, rather than refused. Millpond's own.
    IGNORE_UNREGISTERED_STATE: bool =
        "execution.state-recovery.ignore-unregistered-state", [], "false";
    /// Who owns the snapshot that is restored: CLAIM, NO_CLAIM or LEGACY.
    CLAIM_MODE: ClaimMode = "execution.state-recovery.claim-mode",
        ["execution.savepoint-restore-mode"], "NO_CLAIM";
    /// Whether the job starts without state although a path is set, for example in config.yaml.
    /// Millpond's own.
    START_WITHOUT_STATE: bool = "execution.state-recovery.start-without-state", [], "false";
    /// Whether a recovery may use an older checkpoint than one whose transactions have been
    /// committed, so that its output appears twice. Millpond's own.
    ALLOW_FALLBACK_PAST_COMMITTED_TRANSACTIONS: bool =
        "execution.state-recovery.allow-fallback-past-committed-transactions", [], "false";
    /// Whether state is restored from a copy on a local disk.
    RECOVER_FROM_LOCAL: bool =
        "execution.state-recovery.from-local", ["state.backend.local-recovery"], "false";

    /// Where working state lives: hashmap, rocksdb where the program is built with it, or another
    /// backend that the program registers.
    STATE_BACKEND: StateBackendType = "state.backend.type", ["state.backend"], "hashmap";
    /// The most memory for decoded state above a state backend that is not the heap, for each subtask
    /// of a keyed operator. Not set: its share of all, or 64 mb where none is shared. Millpond's own.
    WRITE_BACK_CACHE_SIZE: Option<MemorySize> = "state.backend.write-back-cache.size", [];
    /// Which part of the memory of state backends the decoded state of all subtasks of a process may
    /// take. Millpond's own.
    WRITE_BACK_CACHE_FRACTION: f64 = "state.backend.write-back-cache.fraction", [], "0.5";
    /// Where state backends keep their files; of several directories the first is used. Not set:
    /// the directory for temporary files of the system.
    TMP_DIRS: Option<String> = "io.tmp.dirs", ["taskmanager.tmp.dirs"];
    /// How many bytes of the state of one operator subtask may change in memory while a snapshot
    /// of it is written. Beyond that the snapshot is declined. Millpond's own.
    HEAP_CHANGES_LIMIT: MemorySize = "state.backend.heap.snapshot-changes-limit", [], "1 gb";

    /// Memory of all state backends of a process that keep it off the heap; RocksDB's.
    MANAGED_MEMORY_SIZE: MemorySize = "taskmanager.memory.managed.size", [], "512 mb";
    /// Directories for the files of RocksDB, by comma or colon; not set: those for temporary files.
    ROCKSDB_LOCAL_DIRECTORIES: Option<String> = "state.backend.rocksdb.localdir", [];
    /// Whether all RocksDB instances share the managed memory.
    ROCKSDB_MEMORY_MANAGED: bool = "state.backend.rocksdb.memory.managed", [], "true";
    /// Memory that all RocksDB instances share, in place of the managed one.
    ROCKSDB_MEMORY_FIXED_PER_SLOT: Option<MemorySize> =
        "state.backend.rocksdb.memory.fixed-per-slot", [];
    /// The same for a whole process, where neither of the two is said.
    ROCKSDB_MEMORY_FIXED_PER_TM: Option<MemorySize> =
        "state.backend.rocksdb.memory.fixed-per-tm", [];
    /// Which part of the shared memory write buffers may take.
    ROCKSDB_WRITE_BUFFER_RATIO: f64 =
        "state.backend.rocksdb.memory.write-buffer-ratio", [], "0.5";
    /// Whether indexes and filters are cut into blocks, of which only those in use are in memory.
    ROCKSDB_PARTITIONED_INDEX_FILTERS: bool =
        "state.backend.rocksdb.memory.partitioned-index-filters", [], "false";
    /// Options for a kind of disk: DEFAULT, SPINNING_DISK_OPTIMIZED, SPINNING_DISK_OPTIMIZED_HIGH_MEM
    /// or FLASH_SSD_OPTIMIZED. What is set beside it wins.
    ROCKSDB_PREDEFINED_OPTIONS: PredefinedOptions =
        "state.backend.rocksdb.predefined-options", [], "DEFAULT";
    /// How many files of RocksDB are copied at once.
    ROCKSDB_TRANSFER_THREADS: u32 =
        "state.backend.rocksdb.checkpoint.transfer.thread.num", [], "4";
    /// Bytes that are written into RocksDB at once; 0: no limit.
    ROCKSDB_WRITE_BATCH_SIZE: MemorySize = "state.backend.rocksdb.write-batch-size", [], "2 mb";
    /// How many flushes and compactions of one RocksDB may be under way.
    ROCKSDB_BACKGROUND_THREADS: u32 = "state.backend.rocksdb.thread.num", [], "2";
    /// How many files one RocksDB may have open; -1: no limit.
    ROCKSDB_OPEN_FILES: i32 = "state.backend.rocksdb.files.open", [], "-1";
    /// How files are compacted: LEVEL, FIFO, UNIVERSAL or NONE.
    ROCKSDB_COMPACTION_STYLE: CompactionStyle =
        "state.backend.rocksdb.compaction.style", [], "LEVEL";
    /// Whether the sizes of levels follow that of the last one.
    ROCKSDB_DYNAMIC_LEVEL_SIZE: bool =
        "state.backend.rocksdb.compaction.level.use-dynamic-size", [], "false";
    /// Size of a file of the first level.
    ROCKSDB_TARGET_FILE_SIZE: MemorySize =
        "state.backend.rocksdb.compaction.level.target-file-size-base", [], "64 mb";
    /// Size of the first level.
    ROCKSDB_LEVEL_SIZE: MemorySize =
        "state.backend.rocksdb.compaction.level.max-size-level-base", [], "256 mb";
    /// Compression of each level, by semicolon; further levels have the last one.
    ROCKSDB_COMPRESSION: CompressionPerLevel =
        "state.backend.rocksdb.compression.per.level", [], "SNAPPY_COMPRESSION";
    /// Size that a table in memory has when it becomes a file.
    ROCKSDB_WRITE_BUFFER_SIZE: MemorySize =
        "state.backend.rocksdb.writebuffer.size", [], "64 mb";
    /// How many tables in memory a state may have.
    ROCKSDB_WRITE_BUFFER_COUNT: u32 = "state.backend.rocksdb.writebuffer.count", [], "2";
    /// How many tables in memory become one file.
    ROCKSDB_WRITE_BUFFERS_TO_MERGE: u32 =
        "state.backend.rocksdb.writebuffer.number-to-merge", [], "1";
    /// Size of a block of a file.
    ROCKSDB_BLOCK_SIZE: MemorySize = "state.backend.rocksdb.block.blocksize", [], "4 kb";
    /// Size of a block of an index that is cut into such.
    ROCKSDB_METADATA_BLOCK_SIZE: MemorySize =
        "state.backend.rocksdb.block.metadata-blocksize", [], "4 kb";
    /// Memory for the blocks of one state, if memory is not shared.
    ROCKSDB_BLOCK_CACHE_SIZE: MemorySize = "state.backend.rocksdb.block.cache-size", [], "8 mb";
    /// Whether files have a Bloom filter. Flink's default is false.
    ROCKSDB_BLOOM_FILTER: bool = "state.backend.rocksdb.use-bloom-filter", [], "true";
    /// Bits of the Bloom filter per key.
    ROCKSDB_BLOOM_FILTER_BITS: f64 =
        "state.backend.rocksdb.bloom-filter.bits-per-key", [], "10.0";

    /// When a failed job is started again: none, fixed-delay, failure-rate or exponential-delay.
    /// Not set: none without checkpoints, exponential-delay with them.
    RESTART_STRATEGY: Option<RestartStrategyType> = "restart-strategy.type", ["restart-strategy"];
    /// How often a job is started again.
    FIXED_DELAY_ATTEMPTS: u32 = "restart-strategy.fixed-delay.attempts", [], "1";
    /// Pause before each new attempt.
    FIXED_DELAY: Duration = "restart-strategy.fixed-delay.delay", [], "1 s";
    /// How many failures may fall into the interval.
    FAILURE_RATE_MAX_FAILURES: u32 =
        "restart-strategy.failure-rate.max-failures-per-interval", [], "1";
    /// The interval in which failures are counted.
    FAILURE_RATE_INTERVAL: Duration =
        "restart-strategy.failure-rate.failure-rate-interval", [], "1 min";
    /// Pause before each new attempt.
    FAILURE_RATE_DELAY: Duration = "restart-strategy.failure-rate.delay", [], "1 s";
    /// The first pause.
    EXPONENTIAL_INITIAL_BACKOFF: Duration =
        "restart-strategy.exponential-delay.initial-backoff", [], "1 s";
    /// The longest pause.
    EXPONENTIAL_MAX_BACKOFF: Duration =
        "restart-strategy.exponential-delay.max-backoff", [], "1 min";
    /// How much longer each pause is than the one before.
    EXPONENTIAL_MULTIPLIER: f64 =
        "restart-strategy.exponential-delay.backoff-multiplier", [], "1.5";
    /// Time without failure after which the pause is the first one again.
    EXPONENTIAL_RESET_THRESHOLD: Duration =
        "restart-strategy.exponential-delay.reset-backoff-threshold", [], "1 h";
    /// By which share of itself a pause is longer or shorter at random.
    EXPONENTIAL_JITTER: f64 = "restart-strategy.exponential-delay.jitter-factor", [], "0.1";
    /// How many attempts until the job is given up; not set: without end.
    EXPONENTIAL_ATTEMPTS: Option<u32> =
        "restart-strategy.exponential-delay.attempts-before-reset-backoff", [];

    /// Where `run` has programs run: local, remote (in the cluster whose REST is named), or a cluster of YARN:
    /// yarn-application, yarn-per-job or yarn-session. Not set: here; in Flink a cluster.
    EXECUTION_TARGET: Option<String> = "execution.target", [];
    /// The address that clients use.
    REST_ADDRESS: Option<String> =
        "rest.address", ["web.address", "jobmanager.rpc.address"];
    /// The port that clients use, and that REST listens on if rest.bind-port is not set.
    /// The default moves to the next free port, a given one does not.
    REST_PORT: u16 = "rest.port", ["web.port"], "8081";
    /// The port or ports that REST tries to listen on.
    REST_BIND_PORT: PortRange = "rest.bind-port", ["rest.port", "web.port"], "8081";
    /// The address that REST listens on. In Millpond only this machine by default.
    REST_BIND_ADDRESS: String = "rest.bind-address", [], "127.0.0.1";
    /// How often a client tries to reach REST. Flink's default is 20, so that a wrong port is told
    /// after a minute.
    REST_RETRY_MAX_ATTEMPTS: u32 = "rest.retry.max-attempts", [], "5";
    /// Pause of a client between two tries. Flink's default is 3 s.
    REST_RETRY_DELAY: Duration = "rest.retry.delay", [], "500 ms";
    /// Time that a client gives the server to accept a connection.
    REST_CONNECTION_TIMEOUT: Duration = "rest.connection-timeout", [], "15 s";
    /// Time that the result of an operation is kept.
    REST_ASYNC_STORE_DURATION: Duration = "rest.async.store-duration", [], "5 min";
    /// Time that REST stays after the end of the job, until the result of each finished operation
    /// has been fetched once. Millpond's own.
    REST_LINGER: Duration = "rest.linger", [], "10 s";
    /// Time that a client waits for the result of an operation.
    CLIENT_TIMEOUT: Duration = "client.timeout", ["akka.client.timeout"], "60 s";
    /// The longest pause of a client between two questions for a result.
    CLIENT_RETRY_PERIOD: Duration = "client.retry-period", [], "2 s";

    /// Whether a job may be cancelled from the web page.
    WEB_CANCEL_ENABLE: bool = "web.cancel.enable", [], "true";
    /// Whether programs may be submitted over REST.
    WEB_SUBMIT_ENABLE: bool = "web.submit.enable", ["jobmanager.web.submit.enable"], "true";
    /// Time between two questions of the web page.
    WEB_REFRESH_INTERVAL: Duration =
        "web.refresh-interval", ["jobmanager.web.refresh-interval"], "3 s";
    /// How many checkpoints are remembered for REST.
    WEB_CHECKPOINTS_HISTORY: u32 =
        "web.checkpoints.history", ["jobmanager.web.checkpoints.history"], "10";
    /// How many exceptions are remembered for REST.
    WEB_EXCEPTION_HISTORY_SIZE: u32 = "web.exception-history-size", [], "16";

    /// Parallelism of operators that have none of their own.
    PARALLELISM: u32 = "parallelism.default", [], "1";
    /// Number of key groups; -1: from the parallelism.
    MAX_PARALLELISM: i32 = "pipeline.max-parallelism", [], "-1";
    /// Name of the job.
    JOB_NAME: Option<String> = "pipeline.name", [];
    /// Whether an operator without uid gets a generated id; if not, it is refused.
    AUTO_GENERATE_UIDS: bool = "pipeline.auto-generate-uids", [], "true";
    /// Whether operators may share a task.
    OPERATOR_CHAINING: bool =
        "pipeline.operator-chaining.enabled", ["pipeline.operator-chaining"], "true";
    /// Time between periodic watermarks.
    AUTO_WATERMARK_INTERVAL: Duration = "pipeline.auto-watermark-interval", [], "200 ms";
    /// Whether records are handed on without a copy. Of no effect: Rust's ownership sees to it.
    OBJECT_REUSE: bool = "pipeline.object-reuse", [], "false";
    /// Parallelism by id of vertex, over what the program says.
    PARALLELISM_OVERRIDES: BTreeMap<String, String> =
        "pipeline.jobvertex-parallelism-overrides", [], "";
    /// The id of the job, 32 hex digits; not set: a random one.
    FIXED_JOB_ID: Option<String> = "$internal.pipeline.job-id", [];

    /// How often a worker process says that it lives.
    HEARTBEAT_INTERVAL: Duration = "heartbeat.interval", [], "10 s";
    /// For how long a worker process may say nothing until it is lost.
    HEARTBEAT_TIMEOUT: Duration = "heartbeat.timeout", [], "50 s";

    /// Number of worker processes; 1: workers are threads of the job master. Of no effect in a
    /// cluster, where slots decide. Millpond's own.
    CLUSTER_PROCESSES: u32 = "cluster.processes", [], "1";
    /// The address of the job manager, for task managers and job masters.
    JOB_MANAGER_RPC_ADDRESS: String = "jobmanager.rpc.address", [], "localhost";
    /// The port of the job manager for them; 0: one that the system chooses.
    JOB_MANAGER_RPC_PORT: u16 = "jobmanager.rpc.port", [], "6123";
    /// The address that the job manager and the masters of jobs bind to. In Millpond only this
    /// machine by default.
    JOB_MANAGER_BIND_HOST: String = "jobmanager.bind-host", [], "127.0.0.1";
    /// The ports on which the masters of jobs listen for their workers, one each; 0: any. Millpond's own.
    JOB_MANAGER_MASTER_PORT: PortRange = "jobmanager.master.port", [], "0";
    /// The name or address of a task manager's machine for other processes.
    TASK_MANAGER_HOST: String = "taskmanager.host", [], "127.0.0.1";
    /// The address that worker processes of a task manager bind to. In Millpond only this machine by
    /// default.
    TASK_MANAGER_BIND_HOST: String = "taskmanager.bind-host", [], "127.0.0.1";
    /// The ports on which worker processes of a task manager listen for each other, one each; 0: any. In
    /// Flink one port.
    TASK_MANAGER_DATA_PORT: PortRange = "taskmanager.data.port", [], "0";
    /// The name of a task manager, unique in its cluster; not set: one is drawn.
    TASK_MANAGER_RESOURCE_ID: Option<String> = "taskmanager.resource-id", [];
    /// How many subtasks of each vertex a task manager runs: worker threads of all its processes.
    TASK_SLOTS: u32 = "taskmanager.numberOfTaskSlots", [], "1";
    /// For how long a task manager tries to reach its job manager before it gives up.
    TASK_MANAGER_REGISTRATION_TIMEOUT: Duration =
        "taskmanager.registration.timeout", [], "5 min";
    /// For how many seconds a task manager keeps a program that no worker of its runs.
    BLOB_CLEANUP_INTERVAL: u32 = "blob.service.cleanup.interval", [], "3600";
    /// For how long a job waits for slots before that counts as a failure.
    SLOT_REQUEST_TIMEOUT: Duration = "slot.request.timeout", [], "5 min";
    /// Default: a job has its parallelism, or waits for slots; Adaptive: it uses the slots that there are,
    /// up to its parallelism, and follows when they come and go.
    SCHEDULER: Scheduler = "jobmanager.scheduler", [], "Default";
    /// Reactive: the job of a cluster for one job uses all slots that there are, as with the adaptive scheduler.
    SCHEDULER_MODE: Option<SchedulerMode> = "scheduler-mode", [];
    /// For how long a job with the adaptive scheduler waits for the least that it needs.
    ADAPTIVE_RESOURCE_WAIT_TIMEOUT: Duration =
        "jobmanager.adaptive-scheduler.submission.resource-wait-timeout",
        ["jobmanager.adaptive-scheduler.resource-wait-timeout"], "5 min";
    /// For how long it waits for all slots that it could use once it has the least.
    ADAPTIVE_RESOURCE_STABILIZATION_TIMEOUT: Duration =
        "jobmanager.adaptive-scheduler.submission.resource-stabilization-timeout",
        ["jobmanager.adaptive-scheduler.resource-stabilization-timeout"], "10 s";
    /// The least time between its start and a change of its parallelism.
    ADAPTIVE_COOLDOWN: Duration = "jobmanager.adaptive-scheduler.executing.cooldown-after-rescaling",
        ["jobmanager.adaptive-scheduler.scaling-interval.min"], "30 s";
    /// For how long it waits for all slots that it could use once some have come while it runs.
    ADAPTIVE_EXECUTING_STABILIZATION_TIMEOUT: Duration =
        "jobmanager.adaptive-scheduler.executing.resource-stabilization-timeout",
        ["jobmanager.adaptive-scheduler.scaling-interval.max"], "1 min";
    /// How often the checkpoint for a change of the parallelism may fail until the job goes on from the
    /// newest that there is.
    ADAPTIVE_MAX_CHECKPOINT_FAILURES: u32 =
        "jobmanager.adaptive-scheduler.rescale-trigger.max-checkpoint-failures", [], "2";
    /// The bounds of a job's parallelism that were asked for before its job master died, as REST has them.
    RESOURCE_REQUIREMENTS: Option<String> = "$internal.jobmanager.resource-requirements", [];
    /// Where a job manager keeps uploaded programs, logs of jobs, and how they ended; a task manager
    /// the programs that it runs. Not set: a directory that goes with the process.
    UPLOAD_DIRECTORY: Option<String> = "web.upload.dir", ["jobmanager.web.upload.dir"];
    /// Whether the processes of a cluster speak with each other by TLS, each with a certificate: job
    /// manager, task managers, masters of jobs and workers, records included.
    SSL_INTERNAL_ENABLED: bool =
        "security.ssl.internal.enabled", ["security.ssl.enabled"], "false";
    /// Whether REST is spoken by TLS.
    SSL_REST_ENABLED: bool = "security.ssl.rest.enabled", ["security.ssl.enabled"], "false";
    /// Whether clients of REST have to show a certificate.
    SSL_REST_AUTHENTICATION_ENABLED: bool =
        "security.ssl.rest.authentication-enabled", [], "false";
    /// A PEM file: the certificate, then those that lead to a trusted one. For all connections that have
    /// none of their own. Millpond's own, in place of a key store.
    SSL_CERTIFICATE: Option<String> = "security.ssl.certificate", [];
    /// A PEM file: the private key of the certificate, not encrypted. Millpond's own.
    SSL_PRIVATE_KEY: Option<String> = "security.ssl.private-key", [];
    /// A PEM file: the certificates whose signatures are believed. Millpond's own, in place of a trust
    /// store.
    SSL_TRUSTED_CERTIFICATES: Option<String> = "security.ssl.trusted-certificates", [];
    /// The certificate between processes of a cluster. Millpond's own.
    SSL_INTERNAL_CERTIFICATE: Option<String> =
        "security.ssl.internal.certificate", ["security.ssl.certificate"];
    /// Its private key. Millpond's own.
    SSL_INTERNAL_PRIVATE_KEY: Option<String> =
        "security.ssl.internal.private-key", ["security.ssl.private-key"];
    /// Whose signatures make a process one of this cluster. Millpond's own.
    SSL_INTERNAL_TRUSTED_CERTIFICATES: Option<String> =
        "security.ssl.internal.trusted-certificates", ["security.ssl.trusted-certificates"];
    /// The certificate of REST: of the server, and of a client that has to show one. Millpond's own.
    SSL_REST_CERTIFICATE: Option<String> =
        "security.ssl.rest.certificate", ["security.ssl.certificate"];
    /// Its private key. Millpond's own.
    SSL_REST_PRIVATE_KEY: Option<String> =
        "security.ssl.rest.private-key", ["security.ssl.private-key"];
    /// Whose signatures clients believe, and the server where clients have to show a certificate.
    /// Millpond's own.
    SSL_REST_TRUSTED_CERTIFICATES: Option<String> =
        "security.ssl.rest.trusted-certificates", ["security.ssl.trusted-certificates"];
    /// A file with a word that clients of REST have to send as bearer token; not set: they need none.
    /// Millpond's own.
    REST_TOKEN_FILE: Option<String> = "security.rest.token-file", [];
    /// Where `start` and `stop` note the processes of a machine; not set: a directory of the user below
    /// that for temporary files of the system.
    PID_DIRECTORY: Option<String> = "env.pid.dir", [];
    /// Where what `start` starts logs to; not set: the same directory.
    LOG_DIRECTORY: Option<String> = "env.log.dir", [];
    /// Options of `ssh`, with spaces between them, for `cluster start` and `cluster stop`.
    SSH_OPTIONS: Option<String> = "env.ssh.opts", [];
    /// Who elects the job manager that leads, so that another one goes on with its jobs when it dies:
    /// NONE, FILESYSTEM, ZOOKEEPER or KUBERNETES.
    HIGH_AVAILABILITY: HighAvailability = "high-availability.type", ["high-availability"], "NONE";
    /// The directory where jobs are kept; all job managers of the cluster see it, and with FILESYSTEM its
    /// task managers.
    HIGH_AVAILABILITY_STORAGE: Option<String> =
        "high-availability.storageDir", ["high-availability.zookeeper.storageDir"];
    /// The name of this cluster, below that directory and in the service that elects.
    HIGH_AVAILABILITY_CLUSTER: String =
        "high-availability.cluster-id",
        ["high-availability.zookeeper.path.namespace"], "default";
    /// Where ZooKeeper is: `host:port`, with commas between.
    ZOOKEEPER_QUORUM: Option<String> =
        "high-availability.zookeeper.quorum", [];
    /// The node below which clusters have theirs.
    ZOOKEEPER_ROOT: String =
        "high-availability.zookeeper.path.root", [], "/flink";
    /// After how long without contact to ZooKeeper a job manager leads no more.
    ZOOKEEPER_SESSION_TIMEOUT: Duration =
        "high-availability.zookeeper.client.session-timeout",
        [], "60 s";
    /// How long a server of ZooKeeper may take to be connected to, and to answer.
    ZOOKEEPER_CONNECTION_TIMEOUT: Duration =
        "high-availability.zookeeper.client.connection-timeout",
        [], "15 s";
    /// The pause before an election that has failed is tried again.
    ZOOKEEPER_RETRY_WAIT: Duration =
        "high-availability.zookeeper.client.retry-wait",
        [], "5 s";
    /// The name of the cluster among those of its namespace.
    KUBERNETES_CLUSTER: Option<String> = "kubernetes.cluster-id", [];
    /// The namespace of the cluster.
    KUBERNETES_NAMESPACE: String = "kubernetes.namespace", [], "default";
    /// For how long a leader that is silent is waited for; whole seconds.
    KUBERNETES_LEASE_DURATION: Duration =
        "high-availability.kubernetes.leader-election.lease-duration", [], "15 s";
    /// For how long a leader that cannot renew its lease leads on.
    KUBERNETES_RENEW_DEADLINE: Duration =
        "high-availability.kubernetes.leader-election.renew-deadline", [], "15 s";
    /// The pause between two renewals, and two looks of those that stand by.
    KUBERNETES_RETRY_PERIOD: Duration =
        "high-availability.kubernetes.leader-election.retry-period", [], "5 s";
    /// The most bytes of an upload.
    MAX_CONTENT_LENGTH: u32 = "rest.server.max-content-length", [], "104857600";

    /// Where the ResourceManager of YARN answers by HTTP, as host:port; several with commas between
    /// them, of which the active one is used. Not set: what yarn-site.xml says. Hadoop's name.
    YARN_RESOURCE_MANAGER: Option<String> = "yarn.resourcemanager.webapp.address", [];
    /// The application of YARN that is meant.
    YARN_APPLICATION_ID: Option<String> = "yarn.application.id", [];
    /// The name of the application; not set: one after the program.
    YARN_APPLICATION_NAME: Option<String> = "yarn.application.name", [];
    /// The queue that the application is submitted to; not set: that of YARN's services.
    YARN_APPLICATION_QUEUE: Option<String> = "yarn.application.queue", [];
    /// Virtual cores of the job manager's container.
    YARN_JOB_MANAGER_VCORES: u32 = "yarn.appmaster.vcores", [], "1";
    /// Virtual cores of each task manager's container; -1: one per slot.
    YARN_TASK_MANAGER_VCORES: i32 = "yarn.containers.vcores", [], "-1";
    /// A directory on the file system of the cluster that holds the executable `millpond`; not set:
    /// it is installed on each machine, or in the image.
    YARN_PROVIDED_LIB_DIRS: Option<String> = "yarn.provided.lib.dirs", [];
    /// An image that holds the executable `millpond`, for containers of Docker. Millpond's own.
    YARN_CONTAINER_IMAGE: Option<String> = "yarn.container.image", [];
    /// For how long is waited until a new cluster on YARN answers. Millpond's own.
    YARN_DEPLOYMENT_TIMEOUT: Duration = "yarn.deployment.timeout", [], "5 min";
    /// Memory of the container of a job manager.
    JOB_MANAGER_MEMORY: MemorySize = "jobmanager.memory.process.size", [], "1600 mb";
    /// Memory of the container of a task manager. Flink's default is in its configuration file.
    TASK_MANAGER_MEMORY: MemorySize = "taskmanager.memory.process.size", [], "1728 mb";
    /// Whether a job manager ends once a job has come and all have ended. Millpond's own.
    CLUSTER_ENDS_WITH_JOB: bool = "cluster.ends-with-job", [], "false";
    /// Whether a cluster of one job ends with it.
    SHUTDOWN_ON_APPLICATION_FINISH: bool =
        "execution.shutdown-on-application-finish", [], "true";
    /// Whether a highly available cluster of one job forgets, when it ends, how its job has ended: then its
    /// next start runs the job anew. Flink's default is true.
    JOB_RESULT_DELETE_ON_COMMIT: bool = "job-result-store.delete-on-commit", [], "false";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigValue, Configuration};

    #[test]
    fn every_default_is_a_value_of_its_option_or_absent() {
        for info in ALL {
            if let Some(default) = info.default {
                assert_eq!(info.check(default), Ok(()), "{}", info.key);
            }
        }
        // `default_value` panics if an option has neither; reading all that have no default.
        let empty = Configuration::new();
        assert_eq!(empty.get(&CHECKPOINTING_INTERVAL), Ok(None));
        assert_eq!(empty.get(&EXTERNALIZED_CHECKPOINT_RETENTION), Ok(None));
        assert_eq!(empty.get(&REST_BIND_PORT), Ok(PortRange::single(8081)));
        assert_eq!(empty.get(&REST_LINGER), Ok(Duration::from_secs(10)));
        assert_eq!(
            empty.get(&WRITE_BUFFER_SIZE),
            Ok(MemorySize::of_bytes(4096))
        );
    }

    #[test]
    fn an_option_without_default_may_be_absent() {
        for info in ALL.iter().filter(|info| info.default.is_none()) {
            assert!(info.may_be_absent(), "{}", info.key);
        }
        assert_eq!(Option::<u32>::absent(), Some(None));
    }

    #[test]
    fn no_two_options_have_the_same_key_and_all_are_described() {
        let mut keys: Vec<&str> = ALL.iter().map(|info| info.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), ALL.len());
        assert!(
            ALL.iter()
                .all(|info| info.description.trim().ends_with('.'))
        );
    }
}
