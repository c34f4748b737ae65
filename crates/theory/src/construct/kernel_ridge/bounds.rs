//! How far the network's prediction is from that of the iteration, whatever the prompt within its box: |x_ij| ≤ x and |y_i| ≤ y.
//!
//! K = Φ Φᵀ with rows φ(x_i) of length 1, so that K has eigenvalues h from 0 to N, and (K_qi)_i = Φ φ(x_q). For η (N + λ) ≤ 2:
//!
//! - *Coefficients.* α_t = η Σ_{s<t} (1 − η (K + λ))^s y, hence |α_t| ≤ A_t = √N y min(η t, max(η, 1/λ)): partial sums of (1 − μ)^s are at most t, 1/μ
//!   for μ ≤ 1 and 1 for 1 ≤ μ ≤ 2.
//! - *Errors.* One of α, made s steps before the last, moves the prediction by φ(x_q)ᵀ Φᵀ (1 − η (K + λ))^s times it: by at most g_s =
//!   max_h √h |1 − η (h + λ)|^s times its length.
//! - *Kernel values* that are off by a share ρ of 1 at most make a matrix that is off by ρ N in the Frobenius norm. So a step is off by η ρ N a_t, a_t ≥
//!   |α̃_t| being a bound on the actual coefficients, and the prediction by ρ √N a_k.
//!
//! Together that is ρ F, F = Σ_{t=1}^{k−1} g_{k−1−t} η N a_t + √N a_k; a_t = A_t + what errors before it add up to, which the factor q = max |1 − η (h +
//! λ)| ≤ 1 makes no larger from step to step.
//!
//! ρ in exact arithmetic: squares of numbers within ±x are interpolated between anchors, Δ apart, and off by Δ² ν + 2 x Δ μ, with μ and ν from Poisson's
//! formula ([`Ripple`]). A squared length is off by d times that, which a score halves and meets twice. The empty row's weight e¹⁶ and those of
//! examples, which add up to between 0 and N, are taken for e¹⁶ + N/2.
//!
//! # Rounding
//! The same with what float32 makes of kernel values. Squares are off by what scores and values of anchors are. A score has d + 2 terms, of (|x_i · x_j| +
//! |x_i|²/2 + |x_j|²/2)/s² ≤ T = 2 d x²/s² in all, with three roundings each besides those of their sum; the empty row's, A = 16, is exact. Their difference and
//! the exponential take five of A, and of the rest five of D e^(−D) ≤ 2/5 for D = |x_i − x_j|²/(2 s²), and six of 1; sums over rows in any order two for
//! each row, division, products and outputs four. Weights below e⁻⁶⁹ may vanish.

use std::rc::Rc;

use super::KernelRidge;
use crate::{
    bound::Bound,
    cells::felt,
    construct::{
        formula::{BEYOND_OF_SQUARES, Head, SHARPNESS},
        in_context_gd::power,
    },
    interpolation::{F32_ROUNDOFF, Ripple},
    places::GAP,
};

/// Score of the empty row beside examples, exact in float32. A larger one costs roundings, a smaller one lets the sum of weights vary.
pub(super) const NULL: f64 = 16.0;
/// Numbers of intervals between anchors on the range of an input number that are tried.
const INTERVALS: [usize; 6] = [2, 3, 4, 6, 8, 12];
/// Roundings of α and of η y in a step.
const STATE: f64 = 8.0;
/// Allows for roundings of what is off by roundings.
const SPARE: f64 = 1.01;

/// The head for squares, on which all sizes and errors depend.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// With values k² − 1/(2c), which take away what smoothing adds, less half the largest square, so that they are small on both sides.
    squares: Rc<Head>,
}

/// What errors of kernel values lead to.
struct Reach {
    /// F.
    factor: f64,
    /// a_t for t = 0 … k.
    coefficients: Vec<f64>,
}

