//! A run that was stopped, in any way and any number of times, ends with the same bits as one that was not.

use std::{collections::BTreeMap, fs, path::Path, thread};

use serde_json::{Value, json};

use crate::harness::{Finished, Lab, RunFiles, there_is, whole_checkpoints};

/// Fresh data, two micro-batches per step, warm-up and cosine, clipping.
const IN_CONTEXT: &str = r"
seed = 3
[task.icl_linear]
d = 3
n_points = 4
[data.fresh]
validation = 8
test = 8
[model.transformer]
d_model = 8
n_layers = 2
n_heads = 2
[optimizer.adam]
learning_rate = 1e-2
[schedule.cosine]
warmup_steps = 3
[train]
steps = 12
batch_size = 4
accumulate = 2
clip_norm = 0.5
log_every = 1
eval_every = 4
checkpoint_every = 3
";

/// Fixed data whose last batch is smaller, with checkpoints at other steps than evaluations.
const PAPER: &str = r#"
[task.truncated_linear]
seq_len = 5
d_in = 3
low = -1.0
high = 1.0
[data.fixed]
train = 11
validation = 6
test = 6
[model.paper_one_layer]
d_model = 6
n_heads = 2
n_anchors = 3
[train]
steps = 12
batch_size = 4
loss = "padded"
log_every = 1
eval_every = 4
checkpoint_every = 5
"#;

/// Tokens, momentum, a feed-forward network, no validation, and steps that are not logged.
const TOKENS: &str = r#"
[task.copy]
vocab = 5
n_data = 3
[data.fixed]
train = 10
test = 4
[model.transformer]
d_model = 6
n_layers = 1
n_heads = 3
norm = "none"
position = "sinusoidal"
state_mixer = { ffn = { d_ffn = 7 } }
[optimizer.sgd]
learning_rate = 0.1
momentum = 0.9
weight_decay = 0.01
[schedule.linear]
final_fraction = 0.1
[train]
steps = 12
batch_size = 3
log_every = 5
checkpoint_every = 3
"#;

/// Few steps and many files: every checkpoint replaces the previous one, except that of step 2, which remains the best.
const SHORT: [&str; 10] = [
    "-s",
    "train.steps=4",
    "-s",
    "train.checkpoint_every=1",
    "-s",
    "train.eval_every=2",
    "-s",
    "train.keep_last=1",
    "-s",
    "optimizer={sgd={learning_rate=5, momentum=0.1}}",
];

/// Long enough to be stopped by hand.
const LONG: [&str; 8] =
    ["-s", "train.steps=2000", "-s", "train.checkpoint_every=0", "-s", "train.eval_every=0", "-s", "train.keep_last=1"];

fn record(lab: &Lab, run: &str) -> Value {
    serde_json::from_str(&lab.read(&format!("{run}/run.json"))).unwrap()
}

fn newest(root: &Path) -> Option<u64> {
    whole_checkpoints(root).last().copied()
}

/// Step of the newest checkpoint, by its name alone, since a run in progress deletes others meanwhile.
fn newest_seen(root: &Path) -> Option<u64> {
    let names =
        fs::read_dir(root.join("checkpoints")).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.strip_prefix("step-")?.parse().ok()).max()
}

fn killed_after_every_step(experiment: &str, steps: u64, more: &[&str]) {
    let lab = Lab::with(experiment);
    lab.train("straight", more).threads(1).succeed();
    lab.train("threads", more).threads(2).succeed();
    let straight = lab.run("straight");
    lab.run("threads").assert_same(&straight, "two threads");
    assert_eq!(newest(&lab.path("straight")), Some(steps));
    for step in 1..=steps {
        let run = format!("killed-{step}");
        let (before, after) = if step % 2 == 0 { (1, 2) } else { (2, 1) };
        lab.train(&run, more).threads(before).fault(&format!("step:{step}")).be_killed();
        assert_eq!(record(&lab, &run)["status"], "running");
        lab.resume(&run).threads(after).succeed();
        lab.run(&run).assert_same(&straight, &format!("killed after step {step}"));
    }
}

