//! `headway analyze rank` and `paths` from end to end: their numbers compared with those that numpy computes from the
//! same checkpoint.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Lab, assert_sound_pages, python, there_is};

const TASK: &str = r"[task.icl_linear]
d = 3
n_points = 4

[data.fresh]
test = 5

[optimizer.adam]
learning_rate = 0.05

[train]
steps = 15
batch_size = 5
log_every = 15
eval_every = 0
";

/// The same with a task that has no answers in its input, for networks that see all of it.
fn whole() -> String {
    TASK.replace(
        "[task.icl_linear]\nd = 3\nn_points = 4",
        "[task.truncated_linear]\nseq_len = 5\nd_in = 3\nlow = -1.0\nhigh = 1.0",
    )
}

/// A network in the folder `run`, trained with learning rates large enough to leave the initial weights behind: unit
/// gains would hide errors.
fn trained(model: &str) -> Lab {
    let task = if model.contains("causal = false") { whole() } else { TASK.to_owned() };
    let lab = Lab::with(&format!("{task}{model}"));
    lab.train("run", &[]).succeed();
    lab
}

/// Constructed weights in the folder `made`.
fn constructed() -> Lab {
    let lab = Lab::new();
    let sizes = ["--seq-len", "5", "--d-in", "2", "--low", "-1", "--high", "1", "--tolerance", "0.05"];
    let folder = ["--device", "cpu", "--out", "made"];
    lab.headway(&[&["construct", "truncated-linear-heads"], &sizes[..], &folder].concat()).succeed();
    lab
}

/// Shape and values of the outputs of the weights in `made`.
fn outputs(lab: &Lab) -> (Vec<usize>, Vec<f64>) {
    lab.headway(&["eval", "made", "--device", "cpu", "--save-outputs", "saved"]).succeed();
    let bytes = fs::read(lab.path("saved/outputs.safetensors")).unwrap();
    let outputs = headway_model::weights::arrays_from_bytes(&bytes).unwrap().remove("outputs").unwrap();
    (outputs.shape, outputs.values.into_iter().map(f64::from).collect())
}

const CHECKPOINT: &str = "run/checkpoints/step-00000015";

