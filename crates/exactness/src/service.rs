//! The services of a cluster, until somebody kills them: as the command `millpond` runs them.

use std::sync::mpsc::channel;

use millpond_standalone::{JobManagerService, TaskManagerService};
use millpond_types::config::Configuration;

fn configuration() -> Result<Configuration, String> {
    millpond::service::log_to_stderr("info");
    let mut configuration = Configuration::new();
    let options = std::env::args().skip(2).filter(|argument| argument != "-D");
    for option in options {
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

pub(crate) fn job_manager() -> Result<(), String> {
    let standing_by = || say("Another job manager leads: standing by.");
    let running = JobManagerService::start(&configuration()?, standing_by, || {})?;
    say(format!("Job manager listening at {}.", running.address()));
    say(format!(
        "Web interface listening at http://{}.",
        running.rest()
    ));
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