#[test]
fn in_context_regression_killed_after_every_step() {
    killed_after_every_step(IN_CONTEXT, 12, &[]);
}

#[test]
fn the_papers_model_killed_after_every_step() {
    killed_after_every_step(PAPER, 12, &[]);
}

#[test]
fn tokens_with_momentum_killed_after_every_step() {
    killed_after_every_step(TOKENS, 12, &[]);
}

#[test]
fn adamw_killed_after_every_step() {
    killed_after_every_step(IN_CONTEXT, 4, &["-s", "optimizer={adamw={weight_decay=0.1}}", "-s", "train.steps=4"]);
}

#[test]
fn muon_with_a_group_killed_after_every_step() {
    let muon = "optimizer={muon={group=[{match='*.bias', learning_rate_factor=3.0, weight_decay=0.1}]}}";
    killed_after_every_step(IN_CONTEXT, 4, &["-s", muon, "-s", "train.steps=4"]);
}

#[test]
fn directions_that_are_drawn_anew_killed_after_every_step() {
    let favor = ["-s", "model.kernel={favor={n_features=5, redraw_every=2}}", "-s", "train.steps=5"];
    killed_after_every_step(IN_CONTEXT, 5, &favor);
}

#[test]
fn early_stopping_killed_after_every_step() {
    // No improvement is ever this large, so the third evaluation ends training.
    let early = [
        "-s",
        "train.early_stopping={patience=2, min_delta=1e6}",
        "-s",
        "train.eval_every=2",
        "-s",
        "train.checkpoint_every=4",
    ];
    killed_after_every_step(IN_CONTEXT, 6, &early);
    let lab = Lab::with(IN_CONTEXT);
    let ended = lab.train("run", &[&early[..], &["--json"]].concat()).succeed().json();
    assert_eq!((&ended["status"], &ended["step"]), (&json!("stopped_early"), &json!(6)));
    // The best, and the last two.
    assert_eq!(whole_checkpoints(&lab.path("run")), [2, 4, 6]);
    // What was scored is what was saved.
    let scored = lab.headway(&["eval", "run/checkpoints/step-00000006", "--device", "cpu", "--json"]).succeed().json();
    assert_eq!(scored["metrics"], ended["metrics"]);
}

#[test]
fn matrices_large_enough_to_be_split_over_threads() {
    let sizes = ["-s", "task.d=5", "-s", "task.n_points=40", "-s", "model.d_model=64", "-s", "model.n_heads=4"];
    let rhythm = ["-s", "train.batch_size=32", "-s", "train.steps=3", "-s", "train.checkpoint_every=1"];
    let more = [&sizes[..], &rhythm[..]].concat();
    let lab = Lab::with(IN_CONTEXT);
    lab.train("straight", &more).threads(1).succeed();
    let straight = lab.run("straight");
    for (before, after) in [(2, 3), (3, 1)] {
        let run = format!("threads-{before}");
        lab.train(&run, &more).threads(before).fault("step:2").be_killed();
        lab.resume(&run).threads(after).succeed();
        lab.run(&run).assert_same(&straight, &format!("{before}, then {after} threads"));
    }
}

/// The short run, which keeps its best and its last checkpoint.
fn short(lab: &Lab) -> RunFiles {
    lab.train("straight", &SHORT).succeed();
    assert_eq!(whole_checkpoints(&lab.path("straight")), [2, 4]);
    lab.run("straight")
}

/// Runs `attempt` with the crash points 1, 2, … until one is beyond the end; returns how many were reached.
fn every_crash_point(mut attempt: impl FnMut(u32) -> bool) -> u32 {
    (1..1000).find(|&number| !attempt(number)).unwrap() - 1
}

