//! Studies that are killed or stopped end like those that were not.

use super::*;

/// Longer runs, so that kills occur at every stage. A run whose study is killed may still save where it stops; with one newest
/// checkpoint to keep, that one is gone in the end.
fn long() -> String {
    SWEEP.replace("train.batch_size = 3", "train.steps = 150\ntrain.keep_last = 1\ntrain.batch_size = 3")
}

#[test]
fn a_sweep_killed_ten_times_ends_as_one_that_never_was() {
    let lab = lab(&[("sweep.toml", &long())]);
    lab.headway(&["sweep", "sweep.toml", "--device", "cpu", "--out", "straight"]).succeed();
    let straight = runs(&lab, "straight");
    // Moments distributed over the whole sweep, in random order.
    for kill in 0..10_u64 {
        let running = sweep(&lab, &["--jobs", "2"]).start();
        thread::sleep(Duration::from_millis(30 + 97 * (kill * 7 % 10)));
        running.signal("KILL");
        running.wait();
    }
    sweep(&lab, &[]).succeed();
    let killed = runs(&lab, "out");
    assert_eq!(killed.keys().collect::<Vec<_>>(), straight.keys().collect::<Vec<_>>());
    for (name, run) in killed {
        run.assert_same(&straight[&name], &name);
    }
    let means = |out: &str| lab.read(&format!("{out}/summary.csv"));
    assert_eq!(means("out"), means("straight"));
}

#[test]
fn a_comparison_killed_while_it_chooses_ends_as_one_that_never_was() {
    let text = comparisons::COMPARE
        .replace("1e30", "3e-2")
        .replace("name = \"regression\"", "set = { train.steps = 60, train.keep_last = 1 }\nname = \"regression\"");
    let lab = lab(&[("compare.toml", &text)]);
    let compare = |out: &str| lab.headway(&["compare", "compare.toml", "--device", "cpu", "--out", out, "--jobs", "2"]);
    compare("straight").succeed();
    for kill in 0..6_u64 {
        let running = compare("out").start();
        thread::sleep(Duration::from_millis(40 + 180 * (kill * 5 % 6)));
        running.signal("KILL");
        running.wait();
    }
    compare("out").succeed();
    let [killed, straight] = ["out", "straight"].map(|out| runs(&lab, out));
    assert_eq!(killed.keys().collect::<Vec<_>>(), straight.keys().collect::<Vec<_>>());
    for (name, run) in killed {
        run.assert_same(&straight[&name], &name);
    }
    assert_eq!(lab.read("out/summary.csv"), lab.read("straight/summary.csv"));
}

#[test]
fn a_comparison_killed_while_it_searches_and_decides_ends_as_one_that_never_was() {
    let lab = lab(&[("compare.toml", comparisons::SEARCHED)]);
    let compare = |out: &str| lab.headway(&["compare", "compare.toml", "--device", "cpu", "--out", out, "--jobs", "2"]);
    compare("straight").succeed();
    for kill in 0..6_u64 {
        let running = compare("out").start();
        thread::sleep(Duration::from_millis(150 + 350 * (kill * 5 % 6)));
        running.signal("KILL");
        running.wait();
    }
    compare("out").succeed();
    let [killed, straight] = ["out", "straight"].map(|out| runs(&lab, out));
    assert_eq!(killed.keys().collect::<Vec<_>>(), straight.keys().collect::<Vec<_>>());
    for (name, run) in killed {
        run.assert_same(&straight[&name], &name);
    }
    for table in ["summary.csv", "tuning.csv", "verdicts.csv"] {
        assert_eq!(lab.read(&format!("out/{table}")), lab.read(&format!("straight/{table}")), "{table}");
    }
}

#[test]
fn a_signal_stops_every_run_after_saving_it() {
    let lab =
        lab(&[("sweep.toml", &SWEEP.replace("train.batch_size = 3", "train.steps = 100000\ntrain.batch_size = 3"))]);
    let mut running = sweep(&lab, &["--jobs", "2"]).start();
    let plan = lab.headway(&["sweep", "plan", "sweep.toml", "--out", "out"]).succeed().stdout;
    let started = |line: &str| lab.path("out/runs").join(line.split('\t').nth(1).unwrap()).join("metrics.jsonl");
    let files: Vec<_> = plan.lines().map(started).collect();
    let deadline = Instant::now() + Duration::from_mins(1);
    while files.iter().filter(|file| has_content(file)).count() < 2 {
        assert!(Instant::now() < deadline, "two runs never began");
        thread::sleep(Duration::from_millis(5));
    }
    running.signal("INT");
    let finished = running.wait();
    assert_eq!(finished.status.code(), Some(130), "{finished:#?}");
    assert!(finished.stderr.contains("headway sweep out"), "{finished:#?}");
    assert_eq!(standings(&lab).iter().filter(|standing| *standing == "stopped").count(), 2);
    let records = files.iter().filter_map(|file| fs::read_to_string(file.with_file_name("run.json")).ok());
    assert_eq!(records.filter(|record| record.contains("\"status\": \"interrupted\"")).count(), 2);
    running = sweep(&lab, &[]).start();
    let deadline = Instant::now() + Duration::from_mins(1);
    while !standings(&lab).contains(&"running".to_owned()) {
        assert!(Instant::now() < deadline, "no run went on");
    }
    running.signal("TERM");
    assert_eq!(running.wait().status.code(), Some(143));
}

fn has_content(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.len() > 0)
}

#[test]
fn two_leaders_do_not_share_a_folder() {
    let lab =
        lab(&[("sweep.toml", &SWEEP.replace("train.batch_size = 3", "train.steps = 100000\ntrain.batch_size = 3"))]);
    let mut running = sweep(&lab, &[]).start();
    running.wait_for(&lab.path("out/sweep.toml"));
    thread::sleep(Duration::from_millis(200));
    sweep(&lab, &[]).fail(2, &["out is in use by another process"]);
    running.signal("TERM");
    running.wait();
}
