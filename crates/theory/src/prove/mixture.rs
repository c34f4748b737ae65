//! Sums of softmax mixtures with affine scores, enclosed over boxes: value, slopes, and what float32 adds.
//!
//! h(x) = Σ_heads Σ_k P_k(x) V_k with P = softmax_k(c_k + a_k · x). Over a box every weight exp(score) lies between two
//! ends once the score of one key is subtracted from all, and then
//!
//! - a mean Σ P_k v_k takes its largest value where all weights of values above a threshold are at their upper ends and
//!   all others at their lower ends; the threshold is that value itself, and Newton's iteration finds it in a few passes
//!   over the keys. Whatever threshold t it ends with, t + max(F(t), 0)/Σ lower ends is an upper bound, where F(t) is the
//!   largest Σ w_k (v_k − t): so nothing rests on the iteration.
//! - a slope ∂h/∂x_j is the covariance of a_j and V, E[(a_j − a)(V − v)] − (E a_j − a)(E V − v) for any numbers a and v,
//!   of which every mean is enclosed in this way.
//!
//! Sums are computed in double precision in plain order. Their rounding error is at most n 2⁻⁵³ times the sum of sizes of
//! terms, which is added; exp of the system's library is assumed to be right to 4 units in the last place.
//!
//! # Float32
//!
//! `Head::rounding` bounds how far the output of the same weights, computed in float32, is from h(x), for any order of
//! every sum, with or without fused multiply-add, with subnormal numbers kept or flushed, with scores scaled before or
//! after the product and exponentials to base e or 2, each exponential within [`EXP_ROUNDINGS`] roundings. A query that
//! is off by e moves every score by e · `key_k`; what is common to all keys cancels in softmax, so that only e · (`key_k` −
//! key of the leading one) counts. An error `e_k` in the scores moves the output by Σ `P_k` (exp|`e_k`| − 1) |`V_k` − h| / (1 − Σ
//! `P_k` (exp|`e_k`| − 1)) at most.

use headway_tasks::Interval;

/// Half a unit in the last place of 1 in double precision.
const U64: f64 = f64::EPSILON / 2.0;
/// Half a unit in the last place of 1 in float32.
const U32: f64 = 5.960_464_477_539_063e-8;
/// Roundings of float32 that an exponential, its argument's reduction and its rescaling may cost.
pub const EXP_ROUNDINGS: f64 = 16.0;
/// Keys whose weight is at most this share of the largest are put together.
const NEGLIGIBLE: f64 = 1e-21;
/// Share of attention from which on a key counts as felt by sums in float32.
const FELT: f64 = 1.0 / (1_u64 << 30) as f64;

/// One head, as a softmax mixture of values.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Number of variables.
    pub d: usize,
    /// a, row by row. `[keys · d]`
    pub slopes: Vec<f64>,
    /// c. `[keys]`
    pub offsets: Vec<f64>,
    /// Sizes of the terms that slopes and offsets are sums of. `[keys · d]` and `[keys]`
    pub sizes: (Vec<f64>, Vec<f64>),
    /// Number of roundings of slopes and offsets in double precision.
    pub roundings: f64,
    /// V, output by output. `[outputs][keys]`
    pub values: Vec<Vec<f64>>,
    /// Bound on the sum of sizes of the terms that a value is a sum of.
    pub value_size: f64,
    /// Number of roundings of values in double precision.
    pub value_roundings: f64,
    /// How far the variables that its query reads may be from those of the box: heads may read the same form from weights that are
    /// rounded differently.
    pub shift: f64,
    /// What is taken off every variable first, so that a head on a part of a line works with small numbers.
    pub origin: f64,
    /// How float32 computes it.
    pub float32: Float32,
}

/// Queries and keys of a head, as float32 computes them.
#[derive(Clone, Debug, PartialEq)]
pub struct Float32 {
    /// Per component of the key that a query uses: bounds on |q_j| and on its error in float32, each as offset and factors on |x|.
    pub queries: Vec<(Affine, Affine)>,
    /// Components of the keys. `[components][keys]`
    pub keys: Vec<Vec<f64>>,
    /// Roundings of the product of query and key, of the keys themselves, and of the factor on scores.
    pub product: f64,
    /// Roundings of values and of the map behind them.
    pub values: f64,
    /// Factor on scores, 1/√d_key.
    pub scale: f64,
    /// Roundings of that factor: 0 if it is a power of two, else 2.
    pub scaled: f64,
}

/// offset + factors · |x|.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Affine {
    /// The offset.
    pub offset: f64,
    /// The factors. `[d]`
    pub factors: Vec<f64>,
}

