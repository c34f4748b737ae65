//! `examples/train.rs` does what it says; `registered.rs` beside this has those of `examples/own`.

#[path = "../../../../examples/train.rs"]
#[allow(dead_code, reason = "its `main` is not called here")]
mod train;

use headway_trainer::{provenance::Status, run_dir::NewRun};

#[test]
fn twenty_lines_train() {
    let folder = tempfile::tempdir().unwrap();
    let changes = ["train.steps=3", "data.test=4", "data.validation=4"].map(str::to_owned);
    let summary = train::run(&NewRun::At(folder.path().join("run")), &changes).unwrap();
    assert_eq!((summary.status, summary.step), (Status::Complete, 3));
    assert!(summary.metrics["test/mse"] > 0.0 && summary.baselines[0].name == "least_squares");
    assert!(folder.path().join("run/experiment.toml").is_file());
}
