//! `[task.forecast]`: from a table of series to scores, and to the steps that follow its last.

use std::fmt::Write;

use serde_json::Value;

use crate::harness::{Lab, packed};

const EXPERIMENT: &str = "[task.forecast]\npath = \"series.csv\"\nwindow = 6\nhorizon = 3\nperiod = 4\n\
    [model.csformer]\nd_model = 8\nn_layers = 1\nn_heads = 2\nd_adapter = 5\npatch = 2\n\
    [train]\nsteps = 6\nbatch_size = 5\neval_every = 3\ncheckpoint_every = 3\n";

/// Two series over 90 days, newest first.
fn series(more: f64) -> String {
    (0..90).rev().fold("date,a,b\n".to_owned(), |mut text, day| {
        let x = f64::from(day);
        writeln!(text, "2024-{:02}-{:02},{},{}", day / 28 + 1, day % 28 + 1, (x * 0.7).sin() * 5.0 + more, 100.0 + x)
            .unwrap();
        text
    })
}

fn trained(more: &[&str]) -> Lab {
    let lab = Lab::with(EXPERIMENT);
    lab.write("series.csv", series(0.0));
    lab.train("run", more).succeed();
    lab
}

#[test]
fn networks_and_classical_predictors_have_the_same_scores_and_a_changed_file_is_refused() {
    let lab = trained(&[]);
    let record: Value = serde_json::from_str(&lab.read("run/run.json")).unwrap();
    let rows = record["results"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["network", "mean", "last_value", "seasonal", "ridge", "ridge_per_channel"]);
    for row in rows {
        let metrics = row["metrics"].as_object().unwrap();
        for score in
            ["loss", "mse", "mae", "scaled_mae", "scaled_mse[step=1]", "scaled_mse[step=3]", "mse[a]", "mae[b]"]
        {
            assert!(metrics[&format!("test/{score}")].as_f64().unwrap() >= 0.0, "{row}");
        }
        let of = |name: &str| metrics[&format!("test/{name}")].as_f64().unwrap();
        assert!((of("mse") / f64::midpoint(of("mse[a]"), of("mse[b]")) - 1.0).abs() < 1e-9, "{row}");
    }
    // A series that rises by 1 a day is off by 1, 2, 3 for its last value, and by 4 for its value 4 days ago.
    let of = |row: usize, name: &str| rows[row]["metrics"][format!("test/{name}")].as_f64().unwrap();
    assert!((of(2, "mae[b]") - 2.0).abs() < 1e-4 && (of(3, "mae[b]") - 4.0).abs() < 1e-4, "{rows:?}");
    assert!(of(5, "mae[b]") < 1e-2, "{rows:?}");

    lab.write("series.csv", series(1.0));
    lab.headway(&["eval", "run", "--device", "cpu"])
        .fail(3, &["series.csv holds other data than when it was first read: sha256 "]);
}

/// The answer is that of the newest window, in the units of the file, whatever the order of its lines and columns.
#[test]
fn the_next_steps_follow_the_newest_of_a_table() {
    for more in ["task.from_last=true", "task.from_last=false"] {
        let lab = trained(&["-s", more]);
        let mut lines: Vec<String> = series(0.0).lines().skip(1).take(6).map(str::to_owned).collect();
        lab.write("newest.csv", format!("date,a,b\n{}\n", lines.join("\n")));
        lines.reverse();
        let swapped = lines.iter().map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            format!("{},{},{}", cells[2], cells[0], cells[1])
        });
        lab.write("oldest.csv", format!("b,date,a\n{}\n", swapped.collect::<Vec<_>>().join("\n")));
        let answer = |name: &str| {
            let out = format!("{name}-answers.csv");
            lab.headway(&["predict", "run", "--inputs", &format!("{name}.csv"), "--out", &out, "--device", "cpu"])
                .succeed();
            lab.read(&out)
        };
        let found = answer("newest");
        assert_eq!(found, answer("oldest"));
        lab.write("packed.csv.gz", packed(&lab.read("newest.csv")));
        let words = ["predict", "run", "--inputs", "packed.csv.gz", "--out", "unpacked.csv", "--device", "cpu"];
        lab.headway(&words).succeed();
        assert_eq!(lab.read("unpacked.csv"), found);
        let found: Vec<Vec<f64>> =
            found.lines().skip(1).map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect()).collect();
        assert_eq!(found.iter().map(|row| row[0]).collect::<Vec<_>>(), [1.0, 2.0, 3.0]);
        // The same window by hand: JSON, positions of two numbers.
        let window: Vec<Vec<f64>> =
            lines.iter().map(|line| line.split(',').skip(1).map(|cell| cell.parse().unwrap()).collect()).collect();
        let predictor = headway_trainer::predict::Predictor::load(
            &lab.path("run"),
            None,
            &headway_trainer::device::DeviceSpec::Cpu.open().unwrap().0,
        );
        let by_json = predictor.unwrap().json(&serde_json::to_vec(&window).unwrap(), "window").unwrap();
        let by_json: Vec<Vec<f64>> = serde_json::from_value(serde_json::to_value(by_json.outputs).unwrap()).unwrap();
        for (row, other) in found.iter().zip(&by_json) {
            assert!(
                row[1..].iter().zip(other).all(|(a, b)| (a - b).abs() < 1e-4 * b.abs().max(1.0)),
                "{found:?} {by_json:?}"
            );
        }
        // In the units of the file: near the last day's 189, not near 0.
        assert!(found.iter().all(|row| (row[2] - 189.0).abs() < 80.0), "{found:?}");
        lab.write("short.csv", "date,a,b\n2024-01-01,1,2\n");
        lab.headway(&["predict", "run", "--inputs", "short.csv", "--out", "no.csv", "--device", "cpu"])
            .fail(2, &["short.csv: holds 1 times, and a forecast sees 6"]);
    }
}

/// Ridge keeps products of all numbers of a window, which a machine cannot hold for any window.
#[test]
fn windows_that_ridge_cannot_hold_are_refused_before_training() {
    let keys = "window = 400000\nhorizon = 1\npatch = 400000\nstride = 100000\n";
    let lab = Lab::with(&format!(
        "[task.forecast]\npath = \"series.csv\"\n{keys}[model.transformer]\nd_model = 4\nn_heads = 2\nn_layers = 1\n"
    ));
    lab.write("series.csv", (0..600_000).fold("time,x\n".to_owned(), |text, at| text + &format!("{at},{}\n", at % 7)));
    let said = ["the classical predictors of forecast need about 2.560e3 GB", "lower the sizes of [task]"];
    lab.headway(&["check", "experiment.toml", "--device", "cpu"]).fail(4, &said);
}
