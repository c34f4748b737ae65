//! Configs: keys, values and their combinations.

use super::*;

#[test]
fn unknown_keys_come_with_their_place_and_the_nearest_key() {
    let text = SOUND.replace("steps = 4", "stesp = 4");
    refused(&text, &["train.stesp: no such key", "[experiment.toml:15:1]", "did you mean `steps`?", "`batch_size`"]);
    let text = SOUND.replace("n_heads = 2", "  heads = 2");
    refused(&text, &["model.transformer.heads: no such key", "[experiment.toml:12:3]", "did you mean `n_heads`?"]);
    refused(&format!("sead = 1\n{SOUND}"), &["sead: no such key", "[experiment.toml:1:1]", "did you mean `seed`?"]);
    // No known key is near enough to be suggested.
    let said = Lab::with(&format!("banana = 1\n{SOUND}")).headway(&["check", "experiment.toml"]).fail(2, &["banana"]);
    assert!(!said.stderr.contains("did you mean"), "{said:?}");
}

#[test]
fn unknown_choices_come_with_their_place_and_the_nearest_name() {
    let text = SOUND.replace("model.transformer", "model.transfromer");
    let texts = ["model: no such choice `transfromer`", "[experiment.toml:9:8]", "did you mean `transformer`?"];
    refused(&text, &texts);
    let text = SOUND.replace("task.icl_linear", "task.icl_liner");
    refused(&text, &["task: no such choice `icl_liner`", "[experiment.toml:1:7]", "`truncated_linear`", "`copy`"]);
    let text = SOUND.replace("steps = 4", "loss = \"padde\"");
    refused(&text, &["train.loss: no such choice `padde`", "[experiment.toml:15:8]", "did you mean `padded`?"]);
    let text = SOUND.replace("n_heads = 2", "kernel = \"sofmax\"");
    refused(&text, &["model.transformer.kernel: no such choice `sofmax`", "did you mean `softmax`?"]);
}

#[test]
fn wrong_types_are_named_in_the_words_of_a_config_file() {
    for (line, texts) in [
        ("steps = \"4\"", ["train.steps: expected a whole number, 0 or more, found string \"4\"", "toml:15:9]"]),
        ("steps = -4", ["train.steps: expected a whole number, 0 or more, found integer `-4`", "toml:15:9]"]),
        ("steps = 4.5", ["train.steps: expected a whole number, 0 or more, found floating point `4.5`", "toml:15:9]"]),
        ("clip_norm = true", ["train.clip_norm: expected a number, found boolean `true`", "toml:15:13]"]),
        ("loss = 3", ["train.loss: expected a name", "toml:15:8]"]),
        ("early_stopping = 3", ["train.early_stopping: expected a table, found integer `3`", "toml:15:18]"]),
        ("steps = [4]", ["train.steps: expected a whole number, 0 or more, found a list", "toml:15:9]"]),
    ] {
        refused(&SOUND.replace("steps = 4", line), &texts);
    }
    refused(&format!("{SOUND}[finetune]\nfreeze = \"head\"\n"), &["finetune.freeze: expected a list, found string"]);
    refused("task = 5\n[model.transformer]\n", &["task: expected a name, or a table under a name"]);
    refused("[task.copy]\n[model]\n", &["model: must hold exactly one table, named after the choice"]);
    refused(
        "[task.copy]\n[model.transformer]\n[model.paper_one_layer]\n",
        &["model: must hold exactly one table, named after the choice"],
    );
}

#[test]
fn several_problems_are_reported_at_once_in_the_order_of_the_file() {
    let text = SOUND
        .replace("d = 3", "d = 0")
        .replace("test = 5", "tset = 5")
        .replace("steps = 4", "steps = \"many\"")
        .replace("log_every = 1", "log_every = 0\nclip_norm = -1.0");
    let lab = Lab::with(&text);
    let said = lab.headway(&["check", "experiment.toml"]).fail(2, &[]).said();
    let problems = [
        "task.icl_linear.d: 0",
        "data.fresh.tset: no such key",
        "train.steps: expected",
        "train.log_every: must",
        "train.clip_norm: must",
    ];
    let places: Vec<usize> =
        problems.iter().map(|problem| said.find(problem).unwrap_or_else(|| panic!("{problem}: {said}"))).collect();
    assert!(places.is_sorted(), "{said}");
    assert_eq!(said.matches("experiment.toml:").count(), problems.len(), "one place each: {said}");
}

