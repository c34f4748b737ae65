//! One run: from the text of an experiment to trained weights with a record of them.
//!
//! An [`experiment::Experiment`] is one TOML file with every default filled in and every rule checked. A
//! [`run_dir::RunDir`] owns the files of one run, a [`checkpoint::Checkpoint`] those of one state of it. The verbs
//! [`mod@train`], [`resume`] and [`finetune`] each decide where the weights come from, and pass them to [`session`],
//! the only place that builds loader, optimiser and schedule. It returns a [`session::Finished`] run; the caller makes
//! the run's page before the record is written.
//! `examples/train.rs` at the top of the repository is all of this in twenty lines.
//!
//! Every item has one path, that of its module, and modules depend on each other in one direction only. On the CPU, the
//! same binary, config and seed give the same bits for any number of threads and any resume point.

#![warn(clippy::disallowed_methods)]

mod adapter;
pub mod bad_inputs;
pub mod bench;
pub mod beside;
pub mod bounded_read;
pub mod build;
mod capture;
pub mod checkpoint;
pub mod confusion;
pub mod data;
pub mod device;
pub mod digest;
mod disk;
mod error;
pub mod evaluate;
pub mod event;
pub mod experiment;
mod fault;
pub mod finetune;
mod fit;
mod freeze;
pub mod generate;
pub mod import;
pub mod json;
mod layout;
pub mod lengths;
mod list;
mod loader;
pub mod lock;
pub mod log;
pub mod loss;
mod machine;
pub mod metric;
mod micro_batch;
pub mod notice;
pub mod on_device;
pub mod optimizer;
pub mod predict;
pub mod prefetch;
pub mod presence;
mod problem;
pub mod provenance;
pub mod quote;
pub mod resume;
mod room;
pub mod run_dir;
pub mod schedule;
pub mod session;
mod step;
mod strategy;
mod tensorboard;
pub mod train;

pub use burn::train::Interrupter;
pub use error::{Error, ErrorKind, VerbError, no_threads};
pub use headway_kernels::memory;
