//! Loading weights of one network into another: what carries over, what is replaced because the task has other sizes,
//! and what does not fit.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem::discriminant,
};

use burn::tensor::Device;
use headway_model::{
    InputDims, IoDims, Model, ModelConfig,
    parameters::Key,
    weights::{self, Array, LoadReport, WeightsError},
};

use crate::{
    checkpoint::CheckpointConfig,
    experiment::{Experiment, FinetuneConfig, leaves},
};

/// A parameter that is replaced because the task has other sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct Replaced {
    /// Its name.
    pub name: String,
    /// Shape in the checkpoint; `None` if the checkpoint does not have it.
    pub was: Option<Vec<usize>>,
    /// Shape in the model; `None` if the model does not have it.
    pub now: Option<Vec<usize>>,
    /// Number of rows that it kept, one per position that both have.
    pub kept_rows: usize,
}

/// Result of loading the arrays of a checkpoint.
#[derive(Debug)]
pub(crate) struct Fitted {
    pub(crate) model: Model,
    /// What was loaded, and what did not fit for reasons other than the task's sizes.
    pub(crate) report: LoadReport,
    pub(crate) replaced: Vec<Replaced>,
}

/// Loads arrays into a model that was freshly built for an experiment.
///
/// A tensor that does not fit is *replaced* by the fresh one if the experiment's model would have the tensor's shape
/// for the checkpoint's inputs and outputs, since then the difference comes from the task. In parameters with one row
/// per position, the rows of positions that both have are kept.
pub(crate) fn fit(
    model: Model,
    experiment: &Experiment,
    from: &CheckpointConfig,
    arrays: BTreeMap<String, Array>,
) -> Fitted {
    let mut arrays = arrays;
    let dims = experiment.dims();
    if dims == from.dims {
        let (model, report) = weights::load_partial(model, arrays);
        return Fitted { model, report, replaced: Vec::new() };
    }
    let config = &experiment.model;
    let (before, now) = (shapes(config, &from.dims), weights::shapes(&model));
    let mut replaced = Vec::new();
    if discriminant(&dims.input) != discriminant(&from.dims.input) {
        // Equal shapes would be a coincidence: the rows of a table are tokens, those of a projection are channels.
        for name in arrays.keys().filter(|name| reads_inputs(config, name)).cloned().collect::<Vec<_>>() {
            let was = arrays.remove(&name).map(|array| array.shape);
            replaced.push(Replaced { now: now.get(&name).cloned(), name, was, kept_rows: 0 });
        }
    }
    for name in config.rows_by_position() {
        let (Some(array), Some(shape)) = (arrays.get_mut(*name), now.get(*name)) else { continue };
        let (&[rows, width], &[wanted, wanted_width]) = (array.shape.as_slice(), shape.as_slice()) else { continue };
        if width == wanted_width && rows != wanted && before.get(*name) == Some(&array.shape) {
            let kept = rows.min(wanted);
            replaced.push(Replaced {
                name: (*name).to_owned(),
                was: Some(array.shape.clone()),
                now: Some(shape.clone()),
                kept_rows: kept,
            });
            let fresh = weights::one(&model, name).map(|fresh| fresh.values).unwrap_or_default();
            array.values.truncate(kept * width);
            array.values.extend_from_slice(fresh.get(kept * width..).unwrap_or_default());
            array.shape.clone_from(shape);
        }
    }
    let sizes: BTreeMap<String, Vec<usize>> =
        arrays.iter().map(|(n, array)| (n.clone(), array.shape.clone())).collect();
    let (model, mut report) = weights::load_partial(model, arrays);
    let because_of_the_task = |name: &str| !before.is_empty() && before.get(name) == sizes.get(name);
    let already: Vec<String> = replaced.iter().map(|replaced| replaced.name.clone()).collect();
    report.missing.retain(|name| !already.contains(name));
    let names = report.mismatched.iter().map(|m| &m.name).chain(&report.missing).chain(&report.extra);
    let excused: Vec<String> = names.filter(|name| because_of_the_task(name)).cloned().collect();
    replaced.extend(excused.iter().map(|name| Replaced {
        name: name.clone(),
        was: sizes.get(name).cloned(),
        now: now.get(name).cloned(),
        kept_rows: 0,
    }));
    report.mismatched.retain(|m| !excused.contains(&m.name));
    report.missing.retain(|name| !excused.contains(name));
    report.extra.retain(|name| !excused.contains(name));
    Fitted { model, report, replaced }
}

fn reads_inputs(config: &ModelConfig, name: &str) -> bool {
    config.keys_of(name).is_some_and(|keys| [keys.shape, keys.presence].concat().contains(&Key::Inputs))
}

/// Shapes of a config's parameters for other sizes of the data; empty if the config does not allow these sizes.
fn shapes(config: &ModelConfig, dims: &IoDims) -> BTreeMap<String, Vec<usize>> {
    config.uninitialized(dims, &Device::flex()).map(|model| weights::shapes(&model)).unwrap_or_default()
}

/// Why the weights of a checkpoint do not fit the model of an experiment.
pub(crate) fn explained(error: WeightsError, experiment: &Experiment, from: &CheckpointConfig) -> String {
    match error {
        WeightsError::Mismatch(report) => mismatch(&report, experiment, from),
        other => other.to_string(),
    }
}

