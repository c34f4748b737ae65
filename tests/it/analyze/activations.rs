//! `headway analyze patterns`, `ablate`, `logit-lens` and `in-context` from end to end: on every model, on every
//! shipped checkpoint, and compared with what numpy computes from the same weights.

use std::{fs, path::Path, process::Command};

use headway_model::{MODELS, weights};
use headway_trainer::experiment;
use serde_json::{Value, json};

use crate::harness::{Lab, assert_sound_pages, python, there_is};

/// The commands that run a network on examples.
const COMMANDS: [&[&str]; 3] = [&["patterns"], &["ablate"], &["logit-lens"]];

const PROMPTS: &str = r"[task.icl_linear]
d = 3
n_points = 4

[data.fresh]
test = 6

[optimizer.adam]
learning_rate = 0.05

[train]
steps = 15
batch_size = 5
log_every = 15
eval_every = 0
";

const SMALL: &str = "[model.transformer]\nd_model = 8\nn_layers = 2\nn_heads = 2\n";

const CHECKPOINT: &str = "run/checkpoints/step-00000015";

/// Learning rates large enough to leave the initial weights behind.
fn trained(model: &str) -> Lab {
    let lab = Lab::with(&format!("{PROMPTS}{model}"));
    lab.train("run", &[]).succeed();
    lab
}

/// `headway analyze` with these words on the CPU, as JSON.
fn analyze(lab: &Lab, words: &[&str]) -> Value {
    lab.headway(&[&["analyze"], words, &["--device", "cpu", "--json"]].concat()).succeed().json()
}

