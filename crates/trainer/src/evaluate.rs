//! Scores of a model and of the classical predictors on the same examples.

use std::{collections::BTreeMap, fs, path::Path, time::Instant};

use burn::{module::Module, tensor::Device};
use headway_model::{
    Model,
    weights::{self, Array},
};
use headway_tasks::{Batch, Inputs, SHIFTS, Source, Split};
use serde::Serialize;

use crate::{
    checkpoint::Checkpoint,
    device::Found,
    error::Error,
    experiment::{self, Experiment},
    loss::{self, Loss},
    metric::Scores,
    provenance::Row,
    session::{self, Status, Summary},
};

/// Evaluates a checkpoint on the test set of its own experiment, or of one changed by `key=value` overrides.
///
/// # Errors
/// [`Error::Checkpoint`] when it cannot be read or does not fit, [`Error::Experiment`] for a wrong override.
pub fn evaluate(path: &Path, overrides: &[String], device: &Found) -> Result<Summary, Error> {
    let began = Instant::now();
    let (model, experiment, checkpoint) = load(path, overrides, device)?;
    let source = session::build_source(&experiment);
    let mut rows = results(&model, &experiment, &source, &device.device).into_iter();
    let step = match checkpoint.state()? {
        Some(state) => state.step,
        None if checkpoint.certificate()?.is_some() || checkpoint.import()?.is_some() => 0,
        None => experiment.train.steps,
    };
    Ok(Summary {
        run_dir: path.to_owned(),
        status: Status::Complete,
        step,
        seconds: began.elapsed().as_secs_f64(),
        metrics: rows.next().map(|row| row.metrics).unwrap_or_default(),
        baselines: rows.collect(),
    })
}

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
/// as [`evaluate`], and [`Error::Usage`] for a task without shifts.
pub fn shifts(path: &Path, overrides: &[String], device: &Found) -> Result<Vec<Shifted>, Error> {
    let (model, experiment, _) = load(path, overrides, device)?;
    let score = |name, summary, experiment: &Experiment| {
        let rows = results(&model, experiment, &session::build_source(experiment), &device.device);
        Shifted { name, summary, rows }
    };
    let mut all = vec![score("none", "prompts as in training", &experiment)];
    for (name, summary, shift) in SHIFTS {
        let Some(task) = experiment.task.with_shift(shift.clone()) else {
            let task = experiment.task.name();
            let problem = format!("{task} has no distribution shifts; the tasks whose names begin with icl_ have");
            return Err(Error::Usage(problem));
        };
        if task.validate().is_empty() {
            all.push(score(name, summary, &Experiment { task, ..experiment.clone() }));
        }
    }
    Ok(all)
}

/// Writes the network's inputs and outputs on the first test batch as safetensors, for a check against other programs.
///
/// # Errors
/// as [`evaluate`], and [`Error::Io`]
pub fn save_outputs(path: &Path, overrides: &[String], device: &Found, folder: &Path) -> Result<(), Error> {
    let (model, experiment, _) = load(path, overrides, device)?;
    let batch = session::build_source(&experiment).evaluation(Split::Test).remove(0);
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
    fs::create_dir_all(folder).map_err(Error::io("cannot create folder", folder))?;
    for (name, array) in [("inputs", inputs), ("outputs", outputs)] {
        let bytes = weights::arrays_to_bytes(&BTreeMap::from([(name.to_owned(), array)]))
            .map_err(|error| Error::Training(error.to_string()))?;
        let path = folder.join(format!("{name}.safetensors"));
        fs::write(&path, bytes).map_err(Error::io("cannot write", path))?;
    }
    Ok(())
}

/// A checkpoint's model with its experiment, the latter changed by overrides.
///
/// # Errors
/// as [`evaluate`]
pub fn load(path: &Path, overrides: &[String], device: &Found) -> Result<(Model, Experiment, Checkpoint), Error> {
    let checkpoint = Checkpoint::find(path)?;
    let config = checkpoint.config()?;
    let (path, text) = (checkpoint.path.join("config.json"), config.experiment.to_toml());
    // What is wrong without overrides is wrong with the checkpoint.
    let unchanged = experiment::from_text(&path, text.clone(), &[]).map_err(|error| Error::checkpoint(&path, error))?;
    let experiment = match overrides {
        [] => unchanged.experiment,
        _ => experiment::from_text(&path, text, overrides)?.experiment,
    };
    let model = session::load_model(&experiment, &checkpoint, device)?;
    Ok((model, experiment, checkpoint))
}

/// Result rows on the test set: the network first, then every classical predictor of the task.
pub(crate) fn results(model: &Model, experiment: &Experiment, source: &Source, device: &Device) -> Vec<Row> {
    let (loss, slices) = (experiment.train.loss, source.task().slices());
    let batches = source.evaluation(Split::Test);
    let (scores, model_width) = score(&model.valid(), loss, &slices, &batches, device);
    let mut rows = vec![row("network", &scores)];
    let fit_set = source.fit_set();
    for mut baseline in source.task().baselines() {
        baseline.fit(&fit_set);
        let mut scores = Scores::new(loss, slices.clone());
        for batch in &batches {
            scores.add(batch, &baseline.predict(batch), batch.dims.d_out, model_width);
        }
        rows.push(row(baseline.name(), &scores));
    }
    rows
}

fn row(name: &str, scores: &Scores) -> Row {
    let test = |values: BTreeMap<String, f64>| {
        // What is not a number is missing: JSON has no word for it.
        let finite = values.into_iter().filter(|(_, value)| value.is_finite());
        finite.map(|(name, value)| (format!("test/{name}"), value)).collect()
    };
    Row { name: name.to_owned(), metrics: test(scores.values()), errors: test(scores.errors()) }
}

/// Scores of a model on batches, and the number of channels it returns.
pub(crate) fn score(
    model: &Model,
    loss: Loss,
    slices: &[String],
    batches: &[Batch],
    device: &Device,
) -> (Scores, usize) {
    let mut scores = Scores::new(loss, slices.to_vec());
    let mut width = 0;
    for batch in batches {
        let prediction = model.forward(loss::inputs(batch, device)); // [batch, seq_len, width]
        width = prediction.dims()[2];
        scores.add(batch, &weights::to_host(prediction), width, width);
    }
    (scores, width)
}
