//! Every verb on a folder in which a run is in progress.

use super::*;

#[test]
fn every_verb_works() {
    let lab = Lab::with(SOUND);
    let lora = ["-s", "finetune.lora.rank=2"];
    lab.train("base", &[]).succeed();
    // Each checkpoint replaces the one before.
    let endless = ["-s", "train.steps=100000000", "-s", "train.checkpoint_every=1", "-s", "train.keep_last=1"];
    let tune = ["finetune", "experiment.toml", "--from", "base", "--device", "cpu", "--out", "run"];
    let mut process = lab.headway(&[&tune[..], &lora, &endless].concat()).start();
    process.wait_for(&lab.path("run/metrics.jsonl"));
    let short = ["finetune", "experiment.toml", "--from", "run", "--device", "cpu", "--out"];
    for words in [
        &["report", "run"][..],
        &["report", "run", "base", "--out", "both"],
        &["eval", "run", "--device", "cpu"],
        &["runs", "list", "."],
        &["runs", "show", "run"],
        &["card", "run", "--device", "cpu"],
        &["export", "run", "--format", "npz", "--out", "x.npz"],
        &["analyze", "rank", "run"],
        &["merge", "run", "--out", "merged"],
        &[&short[..], &["tuned"]].concat(),
    ] {
        lab.headway(words).succeed();
    }
    // A checkpoint that is being read is not deleted before it has been read.
    (0..20).for_each(|_| drop(lab.headway(&["eval", "run", "--device", "cpu"]).succeed()));
    assert!(lab.read("run/report.html").contains("One run, seed 0"));
    lab.resume("run").fail(2, &["run is in use by another process"]);
    lab.headway(&["runs", "rm", "base", "run", "--yes"]).fail(2, &["run is in use by another process"]);
    assert!(lab.path("base").is_dir(), "nothing is deleted if one is in use");
    process.signal("TERM");
    assert_eq!(process.wait().status.code(), Some(143));
}
