//! Softmax mixtures of forms.
//!
//! h = Σ_k P_k v_k, P = softmax(s), with scores s_k and values v_k that are forms. What all scores have in common is taken
//! away first, softmax does not see it: t_k = s_k − c_k less the mean of its linear and quadratic parts under p = softmax(c). Then,
//! with τ_k and u_k the linear and quadratic part of t_k, y_k and Y_k those of v_k, and b_k = v_k(middle) − v̄,
//!
//! - h = v̄ + N/D, N = Σ p_k e^{t_k} (v_k − v̄), D = Σ p_k e^{t_k}, and e^t = 1 + t + t²/2 + R, |R| ≤ e^{|t|} − 1 − |t| − t²/2;
//! - N has the linear part Σ p_k (y_k + b_k τ_k) and the quadratic one Σ p_k (Y_k + y_k τ_k + b_k (u_k + τ_k²/2)), which are those of h,
//!   since D − 1 is of second order;
//! - all that is left is of third order, or as small as the errors of the forms: with R' in place of what is left of N, N/D is off by at most
//!   |R'|/D + |N − R'| |1 − 1/D|. The exponential is convex, so D is not below the exponential of
//!   the mean Σ p_k t_k, of which errors alone are left: dividing by it makes nothing larger.
//!
//! Where boxes are so wide that this says little, the range of a mixture over a box of weights says more
//! ([`range_of_mixture`]): no number is beyond the largest value either.

use std::cell::OnceCell;

use headway_tasks::Interval;

use super::form::{Arithmetic, Form, Measured, Quadratic, UP, bulge};
use headway_theory::prove::mixture::{EXP_ROUNDINGS, range_of_mixture};

/// Half a unit in the last place of 1 in double precision.
const U64: f64 = f64::EPSILON / 2.0;
/// Scores so far below the largest have no weight in double precision.
const FAINT: f64 = -700.0;

/// A key, as the query at hand sees it.
struct Key<const D: usize> {
    /// Its place among the keys.
    at: usize,
    /// Its score in the middle, below the largest.
    score: f64,
    /// p_k.
    share: f64,
    /// τ_k.
    slopes: [f64; D],
    /// u_k.
    bends: Quadratic<D>,
    /// Error of t_k.
    error: f64,
    /// The largest |τ_k|, |u_k| and |t_k|.
    reach: f64,
    bulge: f64,
    radius: f64,
    /// Bound on e^t − 1 − t − t²/2.
    cubic: f64,
}

/// The shares of a query's keys.
struct Shares<const D: usize> {
    keys: Vec<Key<D>>,
    /// Bound on |D − 1|.
    off: f64,
    /// Lower bound on D.
    least: f64,
    /// Bound on |1 − 1/D|.
    lost: f64,
    /// Between which numbers the weights lie, once they are needed. `[keys]` each
    ends: OnceCell<[Vec<f64>; 2]>,
    /// Bound on the weight of keys that are left out, relative to the others.
    faint: f64,
}

