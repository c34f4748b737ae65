//! `headway runs list`

use std::{
    cmp::Ordering,
    path::{Path, PathBuf},
    process::ExitCode,
};

use headway_inspect::counted;
use headway_study::{
    Study,
    dir::StudyDir,
    file::Changes,
    plan::{self, RunState},
};
use headway_trainer::{
    experiment::Experiment,
    metric,
    provenance::Record,
    run_dir::{read_experiment, read_record, runs_below},
};
use serde_json::json;

use super::{date, score, status};
use crate::{
    args::{RunsList, RunsOrder},
    error::Error,
    output, tables,
};

/// A run as the list shows it.
struct Listed {
    path: PathBuf,
    record: Record,
    /// `None` if it cannot be read.
    experiment: Option<Experiment>,
    status: String,
}

impl Listed {
    fn task(&self) -> &str {
        self.experiment.as_ref().map_or("", |experiment| experiment.task.name())
    }

    fn model(&self) -> &str {
        self.experiment.as_ref().map_or("", |experiment| experiment.model.name())
    }

    fn is_wanted(&self, args: &RunsList) -> bool {
        let is = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
        is(&args.task, self.task()) && is(&args.model, self.model()) && is(&args.status, &self.status)
    }

    fn cells(&self) -> Vec<String> {
        let record = &self.record;
        vec![
            self.path.display().to_string(),
            self.task().to_owned(),
            self.model().to_owned(),
            record.parameters.to_string(),
            date(record.started),
            self.status.clone(),
            record.step.to_string(),
            // Written at the end of a session.
            if record.seconds > 0.0 { output::duration(record.seconds) } else { String::new() },
            score(record).map(|(name, value)| format!("{name} {}", output::number(value))).unwrap_or_default(),
        ]
    }
}

pub fn run(args: &RunsList) -> Result<ExitCode, Error> {
    let (mut runs, mut end) = (Vec::new(), Ok(ExitCode::SUCCESS));
    for path in runs_below(&args.folder)? {
        // One damaged or unreadable record must not hide the other runs.
        match read_record(&path) {
            Ok(record) => {
                let status = status(&path, &record)?;
                runs.push(Listed { experiment: read_experiment(&path).ok(), path, record, status });
            }
            Err(error @ headway_trainer::Error::Io { .. }) => end = Err(error.into()),
            Err(error) => output::note(format!("warning: {error}")),
        }
    }
    runs.retain(|run| run.is_wanted(args));
    // By name they are sorted already.
    runs.sort_by(|a, b| order(args.sort, a, b));
    if args.json {
        let entries = runs
            .iter()
            .map(|run| json!({ "run_dir": run.path.to_string_lossy(), "record": run.record, "status": run.status }));
        output::json(&entries.collect::<Vec<_>>());
        return end;
    }
    let header = ["run", "task", "model", "parameters", "begun", "status", "step", "time", "score"];
    output::line(tables::table(&header, runs.iter().map(Listed::cells)));
    if args.task.is_none() && args.model.is_none() && args.status.is_none() {
        let studies = studies(&args.folder)?;
        if !studies.is_empty() {
            output::line(tables::prose_table(&["study", "kind", "runs", "title"], studies));
        }
    }
    end
}

/// The newest, the longest, the largest and the best come first.
fn order(by: RunsOrder, a: &Listed, b: &Listed) -> Ordering {
    let [one, other] = [&a.record, &b.record];
    match by {
        RunsOrder::Name => Ordering::Equal,
        RunsOrder::Date => other.started.cmp(&one.started),
        RunsOrder::Steps => other.step.cmp(&one.step),
        RunsOrder::Time => other.seconds.total_cmp(&one.seconds),
        RunsOrder::Parameters => other.parameters.cmp(&one.parameters),
        RunsOrder::Score => match (score(one), score(other)) {
            (Some((name, a)), Some((same, b))) if name == same && metric::larger_is_better(name) => b.total_cmp(&a),
            (Some((name, a)), Some((same, b))) if name == same => a.total_cmp(&b),
            // Scores of different kinds are kept apart, and runs without any are last.
            (one, other) => one.is_none().cmp(&other.is_none()).then(one.map(|it| it.0).cmp(&other.map(|it| it.0))),
        },
    }
}

/// The sweeps and comparisons below a folder.
fn studies(folder: &Path) -> Result<Vec<Vec<String>>, Error> {
    let mut rows = Vec::new();
    for path in StudyDir::all_below(folder)? {
        let dir = StudyDir::at(&path);
        let study = match Study::read(&path, &Changes::default()) {
            Ok(study) => study,
            Err(error) => {
                output::note(format!("warning: {}: {error}", path.display()));
                continue;
            }
        };
        let plan = study.plan(&dir)?;
        let states = plan.runs().iter().map(|run| Ok(plan::run_state(&dir.run(&run.run_id))?.0));
        let states = states.collect::<Result<Vec<RunState>, Error>>()?;
        let count = |is: fn(&RunState) -> bool| states.iter().filter(|state| is(state)).count();
        let done = count(|state| *state == RunState::Complete);
        let failed = count(|state| matches!(state, RunState::Failed(_)));
        let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
        let (kind, title) = study.kind_and_title();
        let runs = format!("{done} of {} done{failed}", counted(states.len(), "run"));
        rows.push(vec![path.display().to_string(), kind.to_owned(), runs, title.to_owned()]);
    }
    Ok(rows)
}
