//! `train`: fresh weights, fresh optimiser, a new folder.

use crate::{
    error::Error,
    experiment::Experiment,
    run_dir::{NewRun, RunDir},
    session::{self, Options, Run, Start, Summary},
};

/// Trains an experiment in a new folder.
///
/// # Errors
/// Any [`Error`]; after [`Error::Diverged`] and [`Error::Io`] the folder holds the last good checkpoint.
pub fn train(experiment: &Experiment, place: &NewRun, options: &Options) -> Result<Summary, Error> {
    check(experiment)?;
    train_in(experiment, RunDir::create(place)?, options)
}

/// [`train`] in a folder already made.
pub(crate) fn train_in(experiment: &Experiment, dir: RunDir, options: &Options) -> Result<Summary, Error> {
    let model = session::build_model(experiment, &options.device)?;
    let start = Start { model, resumable: None, run: Run::New("train", None) };
    session::run(experiment, dir, options, start)
}

/// The rules for this verb alone.
///
/// # Errors
/// [`Error::Usage`]
pub fn check(experiment: &Experiment) -> Result<(), Error> {
    if experiment.finetune.freeze.is_empty() {
        return Ok(());
    }
    let problem = "finetune.freeze is set, but `train` starts from random weights; use `headway finetune`";
    Err(Error::Usage(problem.to_owned()))
}
