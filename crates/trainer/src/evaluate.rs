//! Scores of a model and of the classical predictors on the same examples.

use std::{collections::BTreeMap, path::Path, time::Instant};

use burn::{module::Module, tensor::Device};
use headway_model::{
    Model,
    weights::{self, Array},
};
use headway_tasks::{Baseline, Batch, Inputs, SHIFTS, Seed, Source, Split, Targets, Task, baseline::mean::Mean};
use serde::Serialize;

use crate::{
    beside, build,
    checkpoint::Checkpoint,
    device::OpenDevice,
    error::Error,
    experiment::{self, Experiment},
    loss::{self, Loss},
    metric::{self, Lead, Scores},
    provenance::{Doubt, NETWORK, Row, Status, Summary},
};

/// Evaluates a checkpoint on the test set of its own experiment, or of one changed by `key=value` overrides. A network whose scores are
/// not finite has none, and the status [`Status::Diverged`].
///
/// # Errors
/// [`Error::Checkpoint`] when it cannot be read or does not fit, [`Error::Experiment`] for a wrong override.
pub fn evaluate(path: &Path, overrides: &[String], device: &OpenDevice) -> Result<Summary, Error> {
    let began = Instant::now();
    let (model, experiment, checkpoint) = load(path, overrides, device)?;
    let source = build::build_source(&experiment)?;
    let rows = results(&model, &experiment, &source, &device.device);
    let step = match checkpoint.state()? {
        Some(state) => state.step,
        None if checkpoint.certificate()?.is_some() || checkpoint.import()?.is_some() => 0,
        None => experiment.train.steps,
    };
    let status = if rows[0].is_scored() { Status::Complete } else { Status::Diverged };
    Ok(Summary::new(path, status, step, began.elapsed().as_secs_f64(), rows))
}

/// [`Error::NotFinite`] for a checkpoint whose experiment was changed by `key=value` overrides: its weights are not finite, or
/// become too large on the way.
pub fn not_finite(path: &Path, overrides: &[String]) -> Error {
    let why = || {
        let (experiment, checkpoint) = experiment_of(path, overrides)?;
        checkpoint.ensure_finite(&checkpoint.weights()?)?;
        Ok(Error::not_finite(SCORES, experiment.train.attention_precision))
    };
    why().unwrap_or_else(|error| error)
}

/// What a network has none of when one of them is not finite.
pub const SCORES: &str = "a test score";

/// Scores under one distribution shift.
#[derive(Clone, Debug, Serialize)]
pub struct Shifted {
    /// Name of the shift; `none` for prompts as in training.
    pub name: &'static str,
    /// One line about it.
    pub summary: &'static str,
    /// The network, then every classical predictor.
    pub rows: Vec<Row>,
}

/// Evaluates a checkpoint of a task in context on its test set as it is and under every distribution shift that suits its
/// sizes.
///
/// # Errors
/// as [`evaluate`], and [`Error::NoShifts`].
pub fn shifts(path: &Path, overrides: &[String], device: &OpenDevice) -> Result<Vec<Shifted>, Error> {
    let (model, experiment, _) = load(path, overrides, device)?;
    let score = |name, summary, experiment: &Experiment| {
        let rows = results(&model, experiment, &build::build_source(experiment)?, &device.device);
        Ok::<_, Error>(Shifted { name, summary, rows })
    };
    let mut all = vec![score("none", "prompts as in training", &experiment)?];
    for (name, summary, shift) in SHIFTS {
        let Some(task) = experiment.task.with_shift(shift.clone()) else {
            return Err(Error::NoShifts { task: experiment.task.name() });
        };
        if task.validate().is_empty() {
            all.push(score(name, summary, &Experiment { task, ..experiment.clone() })?);
        }
    }
    Ok(all)
}

