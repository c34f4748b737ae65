//! A random two-layer ReLU network of the whole sequence: a target that mixes positions.

use std::sync::Arc;

use headway_keys::Described;
use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};

use super::given::{self, Size};
use crate::{
    baseline::{Baseline, flattened::Flattened, mean::Mean},
    batch::{Example, Inputs, Targets, TaskDims, TaskInput},
    distribution::Distribution,
    error::TaskError,
    files::Files,
    jet::Jet,
    known::{self, Known},
    seed::SampleRng,
    task::{Split, Task, TaskSpec},
};

/// Sizes of [`ReluNetwork`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct ReluNetworkConfig {
    /// Number of positions. Default 20.
    pub seq_len: usize,
    /// Input numbers per position and, by default, output numbers. Default 5.
    pub d: usize,
    /// Output numbers per position. Default d.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub d_out: Option<usize>,
    /// Number of hidden units. Default 10.
    pub d_hidden: usize,
    /// Distribution of every input number. Default U(0, 1).
    pub input: Distribution,
    /// Factor on every target. Default 1.
    pub target_scale: f64,
    /// The weights and biases of the network. Default: none, they are drawn from the seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given: Option<GivenNetwork>,
}

/// The constants of a [`ReluNetwork`] in double precision; the task rounds them to single precision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields)]
pub struct GivenNetwork {
    /// W1. `[d_hidden][seq_len * d]`
    pub weights_in: Vec<Vec<f64>>,
    /// b1. `[d_hidden]`
    pub bias_in: Vec<f64>,
    /// W2. `[seq_len * d_out][d_hidden]`
    pub weights_out: Vec<Vec<f64>>,
    /// b2. `[seq_len * d_out]`
    pub bias_out: Vec<f64>,
}

impl Default for ReluNetworkConfig {
    fn default() -> Self {
        let input = Distribution::Uniform { low: 0.0, high: 1.0 };
        Self { seq_len: 20, d: 5, d_out: None, d_hidden: 10, input, target_scale: 1.0, given: None }
    }
}

/// Largest number of weights of the network: 16 MB.
const MOST_WEIGHTS: usize = 1 << 22;

impl ReluNetworkConfig {
    /// Output numbers per position.
    pub fn d_out(&self) -> usize {
        self.d_out.unwrap_or(self.d)
    }

    /// A problem if W1 and W2 together would take too much memory.
    fn too_wide(&self) -> Option<TaskError> {
        let (d_hidden, flat) = (self.d_hidden, self.seq_len.saturating_mul(self.d.saturating_add(self.d_out())));
        let problem = || format!("{d_hidden} units of {flat} weights are too many; give {MOST_WEIGHTS} at most");
        let too_many = d_hidden.saturating_mul(flat) > MOST_WEIGHTS;
        too_many.then(|| TaskError::Key { key: "d_hidden", problem: problem() })
    }

    fn bad_given(&self) -> impl Iterator<Item = TaskError> + '_ {
        let flat_in = Size { value: self.seq_len.saturating_mul(self.d), name: "seq_len * d" };
        let name = if self.d_out.is_some() { "seq_len * d_out" } else { flat_in.name };
        let flat_out = Size { value: self.seq_len.saturating_mul(self.d_out()), name };
        let d_hidden = Size { value: self.d_hidden, name: "d_hidden" };
        let problems = move |given: &GivenNetwork| {
            [
                given::bad_matrix("given.weights_in", &given.weights_in, d_hidden, flat_in),
                given::bad_vector("given.bias_in", &given.bias_in, d_hidden),
                given::bad_matrix("given.weights_out", &given.weights_out, flat_out, d_hidden),
                given::bad_vector("given.bias_out", &given.bias_out, flat_out),
            ]
        };
        self.given.iter().flat_map(problems).flatten()
    }
}

impl TaskSpec for ReluNetworkConfig {
    fn dims(&self) -> TaskDims {
        TaskDims { seq_len: self.seq_len, input: TaskInput::Continuous { d_in: self.d }, d_out: self.d_out() }
    }

    fn validate(&self) -> Vec<TaskError> {
        let problems = [
            TaskError::below("seq_len", self.seq_len, 1),
            TaskError::below("d", self.d, 1),
            self.d_out.and_then(|d_out| TaskError::below("d_out", d_out, 1)),
            TaskError::below("d_hidden", self.d_hidden, 1),
            self.too_wide(),
            TaskError::bad_distribution("input", &self.input),
            TaskError::not_positive("target_scale", self.target_scale),
        ];
        let mut problems: Vec<TaskError> = problems.into_iter().flatten().chain(self.bad_given()).collect();
        if problems.is_empty() && self.given.is_none() {
            // E[y^2] for weights and biases that are drawn: on average ReLU halves the mean square of a unit.
            let unit = ((self.seq_len * self.d) as f64).mul_add(self.input.moment(2), 1.0) / 2.0;
            let mean_square = (self.d_hidden as f64).mul_add(unit, 1.0);
            problems.extend(TaskError::squares_overflow("target_scale", self.target_scale.powi(2) * mean_square));
        }
        problems
    }

