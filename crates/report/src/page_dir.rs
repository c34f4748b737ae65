//! The folder of a page, with `report.html`, its figures, and its numbers as CSV and JSON.

use std::path::{Path, PathBuf};

use headway_trainer::{Error, beside, presence};

/// The folder that a page is written into.
#[derive(Clone, Debug)]
pub struct PageDir {
    root: PathBuf,
}

impl PageDir {
    /// The folder at this path, which need not exist.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Path of the folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Path of the page.
    pub fn report(&self) -> PathBuf {
        self.root.join("report.html")
    }

    /// Writes a file of the page atomically: completely or not at all.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        beside::write_if_changed(&self.root.join(name), bytes)
    }

    /// Refuses a folder that holds another kind of page: that of a run, a sweep or a comparison.
    ///
    /// # Errors
    /// [`Error::Occupied`]
    pub fn ensure_free(&self) -> Result<(), Error> {
        for name in ["run.json", "sweep.toml", "compare.toml"] {
            if presence::is_there(&self.root.join(name))? {
                let is = format!("holds {name}, and a page of its own");
                return Err(Error::occupied(&self.root, is, "choose another folder for this one"));
            }
        }
        Ok(())
    }
}
