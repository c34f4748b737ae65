//! Linear regression in context: a new weight vector in every prompt.

use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};

use super::prompt;
use crate::{
    baseline::{Baseline, averaging::Averaging, knn::Knn, least_squares::LeastSquares, ridge::Ridge},
    law::Law,
    seed::SampleRng,
    task::{Example, Slice, Task, TaskDims, TaskError, TaskSpec},
};

/// Sizes of [`Linear`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinearConfig {
    /// Dimensions of x. Default 5.
    pub d: usize,
    /// Points of a prompt, k; the last is asked for with k-1 examples seen. Default 11.
    pub n_points: usize,
    /// Standard deviation of the noise added to every y, in units of y. Default 0.
    pub noise_std: f64,
    /// Law of every coordinate of x. Default N(0, 1).
    pub input: Law,
}

impl Default for LinearConfig {
    fn default() -> Self {
        Self { d: 5, n_points: 11, noise_std: 0.0, input: Law::STANDARD_NORMAL }
    }
}

impl LinearConfig {
    fn bad_noise(&self) -> Option<TaskError> {
        let good = self.noise_std.is_finite() && self.noise_std >= 0.0;
        let problem = || format!("{} must be finite and not negative; 0 is no noise", self.noise_std);
        (!good).then(|| TaskError { key: "noise_std", problem: problem() })
    }
}

impl TaskSpec for LinearConfig {
    fn dims(&self) -> TaskDims {
        prompt::dims(self.d, self.n_points)
    }

    fn validate(&self) -> Vec<TaskError> {
        let problems = [
            TaskError::below("d", self.d, 1),
            TaskError::below("n_points", self.n_points, 1),
            self.bad_noise(),
            TaskError::bad_law("input", &self.input),
        ];
        problems.into_iter().flatten().collect()
    }

    fn build(&self, _: &mut SampleRng) -> Box<dyn Task> {
        Box::new(Linear { config: self.clone() })
    }
}

/// y_i = w . x_i + noise with w ~ N(0, I_d) drawn anew for every prompt; the prompt is laid out as in [`prompt`].
/// Scored at the x positions, against the noisy y.
///
/// # Shapes
/// inputs `[2 n_points - 1, d]` -> targets `[2 n_points - 1, 1]`
///
/// # References
/// Garg et al. 2022, arXiv 2208.01066, without their rescaling of noisy targets and without their curriculum.
#[derive(Clone, Debug)]
pub struct Linear {
    /// Sizes and noise.
    pub config: LinearConfig,
}

impl Task for Linear {
    fn dims(&self) -> TaskDims {
        self.config.dims()
    }

    fn sample(&self, rng: &mut SampleRng) -> Example {
        let LinearConfig { d, n_points, noise_std, ref input } = self.config;
        let w = DVector::from_vec(Law::STANDARD_NORMAL.vector(d, rng));
        let x = DMatrix::from_vec(d, n_points, input.vector(d * n_points, rng));
        let noise = DVector::from_vec(Law::STANDARD_NORMAL.vector(n_points, rng)) * noise_std as f32;
        prompt::write(&x, &(x.tr_mul(&w) + noise))
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        // lambda = 1 is the best choice for noise_std = 1, and shows what shrinkage costs without noise.
        let ridge = Ridge { lambda: 1.0 };
        vec![Box::new(LeastSquares), Box::new(ridge), Box::new(Knn { neighbours: 3 }), Box::new(Averaging)]
    }

    fn slices(&self) -> Vec<Slice> {
        prompt::slices(self.config.n_points)
    }
}
