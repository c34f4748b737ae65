//! Scores of a model and of classical predictors on the same examples.

use std::{collections::BTreeMap, fmt::Display, path::Path, time::Instant};

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use headway_model::{
    Model,
    weights::{self, Array},
};
use headway_tasks::{
    Batch, Inputs, SHIFTS, Seed, Source, Split, Targets, Task,
    baseline::{Baseline, mean::Mean},
};
use serde::Serialize;

use crate::{
    beside, build,
    checkpoint::Checkpoint,
    confusion::Confusion,
    device::OpenDevice,
    error::Error,
    experiment::{self, Experiment},
    loss::{self, Loss},
    metric::{self, Lead, Scores},
    on_device,
    provenance::{Doubt, NETWORK, Row, Status, Summary},
    room,
};

/// Evaluates a checkpoint on the test set of its own experiment, which `key=value` overrides may change. If a score of
/// the network is not finite, it has no scores, and the status is [`Status::Diverged`].
///
/// # Errors
/// [`Error::Checkpoint`] if it cannot be read or does not fit, [`Error::Experiment`] for an invalid override.
pub fn evaluate(path: &Path, overrides: &[String], device: &OpenDevice) -> Result<Summary, Error> {
    let began = Instant::now();
    let (model, experiment, checkpoint) = load(path, overrides, device)?;
    let source = build::build_source(&experiment)?;
    let rows = results_on(&model, &experiment, &source, device)?;
    let certificate = checkpoint.certificate()?;
    let step = match checkpoint.state()? {
        Some(state) => state.step,
        None if certificate.is_some() || checkpoint.import()?.is_some() => 0,
        None => experiment.train.steps,
    };
    let status = if rows[0].is_scored() { Status::Complete } else { Status::Diverged };
    let padding = padding(&experiment, &rows);
    let constructed = certificate.as_ref().filter(|_| step == 0).and_then(constructed);
    Ok(Summary::new(path, status, step, began.elapsed().as_secs_f64(), rows).remarked(padding).remarked(constructed))
}

/// What a constructed network is to be judged by, in a sentence: not the answers of the task but the function that it was built for.
fn constructed(certificate: &serde_json::Value) -> Option<String> {
    let number = |path: &str| certificate.pointer(path)?.as_f64();
    let [bound, rounding] = [number("/bound/value")?, number("/rounding/value")?];
    Some(format!(
        "It was constructed, not trained, to compute {}: largest error found {:.2e}, bound {:.2e} (certificate.json). That is its \
         measure; the verdict compares it with the task's answers.",
        certificate["target"].as_str()?,
        number("/float32/error")?,
        bound + rounding
    ))
}

/// Why the loss is another number than the squared error, in a sentence, where targets are padded and results have both.
pub fn padding(experiment: &Experiment, results: &[Row]) -> Option<String> {
    let dims = experiment.dims();
    let [width, d_out] = [experiment.model.shape(&dims).width, dims.d_out];
    let has_both = || results.iter().any(|row| row.metrics.contains_key("test/mse"));
    (experiment.train.loss == Loss::Padded && width > d_out && has_both()).then(|| {
        format!(
            "test/loss is the padded one of the paper's code: the mean over all {width} channels of the output, of which targets have \
             {d_out} and the others should be 0. test/mse is over the targets alone, about {:.0} times as much.",
            width as f64 / d_out as f64
        )
    })
}

/// [`Error::NotFinite`] for a checkpoint whose experiment was changed by `key=value` overrides: its weights are not
/// finite, or activations become too large.
pub fn not_finite(path: &Path, overrides: &[String]) -> Error {
    let why = || {
        let (experiment, checkpoint) = experiment_of(path, overrides)?;
        checkpoint.ensure_finite(&checkpoint.weights()?)?;
        Ok(Error::not_finite(SCORES, experiment.train.attention_precision))
    };
    why().unwrap_or_else(|error| error)
}

/// What is not finite, for the message about a network without scores.
pub const SCORES: &str = "a test score";

