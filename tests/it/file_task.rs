//! The user's own data: `[task.file]`, from the file to scores in its own units.

use std::{fmt::Write as _, fs};

use headway_exchange::npz;
use headway_model::weights::Array;
use serde_json::Value;

use crate::harness::{Lab, python, there_is};

const EXPERIMENT: &str = "[task.file]\npath = \"data.csv\"\ninputs = [\"a\", \"b\"]\ntargets = [\"y\"]\n\
    [model.transformer]\nd_model = 8\nn_layers = 1\nn_heads = 2\n[train]\nsteps = 4\nbatch_size = 8\neval_every = 2\n";

/// 40 examples of 3 positions; targets of size 1000, at every position or only at the last.
fn table(all: bool, shift: f64) -> String {
    let mut text = "example,a,b,y\n".to_owned();
    for example in 0..40_u32 {
        for position in 0..3_u32 {
            let a = f64::from((example * 7 + position * 5) % 11);
            let b = f64::from((example * 3 + position * 2) % 13) / 10.0;
            let y = if all || position == 2 {
                format!("{}", 1000.0 + 200.0 * a - 300.0 * b + shift)
            } else {
                String::new()
            };
            writeln!(text, "{example},{a},{b},{y}").unwrap();
        }
    }
    text
}

fn record(lab: &Lab, run: &str) -> Value {
    serde_json::from_str(&lab.read(&format!("{run}/run.json"))).unwrap()
}

fn score(record: &Value, predictor: &str, name: &str) -> f64 {
    let rows = record["results"].as_array().unwrap();
    let row = rows.iter().find(|row| row["name"] == predictor).unwrap_or_else(|| panic!("{predictor}: {rows:?}"));
    row["metrics"][name].as_f64().unwrap_or_else(|| panic!("{name}: {row}"))
}

#[test]
fn scores_are_in_the_units_of_the_data_and_other_data_is_another_run() {
    let lab = Lab::with(EXPERIMENT);
    lab.write("data.csv", table(true, 0.0));
    lab.train("run", &[]).succeed();
    let first = record(&lab, "run");
    // y is linear in a and b: least squares is exact, and the error of the mean is the spread of y, which is hundreds.
    assert!(score(&first, "per_position_least_squares", "test/mae") < 0.01);
    assert!(score(&first, "mean", "test/mae") > 100.0 && score(&first, "mean", "test/mse") > 1e4);
    assert!(score(&first, "network", "test/mae") > 1.0 && score(&first, "network", "test/loss") < 100.0);
    // Evaluated again, by the same file under another name.
    let again = lab.headway(&["eval", "run", "--device", "cpu", "--json"]).succeed();
    assert!(again.stdout.contains("test/mae"), "{}", again.stdout);

    lab.write("data.csv", table(true, 1.0));
    lab.headway(&["eval", "run", "--device", "cpu"])
        .fail(3, &["error: task.file.path: ", "holds other data than when it was first read"]);
    // Sizes edited by hand are not trusted.
    let found = lab.read("run/experiment.toml").replace("examples = 40", "examples = 4000");
    lab.write("found.toml", found.replace("train = 32", "train = 3200"));
    lab.write("data.csv", table(true, 0.0));
    lab.headway(&["train", "found.toml", "--device", "cpu", "--out", "found"])
        .fail(2, &["task.file.found: is not what"]);
    lab.write("data.csv", table(true, 1.0));
    lab.train("other", &[]).succeed();
    assert_ne!(record(&lab, "other")["run_id"], first["run_id"]);
    let digest = |record: &Value| record["data_sha256"].as_str().unwrap().to_owned();
    assert!(lab.read("run/experiment.toml").contains(&digest(&first)) && digest(&first).len() == 64);
    assert_ne!(digest(&record(&lab, "other")), digest(&first));
    // The same data at another path gives the same run.
    fs::create_dir(lab.path("elsewhere")).unwrap();
    lab.write("elsewhere/moved.csv", table(true, 0.0));
    lab.train("moved", &["-s", "task.path=elsewhere/moved.csv"]).succeed();
    assert_eq!(record(&lab, "moved")["run_id"], first["run_id"]);
}

