//! A trained network under other kernels, from the command line.

use serde_json::Value;

use crate::harness::{Headway, Lab};

/// A transformer whose attention is far from uniform: a few steps at a high rate.
const EXPERIMENT: &str = r#"
[task.icl_linear]
d = 3
n_points = 5

[data.fresh]
validation = 16
test = 24

[model.transformer]
d_model = 8
n_layers = 2
n_heads = 2
state_mixer = "none"

[optimizer.adam]
learning_rate = 2e-2

[train]
steps = 40
batch_size = 8
eval_every = 20
checkpoint_every = 20
"#;

fn lab() -> Lab {
    let lab = Lab::with(EXPERIMENT);
    lab.train("run", &[]).succeed();
    lab
}

fn swap(lab: &Lab, more: &[&str]) -> Headway {
    lab.headway(&[&["swap", "run", "--device", "cpu"], more].concat())
}

fn json(lab: &Lab, more: &[&str]) -> Value {
    swap(lab, &[more, &["--json"]].concat()).succeed().json()["swap"].take()
}

/// A number of every draw of the kernel at an index.
fn of_draws(swap: &Value, kernel: usize, pointer: &str) -> Vec<f64> {
    let draws = swap["kernels"][kernel]["draws"].as_array().unwrap();
    draws.iter().map(|draw| draw.pointer(pointer).unwrap().as_f64().unwrap()).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

const VARIATION: &str = "/patterns/total_variation";
const FROBENIUS: &str = "/patterns/frobenius";
const LOSS: &str = "/scores/metrics/test~1loss";

#[test]
fn the_same_function_has_no_error_and_a_window_as_long_as_the_sequence_neither() {
    let lab = lab();
    // Nine rows: five points with their values, the last without.
    let kernels =
        ["--kernel", "naive", "--kernel", "{ window = { size = 9 } }", "--kernel", "{ window = { size = 1 } }"];
    let found = json(&lab, &kernels);
    let evaluated = lab.headway(&["eval", "run", "--device", "cpu", "--json"]).succeed().json();
    assert_eq!(found["softmax"]["metrics"], evaluated["metrics"]);
    let exact = found["softmax"]["metrics"]["test/loss"].as_f64().unwrap();
    for kernel in [0, 1] {
        // Kernels without features are drawn once.
        let [variation, frobenius, loss] = [VARIATION, FROBENIUS, LOSS].map(|number| of_draws(&found, kernel, number));
        assert_eq!(variation.len(), 1);
        assert!(variation[0] < 1e-5 && frobenius[0] < 1e-5, "{variation:?} {frobenius:?}");
        assert!((loss[0] / exact - 1.0).abs() < 1e-4, "{loss:?} {exact}");
    }
    assert_eq!(found["kernels"][0]["flops"], 1.0);
    // A query that sees itself alone: its pattern is off by what softmax gives to all others.
    let alone = of_draws(&found, 2, VARIATION)[0];
    assert!(alone > 0.1 && alone < 1.0, "{alone}");
    let layers = found["kernels"][2]["draws"][0]["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    let each: Vec<f64> = layers.iter().map(|layer| layer["total_variation"].as_f64().unwrap()).collect();
    assert!((mean(&each) - alone).abs() < 1e-9, "{each:?} {alone}");
}

#[test]
fn random_features_come_nearer_with_their_number() {
    let lab = lab();
    let words = ["--kernel", "favor", "--m", "4,256", "--draws", "6", "--out", "page"];
    let found = json(&lab, &words);
    let [few, many] = [0, 1].map(|kernel| of_draws(&found, kernel, FROBENIUS));
    assert_eq!((few.len(), many.len()), (6, 6));
    assert!(few.iter().any(|error| error.to_bits() != few[0].to_bits()), "draws are alike: {few:?}");
    // 64 times as many features have an eighth of the error, were it small.
    assert!(mean(&many) < mean(&few) / 3.0, "{few:?} {many:?}");
    assert_eq!(json(&lab, &words[..6])["kernels"], found["kernels"], "the same draws give other numbers");
    let page = lab.read("page/report.html");
    for part in ["favor-4", "favor-256", "against the number of random features", "relative Frobenius"] {
        assert!(page.contains(part), "{part}");
    }
    let results: Value = serde_json::from_str(&lab.read("page/results.json")).unwrap();
    assert_eq!(results["swap"]["kernels"], found["kernels"]);
    assert!(lab.path("page/figures/loss.svg").is_file());
    assert!(lab.read("page/results.csv").contains("favor-256,"));
    let table = swap(&lab, &["--kernel", "favor", "--m", "16", "--kernel", "combiner"]).succeed().stdout;
    for part in ["softmax", "favor-16", "combiner", "test/loss", "total variation", "["] {
        assert!(table.contains(part), "{part}: {table}");
    }
}

#[test]
fn fine_tuning_brings_the_loss_back() {
    let lab = lab();
    let window = "{ window = { size = 2 } }";
    // With any loss allowed it is back before the first step, with none lost it is not.
    let of = |out: &str, kernel: &str, within: &str| {
        json(&lab, &["--kernel", kernel, "--finetune", "40", "--within", within, "--out", out])["kernels"][0].take()
    };
    let back = of("loose", window, "1e6");
    assert_eq!(back["back"]["reached"], 0);
    let curve = back["back"]["curve"].as_array().unwrap();
    let steps: Vec<u64> = curve.iter().map(|point| point[0].as_u64().unwrap()).collect();
    assert_eq!(steps, (0..=40).step_by(2).collect::<Vec<u64>>());
    assert_eq!(curve[0][1], back["draws"][0]["validation_loss"]);
    let record: Value = serde_json::from_str(&lab.read("loose/runs/window/run.json")).unwrap();
    assert_eq!((&record["verb"], &record["status"]), (&"finetune".into(), &"complete".into()));
    assert_eq!(record["results"][0]["metrics"], back["back"]["scores"]["metrics"]);
    assert!(lab.read("loose/runs/window/experiment.toml").contains("size = 2"));
    // The buffers of a kernel are no obstacle, and are those of the run's own seed.
    let favor = of("favor", "favor", "0.5");
    let first = favor["back"]["curve"][0][1].as_f64().unwrap();
    assert_eq!(Some(first.to_bits()), favor["draws"][0]["validation_loss"].as_f64().map(f64::to_bits));
    let lineage: Value = serde_json::from_str(&lab.read("favor/runs/favor/run.json")).unwrap();
    let missing = lineage["lineage"]["missing"].as_array().unwrap();
    assert!(missing.len() == 2 && missing.iter().all(|name| name.as_str().unwrap().ends_with("kernel.features")));
    let said = swap(&lab, &["--kernel", "naive", "--finetune", "2", "--within", "0", "--out", "naive"]).succeed();
    assert!(said.stdout.contains("steps back") && said.stdout.contains("naive: "), "{}", said.stdout);
}

#[test]
fn what_cannot_be_swapped_is_refused_with_the_reason() {
    let lab = lab();
    lab.train("biased", &["-s", "model.position=alibi"]).succeed();
    lab.train("other", &["-s", "model.kernel=linear"]).succeed();
    lab.train("unchecked", &["-s", "data.validation=0", "-s", "train.eval_every=0"]).succeed();
    let refused = |words: &[&str], parts: &[&str]| {
        lab.headway(&[&["swap"], words, &["--device", "cpu"]].concat()).fail(2, parts);
    };
    refused(&["other", "--kernel", "favor"], &["swap compares with softmax attention", "linear"]);
    refused(&["run", "--kernel", "window", "--m", "64"], &["--m: window has no random features"]);
    refused(&["run", "--kernel", "favor", "--m", "0"], &["--m", "0 is not in 1.."]);
    refused(&["run", "--kernel", "favour"], &["favour", "favor"]);
    refused(&["run", "--kernel", "{ window = { size = 0 } }"], &["window.size"]);
    refused(&["run"], &["--kernel"]);
    refused(&["run", "--kernel", "favor", "--finetune", "5"], &["--out"]);
    refused(&["unchecked", "--kernel", "favor", "--finetune", "5", "--out", "x"], &["--finetune", "data.validation"]);
    refused(&["biased", "--kernel", "favor"], &["favor", "alibi", "has no scores"]);
    // A kernel with scores keeps the bias.
    let found = lab.headway(&["swap", "biased", "--kernel", "top_k", "--device", "cpu", "--json"]).succeed().json();
    assert!(of_draws(&found["swap"], 0, VARIATION)[0] < 0.5);
    assert!(!lab.path("x").exists(), "a refused command leaves a folder");
}
