//! `train`: fresh weights or those of a checkpoint that the experiment names, fresh optimiser, a new folder.

use crate::{
    build,
    device::OpenDevice,
    error::Error,
    event::Event,
    experiment::Experiment,
    finetune::{self, Prepared},
    run_dir::{NewRun, RunDir},
    session::{self, Finished, InitialState, Options, RunOrigin},
};

/// Trains an experiment in a new folder.
///
/// # Errors
/// Any [`Error`]; after [`Error::Diverged`] and [`Error::Io`] the folder holds the last good checkpoint.
pub fn train(experiment: &Experiment, place: &NewRun, options: &Options) -> Result<Finished, Error> {
    // Before the folder is made: a checkpoint that does not fit leaves nothing behind.
    let (start, notes) = prepare(experiment, &options.device)?;
    let dir = RunDir::create(place)?;
    (options.on_event)(&Event::Prepared { notes });
    session::run(experiment, dir, options, start)
}

/// [`train`] in a folder already made, for a study, whose rows may keep random weights to be compared with.
///
/// # Errors
/// as [`train`]
pub fn train_in(experiment: &Experiment, dir: RunDir, options: &Options) -> Result<Finished, Error> {
    let (start, notes) = begin(experiment, &options.device)?;
    (options.on_event)(&Event::Prepared { notes });
    session::run(experiment, dir, options, start)
}

/// [`begin`] for [`train`], which has nothing to keep of random weights.
///
/// # Errors
/// as [`begin`]; [`Error::NoStart`] for a mode of fine-tuning without weights to fine-tune.
pub fn prepare(experiment: &Experiment, device: &OpenDevice) -> Result<(InitialState, Vec<String>), Error> {
    ensure_worth_keeping(experiment)?;
    begin(experiment, device)
}

/// Refuses what [`train`] refuses before its first step, and gives what a person should know about its weights. Nothing is built where
/// those are random.
///
/// # Errors
/// as [`prepare`]
pub fn check(experiment: &Experiment, device: &OpenDevice) -> Result<Vec<String>, Error> {
    ensure_worth_keeping(experiment)?;
    if experiment.init_from.is_some() {
        return Ok(begin(experiment, device)?.1);
    }
    device.ensure_takes(experiment)?;
    Ok(Vec::new())
}

/// The model at step 0, and what a person should know about its weights.
///
/// # Errors
/// [`Error::Checkpoint`] when the weights that the experiment starts from do not fit; [`Error::Device`]
pub fn begin(experiment: &Experiment, device: &OpenDevice) -> Result<(InitialState, Vec<String>), Error> {
    let (model, lineage, notes) = match &experiment.init_from {
        None => (build::build_model(experiment, device)?, None, Vec::new()),
        Some(from) => {
            let Prepared { model, lineage, notes } = finetune::prepare(experiment, from, false, device)?;
            (model, Some(Box::new(lineage)), notes)
        }
    };
    // Examples that do not fit into memory were refused with the model.
    let source = build::build_source(experiment)?;
    Ok((InitialState { model, source, resumable: None, run: RunOrigin::New("train", lineage) }, notes))
}

/// The one rule of this verb alone.
fn ensure_worth_keeping(experiment: &Experiment) -> Result<(), Error> {
    if !experiment.finetune.keeps_weights() || experiment.init_from.is_some() {
        return Ok(());
    }
    Err(Error::NoStart { mode: experiment.finetune.name() })
}
