//! Which cluster of YARN is meant, in the words of Flink's command line: `-m yarn-cluster`, `-yid`, and
//! the other options with `y`; or `-t yarn-application` and `-D`.

use clap::{Arg, ArgAction, ArgMatches, Command};
use millpond_types::config::{ConfigOption, Configuration, options as keys};

use crate::arguments::value;
use crate::failure::Failure;

use super::application_id::ApplicationId;
use super::job_manager::{self, RestAddress};
use super::resource_manager::ResourceManager;

/// What `-m` says in place of an address.
pub(crate) const CLUSTER: &str = "yarn-cluster";

/// The targets (`-t`) that are clusters of YARN.
pub(crate) const TARGETS: [&str; 3] = ["yarn-application", "yarn-per-job", "yarn-session"];

/// Options of `run` for new clusters: name, short name, what is shown, and what each sets.
const DEPLOYMENT: [(&str, &str, &str, &str); 5] = [
    ("yarnname", "ynm", "name", "yarn.application.name"),
    ("yarnqueue", "yqu", "queue", "yarn.application.queue"),
    (
        "yarnjobManagerMemory",
        "yjm",
        "size",
        "jobmanager.memory.process.size",
    ),
    (
        "yarntaskManagerMemory",
        "ytm",
        "size",
        "taskmanager.memory.process.size",
    ),
    ("yarnslots", "ys", "number", "taskmanager.numberOfTaskSlots"),
];

/// Which cluster of YARN is meant.
#[derive(Debug)]
pub(crate) enum Target {
    /// One that runs.
    Application(ApplicationId),
    /// One that is yet to be started.
    New,
}

/// Adds the options that name an application.
pub(crate) fn address_options(command: Command) -> Command {
    command
        .arg(
            value("yarnapplicationId", "id")
                .alias("yid")
                .help("The application of YARN that the job runs in: -yid application_..."),
        )
        .arg(
            value("yD", "key=value")
                .action(ArgAction::Append)
                .hide(true)
                .help("As -D"),
        )
}

/// The options of `run` for new clusters.
pub(crate) fn options() -> Vec<Arg> {
    let help = |key: &'static str| format!("On YARN: as -D{key}=...");
    let options = DEPLOYMENT
        .into_iter()
        .map(|(name, short, shown, key)| value(name, shown).alias(short).help(help(key)));
    let kind = value("yarnapplicationType", "type").alias("yat").hide(true);
    options.chain([kind]).collect()
}

/// What the options with `y` set.
pub(crate) fn configuration(matches: &ArgMatches) -> Result<Configuration, Failure> {
    let mut configuration = Configuration::new();
    let given = |name: &str| matches.try_get_one::<String>(name).ok().flatten();
    let pairs = matches.try_get_many::<String>("yD").ok().flatten();
    for pair in pairs.into_iter().flatten() {
        configuration.parse_dynamic(pair)?;
    }
    for (name, _, _, key) in DEPLOYMENT {
        if let Some(text) = given(name) {
            let text = match key.ends_with("memory.process.size") {
                true => memory(text),
                false => text.clone(),
            };
            configuration.parse_dynamic(&format!("{key}={text}"))?;
        }
    }
    if let Some(kind) = given("yarnapplicationType") {
        return Err(Failure::arguments(format!(
            "The type of the application cannot be \"{kind}\": clusters of Millpond are services of YARN, \
             and their type is yarn-service. Leave out -yat."
        )));
    }
    if let Some(id) = given("yarnapplicationId") {
        configuration.set_option(&keys::YARN_APPLICATION_ID, &Some(id.clone()));
    }
    Ok(configuration)
}

/// Memory as Flink's `-yjm` and `-ytm` take it: a number alone is in MiB.
fn memory(text: &str) -> String {
    match text.parse::<u64>() {
        Ok(mebibytes) => format!("{mebibytes} mb"),
        Err(_) => text.to_owned(),
    }
}

/// Whether a cluster is meant that takes any number of jobs.
pub(crate) fn is_session(matches: &ArgMatches) -> bool {
    let target = matches.get_one::<String>("target");
    target.is_some_and(|target| target == "yarn-session")
}

/// Which cluster of YARN is meant, if one is.
pub(crate) fn target(
    matches: &ArgMatches,
    configuration: &Configuration,
) -> Result<Option<Target>, Failure> {
    let given = |name: &str| matches.try_get_one::<String>(name).ok().flatten();
    let address = given("jobmanager").map(String::as_str);
    let on_yarn = address == Some(CLUSTER)
        || given("target").is_some_and(|target| TARGETS.contains(&target.as_str()));
    let key: &ConfigOption<Option<String>> = &keys::YARN_APPLICATION_ID;
    let Some(id) = configuration.get(key)? else {
        return Ok(on_yarn.then_some(Target::New));
    };
    if let Some(address) = address.filter(|address| *address != CLUSTER) {
        // What a configuration file says gives way to an address that was given now.
        if given("yarnapplicationId").is_none() {
            return Ok(None);
        }
        return Err(Failure::arguments(format!(
            "The options -m {address} and -yid {id} name two clusters. Leave out one of them."
        )));
    }
    let id = id.parse().map_err(Failure::arguments)?;
    Ok(Some(Target::Application(id)))
}

impl Target {
    /// The job manager of a cluster that runs.
    pub(crate) fn job_manager(
        &self,
        configuration: &Configuration,
    ) -> Result<RestAddress, Failure> {
        let resource_manager = ResourceManager::active(configuration)?;
        match self {
            Target::Application(id) => job_manager::find(&resource_manager, id),
            Target::New => {
                let mut causes = vec![
                    "No application of YARN was named. Specify one by -yid application_..."
                        .to_owned(),
                ];
                causes.extend(resource_manager.running()?.iter().map(|application| {
                    format!(
                        "{} runs: \"{}\", of the type {}",
                        application.id, application.name, application.application_type
                    )
                }));
                Err(Failure::Action(causes))
            }
        }
    }
}
