//! What goes wrong ends with an exit code and a message that names the place and the way out, never with a panic.

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

/// `headway check` on a text must fail with these texts.
fn refused(experiment: &str, texts: &[&str]) {
    refused_with(experiment, &[], texts);
}

fn refused_with(experiment: &str, more: &[&str], texts: &[&str]) {
    let lab = Lab::with(experiment);
    let words = [&["check", "experiment.toml", "--device", "cpu"], more].concat();
    let finished = lab.headway(&words).fail(2, texts);
    assert_eq!(finished.stdout, "");
}

/// A finished run of the sound experiment in `run`.
fn lab_with_run() -> Lab {
    let lab = Lab::with(SOUND);
    lab.train("run", &[]).succeed();
    lab
}

/// A run that was killed with two checkpoints in `run`.
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

/// Changes a file of a checkpoint and writes a manifest in which it is as it should be.
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

mod config {
    use super::*;

    #[test]
    fn unknown_keys_come_with_their_place_and_the_nearest_key() {
        let text = SOUND.replace("steps = 4", "stesp = 4");
        refused(
            &text,
            &["train.stesp: no such key", "[experiment.toml:15:1]", "did you mean `steps`?", "`batch_size`"],
        );
        let text = SOUND.replace("n_heads = 2", "  heads = 2");
        refused(&text, &["model.transformer.heads: no such key", "[experiment.toml:12:3]", "did you mean `n_heads`?"]);
        refused(&format!("sead = 1\n{SOUND}"), &["sead: no such key", "[experiment.toml:1:1]", "did you mean `seed`?"]);
        // Nothing is near enough to be meant.
        let said =
            Lab::with(&format!("banana = 1\n{SOUND}")).headway(&["check", "experiment.toml"]).fail(2, &["banana"]);
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
            (
                "steps = 4.5",
                ["train.steps: expected a whole number, 0 or more, found floating point `4.5`", "toml:15:9]"],
            ),
            ("clip_norm = true", ["train.clip_norm: expected a number, found boolean `true`", "toml:15:13]"]),
            ("loss = 3", ["train.loss: expected a name", "toml:15:8]"]),
            ("early_stopping = 3", ["train.early_stopping: expected a table, found integer `3`", "toml:15:18]"]),
            ("steps = [4]", ["train.steps: expected a whole number, 0 or more, found a list", "toml:15:9]"]),
        ] {
            refused(&SOUND.replace("steps = 4", line), &texts);
        }
        refused(
            &format!("{SOUND}[finetune]\nfreeze = \"head\"\n"),
            &["finetune.freeze: expected a list, found string"],
        );
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
        // A field is missing inside a choice: the choice itself was made.
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
        let text =
            SOUND.replace("n_points = 4", "n_points = 4\nnoise_std = -0.5").replace("n_heads = 2", "n_heads = 0");
        refused(&text, &["noise_std: -0.5", "n_heads: must be at least 1"]);
    }

    #[test]
    fn a_problem_has_no_echo() {
        let warm = |train: &str| {
            SOUND.replace("[train]\nsteps = 4", &format!("[schedule.linear]\nwarmup_steps = 2000\n[train]\n{train}"))
        };
        for (text, problem) in [
            // No default takes the place of what could not be read, to be wrong in its turn.
            (warm("steps = \"many\""), "train.steps: expected a whole number"),
            (warm("stesp = 4000"), "train.stesp: no such key"),
            (warm("steps = 0"), "train.steps: must be at least 1"),
            (
                SOUND.replace("d_model = 8", "d_model = \"8\"").replace("n_heads = 2", "n_heads = 3"),
                "d_model: expected",
            ),
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
            ("steps = 4", "keep_last = 0", "train.keep_last: must be at least 1"),
            ("test = 5", "test = 0", "data.fresh.test: 0 is too few; give 1 or more"),
            ("steps = 4", "clip_norm = nan", "train.clip_norm: must be positive; leave it out for no clipping"),
            ("[train]", "[schedule.cosine]\nwarmup_steps = 5\n[train]", "warmup_steps is longer than train.steps"),
            ("[train]", "[schedule.linear]\nfinal_fraction = 2.0\n[train]", "final_fraction must be between 0 and 1"),
            (
                "[train]",
                "[optimizer.adam]\nbeta_1 = 1.0\n[train]",
                "optimizer.adam.beta_1: must be at least 0 and below 1",
            ),
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
            refused(
                &text,
                &[&format!("model.{model}: takes vectors, this task gives tokens; use [model.transformer]")],
            );
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
        // A run of former times is not gone on with, but looked at.
        let former = lab.read("run/experiment.toml").replace("causal = true", "causal = false");
        lab.write("run/experiment.toml", former);
        lab.headway(&["resume", "run", "--device", "cpu"]).fail(2, &["model.transformer.causal: lets positions"]);
        for words in [["eval", "run"], ["show", "experiment.toml"]] {
            lab.headway(&words).succeed();
        }
        // Other models, and a task whose last position alone is asked.
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
        // Examples, weights and activations that no machine holds.
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
        let rows = "[[tasks]]\nname = \"a\"\nexperiment = \"experiment.toml\"\n[[rows]]\nname = \"b\"\n[[rows]]\nname = \"c\"\n";
        for seeds in ["{ first = 9223372036854775806, count = 3 }", "[0, 9223372036854775808]"] {
            lab.write("sweep.toml", format!("experiment = \"experiment.toml\"\nseeds = {seeds}\n"));
            lab.headway(&["sweep", "plan", "sweep.toml"]).fail(2, &["seeds:", largest, "sweep.toml:2:"]);
            lab.write("compare.toml", format!("seeds = {seeds}\nreference = \"b\"\n{rows}"));
            lab.headway(&["compare", "compare.toml"]).fail(2, &["seeds:", largest, "compare.toml:1:"]);
        }
        lab.write(
            "sweep.toml",
            format!("experiment = \"experiment.toml\"\nseeds = {{ first = {largest}, count = 1 }}\n"),
        );
        lab.headway(&["sweep", "plan", "sweep.toml"]).succeed();
        said(&["sweep", "plan", "sweep.toml", "--seeds", "0,9223372036854775808"]);
        said(&["construct", "truncated-linear", "--seed", "9223372036854775808", "--out", "new"]);
        said(&["analyze", "rank", "experiment.toml", "--seed", "9223372036854775808"]);
        // What a JSON file alone can hold.
        let step = lab.path("run/checkpoints/step-00000001");
        forge(&step, "config.json", |text| {
            String::from_utf8(text).unwrap().replace(largest, "9223372036854775808").into_bytes()
        });
        lab.headway(&["eval", "run/checkpoints/step-00000001"]).fail(3, &["config.json"]);
    }

    #[test]
    fn models_of_one_length_refuse_prompts_that_grow() {
        let prompts =
            "[task.icl_linear]\nd = 3\nn_points = 4\ncurriculum = { d_start = 1, points_start = P, every = 2 }\n";
        for model in ["paper_one_layer", "paper_two_layer", "paper_set_keys", "attention_stack"] {
            let text = |points| format!("{}[model.{model}]\n[train]\nsteps = 20\n", prompts.replace('P', points));
            let wanted = format!("begins with shorter sequences, and {model} takes one length alone");
            refused(&text("2"), &["task.icl_linear.curriculum", &wanted]);
            // Prompts that only gain dimensions keep their length; `show` trains nothing, and minds no answers.
            Lab::with(&text("4")).headway(&["show", "experiment.toml"]).succeed();
        }
    }

    #[test]
    fn a_readout_that_does_not_fit_the_task() {
        let text = "[task.relu_network]\nd = 2\n[model.paper_one_layer]\nreadout = \"softmax\"\n";
        refused(
            text,
            &["model.paper_one_layer.readout: the softmax readout gives one number per position", "toml:4:11]"],
        );
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
        refused(
            "[task.copy]\n",
            &["model is missing", "add a table [model.NAME]; `headway list models` shows the names"],
        );
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
            // What can be no variant is a field that there is not.
            (
                "optimizer.lr=1e-3",
                &["-s optimizer.lr=1e-3: optimizer.adam.lr: no such key; there are `learning_rate`, `beta_1`"],
            ),
            ("schedule=step", &["-s schedule=step: schedule: no such choice `step`; there are", "`cosine`"]),
            // A name that stands alone has no defaults for what must be given.
            ("model.state_mixer=ffn", &["model.transformer.state_mixer.ffn.d_ffn is missing"]),
        ] {
            refused_with(SOUND, &["-s", set], texts);
        }
    }
}

