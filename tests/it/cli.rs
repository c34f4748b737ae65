//! Every verb from end to end on tiny configs, as used by a person or a script.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::{Command, Stdio},
};

use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::harness::{Finished, Lab, whole_checkpoints};

/// Has slices in the results, and a best checkpoint that is not the newest.
pub const REGRESSION: &str = r"[task.icl_linear]
d = 3
n_points = 4

[data.fresh]
validation = 8
test = 6

[model.transformer]
d_model = 8
n_layers = 2
n_heads = 4

[optimizer.adam]
learning_rate = 0.5

[train]
steps = 6
batch_size = 4
log_every = 2
eval_every = 1
checkpoint_every = 3
";

const COPY: &str = r"[task.copy]
vocab = 5
n_data = 3

[data.fixed]
train = 8
test = 4

[model.transformer]
d_model = 8
n_layers = 1
n_heads = 2

[train]
steps = 3
batch_size = 4
log_every = 1
";

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap_or_else(|| panic!("no object: {value}")).keys().map(String::as_str).collect()
}

fn record(lab: &Lab, run: &str) -> Value {
    serde_json::from_str(&lab.read(&format!("{run}/run.json"))).unwrap()
}

/// Tensors of a checkpoint by name, as bytes.
pub fn tensors(lab: &Lab, checkpoint: &str) -> BTreeMap<String, Vec<u8>> {
    let bytes = fs::read(lab.path(checkpoint).join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter().map(|(name, tensor)| (name.to_owned(), tensor.data().to_vec())).collect()
}

mod train {
    use super::*;

    #[test]
    fn tells_progress_on_standard_error_and_results_on_standard_output() {
        let lab = Lab::with(REGRESSION);
        let Finished { stdout, stderr, .. } = lab.train("run", &[]).succeed();
        for text in ["step       2/6  loss ", "step       6/6  loss ", "step       6  validation: loss "] {
            assert!(stderr.contains(text), "{stderr}");
        }
        let rows: Vec<&str> = stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
        let order = [
            "network",
            "least_squares",
            "ridge",
            "nearest_neighbours",
            "averaging",
            "gradient_descent",
            // Who wins.
            "least_squares",
            "6",
            "report:",
        ];
        let found: Vec<&str> = rows.into_iter().filter(|word| order.contains(word)).collect();
        assert_eq!(found, order, "{stdout}");
        assert!(stdout.contains("report: run/report.html"), "{stdout}");
        for file in [
            "experiment.toml",
            "run.json",
            "metrics.jsonl",
            "report.html",
            "figures/learning.svg",
            "figures/slices.svg",
            "figures/patterns.svg",
        ] {
            assert!(fs::metadata(lab.path("run").join(file)).unwrap().len() > 0, "{file}");
        }
    }

    #[test]
    fn json_is_one_document_with_the_agreed_keys() {
        let lab = Lab::with(REGRESSION);
        let summary = lab.train("run", &["--json"]).succeed().json();
        // A remark, since the best checkpoint is not the last.
        let agreed = ["baselines", "metrics", "remarks", "run_dir", "seconds", "status", "step"];
        assert_eq!(keys(&summary), BTreeSet::from(agreed));
        assert_eq!(
            (&summary["run_dir"], &summary["status"], &summary["step"]),
            (&json!("run"), &json!("complete"), &json!(6))
        );
        assert!(summary["seconds"].as_f64() > Some(0.0));
        let metrics = [
            "test/loss",
            "test/mse",
            "test/mse[points=0]",
            "test/mse[points=1]",
            "test/mse[points=2]",
            "test/mse[points=3]",
        ];
        assert_eq!(keys(&summary["metrics"]), BTreeSet::from(metrics));
        let names: Vec<&str> =
            summary["baselines"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["least_squares", "ridge", "nearest_neighbours", "averaging", "gradient_descent", "zero"]);
        for row in summary["baselines"].as_array().unwrap() {
            assert_eq!(keys(&row["metrics"]), keys(&summary["metrics"]), "{row}");
        }
        // Least squares knows everything once it has seen d examples.
        assert!(summary["baselines"][0]["metrics"]["test/mse[points=3]"].as_f64() < Some(1e-6));
    }

    #[test]
    fn writes_one_line_of_metrics_per_logged_step() {
        let lab = Lab::with(REGRESSION);
        lab.train("run", &[]).succeed();
        let lines: Vec<Value> =
            lab.read("run/metrics.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let steps: Vec<u64> = lines.iter().map(|line| line["step"].as_u64().unwrap()).collect();
        assert_eq!(steps, [1, 2, 3, 4, 5, 6]);
        for line in lines {
            let logged = line["step"].as_u64().unwrap() % 2 == 0;
            assert_eq!(line.get("train/loss").is_some(), logged, "{line}");
            assert_eq!(line.get("learning_rate").is_some(), logged, "{line}");
            assert!(line["validation/loss"].is_f64(), "{line}");
        }
    }

    #[test]
    fn of_the_checkpoints_those_stay_that_are_to_be_kept() {
        let lab = Lab::with(REGRESSION);
        let kept = |run: &str, keep: &str| {
            lab.train(run, &["-s", &format!("train.keep_last={keep}"), "-s", "train.checkpoint_every=1"]).succeed();
            whole_checkpoints(&lab.path(run))
        };
        assert_eq!(kept("all", "all"), [0, 1, 2, 3, 4, 5, 6]);
        assert!(lab.read("all/experiment.toml").contains("keep_last = \"all\""));
        let best = lab.headway(&["eval", "all", "--json"]).succeed().json();
        // Training shows scores of its last step, and says that others take another.
        let said = lab.train("again", &[]).succeed().stdout;
        let other = format!(
            "scores of the last step, 6; `eval`, `predict` and `analyze` take the best by validation, step {}.",
            best["step"]
        );
        assert!(said.contains(&other), "{said}");
        let [step] = kept("best", "0")[..] else { panic!("not the best alone") };
        assert!(step < 6, "the best of this run is not its newest");
        assert_eq!(lab.headway(&["eval", "best", "--json"]).succeed().json()["metrics"], best["metrics"]);
        // What is complete stays as it is.
        lab.resume("best").succeed();
        assert_eq!(whole_checkpoints(&lab.path("best")), [step]);
        // Without validation there is no best.
        lab.train("last", &["-s", "train.keep_last=0", "-s", "train.eval_every=0"]).succeed();
        assert_eq!(whole_checkpoints(&lab.path("last")), [6]);
    }

    #[test]
    fn event_files_hold_the_lines_of_metrics_of_their_session() {
        let lab = Lab::with(REGRESSION);
        let set = ["-s", "train.tensorboard=true"];
        lab.train("straight", &[]).succeed();
        lab.train("run", &set).fault("step:4").be_killed();
        let events = |from: u64| {
            let file = fs::read(lab.path(&format!("run/events.out.tfevents.{from:010}.headway"))).unwrap();
            let (mut rest, mut count) = (&file[..], 0);
            while let Some((length, after)) = rest.split_first_chunk() {
                // Checksums of the length and of what it is the length of.
                rest = &after[4 + u64::from_le_bytes(*length) as usize + 4..];
                count += 1;
            }
            assert!(rest.is_empty(), "a record is cut off");
            count
        };
        let saved = *whole_checkpoints(&lab.path("run")).last().unwrap();
        lab.resume("run").succeed();
        // Version and start, then a line for each step, as REGRESSION validates after each.
        assert_eq!((events(0), events(saved)), (2 + 4, 2 + 6 - saved));
        assert_eq!(lab.read("run/metrics.jsonl"), lab.read("straight/metrics.jsonl"));
        let mut files =
            fs::read_dir(lab.path("straight")).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        assert!(files.all(|name| !name.contains("tfevents")));
    }

    #[test]
    fn numbers_runs_after_the_experiment() {
        let lab = Lab::with(COPY);
        let train = |words: &[&str]| lab.headway(&[&["train", "experiment.toml", "--device", "cpu"], words].concat());
        assert!(train(&["--dry-run"]).succeed().stdout.contains("would write to runs/experiment-1"));
        assert!(!lab.path("runs").exists());
        assert_eq!(train(&["--json"]).succeed().json()["run_dir"], "runs/experiment-1");
        assert!(train(&["--dry-run"]).succeed().stdout.contains("would write to runs/experiment-2"));
        assert_eq!(train(&["--json"]).succeed().json()["run_dir"], "runs/experiment-2");
        fs::remove_dir_all(lab.path("runs/experiment-1")).unwrap();
        assert_eq!(train(&["--json"]).succeed().json()["run_dir"], "runs/experiment-1");
    }

    #[test]
    fn a_dry_run_writes_nothing() {
        let lab = Lab::with(COPY);
        lab.train("base", &[]).succeed();
        let before: BTreeSet<_> = fs::read_dir(lab.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let said = lab.train("run", &["--dry-run"]).succeed().stdout;
        assert!(said.contains("experiment.toml: sound") && said.contains("would write to run"), "{said}");
        let document = lab.train("run", &["--dry-run", "--json"]).succeed().json();
        assert_eq!(document["ok"], true);
        let finetune =
            ["finetune", "experiment.toml", "--from", "base", "--out", "run", "--device", "cpu", "--dry-run"];
        assert!(lab.headway(&finetune).succeed().stdout.contains("would write to run"));
        let after: BTreeSet<_> = fs::read_dir(lab.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(after, before);
    }

    #[test]
    fn the_seed_decides_weights_and_data() {
        let lab = Lab::with(COPY);
        let weights = |run: &str, words: &[&str]| {
            lab.train(run, words).succeed();
            (
                tensors(&lab, &format!("{run}/checkpoints/step-00000000")),
                tensors(&lab, &format!("{run}/checkpoints/step-00000003")),
            )
        };
        let by_option = weights("a", &["--seed", "7"]);
        assert_eq!(weights("b", &["-s", "seed=7"]), by_option);
        assert_eq!(weights("c", &["-s", "seed=3", "--seed", "7"]), by_option);
        let other = weights("d", &["--seed", "8"]);
        assert!(other.0 != by_option.0 && other.1 != by_option.1);
        let [seven, eight] = ["a", "d"].map(|run| record(&lab, run)["run_id"].as_str().unwrap().to_owned());
        assert!(seven.ends_with("-7") && eight.ends_with("-8"));
        assert_eq!(seven.split_once('-').unwrap().0, eight.split_once('-').unwrap().0, "the same experiment");
    }

    #[test]
    fn overrides_enter_the_resolved_config_which_trains_the_same_again() {
        let lab = Lab::with(COPY);
        // The variant's name may be left out, even for a table that is not in the file.
        let set = ["-s", "model.n_heads=4", "-s", "optimizer.learning_rate=0.01", "-s", "data.test=3", "--seed", "5"];
        lab.train("run", &set).succeed();
        let resolved = lab.read("run/experiment.toml");
        for line in
            ["seed = 5", "n_heads = 4", "learning_rate = 0.01", "test = 3", "[model.transformer]", "[optimizer.adam]"]
        {
            assert!(resolved.contains(line), "{line}: {resolved}");
        }
        lab.headway(&["train", "run/experiment.toml", "--out", "again", "--device", "cpu"]).succeed();
        lab.run("again").assert_same(&lab.run("run"), "from the resolved config");
    }

    #[test]
    fn a_bare_name_is_the_variant_with_its_defaults() {
        let lab = Lab::with(REGRESSION);
        lab.write("bare.toml", "task = \"copy\"\nmodel = \"transformer\"\nschedule = \"linear\"\n");
        let show = |words: &[&str]| lab.headway(&[&["show"], words].concat()).succeed().stdout;
        let values = |words: &[&str]| -> Vec<String> {
            show(words).lines().map(|line| line.split("  #").next().unwrap().trim().to_owned()).collect()
        };
        for (bare, whole) in [
            ("schedule=linear", "schedule={linear={}}"),
            ("optimizer=sgd", "optimizer={sgd={}}"),
            ("task=copy", "task={copy={}}"),
            ("finetune=full", "finetune=full"),
        ] {
            assert_eq!(values(&["experiment.toml", "-s", bare]), values(&["experiment.toml", "-s", whole]));
        }
        let more = values(&[
            "bare.toml",
            "-s",
            "schedule.final_fraction=0.5",
            "-s",
            "optimizer=sgd",
            "-s",
            "optimizer.momentum=0.5",
        ]);
        for line in ["schedule.linear.final_fraction = 0.5", "optimizer.sgd.momentum = 0.5", "task.copy.vocab = 16"] {
            assert!(more.iter().any(|shown| shown.starts_with(line.split(" = ").next().unwrap())), "{line}: {more:?}");
        }
    }

    #[test]
    fn a_value_can_be_unset() {
        let lab = Lab::with(&REGRESSION.replace("[train]", "[train]\nclip_norm = 0.5"));
        let show = |words: &[&str]| lab.headway(&[&["show", "experiment.toml"], words].concat()).succeed().stdout;
        assert!(show(&[]).contains("train.clip_norm = 0.5"));
        let unset =
            show(&["--unset", "train.clip_norm", "--unset", "optimizer.learning_rate", "--unset", "train.steps"]);
        assert!(!unset.contains("clip_norm"), "{unset}");
        for (key, value) in [("optimizer.adam.learning_rate", "0.001"), ("train.steps", "1000")] {
            let line = unset.lines().find(|line| line.starts_with(key)).unwrap();
            assert!(line.contains(value) && line.ends_with("# default"), "{line}");
        }
        lab.write(
            "sweep.toml",
            "experiment = \"experiment.toml\"\nset.train.keep_last = 1\n[grid]\nmodel.n_heads = [1, 2]\n",
        );
        let words =
            ["sweep", "plan", "sweep.toml", "--json", "--unset", "train.clip_norm", "--unset", "train.keep_last"];
        let plan = lab.headway(&words).succeed().json();
        let train = &plan[1]["experiment"]["train"];
        assert_eq!((train.get("clip_norm"), &train["keep_last"]), (None, &json!(2)), "{train}");
        // For a checkpoint, whose experiment has every key, it means the default.
        lab.train("run", &["-s", "train.steps=1", "-s", "data.test=3"]).succeed();
        let eval = |words: &[&str]| lab.headway(&[&["eval", "run", "--json"], words].concat()).succeed().json();
        let whole = eval(&["-s", "data.test=256"])["metrics"].clone();
        assert_eq!(eval(&["--unset", "data.test"])["metrics"], whole);
        assert_ne!(eval(&[])["metrics"], whole);
        for verb in [&["eval"][..], &["analyze", "rank"]] {
            let words = [verb, &["run", "--unset", "train.clip_norms"]].concat();
            lab.headway(&words).fail(2, &["--unset train.clip_norms", "does not set it"]);
        }
        let nothing = ["sweep", "plan", "sweep.toml", "--unset", "train.early_stopping"];
        lab.headway(&nothing).fail(2, &["--unset train.early_stopping: nothing in sweep.toml sets it"]);
    }

    /// However an update of 16 sequences is divided, it is the same update; sequences have 2 to 4 scored positions
    /// each.
    #[test]
    fn micro_batches_weigh_as_many_as_they_have_scored_positions() {
        let lab = Lab::with(include_str!("../fixtures/cases/mqar_fixed.toml"));
        let mut first: Option<BTreeMap<String, Vec<f32>>> = None;
        for (batch_size, accumulate) in [(16, 1), (4, 4), (1, 16)] {
            let run = format!("by-{batch_size}");
            let sizes = [format!("train.batch_size={batch_size}"), format!("train.accumulate={accumulate}")];
            let words = ["-s", &sizes[0], "-s", &sizes[1], "-s", "train.steps=1", "-s", "train.log_every=1"];
            lab.train(&run, &words).succeed();
            let metrics = lab.read(&format!("{run}/metrics.jsonl"));
            let line: Value = serde_json::from_str(metrics.lines().next().unwrap()).unwrap();
            let loss = line["train/loss"].as_f64().unwrap();
            assert!((loss - 4.37552).abs() < 5e-6, "{run}: {loss}");
            // After one step of gradient descent, weights are equal if gradients are.
            let floats = |bytes: &Vec<u8>| bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            let weights: BTreeMap<String, Vec<f32>> = tensors(&lab, &format!("{run}/checkpoints/step-00000001"))
                .iter()
                .map(|(name, bytes)| (name.clone(), floats(bytes)))
                .collect();
            let whole = first.get_or_insert_with(|| weights.clone());
            for (name, values) in &weights {
                let apart = values.iter().zip(&whole[name]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(apart < 2e-6, "{run}: {name} is {apart} off");
            }
        }
    }

    #[test]
    fn records_where_a_run_came_from() {
        let lab = Lab::with(COPY);
        lab.train("run", &[]).threads(1).succeed();
        let record = record(&lab, "run");
        assert_eq!(record["verb"], "train");
        assert_eq!(record["command"], "headway train experiment.toml --device cpu --out run");
        assert_eq!(record["threads"], 1);
        assert_eq!(record["frozen_parameters"], 0);
        assert!(record.get("lineage").is_none());
        assert!(record["device"].as_str().unwrap().starts_with("cpu (burn-flex"));
        assert!(record["version"].as_str().unwrap().starts_with(env!("CARGO_PKG_VERSION")));
        assert!(record["started"].as_u64() > Some(1_600_000_000));
        assert_eq!((&record["status"], &record["step"]), (&json!("complete"), &json!(3)));
        let names: Vec<&Value> = record["results"].as_array().unwrap().iter().map(|row| &row["name"]).collect();
        assert_eq!(names, ["network", "chance"]);
        // As counted by the budget, and as stored.
        let checked = lab.headway(&["check", "experiment.toml", "--device", "cpu", "--json"]).succeed().json();
        assert_eq!(record["parameters"], checked["parameters"]);
        let stored: usize = tensors(&lab, "run/checkpoints/step-00000003").values().map(|bytes| bytes.len() / 4).sum();
        assert_eq!(record["parameters"], stored);
    }

    #[test]
    fn the_report_is_one_whole_page_that_asks_nobody_for_anything() {
        for experiment in [REGRESSION, COPY] {
            let lab = Lab::with(experiment);
            lab.train("run", &["--seed", "4"]).succeed();
            let page = lab.read("run/report.html");
            assert!(page.starts_with("<!DOCTYPE html>"), "{page}");
            assert_eq!(open_elements(&page), Vec::<String>::new());
            assert!(page.contains("<svg") && page.contains("</svg>"));
            let addresses: BTreeSet<&str> = page
                .match_indices("http")
                .map(|(start, _)| page[start..].split(['"', '<', ' ', ';']).next().unwrap())
                .collect();
            assert!(
                addresses.is_subset(&BTreeSet::from(["http://www.w3.org/2000/svg", "http-equiv="])),
                "{addresses:?}"
            );
            // One script, whose digest the policy names, searches and sorts tables.
            assert_eq!((page.matches("<script").count(), page.matches("<script>").count()), (1, 1));
            for outside in ["<link", "<img", "<iframe", "url(", "@import"] {
                assert!(!page.contains(outside), "{outside}");
            }
            for content in ["seed 4", "Settings", "steps = ", "network", "headway train experiment.toml"] {
                assert!(page.contains(content), "{content}");
            }
        }
    }

    /// Elements that are never closed, or the first that is closed in the wrong place.
    fn open_elements(page: &str) -> Vec<String> {
        let mut open = Vec::new();
        for tag in page.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(tag, _)| tag) {
            let name = tag.trim_start_matches('/').split([' ', '\n', '/']).next().unwrap().to_owned();
            if tag.starts_with('!') || tag.starts_with('?') || tag.ends_with('/') {
                continue;
            }
            if !tag.starts_with('/') {
                open.push(name);
            } else if open.pop().as_ref() != Some(&name) {
                return vec![format!("</{name}>")];
            }
        }
        open
    }

    #[test]
    fn a_reader_that_goes_away_is_no_error() {
        let lab = Lab::with(COPY);
        lab.train("run", &[]).succeed();
        let words = "\
            $HEADWAY show experiment.toml | head -1
            $HEADWAY eval run --device cpu --json | true
            $HEADWAY --help | true
            $HEADWAY train experiment.toml --device cpu --out piped 2>&1 | true";
        let output = Command::new("bash")
            .args(["-c", &format!("set -o pipefail\n{}", words.replace('\n', " || echo code $?\n"))])
            .env("HEADWAY", env!("CARGO_BIN_EXE_headway"))
            .current_dir(lab.path(""))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1, "{output:?}");
        lab.run("piped").assert_same(&lab.run("run"), "with nobody listening");
    }

    #[test]
    fn results_that_cannot_be_written_are_an_error() {
        let lab = Lab::with(COPY);
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_headway"))
            .args(["show", "experiment.toml"])
            .current_dir(lab.path(""))
            .stdout(Stdio::from(full))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write to standard output"), "{output:?}");
    }
}

mod evaluate {
    use super::*;

    #[test]
    fn scores_the_checkpoint_it_is_given_as_training_did() {
        let lab = Lab::with(REGRESSION);
        let trained = lab.train("run", &["--json"]).succeed().json();
        let eval = |what: &str, more: &[&str]| {
            lab.headway(&[&["eval", what, "--device", "cpu", "--json"], more].concat()).succeed().json()
        };
        let last = eval("run/checkpoints/step-00000006", &[]);
        // Training remarks that its last step is not the best.
        let mut shared = keys(&trained);
        assert!(shared.remove("remarks"));
        assert_eq!(keys(&last), shared);
        assert_eq!((&last["metrics"], &last["baselines"]), (&trained["metrics"], &trained["baselines"]));
        assert_eq!(last["step"], 6);
        // A run folder stands for its best checkpoint by validation loss, which the metrics show.
        let best = lab
            .read("run/metrics.jsonl")
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .min_by(|a, b| a["validation/loss"].as_f64().unwrap().total_cmp(&b["validation/loss"].as_f64().unwrap()))
            .unwrap();
        let run = eval("run", &[]);
        assert_eq!(run["step"], best["step"]);
        assert_ne!(run["step"], 6, "the best checkpoint should be another than the newest here");
        assert_ne!(run["metrics"], last["metrics"]);
        assert_eq!(
            run["metrics"],
            eval(&format!("run/checkpoints/step-{:08}", best["step"].as_u64().unwrap()), &[])["metrics"]
        );
    }

    #[test]
    fn takes_other_test_sets_by_overrides() {
        let lab = Lab::with(REGRESSION);
        lab.train("run", &[]).succeed();
        let eval = |more: &[&str]| {
            lab.headway(&[&["eval", "run", "--device", "cpu", "--json"], more].concat()).succeed().json()["metrics"]
                .clone()
        };
        let same = eval(&[]);
        assert_eq!(eval(&["-s", "data.test=6"]), same);
        let more = eval(&["-s", "data.test=60"]);
        assert_ne!(more, same);
        assert_eq!(eval(&["-s", "data.fresh.test=60"]), more);
        assert_ne!(eval(&["-s", "seed=1"]), same);
        // Batching must not change the results beyond rounding.
        let batched = eval(&["-s", "data.test=60", "-s", "train.batch_size=7"]);
        let [a, b] = [&more, &batched].map(|metrics| metrics["test/loss"].as_f64().unwrap());
        assert!((a / b - 1.0).abs() < 1e-5, "{a} {b}");
    }

    #[test]
    fn needs_neither_optimiser_nor_state() {
        let lab = Lab::with(REGRESSION);
        lab.train("run", &["-s", "train.eval_every=0"]).succeed();
        let whole = lab.headway(&["eval", "run", "--device", "cpu", "--json"]).succeed().json();
        lab.copy("run/checkpoints/step-00000006", "published");
        for name in ["optim.safetensors", "state.json"] {
            fs::remove_file(lab.path("published").join(name)).unwrap();
        }
        let manifest: String = lab.read("published/MANIFEST").lines().take(2).flat_map(|line| [line, "\n"]).collect();
        lab.write("published/MANIFEST", manifest);
        let published = lab.headway(&["eval", "published", "--device", "cpu", "--json"]).succeed().json();
        assert_eq!(published["metrics"], whole["metrics"]);
        let finetune = ["finetune", "experiment.toml", "--from", "published", "--out", "tuned", "--device", "cpu"];
        lab.headway(&finetune).succeed();
    }

    #[test]
    fn saves_inputs_and_outputs_of_the_first_test_batch() {
        for (experiment, inputs, outputs) in
            [(REGRESSION, vec![4, 7, 3], vec![4, 7, 1]), (COPY, vec![4, 6], vec![4, 6, 6])]
        {
            let lab = Lab::with(experiment);
            lab.train("run", &[]).succeed();
            lab.headway(&["eval", "run", "--device", "cpu", "--save-outputs", "saved/here"]).succeed();
            for (name, shape) in [("inputs", inputs), ("outputs", outputs)] {
                let bytes = fs::read(lab.path(&format!("saved/here/{name}.safetensors"))).unwrap();
                let file = SafeTensors::deserialize(&bytes).unwrap();
                assert_eq!(file.names(), [name]);
                assert_eq!(file.tensor(name).unwrap().shape(), shape);
            }
        }
    }
}

mod look {
    use super::*;

    #[test]
    fn check_says_what_a_run_would_cost() {
        let lab = Lab::with(REGRESSION);
        let said = lab.headway(&["check", "experiment.toml", "--device", "cpu", "--time"]).succeed().stdout;
        assert!(said.ends_with(" of training at the speed of a few steps here\n"), "{said}");
        for text in
            ["experiment.toml: sound", "transformer on icl_linear", " parameters", "GFLOP a step", "6 steps on cpu"]
        {
            assert!(said.contains(text), "{text}: {said}");
        }
        let document = lab.headway(&["check", "experiment.toml", "--device", "cpu", "--json"]).succeed().json();
        let agreed = ["device", "doubts", "experiment", "ok", "parameters", "step_activation_bytes", "step_flops"];
        assert_eq!(keys(&document), BTreeSet::from(agreed));
        assert_eq!(document["experiment"]["model"]["transformer"]["n_heads"], 4);
    }

    #[test]
    fn show_says_where_each_value_came_from_in_a_form_that_can_be_read_again() {
        let lab = Lab::with(REGRESSION);
        let words = ["show", "experiment.toml", "-s", "model.n_heads=2", "--seed", "3"];
        let shown = lab.headway(&words).succeed().stdout;
        let origin = |key: &str| {
            let line = shown
                .lines()
                .find(|line| line.starts_with(&format!("{key} = ")))
                .unwrap_or_else(|| panic!("{key}: {shown}"));
            line.split_once("# ").unwrap().1.to_owned()
        };
        assert_eq!(origin("model.transformer.n_heads"), "-s model.n_heads=2");
        assert_eq!(origin("seed"), "-s seed=3");
        assert_eq!(origin("model.transformer.d_model"), "experiment.toml:10");
        assert_eq!(origin("train.checkpoint_every"), "experiment.toml:22");
        assert_eq!(origin("optimizer.adam.beta_1"), "default");
        let document = lab.headway(&[&words[..], &["--json"]].concat()).succeed().json();
        assert_eq!(keys(&document), BTreeSet::from(["experiment", "origins"]));
        assert_eq!(document["origins"].as_object().unwrap().len(), shown.lines().count());
        assert_eq!(document["origins"]["seed"], "-s seed=3");
        lab.write("shown.toml", &shown);
        let again = lab.headway(&["show", "shown.toml", "--json"]).succeed().json();
        assert_eq!(again["experiment"], document["experiment"]);
    }

    #[test]
    fn list_names_what_a_config_can_name() {
        let lab = Lab::new();
        for what in ["tasks", "models", "kernels", "positions", "optimizers", "schedules", "reproductions"] {
            let plain = lab.headway(&["list", what]).succeed().stdout;
            insta::assert_snapshot!(format!("list-{what}"), plain);
            let entries = lab.headway(&["list", what, "--json"]).succeed().json();
            let entries = entries.as_array().unwrap();
            assert_eq!(entries.len(), plain.lines().count());
            for (entry, line) in entries.iter().zip(plain.lines()) {
                assert_eq!(keys(entry), BTreeSet::from(["name", "summary"]));
                assert!(
                    line.starts_with(entry["name"].as_str().unwrap())
                        && line.ends_with(entry["summary"].as_str().unwrap())
                );
            }
        }
    }

    #[test]
    fn every_listed_name_is_one_that_a_config_can_use() {
        let lab = Lab::with(REGRESSION);
        lab.write("table.csv", "inputs,targets\n1,2\n2,4\n3,6\n");
        // Three pictures of 4 x 4, all black.
        lab.write("pictures", [&[0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 4][..], &[0; 48]].concat());
        lab.write("samples", [&[0, 0, 8, 2, 0, 0, 0, 4, 0, 0, 0, 1][..], &[1, 2, 3, 4]].concat());
        lab.write("recordings.csv", "subject,exercise,start,length\n1,row,0,2\n2,lift,2,2\n");
        lab.write("proteins.fasta", ">a split=train\nMKV\n>b split=test\nMKA\n");
        lab.write("series.csv", "time,a\n1,3\n2,1\n3,4\n4,1\n5,5\n6,9\n7,2\n8,6\n9,5\n10,3\n");
        let names = |what: &str| -> Vec<String> {
            let entries = lab.headway(&["list", what, "--json"]).succeed().json();
            entries.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
        };
        let check =
            |words: &[&str]| lab.headway(&[&["check", "experiment.toml", "--device", "cpu"], words].concat()).succeed();
        for (what, set) in [
            ("tasks", "task={NAME={}}"),
            // A task for which every model may see the whole input, with as many channels in as out.
            ("models", "model={NAME={}} task={truncated_linear={d_in=1}}"),
            ("kernels", "model.kernel=NAME"),
            ("positions", "model.position=NAME"),
            ("optimizers", "optimizer={NAME={}}"),
        ] {
            for name in names(what) {
                // A task with files needs some, and has a fixed number of examples.
                let given = match name.as_str() {
                    "file" => "file={path=\"table.csv\"}} data={fixed={train=2,test=1}",
                    "image" => "image={train=\"pictures\"}} data={whole={}",
                    "proteins" => "proteins={path=\"proteins.fasta\",validation=[]}} data={whole={}",
                    "forecast" => "forecast={path=\"series.csv\",window=2,horizon=1}} data={whole={}",
                    "language" => "language={train=[\"table.csv\"],test=[\"table.csv\"]}} data={whole={}",
                    "activity" => {
                        "activity={samples=\"samples\",recordings=\"recordings.csv\",train=[1],test=[2],seq_len=2}} \
                         data={fixed={train=1,test=1}"
                    }
                    _ => "NAME={}",
                };
                let set = set.replace("NAME={}", given);
                let set = set.replace("NAME", &name);
                let words: Vec<&str> = set.split(' ').flat_map(|set| ["-s", set]).collect();
                check(&words);
            }
        }
    }

    #[test]
    fn devices_begin_with_the_cpu() {
        let lab = Lab::new();
        let plain = lab.headway(&["devices"]).succeed().stdout;
        assert!(plain.starts_with("cpu      burn-flex, "), "{plain}");
        for kind in ["wgpu", "vulkan", "cuda", "ndarray"] {
            assert!(plain.lines().any(|line| line.starts_with(kind)), "{kind} is there, or why it is not: {plain}");
        }
        let document = lab.headway(&["devices", "--json"]).succeed().json();
        assert_eq!(
            keys(&document[0]),
            BTreeSet::from(["cache", "compiler", "device", "name", "precisions", "software", "tuned"])
        );
        assert_eq!((&document[0]["device"], &document[0]["software"]), (&json!("cpu"), &json!(false)));
    }

    #[test]
    fn runs_are_listed_and_shown() {
        let lab = Lab::with(COPY);
        lab.train("many/b", &[]).succeed();
        lab.train("many/a", &["-s", "train.checkpoint_every=1"]).fault("step:2").be_killed();
        fs::create_dir(lab.path("many/notes")).unwrap();
        let list = lab.headway(&["runs", "list", "many"]).succeed().stdout;
        let rows: Vec<Vec<&str>> = list
            .lines()
            .map(|line| line.split_whitespace().collect())
            .filter(|words: &Vec<&str>| words.first().is_some_and(|word| word.starts_with("many/")))
            .collect();
        assert_eq!(rows.len(), 2, "{list}");
        // Between the number of parameters and the status: day, minute, UTC.
        let parameters = record(&lab, "many/b")["parameters"].to_string();
        for (row, name, end) in [
            // Its newest checkpoint says how far it came.
            (&rows[0], "many/a", ["killed", "2"]),
            (&rows[1], "many/b", ["complete", "3"]),
        ] {
            assert_eq!(row[..4], [name, "copy", "transformer", &parameters]);
            assert_eq!(row[7..9], end);
        }
        let first = |words: &[&str]| {
            let list = lab.headway(&[&["runs", "list", "many"], words].concat()).succeed().stdout;
            list.split_whitespace().find(|word| word.starts_with("many/")).map(str::to_owned)
        };
        assert_eq!(first(&["--sort", "steps"]).as_deref(), Some("many/b"));
        assert_eq!(first(&["--sort", "score"]).as_deref(), Some("many/b"), "the other one has none");
        assert_eq!(first(&["--status", "killed"]).as_deref(), Some("many/a"));
        assert_eq!(first(&["--task", "copy", "--model", "transformer"]).as_deref(), Some("many/a"));
        assert_eq!(first(&["--task", "mqar"]), None);
        let document = lab.headway(&["runs", "list", "many", "--json"]).succeed().json();
        assert_eq!(document.as_array().unwrap().len(), 2);
        assert_eq!(document[1]["run_dir"], "many/b");
        assert_eq!(document[1]["record"], record(&lab, "many/b"));
        let shown = lab.headway(&["runs", "show", "many/b"]).succeed().stdout;
        for text in [
            "headway train experiment.toml",
            "cpu (burn-flex",
            "random weights",
            "complete at step 3",
            "network",
            "chance",
        ] {
            assert!(shown.contains(text), "{text}: {shown}");
        }
        assert_eq!(lab.headway(&["runs", "show", "many/b", "--json"]).succeed().json(), record(&lab, "many/b"));
        assert!(lab.headway(&["runs", "show", "many/a"]).succeed().stdout.contains("killed at step 2"));
    }

    #[test]
    fn runs_are_told_apart_and_deleted() {
        let lab = Lab::with(COPY);
        lab.train("many/a", &[]).succeed();
        lab.train("many/b", &["-s", "train.steps=4"]).succeed();
        let told = lab.headway(&["runs", "diff", "many/a", "many/b", "--json"]).succeed().json();
        assert_eq!(told["settings"], json!({ "train.steps": ["3", "4"] }));
        assert_eq!(told["circumstances"], json!({ "step": ["3", "4"] }));
        let scores = ["many/a", "many/b"].map(|run| record(&lab, run)["results"][0]["metrics"]["test/loss"].clone());
        assert_eq!(told["scores"]["test/loss"], json!(scores));
        let shown = lab.headway(&["runs", "diff", "many/a", "many/b"]).succeed().stdout;
        assert!(shown.contains("train.steps") && !shown.contains("train.batch_size"), "{shown}");

        lab.write("sweep.toml", "experiment = \"experiment.toml\"\n[grid]\nmodel.n_heads = [1, 2]\n");
        lab.headway(&["sweep", "exec", "sweep.toml", "--index", "1", "--device", "cpu", "--out", "many/study"])
            .succeed();
        let list = lab.headway(&["runs", "list", "many"]).succeed().stdout;
        let study = list.lines().find(|line| line.contains("many/study")).unwrap();
        assert!(study.contains("sweep") && study.contains("1 of 2 runs done"), "{list}");
        // All or none.
        fs::create_dir(lab.path("many/notes")).unwrap();
        let rm = |words: &[&str]| lab.headway(&[&["runs", "rm"], words].concat());
        rm(&["many/a", "many/notes", "--yes"]).fail(2, &["many/notes is no run, sweep or comparison"]);
        let said = rm(&["many/a", "many/study"]).succeed();
        assert!(said.stdout.contains("many/a: 1 run, ") && said.said().contains("nothing is deleted"), "{said:?}");
        assert!(lab.path("many/a").is_dir());
        rm(&["many/a", "many/study", "--yes"]).succeed();
        let mut left: Vec<_> =
            fs::read_dir(lab.path("many")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["b", "notes"]);
    }

    #[test]
    fn a_study_says_how_it_stands() {
        let lab = Lab::with(COPY);
        lab.write(
            "sweep.toml",
            "experiment = \"experiment.toml\"\n[grid]\noptimizer.adam.learning_rate = [1e-2, 1e30, 2e-2]\n",
        );
        let exec = |index: &str| {
            lab.headway(&["sweep", "exec", "sweep.toml", "--index", index, "--device", "cpu", "--out", "out"])
        };
        exec("0").succeed();
        let status = |words: &[&str]| lab.headway(&[&["sweep", "status", "out"], words].concat()).succeed().stdout;
        let plain = status(&[]);
        assert!(plain.starts_with("1 complete, 0 running, 0 stopped, 2 waiting, 0 failed in out; "), "{plain}");
        assert!(plain.ends_with(" left\n") && !plain.contains("learning_rate"), "{plain}");
        assert_eq!(status(&["--all"]).matches("waiting").count(), 3, "two runs and the sum");
        exec("1").fail(5, &["diverged"]);
        assert!(status(&["--failed"]).contains("diverged"));
    }
}

mod bench {
    use super::*;

    #[test]
    fn lists_recipes_that_another_program_can_follow() {
        let lab = Lab::new();
        let plain = lab.headway(&["bench", "--list"]).succeed().stdout;
        let document = lab.headway(&["bench", "--list", "--json"]).succeed().json();
        assert_eq!(document.as_array().unwrap().len(), plain.lines().count());
        let heads = |bench: &serde_json::Value| bench["recipe"]["steps"]["model"]["paper_one_layer"]["n_heads"].clone();
        assert_eq!([0, 1, 2].map(|at| heads(&document[at])), [json!(1), json!(4), json!(16)]);
        let one = lab.headway(&["bench", "f512", "--list", "--json"]).succeed().json();
        assert_eq!(
            one[0]["recipe"]["attention"],
            json!({ "kernel": "softmax", "n_heads": 8, "d_head": 64, "seq_len": 512 })
        );
        lab.headway(&["bench", "Z9"]).fail(2, &["no benchmark `Z9`", "A16"]);
    }

    #[test]
    fn times_steps_and_attention() {
        let lab = Lab::new();
        let words = [
            "bench",
            "A1",
            "F512",
            "--threads",
            "1",
            "--repeats",
            "1",
            "--device",
            "cpu",
            "--json",
            "--out",
            "figures",
        ];
        let document = lab.headway(&words).succeed().json();
        assert_eq!([&document[0]["name"], &document[1]["name"]], ["A1", "F512"]);
        for line in document.as_array().unwrap() {
            assert_eq!(line["threads"], 1);
            let number = |key: &str| line[key].as_f64().unwrap();
            assert!((number("ms_per_step") * number("steps_per_second") - 1e3).abs() < 1e-6);
            assert!(number("share_of_peak") > 0.0 && number("gflops") > 0.0);
        }
        let saved = fs::read_to_string(lab.path("figures/bench.json")).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&saved).unwrap(), document);
        // A folder that cannot be made is refused before timing starts.
        lab.write("taken", "");
        lab.headway(&["bench", "A1", "--device", "cpu", "--out", "taken"]).fail(1, &["cannot create folder taken"]);
        // A single length gives no exponent and no figure.
        assert!(!lab.path("figures/attention_time.svg").exists());
    }
}

mod texts {
    use super::*;

    #[test]
    fn help() {
        let lab = Lab::new();
        for words in [
            &[][..],
            &["train"],
            &["resume"],
            &["finetune"],
            &["sweep"],
            &["sweep", "plan"],
            &["sweep", "exec"],
            &["sweep", "status"],
            &["compare"],
            &["reproduce"],
            &["report"],
            &["eval"],
            &["certify"],
            &["swap"],
            &["predict"],
            &["generate"],
            &["analyze"],
            &["analyze", "rank"],
            &["analyze", "paths"],
            &["analyze", "patterns"],
            &["analyze", "ablate"],
            &["analyze", "logit-lens"],
            &["analyze", "in-context"],
            &["analyze", "robust"],
            &["check"],
            &["show"],
            &["new"],
            &["list"],
            &["explain"],
            &["schema"],
            &["completions"],
            &["devices"],
            &["runs"],
            &["runs", "list"],
            &["runs", "diff"],
            &["runs", "rm"],
            &["runs", "show"],
            &["bench"],
            &["construct"],
            &["construct", "truncated-linear-heads"],
            &["construct", "relu-network"],
            &["import"],
            &["export"],
            &["card"],
        ] {
            let text = lab.headway(&[words, &["--help"]].concat()).succeed().stdout;
            assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
            insta::assert_snapshot!(format!("help-{}", [&["headway"], words].concat().join("-")), text);
        }
    }

    #[test]
    fn an_error() {
        let text = REGRESSION.replace("n_heads = 4", "n_haeds = 3\ncausal = 1").replace("steps = 6", "steps = 0");
        let lab = Lab::with(&text);
        let said = lab.headway(&["check", "experiment.toml", "-s", "seed=-1"]).fail(2, &[]).stderr;
        insta::assert_snapshot!("several-problems", said);
    }
}

#[test]
fn a_killed_writer_does_not_block_the_next() {
    let lab = Lab::with(REGRESSION);
    lab.train("run", &[]).succeed();
    let construct =
        ["construct", "activation", "--function", "gelu", "--seq-len", "1", "--tolerance", "0.1", "--out", "made"];
    for (words, made, whole) in [
        (&["export", "run", "--format", "npz", "--out", "weights.npz"][..], "weights.npz", "weights.npz"),
        (&["card", "run", "--device", "cpu", "--out", "CARD.md"], "CARD.md", "CARD.md"),
        (
            &["eval", "run", "--device", "cpu", "--save-outputs", "so"],
            "so/outputs.safetensors",
            "so/outputs.safetensors",
        ),
        (&construct, "made", "made/report.html"),
    ] {
        let mut kills = 0;
        loop {
            let attempt = lab.headway(words).fault(&format!("file:{}", kills + 1)).run();
            if attempt.status.code() == Some(0) {
                break;
            }
            assert_eq!(attempt.status.code(), None, "{attempt:?}");
            kills += 1;
            // It gets its name only when it is complete.
            if lab.path(made).exists() {
                assert!(lab.path(whole).exists(), "killed at file operation {kills}: {words:?}");
                fs::rename(lab.path(made), lab.path(&format!("whole-{kills}"))).unwrap();
            }
        }
        assert!(kills > 0 && lab.path(whole).exists(), "{words:?}");
    }
    let left = |folder: &str| {
        let names =
            fs::read_dir(lab.path(folder)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(".tmp")).collect::<Vec<_>>()
    };
    assert_eq!([left(""), left("so")], [Vec::<String>::new(), Vec::new()]);
}