/// In the order of the file the last tenth is the test set, and the error of the mean there can be computed by hand.
/// What depends linearly on other positions is what least squares of the whole sequence find, and those of each position don't.
#[test]
fn running_sums_are_linear_in_the_whole_sequence() {
    let lab = Lab::with(EXPERIMENT);
    let mut text = "example,a,b,y\n".to_owned();
    for example in 0..60_u32 {
        let mut sum = 0.0;
        for position in 0..4_u32 {
            let [a, b] =
                [f64::from((example * example * 7 + position * 5) % 23), f64::from((example * 11 + position * 3) % 29)];
            sum += a - b;
            writeln!(text, "{example},{a},{b},{sum}").unwrap();
        }
    }
    lab.write("data.csv", text);
    lab.train("run", &[]).succeed();
    let found = record(&lab, "run");
    assert!(score(&found, "flattened_least_squares", "test/mae") < 0.01);
    assert!(score(&found, "per_position_least_squares", "test/mae") > 1.0);
}

#[test]
fn errors_of_the_mean_are_those_by_hand() {
    let lab = Lab::with(EXPERIMENT);
    let text = table(false, 0.0);
    lab.write("data.csv", &text);
    lab.train("run", &["-s", "task.shuffle=false"]).succeed();
    let targets: Vec<f64> = text.lines().filter_map(|line| line.rsplit(',').next()?.parse().ok()).collect();
    assert_eq!(targets.len(), 40);
    let mean = targets[..32].iter().sum::<f64>() / 32.0;
    let error = |of: fn(f64) -> f64| targets[36..].iter().map(|target| of(target - mean)).sum::<f64>() / 4.0;
    let record = record(&lab, "run");
    for (name, by_hand) in [("test/mse", error(|e| e * e)), ("test/mae", error(f64::abs))] {
        let scored = score(&record, "mean", name);
        assert!((scored / by_hand - 1.0).abs() < 1e-5, "{name}: {scored}, by hand {by_hand}");
    }
}

#[test]
fn arrays_of_numpy_hold_vectors_or_tokens() {
    let array = |shape: &[usize], value: fn(usize) -> usize| Array {
        shape: shape.to_vec(),
        values: (0..shape.iter().product()).map(|at| value(at) as f32).collect(),
    };
    let lab = Lab::with(&EXPERIMENT.replace("data.csv", "data.npz"));
    let write = |x: Array, y: Array| {
        lab.write("data.npz", npz::write(&[("a".to_owned(), x), ("y".to_owned(), y)].into()).unwrap());
    };
    let train = |out: &str| lab.train(out, &["-s", "task.inputs=[\"a\"]"]);
    write(array(&[30, 3, 2], |at| at % 7), array(&[30, 3, 1], |at| at % 5));
    train("vectors").succeed();
    // One class per sequence of tokens.
    write(array(&[30, 3], |at| at % 7), array(&[30], |at| at % 5));
    train("tokens").succeed();
    let found = lab.read("tokens/experiment.toml");
    assert!(found.contains("vocab = 7") && found.contains("d_out = 5") && found.contains("examples = 30"), "{found}");
    let record = record(&lab, "tokens");
    assert!((score(&record, "chance", "test/loss") - 5.0_f64.ln()).abs() < 1e-5);
    // Numbers of whole sequences that may be meant one by one.
    let doubted = "warning: targets [30, 3] are read as 3 numbers of each whole sequence";
    for (targets, asked, is_doubted) in
        [(&[30, 3][..], "3 outputs at the last", true), (&[30, 3, 1], "1 output at each", false)]
    {
        write(array(&[30, 3, 2], |at| at % 7), array(targets, |at| at % 5));
        let said = lab.headway(&["check", "experiment.toml", "-s", "task.inputs=[\"a\"]", "--device", "cpu"]).succeed();
        assert_eq!(said.stderr.contains(doubted), is_doubted, "{}", said.stderr);
        let read =
            format!("24 examples to train on, 3 and 3 to judge by: 3 positions with 2 numbers each, and {asked}");
        assert!(said.stdout.contains(&read), "{}", said.stdout);
    }
    write(array(&[30, 3], |at| at % 7), array(&[29], |at| at % 5));
    train("wrong").fail(2, &["inputs [30, 3] and targets [29] do not go together"]);
}