#[test]
fn one_mistake_is_one_problem() {
    // A field is missing inside a choice; the choice itself is valid.
    for text in [
        "[task.copy]\n[data.fixed]\ntest = 3\n[model.transformer]\n",
        "[task.copy]\n[model.transfromer]\nd_model = 2\n",
    ] {
        let said = Lab::with(text).headway(&["check", "experiment.toml"]).fail(2, &[]).said();
        assert_eq!(said.matches("experiment.toml:").count(), 1, "{said}");
    }
    refused(
        "[task.copy]\n[data.fixed]\ntest = 3\n[model.transformer]\n",
        &["data.fixed.train is missing", "toml:2:7]"],
    );
}

#[test]
fn what_is_wrong_in_the_model_does_not_wait_for_the_task() {
    let text = SOUND.replace("n_points = 4", "n_points = 4\nnoise_std = -0.5").replace("n_heads = 2", "n_heads = 0");
    refused(&text, &["noise_std: -0.5", "n_heads: must be at least 1"]);
}

#[test]
fn a_problem_has_no_echo() {
    let warm = |train: &str| {
        SOUND.replace("[train]\nsteps = 4", &format!("[schedule.linear]\nwarmup_steps = 2000\n[train]\n{train}"))
    };
    for (text, problem) in [
        // A default that replaces an unreadable value is not reported as wrong itself.
        (warm("steps = \"many\""), "train.steps: expected a whole number"),
        (warm("stesp = 4000"), "train.stesp: no such key"),
        (warm("steps = 0"), "train.steps: must be at least 1"),
        (SOUND.replace("d_model = 8", "d_model = \"8\"").replace("n_heads = 2", "n_heads = 3"), "d_model: expected"),
    ] {
        let said = Lab::with(&text).headway(&["check", "experiment.toml"]).fail(2, &[problem]).said();
        assert_eq!(said.matches("experiment.toml:").count(), 1, "{said}");
    }
}

#[test]
fn heads_that_do_not_divide_the_width_come_with_those_that_do() {
    let text = SOUND.replace("n_heads = 2", "n_heads = 3");
    let texts = [
        "model.transformer.n_heads: 3 heads do not divide d_model = 8; these do: 1, 2, 4, 8",
        "[experiment.toml:12:11]",
    ];
    refused(&text, &texts);
}

#[test]
fn sizes_of_nothing_and_rules_across_tables() {
    for (from, to, text) in [
        ("n_layers = 1", "n_layers = 0", "model.transformer.n_layers: must be from 1 to"),
        ("d_model = 8", "d_model = 9999998", "model.transformer.d_model: must be at most"),
        ("batch_size = 3", "batch_size = 0", "train.batch_size: must be at least 1"),
        ("steps = 4", "steps = 0", "train.steps: must be at least 1"),
        ("steps = 4", "keep_last = \"some\"", "a number of checkpoints from 0 up, or \"all\""),
        ("test = 5", "test = 0", "data.fresh.test: 0 is too few; give 1 or more"),
        ("steps = 4", "clip_norm = nan", "train.clip_norm: must be positive; leave it out for no clipping"),
        ("[train]", "[schedule.cosine]\nwarmup_steps = 5\n[train]", "warmup_steps is longer than train.steps"),
        ("[train]", "[schedule.linear]\nfinal_fraction = 2.0\n[train]", "final_fraction must be between 0 and 1"),
        ("[train]", "[optimizer.adam]\nbeta_1 = 1.0\n[train]", "optimizer.adam.beta_1: must be at least 0 and below 1"),
        ("[train]", "[optimizer.sgd]\nlearning_rate = 0\n[train]", "optimizer.sgd.learning_rate: must be positive"),
        ("steps = 4", "early_stopping = { patience = 1 }", "train.early_stopping: needs validation"),
    ] {
        refused(&SOUND.replace(from, to), &[text, "experiment.toml:"]);
    }
}

