//! A trained network of softmax attention under other kernels: its scores, the error of its patterns, and the way back by fine-tuning.

use std::path::{Path, PathBuf};

use burn::module::Module;
use headway_model::{KernelKind, Model, weights};
use headway_plain::statistics;
use headway_tasks::{Batch, Split};
use serde::Serialize;

use super::opened::{LoadedModel, Provenance, count, first, open};
use crate::error::Error;
use headway_trainer::{build, device::OpenDevice, evaluate, experiment::Experiment, log, loss, provenance::Row};

/// What to put in the place of softmax attention, for [`swap()`].
#[derive(Clone, Debug)]
pub struct SwapRequest {
    /// Checkpoint folder or run folder.
    pub source: PathBuf,
    /// Changes to its experiment, as `key=value`.
    pub overrides: Vec<String>,
    /// Kernels, as a config file writes them.
    pub kernels: Vec<String>,
    /// Numbers of random features, for each kernel that has some; empty for its default.
    pub features: Vec<usize>,
    /// Number of draws of the features.
    pub draws: u64,
    /// Number of test examples whose patterns are compared, the first ones.
    pub sequences: usize,
    /// Steps of fine-tuning that are to follow, if any.
    pub steps: Option<u64>,
}

/// A network and what it is under other kernels.
#[derive(Debug, Serialize)]
pub struct Swap {
    /// The network.
    pub subject: Provenance,
    /// Number of test examples whose patterns were compared.
    pub sequences: usize,
    /// Scores on the test set under softmax attention.
    pub softmax: Row,
    /// Loss on the validation set under softmax attention; `None` if there is no such set.
    pub validation_loss: Option<f64>,
    /// The other kernels.
    pub kernels: Vec<Swapped>,
}

/// A network under another kernel.
#[derive(Debug, Serialize)]
pub struct Swapped {
    /// The kernel.
    pub kernel: KernelKind,
    /// Number of its random features, if it has some and they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<usize>,
    /// Operations of a forward pass, as a share of those under softmax attention.
    pub flops: f64,
    /// One for each draw of the kernel's random features; a single one if it has none.
    pub draws: Vec<Drawn>,
    /// The way back by fine-tuning, if there was any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back: Option<Back>,
    /// The experiment with this kernel, and with the steps of fine-tuning if they were asked for.
    #[serde(skip)]
    pub experiment: Experiment,
}

/// A network under another kernel with one draw of its random features.
#[derive(Debug, Serialize)]
pub struct Drawn {
    /// The seed that they were drawn from. The first is the run's own, which fine-tuning starts from.
    pub seed: u64,
    /// Scores on the test set.
    pub scores: Row,
    /// Loss on the validation set, if there is one.
    pub validation_loss: Option<f64>,
    /// Error of the patterns of all layers.
    pub patterns: PatternError,
    /// Error of the patterns of each layer, or group of heads if a layer has several.
    pub layers: Vec<PatternError>,
}

/// How far patterns P' are from those P of softmax attention on the same queries and keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PatternError {
    /// Mean over all queries i of ½ Σ_j |P'_ij − P_ij|, from 0 to 1 if rows of P' are probability vectors.
    pub total_variation: f64,
    /// √(Σ (P' − P)² / Σ P²), over all pairs.
    pub frobenius: f64,
}

/// The way back to the loss under softmax attention.
#[derive(Clone, Debug, Serialize)]
pub struct Back {
    /// Number of steps of fine-tuning.
    pub steps: u64,
    /// Share by which the validation loss may exceed that under softmax attention.
    pub within: f64,
    /// The first step at which it was scored and did not; `None` if it always did.
    pub reached: Option<u64>,
    /// Steps taken and validation loss, from before the first step on.
    pub curve: Vec<(u64, f64)>,
    /// Scores on the test set afterwards.
    pub scores: Row,
}

/// A mean over draws with the 95 % interval of Student's distribution, of which one draw has none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// The ends of the interval.
    pub interval: Option<[f64; 2]>,
}

/// Largest number of attention weights that one forward pass may hold.
const MOST_WEIGHTS: usize = 1 << 22;

/// Number of times that fine-tuning scores the validation set.
const SCORED: u64 = 20;

