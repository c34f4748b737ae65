//! Softmax mixtures of forms.
//!
//! h = Σ_k P_k v_k, P = softmax(s), with scores s_k and values v_k that are forms. What all scores have in common is taken
//! away first, softmax does not see it: t_k = s_k − c_k less the mean of its linear and quadratic parts under p = softmax(c). Then,
//! with τ_k and u_k the linear and quadratic part of t_k, y_k and Y_k those of v_k, and b_k = v_k(middle) − v̄,
//!
//! - h = v̄ + N/D, N = Σ p_k e^{t_k} (v_k − v̄), D = Σ p_k e^{t_k}, and e^t = 1 + t + t²/2 + R, |R| ≤ |t|³ e^{|t|}/6;
//! - N has the linear part Σ p_k (y_k + b_k τ_k) and the quadratic one Σ p_k (Y_k + y_k τ_k + b_k (u_k + τ_k²/2)), which are those of h,
//!   since D − 1 is of second order;
//! - all that is left is of third order, or as small as the errors of the forms: |N/D − N| ≤ |N| |D − 1| / D.
//!
//! Where boxes are so wide that this says little, the range of a mixture over a box of weights says more
//! ([`range_of_mixture`]): no number is beyond the largest value either.

use headway_tasks::Interval;

use super::form::{Arithmetic, Form, Quadratic, UP, bulge};
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
            let cubic = (radius * radius * radius / 6.0 * radius.exp()) * UP;
            let Form { slopes, bends, .. } = own;
            Key { at, score: below, share: weight / total, slopes, bends, error, reach, bulge, radius, cubic }
        });
        let keys: Vec<Key<D>> = keys.collect();
        // What is left of the common part is rounding.
        let mut left = Form::<D>::point(0.0);
        let (mut shares, mut second, mut least) = (0.0, 0.0, 0.0);
        for key in &keys {
            shares += key.share;
            second += key.share * (key.error + 0.5 * key.radius * key.radius + key.cubic);
            least += key.share * (-key.radius).exp();
            add_parts(&mut left, key.share, &Form { centre: 0.0, slopes: key.slopes, bends: key.bends, error: 0.0 });
        }
        let (shares, rounding) = ((shares - 1.0_f64).abs(), 8.0 * U64 * (n + 8.0));
        let off = (shares + left.moved() + second + rounding * (1.0 + in_common)) * UP;
        Self { keys, off, least: (least / UP).max(1.0 - off), faint }
    }
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
pub fn mixture<const D: usize>(scores: &[Form<D>], values: &[&[Form<D>]], arithmetic: Arithmetic) -> Vec<Form<D>> {
    let width = values.first().map_or(0, |values| values.len());
    let shares = Shares::new(scores, arithmetic);
    (0..width).map(|column| one(&shares, values, column, arithmetic)).collect()
}

fn one<const D: usize>(shares: &Shares<D>, values: &[&[Form<D>]], column: usize, arithmetic: Arithmetic) -> Form<D> {
    if shares.keys.is_empty() {
        return Form::all_of(Interval::ENTIRE);
    }
    let value = |key: &Key<D>| &values[key.at][column];
    let mean: f64 = shares.keys.iter().map(|key| key.share * value(key).centre).sum();
    let (mut rest, mut slopes, mut quadratic): (f64, [f64; D], Quadratic<D>) = (0.0, [0.0; D], [[0.0; D]; D]);
    let (mut error, mut size, mut farthest, mut largest) = (0.0, 0.0, 0.0_f64, 0.0_f64);
    for key in &shares.keys {
        let (v, p) = (value(key), key.share);
        let b = v.centre - mean;
        let own = v.error + 2.0 * U64 * (v.centre.abs() + mean.abs());
        let (reach_v, bulge_v) = (v.reach(), bulge(&v.bends));
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
        largest = largest.max(v.size());
    }
    let n = shares.keys.len();
    error = (error + 4.0 * U64 * (n + 16) as f64 * size) * UP;
    let linear = slopes.iter().map(|slope| slope.abs()).sum::<f64>();
    // What dividing by D changes, by the size of N or by how far any value is from the mean.
    let size_of_sum = (rest.abs() + linear + bulge(&quadratic) + error) * UP;
    let quotient = (size_of_sum / shares.least).min(farthest);
    let divided = shares.off * quotient;
    // Keys without weight, and in float32 the sum of weights, its inverse, and the sum of products.
    let others = shares.faint * 2.0 * values.iter().map(|v| v[column].size()).fold(largest, f64::max);
    let sums = arithmetic.gamma(2 * n + 6) * largest + n as f64 * arithmetic.tiny();
    let outside = (others + sums) * UP;
    let form = Form { centre: mean + rest, slopes, bends: quadratic, error: (error + divided + outside) * UP };
    // The range is worth its price where the error is of the order of the linear part.
    if form.error <= linear { form } else { form.within(range(shares, values, column, outside)) }
}

/// The range of a mixture over the box of its weights, and a margin.
fn range<const D: usize>(shares: &Shares<D>, values: &[&[Form<D>]], column: usize, margin: f64) -> Interval {
    let end = |key: &Key<D>, sign: f64| (key.score + sign * key.radius).exp() * (1.0 + sign * 16.0 * U64);
    let low: Vec<f64> = shares.keys.iter().map(|key| end(key, -1.0)).collect();
    let high: Vec<f64> = shares.keys.iter().map(|key| end(key, 1.0) + f64::MIN_POSITIVE).collect();
    let each: Vec<Interval> = shares.keys.iter().map(|key| values[key.at][column].interval()).collect();
    let all = each.iter().fold(each[0], |all, value| all.hull(*value));
    let mixed = range_of_mixture(&low, &high, &each);
    let within = Interval::new(mixed.low.max(all.low), mixed.high.min(all.high));
    Interval::new((within.low - margin).next_down(), (within.high + margin).next_up())
}
