//! The folder of one run: all its paths and all writes to it are defined here.
//!
//! ```text
//! experiment.toml    the resolved config, written before step 1
//! run.json           command, versions, device, status, results
//! metrics.jsonl      one line per logged step; each checkpoint records its digest
//! failure.json       why a run of a sweep ended with an error, if it did
//! checkpoints/       step-00000250/ …
//! report.html  figures/
//! aside-1/ …         results of a failed try, moved here when the run was started again
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sha2::{Digest, Sha256};

use crate::{
    beside, bounded_read,
    checkpoint::{self, Checkpoint, Written},
    digest::hex,
    disk,
    error::{Error, ErrorKind},
    experiment::{self, Experiment},
    json,
    layout::{self, CHECKPOINTS, EXPERIMENT, FAILURE, FIGURES, METRICS, RECORD, REPORT},
    lock::FolderLock,
    log::{self, Line},
    notice, presence,
    provenance::{Failure, Record, Status},
    quote, tensorboard,
};

/// Where a new run is placed.
#[derive(Clone, Debug)]
pub enum NewRun {
    /// In this folder, which must be empty or new.
    At(PathBuf),
    /// In the first free `<parent>/<name>-<k>`, k = 1, 2, …
    Numbered {
        /// Folder that contains the runs.
        parent: PathBuf,
        /// First part of the folder's name.
        name: String,
    },
}

impl NewRun {
    /// The folder that would be used now, which is new or empty.
    ///
    /// # Errors
    /// [`Error::Occupied`] when it is not empty or a file, [`Error::Io`] when it cannot be read.
    pub fn path(&self) -> Result<PathBuf, Error> {
        match self {
            Self::At(root) if presence::is_file(root)? => Err(Error::occupied(root, "is a file", "name a new folder")),
            Self::At(root) => match presence::list(root)? {
                Some(entries) if !entries.is_empty() => Err(occupied(root)?),
                _ => Ok(root.clone()),
            },
            Self::Numbered { parent, name } => free(parent, name),
        }
    }

    /// [`NewRun::path`] for a run: the folder of a run that was killed before it started counts as empty.
    ///
    /// # Errors
    /// as [`NewRun::path`]
    pub fn run_path(&self) -> Result<PathBuf, Error> {
        match self {
            Self::At(root) if is_unbegun(root)? => Ok(root.clone()),
            place => place.path(),
        }
    }

