//! `headway runs list`, `show`, `diff` and `rm`

mod diff;
mod list;
mod rm;

use std::{path::Path, process::ExitCode};

use headway_report::verdict;
use headway_trainer::{
    provenance::{Record, Status},
    run_dir::{RunDir, read_record},
};

use crate::{
    args::{Runs, RunsAction},
    error::Error,
    output, tables,
};

pub fn run(args: &Runs) -> Result<ExitCode, Error> {
    match &args.action {
        RunsAction::List(args) => list::run(args),
        RunsAction::Show { run_dir, json } => show(run_dir, *json),
        RunsAction::Diff { runs, json } => diff::run(runs, *json),
        RunsAction::Rm { folders, yes } => rm::run(folders, *yes),
    }
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
        ("begun", date(record.started)),
        ("version", record.version.clone()),
        ("device", format!("{}, {} threads, {}", record.device, record.threads, record.platform)),
        ("parameters", format!("{}, of which frozen {}", record.parameters, record.frozen_parameters)),
        ("from", lineage.unwrap_or_else(|| "random weights".to_owned())),
        ("status", format!("{} at step {} after {:.1} s", status(path, &record)?, record.step, record.seconds)),
    ];
    for (name, value) in facts {
        output::line(format!("{name:<11} {value}"));
    }
    if !record.results.is_empty() {
        output::line(tables::results(&record.results));
        tables::slices(&record.results).iter().for_each(output::line);
        verdict::of_rows(&record.results).iter().for_each(output::line);
    }
    Ok(ExitCode::SUCCESS)
}

/// The status in the spelling of run.json; `killed` for a run that says it is running while no process is at work on it.
fn status(path: &Path, record: &Record) -> Result<String, Error> {
    if record.status == Status::Running && !RunDir::is_held(path)? {
        return Ok("killed".to_owned());
    }
    let name = serde_json::to_value(record.status).ok().and_then(|value| value.as_str().map(str::to_owned));
    Ok(name.unwrap_or_default())
}

/// Day and minute of a time in seconds since 1970, in UTC.
fn date(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok());
    time.map_or_else(String::new, |at| {
        let month = u8::from(at.month());
        format!("{}-{month:02}-{:02} {:02}:{:02} UTC", at.year(), at.day(), at.hour(), at.minute())
    })
}

/// The score that a run is known by: its accuracy if it has one, else its squared error, else its loss.
fn score(record: &Record) -> Option<(&'static str, f64)> {
    let network = record.results.first()?;
    ["test/accuracy", "test/mse", "test/loss"].into_iter().find_map(|name| Some((name, *network.metrics.get(name)?)))
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_are_utc() {
        // `date -u -d @1709210096` says so, on a leap day.
        assert_eq!(date(1_709_210_096), "2024-02-29 12:34 UTC");
        assert_eq!(date(u64::MAX), "");
    }
}
