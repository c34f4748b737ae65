//! The `headway` command: a table of contents. Each verb is one file; what it does lives in the library crates.
//!
//! It is a library so that a program of your own can be the same command with more in its lists: it registers what it brings, and
//! calls [`main`].

#![warn(clippy::disallowed_methods)]

mod analyze;
mod args;
mod bench;
mod certify;
mod check;
mod compare;
mod completions;
mod construct;
mod convergence;
mod dashboard;
mod device;
mod devices;
mod error;
mod eval;
mod exchange;
mod explain;
mod finetune;
mod generate;
mod keys;
mod list;
mod merge;
mod new;
mod output;
mod predict;
mod prompt;
mod report;
mod reproduce;
mod resume;
mod runs;
mod schema;
mod show;
mod signals;
mod sizes;
mod stop;
mod study;
mod swap;
mod sweep;
mod tables;
mod train;
mod values;
mod words;

use std::process::ExitCode;

use args::Verb;
use headway_trainer::{memory, notice};

/// Reads the command line, runs its verb and returns the exit code.
pub fn main() -> ExitCode {
    memory::keep_freed_pages();
    notice::tell(|text| output::note(text));
    signals::outlive_file_limits();
    let args = words::read();
    output::catching_panics(|| {
        let result = match &args.verb {
            Verb::Train(args) => train::run(args),
            Verb::Resume(args) => resume::run(args),
            Verb::Finetune(args) => finetune::run(args),
            Verb::Merge(args) => merge::run(args),
            Verb::Sweep(args) => sweep::run(args),
            Verb::Construct(args) => construct::run(args),
            Verb::Certify(args) => certify::run(args),
            Verb::Import(args) => exchange::import::run(args),
            Verb::Export(args) => exchange::export::run(args),
            Verb::Card(args) => exchange::card::run(args),
            Verb::Compare(args) => compare::run(args),
            Verb::Reproduce(args) => reproduce::run(args),
            Verb::Report(args) => report::run(args),
            Verb::Eval(args) => eval::run(args),
            Verb::Swap(args) => swap::run(args),
            Verb::Predict(args) => predict::run(args),
            Verb::Prompt(args) => prompt::run(args),
            Verb::Generate(args) => generate::run(args),
            Verb::Analyze(args) => analyze::run(args),
            Verb::Check(args) => check::run(args),
            Verb::Show(args) => show::run(args),
            Verb::New(args) => new::run(args),
            Verb::List(args) => list::run(args),
            Verb::Explain(args) => explain::run(args),
            Verb::Schema(args) => Ok(schema::run(args)),
            Verb::Completions(args) => Ok(completions::run(args)),
            Verb::Devices(args) => Ok(devices::run(args)),
            Verb::Runs(args) => runs::run(args),
            Verb::Bench(args) => bench::run(args),
        };
        result.unwrap_or_else(|error| output::failure(&error))
    })
}
