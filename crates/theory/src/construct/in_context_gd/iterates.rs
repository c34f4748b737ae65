//! What is known of every iterate, whatever the prompt within its box: |x_ij| ≤ x and |y_i| ≤ y.
//!
//! H = XᵀX/N has eigenvalues in [0, λ], λ = d x², so that the smooth part of F has slopes that change by at most L = sup ℓ'' λ +
//! λ₂ times the way. For η L ≤ 2:
//!
//! - *Errors do not grow.* The derivative of a step without S has eigenvalues between 1 − η L and 1 − η λ₂, and S makes no distance
//!   larger. So q = max(|1 − η λ₂|, |1 − η L|) ≤ 1 bounds what is left of an error of w after another step.
//! - *F falls.* F(w_{t+1}) ≤ F(w_t) − (1/η − L/2) |w_{t+1} − w_t|², from the inequality of a proximal step and Taylor's formula. So F(w_t) ≤
//!   F(0), which bounds the root mean square ρ of slopes: squares have ℓ'² = 2ℓ and Huber's loss ℓ'² ≤ 2ℓ.
//! - *w stays within reach.* By one step after the other |w_t| ≤ η t √λ ρ, since |Xᵀv/N| ≤ √λ |v|/√N. By the Cauchy–Schwarz inequality
//!   over the steps |w_t| ≤ √(2 η t F(0) / min(1, 2 − η L)), since Σ |w_{s+1} − w_s|² ≤ 2 η F(0) / min(1, 2 − η L). And |w_t| ≤ √(2 F(0)/λ₂),
//!   F(0)/λ₁.
//!
//! Squares without S are linear, and more is known. With g = h + λ₂, w_t = Σ √h (1 − (1 − η g)^t)/g over eigenvectors, which is y √(η t) at
//! most, or √2 times that where η L > 1. Without λ₂, r_t = −P y with P = (I − η XXᵀ/N)^t symmetric, eigenvalues in [l, 1]; a row of P − (1 + l)/2
//! has length (1 − l)/2 at most, hence |r_i| ≤ ((1 + l)/2 + (1 − l)/2 √N) y.

use std::f64::consts::{LN_2, SQRT_2};

use headway_tasks::baseline::gradient_descent::ExampleLoss;

use super::{InContextGd, power};

impl InContextGd {
    /// λ = d x², an upper bound on the eigenvalues of XᵀX/N.
    pub(in crate::construct) fn curvature(&self) -> f64 {
        self.d as f64 * self.x_max.powi(2)
    }

    /// √d x, an upper bound on the length of every input.
    pub(in crate::construct) fn input_norm(&self) -> f64 {
        self.curvature().sqrt()
    }

    /// L, an upper bound on the second derivatives of F without |w|₁.
    pub(in crate::construct) fn smoothness(&self) -> f64 {
        self.loss.bend() * self.curvature() + self.ridge
    }

    /// q, what is left of an error of w after another step.
    pub(in crate::construct) fn contraction(&self) -> f64 {
        (1.0 - self.rate * self.ridge).abs().max((1.0 - self.rate * self.smoothness()).abs())
    }

    /// Whether a step is a linear map of w.
    pub(super) fn is_linear(&self) -> bool {
        self.loss.is_squared() && self.lasso == 0.0
    }

    /// Upper bound on how far an error of slopes with root mean square 1 moves w, s steps later.
    pub(in crate::construct) fn gain(&self, s: usize) -> f64 {
        if !self.is_linear() {
            return self.rate * self.input_norm() * power(self.contraction(), s);
        }
        // The maximum of η √h |1 − η (h + λ₂)|^s over h ≤ λ.
        let at = |h: f64| self.rate * h.sqrt() * power((1.0 - self.rate * (h + self.ridge)).abs(), s);
        let inner = (1.0 - self.rate * self.ridge) / (self.rate * (2.0 * s as f64 + 1.0));
        at(self.curvature()).max(at(inner.clamp(0.0, self.curvature())))
    }

    /// Upper bound on F(0).
    pub(super) fn start(&self) -> f64 {
        match self.loss {
            // The same for every label.
            ExampleLoss::Logistic => LN_2,
            loss => loss.value(0.0, self.y_max),
        }
    }

    /// ρ, an upper bound on the root mean square of slopes.
    pub(in crate::construct) fn mean_slope(&self) -> f64 {
        match self.loss {
            ExampleLoss::Squared => self.y_max,
            ExampleLoss::Huber { threshold } => threshold.min((2.0 * self.start()).sqrt()),
            ExampleLoss::Logistic => self.logistic_slope(self.weight_norm()),
        }
    }

    /// Upper bound on every slope of step t.
    pub(in crate::construct) fn largest_slope(&self, t: usize) -> f64 {
        let (many, reach) = ((self.points as f64).sqrt(), self.input_norm() * self.weight_norm() + self.y_max);
        match self.loss {
            ExampleLoss::Squared if self.descent().is_plain() => self.largest_residual(t),
            ExampleLoss::Squared => (many * self.y_max).min(reach),
            ExampleLoss::Huber { threshold } => threshold.min(many * self.mean_slope()).min(reach),
            ExampleLoss::Logistic => self.logistic_slope(self.weight_norm()),
        }
    }

    /// |tanh(z/2)/2 − y/2| for |z| ≤ √λ times the length of w.
    fn logistic_slope(&self, weight: f64) -> f64 {
        self.y_max / 2.0 + (self.input_norm() * weight / 4.0).min(0.5)
    }

    /// No slope is beyond this, whatever w is.
    pub(in crate::construct) fn slope_limit(&self) -> f64 {
        match self.loss {
            ExampleLoss::Squared => f64::INFINITY,
            ExampleLoss::Huber { threshold } => threshold,
            ExampleLoss::Logistic => f64::midpoint(1.0, self.y_max),
        }
    }

    /// Upper bound on every |r_i| of step t of gradient descent on squares without penalties.
    pub(in crate::construct) fn largest_residual(&self, t: usize) -> f64 {
        let base = 1.0 - self.rate * self.curvature();
        // l: the minimum of (1 − η h)^t over η h from 0 to η λ; if that reaches beyond 1, even powers go down to 0.
        let low = if base < 0.0 && t > 0 && t.is_multiple_of(2) { 0.0 } else { power(base, t) };
        (f64::midpoint(1.0, low) + (1.0 - low) / 2.0 * (self.points as f64).sqrt()) * self.y_max
    }

    /// Upper bound on |w_t| for all t up to k.
    pub(in crate::construct) fn weight_norm(&self) -> f64 {
        let (time, start) = (self.rate * self.steps as f64, self.start());
        let steep = self.rate * self.smoothness();
        let fast = match (self.is_linear(), steep > 1.0) {
            (_, false) => 1.0,
            (true, true) => SQRT_2,
            (false, true) => (2.0 - steep).max(0.0).recip().sqrt(),
        };
        let slope = match self.loss {
            // Depends on |w| in turn.
            ExampleLoss::Logistic => self.slope_limit(),
            _ => self.mean_slope(),
        };
        let by_steps = time * self.input_norm() * slope;
        let by_value = fast * (2.0 * time * start).sqrt();
        // Without a penalty these are infinite.
        by_steps.min(by_value).min((2.0 * start / self.ridge).sqrt()).min(start / self.lasso)
    }
}
