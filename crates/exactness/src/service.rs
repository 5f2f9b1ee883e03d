//! The services of a cluster, until somebody kills them: as the command `millpond` runs them.

use std::sync::mpsc::channel;
use std::time::Duration;

use millpond_standalone::{Application, JobManagerService, Mode, Outcome, TaskManagerService};
use millpond_types::config::Configuration;

fn configuration() -> Result<Configuration, String> {
    millpond::service::log_to_stderr("info");
    let mut configuration = Configuration::new();
    let options = std::env::args().skip(2);
    let options = options.take_while(|argument| argument != "--");
    for option in options.filter(|argument| argument != "-D") {
        configuration
            .parse_dynamic(&option)
            .map_err(|error| error.to_string())?;
    }
    Ok(configuration)
}

fn say(line: impl AsRef<str>) {
    use std::io::Write;
    writeln!(std::io::stdout().lock(), "{}", line.as_ref()).expect("a test reads it");
}

fn start(mode: Mode) -> Result<JobManagerService, String> {
    let standing_by = || say("Another job manager leads: standing by.");
    let running = JobManagerService::start(&configuration()?, mode, standing_by, || {})?;
    say(format!("Job manager listening at {}.", running.address()));
    say(format!(
        "Web interface listening at http://{}.",
        running.rest()
    ));
    Ok(running)
}

/// Until its job has ended, of which it tells for a while.
pub(crate) fn application() -> Result<(), String> {
    let running = start(Mode::Application)?;
    let arguments = std::env::args().skip_while(|argument| argument != "--");
    let application = Application {
        program: std::env::current_exe().map_err(|error| error.to_string())?,
        arguments: arguments.skip(1).collect(),
        job: None,
    };
    say(format!("{:?}.", running.prepare(application).begin()?));
    let outcome = loop {
        match running.outcome() {
            Some(outcome) => break outcome,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    running.end(Some(outcome));
    match outcome {
        Outcome::Succeeded => Ok(()),
        Outcome::Failed => Err("the job has failed".to_owned()),
    }
}

pub(crate) fn job_manager() -> Result<(), String> {
    let running = start(Mode::Session)?;
    let (tell, lost) = channel();
    let watched = running.watch(move |why| tell.send(why).expect("it is heard"));
    watched.map_err(|error| error.to_string())?;
    match lost.recv() {
        Ok(why) => Err(format!("this job manager leads no more: {why}")),
        // Nobody else can lead.
        Err(_) => loop {
            std::thread::park();
        },
    }
}

pub(crate) fn task_manager() -> Result<(), String> {
    TaskManagerService::new(&configuration()?)?.run(say)
}
