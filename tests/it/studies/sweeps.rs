//! Sweeps: plans, single runs, failures, results and expectations.

use super::*;

#[test]
fn a_plan_has_a_line_for_every_run_and_does_nothing() {
    let lab = lab(&[("sweep.toml", SWEEP)]);
    let Finished { stdout, .. } = lab.headway(&["sweep", "plan", "sweep.toml"]).succeed();
    let labels: Vec<&str> = stdout.lines().map(|line| line.split('\t').nth(2).unwrap()).collect();
    let expected = [4, 8].map(|width| [0, 1, 2].map(|seed| format!("d_model={width} seed {seed}"))).concat();
    assert_eq!(labels, expected, "{stdout}");
    let ids: BTreeSet<&str> = stdout.lines().map(|line| line.split('\t').nth(1).unwrap()).collect();
    assert_eq!(ids.len(), 6, "{stdout}");
    assert!(!lab.path("runs").exists(), "a plan makes no folder");
    lab.headway(&["sweep", "plan", "sweep.toml", "--write", "plan.tsv"]).succeed();
    assert_eq!(lab.read("plan.tsv"), stdout);
    let seeds = lab.headway(&["sweep", "plan", "sweep.toml", "--seeds", "5,7", "--json"]).succeed().json();
    let seeds: Vec<u64> =
        seeds.as_array().unwrap().iter().map(|run| run["experiment"]["seed"].as_u64().unwrap()).collect();
    assert_eq!(seeds, [5, 7, 5, 7]);
}

#[test]
fn the_identity_of_a_run_is_its_config_and_its_seed() {
    let lab = lab(&[("sweep.toml", SWEEP)]);
    let plan = |more: &[&str]| {
        let words = [&["sweep", "plan", "sweep.toml"], more].concat();
        let Finished { stdout, .. } = lab.headway(&words).succeed();
        stdout.lines().map(|line| line.split('\t').nth(1).unwrap().to_owned()).collect::<Vec<_>>()
    };
    let [first, again, other] = [plan(&[]), plan(&[]), plan(&["-s", "train.steps=13"])];
    assert_eq!(first, again);
    assert!(first.iter().all(|id| !other.contains(id)));
    let config = |id: &String| id.rsplit_once('-').unwrap().0.to_owned();
    assert_eq!(config(&first[0]), config(&first[2]), "seeds share the config");
    assert_ne!(config(&first[0]), config(&first[3]));
    // The same run by itself has the same id.
    let words = ["-s", "train.batch_size=3", "-s", "model.d_model=4", "--seed", "2"];
    lab.train("alone", &words).succeed();
    assert_eq!(json_of(&lab, "alone/run.json")["run_id"], json!(first[2]));
}

#[test]
fn list_zip_and_grid_make_their_points() {
    let text = r#"experiment = "experiment.toml"
[[list]]
train.steps = 2
[[list]]
train.steps = 3
train.clip_norm = 1.0
[zip]
model.d_model = [4, 8]
model.n_heads = [1, 2]
[grid]
"model.state_mixer" = ["none", { ffn = { d_ffn = 5 } }]
"#;
    let lab = lab(&[("sweep.toml", text)]);
    let plan = lab.headway(&["sweep", "plan", "sweep.toml", "--json"]).succeed().json();
    let point = |run: &Value| {
        let (train, model) = (&run["experiment"]["train"], &run["experiment"]["model"]["transformer"]);
        let mixer = model["state_mixer"].is_object();
        (
            train["steps"].as_u64().unwrap(),
            train["clip_norm"].as_f64(),
            model["d_model"].as_u64().unwrap(),
            model["n_heads"].as_u64().unwrap(),
            mixer,
        )
    };
    let found: Vec<_> = plan.as_array().unwrap().iter().map(point).collect();
    let mut expected = Vec::new();
    for (steps, clip) in [(2, None), (3, Some(1.0))] {
        for (width, heads) in [(4, 1), (8, 2)] {
            for mixer in [false, true] {
                expected.push((steps, clip, width, heads, mixer));
            }
        }
    }
    assert_eq!(found, expected);
}

