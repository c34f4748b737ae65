//! What must never change for users: the identity of a run, and how a run of an older version continues.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use headway_study::{Study, dir::StudyDir, file::Changes};
use headway_trainer::experiment::{self, Experiment};
use insta::assert_snapshot;
use serde_json::Value;

use crate::harness::Lab;

fn files_below(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "toml")).collect();
    files.sort();
    files
}

/// The runs of a file that are known before any is executed.
fn runs(path: &Path) -> Vec<Experiment> {
    let file: toml::Table = toml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    if file.contains_key("task") || file.contains_key("init_from") {
        return vec![experiment::load(path, &[]).unwrap().experiment];
    }
    let nowhere = StudyDir::at("a folder that is not there");
    let study = Study::read(path, &Changes::default()).unwrap();
    study.plan(&nowhere).unwrap().runs().iter().map(|run| run.experiment.clone()).collect()
}

/// A key that is added later is left out of the resolved config while it has its default; otherwise every run would get
/// another id.
#[test]
fn the_runs_of_every_experiment_keep_their_identities() {
    let files = [files_below("experiments"), files_below("experiments/reproduce")].concat();
    assert!(files.len() > 20, "experiments are looked for in the wrong place");
    let mut text = String::new();
    for path in files {
        let runs = runs(&path);
        let ids: Vec<String> = runs.iter().map(Experiment::run_id).collect();
        writeln!(text, "{}\n  {}", path.display(), ids.join("\n  ")).unwrap();
        // What is doubtful about a causal network where later tokens tell the answer is what limits.toml asks about.
        let asks = path.ends_with("limits.toml");
        let doubts: Vec<String> = runs.iter().filter(|_| !asks).flat_map(Experiment::doubts).collect();
        assert!(doubts.is_empty(), "{}: {doubts:?}", path.display());
    }
    assert_snapshot!("run-ids", text);
}

/// All scores of a log, in order.
fn numbers(log: &str) -> Vec<f64> {
    let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Map<String, Value>>(line).unwrap());
    lines.flat_map(|line| line.values().map(|value| value.as_f64().unwrap()).collect::<Vec<_>>()).collect()
}

/// Whether this processor has the same instructions as the one that made the fixture; others sum in another order.
fn computes_as_the_fixture() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

#[test]
fn a_run_of_an_older_version_goes_on_with_the_same_bits() {
    let lab = Lab::new();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/runs");
    let (stopped, straight) = (fixture.join("stopped"), fixture.join("straight"));
    lab.copy(stopped.to_str().unwrap(), "run");
    lab.resume("run").succeed();
    let (log, expected) = (lab.read("run/metrics.jsonl"), fs::read_to_string(straight.join("metrics.jsonl")).unwrap());
    let (log, expected) = (numbers(&log), numbers(&expected));
    assert_eq!(log.len(), expected.len(), "as many lines and scores");
    for (found, expected) in log.iter().zip(&expected) {
        // Six steps of Adam in float32 in another order of summation.
        assert!((found - expected).abs() <= 1e-4 * expected.abs(), "{found} in the log in place of {expected}");
    }
    let record: Value = serde_json::from_str(&lab.read("run/run.json")).unwrap();
    assert_eq!(record["run_id"], "622b3b8673fb-3");
    if computes_as_the_fixture() {
        let last = "checkpoints/step-00000006";
        for file in ["model.safetensors", "optim.safetensors", "state.json", "config.json", "metrics.json"] {
            let bytes = |root: &Path| fs::read(root.join(last).join(file)).unwrap();
            assert!(bytes(&lab.path("run")) == bytes(&straight), "{file} has other bits");
        }
    }
}