fn shipped(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints").join(name).display().to_string()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

#[track_caller]
fn assert_near(found: &Value, wanted: f64, tolerance: f64) {
    let found = number(found);
    assert!((found - wanted).abs() <= tolerance * wanted.abs().max(1e-3), "{found} is not {wanted}");
}

/// Puts a value into some entries of a checkpoint's array, and updates the digests.
fn rewrite(checkpoint: &Path, name: &str, is_chosen: impl Fn(usize) -> bool, value: f32) {
    let file = checkpoint.join("model.safetensors");
    let mut arrays = weights::arrays_from_bytes(&fs::read(&file).unwrap()).unwrap();
    let entries = arrays.get_mut(name).unwrap().values.iter_mut().enumerate();
    entries.filter(|(index, _)| is_chosen(*index)).for_each(|(_, entry)| *entry = value);
    fs::write(&file, weights::arrays_to_bytes(&arrays).unwrap()).unwrap();
    let manifest = fs::read_to_string(checkpoint.join("MANIFEST")).unwrap();
    let names: Vec<&str> = manifest.lines().map(|line| line.split_whitespace().last().unwrap()).collect();
    let digests = Command::new("sha256sum").args(names).current_dir(checkpoint).output().unwrap();
    assert!(digests.status.success(), "{digests:?}");
    fs::write(checkpoint.join("MANIFEST"), digests.stdout).unwrap();
}

/// What numpy computes from the trained checkpoint and the inputs of its first test batch.
fn numpy(lab: &Lab, program: &str) -> Value {
    // All test examples in one batch.
    let words = ["eval", CHECKPOINT, "--device", "cpu", "--save-outputs", "saved", "-s", "train.batch_size=6"];
    lab.headway(&words).succeed();
    let common = r#"
import json, sys
import numpy as np
import headway_reference
model = headway_reference.load(sys.argv[1], dtype=np.float64)
net = model.network
inputs = headway_reference.read_safetensors(sys.argv[2])["inputs"]
"#;
    let mut command: Command = python();
    let command = command.args(["-c", &format!("{common}{program}")]);
    let output = command.args([lab.path(CHECKPOINT), lab.path("saved/inputs.safetensors")]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

mod every_network {
    use super::*;

    /// One experiment for each model of the list.
    fn experiments(model: &str) -> Vec<String> {
        let vectors = "[task.truncated_linear]\nseq_len = 5\nd_in = 3\nlow = -1.0\nhigh = 1.0\n";
        let tokens = "[task.mqar]\nvocab = 16\nseq_len = 12\nn_pairs = [2]\n";
        let data = "[data.fresh]\ntest = 9\n[train]\nbatch_size = 4\n";
        let on = |task: &str, model: &str| format!("{task}{data}{model}");
        match model {
            "paper_one_layer" => ["channels", "softmax"]
                .map(|readout| {
                    let sizes = "d_model = 6\nn_heads = 3\nn_anchors = 2\n";
                    on(vectors, &format!("[model.paper_one_layer]\n{sizes}readout = \"{readout}\"\n"))
                })
                .into(),
            "paper_two_layer" => {
                vec![on(vectors, "[model.paper_two_layer]\nd_model = 6\nn_heads = 2\nn_anchors = 2\n")]
            }
            "paper_set_keys" => vec![on(vectors, "[model.paper_set_keys]\nd_model = 6\nn_anchors = 2\n")],
            "csformer" => {
                let task = "[task.relu_network]\nseq_len = 6\nd = 2\nd_hidden = 5\n";
                vec![on(task, "[model.csformer]\nd_model = 6\nn_heads = 2\nn_layers = 1\nd_adapter = 5\npatch = 2\n")]
            }
            "attention_stack" => {
                let first = "{ map = \"token_wise\", rows = 11, width = 7, queries = 6, keys = 9, d_out = 4, heads = [{ count = 3, d_key = 2, \
                             d_value = 4 }, { d_key = 5, d_value = 1 }] }";
                let second = |queries: usize, d_out: usize| {
                    format!(
                        "{{ map = \"sequence_wise\", rows = 8, width = 3, queries = {queries}, keys = 5, d_out = {d_out}, heads = [{{ count = 2, \
                         d_key = 1, d_value = 3 }}] }}"
                    )
                };
                let stack = |second: String, readout: &str| {
                    on(
                        vectors,
                        &format!("[model.attention_stack]\nlayers = [{first}, {second}]\nreadout = {readout}\n"),
                    )
                };
                vec![
                    stack(second(4, 2), "\"affine\""),
                    stack(second(6, 4), "{ softmax = { width = 3, d_value = 2 } }"),
                    stack(second(7, 1), "\"rows\""),
                ]
            }
            "transformer" => {
                let sizes = "[model.transformer]\nd_model = 6\nn_heads = 2\nn_layers = 3\n";
                let bare = "norm = \"none\"\nresidual = false\ncausal = false\nstate_mixer = { ffn = { d_ffn = 5 } }\n";
                vec![
                    on(vectors, sizes),
                    on(vectors, &format!("{sizes}{bare}")),
                    on(tokens, sizes),
                    on(tokens, &format!("{sizes}{bare}")),
                ]
            }
            other => panic!("an experiment of `{other}` belongs here, so that the new model is looked into too"),
        }
    }

    #[test]
    fn can_be_looked_into() {
        for (model, _) in MODELS {
            for (number, text) in experiments(model).into_iter().enumerate() {
                let lab = Lab::with(&text);
                experiment::load(&lab.path("experiment.toml"), &[]).unwrap();
                for words in COMMANDS {
                    let page = format!("{}-{number}", words[0]);
                    let run = [&["analyze"], words, &["experiment.toml", "--device", "cpu", "--out", &page]].concat();
                    let stdout = lab.headway(&run).succeed().stdout;
                    for text in ["first weights of seed 0", *model, "report: "] {
                        assert!(stdout.contains(text), "{stdout}");
                    }
                    assert_sound_pages(&[lab.path(&page).join("report.html")]);
                }
            }
        }
    }

    #[test]
    fn has_a_last_layer_that_answers_as_it_does() {
        for (model, _) in MODELS {
            for text in experiments(model) {
                let lab = Lab::with(&text);
                let lens = analyze(&lab, &["logit-lens", "experiment.toml"]);
                let ablation = analyze(&lab, &["ablate", "experiment.toml"]);
                assert_eq!((&lens["examples"], &ablation["examples"]), (&json!(9), &json!(9)));
                let last = lens["layers"].as_array().unwrap().last().unwrap();
                assert_near(&last["own"]["loss"], number(&ablation["whole"]["loss"]), 1e-6);
                assert_near(&last["own"]["quality"], number(&ablation["whole"]["quality"]), 1e-6);
                assert!(number(&last["own"]["distance"]).abs() < 1e-9, "{last}");
            }
        }
    }

    #[test]
    fn that_ships_can_be_looked_into_by_every_command_that_suits_it() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints");
        let mut tried = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if !path.is_dir() {
                continue;
            }
            let lab = Lab::new();
            let checkpoint = path.display().to_string();
            let config: Value = serde_json::from_slice(&fs::read(path.join("config.json")).unwrap()).unwrap();
            let task = config["experiment"]["task"].as_object().unwrap().keys().next().unwrap().clone();
            for words in COMMANDS {
                let few = ["--sequences", "20", "--device", "cpu", "--out", words[0]];
                lab.headway(&[&["analyze"], words, &[&checkpoint], &few[..]].concat()).succeed();
                assert_sound_pages(&[lab.path(words[0]).join("report.html")]);
            }
            let in_context =
                lab.headway(&["analyze", "in-context", &checkpoint, "--sequences", "20", "--device", "cpu"]);
            if task.starts_with("icl_") {
                in_context.succeed();
            } else {
                in_context
                    .fail(2, &[&format!("{task} has no prompts of examples"), "icl_linear", "in_context_regression"]);
            }
            tried += 1;
        }
        assert!(tried >= 3, "{tried} checkpoints");
    }
}

mod patterns {
    use super::*;

    const SCORES: &str = r"
_, patterns = model.trace(inputs)
length = inputs.shape[1]
rows = np.arange(length)
away = np.abs(rows[:, None] - rows[None, :])
def head(p):
    entropy = -(p * np.log(np.where(p > 0, p, 1))).sum(-1)
    return {
        'entropy': entropy.mean(),
        'relative entropy': (entropy[:, 1:] / np.log(rows[1:] + 1)).mean(),
        'first key': p[:, 1:, 0].mean(),
        'distance': (p * away).sum(-1).mean(),
        'own': p[:, rows[1:], rows[1:]].mean(),
        'previous': p[:, rows[1:], rows[:-1]].mean(),
        'x -> y': p[:, 2::2, 1::2].sum(-1).mean(),
        'y -> position before': p[:, rows[1::2], rows[0::2][: len(rows[1::2])]].mean(),
    }
print(json.dumps([[head(p[:, h]) for h in range(p.shape[1])] for p in patterns]))
";

    #[test]
    fn scores_are_those_of_numpy() {
        if !there_is("numpy") {
            return;
        }
        let lab = trained(SMALL);
        let document = analyze(&lab, &["patterns", CHECKPOINT]);
        assert_eq!((&document["sequences"], &document["sequence"]), (&json!(6), &Value::Null));
        let wanted = numpy(&lab, SCORES);
        for (layer, wanted) in wanted.as_array().unwrap().iter().enumerate() {
            for (head, wanted) in wanted.as_array().unwrap().iter().enumerate() {
                let found = &document["layers"][layer]["heads"][head]["scores"];
                for (name, wanted) in wanted.as_object().unwrap() {
                    let part = if name.contains("->") { &found["roles"] } else { &found["scores"] };
                    assert_near(&part[name], number(wanted), 1e-4);
                }
            }
        }
        assert_eq!(wanted.as_array().unwrap().len(), 2);
    }

    #[test]
    fn one_sequence_is_part_of_the_mean() {
        let lab = trained(SMALL);
        let mean = analyze(&lab, &["patterns", CHECKPOINT]);
        let entropy = |document: &Value| number(&document["layers"][1]["heads"][1]["scores"]["scores"]["entropy"]);
        let alone: Vec<f64> = (0..6)
            .map(|sequence| entropy(&analyze(&lab, &["patterns", CHECKPOINT, "--sequence", &sequence.to_string()])))
            .collect();
        assert!((alone.iter().sum::<f64>() / 6.0 - entropy(&mean)).abs() < 1e-9, "{alone:?}");
        assert!((alone[0] - alone[5]).abs() > 1e-6, "{alone:?}");
        lab.headway(&["analyze", "patterns", CHECKPOINT, "--sequence", "6"])
            .fail(2, &["--sequence 6: the test set has 6 examples", "data.test=N"]);
        lab.headway(&["analyze", "patterns", CHECKPOINT, "--sequence", "1", "--sequences", "2"])
            .fail(2, &["cannot be used with"]);
    }

    #[test]
    fn tokens_have_induction_scores_and_prompts_have_roles() {
        let lab = Lab::with(
            "[task.copy]\nvocab = 8\nn_data = 5\n[data.fresh]\ntest = 4\n[model.transformer]\nd_model = 8\nn_heads = 2\n",
        );
        let document = analyze(&lab, &["patterns", "experiment.toml"]);
        for layer in document["layers"].as_array().unwrap() {
            for scores in [&layer["uniform"], &layer["heads"][0]["scores"]] {
                let induction = number(&scores["scores"]["induction"]);
                assert!(induction > 0.0 && induction < 1.0, "{scores}");
                assert_eq!(scores["roles"], json!({}));
            }
        }
        let prompts = Lab::with(&format!("{PROMPTS}{SMALL}"));
        let document = analyze(&prompts, &["patterns", "experiment.toml"]);
        let uniform = &document["layers"][0]["uniform"];
        assert_eq!(uniform["scores"]["induction"], Value::Null);
        // x_2, x_3, x_4 see 1 of 3, 2 of 5, 3 of 7 keys that are y.
        assert_near(&uniform["roles"]["x -> y"], (1.0 / 3.0 + 2.0 / 5.0 + 3.0 / 7.0) / 3.0, 1e-9);
        assert_near(&uniform["roles"]["y -> position before"], (1.0 / 2.0 + 1.0 / 4.0 + 1.0 / 6.0) / 3.0, 1e-9);
    }

    #[test]
    fn anchors_are_keys_that_are_learned() {
        let lab = Lab::with(
            "[task.truncated_linear]\nseq_len = 5\nd_in = 3\nlow = -1.0\nhigh = 1.0\n[model.paper_one_layer]\nd_model = 6\nn_heads = 3\n\
             n_anchors = 2\n",
        );
        let layer = &analyze(&lab, &["patterns", "experiment.toml"])["layers"][0];
        assert_eq!((&layer["q_len"], &layer["k_len"], &layer["learned_keys"]), (&json!(7), &json!(7), &json!(2)));
        assert_near(&layer["uniform"]["scores"]["learned keys"], 2.0 / 7.0, 1e-9);
    }

    #[test]
    fn long_sequences_are_drawn_coarsely_and_their_page_stays_small() {
        let lab = Lab::with(
            "[task.copy]\nvocab = 32\nn_data = 150\n[data.fresh]\ntest = 2\n[train]\nbatch_size = 2\n[model.transformer]\nd_model = 16\n\
             n_layers = 2\nn_heads = 8\n",
        );
        lab.headway(&["analyze", "patterns", "experiment.toml", "--device", "cpu", "--out", "page"]).succeed();
        assert!(lab.read("page/report.html").contains("the mean of 2 x 2 weights"));
        assert_sound_pages(&[lab.path("page/report.html")]);
    }

    #[test]
    fn of_very_many_heads_some_are_drawn_and_all_are_scored() {
        let lab = Lab::with(
            "[task.truncated_linear]\nseq_len = 4\nd_in = 2\nlow = -1.0\nhigh = 1.0\n[data.fresh]\ntest = 3\n[model.attention_stack]\nlayers = [{ \
             rows = 4, width = 2, d_out = 2, heads = [{ count = 600, d_key = 1, d_value = 1 }] }]\n",
        );
        lab.headway(&["analyze", "patterns", "experiment.toml", "--device", "cpu", "--out", "page"]).succeed();
        assert!(lab.read("page/report.html").contains("Of 600 heads the first 512 are drawn"));
        assert_eq!(lab.read("page/scores.csv").lines().count(), 1 + 600 + 1);
        assert_sound_pages(&[lab.path("page/report.html")]);
    }
}

mod ablate {
    use super::*;

    #[test]
    fn an_effect_is_what_eval_says_of_weights_without_that_head() {
        let lab = trained(SMALL);
        let document = analyze(&lab, &["ablate", CHECKPOINT]);
        let eval = |lab: &Lab| {
            let metrics =
                lab.headway(&["eval", CHECKPOINT, "--device", "cpu", "--json"]).succeed().json()["metrics"].clone();
            [number(&metrics["test/loss"]), number(&metrics["test/mse"])]
        };
        let [loss, quality] = eval(&lab);
        assert_near(&document["whole"]["loss"], loss, 1e-9);
        assert_near(&document["whole"]["quality"], quality, 1e-9);
        let effects = document["effects"].as_array().unwrap();
        // Two heads and both together, in two layers, each replaced by zero and by its mean.
        assert_eq!((effects.len(), &document["n_heads"]), (12, &json!([2, 2])));
        for effect in effects.iter().filter(|effect| effect["with"] == "zero") {
            let without = Lab::new();
            fs::create_dir_all(without.path("run/checkpoints")).unwrap();
            Command::new("cp").arg("-r").arg(lab.path(CHECKPOINT)).arg(without.path(CHECKPOINT)).status().unwrap();
            // Columns of the output projection belong to heads, `[d_model, n_heads * d_head]` row after row.
            let name = format!("blocks.{}.attention.output.weight", effect["layer"]);
            rewrite(
                &without.path(CHECKPOINT),
                &name,
                |index| effect["head"].is_null() || (index % 8) / 4 == effect["head"].as_u64().unwrap() as usize,
                0.0,
            );
            let wanted = eval(&without)[0] - loss;
            assert!((number(&effect["loss"]["value"]) - wanted).abs() < 1e-5 * loss, "{effect}: {wanted}");
            assert!(number(&effect["loss"]["error"]) > 0.0, "{effect}");
        }
        let only = analyze(&lab, &["ablate", CHECKPOINT, "--with", "mean", "--sequences", "1"]);
        assert_eq!((only["effects"].as_array().unwrap().len(), &only["examples"]), (6, &json!(1)));
        assert_eq!(only["effects"][0]["loss"]["error"], Value::Null);
        assert!(only["effects"].as_array().unwrap().iter().all(|effect| effect["with"] == "mean"));
    }

    #[test]
    fn a_page_maps_every_head_of_every_layer() {
        let lab = trained(SMALL);
        let words = ["analyze", "ablate", "run", "--device", "cpu", "--out", "page"];
        let stdout = lab.headway(&words).succeed().stdout;
        for text in ["zero: loss", "mean: loss", "all", "Replaced by zero, head", "report: page/"] {
            assert!(stdout.contains(text), "{stdout}");
        }
        // The objective is the squared error itself.
        assert!(!stdout.contains("zero: mse"), "{stdout}");
        for figure in ["page/figures/ablation-zero.svg", "page/figures/ablation-mean.svg"] {
            let svg = lab.read(figure);
            for text in ["layer 0", "layer 1", "head 0", "head 1"] {
                assert!(svg.contains(text), "{svg}");
            }
        }
        assert_eq!(lab.read("page/ablation.csv").lines().count(), 1 + 6);
        assert_sound_pages(&[lab.path("page/report.html")]);
    }
}

mod logit_lens {
    use super::*;

    const OWN: &str = r"
h = net.position(net.embed(inputs))
targets = None
read = [net.head(net.final_norm(h))]
for block in net.blocks:
    h, _ = block(h, net.mask(h.shape[1]))
    read.append(net.head(net.final_norm(h)))
print(json.dumps([float(((y - read[-1])[:, ::2] ** 2).mean()) for y in read]))
";

    #[test]
    fn distances_of_the_head_are_those_of_numpy() {
        if !there_is("numpy") {
            return;
        }
        let lab = trained(SMALL);
        let document = analyze(&lab, &["logit-lens", CHECKPOINT]);
        assert_eq!((&document["distance"], &document["fitted_to"]), (&json!("mean_squared"), &json!(1024)));
        let wanted = numpy(&lab, OWN);
        let layers = document["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 3);
        for (layer, wanted) in layers.iter().zip(wanted.as_array().unwrap()) {
            assert_near(&layer["own"]["distance"], number(wanted), 1e-4);
        }
        // After the last layer an affine map reads what the head does, except for the norm.
        assert!(number(&layers[2]["affine"]["distance"]) < number(&layers[0]["affine"]["distance"]), "{document}");
    }

    #[test]
    fn tokens_have_a_divergence_and_states_that_do_not_fit_say_so() {
        let lab = Lab::with(
            "[task.copy]\nvocab = 8\nn_data = 5\n[data.fresh]\ntest = 40\n[model.transformer]\nd_model = 8\nn_heads = 2\n",
        );
        let document = analyze(&lab, &["logit-lens", "experiment.toml"]);
        assert_eq!((&document["distance"], &document["quality"]), (&json!("kullback_leibler"), &json!("accuracy")));
        let layers = document["layers"].as_array().unwrap();
        assert!(number(&layers[0]["own"]["distance"]) > 0.0);
        assert!(layers.iter().all(|layer| number(&layer["affine"]["distance"]) >= 0.0), "{document}");

        let lab = Lab::new();
        let document = analyze(&lab, &["logit-lens", &shipped("clamp"), "--sequences", "50"]);
        let layers = document["layers"].as_array().unwrap();
        assert_eq!((&layers[0]["own"], &layers[0]["shape"]), (&Value::Null, &json!([12, 16])));
        let note = layers[0]["note"].as_str().unwrap();
        assert!(note.contains("12 rows of width 16 do not fit the head, which takes 12 rows of width 1"), "{note}");
        // One layer clamps: before it an affine map has a large error, after it the prediction is there directly.
        assert!(number(&layers[0]["affine"]["loss"]) > 100.0 * number(&layers[1]["own"]["loss"]), "{document}");
        assert!(number(&layers[1]["affine"]["distance"]) < 1e-6, "{document}");
    }

    /// Of many positions of a wide state only some are used for fitting; they must come from every position in the
    /// sequence.
    #[test]
    fn a_wide_state_is_read_at_every_position() {
        let lab = Lab::new();
        let words = ["construct", "truncated-linear-heads", "--tolerance", "0.05", "--device", "cpu", "--out", "made"];
        lab.headway(&words).succeed();
        let lens = analyze(&lab, &["logit-lens", "made", "--sequences", "100"]);
        assert_eq!(lens["layers"][0]["shape"], json!([50, 550]));
        let ablation = analyze(&lab, &["ablate", "made", "--sequences", "100", "--with", "mean"]);
        let effects = ablation["effects"].as_array().unwrap();
        // The same constant for all heads.
        let constant = effects.iter().find(|effect| effect["head"].is_null()).unwrap_or(&effects[0]);
        let affine = number(&lens["layers"][0]["affine"]["loss"]);
        assert!(affine < 0.5 * number(&constant["loss"]["value"]), "{affine} {constant}");
    }
}

mod in_context {
    use super::*;

    fn predictor<'a>(document: &'a Value, name: &str) -> &'a Value {
        let all = document["predictors"].as_array().unwrap();
        all.iter().find(|predictor| predictor["name"] == name).unwrap_or_else(|| panic!("no {name}: {document}"))
    }

    fn linear<'a>(seen: &'a Value, rule: &str) -> &'a Value {
        seen["linear"].as_array().unwrap().iter().find(|linear| linear["rule"] == rule).unwrap()
    }

    #[test]
    fn constructed_gradient_descent_is_found_to_be_gradient_descent() {
        let lab = Lab::new();
        for (steps, rate) in [("4", "0.3"), ("7", "0.15")] {
            let sizes = ["--points", "10", "--d", "3", "--steps", steps, "--rate", rate, "--delta", "0.01"];
            let out = format!("gd{steps}");
            lab.headway(&[&["construct", "in-context-gd"], &sizes[..], &["--device", "cpu", "--out", &out]].concat())
                .succeed();
            let document = analyze(&lab, &["in-context", &out]);
            let rule = predictor(&document, "fitted descent")["rule"].as_str().unwrap();
            let found = rule
                .strip_prefix(&format!("{steps} steps of gradient descent at rate "))
                .unwrap_or_else(|| panic!("{rule}"));
            assert!((found.parse::<f64>().unwrap() - rate.parse::<f64>().unwrap()).abs() < 1e-3, "{rule}");
            let size = number(&document["seen"][0]["size"]);
            let distance = |name: &str| number(&predictor(&document, name)["distance"]["value"]) / size;
            // The certificate allows 1e-3 of the prediction; a rule other than gradient descent differs by a percent or
            // more.
            assert!(distance("fitted descent") < 1e-6, "{document}");
            for other in ["least_squares", "averaging", "fitted ridge", "fitted scaled descent"] {
                assert!(distance(other) > 100.0 * distance("fitted descent"), "{other}: {document}");
            }
            // It is a linear function of its query, with the w of gradient descent.
            let seen = &document["seen"][0];
            assert_eq!(seen["examples"], 10);
            assert!(number(&seen["linearity"]) > 1.0 - 1e-5, "{seen}");
            let descent = linear(seen, "fitted descent");
            assert!(number(&descent["cosine"]) > 1.0 - 1e-5, "{seen}");
            assert!(number(&descent["weights"]) < 0.01 * number(&linear(seen, "least squares")["weights"]), "{seen}");
            let stdout =
                lab.headway(&["analyze", "in-context", &out, "--device", "cpu", "--out", "page"]).succeed().stdout;
            assert!(stdout.contains("After 10 examples the network is nearest to"), "{stdout}");
            assert_sound_pages(&[lab.path("page/report.html")]);
        }
    }

    #[test]
    fn the_shipped_network_is_far_from_averaging_at_every_number_of_examples() {
        let lab = Lab::new();
        let document = analyze(&lab, &["in-context", &shipped("icl_linear_d5"), "--sequences", "64"]);
        let seen = document["seen"].as_array().unwrap();
        assert_eq!(
            seen.iter().map(|seen| number(&seen["examples"]) as usize).collect::<Vec<_>>(),
            (0..11).collect::<Vec<_>>()
        );
        let names: Vec<&str> =
            document["predictors"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        let at = |name: &str| names.iter().position(|other| *other == name).unwrap();
        let (averaging, least_squares) = (at("averaging"), at("least_squares"));
        for seen in &seen[1..] {
            let distance = |at: usize| number(&seen["distances"][at]["value"]);
            assert!(distance(least_squares) < distance(averaging), "{seen}");
            assert!(number(&seen["distances"][averaging]["error"]) > 0.0);
            let nearest = seen["nearest"]["predictor"].as_u64().unwrap() as usize;
            assert!((0..names.len()).all(|other| distance(nearest) <= distance(other)), "{seen}");
            assert!((-1.0..=1.0).contains(&number(&linear(seen, "averaging")["cosine"])));
        }
        // Without examples there is nothing to distinguish.
        assert_eq!((&seen[0]["nearest"], seen[0]["linear"].as_array().unwrap().len()), (&Value::Null, 0));
        // Where least squares is exact, the distance from it is the network's error.
        assert_near(&seen[10]["distances"][least_squares]["value"], number(&seen[10]["error"]["value"]), 1e-3);
    }

    #[test]
    fn tasks_without_numbers_in_context_are_refused_and_all_others_work() {
        for (task, _) in headway_tasks::TASKS {
            let lab = Lab::with(&format!("[task.{task}]\n[data.fresh]\ntest = 3\n[train]\nbatch_size = 2\n{SMALL}"));
            let words = ["analyze", "in-context", "experiment.toml", "--device", "cpu", "--sequences", "2"];
            let suits = (task.starts_with("icl_") && *task != "icl_logistic")
                || ["in_context_regression", "in_context_kernel"].contains(task);
            if suits {
                lab.headway(&words).succeed();
            } else if lab.headway(&["check", "experiment.toml"]).run().status.success() {
                lab.headway(&words)
                    .fail(2, &[&format!("{task} has no prompts of examples"), "these tasks have: icl_linear"]);
            }
        }
    }

    #[test]
    fn prompts_that_ask_once_are_grouped_by_what_they_show() {
        let lab = Lab::with(&format!("{PROMPTS}{SMALL}"));
        let shifted = ["in-context", "experiment.toml", "-s", "task.shift=random_quadrant", "-s", "data.test=60"];
        let document = analyze(&lab, &shifted);
        assert_eq!(document["seen"].as_array().unwrap().len(), 4);
        assert_eq!(document["prompts"], 60);
    }
}

