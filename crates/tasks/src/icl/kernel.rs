//! Kernel regression in context with an example per row, as [`rows`] lays it out.

use headway_keys::Described;
use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};

use crate::{
    baseline::{
        Baseline,
        kernel_ridge::{Gaussian, KernelRidge, Richardson},
        least_squares::LeastSquares,
        mean::Mean,
        rows::Rows,
    },
    batch::{Example, TaskDims, TaskInput},
    distribution::Distribution,
    error::TaskError,
    files::Files,
    prompt::{Layout, rows},
    seed::SampleRng,
    task::{Split, Task, TaskSpec},
};

/// Sizes and distributions of [`KernelRegression`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct KernelConfig {
    /// Dimension of x. Default 5.
    pub d: usize,
    /// Number of examples N of a prompt; the query is one more row. Default 20.
    pub n_points: usize,
    /// Number of centres M of a hidden function. Default 3.
    pub centres: usize,
    /// Bandwidth s of the kernel, that of hidden functions and of kernel ridge regression, in units of x. Default 1.
    pub bandwidth: f64,
    /// Standard deviation of the noise added to the y of every example, in units of y; the target has no noise. Default
    /// 0.1.
    pub noise: f64,
    /// Distribution of every coordinate of x and of the centres. Default U(-1, 1).
    pub input: Distribution,
    /// Distribution of every weight c. Default N(0, 1).
    pub weights: Distribution,
    /// Richardson's iteration for kernel ridge regression, which predictions are compared with; examples do not depend on
    /// it.
    pub richardson: Iteration,
}

/// Richardson's iteration from alpha = 0 for (K + ridge I) alpha = y, alpha <- alpha - rate ((K + ridge I) alpha - y).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct Iteration {
    /// Number of steps. Default 10.
    pub steps: usize,
    /// Size of a step; up to 2 / (n_points + ridge) it never diverges. Default 0.05.
    pub rate: f64,
    /// What is added to the diagonal of K, lambda of kernel ridge regression. Default 0.1.
    pub ridge: f64,
}

impl Default for Iteration {
    fn default() -> Self {
        Self { steps: 10, rate: 0.05, ridge: 0.1 }
    }
}

impl Default for KernelConfig {
    fn default() -> Self {
        let (input, weights) = (Distribution::Uniform { low: -1.0, high: 1.0 }, Distribution::STANDARD_NORMAL);
        Self {
            d: 5,
            n_points: 20,
            centres: 3,
            bandwidth: 1.0,
            noise: 0.1,
            input,
            weights,
            richardson: Iteration::default(),
        }
    }
}

/// Largest number of steps, since each is taken on every prompt of a test set.
const MOST_STEPS: usize = 100_000;

impl KernelConfig {
    fn kernel(&self) -> Gaussian {
        Gaussian { bandwidth: self.bandwidth }
    }

    /// The iteration that `richardson` describes.
    pub fn rule(&self) -> Richardson {
        let Iteration { steps, rate, ridge } = self.richardson;
        Richardson { kernel: self.kernel(), ridge, steps, rate }
    }
}

impl TaskSpec for KernelConfig {
    fn dims(&self) -> TaskDims {
        TaskDims { seq_len: self.n_points + 1, input: TaskInput::Continuous { d_in: self.d + 1 }, d_out: 1 }
    }

    fn validate(&self) -> Vec<TaskError> {
        let problems = [
            TaskError::below("d", self.d, 1),
            TaskError::below("n_points", self.n_points, 1),
            TaskError::below("centres", self.centres, 1),
            TaskError::not_positive("bandwidth", self.bandwidth),
            TaskError::negative("noise", self.noise, "no noise"),
            TaskError::bad_distribution("input", &self.input),
            TaskError::bad_distribution("weights", &self.weights),
            TaskError::below("richardson.steps", self.richardson.steps, 1),
            TaskError::above("richardson.steps", self.richardson.steps, MOST_STEPS),
            TaskError::not_positive("richardson.rate", self.richardson.rate),
            TaskError::negative("richardson.ridge", self.richardson.ridge, "no penalty"),
        ];
        let mut problems: Vec<TaskError> = problems.into_iter().flatten().collect();
        if problems.is_empty() {
            let largest = (self.centres as f64).powi(2) * self.weights.moment(2) + self.noise.powi(2);
            problems.extend(TaskError::squares_overflow("weights", largest));
            problems.extend(TaskError::squares_overflow("input", self.d as f64 * self.input.moment(2)));
        }
        problems
    }

    fn open(&self, _: &Files, _: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        Ok(Box::new(KernelRegression { config: self.clone() }))
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        None
    }

    fn asks_once(&self) -> bool {
        true
    }

    fn length_mut(&mut self) -> Option<(&'static str, &mut usize)> {
        Some(("n_points", &mut self.n_points))
    }
}

/// y_i = f(x_i) + noise with a new f(x) = sum_m c_m k(x, z_m) in every prompt, k the Gaussian kernel, shown as rows (x_i, y_i);
/// f(x_q) is predicted at the last row, (x_q, 0), which is the only scored one.
///
/// # Shapes
/// inputs `[n_points + 1, d + 1]` -> targets `[n_points + 1, 1]`
#[derive(Clone, Debug)]
pub struct KernelRegression {
    /// Sizes and distributions.
    pub config: KernelConfig,
}

impl Task for KernelRegression {
    fn dims(&self) -> TaskDims {
        self.config.dims()
    }

    /// Draws c, then z_1, …, z_M, then x_1, …, x_N, x_q, then the noise.
    fn example(&self, _: Split, _: u64, rng: &mut SampleRng) -> Example {
        let KernelConfig { d, n_points, centres, noise, ref input, ref weights, .. } = self.config;
        let c = DVector::from_vec(weights.vector(centres, rng)).map(f64::from);
        let z = DMatrix::from_vec(d, centres, input.vector(d * centres, rng)).map(f64::from);
        let x = DMatrix::from_vec(d, n_points + 1, input.vector(d * (n_points + 1), rng)); // a point per column
        let noise = DVector::from_vec(Distribution::STANDARD_NORMAL.vector(n_points, rng)).map(f64::from) * noise;
        let exact = x.map(f64::from);
        let answers = exact.column_iter().map(|x| self.config.kernel().beside(z.as_view(), x).dot(&c));
        let answers = DVector::from_iterator(n_points + 1, answers);
        rows::write(&x, &(answers.rows(0, n_points) + noise).map(|y| y as f32), &[answers[n_points] as f32])
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        let (kernel, ridge) = (self.config.kernel(), self.config.richardson.ridge);
        vec![
            Box::new(Rows(self.config.rule())),
            Box::new(Rows(KernelRidge { kernel, ridge })),
            Box::new(Rows(LeastSquares)),
            Box::new(Mean::default()),
        ]
    }

    fn prompt_layout(&self) -> Option<Layout> {
        Some(Layout::Rows)
    }
}
