//! Arguments, read as Flink's command line reads them.
//!
//! `clap` reads them, after what it does not know has been written in its way: an option of more
//! than one letter may have a single dash (`-detached`, `-cm claim`). Its refusals are told in the
//! words of Flink's library (Commons CLI).

use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};
use millpond_standalone::is_loopback;
use millpond_types::JobId;
use millpond_types::config::{Configuration, HighAvailability, options};

use crate::failure::{Failure, chain};
use crate::printer;
use crate::rest_client::RestClient;
use crate::yarn;

/// Names of where jobs run: in the cluster whose REST is named, and in a process here.
pub(crate) const REMOTE: &str = "remote";
const LOCAL: &str = "local";

/// Returns the command of an action, with the options that every action has.
pub(crate) fn action(name: &'static str, about: &'static str) -> Command {
    let command = Command::new(name)
        .bin_name(format!("millpond {name}"))
        .about(about)
        .arg(
            value("jobmanager", "host:port")
                .short('m')
                .help("Where the job's REST listens, or yarn-cluster [default: rest.address and rest.port, 127.0.0.1:8081]"),
        )
        .arg(
            value("D", "key=value")
                .short('D')
                .action(ArgAction::Append)
                .help("Sets an option of the configuration; may be repeated"),
        )
        .arg(
            value("target", "target")
                .short('t')
                .short_alias('e')
                .alias("executor")
                .hide(true)
                .help("Where jobs run: remote, local, or a cluster of YARN"),
        );
    yarn::address_options(command)
}

/// An option with a value; `name` is also how it is written with two dashes, unless it is one
/// letter.
pub(crate) fn value(name: &'static str, shown: &'static str) -> Arg {
    let arg = Arg::new(name)
        .value_name(shown)
        .num_args(1)
        .allow_hyphen_values(true);
    if name.len() > 1 { arg.long(name) } else { arg }
}

/// An option without a value.
pub(crate) fn flag(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}

/// What was given, or that help was asked for and printed.
pub(crate) enum Parsed {
    /// The options and positional arguments.
    Matches(Box<ArgMatches>),
    /// Nothing is left to be done.
    Help,
}

/// Reads all arguments.
pub(crate) fn parse(command: Command, arguments: &[String]) -> Result<Parsed, Failure> {
    let (written, program) = rewrite(&command, arguments, Positionals::Anywhere)?;
    debug_assert!(program.is_empty());
    read(command, written)
}

/// Reads the options in front of the first positional argument; returns what is from there on.
pub(crate) fn parse_until_program(
    command: Command,
    arguments: &[String],
) -> Result<(Parsed, &[String]), Failure> {
    let (written, program) = rewrite(&command, arguments, Positionals::EndOptions)?;
    Ok((read(command, written)?, program))
}

/// What a positional argument means to the options behind it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Positionals {
    Anywhere,
    EndOptions,
}

/// Gives options of several letters two dashes.
fn rewrite<'a>(
    command: &Command,
    arguments: &'a [String],
    positionals: Positionals,
) -> Result<(Vec<String>, &'a [String]), Failure> {
    let mut written = Vec::with_capacity(arguments.len());
    let mut index = 0;
    while let Some(argument) = arguments.get(index) {
        if argument == "--" && positionals == Positionals::EndOptions {
            return Ok((written, &arguments[index + 1..]));
        }
        if argument == "--" {
            written.extend_from_slice(&arguments[index..]);
            break;
        }
        let Some(option) = argument.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
            if positionals == Positionals::EndOptions {
                return Ok((written, &arguments[index..]));
            }
            written.push(argument.clone());
            index += 1;
            continue;
        };
        let name = option
            .trim_start_matches('-')
            .split('=')
            .next()
            .unwrap_or_default();
        let long = command.get_arguments().find(|arg| has_long(arg, name));
        let short = name
            .chars()
            .next()
            .and_then(|letter| command.get_arguments().find(|arg| has_short(arg, letter)));
        let is_help = ["h", "help"].contains(&name);
        // As `-Dkey=value`, which is the option of one letter with its value attached.
        if long.is_none()
            && let Some(pair) = option.strip_prefix("yD")
        {
            written.push(format!("--yD={pair}"));
            index += 1;
            continue;
        }
        let takes_next = match (long, short) {
            (Some(arg), _) => {
                written.push(format!("--{}", option.trim_start_matches('-')));
                needs_value(arg) && !option.contains('=')
            }
            (None, Some(arg)) if !option.starts_with('-') => {
                written.push(argument.clone());
                needs_value(arg) && name.len() == 1
            }
            _ if is_help => {
                written.push("--help".to_owned());
                false
            }
            _ => return Err(unrecognized(command, argument)),
        };
        index += 1;
        if takes_next && let Some(value) = arguments.get(index) {
            written.push(value.clone());
            index += 1;
        }
    }
    Ok((written, &[]))
}