#[test]
fn models_that_take_vectors_refuse_tokens() {
    for model in ["paper_one_layer", "paper_two_layer", "paper_set_keys", "attention_stack"] {
        let text = COPY.replace("transformer", model);
        refused(&text, &[&format!("model.{model}: takes vectors, this task gives tokens; use [model.transformer]")]);
    }
}

#[test]
fn models_that_would_see_answers_are_refused_by_every_verb_that_trains() {
    let text = SOUND.replace("n_heads = 2", "n_heads = 2\ncausal = false");
    let texts = [
        "model.transformer.causal: lets positions see later ones, and in icl_linear every y stands right after the x",
        "would copy answers instead of learning; set it to true",
        "[experiment.toml:13:10]",
    ];
    let lab = Lab::with(&text);
    lab.write("sound.toml", SOUND);
    lab.headway(&["train", "sound.toml", "--out", "run", "--device", "cpu", "-s", "train.steps=1"]).succeed();
    for words in [
        &["check", "experiment.toml"][..],
        &["train", "experiment.toml", "--out", "new"],
        &["train", "experiment.toml", "--out", "new", "--dry-run"],
        &["finetune", "experiment.toml", "--from", "run", "--out", "new"],
    ] {
        lab.headway(words).fail(2, &texts);
    }
    lab.write("sweep.toml", "experiment = \"sound.toml\"\n[grid]\nmodel.causal = [true, false]\n");
    let in_sweep = ["model.transformer.causal: lets positions see later ones", "sweep.toml:3:", "causal=false"];
    lab.headway(&["sweep", "sweep.toml", "--out", "new"]).fail(2, &in_sweep);
    assert!(!lab.path("new").exists());
    // A run of an older version is not resumed, but can be inspected.
    let former = lab.read("run/experiment.toml").replace("causal = true", "causal = false");
    lab.write("run/experiment.toml", former);
    lab.headway(&["resume", "run", "--device", "cpu"]).fail(2, &["model.transformer.causal: lets positions"]);
    for words in [["eval", "run"], ["show", "experiment.toml"]] {
        lab.headway(&words).succeed();
    }
    // Other models, and a task in which only the last position is scored.
    let paper = "[task.icl_linear]\n[model.paper_two_layer]\n";
    refused(
        paper,
        &["model.paper_two_layer: lets positions see later ones", "use [model.transformer]", "experiment.toml:2:"],
    );
    let rows = SOUND.replace("icl_linear", "in_context_regression").replace("n_heads = 2", "causal = false");
    Lab::with(&rows).headway(&["check", "experiment.toml"]).succeed();
}

#[test]
fn check_ends_as_train_would_before_its_first_step() {
    // Examples, weights and activations that fit into no machine.
    let examples = "[task.relu_network]\n[data.fixed]\ntrain = 2147483648000\n[model.paper_two_layer]\n";
    let weights = COPY.replace("d_model = 8", "d_model = 1048576\nn_layers = 2000");
    let activations = format!("{COPY}[train]\nbatch_size = 1000000000000\n");
    for text in [examples, &weights, &activations] {
        let lab = Lab::with(text);
        for verb in ["check", "train"] {
            lab.headway(&[verb, "experiment.toml", "--device", "cpu"]).fail(4, &["out of memory", "GB"]);
        }
    }
    let lab = Lab::with(SOUND);
    for verb in ["check", "train"] {
        let words = [verb, "experiment.toml", "--device", "cpu", "-s", "init_from=nowhere"];
        lab.headway(&words).fail(3, &["checkpoint nowhere: does not exist"]);
    }
}