/// Parts by ranges and by groups: which examples are the test is told by what the mean scores there.
#[test]
fn parts_are_ranges_or_whole_groups() {
    let lab = Lab::with(EXPERIMENT);
    // The target is the number of the example; groups of 4 stand apart from each other.
    let line = |at: u32| format!("{at},{},0.5,{at},g{}\n", at % 5, at % 10);
    lab.write("data.csv", "example,a,b,y,station\n".to_owned() + &(0..40).map(line).collect::<String>());
    let mae_of_mean = |train: &[u32], test: &[u32]| {
        let mean = f64::from(train.iter().sum::<u32>()) / train.len() as f64;
        test.iter().map(|y| (f64::from(*y) - mean).abs()).sum::<f64>() / test.len() as f64
    };
    let train = |out: &str, set: &[&str]| {
        let words: Vec<&str> = set.iter().flat_map(|set| ["-s", set]).collect();
        lab.train(out, &words).succeed();
        score(&record(&lab, out), "mean", "test/mae")
    };
    let numbers = |range: std::ops::Range<u32>| range.collect::<Vec<_>>();
    let scored = train("ranges", &["task.split={train=[10,30],test=[0,5]}"]);
    assert!((scored - mae_of_mean(&numbers(10..30), &numbers(0..5))).abs() < 1e-4, "{scored}");
    // In the order of the file: the last tenth is the last group.
    let groups = |range: std::ops::Range<u32>| (0..40).filter(|at| range.contains(&(at % 10))).collect::<Vec<_>>();
    let scored = train("groups", &["task.group=station", "task.shuffle=false"]);
    assert!((scored - mae_of_mean(&groups(0..8), &groups(9..10))).abs() < 1e-4, "{scored}");
    // The same for every seed, so that seeds are of one experiment.
    train("one", &["task.group=station", "seed=1"]);
    train("two", &["task.group=station", "seed=2"]);
    let id = |run: &str| record(&lab, run)["run_id"].as_str().unwrap().split('-').next().unwrap().to_owned();
    assert_eq!(id("one"), id("two"));
    for (set, problem) in [
        ("task.split={train=[0,30],test=[29,40]}", "train and test share examples"),
        ("task.split={train=[0,30],test=[30,41]}", "test = [30, 41] goes beyond the 40 examples"),
        ("task.split=0.8", "give shares, as in [0.8, 0.1, 0.1], or ranges"),
        ("task.split={train=[0,9000000000000],test=[0,1]}", "train = [0, 9000000000000] goes beyond the 40 examples"),
        ("task.group=b", "`b` has one value alone; at least 2 groups are needed"),
        ("task.tokens=3", "2 columns of tokens; name one"),
    ] {
        lab.headway(&["check", "experiment.toml", "-s", set]).fail(2, &[problem]);
    }
    let sets = ["-s", "task.split={train=[0,30],test=[30,40]}", "-s", "task.shuffle=true"];
    lab.headway(&[&["check", "experiment.toml"], &sets[..]].concat()).fail(2, &["task.file.shuffle: ranges say which"]);
    // Its resolved experiment, which says all keys, is one to begin with.
    lab.headway(&["check", "ranges/experiment.toml"]).succeed();
    // Refused before any range is counted out.
    let sets = ["-s", "task.split={train=[0,9000000000000],test=[0,1]}", "-s", "task.group=station"];
    lab.headway(&[&["check", "experiment.toml"], &sets[..]].concat()).fail(2, &["task.file.split: ranges say it all"]);
}

