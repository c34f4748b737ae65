//! `headway completions`

use std::process::ExitCode;

use clap::CommandFactory;

use crate::{
    args::{Args, Completions},
    output,
};

pub fn run(args: &Completions) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "headway", &mut script);
    output::text(&String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}