/// Runs a trained network under other kernels, one after the other; each is told when it is done.
///
/// # Errors
/// [`Error::NotSoftmax`]; [`Error::Option`] for features of kernels that have none, or fine-tuning without a validation set;
/// [`Error::Trainer`] for a kernel that the network cannot have, such as one that takes no bias beside a position scheme with one.
pub fn swap(request: &SwapRequest, device: &OpenDevice, mut done: impl FnMut(&Swapped)) -> Result<Swap, Error> {
    let LoadedModel { model, experiment, provenance } = open(&request.source, &request.overrides, device)?;
    let of = experiment.model.family();
    let is_softmax = |kernel: &KernelKind| kernel.spec().function() == KernelKind::Softmax;
    if !of.kernel().is_some_and(is_softmax) {
        let kernel = of.kernel().map(|kernel| kernel.name().to_owned());
        return Err(Error::NotSoftmax { model: experiment.model.name(), kernel });
    }
    let source = build::build_source(&experiment)?;
    let validation_loss = evaluate::validation_loss(&model, &experiment, &source, device)?;
    if request.steps.is_some() && validation_loss.is_none() {
        let problem =
            "the experiment has no validation set, on which the loss could come back; -s data.validation=N makes one";
        return Err(Error::Option { option: "finetune", problem: problem.to_owned() });
    }
    // All are checked before the first is run.
    let all = swapped_experiments(request, &experiment)?;
    let test = first(source.evaluation(Split::Test), request.sequences);
    let mut kernels = Vec::new();
    for (kernel, features, there) in all {
        let flops = |experiment: &Experiment| experiment.budget().forward_flops as f64;
        let mut draws = Vec::new();
        for draw in 0..request.draws {
            let seed = (experiment.seed + draw) & (i64::MAX as u64);
            let fresh = build::build_model(&Experiment { seed, ..there.clone() }, device)?;
            // What is missing is drawn: the buffers of the kernel.
            let (other, report) = weights::load_partial(fresh, weights::arrays(&model));
            let layers =
                evaluate::within(&there, device, || Ok::<_, Error>(pattern_errors(&model, &other, &test, device)))?;
            draws.push(Drawn {
                seed,
                scores: evaluate::network(&other, &there, &source, device)?,
                validation_loss: evaluate::validation_loss(&other, &there, &source, device)?,
                patterns: Sums::total(&layers).error(),
                layers: layers.iter().map(Sums::error).collect(),
            });
            if report.missing.is_empty() {
                break;
            }
        }
        let flops = flops(&there) / flops(&experiment);
        let swapped = Swapped { kernel, features, flops, draws, back: None, experiment: there };
        done(&swapped);
        kernels.push(swapped);
    }
    let softmax = evaluate::network(&model, &experiment, &source, device)?;
    Ok(Swap { subject: provenance, sequences: count(&test), softmax, validation_loss, kernels })
}

/// The experiment with each of the kernels that were asked for.
fn swapped_experiments(
    request: &SwapRequest,
    experiment: &Experiment,
) -> Result<Vec<(KernelKind, Option<usize>, Experiment)>, Error> {
    let mut overrides = request.overrides.clone();
    if let Some(steps) = request.steps {
        overrides.extend([format!("train.steps={steps}"), format!("train.eval_every={}", (steps / SCORED).max(1))]);
    }
    let key = format!("model.{}.kernel", experiment.model.name());
    let with = |kernel: &str| -> Result<Experiment, Error> {
        let overrides: Vec<String> = overrides.iter().cloned().chain([format!("{key}={kernel}")]).collect();
        // Fine-tuning starts from this checkpoint, wherever its own training started.
        Ok(Experiment { init_from: None, ..evaluate::experiment_of(&request.source, &overrides)?.0 })
    };
    let (mut all, mut without) = (Vec::new(), Vec::new());
    for text in &request.kernels {
        let there = with(text)?;
        let Some(kernel) = there.model.family().kernel().cloned() else { continue };
        let sized = request.features.iter().filter_map(|m| Some((*m, kernel.spec().with_features(*m)?)));
        let sized: Vec<_> = sized.collect();
        for (m, kernel) in &sized {
            let text = toml::Value::try_from(kernel).map_err(|_| Error::Fault("a kernel has no text"))?.to_string();
            all.push((kernel.clone(), Some(*m), with(&text)?));
        }
        if sized.is_empty() {
            without.push(kernel.name());
            all.push((kernel, None, there));
        }
    }
    if !request.features.is_empty() && without.len() == request.kernels.len() {
        let problem = format!("{} has no random features; leave it out, or take --kernel favor", without.join(", "));
        return Err(Error::Option { option: "m", problem });
    }
    Ok(all)
}

/// Sums over queries and pairs, of which an error is made.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    /// Number of queries that see a key.
    queries: f64,
    variation: f64,
    squares: f64,
    squares_of_softmax: f64,
}

impl Sums {
    /// Adds patterns. `[…, k_len]`, row-major
    fn add(&mut self, softmax: &[f32], other: &[f32], k_len: usize) {
        for (exact, other) in softmax.chunks_exact(k_len).zip(other.chunks_exact(k_len)) {
            if exact.iter().all(|weight| *weight == 0.0) {
                continue;
            }
            self.queries += 1.0;
            for (exact, other) in exact.iter().copied().map(f64::from).zip(other.iter().copied().map(f64::from)) {
                self.variation += 0.5 * (other - exact).abs();
                self.squares += (other - exact).powi(2);
                self.squares_of_softmax += exact * exact;
            }
        }
    }

