//! `headway list`

use std::process::ExitCode;

use headway_exchange::names::CONVENTIONS;
use headway_model::{KERNELS, MODELS, POSITIONS};
use headway_study::reproduce::REPRODUCTIONS;
use headway_tasks::{BUILT_INS, TASKS};
use headway_theory::CONSTRUCTIONS;
use headway_trainer::{experiment::MODES, optimizer::OPTIMIZERS};
use serde::Serialize;

use crate::{
    args::{List, Listed},
    convergence, output,
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
        Listed::Constructions => plain(CONSTRUCTIONS),
        Listed::Functions => BUILT_INS.iter().map(|f| Entry { name: f.name.to_owned(), summary: f.summary }).collect(),
        Listed::Modes => plain(MODES),
        Listed::Optimizers => plain(OPTIMIZERS),
        Listed::Reproductions => {
            let trained = REPRODUCTIONS.iter().map(|r| (r.id, r.summary));
            let all = trained.chain([(convergence::ID, convergence::SUMMARY)]);
            all.map(|(name, summary)| Entry { name: name.to_owned(), summary }).collect()
        }
        Listed::Conventions => {
            CONVENTIONS.iter().map(|c| Entry { name: c.name.to_owned(), summary: c.summary }).collect()
        }
        Listed::Kernels => plain(KERNELS),
        Listed::Positions => plain(POSITIONS),
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
