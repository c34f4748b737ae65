//! Comparisons at equal cost.

use super::*;

pub const COMPARE: &str = r#"seeds = [0, 1, 2]
match = ["parameters", "flops"]
reference = "attention"
learning_rates = [1e-3, 1e-2, 1e30]
tuning_seeds = 2

[[tasks]]
name = "regression"
experiment = "experiment.toml"
metric = "test/mse"

[[rows]]
name = "attention"
set = { model.n_layers = 2 }

[[rows]]
name = "ffn"
learning_rates = [1e-2, 1e30]
set = { "model.d_model" = 6, "model.state_mixer" = { ffn = { d_ffn = 3 } } }
free = "model.state_mixer.ffn.d_ffn"
"#;

fn compare(lab: &Lab, more: &[&str]) -> Headway {
    lab.headway(&[&["compare", "compare.toml", "--device", "cpu", "--out", "out"], more].concat())
}

#[test]
fn rows_cost_the_same_and_choose_their_rates_by_validation() {
    let lab = lab(&[("compare.toml", COMPARE)]);
    // The largest rate diverges, which excludes it from the choice and counts as a failure.
    let finished = compare(&lab, &["--json"]).fail(6, &["diverged"]);
    let page = finished.json();
    assert_eq!(page["blocks"].as_array().unwrap().len(), 2);
    for (block, key) in page["blocks"].as_array().unwrap().iter().zip(["parameters", "training_gflop"]) {
        let lines = block["lines"].as_array().unwrap();
        let names: Vec<&str> = lines.iter().map(|line| line["name"].as_str().unwrap()).collect();
        let classical = ["least_squares", "ridge", "nearest_neighbours", "averaging", "gradient_descent"];
        assert_eq!(names, [&["attention", "ffn"][..], &classical].concat());
        let [attention, ffn] = [&lines[0][key], &lines[1][key]].map(|value| value.as_f64().unwrap());
        assert!((ffn - attention).abs() <= 0.05 * attention, "{block}: {attention} {ffn}");
        assert_eq!(lines[1]["solved"][0], "model.state_mixer.ffn.d_ffn");
        for line in lines {
            assert_eq!(line["estimate"]["seeds"], 3, "{line}");
            assert_eq!(line["values"].as_array().unwrap().len(), 3, "{line}");
            assert_eq!(line["estimate"]["interval"].as_array().unwrap().len(), 2, "{line}");
        }
        assert!(lines[0]["difference"].is_null(), "the reference has no difference to itself");
        // Paired by seed: the mean of the differences, whose p-value is one of the 2^3 sign flips.
        let values =
            |line: &Value| line["values"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect::<Vec<_>>();
        let differences: Vec<f64> = values(&lines[1]).iter().zip(values(&lines[0])).map(|(a, b)| a - b).collect();
        let mean = lines[1]["difference"]["estimate"]["mean"].as_f64().unwrap();
        assert!((mean - differences.iter().sum::<f64>() / 3.0).abs() < 1e-12);
        let p = lines[1]["difference"]["p_value"].as_f64().unwrap();
        assert!((p * 4.0).fract().abs() < 1e-12 && p >= 0.25, "{p}");
    }
    // The rate with the smaller mean validation loss over the two tuning seeds was chosen.
    let rate = page["blocks"][0]["lines"][0]["learning_rate"].as_f64().unwrap();
    let mut losses: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for folder in fs::read_dir(lab.path("out/runs")).unwrap() {
        let root = folder.unwrap().path();
        let experiment: toml::Table =
            toml::from_str(&fs::read_to_string(root.join("experiment.toml")).unwrap()).unwrap();
        let model = &experiment["model"]["transformer"];
        let seed = experiment.get("seed").and_then(toml::Value::as_integer).unwrap_or(0);
        if model["n_layers"].as_integer() != Some(2) || seed == 2 {
            continue;
        }
        let rate = experiment["optimizer"]["adam"]["learning_rate"].as_float().unwrap();
        // A run that diverged at once has logged nothing.
        let metrics = fs::read_to_string(root.join("metrics.jsonl")).unwrap_or_default();
        let last = metrics
            .lines()
            .rev()
            .find_map(|line| serde_json::from_str::<Value>(line).ok()?["validation/loss"].as_f64());
        losses.entry(format!("{rate:e}")).or_default().extend(last);
    }
    let mean = |rate: f64| losses[&format!("{rate:e}")].iter().sum::<f64>() / 2.0;
    let best = if mean(1e-3) < mean(1e-2) { 1e-3 } else { 1e-2 };
    assert!((rate - best).abs() < 1e-12, "{rate}: {losses:?}");
    assert_eq!(page["blocks"][0]["lines"][1]["learning_rate"], json!(0.01), "a row may have rates of its own");
    // The third seed ran only at the chosen rate.
    let folders = fs::read_dir(lab.path("out/runs")).unwrap();
    let third = folders.filter(|folder| folder.as_ref().unwrap().file_name().to_str().unwrap().ends_with("-2")).count();
    assert_eq!(third, 3, "one run of seed 2 for each different row");
    assert_sound_pages(&[lab.path("out/report.html")]);
    for name in ["regression-equal-parameters", "regression-equal-training-flops"] {
        assert!(lab.path("out/figures").join(format!("{name}.svg")).exists(), "{name}");
    }
}

/// Products of inputs up to 7e4 overflow f16 with some seeds; a mean over the others would be biased.
#[test]
fn no_mean_is_formed_over_the_seeds_that_came_through() {
    const LARGE: &str = "[task.function]\nseq_len = 2\nd_in = 3\noutputs = [\"x1*x2/1e10\"]\n\
                         domain = { cube = { low = -7e4, high = 7e4 } }\n[data.fresh]\nvalidation = 16\ntest = 32\n\
                         [model.transformer]\nd_model = 8\nn_layers = 1\nn_heads = 2\ncausal = false\nnorm = \"none\"\n\
                         [optimizer.sgd]\nlearning_rate = 1e-30\n[train]\nsteps = 5\nbatch_size = 4\nlog_every = 1\neval_every = 0\n";
    const PRECISIONS: &str = "seeds = [0, 1, 2, 3, 4, 5]\nreference = \"f32\"\n[[tasks]]\nname = \"=fn\"\n\
                              experiment = \"large.toml\"\n[tasks.set]\ntrain.steps = 1\ntrain.log_every = 100\n\
                              train.batch_size = 1\n[[rows]]\nname = \"f32\"\n[[rows]]\nname = \"f16\"\n\
                              set = { \"train.attention_precision\" = \"f16\" }\n";
    let lab = lab(&[("compare.toml", PRECISIONS), ("large.toml", LARGE)]);
    let finished = compare(&lab, &["--json"]).fail(6, &["1 of 12 runs failed", "f16 ends at 65504"]);
    let page = finished.json();
    let lines = page["blocks"][0]["lines"].as_array().unwrap();
    let line = |name: &str| lines.iter().find(|line| line["name"] == name).unwrap();
    assert_eq!((&line("f32")["estimate"]["seeds"], &line("f16")["estimate"]), (&json!(6), &Value::Null));
    assert_eq!(line("f16")["values"].as_array().unwrap().len(), 5, "every value is kept");
    assert!(line("f16")["difference"].is_null() && line("mean")["estimate"]["seeds"] == 6, "{page}");
    let findings = page["findings"].to_string();
    assert!(findings.contains("f16 diverged: seed "), "{findings}");
    assert!(lab.read("out/report.html").contains(">5 of 6</td>"), "{page}");
    let means = lab.read("out/summary.csv");
    // A spreadsheet must not interpret the name of the task as a formula.
    assert!(means.lines().any(|line| line.starts_with("'=fn: f16,network,test/loss,5,,,")), "{means}");
    assert!(means.lines().any(|line| line.starts_with("'=fn: f16,mean,test/loss,6,0")), "{means}");
}

/// The twin computes what attention does, up to rounding; the answers of `noisy` cannot be told, `near` by less.
pub const DECIDED: &str = r#"seeds = { until = "decided", first = 4, at_most = 7 }
reference = "attention"
noise_floor = ["attention", "twin"]

[[tasks]]
name = "regression"
experiment = "experiment.toml"
metric = "test/mse"
set = { train.eval_every = 0, train.steps = 40, data.test = 200, optimizer.learning_rate = 0.03 }

[[rows]]
name = "attention"

[[rows]]
name = "twin"
set = { optimizer.epsilon = 1.001e-8 }

[[rows]]
name = "noisy"
set = { task.noise_std = 3.0 }

[[rows]]
name = "near"
set = { optimizer.learning_rate = 0.032 }
"#;

fn line<'a>(block: &'a Value, name: &str) -> &'a Value {
    block["lines"].as_array().unwrap().iter().find(|line| line["name"] == name).unwrap()
}

