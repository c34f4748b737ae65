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
        let classical = ["least_squares", "ridge", "nearest_neighbours", "averaging", "gradient_descent", "zero"];
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

/// The twin computes what attention does, up to rounding; the noise of `noisy` is far larger than what seeds change, and
/// `near` differs by less than that.
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

/// Claims about those rows, and what the runs make of them.
const CLAIMS: [(&str, [&str; 2], &str, &str); 4] = [
    ("better", ["attention", "noisy"], "source = \"common sense\"", "holds"),
    ("better", ["noisy", "attention"], "", "contradicted"),
    ("equal", ["near", "attention"], "within = 1e3", "holds"),
    ("equal", ["noisy", "attention"], "tasks = [\"regression\"]\nmatch = \"none\"", "contradicted"),
];

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
    // With as many seeds given in a list, one look is all there is: Student's interval, which is narrower.
    let lab = self::lab(&[(
        "compare.toml",
        &DECIDED.replace("{ until = \"decided\", first = 4, at_most = 7 }", "[0, 1, 2, 3, 4, 5, 6]"),
    )]);
    let claim = |(says, rows, further, _): &(&str, [&str; 2], &str, &str)| {
        format!("[[claims]]\nname = '{rows:?}'\nrows = {rows:?}\nsays = \"{says}\"\n{further}\n")
    };
    let claims: String = CLAIMS.iter().map(claim).collect();
    let file = lab.path("compare.toml");
    std::fs::write(&file, format!("{}\n{}", lab.read("compare.toml"), claims)).unwrap();
    let listed = compare(&lab, &["--json"]).fail(7, &[]).json();
    let ends = |page: &Value, end: usize| {
        line(&page["blocks"][0], "near")["judged"]["decision"]["interval"][end].as_f64().unwrap()
    };
    assert!(ends(&page, 0) < ends(&listed, 0) && ends(&listed, 1) < ends(&page, 1), "{listed}");
    let found = listed["claims"].as_array().unwrap().iter().map(|claim| claim["judgement"]["agreement"].clone());
    assert_eq!(found.collect::<Vec<_>>(), CLAIMS.map(|(.., agreement)| json!(agreement)));
    assert!(listed["claims"][0]["judgement"]["ahead"].as_f64().unwrap() > floor, "{listed}");
    assert!(lab.read("out/report.html").contains("What was claimed"));
    assert_eq!(lab.read("out/claims.csv").lines().count(), 1 + CLAIMS.len());
}