    /// Makes the folder. If several processes request a numbered folder at once, each gets its own.
    fn make(&self) -> Result<PathBuf, Error> {
        let Self::Numbered { parent, name } = self else {
            let root = self.run_path()?;
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

/// The first of the numbered paths at which nothing exists.
fn free(parent: &Path, name: &str) -> Result<PathBuf, Error> {
    for path in numbered(parent, name) {
        if !presence::is_there(&path)? {
            return Ok(path);
        }
    }
    unreachable!("numbers do not run out")
}

/// Whether a folder holds only what is left by a run that was killed before its config was written.
fn is_unbegun(root: &Path) -> Result<bool, Error> {
    let Some(entries) = presence::list(root)? else { return Ok(false) };
    for path in entries {
        let is_nothing = match presence::name(&path).as_str() {
            FolderLock::LOCK | "run.tmp" | "experiment.tmp" => true,
            CHECKPOINTS => is_empty(&path)?,
            RECORD => match read_record(root) {
                Err(error) if error.kind() == ErrorKind::Unread => return Err(error),
                record => record.is_ok_and(|record| record.status == Status::Running && record.step == 0),
            },
            _ => false,
        };
        if !is_nothing {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a path does not exist, or is an empty folder.
fn is_empty(path: &Path) -> Result<bool, Error> {
    match presence::kind(path)? {
        Some(kind) if kind.is_dir() => Ok(presence::list(path)?.is_none_or(|entries| entries.is_empty())),
        kind => Ok(kind.is_none()),
    }
}

fn occupied(root: &Path) -> Result<Error, Error> {
    let has_run = RunDir::is_run(root)?;
    let elsewhere = "choose another folder with --out";
    Ok(if has_run {
        let way_out = format!("{elsewhere}, or continue that run with `headway resume {}`", quote::shell_path(root));
        Error::occupied(root, "is not empty", way_out)
    } else {
        Error::occupied(root, "is not empty, and what it holds is no run", elsewhere)
    })
}

/// The folder of one run, locked against other processes while this value lives.
#[derive(Debug)]
pub struct RunDir {
    root: PathBuf,
    /// The lock; `None` if another process may hold it.
    held: Option<FolderLock>,
    /// Length and digest of the metrics file; `None` until it is read.
    logged: Mutex<Option<Logged>>,
    /// What is wrong with the metrics file; `None` if nothing is.
    amiss: Mutex<Option<String>>,
}

/// Length and digest of the metrics file, updated as it grows.
#[derive(Clone, Debug, Default)]
struct Logged {
    bytes: u64,
    digest: Sha256,
}

impl Logged {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.digest.update(bytes);
    }
}

impl RunDir {
    /// Makes the folder of a new run.
    ///
    /// # Errors
    /// [`Error::Occupied`] when something is there already, [`Error::Io`] when it cannot be made or written.
    pub fn create(place: &NewRun) -> Result<Self, Error> {
        let root = place.make()?;
        let dir = Self::lock(&root)?;
        // Another process may have trained here before the lock was taken.
        if !is_unbegun(&root)? {
            return Err(occupied(&root)?);
        }
        disk::create_dir(&dir.root.join(CHECKPOINTS))?;
        Ok(dir)
    }

    /// Opens the folder of an existing run.
    ///
    /// # Errors
    /// [`Error::NotARun`]; [`Error::InUse`] when another process holds it.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let ensure_run = || {
            let is_run = Self::is_run(root)?;
            let help = || ". `headway runs list` shows the runs there are".to_owned();
            let not_a_run = || Error::NotARun { path: root.to_owned(), missing: EXPERIMENT, help: help() };
            is_run.then_some(()).ok_or_else(not_a_run)
        };
        ensure_run()?;
        let dir = Self::lock(root)?;
        // The process that held the lock before may have moved the run away.
        ensure_run()?;
        dir.sweep()?;
        Ok(dir)
    }

    /// The folder of a run that another process may be training, for reading it and for writing pages about it.
    pub fn beside(root: &Path) -> Self {
        Self::of(root, None)
    }

    /// Deletes what a crash left incomplete: checkpoints that were being written or deleted, and temporary files.
    fn sweep(&self) -> Result<(), Error> {
        for path in presence::list(&self.root.join(CHECKPOINTS))?.unwrap_or_default() {
            if presence::name(&path).starts_with(".step-") {
                disk::remove_dir(&path)?;
            }
        }
        for folder in [self.root.clone(), self.root.join(FIGURES)] {
            for path in presence::list(&folder)?.unwrap_or_default() {
                if path.extension().is_some_and(|extension| extension == disk::HALF) {
                    disk::remove_file(&path)?;
                }
            }
            // Processes that do not hold the lock may write pages too.
            beside::sweep(&folder);
        }
        Ok(())
    }

    fn lock(root: &Path) -> Result<Self, Error> {
        Ok(Self::of(root, Some(FolderLock::lock(root)?)))
    }

    fn of(root: &Path, held: Option<FolderLock>) -> Self {
        Self { root: root.to_owned(), held, logged: Mutex::default(), amiss: Mutex::default() }
    }

    /// The metrics file of the run in a folder.
    pub fn metrics_of(root: &Path) -> PathBuf {
        root.join(METRICS)
    }

    /// The resolved config of the run in a folder.
    pub fn experiment_of(root: &Path) -> PathBuf {
        root.join(EXPERIMENT)
    }

    /// Whether some process holds the folder's lock at this moment.
    ///
    /// # Errors
    /// [`Error::Io`] if the lock cannot be examined.
    pub fn is_held(root: &Path) -> Result<bool, Error> {
        FolderLock::is_held(root)
    }

    /// Whether the folder contains a run that can be opened.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be read.
    pub fn is_run(root: &Path) -> Result<bool, Error> {
        layout::is_run(root)
    }

    /// The folder of a run of a study, whatever it contains; it is made if needed. Waits for a process that was told to
    /// stop.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process holds it for longer than `patience`; [`Error::Io`]
    pub fn claim(root: &Path, patience: Duration) -> Result<Self, Error> {
        disk::create_dir(root)?;
        let dir = Self::of(root, Some(FolderLock::wait(root, patience)?));
        dir.sweep()?;
        Ok(dir)
    }

    /// Moves the results of an earlier try to a subfolder, so that the run can start again, with a notice that names
    /// it.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn set_aside(&self) -> Result<(), Error> {
        let mut left = Vec::new();
        // The config goes first: a folder without one is known to have nothing to continue from.
        for name in [EXPERIMENT, RECORD, METRICS, FAILURE, REPORT, CHECKPOINTS, FIGURES] {
            let path = self.root.join(name);
            if !is_empty(&path)? {
                left.push(path);
            }
        }
        // If only the record of a failure is left, or nothing, there is nothing worth keeping.
        if left.iter().all(|path| path.ends_with(FAILURE)) {
            self.forget_failure()?;
        } else if is_unbegun(&self.root)? {
            disk::remove_file(&self.record())?;
        } else {
            let aside = free(&self.root, "aside")?;
            disk::create_dir(&aside)?;
            for path in left {
                disk::rename(&path, &aside.join(presence::name(&path)))?;
            }
            notice::say(format!("begun anew; what the earlier try left is in {}", aside.display()));
        }
        disk::create_dir(&self.root.join(CHECKPOINTS))
    }

    /// Moves an unreadable record away and returns its new path; `None` if there was no record.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub(crate) fn set_record_aside(&self) -> Result<Option<PathBuf>, Error> {
        if !has_record(&self.root)? {
            return Ok(None);
        }
        let aside = free(&self.root, "run.json.aside")?;
        disk::rename(&self.record(), &aside)?;
        Ok(Some(aside))
    }

    /// Deletes the record of an earlier failure.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn forget_failure(&self) -> Result<(), Error> {
        disk::remove_file(&self.root.join(FAILURE))
    }