#[test]
fn a_row_gets_seeds_until_its_difference_is_decided() {
    let lab = lab(&[("compare.toml", DECIDED)]);
    let plan = |lab: &Lab| lab.headway(&["sweep", "plan", "compare.toml", "--out", "out"]).succeed().stdout;
    let before = plan(&lab);
    assert_eq!(before.lines().count(), 16, "four rows with the first four seeds: {before}");
    let finished = compare(&lab, &["--json"]).succeed();
    assert!(
        finished.stderr.contains("16 runs, to decide by; more seeds follow where they are not enough"),
        "{finished:#?}"
    );
    assert!(plan(&lab).starts_with(&before), "what was planned keeps its place");
    let page = finished.json();
    let block = &page["blocks"][0];
    let values = |name: &str| -> Vec<f64> {
        line(block, name)["values"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
    };
    let [attention, twin, noisy, near] = ["attention", "twin", "noisy", "near"].map(values);
    let floor = attention.iter().zip(&twin).map(|(a, b)| (a - b).abs()).sum::<f64>() / 7.0;
    assert!((block["noise_floor"].as_f64().unwrap() - floor).abs() <= 1e-12 * floor && floor > 0.0, "{floor}");
    assert_eq!(
        [attention.len(), twin.len(), near.len()],
        [7; 3],
        "what is undecided takes its seeds, and who it needs"
    );
    assert!(noisy.len() < 7, "a difference this large is decided early: {noisy:?} {attention:?}");
    let judged = |name: &str| &line(block, name)["judged"]["decision"];
    assert_eq!(judged("noisy")["verdict"], "finding");
    assert!(judged("noisy")["interval"][0].as_f64().unwrap() > floor, "{block}");
    assert_eq!(judged("near")["verdict"], "undecided");
    assert!(line(block, "attention")["judged"].is_null());
    let html = lab.read("out/report.html");
    for text in ["makes the noise floor", "which write one function", ">finding<", ">undecided"] {
        assert!(html.contains(text), "{text}");
    }
    let verdicts = lab.read("out/verdicts.csv");
    assert!(verdicts.starts_with("comparison,row,seeds,difference,low,high,noise_floor,verdict,still_expected\n"));
    assert!(verdicts.lines().any(|line| line.starts_with("regression,noisy,") && line.contains(",finding,")));
    assert_sound_pages(&[lab.path("out/report.html")]);
    // With as many seeds given in a list, the same differences are judged in the same way.
    let lab = self::lab(&[(
        "compare.toml",
        &DECIDED.replace("{ until = \"decided\", first = 4, at_most = 7 }", "[0, 1, 2, 3, 4, 5, 6]"),
    )]);
    let listed = compare(&lab, &["--json"]).succeed().json();
    assert_eq!(line(&listed["blocks"][0], "near")["judged"], line(block, "near")["judged"]);
}

#[test]
fn rows_that_cannot_be_made_equal_are_refused_with_both_budgets() {
    let wide = COMPARE.replace("\"model.d_model\" = 6", "\"model.d_model\" = 32");
    let lab = lab(&[("compare.toml", &wide)]);
    compare(&lab, &[]).fail(
        2,
        &[
            "rows.1.name: more than 5 % from attention (equal parameters) on regression",
            "ffn has",
            "attention has",
            "parameters and trains with",
            "GFLOP",
            "model.state_mixer.ffn.d_ffn is too coarse",
            "compare.toml:",
        ],
    );
    let fixed = COMPARE.replace("free = \"model.state_mixer.ffn.d_ffn\"\n", "");
    lab.write("compare.toml", fixed);
    compare(&lab, &[]).fail(2, &["give the row a `free` size to solve for"]);
    assert!(!lab.path("out").exists());
}

/// A size of a choice that the row names alone is as free as one in its table.
#[test]
fn a_setting_of_a_bare_name_is_free() {
    let plan = |mixer: &str| {
        let lab = lab(&[("compare.toml", &COMPARE.replace("{ ffn = { d_ffn = 3 } }", mixer))]);
        lab.headway(&["sweep", "plan", "compare.toml"]).succeed().stdout
    };
    assert_eq!(plan("\"ffn\""), plan("{ ffn = { d_ffn = 3 } }"));
}

#[test]
fn mistakes_are_shown_where_they_stand() {
    for (from, to, texts) in [
        (
            "reference = \"attention\"",
            "reference = \"nobody\"",
            &["reference: no such row; there are attention, ffn", "compare.toml:3:"][..],
        ),
        ("name = \"ffn\"", "name = \"attention\"", &["rows.1.name: this name is taken"]),
        ("[\"parameters\", \"flops\"]", "\"watts\"", &["`parameters`, `flops` or `none`, or a list of them"]),
        ("[1e-3, 1e-2, 1e30]", "[-1.0]", &["learning_rates: -1 is no learning rate", "compare.toml:4:"]),
        ("model.n_layers = 2", "model.n_lairs = 2", &["no such key", "did you mean `n_layers`?", "compare.toml:14:"]),
        (
            "free = \"model.state_mixer.ffn.d_ffn\"",
            "free = \"model.n_lairs\"",
            &["no such key", "did you mean `n_layers`?"],
        ),
        (
            "seeds = [0, 1, 2]",
            "seeds = { until = \"decided\", at_most = 4 }",
            &["`first` is 2 or more", "compare.toml:1:"],
        ),
        ("seeds = [0, 1, 2]", "seeds = { until = \"dusk\", at_most = 4 }", &["until = \"decided\""]),
        (
            "reference = \"attention\"",
            "reference = \"attention\"\nnoise_floor = [\"attention\", \"nobody\"]",
            &["noise_floor: no row is called `nobody`; there are attention, ffn", "compare.toml:4:"],
        ),
        (
            "metric = \"test/mse\"",
            "set = { train.eval_every = 0 }",
            &["rates are chosen by the validation loss", "has no validation"],
        ),
    ] {
        assert!(COMPARE.contains(from), "{from}");
        let lab = lab(&[("compare.toml", &COMPARE.replace(from, to))]);
        compare(&lab, &[]).fail(2, texts);
    }
    let lab = lab(&[("sweep.toml", SWEEP)]);
    for (verb, file, text) in [
        ("train", "sweep.toml", "is no experiment but names some; use `headway sweep`"),
        ("check", "compare.toml", "use `headway compare`, or `headway sweep plan`"),
        ("sweep", "experiment.toml", "is an experiment; `headway train` trains it"),
    ] {
        lab.write("compare.toml", COMPARE);
        lab.headway(&[verb, file]).fail(2, &[text]);
    }
    let twice = format!("{}\n[[rows]]\nname = \"again\"\n", DECIDED.replace("\"twin\"]", "\"again\"]"));
    lab.write("compare.toml", twice);
    compare(&lab, &[]).fail(2, &["noise_floor: attention and again are the same experiment on regression"]);
    lab.write("decided.toml", SWEEP.replace("{ first = 0, count = 3 }", "{ until = \"decided\", at_most = 9 }"));
    lab.headway(&["sweep", "decided.toml"]).fail(2, &["seeds: a sweep decides nothing"]);
    lab.headway(&["compare", "sweep.toml"]).fail(2, &["has no rows to compare; `headway sweep` runs a sweep"]);
}
