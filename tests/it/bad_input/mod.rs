//! Every error ends with an exit code and a message that names the place and the fix, never with a panic.

mod beside_a_run_in_progress;
mod checkpoints;
mod command_line;
mod config;
mod folders;
mod machine;
mod names;
mod training;

use std::{fs, path::Path};

use safetensors::SafeTensors;
use serde_json::Value;

use crate::harness::{self, Lab, whole_checkpoints};

const SOUND: &str = r"[task.icl_linear]
d = 3
n_points = 4

[data.fresh]
validation = 0
test = 5

[model.transformer]
d_model = 8
n_layers = 1
n_heads = 2

[train]
steps = 4
batch_size = 3
log_every = 1
checkpoint_every = 2
";

const COPY: &str = "[task.copy]\nvocab = 5\nn_data = 3\n[model.transformer]\nd_model = 8\nn_heads = 2\n";

/// Asserts that `headway check` on a text fails with these messages.
fn refused(experiment: &str, texts: &[&str]) {
    refused_with(experiment, &[], texts);
}

fn refused_with(experiment: &str, more: &[&str], texts: &[&str]) {
    let lab = Lab::with(experiment);
    let words = [&["check", "experiment.toml", "--device", "cpu"], more].concat();
    let finished = lab.headway(&words).fail(2, texts);
    assert_eq!(finished.stdout, "");
}

/// A finished run of the valid experiment in `run`.
fn lab_with_run() -> Lab {
    let lab = Lab::with(SOUND);
    lab.train("run", &[]).succeed();
    lab
}

/// A run that was killed after two checkpoints in `run`.
fn lab_with_killed_run() -> Lab {
    let lab = Lab::with(SOUND);
    lab.train("run", &[]).fault("step:3").be_killed();
    assert_eq!(whole_checkpoints(&lab.path("run")), [0, 2]);
    lab
}

fn flip_one_byte(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Changes a file of a checkpoint and updates the manifest.
fn forge(folder: &Path, name: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let path = folder.join(name);
    fs::write(&path, change(fs::read(&path).unwrap())).unwrap();
    let digests = std::process::Command::new("sha256sum")
        .args(["model.safetensors", "config.json", "optim.safetensors", "state.json", "metrics.json"])
        .current_dir(folder)
        .output()
        .unwrap();
    fs::write(folder.join("MANIFEST"), digests.stdout).unwrap();
}
