//! Heads over anchors: a curve from its values at the anchors, and squares.
//!
//! Anchors stand at the integers, k = 0 … K, and scores are −c (u − k)² with c = ½. So broad a head is all but exactly linear
//! between them: Σ_k softmax_k k is off by (2π/c) exp(−π²/c) = 3e-8. What it does to a curve, smoothing, is undone by the values V of the
//! anchors, which are fitted by least squares at eight points between neighbours; a handful of anchors does for a smooth curve.
//! Squares, of which products are made, keep V_k = k²: smoothing adds 1/(2c) to each, which cancels in a difference of two.

use headway_tasks::Interval;
use nalgebra::{DMatrix, DVector};

use super::nodes::Curve;
use crate::interpolation::Ripple;

/// c.
pub(in crate::construct) const SHARPNESS: f64 = 0.5;
/// Anchors beyond either end of a curve.
pub(super) const BEYOND: usize = 4;
/// Anchors beyond either end of squares: those that are missing weigh below 1e-16, half a step beyond the end too.
pub(in crate::construct) const BEYOND_OF_SQUARES: usize = 9;
/// Points between neighbouring anchors at which values are fitted.
const FITTED: usize = 8;
/// Weight, in the fit, of how far values are from the curve at their anchors; it keeps those that hardly matter from running away.
const TIED: f64 = 1e-11;
/// Points between neighbouring anchors at which a head is studied.
pub(super) const LATTICE: usize = 64;
/// Weights of anchors farther away than this are below e⁻⁴⁰.
const REACH: usize = 10;

/// A head with its values, and what it does over its range and half a step beyond either end, in units of anchors.
#[derive(Clone, Debug)]
pub(in crate::construct) struct Head {
    /// Number of intervals between anchors that the range of the argument covers.
    pub intervals: usize,
    /// V, a value per anchor.
    pub values: Vec<f64>,
    /// sup |head − curve| over the range; for squares, of the difference of two, each with a range of ±1.
    pub error: f64,
    /// sup |head'|.
    pub slope: f64,
    /// sup Σ_k softmax_k |V_k − head| γ_k / ε, with γ_k the noise of a score in float32: how far that noise moves the head.
    pub noise: f64,
    /// sup Σ_k softmax_k |V_k|.
    pub mass: f64,
}

impl Head {
    /// The head for a curve over a range, on K = `anchors` − 1 intervals in all.
    pub fn of_curve(curve: Curve, range: Interval, anchors: usize) -> Self {
        let intervals = anchors - 1 - 2 * BEYOND;
        let place = place(range, intervals);
        let values = fit(|u| curve.value(place(u)), intervals, anchors);
        Self::with_values(curve, range, values)
    }

    /// The head for an odd curve over a range with 0 in its middle, on which so many intervals lie: values are odd, so that the head is.
    pub fn odd(curve: Curve, range: Interval, intervals: usize) -> Self {
        let even = Self::of_curve(curve, range, intervals + 1 + 2 * BEYOND).values;
        let values = even.iter().zip(even.iter().rev()).map(|(one, other)| (one - other) / 2.0).collect();
        Self::with_values(curve, range, values)
    }

    fn with_values(curve: Curve, range: Interval, values: Vec<f64>) -> Self {
        let intervals = values.len() - 1 - 2 * BEYOND;
        let place = place(range, intervals);
        let mut error = 0.0_f64;
        let shape = study(&values, BEYOND, intervals, |u, found| {
            let miss = (found - curve.value(place(u))).abs();
            error = if miss.is_nan() { f64::INFINITY } else { error.max(miss) };
        });
        let stray = stray(curve, range, intervals * LATTICE);
        let error = error + stray + shape.bend / (8.0 * (LATTICE * LATTICE) as f64);
        Self { intervals, values, error, slope: shape.slope, noise: shape.noise, mass: shape.mass }
    }

    /// The head with given values, `beyond` of them beyond either end of its range, for a curve of u whose second derivative is at most
    /// `bend`, both in units of anchors.
    pub fn of_values(values: Vec<f64>, beyond: usize, curve: impl Fn(f64) -> f64, bend: f64) -> Self {
        let intervals = values.len() - 1 - 2 * beyond;
        let mut error = 0.0_f64;
        let shape = study(&values, beyond, intervals, |u, found| error = error.max((found - curve(u)).abs()));
        // Between points of the lattice, a chord is off by an eighth of the second derivative.
        let error = error + (bend + shape.bend) / (8.0 * (LATTICE * LATTICE) as f64);
        Self { intervals, values, error, slope: shape.slope, noise: shape.noise, mass: shape.mass }
    }