    fn total(all: &[Self]) -> Self {
        all.iter().fold(Self::default(), |sum, one| Self {
            queries: sum.queries + one.queries,
            variation: sum.variation + one.variation,
            squares: sum.squares + one.squares,
            squares_of_softmax: sum.squares_of_softmax + one.squares_of_softmax,
        })
    }

    fn error(&self) -> PatternError {
        PatternError {
            total_variation: self.variation / self.queries,
            frobenius: (self.squares / self.squares_of_softmax).sqrt(),
        }
    }
}

/// Sums of every layer, of the kernels of another network on the queries and keys of this one.
fn pattern_errors(model: &Model, other: &Model, batches: &[Batch], device: &OpenDevice) -> Vec<Sums> {
    let (model, kernels) = (model.valid(), other.valid().kernels());
    let (mut sums, mut weights_each): (Vec<Sums>, usize) = (Vec::new(), 0);
    for batch in batches {
        let mut start = 0;
        while start < batch.size {
            // The first pass has a single sequence, which shows how much memory a sequence needs.
            let size = MOST_WEIGHTS.checked_div(weights_each).unwrap_or(1).max(1);
            let part = batch.part(start..start + size);
            let layers = model.patterns_beside(loss::inputs(&part, &device.device), &kernels);
            weights_each = layers.iter().map(|[softmax, _]| softmax.dims().iter().product::<usize>()).sum();
            weights_each = weights_each.div_ceil(part.size.max(1)).max(1);
            sums.resize(layers.len(), Sums::default());
            for (sums, [softmax, other]) in sums.iter_mut().zip(layers) {
                let k_len = softmax.dims()[3];
                sums.add(&weights::to_host(softmax), &weights::to_host(other), k_len);
            }
            start += part.size;
        }
    }
    sums
}

impl Swapped {
    /// Mean and interval over draws of a number; `None` if a draw lacks it.
    pub fn estimate(&self, of: impl Fn(&Drawn) -> Option<f64>) -> Option<Estimate> {
        let values: Option<Vec<f64>> =
            self.draws.iter().map(|drawn| of(drawn).filter(|value| value.is_finite())).collect();
        let values = values?;
        let interval = statistics::t_interval(&values, 0.95).map(|interval| [interval.low, interval.high]);
        Some(Estimate { mean: statistics::mean(&values)?, interval })
    }

    /// The kernel with the number of its features if it was asked for, as in `favor-64`; for files and tables.
    pub fn label(&self) -> String {
        let name = self.kernel.name();
        self.features.map_or_else(|| name.to_owned(), |m| format!("{name}-{m}"))
    }
}

impl Back {
    /// The way back of a run that was fine-tuned in a folder, from its `metrics.jsonl`, to the loss of a network under softmax attention.
    ///
    /// # Errors
    /// [`Error::Trainer`] when it cannot be read
    pub fn read(
        swapped: &Swapped,
        softmax: Option<f64>,
        metrics: &Path,
        within: f64,
        scores: Row,
    ) -> Result<Self, Error> {
        let before = swapped.draws.first().and_then(|drawn| drawn.validation_loss).map(|loss| (0, loss));
        let after =
            log::read(metrics)?.into_iter().filter_map(|line| Some((line.step, *line.values.get("validation/loss")?)));
        let curve: Vec<(u64, f64)> = before.into_iter().chain(after).collect();
        let is_back = |(_, loss): &&(u64, f64)| softmax.is_some_and(|softmax| *loss <= (1.0 + within) * softmax);
        let reached = curve.iter().find(is_back).map(|(step, _)| *step);
        Ok(Self { steps: swapped.experiment.train.steps, within, reached, curve, scores })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rows by hand: ½ (¼ + ¼) and ½ (1 + 1), squares 2/16 + 2 over ½ + 1; a row without visible keys counts for nothing.
    #[test]
    fn errors_of_patterns_by_hand() {
        let mut sums = Sums::default();
        sums.add(&[0.5, 0.5, 1.0, 0.0, 0.0, 0.0], &[0.75, 0.25, 0.0, 1.0, 0.0, 0.0], 2);
        let error = sums.error();
        assert!((error.total_variation - 0.625).abs() < 1e-12, "{error:?}");
        assert!((error.frobenius - (2.125_f64 / 1.5).sqrt()).abs() < 1e-12, "{error:?}");
        let twice = Sums::total(&[sums, sums]).error();
        assert!((twice.frobenius - error.frobenius).abs() < 1e-12, "{twice:?}");
        assert!((twice.total_variation - error.total_variation).abs() < 1e-12, "{twice:?}");
    }
}
