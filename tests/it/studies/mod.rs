//! Sweeps, comparisons and reproductions from end to end on tiny configs: what is executed, what is left, and the
//! results.

mod comparisons;
mod kills;
mod reports;
mod reproductions;
mod sweeps;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::harness::{Finished, Headway, Lab, RunFiles, assert_sound_pages, whole_checkpoints};

const EXPERIMENT: &str = r"[task.icl_linear]
d = 3
n_points = 4

[data.fresh]
validation = 8
test = 6

[model.transformer]
d_model = 8
n_layers = 1
n_heads = 2

[optimizer.adam]
learning_rate = 0.01

[train]
steps = 12
batch_size = 4
log_every = 2
eval_every = 4
checkpoint_every = 3
";

const SWEEP: &str = r#"title = "Widths"
question = "Does width help?"
experiment = "experiment.toml"
seeds = { first = 0, count = 3 }

[set]
train.batch_size = 3

[grid]
model.d_model = [4, 8]
"#;

fn lab(files: &[(&str, &str)]) -> Lab {
    let lab = Lab::with(EXPERIMENT);
    for (name, text) in files {
        lab.write(name, text);
    }
    lab
}

fn sweep(lab: &Lab, more: &[&str]) -> Headway {
    lab.headway(&[&["sweep", "sweep.toml", "--device", "cpu", "--out", "out"], more].concat())
}

fn json_of(lab: &Lab, path: &str) -> Value {
    serde_json::from_str(&lab.read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Folders of a study's runs, each with the files that must not depend on how often it was stopped.
fn runs(lab: &Lab, out: &str) -> BTreeMap<String, RunFiles> {
    let folders = fs::read_dir(lab.path(out).join("runs")).unwrap();
    let names = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.map(|name| (name.clone(), lab.run(&format!("{out}/runs/{name}")))).collect()
}

/// Squared errors of the network of width 8 by seed, from `results.csv`.
fn values_of(csv: &str) -> Vec<f64> {
    let lines = csv.lines().filter_map(|line| line.strip_prefix("d_model=8,network,")?.split_once(",test/mse,"));
    lines.map(|(_, rest)| rest.split(',').next().unwrap().parse().unwrap()).collect()
}

fn standings(lab: &Lab) -> Vec<String> {
    let status = lab.headway(&["sweep", "status", "sweep.toml", "--out", "out", "--json"]).succeed().json();
    let name = |run: &Value| match &run["standing"] {
        Value::String(name) => name.clone(),
        Value::Object(name) => name.keys().next().unwrap().clone(),
        other => panic!("{other}"),
    };
    status.as_array().unwrap().iter().map(name).collect()
}
