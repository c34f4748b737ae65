//! `headway show`

use std::{collections::BTreeMap, process::ExitCode};

use crate::error::Error;
use headway_trainer::experiment::{self, Loaded, ValueSource, leaves};
use serde_json::json;

use crate::{args::Show, output};

/// Largest length of a key with its value beside which origins are aligned.
const WIDEST: usize = 120;

pub fn run(args: &Show) -> Result<ExitCode, Error> {
    let loaded = experiment::load(&args.experiment.experiment, &args.experiment.overrides())?;
    let table = loaded.experiment.to_table();
    let values: Vec<(String, String, String)> = leaves("", &table)
        .into_iter()
        .map(|(key, value)| {
            let origin = origin(&loaded, &key);
            (key, value.to_string(), origin)
        })
        .collect();
    if args.json {
        let origins: BTreeMap<&str, &str> =
            values.iter().map(|(key, _, origin)| (key.as_str(), origin.as_str())).collect();
        output::json(&json!({ "experiment": loaded.experiment, "origins": origins }));
        return Ok(ExitCode::SUCCESS);
    }
    // Values of more than a line, such as digests, do not move all origins to the right.
    let lengths = values.iter().map(|(key, value, _)| key.len() + value.len());
    let width = lengths.filter(|length| *length <= WIDEST).max().unwrap_or_default();
    for (key, value, origin) in &values {
        let padding = " ".repeat(width.saturating_sub(key.len() + value.len()));
        output::line(format!("{key} = {value}{padding}  # {origin}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn origin(loaded: &Loaded, key: &str) -> String {
    match loaded.origin(key) {
        ValueSource::File { line, .. } => format!("{}:{line}", loaded.path.display()),
        ValueSource::Override(text) => format!("-s {text}"),
        ValueSource::Default => "default".to_owned(),
    }
}
