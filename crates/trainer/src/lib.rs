//! Training: the only crate that knows both models and tasks.
//!
//! An [`Experiment`] is one TOML file with every default filled in and every rule checked. A [`RunDir`] owns the files of one
//! run. The verbs [`train`], [`resume`], [`finetune`] and [`evaluate`] each make a plan and hand it to the one place that
//! builds loader, optimiser and schedule: [`session`]. Many runs with one question are a [`study`]: a sweep, a comparison, or
//! one of the paper's experiments ([`reproduce`]). A [`report`] is a page about any of them, and [`analyze`] looks into a
//! network's weights.
//!
//! On the CPU, the same binary, config and seed give the same bits for any number of threads and any resume point.

#![warn(clippy::disallowed_methods)]

mod adapter;
pub mod bench;
pub mod beside;
pub mod build;
pub mod checkpoint;
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
pub mod import;
pub mod input;
mod layout;
mod loader;
pub mod lock;
pub mod log;
pub mod loss;
mod machine;
pub mod metric;
pub mod notice;
pub mod optimizer;
pub mod presence;
mod problem;
pub mod provenance;
pub mod quote;
pub mod resume;
pub mod run_dir;
pub mod schedule;
pub mod session;
mod step;
mod strategy;
pub mod train;

pub use burn::train::Interrupter;
pub use error::{Error, no_threads};
pub use headway_kernels::memory;