impl Plan {
    /// Plans from small to large.
    pub fn all() -> impl Iterator<Item = Self> {
        INTERVALS.into_iter().map(|intervals| {
            let count = intervals + 1 + 2 * BEYOND_OF_SQUARES;
            let middle = (count as f64 - 1.0) / 2.0;
            let half = (intervals as f64 / 2.0).powi(2) / 2.0;
            let values = (0..count).map(|k| (k as f64 - middle).powi(2) - 0.5 / SHARPNESS - half).collect();
            let head = Head::of_values(values, BEYOND_OF_SQUARES, |u| (u - middle).powi(2) - half, 2.0);
            Self { squares: Rc::new(head) }
        })
    }

    /// Number of intervals on the range of an input number.
    pub fn intervals(&self) -> usize {
        self.squares.intervals
    }

    /// Number of anchors.
    pub fn anchors(&self) -> usize {
        self.squares.values.len()
    }

    /// Values of the anchors.
    pub fn values(&self) -> &[f64] {
        &self.squares.values
    }

    /// Δ.
    pub fn spacing(&self, of: &KernelRidge) -> f64 {
        2.0 * of.x_max / self.intervals() as f64
    }

    /// Shares of kernel values that they are off by: because of squared lengths, and with the empty row as well.
    fn shares(&self, of: &KernelRidge) -> [f64; 2] {
        let (spacing, ripple) = (self.spacing(of), Ripple::of(SHARPNESS, BEYOND_OF_SQUARES - 1));
        let square = spacing.powi(2) * ripple.square + 2.0 * of.x_max * spacing * ripple.mean;
        let lengths = (of.d as f64 * square / of.bandwidth.powi(2)).exp_m1();
        let empty = of.points as f64 * (0.5 + lengths) * (-NULL).exp();
        [lengths, (1.0 + lengths) * (1.0 + empty) - 1.0]
    }

    pub fn bound(&self, of: &KernelRidge) -> Bound {
        let [lengths, all] = self.shares(of);
        let reach = of.reach(all);
        Bound::default()
            .and(
                "squared lengths",
                "F (exp(d (Delta^2 nu + 2 x Delta mu) / s^2) - 1), F = sum_t g_(k-1-t) eta N a_t + sqrt(N) a_k",
                reach.factor * lengths,
            )
            .and("empty row beside examples", "F N / 2 exp(-16)", reach.factor * (all - lengths))
            .and("rows attended to by mistake", "see `leak`", self.leak(of, &reach))
    }

    /// Every number that is carried through a layer is off by ζ = 2 T e⁻⁶⁰ B at most, B being the largest of any row of T, that of the prompt after k layers by k
    /// ζ. A score meets x in 2 d terms of x/s², and lengths in two. The query, which steps must not attend to, has e⁻¹²⁰ there.
    fn leak(&self, of: &KernelRidge, reach: &Reach) -> f64 {
        let (k, n, root) = (of.steps as f64, of.points as f64, (of.points as f64).sqrt());
        let most = reach.coefficients.iter().copied().fold(0.0, f64::max);
        let largest = of.x_max.max(of.y_max).max(of.longest() / 2.0).max((1.0 + k * of.rate * root) * most);
        let shift = k * 2.0 * (n + 2.0 + self.anchors() as f64) * (-GAP).exp() * largest;
        let share = (4.0 * of.d as f64 * of.x_max / of.bandwidth.powi(2) + 4.0) * shift;
        let gains: f64 = (0..of.steps).map(|s| of.gain(s)).sum();
        reach.factor * share + (gains + root) * root * shift
    }