impl<const D: usize> Shares<D> {
    fn new(scores: &[Form<D>], arithmetic: Arithmetic) -> Self {
        let top = scores.iter().fold(f64::NEG_INFINITY, |top, score| top.max(score.centre));
        let widest = scores.iter().fold(0.0_f64, |widest, score| widest.max(score.radius()));
        let counts = |score: &Form<D>| score.centre - top >= FAINT;
        let faint = scores
            .iter()
            .filter(|score| !counts(score))
            .map(|score| (score.centre - top + score.radius() + widest + 1.0).exp());
        let faint = faint.sum::<f64>() * UP;
        let weights: Vec<f64> =
            scores.iter().map(|score| if counts(score) { (score.centre - top).exp() } else { 0.0 }).collect();
        let total: f64 = weights.iter().sum();
        let mut common = Form::point(0.0);
        for (weight, score) in weights.iter().zip(scores) {
            add_parts(&mut common, weight / total, score);
        }
        let n = scores.len() as f64;
        let (u32, in_common) = (arithmetic.float32(), common.moved());
        let keys = scores.iter().zip(&weights).enumerate().filter(|(_, (score, _))| counts(score));
        let keys = keys.map(|(at, (score, weight))| {
            let mut own = Form { centre: 0.0, error: 0.0, ..*score };
            add_parts(&mut own, -1.0, &common);
            let (below, far) = (score.centre - top, score.radius() + widest);
            // Factors on weights count as errors of scores: those of the exponential, of p, and of slopes less their common part; in
            // float32 those of the difference from the largest score and of the exponential.
            let doubles = U64 * (32.0 + n + 8.0 * below.abs() + 8.0 * (score.moved() + in_common));
            let singles = u32 * (2.0 * (below.abs() + far) + EXP_ROUNDINGS);
            let error = (score.error + doubles + singles) * UP;
            let (reach, bulge) = (own.reach(), bulge(&own.bends));
            let radius = (reach + bulge + error) * UP;
            let Form { slopes, bends, .. } = own;
            let share = weight / total;
            Key { at, score: below, share, slopes, bends, error, reach, bulge, radius, cubic: beyond_square(radius) }
        });
        let keys: Vec<Key<D>> = keys.collect();
        // What is left of the common part is rounding.
        let (mut left, mut squares): (_, Quadratic<D>) = (Form::<D>::point(0.0), [[0.0; D]; D]);
        let (mut shares, mut rest, mut errors) = (0.0, 0.0, 0.0);
        for key in &keys {
            shares += key.share;
            errors += key.share * key.error;
            rest += key.share * (0.5 * (key.radius * key.radius - key.reach * key.reach).max(0.0) + key.cubic);
            add_parts(&mut left, key.share, &Form { centre: 0.0, slopes: key.slopes, bends: key.bends, error: 0.0 });
            for (a, row) in squares.iter_mut().enumerate() {
                let half = 0.5 * key.share * key.slopes[a];
                row.iter_mut().zip(&key.slopes).for_each(|(square, slope)| *square += half * slope);
            }
        }
        // The sum of all shares, and the mean of t.
        let rounding = 8.0 * U64 * (n + 8.0);
        let off_one = ((shares - 1.0_f64).abs() + rounding) * UP;
        let mean = bounded((left.moved() + errors + rounding * in_common) * UP);
        let square = bulge(&squares) + rounding * squares.iter().flatten().map(|q| q.abs()).sum::<f64>();
        let off = bounded((off_one + mean + square + rest) * UP);
        let sum = 1.0 - off_one;
        let least = (sum * (-mean / sum).exp() / UP).max(1.0 - off).max(0.0);
        let (above, below) = (if off < f64::MAX { off / (1.0 + off) } else { 1.0 }, off.min(1.0 - least));
        let lost = above.max(below / (1.0 - below)) * UP;
        Self { keys, off, least, lost, faint, ends: OnceCell::new() }
    }

    /// Between which numbers the weights lie, not divided by their sum.
    fn ends(&self) -> &[Vec<f64>; 2] {
        let end = |key: &Key<D>, sign: f64| (key.score + sign * key.radius).exp() * (1.0 + sign * 16.0 * U64);
        self.ends.get_or_init(|| {
            let low = self.keys.iter().map(|key| end(key, -1.0)).collect();
            [low, self.keys.iter().map(|key| end(key, 1.0) + f64::MIN_POSITIVE).collect()]
        })
    }
}

/// e^r − 1 − r − r²/2 = r³/6 (1 + r/4 + r²/20 + …), from above: the most that 1 + t + t²/2 is off from e^t for |t| ≤ r.
pub(super) fn beyond_square(r: f64) -> f64 {
    // The n-th factor in brackets is below (r/4)^n.
    let bound =
        if r < 1.0 { r * r * r / 6.0 / (1.0 - 0.25 * r) } else { r.exp() * (1.0 + 16.0 * U64) - 1.0 - r - 0.5 * r * r };
    bounded(bound * UP)
}

/// A bound that is not a number is none.
fn bounded(bound: f64) -> f64 {
    if bound.is_nan() { f64::INFINITY } else { bound }
}

/// Adds w times the linear and the quadratic part of a form.
fn add_parts<const D: usize>(sum: &mut Form<D>, weight: f64, form: &Form<D>) {
    sum.slopes.iter_mut().zip(&form.slopes).for_each(|(sum, g)| *sum += weight * g);
    sum.bends.iter_mut().flatten().zip(form.bends.iter().flatten()).for_each(|(sum, q)| *sum += weight * q);
}

