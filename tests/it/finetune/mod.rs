//! Fine-tuning from the command line: what each mode leaves unchanged, adapters as files, merging, and tasks of other
//! sizes.

mod base;

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::harness::{Headway, Lab};

const EXPERIMENT: &str = r#"
[task.icl_linear]
d = 3
n_points = 4

[data.fresh]
validation = 4
test = 8

[model.transformer]
d_model = 8
n_layers = 2
n_heads = 2
state_mixer = "none"

[optimizer.adam]
learning_rate = 1e-2

[train]
steps = 4
batch_size = 4
log_every = 1
eval_every = 2
checkpoint_every = 2
keep_last = 9
"#;

/// A folder with a trained run in it, `base`.
fn lab() -> Lab {
    let lab = Lab::with(EXPERIMENT);
    lab.train("base", &[]).succeed();
    lab
}

fn finetune(lab: &Lab, out: &str, more: &[&str]) -> Headway {
    let words = ["finetune", "experiment.toml", "--from", "base", "--device", "cpu", "--seed", "5", "--out", out];
    lab.headway(&[&words[..], more].concat())
}

/// Shape and bytes of every tensor of a file.
fn tensors(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter().map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), view.data().to_vec()))).collect()
}

fn weights(lab: &Lab, run: &str, step: u64) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    tensors(&lab.path(&format!("{run}/checkpoints/step-{step:08}/model.safetensors")))
}

fn record(lab: &Lab, run: &str) -> Value {
    serde_json::from_str(&lab.read(&format!("{run}/run.json"))).unwrap()
}