fn has_long(arg: &Arg, name: &str) -> bool {
    let aliases = arg.get_all_aliases().unwrap_or_default();
    arg.get_long() == Some(name) || aliases.contains(&name)
}

fn has_short(arg: &Arg, letter: char) -> bool {
    let aliases = arg.get_all_short_aliases().unwrap_or_default();
    arg.get_short() == Some(letter) || aliases.contains(&letter)
}

/// Whether the argument behind this option belongs to it in any case.
fn needs_value(arg: &Arg) -> bool {
    let least = arg.get_num_args().map_or(1, |range| range.min_values());
    arg.get_action().takes_values() && least > 0
}

/// Refuses an option; clap finds what may have been meant.
fn unrecognized(command: &Command, argument: &str) -> Failure {
    let dashed = format!("--{}", argument.trim_start_matches('-'));
    let meant = command
        .clone()
        .try_get_matches_from(["millpond", &dashed])
        .err()
        .and_then(|error| context(&error, ContextKind::SuggestedArg));
    let hint = meant.map_or_else(String::new, |meant| format!(" (did you mean {meant}?)"));
    Failure::arguments(format!("Unrecognized option: {argument}{hint}"))
}

fn read(command: Command, written: Vec<String>) -> Result<Parsed, Failure> {
    let options = command.clone();
    let arguments = std::iter::once("millpond".to_owned()).chain(written);
    let error = match command.try_get_matches_from(arguments) {
        Ok(matches) => return Ok(Parsed::Matches(Box::new(matches))),
        Err(error) => error,
    };
    if error.kind() == ErrorKind::DisplayHelp {
        printer::text(error.to_string());
        return Ok(Parsed::Help);
    }
    let what = context(&error, ContextKind::InvalidArg).unwrap_or_default();
    let name = what.split([' ', '=']).next().unwrap_or_default();
    let no_value = context(&error, ContextKind::InvalidValue).is_none_or(|value| value.is_empty());
    if error.kind() == ErrorKind::UnknownArgument {
        return Err(Failure::arguments(format!("Unexpected argument: {what}")));
    }
    if error.kind() == ErrorKind::TooManyValues {
        let value = context(&error, ContextKind::InvalidValue).unwrap_or_default();
        return Err(Failure::arguments(format!("Unexpected argument: {value}")));
    }
    if error.kind() == ErrorKind::InvalidValue && no_value {
        let name = name.trim_start_matches('-');
        let option = options.get_arguments().find(|arg| has_long(arg, name));
        let short = option.and_then(|arg| arg.get_short()).map(String::from);
        let name = short.as_deref().unwrap_or(name);
        return Err(Failure::arguments(format!(
            "Missing argument for option: {name}"
        )));
    }
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    Err(Failure::arguments(first.trim_start_matches("error: ")))
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<String> {
    let value = error.get(kind)?;
    if let ContextValue::Strings(texts) = value {
        return texts.first().cloned();
    }
    Some(value.to_string())
}

/// The options behind `-D`, and the address behind `-m` as options.
pub(crate) fn configuration(matches: &ArgMatches) -> Result<Configuration, Failure> {
    let mut configuration = Configuration::new();
    for pair in matches.get_many::<String>("D").into_iter().flatten() {
        configuration.parse_dynamic(pair)?;
    }
    configuration.override_with(yarn::configuration(matches)?);
    let address = matches.get_one::<String>("jobmanager");
    if let Some(address) = address.filter(|address| *address != yarn::CLUSTER) {
        if address.contains("://") {
            return Err(Failure::arguments(format!(
                "The given host:port ('{address}') has a scheme, expected host:port alone. TLS is what \
                 security.ssl.rest.enabled says"
            )));
        }
        let (host, port) = address
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)))
            .ok_or_else(|| {
                Failure::arguments(format!(
                    "The given host:port ('{address}') doesn't contain a valid port"
                ))
            })?;
        configuration.set_option(&options::REST_ADDRESS, &Some(host.to_owned()));
        configuration.set_option(&options::REST_PORT, &port);
    }
    if let Some(target) = matches.get_one::<String>("target") {
        configuration.set_option(&options::EXECUTION_TARGET, &Some(target.clone()));
    }
    check_target(&configuration)?;
    Ok(configuration)
}

