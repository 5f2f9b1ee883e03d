//! How a leader is elected and found, whatever service does so.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millpond_types::config::{ConfigError, Configuration, HighAvailability, options};
use serde::{Deserialize, Serialize};

use crate::file_lock::FileLock;
use crate::term::Term;

/// Where the leader is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// For task managers: `host:port`.
    pub rpc: String,
    /// For users: `host:port`.
    pub rest: String,
}

/// A service that elects one leader of a cluster; shown as where the leader is looked for.
pub trait Election: fmt::Debug + fmt::Display + Send + Sync {
    /// Waits until this process leads; `standing_by` is called, once, if another one does.
    ///
    /// # Errors
    ///
    /// It cannot lead at all. A service that is not reached now is waited for.
    fn campaign(&self, standing_by: &mut dyn FnMut()) -> io::Result<Box<dyn Leadership>>;

    /// Where the leader is, as it has told last.
    ///
    /// # Errors
    ///
    /// Nobody leads, or the service is not reached.
    fn leader(&self) -> io::Result<Leader>;

    /// How often those who follow the leader should ask.
    fn look_interval(&self) -> Duration;
}

/// Held by the process that leads.
pub trait Leadership: Send + Sync {
    /// Tells where this leader is.
    ///
    /// # Errors
    ///
    /// It cannot be told, or this process leads no more.
    fn publish(&self, leader: &Leader) -> io::Result<()>;

    /// Until when this process leads.
    fn term(&self) -> Term;

    /// Waits until this process leads no more; returns why, for people. Then it has to end at once.
    fn wait_until_lost(&self) -> String;

    /// Leads no more, of its own will: the next one need not wait until this one is missed, unless the service
    /// is not reached in time. Nothing that this process has started may work on.
    fn give_up(&self);
}

/// How the cluster of these options elects; `None` if it is not highly available.
///
/// # Errors
///
/// A bad option, or a service that this build does not know; for people.
pub fn election(configuration: &Configuration) -> Result<Option<Arc<dyn Election>>, String> {
    let kind = configuration.get(&options::HIGH_AVAILABILITY);
    match kind.map_err(|error| error.to_string())? {
        HighAvailability::None => Ok(None),
        HighAvailability::FileSystem => {
            let directory = storage_directory(configuration)?;
            Ok(Some(Arc::new(FileLock::new(directory))))
        }
        HighAvailability::ZooKeeper => zookeeper(configuration).map(Some),
        HighAvailability::Kubernetes => kubernetes(configuration).map(Some),
    }
}

#[cfg(feature = "zookeeper")]
fn zookeeper(configuration: &Configuration) -> Result<Arc<dyn Election>, String> {
    let options = crate::zookeeper::ZooKeeperOptions::from_configuration(configuration)?;
    let election = crate::zookeeper::ZooKeeper::new(options).map_err(|error| error.to_string())?;
    Ok(Arc::new(election))
}

#[cfg(not(feature = "zookeeper"))]
fn zookeeper(_configuration: &Configuration) -> Result<Arc<dyn Election>, String> {
    Err(format!(
        "{} is ZOOKEEPER, and this program was built without it: build it with the feature zookeeper \
         (cargo build --release --features zookeeper)",
        options::HIGH_AVAILABILITY.key()
    ))
}

#[cfg(feature = "kubernetes")]
fn kubernetes(configuration: &Configuration) -> Result<Arc<dyn Election>, String> {
    let options = crate::kubernetes::KubernetesOptions::from_configuration(configuration)?;
    Ok(Arc::new(crate::kubernetes::Kubernetes::of_pod(options)?))
}

#[cfg(not(feature = "kubernetes"))]
fn kubernetes(_configuration: &Configuration) -> Result<Arc<dyn Election>, String> {
    Err(format!(
        "{} is KUBERNETES, and this program was built without the feature kubernetes of millpond-leadership",
        options::HIGH_AVAILABILITY.key()
    ))
}

/// The directory where a highly available cluster keeps its jobs and programs, which all of its job
/// managers see.
///
/// # Errors
///
/// It is not set, or no local path; for people.
pub fn storage_directory(configuration: &Configuration) -> Result<PathBuf, String> {
    let key = options::HIGH_AVAILABILITY_STORAGE.key();
    let storage = configuration.get(&options::HIGH_AVAILABILITY_STORAGE);
    let storage = storage.map_err(|error| error.to_string())?;
    let storage = storage.ok_or_else(|| {
        format!(
            "{key} has to be set with {}",
            options::HIGH_AVAILABILITY.key()
        )
    })?;
    let storage = storage.strip_prefix("file://").unwrap_or(&storage);
    let storage = storage.strip_prefix("file:").unwrap_or(storage);
    if storage.contains('|') || storage.contains("://") {
        return Err(format!(
            "{key} is \"{storage}\", expected a local path without |"
        ));
    }
    let path = PathBuf::from(storage).join(cluster_id(configuration)?);
    std::path::absolute(&path).map_err(|error| format!("{key}: {error}"))
}

/// The name of the cluster among those that share a service, without slashes around it.
pub(crate) fn cluster_id(configuration: &Configuration) -> Result<String, String> {
    let told = |error: ConfigError| error.to_string();
    let kind = configuration
        .get(&options::HIGH_AVAILABILITY)
        .map_err(told)?;
    let is_named = configuration.contains(&options::HIGH_AVAILABILITY_CLUSTER);
    let name = match kind == HighAvailability::Kubernetes && !is_named {
        // As in Flink.
        true => configuration
            .get(&options::KUBERNETES_CLUSTER)
            .map_err(told)?,
        false => None,
    };
    let name = match name {
        Some(name) => name,
        None => configuration
            .get(&options::HIGH_AVAILABILITY_CLUSTER)
            .map_err(told)?,
    };
    Ok(name.trim_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_that_is_not_highly_available_elects_nobody() {
        assert!(
            election(&Configuration::new())
                .expect("nothing is wrong")
                .is_none()
        );
    }

    #[test]
    fn the_directory_of_a_cluster_lies_below_that_of_the_service() {
        let of = |storage: &str| {
            storage_directory(&Configuration::from_pairs([
                ("high-availability.type", "filesystem"),
                ("high-availability.storageDir", storage),
                ("high-availability.cluster-id", "/blue"),
            ]))
        };
        for storage in ["/ha", "file:/ha", "file:///ha"] {
            assert_eq!(of(storage), Ok(PathBuf::from("/ha/blue")));
        }
        let why = of("s3://bucket/ha").expect_err("no path");
        assert!(why.contains("high-availability.storageDir"), "{why}");
    }

    /// Two clusters of a namespace would take each other's jobs otherwise.
    #[test]
    fn the_directory_of_a_cluster_of_kubernetes_has_its_name_unless_another_one_is_said() {
        let of = |kind: &str, more: &[(&str, &str)]| {
            let pairs = [
                ("high-availability.type", kind),
                ("high-availability.storageDir", "/ha"),
                ("kubernetes.cluster-id", "green"),
            ];
            storage_directory(&Configuration::from_pairs(
                pairs.iter().chain(more).copied(),
            ))
        };
        let said = [("high-availability.cluster-id", "blue")];
        assert_eq!(of("kubernetes", &[]), Ok(PathBuf::from("/ha/green")));
        assert_eq!(of("kubernetes", &said), Ok(PathBuf::from("/ha/blue")));
        assert_eq!(of("filesystem", &[]), Ok(PathBuf::from("/ha/default")));
    }
}
