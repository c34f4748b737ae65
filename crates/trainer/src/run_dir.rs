//! The folder of one run: owns every path in it and every write.
//!
//! ```text
//! experiment.toml    the resolved config, written before step 1
//! run.json           command, versions, device, status, results
//! metrics.jsonl      one line per logged step
//! failure.json       why a run of a sweep ended in an error, if it did
//! checkpoints/       step-00000250/ …
//! report.html  figures/
//! ```

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::{
    checkpoint::Checkpoint,
    error::Error,
    experiment::{self, Experiment},
    fault, input,
    provenance::Record,
    quote,
    session::Status,
    study::plan::Failure,
};

/// Where a new run goes.
#[derive(Clone, Debug)]
pub enum NewRun {
    /// Into this folder, which must be empty or new.
    At(PathBuf),
    /// Into the first free `<parent>/<name>-<k>`, k = 1, 2, …
    Numbered {
        /// Folder of runs.
        parent: PathBuf,
        /// What the run is about.
        name: String,
    },
}

impl NewRun {
    /// The folder that would be made now.
    ///
    /// # Errors
    /// [`Error::Usage`] when it is not empty, [`Error::Io`] when it cannot be read.
    pub fn path(&self) -> Result<PathBuf, Error> {
        match self {
            Self::At(root) if is_occupied(root)? => Err(Error::Usage(occupied(root))),
            Self::At(root) => Ok(root.clone()),
            Self::Numbered { parent, name } => {
                let mut candidates = numbered(parent, name);
                Ok(candidates.find(|path| !path.exists()).unwrap_or_else(|| parent.join(name)))
            }
        }
    }

    /// Makes the folder. Of several processes that ask for a numbered one at once, each gets its own.
    fn make(&self) -> Result<PathBuf, Error> {
        let Self::Numbered { parent, name } = self else {
            let root = self.path()?;
            disk::create_dir(&root)?;
            return Ok(root);
        };
        disk::create_dir(parent)?;
        for path in numbered(parent, name) {
            match fs::create_dir(&path) {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("cannot create folder", path)(error)),
            }
        }
        unreachable!("numbers do not run out")
    }
}

fn numbered(parent: &Path, name: &str) -> impl Iterator<Item = PathBuf> {
    (1_u64..).map(move |k| parent.join(format!("{name}-{k}")))
}

fn is_occupied(root: &Path) -> Result<bool, Error> {
    match fs::read_dir(root) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("cannot read", root)(error)),
    }
}

fn occupied(root: &Path) -> String {
    let has_run = root.join(EXPERIMENT).is_file();
    let (word, root) = (quote::shell_path(root), root.display());
    if has_run {
        format!(
            "{root} is not empty; choose another folder with --out, or continue that run with `headway resume {word}`"
        )
    } else {
        format!("{root} is not empty, and what it holds is no run; choose another folder with --out")
    }
}

/// A folder that no second process may hold.
#[derive(Debug)]
pub struct HeldFolder {
    /// Held for its lock.
    _lock: File,
}

impl HeldFolder {
    /// File that the lock is on.
    pub(crate) const LOCK: &str = ".lock";

    /// # Errors
    /// [`Error::Usage`] when another process holds it; [`Error::Io`]
    pub(crate) fn lock(root: &Path) -> Result<Self, Error> {
        // Who only asks whether it is held, holds it for a moment.
        Self::wait(root, Duration::from_secs(1))
    }

    /// [`HeldFolder::lock`], waiting for a process that lets go.
    ///
    /// # Errors
    /// as [`HeldFolder::lock`]
    fn wait(root: &Path, patience: Duration) -> Result<Self, Error> {
        let path = root.join(Self::LOCK);
        if fs::metadata(&path).is_ok_and(|about| !about.is_file()) {
            return Err(Error::Usage(format!("{} is no file; delete it", path.display())));
        }
        let file = File::create(&path).map_err(Error::io("cannot write", &path))?;
        let deadline = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _lock: file }),
                Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(20));
                }
                Err(fs::TryLockError::WouldBlock) => {
                    return Err(Error::Usage(format!("{} is in use by another process", root.display())));
                }
                Err(fs::TryLockError::Error(error)) => return Err(Error::io("cannot lock", path)(error)),
            }
        }
    }
}

/// The folder of one run, locked against a second process while it is held.
#[derive(Debug)]
pub struct RunDir {
    root: PathBuf,
    /// Nothing where another process may hold it.
    held: Option<HeldFolder>,
}

impl RunDir {
    /// Makes the folder of a new run.
    ///
    /// # Errors
    /// [`Error::Usage`] when something is there already, [`Error::Io`] when it cannot be made or written.
    pub fn create(place: &NewRun) -> Result<Self, Error> {
        let root = place.make()?;
        let dir = Self::lock(&root)?;
        disk::create_dir(&dir.root.join(CHECKPOINTS))?;
        Ok(dir)
    }

