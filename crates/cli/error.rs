//! What a verb can end with beside what the libraries say.

use std::io;

use headway_theory::{Objection, Refusal, convergence::NotBuilt};
use headway_trainer::{ErrorKind, VerbError, experiment::ExperimentError};
use thiserror::Error;

/// An error of any verb.
#[derive(Debug, Error)]
pub enum Error {
    /// About one run.
    #[error(transparent)]
    Trainer(#[from] headway_trainer::Error),
    /// About a study.
    #[error(transparent)]
    Study(#[from] headway_study::Error),
    /// About the inside of a network.
    #[error(transparent)]
    Inspect(#[from] headway_inspect::Error),
    /// About a page.
    #[error(transparent)]
    Report(#[from] headway_report::Error),
    /// There is no such construction.
    #[error("{}", refused(.0))]
    Refused(#[from] Refusal),
    /// There is no certificate.
    #[error(transparent)]
    Objection(#[from] Objection),
    /// A construction whose error is to be measured cannot be built.
    #[error(transparent)]
    NotBuilt(#[from] NotBuilt),
    /// A name of no key.
    #[error(transparent)]
    NoSuchKey(#[from] headway_keys::NoSuchKey),
    /// A name that a list does not have.
    #[error("`headway list {list}` has no `{name}`{}", meant_or_listed(.like))]
    NoEntry {
        /// The list.
        list: String,
        /// The name.
        name: String,
        /// Names like it.
        like: Vec<String>,
    },
    /// A name of no reproduction.
    #[error("no reproduction is called `{id}`; there are {}", .known.join(", "))]
    NoReproduction {
        /// The name.
        id: String,
        /// Names that there are.
        known: Vec<&'static str>,
    },
    /// Options of runs for what trains nothing.
    #[error("this reproduction trains nothing: it has no profiles, settings, seeds or jobs to change")]
    TrainsNothing,
    /// Names of another program for a folder that has its own.
    #[error("a folder of hugging-face has the names of GPT-2 or Llama; leave --names out")]
    NamesOfGpt2,
    /// Several benchmarks for one process.
    #[error("--here times one benchmark at a time")]
    OneBenchmark,
    /// The process of a benchmark failed.
    #[error("benchmark {name}: {said}")]
    Benchmark {
        /// Which.
        name: &'static str,
        /// What it said.
        said: String,
        /// What kind of end it was.
        kind: ErrorKind,
    },
    /// The program that is to be started for a run.
    #[error("cannot find this program: {0}")]
    NoProgram(io::Error),
}

/// What may have been meant.
fn meant(like: &[String]) -> String {
    let like: Vec<String> = like.iter().map(|name| format!("`{name}`")).collect();
    if like.is_empty() { String::new() } else { format!("; did you mean {}?", like.join(" or ")) }
}

/// [`meant`], or where all names are.
fn meant_or_listed(like: &[String]) -> String {
    if like.is_empty() { "; without a name it shows all".to_owned() } else { meant(like) }
}

/// Keys of a construction are its options.
fn refused(refusal: &Refusal) -> String {
    let dashes = if matches!(refusal, Refusal::Invalid { .. }) { "--" } else { "" };
    format!("{dashes}{refusal}")
}

impl VerbError for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Trainer(error) => error.kind(),
            Self::Study(error) => error.kind(),
            Self::Inspect(error) => error.kind(),
            Self::Report(error) => error.kind(),
            Self::Benchmark { kind, .. } => *kind,
            Self::Objection(Objection::Fault { .. }) | Self::NotBuilt(_) | Self::NoProgram(_) => ErrorKind::Failed,
            Self::Objection(Objection::NotFinite { .. } | Objection::Refuted { .. })
            | Self::Refused(_)
            | Self::NoReproduction { .. }
            | Self::NoSuchKey(_)
            | Self::NoEntry { .. }
            | Self::TrainsNothing
            | Self::NamesOfGpt2
            | Self::OneBenchmark => ErrorKind::Usage,
        }
    }

    fn experiment(&self) -> Option<&ExperimentError> {
        match self {
            Self::Trainer(error) => error.experiment(),
            Self::Study(error) => error.experiment(),
            Self::Inspect(error) => error.experiment(),
            Self::Report(error) => error.experiment(),
            _ => None,
        }
    }
}