/// The mixtures of the values of some keys, by the scores of one query.
///
/// # Shapes
/// scores `[keys]`, values `[keys][width]` -> `[width]`
pub fn mixture<const D: usize>(scores: &[Form<D>], values: &[&[Measured<D>]], arithmetic: Arithmetic) -> Vec<Form<D>> {
    let width = values.first().map_or(0, |values| values.len());
    let shares = Shares::new(scores, arithmetic);
    (0..width).map(|column| one(&shares, values, column, arithmetic)).collect()
}

fn one<const D: usize>(
    shares: &Shares<D>,
    values: &[&[Measured<D>]],
    column: usize,
    arithmetic: Arithmetic,
) -> Form<D> {
    if shares.keys.is_empty() {
        return Form::all_of(Interval::ENTIRE);
    }
    let value = |key: &Key<D>| &values[key.at][column];
    let mean: f64 = shares.keys.iter().map(|key| key.share * value(key).form.centre).sum();
    let (mut rest, mut slopes, mut quadratic): (f64, [f64; D], Quadratic<D>) = (0.0, [0.0; D], [[0.0; D]; D]);
    let (mut error, mut size, mut farthest, mut largest) = (0.0, 0.0, 0.0_f64, 0.0_f64);
    for key in &shares.keys {
        let (Measured { form: v, reach: reach_v, bulge: bulge_v }, p) = (value(key), key.share);
        let b = v.centre - mean;
        let own = v.error + 2.0 * U64 * (v.centre.abs() + mean.abs());
        let moved = reach_v + bulge_v + own;
        rest += p * b;
        for a in 0..D {
            slopes[a] += p * (v.slopes[a] + b * key.slopes[a]);
            let along = v.slopes[a] + 0.5 * b * key.slopes[a];
            let bends = v.bends[a].iter().zip(&key.bends[a]).zip(&key.slopes);
            for (to, ((own, bend), slope)) in quadratic[a].iter_mut().zip(bends) {
                *to += p * (own + b * bend + along * slope);
            }
        }
        let Key { error: e, reach, bulge, radius, cubic, .. } = *key;
        let square = 0.5 * radius * radius;
        error += p
            * (own * (1.0 + radius + square)
                + b.abs() * (e + reach * bulge + 0.5 * bulge * bulge + e * (reach + bulge + 0.5 * e))
                + reach_v * (bulge + e + square)
                + bulge_v * (radius + square)
                + (b.abs() + moved) * cubic);
        size += p * (b.abs() + moved) * (1.0 + radius + square);
        farthest = farthest.max(b.abs() + moved);
        largest = largest.max(value(key).size());
    }
    let n = shares.keys.len();
    error = (error + 4.0 * U64 * (n + 16) as f64 * size) * UP;
    let linear = slopes.iter().map(|slope| slope.abs()).sum::<f64>();
    // What dividing by D changes, by the size of N without what is left of it, or by how far any value is from the mean.
    let size_of_sum = (rest.abs() + linear + bulge(&quadratic)) * UP;
    let divided = (error / shares.least + size_of_sum * shares.lost).min(error + shares.off * farthest);
    // Keys without weight, and in float32 the sum of weights, its inverse, and the sum of products.
    let others = shares.faint * 2.0 * values.iter().map(|v| v[column].size()).fold(largest, f64::max);
    let sums = arithmetic.gamma(2 * n + 6) * largest + n as f64 * arithmetic.tiny();
    let outside = (others + sums) * UP;
    let form = Form { centre: mean + rest, slopes, bends: quadratic, error: (divided + outside) * UP };
    // The range is worth its price where the error is of the order of the linear part.
    if form.error <= linear { form } else { form.within(range(shares, values, column, outside)) }
}

/// The range of a mixture over the box of its weights, and a margin.
fn range<const D: usize>(shares: &Shares<D>, values: &[&[Measured<D>]], column: usize, margin: f64) -> Interval {
    let [low, high] = shares.ends();
    let each: Vec<Interval> = shares.keys.iter().map(|key| values[key.at][column].form.interval()).collect();
    let all = each.iter().fold(each[0], |all, value| all.hull(*value));
    let mixed = range_of_mixture(low, high, &each);
    let within = Interval::new(mixed.low.max(all.low), mixed.high.min(all.high));
    Interval::new((within.low - margin).next_down(), (within.high + margin).next_up())
}