#[test]
fn wrong_words_end_with_the_agreed_codes() {
    let lab = trained(SMALL);
    for command in ["patterns", "ablate", "logit-lens", "in-context"] {
        let with = |words: &[&str]| lab.headway(&[&["analyze", command], words].concat());
        with(&["nowhere"]).fail(3, &["checkpoint nowhere: does not exist"]);
        with(&["nowhere.toml"]).fail(2, &["cannot read experiment nowhere.toml"]);
        with(&["run", "-s", "model.d_model=6"]).fail(3, &["the weights do not fit the model"]);
        with(&["experiment.toml", "-s", "model.n_haeds=2"]).fail(2, &["n_haeds", "n_heads"]);
        with(&["run", "--sequences", "0"]).fail(2, &["--sequences"]);
        with(&["run", "--out", "run"]).fail(2, &["run holds run.json, and a page of its own"]);
        // A single example is no special case.
        with(&["run", "--sequences", "1", "--device", "cpu"]).succeed();
    }
    lab.headway(&["analyze", "ablate", "run", "--with", "nothing"]).fail(2, &["--with", "zero, mean"]);
}

/// NaN weights cause an error message, not a panic.
#[test]
fn weights_that_are_not_finite_are_a_failure_with_a_message() {
    let lab = trained(SMALL);
    rewrite(&lab.path(CHECKPOINT), "blocks.0.attention.query.weight", |_| true, f32::NAN);
    // No learning rate would help.
    let why = "blocks.0.attention.query.weight holds numbers that are not finite; take another checkpoint";
    for command in ["patterns", "ablate", "logit-lens", "in-context", "rank", "paths"] {
        lab.headway(&["analyze", command, CHECKPOINT, "--device", "cpu"]).fail(5, &[why]);
    }
    lab.headway(&["card", CHECKPOINT, "--device", "cpu"]).fail(5, &[why]);
    lab.headway(&["export", CHECKPOINT, "--format", "npz", "--out", "weights.npz"]).fail(5, &[why]);
    assert!(!lab.path("weights.npz").exists());
    // The classical predictors keep their numbers.
    let evaluated = lab.headway(&["eval", CHECKPOINT, "--device", "cpu"]).fail(5, &[why]);
    let row =
        |name: &str| evaluated.stdout.lines().find(|line| line.trim_start().starts_with(name)).unwrap().to_owned();
    assert!(row("network").contains("not finite") && !row("least_squares").contains("not finite"), "{evaluated:?}");
    let shifts = ["eval", CHECKPOINT, "--device", "cpu", "--shifts", "shifts"];
    lab.headway(&shifts).fail(5, &["not finite"]);
    assert!(lab.read("shifts/report.html").contains("not finite"));
}