/// Writes the network's inputs and outputs on the first test batch as safetensors, for a check against other programs.
///
/// # Errors
/// as [`evaluate`], and [`Error::Io`]
pub fn save_outputs(path: &Path, overrides: &[String], device: &OpenDevice, folder: &Path) -> Result<(), Error> {
    let (model, experiment, _) = load(path, overrides, device)?;
    let batch = build::build_source(&experiment)?.evaluation(Split::Test).remove(0);
    let outputs = model.valid().forward(loss::inputs(&batch, &device.device)); // [batch, seq_len, width]
    let shape = outputs.dims().to_vec();
    let outputs = Array { shape, values: weights::to_host(outputs) };
    let [n, seq_len] = [batch.size, batch.dims.seq_len];
    let inputs = match batch.inputs {
        Inputs::Continuous(values) => Array { shape: vec![n, seq_len, values.len() / (n * seq_len)], values },
        Inputs::Tokens(tokens) => {
            Array { shape: vec![n, seq_len], values: tokens.into_iter().map(|token| token as f32).collect() }
        }
    };
    for (name, array) in [("inputs", inputs), ("outputs", outputs)] {
        let bytes = weights::arrays_to_bytes(&BTreeMap::from([(name.to_owned(), array)]))?;
        beside::write(&folder.join(format!("{name}.safetensors")), &bytes)?;
    }
    Ok(())
}

/// A checkpoint's model with its experiment, the latter changed by overrides.
///
/// # Errors
/// as [`evaluate`]
pub fn load(path: &Path, overrides: &[String], device: &OpenDevice) -> Result<(Model, Experiment, Checkpoint), Error> {
    let (experiment, checkpoint) = experiment_of(path, overrides)?;
    let model = build::load_model(&experiment, &checkpoint, device)?;
    Ok((model, experiment, checkpoint))
}

fn experiment_of(path: &Path, overrides: &[String]) -> Result<(Experiment, Checkpoint), Error> {
    let checkpoint = Checkpoint::find(path)?;
    let config = checkpoint.config()?;
    let (path, text) = (checkpoint.path.join("config.json"), config.experiment.to_toml());
    // What is wrong without overrides is wrong with the checkpoint.
    let unchanged = experiment::from_text(&path, text.clone(), &[]).map_err(|error| Error::checkpoint(&path, error))?;
    let experiment = match overrides {
        [] => unchanged.experiment,
        _ => experiment::from_text(&path, text, overrides)?.experiment,
    };
    Ok((experiment, checkpoint))
}

/// Result rows on the test set: the network first, then every classical predictor of the task.
pub(crate) fn results(model: &Model, experiment: &Experiment, source: &Source, device: &Device) -> Vec<Row> {
    let (loss, slices) = (experiment.train.loss, source.task().slices());
    let (batches, fit_set) = (source.evaluation(Split::Test), source.fit_set());
    let model = model.valid();
    let mut scores = Scores::new(loss, slices.clone());
    let mut doubter = Doubter::new(loss, source, &fit_set);
    let mut model_width = 0;
    for batch in &batches {
        let (prediction, width) = answers(&model, batch, device);
        scores.add(batch, &prediction, width, width);
        doubter.add(batch, &prediction, width);
        model_width = width;
    }
    let mut network = Row::new(NETWORK, BTreeMap::new());
    if scores.are_finite() {
        network = row(NETWORK, &scores);
        network.doubts = doubter.doubts(&network.metrics);
    }
    std::iter::once(network).chain(classical(loss, source, (&batches, &fit_set), model_width)).collect()
}

/// [`results`] of a network that diverged: it has no scores, and the classical predictors keep theirs.
///
/// # Errors
/// as [`build::build_model`]
pub(crate) fn without_network(
    experiment: &Experiment,
    source: &Source,
    device: &OpenDevice,
) -> Result<Vec<Row>, Error> {
    let (batches, fit_set) = (source.evaluation(Split::Test), source.fit_set());
    // How wide a network answers is the same for all weights.
    let model = build::build_model(experiment, device)?.valid();
    let (_, width) = answers(&model, &batches[0].part(0..1), &device.device);
    let classical = classical(experiment.train.loss, source, (&batches, &fit_set), width);
    Ok(std::iter::once(Row::new(NETWORK, BTreeMap::new())).chain(classical).collect())
}

fn classical(loss: Loss, source: &Source, (batches, fit_set): (&[Batch], &Batch), model_width: usize) -> Vec<Row> {
    let of = |mut baseline: Box<dyn Baseline>| {
        baseline.fit(fit_set);
        let mut scores = Scores::new(loss, source.task().slices());
        for batch in batches {
            scores.add(batch, &baseline.predict(batch), batch.dims.d_out, model_width);
        }
        row(baseline.name(), &scores)
    };
    source.task().baselines().into_iter().map(of).collect()
}

fn row(name: &str, scores: &Scores) -> Row {
    Row { errors: test_names(scores.errors()), ..Row::new(name, test_names(scores.values())) }
}