    fn open(&self, _: &Files, rng: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        Ok(Box::new(ReluNetwork::new(self.clone(), rng)))
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        None
    }

    fn clues_ahead(&self) -> Option<&'static str> {
        Some("every target depends on the whole sequence")
    }
}

/// y = target_scale * (W2 relu(W1 vec(x) + b1) + b2), where vec(x) concatenates the rows of the sequence. All weights
/// and biases are N(0, 1) and shared by all examples of a seed, unless they are given. Every position is scored.
///
/// # Shapes
/// inputs `[seq_len, d]` -> targets `[seq_len, d_out]`
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
    /// W2. `[seq_len * d_out, d_hidden]`
    pub weights_out: DMatrix<f32>,
    /// b2. `[seq_len * d_out]`
    pub bias_out: DVector<f32>,
}

impl ReluNetwork {
    /// Uses the given constants, or draws W1, b1, W2 and b2 in this order. The config must be valid.
    pub fn new(config: ReluNetworkConfig, rng: &mut SampleRng) -> Self {
        if let Some(GivenNetwork { weights_in, bias_in, weights_out, bias_out }) = &config.given {
            let (weights_in, bias_in) = (given::matrix(weights_in), given::vector(bias_in));
            let (weights_out, bias_out) = (given::matrix(weights_out), given::vector(bias_out));
            return Self { config, weights_in, bias_in, weights_out, bias_out };
        }
        let (flat_in, flat_out) = (config.seq_len * config.d, config.seq_len * config.d_out());
        let d_hidden = config.d_hidden;
        let mut matrix =
            |rows, cols| DMatrix::from_vec(rows, cols, Distribution::STANDARD_NORMAL.vector(rows * cols, rng));
        let (weights_in, bias_in) = (matrix(d_hidden, flat_in), matrix(d_hidden, 1).column(0).into_owned());
        let (weights_out, bias_out) = (matrix(flat_out, d_hidden), matrix(flat_out, 1).column(0).into_owned());
        Self { config, weights_in, bias_in, weights_out, bias_out }
    }

    /// The config with all constants given, so that no seed is needed to build the same task again.
    pub fn written_down(&self) -> ReluNetworkConfig {
        let given = GivenNetwork {
            weights_in: given::rows(&self.weights_in),
            bias_in: given::numbers(&self.bias_in),
            weights_out: given::rows(&self.weights_out),
            bias_out: given::numbers(&self.bias_out),
        };
        ReluNetworkConfig { given: Some(given), ..self.config.clone() }
    }

    /// The targets of given inputs.
    ///
    /// # Shapes
    /// inputs `[seq_len, d]` -> `[seq_len, d_out]`
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

    fn example(&self, _: Split, _: u64, rng: &mut SampleRng) -> Example {
        let ReluNetworkConfig { seq_len, d, ref input, .. } = self.config;
        let inputs = input.vector(seq_len * d, rng);
        let targets = Targets::Continuous(self.targets(&inputs));
        let (loss_mask, slices) = (vec![true; seq_len], vec![None; seq_len]);
        Example { inputs: Inputs::Continuous(inputs), targets, loss_mask, slices }
    }

    fn known(&self) -> Option<Known> {
        let (network, scale) = (self.clone(), self.config.target_scale as f32);
        let enclosure = move |x: &[Jet]| {
            let rows = network.weights_in.row_iter().zip(&network.bias_in);
            let hidden = rows.map(|(w, b)| known::relu(known::affine(w.iter().copied(), x, *b)));
            let hidden: Vec<Jet> = hidden.collect();
            let rows = network.weights_out.row_iter().zip(&network.bias_out);
            let answers = rows.map(|(w, b)| known::affine(w.iter().copied(), &hidden, *b));
            answers.map(|y| known::affine([scale].into_iter(), &[y], 0.0)).collect()
        };
        let text = format!("the task's ReLU network of {} units", self.config.d_hidden);
        Some(Known { text, enclosure: Arc::new(enclosure), ends: self.config.input.ends() })
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        vec![Box::new(Flattened::default()), Box::new(Mean::default())]
    }
}