/// Each mode, and whether a parameter of the base moves in it.
type Moves = fn(&str) -> bool;
const MODES: &[(&str, &str, Moves)] = &[
    ("full", "finetune=full", |_| true),
    ("head", "finetune=head", |name| name.starts_with("head.")),
    ("freeze", r#"finetune.freeze=["embed.*", "*.1.*"]"#, |name| !name.starts_with("embed.") && !name.contains(".1.")),
    ("lora", "finetune.lora={rank=2, alpha=4, targets=[\"query\", \"value\"]}", |_| false),
    ("prefix", "finetune.prefix.length=3", |_| false),
    ("prompt", "finetune.prompt.length=3", |_| false),
];

#[test]
fn each_mode_moves_what_it_says_and_not_one_bit_more() {
    let lab = lab();
    let base = weights(&lab, "base", 4);
    for (mode, set, moves) in MODES {
        finetune(&lab, mode, &["-s", set]).succeed();
        let (first, last) = (weights(&lab, mode, 0), weights(&lab, mode, 4));
        let mut still = 0;
        for (name, before) in &base {
            assert_eq!(first[name], *before, "{mode}: {name} differs before the first step");
            // Adding a vector to every key adds the same number to all scores of a row: its gradient is zero except for
            // rounding.
            let is_key_bias = name.ends_with("key.bias");
            assert!(last[name] != *before || !moves(name) || is_key_bias, "{mode}: {name} stood still");
            assert!(last[name] == *before || moves(name), "{mode}: {name} moved");
            still += if moves(name) { 0 } else { before.1.len() / 4 };
        }
        let learned: Vec<&String> = last.keys().filter(|name| !base.contains_key(*name)).collect();
        for name in &learned {
            assert!(last[*name] != first[*name], "{mode}: {name} stood still");
        }
        let record = record(&lab, mode);
        assert_eq!(record["frozen_parameters"], still, "{mode}");
        let all: usize = last.values().map(|(_, bytes)| bytes.len() / 4).sum();
        assert_eq!(record["parameters"], all, "{mode}");
        assert_eq!(record["lineage"]["from"], "base");
        assert_eq!(record["lineage"]["taken"], base.len());
        let run = self::record(&lab, "base");
        assert_eq!(record["lineage"]["run_id"], run["run_id"], "{mode}");
        // Both verbs that read it again.
        lab.headway(&["eval", mode, "--device", "cpu", "--json"]).succeed();
        lab.resume(mode).succeed();
    }
}

#[test]
fn adapters_are_files_in_the_layout_of_peft() {
    let lab = lab();
    let (d, layers) = (8, 2);
    for (mode, set, _) in MODES {
        finetune(&lab, mode, &["-s", set]).succeed();
        let folder = lab.path(&format!("{mode}/checkpoints/step-00000004"));
        let files = ["adapter_config.json", "adapter_model.safetensors"].map(|name| folder.join(name));
        if ["full", "head", "freeze"].contains(mode) {
            assert!(files.iter().all(|file| !file.exists()), "{mode} learns no adapter");
            continue;
        }
        let config: Value = serde_json::from_slice(&fs::read(&files[0]).unwrap()).unwrap();
        assert_eq!(config["base_model_name_or_path"], "base");
        // The weights that the adapter belongs to, for merging.
        let begins = format!("{}-", record(&lab, mode)["lineage"]["weights_sha256"].as_str().unwrap());
        assert!(config["revision"].as_str().unwrap().starts_with(&begins), "{config}");
        let (tensors, model) = (tensors(&files[1]), weights(&lab, mode, 4));
        let shapes: BTreeMap<&str, Vec<usize>> =
            tensors.iter().map(|(name, (shape, _))| (name.as_str(), shape.clone())).collect();
        let rows = |columns: usize| BTreeMap::from([("prompt_embeddings", vec![3, columns])]);
        match *mode {
            "lora" => {
                assert_eq!(config["peft_type"], "LORA");
                assert_eq!([&config["r"], &config["bias"]], [&json!(2), &json!("none")]);
                assert_eq!(config["lora_alpha"], 4.0);
                assert_eq!(config["target_modules"], json!(["query", "value"]));
                assert_eq!(tensors.len(), layers * 2 * 2);
                for layer in 0..layers {
                    for module in ["query", "value"] {
                        let at = format!("blocks.{layer}.attention.{module}");
                        for (theirs, ours, shape) in [("lora_A", "a", [2, d]), ("lora_B", "b", [d, 2])] {
                            let tensor = &tensors[&format!("base_model.model.{at}.{theirs}.weight")];
                            assert_eq!(*tensor, model[&format!("{at}.low_rank.{ours}")]);
                            assert_eq!(tensor.0, shape);
                        }
                    }
                }
            }
            "prefix" => {
                assert_eq!(config["peft_type"], "PREFIX_TUNING");
                assert_rows(&config);
                assert_eq!(shapes, rows(layers * 2 * d));
                // Row by row: the keys of the first layer, its values, the keys of the second, its values.
                let parts = ["0.attention.prefix.keys", "0.attention.prefix.values", "1.attention.prefix.keys"];
                for (at, part) in parts.into_iter().enumerate() {
                    let ours = &model[&format!("blocks.{part}")].1;
                    let width = layers * 2 * d * 4;
                    for row in 0..3 {
                        let theirs = &tensors["prompt_embeddings"].1[row * width + at * d * 4..][..d * 4];
                        assert_eq!(theirs, &ours[row * d * 4..][..d * 4], "{part}, row {row}");
                    }
                }
            }
            _ => {
                assert_eq!(config["peft_type"], "PROMPT_TUNING");
                assert_rows(&config);
                assert_eq!(shapes, rows(d));
                assert_eq!(tensors["prompt_embeddings"], model["prompt.rows"]);
            }
        }
        let small = fs::metadata(&files[1]).unwrap().len();
        assert!(small < fs::metadata(folder.join("model.safetensors")).unwrap().len(), "{mode}: {small} bytes");
    }
}

/// Without a task type PEFT ignores learned rows; without the sizes it takes them from the network's config.
fn assert_rows(config: &Value) {
    let wanted = json!({
        "num_virtual_tokens": 3, "task_type": "FEATURE_EXTRACTION", "token_dim": 8, "num_layers": 2, "num_attention_heads": 2,
        "num_transformer_submodules": 1,
    });
    for (key, value) in wanted.as_object().unwrap() {
        assert_eq!(config[key], *value, "{key}");
    }
}

fn outputs(lab: &Lab, checkpoint: &str) -> Vec<f32> {
    lab.headway(&["eval", checkpoint, "--device", "cpu", "--save-outputs", "outputs"]).succeed();
    let (_, bytes) = &tensors(&lab.path("outputs/outputs.safetensors"))["outputs"];
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn merging_gives_what_base_and_adapter_give_together() {
    let lab = lab();
    let lora = "finetune.lora={rank=2, alpha=4, dropout=0.5}";
    finetune(&lab, "tuned", &["-s", lora, "-s", "optimizer.adam.learning_rate=0.1"]).succeed();
    lab.headway(&["merge", "tuned/checkpoints/step-00000004", "--out", "merged"]).succeed();
    let (together, merged) = (outputs(&lab, "tuned/checkpoints/step-00000004"), outputs(&lab, "merged"));
    let largest = together.iter().fold(0.0_f32, |largest, y| largest.max(y.abs()));
    let apart = together.iter().zip(&merged).fold(0.0_f32, |apart, (a, b)| apart.max((a - b).abs()));
    assert!(apart <= 1e-6 * largest.max(1.0), "{apart:e} apart, outputs to {largest}");
    let untuned = outputs(&lab, "base");
    assert!(untuned.iter().zip(&merged).any(|(a, b)| (a - b).abs() > 1e-3), "the adapter has learned nothing");

    // With only the adapter's two files: they name their base, or it is given.
    fs::create_dir(lab.path("alone")).unwrap();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(lab.path("tuned/checkpoints/step-00000004").join(name), lab.path("alone").join(name)).unwrap();
    }
    lab.headway(&["merge", "alone", "--out", "named"]).succeed();
    lab.headway(&["merge", "alone", "--base", "base", "--out", "given"]).succeed();
    let model = |folder: &str| tensors(&lab.path(&format!("{folder}/model.safetensors")));
    let merged = model("merged");
    assert!(merged.keys().all(|name| !name.contains("low_rank")));
    assert!(model("named") == merged && model("given") == merged);
    // Each records what was folded into what.
    let base = record(&lab, "tuned")["lineage"]["weights_sha256"].clone();
    for (folder, from, file) in [
        ("merged", "tuned/checkpoints/step-00000004", "model.safetensors"),
        ("named", "alone", "adapter_model.safetensors"),
        ("given", "alone", "adapter_model.safetensors"),
    ] {
        let lineage: Value = serde_json::from_str(&lab.read(&format!("{folder}/lineage.json"))).unwrap();
        assert_eq!([&lineage["from"], &lineage["weights_sha256"]], [&json!("base"), &base], "{folder}");
        assert_eq!(lineage["folded"]["from"], from, "{folder}");
        let sum = Command::new("sha256sum").arg(lab.path(from).join(file)).output().unwrap();
        assert!(String::from_utf8(sum.stdout).unwrap().starts_with(lineage["folded"]["sha256"].as_str().unwrap()));
    }
    let card = lab.headway(&["card", "named", "--device", "cpu"]).succeed().stdout;
    assert!(card.contains("with the adapter of `alone` (sha256 `"), "{card}");
    // What is merged is a checkpoint like any other.
    let words = ["finetune", "experiment.toml", "--from", "merged", "--out", "again", "--device", "cpu"];
    lab.headway(&words).succeed();
    // A run with an unmerged adapter can be continued too: the adapter is folded in first.
    let words = [
        "finetune",
        "experiment.toml",
        "--from",
        "tuned/checkpoints/step-00000004",
        "--out",
        "further",
        "--device",
        "cpu",
    ];
    lab.headway(&[&words[..], &["-s", "finetune.lora.rank=1"]].concat()).succeed();
    let first = weights(&lab, "further", 0);
    assert!(merged.iter().all(|(name, tensor)| first[name] == *tensor));
}

#[test]
fn what_cannot_be_merged_says_why() {
    let lab = lab();
    for (mode, set, _) in MODES {
        finetune(&lab, mode, &["-s", set]).succeed();
    }
    let merge = |words: &[&str]| lab.headway(&[&["merge"], words, &["--out", "merged"]].concat());
    merge(&["full"]).fail(2, &["holds no low-rank parts to fold in", "in the mode `full`"]);
    merge(&["prefix"]).fail(2, &["in the mode `prefix`"]);
    merge(&["prefix", "--base", "base"]).fail(3, &["learned rows, which no weights can take up"]);
    merge(&["nowhere"]).fail(3, &["does not exist"]);
    lab.headway(&["merge", "lora", "--out", "base"]).fail(2, &["base is not empty"]);
    lab.train("narrow", &["-s", "model.d_model=4"]).succeed();
    merge(&["lora", "--base", "narrow"])
        .fail(3, &["blocks.0.attention.query", "do not fit together: A [rank, d_in] has ["]);

    let alone = |config: &str| {
        let _ = fs::remove_dir_all(lab.path("alone"));
        fs::create_dir(lab.path("alone")).unwrap();
        let from = lab.path("lora/checkpoints/step-00000004");
        fs::copy(from.join("adapter_model.safetensors"), lab.path("alone/adapter_model.safetensors")).unwrap();
        lab.write("alone/adapter_config.json", config);
        merge(&["alone"])
    };
    alone(r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4}"#).fail(2, &["give it with --base"]);
    let named = r#""base_model_name_or_path": "base""#;
    for (config, text) in [
        (format!(r#"{{"peft_type": "LORA", {named}}}"#), "`r` and `lora_alpha` must be given"),
        (format!(r#"{{"peft_type": "LORA", "r": 0, "lora_alpha": 4, {named}}}"#), "`r` must be above 0"),
        (
            format!(r#"{{"peft_type": "LORA", "r": 8, "lora_alpha": 4, {named}}}"#),
            "of rank 2, and the config says r = 8",
        ),
        (
            format!(r#"{{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["key"], {named}}}"#),
            "low-rank parts for blocks.0.attention.query, which its config leaves out",
        ),
        (
            format!(
                r#"{{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ".*(query|value|key)", {named}}}"#
            ),
            "has no low-rank parts for blocks.0.attention.key, which its config names",
        ),
        (
            format!(r#"{{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "modules_to_save": ["head"], {named}}}"#),
            "has no head.bias, which its config says was saved with it",
        ),
        (format!(r#"{{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "use_dora": true, {named}}}"#), "`use_dora`"),
        (
            format!(r#"{{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "all", {named}}}"#),
            "has no blocks.0.attention.key.bias",
        ),
        (format!(r#"{{"peft_type": "OFT", {named}}}"#), "OFT"),
        ("{".to_owned(), "adapter_config.json"),
    ] {
        alone(&config).fail(3, &[text]);
    }
    fs::write(lab.path("alone/adapter_model.safetensors"), b"no").unwrap();
    merge(&["alone", "--base", "base"]).fail(3, &["alone/adapter_"]);
    assert!(!lab.path("merged").exists());
    let prefix = ["finetune", "experiment.toml", "--from", "prefix", "--out", "new", "--device", "cpu"];
    lab.headway(&prefix).fail(3, &["holds a learned prefix", "start from the checkpoint that it was learned for"]);
}

/// An adapter belongs to the weights and the function that it was trained on, whatever else has the same shapes.
#[test]
fn an_adapter_is_folded_into_nothing_but_its_base() {
    let lab = lab();
    lab.train("other", &["--seed", "7"]).succeed();
    let lora = ["-s", "finetune.lora.rank=2"];
    finetune(&lab, "lora", &lora).succeed();
    let heads = finetune(&lab, "heads", &[&lora[..], &["-s", "model.n_heads=4"]].concat()).succeed();
    assert!(heads.said().contains("warning: the weights fit, but make another function of"), "{heads:?}");
    let changed = &record(&lab, "heads")["lineage"]["changed"];
    assert_eq!(*changed, json!(["model.transformer.n_heads = 4, the checkpoint's 2"]));
    let merge = |tuned: &str, base: &str, out: &str| lab.headway(&["merge", tuned, "--base", base, "--out", out]);
    merge("lora", "other", "no").fail(3, &["was learned beside other weights", "other/checkpoints", "--base"]);
    merge("heads", "base", "no").fail(3, &["another function of the weights", "merge from the folder of the run"]);
    // Its own folder has both.
    lab.headway(&["merge", "heads", "--out", "merged"]).succeed();
    assert!(lab.read("merged/config.json").contains("\"n_heads\": 4"));
    // PEFT writes no digest, which is reported.
    let config = lab.path("lora/checkpoints/step-00000004/adapter_config.json");
    let mut peft: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    peft["revision"] = json!("main");
    fs::create_dir(lab.path("alone")).unwrap();
    lab.write("alone/adapter_config.json", peft.to_string());
    fs::copy(config.with_file_name("adapter_model.safetensors"), lab.path("alone/adapter_model.safetensors")).unwrap();
    let said = merge("alone", "other", "unsaid").succeed().said();
    assert!(said.contains("alone does not say which weights it was learned beside; folded into other/"), "{said}");
}

/// All ways in which PEFT names modules, scales, stores and saves give the same weights as its `merge_and_unload`;
/// configs that request more than W + s A B are refused. `python/check_with_peft.py` made the files with PEFT itself.
#[test]
fn what_peft_wrote_is_folded_in_as_peft_does_it() {
    let lab = Lab::with(EXPERIMENT);
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/peft");
    let base = fixtures.join("base.safetensors");
    let import = ["import", base.to_str().unwrap(), "--experiment", "experiment.toml", "--out", "base"];
    lab.headway(&import).succeed();
    let numbers = |(_, bytes): &(Vec<usize>, Vec<u8>)| -> Vec<f32> {
        bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    let base = tensors(&base);
    let more = BTreeMap::from([
        ("dora", "`use_dora` asks for more than W + s A B"),
        ("lora_bias", "`lora_bias` asks for more than W + s A B"),
        ("pissa", "`init_lora_weights` = \"pissa\" takes its first A B out of the base's weights"),
        ("tokens", "`trainable_token_indices` asks for more than W + s A B"),
    ]);
    let mut folders: Vec<_> = fs::read_dir(&fixtures).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    assert_eq!(folders.len(), 15 + more.len());
    for folder in folders {
        let name = folder.file_name().unwrap().to_str().unwrap();
        let merge = lab.headway(&["merge", folder.to_str().unwrap(), "--base", "base", "--out", name]);
        if let Some(reason) = more.get(name) {
            merge.fail(3, &[reason]);
            continue;
        }
        merge.succeed();
        let (merged, wanted) =
            (tensors(&lab.path(name).join("model.safetensors")), tensors(&folder.join("merged.safetensors")));
        assert!(merged.keys().eq(wanted.keys()), "{name}");
        assert_ne!(merged, base, "{name} changes nothing");
        for (at, wanted) in &wanted {
            let largest = numbers(wanted).into_iter().fold(0.0_f32, |largest, w| largest.max(w.abs()));
            let pairs = numbers(&merged[at]).into_iter().zip(numbers(wanted));
            let apart = pairs.fold(0.0_f32, |apart, (a, b)| apart.max((a - b).abs()));
            // PEFT adds in float32, here it is done in double precision and rounded once.
            assert!(apart <= 1e-6 * largest, "{name}: {at} is {apart:e} apart, weights to {largest}");
        }
    }
}

/// A change to the function of the weights that leaves their shapes alone is refused by all verbs that use a network as
/// it was trained.
#[test]
fn a_network_is_taken_as_it_was_trained() {
    let lab = lab();
    finetune(&lab, "lora", &["-s", "finetune.lora={rank=2, alpha=4}"]).succeed();
    let eval: &[&str] = &["eval", "--device", "cpu"];
    let patterns: &[&str] = &["analyze", "patterns", "--device", "cpu", "--out", "seen"];
    for (verb, run, set, text) in [
        (eval, "base", "model.n_heads=4", "model.transformer.n_heads = 4, the checkpoint's 2"),
        (eval, "base", "model.residual=false", "model.transformer.residual = false, the checkpoint's true"),
        (eval, "lora", "finetune.lora.alpha=8", "finetune.lora.alpha = 8.0, the checkpoint's 4.0"),
        (patterns, "base", "model.n_heads=4", "model.transformer.n_heads = 4, the checkpoint's 2"),
    ] {
        lab.headway(&[verb, &[run, "-s", set]].concat()).fail(3, &["trained for another function", text]);
    }
    assert!(!lab.path("seen").exists());
    // Another way to compute the same function, and another task for the same network.
    for set in
        ["model.kernel=naive", "train.attention_precision=bf16", "task.noise_std=0.5", "finetune.lora.dropout=0.5"]
    {
        lab.headway(&[eval, &["lora", "-s", set]].concat()).succeed();
    }
    // An experiment that starts from a checkpoint is analysed with that checkpoint's weights.
    let rank = |source: &[&str]| {
        let words = [&["analyze", "rank", "--device", "cpu", "--json"], source].concat();
        lab.headway(&words).succeed().json()["curves"][0]["layers"].clone()
    };
    assert_eq!(rank(&["base"]), rank(&["experiment.toml", "-s", "init_from=base"]));
    assert_ne!(rank(&["base"]), rank(&["experiment.toml"]));
    // Training may change the function of the weights, and reports it; `train` does so too.
    let said = lab.train("heads", &["--init-from", "base", "-s", "model.n_heads=4"]).succeed().said();
    assert!(
        said.contains("warning: the weights fit, but make another function of: model.transformer.n_heads = 4"),
        "{said}"
    );
}

#[test]
fn a_prefix_or_prompt_is_trained_on_in_its_own_mode() {
    let lab = lab();
    for (mode, learned) in [("prefix", "blocks.1.attention.prefix.keys"), ("prompt", "prompt.rows")] {
        let length = format!("finetune.{mode}.length=3");
        finetune(&lab, mode, &["-s", &length]).succeed();
        let on = |out: &str, set: &str| {
            let from = format!("{mode}/checkpoints/step-00000004");
            let words = ["finetune", "experiment.toml", "--from", &from, "--out", out, "--device", "cpu", "-s", set];
            lab.headway(&words)
        };
        let further = format!("further-{mode}");
        on(&further, &length).succeed();
        let (before, first, last) = (weights(&lab, mode, 4), weights(&lab, &further, 0), weights(&lab, &further, 4));
        assert!(first == before, "{mode}: the first step does not begin with what was learned");
        let moved = |name: &String| first[name] != last[name];
        assert!(moved(&learned.to_owned()) && !moved(&"head.weight".to_owned()), "{mode}");
        let text = format!("holds a {mode} of 3 rows, which is trained on as it is: write -s {length}");
        on("no", &length.replace('3', "5")).fail(3, &[&text]);
    }
    assert!(!lab.path("no").exists());
}

#[test]
fn what_is_asked_for_twice_or_beyond_the_width_is_refused() {
    let lab = lab();
    let two = ["-s", "finetune.lora.rank=2", "-s", "finetune.prefix.length=3"];
    let text = "-s finetune.lora.rank=2 and -s finetune.prefix.length=3 choose two of `finetune`: lora and prefix";
    finetune(&lab, "no", &two).fail(2, &[text]);
    finetune(&lab, "no", &["-s", "finetune=head", "-s", "finetune.lora.rank=2"]).fail(2, &["head and lora"]);
    finetune(&lab, "no", &["-s", "optimizer.sgd.momentum=0.9", "-s", "optimizer.adam.beta_1=0.5"])
        .fail(2, &["two of `optimizer`: sgd and adam"]);
    let wide = finetune(&lab, "no", &["-s", "finetune.lora.rank=9"]);
    wide.fail(2, &["finetune.lora.rank: must be at most 8, the rank that a projection of such a model can have"]);
    assert!(!lab.path("no").exists());
    let same = ["-s", "finetune.lora.rank=2", "-s", "finetune.lora.alpha=4", "-s", "finetune.lora.rank=1"];
    finetune(&lab, "lora", &same).succeed();
    assert_eq!(weights(&lab, "lora", 0)["blocks.0.attention.key.low_rank.a"].0, [1, 8]);
}

/// The replaced parameters, the base's weights and the initial weights of the fine-tuned run.
fn replaced(lab: &Lab, out: &str, more: &[&str]) -> (Vec<String>, String) {
    let finished = finetune(lab, out, more).succeed();
    let (base, first, last) = (weights(lab, "base", 4), weights(lab, out, 0), weights(lab, out, 4));
    let lineage = &record(lab, out)["lineage"];
    let names: Vec<String> = serde_json::from_value(lineage["replaced"].clone()).unwrap_or_default();
    for (name, tensor) in &first {
        let was = base.get(name);
        assert_eq!(was != Some(tensor), names.contains(name) || was.is_none(), "{out}: {name}");
        if names.contains(name) {
            assert_ne!(last[name], *tensor, "{out}: {name} is new and was not trained");
        }
    }
    (names, finished.said())
}

#[test]
fn another_task_replaces_what_its_sizes_decide() {
    let lab = lab();
    let quiet = replaced(&lab, "same", &["-s", "task.icl_linear.noise_std=0.5"]);
    assert_eq!(quiet.0, Vec::<String>::new());
    assert!(!quiet.1.contains("replaced") && !quiet.1.contains("another function"));
    // Weights of the same shapes allow any number of heads: only the config shows the difference.
    let heads = finetune(&lab, "heads", &["-s", "model.n_heads=4"]).succeed();
    let text = "another function of: model.transformer.n_heads = 4, the checkpoint's 2";
    assert!(heads.said().contains(text), "{heads:?}");

    let (names, said) = replaced(&lab, "wide", &["-s", "task.icl_linear.d=5"]);
    assert_eq!(names, ["embed.weight"]);
    assert!(said.contains("inputs: 5 numbers, were 3 numbers"), "{said}");
    assert!(said.contains("embed.weight [8, 3] -> [8, 5]"), "{said}");

    // Longer prompts: the positions that both have are kept, 2 · 4 - 1 of them.
    let (names, said) = replaced(&lab, "long", &["-s", "task.icl_linear.n_points=6"]);
    assert_eq!(names, ["position.weight"]);
    assert!(said.contains("position.weight [7, 8] -> [11, 8], the first 7 rows kept"), "{said}");
    let (base, first) = (weights(&lab, "base", 4), weights(&lab, "long", 0));
    assert_eq!(first["position.weight"].1[..7 * 8 * 4], base["position.weight"].1);
    let (names, said) = replaced(&lab, "short", &["-s", "task.icl_linear.n_points=3"]);
    assert_eq!(names, ["position.weight"]);
    assert!(said.contains("[7, 8] -> [5, 8], the first 5 rows kept"), "{said}");

    // From vectors to tokens: a table replaces a projection, and the head is another one. Nothing else changes.
    let tokens = "task={copy={vocab=6, n_data=4}}";
    let (mut names, said) = replaced(&lab, "tokens", &["-s", tokens]);
    names.sort();
    assert_eq!(names, ["embed.weight", "head.bias", "head.weight", "position.weight"]);
    assert!(said.contains("embed.bias [8] -> nothing"), "{said}");
    assert!(said.contains("outputs: 7, were 1"), "{said}");

    // Replaced parameters are trained in every mode, and apart from them only the adapter.
    for (mode, set, _) in MODES.iter().filter(|(mode, ..)| !["full", "freeze"].contains(mode)) {
        let run = format!("tokens-{mode}");
        replaced(&lab, &run, &["-s", tokens, "-s", set]);
        let (first, last) = (weights(&lab, &run, 0), weights(&lab, &run, 4));
        let key = "blocks.1.attention.key.weight";
        assert_eq!(first[key], last[key], "{mode}");
        lab.resume(&run).succeed();
        lab.headway(&["eval", &run, "--device", "cpu"]).succeed();
    }
    // An adapter that needs replaced maps contains them too.
    let folder = lab.path("tokens-lora/checkpoints/step-00000004");
    let config: Value = serde_json::from_slice(&fs::read(folder.join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!(config["modules_to_save"], json!(["embed", "head", "position"]));
    let saved = tensors(&folder.join("adapter_model.safetensors"));
    assert_eq!(saved["base_model.model.head.weight"].0, [7, 8]);
    // PEFT replaces a completely saved module with all its parameters, trained or not.
    finetune(&lab, "wide-lora", &["-s", "task.icl_linear.d=5", "-s", "finetune.lora.rank=2"]).succeed();
    let saved = tensors(&lab.path("wide-lora/checkpoints/step-00000004/adapter_model.safetensors"));
    assert_eq!(saved["base_model.model.embed.weight"].0, [8, 5]);
    assert_eq!(saved["base_model.model.embed.bias"], base["embed.bias"]);
    lab.headway(&["merge", "tokens-lora", "--out", "merged"]).succeed();
    lab.headway(&["eval", "merged", "--device", "cpu"]).succeed();
    let onto = ["merge", "tokens-lora", "--base", "base", "--out", "new"];
    lab.headway(&onto).fail(3, &["does not fit", "merge from the folder of the run, which knows its task"]);

    let frozen = finetune(&lab, "new", &["-s", tokens, "-s", r#"finetune.freeze=["head.*"]"#]);
    frozen.fail(2, &["`head.*` keeps head.weight fixed, which the checkpoint does not give"]);
    assert!(!lab.path("new").exists());
}

#[test]
fn the_papers_models_and_constructed_ones_take_another_task_too() {
    let lab = Lab::with(EXPERIMENT);
    let paper = EXPERIMENT
        .replace("[task.icl_linear]\nd = 3\nn_points = 4", "[task.relu_network]\nseq_len = 4\nd = 3\nd_out = 2");
    let paper = paper.replace("[model.transformer]", "[model.paper_two_layer]").replace("n_layers = 2\n", "");
    lab.write("experiment.toml", paper.replace("state_mixer = \"none\"\n", ""));
    lab.train("base", &[]).succeed();
    let (names, said) = replaced(&lab, "wide", &["-s", "task.relu_network.d=5", "-s", "task.relu_network.d_out=3"]);
    assert_eq!(names, ["input_map.project.weight", "head.weight", "head.bias"], "{said}");
    let (names, said) = replaced(&lab, "long", &["-s", "task.relu_network.seq_len=6"]);
    assert_eq!(names, ["input_map.modulation"], "{said}");
    for set in ["finetune=head", "finetune.lora.rank=2", "finetune.prefix.length=2"] {
        finetune(&lab, &set.replace(['.', '='], "-"), &["-s", set]).succeed();
    }
    finetune(&lab, "new", &["-s", "finetune.prompt.length=2"]).fail(
        2,
        &["finetune.prompt: paper_two_layer has a fixed number of rows; prefix fits it, prompt a transformer"],
    );
}

#[test]
fn what_the_task_does_not_explain_is_a_table_with_the_keys() {
    let lab = lab();
    let other = ["-s", "model.d_model=4", "-s", "task.icl_linear.d=5", "-s", "model.n_layers=1"];
    let said = finetune(&lab, "new", &other).fail(
        3,
        &[
            "checkpoint base/checkpoints/step-0000000",
            "parameter the model has the file has set by",
            "head.weight [1, 4] [1, 8] model.transformer.d_model",
            "embed.weight [4, 5] [8, 3] model.transformer.d_model, task.icl_linear (inputs)",
            "blocks.1.attention.query.weight nothing a tensor model.transformer.n_layers",
            "--allow-partial takes what fits",
        ],
    );
    assert!(!said.said().contains("model.transformer.norm"), "the norms are the same: {said:?}");
    // If only the number of layers differs, what fits is loaded and counted.
    let deeper = ["-s", "model.n_layers=3", "-s", "finetune=head"];
    finetune(&lab, "new", &deeper)
        .fail(3, &["blocks.2.attention.query.weight a parameter nothing model.transformer.n_layers"]);
    let partly = finetune(&lab, "partly", &[&deeper[..], &["--allow-partial"]].concat()).succeed();
    let fresh = weights(&lab, "partly", 0).keys().filter(|name| name.starts_with("blocks.2.")).count();
    let text = format!(
        "--allow-partial: {} tensors taken, 0 of another shape and {fresh} missing stay fresh, 0 of the checkpoint left out",
        weights(&lab, "base", 4).len()
    );
    assert!(partly.said().contains(&text), "{partly:?}");
    // New layers are trained even though the mode is `head`.
    let (first, last) = (weights(&lab, "partly", 0), weights(&lab, "partly", 4));
    let moved = |name: &str| first[name] != last[name];
    assert!(moved("blocks.2.attention.query.weight") && moved("head.weight"));
    assert!(!moved("blocks.1.attention.query.weight"));
    // In PEFT a completely saved layer has no low-rank parts; they are merged into its weights.
    let lora = ["-s", "model.n_layers=3", "-s", "finetune.lora.rank=2", "--allow-partial"];
    finetune(&lab, "lora", &lora).succeed();
    let saved = tensors(&lab.path("lora/checkpoints/step-00000004/adapter_model.safetensors"));
    assert!(saved.keys().all(|name| !name.contains("blocks.2.") || !name.contains("lora_")), "{:?}", saved.keys());
    assert!(saved.contains_key("base_model.model.blocks.1.attention.query.lora_A.weight"));
    lab.headway(&["merge", "lora/checkpoints/step-00000004", "--out", "merged"]).succeed();
    let (name, merged) = ("blocks.2.attention.query.weight", tensors(&lab.path("merged/model.safetensors")));
    assert_eq!(saved[&format!("base_model.model.{name}")], merged[name]);
}

#[test]
fn adapters_resume_with_the_same_bits() {
    let lab = lab();
    for (name, set) in [("lora", "finetune.lora={rank=2, dropout=0.3}"), ("prefix", "finetune.prefix.length=2")] {
        let straight = format!("{name}-straight");
        let more = ["-s", set, "-s", "train.accumulate=2"];
        finetune(&lab, &straight, &more).threads(1).succeed();
        for step in 1..=4 {
            let run = format!("{name}-{step}");
            finetune(&lab, &run, &more).fault(&format!("step:{step}")).threads(2).be_killed();
            lab.resume(&run).succeed();
            lab.run(&run).assert_same(&lab.run(&straight), &format!("{name} killed after step {step}"));
        }
    }
    // Dropout has an effect.
    finetune(&lab, "dropless", &["-s", "finetune.lora={rank=2}", "-s", "train.accumulate=2"]).succeed();
    assert!(weights(&lab, "dropless", 4) != weights(&lab, "lora-straight", 4));
}

#[test]
fn an_experiment_file_says_how_it_is_fine_tuned() {
    let lab = lab();
    lab.write("experiment.toml", format!("{EXPERIMENT}\n[finetune.lora]\nrank = 2\n"));
    let scratch =
        ["finetune.lora is set, but `train` starts from random weights; use `headway finetune`, or set init_from"];
    lab.train("new", &[]).fail(2, &scratch);
    finetune(&lab, "lora", &[]).succeed();
    assert!(weights(&lab, "lora", 4).contains_key("blocks.0.attention.query.low_rank.a"));
    // `train` from a checkpoint is the same, and a mode on the command line replaces the one in the file.
    lab.train("from", &["--init-from", "base", "-s", "finetune.prompt.length=2"]).succeed();
    let names = weights(&lab, "from", 4);
    assert!(names.contains_key("prompt.rows") && !names.keys().any(|name| name.contains("low_rank")));
    lab.train("again", &["--init-from", "base", "-s", "finetune=full"]).succeed();
    for (set, text) in [
        ("finetune.lora.rank=0", "finetune.lora.rank: must be from 1"),
        ("finetune.lora.targets=[\"querry\"]", "did you mean `query`?"),
        ("finetune.prefix.length=0", "finetune.prefix.length: must be from 1"),
        ("finetune=lorra", "did you mean `lora`?"),
        ("finetune.lora.alhpa=3", "did you mean `alpha`?"),
    ] {
        finetune(&lab, "new", &["-s", set]).fail(2, &[text]);
    }
}

#[test]
fn every_analysis_takes_what_fine_tuning_made() {
    let lab = lab();
    for (mode, set, _) in MODES.iter().filter(|(mode, ..)| ["lora", "prefix", "prompt"].contains(mode)) {
        finetune(&lab, mode, &["-s", set]).succeed();
        for what in ["patterns", "ablate", "logit-lens", "in-context", "rank", "paths"] {
            let out = format!("{mode}-{what}");
            let words = ["analyze", what, mode, "--out", &out];
            let norm: &[&str] = if what == "rank" { &["--norm", "off"] } else { &[] };
            let asked = lab.headway(&[&words[..], norm].concat());
            if *mode == "prefix" && ["rank", "paths"].contains(&what) {
                asked.fail(2, &["this network has a learned prefix"]);
            } else {
                asked.succeed();
            }
        }
    }
    // For an analysis, a network with folded low-rank parts is the same.
    lab.headway(&["merge", "lora", "--out", "merged"]).succeed();
    let [rank, merged] = ["lora", "merged"].map(|source| {
        let mut json = lab.headway(&["analyze", "rank", source, "--json"]).succeed().json();
        json["subject"]["source"].take();
        json
    });
    assert_eq!(rank["curves"][0]["name"], merged["curves"][0]["name"]);
    let last =
        |json: &Value| json["curves"][0]["layers"].as_array().unwrap().last().unwrap()["log10_relative"].as_f64();
    let (a, b) = (last(&rank).unwrap(), last(&merged).unwrap());
    assert!((a - b).abs() < 1e-4, "{a} and {b}");
    // Files for other programs contain no low-rank parts.
    lab.headway(&["export", "lora", "--format", "safetensors", "--out", "lora.safetensors"]).succeed();
    assert!(tensors(&lab.path("lora.safetensors")) == tensors(&lab.path("merged/model.safetensors")));
    let prefix = ["export", "prefix", "--format", "safetensors", "--out", "prefix.safetensors"];
    lab.headway(&prefix).fail(3, &["holds a learned prefix"]);
    lab.headway(&["card", "lora"]).succeed();
}