#[test]
fn killed_at_every_file_operation() {
    let lab = Lab::with(PAPER);
    let straight = short(&lab);
    let mut newest_before = None;
    let met = every_crash_point(|number| {
        let run = format!("killed-{number}");
        let process = lab.train(&run, &SHORT).fault(&format!("file:{number}")).run();
        let killed = process.status.code().is_none();
        let newest = newest(&lab.path(&run));
        // Each crash comes one operation later than the last, so nothing that was saved may disappear.
        assert!(newest >= newest_before, "file:{number} lost {newest_before:?}, newest is {newest:?}");
        newest_before = newest;
        if lab.path(&run).join("experiment.toml").exists() {
            lab.resume(&run).succeed();
            lab.run(&run).assert_same(&straight, &format!("killed at file operation {number}"));
            assert!(lab.path(&run).join("report.html").exists());
        } else {
            lab.resume(&run).fail(2, &["is not a run folder"]);
            // Nothing had started, so nothing is in the way.
            lab.train(&run, &SHORT).succeed();
            lab.run(&run).assert_same(&straight, &format!("begun again after file operation {number}"));
        }
        fs::remove_dir_all(lab.path(&run)).ok();
        killed
    });
    assert!(met > 60, "{met} file operations");
}

#[test]
fn killed_again_at_every_file_operation_of_resuming() {
    let lab = Lab::with(PAPER);
    let straight = short(&lab);
    // Stopped with one checkpoint from which it continues, and with an incomplete one.
    lab.train("killed", &SHORT).fault("step:2").be_killed();
    lab.copy("killed/checkpoints/step-00000002", "killed/checkpoints/.step-00000003");
    let met = every_crash_point(|number| {
        let run = format!("killed-{number}");
        lab.copy("killed", &run);
        let killed = lab.resume(&run).fault(&format!("file:{number}")).run().status.code().is_none();
        assert!(newest(&lab.path(&run)) >= Some(2), "file:{number}");
        lab.resume(&run).succeed();
        lab.run(&run).assert_same(&straight, &format!("killed at file operation {number} of resuming"));
        fs::remove_dir_all(lab.path(&run)).unwrap();
        killed
    });
    assert!(met > 30, "{met} file operations");
}

#[test]
fn disk_full_at_every_file_operation() {
    let lab = Lab::with(PAPER);
    let straight = short(&lab);
    let mut newest_before = None;
    let met = every_crash_point(|number| {
        let run = format!("full-{number}");
        let process = lab.train(&run, &SHORT).fault(&format!("full:{number}")).run();
        let full = process.status.code() == Some(1);
        if full {
            let said = process.said();
            assert!(said.contains("error: cannot") && said.contains(&format!(" {run}")), "no path: {said}");
            assert!(said.contains("no storage space"), "no reason: {said}");
        } else {
            assert!(process.status.success(), "{process:#?}");
        }
        let newest = newest(&lab.path(&run));
        assert!(newest >= newest_before, "full:{number} lost {newest_before:?}, newest is {newest:?}");
        newest_before = newest;
        if lab.path(&run).join("experiment.toml").exists() {
            lab.resume(&run).succeed();
            lab.run(&run).assert_same(&straight, &format!("disk full at file operation {number}"));
        }
        fs::remove_dir_all(lab.path(&run)).ok();
        full
    });
    assert!(met > 60, "{met} file operations");
}

fn stopped_by(signal: &str, code: i32) {
    let lab = Lab::with(PAPER);
    lab.train("straight", &LONG).succeed();
    // The signal may have been ignored in the process that runs the tests.
    let default = format!("--default-signal={signal}");
    let mut process = lab.train("stopped", &LONG).by("env", &[&default]).start();
    process.wait_for(&lab.path("stopped/metrics.jsonl"));
    process.signal(signal);
    let stopped = process.wait();
    assert_eq!(stopped.status.code(), Some(code), "{stopped:#?}");
    assert!(stopped.stderr.contains("finishing this micro-batch, then saving"), "{stopped:#?}");
    assert!(stopped.stdout.contains("not finished; continue with: headway resume stopped"), "{stopped:#?}");
    let record = record(&lab, "stopped");
    assert_eq!(record["status"], "interrupted");
    assert_eq!(newest(&lab.path("stopped")), record["step"].as_u64());
    assert!(record["step"].as_u64() < Some(2000), "it was too late to stop anything");
    lab.resume("stopped").succeed();
    lab.run("stopped").assert_same(&lab.run("straight"), signal);
}

