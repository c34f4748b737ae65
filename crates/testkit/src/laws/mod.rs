//! Laws that every entry of a list obeys, built-in or not. A crate that brings a kernel, a position scheme, a model family or a task runs
//! `all` of its list on it in a test.

pub mod family;
pub mod kernel;
pub mod position;
pub mod task;

use headway_tasks::{SampleRng, Seed, Stream};

fn generator(seed: u64) -> SampleRng {
    Seed(seed).rng(Stream::Init, 0)
}