#[test]
fn everything_is_done_once_and_reported() {
    let lab = lab(&[("sweep.toml", SWEEP)]);
    let Finished { stdout, stderr, .. } = sweep(&lab, &["--jobs", "2"]).succeed();
    assert!(stderr.contains("6 runs, 0 of them done; 2 at once"), "{stderr}");
    for text in ["d_model=4", "d_model=8", "least_squares", "test/mse", "report: out/report.html"] {
        assert!(stdout.contains(text), "{text}: {stdout}");
    }
    assert_eq!(standings(&lab), ["complete"; 6]);
    let before = runs(&lab, "out");
    let report = lab.read("out/report.html");
    let Finished { stderr, .. } = sweep(&lab, &[]).succeed();
    assert!(stderr.contains("6 of them done"), "{stderr}");
    for (name, run) in runs(&lab, "out") {
        run.assert_same(&before[&name], &name);
    }
    assert_eq!(lab.read("out/report.html"), report, "the page is a function of the folders");
    // Every value of every run is stored, with its mean and interval beside it.
    let values = lab.read("out/results.csv");
    assert_eq!(values.lines().next(), Some("group,predictor,seed,metric,value,model.d_model"));
    // A swept value is a number in both files.
    assert!(values.lines().skip(1).all(|line| line.ends_with(",4") || line.ends_with(",8")), "{values}");
    assert_eq!(json_of(&lab, "out/results.json")["points"][0]["settings"], json!({ "model.d_model": 4 }));
    let network = values_of(&values);
    assert_eq!(network.len(), 3);
    let summary = lab.read("out/summary.csv");
    let line = summary.lines().find(|line| line.starts_with("d_model=8,network,test/mse,")).unwrap();
    let cells: Vec<f64> = line.split(',').skip(3).map(|cell| cell.parse().unwrap()).collect();
    assert_eq!(cells[0] as usize, 3, "{line}");
    assert!((cells[1] - network.iter().sum::<f64>() / 3.0).abs() < 1e-12, "{line} {network:?}");
    let (least, most) = (network.iter().copied().fold(f64::MAX, f64::min), network.iter().copied().fold(0.0, f64::max));
    assert!(
        least <= cells[2] + 1e-12 && cells[2] < cells[1] && cells[1] < cells[3] && cells[3] <= most + 1e-12,
        "{line} {network:?}"
    );
    assert_sound_pages(&[
        lab.path("out/report.html"),
        lab.path("out/runs").join(before.keys().next().unwrap()).join("report.html"),
    ]);
    assert!(lab.path("out/figures/sweep.svg").exists() && lab.path("out/figures/slices.svg").exists());
}

#[test]
fn runs_do_not_depend_on_how_many_go_at_once() {
    let lab = lab(&[("sweep.toml", SWEEP)]);
    sweep(&lab, &["--jobs", "1"]).succeed();
    lab.headway(&["sweep", "sweep.toml", "--device", "cpu", "--out", "other", "--jobs", "3"]).succeed();
    let [one, three] = ["out", "other"].map(|out| runs(&lab, out));
    assert_eq!(one.keys().collect::<Vec<_>>(), three.keys().collect::<Vec<_>>());
    for (name, run) in one {
        run.assert_same(&three[&name], &name);
    }
}

#[test]
fn single_runs_by_index_are_idempotent_and_need_no_leader() {
    let lab = lab(&[("sweep.toml", SWEEP)]);
    let exec = |index: &str| {
        lab.headway(&["sweep", "exec", "sweep.toml", "--out", "out", "--device", "cpu", "--index", index])
    };
    exec("4").succeed();
    exec("1").succeed();
    let first = runs(&lab, "out");
    assert_eq!(standings(&lab), ["waiting", "complete", "waiting", "waiting", "complete", "waiting"]);
    exec("4").succeed();
    for (name, run) in runs(&lab, "out") {
        run.assert_same(&first[&name], &name);
    }
    exec("6").fail(2, &["there is no run 6: the plan has 6, counted from 0"]);
    // The folder alone defines the sweep.
    for index in ["0", "2", "3", "5"] {
        lab.headway(&["sweep", "exec", "out", "--device", "cpu", "--index", index]).succeed();
    }
    assert_eq!(standings(&lab), ["complete"; 6]);
    lab.headway(&["report", "out"]).succeed();
    assert!(lab.read("out/report.html").contains("6 of 6 runs are finished"));
}

