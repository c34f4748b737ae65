//! Linear regression in context with an example per row, as [`rows`] lays it out.

use headway_keys::Described;
use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};

use crate::{
    baseline::{
        Baseline,
        averaging::Averaging,
        gradient_descent::{ExampleLoss, FixedRateDescent},
        least_squares::LeastSquares,
        mean::Mean,
        ridge::Ridge,
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

/// Sizes and distributions of [`Regression`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct RegressionConfig {
    /// Dimension of x. Default 5.
    pub d: usize,
    /// Number of examples N of a prompt; the query is one more row. Default 20.
    pub n_points: usize,
    /// Standard deviation of the noise added to the y of every example, in units of y; the target has no noise. Default
    /// 0.1.
    pub noise: f64,
    /// Distribution of every coordinate of x. Default U(-1, 1).
    pub input: Distribution,
    /// Distribution of every coordinate of w. Default N(0, 1).
    pub weights: Distribution,
    /// Gradient descent that predictions are compared with; examples do not depend on it.
    pub gradient_descent: Descent,
}

/// Proximal gradient descent from w = 0 on the mean loss of the examples, with penalties on w.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct Descent {
    /// Number of steps. Default 10.
    pub steps: usize,
    /// Learning rate; descent on squares converges if it is below 2 / (largest eigenvalue of sum_i x_i x_i^T / N).
    /// Default 0.3.
    pub rate: f64,
    /// Loss of one example. Default squared.
    #[serde(skip_serializing_if = "ExampleLoss::is_squared")]
    pub loss: ExampleLoss,
    /// Factor on |w|^2 / 2, as in ridge regression. Default 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub ridge: f64,
    /// Factor on |w|_1, as in the Lasso; every step then ends with a soft threshold at rate times this. Default 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub lasso: f64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_zero(factor: &f64) -> bool {
    *factor == 0.0
}

impl Default for Descent {
    fn default() -> Self {
        Self { steps: 10, rate: 0.3, loss: ExampleLoss::Squared, ridge: 0.0, lasso: 0.0 }
    }
}

impl Descent {
    /// The predictor that it describes.
    pub fn rule(&self) -> FixedRateDescent {
        let Self { steps, rate, loss, ridge, lasso } = *self;
        FixedRateDescent { steps, rate, loss, ridge, lasso }
    }

    fn bad_threshold(&self) -> Option<TaskError> {
        match self.loss {
            ExampleLoss::Huber { threshold } => {
                TaskError::not_positive("gradient_descent.loss.huber.threshold", threshold)
            }
            ExampleLoss::Squared | ExampleLoss::Logistic => None,
        }
    }
}

impl Default for RegressionConfig {
    fn default() -> Self {
        let input = Distribution::Uniform { low: -1.0, high: 1.0 };
        let (weights, gradient_descent) = (Distribution::STANDARD_NORMAL, Descent::default());
        Self { d: 5, n_points: 20, noise: 0.1, input, weights, gradient_descent }
    }
}

/// Largest number of steps of gradient descent, since each is taken on every prompt of a test set.
const MOST_STEPS: usize = 100_000;

impl RegressionConfig {
    /// The penalty for which ridge regression is the posterior mean, given a normal w with mean 0.
    fn lambda(&self) -> f64 {
        self.noise.powi(2) / self.weights.moment(2)
    }
}

impl TaskSpec for RegressionConfig {
    fn dims(&self) -> TaskDims {
        TaskDims { seq_len: self.n_points + 1, input: TaskInput::Continuous { d_in: self.d + 1 }, d_out: 1 }
    }

    fn validate(&self) -> Vec<TaskError> {
        let problems = [
            TaskError::below("d", self.d, 1),
            TaskError::below("n_points", self.n_points, 1),
            TaskError::negative("noise", self.noise, "no noise"),
            TaskError::bad_distribution("input", &self.input),
            TaskError::bad_distribution("weights", &self.weights),
            TaskError::below("gradient_descent.steps", self.gradient_descent.steps, 1),
            TaskError::above("gradient_descent.steps", self.gradient_descent.steps, MOST_STEPS),
            TaskError::not_positive("gradient_descent.rate", self.gradient_descent.rate),
            self.gradient_descent.bad_threshold(),
            TaskError::negative("gradient_descent.ridge", self.gradient_descent.ridge, "no penalty"),
            TaskError::negative("gradient_descent.lasso", self.gradient_descent.lasso, "no penalty"),
        ];
        let mut problems: Vec<TaskError> = problems.into_iter().flatten().collect();
        if problems.is_empty() {
            let mean_square = self.d as f64 * self.weights.moment(2) * self.input.moment(2) + self.noise.powi(2);
            problems.extend(TaskError::squares_overflow("weights", mean_square));
        }
        problems
    }

    fn open(&self, _: &Files, _: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        Ok(Box::new(Regression { config: self.clone() }))
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

/// y_i = w . x_i + noise with a new w in every prompt, shown as rows (x_i, y_i); w . x_q is predicted at the last row,
/// (x_q, 0), which is the only scored one. In this layout a layer of linear attention can do a step of gradient
/// descent.
///
/// # Shapes
/// inputs `[n_points + 1, d + 1]` -> targets `[n_points + 1, 1]`
///
/// # References
/// von Oswald et al. 2022, arXiv 2212.07677. There x is U(-1, 1) and w is N(0, 1) without noise.
#[derive(Clone, Debug)]
pub struct Regression {
    /// Sizes and distributions.
    pub config: RegressionConfig,
}

impl Task for Regression {
    fn dims(&self) -> TaskDims {
        self.config.dims()
    }

    /// Draws w, then x_1, …, x_N, x_q, then the noise.
    fn example(&self, _: Split, _: u64, rng: &mut SampleRng) -> Example {
        let RegressionConfig { d, n_points, noise, ref input, ref weights, .. } = self.config;
        let w = DVector::from_vec(weights.vector(d, rng));
        let x = DMatrix::from_vec(d, n_points + 1, input.vector(d * (n_points + 1), rng)); // a point per column
        let answers = x.map(f64::from).tr_mul(&w.map(f64::from));
        let noise = DVector::from_vec(Distribution::STANDARD_NORMAL.vector(n_points, rng)).map(f64::from) * noise;
        rows::write(&x, &(answers.rows(0, n_points) + noise).map(|y| y as f32), &[answers[n_points] as f32])
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        let mut baselines: Vec<Box<dyn Baseline>> = vec![
            Box::new(Rows(self.config.gradient_descent.rule())),
            Box::new(Rows(LeastSquares)),
            Box::new(Rows(Averaging)),
            Box::new(Mean::default()),
        ];
        // Without noise it is least squares.
        let lambda = self.config.lambda();
        if lambda > 0.0 {
            baselines.push(Box::new(Rows(Ridge { lambda })));
        }
        baselines
    }

    fn best_possible(&self) -> Option<Box<dyn Baseline>> {
        let lambda = self.config.lambda();
        match self.config.weights {
            Distribution::Normal { mean: 0.0, .. } if lambda > 0.0 => Some(Box::new(Rows(Ridge { lambda }))),
            Distribution::Normal { mean: 0.0, .. } => Some(Box::new(Rows(LeastSquares))),
            Distribution::Normal { .. } | Distribution::Uniform { .. } => None,
        }
    }

    fn prompt_layout(&self) -> Option<Layout> {
        Some(Layout::Rows)
    }
}
