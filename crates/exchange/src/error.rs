//! What a file of weights gets wrong.

use std::{
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// Why a file of tensors, or what it holds, is refused.
#[derive(Debug, Error)]
pub enum Error {
    /// The system did not let it be read.
    #[error("cannot read {}: {source}", .path.display())]
    Unread {
        /// File or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file itself.
    #[error("{0}")]
    File(String),
    /// It asks for more memory than a file of its size may.
    #[error(
        "refused: reading it would take {needed} MB of memory, and a file of its size may take {allowed} MB. \
         A checkpoint of this form is damaged, or made to exhaust memory"
    )]
    Memory {
        /// Megabytes that it would take, at least.
        needed: u64,
        /// Megabytes that a file of its size may take.
        allowed: u64,
    },
    /// Tensors below a key that the file does not have, or has twice.
    #[error("{problem}; its keys are {}", .keys.join(", "))]
    Key {
        /// What is wrong with it.
        problem: String,
        /// Keys with tensors below them.
        keys: Vec<String>,
    },
    /// A tensor whose shape its name does not allow.
    #[error("`{name}` has shape {found:?}; {wanted}")]
    Shape {
        /// Name in the file.
        name: String,
        /// What the convention wants.
        wanted: String,
        /// What the file has.
        found: Vec<usize>,
    },
    /// What is told of the network, or what nobody tells, does not agree with the experiment or with any model of ours.
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

    /// For `map_err`: what the system said about a path.
    pub(crate) fn unread(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Unread { path, source }
    }
}