#[test]
fn one_failed_run_ends_nothing_and_is_tried_again_on_request() {
    let text = SWEEP
        .replace("[grid]\n", "[grid]\noptimizer.learning_rate = [0.01, 1e30]\n")
        .replace("model.d_model = [4, 8]\n", "");
    let lab = lab(&[("sweep.toml", &text)]);
    let Finished { stderr, .. } =
        sweep(&lab, &[]).fail(6, &["diverged at step", "3 of 6 runs failed; --retry tries them again"]);
    assert!(stderr.contains("d_model=8 seed 2  done") || stderr.contains("seed 2  done"), "the others go on: {stderr}");
    assert_eq!(standings(&lab), ["complete", "complete", "complete", "failed", "failed", "failed"]);
    assert!(lab.read("out/report.html").contains("diverged at step"), "the page says what failed");
    // Failed runs stay failed without being touched …
    let before = lab.read("out/results.json");
    sweep(&lab, &[]).fail(6, &["6 of them done", "3 of 6 runs failed"]);
    assert_eq!(lab.read("out/results.json"), before);
    lab.headway(&["sweep", "exec", "out", "--device", "cpu", "--index", "3"])
        .fail(5, &["failed before: diverged", "--retry tries again"]);
    // … and fail again when they are tried again.
    sweep(&lab, &["--retry"]).fail(6, &["3 of them done", "3 of 6 runs failed"]);
    // The results of the earlier try were moved aside, not deleted.
    let plan = lab.headway(&["sweep", "plan", "out", "--json"]).succeed().json();
    let aside = lab.path("out/runs").join(plan[3]["run_id"].as_str().unwrap()).join("aside-1");
    assert_eq!(whole_checkpoints(&aside), [0]);
    assert!(["experiment.toml", "run.json", "failure.json"].iter().all(|name| aside.join(name).exists()));
}

/// One step too many: the loss before it is finite, the network's output after it is not.
#[test]
fn a_network_whose_scores_are_not_finite_has_failed_wherever_it_is_met() {
    let text = "experiment = \"experiment.toml\"\nseeds = [0, 1]\n[set]\ntrain.steps = 1\ntrain.log_every = 100\n\
                train.eval_every = 0\n[grid]\noptimizer.sgd.learning_rate = [1e-3, 1e25]\n";
    let lab = lab(&[("sweep.toml", text)]);
    let finished = sweep(&lab, &[]).fail(6, &["a test score of the network is not finite", "2 of 4 runs failed"]);
    assert!(finished.stdout.contains("diverged: seeds 0, 1"), "{}", finished.stdout);
    assert_eq!(standings(&lab), ["complete", "complete", "failed", "failed"]);
    // The network keeps its line without a number; the classical predictors keep their numbers.
    let page = json_of(&lab, "out/results.json");
    let means = &page["points"][1]["means"];
    assert!(means["network"]["test/loss"].is_null() && means["least_squares"]["test/loss"]["seeds"] == 2, "{means}");
    let values = lab.read("out/results.csv");
    let line = |start: &str| values.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    let label = page["points"][1]["name"].as_str().unwrap();
    assert!(line(&format!("{label},network,1,test/loss,")).contains("test/loss,,"), "{values}");
    assert!(!line(&format!("{label},ridge,1,test/loss,")).contains("test/loss,,"), "{values}");
    assert!(page["findings"].to_string().contains("its mean is not formed"), "{page}");
    lab.headway(&["report", "out"]).fail(6, &[]);
    let id = page["points"][1]["runs"][0]["run_id"].as_str().unwrap();
    let run = format!("out/runs/{id}");
    lab.headway(&["report", &run, "--device", "cpu"]).fail(5, &["the network of this run diverged"]);
    let html = lab.read(&format!("{run}/report.html"));
    assert!(html.contains("It failed: the network diverged") && html.contains("least_squares"), "{html}");
    let both = lab.headway(&["report", &run, "out", "--out", "both"]).fail(6, &["seed 0 is left out"]);
    // What tells them apart is in their names.
    assert!(
        ["0.001", "1e25"].iter().all(|rate| both.stdout.contains(&format!(", learning_rate={rate}"))),
        "{}",
        both.stdout
    );
    lab.resume(&run).fail(5, &["a test score of the network is not finite"]);
    // A run that an older program recorded as complete is a failure all the same.
    let record = lab.read(&format!("{run}/run.json"));
    lab.write(&format!("{run}/run.json"), record.replace("\"diverged\"", "\"complete\""));
    fs::remove_file(lab.path(&format!("{run}/failure.json"))).unwrap();
    assert_eq!(standings(&lab)[2], "failed");
    sweep(&lab, &["--retry"]).fail(6, &["2 of 4 runs failed"]);
}

