//! Gradient descent in context.

use headway_keys::Described;
use nalgebra::{DMatrix, DMatrixView, DVector, DVectorView};
use serde::{Deserialize, Serialize};

use super::in_context::InContext;

/// Loss of a prediction z = w . x for one label y.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ExampleLoss {
    /// (z - y)^2 / 2.
    #[default]
    Squared,
    /// ln(1 + exp(z)) - (1 + y) z / 2, the cross-entropy of a class that is 1 with probability (1 + y) / 2: logistic
    /// regression for labels 1 and -1.
    Logistic,
    /// (z - y)^2 / 2 as long as |z - y| is at most a threshold, and beyond it a straight line.
    Huber {
        /// Where the line begins. Default 0.5.
        #[serde(default = "default_threshold")]
        threshold: f64,
    },
}

/// Default threshold of [`ExampleLoss::Huber`].
pub const HUBER_THRESHOLD: f64 = 0.5;

fn default_threshold() -> f64 {
    HUBER_THRESHOLD
}

impl ExampleLoss {
    /// Whether it is the squared loss.
    pub fn is_squared(&self) -> bool {
        *self == Self::Squared
    }

    /// The loss of a prediction z for a label y.
    pub fn value(self, z: f64, y: f64) -> f64 {
        match self {
            Self::Squared => (z - y).powi(2) / 2.0,
            // ln(1 + e^z) without overflow.
            Self::Logistic => z.max(0.0) + (-z.abs()).exp().ln_1p() - f64::midpoint(1.0, y) * z,
            Self::Huber { threshold } => {
                let r = (z - y).abs();
                if r <= threshold { r * r / 2.0 } else { threshold * (r - threshold / 2.0) }
            }
        }
    }

    /// Its derivative in z.
    pub fn slope(self, z: f64, y: f64) -> f64 {
        match self {
            Self::Squared => z - y,
            Self::Logistic => ((z / 2.0).tanh() - y) / 2.0,
            Self::Huber { threshold } => (z - y).clamp(-threshold, threshold),
        }
    }

    /// The largest second derivative in z.
    pub fn bend(self) -> f64 {
        match self {
            Self::Squared | Self::Huber { .. } => 1.0,
            Self::Logistic => 0.25,
        }
    }
}

/// The w that `steps` steps of gradient descent on |X^T w - y|^2 / (2 n_points) reach from zero:
/// w <- w - rate / n_points * X (X^T w - y).
///
/// # Shapes
/// x `[d, n_points]`, a point per column; y `[n_points]` -> `[d]`
///
/// # Panics
/// If the numbers of y and of points differ.
pub fn gradient_descent(x: DMatrixView<f64>, y: DVectorView<f64>, steps: usize, rate: f64) -> DVector<f64> {
    descend(&(x * x.transpose()), &(x * y), steps, rate / y.len() as f64)
}

/// The result of gradient steps of the given size on |X^T w - y|^2 / 2 from zero.
///
/// # Shapes
/// gram X X^T `[d, d]`; products X y `[d]` -> `[d]`
fn descend(gram: &DMatrix<f64>, products: &DVector<f64>, steps: usize, size: f64) -> DVector<f64> {
    let mut w = DVector::zeros(products.len());
    for _ in 0..steps {
        let gradient = gram * &w - products;
        w -= gradient * size;
    }
    w
}

/// y = w . x with the w that `steps` steps of gradient descent on |X^T w - y|^2 / 2 reach from zero. If the step size
/// is below 2, in units of 1 / (largest eigenvalue of X X^T), it converges to least squares of least norm.
pub struct GradientDescent {
    /// Number of steps.
    pub steps: usize,
    /// Size of a step, in units of 1 / (largest eigenvalue of X X^T).
    pub step_size: f64,
}

impl InContext for GradientDescent {
    fn name(&self) -> &'static str {
        "gradient_descent"
    }

    fn answer(&self, x: DMatrixView<f64>, y: DVectorView<f64>, query: DVectorView<f64>) -> f64 {
        let (gram, products) = (x * x.transpose(), x * y); // [d, d], [d]
        let largest = gram.symmetric_eigenvalues().max();
        if largest > 0.0 { descend(&gram, &products, self.steps, self.step_size / largest).dot(&query) } else { 0.0 }
    }
}

/// y = w . x with the w of steps of proximal gradient descent from w = 0 on
///
/// F(w) = 1/N sum_i loss(w . x_i, y_i) + ridge |w|^2 / 2 + lasso |w|_1,
///
/// w <- S(w - rate (1/N sum_i slope_i x_i + ridge w)), S(u) = u - clamp(u, -rate lasso, rate lasso) in every coordinate,
/// with the same rate for every prompt, as a network's weights would have. For the squared loss without penalties it is
/// [`gradient_descent`], with `lasso` alone the iteration known as ISTA.
///
/// # References
/// Beck and Teboulle 2009, "A fast iterative shrinkage-thresholding algorithm for linear inverse problems", section 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FixedRateDescent {
    /// Number of steps.
    pub steps: usize,
    /// Learning rate for the mean over examples.
    pub rate: f64,
    /// Loss of one example.
    pub loss: ExampleLoss,
    /// Factor on |w|^2 / 2.
    pub ridge: f64,
    /// Factor on |w|_1.
    pub lasso: f64,
}

impl FixedRateDescent {
    /// Whether it descends on squares alone, without penalties.
    pub fn is_plain(&self) -> bool {
        self.loss.is_squared() && self.ridge == 0.0 && self.lasso == 0.0
    }

    /// The w that is reached.
    ///
    /// # Shapes
    /// x `[d, n_points]`, a point per column; y `[n_points]` -> `[d]`
    ///
    /// # Panics
    /// If the numbers of y and of points differ.
    pub fn weights(&self, x: DMatrixView<f64>, y: DVectorView<f64>) -> DVector<f64> {
        let Self { steps, rate, loss, ridge, lasso } = *self;
        if self.is_plain() {
            return gradient_descent(x, y, steps, rate);
        }
        let threshold = rate * lasso;
        let mut w = DVector::zeros(x.nrows());
        for _ in 0..steps {
            let slopes = x.tr_mul(&w).zip_map(&y, |z, y| loss.slope(z, y)); // [n_points]
            w -= (x * slopes / y.len() as f64 + &w * ridge) * rate;
            w.apply(|u| *u -= u.clamp(-threshold, threshold));
        }
        w
    }

    /// F(w).
    ///
    /// # Shapes
    /// x `[d, n_points]`, a point per column; y `[n_points]`; w `[d]`
    pub fn objective(&self, x: DMatrixView<f64>, y: DVectorView<f64>, w: DVectorView<f64>) -> f64 {
        let losses: f64 = x.tr_mul(&w).iter().zip(y.iter()).map(|(z, y)| self.loss.value(*z, *y)).sum();
        losses / y.len() as f64 + self.ridge * w.norm_squared() / 2.0 + self.lasso * w.lp_norm(1)
    }
}

impl InContext for FixedRateDescent {
    fn name(&self) -> &'static str {
        "gradient_descent"
    }

    fn answer(&self, x: DMatrixView<f64>, y: DVectorView<f64>, query: DVectorView<f64>) -> f64 {
        self.weights(x, y).dot(&query)
    }
}