/// `headway analyze` with these words on the CPU, as JSON.
fn analyze(lab: &Lab, words: &[&str]) -> Value {
    lab.headway(&[&["analyze"], words, &["--device", "cpu", "--json"]].concat()).succeed().json()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

fn names(document: &Value) -> Vec<&str> {
    document["curves"].as_array().unwrap().iter().map(|curve| curve["name"].as_str().unwrap()).collect()
}

/// What numpy computes from a checkpoint and the inputs beside it.
fn numpy(lab: &Lab, program: &str) -> Value {
    lab.headway(&["eval", CHECKPOINT, "--device", "cpu", "--save-outputs", "saved"]).succeed();
    let common = r#"
import json, sys
import numpy as np
import headway_reference
model = headway_reference.load(sys.argv[1], dtype=np.float64)
net = model.network
inputs = model.checked(headway_reference.read_safetensors(sys.argv[2])["inputs"])
def size(m):
    return np.sqrt(np.abs(m).sum(0).max() * np.abs(m).sum(1).max())
"#;
    let output = python()
        .args(["-c", &format!("{common}{program}")])
        .args([lab.path(CHECKPOINT), lab.path("saved/inputs.safetensors")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

mod rank {
    use super::*;

    /// log10 of residual and relative residual, `[layer][sequence][2]`.
    const RESIDUALS: &str = r"
h = net.position(net.embed(inputs))
states = [h]
for block in net.blocks:
    h, _ = block(h, net.mask(h.shape[1]))
    states.append(h)
rest = lambda x: size(x - x.mean(0))
log = lambda x: float(np.log10(x + 1e-300))
print(json.dumps([[[log(rest(x)), log(rest(x) / size(x))] for x in h] for h in states]))
";

    fn agrees_with_numpy(model: &str) {
        if !there_is("numpy") {
            return;
        }
        let lab = trained(model);
        let document = analyze(&lab, &["rank", CHECKPOINT]);
        let wanted = numpy(&lab, RESIDUALS);
        let layers = document["curves"][0]["layers"].as_array().unwrap();
        assert_eq!(layers.len(), wanted.as_array().unwrap().len());
        let mut compared = 0;
        for (layer, wanted) in layers.iter().zip(wanted.as_array().unwrap()) {
            let wanted = wanted.as_array().unwrap();
            assert_eq!(wanted.len(), 5);
            for (sequence, wanted) in wanted.iter().enumerate() {
                for (key, wanted) in ["log10_residuals", "log10_relatives"].into_iter().zip(wanted.as_array().unwrap())
                {
                    let wanted = number(wanted);
                    // If less than a thousandth is left, f32 inputs cannot resolve it.
                    if wanted > -3.0 {
                        let found = number(&layer[key][sequence]);
                        assert!((found - wanted).abs() < 4e-5, "{key} {layer} {sequence}: {wanted}"); // 1e-4 relative
                        compared += 1;
                    }
                }
            }
        }
        assert!(compared >= 4 * 5, "only {compared} numbers were large enough to compare");
    }

    #[test]
    fn of_a_usual_transformer_is_that_of_numpy() {
        agrees_with_numpy(
            "[model.transformer]\nd_model = 8\nn_layers = 3\nn_heads = 2\nstate_mixer = { ffn = { d_ffn = 12 } }\n",
        );
    }

    #[test]
    fn of_plain_layers_is_that_of_numpy() {
        agrees_with_numpy(
            "[model.transformer]\nd_model = 8\nn_layers = 2\nn_heads = 4\ncausal = false\nnorm = \"none\"\nresidual = false\n\
             state_mixer = { ffn = { d_ffn = 12, activation = \"gelu_tanh\" } }\n",
        );
    }

    #[test]
    fn attention_alone_collapses_doubly_exponentially_and_pieces_keep_it_from_it() {
        let lab = Lab::with(&format!(
            "{TASK}[model.transformer]\nd_model = 32\nn_layers = 8\nn_heads = 4\ncausal = false\nnorm = \"none\"\n\
             position = \"sinusoidal\"\nstate_mixer = {{ ffn = {{ d_ffn = 64 }} }}\n"
        ));
        let document = analyze(&lab, &["rank", "experiment.toml", "--compare"]);
        assert_eq!(
            names(&document),
            ["attention", "attention + skip", "attention + feed-forward", "attention + skip + feed-forward"]
        );
        let curve = |index: usize| document["curves"][index]["layers"].as_array().unwrap();
        let ratios: Vec<f64> = curve(0).iter().filter_map(|layer| layer["fall_ratio"].as_f64()).collect();
        assert!((ratios[ratios.len() - 1] - 3.0).abs() < 0.2, "{ratios:?}");
        let deepest = curve(0).iter().filter_map(|layer| layer["log10_residual"].as_f64()).fold(0.0, f64::min);
        assert!(deepest < -80.0, "{deepest}");
        // Below 1e-300 the number is missing.
        assert_eq!(curve(0)[8]["log10_residual"], Value::Null);
        for index in [1, 3] {
            assert!(number(&curve(index)[8]["log10_relative"]) > -2.0, "{:?}", curve(index)[8]);
        }
        // The last one is the model as it is, and each part can also be switched by hand.
        let alone =
            |words: &[&str]| analyze(&lab, &[&["rank", "experiment.toml"], words].concat())["curves"][0].clone();
        assert_eq!(alone(&[]), document["curves"][3]);
        assert_eq!(alone(&["--skip", "off", "--ffn", "off"]), document["curves"][0]);
        assert_eq!(alone(&["--skip", "on", "--ffn", "off"]), document["curves"][1]);
        // With fewer layers and sequences the result is the beginning of the full one.
        let few = alone(&["--layers", "2", "--sequences", "1"]);
        assert_eq!(few["layers"].as_array().unwrap().len(), 3);
        assert_eq!(
            few["layers"][2]["log10_residuals"],
            json!([document["curves"][3]["layers"][2]["log10_residuals"][0]])
        );
        // Another seed has other weights.
        assert_ne!(alone(&["--seed", "1"])["layers"][2], document["curves"][3]["layers"][2]);
    }

    #[test]
    fn a_page_holds_figure_numbers_and_findings() {
        let lab = trained("[model.transformer]\nd_model = 8\nn_layers = 3\nn_heads = 2\ncausal = false\n");
        let words = ["analyze", "rank", "run", "--norm", "off", "--compare", "--device", "cpu", "--out", "page"];
        let stdout = lab.headway(&words).succeed().stdout;
        for text in ["trained weights", "attention + skip", "report: page/report.html"] {
            assert!(stdout.contains(text), "{stdout}");
        }
        for file in ["page/figures/rank.svg", "page/results.json"] {
            assert!(fs::metadata(lab.path(file)).unwrap().len() > 0, "{file}");
        }
        let table = lab.read("page/rank.csv");
        assert_eq!(table.lines().next().unwrap(), "network,sequence,layer,log10 residual,log10 relative");
        assert_eq!(table.lines().count(), 1 + 2 * 5 * 4);
        assert!(lab.read("page/report.html").contains("res(X) is the hidden state"));
        assert_sound_pages(&[lab.path("page/report.html")]);
    }

    #[test]
    fn the_papers_models_are_stacks_too() {
        let lab = Lab::with(&format!("{}[model.paper_two_layer]\nd_model = 8\nn_heads = 2\nn_anchors = 2\n", whole()));
        let document = analyze(&lab, &["rank", "experiment.toml"]);
        assert_eq!(document["subject"]["rows"], 7);
        assert_eq!(
            (names(&document), document["curves"][0]["layers"].as_array().unwrap().len()),
            (vec!["attention"], 3)
        );
        let set_keys = ["rank", "experiment.toml", "-s", "model={ paper_set_keys = { n_anchors = 2 } }"];
        let document = analyze(&lab, &set_keys);
        assert_eq!((names(&document), &document["subject"]["behind"]), (vec!["attention + maps"], &json!([[7, 11]])));
    }

    #[test]
    fn of_constructed_weights_it_is_that_of_the_outputs() {
        let lab = constructed();
        let document = analyze(&lab, &["rank", "made", "--sequences", "7"]);
        assert_eq!(document["subject"]["weights"], "constructed");
        assert_eq!((&document["subject"]["rows"], &document["subject"]["d_model"]), (&json!(5), &json!(2)));
        assert_eq!((names(&document), &document["curves"][0]["method"]), (vec!["attention + maps"], &json!("plain")));
        let layers = document["curves"][0]["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 2);
        // Rows of one number behind the last layer, which are the prediction: a column sum beside a largest entry.
        let (shape, outputs) = outputs(&lab);
        assert_eq!(shape[1..], [5, 1]);
        for (sequence, outputs) in outputs.chunks_exact(5).take(7).enumerate() {
            let size = |values: &[f64]| {
                let sum: f64 = values.iter().map(|value| value.abs()).sum();
                (sum * values.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()))).sqrt()
            };
            let mean = outputs.iter().sum::<f64>() / 5.0;
            let rest = size(&outputs.iter().map(|value| value - mean).collect::<Vec<_>>());
            for (key, wanted) in [("log10_residuals", rest), ("log10_relatives", rest / size(outputs))] {
                let found = number(&layers[1][key][sequence]);
                assert!((found - wanted.log10()).abs() < 1e-4, "{key} of sequence {sequence}: {found} {wanted}");
            }
        }
        let stdout = lab.headway(&["analyze", "rank", "made", "--device", "cpu", "--out", "page"]).succeed().stdout;
        for text in ["constructed weights: attention_stack", "behind the layers 5 x 1", "computed plainly in f64"] {
            assert!(stdout.contains(text), "{stdout}");
        }
        assert!(!stdout.contains("fall ratio"), "{stdout}");
        assert_sound_pages(&[lab.path("page/report.html")]);
        let switched = |words: &[&str]| lab.headway(&[&["analyze", "rank", "made"], words].concat());
        switched(&["--skip", "on"])
            .fail(2, &["--skip on: the model has no skips, and the maps", "model.residual=true"]);
        switched(&["--norm", "on"]).fail(2, &["--norm on: the model has no layer norms"]);
        switched(&["--ffn", "on"]).fail(2, &["--ffn on: the model has no feed-forward networks"]);
        assert_eq!(names(&analyze(&lab, &["rank", "made", "--compare"])), ["attention + maps"]);
    }
}

mod paths {
    use super::*;

    /// Size of each path through two layers of two heads and a skip connection, the median over sequences, with the
    /// last layer changing fastest.
    const SIZES: &str = r"
_, patterns = model.trace(inputs)
h = net.position(net.embed(inputs))
def ways(block, pattern):
    d = net.blocks[0].attention.value.weight.shape[0] // 2
    for head in range(2):
        value = block.attention.value.weight.T[:, head * d : (head + 1) * d]
        yield pattern[head], value @ block.attention.output.weight.T[head * d : (head + 1) * d]
    yield np.eye(len(pattern[0])), np.eye(len(value))
sizes = []
for x, first, second in zip(h, *patterns):
    sizes.append([size(q @ p @ x @ w @ v) for p, w in ways(net.blocks[0], first) for q, v in ways(net.blocks[1], second)])
print(json.dumps(list(np.median(sizes, 0))))
";

    const PLAIN: &str = "[model.transformer]\nd_model = 8\nn_layers = 2\nn_heads = 2\nnorm = \"none\"\n";

    #[test]
    fn sizes_are_those_of_numpy() {
        let lab = trained(PLAIN);
        let document = analyze(&lab, &["paths", CHECKPOINT, "--top", "9"]);
        assert_eq!(document["paths"], 9);
        assert!(number(&document["error"]) < 1e-13, "{document}");
        let lengths: Vec<_> =
            document["lengths"].as_array().unwrap().iter().map(|l| (l["heads"].clone(), l["paths"].clone())).collect();
        assert_eq!(lengths, [(json!(0), json!(1)), (json!(1), json!(4)), (json!(2), json!(4))]);
        if !there_is("numpy") {
            return;
        }
        let wanted = numpy(&lab, SIZES);
        let largest = document["largest"].as_array().unwrap();
        assert_eq!(largest.len(), 9);
        let digit = |choice: &Value| choice.as_u64().unwrap_or(2) as usize;
        for one in largest {
            let wanted = number(&wanted[3 * digit(&one["path"][0]) + digit(&one["path"][1])]);
            assert!((number(&one["size"]) / wanted - 1.0).abs() < 1e-5, "{one}: {wanted}");
        }
        for pair in largest.windows(2) {
            assert!(number(&pair[0]["size"]) >= number(&pair[1]["size"]), "{document}");
        }
    }

    #[test]
    fn norms_take_part_and_a_page_tells_of_it() {
        let lab = trained(&PLAIN.replace("\"none\"", "\"pre\""));
        let words = ["analyze", "paths", "run", "--device", "cpu", "--out", "page", "--top", "3"];
        let stdout = lab.headway(&words).succeed().stdout;
        for text in ["9 paths and the biases add up", "deviations held fixed", "head at each layer", "report: page/"] {
            assert!(stdout.contains(text), "{stdout}");
        }
        let error = number(&serde_json::from_str::<Value>(&lab.read("page/results.json")).unwrap()["error"]);
        assert!(error < 1e-13, "{error}");
        assert_eq!(lab.read("page/paths.csv").lines().count(), 4);
        assert_eq!(lab.read("page/lengths.csv").lines().count(), 4);
        assert!(fs::metadata(lab.path("page/figures/paths.svg")).unwrap().len() > 0);
        assert_sound_pages(&[lab.path("page/report.html")]);
        // Without skips there is one length only.
        let bare = analyze(&lab, &["paths", CHECKPOINT, "--skip", "off", "--norm", "off"]);
        assert_eq!((&bare["paths"], bare["lengths"].as_array().unwrap().len()), (&json!(4), 1));
    }

    #[test]
    fn maps_take_part() {
        // What one head clamps is in its values alone; tokens only choose among them.
        let lab = constructed();
        let document = analyze(&lab, &["paths", "made"]);
        assert!(number(&document["error"]) < 1e-13, "{document}");
        assert_eq!((&document["paths"], &document["lengths"][0]["sum"]), (&json!(1), &json!(0.0)));
        assert_eq!((&document["lengths"][0]["residual"], &document["bias"]), (&Value::Null, &document["output"]));
        let stdout = lab.headway(&["analyze", "paths", "made", "--device", "cpu", "--out", "page"]).succeed().stdout;
        for text in ["1 path and the biases add up", "The biases give the most", "their constants count as biases"] {
            assert!(stdout.contains(text), "{stdout}");
        }
        assert_sound_pages(&[lab.path("page/report.html")]);
        // With three layers, tokens pass through as well.
        let sizes = ["--seq-len", "3", "--d", "2", "--hidden", "4", "--tolerance", "1e-3"];
        let folder = ["--device", "cpu", "--out", "relu"];
        lab.headway(&[&["construct", "relu-network"], &sizes[..], &folder].concat()).succeed();
        let document = analyze(&lab, &["paths", "relu"]);
        assert!(number(&document["error"]) < 1e-13, "{document}");
        assert_eq!((&document["subject"]["n_heads"], &document["paths"]), (&json!([4, 1, 4]), &json!(16)));
        assert!(number(&document["lengths"][0]["sum"]) > 0.1 * number(&document["output"]), "{document}");
    }

    #[test]
    fn what_cannot_be_walked_is_refused_with_what_to_change() {
        let lab = Lab::with(&format!("{TASK}{PLAIN}"));
        let deep = ["analyze", "paths", "experiment.toml", "-s", "model.n_layers=14"];
        let texts =
            ["3^14 = 4782969 paths", "in 5 sequences 23914845 to walk", "--layers N", "--sequences 1", "--skip off"];
        lab.headway(&deep).fail(2, &texts);
        lab.headway(&[&deep[..], &["--layers", "3"]].concat()).succeed();
        let ffn = ["analyze", "paths", "experiment.toml", "-s", "model.state_mixer={ ffn = { d_ffn = 4 } }"];
        lab.headway(&ffn).fail(2, &["no sum over paths holds them; analyze paths --ffn off leaves them out"]);
        lab.headway(&[&ffn[..], &["--ffn", "off"]].concat()).succeed();
    }
}

#[test]
fn wrong_words_end_with_the_agreed_codes() {
    let lab = trained("[model.transformer]\nd_model = 8\nn_layers = 1\nn_heads = 2\nnorm = \"none\"\n");
    let rank = |words: &[&str]| lab.headway(&[&["analyze", "rank"], words].concat());
    rank(&["nowhere"]).fail(3, &["checkpoint nowhere: does not exist"]);
    rank(&["nowhere.toml"]).fail(2, &["cannot read experiment nowhere.toml"]);
    fs::create_dir(lab.path("empty")).unwrap();
    rank(&["empty"]).fail(3, &["holds no whole checkpoint"]);
    rank(&["run", "-s", "model.d_model=6"]).fail(3, &["the weights do not fit the model"]);
    rank(&["experiment.toml", "-s", "model.n_haeds=2"]).fail(2, &["n_haeds", "n_heads"]);
    rank(&["run", "--norm", "on"]).fail(2, &["--norm on: the model has no layer norms", "-s model.norm=pre"]);
    rank(&["run", "--ffn", "on"]).fail(2, &["--ffn on: the model has no feed-forward networks"]);
    rank(&["run", "--layers", "2"]).fail(2, &["--layers 2: the network has 1 layer"]);
    rank(&["run", "--layers", "0"]).fail(2, &["--layers 0"]);
    rank(&["run", "--sequences", "0"]).fail(2, &["--sequences"]);
    rank(&["run", "--skip", "maybe"]).fail(2, &["--skip", "on, off"]);
    rank(&["run", "--compare", "--skip", "on"]).fail(2, &["cannot be used with"]);
    rank(&["run", "--out", "run"]).fail(2, &["run holds run.json, and a page of its own"]);
    // A single sequence of a single layer is no special case.
    rank(&["run", "--sequences", "1"]).succeed();
    // NaN weights have no residuals, and cause no panic.
    let path = lab.path(CHECKPOINT).join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    rank(&[CHECKPOINT]).fail(3, &["MANIFEST"]);
}

/// The sum over all paths is the last hidden state, so that its scores are those of the network; a feed-forward network has no paths.
#[test]
fn all_paths_together_answer_as_the_network_does() {
    for model in ["norm = \"none\"\n", "n_layers = 3\n", "residual = false\n"] {
        let lab = trained(&format!("[model.transformer]\nd_model = 8\nn_heads = 2\n{model}"));
        let found = analyze(&lab, &["path-scores", CHECKPOINT]);
        let evaluated = lab.headway(&["eval", "run", "--device", "cpu", "--json"]).succeed().json();
        let (whole, lengths) = (&found["whole"], found["lengths"].as_array().unwrap());
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-5 * b.abs();
        assert!(close(number(&whole["loss"]), number(&evaluated["metrics"]["test/loss"])), "{model}: {whole}");
        let all = &lengths.last().unwrap()["up_to"];
        assert!(close(number(&all["loss"]), number(&whole["loss"])), "{model}: {all}, {whole}");
        assert!(number(&all["distance"]) <= 1e-10 * number(&whole["quality"]), "{model}: {all}");
        // The skip connections alone are one path, which is not there without them.
        let first = &lengths[0];
        assert_eq!(first["alone"], first["up_to"]);
        assert_eq!(number(&first["paths"]) > 0.0, !model.contains("residual"));
        assert_eq!(first["alone"].is_null(), model.contains("residual"));
        // A part of the paths is another function.
        let is_part = lengths.len() > 2 && !model.contains("residual");
        assert!(!is_part || !close(number(&lengths[1]["up_to"]["loss"]), number(&whole["loss"])), "{model}");
    }
    let lab = trained("[model.transformer]\nd_model = 8\nn_heads = 2\nstate_mixer = { ffn = { d_ffn = 5 } }\n");
    lab.headway(&["analyze", "path-scores", CHECKPOINT]).fail(2, &["feed-forward"]);
}
