//! Where the ResourceManagers of a cluster answer: what an option says, else Hadoop's
//! `yarn-site.xml`.
//!
//! Names and defaults of the properties: Apache Hadoop 3.4.1, `yarn-default.xml`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use millpond_types::config::{Configuration, options};

use crate::failure::Failure;

/// The variables that name directories of Hadoop's configuration, the strongest first.
const DIRECTORIES: [&str; 2] = ["YARN_CONF_DIR", "HADOOP_CONF_DIR"];

/// The port of a ResourceManager whose address has none.
const DEFAULT_PORT: u16 = 8088;

/// How deep properties may refer to each other, as in Hadoop.
const MAX_SUBSTITUTIONS: usize = 20;

/// The ResourceManagers of one cluster.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// Each as host:port; at least one.
    pub(crate) addresses: Vec<String>,
    /// Who says so, for people.
    pub(crate) source: String,
}

/// Finds the ResourceManagers.
pub(crate) fn addresses(configuration: &Configuration) -> Result<Addresses, Failure> {
    let key = options::YARN_RESOURCE_MANAGER.key();
    if let Some(text) = configuration.get(&options::YARN_RESOURCE_MANAGER)? {
        let addresses: Vec<String> = text
            .split(',')
            .map(str::trim)
            .filter(|address| !address.is_empty())
            .map(with_port)
            .collect();
        if addresses.is_empty() {
            return Err(Failure::arguments(format!(
                "{key} is \"{text}\", expected host:port, or several with commas between them"
            )));
        }
        let source = key.to_owned();
        return Ok(Addresses { addresses, source });
    }
    let Some(path) = file() else {
        return Err(Failure::action(format!(
            "it is not known where the ResourceManager of YARN is: neither {key} is set, nor is there a \
             yarn-site.xml in the directory of {}",
            DIRECTORIES.join(" or ")
        )));
    };
    let source = format!("\"{}\"", path.display());
    let of_file = |why: String| Failure::action(why).during(format!("{source}:"));
    let text = std::fs::read_to_string(&path).map_err(|error| of_file(error.to_string()))?;
    let addresses = parse(&text)
        .and_then(|properties| of_properties(&properties))
        .map_err(of_file)?;
    Ok(Addresses { addresses, source })
}

fn file() -> Option<PathBuf> {
    let directories = DIRECTORIES.into_iter().filter_map(std::env::var_os);
    let mut files = directories.map(|directory| PathBuf::from(directory).join("yarn-site.xml"));
    files.find(|path| path.is_file())
}

/// The properties of such a file; of two with the same name the later counts.
fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let document = roxmltree::Document::parse(text).map_err(|error| error.to_string())?;
    let root = document.root_element();
    if !root.has_tag_name("configuration") {
        let found = root.tag_name().name();
        return Err(format!("expected <configuration>, found <{found}>"));
    }
    let text_of = |property: roxmltree::Node<'_, '_>, name: &str| {
        let child = property.children().find(|child| child.has_tag_name(name))?;
        Some(child.text().unwrap_or_default().trim().to_owned())
    };
    let properties = root.children().filter(|node| node.has_tag_name("property"));
    let pairs = properties
        .filter_map(|property| Some((text_of(property, "name")?, text_of(property, "value")?)));
    Ok(pairs.collect())
}

fn of_properties(properties: &BTreeMap<String, String>) -> Result<Vec<String>, String> {
    let get = |key: &str| {
        let value = properties.get(key)?;
        Some(substitute(value, properties)).filter(|value| !value.is_empty())
    };
    if get("yarn.http.policy").as_deref() == Some("HTTPS_ONLY") {
        return Err(
            "yarn.http.policy is HTTPS_ONLY, and the ResourceManager is asked by HTTP only"
                .to_owned(),
        );
    }
    let one = |suffix: &str| {
        let told = get(&format!("yarn.resourcemanager.webapp.address{suffix}"));
        told.map(|address| with_port(&address)).or_else(|| {
            let host = get(&format!("yarn.resourcemanager.hostname{suffix}"))?;
            Some(format!("{host}:{DEFAULT_PORT}"))
        })
    };
    let missing = |suffix: &str| {
        format!(
            "expected yarn.resourcemanager.webapp.address{suffix} or \
             yarn.resourcemanager.hostname{suffix}, found neither"
        )
    };
    if get("yarn.resourcemanager.ha.enabled").as_deref() != Some("true") {
        return one("")
            .map(|address| vec![address])
            .ok_or_else(|| missing(""));
    }
    let ids = get("yarn.resourcemanager.ha.rm-ids").ok_or_else(|| {
        "yarn.resourcemanager.ha.enabled is true, but there is no yarn.resourcemanager.ha.rm-ids"
            .to_owned()
    })?;
    let ids = ids.split(',').map(str::trim).filter(|id| !id.is_empty());
    ids.map(|id| {
        let suffix = format!(".{id}");
        one(&suffix).ok_or_else(|| missing(&suffix))
    })
    .collect()
}