/// Scores under one distribution shift.
#[derive(Clone, Debug, Serialize)]
pub struct Shifted {
    /// Name of the shift; `none` for prompts as in training.
    pub name: &'static str,
    /// One-line summary.
    pub summary: &'static str,
    /// Scores of the network, then of every classical predictor.
    pub rows: Vec<Row>,
}

/// Evaluates a checkpoint of an in-context task on its test set as it is, and under every distribution shift that is
/// possible for its sizes.
///
/// # Errors
/// as [`evaluate`], and [`Error::NoShifts`].
pub fn shifts(path: &Path, overrides: &[String], device: &OpenDevice) -> Result<Vec<Shifted>, Error> {
    let (model, experiment, _) = load(path, overrides, device)?;
    let score = |name, summary, experiment: &Experiment| {
        let source = build::build_source(experiment)?;
        let rows = results_on(&model, experiment, &source, device)?;
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

/// Writes the network's inputs and outputs on the first test batch as safetensors, for comparison with other programs.
///
/// # Errors
/// as [`evaluate`], and [`Error::Io`]
pub fn save_outputs(path: &Path, overrides: &[String], device: &OpenDevice, folder: &Path) -> Result<(), Error> {
    let (model, experiment, _) = load(path, overrides, device)?;
    let batch = build::build_source(&experiment)?.evaluation(Split::Test).remove(0);
    let outputs = within(&experiment, device, || -> Result<_, Error> {
        let outputs = model.valid().forward(loss::inputs(&batch, &device.device)); // [batch, seq_len, width]
        Ok(Array { shape: outputs.dims().to_vec(), values: weights::to_host(outputs) })
    })?;
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

/// [`results`] on a device, which may have no room for them.
fn results_on(model: &Model, experiment: &Experiment, source: &Source, device: &OpenDevice) -> Result<Vec<Row>, Error> {
    within(experiment, device, || Ok(results(model, experiment, source, &device.device)))
}

/// Answers of a network on a device, which may have no room for them.
///
/// # Errors
/// Those of the work; [`Error::Device`] with what answers need, part by part, if the device runs out of memory.
pub fn within<T, E: From<Error> + Display>(
    experiment: &Experiment,
    device: &OpenDevice,
    answer: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    room::within(device, &experiment.memory().of_answers(), answer)
}

/// A checkpoint's model and its experiment, which overrides may change.
///
/// # Errors
/// as [`evaluate`]
pub fn load(path: &Path, overrides: &[String], device: &OpenDevice) -> Result<(Model, Experiment, Checkpoint), Error> {
    let (experiment, checkpoint) = experiment_of(path, overrides)?;
    let model = build::load_model(&experiment, &checkpoint, device)?;
    Ok((model, experiment, checkpoint))
}

/// A checkpoint and its experiment, which overrides may change.
///
/// # Errors
/// as [`evaluate`]
pub fn experiment_of(path: &Path, overrides: &[String]) -> Result<(Experiment, Checkpoint), Error> {
    let checkpoint = Checkpoint::find(path)?;
    let config = checkpoint.config()?;
    let (path, text) = (checkpoint.path.join("config.json"), config.experiment.to_toml());
    // An error that occurs without overrides is an error of the checkpoint.
    let unchanged = experiment::from_text(&path, text.clone(), &[]).map_err(|error| Error::checkpoint(&path, error))?;
    let experiment = match overrides {
        [] => unchanged.experiment,
        _ => experiment::from_text(&path, text, overrides)?.experiment,
    };
    Ok((experiment, checkpoint))
}

/// Result rows on the test set: the network first, then every classical predictor of the task.
pub(crate) fn results(model: &Model, experiment: &Experiment, source: &Source, device: &Device) -> Vec<Row> {
    let loss = experiment.train.loss;
    let (batches, fit_set) = (source.evaluation(Split::Test), source.fit_set());
    let (network, model_width) = of_network(model, loss, source, (&batches, &fit_set), device);
    std::iter::once(network).chain(classical(loss, source, (&batches, &fit_set), model_width)).collect()
}

/// Result row of a network alone, on the test set.
///
/// # Errors
/// [`Error::Device`] when there is no room
pub fn network(model: &Model, experiment: &Experiment, source: &Source, device: &OpenDevice) -> Result<Row, Error> {
    let data = (source.evaluation(Split::Test), source.fit_set());
    let data = (data.0.as_slice(), &data.1);
    within(experiment, device, || Ok(of_network(model, experiment.train.loss, source, data, &device.device).0))
}

/// Loss of a network on the validation set; `None` if there is none.
///
/// # Errors
/// [`Error::Device`] when there is no room
pub fn validation_loss(
    model: &Model,
    experiment: &Experiment,
    source: &Source,
    device: &OpenDevice,
) -> Result<Option<f64>, Error> {
    let batches = source.evaluation(Split::Validation);
    let empty = empty(experiment.train.loss, source.task());
    let scores =
        within(experiment, device, || Ok::<_, Error>(score(&model.valid(), &empty, &batches, &device.device)))?;
    Ok(scores.values().get("loss").copied().filter(|loss| !batches.is_empty() && loss.is_finite()))
}

/// The row of a network, and the width of its output.
fn of_network(
    model: &Model,
    loss: Loss,
    source: &Source,
    (batches, fit_set): (&[Batch], &Batch),
    device: &Device,
) -> (Row, usize) {
    let model = model.valid();
    let mut scores = empty(loss, source.task());
    let mut doubter = Doubter::new(loss, source, fit_set);
    let mut confusion = Confusion::of(source.task());
    let mut model_width = 0;
    for batch in batches {
        let (prediction, width) = answers(&model, batch, device);
        scores.add(batch, &prediction, width, width);
        confuse(confusion.as_mut(), batch, &prediction, width);
        doubter.add(batch, &prediction, width);
        model_width = width;
    }
    let mut network = Row::new(NETWORK, BTreeMap::new());
    if scores.are_finite() {
        network = row(NETWORK, &scores);
        network.doubts = doubter.doubts(&network.metrics);
        network.confusion = confusion;
    }
    (network, model_width)
}

/// Result rows of a network that diverged: it has no scores, while the classical predictors keep theirs.
///
/// # Errors
/// as [`build::build_model`]
pub(crate) fn without_network(
    experiment: &Experiment,
    source: &Source,
    device: &OpenDevice,
) -> Result<Vec<Row>, Error> {
    let (batches, fit_set) = (source.evaluation(Split::Test), source.fit_set());
    // The width of the network's output is the same for all weights.
    let model = build::build_model(experiment, device)?.valid();
    let (_, width) = answers(&model, &batches[0].part(0..1), &device.device);
    let classical = classical(experiment.train.loss, source, (&batches, &fit_set), width);
    Ok(std::iter::once(Row::new(NETWORK, BTreeMap::new())).chain(classical).collect())
}

/// Losses of the classical predictors on the validation set, one after the other, by name; of none if there is no such set.
pub fn classical_losses(experiment: &Experiment, source: &Source) -> impl Iterator<Item = (String, f64)> {
    let (batches, fit_set) = (source.evaluation(Split::Validation), source.fit_set());
    let (loss, width) = (experiment.train.loss, experiment.model.shape(&experiment.dims()).width);
    let task = source.task();
    let baselines = if batches.is_empty() { Vec::new() } else { task.baselines() };
    baselines.into_iter().filter_map(move |mut baseline| {
        baseline.fit(&fit_set);
        let mut scores = empty(loss, task);
        for batch in &batches {
            scores.add(batch, &baseline.predict(batch), batch.dims.d_out, width);
        }
        Some((baseline.name().to_owned(), scores.values().get("loss").copied()?))
    })
}

fn classical(loss: Loss, source: &Source, (batches, fit_set): (&[Batch], &Batch), model_width: usize) -> Vec<Row> {
    let of = |mut baseline: Box<dyn Baseline>| {
        baseline.fit(fit_set);
        let (mut scores, mut confusion) = (empty(loss, source.task()), Confusion::of(source.task()));
        for batch in batches {
            let (prediction, width) = (baseline.predict(batch), batch.dims.d_out);
            scores.add(batch, &prediction, width, model_width);
            confuse(confusion.as_mut(), batch, &prediction, width);
        }
        Row { confusion, ..row(baseline.name(), &scores) }
    };
    source.task().baselines().into_iter().map(of).collect()
}

/// Scores of a task's predictions, yet of none.
pub fn empty(loss: Loss, task: &dyn Task) -> Scores {
    Scores::new(loss, task.slices(), task.measures())
}

/// Adds a batch's answers at scored positions.
fn confuse(confusion: Option<&mut Confusion>, batch: &Batch, prediction: &[f32], width: usize) {
    let (Some(confusion), Targets::Classes(classes)) = (confusion, &batch.targets) else { return };
    for (row, prediction) in prediction.chunks_exact(width).enumerate().filter(|(row, _)| batch.loss_mask[*row]) {
        confusion.add(classes[row] as usize, metric::argmax(&prediction[..batch.dims.d_out]));
    }
}

fn row(name: &str, scores: &Scores) -> Row {
    Row { errors: test_names(scores.errors()), ..Row::new(name, test_names(scores.values())) }
}

/// Names of a run's scores and predictors, known before it runs.
pub struct Names {
    /// Names of the scores on test examples.
    pub scores: Vec<String>,
    /// Names of the predictors: the network, and the task's classical predictors.
    pub predictors: Vec<String>,
}

/// Names of the scores and predictors of an experiment's run.
///
/// # Errors
/// as [`build::open_task`]
pub fn names(experiment: &Experiment) -> Result<Names, Error> {
    let task = build::open_task(experiment)?;
    let metric = metric::metric_name(asks_for_classes(task.as_ref(), experiment.seed));
    let slices = task.slices().into_iter().map(|slice| format!("{metric}[{slice}]"));
    let absolute = task.scale().filter(|scale| !scale.targets.is_empty()).map(|_| metric::MAE.to_owned());
    let further: Vec<String> = task.measures().iter().map(|measure| measure.name().to_owned()).collect();
    let totals = ["loss", metric].map(str::to_owned).into_iter().chain(absolute).chain(further);
    let totals: Vec<String> = totals.map(|name| test_name(&name)).collect();
    let at_lengths = experiment.train.test_lengths.iter();
    let at_lengths = at_lengths.flat_map(|times| totals.iter().map(|name| name_at(*times, name)));
    let classical = task.baselines().into_iter().map(|baseline| baseline.name().to_owned());
    Ok(Names {
        scores: totals.iter().cloned().chain(slices.map(|name| test_name(&name))).chain(at_lengths).collect(),
        predictors: std::iter::once(NETWORK.to_owned()).chain(classical).collect(),
    })
}

/// Whether a task's targets are classes.
pub(crate) fn asks_for_classes(task: &dyn Task, seed: u64) -> bool {
    let rng = &mut Seed(seed).rng(Split::Test.stream(), 0);
    matches!(task.example(Split::Test, 0, rng).targets, Targets::Classes(_))
}

/// Scores under their names in result rows. Scores that are not finite are left out, since JSON cannot represent them.
pub fn test_names(values: BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let finite = values.into_iter().filter(|(_, value)| value.is_finite());
    finite.map(|(name, value)| (test_name(&name), value)).collect()
}

/// The name of a score in result rows.
fn test_name(name: &str) -> String {
    format!("test/{name}")
}

/// The name of a score at a multiple of the length: `test_4x/loss` for `test/loss`.
pub fn name_at(times: usize, name: &str) -> String {
    name.replacen("test/", &format!("test_{times}x/"), 1)
}

/// Finds doubtful scores among the finite scores of a network.
pub struct Doubter {
    best: Option<Box<dyn Baseline>>,
    lead: Lead,
    /// Predictor that returns the mean of the targets; `None` if targets are classes, for which there is no mean.
    mean: Option<Mean>,
    of_mean: Scores,
}

/// A loss is absurd if it exceeds that of predicting the mean by this factor.
const ABSURD: f64 = 10.0;

impl Doubter {
    /// A doubter for the scores of a loss on examples of a source; classical predictors learn from `fit_set`.
    pub fn new(loss: Loss, source: &Source, fit_set: &Batch) -> Self {
        let slices = source.task().slices();
        let mean = matches!(fit_set.targets, Targets::Continuous(_)).then(|| {
            let mut mean = Mean::default();
            mean.fit(fit_set);
            mean
        });
        let (lead, of_mean) = (Lead::new(loss, slices.clone()), Scores::new(loss, slices, Vec::new()));
        Self { best: source.task().best_possible(), lead, mean, of_mean }
    }

    /// Adds a batch with the network's prediction.
    ///
    /// # Shapes
    /// prediction `[batch, asked, width]`, row-major
    pub fn add(&mut self, batch: &Batch, prediction: &[f32], width: usize) {
        if let Some(best) = &self.best {
            self.lead.add(batch, prediction, width, &best.predict(batch));
        }
        let d_out = batch.dims.d_out;
        let all_alike = || vec![0.0; batch.loss_mask.len() * d_out];
        let of_mean = self.mean.as_ref().map_or_else(all_alike, |mean| mean.predict(batch));
        self.of_mean.add(batch, &of_mean, d_out, width);
    }

    /// The doubts about scores, by the names of result rows.
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

/// Output of a model where a batch has targets, `[batch, asked, width]`, and its width. Where few positions are scored, the others are zero.
fn answers(model: &Model, batch: &Batch, device: &Device) -> (Vec<f32>, usize) {
    let (inputs, asked) = (loss::inputs(batch, device), batch.asked());
    let rows = on_device::scored_rows(&batch.loss_mask);
    if !on_device::are_few(rows.len(), batch.loss_mask.len()) {
        let prediction = model.forward_last(inputs, asked); // [batch, asked, width]
        let width = prediction.dims()[2];
        return (weights::to_host(prediction), width);
    }
    let picked = Tensor::from_data(on_device::ids(&rows), device);
    let prediction = model.forward_picked(inputs, asked, picked); // [1, scored, width]
    let width = prediction.dims()[2];
    let mut all = vec![0.0; batch.loss_mask.len() * width];
    for (row, there) in rows.iter().zip(weights::to_host(prediction).chunks_exact(width)) {
        all[*row as usize * width..][..width].copy_from_slice(there);
    }
    (all, width)
}

/// Scores of a model on batches, of which there are none yet.
pub(crate) fn score(model: &Model, empty: &Scores, batches: &[Batch], device: &Device) -> Scores {
    let mut scores = empty.clone();
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

    /// With these weights the network's attention is uniform. Without a mask it predicts 2 x_1 + y_1 + x_2 at the first
    /// x, where y_1 is the target; noise makes y large. Its prediction at the second x is worthless.
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
            // Without an example, no predictor can have an error below E[y^2] = 101.
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
        let mut scores = Scores::new(Loss::Plain, Vec::new(), Vec::new());
        let task = headway_tasks::TaskConfig::with_defaults("copy").unwrap();
        let source = build::build_source(&Experiment { task, ..experiment(true) }).unwrap();
        let batch = source.evaluation(Split::Test).remove(0);
        let width = batch.dims.d_out;
        let mut logits = vec![0.0; batch.size * batch.dims.seq_len * width];
        scores.add(&batch, &logits, width, width);
        assert!(scores.are_finite());
        // An infinite logit of another class leaves the loss of the right class finite.
        let row = batch.loss_mask.iter().position(|scored| *scored).unwrap();
        let wrong = (batch.targets.classes()[row] as usize + 1) % width;
        logits[row * width + wrong] = f32::NEG_INFINITY;
        let mut scores = Scores::new(Loss::Plain, Vec::new(), Vec::new());
        scores.add(&batch, &logits, width, width);
        assert!(!scores.are_finite());
    }
}
