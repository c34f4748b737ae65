//! Tasks, which generate examples, and the classical predictors for the same examples. No model is in this crate.
//!
//! Every example is a pure function of (seed, stream, index), see [`Seed`]. A [`Task`] draws one example from one
//! generator; a [`Source`] turns a task and a seed into training batches and evaluation sets.

pub mod activity;
pub mod baseline;
mod batch;
mod breaks;
mod distribution;
mod error;
pub mod expression;
pub mod fasta;
pub mod file;
mod files;
pub mod forecast;
mod found;
mod gunzip;
pub mod icl;
pub mod idx;
pub mod image;
mod interval;
mod jet;
mod known;
pub mod language;
pub mod limits;
pub mod linear_program;
mod measure;
mod picture;
pub mod program;
pub mod prompt;
pub mod proteins;
pub mod recall;
mod registered;
mod registry;
pub mod robust_mean;
mod scale;
mod seed;
pub mod seq2seq;
mod shift;
mod source;
mod subsets;
mod task;
mod tokenizer;
mod vocabulary;

pub use batch::{Batch, Example, Inputs, Targets, TaskDims, TaskInput};
pub use breaks::breaks;
pub use distribution::Distribution;
pub use error::TaskError;
pub use files::{Arrays, Contents, Files, Numbers, ReadArrays, unpacked};
pub use interval::{Derivatives, Interval, functions as enclosures};
pub use jet::{Jet, Order};
pub use known::{Known, OverBoxes};
pub use measure::{Measure, Wanted};
pub use picture::Patches;
pub use registered::{Listed, RegisterError, RegisteredTask};
pub use registry::{TASKS, TaskConfig};
pub use scale::Scale;
pub use seed::{LARGEST_SEED, Probe, SampleRng, Seed, Stream};
pub use shift::{SHIFTS, Shift};
pub use source::{DataConfig, Source};
pub use task::{Alike, DataNames, Gaps, Split, Task, TaskSpec};
pub use tokenizer::Tokenizer;
pub use vocabulary::{Lack, NoToken, Tokens, Unknown, Vocabulary, Writer};