/// What the scores of a run will be called, known before it runs.
pub struct Names {
    /// The scores on test examples.
    pub scores: Vec<String>,
    /// Those who are scored: the network, and the task's classical predictors.
    pub predictors: Vec<String>,
}

/// What the scores of an experiment's run will be called.
///
/// # Errors
/// as [`build::open_task`]
pub fn names(experiment: &Experiment) -> Result<Names, Error> {
    let task = build::open_task(experiment)?;
    let metric = metric::metric_name(asks_for_classes(task.as_ref(), experiment.seed));
    let slices = task.slices().into_iter().map(|slice| format!("{metric}[{slice}]"));
    let absolute = task.scale().filter(|scale| !scale.targets.is_empty()).map(|_| metric::MAE.to_owned());
    let scores = ["loss", metric].map(str::to_owned).into_iter().chain(absolute).chain(slices);
    let classical = task.baselines().into_iter().map(|baseline| baseline.name().to_owned());
    Ok(Names {
        scores: scores.map(|name| test_name(&name)).collect(),
        predictors: std::iter::once(NETWORK.to_owned()).chain(classical).collect(),
    })
}

/// Whether a task's targets are classes.
pub(crate) fn asks_for_classes(task: &dyn Task, seed: u64) -> bool {
    let rng = &mut Seed(seed).rng(Split::Test.stream(), 0);
    matches!(task.example(Split::Test, 0, rng).targets, Targets::Classes(_))
}

/// Scores by their names in result rows. What is not a number is missing: JSON has no word for it.
pub fn test_names(values: BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let finite = values.into_iter().filter(|(_, value)| value.is_finite());
    finite.map(|(name, value)| (test_name(&name), value)).collect()
}

/// A score's name in result rows.
fn test_name(name: &str) -> String {
    format!("test/{name}")
}

/// Looks for what is wrong with a network's scores that are finite.
pub struct Doubter {
    best: Option<Box<dyn Baseline>>,
    lead: Lead,
    /// Says the mean of numbers; nothing for classes, where all are alike.
    mean: Option<Mean>,
    of_mean: Scores,
}

/// A loss this many times that of the mean is absurd.
const ABSURD: f64 = 10.0;

impl Doubter {
    /// For the scores of a loss, on examples of a source; `fit_set` is what its classical predictors learn from.
    pub fn new(loss: Loss, source: &Source, fit_set: &Batch) -> Self {
        let slices = source.task().slices();
        let mean = matches!(fit_set.targets, Targets::Continuous(_)).then(|| {
            let mut mean = Mean::default();
            mean.fit(fit_set);
            mean
        });
        let (lead, of_mean) = (Lead::new(loss, slices.clone()), Scores::new(loss, slices));
        Self { best: source.task().best_possible(), lead, mean, of_mean }
    }

    /// Adds a batch with the network's prediction.
    ///
    /// # Shapes
    /// prediction `[batch, seq_len, width]`, row-major
    pub fn add(&mut self, batch: &Batch, prediction: &[f32], width: usize) {
        if let Some(best) = &self.best {
            self.lead.add(batch, prediction, width, &best.predict(batch));
        }
        let d_out = batch.dims.d_out;
        let all_alike = || vec![0.0; batch.size * batch.dims.seq_len * d_out];
        let of_mean = self.mean.as_ref().map_or_else(all_alike, |mean| mean.predict(batch));
        self.of_mean.add(batch, &of_mean, d_out, width);
    }

    /// What is wrong, by the names of result rows.
    pub fn doubts(&self, metrics: &BTreeMap<String, f64>) -> BTreeMap<String, Doubt> {
        let mut doubts: BTreeMap<String, Doubt> =
            self.lead.doubts().into_iter().map(|(name, doubt)| (test_name(&name), doubt)).collect();
        let (name, of_mean) = (test_name("loss"), self.of_mean.values().get("loss").copied().unwrap_or_default());
        if metrics.get(&name).is_some_and(|loss| of_mean > 0.0 && *loss > ABSURD * of_mean) {
            doubts.insert(name, Doubt::Absurd(of_mean));
        }
        doubts
    }
}

/// What a model answers to a batch, and in how many channels. `[batch, seq_len, width]`
fn answers(model: &Model, batch: &Batch, device: &Device) -> (Vec<f32>, usize) {
    let prediction = model.forward(loss::inputs(batch, device)); // [batch, seq_len, width]
    let width = prediction.dims()[2];
    (weights::to_host(prediction), width)
}