/// A finite loss that is worse than anything learned.
#[test]
fn a_loss_beyond_all_reason_and_a_score_beyond_the_possible_are_said() {
    let lab = lab(&[("sweep.toml", SWEEP)]);
    let huge = ["-s", "optimizer={sgd={learning_rate=1e6}}", "-s", "train.steps=1", "-s", "train.eval_every=0"];
    let said = lab.train("huge", &huge).succeed().stdout;
    assert!(said.contains("‡ test/loss") && said.contains("more than ten times"), "{said}");
    assert!(lab.read("huge/report.html").contains("nothing was learned"));
    // A record with this doubt stands for a network that sees its answers.
    lab.headway(&["sweep", "exec", "sweep.toml", "--out", "out", "--device", "cpu", "--index", "4"]).succeed();
    let run = runs(&lab, "out").keys().next().unwrap().clone();
    let path = format!("out/runs/{run}/run.json");
    let mut record = json_of(&lab, &path);
    record["results"][0]["doubts"] = json!({ "test/mse": { "beyond_best": 123.5 } });
    lab.write(&path, record.to_string());
    let said = lab.headway(&["report", "out"]).succeed().stdout;
    assert!(said.contains("d_model=8, seed 1: † test/mse") && said.contains("best possible 123.5"), "{said}");
    let html = lab.read("out/report.html");
    assert!(html.contains(" †</td>") && html.contains("1 of 3"), "{html}");
    lab.headway(&["report", &format!("out/runs/{run}"), "--device", "cpu"]).succeed();
    assert!(lab.read(&format!("out/runs/{run}/report.html")).contains("the answer leaks"));
    assert!(lab.headway(&["runs", "show", &format!("out/runs/{run}")]).succeed().stdout.contains('†'));
}

#[test]
fn a_run_that_failed_for_another_reason_goes_on_when_it_is_tried_again() {
    let lab = lab(&[("sweep.toml", SWEEP)]);
    let exec = |more: &[&str]| {
        lab.headway(
            &[&["sweep", "exec", "sweep.toml", "--out", "out", "--device", "cpu", "--index", "0"], more].concat(),
        )
    };
    exec(&[]).fault("step:7").be_killed();
    let folder = fs::read_dir(lab.path("out/runs")).unwrap().next().unwrap().unwrap().path();
    let newest = folder.join("checkpoints/step-00000006");
    let moments = newest.join("optim.safetensors");
    let whole = fs::read(&moments).unwrap();
    fs::write(&moments, &whole[..whole.len() / 2]).unwrap();
    exec(&[]).fail(3, &["does not match its digest in MANIFEST"]);
    assert_eq!(standings(&lab)[0], "failed");
    exec(&[]).fail(3, &["failed before", "does not match its digest", "--retry tries again"]);
    fs::remove_dir_all(newest).unwrap();
    exec(&["--retry"]).succeed();
    assert_eq!(standings(&lab)[0], "complete");
    let plan = lab.headway(&["sweep", "plan", "sweep.toml", "--json"]).succeed().json();
    let id = plan[0]["run_id"].as_str().unwrap().to_owned();
    lab.train("straight", &["-s", "train.batch_size=3", "-s", "model.d_model=4"]).succeed();
    lab.run(&format!("out/runs/{id}")).assert_same(&lab.run("straight"), "a run tried again");
}