impl Affine {
    /// Its value for sizes |x|.
    fn at(&self, sizes: &[f64]) -> f64 {
        self.offset + self.factors.iter().zip(sizes).map(|(factor, size)| factor * size).sum::<f64>()
    }
}

/// An output number of a mixture over a box.
#[derive(Clone, Debug, PartialEq)]
pub struct Enclosed {
    /// At the middle of the box.
    pub middle: Interval,
    /// Over the whole box.
    pub range: Interval,
    /// Its slopes over the whole box. `[d]`
    pub slopes: Vec<Interval>,
    /// What float32 adds at most.
    pub rounding: f64,
    /// What of `middle` comes from variables that are not quite those of the box: no smaller box has less.
    pub loose: f64,
}

/// Weights of the keys that count over a box, relative to that of one key.
struct Weights {
    kept: Vec<usize>,
    low: Vec<f64>,
    high: Vec<f64>,
    /// How far scores may lie from the score of the leading key, in size.
    away: Vec<f64>,
    /// Sum of the upper ends of the keys that do not count.
    rest: f64,
}

/// A sum of n terms is off by at most this share of the sum of their sizes; twice what theory says.
fn slack(n: usize) -> f64 {
    2.0 * (n + 4) as f64 * U64
}

impl Weights {
    /// Upper bound on Σ P_k v_k, where `rest_size` bounds |v| of the keys that do not count.
    fn most(&self, of: impl Fn(usize) -> f64, guess: f64, rest_size: f64) -> f64 {
        let values: Vec<f64> = (0..self.kept.len()).map(of).collect();
        let mut t = guess;
        for _ in 0..12 {
            let (mut sum, mut total) = (0.0, 0.0);
            for ((v, low), high) in values.iter().zip(&self.low).zip(&self.high) {
                let w = if *v > t { *high } else { *low };
                sum += w * v;
                total += w;
            }
            let next = sum / total;
            if next.is_nan() || next <= t + 1e-13 * t.abs() {
                break;
            }
            t = next;
        }
        let (mut above, mut below, mut least) = (0.0, 0.0, 0.0);
        for ((v, low), high) in values.iter().zip(&self.low).zip(&self.high) {
            let over = v - t;
            if over > 0.0 {
                above += high * over;
            } else {
                below -= low * over;
            }
            least += low;
        }
        let error = slack(values.len());
        let gain = (above - below) + error * (above + below) + self.rest * (rest_size + t.abs());
        let most = t + (gain.max(0.0) / least) * (1.0 + error) + 4.0 * U64 * t.abs();
        if most.is_nan() { f64::INFINITY } else { most.next_up() }
    }

    /// Enclosure of Σ P_k v_k.
    fn mean(&self, of: impl Fn(usize) -> f64 + Copy, guess: f64, rest_size: f64) -> Interval {
        let least = -self.most(|k| -of(k), -guess, rest_size);
        Interval::new(least, self.most(of, guess, rest_size))
    }
}

/// The range of Σ w_k v_k / Σ w_k over a box of weights and values, each between two ends; weights are not negative.
///
/// # Shapes
/// `[keys]` each
pub fn range_of_mixture(low: &[f64], high: &[f64], values: &[Interval]) -> Interval {
    let weights =
        Weights { kept: (0..low.len()).collect(), low: low.to_vec(), high: high.to_vec(), away: Vec::new(), rest: 0.0 };
    let middle = values.iter().map(|value| value.middle()).sum::<f64>() / values.len() as f64;
    let most = weights.most(|k| values[k].high, middle, 0.0);
    let least = -weights.most(|k| -values[k].low, -middle, 0.0);
    if least <= most { Interval::new(least, most) } else { Interval::ENTIRE }
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |top, v| top.max(v.abs()))
}

impl Head {
    /// Number of keys.
    pub fn keys(&self) -> usize {
        self.offsets.len()
    }

    fn slope(&self, k: usize, j: usize) -> f64 {
        self.slopes[k * self.d + j]
    }

    /// Scores at a point, and bounds on their errors there and anywhere in a box whose numbers have these sizes.
    fn scores(&self, x: &[f64], sizes: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let units = (self.roundings + self.d as f64 + 8.0) * U64;
        let one = |k: usize| {
            let row = k * self.d..(k + 1) * self.d;
            let dot = |of: &[f64], x: &[f64]| of[row.clone()].iter().zip(x).map(|(a, x)| a * x).sum::<f64>();
            let score = self.offsets[k] + dot(&self.slopes, x);
            (score, units * (self.sizes.1[k] + dot(&self.sizes.0, sizes)))
        };
        (0..self.keys()).map(one).unzip()
    }

