//! The command line from end to end, one module per subject. Separate are `hostile`, which counts the memory of its
//! process, `parity`, which takes fixtures from outside, and `gpu`.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod activity;
mod analyze;
mod bad_input;
mod certify;
mod cli;
mod construct;
mod crate_edges;
mod datasets;
mod exchange;
mod file_task;
mod finetune;
mod forecast;
mod harness;
mod image;
mod kept;
mod keys;
mod language;
mod modules;
mod pages;
mod predict;
mod proteins;
mod python_loader;
mod python_reference;
mod resume;
mod studies;
mod swap;
mod tutorials;