#[test]
fn seeds_end_where_the_numbers_of_a_file_do() {
    let lab = Lab::with(SOUND);
    let largest = "9223372036854775807";
    let said = |words: &[&str]| lab.headway(words).fail(2, &[largest]);
    let check = ["check", "experiment.toml", "--device", "cpu"];
    for set in [&["-s", "seed=9223372036854775808"], &["--seed", "9223372036854775808"]] {
        said(&[&check[..], set].concat());
    }
    lab.headway(&[&check[..], &["--seed", largest]].concat()).succeed();
    lab.train("run", &["--seed", largest, "-s", "train.steps=1"]).succeed();
    lab.headway(&["eval", "run"]).succeed();
    lab.write("large.toml", format!("seed = 9223372036854775808\n{SOUND}"));
    lab.headway(&["show", "large.toml"]).fail(2, &["seed: whole numbers end at", largest, "large.toml:1:8"]);
    let rows =
        "[[tasks]]\nname = \"a\"\nexperiment = \"experiment.toml\"\n[[rows]]\nname = \"b\"\n[[rows]]\nname = \"c\"\n";
    for seeds in ["{ first = 9223372036854775806, count = 3 }", "[0, 9223372036854775808]"] {
        lab.write("sweep.toml", format!("experiment = \"experiment.toml\"\nseeds = {seeds}\n"));
        lab.headway(&["sweep", "plan", "sweep.toml"]).fail(2, &["seeds:", largest, "sweep.toml:2:"]);
        lab.write("compare.toml", format!("seeds = {seeds}\nreference = \"b\"\n{rows}"));
        lab.headway(&["compare", "compare.toml"]).fail(2, &["seeds:", largest, "compare.toml:1:"]);
    }
    lab.write("sweep.toml", format!("experiment = \"experiment.toml\"\nseeds = {{ first = {largest}, count = 1 }}\n"));
    lab.headway(&["sweep", "plan", "sweep.toml"]).succeed();
    said(&["sweep", "plan", "sweep.toml", "--seeds", "0,9223372036854775808"]);
    said(&["construct", "truncated-linear", "--seed", "9223372036854775808", "--out", "new"]);
    said(&["analyze", "rank", "experiment.toml", "--seed", "9223372036854775808"]);
    // Values that only a JSON file can contain.
    let step = lab.path("run/checkpoints/step-00000001");
    forge(&step, "config.json", |text| {
        String::from_utf8(text).unwrap().replace(largest, "9223372036854775808").into_bytes()
    });
    lab.headway(&["eval", "run/checkpoints/step-00000001"]).fail(3, &["config.json"]);
}

#[test]
fn models_of_one_length_refuse_prompts_that_grow() {
    let prompts = "[task.icl_linear]\nd = 3\nn_points = 4\ncurriculum = { d_start = 1, points_start = P, every = 2 }\n";
    for model in ["paper_one_layer", "paper_two_layer", "paper_set_keys", "attention_stack"] {
        let text = |points| format!("{}[model.{model}]\n[train]\nsteps = 20\n", prompts.replace('P', points));
        let wanted = format!("begins with shorter sequences, and {model} takes one length alone");
        refused(&text("2"), &["task.icl_linear.curriculum", &wanted]);
        // Prompts that gain only dimensions keep their length; `show` does not train, so visible answers do not matter.
        Lab::with(&text("4")).headway(&["show", "experiment.toml"]).succeed();
    }
}

#[test]
fn a_readout_that_does_not_fit_the_task() {
    let text = "[task.relu_network]\nd = 2\n[model.paper_one_layer]\nreadout = \"softmax\"\n";
    refused(text, &["model.paper_one_layer.readout: the softmax readout gives one number per position", "toml:4:11]"]);
}

