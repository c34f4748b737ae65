//! `headway runs list` and `headway runs show`

use std::{path::Path, process::ExitCode};

use crate::error::Error;
use headway_trainer::{
    provenance::Record,
    run_dir::{read_record, runs_below},
};
use serde_json::json;

use crate::{
    args::{Runs, RunsAction},
    output,
};

pub fn run(args: &Runs) -> Result<ExitCode, Error> {
    match &args.action {
        RunsAction::List { folder, json } => list(folder, *json),
        RunsAction::Show { run_dir, json } => show(run_dir, *json),
    }
}

fn list(folder: &Path, as_json: bool) -> Result<ExitCode, Error> {
    let (mut runs, mut end) = (Vec::new(), Ok(ExitCode::SUCCESS));
    for path in runs_below(folder)? {
        // One damaged or unreadable record must not hide the other runs.
        match read_record(&path) {
            Ok(record) => runs.push((record, path)),
            Err(error @ headway_trainer::Error::Io { .. }) => end = Err(error.into()),
            Err(error) => output::note(format!("warning: {error}")),
        }
    }
    if as_json {
        let entries = runs.iter().map(|(record, path)| json!({ "run_dir": path.to_string_lossy(), "record": record }));
        output::json(&entries.collect::<Vec<_>>());
        return end;
    }
    let rows = runs.iter().map(|(record, path)| {
        let loss = record.results.first().and_then(|row| row.metrics.get("test/loss"));
        vec![
            path.display().to_string(),
            status(record),
            record.step.to_string(),
            format!("{:.1}", record.seconds),
            loss.map(|loss| output::number(*loss)).unwrap_or_default(),
        ]
    });
    output::line(output::table(&["run", "status", "step", "seconds", "test/loss"], rows));
    end
}

fn show(path: &Path, as_json: bool) -> Result<ExitCode, Error> {
    let record = read_record(path)?;
    if as_json {
        output::json(&record);
        return Ok(ExitCode::SUCCESS);
    }
    let lineage = record.lineage.as_ref().map(|l| format!("{} (sha256 {:.12}…)", l.from, l.weights_sha256));
    let facts = [
        ("run", record.run_id.clone()),
        ("command", record.command.clone()),
        ("version", record.version.clone()),
        ("device", format!("{}, {} threads, {}", record.device, record.threads, record.platform)),
        ("parameters", format!("{}, of which frozen {}", record.parameters, record.frozen_parameters)),
        ("from", lineage.unwrap_or_else(|| "random weights".to_owned())),
        ("status", format!("{} at step {} after {:.1} s", status(&record), record.step, record.seconds)),
    ];
    for (name, value) in facts {
        output::line(format!("{name:<11} {value}"));
    }
    if !record.results.is_empty() {
        output::line(output::results(&record.results));
    }
    Ok(ExitCode::SUCCESS)
}

/// The status in the spelling of run.json.
fn status(record: &Record) -> String {
    let name = serde_json::to_value(record.status).ok().and_then(|value| value.as_str().map(str::to_owned));
    name.unwrap_or_default()
}
