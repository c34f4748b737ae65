//! The folder of one run: owns every path in it and every write.
//!
//! ```text
//! experiment.toml    the resolved config, written before step 1
//! run.json           command, versions, device, status, results
//! metrics.jsonl      one line per logged step
//! checkpoints/       step-00000250/ …
//! report.html  figures/
//! ```

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{checkpoint::Checkpoint, error::Error, fault};

/// The folder of one run, locked against a second process while it is held.
#[derive(Debug)]
pub struct RunDir {
    root: PathBuf,
    /// Held for its lock.
    _lock: File,
}

impl RunDir {
    /// Makes the folder of a new run; an existing one must be empty.
    ///
    /// # Errors
    /// [`Error::Usage`] when something is there already, [`Error::Io`] when it cannot be made or written.
    pub fn create(root: &Path) -> Result<Self, Error> {
        let occupied = match fs::read_dir(root) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(Error::io("cannot read", root)(error)),
        };
        if occupied {
            let root = root.display();
            return Err(Error::Usage(format!(
                "{root} is not empty; choose another folder with --out, or continue that run with `headway resume {root}`"
            )));
        }
        disk::create_dir(&root.join("checkpoints"))?;
        Self::lock(root)
    }

    /// Opens the folder of an existing run.
    ///
    /// # Errors
    /// [`Error::Usage`] when it is no run folder or another process holds it.
    pub fn open(root: &Path) -> Result<Self, Error> {
        if !root.join(EXPERIMENT).is_file() {
            return Err(Error::Usage(format!(
                "{} is not a run folder: it has no {EXPERIMENT}. `headway runs list` shows the runs there are",
                root.display()
            )));
        }
        Self::lock(root)
    }

    fn lock(root: &Path) -> Result<Self, Error> {
        let path = root.join(".lock");
        let file = File::create(&path).map_err(Error::io("cannot write", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { root: root.to_owned(), _lock: file }),
            Err(fs::TryLockError::WouldBlock) => {
                Err(Error::Usage(format!("{} is in use by another process", root.display())))
            }
            Err(fs::TryLockError::Error(error)) => Err(Error::io("cannot lock", path)(error)),
        }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The resolved config.
    pub fn experiment(&self) -> PathBuf {
        self.root.join(EXPERIMENT)
    }

    /// Command, versions, device, status and results.
    pub fn record(&self) -> PathBuf {
        self.root.join(RECORD)
    }

    /// One line per logged step.
    pub fn metrics(&self) -> PathBuf {
        self.root.join("metrics.jsonl")
    }

    /// The page about this run.
    pub fn report(&self) -> PathBuf {
        self.root.join("report.html")
    }

    /// A figure by name.
    pub fn figure(&self, name: &str) -> PathBuf {
        self.root.join("figures").join(format!("{name}.svg"))
    }

    /// Replaces a file of this run: it holds either the old bytes or the new, whatever happens in between.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        if let Some(parent) = path.parent() {
            disk::create_dir(parent)?;
        }
        let temporary = path.with_extension("tmp");
        disk::write(&temporary, bytes)?;
        disk::rename(&temporary, path)
    }

    /// Appends lines to the metrics file.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn append_metrics(&self, line: &str) -> Result<(), Error> {
        disk::append(&self.metrics(), format!("{line}\n").as_bytes())
    }

    /// Whole checkpoints, oldest first. What a crash left half-made is passed over.
    pub fn checkpoints(&self) -> Vec<Checkpoint> {
        checkpoints_in(&self.root)
    }

    /// Writes a checkpoint as a temporary sibling and renames it into place when every byte is on disk.
    ///
    /// # Errors
    /// [`Error::Io`]; earlier checkpoints are untouched then.
    pub fn save_checkpoint(&self, step: u64, files: &[(&str, Vec<u8>)]) -> Result<PathBuf, Error> {
        let folder = self.root.join("checkpoints");
        let (temporary, path) = (folder.join(format!(".step-{step:08}")), folder.join(format!("step-{step:08}")));
        for stale in [&temporary, &path] {
            if stale.exists() {
                disk::remove_dir(stale)?;
            }
        }
        disk::create_dir(&temporary)?;
        for (name, bytes) in files {
            disk::write(&temporary.join(name), bytes)?;
        }
        disk::write(&temporary.join(Checkpoint::MANIFEST), Checkpoint::manifest(files).as_bytes())?;
        disk::sync_dir(&temporary)?;
        disk::rename(&temporary, &path)?;
        Ok(path)
    }

    /// Deletes a checkpoint.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn delete_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), Error> {
        disk::remove_dir(&checkpoint.path)
    }
}