    /// The head for squares of numbers within ±1.
    pub fn of_squares(anchors: usize) -> Self {
        let intervals = anchors - 1 - 2 * BEYOND_OF_SQUARES;
        let centre = (anchors - 1) as f64 / 2.0;
        let values: Vec<f64> = (0..anchors).map(|k| (k as f64 - centre).powi(2)).collect();
        let shape = study(&values, BEYOND_OF_SQUARES, intervals, |_, _| {});
        let spacing = 2.0 / intervals as f64;
        let ripple = Ripple::of(SHARPNESS, BEYOND_OF_SQUARES - 1);
        // Half a step beyond the end, where an argument with an error may lie.
        let reach = 1.0 + spacing / 2.0;
        let error = 2.0 * (2.0 * reach * spacing * ripple.mean + spacing.powi(2) * ripple.square);
        Self { intervals, values, error, slope: shape.slope, noise: shape.noise, mass: shape.mass }
    }
}

/// The number of a range at which an argument in units of anchors stands, or the end next to it.
fn place(range: Interval, intervals: usize) -> impl Fn(f64) -> f64 {
    move |u| {
        let x = range.low + (u - BEYOND as f64) / intervals as f64 * (range.high - range.low);
        x.clamp(range.low, range.high)
    }
}

/// Suprema over all u from half a step below the range to half a step above it.
struct Shape {
    slope: f64,
    bend: f64,
    noise: f64,
    mass: f64,
}

/// Walks a lattice over the range and half a step beyond; `look` sees the points within the range.
///
/// Between lattice points, suprema grow by what their derivatives allow: with s the largest |V_k+1 − V_k| and moments of the index k
/// about its mean, |head'''| ≤ 8c³ s (E|k|³(|k| + E|k|) + 3 Var²) and |(Σ P |V|)'| ≤ 2c Var s.
///
/// A score c (2 u k − k²), u and k counted from the middle, is a rounded product, of size 2c |u k|, in a rounded sum, of size c |u² − (u −
/// k)²|; less the largest it is c (u − k)², rounded, and the exponential leaves 6 + 4 times that. So γ_k = ε (c (2 |u k| + |u² − (u − k)²| + 5
/// (u − k)²) + 10).
fn study(values: &[f64], beyond: usize, intervals: usize, mut look: impl FnMut(f64, f64)) -> Shape {
    let steepest = values.windows(2).fold(0.0_f64, |top, pair| top.max((pair[1] - pair[0]).abs()));
    let c = SHARPNESS;
    let mut shape = Shape { slope: 0.0, bend: 0.0, noise: 0.0, mass: 0.0 };
    let (mut variance, mut fourth, mut drift) = (0.0_f64, 0.0_f64, 0.0_f64);
    let middle = (values.len() - 1) as f64 / 2.0;
    let half = LATTICE / 2;
    for step in 0..=(intervals + 1) * LATTICE {
        let u = beyond as f64 + (step as f64 - half as f64) / LATTICE as f64;
        let pattern = pattern(u, values.len());
        let expect = |of: &dyn Fn(usize) -> f64| pattern.iter().map(|(k, weight)| weight * of(*k)).sum::<f64>();
        let (found, mean) = (expect(&|k| values[k]), expect(&|k| k as f64));
        let away = |k: usize| k as f64 - mean;
        let deviation = expect(&|k| away(k).abs());
        let square = expect(&|k| away(k).powi(2));
        shape.slope = shape.slope.max((2.0 * c * expect(&|k| away(k) * (values[k] - found))).abs());
        shape.bend = shape.bend.max((4.0 * c * c * expect(&|k| away(k).powi(2) * (values[k] - found))).abs());
        let (v, key) = (u - middle, |k: usize| k as f64 - middle);
        let gamma = |k: usize| {
            let apart = (v - key(k)).powi(2);
            c * (2.0 * (v * key(k)).abs() + (v * v - apart).abs() + 5.0 * apart) + 10.0
        };
        let off = |k: usize| (values[k] - found).abs();
        shape.noise = shape.noise.max(expect(&|k| off(k) * gamma(k)));
        // Its derivative: of the weights, of the head, and of γ.
        let slope = 2.0 * c * expect(&|k| away(k) * (values[k] - found)).abs();
        let by_gamma = |k: usize| c * (4.0 * key(k).abs() + 10.0 * (v - key(k)).abs());
        drift = drift.max(
            expect(&|k| 2.0 * c * away(k).abs() * off(k) * gamma(k) + off(k) * by_gamma(k)) + slope * expect(&gamma),
        );
        shape.mass = shape.mass.max(expect(&|k| values[k].abs()));
        variance = variance.max(square);
        fourth = fourth.max(expect(&|k| away(k).abs().powi(3) * (away(k).abs() + deviation)) + 3.0 * square * square);
        if (half..=half + intervals * LATTICE).contains(&step) {
            look(u, found);
        }
    }
    // Moments are functions of c alone, which change by less than this factor within a step of the lattice.
    let (variance, fourth) = (1.05 * variance, 1.05 * fourth);
    let near = 0.5 / LATTICE as f64;
    shape.bend += 8.0 * c.powi(3) * fourth * steepest * near;
    shape.slope += shape.bend * near;
    shape.noise += 1.25 * drift * near;
    shape.mass += 2.0 * c * variance * steepest * near;
    shape
}