#[test]
fn files_that_are_missing_or_no_toml() {
    let lab = Lab::new();
    for verb in ["check", "show", "train"] {
        lab.headway(&[verb, "nowhere.toml"]).fail(2, &["cannot read experiment nowhere.toml: No such file"]);
    }
    lab.headway(&["check", "."]).fail(2, &["cannot read experiment .: Is a directory"]);
    lab.write("binary.toml", b"\xff\xfe\x00");
    lab.headway(&["check", "binary.toml"]).fail(2, &["cannot read experiment binary.toml", "UTF-8"]);
    refused("[task.copy\n", &["not valid TOML", "[experiment.toml:1:11]"]);
    refused("seed = 1\nseed = 2\n", &["not valid TOML: duplicate key", "[experiment.toml:2:1]"]);
    refused("", &["task is missing", "add a table [task.NAME]; `headway list tasks` shows the names"]);
    refused("[task.copy]\n", &["model is missing", "add a table [model.NAME]; `headway list models` shows the names"]);
}

/// A setting of a variant takes the place of a bare name, on a command line and in a table of a study without quotes.
#[test]
fn a_setting_of_a_variant_chooses_it() {
    let lab = Lab::new();
    lab.write("experiment.toml", SOUND);
    let set = ["check", "experiment.toml", "--json", "--device", "cpu", "-s", "model.state_mixer.ffn.d_ffn=64"];
    let d_ffn =
        &lab.headway(&set).succeed().json()["experiment"]["model"]["transformer"]["state_mixer"]["ffn"]["d_ffn"];
    assert_eq!(*d_ffn, 64);
    lab.write(
        "sweep.toml",
        "experiment = \"experiment.toml\"\nseeds = [0]\n[set]\nmodel.state_mixer = { ffn = { d_ffn = 64 } }\n",
    );
    lab.headway(&["check", "sweep.toml", "--device", "cpu"]).succeed();
    refused_with(SOUND, &["-s", "model.state_mixer.fnn.d_ffn=64"], &["no such choice `fnn`", "did you mean `ffn`?"]);
}

#[test]
fn overrides_are_checked_like_the_file() {
    for (set, texts) in [
        ("train.steps", &["-s train.steps: write it as key=value, for example -s train.steps=100"][..]),
        ("train.stesp=4", &["error: -s train.stesp=4: train.stesp: no such key", "did you mean `steps`?"]),
        ("train.steps=many", &["error: -s train.steps=many: train.steps: expected a whole number"]),
        ("model.n_heads=3", &["error: -s model.n_heads=3: model.transformer.n_heads: 3 heads do not divide"]),
        ("model.n_haeds=2", &["error: -s model.n_haeds=2: model.transformer.n_haeds", "did you mean `n_heads`?"]),
        ("data.fresh.tset=2", &["error: -s data.fresh.tset=2: data.fresh.tset", "did you mean `test`?"]),
        (
            "optimizer.adma.learning_rate=1",
            &["error: -s optimizer.adma", "no such choice `adma`", "did you mean `adam`?"],
        ),
        (
            "optimizer.learning_rate=-1",
            &["error: -s optimizer.learning_rate=-1: optimizer.adam.learning_rate: must be"],
        ),
        ("model.paper_one_layer.n_layers=8", &["error: -s model.paper_one_layer.n_layers=8", "no such key"]),
        ("train.steps.x=4", &["-s train.steps.x=4: train.steps is a value, not a table"]),
        ("seed.x=4", &["error: -s seed.x=4: seed: expected a whole number, 0 or more, found a table"]),
        ("seed=-1", &["error: -s seed=-1: seed: expected a whole number"]),
        ("=4", &["no such key"]),
        // A name that cannot be a variant is an unknown field.
        (
            "optimizer.lr=1e-3",
            &["-s optimizer.lr=1e-3: optimizer.adam.lr: no such key; there are `learning_rate`, `beta_1`"],
        ),
        ("schedule=step", &["-s schedule=step: schedule: no such choice `step`; there are", "`cosine`"]),
        // A bare name has no defaults for required values.
        ("model.state_mixer=ffn", &["model.transformer.state_mixer.ffn.d_ffn is missing"]),
        ("finetune=freeze", &["finetune.freeze: the name alone says too little; write finetune.freeze = [\"…\""]),
    ] {
        refused_with(SOUND, &["-s", set], texts);
    }
}