mod command_line {
    use super::*;

    #[test]
    fn usage_errors_exit_2() {
        let lab = Lab::with(SOUND);
        for (words, text) in [
            (&["trian", "experiment.toml"][..], "similar subcommand exists: 'train'"),
            (&["train"], "required arguments"),
            (&["train", "experiment.toml", "--sede", "3"], "similar argument exists: '--seed'"),
            (&["train", "experiment.toml", "--steps", "3"], "write '-s train.steps=3'"),
            (&["train", "experiment.toml", "--batch-size=8"], "write '-s train.batch_size=8'"),
            (&["train", "experiment.toml", "--epochs", "3"], "write '-s train.steps=VALUE'"),
            (&["train", "experiment.toml", "--lr", "1e-4"], "write '-s optimizer.learning_rate=1e-4'"),
            (&["train", "experiment.toml", "--resume"], "write 'headway resume RUN'"),
            (&["check", "experiment.toml", "--unset", "train.clip_norm"], "experiment.toml does not set it"),
            (&["train", "experiment.toml", "--max-time", "soon"], "`soon` is not a time; write 90s, 30m or 2h"),
            (&["train", "experiment.toml", "--device", "nonsense"], "no device `nonsense`; there are auto, cpu, wgpu"),
            (&["train", "experiment.toml", "--device", "wgpu:x"], "`x` in `wgpu:x` is not a device number"),
            (&["list", "colours"], "tasks, models, kernels, positions, optimizers"),
            (&["finetune", "experiment.toml"], "--from"),
        ] {
            lab.headway(words).fail(2, &[text]);
        }
    }

