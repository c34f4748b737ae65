//! Linear regression in context.

use nalgebra::{DMatrix, DVector};

use super::{config::prompt_config, family::Family};
use crate::{
    baseline::{
        Baseline, averaging::Averaging, gradient_descent::GradientDescent, in_context::InContext, knn::Knn,
        least_squares::LeastSquares, ridge::Ridge,
    },
    distribution::Distribution,
    error::TaskError,
    prompt::alternating::AnswerKind,
    seed::SampleRng,
    shift::Shift,
};

prompt_config! {
    /// y_i = w . x_i + noise with w ~ N(0, I_d).
    ///
    /// # References
    /// Garg et al. 2022, arXiv 2208.01066. There noisy y are divided by their standard deviation over a batch, here by
    /// its exact value.
    LinearConfig {
        /// Standard deviation of the noise added to every y, in units of y. Default 0.
        noise_std: f64 = 0.0,
        /// Whether noisy y are scaled so that noise does not increase E[y^2]. Default false.
        rescale: bool = false,
    }
}

impl LinearConfig {
    /// Mean square of the signal, E[(w . x)^2].
    fn signal(&self) -> f64 {
        self.d as f64 * self.input.moment(2)
    }

    /// Square of the factor on noisy y.
    fn scale_squared(&self) -> f64 {
        if self.rescale { self.signal() / (self.signal() + self.noise_std.powi(2)) } else { 1.0 }
    }
}

impl Family for LinearConfig {
    /// w. `[d]`
    type Function = DVector<f32>;

    const ANSWERS: AnswerKind = AnswerKind::Number;

    fn own_problems(&self) -> Vec<TaskError> {
        let good = self.noise_std.is_finite() && self.noise_std >= 0.0;
        let problem = || format!("{} must be finite and not negative; 0 is no noise", self.noise_std);
        let bad = (!good).then(|| TaskError::Key { key: "noise_std", problem: problem() });
        bad.or_else(|| TaskError::squares_overflow("noise_std", self.noise_std.powi(2))).into_iter().collect()
    }

    fn draw(&self, _: usize, rng: &mut SampleRng) -> DVector<f32> {
        DVector::from_vec(Distribution::STANDARD_NORMAL.vector(self.d, rng))
    }

    fn answers(&self, w: &DVector<f32>, x: &DMatrix<f32>, rng: &mut SampleRng) -> DVector<f32> {
        let noise = DVector::from_vec(Distribution::STANDARD_NORMAL.vector(x.ncols(), rng)) * self.noise_std as f32;
        let y = x.tr_mul(w) + noise;
        if self.rescale { y * self.scale_squared().sqrt() as f32 } else { y }
    }

    fn mean_square(&self) -> f64 {
        self.signal() + if self.rescale { 0.0 } else { self.noise_std.powi(2) }
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        vec![
            Box::new(LeastSquares),
            // lambda = 1 is optimal for noise_std = 1; without noise it shows the cost of shrinkage.
            Box::new(Ridge { lambda: 1.0 }),
            Box::new(Knn { neighbours: 3 }),
            Box::new(Averaging),
            Box::new(GradientDescent { steps: 10, step_size: 1.0 }),
        ]
    }

    fn posterior_mean(&self) -> Option<Box<dyn InContext>> {
        let added = if let Some(Shift::NoisyY(std)) = self.shift { std.powi(2) } else { 0.0 };
        // Variance of all noise relative to that of w. A shift of x gives no information about w.
        let lambda = self.noise_std.powi(2) + added / self.scale_squared();
        Some(if lambda > 0.0 { Box::new(Ridge { lambda }) } else { Box::new(LeastSquares) })
    }
}
