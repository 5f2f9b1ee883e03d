//! The way in for fuzzing (`fuzz/`); in no other build.

use millpond_job::resources::{FromJobMaster, FromTaskManager, Hello, ToJobMaster, ToTaskManager};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::process::{DataHello, MasterMessage, ProcessMessage};
use crate::transport::receive;

/// Reads what another process is said to have sent, as each kind of message.
///
/// # Panics
///
/// If what was read cannot be written, or not be read again.
pub fn messages(bytes: &[u8]) {
    of::<MasterMessage>(bytes);
    of::<ProcessMessage>(bytes);
    of::<DataHello>(bytes);
    of::<Hello>(bytes);
    of::<FromTaskManager>(bytes);
    of::<ToTaskManager>(bytes);
    of::<FromJobMaster>(bytes);
    of::<ToJobMaster>(bytes);
}

fn of<M: Serialize + DeserializeOwned>(mut bytes: &[u8]) {
    while let Ok(Some(message)) = receive::<M>(&mut bytes) {
        let written = postcard::to_allocvec(&message).expect("what was read can be written");
        let again: M = postcard::from_bytes(&written).expect("what was written can be read");
        let again = postcard::to_allocvec(&again).expect("it was written before");
        assert_eq!(again, written);
    }
}

/// Writes messages of a worker process as they go over a connection, to begin with.
///
/// # Panics
///
/// Never: memory takes all.
pub fn message_bytes(messages: Vec<millpond_job::FromWorker>) -> Vec<Vec<u8>> {
    let framed = messages
        .into_iter()
        .map(|message| frame(&ProcessMessage::Worker(message)));
    framed.collect()
}

/// As [`message_bytes`], of the job master.
///
/// # Panics
///
/// Never: memory takes all.
pub fn command_bytes(messages: Vec<millpond_job::ToWorker>) -> Vec<Vec<u8>> {
    let framed = messages
        .into_iter()
        .map(|message| frame(&MasterMessage::Worker(message)));
    framed.collect()
}

fn frame<M: Serialize>(message: &M) -> Vec<u8> {
    let body = postcard::to_allocvec(message).expect("memory takes all");
    [&(body.len() as u32).to_le_bytes()[..], &body].concat()
}
