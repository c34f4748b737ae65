//! Data of one's own: `[task.file]`, from the file to scores in its own units.

use std::{fmt::Write as _, fs};

use headway_exchange::npz;
use headway_model::weights::Array;
use serde_json::Value;

use crate::harness::Lab;

const EXPERIMENT: &str = "[task.file]\npath = \"data.csv\"\ninputs = [\"a\", \"b\"]\ntargets = [\"y\"]\n\
    [model.transformer]\nd_model = 8\nn_layers = 1\nn_heads = 2\n[train]\nsteps = 4\nbatch_size = 8\neval_every = 2\n";

/// 40 examples of 3 positions; targets of the size 1000, at every position or at the last alone.
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
    // y is linear in a and b: least squares is exact, and the mean is off by the spread of y, which is hundreds.
    assert!(score(&first, "per_position_least_squares", "test/mae") < 0.01);
    assert!(score(&first, "mean", "test/mae") > 100.0 && score(&first, "mean", "test/mse") > 1e4);
    assert!(score(&first, "network", "test/mae") > 1.0 && score(&first, "network", "test/loss") < 100.0);
    // Evaluated again, by the same file under another name.
    let again = lab.headway(&["eval", "run", "--device", "cpu", "--json"]).succeed();
    assert!(again.stdout.contains("test/mae"), "{}", again.stdout);

    lab.write("data.csv", table(true, 1.0));
    lab.headway(&["eval", "run", "--device", "cpu"]).fail(3, &["holds other data than when it was first read"]);
    // What a person writes over what was found is not believed.
    let found = lab.read("run/experiment.toml").replace("examples = 40", "examples = 4000");
    lab.write("found.toml", found.replace("train = 32", "train = 3200"));
    lab.write("data.csv", table(true, 0.0));
    lab.headway(&["train", "found.toml", "--device", "cpu", "--out", "found"]).fail(3, &["holds other data"]);
    lab.write("data.csv", table(true, 1.0));
    lab.train("other", &[]).succeed();
    assert_ne!(record(&lab, "other")["run_id"], first["run_id"]);
    // The same data in another place is the same run.
    fs::create_dir(lab.path("elsewhere")).unwrap();
    lab.write("elsewhere/moved.csv", table(true, 0.0));
    lab.train("moved", &["-s", "task.path=elsewhere/moved.csv"]).succeed();
    assert_eq!(record(&lab, "moved")["run_id"], first["run_id"]);
}

/// In the order of the file the last tenth is the test, and what the mean scores there can be had by hand.
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
    // A class for a sequence of tokens.
    write(array(&[30, 3], |at| at % 7), array(&[30], |at| at % 5));
    train("tokens").succeed();
    let found = lab.read("tokens/experiment.toml");
    assert!(found.contains("vocab = 7") && found.contains("d_out = 5") && found.contains("examples = 30"), "{found}");
    let record = record(&lab, "tokens");
    assert!((score(&record, "chance", "test/loss") - 5.0_f64.ln()).abs() < 1e-5);
    write(array(&[30, 3], |at| at % 7), array(&[29], |at| at % 5));
    train("wrong").fail(2, &["inputs [30, 3] and targets [29] do not go together"]);
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
