//! Gradient descent of a network with a hidden layer, in context.

use nalgebra::{DMatrix, DMatrixView, DVector, DVectorView};

use super::in_context::InContext;

/// f(x) = sum_j a_j tanh(w_j . x) after steps of gradient descent on 1/(2N) sum_i (f(x_i) - y_i)^2 in all of its weights, from those that
/// the prompt begins with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NetworkDescent {
    /// Number of hidden units r: the first r columns of x are w_j, and the first r of y are a_j.
    pub units: usize,
    /// Number of steps; with 0, the network is left as it is.
    pub steps: usize,
    /// Learning rate.
    pub rate: f64,
}

impl NetworkDescent {
    /// w, a unit per column, and a, after all steps.
    ///
    /// # Shapes
    /// x `[d, units + n]`, y `[units + n]` -> `[d, units]`, `[units]`
    pub fn weights(&self, x: DMatrixView<f64>, y: DVectorView<f64>) -> (DMatrix<f64>, DVector<f64>) {
        let Self { units, steps, rate } = *self;
        let count = y.len() - units;
        let (inputs, labels) = (x.columns(units, count), y.rows(units, count));
        let (mut w, mut a) = (x.columns(0, units).into_owned(), y.rows(0, units).into_owned());
        for _ in 0..steps {
            let hidden = w.tr_mul(&inputs).map(f64::tanh); // [units, n]
            let errors = hidden.tr_mul(&a) - labels; // [n]
            // Derivatives of the squared error of each example by w_j . x.
            let slopes = DMatrix::from_fn(units, count, |j, i| errors[i] * a[j] * (1.0 - hidden[(j, i)].powi(2)));
            let size = rate / count as f64;
            a -= hidden * &errors * size;
            w -= inputs * slopes.transpose() * size;
        }
        (w, a)
    }
}

impl InContext for NetworkDescent {
    fn name(&self) -> &'static str {
        if self.steps == 0 { "untrained" } else { "network_descent" }
    }

    fn answer(&self, x: DMatrixView<f64>, y: DVectorView<f64>, query: DVectorView<f64>) -> f64 {
        let (w, a) = self.weights(x, y);
        w.tr_mul(&query).map(f64::tanh).dot(&a)
    }
}
