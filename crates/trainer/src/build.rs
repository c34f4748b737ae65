//! Builds the model and the examples of an experiment.

use std::collections::BTreeMap;

use headway_model::{
    Initializer, Model,
    weights::{self, Array},
};
use headway_tasks::{Seed, Source, Stream, Task, TaskError};

use crate::{
    checkpoint::Checkpoint,
    data,
    device::OpenDevice,
    error::Error,
    experiment::{Experiment, WORST_SHARE, WorstBoxes},
    fit,
};

/// Fresh weights for an experiment, including the adapter of its mode of fine-tuning; the same on every device.
///
/// # Errors
/// [`Error::Device`] when the experiment cannot fit into memory; [`Error::Model`] when model and task do not fit, which a
/// checked experiment rules out.
pub fn build_model(experiment: &Experiment, device: &OpenDevice) -> Result<Model, Error> {
    Ok(with_adapter(build_plain(experiment, device)?, experiment, device))
}

/// The model with a fresh adapter, if the experiment's mode of fine-tuning trains one.
pub(crate) fn with_adapter(model: Model, experiment: &Experiment, device: &OpenDevice) -> Model {
    let Some(adapter) = experiment.finetune.adapter() else { return model };
    let mut rng = Seed(experiment.seed).rng(Stream::Adapter, 0);
    model.with_adapter(adapter, Some(&mut rng), &device.device.clone().autodiff())
}

/// Fresh weights for an experiment, without an adapter; the same on every device.
///
/// # Errors
/// [`Error::Device`] when the experiment cannot fit into memory; [`Error::Model`] when model and task do not fit, which a
/// checked experiment rules out.
pub(crate) fn build_plain(experiment: &Experiment, device: &OpenDevice) -> Result<Model, Error> {
    device.ensure_takes(experiment)?;
    let mut rng = Seed(experiment.seed).rng(Stream::Init, 0);
    let device = device.device.clone().autodiff();
    let mut init = in_precision(Initializer::new(&mut rng, &device), experiment);
    Ok(experiment.model.build(&experiment.dims(), &mut init)?)
}

/// The model of an experiment with the weights of a checkpoint. All names and shapes are compared before memory is
/// allocated for any weight, so that a config cannot take more memory than the weights beside it.
///
/// # Errors
/// [`Error::Checkpoint`] if a tensor does not fit, with one line per tensor, or if the experiment computes another
/// function with the weights than the checkpoint's config; [`Error::Device`]
pub(crate) fn load_model(
    experiment: &Experiment,
    checkpoint: &Checkpoint,
    device: &OpenDevice,
) -> Result<Model, Error> {
    let (config, arrays) = (checkpoint.config()?, checkpoint.weights()?);
    let uninitialized = uninitialized(experiment, device)?;
    let unfit = |error| Error::checkpoint(&checkpoint.path, fit::explained(error, experiment, &config));
    let (model, _) = weights::load(uninitialized, arrays).map_err(unfit)?;
    fit::ensure_same_function(experiment, &config).map_err(|problem| Error::checkpoint(&checkpoint.path, problem))?;
    device.ensure_takes(experiment)?;
    Ok(model)
}

/// The model of an experiment with weights that have its names and shapes.
///
/// # Errors
/// [`Error::Weights`] if they do not; [`Error::Device`] when there is no room; [`Error::Model`] when model and task do not fit
pub(crate) fn with_weights(
    experiment: &Experiment,
    arrays: BTreeMap<String, Array>,
    device: &OpenDevice,
) -> Result<Model, Error> {
    device.ensure_takes(experiment)?;
    Ok(weights::load(uninitialized(experiment, device)?, arrays)?.0)
}

/// The model of an experiment, with its adapter, whose parameters take no memory yet.
fn uninitialized(experiment: &Experiment, device: &OpenDevice) -> Result<Model, Error> {
    let autodiff = device.device.clone().autodiff();
    let mut init = in_precision(Initializer::uninitialized(&autodiff), experiment);
    let model = experiment.model.build(&experiment.dims(), &mut init)?;
    Ok(match experiment.finetune.adapter() {
        Some(adapter) => model.with_adapter(adapter, None, &autodiff),
        None => model,
    })
}

