//! Two-layer ReLU networks in context.

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
    /// y_i = sqrt(2/h) w_out . relu(W_in^T x_i) with all weights N(0, 1). The factor makes E[y^2] = E|x|^2.
    ///
    /// # References
    /// Garg et al. 2022, arXiv 2208.01066.
    ReluConfig {
        /// Number of hidden units h. Default 100.
        d_hidden: usize = 100,
    }
}

/// One hidden network.
#[derive(Clone, Debug)]
pub struct ReluFunction {
    /// W_in. `[d, d_hidden]`
    pub weights_in: DMatrix<f32>,
    /// w_out. `[d_hidden]`
    pub weights_out: DVector<f32>,
}

impl Family for ReluConfig {
    type Function = ReluFunction;

    const ANSWERS: AnswerKind = AnswerKind::Number;

    fn own_problems(&self) -> Vec<TaskError> {
        let Self { d, d_hidden, n_points, .. } = *self;
        let numbers = d_hidden.saturating_mul(d.saturating_add(n_points));
        let problem = || format!("{d_hidden} units for {d} dimensions and {n_points} points are too many");
        let too_many = (numbers > MOST_NUMBERS).then(|| TaskError::Key { key: "d_hidden", problem: problem() });
        TaskError::below("d_hidden", self.d_hidden, 1).into_iter().chain(too_many).collect()
    }

    fn draw(&self, _: usize, rng: &mut SampleRng) -> ReluFunction {
        let (d, h) = (self.d, self.d_hidden);
        let weights_in = DMatrix::from_vec(d, h, Distribution::STANDARD_NORMAL.vector(d * h, rng));
        ReluFunction { weights_in, weights_out: DVector::from_vec(Distribution::STANDARD_NORMAL.vector(h, rng)) }
    }

    fn answers(&self, function: &ReluFunction, x: &DMatrix<f32>, _: &mut SampleRng) -> DVector<f32> {
        let hidden = function.weights_in.tr_mul(x).map(|unit| unit.max(0.0)); // [d_hidden, n_points]
        hidden.tr_mul(&function.weights_out) * (2.0 / self.d_hidden as f32).sqrt()
    }

    fn mean_square(&self) -> f64 {
        self.d as f64 * self.input.moment(2)
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