    #[test]
    fn devices_that_are_not_there_exit_4() {
        let lab = Lab::with(SOUND);
        for (device, feature) in [("wgpu:9", cfg!(feature = "wgpu")), ("cuda", cfg!(feature = "cuda"))] {
            let (kind, _) = device.split_once(':').unwrap_or((device, ""));
            let what = if feature {
                format!("no device `{device}` on this machine")
            } else {
                format!("this build has no {kind} devices: build it with `cargo build --release --features {kind}`")
            };
            for words in [&["train", "experiment.toml", "--out", "run"][..], &["check", "experiment.toml"]] {
                lab.headway(&[words, &["--device", device]].concat()).fail(4, &[&what, "there are cpu (burn-flex"]);
            }
        }
        assert!(!lab.path("run").exists());
    }
}

mod folders {
    use super::*;

    #[test]
    fn output_folders_that_are_taken() {
        let lab = lab_with_run();
        let texts = ["run is not empty; choose another folder with --out", "`headway resume run`"];
        lab.train("run", &[]).fail(2, &texts);
        lab.train("run", &["--dry-run"]).fail(2, &texts);
        // Somebody's folder, no run.
        fs::create_dir(lab.path("thesis")).unwrap();
        lab.write("thesis/chapter.tex", "");
        let said = lab.train("thesis", &[]).fail(2, &["thesis is not empty, and what it holds is no run"]);
        assert!(!said.stderr.contains("resume"), "{said:?}");
        // An empty one is welcome.
        fs::create_dir(lab.path("empty")).unwrap();
        lab.train("empty", &[]).succeed();
    }

    #[test]
    fn output_folders_that_cannot_be_made_exit_1() {
        let lab = Lab::with(SOUND);
        lab.train("experiment.toml", &[]).fail(1, &["cannot read experiment.toml: Not a directory"]);
        lab.train("experiment.toml/run", &[]).fail(1, &["cannot create folder experiment.toml/run: Not a directory"]);
        lab.train("/proc/run", &[]).fail(1, &["cannot create folder /proc/run"]);
    }

    #[test]
    fn a_full_disk_exits_1_and_names_the_file() {
        let lab = Lab::with(SOUND);
        lab.train("run", &[]).fault("full:1").fail(1, &["cannot create folder run", "no storage space"]);
        lab.train("run", &[])
            .fault("full:12")
            .fail(1, &["cannot write run/checkpoints/.step-00000000/", "no storage space"]);
    }

    #[test]
    fn verbs_on_folders_that_are_no_run() {
        let lab = Lab::with(SOUND);
        fs::create_dir(lab.path("empty")).unwrap();
        for folder in ["empty", "nowhere"] {
            lab.resume(folder).fail(2, &["is not a run folder: it has no experiment.toml", "`headway runs list`"]);
            lab.headway(&["runs", "show", folder]).fail(2, &["is not a run folder: it has no run.json"]);
        }
        lab.headway(&["eval", "nowhere", "--device", "cpu"]).fail(3, &["checkpoint nowhere: does not exist"]);
        lab.headway(&["eval", "empty", "--device", "cpu"])
            .fail(3, &["checkpoint empty: holds no whole checkpoint", "with a MANIFEST"]);
        lab.headway(&["runs", "list", "nowhere"]).fail(2, &["nowhere does not exist; give a folder of runs"]);
        lab.headway(&["report", "nowhere"]).fail(2, &["cannot read nowhere: No such file"]);
        lab.headway(&["report", "nowhere", "empty"]).fail(2, &["nowhere does not exist"]);
        let finetune = ["finetune", "experiment.toml", "--out", "new", "--from"];
        lab.headway(&[&finetune[..], &["empty"]].concat()).fail(3, &["checkpoint empty: holds no whole checkpoint"]);
        assert!(!lab.path("new").exists());
    }

    #[test]
    fn two_processes_on_one_run() {
        let lab = Lab::with(SOUND);
        let long = ["-s", "train.steps=100000", "-s", "train.checkpoint_every=0"];
        let mut first = lab.train("run", &long).start();
        first.wait_for(&lab.path("run/metrics.jsonl"));
        lab.resume("run").fail(2, &["run is in use by another process"]);
        lab.train("run", &[]).fail(2, &["run is not empty"]);
        first.signal("INT");
        assert_eq!(first.wait().status.code(), Some(130));
        lab.headway(&["resume", "run", "--device", "cpu", "--max-time", "0s"]).succeed();
    }

    #[test]
    fn a_folder_that_was_taken_while_it_was_waited_for() {
        let lab = Lab::with(SOUND);
        fs::create_dir(lab.path("run")).unwrap();
        let lock = fs::File::create(lab.path("run/.lock")).unwrap();
        lock.lock().unwrap();
        let second = lab.train("run", &[]).start();
        // Time to look at the folder, which is free, and to wait for the lock.
        std::thread::sleep(std::time::Duration::from_millis(400));
        lab.write("run/experiment.toml", SOUND);
        drop(lock);
        let second = second.wait();
        assert_eq!(second.status.code(), Some(2), "{second:?}");
        assert!(second.said().contains("run is not empty"), "{second:?}");
        assert!(!lab.path("run/metrics.jsonl").exists());
    }

