//! What can be wrong with a study, or with a run of it.

use std::{io, path::PathBuf};

use headway_trainer::{ErrorKind, VerbError, experiment::ExperimentError};
use thiserror::Error;

/// An error of a study.
#[derive(Debug, Error)]
pub enum Error {
    /// The file of the study, or an experiment of it, is wrong.
    #[error(transparent)]
    Experiment(Box<ExperimentError>),
    /// One of its runs, or what it needs of one.
    #[error(transparent)]
    Trainer(headway_trainer::Error),
    /// A profile that the file does not have.
    #[error(
        "{} has no profile `{name}`; {}", .path.display(),
        if .known.is_empty() { "it has none".to_owned() } else { format!("there are: {}", .known.join(", ")) }
    )]
    NoProfile {
        /// The file.
        path: PathBuf,
        /// The profile asked for.
        name: String,
        /// Profiles that it has.
        known: Vec<String>,
    },
    /// A folder that is neither a run's nor a study's.
    #[error("{} holds no run, and neither {} nor {}", .path.display(), .missing[0], .missing[1])]
    NoStudy {
        /// The folder.
        path: PathBuf,
        /// The files of which it should have one.
        missing: [&'static str; 2],
    },
    /// A run beyond the plan.
    #[error("there is no run {index}: the plan has {there}, counted from 0")]
    NoRun {
        /// Its index.
        index: usize,
        /// Runs of the plan.
        there: usize,
    },
    /// A run that the plan does not have.
    #[error("there is no run {0} in the plan")]
    UnknownRun(String),
    /// A run that failed earlier and was not to be tried again.
    #[error("failed before: {message}\n--retry tries again")]
    FailedBefore {
        /// Exit code of that error.
        exit_code: u8,
        /// That error.
        message: String,
    },
    /// The process of a run cannot be started or waited for.
    #[error("cannot {action} the process of a run: {source}")]
    Process {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl From<headway_trainer::Error> for Error {
    fn from(error: headway_trainer::Error) -> Self {
        match error {
            headway_trainer::Error::Experiment(error) => Self::Experiment(error),
            error => Self::Trainer(error),
        }
    }
}

impl VerbError for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Trainer(error) => error.kind(),
            Self::Process { .. } => ErrorKind::Failed,
            Self::FailedBefore { exit_code, .. } => ErrorKind::Earlier(*exit_code),
            Self::Experiment(_)
            | Self::NoProfile { .. }
            | Self::NoStudy { .. }
            | Self::NoRun { .. }
            | Self::UnknownRun(_) => ErrorKind::Usage,
        }
    }

    fn experiment(&self) -> Option<&ExperimentError> {
        match self {
            Self::Experiment(error) => Some(error),
            _ => None,
        }
    }
}