/// A table of the tensors that do not fit, with the keys in which experiment and checkpoint differ.
pub(crate) fn mismatch(report: &LoadReport, experiment: &Experiment, from: &CheckpointConfig) -> String {
    let model = &experiment.model;
    let [now, was] = [model, &from.model].map(|model| toml::Table::try_from(model).unwrap_or_default());
    let value = |table: &toml::Table, key: &str| table.get(model.name())?.get(key).cloned();
    let (dims, old) = (experiment.dims(), &from.dims);
    let differs = |key: &Key| match key {
        Key::Model(key) => value(&now, key) != value(&was, key),
        Key::Inputs => dims.input != old.input,
        Key::Length => dims.seq_len != old.seq_len,
        Key::Outputs => dims.d_out != old.d_out,
    };
    let named = |key: &Key| match key {
        Key::Model(key) => format!("model.{}.{key}", model.name()),
        Key::Inputs => format!("task.{} (inputs)", experiment.task.name()),
        Key::Length => format!("task.{} (length)", experiment.task.name()),
        Key::Outputs => format!("task.{} (outputs)", experiment.task.name()),
    };
    let keys = |name: &str| {
        let keys = model.keys_of(name)?;
        let is_on_both_sides = report.mismatched.iter().any(|mismatch| mismatch.name == name);
        let all = if is_on_both_sides { keys.shape } else { keys.presence };
        // If no written key differs, the file itself does not match its config.
        let some: Vec<&Key> = all.iter().filter(|key| differs(key)).collect();
        let shown = if some.is_empty() { all.iter().collect() } else { some };
        Some(shown.into_iter().map(named).collect::<Vec<_>>().join(", "))
    };
    format!("the weights do not fit the model:\n{}", report.table_with(keys))
}

/// Keys of the model that give another function of the same weights than the checkpoint's config, as
/// `model.transformer.n_heads = 2, the checkpoint's 4`.
pub(crate) fn other_keys(experiment: &Experiment, from: &CheckpointConfig) -> Vec<String> {
    let of = |model: &ModelConfig| leaves("model", &toml::Table::try_from(model.function()).unwrap_or_default());
    differing(of(&experiment.model), of(&from.model))
}

/// Checks that an experiment computes the same function of a checkpoint's weights as the checkpoint's own config.
/// Differences in shapes are found when the weights are loaded; this is about the others: heads, causality, norms,
/// positions without parameters, the scale of a LoRA. Every verb that uses a network as it was trained calls it.
/// rule for every verb that takes a network as it was trained.
///
/// A sentence with the keys that differ, and what to do.
/// The keys that do not, and what to do.
pub(crate) fn ensure_same_function(experiment: &Experiment, from: &CheckpointConfig) -> Result<(), String> {
    let of = |mode: &FinetuneConfig| {
        let mode = toml::Value::try_from(mode.function()).ok().into_iter().map(|mode| ("finetune".to_owned(), mode));
        leaves("", &mode.collect())
    };
    let mut others = other_keys(experiment, from);
    others.extend(differing(of(&experiment.finetune), of(&from.experiment.finetune)));
    if others.is_empty() {
        return Ok(());
    }
    Err(format!(
        "its weights fit, but were trained for another function: {}; leave that as it was, or train them for it with \
         `headway finetune`",
        others.join("; ")
    ))
}

/// The keys whose values differ, with both values.
fn differing(now: Vec<(String, toml::Value)>, was: Vec<(String, toml::Value)>) -> Vec<String> {
    let [now, was] = [now, was].map(BTreeMap::from_iter);
    let keys: BTreeSet<&String> = now.keys().chain(was.keys()).collect();
    let text = |value: Option<&toml::Value>| value.map_or("not set".to_owned(), toml::Value::to_string);
    let others = keys.into_iter().filter_map(|key| {
        let (now, was) = (now.get(key), was.get(key));
        (now != was).then(|| format!("{key} = {}, the checkpoint's {}", text(now), text(was)))
    });
    others.collect()
}

/// Sizes of one position's input, in words.
fn input(dims: &InputDims) -> String {
    match dims {
        InputDims::Continuous { d_in } => format!("{d_in} numbers"),
        InputDims::Tokens { vocab } => format!("one of {vocab} tokens"),
    }
}

/// How the sizes of two tasks' data differ, in words.
pub(crate) fn difference(was: &IoDims, now: &IoDims) -> String {
    let mut parts = Vec::new();
    if was.input != now.input {
        parts.push(format!("inputs: {}, were {}", input(&now.input), input(&was.input)));
    }
    if was.d_out != now.d_out {
        parts.push(format!("outputs: {}, were {}", now.d_out, was.d_out));
    }
    if was.seq_len != now.seq_len {
        parts.push(format!("longest sequence: {}, was {}", now.seq_len, was.seq_len));
    }
    parts.join("; ")
}

impl Replaced {
    /// The change in words, as `head.weight [1, 64] -> [5, 64]`.
    pub fn sentence(&self) -> String {
        let shape =
            |shape: &Option<Vec<usize>>| shape.as_ref().map_or("nothing".to_owned(), |shape| format!("{shape:?}"));
        let kept = if self.kept_rows > 0 { format!(", the first {} rows kept", self.kept_rows) } else { String::new() };
        format!("{} {} -> {}{kept}", self.name, shape(&self.was), shape(&self.now))
    }
}