#[test]
fn interrupted_from_the_keyboard() {
    stopped_by("INT", 130);
}

#[test]
fn terminated_by_a_job_scheduler() {
    stopped_by("TERM", 143);
}

#[test]
fn left_by_its_terminal() {
    stopped_by("HUP", 129);
}

#[test]
fn nohup_and_the_warning_of_a_job_scheduler_stop_nothing() {
    let lab = Lab::with(PAPER);
    lab.train("straight", &LONG).succeed();
    let mut process = lab.train("run", &LONG).by("env", &["--ignore-signal=HUP"]).start();
    process.wait_for(&lab.path("run/metrics.jsonl"));
    process.signal("HUP");
    process.signal("USR1");
    process.wait_until("a checkpoint was saved", || newest_seen(&lab.path("run")) > Some(0));
    assert!(newest_seen(&lab.path("run")) < Some(2000), "it was too late to ask for anything");
    let finished = process.wait();
    assert_eq!(finished.status.code(), Some(0), "{finished:#?}");
    lab.run("run").assert_same(&lab.run("straight"), "with a checkpoint in between");
}

#[test]
fn a_sweep_passes_the_warning_on() {
    let lab = Lab::with(PAPER);
    lab.write("sweep.toml", "experiment = \"experiment.toml\"\n");
    let words = ["sweep", "sweep.toml", "--out", "sweep", "--device", "cpu"];
    let endless = ["-s", "train.steps=100000000", "-s", "train.checkpoint_every=0", "-s", "train.eval_every=0"];
    let mut process = lab.headway(&[&words[..], &endless].concat()).start();
    let run = || fs::read_dir(lab.path("sweep/runs")).ok()?.next()?.ok().map(|entry| entry.path());
    let has_begun =
        || run().is_some_and(|run| fs::metadata(run.join("metrics.jsonl")).is_ok_and(|file| file.len() > 0));
    process.wait_until("the run has begun", has_begun);
    process.signal("USR1");
    process.wait_until("a checkpoint was saved", || run().is_some_and(|run| newest_seen(&run) > Some(0)));
    process.signal("TERM");
    assert_eq!(process.wait().status.code(), Some(143));
}

/// The dashboard takes the terminal without its echo, and leaves Ctrl-C a signal.
#[test]
fn the_dashboard_stops_at_ctrl_c() {
    const TERMINAL: &str = r#"
import fcntl, os, pty, struct, sys, termios, time
process, terminal = pty.fork()
if process == 0:
    os.execv(sys.argv[1], sys.argv[1:])
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
os.set_blocking(terminal, False)
pressed, deadline = 0, time.time() + 60
while time.time() < deadline:
    try:
        os.read(terminal, 65536)
    except BlockingIOError:
        time.sleep(0.01)
    except OSError:
        break
    # The first key may come before the dashboard has taken the terminal; a second one would stop at once.
    if not pressed and os.path.exists("run/metrics.jsonl") and not termios.tcgetattr(terminal)[3] & termios.ICANON:
        pressed = time.time() + 0.5
    if pressed and pressed < time.time() and pressed != deadline:
        os.write(terminal, b"\x03")
        pressed = deadline
print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
"#;
    let lab = Lab::with(PAPER);
    if !there_is("pty") {
        return;
    }
    let endless = [&LONG[..], &["-s", "train.steps=100000000", "--tui"]].concat();
    let output = lab.train("run", &endless).by("python3", &["-c", TERMINAL]).run();
    assert_eq!(output.stdout.trim(), "130", "{output:#?}");
    assert_eq!(record(&lab, "run")["status"], "interrupted");
}

/// An update may take hours: a run that is told to stop drops it and is in the state before it.
#[test]
fn stopped_between_micro_batches() {
    let lab = Lab::with(IN_CONTEXT);
    let long = ["-s", "train.steps=1", "-s", "train.accumulate=1500"];
    let long = [&long[..], &["-s", "schedule={constant={}}"]].concat();
    lab.train("straight", &long).succeed();
    let words = [&long[..], &["--max-time", "0.1s", "--json"]].concat();
    let stopped = lab.train("run", &words).succeed().json();
    assert_eq!((&stopped["status"], &stopped["step"]), (&json!("out_of_time"), &json!(0)));
    assert_eq!(whole_checkpoints(&lab.path("run")), [0]);
    lab.resume("run").succeed();
    lab.run("run").assert_same(&lab.run("straight"), "after an update that was dropped");
}