#[test]
fn a_record_that_cannot_be_read_costs_nothing() {
    let lab = lab(&[("sweep.toml", SWEEP)]);
    sweep(&lab, &[]).succeed();
    let before = runs(&lab, "out");
    let id = before.keys().next().unwrap().clone();
    let record = lab.path("out/runs").join(&id).join("run.json");
    let whole = fs::read_to_string(&record).unwrap();
    fs::write(&record, &whole[..whole.len() / 2]).unwrap();
    // A new record is made from its newest checkpoint, with a notice.
    let said = sweep(&lab, &[]).succeed();
    assert!(said.stderr.contains("run.json is damaged") && said.stderr.contains("Going on from"), "{said:?}");
    for (name, run) in runs(&lab, "out") {
        run.assert_same(&before[&name], &name);
    }
    // The same holds for a run that was stopped, with and without --retry.
    let path = record.parent().unwrap();
    fs::remove_dir_all(path.join("checkpoints/step-00000012")).unwrap();
    for text in [&whole[..whole.len() / 2], "{}"] {
        fs::write(&record, text).unwrap();
        let index = lab.headway(&["sweep", "exec", "out", "--device", "cpu", "--run", &id, "--retry"]).succeed();
        assert!(index.stderr.contains("Going on from"), "{index:?}");
        lab.run(&format!("out/runs/{id}")).assert_same(&before[&id], "its record was damaged");
    }
}

#[test]
fn labels_of_any_length_make_pages() {
    const KEYS: &str = "model.d_model = 8\nmodel.n_heads = 2\nmodel.n_layers = 1\ntrain.batch_size = 3\ntrain.log_every = 2\n\
                        train.eval_every = 4\ntrain.checkpoint_every = 6\ntrain.accumulate = 2\ntrain.clip_norm = 1.0\n\
                        train.keep_last = 1\ndata.validation = 8\ndata.test = 6\ntask.noise_std = 0.12345678901234567\n\
                        optimizer.adam.weight_decay = 0.01234567890123456\noptimizer.adam.epsilon = 1.2345678901234567e-8\n";
    let rates = ["0.001", "0.003"].map(|rate| format!("[[list]]\n{KEYS}optimizer.adam.learning_rate = {rate}\n"));
    let lab = lab(&[("sweep.toml", &format!("experiment = \"experiment.toml\"\nseeds = [0]\n{}", rates.concat()))]);
    sweep(&lab, &[]).succeed();
    let figures = fs::read_dir(lab.path("out/figures")).unwrap();
    let names: Vec<String> = figures.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let patterns = names.iter().filter(|name| name.starts_with("patterns-")).count();
    assert!(patterns == 2 && names.iter().all(|name| name.len() <= 120), "{names:?}");
}

#[test]
fn values_of_the_command_line_come_last_and_never_silently() {
    let lab = lab(&[("sweep.toml", SWEEP)]);
    let plan = |more: &[&str]| lab.headway(&[&["sweep", "plan", "sweep.toml", "--json"], more].concat());
    let batch = |plan: Value| plan[0]["experiment"]["train"]["batch_size"].clone();
    assert_eq!(batch(plan(&["-s", "train.batch_size=5"]).succeed().json()), json!(5), "over the file's 3");
    for key in ["model.d_model", "model.transformer.d_model"] {
        let text = format!("{key}=16");
        plan(&["-s", &text]).fail(2, &[&format!("-s {text}: this study gives {key} values of its own")]);
    }
    plan(&["-s", "seed=4"]).fail(2, &["seeds are an axis of their own; use --seeds"]);
    plan(&["-s", "train.stepz=4"]).fail(2, &["-s train.stepz=4", "did you mean `steps`?"]);
    // They are part of the definition in the folder.
    sweep(&lab, &["-s", "train.steps=2"]).succeed();
    let again = lab.headway(&["sweep", "plan", "out", "--json"]).succeed().json();
    assert_eq!(again[0]["experiment"]["train"]["steps"], json!(2));
}

#[test]
fn a_folder_keeps_its_definition_against_a_single_run() {
    let lab = lab(&[("sweep.toml", SWEEP)]);
    sweep(&lab, &["--seeds", "0"]).succeed();
    let words = ["sweep", "exec", "sweep.toml", "--out", "out", "--device", "cpu", "--index", "0"];
    lab.headway(&words).fail(2, &["out holds another definition; give the folder itself, or another one with --out"]);
    // The leading process may extend it, and says so.
    let Finished { stderr, .. } = sweep(&lab, &[]).succeed();
    assert!(
        stderr.contains("out held another definition, which this one replaces")
            && stderr.contains("6 runs, 2 of them done"),
        "{stderr}"
    );
}

