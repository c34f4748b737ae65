//! `resume`: the same run goes on where it stopped, with the same config and the same bits.

use std::path::Path;

use headway_model::weights;

use crate::{
    error::Error,
    experiment::{self, Experiment},
    log,
    run_dir::{self, RunDir},
    session::{self, Options, Start, Summary},
};

/// Continues a run from its newest checkpoint, or from the start when it was killed before the first.
///
/// # Errors
/// [`Error::Checkpoint`] when the checkpoint is damaged or `experiment.toml` was changed since; any other [`Error`].
pub fn resume(root: &Path, options: &Options) -> Result<Summary, Error> {
    let dir = RunDir::open(root)?;
    let experiment = experiment::load(&dir.experiment(), &[])?.experiment;
    let record = run_dir::read_record(root).ok();
    let start = match dir.checkpoints().last() {
        Some(checkpoint) => {
            let resumable = checkpoint.resumable()?;
            if resumable.state.experiment != experiment.digest() {
                let problem = "belongs to another config: experiment.toml was changed after the run began. \
                               Undo the change, or start a new run from these weights with `headway finetune`";
                return Err(Error::checkpoint(&checkpoint.path, problem));
            }
            let model = session::build_model(&experiment, &options.device)?;
            let (model, _) = weights::load(model, checkpoint.weights()?)
                .map_err(|error| Error::checkpoint(&checkpoint.path, error))?;
            Start { verb: "resume", model, lineage: None, resumable: Some(resumable), record }
        }
        None => from_the_start(root, &experiment, options, record)?,
    };
    let step = start.resumable.as_ref().map_or(0, |resumable| resumable.state.step);
    log::truncate(&dir, step)?;
    session::run(&experiment, dir, options, start)
}

fn from_the_start(
    root: &Path,
    experiment: &Experiment,
    options: &Options,
    record: Option<crate::provenance::Record>,
) -> Result<Start, Error> {
    if record.as_ref().is_some_and(|record| record.lineage.is_some()) {
        let problem = "was killed before its first checkpoint, and its starting weights came from elsewhere; \
                       delete the folder and run `headway finetune` again";
        return Err(Error::checkpoint(root, problem));
    }
    let model = session::build_model(experiment, &options.device)?;
    Ok(Start { verb: "train", model, lineage: None, resumable: None, record })
}
