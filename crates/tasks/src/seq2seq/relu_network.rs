//! A random two-layer ReLU network of the whole sequence: a target that mixes positions.

use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};

use crate::{
    baseline::{Baseline, flattened::Flattened, mean::Mean},
    law::Law,
    seed::SampleRng,
    task::{Example, Inputs, Targets, Task, TaskDims, TaskError, TaskInput, TaskSpec},
};

/// Sizes of [`ReluNetwork`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReluNetworkConfig {
    /// Positions. Default 20.
    pub seq_len: usize,
    /// Numbers per position, in and out. Default 5.
    pub d: usize,
    /// Hidden units of the network. Default 10.
    pub d_hidden: usize,
    /// Law of every input number. Default U(0, 1).
    pub input: Law,
    /// Factor on every target. Default 1.
    pub target_scale: f64,
}

impl Default for ReluNetworkConfig {
    fn default() -> Self {
        Self { seq_len: 20, d: 5, d_hidden: 10, input: Law::Uniform { low: 0.0, high: 1.0 }, target_scale: 1.0 }
    }
}

impl TaskSpec for ReluNetworkConfig {
    fn dims(&self) -> TaskDims {
        TaskDims { seq_len: self.seq_len, input: TaskInput::Continuous { d_in: self.d }, d_out: self.d }
    }

    fn validate(&self) -> Vec<TaskError> {
        let problems = [
            TaskError::below("seq_len", self.seq_len, 1),
            TaskError::below("d", self.d, 1),
            TaskError::below("d_hidden", self.d_hidden, 1),
            TaskError::bad_law("input", &self.input),
            TaskError::not_positive("target_scale", self.target_scale),
        ];
        problems.into_iter().flatten().collect()
    }

    fn build(&self, rng: &mut SampleRng) -> Box<dyn Task> {
        Box::new(ReluNetwork::new(self.clone(), rng))
    }
}

/// y = target_scale * (W2 relu(W1 vec(x) + b1) + b2), where vec(x) is the sequence laid out in a row. All weights and biases are N(0, 1)
/// and shared by all examples of a seed. Every position is scored.
///
/// # Shapes
/// inputs `[seq_len, d]` -> targets `[seq_len, d]`
///
/// # References
/// Hu et al. 2025, arXiv 2504.15956.
#[derive(Clone, Debug)]
pub struct ReluNetwork {
    /// Sizes.
    pub config: ReluNetworkConfig,
    /// W1. `[d_hidden, seq_len * d]`
    pub weights_in: DMatrix<f32>,
    /// b1. `[d_hidden]`
    pub bias_in: DVector<f32>,
    /// W2. `[seq_len * d, d_hidden]`
    pub weights_out: DMatrix<f32>,
    /// b2. `[seq_len * d]`
    pub bias_out: DVector<f32>,
}

impl ReluNetwork {
    /// Draws W1, b1, W2 and b2, in this order.
    pub fn new(config: ReluNetworkConfig, rng: &mut SampleRng) -> Self {
        let (flat, d_hidden) = (config.seq_len * config.d, config.d_hidden);
        let mut matrix = |rows, cols| DMatrix::from_vec(rows, cols, Law::STANDARD_NORMAL.vector(rows * cols, rng));
        let (weights_in, bias_in) = (matrix(d_hidden, flat), matrix(d_hidden, 1).column(0).into_owned());
        let (weights_out, bias_out) = (matrix(flat, d_hidden), matrix(flat, 1).column(0).into_owned());
        Self { config, weights_in, bias_in, weights_out, bias_out }
    }

    /// The targets of given inputs.
    ///
    /// # Shapes
    /// inputs `[seq_len, d]` -> `[seq_len, d]`
    pub fn targets(&self, inputs: &[f32]) -> Vec<f32> {
        let x = DVector::from_column_slice(inputs);
        let hidden = (&self.weights_in * x + &self.bias_in).map(|unit| unit.max(0.0));
        let scale = self.config.target_scale as f32;
        ((&self.weights_out * hidden + &self.bias_out) * scale).as_slice().to_vec()
    }
}

impl Task for ReluNetwork {
    fn dims(&self) -> TaskDims {
        self.config.dims()
    }

    fn sample(&self, rng: &mut SampleRng) -> Example {
        let ReluNetworkConfig { seq_len, d, ref input, .. } = self.config;
        let inputs = input.vector(seq_len * d, rng);
        let targets = Targets::Continuous(self.targets(&inputs));
        let (scored, slices) = (vec![true; seq_len], vec![None; seq_len]);
        Example { inputs: Inputs::Continuous(inputs), targets, scored, slices }
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        vec![Box::new(Flattened::default()), Box::new(Mean::default())]
    }
}
