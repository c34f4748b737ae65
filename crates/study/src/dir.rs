//! The folder of a sweep or a comparison; all its paths are defined here.
//!
//! ```text
//! sweep.toml | compare.toml    the complete study, which needs no other file
//! runs/<run id>/               ordinary run folders
//! report.html  figures/  results.csv  summary.csv  results.json
//! ```

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{COMPARISON, SWEEP, error::Error};
use headway_trainer::{beside, lock::FolderLock, presence};

/// The folder of a sweep or a comparison.
#[derive(Clone, Debug)]
pub struct StudyDir {
    root: PathBuf,
}

impl StudyDir {
    /// The folder at this path, which need not exist.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Path of the folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Folder of a run.
    pub fn run(&self, run_id: &str) -> PathBuf {
        self.runs().join(run_id)
    }

    /// Folder of all runs.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// Path of a file beside the report.
    pub fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Prevents other processes from leading the same study while the returned lock lives. They may still execute
    /// single runs of it.
    ///
    /// # Errors
    /// [`Error::Trainer`] when another process leads it, or the system refuses
    pub fn lead(&self) -> Result<FolderLock, Error> {
        fs::create_dir_all(&self.root).map_err(headway_trainer::Error::io("cannot create folder", &self.root))?;
        Ok(FolderLock::lock(&self.root)?)
    }

    /// Writes a file beside the report atomically: completely or not at all.
    ///
    /// # Errors
    /// [`Error::Trainer`]
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        Ok(beside::write_if_changed(&self.file(name), bytes)?)
    }

    /// The folders of sweeps and comparisons directly below a folder, sorted by name.
    ///
    /// # Errors
    /// [`Error::Trainer`] when it cannot be read
    pub fn all_below(folder: &Path) -> Result<Vec<PathBuf>, Error> {
        let mut all = Vec::new();
        for path in presence::list(folder)?.unwrap_or_default() {
            if presence::is_file(&path.join(SWEEP))? || presence::is_file(&path.join(COMPARISON))? {
                all.push(path);
            }
        }
        Ok(all)
    }

    /// Deletes the folder with all its runs.
    ///
    /// # Errors
    /// [`Error::Trainer`]; part of it may be deleted in this case
    pub fn delete(self) -> Result<(), Error> {
        Ok(fs::remove_dir_all(&self.root).map_err(headway_trainer::Error::io("cannot delete", &self.root))?)
    }

    /// Refuses a folder that holds something else than this study.
    ///
    /// # Errors
    /// [`Error::Trainer`]
    pub fn ensure_ours(&self, name: &str) -> Result<(), Error> {
        let Some(entries) = presence::list(&self.root)? else { return Ok(()) };
        // Lock files, and temporary files left by a killed process, do not count.
        let is_ours = |entry: &PathBuf| {
            let file = presence::name(entry);
            file == FolderLock::LOCK || file.contains(beside::MARK)
        };
        if entries.iter().all(is_ours) || presence::is_file(&self.file(name))? {
            return Ok(());
        }
        let is = format!("is not empty and has no {name}");
        Err(headway_trainer::Error::occupied(&self.root, is, "choose another folder with --out").into())
    }
}
