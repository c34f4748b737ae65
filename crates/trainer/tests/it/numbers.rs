//! All numbers of a config: which values are refused, for every task, model, optimiser, schedule and mode. A new key is
//! tested here without further work.

use std::path::Path;

use headway_model::MODELS;
use headway_tasks::{TASKS, TaskConfig};
use headway_trainer::{
    Error,
    experiment::{Problem, from_text, leaves},
    optimizer::OPTIMIZERS,
};
use toml::Value;

/// Experiments that together contain every key.
fn experiments() -> Vec<String> {
    let task = |more: &str| format!("[task.truncated_linear]\nseq_len = 4\nd_in = 2\n{more}");
    let transformer = "[model.transformer]\n";
    let in_context = |more: &str| format!("[task.icl_linear]\n{more}\n{transformer}[train]\nsteps = 20\n");
    // A task with files needs some.
    let is_whole = |name: &str| TaskConfig::with_defaults(name).is_some_and(|task| task.validate().is_empty());
    let tasks = TASKS.iter().filter(|(name, _)| is_whole(name));
    let mut all: Vec<String> = tasks.map(|(name, _)| format!("[task.{name}]\n{transformer}")).collect();
    let model = |name: &str| {
        let text = task(&format!("[model.{name}]\n"));
        // One that forecasts gives the channels that it is given.
        if name == "csformer" { text.replace("d_in = 2", "d_in = 1") } else { text }
    };
    all.extend(MODELS.iter().map(|(name, _)| model(name)));
    all.extend(OPTIMIZERS.iter().map(|(name, _)| task(&format!("{transformer}[optimizer.{name}]\n"))));
    all.extend(["constant", "linear", "cosine"].map(|name| task(&format!("{transformer}[schedule.{name}]\n"))));
    all.extend(
        [
            "[data.fixed]\ntrain = 64\nvalidation = 3\n[train]\nclip_norm = 1.0\nearly_stopping = { patience = 2, min_delta = 0.5 }\n",
            "[finetune.lora]\n",
            "[finetune.prefix]\n",
            "[finetune.prompt]\n",
        ]
        .map(|more| task(&format!("{transformer}{more}"))),
    );
    all.push(task(&format!("{transformer}[[optimizer.adamw.group]]\nmatch = \"*.bias\"\nweight_decay = 0.1\n")));
    all.push(task("[model.transformer]\nstate_mixer = { ffn = { d_ffn = 8 } }\n"));
    all.push(task(
        "[model.transformer]\ncausal = false\npool = { tensor = { features = 4, time = 1, power = 0.5 } }\n",
    ));
    all.extend(
        [
            "input = { normal = { mean = 0.5, std = 2.0 } }",
            "input = { uniform = { low = -1.0, high = 2.0 } }",
            "shift = { scale_x = 2.0 }",
            "shift = { scale_y = 2.0 }",
            "shift = { noisy_y = 2.0 }",
            "curriculum = { d_start = 2, points_start = 3, every = 1 }",
        ]
        .map(in_context),
    );
    all.push("[task.function]\ndomain = { normal = { mean = 0.5, std = 2.0 } }\n[model.transformer]\n".to_owned());
    all
}

fn problems(text: &str, set: &[String]) -> Option<Vec<Problem>> {
    match from_text(Path::new("experiment.toml"), text.to_owned(), set) {
        Ok(_) => None,
        Err(Error::Experiment(error)) => Some(error.problems),
        Err(error @ Error::Argument { .. }) => Some(vec![Problem {
            key: String::new(),
            message: error.to_string(),
            help: None,
            origin: headway_trainer::experiment::ValueSource::Default,
        }]),
        Err(error) => panic!("{error}"),
    }
}

/// Integers that may be 0.
const MAY_BE_ZERO: [&str; 8] =
    ["seed", "validation", "eval_every", "checkpoint_every", "keep_last", "warmup_steps", "n_anchors", "time"];
/// Integers that may be arbitrarily large: frequencies, sizes limited only by the machine's memory, and growth steps.
const MAY_BE_HUGE: [&str; 10] = [
    "seed",
    "log_every",
    "eval_every",
    "checkpoint_every",
    "keep_last",
    "train",
    "validation",
    "test",
    "d_step",
    "points_step",
];

