//! `train`: fresh weights, fresh optimiser, a new folder.

use std::path::Path;

use crate::{
    error::Error,
    experiment::Experiment,
    run_dir::RunDir,
    session::{self, Options, Start, Summary},
};

/// Trains an experiment in a new folder.
///
/// # Errors
/// Any [`Error`]; after [`Error::Diverged`] and [`Error::Io`] the folder holds the last good checkpoint.
pub fn train(experiment: &Experiment, root: &Path, options: &Options) -> Result<Summary, Error> {
    if !experiment.finetune.freeze.is_empty() {
        let problem = "finetune.freeze is set, but `train` starts from random weights; use `headway finetune`";
        return Err(Error::Usage(problem.to_owned()));
    }
    let dir = RunDir::create(root)?;
    dir.write(&dir.experiment(), experiment.to_toml().as_bytes())?;
    let model = session::build_model(experiment, &options.device)?;
    let start = Start { verb: "train", model, lineage: None, resumable: None, record: None };
    session::run(experiment, dir, options, start)
}