#[test]
fn out_of_time_again_and_again() {
    let lab = Lab::with(PAPER);
    lab.train("straight", &LONG).succeed();
    let first = lab.train("run", &[&LONG[..], &["--max-time", "0s", "--json"]].concat()).succeed().json();
    assert_eq!((&first["status"], &first["step"], &first["metrics"]), (&json!("out_of_time"), &json!(0), &json!({})));
    assert_eq!(whole_checkpoints(&lab.path("run")), [0]);
    assert!(lab.path("run/report.html").exists());
    let mut steps = vec![0];
    while record(&lab, "run")["status"] == "out_of_time" {
        let words = ["resume", "run", "--device", "cpu", "--max-time", "0.3s"];
        let stopped = lab.headway(&words).succeed();
        let step = record(&lab, "run")["step"].as_u64().unwrap();
        assert!(step > *steps.last().unwrap(), "no progress: {stopped:#?}");
        steps.push(step);
    }
    assert!(steps.len() > 2, "finished at once: {steps:?}");
    lab.run("run").assert_same(&lab.run("straight"), "out of time");
}

#[test]
fn a_finished_run_stays_as_it_is() {
    for experiment in [IN_CONTEXT, PAPER] {
        let lab = Lab::with(experiment);
        let trained = lab.train("run", &[]).succeed();
        let before = every_file(&lab.path("run"));
        let resumed = lab.resume("run").succeed();
        assert_eq!(resumed.stdout, trained.stdout);
        assert!(every_file(&lab.path("run")) == before, "resuming a finished run changed a file");
    }
}

fn every_file(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(every_file(&path));
        } else {
            files.insert(path.display().to_string(), fs::read(&path).unwrap());
        }
    }
    files
}

