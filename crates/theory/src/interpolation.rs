//! Softmax attention interpolates: one head over anchors L_0 … L_p on a line, and the right temperature for it.
//!
//! With scores −β (u − L_k)² over anchors Δ apart, the head gives Σ_k softmax_k V_k: for V_k = L_k a clamp of u, for
//! V_k = g(L_k) an approximation of any function g. Up to terms that are equal for all k, which softmax ignores, the
//! score is β (2 u L_k − L_k²): query β (2u, 1), key (L_k, −L_k²). The error depends on **c = β Δ²** alone. It is not
//! smallest in the limit of large c, where attention picks the nearest anchor and is off by Δ/2, but at c = 2.725,
//! where it is off by 0.0622 Δ.
//!
//! # References
//! Hu et al. 2025, arXiv 2504.15956. Their keys k (L_0 + L_k − 2u) give the same softmax; they take the limit of large
//! β.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// How sharply a head attends to its anchors, given by c = β Δ².
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// c = 2.725, the smallest error over all inputs: 0.0622 Δ.
    #[default]
    Minimax,
    /// c = 1: nearly exact away from kinks, off by 0.29 Δ at a kink.
    Smooth,
    /// c = 12: the regime of the paper's theorem, in which the nearest anchor gets all attention.
    Hard,
}

impl Mode {
    /// c = β Δ².
    pub fn sharpness(self) -> f64 {
        match self {
            Self::Minimax => 2.725,
            Self::Smooth => 1.0,
            Self::Hard => 12.0,
        }
    }

    /// Why this temperature is used, as a sentence part for certificates.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Minimax => {
                "c = beta Delta^2 = 2.725 balances the ripple between anchors against the rounding of kinks: no c has a smaller sup error"
            }
            Self::Smooth => {
                "c = beta Delta^2 = 1: the ripple between anchors is 1e-4 Delta, at the price of 0.29 Delta at kinks"
            }
            Self::Hard => {
                "c = beta Delta^2 = 12: the nearest anchor takes all but 1e-5 of the attention, the regime of the theorem"
            }
        }
    }
}

/// Evenly spaced anchors on [low, high].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Anchors {
    /// L_0, the first anchor.
    pub low: f64,
    /// L_p, the last anchor.
    pub high: f64,
    /// p, the number of intervals; there are p + 1 anchors.
    pub intervals: usize,
}

impl Anchors {
    /// Δ, the distance between neighbouring anchors.
    pub fn spacing(&self) -> f64 {
        (self.high - self.low) / self.intervals as f64
    }

    /// Anchor L_k.
    pub fn at(&self, k: usize) -> f64 {
        self.low + self.spacing() * k as f64
    }

    /// All anchors, first to last.
    pub fn all(&self) -> impl Iterator<Item = f64> + '_ {
        (0..=self.intervals).map(|k| self.at(k))
    }

    /// Mean of the anchors. Keys relative to it are half as large, and so are their rounding errors.
    pub fn centre(&self) -> f64 {
        f64::midpoint(self.low, self.high)
    }

    /// Inverse temperature β = c/Δ² for a sharpness c.
    pub fn inverse_temperature(&self, sharpness: f64) -> f64 {
        sharpness / self.spacing().powi(2)
    }

    /// Bound γ on the noise of a score in float32: a score within Δ of the winner has terms of up to c p²/2 (query
    /// times key) and c p²/4 (the square), and their sum is as large; each of them is rounded. The query's own error
    /// shifts u alike for all keys.
    pub fn score_noise(&self, sharpness: f64) -> f64 {
        2.25 * F32_ROUNDOFF * sharpness * (self.intervals as f64).powi(2)
    }
}

/// Half a unit in the last place of 1 in float32, 2⁻²⁴.
pub const F32_ROUNDOFF: f64 = 1.0 / 16_777_216.0;

/// Error constants of a chain of heads at one sharpness, in units of Δ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// sup over all u of |Σ_h head_h(u) − clamp(u)|.
    pub error: f64,
    /// sup over all u of Σ_k softmax_k |L_k − head(u)|, summed over heads: the factor by which noise in the scores is
    /// multiplied.
    pub spread: f64,
}

/// Points per interval on the lattice of [`Profile`].
const LATTICE: usize = 4096;
/// Number of anchors after an end or a seam from which on every cell is like the next.
const REACH: usize = 8;