/// Two tables, of which the second alone has a row more, and a claim about it.
#[test]
fn a_row_stands_in_the_tables_that_it_names() {
    let claim =
        "[[claims]]\nname = \"the quiet one\"\nrows = [\"noisy\", \"attention\", \"near\"]\nsays = \"best_inside\"\n";
    let text = DECIDED.replace("{ until = \"decided\", first = 4, at_most = 7 }", "[0, 1, 2]");
    let text = text.replace("noise_floor", "match = [\"none\", \"depth\"]\nnoise_floor");
    let near = "set = { optimizer.learning_rate = 0.032 }";
    let placed =
        format!("{}{claim}", text.replace(near, &format!("{near}\ntasks = [\"regression\"]\nmatch = \"depth\"\n")));
    let lab = lab(&[("compare.toml", &placed)]);
    let page = compare(&lab, &["--json"]).run().json();
    let names = |block: usize| -> Vec<String> {
        let lines = page["blocks"][block]["lines"].as_array().unwrap().iter();
        lines
            .filter(|line| !line["parameters"].is_null())
            .map(|line| line["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(0), ["attention", "twin", "noisy"]);
    assert_eq!(names(1), ["attention", "twin", "noisy", "near"]);
    let claims = page["claims"].as_array().unwrap();
    assert_eq!(claims.len(), 1, "{claims:?}");
    assert_eq!(claims[0]["comparison"], "regression, equal depth");
    for (from, to, said) in [
        ("tasks = [\"regression\"]", "tasks = [\"copying\"]", "no task is called `copying`; there are regression"),
        ("\nmatch = \"depth\"\n", "\nmatch = \"flops\"\n", "rows.3.match: the comparison's `match` does not list it"),
        (
            "name = \"twin\"\n",
            "name = \"twin\"\nmatch = \"depth\"\n",
            "rows.1.match: the reference and the rows of the noise floor",
        ),
        ("\"noisy\", \"attention\", \"near\"", "\"noisy\", \"near\"", "claims.0.rows: name three rows or more"),
    ] {
        assert!(placed.contains(from), "{from}");
        lab.write("compare.toml", placed.replace(from, to));
        compare(&lab, &[]).fail(2, &[said]);
    }
}

/// A name alone, which stands for a variant with its defaults, is no reason for a size not to be found.
#[test]
fn a_size_is_solved_for_beside_names_that_stand_alone() {
    const ALONE: &str = "match = \"parameters\"\nreference = \"attention\"\n[[tasks]]\nname = \"regression\"\nexperiment = \"experiment.toml\"\n\
                         [tasks.set]\nmodel.position = \"rope\"\n[[rows]]\nname = \"attention\"\nset = { model.n_layers = 5 }\n[[rows]]\nname = \"ffn\"\n\
                         set = { \"model.state_mixer\" = { ffn = { d_ffn = 3 } } }\nfree = \"model.state_mixer.ffn.d_ffn\"\n";
    let lab = lab(&[("compare.toml", ALONE)]);
    lab.headway(&["check", "compare.toml"]).succeed();
}

/// The twin is attention in another way, so that it has attention's rate and tries none.
#[test]
fn the_twin_of_a_noise_floor_has_the_rate_of_its_row() {
    let (rows, _) = DECIDED.split_once("[[rows]]\nname = \"noisy\"").unwrap();
    let text = rows.replace("{ until = \"decided\", first = 4, at_most = 7 }", "[0, 1]");
    let text = text
        .replace("eval_every = 0", "eval_every = 20")
        .replace("noise_floor", "learning_rates = \"search\"\nnoise_floor");
    let lab = lab(&[("compare.toml", &text)]);
    let cost = lab.headway(&["check", "compare.toml", "--json"]).succeed().json();
    let page = compare(&lab, &["--json"]).succeed().json();
    let [attention, twin] = ["attention", "twin"].map(|name| line(&page["blocks"][0], name));
    assert_eq!(attention["learning_rate"], twin["learning_rate"]);
    let tried = |line: &Value| line["tried"].as_array().map_or(0, Vec::len);
    assert!(tried(attention) >= 3 && tried(twin) == 0, "{twin}");
    assert_eq!(runs(&lab, "out").len(), tried(attention) + 4);
    assert_eq!(cost["runs"][0], 3 + 4, "{cost}");
}

/// Every rate is searched, and the row with feed-forward blocks between depth and their width at equal parameters.
pub const SEARCHED: &str = r#"seeds = { until = "decided", first = 2, at_most = 4 }
match = "parameters"
reference = "attention"
learning_rates = "search"

[[tasks]]
name = "regression"
experiment = "experiment.toml"
metric = "test/mse"
set = { train.steps = 16, train.eval_every = 16, train.keep_last = 1 }

[[rows]]
name = "attention"
set = { model.n_layers = 8 }

[[rows]]
name = "ffn"
set = { model.n_layers = 2, "model.state_mixer" = { ffn = { d_ffn = 3 } } }
free = ["model.n_layers", "model.state_mixer.ffn.d_ffn"]
"#;

#[test]
fn a_row_is_searched_until_its_best_is_inside() {
    let lab = lab(&[("compare.toml", SEARCHED)]);
    let cost = lab.headway(&["check", "compare.toml", "--json"]).succeed().json();
    let page = compare(&lab, &["--json"]).succeed().json();
    let block = &page["blocks"][0];
    let number = |value: &Value| value.as_f64().unwrap();
    for name in ["attention", "ffn"] {
        let line = line(block, name);
        let tried = line["tried"].as_array().unwrap();
        let best = tried.iter().min_by(|a, b| number(&a["loss"]).total_cmp(&number(&b["loss"]))).unwrap();
        assert_eq!(
            (&best["learning_rate"], &best["searched"]),
            (&line["learning_rate"], &line["searched"][1]),
            "{line}"
        );
        let mut sizes: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
        for tried in tried {
            sizes.entry(tried["searched"].as_u64().unwrap_or(0)).or_default().push(tried);
        }
        for tried in sizes.values() {
            assert!((3..=6).contains(&tried.len()), "{tried:?}");
            let powers: Vec<f64> = tried.iter().map(|tried| (number(&tried["learning_rate"]) / 0.01).log2()).collect();
            assert!(
                powers.windows(2).all(|pair| (pair[1] - pair[0] - 1.0).abs() < 1e-9) && powers.contains(&0.0),
                "{powers:?}"
            );
            let at = (0..tried.len())
                .min_by(|a, b| number(&tried[*a]["loss"]).total_cmp(&number(&tried[*b]["loss"])))
                .unwrap();
            assert!(
                (1..tried.len() - 1).contains(&at) || tried.len() == 6,
                "an edge won and nothing lies beyond: {tried:?}"
            );
        }
        let at_edge = line["rate_ends"] == "edge";
        assert_eq!(
            page["findings"].to_string().contains(&format!("best learning rate of {name} is at the edge")),
            at_edge
        );
    }
    let [attention, ffn] = ["attention", "ffn"].map(|name| line(block, name));
    assert!(attention["searched"].is_null() && attention["size_ends"].is_null(), "{attention}");
    assert_eq!(
        (&ffn["searched"][0], &ffn["solved"][0]),
        (&json!("model.n_layers"), &json!("model.state_mixer.ffn.d_ffn"))
    );
    assert!((number(&ffn["parameters"]) / number(&attention["parameters"]) - 1.0).abs() <= 0.05, "{ffn} {attention}");
    let depths: BTreeSet<u64> =
        ffn["tried"].as_array().unwrap().iter().map(|tried| tried["searched"].as_u64().unwrap()).collect();
    assert!(depths.is_superset(&BTreeSet::from([1, 2, 4])), "{depths:?}");
    // What was searched with never scores.
    let names: Vec<String> = runs(&lab, "out").into_keys().collect();
    let of_seed = |seed: u64| names.iter().filter(|name| name.ends_with(&format!("-{seed}"))).count();
    let tried: usize = [attention, ffn].iter().map(|line| line["tried"].as_array().unwrap().len()).sum();
    assert_eq!(of_seed(1_000_000), tried, "{names:?}");
    let scored: usize = [attention, ffn].iter().map(|line| line["values"].as_array().unwrap().len()).sum();
    assert_eq!((0..4).map(of_seed).sum::<usize>(), scored);
    assert_eq!(names.len(), tried + scored);
    assert_eq!(lab.read("out/tuning.csv").lines().count(), tried + 1);
    let count = names.len() as u64;
    let [least, most] = [0, 1].map(|end| cost["runs"][end].as_u64().unwrap());
    assert_eq!(least, 3 + 9 + 4, "three rates of attention, three of each of three depths, and two seeds each");
    assert!((least..=most).contains(&count), "{least} {count} {most}");
    // One run at a time by its index, as on a cluster: the plan only grows, and ends as the same study.
    let (mut plan, mut done) = (String::new(), 0);
    loop {
        let longer = lab.headway(&["sweep", "plan", "compare.toml", "--out", "cluster"]).succeed().stdout;
        assert!(longer.starts_with(&plan), "{plan} {longer}");
        if longer.lines().count() == done {
            break;
        }
        plan = longer;
        while done < plan.lines().count() {
            let index = done.to_string();
            let words = ["sweep", "exec", "compare.toml", "--out", "cluster", "--device", "cpu", "--index", &index];
            lab.headway(&words).succeed();
            done += 1;
        }
    }
    lab.headway(&["report", "cluster"]).succeed();
    for table in ["summary.csv", "tuning.csv", "verdicts.csv"] {
        assert_eq!(lab.read(&format!("cluster/{table}")), lab.read(&format!("out/{table}")), "{table}");
    }
}

#[test]
fn what_a_study_costs_is_told_before_it_begins() {
    let lab = lab(&[("compare.toml", COMPARE), ("sweep.toml", SWEEP)]);
    let cost = |file: &str| lab.headway(&["check", file, "--json"]).succeed().json()["runs"].clone();
    // Of attention three rates with two seeds, of each feed-forward row two; and the third seed of each.
    assert_eq!(cost("compare.toml"), json!([3 * 2 + 2 * 2 * 2 + 3, 3 * 2 + 2 * 2 * 2 + 3]));
    assert_eq!(cost("sweep.toml"), json!([6, 6]));
    let said = lab.headway(&["check", "sweep.toml", "--time"]).succeed().stdout;
    assert!(said.contains("6 runs, ") && said.contains(" for all of them at the speed of the first run"), "{said}");
    lab.write("compare.toml", DECIDED);
    assert_eq!(cost("compare.toml"), json!([16, 28]));
    lab.write("depth.toml", DECIDED.replace("reference =", "match = \"depth\"\nreference ="));
    assert_eq!(cost("depth.toml"), json!([16, 28]));
    lab.headway(&["check", "experiment.toml", "--profile", "quick"]).fail(2, &["an experiment has no profiles"]);
    lab.headway(&["check", "sweep.toml", "--profile", "quick"]).fail(2, &["no profile `quick`"]);
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
        ("[\"parameters\", \"flops\"]", "\"watts\"", &["`parameters`, `flops`, `depth` or `none`, or a list of them"]),
        ("[1e-3, 1e-2, 1e30]", "\"serch\"", &["a list of learning rates, or \"search\""]),
        (
            "[\"parameters\", \"flops\"]",
            "[\"parameters\", \"depth\"]",
            &["not as deep as attention on regression: ffn has 1 attention layers, attention has 2"],
        ),
        (
            "free = \"model.state_mixer.ffn.d_ffn\"",
            "free = [\"model.norm\", \"model.state_mixer.ffn.d_ffn\"]",
            &["model.norm is no size of this row's experiment to search around"],
        ),
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
            &["rates and sizes are chosen by the validation loss", "has no validation"],
        ),
    ] {
        assert!(COMPARE.contains(from), "{from}");
        let lab = lab(&[("compare.toml", &COMPARE.replace(from, to))]);
        compare(&lab, &[]).fail(2, texts);
    }
    let lab = lab(&[("sweep.toml", SWEEP)]);
    for (verb, file, text) in [
        ("train", "sweep.toml", "is no experiment but names some; use `headway sweep`"),
        ("show", "compare.toml", "use `headway compare`, or `headway sweep plan`"),
        ("sweep", "experiment.toml", "is an experiment; `headway train` trains it"),
    ] {
        lab.write("compare.toml", COMPARE);
        lab.headway(&[verb, file]).fail(2, &[text]);
    }
    let searched = COMPARE.replace("[1e-2, 1e30]", "\"search\"").replace("[0, 1, 2]", "[0, 1, 1000000]");
    lab.write("compare.toml", searched);
    compare(&lab, &[]).fail(2, &["seeds from 1000000 on choose sizes and rates, and never score", "compare.toml:1:"]);
    let twice = format!("{}\n[[rows]]\nname = \"again\"\n", DECIDED.replace("\"twin\"]", "\"again\"]"));
    lab.write("compare.toml", twice);
    compare(&lab, &[]).fail(2, &["noise_floor: attention and again are the same experiment on regression"]);
    lab.write("decided.toml", SWEEP.replace("{ first = 0, count = 3 }", "{ until = \"decided\", at_most = 9 }"));
    lab.headway(&["sweep", "decided.toml"]).fail(2, &["seeds: a sweep decides nothing"]);
    lab.headway(&["compare", "sweep.toml"]).fail(2, &["has no rows to compare; `headway sweep` runs a sweep"]);
}

#[test]
fn rows_are_tested_at_multiples_of_their_length() {
    const LENGTHS: &str = r#"reference = "rope"
lengths = [1, 2, 3]

[[tasks]]
name = "regression"
experiment = "experiment.toml"
metric = "test/mse"

[[rows]]
name = "rope"
set = { model.position = "rope" }

[[rows]]
name = "kerple"
set = { model.position = "kerple_log" }
"#;
    let lab = lab(&[("compare.toml", LENGTHS)]);
    let page = compare(&lab, &["--json"]).succeed().json();
    let group = &page["groups"][1];
    assert_eq!(group["name"], "regression: kerple");
    let run = &group["runs"][0];
    let results = &run["results"];
    // The run's results are those of its last weights, not of its best.
    let folder = format!("out/runs/{}/checkpoints/step-00000012", run["run_id"].as_str().unwrap());
    let found = lab.headway(&["eval", &folder, "--device", "cpu", "--lengths", "2,3", "--json"]).succeed().json();
    for (row, predictor) in ["network", "least_squares"].into_iter().enumerate() {
        for (at, times) in [2, 3].into_iter().enumerate() {
            let alone = &found["lengths"][at]["rows"].as_array().unwrap().iter().find(|row| row["name"] == predictor);
            let in_run = results.as_array().unwrap().iter().find(|row| row["name"] == predictor).unwrap();
            assert_eq!(in_run["metrics"][format!("test_{times}x/mse")], alone.unwrap()["metrics"]["test/mse"], "{row}");
        }
    }
    let html = lab.read("out/report.html");
    assert!(html.contains("regression: at other lengths") && html.contains("n_points = 12"), "{html}");
    assert!(lab.read("out/results.csv").contains("test_3x/mse"));
    lab.write("compare.toml", LENGTHS.replace("kerple_log", "learned"));
    lab.headway(&["compare", "compare.toml", "--device", "cpu", "--out", "other"])
        .fail(2, &["position.weight belongs to task.icl_linear.n_points = 4", "compare.toml:2:"]);
}