    #[test]
    fn beyond_the_limit_of_a_files_size() {
        let lab = Lab::with(SOUND);
        // In blocks of 512 bytes: the weights are larger.
        let script =
            format!("ulimit -f 1; exec {} train experiment.toml --device cpu --out run", env!("CARGO_BIN_EXE_headway"));
        let ended = std::process::Command::new("sh").args(["-c", &script]).current_dir(lab.path("")).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains("cannot write run/") && said.contains("File too large"), "{said}");
    }

    #[test]
    fn runs_started_together_get_folders_of_their_own() {
        let lab = Lab::with(SOUND);
        let started: Vec<_> =
            (0..4).map(|_| lab.headway(&["train", "experiment.toml", "--device", "cpu"]).start()).collect();
        for process in started {
            let finished = process.wait();
            assert!(finished.status.success(), "{finished:#?}");
        }
        let mut names: Vec<_> = fs::read_dir(lab.path("runs")).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["experiment-1", "experiment-2", "experiment-3", "experiment-4"]);
    }

    #[test]
    fn records_that_cannot_be_read() {
        let lab = lab_with_killed_run();
        lab.train("sound", &[]).succeed();
        let record = lab.read("run/run.json");
        lab.write("run/run.json", &record[..record.len() / 2]);
        lab.headway(&["runs", "show", "run"]).fail(2, &["run/run.json is damaged", "Put a copy of it back"]);
        // It must not hide the others.
        let list = lab.headway(&["runs", "list", "."]).succeed();
        assert!(list.said().contains("warning: ./run/run.json is damaged"), "{list:?}");
        assert!(list.stdout.contains("./sound"), "{list:?}");
        // Everything but the record is there, and the run goes on from it.
        let said = lab.resume("run").succeed();
        let texts = ["run/run.json is damaged", "Going on from run/checkpoints/step-00000002", "run/run.json.aside-1"];
        assert!(texts.iter().all(|text| said.said().contains(text)), "{said:?}");
        assert_eq!(lab.read("run/run.json.aside-1"), record[..record.len() / 2]);
        lab.run("run").assert_same(&lab.run("sound"), "with a new record");
    }
}

mod checkpoints {
    use super::*;

    const NEWEST: &str = "run/checkpoints/step-00000002";

    #[test]
    fn one_flipped_byte_in_any_file_exits_3() {
        for (name, verbs) in [
            ("model.safetensors", &["resume", "eval", "finetune"][..]),
            ("optim.safetensors", &["resume"]),
            ("state.json", &["resume", "eval", "finetune"]),
            ("config.json", &["eval"]),
        ] {
            let lab = lab_with_killed_run();
            flip_one_byte(&lab.path(NEWEST).join(name));
            let place = format!("checkpoint {NEWEST}/{name}: does not match its digest in MANIFEST");
            for verb in verbs {
                let words = match *verb {
                    "finetune" => &["finetune", "experiment.toml", "--from", "run", "--out", "new"][..],
                    verb => &[verb, "run"],
                };
                let said = lab.headway(&[words, &["--device", "cpu"]].concat()).fail(3, &[&place]);
                if *verb == "resume" {
                    let way_out = format!("Delete {NEWEST} to go on from run/checkpoints/step-00000000");
                    assert!(said.said().contains(&way_out), "{said:?}");
                }
            }
            assert!(!lab.path("new").exists());
        }
    }

    #[test]
    fn the_way_out_of_a_damaged_checkpoint_works() {
        let lab = lab_with_killed_run();
        lab.train("straight", &[]).succeed();
        flip_one_byte(&lab.path(NEWEST).join("model.safetensors"));
        lab.resume("run").fail(3, &["Delete"]);
        fs::remove_dir_all(lab.path(NEWEST)).unwrap();
        lab.resume("run").succeed();
        lab.run("run").assert_same(&lab.run("straight"), "from the checkpoint before the damaged one");
    }

    #[test]
    fn files_cut_short() {
        let lab = lab_with_killed_run();
        for name in ["model.safetensors", "optim.safetensors", "state.json"] {
            let bytes = fs::read(lab.path(NEWEST).join(name)).unwrap();
            fs::write(lab.path(NEWEST).join(name), &bytes[..bytes.len() - 1]).unwrap();
            lab.resume("run").fail(3, &[name, "the file was cut short or changed"]);
            fs::remove_file(lab.path(NEWEST).join(name)).unwrap();
            lab.resume("run").fail(3, &[name, "No such file"]);
            fs::write(lab.path(NEWEST).join(name), bytes).unwrap();
        }
        lab.resume("run").succeed();
    }