    /// The output numbers over a box.
    pub fn enclose(&self, sides: &[Interval]) -> Vec<Enclosed> {
        let sides: Vec<Interval> = sides.iter().map(|side| *side - Interval::point(self.origin)).collect();
        let middle: Vec<f64> = sides.iter().map(|side| side.middle()).collect();
        let wider = |x: f64| (x.next_up() + self.shift).next_up();
        let radius: Vec<f64> =
            sides.iter().zip(&middle).map(|(side, m)| wider((side.high - m).max(m - side.low))).collect();
        let sizes: Vec<f64> = sides.iter().map(|side| wider(side.magnitude())).collect();
        let (scores, errors) = self.scores(&middle, &sizes);
        let first = (0..scores.len()).fold(0, |best, k| if scores[k] > scores[best] { k } else { best });
        let reach = |k: usize| {
            let moved: f64 = (0..self.d).map(|j| (self.slope(k, j) - self.slope(first, j)).abs() * radius[j]).sum();
            moved * (1.0 + 8.0 * U64)
        };
        let library = 1.0 + 16.0 * U64;
        let (mut kept, mut low, mut high, mut here, mut away) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut rest = 0.0;
        for k in 0..scores.len() {
            let (score, error) = (scores[k] - scores[first], errors[k] + errors[first]);
            let dev = reach(k) + error + 4.0 * U64 * score.abs();
            let up = (score + dev).exp() * library + f64::MIN_POSITIVE;
            if up < NEGLIGIBLE {
                rest += up;
                continue;
            }
            kept.push(k);
            away.push(score.abs() + dev);
            high.push(up);
            low.push(((score - dev).exp() / library - f64::MIN_POSITIVE).max(0.0));
            here.push((score, error + 4.0 * U64 * score.abs() + 16.0 * U64));
        }
        rest *= 1.0 + slack(scores.len());
        let over = Weights { kept: kept.clone(), low, high, away, rest };
        let (at_low, at_high) =
            here.iter().map(|(score, error)| (score.exp() * (1.0 - error), score.exp() * (1.0 + 2.0 * error))).unzip();
        let at = Weights { kept, low: at_low, high: at_high, away: Vec::new(), rest };
        let centre: Vec<f64> = at.low.iter().zip(&at.high).map(|(low, high)| f64::midpoint(*low, *high)).collect();
        let total: f64 = centre.iter().sum();
        let mean = |of: &dyn Fn(usize) -> f64| centre.iter().enumerate().map(|(i, w)| w * of(i)).sum::<f64>() / total;
        let kept = &over.kept;
        // Enclosures of E a_j − a, with a the mean at the middle.
        let steep: Vec<(f64, f64, Interval)> = (0..self.d)
            .map(|j| {
                let a = mean(&|i| self.slope(kept[i], j));
                let size = (0..self.keys()).fold(0.0_f64, |top, k| top.max((self.slope(k, j) - a).abs()));
                (a, size, over.mean(|i| self.slope(kept[i], j) - a, 0.0, size))
            })
            .collect();
        let score_errors = self.score_errors(&sizes, &over, first);
        let number = |values: &Vec<f64>| {
            let v = mean(&|i| values[kept[i]]);
            let size = largest(values) + v.abs();
            let own = self.value_roundings * U64 * (size + self.value_size);
            let off = |weights: &Weights| weights.mean(|i| values[kept[i]] - v, 0.0, size);
            let around = |x: Interval| Interval::point(v) + x + Interval::new(-own, own);
            let (middle, spread) = (off(&at), off(&over));
            let slopes = steep.iter().enumerate().map(|(j, (a, steepest, shift))| {
                let product = |i: usize| (self.slope(kept[i], j) - a) * (values[kept[i]] - v);
                let guess = mean(&product);
                let both = over.mean(product, guess, steepest * size);
                // Slopes and values themselves are rounded, by these shares of the largest.
                let of_slopes = (self.roundings + 8.0) * (self.steepest_size(j) + steepest) * size;
                let of_values = self.value_roundings * steepest * (size + self.value_size);
                let error = Interval::point(4.0 * U64 * (of_slopes + of_values));
                both - *shift * spread + error * Interval::new(-1.0, 1.0)
            });
            let slopes: Vec<Interval> = slopes.collect();
            // For every shift the mixture is a function of the box's variables, with slopes within these.
            let loose = (slopes.iter().map(|slope| slope.magnitude()).sum::<f64>() * self.shift).next_up();
            let loose = if self.shift == 0.0 { 0.0 } else { loose };
            Enclosed {
                middle: around(middle) + Interval::new(-loose, loose),
                range: around(spread),
                slopes,
                loose,
                rounding: self.rounding(values, &over, around(spread), &score_errors),
            }
        };
        self.values.iter().map(number).collect()
    }