#[test]
fn every_number_has_a_range() {
    let (mut floats, mut integers) = (0, 0);
    for text in experiments() {
        assert_eq!(problems(&text, &[]), None, "{text}");
        let experiment = from_text(Path::new("experiment.toml"), text, &[]).unwrap().experiment;
        // Every value is written out, so that each can be changed by itself.
        let text = experiment.to_toml();
        for (key, value) in leaves("", &experiment.to_table()) {
            let name = key.rsplit('.').next().unwrap_or_default();
            let with = |value: &str| problems(&text, &[format!("{key}={value}")]);
            match value {
                Value::Float(_) => {
                    floats += 1;
                    for value in ["nan", "inf", "-inf", "1e39", "-1e39", "1e-50", "-1e-50"] {
                        // The only key stored in single precision, where 1e-50 is 0.
                        if name == "min_delta" && value.ends_with("1e-50") {
                            continue;
                        }
                        let problems = with(value).unwrap_or_else(|| panic!("{key} = {value} is accepted:\n{text}"));
                        // One wrong value gives one problem, about the value itself or the table that contains it.
                        let [problem] = problems.as_slice() else { panic!("{key} = {value}: {problems:?}") };
                        assert!(key.starts_with(&problem.key), "{key} = {value}: {problem:?}");
                    }
                }
                Value::Integer(_) => {
                    integers += 1;
                    assert!(with("-1").is_some(), "{key} = -1 is accepted:\n{text}");
                    assert!(with("9223372036854775808").is_some(), "{key} = 2^63 is accepted:\n{text}");
                    let at_zero = with("0").is_none();
                    // Either a validation set that another setting needs, or a seed.
                    assert!(!at_zero || MAY_BE_ZERO.contains(&name), "{key} = 0 is accepted:\n{text}");
                    let at_most = with("9223372036854775807").is_none();
                    assert!(!at_most || MAY_BE_HUGE.contains(&name), "{key} = 2^63 - 1 is accepted:\n{text}");
                }
                _ => {}
            }
        }
    }
    assert!(floats > 150 && integers > 300, "{floats} floats, {integers} integers");
}

#[test]
fn what_a_number_means_decides_its_range() {
    let base = "[task.truncated_linear]\nseq_len = 4\nd_in = 2\n[model.transformer]\n[train]\neval_every = 5\n";
    for (set, key, message) in [
        ("seed=9223372036854775808", "", "whole numbers end at 9223372036854775807"),
        ("optimizer.learning_rate=1e-50", "optimizer.adam.learning_rate", "begin at 1.2e-38"),
        ("optimizer.learning_rate=1e-40", "optimizer.adam.learning_rate", "begin at 1.2e-38"),
        ("optimizer.epsilon=1e-50", "optimizer.adam.epsilon", "begin at 1.2e-38"),
        ("optimizer.epsilon=0", "optimizer.adam.epsilon", "must be positive"),
        ("optimizer.beta_1=0.99999999999", "optimizer.adam.beta_1", "is 1 in single precision"),
        ("optimizer.beta_2=1", "optimizer.adam.beta_2", "must be at least 0 and below 1"),
        ("optimizer.sgd.momentum=-0.1", "optimizer.sgd.momentum", "must be at least 0 and below 1"),
        ("optimizer.adamw.weight_decay=-1", "optimizer.adamw.weight_decay", "must not be negative"),
        ("optimizer.muon.adam.beta_2=1", "optimizer.muon.adam.beta_2", "must be at least 0 and below 1"),
        (
            "optimizer.adam.group=[{match='*.bias', learning_rate_factor=0}]",
            "optimizer.adam.group.0.learning_rate_factor",
            "must be positive",
        ),
        (
            "optimizer.sgd.group=[{match='*.bias', weight_decay=1e-50}]",
            "optimizer.sgd.group.0.weight_decay",
            "no number of single precision",
        ),
        (
            "optimizer.adamw.group=[{match='*.bias'}, {match='blocks.*.atention.*'}]",
            "optimizer.adamw.group.1.match",
            "\"blocks.*.atention.*\" matches no parameter; there are blocks.*.attention.key.bias, blocks.*.attention.key.weight, ",
        ),
        (
            "optimizer.muon.by_adam=['header.*']",
            "optimizer.muon.by_adam.0",
            ", head.bias, head.weight, position.weight",
        ),
        ("train.clip_norm=1e-50", "train.clip_norm", "begin at 1.2e-38"),
        ("train.clip_norm=1e39", "train.clip_norm", "ends at 3.4e38"),
        ("train.early_stopping={patience=1, min_delta=-0.1}", "train.early_stopping.min_delta", "must be 0 or more"),
        ("train.early_stopping={patience=0}", "train.early_stopping.patience", "must be at least 1"),
        ("schedule.linear.final_fraction=1.5", "schedule", "final_fraction must be between 0 and 1"),
        ("schedule.cosine.final_fraction=1e-50", "schedule.cosine.final_fraction", "begin at 1.2e-38"),
        ("finetune.lora.alpha=1e-50", "finetune.lora.alpha", "begin at 1.2e-38"),
        ("finetune.lora.dropout=1", "finetune.lora.dropout", "must be from 0 to below 1"),
        ("model={paper_set_keys={low=0.5, high=0.5}}", "model.paper_set_keys.low", "must be below high"),
        ("model={paper_set_keys={inverse_temperature=0}}", "model.paper_set_keys.inverse_temperature", "above 0"),
    ] {
        let problems = problems(base, &[set.to_owned()]).unwrap_or_else(|| panic!("{set} is accepted"));
        let [problem] = problems.as_slice() else { panic!("{set}: {problems:?}") };
        assert!(problem.key == key && problem.message.contains(message), "{set}: {problem:?}");
    }
    for set in ["optimizer.learning_rate=1e-30", "optimizer.sgd.learning_rate=1e25", "seed=9223372036854775807"] {
        assert_eq!(problems(base, &[set.to_owned()]), None, "{set}");
    }
}

