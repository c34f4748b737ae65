//! Two-layer tanh networks in context.

use std::f64::consts::FRAC_PI_2;

use nalgebra::{DMatrix, DVector};

use super::{config::prompt_config, family::Family};
use crate::{
    baseline::{
        Baseline, averaging::Averaging, knn::Knn, least_squares::LeastSquares, trained_network::TrainedNetwork,
    },
    batch::MOST_NUMBERS,
    distribution::Distribution,
    error::TaskError,
    prompt::alternating::AnswerKind,
    seed::SampleRng,
};

prompt_config! {
    /// y_i = h^(-1/2) w_out . tanh(d^(-1/2) W_in^T x_i + b) with all weights and biases N(0, 1): smooth and bounded, where `icl_relu` has kinks
    /// and grows.
    TwoLayerNetConfig {
        /// Number of hidden units h. Default 20.
        d_hidden: usize = 20,
    }
}

/// One hidden network.
#[derive(Clone, Debug)]
pub struct TanhFunction {
    /// W_in. `[d, d_hidden]`
    pub weights_in: DMatrix<f32>,
    /// b. `[d_hidden]`
    pub biases: DVector<f32>,
    /// w_out. `[d_hidden]`
    pub weights_out: DVector<f32>,
}

impl Family for TwoLayerNetConfig {
    type Function = TanhFunction;

    const ANSWERS: AnswerKind = AnswerKind::Number;

    fn own_problems(&self) -> Vec<TaskError> {
        let Self { d, d_hidden, n_points, .. } = *self;
        let numbers = d_hidden.saturating_mul(d.saturating_add(n_points));
        let problem = || format!("{d_hidden} units for {d} dimensions and {n_points} points are too many");
        let too_many = (numbers > MOST_NUMBERS).then(|| TaskError::Key { key: "d_hidden", problem: problem() });
        TaskError::below("d_hidden", self.d_hidden, 1).into_iter().chain(too_many).collect()
    }

    fn draw(&self, _: usize, rng: &mut SampleRng) -> TanhFunction {
        let (d, h) = (self.d, self.d_hidden);
        let mut normal = |len| Distribution::STANDARD_NORMAL.vector(len, rng);
        TanhFunction {
            weights_in: DMatrix::from_vec(d, h, normal(d * h)),
            biases: DVector::from_vec(normal(h)),
            weights_out: DVector::from_vec(normal(h)),
        }
    }

    fn answers(&self, function: &TanhFunction, x: &DMatrix<f32>, _: &mut SampleRng) -> DVector<f32> {
        let mut hidden = function.weights_in.tr_mul(x) / (self.d as f32).sqrt(); // [d_hidden, n_points]
        hidden.column_iter_mut().for_each(|mut units| units += &function.biases);
        hidden.map(f32::tanh).tr_mul(&function.weights_out) / (self.d_hidden as f32).sqrt()
    }

    /// E[tanh(u)^2] for u = d^(-1/2) w . x + b. With the Fourier transform of 1 - tanh^2, the integral of omega / sinh(pi omega / 2) cos(omega u)
    /// over omega > 0, it is 1 - integral of omega / sinh(pi omega / 2) exp(-omega^2 / 2) E[exp(-omega^2 x^2 / (2 d))]^d.
    fn mean_square(&self) -> f64 {
        let d = self.d as f64;
        // In s = ln omega, where the integrand falls like exp(s) to the left and faster to the right, the trapezoidal rule is exact to rounding.
        let (step, from, steps) = (1.0 / 16.0, -45.0, 16 * 48);
        let integrand = |k: i32| {
            let omega = (from + step * f64::from(k)).exp();
            let of_x = self.input.laplace_of_square(omega.powi(2) / (2.0 * d)).powf(d);
            omega.powi(2) / (FRAC_PI_2 * omega).sinh() * (-omega.powi(2) / 2.0).exp() * of_x
        };
        1.0 - step * (0..=steps).map(integrand).sum::<f64>()
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        vec![
            Box::new(TrainedNetwork::new(self.d, 100)),
            Box::new(LeastSquares),
            Box::new(Knn { neighbours: 3 }),
            Box::new(Averaging),
        ]
    }
}
