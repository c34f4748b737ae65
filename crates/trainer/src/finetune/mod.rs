//! `finetune`: trains the weights of another run, with everything else fresh, in a new folder that records where the
//! weights came from.

mod merge;

use std::{collections::BTreeMap, path::Path};

use headway_model::{
    Model,
    weights::{Array, LoadReport},
};

use crate::{
    adapter, build,
    checkpoint::{Checkpoint, CheckpointConfig},
    device::OpenDevice,
    error::Error,
    event::Event,
    experiment::{Experiment, FinetuneConfig},
    fit::{self, Replaced},
    freeze::freeze,
    provenance::Lineage,
    room,
    run_dir::{NewRun, RunDir},
    session::{self, Finished, InitialState, Options, RunOrigin},
};

pub use merge::{Merged, merge};

/// A model with the weights of a checkpoint.
pub struct Prepared {
    /// The model, with a fresh adapter if the mode trains one.
    pub model: Model,
    /// Where its weights came from.
    pub lineage: Lineage,
    /// Notes for the user: doubts about the experiment, and what was replaced or left out, and why.
    pub notes: Vec<String>,
}

/// Trains an experiment from the weights of a checkpoint.
///
/// Every tensor must fit, except those whose sizes depend on the task if the tasks differ. With `allow_partial` the
/// others keep fresh values, and the record lists them.
///
/// # Errors
/// [`Error::Checkpoint`] if the weights do not fit, with one line per tensor; any other [`Error`].
pub fn finetune(
    experiment: &Experiment,
    from: &Path,
    allow_partial: bool,
    place: &NewRun,
    options: &Options,
) -> Result<Finished, Error> {
    let Prepared { model, lineage, notes } = prepare(experiment, from, allow_partial, &options.device)?;
    let source = build::build_source(experiment)?;
    let dir = RunDir::create(place)?;
    (options.on_event)(&Event::Prepared { notes });
    let start =
        InitialState { model, source, resumable: None, run: RunOrigin::New("finetune", Some(Box::new(lineage))) };
    session::run(experiment, dir, options, start)
}

/// Checks everything that can be wrong with a fine-tuning before its folder is made, so that a typo leaves nothing
/// behind.
///
/// # Errors
/// as [`finetune`]
pub fn prepare(
    experiment: &Experiment,
    from: &Path,
    allow_partial: bool,
    device: &OpenDevice,
) -> Result<Prepared, Error> {
    if let Some(other) = experiment.init_from.as_deref().filter(|other| *other != from) {
        return Err(Error::TwoStarts { init_from: other.to_owned(), from: from.to_owned() });
    }
    room::ensure_on_gpu(device, experiment)?;
    let checkpoint = Checkpoint::find(from)?;
    let config = checkpoint.config()?;
    let goes_on = goes_on(experiment, &config).map_err(|problem| Error::checkpoint(&checkpoint.path, problem))?;
    let arrays = if goes_on { checkpoint.weights()? } else { adapter::without(&checkpoint, &config)? };
    let model = build::build_plain(experiment, device)?;
    let model = if goes_on { build::with_adapter(model, experiment, device) } else { model };
    let fit::Fitted { model, report, replaced } = fit::fit(model, experiment, &config, arrays);
    if !allow_partial && !report.is_complete() {
        let hint = "sizes come from [model] and [task]; --allow-partial takes what fits";
        let problem = format!("{}\n{hint}", fit::mismatch(&report, experiment, &config));
        return Err(Error::checkpoint(&checkpoint.path, problem));
    }
    if report.taken.is_empty() {
        let problem = format!("none of its tensors fits the model:\n{}", report.table());
        return Err(Error::checkpoint(&checkpoint.path, problem));
    }
    let changed = fit::other_keys(experiment, &config);
    let notes = notes(&report, &replaced, &changed, experiment, &config);
    let lineage = Lineage { changed, ..lineage(from, &checkpoint, &config, report, &replaced)? };
    let model = if goes_on { model } else { build::with_adapter(model, experiment, device) };
    freeze(model.clone(), &experiment.finetune, &experiment.model, &lineage.fresh())?;
    Ok(Prepared { model, lineage, notes })
}

/// A checkpoint's weights by name, with a LoRA folded in, as other programs can use them.
///
/// # Errors
/// [`Error::Checkpoint`], also if it has a prefix or a prompt, which cannot be folded into weights;
/// [`Error::NotFinite`]
pub fn plain_weights(checkpoint: &Checkpoint) -> Result<BTreeMap<String, Array>, Error> {
    let arrays = adapter::without(checkpoint, &checkpoint.config()?)?;
    checkpoint.ensure_finite(&arrays)?;
    Ok(arrays)
}

/// Whether the experiment continues to train the prefix or prompt of a checkpoint: it cannot be folded into weights as
/// a LoRA can, but a run of the same mode can continue it.
///
/// # Errors
/// A sentence, for a prefix or prompt of another length.
fn goes_on(experiment: &Experiment, from: &CheckpointConfig) -> Result<bool, String> {
    let (length, was) = match (&experiment.finetune, &from.experiment.finetune) {
        (FinetuneConfig::Prefix(now), FinetuneConfig::Prefix(was)) => (now.length, was.length),
        (FinetuneConfig::Prompt(now), FinetuneConfig::Prompt(was)) => (now.length, was.length),
        _ => return Ok(false),
    };
    if length == was {
        return Ok(true);
    }
    let name = experiment.finetune.name();
    Err(format!("holds a {name} of {was} rows, which is trained on as it is: write -s finetune.{name}.length={was}"))
}

fn notes(
    report: &LoadReport,
    replaced: &[Replaced],
    changed: &[String],
    experiment: &Experiment,
    from: &CheckpointConfig,
) -> Vec<String> {
    let mut notes = experiment.doubts();
    if !replaced.is_empty() {
        let difference = fit::difference(&from.dims, &experiment.dims());
        notes.push(format!("the task has other sizes than the checkpoint's ({difference}); replaced:"));
        notes.extend(replaced.iter().map(|replaced| format!("  {}", replaced.sentence())));
    }
    if !changed.is_empty() {
        let what = if report.is_complete() { "the weights fit, but make another function" } else { "another function" };
        notes.push(format!("warning: {what} of: {}", changed.join("; ")));
    }
    if !report.is_complete() {
        let LoadReport { taken, missing, extra, mismatched } = report;
        notes.push(format!(
            "--allow-partial: {} tensors taken, {} of another shape and {} missing stay fresh, {} of the checkpoint left out:",
            taken.len(),
            mismatched.len(),
            missing.len(),
            extra.len()
        ));
        notes.push(report.table());
    }
    notes
}

fn lineage(
    from: &Path,
    checkpoint: &Checkpoint,
    config: &CheckpointConfig,
    report: LoadReport,
    replaced: &[Replaced],
) -> Result<Lineage, Error> {
    let now = replaced.iter().filter(|replaced| replaced.now.is_some());
    Ok(Lineage {
        missing: report.missing,
        extra: report.extra,
        mismatched: report.mismatched.into_iter().map(|mismatch| mismatch.name).collect(),
        replaced: now.map(|replaced| replaced.name.clone()).collect(),
        ..checkpoint.as_lineage(from, config, report.taken.len())?
    })
}
