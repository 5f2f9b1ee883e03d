//! Makes stores, new ones and those of a snapshot.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use millpond_fs::ScratchDirectory;
use millpond_snapshot::{StateMeta, key_group_prefix_bytes};
use millpond_state::store::{KeyValueStore, StateBackend, StoreContext, prefix_end};
use millpond_state::{Error, Result};
use millpond_types::config::{ConfigError, Configuration, options};
use rocksdb::{WriteBatch, WriteOptions};

use super::database::{Access, Database, Db, Shared};
use super::memory::{SharedMemory, budget_bytes};
use super::resumption::Resumption;
use super::tuning::Tuning;
use super::{Column, Deleted, RocksDbStore};
use crate::manifest::{self, UnknownRecord};
use crate::native_writer::is_of_the_set;

/// The state backend `rocksdb`: state in RocksDB, on local disk.
///
/// All its stores share the memory that the configuration of the first one says
/// (`state.backend.rocksdb.memory.*`, `taskmanager.memory.managed.size`): a process has one backend.
#[derive(Default)]
pub struct RocksDbBackend {
    shared: Mutex<Option<Arc<Shared>>>,
    /// Where directories of the dead have been looked for.
    cleaned: Mutex<BTreeSet<PathBuf>>,
}

impl RocksDbBackend {
    /// Returns a backend without stores.
    pub fn new() -> Self {
        RocksDbBackend::default()
    }

    /// Has removed what killed processes have left in `parent`, once, while the stores are opened.
    fn remove_abandoned(&self, parent: &Path) {
        let mut cleaned = self.cleaned.lock().unwrap_or_else(PoisonError::into_inner);
        if !cleaned.insert(parent.to_owned()) {
            return;
        }
        drop(cleaned);
        let parent = parent.to_owned();
        // If this process ends before, the next one does it.
        std::thread::spawn(move || {
            for directory in millpond_fs::remove_abandoned(&parent) {
                let directory = directory.display();
                tracing::info!("removed \"{directory}\", which a process that was killed has left");
            }
        });
    }

    fn shared(&self, configuration: &Configuration) -> Result<Arc<Shared>> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = &*shared {
            return Ok(Arc::clone(shared));
        }
        let wrong = |error: ConfigError| Error::unsupported(error.to_string());
        let made = Arc::new(Shared {
            tuning: Arc::new(Tuning::of(configuration).map_err(wrong)?),
            memory: SharedMemory::of(configuration).map_err(wrong)?,
        });
        *shared = Some(Arc::clone(&made));
        Ok(made)
    }
}

impl StateBackend for RocksDbBackend {
    fn name(&self) -> &str {
        "rocksdb"
    }

    fn memory_bytes(
        &self,
        configuration: &Configuration,
    ) -> std::result::Result<Option<u64>, ConfigError> {
        budget_bytes(configuration)
    }

    fn opens(&self, names: &[&str]) -> bool {
        let has_manifest = names.iter().any(|name| name.starts_with("MANIFEST-"));
        has_manifest && names.contains(&"CURRENT")
    }

    fn open(
        &self,
        context: &StoreContext,
        files: Option<&Path>,
        states: &[StateMeta],
    ) -> Result<Arc<dyn KeyValueStore>> {
        let pairs = context.configuration.iter();
        let configuration = Configuration::from_pairs(pairs.map(|(k, v)| (k.clone(), v.clone())));
        let shared = self.shared(&configuration)?;
        let parent = parent_directory(context, &configuration)?;
        self.remove_abandoned(&parent);
        let what = format!("rocksdb-{}-{}", context.operator, context.subtask);
        let home = ScratchDirectory::new_in(&parent, &what).map_err(|error| {
            let what = format!("making a directory for RocksDB in {}", parent.display());
            Error::storage(what, error)
        })?;
        let working = Deleted(home.path().join("db"));
        let families = match files {
            None => Vec::new(),
            Some(files) => restored(files, &working.0, states, &shared)?,
        };
        let (database, slots) = Database::open(&working.0, &families, &shared, Access::ReadWrite)?;
        if files.is_some() {
            clip(&database, &families, context)?;
        }
        let find = |meta: &StateMeta| {
            let at = families.iter().position(|family| *family == meta.name);
            at.expect("checked before")
        };
        let columns = states.iter().map(|meta| Column {
            name: meta.name.as_str().into(),
            filter: Arc::clone(&slots[find(meta)]),
            meta: meta.clone(),
        });
        Ok(Arc::new(RocksDbStore {
            columns: RwLock::new(columns.collect()),
            database,
            working,
            home: Arc::new(home),
            checkpoints: AtomicU64::new(0),
            runs: AtomicU64::new(0),
            resumption: Resumption::default(),
        }))
    }
}

