//! A loaded network and the experiment that it belongs to.

use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use headway_model::{Model, weights};
use headway_plain::statistics::ratio;
use headway_tasks::Batch;
use serde::Serialize;

use super::WeightsOrigin;
use crate::error::Error;
use headway_trainer::{
    device::OpenDevice,
    evaluate,
    experiment::{self, Experiment},
    presence, quote, train,
};

/// A network from a checkpoint, or from an experiment with its initial weights.
pub struct LoadedModel {
    /// The network, on a device that tracks gradients.
    pub model: Model,
    /// Its experiment.
    pub experiment: Experiment,
    /// Where it comes from.
    pub provenance: Provenance,
}

/// Where a network comes from.
#[derive(Clone, Debug, Serialize)]
pub struct Provenance {
    /// Path of the checkpoint or the experiment file.
    #[serde(serialize_with = "quote::lossy")]
    pub source: PathBuf,
    /// Where the weights come from.
    pub weights: WeightsOrigin,
    /// Seed of the experiment.
    pub seed: u64,
    /// Name of the model in a config file.
    pub model: &'static str,
    /// Name of the task in a config file.
    pub task: &'static str,
}

/// Loads a checkpoint folder, a run folder or an experiment file, with its experiment changed by `key=value` overrides.
///
/// # Errors
/// [`Error::Checkpoint`](headway_trainer::Error::Checkpoint) for a folder without a sound checkpoint, [`Error::NotFinite`](headway_trainer::Error::NotFinite) for one whose weights are not finite,
/// [`Error::Experiment`](headway_trainer::Error::Experiment) for a wrong experiment or override; [`Error::Io`](headway_trainer::Error::Io)
pub fn open(source: &Path, overrides: &[String], device: &OpenDevice) -> Result<LoadedModel, Error> {
    // A path that does not exist is reported as a missing checkpoint, unless its name is that of an experiment file.
    let is_experiment = presence::is_file(source)? || source.extension().is_some_and(|extension| extension == "toml");
    let (model, experiment, source, weights) = if is_experiment {
        let experiment = experiment::load(source, overrides)?.experiment;
        // The weights from which training starts.
        let weights = if experiment.init_from.is_some() { WeightsOrigin::Trained } else { WeightsOrigin::First };
        let (start, _) = train::begin(&experiment, device)?;
        (start.model, experiment, source.to_owned(), weights)
    } else {
        let (model, experiment, checkpoint) = evaluate::load(source, overrides, device)?;
        checkpoint.ensure_finite(&weights::arrays(&model))?;
        let weights =
            if checkpoint.certificate()?.is_some() { WeightsOrigin::Constructed } else { WeightsOrigin::Trained };
        (model, experiment, checkpoint.path, weights)
    };
    let (model_name, task) = (experiment.model.name(), experiment.task.name());
    let provenance = Provenance { source, weights, seed: experiment.seed, model: model_name, task };
    Ok(LoadedModel { model, experiment, provenance })
}

/// # Errors
/// [`Error::NotFinite`](headway_trainer::Error::NotFinite) when what a network answers is not finite.
pub(super) fn ensure_finite(output: Tensor<3>, experiment: &Experiment) -> Result<(), Error> {
    let is_finite = weights::to_host(output).iter().all(|value| value.is_finite());
    if is_finite { Ok(()) } else { Err(Error::not_finite("an answer", experiment.train.attention_precision)) }
}

/// A mean over test examples with its standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Measured {
    /// The mean; `None` if it is not finite.
    pub value: Option<f64>,
    /// Standard error of the mean; `None` for a single example.
    pub error: Option<f64>,
}

impl Measured {
    /// The mean of one value per example.
    pub(super) fn mean(values: impl Iterator<Item = f64>) -> Self {
        Self::ratio(&values.map(|value| (value, 1.0)).collect::<Vec<_>>())
    }

    /// The ratio of a sum and a count per example, as [`ratio`] defines it.
    pub(super) fn ratio(examples: &[(f64, f64)]) -> Self {
        let (value, error) = ratio(examples);
        Self { value, error }
    }

    /// Whether it is more than two standard errors from zero.
    pub fn is_clear(self) -> bool {
        matches!((self.value, self.error), (Some(value), Some(error)) if value.abs() > 2.0 * error)
    }
}

/// The first `count` examples of some batches, or all if there are fewer.
pub(super) fn first(batches: Vec<Batch>, count: usize) -> Vec<Batch> {
    let mut left = count;
    let mut taken = Vec::new();
    for batch in batches {
        if left == 0 {
            break;
        }
        let batch = if batch.size > left { batch.part(0..left) } else { batch };
        left -= batch.size;
        taken.push(batch);
    }
    taken
}

/// Number of examples in some batches.
pub(super) fn count(batches: &[Batch]) -> usize {
    batches.iter().map(|batch| batch.size).sum()
}

impl Provenance {
    /// A short description of the network.
    pub fn sentence(&self) -> String {
        format!("{}: {} on {}", introduction(&self.source, self.weights, self.seed), self.model, self.task)
    }
}

/// The path, and where the weights come from.
pub(super) fn introduction(source: &Path, weights: WeightsOrigin, seed: u64) -> String {
    let weights = match weights {
        WeightsOrigin::Trained => "trained weights".to_owned(),
        WeightsOrigin::Constructed => "constructed weights".to_owned(),
        WeightsOrigin::First => format!("first weights of seed {seed}"),
    };
    format!("{}, {weights}", source.display())
}
