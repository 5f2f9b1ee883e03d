//! The thread that writes changes into a store, in the order in which they were frozen.
//!
//! An image of the store is taken between two writes: it holds the changes that were frozen before it
//! was asked for, and none that were frozen later.
//!
//! An image that cannot be taken is missed by one checkpoint. Changes that cannot be written are lost, and
//! what the store holds from then on is no state of the job: the attempt has to end.

use super::Column;
use crate::store::{KeyValueStore, StoreImage, WriteBatch};
use crate::{Error, ErrorKind, Result};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

/// Changes are gathered up to this many bytes before they are written.
const BATCH_BYTES: usize = 1 << 20;

const WRITING_BACK: &str = "writing state back";

/// The changes of one state in one epoch.
pub(crate) trait Changes: Send {
    /// The name of the state.
    fn state(&self) -> &str;

    /// How many key groups there are.
    fn groups(&self) -> usize;

    /// Adds the changes of one key group, and lets go of it.
    fn take_group(&mut self, group: usize, batch: &mut WriteBatch) -> Result<()>;

    /// The column of the state.
    fn column(&self) -> &Column;

    /// All changes are written.
    fn written(&mut self);
}

/// The image of a store that was asked for and may not have been taken yet.
#[derive(Default)]
pub(crate) struct PendingImage {
    taken: Mutex<Option<std::result::Result<Arc<dyn StoreImage>, Failure>>>,
    ready: Condvar,
}

/// Why an image was not taken, or changes were not written.
#[derive(Clone, Debug)]
enum Failure {
    /// The store is as it was.
    Failed(String),
    /// The store does not have all changes, or never will again.
    Broken(String),
}

impl PendingImage {
    fn set(&self, image: std::result::Result<Arc<dyn StoreImage>, Failure>) {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(image);
        self.ready.notify_all();
    }