    /// Path of the folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Path of the resolved config.
    pub fn experiment(&self) -> PathBuf {
        self.root.join(EXPERIMENT)
    }

    /// Path of the record: command, versions, device, status and results.
    pub fn record(&self) -> PathBuf {
        self.root.join(RECORD)
    }

    /// Path of the metrics file, which has one line per logged step.
    pub fn metrics(&self) -> PathBuf {
        Self::metrics_of(&self.root)
    }

    /// Path of the page about this run.
    pub fn report(&self) -> PathBuf {
        self.root.join(REPORT)
    }

    /// Path of the figure with this name.
    pub fn figure(&self, name: &str) -> PathBuf {
        self.root.join(FIGURES).join(format!("{name}.svg"))
    }

    /// Replaces a file of this run atomically: at any time it holds either the old bytes or the new ones.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        if self.held.is_none() {
            // The process that holds the lock may write the same file.
            return beside::write(path, bytes);
        }
        if path == self.metrics() {
            *self.logged.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        disk::replace(path, bytes)
    }

    /// Appends a line to the metrics file.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn append_metrics(&self, line: &Line) -> Result<(), Error> {
        let line = line.to_json() + "\n";
        disk::append(&self.metrics(), line.as_bytes())?;
        if let Some(logged) = &mut *self.logged.lock().unwrap_or_else(PoisonError::into_inner) {
            logged.add(line.as_bytes());
        }
        Ok(())
    }

    /// Removes what was logged after `step`, since a resumed run logs it again.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn truncate_metrics(&self, step: u64) -> Result<(), Error> {
        let path = self.metrics();
        let Some(text) = bounded_read::read_if_there(&path)? else { return Ok(()) };
        self.write(&path, &log::up_to(&text, step))
    }

    /// Records what is wrong with the metrics file, for later checkpoints, whose digests cover only what is left of it.
    pub(crate) fn note_amiss(&self, amiss: Option<String>) {
        *self.amiss.lock().unwrap_or_else(PoisonError::into_inner) = amiss;
    }

    /// Length and digest of the metrics file, for a checkpoint.
    fn written(&self) -> Result<Written, Error> {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_none() {
            let mut all = Logged::default();
            all.add(&log::bytes(&self.metrics())?);
            *logged = Some(all);
        }
        let Logged { bytes, digest } = logged.clone().unwrap_or_default();
        let amiss = self.amiss.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Written { bytes, sha256: hex(digest.finalize().as_slice()), amiss })
    }

    /// Complete checkpoints, oldest first; those that a crash left incomplete are skipped.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be read.
    pub fn checkpoints(&self) -> Result<Vec<Checkpoint>, Error> {
        checkpoint::checkpoints_in(&self.root)
    }

    /// Writes a checkpoint to a temporary folder and renames it when every byte is on disk.
    ///
    /// # Errors
    /// [`Error::Io`]; earlier checkpoints are untouched in this case.
    pub fn save_checkpoint(&self, step: u64, mut files: Vec<(&'static str, Vec<u8>)>) -> Result<PathBuf, Error> {
        let path = self.root.join(CHECKPOINTS).join(format!("step-{step:08}"));
        if presence::is_there(&self.metrics())? {
            // The metrics must be on disk before a state from which they will not be logged again.
            disk::sync(&self.metrics())?;
        }
        files.push((Checkpoint::METRICS, json::file(&self.written()?)?));
        let temporary = hidden(&path);
        if presence::is_there(&temporary)? {
            disk::remove_dir(&temporary)?;
        }
        if presence::is_there(&path)? {
            // An existing checkpoint of this step has no manifest, so training did not resume from it.
            disk::rename(&path, &free(&self.root.join(CHECKPOINTS), &format!("{}.aside", presence::name(&path)))?)?;
        }
        checkpoint::write(&temporary, &path, &files, || Ok(()))?;
        Ok(path)
    }

    /// Deletes a checkpoint. It is renamed first, so that no incomplete checkpoint is ever visible.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn delete_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), Error> {
        let hidden = hidden(&checkpoint.path);
        disk::rename(&checkpoint.path, &hidden)?;
        disk::remove_dir(&hidden)
    }

    /// Deletes whatever a run writes, and the folder if nothing else is in it. Returns what is left there.
    ///
    /// # Errors
    /// [`Error::Io`]; part of it may be deleted in this case.
    pub fn delete(self) -> Result<Vec<PathBuf>, Error> {
        let is_ours = |path: &PathBuf| {
            let name = presence::name(path);
            [EXPERIMENT, RECORD, METRICS, FAILURE, REPORT, CHECKPOINTS, FIGURES, FolderLock::LOCK]
                .contains(&name.as_str())
                || ["aside-", "run.json.aside-", tensorboard::FIRST_PART].iter().any(|first| name.starts_with(first))
        };
        let (ours, left): (Vec<_>, Vec<_>) =
            presence::list(&self.root)?.unwrap_or_default().into_iter().partition(is_ours);
        for path in ours {
            if presence::is_folder(&path)? { disk::remove_dir(&path)? } else { disk::remove_file(&path)? }
        }
        if left.is_empty() {
            disk::remove_dir(&self.root)?;
        }
        Ok(left)
    }
}

