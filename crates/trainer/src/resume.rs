//! `resume`: continues a run where it stopped, with the same config and to the same bits.

use std::path::Path;

use headway_model::weights;

use crate::{
    build,
    checkpoint::Checkpoint,
    error::{Error, ErrorKind},
    experiment::{self, Experiment},
    log, notice,
    provenance::{Record, Summary},
    quote,
    run_dir::{self, RunDir},
    session::{self, Finished, InitialState, Options, RunOrigin},
};

/// Result of resuming a run.
pub enum Resumed {
    /// There was nothing left to do.
    Complete(Summary),
    /// It was trained further.
    Trained(Box<Finished>),
}

impl Resumed {
    /// The summary of the run; `conclude` finishes a run that was trained further.
    ///
    /// # Errors
    /// The errors of `conclude`.
    pub fn end<E>(self, conclude: impl FnOnce(Finished) -> Result<Summary, E>) -> Result<Summary, E> {
        match self {
            Self::Complete(summary) => Ok(summary),
            Self::Trained(finished) => conclude(*finished),
        }
    }
}

/// Continues a run from its newest checkpoint, or from the start if it was killed before the first. A complete run
/// stays as it is. If the record cannot be read, a new one is made from the checkpoint, with a notice.
///
/// # Errors
/// [`Error::Checkpoint`] if the checkpoint is damaged or `experiment.toml` has changed since; any other [`Error`].
pub fn resume(root: &Path, options: &Options) -> Result<Resumed, Error> {
    resume_in(RunDir::open(root)?, options)
}

/// [`resume`] for a run folder that is already open.
pub fn resume_in(dir: RunDir, options: &Options) -> Result<Resumed, Error> {
    let root = &dir.root().to_owned();
    let experiment = experiment::load_to_train(&dir.experiment(), &[])?.experiment;
    // The record decides only whether the run is done, and the checkpoints know that too.
    let record = match run_dir::read_record(root) {
        Err(error) if error.kind() == ErrorKind::Usage => Err(error),
        record => Ok(record?),
    };
    let checkpoints = dir.checkpoints()?;
    let Some((newest, earlier)) = checkpoints.split_last() else {
        let record = record?;
        if record.status.is_final() {
            return Ok(Resumed::Complete(session::summary(&dir, record, &experiment)));
        }
        let start = from_the_start(&dir, &experiment, options, record)?;
        dir.truncate_metrics(0)?;
        return Ok(Resumed::Trained(Box::new(session::run(&experiment, dir, options, start)?)));
    };
    let damaged = |error| match (error, earlier.last()) {
        (Error::Checkpoint { path, problem }, Some(earlier)) => {
            let aside = quote::shell_path(newest.path.with_extension("aside"));
            let (newest, earlier) = (quote::shell_path(&newest.path), earlier.path.display());
            Error::checkpoint(path, format!("{problem}. To go on from {earlier}, move it aside: mv {newest} {aside}"))
        }
        (error, _) => error,
    };
    let resumable = newest.resumable().map_err(damaged)?;
    if resumable.state.experiment != experiment.digest() {
        let problem = "belongs to another config: experiment.toml was changed after the run began. \
                       Undo the change, or start a new run from these weights with `headway finetune`";
        return Err(Error::checkpoint(&newest.path, problem));
    }
    dir.note_amiss(log::verify(root)?);
    let record = match record {
        Ok(record) if record.status.is_final() => {
            return Ok(Resumed::Complete(session::summary(&dir, record, &experiment)));
        }
        record => record,
    };
    let model = build::load_model(&experiment, newest, &options.device).map_err(damaged)?;
    let source = build::build_source(&experiment)?;
    let shapes = weights::shapes(&model);
    for (name, moment) in &resumable.moments {
        let shape = name.rsplit_once('.').and_then(|(parameter, _)| shapes.get(parameter));
        let found = moment.values.len();
        if shape.is_none_or(|shape| shape.iter().product::<usize>() != found) {
            let there = shape.map_or_else(
                || "no parameter is called so".to_owned(),
                |shape| format!("its parameter has shape {shape:?}"),
            );
            let problem =
                format!("the optimiser's {name} does not fit the weights: it holds {found} numbers, and {there}");
            return Err(damaged(Error::checkpoint(&newest.path, problem)));
        }
    }
    let run = match record {
        Ok(record) => RunOrigin::Known(Box::new(record)),
        Err(problem) => unrecorded(&dir, newest, &problem.to_string())?,
    };
    dir.truncate_metrics(resumable.state.step)?;
    let finished =
        session::run(&experiment, dir, options, InitialState { model, source, resumable: Some(resumable), run })?;
    Ok(Resumed::Trained(Box::new(finished)))
}

/// What a checkpoint knows about a run whose record cannot be read.
fn unrecorded(dir: &RunDir, newest: &Checkpoint, problem: &str) -> Result<RunOrigin, Error> {
    let lineage = newest.lineage()?;
    let verb = if lineage.is_some() { "finetune" } else { "train" };
    let there = dir.set_record_aside()?.map(|aside| format!(" The old one is {}.", aside.display()));
    let (newest, there) = (newest.path.display(), there.unwrap_or_default());
    notice::say(format!(
        "warning: {problem}. Going on from {newest} with a new record, whose seconds count from here.{there}"
    ));
    Ok(RunOrigin::Unrecorded(verb, lineage.map(Box::new)))
}

fn from_the_start(
    dir: &RunDir,
    experiment: &Experiment,
    options: &Options,
    record: Record,
) -> Result<InitialState, Error> {
    let root = dir.root();
    // The first checkpoint is saved before the first line is logged.
    if record.step > 0 || !log::read(&dir.metrics())?.is_empty() {
        let problem = "has logged steps, but no whole checkpoint is left in checkpoints/. Put one back to go on from it, or \
                       train anew in another folder";
        return Err(Error::checkpoint(root, problem));
    }
    if record.lineage.is_some() {
        let problem = "was killed before its first checkpoint, and its starting weights came from elsewhere; \
                       delete the folder and run `headway finetune` again";
        return Err(Error::checkpoint(root, problem));
    }
    let model = build::build_model(experiment, &options.device)?;
    let source = build::build_source(experiment)?;
    Ok(InitialState { model, source, resumable: None, run: RunOrigin::Known(Box::new(record)) })
}