const EXPERIMENT: &str = "experiment.toml";
const RECORD: &str = "run.json";

/// Whole checkpoints of a run folder, oldest first.
pub(crate) fn checkpoints_in(root: &Path) -> Vec<Checkpoint> {
    let Ok(entries) = fs::read_dir(root.join("checkpoints")) else { return Vec::new() };
    let mut found: Vec<Checkpoint> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let step = entry.file_name().to_str()?.strip_prefix("step-")?.parse().ok()?;
            let path = entry.path();
            path.join(Checkpoint::MANIFEST).is_file().then_some(Checkpoint { path, step: Some(step) })
        })
        .collect();
    found.sort_by_key(|checkpoint| checkpoint.step);
    found
}

/// The run folders directly below a folder, by name.
///
/// # Errors
/// [`Error::Io`] when the folder cannot be read.
pub fn runs_below(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).map_err(Error::io("cannot read", folder))?;
    let mut runs: Vec<PathBuf> =
        entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.join(RECORD).is_file()).collect();
    runs.sort();
    Ok(runs)
}

/// The record of a run, without locking the folder.
///
/// # Errors
/// [`Error::Usage`] when the folder holds no run or its record cannot be read.
pub fn read_record(root: &Path) -> Result<crate::provenance::Record, Error> {
    let path = root.join(RECORD);
    let problem = |what: String| Error::Usage(format!("{} is not a run folder: {what}", root.display()));
    let text = fs::read_to_string(&path).map_err(|error| problem(format!("{RECORD}: {error}")))?;
    serde_json::from_str(&text).map_err(|error| problem(format!("{RECORD}: {error}")))
}

/// The first folder `<parent>/<name>-<k>`, k = 1, 2, …, that does not exist.
pub fn fresh_path(parent: &Path, name: &str) -> PathBuf {
    let candidates = (1_u32..).map(|k| parent.join(format!("{name}-{k}")));
    candidates.into_iter().find(|path| !path.exists()).unwrap_or_else(|| parent.join(name))
}

/// File operations, each a crash point and each on disk when it returns.
mod disk {
    use super::{Error, File, Path, Write, fault, fs};

    pub(super) fn create_dir(path: &Path) -> Result<(), Error> {
        if path.is_dir() {
            return Ok(());
        }
        fault::before_file(|| ())
            .and_then(|()| fs::create_dir_all(path))
            .map_err(Error::io("cannot create folder", path))
    }

    pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let torn = || drop(fs::write(path, &bytes[..bytes.len() / 2]));
        let write = || {
            let mut file = File::create(path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        fault::before_file(torn).and_then(|()| write()).map_err(Error::io("cannot write", path))
    }

    pub(super) fn append(path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let append = |bytes: &[u8]| File::options().create(true).append(true).open(path)?.write_all(bytes);
        fault::before_file(|| drop(append(&bytes[..bytes.len() / 2])))
            .and_then(|()| append(bytes))
            .map_err(Error::io("cannot append to", path))
    }

    pub(super) fn rename(from: &Path, to: &Path) -> Result<(), Error> {
        fault::before_file(|| ()).and_then(|()| fs::rename(from, to)).map_err(Error::io("cannot rename to", to))?;
        match to.parent() {
            Some(parent) => sync_dir(parent),
            None => Ok(()),
        }
    }

    pub(super) fn remove_dir(path: &Path) -> Result<(), Error> {
        fault::before_file(|| ()).and_then(|()| fs::remove_dir_all(path)).map_err(Error::io("cannot delete", path))
    }

    pub(super) fn sync_dir(path: &Path) -> Result<(), Error> {
        fault::before_file(|| ()).and_then(|()| File::open(path)?.sync_all()).map_err(Error::io("cannot write", path))
    }
}