    fn steepest_size(&self, j: usize) -> f64 {
        (0..self.keys()).fold(0.0, |top, k| top.max(self.sizes.0[k * self.d + j]))
    }

    /// Bounds on the errors of scores in float32 over a box, up to what is common to all keys: of each key that counts,
    /// then of all others.
    fn score_errors(&self, sizes: &[f64], over: &Weights, first: usize) -> (Vec<f64>, f64) {
        let Float32 { queries, keys, product, scale, scaled, .. } = &self.float32;
        let queries: Vec<(f64, f64)> = queries.iter().map(|(size, error)| (size.at(sizes), error.at(sizes))).collect();
        // The largest score exceeds that of the leading key at the middle by this at most.
        let lead = over.high.iter().fold(1.0_f64, |top, high| top.max(*high)).ln() + 1e-9;
        let error = |query: f64, own: f64, away: f64| {
            (scale * (query + (product + scaled) * U32 * own) + U32 * (away + lead) + EXP_ROUNDINGS * U32) * 1.001
                + 1e-30
        };
        let of = |k: usize| {
            let (mut query, mut own) = (0.0, 0.0);
            for ((size, error), keys) in queries.iter().zip(keys) {
                query += error * (keys[k] - keys[first]).abs();
                own += (size + error) * keys[k].abs();
            }
            (query, own)
        };
        let kept = over.kept.iter().zip(&over.away).map(|(k, away)| {
            let (query, own) = of(*k);
            error(query, own, *away)
        });
        let most = |of: &dyn Fn(&(f64, f64)) -> f64| {
            queries.iter().zip(keys).map(|(query, keys)| 2.0 * of(query) * largest(keys)).sum::<f64>()
        };
        let own = most(&|(size, error)| size + error);
        (kept.collect(), error(most(&|(_, error)| *error), own, scale * own))
    }

    /// What float32 adds to an output number over a box: errors of scores, then of values and their sum.
    fn rounding(&self, values: &[f64], over: &Weights, range: Interval, (errors, beyond): &(Vec<f64>, f64)) -> f64 {
        let least: f64 = over.low.iter().sum::<f64>() * (1.0 - slack(over.kept.len()));
        let mut faint = over.rest / least * beyond.exp();
        let (mut moved, mut share, mut sizes, mut felt) = (0.0, 0.0, 0.0, 0.0);
        for (i, k) in over.kept.iter().enumerate() {
            let (v, w) = (values[*k], (over.high[i] / (least - over.low[i] + over.high[i])).min(1.0));
            let error = errors[i].exp_m1();
            moved += w * error * (v - range.low).abs().max((v - range.high).abs());
            share += w * error;
            sizes += w * v.abs();
            if w >= FELT { felt += 1.0 } else { faint += w * (1.0 + error) }
        }
        // Adding a term to a sum is wrong by the term at most, so that faint ones cost no more than they are.
        let sum = U32 * ((2.0 * felt + 6.0) * sizes + 2.0 * self.float32.values * self.value_size)
            + 4.0 * faint * largest(values);
        if share < 0.25 { (moved / (1.0 - share) + sum) * 1.01 } else { f64::INFINITY }
    }
}

/// The sum of heads over a box.
pub fn enclose(heads: &[Head], sides: &[Interval]) -> Vec<Enclosed> {
    let mut all = heads.iter().map(|head| head.enclose(sides));
    let Some(mut sum) = all.next() else { return Vec::new() };
    let mut sizes: Vec<f64> = sum.iter().map(|one| one.range.magnitude()).collect();
    for head in all {
        for ((one, more), size) in sum.iter_mut().zip(head).zip(&mut sizes) {
            one.middle = one.middle + more.middle;
            one.range = one.range + more.range;
            one.slopes.iter_mut().zip(&more.slopes).for_each(|(a, b)| *a = *a + *b);
            one.rounding += more.rounding;
            one.loose += more.loose;
            *size += more.range.magnitude();
        }
    }
    if heads.len() > 1 {
        for (one, size) in sum.iter_mut().zip(sizes) {
            one.rounding += (heads.len() - 1) as f64 * U32 * (size + one.rounding) * 1.01;
        }
    }
    sum
}
