//! `resume`: the same run goes on where it stopped, with the same config and the same bits.

use std::path::Path;

use headway_model::weights;

use crate::{
    error::Error,
    experiment::{self, Experiment},
    log,
    provenance::Record,
    run_dir::{self, RunDir},
    session::{self, Options, Run, Start, Summary},
};

/// Continues a run from its newest checkpoint, or from the start when it was killed before the first. A run that is
/// complete stays as it is.
///
/// # Errors
/// [`Error::Checkpoint`] when the checkpoint is damaged or `experiment.toml` was changed since; any other [`Error`].
pub fn resume(root: &Path, options: &Options) -> Result<Summary, Error> {
    resume_in(RunDir::open(root)?, options)
}

/// [`resume`] of a run already opened.
pub(crate) fn resume_in(dir: RunDir, options: &Options) -> Result<Summary, Error> {
    let root = &dir.root().to_owned();
    let experiment = experiment::load(&dir.experiment(), &[])?.experiment;
    let record = run_dir::read_record(root)?;
    let checkpoints = dir.checkpoints();
    let Some((newest, earlier)) = checkpoints.split_last() else {
        let start = from_the_start(root, &experiment, options, record)?;
        log::truncate(&dir, 0)?;
        return session::run(&experiment, dir, options, start);
    };
    let damaged = |error| match (error, earlier.last()) {
        (Error::Checkpoint { path, problem }, Some(earlier)) => {
            let (newest, earlier) = (newest.path.display(), earlier.path.display());
            Error::checkpoint(path, format!("{problem}. Delete {newest} to go on from {earlier}"))
        }
        (error, _) => error,
    };
    let resumable = newest.resumable().map_err(damaged)?;
    if resumable.state.experiment != experiment.digest() {
        let problem = "belongs to another config: experiment.toml was changed after the run began. \
                       Undo the change, or start a new run from these weights with `headway finetune`";
        return Err(Error::checkpoint(&newest.path, problem));
    }
    if record.status.is_final() {
        return Ok(session::summary(&dir, record));
    }
    let model = session::load_model(&experiment, newest, &options.device).map_err(damaged)?;
    let arrays = weights::arrays(&model);
    let stray = resumable.moments.iter().find(|(name, moment)| {
        let parameter = name.rsplit_once('.').and_then(|(parameter, _)| arrays.get(parameter));
        parameter.is_none_or(|parameter| parameter.values.len() != moment.values.len())
    });
    if let Some((name, _)) = stray {
        let problem = format!("the optimiser's {name} does not fit the weights");
        return Err(damaged(Error::checkpoint(&newest.path, problem)));
    }
    log::truncate(&dir, resumable.state.step)?;
    let start = Start { model, resumable: Some(resumable), run: Run::Known(Box::new(record)) };
    session::run(&experiment, dir, options, start)
}

fn from_the_start(root: &Path, experiment: &Experiment, options: &Options, record: Record) -> Result<Start, Error> {
    if record.lineage.is_some() {
        let problem = "was killed before its first checkpoint, and its starting weights came from elsewhere; \
                       delete the folder and run `headway finetune` again";
        return Err(Error::checkpoint(root, problem));
    }
    let model = session::build_model(experiment, &options.device)?;
    Ok(Start { model, resumable: None, run: Run::Known(Box::new(record)) })
}