/// Checks that there is a target of this name.
pub(crate) fn check_target(configuration: &Configuration) -> Result<(), Failure> {
    match configuration.get(&options::EXECUTION_TARGET)?.as_deref() {
        None | Some(REMOTE | LOCAL) => Ok(()),
        Some(other) if yarn::TARGETS.contains(&other) => Ok(()),
        Some(other) => Err(Failure::arguments(format!(
            "Millpond has no target \"{other}\" ({}). Expected one of: [{REMOTE}, {LOCAL}, {}]",
            options::EXECUTION_TARGET.key(),
            yarn::TARGETS.join(", ")
        ))),
    }
}

/// What `config.yaml` and the environment say, and over them what was given now.
pub(crate) fn over_the_file(given: &Configuration) -> Result<Configuration, Failure> {
    let loaded = millpond::service::configuration();
    let mut all = loaded.map_err(|error| Failure::Action(chain(&error)))?;
    all.override_with(given.clone());
    Ok(all)
}

/// The client for the REST of the job that is meant, or of the leader of a highly available cluster.
pub(crate) fn client(matches: &ArgMatches) -> Result<RestClient, Failure> {
    let given = configuration(matches)?;
    let mut all = over_the_file(&given)?;
    if let Some(target) = yarn::target(matches, &given, &all)? {
        let job_manager = target
            .job_manager(&all)
            .map_err(|failure| failure.during("Couldn't retrieve Yarn cluster."))?;
        all.set_option(&options::REST_ADDRESS, &Some(job_manager.host));
        all.set_option(&options::REST_PORT, &job_manager.port);
    } else {
        rest_of_this_machine(&given, &mut all)?;
        if !names_rest(&given) {
            find_leader(&mut all)?;
        }
    }
    Ok(RestClient::new(&all)?)
}

/// Whether these options say where REST is.
fn names_rest(given: &Configuration) -> bool {
    let of_the_server = [options::REST_PORT.info(), options::REST_ADDRESS.info()];
    let mut of_the_server = of_the_server.into_iter();
    of_the_server.any(|info| given.raw(info.key).is_some())
}

/// Where a file names the job manager and not REST, that is there if it listens for others; by default it listens on
/// this machine alone.
fn rest_of_this_machine(given: &Configuration, all: &mut Configuration) -> Result<(), Failure> {
    let is_named = given.contains(&options::REST_ADDRESS)
        || ["rest.address", "web.address"]
            .iter()
            .any(|key| all.raw(key).is_some());
    if !is_named && is_loopback(&all.get(&options::REST_BIND_ADDRESS)?) {
        all.set_option(&options::REST_ADDRESS, &Some("127.0.0.1".to_owned()));
    }
    Ok(())
}

/// For how long a leader may be missed: not at all if the cluster has no elections, or it was said where REST is.
pub(crate) fn patience_with_leaders(matches: &ArgMatches) -> Result<Duration, Failure> {
    let given = configuration(matches)?;
    let all = over_the_file(&given)?;
    let has_elections = all.get(&options::HIGH_AVAILABILITY)? != HighAvailability::None;
    match has_elections && !names_rest(&given) {
        true => Ok(all.get(&options::CLIENT_TIMEOUT)?),
        false => Ok(Duration::ZERO),
    }
}

/// If the cluster is highly available, REST is where its leader is.
fn find_leader(configuration: &mut Configuration) -> Result<(), Failure> {
    let Some(election) = millpond_leadership::election(configuration).map_err(Failure::action)?
    else {
        return Ok(());
    };
    let not_found = |why: String| {
        Failure::action(why)
            .during("Could not find the leader of the cluster; -m says where it is.")
    };
    let leader = election
        .leader()
        .map_err(|error| not_found(error.to_string()))?;
    let parts = leader.rest.rsplit_once(':');
    let parts = parts.and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let (host, port) = parts.ok_or_else(|| {
        let rest = &leader.rest;
        not_found(format!("its REST is at \"{rest}\", expected host:port"))
    })?;
    configuration.set_option(&options::REST_ADDRESS, &Some(host.to_owned()));
    configuration.set_option(&options::REST_PORT, &port);
    Ok(())
}

