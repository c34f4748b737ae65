//! `train`: trains fresh weights, or those of a checkpoint that the experiment names, with a fresh optimiser in a new
//! folder.

use crate::{
    build,
    device::OpenDevice,
    error::Error,
    event::Event,
    experiment::Experiment,
    finetune::{self, Prepared},
    room,
    run_dir::{NewRun, RunDir},
    session::{self, Finished, InitialState, Options, RunOrigin},
};

/// Trains an experiment in a new folder.
///
/// # Errors
/// Any [`Error`]; after [`Error::Diverged`] and [`Error::Io`] the folder holds the last good checkpoint.
pub fn train(experiment: &Experiment, place: &NewRun, options: &Options) -> Result<Finished, Error> {
    // Done before the folder is made, so that a checkpoint that does not fit leaves nothing behind.
    let (start, notes) = prepare(experiment, &options.device)?;
    let dir = RunDir::create(place)?;
    (options.on_event)(&Event::Prepared { notes });
    session::run(experiment, dir, options, start)
}

/// [`train`] in an existing folder, for a study, whose rows may freeze random weights for comparison.
///
/// # Errors
/// as [`train`]
pub fn train_in(experiment: &Experiment, dir: RunDir, options: &Options) -> Result<Finished, Error> {
    let (start, notes) = begin(experiment, &options.device)?;
    (options.on_event)(&Event::Prepared { notes });
    session::run(experiment, dir, options, start)
}

/// [`begin`] for [`train`], where freezing random weights makes no sense.
///
/// # Errors
/// as [`begin`]; [`Error::NoStart`] for a mode of fine-tuning without weights to fine-tune.
pub fn prepare(experiment: &Experiment, device: &OpenDevice) -> Result<(InitialState, Vec<String>), Error> {
    ensure_worth_keeping(experiment)?;
    begin(experiment, device)
}

/// Refuses what [`train`] would refuse before its first step, and returns notes for the user: its doubts, and what is said about its initial weights.
/// Random weights are not built.
///
/// # Errors
/// as [`prepare`]
pub fn check(experiment: &Experiment, device: &OpenDevice) -> Result<Vec<String>, Error> {
    ensure_worth_keeping(experiment)?;
    if experiment.init_from.is_some() {
        return Ok(begin(experiment, device)?.1);
    }
    device.ensure_takes(experiment)?;
    room::ensure_on_gpu(device, experiment)?;
    Ok(experiment.doubts())
}

/// The model at step 0, and notes for the user, doubts first.
///
/// # Errors
/// [`Error::Checkpoint`] if the weights that the experiment starts from do not fit; [`Error::Device`]
pub fn begin(experiment: &Experiment, device: &OpenDevice) -> Result<(InitialState, Vec<String>), Error> {
    room::ensure_on_gpu(device, experiment)?;
    let (model, lineage, notes) = match &experiment.init_from {
        None => (build::build_model(experiment, device)?, None, experiment.doubts()),
        Some(from) => {
            let Prepared { model, lineage, notes } = finetune::prepare(experiment, from, false, device)?;
            (model, Some(Box::new(lineage)), notes)
        }
    };
    // Examples that do not fit into memory have been refused with the model.
    let source = build::build_source(experiment)?;
    Ok((InitialState { model, source, resumable: None, run: RunOrigin::New("train", lineage) }, notes))
}

/// The rule that only this verb has: do not freeze random weights.
fn ensure_worth_keeping(experiment: &Experiment) -> Result<(), Error> {
    if !experiment.finetune.keeps_weights() || experiment.init_from.is_some() {
        return Ok(());
    }
    Err(Error::NoStart { mode: experiment.finetune.name() })
}