/// A horizon of 2 steps after 3 positions, from a file that numpy compressed; answers have its shape.
#[test]
fn a_horizon_is_read_at_the_end_and_answered_in_its_shape() {
    if !there_is("numpy") {
        return;
    }
    let lab = Lab::with(
        &EXPERIMENT
            .replace("data.csv", "data.npz")
            .replace("[\"a\", \"b\"]", "[\"inputs\"]")
            .replace("[\"y\"]", "[\"targets\"]"),
    );
    let write = |targets: &str| {
        let script = format!(
            "import numpy as np\nx = np.arange(40 * 3 * 2).reshape(40, 3, 2) % 7\n\
             np.savez_compressed('{}', inputs=x, targets={targets}, note=np.array(['no', 'numbers']))",
            lab.path("data.npz").display()
        );
        assert!(python().args(["-c", &script]).status().unwrap().success());
    };
    write("1000.0 + x[:, 1:, :1]");
    lab.train("run", &[]).succeed();
    assert!(lab.read("run/experiment.toml").contains("d_out = 2"));
    let predict = |run: &str, out: &str| {
        lab.headway(&["predict", run, "--device", "cpu", "--inputs", "data.npz", "--out", out]).succeed();
        npz::read(&fs::read(lab.path(out)).unwrap()).unwrap().remove("outputs").unwrap()
    };
    let answers = predict("run", "out.npz");
    assert_eq!(answers.shape, [40, 2, 1]);
    assert!(
        answers.values.iter().all(|answer| (answer - 1003.0).abs() < 30.0),
        "in the units of the data: {answers:?}"
    );
    // The last position alone is computed; a run of an older version, which does not say so, pads the others and has the same scores.
    let resolved = lab.read("run/experiment.toml");
    lab.write("old.toml", resolved.replace("asked = 1\n", ""));
    lab.headway(&["train", "old.toml", "--device", "cpu", "--out", "old"]).succeed();
    assert!(resolved.contains("asked = 1") && !lab.read("old/experiment.toml").contains("asked"));
    let [new, old] = ["run", "old"].map(|run| record(&lab, run));
    for (predictor, name) in [("network", "test/mse"), ("per_position_least_squares", "test/mse"), ("mean", "test/mae")]
    {
        let [new, old] = [&new, &old].map(|record| score(record, predictor, name));
        assert!((new / old - 1.0).abs() < 1e-5, "{predictor}: {new}, and padded {old}");
    }
    // As long as the sequence, it is one if it is said to be.
    write("1000.0 + x[:, :, :1]");
    lab.train("positions", &[]).succeed();
    assert_eq!(predict("positions", "positions.npz").shape, [40, 3, 1]);
    lab.train("horizon", &["-s", "task.horizon=true"]).succeed();
    assert!(lab.read("horizon/experiment.toml").contains("d_out = 3"));
    assert_eq!(predict("horizon", "horizon.npz").shape, [40, 3, 1]);
}

#[test]
fn resuming_asks_for_the_same_data() {
    let lab = Lab::with(EXPERIMENT);
    lab.write("data.csv", table(false, 0.0));
    lab.train("whole", &[]).succeed();
    lab.train("run", &[]).fault("step:3").be_killed();
    lab.write("data.csv", table(false, 1.0));
    lab.resume("run").fail(3, &["holds other data than when it was first read"]);
    fs::remove_file(lab.path("data.csv")).unwrap();
    lab.resume("run").fail(2, &["task.file.path", "data.csv"]);
    lab.write("data.csv", table(false, 0.0));
    lab.resume("run").succeed();
    assert_eq!(record(&lab, "run")["results"], record(&lab, "whole")["results"]);
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_place() {
    let lab = Lab::with(EXPERIMENT);
    let check = |problem: &str| lab.headway(&["check", "experiment.toml"]).fail(2, &["task.file.path", problem]);
    lab.write(
        "unopened.toml",
        "[task.file]\npath = \"no.csv\"\ninputs = [\"a\"]\ntargets = [\"b\"]\n[model.transformer]\n",
    );
    let refused = lab.headway(&["check", "unopened.toml"]).fail(2, &["task.file.path"]).stderr;
    assert_eq!(refused.matches("task.file.path:").count(), 1, "one fault is said once: {refused}");
    check("data.csv");
    for (table, problem) in [
        ("a,b,y\n1,2,3\n1,x,3\n", "line 3, column `b`: `x` is no number"),
        ("a,b,z\n1,2,3\n", "no column `y`; there are: a, b, z"),
        ("a,b,y\n1,2\n", "line 2: 2 cells, the first line names 3 columns"),
        ("example,a,b,y\n1,1,2,3\n1,1,2,3\n2,1,2,3\n", "example 2: 1 lines, the first has 2"),
        ("a,b,y\n", "no examples"),
        ("a,b,y\n1,2,3\n", "at least 2"),
    ] {
        lab.write("data.csv", table);
        check(problem);
    }
}
