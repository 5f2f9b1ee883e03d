//! Endpoints that tell about the cluster as a whole.

use std::sync::Arc;

use axum::extract::State;
use millpond_job::dispatcher::TaskManagerOverview;
use serde::Serialize;

use crate::answer::{Answer, ok};
use crate::api::Api;

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct DashboardConfig<'a> {
    refresh_interval: u64,
    timezone_name: &'static str,
    timezone_offset: i32,
    flink_version: &'a str,
    flink_revision: String,
    features: Features,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Features {
    web_submit: bool,
    web_cancel: bool,
    web_rescale: bool,
    web_history: bool,
}

/// GET `/config`: what the web page asks first.
pub(crate) async fn config(State(api): State<Arc<Api>>) -> Answer {
    let options = &api.options;
    ok(&DashboardConfig {
        refresh_interval: options.refresh_interval.as_millis() as u64,
        timezone_name: "Coordinated Universal Time",
        timezone_offset: 0,
        flink_version: &options.version,
        flink_revision: format!("millpond-{}", options.version),
        features: Features {
            web_submit: api.programs.is_some(),
            web_cancel: options.cancel_from_web,
            web_rescale: options.rescale_from_web,
            web_history: false,
        },
    })
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Overview<'a> {
    taskmanagers: u32,
    slots_total: u32,
    slots_available: u32,
    jobs_running: u32,
    jobs_finished: u32,
    jobs_cancelled: u32,
    jobs_failed: u32,
    flink_version: &'a str,
    flink_commit: String,
}

/// GET `/overview`: slots and numbers of jobs.
pub(crate) async fn overview(State(api): State<Arc<Api>>) -> Answer {
    let overview = api.dispatcher.overview();
    ok(&Overview {
        taskmanagers: overview.task_managers,
        slots_total: overview.slots_total,
        slots_available: overview.slots_available,
        jobs_running: overview.jobs_running,
        jobs_finished: overview.jobs_finished,
        jobs_cancelled: overview.jobs_cancelled,
        jobs_failed: overview.jobs_failed,
        flink_version: &api.options.version,
        flink_commit: format!("millpond-{}", api.options.version),
    })
}

#[derive(Serialize)]
struct Setting {
    key: String,
    value: String,
}

/// GET `/jobmanager/config`: the options as they were given, secrets hidden.
pub(crate) async fn job_manager_config(State(api): State<Arc<Api>>) -> Answer {
    let configuration = api.dispatcher.configuration();
    let settings: Vec<Setting> = configuration
        .into_iter()
        .map(|(key, value)| Setting { key, value })
        .collect();
    ok(&settings)
}

#[derive(Serialize)]
struct TaskManagers {
    taskmanagers: Vec<TaskManager>,
}

/// The part of Flink's row that has a meaning here, and zeros for the numbers that its client
/// insists on: workers have no memory pools of fixed sizes.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TaskManager {
    id: String,
    path: String,
    data_port: i32,
    jmx_port: i32,
    /// A point in time, in spite of its name in Flink.
    time_since_last_heartbeat: u64,
    slots_number: u32,
    free_slots: u32,
    assigned_tasks: u32,
    total_resource: Resource,
    free_resource: Resource,
    hardware: Hardware,
    memory_configuration: MemoryConfiguration,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    cpu_cores: f64,
    task_heap_memory: u64,
    task_off_heap_memory: u64,
    managed_memory: u64,
    network_memory: u64,
    extended_resources: std::collections::BTreeMap<String, f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Hardware {
    cpu_cores: usize,
    physical_memory: u64,
    free_memory: u64,
    managed_memory: u64,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct MemoryConfiguration {
    framework_heap: u64,
    task_heap: u64,
    framework_off_heap: u64,
    task_off_heap: u64,
    network_memory: u64,
    managed_memory: u64,
    jvm_metaspace: u64,
    jvm_overhead: u64,
    total_flink_memory: u64,
    total_process_memory: u64,
}

/// GET `/taskmanagers`: one row each.
pub(crate) async fn task_managers(State(api): State<Arc<Api>>) -> Answer {
    let row = |one: TaskManagerOverview| TaskManager {
        id: one.id,
        path: one.path,
        data_port: 0,
        jmx_port: -1,
        time_since_last_heartbeat: one.last_heartbeat_ms,
        slots_number: one.slots,
        free_slots: one.free_slots,
        assigned_tasks: one.slots - one.free_slots.min(one.slots),
        total_resource: Resource {
            cpu_cores: f64::from(one.slots),
            ..Resource::default()
        },
        free_resource: Resource {
            cpu_cores: f64::from(one.free_slots),
            ..Resource::default()
        },
        hardware: Hardware {
            cpu_cores: std::thread::available_parallelism().map_or(1, |cores| cores.get()),
            physical_memory: 0,
            free_memory: 0,
            managed_memory: 0,
        },
        memory_configuration: MemoryConfiguration::default(),
    };
    ok(&TaskManagers {
        taskmanagers: api
            .dispatcher
            .task_managers()
            .into_iter()
            .map(row)
            .collect(),
    })
}