    #[test]
    fn a_manifest_that_is_not_of_its_folder() {
        let lab = lab_with_killed_run();
        let whole = lab.read(&format!("{NEWEST}/MANIFEST"));
        let lines: Vec<&str> = whole.lines().collect();
        for (manifest, text) in [
            (lines[..3].join("\n"), "does not list state.json, which lies beside it"),
            (lines[..4].join("\n"), "does not list metrics.json, which lies beside it"),
            (whole[..whole.len() - 50].to_owned(), "line 5 is no sha256 and name"),
            (whole.replace(&lines[1][..20], ""), "line 2 is no sha256 and name"),
            (format!("{whole}{}\n", lines[0]), "line 6 is no sha256 and name, or names a file again"),
        ] {
            lab.write(&format!("{NEWEST}/MANIFEST"), manifest);
            lab.resume("run").fail(3, &[&format!("checkpoint {NEWEST}/MANIFEST: "), text]);
            lab.headway(&["eval", NEWEST, "--device", "cpu"]).fail(3, &[text]);
        }
        lab.write(&format!("{NEWEST}/MANIFEST"), whole);
        // What is no part of a checkpoint may lie in its folder.
        lab.write(&format!("{NEWEST}/notes.txt"), "");
        lab.resume("run").succeed();
    }

    #[test]
    fn files_that_match_the_manifest_and_still_make_no_sense() {
        let cut = |bytes: Vec<u8>| bytes[..bytes.len() - 4].to_vec();
        for (name, text) in [
            ("model.safetensors", "not a readable safetensors file"),
            ("optim.safetensors", "not a readable safetensors file"),
            ("state.json", "state.json: EOF"),
        ] {
            let lab = lab_with_killed_run();
            forge(&lab.path(NEWEST), name, cut);
            lab.resume("run").fail(3, &[&format!("{NEWEST}/{name}"), text]);
        }
        let lab = lab_with_killed_run();
        forge(&lab.path(NEWEST), "config.json", |bytes| {
            String::from_utf8(bytes).unwrap().replace("\"format\": 1", "\"format\": 2").into_bytes()
        });
        lab.headway(&["eval", "run", "--device", "cpu"])
            .fail(3, &["config.json has format 2, this version reads format 1"]);
        // Moments of another model.
        let lab = lab_with_killed_run();
        lab.train("wide", &["-s", "model.d_model=16"]).succeed();
        let wide = fs::read(lab.path("wide/checkpoints/step-00000004/optim.safetensors")).unwrap();
        forge(&lab.path(NEWEST), "optim.safetensors", |_| wide);
        lab.resume("run").fail(3, &["the optimiser's blocks.0.attention", "does not fit the weights"]);
    }

    #[test]
    fn without_its_manifest_a_checkpoint_does_not_count() {
        let lab = lab_with_killed_run();
        lab.train("straight", &[]).succeed();
        fs::remove_file(lab.path(NEWEST).join("MANIFEST")).unwrap();
        lab.headway(&["eval", NEWEST, "--device", "cpu"]).fail(3, &["holds no whole checkpoint", "with a MANIFEST"]);
        let eval = lab.headway(&["eval", "run", "--device", "cpu", "--json"]).succeed().json();
        assert_eq!(eval["step"], 0);
        let said = lab.resume("run").succeed();
        let text = format!("{NEWEST} has no MANIFEST and is passed over; run/checkpoints/step-00000000 is taken");
        assert!(said.said().contains(&text), "{said:?}");
        fs::remove_dir_all(lab.path(&format!("{NEWEST}.aside-1"))).unwrap();
        lab.run("run").assert_same(&lab.run("straight"), "from the checkpoint before");
    }

    #[test]
    fn weights_of_another_architecture_exit_3_with_a_line_per_tensor() {
        let lab = lab_with_run();
        let texts = [
            "the weights do not fit the model",
            "head.weight [1, 16] [1, 8] model.transformer.d_model",
            "blocks.1.attention.query.weight a parameter nothing model.transformer.n_layers",
        ];
        let wide = ["-s", "model.d_model=16", "-s", "model.n_layers=2"];
        lab.headway(&[&["eval", "run", "--device", "cpu"], &wide[..]].concat()).fail(3, &texts);
        let finetune = ["finetune", "experiment.toml", "--from", "run", "--device", "cpu", "--out", "new"];
        let hint = "sizes come from [model] and [task]; --allow-partial takes what fits";
        lab.headway(&[&finetune[..], &wide].concat()).fail(3, &[&texts[..], &[hint]].concat());
        lab.headway(&[&finetune[..], &wide, &["--dry-run"]].concat()).fail(3, &texts);
        let deeper = ["-s", "model.n_layers=2"];
        lab.headway(&[&["eval", "wide", "--device", "cpu"], &deeper[..]].concat()).fail(3, &["does not exist"]);
        lab.train("deep", &deeper).succeed();
        let shallow = ["eval", "deep", "--device", "cpu", "-s", "model.n_layers=1"];
        lab.headway(&shallow).fail(3, &["blocks.1.attention.query.weight nothing a tensor model.transformer.n_layers"]);
        // Not one tensor in common is refused even where parts would do.
        lab.write(
            "paper.toml",
            SOUND
                .replace("[task.icl_linear]\nd = 3\nn_points = 4", "[task.truncated_linear]\nseq_len = 7\nd_in = 3")
                .replace("model.transformer", "model.paper_one_layer")
                .replace("n_layers = 1", ""),
        );
        let paper = ["finetune", "paper.toml", "--from", "run", "--device", "cpu", "--out", "new", "--allow-partial"];
        lab.headway(&paper).fail(3, &["none of its tensors fits the model"]);
        assert!(!lab.path("new").exists());
    }