/// softmax_k(−c (u − k)²) over anchors 0 … count − 1, without weights below e⁻⁴⁰ of the largest.
fn pattern(u: f64, count: usize) -> Vec<(usize, f64)> {
    let nearest = u.round().clamp(0.0, (count - 1) as f64);
    let first = (nearest as usize).saturating_sub(REACH);
    let last = (nearest as usize + REACH).min(count - 1);
    let score = |k: usize| -SHARPNESS * ((u - k as f64).powi(2) - (u - nearest).powi(2));
    let weights: Vec<(usize, f64)> = (first..=last).map(|k| (k, score(k).exp())).collect();
    let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
    weights.into_iter().map(|(k, weight)| (k, weight / total)).collect()
}

/// Values of anchors whose head is nearest to a curve of u on the range, in the mean square; those that hardly matter stay near the
/// curve.
fn fit(curve: impl Fn(f64) -> f64, intervals: usize, anchors: usize) -> Vec<f64> {
    let start = DVector::from_iterator(anchors, (0..anchors).map(|k| curve(k as f64)));
    let points = intervals * FITTED + 1;
    let mut normal = DMatrix::from_diagonal_element(anchors, anchors, TIED * points as f64);
    let mut right = DVector::zeros(anchors);
    for at in 0..points {
        let u = BEYOND as f64 + at as f64 / FITTED as f64;
        let pattern = pattern(u, anchors);
        let miss = curve(u) - pattern.iter().map(|(k, weight)| weight * start[*k]).sum::<f64>();
        for (k, weight) in &pattern {
            right[*k] += weight * miss;
            for (j, other) in &pattern {
                normal[(*k, *j)] += weight * other;
            }
        }
    }
    match normal.cholesky() {
        Some(solved) => (start + solved.solve(&right)).as_slice().to_vec(),
        None => start.as_slice().to_vec(),
    }
}

