//! Run folders that are taken, full, locked, or not runs.

use super::*;

#[test]
fn output_folders_that_are_taken() {
    let lab = lab_with_run();
    let texts = ["run is not empty; choose another folder with --out", "`headway resume run`"];
    lab.train("run", &[]).fail(2, &texts);
    lab.train("run", &["--dry-run"]).fail(2, &texts);
    // A folder that is not a run.
    fs::create_dir(lab.path("thesis")).unwrap();
    lab.write("thesis/chapter.tex", "");
    let said = lab.train("thesis", &[]).fail(2, &["thesis is not empty, and what it holds is no run"]);
    assert!(!said.stderr.contains("resume"), "{said:?}");
    // An empty folder is accepted.
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
    // Enough time to examine the folder, which is free, and to wait for the lock.
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
    // In blocks of 512 bytes, which are fewer than the weights need.
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
    // Everything except the record exists, and the run continues from it.
    let said = lab.resume("run").succeed();
    let texts = ["run/run.json is damaged", "Going on from run/checkpoints/step-00000002", "run/run.json.aside-1"];
    assert!(texts.iter().all(|text| said.said().contains(text)), "{said:?}");
    assert_eq!(lab.read("run/run.json.aside-1"), record[..record.len() / 2]);
    lab.run("run").assert_same(&lab.run("sound"), "with a new record");
}