    /// What float32 adds, whatever the order of sums.
    pub fn rounding(&self, of: &KernelRidge) -> Bound {
        let (d, n, k, eps) = (of.d as f64, of.points as f64, of.steps, F32_ROUNDOFF);
        let Reach { factor, coefficients } = of.reach(self.shares(of)[1]);
        let head = &self.squares;
        let square = head.noise + (2.0 * felt(SHARPNESS) + 20.0 + d) * head.mass;
        let lengths = d * (self.spacing(of) / of.bandwidth).powi(2) * eps * square;
        let scores = eps * ((d + 4.0) * 2.0 * of.longest() + 5.0 * NULL + 2.0 * n + 16.0);
        let labels = of.rate * n.sqrt() * of.y_max;
        let state = (0..k).map(|t| of.gain(k - 1 - t) * STATE * eps * (coefficients[t] + labels)).sum();
        Bound::default()
            .and(
                "squared lengths",
                "1.01 F (exp(d (Delta / s)^2 eps (noise + (46 + d) sum |V|)) - 1), of a head over anchors",
                SPARE * factor * lengths.exp_m1(),
            )
            .and(
                "scores and sums",
                "1.01 F (exp(eps ((d + 4) 2 d x^2 / s^2 + 5 x 16 + 2 N + 16)) - 1)",
                SPARE * factor * scores.exp_m1(),
            )
            .and("state", "sum_t g_(k-1-t) 8 eps (a_t + eta sqrt(N) y)", state)
    }
}

impl KernelRidge {
    /// d x²/s², the largest squared length of an input in units of s.
    pub(super) fn longest(&self) -> f64 {
        self.d as f64 * (self.x_max / self.bandwidth).powi(2)
    }

    /// A_t.
    fn coefficient_norm(&self, t: usize) -> f64 {
        let limit = if self.ridge > 0.0 { self.rate.max(1.0 / self.ridge) } else { f64::INFINITY };
        (self.points as f64).sqrt() * self.y_max * (self.rate * t as f64).min(limit)
    }

    /// q.
    fn contraction(&self) -> f64 {
        (1.0 - self.rate * self.ridge).abs().max((1.0 - self.rate * (self.points as f64 + self.ridge)).abs())
    }

    /// g_s.
    fn gain(&self, s: usize) -> f64 {
        let most = self.points as f64;
        let at = |h: f64| h.sqrt() * power((1.0 - self.rate * (h + self.ridge)).abs(), s);
        let inner = (1.0 - self.rate * self.ridge) / (self.rate * (2.0 * s as f64 + 1.0));
        at(most).max(at(inner.clamp(0.0, most)))
    }

    /// What a share ρ of kernel values leads to.
    fn reach(&self, share: f64) -> Reach {
        let (k, n) = (self.steps, self.points as f64);
        let (mut drift, mut coefficients) = (0.0, vec![0.0]);
        let mut factor = 0.0;
        for t in 1..k {
            let most = self.coefficient_norm(t) + drift;
            let step = self.rate * n * most;
            factor += self.gain(k - 1 - t) * step;
            drift = self.contraction() * drift + share * step;
            coefficients.push(most);
        }
        let last = self.coefficient_norm(k) + drift;
        coefficients.push(last);
        Reach { factor: factor + n.sqrt() * last, coefficients }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing of what is said of K = h for one example's worth of eigenvalues is exceeded by the iteration on any of them.
    #[test]
    fn scalars_stay_within_their_bounds() {
        for (rate, ridge) in [(0.1, 0.0), (0.1, 0.1), (0.02, 2.0), (2.0 / 21.0, 1.0), (0.099, 0.2)] {
            let of = KernelRidge { points: 20, steps: 30, rate, ridge, ..KernelRidge::default() };
            for at in 0..=400 {
                let h = 20.0 * f64::from(at) / 400.0;
                let (mut alpha, mut left) = (0.0, h.sqrt());
                for t in 1..=30 {
                    alpha -= rate * ((h + ridge) * alpha - 1.0);
                    assert!(
                        alpha.abs() * 20.0_f64.sqrt() <= of.coefficient_norm(t) * (1.0 + 1e-12),
                        "{rate} {ridge} {h}: {alpha}"
                    );
                    assert!(left <= of.gain(t - 1) * (1.0 + 1e-12), "{rate} {ridge} {h}: {left} of {}", of.gain(t - 1));
                    left *= (1.0 - rate * (h + ridge)).abs();
                    assert!((1.0 - rate * (h + ridge)).abs() <= of.contraction() + 1e-12);
                }
            }
        }
    }
}