#[test]
fn fine_tuning_killed_after_every_step_and_before_the_first() {
    let lab = Lab::with(IN_CONTEXT);
    lab.train("base", &["-s", "train.steps=3"]).succeed();
    let words = ["finetune", "experiment.toml", "--from", "base", "--device", "cpu", "--seed", "9"];
    let freeze = ["-s", r#"finetune.freeze=["blocks.0.*"]"#, "-s", "train.steps=6"];
    let finetune = |out: &str| lab.headway(&[&words[..], &freeze, &["--out", out]].concat());
    finetune("straight").succeed();
    let straight = lab.run("straight");
    assert_eq!(straight.end["verb"], "finetune");
    assert_eq!(straight.end["lineage"]["from"], "base");
    for step in 1..=6 {
        let run = format!("killed-{step}");
        finetune(&run).fault(&format!("step:{step}")).be_killed();
        lab.resume(&run).succeed();
        lab.run(&run).assert_same(&straight, &format!("killed after step {step}"));
    }
    // Without its first checkpoint the run cannot continue, and certainly not from random weights.
    let too_early = every_crash_point(|number| {
        let run = format!("early-{number}");
        finetune(&run).fault(&format!("file:{number}")).be_killed();
        if newest(&lab.path(&run)).is_some() {
            lab.resume(&run).succeed();
            lab.run(&run).assert_same(&straight, "killed after the first checkpoint");
            return false;
        }
        if lab.path(&run).join("experiment.toml").exists() {
            lab.resume(&run).fail(3, &["before its first checkpoint", "run `headway finetune` again"]);
        } else {
            lab.resume(&run).fail(2, &["is not a run folder"]);
        }
        true
    });
    assert!(too_early > 10, "{too_early} file operations before the first checkpoint");
}

/// Every file except pages, which are made again.
fn kept(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let is_page = |path: &String| path.ends_with("report.html") || path.contains("/figures/");
    every_file(folder).into_iter().filter(|(path, _)| !is_page(path)).collect()
}

/// Runs `attempt` with the reads 1, 2, … failing, until several in a row are beyond the end; returns how many failed.
fn every_read(mut attempt: impl FnMut(u32) -> bool) -> usize {
    let (mut failed, mut last) = (0, 0);
    for number in 1.. {
        if attempt(number) {
            (failed, last) = (failed + 1, number);
        }
        // Some failing reads do no harm.
        if number > last + 5 {
            break;
        }
    }
    failed
}

/// Whether a process ended because of what it could not read, with a message that says so; nothing else may have gone
/// wrong.
fn could_not_read(finished: &Finished, number: u32) -> bool {
    match finished.status.code() {
        Some(0) => false,
        Some(1) => {
            let said = finished.said();
            assert!(
                said.contains("error: cannot read ") && said.contains("stale network file handle"),
                "read:{number}: {said}"
            );
            true
        }
        _ => panic!("read:{number}: {finished:#?}"),
    }
}

#[test]
fn what_cannot_be_read_is_not_taken_for_missing() {
    let lab = Lab::with(PAPER);
    let straight = short(&lab);
    lab.train("killed", &SHORT).fault("step:3").be_killed();
    lab.write("sweep.toml", "experiment = \"experiment.toml\"\n[grid]\nmodel.n_heads = [2]\n");
    let exec = ["sweep", "exec", "sweep.toml", "--index", "0", "--device", "cpu", "--out", "study"];
    lab.headway(&[&exec[..], &["-s", "train.steps=4"]].concat()).succeed();
    lab.headway(&["report", "study"]).succeed();
    let run = fs::read_dir(lab.path("study/runs")).unwrap().next().unwrap().unwrap().path();
    // Verbs that change only pages, with the folders that they read: whatever cannot be read, the folders stay as they
    // are.
    let study = lab.path("study");
    let finished = lab.path("straight");
    let of_study = [
        &["sweep", "exec", "study", "--index", "0", "--device", "cpu"][..],
        &["sweep", "status", "study"],
        &["report", "study"],
        &["report", "straight", "study", "--out", "page"],
    ];
    let of_run = [
        &["report", "straight", "--device", "cpu"][..],
        &["resume", "straight", "--device", "cpu"],
        &["eval", "straight", "--device", "cpu"],
        &["card", "straight", "--device", "cpu"],
        &["export", "straight", "--format", "npz", "--out", "weights.npz"],
        &["runs", "show", "straight"],
        &["runs", "list", "."],
    ];
    let walk = |verbs: &[&[&str]], folder: &Path| {
        for words in verbs {
            let before = kept(folder);
            let failed = every_read(|number| {
                fs::remove_file(lab.path("weights.npz")).ok();
                let attempt = lab.headway(words).fault(&format!("read:{number}")).run();
                assert!(kept(folder) == before, "{words:?} read:{number} changed a file: {attempt:?}");
                could_not_read(&attempt, number)
            });
            assert!(failed > 0, "{words:?}");
        }
    };
    // Verbs that train: existing files stay, and the run ends like one without failures.
    let resuming = || {
        let failed = every_read(|number| {
            lab.copy("killed", "again");
            let attempt = lab.resume("again").fault(&format!("read:{number}")).run();
            assert!(newest(&lab.path("again")) >= Some(3), "read:{number}");
            lab.resume("again").succeed();
            lab.run("again").assert_same(&straight, &format!("read {number} of resuming failed"));
            fs::remove_dir_all(lab.path("again")).unwrap();
            could_not_read(&attempt, number)
        });
        assert!(failed > 20, "{failed} reads of resuming");
    };
    let training = || {
        let two = [&SHORT[..], &["-s", "train.steps=2"]].concat();
        lab.train("two", &two).succeed();
        let straight = lab.run("two");
        let failed = every_read(|number| {
            let attempt = lab.train("new", &two).fault(&format!("read:{number}")).run();
            if lab.path("new/experiment.toml").exists() {
                lab.resume("new").succeed();
            } else {
                lab.train("new", &two).succeed();
            }
            lab.run("new").assert_same(&straight, &format!("read {number} of training failed"));
            fs::remove_dir_all(lab.path("new")).unwrap();
            could_not_read(&attempt, number)
        });
        assert!(failed > 20, "{failed} reads of training");
    };
    // Most of the time is spent waiting for the disk.
    thread::scope(|scope| {
        scope.spawn(|| walk(&of_study, &study));
        scope.spawn(|| walk(&of_run, &finished));
        scope.spawn(resuming);
        scope.spawn(training);
    });
    assert!(run.join("checkpoints/step-00000004").exists());
}

/// Verbs that make something from existing files: they end with an error before anything is made, or a second try
/// completes it. The files that they read stay as they are.
#[test]
fn what_is_made_of_files_that_cannot_be_read() {
    let lab = Lab::with(PAPER);
    let one = ["-s", "train.steps=1", "-s", "train.eval_every=0"];
    lab.train("run", &one).succeed();
    let lora = ["finetune", "experiment.toml", "--from", "run", "--device", "cpu", "-s", "finetune.lora.rank=1"];
    let finetune = [&lora[..], &one, &["--out"]].concat();
    lab.headway(&[&finetune[..], &["lora"]].concat()).succeed();
    // An adapter by itself, in PEFT's older format.
    fs::create_dir(lab.path("adapter")).unwrap();
    let tuned = lab.path("lora/checkpoints/step-00000001");
    fs::copy(tuned.join("adapter_config.json"), lab.path("adapter/adapter_config.json")).unwrap();
    fs::copy(tuned.join("adapter_model.safetensors"), lab.path("adapter/adapter_model.bin")).unwrap();
    lab.headway(&["export", "run", "--format", "pytorch-state-dict", "--out", "weights.pt"]).succeed();
    lab.write("table.csv", "0,0\n1,1\n");
    lab.write(
        "compare.toml",
        r#"seeds = [0]
        match = "none"
        reference = "one"
        [[tasks]]
        name = "task"
        experiment = "experiment.toml"
        metric = "test/loss"
        set = { train.steps = 1, train.eval_every = 0 }
        [[rows]]
        name = "one"
        [[rows]]
        name = "two"
        set = { model.n_heads = 1 }"#,
    );
    let compare = ["compare", "compare.toml", "--device", "cpu", "--out", "compared"];
    lab.headway(&compare).succeed();
    let table = ["construct", "activation", "--table", "table.csv", "--low", "0", "--high", "1", "--seq-len", "1"];
    let given = ["run", "lora", "adapter", "weights.pt", "table.csv", "compare.toml", "experiment.toml"];
    let every = |name: &str| {
        let path = lab.path(name);
        if path.is_dir() { every_file(&path) } else { BTreeMap::from([(name.to_owned(), fs::read(path).unwrap())]) }
    };
    let before = given.map(every);
    let walk = |words: &[&str], made: &str, is_training: bool, at_least: usize| {
        let (words, made) = ([words, &[made]].concat(), lab.path(made));
        let failed = every_read(|number| {
            let attempt = lab.headway(&words).fault(&format!("read:{number}")).run();
            assert!(given.map(every) == before, "{words:?} read:{number} changed a file: {attempt:?}");
            let has_failed = could_not_read(&attempt, number);
            if has_failed && is_training {
                let is_begun = newest_seen(&made).is_some();
                // Without its first checkpoint no fine-tuning can continue.
                if !is_begun && made.join("experiment.toml").exists() {
                    fs::remove_dir_all(&made).unwrap();
                }
                if is_begun { lab.resume(made.to_str().unwrap()) } else { lab.headway(&words) }.succeed();
            } else if !is_training {
                assert_eq!(made.join("MANIFEST").exists(), !has_failed, "{words:?} read:{number}");
            }
            fs::remove_dir_all(&made).ok();
            has_failed
        });
        assert!(failed >= at_least, "{words:?}: {failed} reads");
    };
    thread::scope(|scope| {
        scope.spawn(|| walk(&finetune, "tuned", true, 20));
        scope.spawn(|| {
            // Training its runs is tested with `train`; here they are done and stay as they are.
            let runs = || kept(&lab.path("compared/runs"));
            let before = runs();
            let failed = every_read(|number| {
                let attempt = lab.headway(&compare).fault(&format!("read:{number}")).run();
                assert!(runs() == before, "read:{number} changed a run: {attempt:?}");
                could_not_read(&attempt, number)
            });
            assert!(failed > 20, "{failed} reads of comparing");
        });
        scope.spawn(|| {
            walk(&[&table[..], &["--tolerance", "0.5", "--device", "cpu", "--out"]].concat(), "made", false, 5);
        });
        scope.spawn(|| {
            walk(&["merge", "lora", "--out"], "merged", false, 20);
            walk(&["merge", "adapter", "--base", "run", "--out"], "merged", false, 20);
            walk(&["import", "weights.pt", "--experiment", "experiment.toml", "--out"], "imported", false, 5);
        });
    });
}

#[test]
fn checkpoints_out_of_reach() {
    let lab = Lab::with(PAPER);
    let straight = short(&lab);
    lab.train("run", &SHORT).fault("step:3").be_killed();
    fs::rename(lab.path("run/checkpoints"), lab.path("disk")).unwrap();
    // A disk that is not mounted: a link to a missing target.
    std::os::unix::fs::symlink(lab.path("away"), lab.path("run/checkpoints")).unwrap();
    let before = every_file_but_links(&lab.path("run"));
    lab.resume("run").fail(1, &["cannot follow the link run/checkpoints"]);
    assert_eq!(every_file_but_links(&lab.path("run")), before);
    // A run whose checkpoints are missing is not started again either.
    fs::remove_file(lab.path("run/checkpoints")).unwrap();
    lab.resume("run").fail(3, &["has logged steps, but no whole checkpoint is left"]);
    assert_eq!(every_file_but_links(&lab.path("run")), before);
    fs::rename(lab.path("disk"), lab.path("away")).unwrap();
    std::os::unix::fs::symlink(lab.path("away"), lab.path("run/checkpoints")).unwrap();
    lab.resume("run").succeed();
    lab.run("run").assert_same(&straight, "the disk is back");
}

fn every_file_but_links(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let paths = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    paths.map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect()
}

#[test]
fn metrics_that_are_not_as_they_were_written() {
    let lab = Lab::with(PAPER);
    short(&lab);
    lab.train("run", &SHORT).fault("step:3").be_killed();
    let metrics = lab.read("run/metrics.jsonl");
    let amiss = "metrics.jsonl: lines up to step 3 are missing or changed";
    let lost: String = metrics.lines().skip(1).flat_map(|line| [line, "\n"]).collect();
    lab.write("run/metrics.jsonl", lost);
    let said = lab.resume("run").succeed().said();
    assert!(said.contains(amiss), "{said}");
    // Reported once, and on every page from then on, since later checkpoints record it.
    assert!(lab.read("run/report.html").contains(amiss));
    for words in [&["report", "run", "--device", "cpu"][..], &["report", "run", "straight", "--out", "both"]] {
        let said = lab.headway(words).succeed().said();
        assert!(said.contains(amiss), "{said}");
    }
    assert!(lab.read("both/report.html").contains("lines up to step 3 are missing or changed"));
    // A finished run is checked too; one whose checkpoints recorded nothing is not.
    lab.write("straight/metrics.jsonl", "");
    let said = lab.headway(&["report", "straight", "--device", "cpu"]).succeed().said();
    assert!(said.contains("metrics.jsonl: lines up to step 4 are missing or changed"), "{said}");
    let newest = lab.path("straight/checkpoints/step-00000004");
    fs::remove_file(newest.join("metrics.json")).unwrap();
    let manifest = fs::read_to_string(newest.join("MANIFEST")).unwrap();
    let without: String =
        manifest.lines().filter(|line| !line.ends_with("metrics.json")).flat_map(|line| [line, "\n"]).collect();
    fs::write(newest.join("MANIFEST"), without).unwrap();
    let said = lab.headway(&["report", "straight", "--device", "cpu"]).succeed().said();
    assert!(!said.contains("missing or changed"), "{said}");
}