    /// Opens the folder of an existing run.
    ///
    /// # Errors
    /// [`Error::Usage`] when it is no run folder or another process holds it.
    pub fn open(root: &Path) -> Result<Self, Error> {
        if !Self::is_run(root) {
            return Err(Error::Usage(format!(
                "{} is not a run folder: it has no {EXPERIMENT}. `headway runs list` shows the runs there are",
                root.display()
            )));
        }
        let dir = Self::lock(root)?;
        dir.sweep()?;
        Ok(dir)
    }

    /// The folder of a run that another process may be training: to read it, and to write pages about it.
    pub fn beside(root: &Path) -> Self {
        Self { root: root.to_owned(), held: None }
    }

    /// Deletes what a crash left half-made or half-deleted among the checkpoints.
    fn sweep(&self) -> Result<(), Error> {
        let Ok(entries) = fs::read_dir(self.root.join(CHECKPOINTS)) else { return Ok(()) };
        let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
        let is_left_over = |path: &PathBuf| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(".step-"))
        };
        paths.filter(is_left_over).try_for_each(|path| disk::remove_dir(&path))
    }

    fn lock(root: &Path) -> Result<Self, Error> {
        Ok(Self { root: root.to_owned(), held: Some(HeldFolder::lock(root)?) })
    }

    /// The metrics file of the run in a folder.
    pub fn metrics_of(root: &Path) -> PathBuf {
        root.join("metrics.jsonl")
    }

    /// The resolved config of the run in a folder.
    pub fn experiment_of(root: &Path) -> PathBuf {
        root.join(EXPERIMENT)
    }

    /// Whether a process holds the folder at this moment.
    pub fn is_held(root: &Path) -> bool {
        let path = root.join(HeldFolder::LOCK);
        // Opening a pipe would wait.
        path.is_file()
            && File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
    }

    /// Whether the folder holds a run that can be opened.
    pub fn is_run(root: &Path) -> bool {
        root.join(EXPERIMENT).is_file()
    }

    /// The folder of a run of a study, whatever is in it; made unless it is there. Waits for a process that was told to stop.
    ///
    /// # Errors
    /// [`Error::Usage`] when another process holds it for longer than `patience`; [`Error::Io`]
    pub fn claim(root: &Path, patience: Duration) -> Result<Self, Error> {
        disk::create_dir(root)?;
        let dir = Self { root: root.to_owned(), held: Some(HeldFolder::wait(root, patience)?) };
        dir.sweep()?;
        Ok(dir)
    }

    /// Deletes what an earlier try left, so that the run begins anew.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn clear(&self) -> Result<(), Error> {
        // The config first: without it the folder is known to hold nothing to go on from.
        for path in [self.experiment(), self.record(), self.metrics(), self.report(), self.root.join(FAILURE)] {
            disk::remove_file(&path)?;
        }
        for folder in [CHECKPOINTS, FIGURES].map(|folder| self.root.join(folder)) {
            if folder.exists() {
                disk::remove_dir(&folder)?;
            }
        }
        disk::create_dir(&self.root.join(CHECKPOINTS))
    }

    /// Forgets that an earlier try failed.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn forget_failure(&self) -> Result<(), Error> {
        disk::remove_file(&self.root.join(FAILURE))
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
        Self::metrics_of(&self.root)
    }

    /// The page about this run.
    pub fn report(&self) -> PathBuf {
        self.root.join("report.html")
    }

    /// A figure by name.
    pub fn figure(&self, name: &str) -> PathBuf {
        self.root.join(FIGURES).join(format!("{name}.svg"))
    }

    /// Replaces a file of this run: it holds either the old bytes or the new, whatever happens in between.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        match self.held {
            Some(_) => replace(path, bytes),
            // Whoever holds it may write the same file.
            None => replace_through(&path.with_extension(format!("tmp-{}", std::process::id())), path, bytes),
        }
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
        let path = self.root.join(CHECKPOINTS).join(format!("step-{step:08}"));
        if self.metrics().exists() {
            // What was logged so far must reach the disk before the state that will not log it again.
            disk::sync(&self.metrics())?;
        }
        let temporary = hidden(&path);
        for stale in [&temporary, &path] {
            if stale.exists() {
                disk::remove_dir(stale)?;
            }
        }
        write_checkpoint(&temporary, &path, files)?;
        Ok(path)
    }

    /// Deletes a checkpoint. It is out of sight before its first file goes, so that none is ever seen in part.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn delete_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), Error> {
        let hidden = hidden(&checkpoint.path);
        disk::rename(&checkpoint.path, &hidden)?;
        disk::remove_dir(&hidden)
    }
}

/// Replaces a file: it holds either the old bytes or the new, whatever happens in between.
///
/// # Errors
/// [`Error::Io`]
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    replace_through(&path.with_extension("tmp"), path, bytes)
}

/// [`replace`] where several processes may do so at once, each through a temporary file of its own.
///
/// # Errors
/// [`Error::Io`]
pub(crate) fn replace_through(temporary: &Path, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if let Some(parent) = path.parent() {
        disk::create_dir(parent)?;
    }
    disk::write(temporary, bytes)?;
    disk::rename(temporary, path)
}

