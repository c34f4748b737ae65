//! Why a page or a card cannot be written.

use std::path::PathBuf;

use headway_draw::PatternError;
use headway_trainer::{ErrorKind, VerbError, experiment::ExperimentError};
use thiserror::Error;

/// Why there is no page, card or certificate.
#[derive(Debug, Error)]
pub enum Error {
    /// What it needs of one run cannot be had.
    #[error(transparent)]
    Trainer(#[from] headway_trainer::Error),
    /// What it needs of a study cannot be had.
    #[error(transparent)]
    Study(#[from] headway_study::Error),
    /// What it needs of a network cannot be had.
    #[error(transparent)]
    Inspect(#[from] headway_inspect::Error),
    /// Patterns that cannot be drawn.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A card of nothing.
    #[error("a card needs one checkpoint at least")]
    NoCheckpoint,
    /// One card of different experiments.
    #[error(
        "{} and {} are of different experiments; a card is about one, with several seeds or one",
        .0[0].display(), .0[1].display()
    )]
    OtherExperiments([PathBuf; 2]),
    /// One card of two checkpoints that do not even differ in the seed.
    #[error("{} and {} have the same seed, {seed}", .paths[0].display(), .paths[1].display())]
    SameSeed {
        /// Both.
        paths: [PathBuf; 2],
        /// Their seed.
        seed: u64,
    },
}

impl VerbError for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Trainer(error) => error.kind(),
            Self::Study(error) => error.kind(),
            Self::Inspect(error) => error.kind(),
            Self::Pattern(_) => ErrorKind::Failed,
            Self::NoCheckpoint | Self::OtherExperiments(_) | Self::SameSeed { .. } => ErrorKind::Usage,
        }
    }

    fn experiment(&self) -> Option<&ExperimentError> {
        match self {
            Self::Trainer(error) => error.experiment(),
            Self::Study(error) => error.experiment(),
            Self::Inspect(error) => error.experiment(),
            Self::Pattern(_) | Self::NoCheckpoint | Self::OtherExperiments(_) | Self::SameSeed { .. } => None,
        }
    }
}
