//! `headway schema`

use std::process::ExitCode;

use crate::{
    args::{Schema, SchemaFile},
    keys, output,
};

pub fn run(args: &Schema) -> ExitCode {
    output::json(&keys::book().schema(args.file.map(SchemaFile::name)));
    ExitCode::SUCCESS
}