/// Programs read in full what people see rounded: all digits of every number, under unique names.
#[test]
fn tables_for_programs_hold_every_digit_under_names_of_their_own() {
    let lab = trained(SMALL);
    let mut files = 0;
    for (command, json_of) in [
        ("patterns", "/layers/0/heads/0/scores/scores"),
        ("ablate", "/effects/0/loss"),
        ("logit-lens", "/layers/0/own"),
        ("in-context", "/seen/1/error"),
        ("paths", "/lengths/0"),
    ] {
        lab.headway(&["analyze", command, "run", "--device", "cpu", "--out", command]).succeed();
        let tables = fs::read_dir(lab.path(command)).unwrap().map(|entry| entry.unwrap().path());
        let tables: Vec<_> =
            tables.filter(|path| path.extension().is_some_and(|extension| extension == "csv")).collect();
        let mut cells = Vec::new();
        for table in &tables {
            let text = fs::read_to_string(table).unwrap();
            let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
            let mut names = lines.next().unwrap();
            cells.extend(lines.flatten().map(str::to_owned));
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{}: two columns of one name", table.display());
        }
        files += tables.len();
        let document: Value = serde_json::from_str(&lab.read(&format!("{command}/results.json"))).unwrap();
        let numbers = document.pointer(json_of).unwrap_or_else(|| panic!("{command}: {document}")).as_object().unwrap();
        for number in numbers.values().filter_map(Value::as_f64) {
            // Parsing JSON loses the last bit.
            let is_it = |cell: f64| (cell - number).abs() <= 1e-15 * number.abs();
            let is_there = cells.iter().any(|cell| cell.parse().is_ok_and(is_it));
            // The table of in-context has no column for errors.
            assert!(
                is_there || (command == "in-context" && numbers["error"] == number),
                "{command}: {number} is not in {cells:?}"
            );
        }
    }
    assert_eq!(files, 8);
}
