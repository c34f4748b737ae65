//! Everything that can go wrong while training, and the exit code it ends with.

use std::{
    fmt::Display,
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use headway_model::Precision;

use crate::{bad_inputs::BadInputs, problem::ExperimentError};

const CANNOT_READ: &str = "cannot read";

/// An error of any verb.
#[derive(Debug, Error)]
pub enum Error {
    /// The experiment file or an override is wrong.
    #[error(transparent)]
    Experiment(#[from] Box<ExperimentError>),
    /// What was asked for makes no sense; the message says what would.
    #[error("{0}")]
    Usage(String),
    /// Inputs for a network that it does not take, or that cannot be read.
    #[error("{}: {problem}", .path.display())]
    Inputs {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: BadInputs,
    },
    /// A checkpoint is missing, damaged or of another model.
    #[error("checkpoint {}: {problem}", .path.display())]
    Checkpoint {
        /// Folder or file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// No such device, or it cannot be used.
    #[error("{0}")]
    Device(String),
    /// The loss or a weight stopped being a number.
    #[error("diverged at step {step}: {tensor} is not finite; {kept}. {remedy}")]
    Diverged {
        /// Step at which it was noticed.
        step: u64,
        /// First tensor, in the model's order, that holds NaN or an infinity.
        tensor: String,
        /// What was saved before.
        kept: String,
        /// What may help.
        remedy: &'static str,
    },
    /// What a network answers is not finite.
    #[error("{0}")]
    NotFinite(String),
    /// A run of a sweep that failed earlier and was not to be tried again.
    #[error("failed before: {message}\n--retry tries again")]
    FailedBefore {
        /// Exit code of that error.
        exit_code: u8,
        /// That error.
        message: String,
    },
    /// A file could not be read or written.
    #[error("{action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system gave no thread.
    #[error("{}", no_threads(.0))]
    NoThread(io::Error),
    /// burn's training frame stopped with an error.
    #[error("training stopped: {0}")]
    Training(String),
}

/// What to say where the system gives no thread.
pub fn no_threads(problem: &impl Display) -> String {
    format!("the system gives no more threads ({problem}); raise the limit (`ulimit -u`) or set RAYON_NUM_THREADS=1")
}

impl Error {
    /// The process exit code: 1 failed, 2 usage or config, 3 checkpoint, 4 device, 5 diverged.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Io { .. } | Self::NoThread(_) | Self::Training(_) => 1,
            Self::Experiment(_) | Self::Usage(_) | Self::Inputs { .. } => 2,
            Self::Checkpoint { .. } => 3,
            Self::Device(_) => 4,
            Self::Diverged { .. } | Self::NotFinite(_) => 5,
            Self::FailedBefore { exit_code, .. } => *exit_code,
        }
    }

    /// Of a network that computes attention in this precision, whose `what` is not finite; says what may help.
    pub fn not_finite(what: &str, precision: Precision) -> Self {
        let remedy = match precision {
            Precision::F16 => "f16 ends at 65504: set train.attention_precision to bf16 or f32",
            Precision::F32 | Precision::Bf16 => "train with a smaller learning rate or train.clip_norm",
        };
        Self::NotFinite(format!("{what} of the network is not finite; {remedy}"))
    }

    /// Of a checkpoint, or of a file of weights, and what is wrong with it.
    pub fn checkpoint(path: impl Into<PathBuf>, problem: impl ToString) -> Self {
        Self::Checkpoint { path: path.into(), problem: problem.to_string() }
    }

    /// About a file of weights that is no checkpoint of ours, unless the system does not let it be read.
    pub fn refused(path: &Path, error: headway_exchange::Error) -> Self {
        match error {
            headway_exchange::Error::Unread { path, source } => {
                Self::unreadable(&path, source, |source| Self::checkpoint(&path, source))
            }
            error => Self::checkpoint(path, error),
        }
    }

    /// For `map_err`: a path that could not be read or looked at.
    pub fn unread(path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::io(CANNOT_READ, path)
    }

    /// What was given is at fault where there is no such file, or none that can be what it should be, as `given` says; the
    /// system for everything else, which may be right the next time.
    pub fn unreadable(path: &Path, error: io::Error, given: impl FnOnce(io::Error) -> Self) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::NotFound
            | Kind::NotADirectory
            | Kind::IsADirectory
            | Kind::InvalidInput
            | Kind::InvalidData
            | Kind::InvalidFilename
            | Kind::FileTooLarge => given(error),
            _ => Self::unread(path)(error),
        }
    }

    /// Whether nothing was wrong but that something could not be read.
    pub fn is_unread(&self) -> bool {
        matches!(self, Self::Io { action: CANNOT_READ, .. })
    }

    /// For `map_err`: wraps what the system said about a path.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
