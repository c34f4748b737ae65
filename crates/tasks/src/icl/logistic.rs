//! Linear classification in context.

use nalgebra::{DMatrix, DVector};

use super::{config::prompt_config, family::Family};
use crate::{
    baseline::{
        Baseline, averaging::Averaging, chance::Chance, knn::Knn, least_squares::LeastSquares,
        logistic_regression::LogisticRegression,
    },
    distribution::Distribution,
    error::TaskError,
    prompt::alternating::AnswerKind,
    seed::SampleRng,
};

prompt_config! {
    /// y_i = sign(w . x_i), which is 1 or -1, with w ~ N(0, I_d). The class to predict is 1 if y_i is above zero and 0
    /// otherwise; under a shift of y it is that of the shifted y.
    ///
    /// # References
    /// Garg et al. 2022, arXiv 2208.01066. There a single output z is trained by binary cross entropy with sigmoid(z);
    /// here by the cross entropy of two logits, which is the same number for z = logit 1 - logit 0.
    LogisticConfig {}
}

impl Family for LogisticConfig {
    /// w. `[d]`
    type Function = DVector<f32>;

    const ANSWERS: AnswerKind = AnswerKind::Sign;

    fn own_problems(&self) -> Vec<TaskError> {
        Vec::new()
    }

    fn draw(&self, _: usize, rng: &mut SampleRng) -> DVector<f32> {
        DVector::from_vec(Distribution::STANDARD_NORMAL.vector(self.d, rng))
    }

    fn answers(&self, w: &DVector<f32>, x: &DMatrix<f32>, _: &mut SampleRng) -> DVector<f32> {
        x.tr_mul(w).map(|form| if form > 0.0 { 1.0 } else { -1.0 })
    }

    fn mean_square(&self) -> f64 {
        1.0
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        vec![
            // Tested in 5 and 20 dimensions: for every number of examples, the cross entropy is within 0.1 of that of
            // the best lambda.
            Box::new(LogisticRegression { lambda: 0.3 }),
            Box::new(LeastSquares),
            Box::new(Knn { neighbours: 3 }),
            Box::new(Averaging),
            Box::new(Chance { possible: 0..2 }),
        ]
    }
}