    #[test]
    fn a_config_that_changed_after_the_run_began() {
        for (lab, newest) in [(lab_with_killed_run(), 2), (lab_with_run(), 4)] {
            let text = lab.read("run/experiment.toml");
            lab.write("run/experiment.toml", text.replace("steps = 4", "steps = 8"));
            let texts = [
                &format!("checkpoint run/checkpoints/step-{newest:08}: belongs to another config"),
                "Undo the change, or start a new run from these weights with `headway finetune`",
            ];
            lab.resume("run").fail(3, &texts);
            // A comment changes nothing.
            lab.write("run/experiment.toml", format!("# mine\n{text}"));
            lab.resume("run").succeed();
        }
        let lab = lab_with_killed_run();
        let text = lab.read("run/experiment.toml").replace("steps = 4", "stesp = 4");
        lab.write("run/experiment.toml", text);
        lab.resume("run").fail(2, &["train.stesp: no such key", "[run/experiment.toml:", "did you mean `steps`?"]);
    }
}

mod names {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    use super::*;

    #[test]
    fn that_are_missing_come_with_the_nearest_one() {
        let lab = lab_with_run();
        fs::create_dir(lab.path("experiments")).unwrap();
        lab.write("experiments/quickstart.toml", SOUND);
        for (words, texts) in [
            (
                &["check", "experimnet.toml"][..],
                &["experimnet.toml: No such file", "did you mean `experiment.toml`?"][..],
            ),
            (&["check", "experiment"], &["did you mean `experiment.toml`?"]),
            (&["check", "experiment/quickstrat.toml"], &["did you mean `experiments/quickstart.toml`?"]),
            (&["check", "quickstart.toml"], &["did you mean `experiments/quickstart.toml`?"]),
            (&["sweep", "experimnets"], &["did you mean `experiments`?"]),
            (&["train", "run"], &["it is the folder of a run; `headway resume run` continues it"]),
        ] {
            lab.headway(words).fail(2, texts);
        }
        lab.headway(&["eval", "rum"]).fail(3, &["checkpoint rum: does not exist; did you mean `run`?"]);
        lab.headway(&["runs", "show", "runn"]).fail(2, &["did you mean `run`?"]);
    }

    /// Of a folder whose name is no text: it is shown, never turned into a panic, and hints quote it for the shell.
    #[test]
    fn that_are_no_text() {
        let lab = Lab::with(SOUND);
        let name = OsStr::from_bytes(b"run\xff");
        let train = ["train", "experiment.toml", "--device", "cpu", "--max-time", "0s", "--out"];
        let said = lab.headway(&train).word(name).succeed().stdout;
        assert!(said.contains(r"headway resume $'run\xff'"), "{said}");
        lab.headway(&["resume", "--json"]).word(name).succeed().json();
        for words in [
            &["report"][..],
            &["eval", "--json"],
            &["card"],
            &["runs", "show"],
            &["runs", "list", "--json"],
            &["analyze", "rank", "--json"],
            &["export", "--format", "npz", "--out", "x.npz"],
            &["finetune", "experiment.toml", "--out", "tuned", "--from"],
            &["merge", "--out", "merged"],
            &["check"],
            &["show"],
            &["sweep"],
            &["import"],
            &["train", "experiment.toml", "--out", "new", "--init-from"],
            &["train", "experiment.toml", "-s"],
        ] {
            let finished = lab.headway(words).word(name).run();
            let code = finished.status.code();
            assert!(matches!(code, Some(0 | 2 | 3)), "{finished:#?}");
            assert_eq!(code == Some(0), finished.stderr.find("error:").is_none(), "{finished:#?}");
        }
        lab.headway(&["sweep", "status"]).word(name).fail(2, &["neither sweep.toml"]);
    }

    #[test]
    fn that_a_terminal_would_obey_are_shown_instead() {
        let lab = Lab::with(SOUND);
        let name = "\x1b[31mred\u{9b}2J\rrun";
        lab.train(name, &[]).succeed();
        lab.write("\x1b[2J.toml", "\x1b[31m = 1\n");
        let set = format!("{name}=1");
        for words in [
            &["train", "experiment.toml", "--out", name][..],
            &["eval", name, "--json"],
            &["card", name],
            &["runs", "list", "."],
            &["check", "\x1b[2J.toml"],
            &["check", "experiment.toml", "-s", &set],
            &["check", "experiment.toml", &set],
            &[name],
        ] {
            let finished = lab.headway(words).run();
            let all = finished.stdout + &finished.stderr;
            let obeyed = all.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t'));
            assert_eq!(obeyed, None, "{words:?}: {all:?}");
        }
        let eval = lab.headway(&["eval", name, "--json"]).succeed().json();
        assert_eq!(eval["run_dir"], name, "it is read back from JSON as it is");
    }

