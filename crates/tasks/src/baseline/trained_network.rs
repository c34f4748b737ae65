//! A two-layer ReLU network trained on each prompt.

use nalgebra::{DMatrix, DMatrixView, DMatrixViewMut, DVector, DVectorView, DVectorViewMut};

use super::in_context::InContext;
use crate::{
    distribution::Distribution,
    seed::{Seed, Stream},
};

/// y = w_out . relu(W_in^T x + b_in) + b_out, trained from scratch on the examples before each query, by full-batch
/// Adam on the mean squared error, in single precision. Every training starts from the same weights and biases, drawn
/// from U(-1, 1) / sqrt(fan in).
///
/// # References
/// Garg et al. 2022, arXiv 2208.01066, for the size, the number of steps and the step size. There initial weights are
/// drawn anew for every training.
pub struct TrainedNetwork {
    /// Number of steps of Adam. Default 100.
    pub steps: i32,
    /// Step size of Adam; its other settings are beta_1 = 0.9, beta_2 = 0.999, epsilon = 1e-8. Default 5e-3.
    pub learning_rate: f32,
    start: Network,
}

impl TrainedNetwork {
    /// The predictor for x in d dimensions with a network of `d_hidden` units.
    pub fn new(d: usize, d_hidden: usize) -> Self {
        Self { steps: 100, learning_rate: 5e-3, start: Network::new(d, d_hidden) }
    }
}

impl InContext for TrainedNetwork {
    fn name(&self) -> &'static str {
        "trained_network"
    }

    fn answer(&self, x: DMatrixView<f64>, y: DVectorView<f64>, query: DVectorView<f64>) -> f64 {
        let (x, y) = (with_ones(x), y.map(|y| y as f32));
        let x_transposed = x.transpose();
        let mut network = self.start.clone();
        let mut adam = Adam::new(network.parameters.len());
        let mut gradient = vec![0.0; network.parameters.len()];
        let mut hidden = DMatrix::zeros(network.d_hidden, y.len());
        for step in 1..=self.steps {
            let slopes = (network.forward(&x, &mut hidden) - &y) * (2.0 / y.len() as f32); // [i]
            network.gradient(&x_transposed, &mut hidden, &slopes, &mut gradient);
            adam.update(&mut network.parameters, &gradient, step, self.learning_rate);
        }
        let query = with_ones(query.as_view());
        f64::from(network.forward(&query, &mut DMatrix::zeros(network.d_hidden, 1))[0])
    }
}

/// (x, 1) in each column, so that the bias is an additional weight. `[d, i]` -> `[d + 1, i]`
fn with_ones(x: DMatrixView<f64>) -> DMatrix<f32> {
    x.map(|value| value as f32).insert_row(x.nrows(), 1.0)
}

/// A two-layer network.
#[derive(Clone)]
struct Network {
    d_hidden: usize,
    /// W_in^T and b_in `[d_hidden, d + 1]` column by column, w_out `[d_hidden]`, b_out.
    parameters: Vec<f32>,
}

/// Seed of the initial weights, whatever the seed of a run.
const START: Seed = Seed(0);

impl Network {
    fn new(d: usize, d_hidden: usize) -> Self {
        let mut rng = START.rng(Stream::Init, 0);
        let mut draw = |len: usize, fan_in: usize| {
            let end = 1.0 / (fan_in as f64).sqrt();
            Distribution::Uniform { low: -end, high: end }.vector(len, &mut rng)
        };
        Self { d_hidden, parameters: [draw((d + 1) * d_hidden, d), draw(d_hidden + 1, d_hidden)].concat() }
    }

    /// The output for each x, and the hidden units after the ReLU.
    ///
    /// # Shapes
    /// x `[d + 1, i]`; hidden `[d_hidden, i]` -> `[i]`
    fn forward(&self, x: &DMatrix<f32>, hidden: &mut DMatrix<f32>) -> DVector<f32> {
        let (weights_in, last) = self.parameters.split_at(self.d_hidden * x.nrows());
        let (weights_out, bias_out) = last.split_at(self.d_hidden);
        hidden.gemm(1.0, &DMatrixView::from_slice(weights_in, self.d_hidden, x.nrows()), x, 0.0);
        hidden.apply(|unit| *unit = unit.max(0.0));
        hidden.tr_mul(&DVectorView::from_slice(weights_out, self.d_hidden)).add_scalar(bias_out[0])
    }