/// Bound on how far a curve differs from its chord over one of so many equal steps of its range: the range of its values, that of
/// its slopes times a quarter of the step, or sup |g''| s²/8, whichever is least.
fn stray(curve: Curve, range: Interval, steps: usize) -> f64 {
    let step = (range.high - range.low) / steps as f64;
    let hair = 4.0 * f64::EPSILON * range.magnitude() + 1e-9 * step;
    let over = |at: usize| {
        let ends = [at, at + 1].map(|at| range.low + step * at as f64);
        let piece = Interval::new((ends[0] - hair).max(range.low), (ends[1] + hair).min(range.high));
        let [value, slope, second] = curve.rule.over(piece);
        let wide = piece.width();
        value.width().min(slope.width() * wide / 4.0).min(second.magnitude() * wide * wide / 8.0)
    };
    (0..steps).map(over).fold(0.0, f64::max)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use headway_tasks::expression::FUNCTIONS;

    use super::*;
    use crate::construct::formula::nodes::Rule;

    fn curve(name: &str) -> Curve {
        Curve { rule: Rule::Named(FUNCTIONS.iter().find(|f| f.name == name).unwrap()), shift: 0.0 }
    }

    /// At other points than those of the lattice, nothing is above its bound, and errors and slopes come near.
    #[test]
    fn heads_do_what_is_said_of_them() {
        for (curve, range, anchors) in [
            (curve("sin"), Interval::new(-2.0, 2.5), 17),
            (curve("sqrt"), Interval::new(0.0, 1.0), 24),
            (curve("exp"), Interval::new(0.0, 1.0), 13),
            (Curve { rule: Rule::Power(-1.0), shift: 0.7 }, Interval::new(0.2, 1.7), 40),
        ] {
            let head = Head::of_curve(curve, range, anchors);
            let count = 30_011;
            let (mut error, mut slope, mut before) = (0.0_f64, 0.0_f64, None);
            for at in 0..count {
                let part = f64::from(at) / f64::from(count - 1);
                let u = BEYOND as f64 + part * head.intervals as f64;
                // All anchors, not only near ones.
                let weights: Vec<f64> = (0..anchors).map(|k| (-SHARPNESS * (u - k as f64).powi(2)).exp()).collect();
                let total: f64 = weights.iter().sum();
                let expect =
                    |of: &dyn Fn(usize) -> f64| weights.iter().enumerate().map(|(k, w)| w * of(k)).sum::<f64>() / total;
                let found = expect(&|k| head.values[k]);
                error = error.max((found - curve.value(range.low + part * (range.high - range.low))).abs());
                let step = head.intervals as f64 / f64::from(count - 1);
                if let Some(before) = before {
                    let rise: f64 = found - before;
                    slope = slope.max(rise.abs() / step);
                }
                before = Some(found);
                let middle = (anchors - 1) as f64 / 2.0;
                let gamma = |k: usize| {
                    let (v, k) = (u - middle, k as f64 - middle);
                    let apart = (v - k).powi(2);
                    SHARPNESS * (2.0 * (v * k).abs() + (v * v - apart).abs() + 5.0 * apart) + 10.0
                };
                assert!(expect(&|k| (head.values[k] - found).abs() * gamma(k)) <= head.noise);
                assert!(expect(&|k| head.values[k].abs()) <= head.mass);
            }
            assert!(error <= head.error && slope <= head.slope, "{curve:?}: {error}, {slope} of {head:?}");
            // What is said of a root, whose values at anchors are large, is true and no more.
            if head.error < 1e-3 {
                assert!(slope > 0.6 * head.slope, "{curve:?}: {slope} of {head:?}");
            }
            if (1e-4..1e-3).contains(&head.error) {
                assert!(error > 0.5 * head.error, "{curve:?}: {error} of {head:?}");
            }
        }
    }

    /// Few anchors do for smooth curves.
    #[test]
    fn smooth_curves_take_few_anchors() {
        for (name, range, anchors) in [("sin", [0.0, 1.0], 13), ("exp", [0.0, 1.0], 13), ("gelu", [-3.0, 3.0], 25)] {
            let head = Head::of_curve(curve(name), Interval::new(range[0], range[1]), anchors);
            assert!(head.error < 5e-5, "{name}: {}", head.error);
        }
    }

    /// The difference of two squares is a product, up to what is said.
    #[test]
    fn squares_cancel_their_bias() {
        let head = Head::of_squares(23);
        let half = head.intervals as f64 / 2.0;
        let square = |w: f64| {
            let u = 11.0 + w * half;
            pattern(u, 23).iter().map(|(k, weight)| weight * head.values[*k]).sum::<f64>() / (half * half)
        };
        let mut worst = 0.0_f64;
        for i in 0..=100 {
            for j in 0..=100 {
                let (a, b) = (f64::from(i) / 50.0 - 1.0, f64::from(j) / 50.0 - 1.0);
                worst = worst.max((square(f64::midpoint(a, b)) - square((a - b) / 2.0) - a * b).abs());
            }
        }
        assert!(worst <= head.error && head.error < 1e-6, "{worst} of {}", head.error);
        // Each of them alone is off by 1/(2c) of a step squared.
        assert!((square(0.3) - 0.09 - 1.0 / (half * half)).abs() < 1e-6);
    }
}