/// Writes a checkpoint into a temporary folder that becomes `path`, which is not there or empty, when every byte is on disk.
///
/// # Errors
/// [`Error::Io`]
pub(crate) fn write_checkpoint(temporary: &Path, path: &Path, files: &[(&str, Vec<u8>)]) -> Result<(), Error> {
    disk::create_dir(temporary)?;
    for (name, bytes) in files {
        disk::write(&temporary.join(name), bytes)?;
    }
    disk::write(&temporary.join(Checkpoint::MANIFEST), Checkpoint::manifest(files).as_bytes())?;
    disk::sync(temporary)?;
    disk::rename(temporary, path)
}

/// Name of a checkpoint while it is being written or deleted.
fn hidden(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}"))
}

const EXPERIMENT: &str = "experiment.toml";
const RECORD: &str = "run.json";
const CHECKPOINTS: &str = "checkpoints";
const FIGURES: &str = "figures";
const FAILURE: &str = "failure.json";

/// Why a run of a sweep ended in an error, if it did.
pub(crate) fn read_failure(root: &Path) -> Option<Failure> {
    input::from_json(&input::read(&root.join(FAILURE)).ok()?).ok()
}

/// Remembers why a run ended in an error.
///
/// # Errors
/// [`Error::Io`]
pub(crate) fn write_failure(root: &Path, failure: &Failure) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(failure).map_err(|error| Error::Training(error.to_string()))?;
    replace(&root.join(FAILURE), (text + "\n").as_bytes())
}

/// Whole checkpoints of a run folder, oldest first.
pub(crate) fn checkpoints_in(root: &Path) -> Vec<Checkpoint> {
    let Ok(entries) = fs::read_dir(root.join(CHECKPOINTS)) else { return Vec::new() };
    let mut found: Vec<Checkpoint> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let step = entry.file_name().to_str()?.strip_prefix("step-")?.parse().ok()?;
            let path = entry.path();
            path.join(Checkpoint::MANIFEST).is_file().then(|| Checkpoint::at(path, Some(step)))
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
    let entries = fs::read_dir(folder).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let near = input::did_you_mean(folder, &error);
            Error::Usage(format!("cannot read {}: {error}{near}", folder.display()))
        }
        _ => Error::io("cannot read", folder)(error),
    })?;
    let mut runs: Vec<PathBuf> =
        entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.join(RECORD).is_file()).collect();
    runs.sort();
    Ok(runs)
}

/// The resolved experiment of a run, without locking the folder.
///
/// # Errors
/// [`Error::Usage`] when it cannot be read; [`Error::Experiment`] when it makes no sense.
pub fn read_experiment(root: &Path) -> Result<Experiment, Error> {
    Ok(experiment::load(&root.join(EXPERIMENT), &[])?.experiment)
}

/// Whether the folder has a record, readable or not.
pub(crate) fn has_record(root: &Path) -> bool {
    root.join(RECORD).exists()
}

/// The record of a run, without locking the folder.
///
/// # Errors
/// [`Error::Usage`] when the folder holds no run, or its record cannot be read or makes no sense.
pub fn read_record(root: &Path) -> Result<Record, Error> {
    let path = root.join(RECORD);
    let bytes = match input::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let near = input::did_you_mean(root, &error);
            return Err(Error::Usage(format!("{} is not a run folder: it has no {RECORD}{near}", root.display())));
        }
        Err(error) => return Err(Error::Usage(format!("cannot read {}: {error}", path.display()))),
    };
    let mut record: Record = input::from_json(&bytes)
        .map_err(|error| Error::Usage(format!("{} is damaged: {error}. Put a copy of it back", path.display())))?;
    if record.status.is_final() && !record.is_scored() {
        // Scores that are not finite are a failure, whatever the program that wrote it made of them.
        record.status = Status::Diverged;
    }
    if record.status == Status::Running
        && let Some(newest) = checkpoints_in(root).last()
    {
        // It runs still, or was killed before it could write how far it came.
        record.step = newest.step.unwrap_or(record.step);
    }
    Ok(record)
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
            Some(parent) => sync(parent),
            None => Ok(()),
        }
    }

    pub(super) fn remove_file(path: &Path) -> Result<(), Error> {
        if !path.exists() {
            return Ok(());
        }
        fault::before_file(|| ()).and_then(|()| fs::remove_file(path)).map_err(Error::io("cannot delete", path))
    }

    pub(super) fn remove_dir(path: &Path) -> Result<(), Error> {
        let torn = || {
            let files = fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
            drop(files.map(|file| file.path()).max().map(fs::remove_file));
        };
        fault::before_file(torn).and_then(|()| fs::remove_dir_all(path)).map_err(Error::io("cannot delete", path))
    }

    /// Of a file or a folder.
    pub(super) fn sync(path: &Path) -> Result<(), Error> {
        fault::before_file(|| ()).and_then(|()| File::open(path)?.sync_all()).map_err(Error::io("cannot write", path))
    }
}
