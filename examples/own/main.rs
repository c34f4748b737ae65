//! The `headway` command with a task, an attention kernel, a position scheme and a model family of its own, without a fork: each is a file in
//! `parts/`, and one line that registers it. From then on config files name them, and `list`, `check`, `train`, `analyze` and the rest know them:
//!
//! ```text
//! cargo run --release --example own -- list kernels
//! cargo run --release --example own -- train examples/own/own.toml
//! ```
//!
//! A program of your own does the same in a crate of its own, which depends on `headway`, `headway-model`, `headway-tasks` and the same `burn`.

mod parts;

use std::process::ExitCode;

fn main() -> ExitCode {
    parts::register();
    headway::main()
}