/// Reads a job's id.
pub(crate) fn job_id(text: &str) -> Result<JobId, Failure> {
    text.parse()
        .map_err(|error: millpond_types::ids::ParseIdError| Failure::arguments(error.to_string()))
}

/// The positional arguments under `name`, in order.
pub(crate) fn positionals<'a>(matches: &'a ArgMatches, name: &str) -> Vec<&'a str> {
    matches
        .get_many::<String>(name)
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect()
}

/// The option `--type` of savepoints.
pub(crate) fn format_option() -> Arg {
    value("type", "type").help("Format of the savepoint: canonical or native [default: canonical]")
}

/// The format that was asked for, as REST spells it.
pub(crate) fn format(matches: &ArgMatches) -> Result<&'static str, Failure> {
    let text = matches
        .get_one::<String>("type")
        .map(|text| text.to_ascii_uppercase());
    match text.as_deref() {
        None | Some("CANONICAL") => Ok("CANONICAL"),
        Some("NATIVE") => Ok("NATIVE"),
        Some(_) => Err(Failure::arguments(
            "Could not parse value for enum class \
             org.apache.flink.core.execution.SavepointFormatType. \
             Expected one of: [[CANONICAL, NATIVE]]",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        action("savepoint", "")
            .arg(value("dispose", "path").short('d'))
            .arg(flag("detached"))
            .arg(value("claimMode", "mode").alias("cm"))
            .arg(Arg::new("arguments").num_args(0..))
    }

    fn given(arguments: &[&str]) -> Vec<String> {
        arguments
            .iter()
            .map(|argument| (*argument).to_owned())
            .collect()
    }

    fn matches(arguments: &[&str]) -> Result<Box<ArgMatches>, Failure> {
        match parse(command(), &given(arguments))? {
            Parsed::Matches(matches) => Ok(matches),
            Parsed::Help => panic!("no help was asked for"),
        }
    }

    #[test]
    fn long_options_may_have_one_dash_and_stand_anywhere() {
        let matches = matches(&["J", "-detached", "-cm", "claim", "dir"]).expect("parses");
        assert!(matches.get_flag("detached"));
        assert_eq!(
            matches.get_one::<String>("claimMode").expect("given"),
            "claim"
        );
        assert_eq!(positionals(&matches, "arguments"), ["J", "dir"]);
    }

    #[test]
    fn short_options_take_their_value_attached_or_behind() {
        for arguments in [&["-Dk=v", "-d", "/p"][..], &["-D", "k=v", "-d/p"]] {
            let matches = matches(arguments).expect("parses");
            assert_eq!(configuration(&matches).expect("a map").raw("k"), Some("v"));
            assert_eq!(matches.get_one::<String>("dispose").expect("given"), "/p");
        }
    }

    #[test]
    fn what_is_wrong_is_told_in_flinks_words() {
        for (arguments, told) in [
            (&["-foo"][..], "Unrecognized option: -foo"),
            (
                &["--detachd"],
                "Unrecognized option: --detachd (did you mean --detached?)",
            ),
            (&["-d"], "Missing argument for option: d"),
        ] {
            match matches(arguments) {
                Err(Failure::Arguments(text)) => assert!(text.starts_with(told), "{text}"),
                other => panic!("{arguments:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn options_behind_the_program_are_the_programs() {
        let arguments = given(&["-Da=b", "-detached", "./job", "-d", "--help"]);
        let (parsed, program) = parse_until_program(command(), &arguments).expect("parses");
        assert!(matches!(parsed, Parsed::Matches(_)));
        assert_eq!(program, ["./job", "-d", "--help"]);
        let arguments = given(&["--", "-odd-name", "x"]);
        let (_, program) = parse_until_program(command(), &arguments).expect("parses");
        assert_eq!(program, ["-odd-name", "x"]);
    }

    #[test]
    fn an_address_needs_a_port() {
        let address = |text| configuration(&matches(&["-m", text]).expect("parses"));
        let configuration = address("[::1]:9000").expect("an address");
        assert_eq!(configuration.raw("rest.address"), Some("[::1]"));
        assert_eq!(configuration.raw("rest.port"), Some("9000"));
        assert!(address("localhost").is_err());
    }
}
