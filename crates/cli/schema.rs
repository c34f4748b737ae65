//! `headway schema`

use std::process::ExitCode;

use crate::{args::Schema, keys, output};

pub fn run(args: &Schema) -> ExitCode {
    output::json(&keys::book().schema(args.file.map(|file| file.name())));
    ExitCode::SUCCESS
}
