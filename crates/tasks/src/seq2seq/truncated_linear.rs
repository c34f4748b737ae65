//! Truncated linear: the target that one layer of softmax attention is proved to approximate.

use std::sync::Arc;

use headway_keys::Described;
use nalgebra::{DMatrix, DVector, DVectorView};
use serde::{Deserialize, Serialize};

use super::given::{self, Size};
use crate::{
    baseline::{Baseline, mean::Mean, per_position::PerPosition},
    batch::{Example, Inputs, Targets, TaskDims, TaskInput},
    distribution::Distribution,
    error::TaskError,
    files::Files,
    jet::Jet,
    known::{self, Known},
    seed::SampleRng,
    task::{Split, Task, TaskSpec},
};

/// Sizes of [`TruncatedLinear`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct TruncatedLinearConfig {
    /// Number of positions. Default 50.
    pub seq_len: usize,
    /// Numbers per position. Default 10.
    pub d_in: usize,
    /// Lower end of the targets before scaling. Default -25.
    pub low: f64,
    /// Upper end of the targets before scaling. Default 25.
    pub high: f64,
    /// Distribution of every input number. Default U(-5, 5).
    pub input: Distribution,
    /// Factor on every target, applied after the clamp; 1/high for targets of size 1. Default 1.
    pub target_scale: f64,
    /// The linear forms. Default: none, they are drawn from the seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given: Option<GivenForms>,
}

/// The constants of a [`TruncatedLinear`] in double precision; the task rounds them to single precision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields)]
pub struct GivenForms {
    /// Rows w_i. `[seq_len][d_in]`
    pub weights: Vec<Vec<f64>>,
    /// t_i. `[seq_len]`
    pub offsets: Vec<f64>,
}

impl Default for TruncatedLinearConfig {
    fn default() -> Self {
        let input = Distribution::Uniform { low: -5.0, high: 5.0 };
        Self { seq_len: 50, d_in: 10, low: -25.0, high: 25.0, input, target_scale: 1.0, given: None }
    }
}

impl TruncatedLinearConfig {
    fn bad_range(&self) -> Option<TaskError> {
        let Self { low, high, .. } = *self;
        let infinite = |value: f64| !(value as f32).is_finite();
        if let Some((key, end)) = [("low", low), ("high", high)].into_iter().find(|(_, end)| infinite(*end)) {
            return Some(TaskError::Key { key, problem: format!("{end} must be a finite single-precision number") });
        }
        let rounded = if low < high { " in single precision" } else { "" };
        let problem = || format!("{low} must be below high = {high}{rounded}");
        (low as f32 >= high as f32).then(|| TaskError::Key { key: "low", problem: problem() })
    }

    fn bad_given(&self) -> impl Iterator<Item = TaskError> + '_ {
        let seq_len = Size { value: self.seq_len, name: "seq_len" };
        let d_in = Size { value: self.d_in, name: "d_in" };
        self.given.iter().flat_map(move |GivenForms { weights, offsets }| {
            let weights = given::bad_matrix("given.weights", weights, seq_len, d_in);
            weights.into_iter().chain(given::bad_vector("given.offsets", offsets, seq_len))
        })
    }
}

impl TaskSpec for TruncatedLinearConfig {
    fn dims(&self) -> TaskDims {
        TaskDims { seq_len: self.seq_len, input: TaskInput::Continuous { d_in: self.d_in }, d_out: 1 }
    }

    fn validate(&self) -> Vec<TaskError> {
        let problems = [
            TaskError::below("seq_len", self.seq_len, 1),
            TaskError::below("d_in", self.d_in, 1),
            self.bad_range(),
            TaskError::bad_distribution("input", &self.input),
            TaskError::not_positive("target_scale", self.target_scale),
        ];
        let mut problems: Vec<TaskError> = problems.into_iter().flatten().chain(self.bad_given()).collect();
        if problems.is_empty() && self.given.is_none() {
            // E[(w . x + t)^2] for w and t that are drawn.
            let mean_square = (self.d_in as f64).mul_add(self.input.moment(2), 1.0);
            let clamped = self.low.abs().max(self.high.abs()).powi(2).min(mean_square);
            problems.extend(TaskError::squares_overflow("target_scale", self.target_scale.powi(2) * clamped));
        }
        problems
    }

    fn open(&self, _: &Files, rng: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        Ok(Box::new(TruncatedLinear::new(self.clone(), rng)))
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        None
    }
}