    /// Waits until the image is taken.
    ///
    /// # Errors
    ///
    /// Storage, if it could not be; broken, if the store does not have all changes.
    pub(crate) fn wait(&self) -> Result<Arc<dyn StoreImage>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &*taken {
                Some(Ok(image)) => return Ok(Arc::clone(image)),
                Some(Err(Failure::Failed(reason))) => {
                    return Err(Error::storage(
                        "taking an image of the state",
                        reason.clone(),
                    ));
                }
                Some(Err(Failure::Broken(reason))) => {
                    return Err(Error::broken(WRITING_BACK, reason.clone()));
                }
                None => {
                    let woken = self.ready.wait(taken);
                    taken = woken.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

enum Job {
    Write(Box<dyn Changes>),
    Image(Arc<PendingImage>),
    /// Answered once all before it is done.
    Fence(Sender<()>),
}

/// What the thread shares with its owner.
#[derive(Default)]
struct Shared {
    unfinished: AtomicUsize,
    abandoned: AtomicBool,
    failed: OnceLock<String>,
}

/// The thread, as its backend sees it. Dropping it waits for what it does at the moment, no more.
pub(crate) struct WriteBack {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl WriteBack {
    /// Starts the thread of a store.
    ///
    /// # Errors
    ///
    /// Storage, if there can be no more threads.
    pub(crate) fn start(store: Arc<dyn KeyValueStore>) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let (jobs, work) = channel();
        let writer = Writer {
            store,
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::Builder::new()
            .name("write-back".to_owned())
            .spawn(move || writer.run(&work))
            .map_err(|error| Error::storage("starting the thread that writes state back", error))?;
        Ok(WriteBack {
            jobs: Some(jobs),
            thread: Some(thread),
            shared,
        })
    }

    fn submit(&self, job: Job) {
        self.shared.unfinished.fetch_add(1, Ordering::Relaxed);
        if let Some(jobs) = &self.jobs {
            // The thread lives as long as this sender.
            let _ = jobs.send(job);
        }
    }

    /// Has changes written.
    pub(crate) fn write(&self, changes: Box<dyn Changes>) {
        self.submit(Job::Write(changes));
    }

    /// Has an image taken behind all changes that were handed in before.
    pub(crate) fn image(&self) -> Arc<PendingImage> {
        let image = Arc::new(PendingImage::default());
        self.submit(Job::Image(Arc::clone(&image)));
        image
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.shared.unfinished.load(Ordering::Acquire) == 0
    }

    /// Waits until all that was handed in is done.
    ///
    /// # Panics
    ///
    /// If something could not be written.
    pub(crate) fn wait(&self) {
        let (done, waiting) = channel();
        self.submit(Job::Fence(done));
        // An error says that the thread is gone; then something has failed.
        let _ = waiting.recv();
        self.check();
    }

    /// Fails the caller if something could not be written: the state is not whole any more.
    ///
    /// # Panics
    ///
    /// Then.
    pub(crate) fn check(&self) {
        if let Some(reason) = self.shared.failed.get() {
            panic!("{WRITING_BACK} failed: {reason}");
        }
    }
}

impl Drop for WriteBack {
    fn drop(&mut self) {
        self.shared.abandoned.store(true, Ordering::Release);
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It contains the panics of what it runs.
            let _ = thread.join();
        }
    }
}

struct Writer {
    store: Arc<dyn KeyValueStore>,
    shared: Arc<Shared>,
}

impl Writer {
    fn run(&self, work: &Receiver<Job>) {
        while let Ok(job) = work.recv() {
            match job {
                Job::Write(changes) => {
                    let written = self.contain(|| self.write(changes));
                    if let (Err(failure), false) = (written, self.is_abandoned()) {
                        let (Failure::Failed(reason) | Failure::Broken(reason)) = failure;
                        // What failed first is what counts.
                        let _ = self.shared.failed.set(reason);
                    }
                }
                Job::Image(image) => {
                    let taken = self.contain(|| self.store.checkpoint());
                    if let Err(Failure::Broken(reason)) = &taken {
                        let _ = self.shared.failed.set(reason.clone());
                    }
                    image.set(taken);
                }
                // Nobody waits any more: nobody is to be told.
                Job::Fence(done) => drop(done.send(())),
            }
            self.shared.unfinished.fetch_sub(1, Ordering::Release);
        }
    }

    /// Runs one job, unless one before it has lost changes or the backend is gone.
    fn contain<T>(&self, job: impl FnOnce() -> Result<T>) -> std::result::Result<T, Failure> {
        if let Some(reason) = self.shared.failed.get() {
            return Err(Failure::Broken(reason.clone()));
        }
        if self.is_abandoned() {
            let closed = "the state backend was closed";
            return Err(Failure::Failed(closed.to_owned()));
        }
        match catch_unwind(AssertUnwindSafe(job)) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(match matches!(error.kind(), ErrorKind::Broken { .. }) {
                true => Failure::Broken(chain(&error)),
                false => Failure::Failed(chain(&error)),
            }),
            Err(panic) => Err(Failure::Broken(panic_reason(&*panic, "the store panicked"))),
        }
    }

    fn is_abandoned(&self) -> bool {
        self.shared.abandoned.load(Ordering::Acquire)
    }

    fn write(&self, mut changes: Box<dyn Changes>) -> Result<()> {
        let column = changes.column().clone();
        let mut groups = 0..changes.groups();
        column.write_run(&mut |batch| {
            for group in groups.by_ref() {
                take_group(&mut *changes, group, batch)?;
                if batch.bytes() >= BATCH_BYTES {
                    break;
                }
            }
            batch.sort();
            // Nobody asks for what is left of it.
            Ok(!groups.is_empty() && !self.is_abandoned())
        })?;
        changes.written();
        Ok(())
    }
}

/// Adds the changes of a key group; a panic in a user's serializer is an error.
fn take_group(changes: &mut dyn Changes, group: usize, batch: &mut WriteBatch) -> Result<()> {
    let encoded = catch_unwind(AssertUnwindSafe(|| changes.take_group(group, batch)));
    encoded.unwrap_or_else(|panic| {
        let reason = panic_reason(&*panic, "the serializer panicked");
        let state = changes.state().to_owned();
        Err(Error::new(ErrorKind::Serializer { state, reason }))
    })
}

fn panic_reason(panic: &(dyn Any + Send), otherwise: &str) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or(otherwise).to_owned()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    message
}
