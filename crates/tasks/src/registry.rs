//! The one list of tasks. A new task is one file and one row below.

use serde::{Deserialize, Serialize};

use crate::{
    icl,
    seed::{Seed, Stream},
    seq2seq,
    task::{Task, TaskDims, TaskError, TaskSpec},
};

/// Declares the list of tasks once: config names, dispatch and `headway list tasks` all come from it.
macro_rules! tasks {
    ($($name:literal => $variant:ident($config:ty), $summary:literal;)+) => {
        /// A task by its name in a config file (`[task.copy]`).
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub enum TaskConfig {
            $(#[doc = $summary] #[serde(rename = $name)] $variant($config),)+
        }

        /// Every task's name in a config file, with one line about it.
        pub const TASKS: &[(&str, &str)] = &[$(($name, $summary),)+];

        impl TaskConfig {
            /// The task of this name with every size at its default.
            pub fn with_defaults(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant(<$config>::default())),)+ _ => None }
            }

            /// Name in a config file.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)+ }
            }

            fn spec(&self) -> &dyn TaskSpec {
                match self { $(Self::$variant(config) => config,)+ }
            }
        }
    };
}

tasks! {
    "truncated_linear" => TruncatedLinear(seq2seq::truncated_linear::TruncatedLinearConfig),
        "y_i = clamp(w_i . x_i + t_i, low, high): a linear form per position, cut off at both ends";
    "relu_network" => ReluNetwork(seq2seq::relu_network::ReluNetworkConfig),
        "y = W2 relu(W1 vec(x) + b1) + b2: a random two-layer ReLU network of the whole sequence";
    "icl_linear" => IclLinear(icl::linear::LinearConfig),
        "x_1, y_1, x_2, y_2, ... with y = w . x and a new w in every prompt: linear regression in context";
    "copy" => Copy(seq2seq::copy::CopyConfig),
        "symbols, a separator, then the same symbols again, one by one";
}

impl TaskConfig {
    /// Sizes of inputs and targets, known without drawing anything.
    pub fn dims(&self) -> TaskDims {
        self.spec().dims()
    }

    /// Everything that makes no sense, each with the key to change; empty when the task can be built.
    pub fn validate(&self) -> Vec<TaskError> {
        self.spec().validate()
    }

    /// The task with its shared constants drawn. The config must be valid.
    pub fn build(&self, seed: Seed) -> Box<dyn Task> {
        self.spec().build(&mut seed.rng(Stream::Task, 0))
    }
}