/// Bytes of all files in a folder.
///
/// # Errors
/// [`Error::Io`] when it cannot be read.
pub fn size(folder: &Path) -> Result<u64, Error> {
    let mut bytes = 0;
    for path in presence::list(folder)?.unwrap_or_default() {
        bytes += if presence::is_folder(&path)? {
            size(&path)?
        } else {
            path.symlink_metadata().map_err(Error::unread(&path))?.len()
        };
    }
    Ok(bytes)
}

/// Name of a checkpoint while it is being written or deleted.
fn hidden(path: &Path) -> PathBuf {
    path.with_file_name(format!(".{}", presence::name(path)))
}

/// Why a run of a sweep ended with an error; `None` if it did not.
///
/// # Errors
/// [`Error::Io`]
pub fn read_failure(root: &Path) -> Result<Option<Failure>, Error> {
    Ok(bounded_read::read_if_there(&root.join(FAILURE))?.and_then(|text| bounded_read::from_json(&text).ok()))
}

/// Records why a run ended with an error.
///
/// # Errors
/// [`Error::Io`]
pub fn write_failure(root: &Path, failure: &Failure) -> Result<(), Error> {
    disk::replace(&root.join(FAILURE), &json::file(failure)?)
}

/// The run folders directly below a folder, sorted by name.
///
/// # Errors
/// [`Error::NotThere`]; [`Error::Io`] when it cannot be read.
pub fn runs_below(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let not_there = || {
        let help = format!("; give a folder of runs{}", bounded_read::did_you_mean(folder));
        Error::NotThere { path: folder.to_owned(), help }
    };
    let mut runs = Vec::new();
    for path in presence::list(folder)?.ok_or_else(not_there)? {
        if presence::is_file(&path.join(RECORD))? {
            runs.push(path);
        }
    }
    Ok(runs)
}

/// The resolved experiment of a run, read without locking the folder.
///
/// # Errors
/// [`Error::NoFile`] when it cannot be read; [`Error::Experiment`] when it makes no sense.
pub fn read_experiment(root: &Path) -> Result<Experiment, Error> {
    Ok(experiment::load(&root.join(EXPERIMENT), &[])?.experiment)
}

/// Whether the folder has a record, readable or not.
///
/// # Errors
/// [`Error::Io`] if the folder cannot be read.
pub fn has_record(root: &Path) -> Result<bool, Error> {
    presence::is_there(&root.join(RECORD))
}

/// The record of a run, read without locking the folder.
///
/// # Errors
/// [`Error::NotARun`]; [`Error::DamagedRecord`]; [`Error::Io`] when it cannot be read.
pub fn read_record(root: &Path) -> Result<Record, Error> {
    let path = root.join(RECORD);
    let bytes = match bounded_read::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let help = bounded_read::did_you_mean(root);
            return Err(Error::NotARun { path: root.to_owned(), missing: RECORD, help });
        }
        Err(error) => {
            return Err(Error::unreadable(&path, error, |error| Error::no_file(&path, error)));
        }
    };
    let mut record: Record =
        bounded_read::from_json(&bytes).map_err(|problem| Error::DamagedRecord { path: path.clone(), problem })?;
    if record.status.is_final() && !record.is_scored() {
        // Scores that are not finite count as divergence, whatever status an older program recorded.
        record.status = Status::Diverged;
    }
    if record.status == Status::Running
        && let Some(newest) = checkpoint::checkpoints_in(root)?.last()
    {
        // The run is in progress, or was killed before it could record its last step.
        record.step = newest.step.unwrap_or(record.step);
    }
    Ok(record)
}
