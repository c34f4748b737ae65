//! Laws that every entry of a list obeys, built-in or not. A crate that adds a kernel, a position scheme, a model family or a task runs
//! `all` of the list's module on it in a test.

pub mod family;
pub mod kernel;
pub mod position;
pub mod task;

use headway_tasks::{SampleRng, Seed, Stream};

fn generator(seed: u64) -> SampleRng {
    Seed(seed).rng(Stream::Init, 0)
}