/// An initializer of networks in the experiment's precision.
fn in_precision<'a>(init: Initializer<'a>, experiment: &Experiment) -> Initializer<'a> {
    init.with_precision(experiment.train.precision, experiment.train.attention_precision)
}

/// The examples of an experiment; opens its task.
///
/// # Errors
/// as [`open_task`]
pub fn build_source(experiment: &Experiment) -> Result<Source, Error> {
    let (seed, data) = (Seed(experiment.seed), experiment.examples());
    let source = Source::new(open_task(experiment)?, seed, data, experiment.train.batch_size);
    let Some(WorstBoxes::Boxes(boxes)) = &experiment.train.worst_boxes else { return Ok(source) };
    let share = experiment.train.worst_share.unwrap_or(WORST_SHARE);
    source.with_boxes(boxes.clone(), share).ok_or_else(|| {
        let name = experiment.task.name();
        let help =
            format!("the targets of {name} are no known function of its inputs, so examples from boxes have none");
        Error::argument("train.worst_boxes", help)
    })
}

/// Opens the task of an experiment, which reads the task's files.
///
/// # Errors
/// [`Error::Task`] with what is wrong with a file, [`Error::DataChanged`] for one that changed since it was first read; a task without
/// files has none.
pub fn open_task(experiment: &Experiment) -> Result<Box<dyn Task>, Error> {
    let task = &experiment.task;
    task.open(&data::files(""), Seed(experiment.seed)).map_err(|error| match error {
        TaskError::Changed { key, .. } => Error::DataChanged { task: task.name(), key, error: Box::new(error) },
        TaskError::Key { .. } => Error::Task { task: task.name(), error },
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use headway_model::Precision;
    use headway_tasks::Split;

    use super::*;
    use crate::{
        checkpoint::{self, CheckpointConfig},
        device::DeviceSpec,
        experiment::{TrainConfig, from_text},
        loss,
    };

    #[test]
    fn a_network_that_is_drawn_and_one_that_is_read_attend_in_the_precision_of_the_experiment() -> Result<(), Error> {
        let text = "[task.icl_linear]\nd = 2\nn_points = 3\n[model.transformer]\nd_model = 8\nn_layers = 1\nn_heads = 2\n\
                    [train]\nattention_precision = \"bf16\"\n";
        let experiment = from_text(Path::new("experiment.toml"), text.to_owned(), &[])?.experiment;
        let (device, _) = DeviceSpec::Cpu.open()?;
        let batch = build_source(&experiment)?.evaluation(Split::Test).remove(0);
        let answers = |model: &Model| weights::to_host(model.forward(loss::inputs(&batch, &device.device)));

        let drawn = build_plain(&experiment, &device)?;
        let exact = TrainConfig { attention_precision: Precision::F32, ..experiment.train.clone() };
        let exact = build_plain(&Experiment { train: exact, ..experiment.clone() }, &device)?;
        assert_ne!(answers(&drawn), answers(&exact));

        // Attention follows all products unless it is named itself.
        let with = |train: &str| -> Result<_, Error> {
            let text = text.replace("attention_precision = \"bf16\"", train);
            let experiment = from_text(Path::new("experiment.toml"), text, &[])?.experiment;
            Ok((answers(&build_plain(&experiment, &device)?), experiment.train.attention_precision))
        };
        let all = with("precision = \"bf16\"")?;
        let apart = with("precision = \"bf16\"\nattention_precision = \"f32\"")?;
        assert_eq!((all.1, apart.1), (Precision::Bf16, Precision::F32));
        let different = [answers(&exact), answers(&drawn), all.0, apart.0];
        for (at, one) in different.iter().enumerate() {
            assert!(!different[at + 1..].contains(one), "two of four precisions are the same");
        }

        let folder = tempfile::tempdir().map_err(Error::io("cannot create folder", "a temporary one"))?;
        let (at, config) = (folder.path().join("checkpoint"), CheckpointConfig::of(&experiment));
        let files = Checkpoint::files(&config, &weights::arrays(&drawn), None, None, Vec::new())?;
        checkpoint::write(&folder.path().join("half"), &at, &files, || Ok(()))?;
        let read = load_model(&experiment, &Checkpoint::find(&at)?, &device)?;
        assert_eq!(answers(&read), answers(&drawn));
        Ok(())
    }
}