#[test]
fn a_law_is_compared_in_words_that_fit_its_sign() {
    let text = SWEEP.replace("[4, 8]", "[4, 8, 16]")
        + "\n[[plot.theory]]\nexponent = -50.0\nlabel = \"steep\"\n[[plot.theory]]\nexponent = 50.0\nlabel = \"rising\"\n";
    let lab = lab(&[("sweep.toml", &text)]);
    let found = sweep(&lab, &["--json"]).succeed().json();
    let [winner, law] = [0_usize, 1].map(|finding| found["findings"][finding].as_str().unwrap());
    assert!(winner.contains(" of 3 points against every classical predictor, by test/loss"), "{winner}");
    for text in
        ["(3 seeds)", "(steep): training does not reach that rate.", "(rising): the error grows more slowly than that."]
    {
        assert!(law.contains(text), "{text}: {law}");
    }
    assert!(found["exponents"]["network"]["interval"].is_array(), "{found}");
}

#[test]
fn a_rival_that_is_not_beaten_decides_the_exit_code() {
    let lab = lab(&[("sweep.toml", "")]);
    let against = |rival: &str| {
        lab.write("sweep.toml", format!("beats = [\"{rival}\"]\n{SWEEP}"));
        sweep(&lab, &["--json"]).run()
    };
    // Twelve steps are not enough to beat least squares.
    let finished = against("least_squares");
    assert_eq!((finished.status.code(), &finished.json()["agrees"]), (Some(7), &json!(false)), "{finished:#?}");
    let checks = finished.json()["checks"].as_array().unwrap().clone();
    assert_eq!(checks.len(), 2, "one for each point");
    lab.write("sweep.toml", format!("beats = [\"nobody\"]\n{SWEEP}"));
    sweep(&lab, &[]).fail(2, &["beats.0: nothing is called `nobody`; there are network, least_squares"]);
    lab.write(
        "sweep.toml",
        SWEEP.replace("[set]", "[plot]\n[set]").replacen("seeds", "metric = \"test/mes\"\nseeds", 1),
    );
    sweep(&lab, &[])
        .fail(2, &["metric: nothing is called `test/mes`; there are test/loss, test/mse; did you mean `test/mse`?"]);
}

#[test]
fn a_mistake_is_shown_where_it_stands() {
    for (from, to, texts) in [
        ("model.d_model", "model.d_modle", &["no such key", "did you mean `d_model`?", "sweep.toml:10:"][..]),
        ("[4, 8]", "[4, 7]", &["2 heads do not divide d_model = 7", "experiment.toml:12:", "at the point d_model=7"]),
        ("[4, 8]", "8", &["grid.model.d_model: expected a list of values", "sweep.toml:10:"]),
        ("[4, 8]", "[4, 4]", &["are the same experiment"]),
        ("[grid]", "[gird]", &["gird: no such key", "did you mean `grid`?", "sweep.toml:9:2"]),
        ("train.batch_size = 3", "seed = 3", &["seeds are an axis of their own", "sweep.toml:4:"]),
        ("train.batch_size = 3", "train.batch_size = 0", &["train.batch_size: must be at least 1", "sweep.toml:7:"]),
        ("count = 3", "count = 0", &["seeds: give at least one seed", "sweep.toml:4:"]),
        ("{ first = 0, count = 3 }", "\"all\"", &["seeds", "a list of seeds, a table such as"]),
        ("\"experiment.toml\"", "\"nowhere.toml\"", &["experiment: cannot read nowhere.toml", "sweep.toml:3:"]),
        ("title = \"Widths\"", "title = ", &["not valid TOML", "sweep.toml:1:"]),
        ("[grid]", "[plot]\nx = [1.0]\n[grid]", &["plot.x: 1 numbers for 2 points", "sweep.toml:10:"]),
        ("[grid]", "[zip]\nmodel.transformer.d_model = [4]\n[grid]", &["another axis sets it too"]),
        ("[grid]", "[zip]\nmodel.n_heads = [1]\ntrain.steps = [1, 2]\n[grid]", &["lists in step have one length"]),
    ] {
        assert!(SWEEP.contains(from), "{from}");
        let lab = lab(&[("sweep.toml", &SWEEP.replace(from, to))]);
        sweep(&lab, &[]).fail(2, texts);
        assert!(!lab.path("out").exists(), "{to}: a mistake leaves nothing behind");
    }
    let lab = lab(&[("sweep.toml", SWEEP)]);
    sweep(&lab, &["--profile", "long"]).fail(2, &["sweep.toml has no profile `long`; it has none"]);
    lab.headway(&["sweep", "nowhere.toml"]).fail(2, &["cannot read nowhere.toml"]);
    fs::create_dir(lab.path("out")).unwrap();
    lab.write("out/precious.txt", "mine");
    sweep(&lab, &[]).fail(2, &["out is not empty and has no sweep.toml; choose another folder with --out"]);
    assert_eq!(lab.read("out/precious.txt"), "mine");
}