/// The error of clamping with a chain of `heads` heads, each with `intervals` intervals of its own; neighbours share an
/// end.
///
/// It is computed on a lattice of 4096 points per Δ around the ends, around the seams and in one cell between them; the
/// slope of the error times half a lattice step is added, so that the value is an upper bound.
pub fn profile(sharpness: f64, intervals: usize, heads: usize) -> Profile {
    // With more than three heads, every further seam is like the one before it.
    let heads_seen = heads.min(if intervals >= REACH { 2 } else { 2 * REACH.div_ceil(intervals) + 1 });
    let total = heads_seen * intervals;
    let seams = (0..=heads_seen).map(|seam| seam * intervals);
    let mut cells: Vec<isize> = seams
        .flat_map(|seam| {
            let reach = REACH.cast_signed();
            let seam = seam.cast_signed();
            seam - reach..seam + reach
        })
        .chain([total.cast_signed() / 2])
        .collect();
    cells.sort_unstable();
    cells.dedup();
    let (mut error, mut spread, mut slope) = (0.0_f64, 0.0_f64, 1.0_f64);
    for cell in cells {
        for step in 0..LATTICE {
            let u = cell as f64 + step as f64 / LATTICE as f64;
            let (mut sum, mut width, mut derivative) = (0.0, 0.0, 0.0);
            for head in 0..heads_seen {
                let at = Moments::of(u - (head * intervals) as f64, intervals, sharpness);
                sum += at.mean;
                width += at.deviation;
                derivative += 2.0 * sharpness * at.variance;
            }
            error = error.max((sum - u.clamp(0.0, total as f64)).abs());
            spread = spread.max(width);
            slope = slope.max(derivative.max(1.0));
        }
    }
    // The slope varies between lattice points; half as much again covers that at any sharpness in use.
    Profile { error: error + 1.5 * slope / (2 * LATTICE) as f64, spread: spread * 1.01 }
}

/// Mean, mean absolute deviation and variance of the anchor index under the softmax of a head with `intervals`
/// intervals, at input `u`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// Σ_k softmax_k k.
    pub mean: f64,
    /// Σ_k softmax_k |k − mean|.
    pub deviation: f64,
    /// Σ_k softmax_k (k − mean)².
    pub variance: f64,
}

impl Moments {
    /// Moments for anchors 0 … `intervals` and scores −c (u − k)².
    pub fn of(u: f64, intervals: usize, sharpness: f64) -> Self {
        let nearest = u.round().clamp(0.0, intervals as f64);
        // Weights below e⁻⁴⁰ of the largest are negligible in double precision.
        let reach = (40.0 / sharpness).sqrt().ceil() + 1.0;
        let first = (nearest - reach).max(0.0) as usize;
        let last = ((nearest + reach) as usize).min(intervals);
        let score = |k: usize| -sharpness * ((u - k as f64).powi(2) - (u - nearest).powi(2));
        let weights: Vec<(f64, f64)> = (first..=last).map(|k| (k as f64, score(k).exp())).collect();
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let mean = weights.iter().map(|(k, weight)| k * weight).sum::<f64>() / total;
        let expect = |of: fn(f64) -> f64| weights.iter().map(|(k, weight)| weight * of(k - mean)).sum::<f64>() / total;
        Self { mean, deviation: expect(f64::abs), variance: expect(|x| x * x) }
    }
}

/// τ(c) = Σ_{m≥1} (m + ½) e^{−c m²} + Σ_{m≥2} m e^{−c (m² − m)}: for every c, the error of a clamp is at most Δ (½ +
/// τ).
///
/// The two nearest anchors form a convex combination that favours the nearer one and so is at most Δ/2 off; the other
/// anchors add τ.
pub fn tail(sharpness: f64) -> f64 {
    let term = |m: i32| {
        let m = f64::from(m);
        let far = if m >= 2.0 { m * (-sharpness * (m * m - m)).exp() } else { 0.0 };
        (m + 0.5) * (-sharpness * m * m).exp() + far
    };
    (1..60).map(term).sum()
}

/// Bounds on how far attention to evenly spaced anchors is from its ideal mean and mean square, in units of Δ and Δ², and on its fourth
/// moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ripple {
    /// sup |E k − u|.
    pub mean: f64,
    /// sup |E (k − u)² − 1/(2c)|.
    pub square: f64,
    /// sup E (k − u)⁴.
    pub fourth: f64,
}

