//! `headway list`

use std::process::ExitCode;

use headway_exchange::names::CONVENTIONS;
use headway_model::{KernelKind, ModelConfig, PositionKind};
use headway_study::reproduce::REPRODUCTIONS;
use headway_tasks::{TaskConfig, seq2seq::function::BUILT_INS};
use headway_theory::construct::CONSTRUCTIONS;
use headway_trainer::{experiment::MODES, optimizer::OPTIMIZERS};
use serde::Serialize;

use crate::{
    args::{List, Listed},
    convergence, output,
};

#[derive(Serialize)]
struct Entry {
    name: &'static str,
    summary: &'static str,
}

pub fn run(args: &List) -> ExitCode {
    let rows = rows(args.what);
    if args.json {
        let entry = |(name, summary)| Entry { name, summary };
        output::json(&rows.into_iter().map(entry).collect::<Vec<_>>());
        return ExitCode::SUCCESS;
    }
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    for (name, summary) in rows {
        output::line(format!("{name:width$}  {summary}"));
    }
    ExitCode::SUCCESS
}

/// Name and summary of every entry.
fn rows(what: Listed) -> Vec<(&'static str, &'static str)> {
    match what {
        Listed::Tasks => TaskConfig::list(),
        Listed::Models => ModelConfig::list(),
        Listed::Kernels => KernelKind::list(),
        Listed::Positions => PositionKind::list(),
        Listed::Constructions => CONSTRUCTIONS.to_vec(),
        Listed::Modes => MODES.to_vec(),
        Listed::Optimizers => OPTIMIZERS.to_vec(),
        Listed::Functions => BUILT_INS.iter().map(|function| (function.name, function.summary)).collect(),
        Listed::Conventions => CONVENTIONS.iter().map(|convention| (convention.name, convention.summary)).collect(),
        Listed::Reproductions => {
            let trained = REPRODUCTIONS.iter().map(|reproduction| (reproduction.id, reproduction.summary));
            trained.chain([(convergence::ID, convergence::SUMMARY)]).collect()
        }
    }
}
