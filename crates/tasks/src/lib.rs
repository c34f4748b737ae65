//! Tasks, which generate examples, and the classical predictors for the same examples. No model is in this crate.
//!
//! Every example is a pure function of (seed, stream, index), see [`seed`]. A [`Task`] draws one example from one
//! generator; a [`Source`] turns a task and a seed into training batches and evaluation sets.

pub mod baseline;
mod batch;
pub mod breaks;
pub mod distribution;
mod error;
pub mod expression;
pub mod file;
pub mod files;
pub mod icl;
pub mod interval;
pub mod jet;
pub mod prompt;
pub mod recall;
mod registered;
pub mod registry;
mod scale;
pub mod seed;
pub mod seq2seq;
mod shift;
pub mod source;
mod task;

pub use baseline::{Baseline, gradient_descent::gradient_descent};
pub use batch::{Batch, Example, Inputs, Targets, TaskDims, TaskInput};
pub use breaks::breaks;
pub use distribution::Distribution;
pub use error::TaskError;
pub use file::{FileConfig, FileSplit, FileTask, FoundData, Ids, Ranges};
pub use files::{Contents, Files, Numbers};
pub use icl::regression::{Descent, Regression, RegressionConfig};
pub use interval::Interval;
pub use jet::{Jet, Order};
pub use prompt::{Layout, Question, set_query};
pub use registered::{Listed, RegisterError, RegisteredTask};
pub use registry::{TASKS, TaskConfig};
pub use scale::Scale;
pub use seed::{LARGEST_SEED, Probe, SampleRng, Seed, Stream};
pub use seq2seq::{
    function::{BUILT_INS, BuiltIn, Domain, Function, FunctionConfig, Table},
    relu_network::{GivenNetwork, ReluNetwork, ReluNetworkConfig},
    truncated_linear::{GivenForms, TruncatedLinear, TruncatedLinearConfig},
};
pub use shift::{SHIFTS, Shift};
pub use source::{DataConfig, Source};
pub use task::{DataNames, Split, Task, TaskSpec};
