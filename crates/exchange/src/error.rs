//! Errors of files of weights.

use std::{
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// Why a file of tensors, or its content, is refused.
#[derive(Debug, Error)]
pub enum Error {
    /// The system could not read it.
    #[error("cannot read {}: {source}", .path.display())]
    Unread {
        /// File or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Something is wrong with the file itself.
    #[error("{0}")]
    File(String),
    /// It needs more memory than a file of its size may.
    #[error(
        "refused: reading it would take {needed} MB of memory, and a file of its size may take {allowed} MB. \
         A checkpoint of this form is damaged, or made to exhaust memory"
    )]
    Memory {
        /// Lower bound on the megabytes that it needs.
        needed: u64,
        /// Megabytes that a file of its size may need.
        allowed: u64,
    },
    /// The file does not have the requested key, or has several that are as good.
    #[error("{problem}; its keys are {}", .keys.join(", "))]
    Key {
        /// What is wrong with the key.
        problem: String,
        /// Keys that contain tensors.
        keys: Vec<String>,
    },
    /// A tensor has a shape that its name does not allow.
    #[error("`{name}` has shape {found:?}; {wanted}")]
    Shape {
        /// Name in the file.
        name: String,
        /// Shape that the convention requires.
        wanted: String,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// Facts about the network, given or assumed, contradict the experiment or every model of Headway.
    #[error("{0}")]
    Told(String),
    /// Names that no convention of the format has.
    #[error("{0}")]
    Names(String),
}

impl Error {
    pub(crate) fn file(problem: impl ToString) -> Self {
        Self::File(problem.to_string())
    }

    /// The error for a path that the system could not read, for use with `map_err`.
    pub(crate) fn unread(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Unread { path, source }
    }
}
