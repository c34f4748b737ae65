//! Sine waves in context.

use std::f64::consts::TAU;

use nalgebra::{DMatrix, DVector, DVectorView};
use rand::RngExt;

use super::{config::prompt_config, family::Family};
use crate::{
    baseline::{
        Baseline, averaging::Averaging, gaussian_process::GaussianProcess, knn::Knn, least_squares::LeastSquares,
    },
    distribution::Distribution,
    error::TaskError,
    prompt::alternating::AnswerKind,
    seed::SampleRng,
};

prompt_config! {
    /// y_i = sin(w . x_i + b), a wave in the direction of w ~ N(0, frequency^2 / d I) with any phase, b ~ U(0, 2 pi). So E[y^2] = 1/2 for
    /// every distribution of x, and the covariance of two answers is exp(-frequency^2 |x - x'|^2 / (2 d)) / 2.
    ///
    /// # References
    /// The covariance is that of random Fourier features: Rahimi and Recht 2007.
    SineConfig {
        /// Deviation of w . x in radians where x has deviation 1: how many waves a prompt sees. Default 1.
        frequency: f64 = 1.0,
    }
}

/// One wave.
#[derive(Clone, Debug)]
pub struct Wave {
    /// w, radians for each unit of x. `[d]`
    pub direction: DVector<f32>,
    /// b in radians.
    pub phase: f32,
}

impl Family for SineConfig {
    type Function = Wave;

    const ANSWERS: AnswerKind = AnswerKind::Number;

    fn own_problems(&self) -> Vec<TaskError> {
        // Beyond, single precision leaves nothing of the angle.
        let readable = self.frequency.is_finite() && self.frequency > 0.0 && self.frequency <= 1000.0;
        let problem = || format!("{} must be above 0 and at most 1000 radians", self.frequency);
        (!readable).then(|| TaskError::Key { key: "frequency", problem: problem() }).into_iter().collect()
    }

    fn draw(&self, _: usize, rng: &mut SampleRng) -> Wave {
        let std = self.frequency / (self.d as f64).sqrt();
        let direction = DVector::from_vec(Distribution::Normal { mean: 0.0, std }.vector(self.d, rng));
        Wave { direction, phase: (TAU * rng.random::<f64>()) as f32 }
    }

    fn answers(&self, Wave { direction, phase }: &Wave, x: &DMatrix<f32>, _: &mut SampleRng) -> DVector<f32> {
        // In double precision: the sine of a large angle is decided by its last digits.
        let angle = |x: DVectorView<f32>| {
            let products = direction.iter().zip(x.iter()).map(|(&w, &x)| f64::from(w) * f64::from(x));
            products.sum::<f64>() + f64::from(*phase)
        };
        DVector::from_iterator(x.ncols(), x.column_iter().map(|x| angle(x).sin() as f32))
    }

    fn mean_square(&self) -> f64 {
        0.5
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        let decay = self.frequency.powi(2) / (2.0 * self.d as f64);
        let covariance = move |a: DVectorView<f64>, b: DVectorView<f64>| (-decay * (a - b).norm_squared()).exp() / 2.0;
        vec![
            Box::new(GaussianProcess { covariance: Box::new(covariance) }),
            Box::new(LeastSquares),
            Box::new(Knn { neighbours: 3 }),
            Box::new(Averaging),
        ]
    }
}
