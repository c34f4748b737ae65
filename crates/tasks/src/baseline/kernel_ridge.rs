//! Kernel ridge regression in context: exactly, and by Richardson's iteration.

use nalgebra::{DMatrix, DMatrixView, DVector, DVectorView};

use super::in_context::InContext;

/// k(x, x') = exp(-|x - x'|^2 / (2 s^2)), with values in (0, 1].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gaussian {
    /// s, in units of x.
    pub bandwidth: f64,
}

impl Gaussian {
    /// k(x, x').
    pub fn value(self, x: DVectorView<f64>, other: DVectorView<f64>) -> f64 {
        (-(x - other).norm_squared() / (2.0 * self.bandwidth.powi(2))).exp()
    }

    /// K_ij = k(x_i, x_j). `[d, n]` -> `[n, n]`
    pub fn matrix(self, x: DMatrixView<f64>) -> DMatrix<f64> {
        DMatrix::from_fn(x.ncols(), x.ncols(), |i, j| self.value(x.column(i), x.column(j)))
    }

    /// k(x_i, query) of every example. `[d, n]`, `[d]` -> `[n]`
    pub fn beside(self, x: DMatrixView<f64>, query: DVectorView<f64>) -> DVector<f64> {
        DVector::from_iterator(x.ncols(), x.column_iter().map(|x| self.value(x, query)))
    }
}

/// y = sum_i alpha_i k(x_i, x) with alpha = (K + ridge I)^-1 y: the function f that makes sum_i (f(x_i) - y_i)^2 + ridge |f|^2 smallest,
/// |f| being the norm of the kernel's space of functions.
///
/// # References
/// Saunders, Gammerman and Vovk 1998, "Ridge regression learning algorithm in dual variables".
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KernelRidge {
    /// The kernel.
    pub kernel: Gaussian,
    /// Factor on |f|^2; at least a billionth is taken, so that examples at one place can be told from a fault of rounding.
    pub ridge: f64,
}

impl InContext for KernelRidge {
    fn name(&self) -> &'static str {
        "kernel_ridge"
    }

    fn answer(&self, x: DMatrixView<f64>, y: DVectorView<f64>, query: DVectorView<f64>) -> f64 {
        let mut matrix = self.kernel.matrix(x);
        (0..x.ncols()).for_each(|i| matrix[(i, i)] += self.ridge.max(1e-9));
        // Positive definite, but for rounding: then the examples are as good as none.
        matrix.cholesky().map_or(0.0, |factor| factor.solve(&y).dot(&self.kernel.beside(x, query)))
    }
}

/// The same with the alpha that steps of Richardson's iteration reach from 0:
///
/// alpha <- alpha - rate ((K + ridge I) alpha - y).
///
/// For 0 < rate <= 2 / (n + ridge) it never diverges, since K has eigenvalues between 0 and n; what is left of the way to
/// [`KernelRidge`] along an eigenvector with eigenvalue h is (1 - rate (h + ridge))^steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Richardson {
    /// The kernel.
    pub kernel: Gaussian,
    /// Factor on |f|^2.
    pub ridge: f64,
    /// Number of steps.
    pub steps: usize,
    /// Size of a step.
    pub rate: f64,
}

impl Richardson {
    /// The alpha that is reached.
    ///
    /// # Shapes
    /// x `[d, n]`, a point per column; y `[n]` -> `[n]`
    pub fn coefficients(&self, x: DMatrixView<f64>, y: DVectorView<f64>) -> DVector<f64> {
        let matrix = self.kernel.matrix(x);
        let mut alpha = DVector::zeros(y.len());
        for _ in 0..self.steps {
            let residual = &matrix * &alpha + &alpha * self.ridge - y;
            alpha -= residual * self.rate;
        }
        alpha
    }
}

impl InContext for Richardson {
    fn name(&self) -> &'static str {
        "richardson"
    }

    fn answer(&self, x: DMatrixView<f64>, y: DVectorView<f64>, query: DVectorView<f64>) -> f64 {
        self.coefficients(x, y).dot(&self.kernel.beside(x, query))
    }
}
