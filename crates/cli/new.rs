//! `headway new`

use std::{path::Path, process::ExitCode};

use headway_keys::{Described, Form, Template, like, wrapped};
use headway_tasks::TaskConfig;
use headway_trainer::{
    experiment::{self, Experiment},
    presence,
};
use toml::{Table, Value};

use crate::{args::New, error::Error, output, values::overrides};

/// Experiments that ship, by their task: a new one begins with their values.
const SHIPPED: &[(&str, &str)] = &[
    ("truncated_linear", include_str!("../../experiments/truncated_linear.toml")),
    ("relu_network", include_str!("../../experiments/seq2seq_relu.toml")),
    ("icl_linear", include_str!("../../experiments/icl_linear.toml")),
    ("icl_sparse", include_str!("../../experiments/icl_sparse.toml")),
    ("icl_relu", include_str!("../../experiments/icl_relu.toml")),
    ("icl_two_layer_net", include_str!("../../experiments/icl_two_layer_net.toml")),
    ("icl_sine", include_str!("../../experiments/icl_sine.toml")),
    ("icl_tree", include_str!("../../experiments/icl_tree.toml")),
    ("robust_mean", include_str!("../../experiments/robust_mean.toml")),
    ("copy", include_str!("../../experiments/copy.toml")),
    ("mqar", include_str!("../../experiments/mqar.toml")),
    ("in_context_recall", include_str!("../../experiments/in_context_recall.toml")),
    ("selective_copying", include_str!("../../experiments/selective_copying.toml")),
    ("language", include_str!("../../experiments/language.toml")),
    ("forecast", include_str!("../../experiments/forecast.toml")),
    ("proteins", include_str!("../../experiments/proteins.toml")),
    ("image", include_str!("../../experiments/image.toml")),
    ("activity", include_str!("../../experiments/activity.toml")),
    (
        "file",
        "[task.file]\npath = \"datasets/nyc2013_hourly.csv.gz\"\ninputs = [\"EWR_temp\", \"EWR_pressure\", \"EWR_flights\"]\n\
         targets = [\"EWR_delay\"]\n[model.transformer]\ncausal = false\n",
    ),
];

/// The folder of data that comes with the source.
const DATA: &str = "datasets/";

/// How often a training is validated that is shorter than the time between two validations of the experiment that ships.
const VALIDATIONS: u64 = 8;

/// Longest line of a comment.
const WIDTH: usize = 120;

pub fn run(args: &New) -> Result<ExitCode, Error> {
    let name = &args.task;
    let Some(task) = TaskConfig::with_defaults(name) else {
        let names = TaskConfig::list().into_iter().map(|(name, _)| name.to_owned());
        return Err(Error::NoEntry { list: "tasks".to_owned(), name: name.clone(), like: like(names, name) });
    };
    // Somebody with a file has columns or arrays of other names.
    let text = if name == "file" && !args.set.is_empty() { of_defaults(&task) } else { beginning(&task) };
    if text.contains(DATA) && !presence::is_folder(Path::new(DATA))? && args.set.is_empty() {
        let problem = format!(
            "begins with {DATA}, which comes with the source of Headway and is not here; name your own data with -s, as in `headway new file \
             -s task.path=mine.csv -s 'task.inputs=[\"a\"]' -s 'task.targets=[\"y\"]'`: `headway explain task.{name}` tells its keys"
        );
        return Err(headway_trainer::Error::argument(name.clone(), problem).into());
    }
    let mut changes = overrides(&args.unset, &args.set, None);
    let mut loaded = experiment::from_text(Path::new(FILE), text.clone(), &changes)?;
    let train = &loaded.experiment.train;
    // Fewer steps than the experiment that ships has would end before they are looked at.
    if train.eval_every > train.steps && !args.set.iter().any(|set| set.starts_with("train.eval_every")) {
        changes.push(format!("train.eval_every={}", (train.steps / VALIDATIONS).max(1)));
        loaded = experiment::from_text(Path::new(FILE), text, &changes)?;
    }
    output::text(&written(&loaded.experiment));
    Ok(ExitCode::SUCCESS)
}

/// The file as which the text of a new experiment is read.
const FILE: &str = "new.toml";

/// The experiment that ships for a task, with its files; `None` if they are not here.
pub fn shipped(task: &TaskConfig) -> Option<Experiment> {
    Some(experiment::from_text(Path::new(FILE), beginning(task), &[]).ok()?.experiment)
}

/// The experiment that a new one begins with: the one that ships, or that of defaults.
fn beginning(task: &TaskConfig) -> String {
    match SHIPPED.iter().find(|(shipped, _)| *shipped == task.name()) {
        Some((_, text)) => text.replace(&format!("../{DATA}"), DATA),
        None => of_defaults(task),
    }
}

/// A task with its defaults and a transformer that sees as much of it as it may.
fn of_defaults(task: &TaskConfig) -> String {
    let causal = task.validate().is_empty() && task.answers_ahead().is_some();
    format!("[task.{}]\n[model.transformer]\ncausal = {causal}\n", task.name())
}

/// An experiment with every key and its meaning.
fn written(experiment: &Experiment) -> String {
    let mut values = experiment.to_table();
    let here = std::env::current_dir().map(|folder| format!("{}/", folder.display())).unwrap_or_default();
    values.get_mut("task").into_iter().for_each(|task| shorten(task, &here));
    let mut left_out = Vec::new();
    // What a file holds decides, unless somebody does.
    if experiment.task.held_examples().is_some() || experiment.task.held_evaluation().is_some() {
        left_out.push("data");
    }
    // It follows the other unless it is given.
    if experiment.train.attention_precision == experiment.train.precision {
        left_out.push("train.attention_precision");
    }
    let task = experiment.task.name();
    let summary = TaskConfig::list().into_iter().find(|(name, _)| *name == task).map_or("", |(_, summary)| summary);
    let about = format!(
        "{summary}.\nEvery key of this experiment with what it means. Keys in comments are left to Headway: write them without # to set \
         them. `headway explain KEY` says more, `headway check FILE` checks it and tells its cost, `headway train FILE` trains."
    );
    let mut text = String::new();
    for line in wrapped(&about, WIDTH - 2) {
        text.extend(["# ", line.as_str(), "\n"]);
    }
    if let Form::Table(table) = Experiment::form() {
        text.push('\n');
        text.push_str(&Template { values: &values, left_out: &left_out, width: WIDTH }.text(&table));
    }
    text
}

/// Paths below this folder as they are seen from here.
fn shorten(value: &mut Value, here: &str) {
    match value {
        Value::String(text) => {
            if let Some(below) = text.strip_prefix(here) {
                *text = below.to_owned();
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| shorten(value, here)),
        Value::Table(table) => all(table).for_each(|value| shorten(value, here)),
        _ => {}
    }
}

fn all(table: &mut Table) -> impl Iterator<Item = &mut Value> {
    table.iter_mut().map(|(_, value)| value)
}