/// Where the directory of a store goes: subtasks take turns with the directories that are
/// configured.
fn parent_directory(context: &StoreContext, configuration: &Configuration) -> Result<PathBuf> {
    let configured = configuration.get(&options::ROCKSDB_LOCAL_DIRECTORIES);
    let configured = configured.map_err(|error| Error::unsupported(error.to_string()))?;
    let directories = configured.as_deref().unwrap_or_default();
    let directories: Vec<&str> = directories
        .split([',', ':'])
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    if directories.is_empty() {
        return Ok(context.directory.clone());
    }
    let chosen = directories[context.subtask as usize % directories.len()];
    match Path::new(chosen).is_absolute() {
        true => Ok(PathBuf::from(chosen)),
        false => {
            let key = options::ROCKSDB_LOCAL_DIRECTORIES.key();
            let reason = format!("{key}: expected absolute paths, found \"{chosen}\"");
            Err(Error::unsupported(reason))
        }
    }
}

/// Brings the files of a snapshot into a new directory; returns all column families in them but
/// the one that every database has.
///
/// Tables are linked, as they never change, or copied where that cannot be; the rest is copied, as
/// RocksDB goes on writing its manifest.
fn restored(files: &Path, to: &Path, states: &[StateMeta], shared: &Shared) -> Result<Vec<String>> {
    bring(files, to, shared.tuning.transfer_threads).map_err(|error| {
        Error::storage(
            format!("bringing the files of RocksDB in {}", files.display()),
            error,
        )
    })?;
    check_manifests(to)?;
    let options = shared.tuning.database(None);
    let listed = Db::list_cf(&options, to);
    let mut families = listed.map_err(|error| Error::corrupt("the manifest of RocksDB", error))?;
    let is_state = |family: &str| states.iter().any(|meta| meta.name == family);
    for meta in states {
        if !families.contains(&meta.name) {
            let found = format!("column families of RocksDB are {}", families.join(", "));
            return Err(Error::corrupt(format!("state \"{}\"", meta.name), found));
        }
    }
    families.retain(|family| is_state(family) || family != rocksdb::DEFAULT_COLUMN_FAMILY_NAME);
    Ok(families)
}

/// RocksDB would not come to the end of some damaged ones.
fn check_manifests(directory: &Path) -> Result<()> {
    let unread = |error| Error::storage(format!("reading {}", directory.display()), error);
    for entry in fs::read_dir(directory).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with("MANIFEST-") {
            continue;
        }
        if let Some(UnknownRecord { at, kind }) = manifest::unknown_record(&path).map_err(unread)? {
            let found = format!("{name} has a record of type {kind} at byte {at}");
            return Err(Error::corrupt("the manifest of RocksDB", found));
        }
    }
    Ok(())
}

fn bring(from: &Path, to: &Path, threads: usize) -> io::Result<()> {
    fs::create_dir(to)?;
    let mut copied = Vec::new();
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if !is_of_the_set(&text) {
            continue;
        }
        let target = to.join(&name);
        // A link to a symbolic link would dangle as soon as nobody else needs the file.
        let from = fs::canonicalize(entry.path())?;
        if text.ends_with(".sst") && fs::hard_link(&from, &target).is_ok() {
            continue;
        }
        copied.push((from, target));
    }
    let part = copied.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let parts = copied.chunks(part).map(|part| {
            scope.spawn(move || {
                part.iter()
                    .try_for_each(|(from, to)| fs::copy(from, to).map(drop))
            })
        });
        let parts: Vec<_> = parts.collect();
        parts.into_iter().try_for_each(|part| {
            part.join()
                .unwrap_or_else(|_| Err(io::Error::other("a thread that copied files panicked")))
        })
    })
}

/// Removes the key groups that are not of the subtask: those of a larger range that was cut, and
/// those that an earlier cut has left behind.
fn clip(database: &Database, families: &[String], context: &StoreContext) -> Result<()> {
    let prefix_bytes = key_group_prefix_bytes(context.max_parallelism);
    let prefix = |group: u16| group.to_be_bytes()[2 - prefix_bytes..].to_vec();
    let first = prefix(context.range.first().0);
    let behind = prefix_end(&prefix(context.range.last().0));
    let mut write_options = WriteOptions::default();
    write_options.disable_wal(true);
    for name in families {
        let family = database.family(name);
        // Whole tables first: they go without being read, and leave no mark.
        let behind_all = [0xff];
        let cut = |from: &[u8], to: &[u8]| {
            let cut = database.db.delete_file_in_range_cf(&family, from, to);
            cut.map_err(|error| super::failed("clipping", name, error))
        };
        cut(&[], &first)?;
        if let Some(behind) = &behind {
            cut(behind, &behind_all)?;
        }
        let mut batch = WriteBatch::default();
        // Only where there is something: a deleted range costs every read behind it.
        let is_there = |from: &[u8], to: Option<&[u8]>| {
            let mut any = false;
            let scanned = super::scan(database, name, from, to, &mut |_, _| {
                any = true;
                std::ops::ControlFlow::Break(())
            });
            scanned.map(|()| any)
        };
        if is_there(&[], Some(&first))? {
            batch.delete_range_cf(&family, [].as_slice(), first.as_slice());
        }
        if let Some(behind) = &behind
            && is_there(behind, None)?
        {
            // Behind every key: prefixes end at 0x80.
            batch.delete_range_cf(&family, behind.as_slice(), behind_all.as_slice());
        }
        if !batch.is_empty() {
            let clipped = database.db.write_opt(batch, &write_options);
            clipped.map_err(|error| super::failed("clipping", name, error))?;
        }
    }
    Ok(())
}
