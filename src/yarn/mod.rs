//! Clusters on YARN: found by their application, and started as services of YARN.
//!
//! Only YARN's own REST APIs are used, and nothing of ours runs beside the containers: an application
//! master has to speak Hadoop's protocol to register, and that of YARN's services does (decision 0033).

mod application_id;
mod deployment;
mod descriptor;
mod http;
mod job_manager;
mod resource_manager;
mod service;
mod site;
mod target;

pub(crate) use deployment::run;
pub(crate) use target::{
    CLUSTER, TARGETS, Target, address_options, configuration, is_session, options, target,
};