    /// What a card says can be pasted.
    #[test]
    fn that_mean_something_to_a_shell_or_a_page() {
        let lab = Lab::with(SOUND);
        let name = "it's <b>`touch x`\" $HOME";
        let said = lab.train(name, &["--max-time", "0s"]).succeed().stdout;
        assert!(said.contains(r#"headway resume 'it'\''s <b>`touch x`" $HOME'"#), "{said}");
        let card = lab.headway(&["card", name]).succeed().stdout;
        let line = card.lines().find(|line| line.starts_with("headway eval ")).unwrap();
        let line = line.replacen("headway", env!("CARGO_BIN_EXE_headway"), 1);
        let pasted =
            std::process::Command::new("bash").arg("-c").arg(&line).current_dir(lab.path("")).output().unwrap();
        assert!(pasted.status.success() && !lab.path("x").exists(), "{line}: {pasted:?}");
        if harness::there_is("ast") {
            let literal = card.split_once("load_file(").unwrap().1.split_once(")  #").unwrap().0;
            let output = harness::python().args(["-c", &format!("print({literal})")]).output().unwrap();
            let read = String::from_utf8(output.stdout).unwrap();
            assert!(read.starts_with(&format!("{name}/checkpoints/step-")), "{literal}: {read}");
        }
        // Outside of blocks of code it stands in spans of code alone.
        let mut in_block = false;
        for line in card.lines() {
            in_block ^= line.starts_with("```");
            assert!(in_block || !line.contains("<b>") || line.contains("``"), "{line}");
        }
    }
}

mod beside_a_run_in_progress {
    use super::*;

    #[test]
    fn every_verb_works() {
        let lab = Lab::with(SOUND);
        let lora = ["-s", "finetune.lora.rank=2"];
        lab.train("base", &[]).succeed();
        // Each checkpoint pushes out the one before.
        let endless = ["-s", "train.steps=100000000", "-s", "train.checkpoint_every=1", "-s", "train.keep_last=1"];
        let tune = ["finetune", "experiment.toml", "--from", "base", "--device", "cpu", "--out", "run"];
        let mut process = lab.headway(&[&tune[..], &lora, &endless].concat()).start();
        process.wait_for(&lab.path("run/metrics.jsonl"));
        let short = ["finetune", "experiment.toml", "--from", "run", "--device", "cpu", "--out"];
        for words in [
            &["report", "run"][..],
            &["report", "run", "base", "--out", "both"],
            &["eval", "run", "--device", "cpu"],
            &["runs", "list", "."],
            &["runs", "show", "run"],
            &["card", "run", "--device", "cpu"],
            &["export", "run", "--format", "npz", "--out", "x.npz"],
            &["analyze", "rank", "run"],
            &["merge", "run", "--out", "merged"],
            &[&short[..], &["tuned"]].concat(),
        ] {
            lab.headway(words).succeed();
        }
        // Whatever is looked at is not deleted before it was read.
        (0..20).for_each(|_| drop(lab.headway(&["eval", "run", "--device", "cpu"]).succeed()));
        assert!(lab.read("run/report.html").contains("One run, seed 0"));
        lab.resume("run").fail(2, &["run is in use by another process"]);
        process.signal("TERM");
        assert_eq!(process.wait().status.code(), Some(143));
    }
}

mod machine {
    use std::{
        os::unix::fs::PermissionsExt,
        process::{Command, Stdio},
    };

    use super::*;

    /// A user who may start no second thread.
    #[test]
    fn without_threads() {
        let lab = lab_with_run();
        // The limit binds nobody who is root, and everybody must be let in.
        fs::copy(env!("CARGO_BIN_EXE_headway"), lab.path("headway")).unwrap();
        for path in ["", "headway", "run"] {
            fs::set_permissions(lab.path(path), fs::Permissions::from_mode(0o777)).unwrap();
        }
        let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        let other: &[&str] =
            if is_root { &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] } else { &["env"] };
        for words in
            [&["eval", "run", "--device", "cpu"][..], &["train", "experiment.toml", "--device", "cpu", "--out", "new"]]
        {
            let output = Command::new(other[0])
                .args(&other[1..])
                .args(["prlimit", "--nproc=1:1", "./headway"])
                .args(words)
                .current_dir(lab.path(""))
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            assert!(said.starts_with("error: the system gives no more threads (") && !said.contains("fault"), "{said}");
        }
    }
}

mod training {
    use super::*;

    fn record(lab: &Lab) -> Value {
        serde_json::from_str(&lab.read("run/run.json")).unwrap()
    }