/// Scores of a model on batches.
pub(crate) fn score(model: &Model, loss: Loss, slices: &[String], batches: &[Batch], device: &Device) -> Scores {
    let mut scores = Scores::new(loss, slices.to_vec());
    for batch in batches {
        let (prediction, width) = answers(model, batch, device);
        scores.add(batch, &prediction, width, width);
    }
    scores
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use std::path::Path;

    use headway_testkit::devices;

    use super::*;

    /// Of a network with these weights attention is uniform. Without a mask it answers the first x with 2 x_1 + y_1 + x_2, of which
    /// y_1 is what it is asked for; noise makes y large. What it answers to the second x is no better than nothing.
    fn experiment(causal: bool) -> Experiment {
        let text = "[task.icl_linear]\nd = 1\nn_points = 2\nnoise_std = 10.0\n[data.fresh]\nvalidation = 0\ntest = 200\n\
                    [model.transformer]\nd_model = 1\nn_layers = 1\nn_heads = 1\nnorm = \"none\"\nposition = \"none\"\n";
        let mut experiment = experiment::from_text(Path::new("test"), text.to_owned(), &[]).unwrap().experiment;
        if let headway_model::ModelConfig::Transformer(model) = &mut experiment.model {
            model.causal = causal;
        }
        experiment
    }

    fn network(experiment: &Experiment, device: &OpenDevice, value: f32) -> Row {
        let model = build::build_model(experiment, device).unwrap();
        let mut arrays = weights::arrays(&model);
        for (name, array) in &mut arrays {
            let entry = match name.as_str() {
                "embed.weight" | "blocks.0.attention.output.weight" | "head.weight" => 1.0,
                "blocks.0.attention.value.weight" => value,
                _ => 0.0,
            };
            array.values.fill(entry);
        }
        let (model, _) = weights::load(model, arrays).unwrap();
        results(&model, experiment, &build::build_source(experiment).unwrap(), &device.device).remove(0)
    }

    #[test]
    fn a_network_that_sees_its_answers_is_doubted_and_an_honest_one_is_not() {
        let found = crate::device::DeviceSpec::Cpu.open().unwrap().0;
        for on in devices() {
            let device = OpenDevice { device: on.device.clone(), ..found.clone() };
            let leaking = network(&experiment(false), &device, 3.0);
            assert_eq!(leaking.doubts.keys().collect::<Vec<_>>(), ["test/mse[points=0]"], "{leaking:?}");
            // Nobody can be below E[y^2] = 101 without an example.
            let Doubt::BeyondBest(best) = leaking.doubts["test/mse[points=0]"] else { panic!("{leaking:?}") };
            assert!((best - 101.0).abs() < 40.0 && leaking.metrics["test/mse[points=0]"] < 10.0, "{leaking:?}");
            let honest = network(&experiment(true), &device, 0.0);
            assert_eq!(honest.doubts, BTreeMap::new(), "{honest:?}");
            let absurd = network(&experiment(true), &device, 1e6);
            assert_eq!(absurd.doubts.keys().collect::<Vec<_>>(), ["test/loss"]);
            let broken = network(&experiment(true), &device, 3e38);
            assert!(broken.metrics.is_empty() && !broken.is_scored(), "{broken:?}");
        }
    }

    #[test]
    fn logits_that_are_not_finite_are_no_score() {
        let mut scores = Scores::new(Loss::Plain, Vec::new());
        let task = headway_tasks::TaskConfig::with_defaults("copy").unwrap();
        let source = build::build_source(&Experiment { task, ..experiment(true) }).unwrap();
        let batch = source.evaluation(Split::Test).remove(0);
        let width = batch.dims.d_out;
        let mut logits = vec![0.0; batch.size * batch.dims.seq_len * width];
        scores.add(&batch, &logits, width, width);
        assert!(scores.are_finite());
        // An infinity that is the logit of another class leaves the loss of the right one a number.
        let row = batch.loss_mask.iter().position(|scored| *scored).unwrap();
        let wrong = (batch.targets.classes()[row] as usize + 1) % width;
        logits[row * width + wrong] = f32::NEG_INFINITY;
        let mut scores = Scores::new(Loss::Plain, Vec::new());
        scores.add(&batch, &logits, width, width);
        assert!(!scores.are_finite());
    }
}
