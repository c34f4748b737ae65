//! Names of the files in a run folder.

use std::path::Path;

use crate::{error::Error, presence};

pub(crate) const EXPERIMENT: &str = "experiment.toml";
pub(crate) const RECORD: &str = "run.json";
pub(crate) const METRICS: &str = "metrics.jsonl";
pub(crate) const REPORT: &str = "report.html";
pub(crate) const CHECKPOINTS: &str = "checkpoints";
pub(crate) const FIGURES: &str = "figures";
pub(crate) const FAILURE: &str = "failure.json";

/// Whether a folder contains a run that can be opened.
///
/// # Errors
/// [`Error::Io`] if the folder cannot be read.
pub(crate) fn is_run(root: &Path) -> Result<bool, Error> {
    presence::is_file(&root.join(EXPERIMENT))
}
