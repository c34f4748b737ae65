//! Quadratic regression in context.

use nalgebra::{DMatrix, DVector};

use super::{config::prompt_config, family::Family};
use crate::{
    baseline::{
        Baseline, averaging::Averaging, in_context::InContext, knn::Knn, least_squares::LeastSquares,
        squares_least_squares::SquaresLeastSquares,
    },
    distribution::Distribution,
    error::TaskError,
    prompt::alternating::AnswerKind,
    seed::SampleRng,
    shift::Shift,
};

prompt_config! {
    /// y_i = sum_j w_j x_ij^2 / sqrt(3) with w ~ N(0, I_d). The divisor makes E[y^2] = d for standard normal x.
    ///
    /// # References
    /// Garg et al. 2022, arXiv 2208.01066.
    QuadraticConfig {}
}

impl Family for QuadraticConfig {
    /// w. `[d]`
    type Function = DVector<f32>;

    const ANSWERS: AnswerKind = AnswerKind::Number;

    fn own_problems(&self) -> Vec<TaskError> {
        Vec::new()
    }

    fn draw(&self, _: usize, rng: &mut SampleRng) -> DVector<f32> {
        DVector::from_vec(Distribution::STANDARD_NORMAL.vector(self.d, rng))
    }

    fn answers(&self, w: &DVector<f32>, x: &DMatrix<f32>, _: &mut SampleRng) -> DVector<f32> {
        x.map(|value| value * value).tr_mul(w) / 3.0_f32.sqrt()
    }

    fn mean_square(&self) -> f64 {
        self.d as f64 * self.input.moment(4) / 3.0
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        vec![
            Box::new(SquaresLeastSquares),
            Box::new(LeastSquares),
            Box::new(Knn { neighbours: 3 }),
            Box::new(Averaging),
        ]
    }

    fn posterior_mean(&self) -> Option<Box<dyn InContext>> {
        // Without noise, least squares of least norm is the posterior mean.
        let is_exact = !matches!(self.shift, Some(Shift::NoisyY(_)));
        is_exact.then(|| -> Box<dyn InContext> { Box::new(SquaresLeastSquares) })
    }
}