    #[test]
    fn divergence_exits_5_and_keeps_the_last_good_checkpoint() {
        let huge =
            ["-s", "optimizer={sgd={learning_rate=1e30}}", "-s", "train.steps=10", "-s", "train.checkpoint_every=1"];
        for log_every in ["1", "3"] {
            let lab = Lab::with(SOUND);
            let log = format!("train.log_every={log_every}");
            let said = lab.train("run", &[&huge[..], &["-s", &log]].concat()).fail(
                5,
                &[
                    "diverged at step",
                    "is not finite; the last good state is run/checkpoints/step-",
                    "smaller learning rate",
                ],
            );
            let (record, saved) = (record(&lab), whole_checkpoints(&lab.path("run")));
            assert_eq!(record["status"], "diverged");
            let newest = *saved.last().unwrap();
            assert!(said.said().contains(&format!("run/checkpoints/step-{newest:08}")), "{said:?}");
            assert!(record["step"].as_u64() > Some(newest), "{record}");
            let weights = fs::read(lab.path(&format!("run/checkpoints/step-{newest:08}/model.safetensors"))).unwrap();
            for (name, tensor) in SafeTensors::deserialize(&weights).unwrap().iter() {
                let values = tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
                assert!(values.into_iter().all(f32::is_finite), "{name} in the checkpoint that was kept");
            }
            // Resuming meets the same end.
            lab.resume("run").fail(5, &["diverged at step"]);
            assert_eq!(whole_checkpoints(&lab.path("run")), saved);
        }
    }

    #[test]
    fn numbers_that_overflow_before_any_update_are_not_blamed_on_the_learning_rate() {
        let text = r#"[task.function]
seq_len = 2
d_in = 3
outputs = ["x1*x2/1e12"]
domain = { cube = { low = -1e6, high = 1e6 } }
[data.fresh]
validation = 0
test = 4
[model.transformer]
d_model = 8
n_layers = 1
n_heads = 2
causal = false
norm = "none"
[optimizer.sgd]
learning_rate = 1e-30
[train]
steps = 2
batch_size = 4
log_every = 1
"#;
        let lab = Lab::with(text);
        let way_out = ["diverged at step 1", "f16 ends at 65504", "set train.attention_precision to bf16 or f32"];
        let said = lab.train("f16", &["-s", "train.attention_precision=f16"]).fail(5, &way_out);
        assert!(!said.said().contains("learning rate"), "{said:?}");
        for precision in ["bf16", "f32"] {
            let set = format!("train.attention_precision={precision}");
            lab.train(precision, &["-s", &set]).succeed();
        }
        let said = lab.train("large", &["-s", "task.outputs=[\"x1*1e20\"]"]).fail(5, &["No update was made yet"]);
        assert!(!said.said().contains("learning rate"), "{said:?}");
    }

    #[test]
    fn divergence_names_the_first_bad_tensor_of_the_model() {
        let lab = Lab::with(SOUND);
        // Only the head moves: it alone can go bad.
        lab.train("base", &[]).succeed();
        let words = ["finetune", "experiment.toml", "--from", "base", "--out", "run", "--device", "cpu"];
        let rate = ["-s", "optimizer={sgd={learning_rate=1e38}}", "-s", "train.steps=10"];
        let freeze = ["-s", r#"finetune.freeze=["embed.*", "blocks.*", "position.*", "final_norm.*"]"#];
        let finetune = lab.headway(&[&words[..], &rate, &freeze].concat());
        finetune.fail(5, &["head.weight is not finite", "the last good state is run/checkpoints/step-00000000"]);
    }

    #[test]
    fn freezing_what_is_not_there() {
        let lab = lab_with_run();
        let words = ["finetune", "experiment.toml", "--from", "run", "--out", "new", "--device", "cpu", "-s"];
        for (freeze, texts) in [
            (
                r#"finetune.freeze=["blocks.0.atention.query.weight"]"#,
                &[
                    "`blocks.0.atention.query.weight` matches no parameter",
                    "nearest names are blocks.0.attention.query.weight",
                ][..],
            ),
            (r#"finetune.freeze=["head.weight", "blocks.7.*"]"#, &["`blocks.7.*` matches no parameter"]),
            (r#"finetune.freeze=["embed"]"#, &["`embed` matches no parameter", "embed.bias"]),
            (r#"finetune.freeze=["*"]"#, &["finetune.freeze leaves nothing to train"]),
        ] {
            lab.headway(&[&words[..], &[freeze]].concat()).fail(2, texts);
            lab.headway(&[&words[..], &[freeze, "--dry-run"]].concat()).fail(2, texts);
        }
        assert!(!lab.path("new").exists());
    }

    #[test]
    fn training_from_scratch_with_something_frozen() {
        let lab = Lab::with(&format!("{SOUND}[finetune]\nfreeze = [\"head.*\"]\n"));
        let texts = ["finetune.freeze is set, but `train` starts from random weights; use `headway finetune`"];
        lab.train("run", &[]).fail(2, &texts);
        lab.train("run", &["--dry-run"]).fail(2, &texts);
        assert!(!lab.path("run").exists());
    }
}