#[test]
fn a_profile_replaces_what_it_names() {
    // Keys that it does not name stay: a profile with one key of a table leaves the table's other keys.
    let text = SWEEP.replace("train.batch_size = 3", "train.batch_size = 3\nmodel.n_heads = 1")
        + "\n[profiles.short]\nseeds = [7]\n[profiles.short.set]\ntrain.steps = 2\nmodel.n_layers = 2\n[profiles.short.grid]\nmodel.d_model = [4]\n";
    let lab = lab(&[("sweep.toml", &text)]);
    let plan = lab.headway(&["sweep", "plan", "sweep.toml", "--profile", "short", "--json"]).succeed().json();
    let experiment = &plan[0]["experiment"];
    let model = &experiment["model"]["transformer"];
    assert_eq!((&model["n_heads"], &model["n_layers"], &model["d_model"]), (&json!(1), &json!(2), &json!(4)));
    assert_eq!(plan.as_array().unwrap().len(), 1, "{plan}");
    assert_eq!(
        (&experiment["seed"], &experiment["train"]["steps"], &experiment["train"]["batch_size"]),
        (&json!(7), &json!(2), &json!(3))
    );
    assert_eq!(lab.headway(&["sweep", "plan", "sweep.toml", "--json"]).succeed().json().as_array().unwrap().len(), 6);
    sweep(&lab, &["--profile", "none"]).fail(2, &["has no profile `none`; there are: short"]);
}

#[test]
fn an_expectation_decides_the_exit_code() {
    let expect = |mean: &str| {
        format!(
            "{SWEEP}\n[[expect]]\nat = 8\nmetric = \"test/mse\"\nmean = {mean}\ndeviation = 0.5\nseeds = 3\nsource = \"a test\"\n"
        )
    };
    let lab = lab(&[("sweep.toml", &expect("2.0"))]);
    let verdict = |mean: &str| {
        lab.write("sweep.toml", expect(mean));
        sweep(&lab, &["--json"]).run()
    };
    let found = verdict("2.0").json()["checks"][0]["found"]["mean"].as_f64().unwrap();
    let values = values_of(&lab.read("out/results.csv"));
    assert!((found - values.iter().sum::<f64>() / 3.0).abs() < 1e-12);
    // Three standard errors of the difference of two means over three seeds each, with each side's own deviation.
    let variance = values.iter().map(|value| (value - found).powi(2)).sum::<f64>() / 2.0;
    let tolerance = 3.0 * (variance / 3.0 + 0.25 / 3.0).sqrt();
    for (mean, code) in
        [(found, 0), (found + 0.99 * tolerance, 0), (found + 1.01 * tolerance, 7), (found - 1.01 * tolerance, 7)]
    {
        let finished = verdict(&mean.to_string());
        assert_eq!(finished.status.code(), Some(code), "{mean} against {found}: {finished:#?}");
        assert_eq!(finished.json()["agrees"], json!(code == 0));
        assert_eq!(finished.json()["checks"][0]["can_tell"], json!(tolerance < mean));
    }
    // If even an error of zero would be within the tolerance, nothing counts as agreement.
    lab.write("sweep.toml", expect(&found.to_string()).replace("deviation = 0.5", "deviation = 50"));
    let wide = sweep(&lab, &["--json"]).run();
    assert_eq!((wide.status.code(), &wide.json()["checks"][0]["can_tell"]), (Some(0), &json!(false)));
    let findings = wide.json()["findings"].to_string();
    assert!(findings.contains("1 mean cannot tell") && !findings.contains("means are as expected"), "{findings}");
    let text = expect("2.0").replace("at = 8", "at = 9");
    lab.write("sweep.toml", text);
    sweep(&lab, &[]).fail(2, &["expect.0.at: no point stands at 9"]);
}