    /// Writes the gradient of sum_j slope_j output_j in the layout of the parameters. Uses the hidden units from
    /// [`Self::forward`] and overwrites them.
    ///
    /// # Shapes
    /// x_transposed `[i, d + 1]`; hidden `[d_hidden, i]`; slopes `[i]`
    fn gradient(
        &self,
        x_transposed: &DMatrix<f32>,
        hidden: &mut DMatrix<f32>,
        slopes: &DVector<f32>,
        gradient: &mut [f32],
    ) {
        let (h, rows) = (self.d_hidden, x_transposed.ncols());
        let weights_out = &self.parameters[h * rows..][..h];
        let (by_weights_in, last) = gradient.split_at_mut(h * rows);
        let (by_weights_out, by_bias_out) = last.split_at_mut(h);
        DVectorViewMut::from_slice(by_weights_out, h).gemv(1.0, hidden, slopes, 0.0);
        by_bias_out[0] = slopes.sum();
        for (mut units, slope) in hidden.column_iter_mut().zip(slopes) {
            for (unit, weight) in units.iter_mut().zip(weights_out) {
                *unit = if *unit > 0.0 { slope * weight } else { 0.0 };
            }
        }
        DMatrixViewMut::from_slice(by_weights_in, h, rows).gemm(1.0, hidden, x_transposed, 0.0);
    }
}

/// State of Adam: its two moments.
struct Adam {
    mean: Vec<f32>,
    square: Vec<f32>,
}

impl Adam {
    fn new(len: usize) -> Self {
        Self { mean: vec![0.0; len], square: vec![0.0; len] }
    }

    /// Takes step number `step`, counted from 1.
    fn update(&mut self, parameters: &mut [f32], gradient: &[f32], step: i32, learning_rate: f32) {
        let (beta_1, beta_2, epsilon) = (0.9_f32, 0.999_f32, 1e-8);
        let (mean_weight, square_weight) = (1.0 / (1.0 - beta_1.powi(step)), 1.0 / (1.0 - beta_2.powi(step)));
        let moments = self.mean.iter_mut().zip(&mut self.square);
        for ((parameter, gradient), (mean, square)) in parameters.iter_mut().zip(gradient).zip(moments) {
            *mean = beta_1 * *mean + (1.0 - beta_1) * gradient;
            *square = beta_2 * *square + (1.0 - beta_2) * gradient * gradient;
            *parameter -= learning_rate * mean_weight * *mean / ((square_weight * *square).sqrt() + epsilon);
        }
    }
}

#[cfg(test)]
mod tests {
    use nalgebra::{DMatrix, DVector};

    use super::{Adam, Network};

    #[test]
    fn the_gradient_is_the_slope() {
        let network = Network::new(3, 7);
        let x = DMatrix::from_fn(4, 5, |row, point| if row == 3 { 1.0 } else { ((3 * row + 7 * point) as f32).sin() });
        let slopes = DVector::from_column_slice(&[1.0, -2.0, 0.5, 3.0, 0.25]);
        let value = |network: &Network| network.forward(&x, &mut DMatrix::zeros(7, 5)).dot(&slopes);
        let (mut hidden, mut gradient) = (DMatrix::zeros(7, 5), vec![f32::NAN; network.parameters.len()]);
        network.forward(&x, &mut hidden);
        network.gradient(&x.transpose(), &mut hidden, &slopes, &mut gradient);
        // Between kinks the output is a polynomial of degree two, so central differences are exact.
        for (i, by_parameter) in gradient.iter().enumerate() {
            let [up, down] = [1e-3, -1e-3].map(|change| {
                let mut moved = network.clone();
                moved.parameters[i] += change;
                value(&moved)
            });
            let slope = (up - down) / 2e-3;
            assert!((slope - by_parameter).abs() < 5e-3, "parameter {i}: {slope} {by_parameter}");
        }
        assert!(gradient.iter().any(|slope| slope.abs() > 0.1));
    }

    #[test]
    fn adam_by_hand() {
        // The first step is the step size times the negative sign. After a further gradient of zero, the mean is 0.09 g
        // / 0.19 and the mean square 0.000999 g^2 / 0.001999.
        let mut adam = Adam::new(2);
        let mut parameters = [1.0, 1.0];
        adam.update(&mut parameters, &[4.0, -0.01], 1, 0.1);
        assert!((parameters[0] - 0.9).abs() < 1e-5 && (parameters[1] - 1.1).abs() < 1e-5, "{parameters:?}");
        adam.update(&mut parameters, &[0.0, 0.0], 2, 0.1);
        let second = 0.1 * (0.09 / 0.19) / (0.000_999_f32 / 0.001_999).sqrt();
        assert!((parameters[0] - (0.9 - second)).abs() < 1e-5, "{parameters:?}");
        assert!((parameters[1] - (1.1 + second)).abs() < 1e-5, "{parameters:?}");
    }
}