impl Ripple {
    /// With θ(u) = 1 + 2 Σ q^{m²} cos(2π m u), q = e^{−π²/c}, the weights e^{−c (u − k)²} sum to θ √(π/c), so that E k
    /// − u = θ'/(2 c θ), E (k − u)² = 1/(2c) + θ''/(4 c² θ) and E (k − u)⁴ = 3/(4c²) + 3 θ''/(4 c³ θ) + θ/(16 c⁴ θ). For c above 4 the bound for hard attention is smaller:
    /// the two nearest anchors, and the tail. Anchors end `padding` beyond u; the missing ones add their weight, at
    /// most e^{−c (t² − 1/4)} for one at distance t.
    pub fn of(sharpness: f64, padding: usize) -> Self {
        let c = sharpness;
        let (mut mean, mut square, mut fourth) = if c <= 4.0 {
            let q = |m: i32| (-PI.powi(2) * f64::from(m * m) / c).exp();
            let sum = |power: i32| (1..30).map(|m| f64::from(m).powi(power) * q(m)).sum::<f64>();
            let theta = 1.0 - 2.0 * sum(0);
            let square = (PI / c).powi(2) * sum(2) / theta;
            let fourth = 0.75 / c.powi(2) + 6.0 * square / c + 2.0 * (PI / c).powi(4) * sum(4) / theta;
            (2.0 * PI / c * sum(1) / theta, 2.0 * square, fourth)
        } else {
            let far = |power: i32| {
                let term = |m: i32| {
                    let m = f64::from(m);
                    let beyond = if m >= 2.0 { m.powi(power) * (-c * (m * m - m)).exp() } else { 0.0 };
                    (m + 0.5).powi(power) * (-c * m * m).exp() + beyond
                };
                (1..60).map(term).sum::<f64>()
            };
            (0.5 + tail(c), 0.5 + far(2), 0.5 + far(4))
        };
        let whole = fourth;
        for m in 1..60 {
            let t = (padding + m) as f64;
            let weight = 2.0 * (-c * (t * t - 0.25)).exp();
            mean += weight * (t + 2.0);
            square += weight * (t * t + 2.0);
            fourth += weight * (t.powi(4) + whole);
        }
        Self { mean, square, fourth }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_at_known_sharpness() {
        // Known values, computed by other means.
        for (c, known) in
            [(0.5, 0.520), (1.0, 0.292), (2.0, 0.120), (2.725, 0.0622), (4.0, 0.135), (12.0, 0.328), (50.0, 0.444)]
        {
            let found = profile(c, 40, 1).error;
            // The known values have three digits; the allowance for the lattice grows with the slope, c/2.
            assert!((found - known).abs() < 6e-4 + 1e-4 * c, "c = {c}: {found}, known {known}");
            assert!(found < 0.5 + tail(c), "c = {c}: {found} beyond the bound for all c");
        }
    }

    #[test]
    fn heads_in_a_row_do_as_well_as_one() {
        for (intervals, heads) in [(1, 5), (2, 9), (5, 3), (19, 16)] {
            let found = profile(2.725, intervals, heads).error;
            assert!(found < 0.0635, "{heads} heads of {intervals}: {found}");
        }
    }

    #[test]
    fn a_profile_is_what_a_dense_walk_finds() {
        // Other points than those of the lattice, over the whole of a short chain.
        for (c, intervals, heads) in [(1.0, 3, 2), (2.725, 7, 1), (12.0, 2, 3)] {
            let known = profile(c, intervals, heads);
            let total = (heads * intervals) as f64;
            let walk = (0..100_003).map(|i| -3.0 + (total + 6.0) * f64::from(i) / 100_003.0);
            let error = |u: f64| {
                let sum: f64 = (0..heads).map(|h| Moments::of(u - (h * intervals) as f64, intervals, c).mean).sum();
                (sum - u.clamp(0.0, total)).abs()
            };
            let worst = walk.map(error).fold(0.0, f64::max);
            assert!(worst <= known.error && worst > known.error - 3e-3 * c.max(1.0), "{worst} against {known:?}");
        }
    }

    #[test]
    fn the_tail_shrinks_to_nothing() {
        assert!((tail(12.0) - 1.5 * (-12.0_f64).exp()).abs() < 1e-8);
        // 1.5/e + 2.5/e⁴ + 3.5/e⁹ + 2/e² + 3/e⁶ + …
        assert!((tail(1.0) - 0.8765).abs() < 5e-4 && tail(50.0) < 1e-20);
    }
}
