//! Sparse linear regression in context.

use nalgebra::{DMatrix, DVector};
use rand::seq::index;

use super::{config::prompt_config, family::Family};
use crate::{
    baseline::{Baseline, averaging::Averaging, knn::Knn, lasso, least_squares::LeastSquares},
    distribution::Distribution,
    error::TaskError,
    prompt::alternating::AnswerKind,
    seed::SampleRng,
};

prompt_config! {
    /// y_i = w . x_i, where all but s coordinates of w are zero. The s coordinates are chosen uniformly among the
    /// active ones, and each is N(0, 1).
    ///
    /// # References
    /// Garg et al. 2022, arXiv 2208.01066.
    SparseConfig {
        /// Number of nonzero coordinates of w, s. Default 3.
        n_nonzero: usize = 3,
    }
}

impl Family for SparseConfig {
    /// w. `[d]`
    type Function = DVector<f32>;

    const ANSWERS: AnswerKind = AnswerKind::Number;

    fn own_problems(&self) -> Vec<TaskError> {
        let fewest_active = self.curriculum.as_ref().map_or(self.d, |curriculum| curriculum.d_start.min(self.d));
        let too_many = || TaskError::Key {
            key: "n_nonzero",
            problem: format!("{} does not fit into {fewest_active} active dimensions", self.n_nonzero)
                + "; lower it, or raise d or curriculum.d_start",
        };
        let problems =
            [TaskError::below("n_nonzero", self.n_nonzero, 1), (self.n_nonzero > fewest_active).then(too_many)];
        problems.into_iter().flatten().collect()
    }

    fn draw(&self, active: usize, rng: &mut SampleRng) -> DVector<f32> {
        let dense = Distribution::STANDARD_NORMAL.vector(self.d, rng);
        let mut w = DVector::zeros(self.d);
        for coordinate in index::sample(rng, active, self.n_nonzero) {
            w[coordinate] = dense[coordinate];
        }
        w
    }

    fn answers(&self, w: &DVector<f32>, x: &DMatrix<f32>, _: &mut SampleRng) -> DVector<f32> {
        x.tr_mul(w)
    }

    fn mean_square(&self) -> f64 {
        self.n_nonzero as f64 * self.input.moment(2)
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        let lassos = lasso::GRID.iter().map(|lasso| Box::new(lasso.clone()) as Box<dyn Baseline>);
        let others: [Box<dyn Baseline>; 3] =
            [Box::new(LeastSquares), Box::new(Knn { neighbours: 3 }), Box::new(Averaging)];
        lassos.chain(others).collect()
    }
}