/// Puts the values of other properties in the place of `${name}`; what has none stays.
fn substitute(value: &str, properties: &BTreeMap<String, String>) -> String {
    let mut value = value.to_owned();
    for _ in 0..MAX_SUBSTITUTIONS {
        let found = value.find("${").and_then(|start| {
            let length = value[start..].find('}')?;
            let name = value[start + 2..start + length].to_owned();
            Some((start..=start + length, properties.get(&name)?))
        });
        match found {
            Some((range, text)) => value.replace_range(range, text),
            None => break,
        }
    }
    value
}

fn with_port(address: &str) -> String {
    let port = address
        .rsplit_once(':')
        .map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(_)) => address.to_owned(),
        _ => format!("{address}:{DEFAULT_PORT}"),
    }
}

#[cfg(test)]
mod tests {
    use millpond_damage::Damage;

    use super::*;

    fn site(pairs: &[(&str, &str)]) -> String {
        let property = |(name, value): &(&str, &str)| {
            format!("<property><name>{name}</name><value> {value}\n</value></property>")
        };
        let properties: String = pairs.iter().map(property).collect();
        format!(
            "<?xml version=\"1.0\"?>\n<!-- here -->\n<configuration>{properties}</configuration>"
        )
    }

    fn read(pairs: &[(&str, &str)]) -> Result<Vec<String>, String> {
        of_properties(&parse(&site(pairs)).expect("is XML"))
    }

    #[test]
    fn one_resource_manager_is_found_by_its_address_or_its_host() {
        let address = ("yarn.resourcemanager.webapp.address", "rm.example:9999");
        let host = ("yarn.resourcemanager.hostname", "other.example");
        assert_eq!(
            read(&[host, address]),
            Ok(vec!["rm.example:9999".to_owned()])
        );
        assert_eq!(read(&[host]), Ok(vec!["other.example:8088".to_owned()]));
        let refers = (
            "yarn.resourcemanager.webapp.address",
            "${yarn.resourcemanager.hostname}:80",
        );
        assert_eq!(
            read(&[refers, host]),
            Ok(vec!["other.example:80".to_owned()])
        );
        let circle = ("a", "${a}${a}");
        let refers = ("yarn.resourcemanager.hostname", "${a}");
        assert!(read(&[circle, refers]).is_ok(), "it ends");
        assert!(read(&[]).expect_err("none").contains("webapp.address"));
    }

    #[test]
    fn of_a_pair_both_are_found() {
        let pairs = [
            ("yarn.resourcemanager.ha.enabled", "true"),
            ("yarn.resourcemanager.ha.rm-ids", "rm1, rm2"),
            ("yarn.resourcemanager.webapp.address.rm1", "one:1"),
            ("yarn.resourcemanager.hostname.rm2", "two"),
        ];
        assert_eq!(
            read(&pairs),
            Ok(vec!["one:1".to_owned(), "two:8088".to_owned()])
        );
        let why = read(&pairs[..3]).expect_err("nothing about rm2");
        assert!(why.contains("yarn.resourcemanager.hostname.rm2"), "{why}");
    }

    #[test]
    fn https_is_refused_and_said_so() {
        let why = read(&[("yarn.http.policy", "HTTPS_ONLY")]).expect_err("no HTTPS");
        assert!(why.contains("HTTPS_ONLY"), "{why}");
    }

    #[test]
    fn a_damaged_file_is_read_or_refused() {
        let good = site(&[
            ("yarn.resourcemanager.ha.enabled", "true"),
            ("yarn.resourcemanager.ha.rm-ids", "${ids}"),
            ("ids", "rm1,rm2"),
        ]);
        Damage::seeded().search(&[good.into_bytes()], |_, bytes| {
            // Either outcome is right; it must come.
            let text = String::from_utf8_lossy(bytes);
            drop(parse(&text).map(|found| of_properties(&found)));
        });
        assert!(
            parse("<html/>")
                .expect_err("no configuration")
                .contains("html")
        );
    }
}
