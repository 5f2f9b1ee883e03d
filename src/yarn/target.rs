//! Which cluster of YARN is meant, in the words of Flink's command line: `-m yarn-cluster`, `-yid`, and
//! the other options with `y`; or `-t yarn-application` and `-D`.

use clap::{Arg, ArgAction, ArgMatches, Command};
use millpond_types::config::{Configuration, options as keys};

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

/// Whether a cluster is meant that takes any number of jobs. What is given now goes before what a file says.
pub(crate) fn is_session(
    matches: &ArgMatches,
    configuration: &Configuration,
) -> Result<bool, Failure> {
    let given = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    if given("jobmanager") == Some(CLUSTER) && given("target").is_none() {
        return Ok(false);
    }
    let target = configuration.get(&keys::EXECUTION_TARGET)?;
    Ok(target.as_deref() == Some("yarn-session"))
}

/// Whether the target is a cluster of YARN, if there is one.
fn is_on_yarn(configuration: &Configuration) -> Result<Option<bool>, Failure> {
    let target = configuration.get(&keys::EXECUTION_TARGET)?;
    Ok(target.map(|target| TARGETS.contains(&target.as_str())))
}

/// Which cluster of YARN is meant, if one is: by the command line, its options (`given`), and what these do not
/// say by a file as well (`all`).
pub(crate) fn target(
    matches: &ArgMatches,
    given: &Configuration,
    all: &Configuration,
) -> Result<Option<Target>, Failure> {
    let value = |name: &str| matches.try_get_one::<String>(name).ok().flatten();
    let by_id = value("yarnapplicationId");
    let by_address = value("jobmanager").map(String::as_str);
    if let Some(address) = by_address.filter(|address| *address != CLUSTER) {
        return match by_id {
            None => Ok(None),
            Some(id) => Err(Failure::arguments(format!(
                "The options -m {address} and -yid {id} name two clusters. Leave out one of them."
            ))),
        };
    }
    let id_is_given =
        given.contains(&keys::YARN_APPLICATION_ID) && is_on_yarn(given)? != Some(false);
    let is_named = by_address.is_some() || by_id.is_some() || id_is_given;
    let on_yarn = is_on_yarn(all)?;
    if on_yarn == Some(false) && !is_named {
        return Ok(None);
    }
    let id: Option<String> = all.get(&keys::YARN_APPLICATION_ID)?;
    match id {
        Some(id) => {
            let id = id.parse().map_err(Failure::arguments)?;
            Ok(Some(Target::Application(id)))
        }
        None if by_address.is_some() || on_yarn == Some(true) => Ok(Some(Target::New)),
        None => Ok(None),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::{self, Parsed};

    /// What is meant, shown: `None`, `new` or the id; with a file that says `execution.target` and an application.
    fn meant(arguments: &[&str], file: &[(&str, &str)]) -> Option<String> {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let parsed = arguments::parse(arguments::action("list", ""), &arguments);
        let Ok(Parsed::Matches(matches)) = parsed else {
            panic!("{arguments:?}");
        };
        let given = arguments::configuration(&matches).expect("usable");
        let mut all = Configuration::from_pairs(file.iter().copied());
        all.override_with(given.clone());
        let session = is_session(&matches, &all).expect("usable");
        let target = target(&matches, &given, &all).expect("usable")?;
        Some(match target {
            Target::New if session => "new session".to_owned(),
            Target::New => "new".to_owned(),
            Target::Application(id) => id.to_string(),
        })
    }

    #[test]
    fn what_is_given_now_goes_before_what_a_file_says() {
        const ID: &str = "application_1_0001";
        const OF_FILE: &str = "application_1_0002";
        let by_option = format!("-Dyarn.application.id={ID}");
        let by_option = by_option.as_str();
        let key = "yarn.application.id";
        let remote = [("execution.target", "remote"), (key, OF_FILE)];
        let session = [("execution.target", "yarn-session")];
        let application = [(key, OF_FILE)];
        let is = |arguments: &[&str], file: &[(&str, &str)], expected: Option<&str>| {
            let found = meant(arguments, file);
            assert_eq!(found.as_deref(), expected, "{arguments:?} {file:?}");
        };
        is(&[], &[], None);
        is(&[], &remote, None);
        is(&["-yid", ID], &remote, Some(ID));
        is(&[by_option], &remote, Some(ID));
        is(&[by_option, "-t", "remote"], &[], None);
        is(&[], &application, Some(OF_FILE));
        is(&["-t", "local"], &application, None);
        is(&["-m", "host:8081"], &application, None);
        is(&[], &session, Some("new session"));
        is(&["-m", CLUSTER], &session, Some("new"));
        is(&["-m", "host:8081"], &session, None);
    }
}