/// A clamped linear form, y_i = target_scale * clamp(w_i . x_i + t_i, low, high). Each position has its own w_i, t_i ~
/// N(0, 1), which are shared by all examples of a seed, unless they are given. Every position is scored.
///
/// # Shapes
/// inputs `[seq_len, d_in]` -> targets `[seq_len, 1]`
///
/// # References
/// Hu et al. 2025, arXiv 2504.15956. There the target is padded with zeros to the model's width, and the error is
/// averaged over the padding too; here d_out is 1.
#[derive(Clone, Debug)]
pub struct TruncatedLinear {
    /// Sizes and ends of the range.
    pub config: TruncatedLinearConfig,
    /// Columns w_i. `[d_in, seq_len]`
    pub weights: DMatrix<f32>,
    /// t_i. `[seq_len]`
    pub offsets: DVector<f32>,
}

impl TruncatedLinear {
    /// Uses the given constants, or draws w and then t. The config must be valid.
    pub fn new(config: TruncatedLinearConfig, rng: &mut SampleRng) -> Self {
        let TruncatedLinearConfig { seq_len, d_in, .. } = config;
        if let Some(GivenForms { weights, offsets }) = &config.given {
            let (weights, offsets) = (given::matrix(weights).transpose(), given::vector(offsets));
            return Self { config, weights, offsets };
        }
        let weights = DMatrix::from_vec(d_in, seq_len, Distribution::STANDARD_NORMAL.vector(d_in * seq_len, rng));
        let offsets = DVector::from_vec(Distribution::STANDARD_NORMAL.vector(seq_len, rng));
        Self { config, weights, offsets }
    }

    /// The config with all constants given, so that no seed is needed to build the same task again.
    pub fn written_down(&self) -> TruncatedLinearConfig {
        let given =
            GivenForms { weights: given::rows(&self.weights.transpose()), offsets: given::numbers(&self.offsets) };
        TruncatedLinearConfig { given: Some(given), ..self.config.clone() }
    }

    /// The targets of given inputs.
    ///
    /// # Shapes
    /// inputs `[seq_len, d_in]` -> `[seq_len]`
    pub fn targets(&self, inputs: &[f32]) -> Vec<f32> {
        let (low, high) = (self.config.low as f32, self.config.high as f32);
        let tokens = inputs.chunks_exact(self.config.d_in).map(|x| DVectorView::from_slice(x, x.len()));
        let forms = self.weights.column_iter().zip(&self.offsets).zip(tokens).map(|((w, t), x)| w.dot(&x) + t);
        let scale = self.config.target_scale as f32;
        forms.map(|form| scale * form.clamp(low, high)).collect()
    }
}

impl Task for TruncatedLinear {
    fn dims(&self) -> TaskDims {
        self.config.dims()
    }

    fn example(&self, _: Split, _: u64, rng: &mut SampleRng) -> Example {
        let TruncatedLinearConfig { seq_len, d_in, ref input, .. } = self.config;
        let inputs = input.vector(seq_len * d_in, rng);
        let targets = Targets::Continuous(self.targets(&inputs));
        let (loss_mask, slices) = (vec![true; seq_len], vec![None; seq_len]);
        Example { inputs: Inputs::Continuous(inputs), targets, loss_mask, slices }
    }

    fn known(&self) -> Option<Known> {
        let TruncatedLinearConfig { d_in, low, high, ref input, target_scale, .. } = self.config;
        let (ends, scale) = ([low as f32, high as f32], target_scale as f32);
        let (weights, offsets) = (self.weights.clone(), self.offsets.clone());
        let enclosure = move |x: &[Jet]| {
            let tokens = x.chunks_exact(d_in).zip(weights.column_iter()).zip(&offsets);
            let forms = tokens.map(|((x, w), t)| known::affine(w.iter().copied(), x, *t));
            forms.map(|form| known::affine([scale].into_iter(), &[known::clamp(form, ends)], 0.0)).collect()
        };
        let times = if scale.to_bits() == 1.0_f32.to_bits() { String::new() } else { format!("{scale} ") };
        let text = format!("{times}clamp(w_i . x_i + t_i, {low}, {high}) with the task's w and t");
        Some(Known { text, enclosure: Arc::new(enclosure), ends: input.ends() })
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        vec![Box::new(PerPosition::default()), Box::new(Mean::default())]
    }
}