/// What Muon keeps of a network: one number for each of a matrix of a hidden layer, two for all else.
#[test]
fn moments_of_muon_are_counted_by_matrix() {
    let text = "[task.copy]\nvocab = 5\n[model.transformer]\nd_model = 8\nn_layers = 2\nn_heads = 2\n";
    let moments = |set: &str| {
        let loaded = from_text(Path::new("experiment.toml"), text.to_owned(), &[set.to_owned()]).unwrap();
        let memory = loaded.experiment.memory();
        memory.moments / 4.0 - 2.0 * memory.weights / 4.0
    };
    assert_eq!(moments("optimizer.adam={}").to_bits(), 0.0_f64.to_bits());
    // Four projections in each of two layers.
    assert!((moments("optimizer.muon={}") + f64::from(2 * 4 * 8 * 8)).abs() < 0.5);
    assert!((moments("optimizer.muon={by_adam=['*']}")).abs() < 0.5);
}

#[test]
fn cost_counts_no_more_examples_than_there_are() {
    let experiment = |data: &str| {
        let text = format!(
            "[task.truncated_linear]\nseq_len = 4\nd_in = 2\n{data}[model.transformer]\n[train]\nsteps = 7\nbatch_size = 100\naccumulate = 3\n"
        );
        from_text(Path::new("experiment.toml"), text, &[]).unwrap().experiment
    };
    let fresh = experiment("[data.fresh]\ntest = 1\n");
    let budget = fresh.model.budget(&fresh.dims());
    let (flops, activations) = (budget.step_flops(1) as f64, budget.activation_bytes as f64);
    assert_eq!((fresh.step_flops(), fresh.training_flops()), (300.0 * flops, 2100.0 * flops));
    // 21 batches: each the whole set; or 100 and 23 in turn.
    for (train, step, all) in [(5, 15.0, 105.0), (123, 300.0, 10.0 * 123.0 + 100.0)] {
        let fixed = experiment(&format!("[data.fixed]\ntrain = {train}\ntest = 1\n"));
        let cost = (fixed.step_flops(), fixed.training_flops(), fixed.memory().activations);
        assert_eq!(cost, (step * flops, all * flops, f64::from(train.min(100)) * activations), "{train}");
    }
}

#[test]
fn a_step_costs_the_head_where_the_loss_looks() {
    let budget = |task: &str| {
        let text = format!("[task.{task}\n[model.transformer]\nd_model = 8\nn_heads = 2\n");
        let experiment = from_text(Path::new("experiment.toml"), text, &[]).unwrap().experiment;
        let all = experiment.model.budget(&experiment.dims()).forward_flops;
        all - experiment.budget().forward_flops
    };
    // 4 of 64 positions are scored, or 2 and 6 alternately: 60 heads of 2·8·101 operations are left out.
    assert_eq!(budget("mqar]\nvocab = 101\nseq_len = 64\nn_pairs = [4]"), 60 * 2 * 8 * 101);
    assert_eq!(budget("mqar]\nvocab = 101\nseq_len = 64\nn_pairs = [2, 6]"), 60 * 2 * 8 * 101);
    assert_eq!(budget("mqar]\nvocab = 101\nseq_len = 64\nn_pairs = [16]"), 48 * 2 * 8 * 101);
    // Where half are, the head is applied to all.
    assert_eq!(budget("copy]"), 0);
}
