//! `headway list`

use std::process::ExitCode;

use headway_model::{KERNELS, MODELS, POSITIONS};
use headway_tasks::TASKS;
use headway_trainer::{optimizer::OPTIMIZERS, reproduce::REPRODUCTIONS};
use serde::Serialize;

use crate::{
    args::{List, Listed},
    output,
};

#[derive(Serialize)]
struct Entry {
    name: String,
    summary: &'static str,
}

pub fn run(args: &List) -> ExitCode {
    let entries = match args.what {
        Listed::Tasks => plain(TASKS),
        Listed::Models => plain(MODELS),
        Listed::Optimizers => plain(OPTIMIZERS),
        Listed::Reproductions => {
            REPRODUCTIONS.iter().map(|r| Entry { name: r.id.to_owned(), summary: r.summary }).collect()
        }
        Listed::Kernels => named(KERNELS),
        Listed::Positions => named(POSITIONS),
    };
    if args.json {
        output::json(&entries);
        return ExitCode::SUCCESS;
    }
    let width = entries.iter().map(|entry| entry.name.len()).max().unwrap_or_default();
    for Entry { name, summary } in entries {
        output::line(format!("{name:width$}  {summary}"));
    }
    ExitCode::SUCCESS
}

fn plain(list: &[(&str, &'static str)]) -> Vec<Entry> {
    list.iter().map(|(name, summary)| Entry { name: (*name).to_owned(), summary }).collect()
}

/// Entries whose config name is what serde calls them.
fn named<T: Serialize>(list: &[(T, &'static str)]) -> Vec<Entry> {
    let name = |kind: &T| serde_json::to_value(kind).ok().and_then(|value| value.as_str().map(str::to_owned));
    list.iter().map(|(kind, summary)| Entry { name: name(kind).unwrap_or_default(), summary }).collect()
}
