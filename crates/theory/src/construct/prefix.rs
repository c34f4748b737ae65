//! Prefix tuning: one frozen head that, by choice of its prefix alone, computes any continuous function on the circle
//! or the sphere.
//!
//! The head is the same for every f: its query is the first block of a row, its key the second, its value the third. It
//! does so at all n positions of a sequence.
//!
//! tokens (x_t, 0, 0), t < n,  prefix rows (0, λ k_i, f(k_i)), i < N;
//! y_t = Σ_i e^{λ x_t·k_i} f(k_i) / (n + Σ_i e^{λ x_t·k_i})
//!
//! Since |x − k|² = 2 − 2 x·k, these are Gaussian weights with inverse temperature β = λ/2 on the points of the prefix,
//! which are equally spaced on the circle and a Fibonacci lattice on the sphere. The n are the tokens, keys with
//! score 0 and value 0. Let E be the mean over the prefix, θ the angle between x and k, p_0 the weight of a token, L
//! the slope of f, and M its second derivative along great circles; then
//!
//! |y − f(x)| ≤ n p_0 max |f| + min( L E θ,  L (|E k_⟂| + E (θ − sin θ)) + M E θ²/2 ),  k_⟂ = k − (x·k) x.
//!
//! The first bound falls as N^{−1/m} on a sphere of m dimensions. Eventually the second does so too, because of the
//! ripple |E k_⟂|, but most of it falls as N^{−2/m}. Both are evaluated on a lattice finer than the prefix, and a bound
//! on what happens off the lattice is added (`Spread`).
//!
//! # References
//! Petrov et al. 2024, arXiv 2402.14753. Their bound on the prefix is of Jackson's kind; this one is a posteriori.

use std::{cell::Cell, f64::consts::PI, sync::Arc};

use headway_plain::{
    Readout,
    network::{Head, InputMap, Matrix},
};
use headway_tasks::TaskConfig;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    bound::Bound,
    cells::{felt, moved, sequences, value_noise},
    construct::{
        Construction, Cost, Request, Temperature, choose,
        options::{self, Options, Planned, ensure_size},
        written::{Sizes, WrittenDown},
    },
    domain::Domain,
    interpolation::{F32_ROUNDOFF, Mode},
    network::{Layer, Network},
    refusal::Refusal,
    smoothness::{Given, Smoothness, sphere_lattice},
    space::Space,
    target::{Enclosure, Target},
};

/// Options of [`Prefix`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The name of a built-in, or one formula in x1 … per output number. Must be given.
    pub function: Vec<String>,
    /// n, number of positions, at each of which f is computed; if `None`, 1.
    pub seq_len: Option<usize>,
    /// Dimension of the input, a unit vector; if `None`, that of a built-in, else 3.
    pub d_in: Option<usize>,
    /// Temperature. Default minimax.
    pub mode: Mode,
    /// N, rows of the prefix; if `None`, about the fewest that meet the tolerance.
    pub length: Option<usize>,
    /// Bounds on the function's derivatives. Default: only what its formula implies.
    pub smoothness: Given,
}

impl Options for Config {
    fn sizes(&self) -> Vec<(&'static str, bool)> {
        vec![("length", self.length.is_some())]
    }

    fn plan(&self, _: Option<options::Given>, max_parameters: usize) -> Result<Planned, Refusal> {
        ensure_size("seq-len x --d-in", &[self.seq_len.unwrap_or(1), self.d_in.unwrap_or(3)], max_parameters)?;
        let sizes = Sizes { seq_len: (self.seq_len, 1), d_in: (self.d_in, 3) };
        let written = WrittenDown::new(&self.function, &sizes, headway_tasks::seq2seq::function::Domain::Sphere)?;
        let construction = Prefix {
            seq_len: written.config.seq_len,
            d_in: written.config.d_in,
            function: Target::written(&written.text, written.per_position()?),
            mode: self.mode,
            length: self.length,
            given: self.smoothness,
        };
        Ok(Planned::new(TaskConfig::Function(written.config), 0, move |request| construction.build(request)))
    }
}

/// The construction that computes a function by its prefix.
#[derive(Clone, Debug)]
pub struct Prefix {
    /// n, the number of positions.
    pub seq_len: usize,
    /// Dimension of the input, a unit vector: 2 for the circle, 3 for the sphere.
    pub d_in: usize,
    /// f, a function of unit vectors.
    pub function: Target,
    /// Temperature, given by c = λ/2 times the length or area per point of the prefix. On the circle c is that of the
    /// mode; on the sphere it is 3.14 for minimax (λ = N/2), 1.57 for smooth (λ = N/4), and 12.6 for hard (λ = 2 N).
    pub mode: Mode,
    /// N, the length of the prefix; if `None`, about the smallest that meets the tolerance.
    pub length: Option<usize>,
    /// L and M, bounds for each output number along great circles; those that are not given are measured.
    pub given: Given,
}

/// Longest prefix that is tried.
const MOST_LENGTH: usize = 1 << 13;
/// Lattice points per point of the prefix, along a line on the sphere.
const DENSITY: f64 = 11.0;
/// Largest step of the lattice, in units of 1/√λ, the width of the weights.
const FINENESS: f64 = 0.22;

/// Suprema over all x, in exact arithmetic.
///
/// Everything follows from m, the mean of the prefix under the weights at x: E |x − k|² = 2 − 2 x·m, and k_⟂ is m
/// without its component along x. From a lattice point to any x' within r, along a great circle with direction t, m
/// changes by m' = λ C t and m'' = λ² E (a − E a)² (k − E k) − λ C x, where a = t·k and C is the covariance of k.
/// Values and first derivatives are known at the lattice point, and r²/2 times a bound on second derivatives is added.
///
/// These are bounded, at x' itself, by the same mean with inflated weights: a score changes by at most λ r |k − m|
/// besides what all scores share, and Σ_k P_k exp(λ (x' − x)·(k − m)) ≥ 1 by Jensen's inequality, so that E' φ ≤ Σ_k
/// P_k e^{λ r |k − m|} φ for every φ ≥ 0.
#[derive(Clone, Copy, Debug, Default)]
struct Spread {
    /// |E k_⟂|.
    ripple: f64,
    /// E (θ − sin θ).
    arc: f64,
    /// E θ².
    square: f64,
    /// log p_0.
    own: f64,
}

impl Spread {
    fn of(points: &[Vec<f64>], lambda: f64, d: usize) -> Self {
        let count = points.len() as f64;
        // Points of the circle are all alike: one interval between two of them represents all.
        let (lattice, far): (Vec<Vec<f64>>, f64) = if d == 2 {
            let step = 2.0 * PI / count / 512.0;
            let angles = (0..=512).map(|i| step * f64::from(i));
            (angles.map(|angle| vec![angle.cos(), angle.sin()]).collect(), step / 2.0)
        } else {
            let step = ((4.0 * PI / count).sqrt() / DENSITY).min(FINENESS / lambda.sqrt());
            (sphere_lattice(3, step), step * std::f64::consts::FRAC_1_SQRT_2)
        };
        // Sorted by height, so that few neighbours have to be searched.
        let mut order: Vec<&[f64]> = points.iter().map(Vec::as_slice).collect();
        order.sort_by(|a, b| a[d - 1].total_cmp(&b[d - 1]));
        // Points beyond this distance weigh e⁻²² of a near one; those left out are counted with their largest possible
        // weight.
        let gap = if d == 2 { PI / count } else { (4.0 * PI / count).sqrt() };
        let reach = (44.0 / lambda + gap * gap).sqrt();
        let look = |x: &Vec<f64>| {
            let first = order.partition_point(|k| k[d - 1] < x[d - 1] - reach);
            let last = order.partition_point(|k| k[d - 1] <= x[d - 1] + reach);
            Self::around(x, far, &order[first..last], points.len(), lambda, reach)
        };
        let none = || Self { own: f64::NEG_INFINITY, ..Self::default() };
        lattice.par_iter().map(look).reduce(none, |a, b| a.with(b, f64::max))
    }

    fn with(self, other: Self, of: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            ripple: of(self.ripple, other.ripple),
            arc: of(self.arc, other.arc),
            square: of(self.square, other.square),
            own: of(self.own, other.own),
        }
    }

    /// Suprema over all points within `far` of x. `near` contains those of the prefix's `all` points that are near
    /// enough to count.
    fn around(x: &[f64], far: f64, near: &[&[f64]], all: usize, lambda: f64, reach: f64) -> Self {
        let d = x.len();
        let least = 1.0 - reach * reach / 2.0;
        let cosine = |k: &[f64]| x.iter().zip(k).map(|(x, k)| x * k).sum::<f64>();
        let near: Vec<(&[f64], f64)> = near.iter().map(|k| (*k, cosine(k))).filter(|(_, c)| *c >= least).collect();
        let mut weights: Vec<f64> = near.iter().map(|(_, c)| (lambda * (c - 1.0)).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mut mean = [0.0; 3];
        for (weight, (k, _)) in weights.iter_mut().zip(&near) {
            *weight /= total;
            (0..d).for_each(|j| mean[j] += *weight * k[j]);
        }
        // Covariance times λ, and sums with inflated weights: of |k − m|², of the component of k − m along x and its
        // square, of θ² − |x − k|², and of θ − sin θ.
        let mut spread = [[0.0; 3]; 3];
        let [mut square, mut along, mut across, mut beyond, mut arc] = [0.0; 5];
        let mut distances = Vec::with_capacity(near.len());
        for (weight, (k, cosine)) in weights.iter().zip(&near) {
            let off: [f64; 3] = std::array::from_fn(|j| if j < d { k[j] - mean[j] } else { 0.0 });
            for i in 0..d {
                (0..d).for_each(|j| spread[i][j] += lambda * weight * off[i] * off[j]);
            }
            let distance = length(off);
            let inflated = weight * (lambda * far * distance).exp();
            let radial = (0..d).map(|j| x[j] * off[j]).sum::<f64>().abs() + far * distance;
            let angle = (cosine.clamp(-1.0, 1.0).acos() + far).min(PI);
            square += inflated * distance * distance;
            along += inflated * radial;
            across += inflated * radial * radial;
            beyond += inflated * (angle * angle - 4.0 * (angle / 2.0).sin().powi(2));
            arc += inflated * (angle - angle.sin());
            distances.push((inflated, distance, radial));
        }
        // E' k − m| ≤ λ r E' |k − m|², which bounds how far a − E' a and x'·(k − E' k) differ from their values around m.
        let moved = lambda * far * square;
        let third: f64 = distances.iter().map(|(w, distance, _)| w * (distance + moved).powi(3)).sum();
        let radial_third: f64 =
            distances.iter().map(|(w, distance, radial)| w * (distance + moved).powi(2) * (radial + along)).sum();
        let mean_bend = lambda * lambda * third + lambda * square;
        let height: f64 = (0..d).map(|j| x[j] * mean[j]).sum();
        // (x·m)'' = −x·m + 2 λ t·C t + x·m'', whose first two terms have opposite signs if x·m stays positive.
        let opposed =
            if height > far + moved { f64::max(1.0, 2.0 * lambda * square) } else { 1.0 + 2.0 * lambda * square };
        let height_bend = opposed + lambda * lambda * radial_third + lambda * across;
        let side: [f64; 3] = std::array::from_fn(|j| if j < d { mean[j] - height * x[j] } else { 0.0 });
        let ripple = length(side);
        // P (λ C − (x·m) I) P and P λ C x, where P removes the component along x.
        let radial: [f64; 3] = std::array::from_fn(|i| (0..d).map(|j| spread[i][j] * x[j]).sum());
        let both: f64 = (0..d).map(|j| radial[j] * x[j]).sum();
        let mut turn = 0.0;
        for i in 0..d {
            for j in 0..d {
                let inner = spread[i][j] - radial[i] * x[j] - x[i] * radial[j] + x[i] * x[j] * both;
                let identity = f64::from(u8::from(i == j)) - x[i] * x[j];
                turn += (inner - height * identity).powi(2);
            }
        }
        let rise = length(std::array::from_fn(|j| if j < d { side[j] + radial[j] - x[j] * both } else { 0.0 }));
        let half = far * far / 2.0;
        let ripple_bend = mean_bend + height_bend + 2.0 * (rise + far * height_bend) + 1.0;
        let ripple = ripple + far * (turn.sqrt() + ripple) + half * ripple_bend;
        let fall = 1.0 - (height - far * rise - half * height_bend);
        // All points left out together, compared with the near ones, whose weights fall together by at most e^{λ (x' −
        // x)·m}, again by Jensen's inequality.
        let fall_of_near = far * length(side) + far * far / 2.0;
        let rest = (all - near.len()) as f64 * (lambda * (fall_of_near - (reach - far).powi(2) / 2.0)).exp() / total;
        Self {
            ripple: ripple + rest,
            arc: arc + rest * PI,
            square: 2.0 * fall + beyond + rest * PI * PI,
            own: -lambda - total.ln() + lambda * fall_of_near,
        }
    }
}

fn length(v: [f64; 3]) -> f64 {
    v.iter().map(|v| v * v).sum::<f64>().sqrt()
}

impl Prefix {
    /// Name on the command line.
    pub const NAME: &str = "prefix";

    /// Chooses the length, then writes the prefix; the head is always the same.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn build(&self, request: Request) -> Result<Construction, Refusal> {
        let d_out = self.check()?;
        let smoothness = Smoothness::on_sphere(&self.function, self.d_in, self.given)?;
        let lengths: Vec<usize> = match self.length {
            Some(length) => vec![length],
            // In steps of one sixth.
            None => {
                let next = |n: &usize| Some(n + (n / 6).max(1));
                std::iter::successors(Some(3), next).take_while(|n| *n <= MOST_LENGTH).collect()
            }
        };
        // The last candidate that is evaluated is the one that is chosen.
        let last = Cell::new((Bound::default(), Bound::default()));
        let cost = |length: &usize| {
            // If no length has a bound, there is nothing to search for.
            if smoothness.lipschitz.value.is_infinite() {
                return Cost::unbounded(self.parameters(*length, d_out));
            }
            let (bound, rounding) = self.bounds(*length, smoothness);
            let cost = Cost::of(&bound, &rounding, self.parameters(*length, d_out));
            last.set((bound, rounding));
            cost
        };
        let hint = format!("; a prefix has {MOST_LENGTH} rows at most");
        let length = choose(request, lengths, cost, &hint).map_err(|refusal| {
            refusal.or_blame_function("must be finite and of one width on all of the circle or the sphere")
        })?;
        self.write(length, d_out, last.take())?.in_float32("function", "function")
    }

    /// Checks the options and returns the width of an output.
    fn check(&self) -> Result<usize, Refusal> {
        if self.seq_len == 0 {
            return Err(Refusal::invalid("seq-len", "must be at least 1"));
        }
        if !(2..=3).contains(&self.d_in) {
            return Err(Refusal::invalid("d-in", "must be 2, for the circle, or 3, for the sphere"));
        }
        if !self.length.is_none_or(|length| (3..=MOST_LENGTH).contains(&length)) {
            return Err(Refusal::invalid("length", format!("must be from 3 to {MOST_LENGTH}")));
        }
        for (key, given) in [("lipschitz", self.given.lipschitz), ("curvature", self.given.curvature)] {
            if given.is_some_and(|value| !(value >= 0.0 && value.is_finite())) {
                return Err(Refusal::invalid(key, "must be a number from 0 on"));
            }
        }
        let values: Vec<Vec<f64>> = self.points(64).iter().map(|x| (self.function.function)(x)).collect();
        let width = values[0].len();
        if width == 0 || values.iter().any(|v| v.len() != width || v.iter().any(|v| !v.is_finite())) {
            return Err(Refusal::invalid("function", "must give finite numbers, one at least and always as many"));
        }
        Ok(width)
    }

    /// k_0 … k_{N − 1}, the points of the prefix.
    fn points(&self, length: usize) -> Vec<Vec<f64>> {
        let count = length as f64;
        let golden = PI * (1.0 + 5.0_f64.sqrt());
        (0..length)
            .map(|i| {
                if self.d_in == 2 {
                    let angle = 2.0 * PI * i as f64 / count;
                    return vec![angle.cos(), angle.sin()];
                }
                let i = i as f64 + 0.5;
                let (height, turn) = (1.0 - 2.0 * i / count, golden * i);
                let radius = (1.0 - height * height).sqrt();
                vec![radius * turn.cos(), radius * turn.sin(), height]
            })
            .collect()
    }

    /// λ, the scale of the prefix's keys.
    fn lambda(&self, length: usize) -> f64 {
        let count = length as f64;
        match (self.d_in, self.mode) {
            (2, mode) => 2.0 * mode.sharpness() * (count / (2.0 * PI)).powi(2),
            (_, Mode::Minimax) => count / 2.0,
            (_, Mode::Smooth) => count / 4.0,
            (_, Mode::Hard) => 2.0 * count,
        }
    }

    fn parameters(&self, length: usize, d_out: usize) -> f64 {
        let (d, rows, d_out) = (self.d_in as f64, (length + self.seq_len) as f64, d_out as f64);
        let width = 2.0 * d + d_out;
        width * (d + rows + 2.0 * d + d_out) + d_out * d_out
    }

    fn bounds(&self, length: usize, smoothness: Smoothness) -> (Bound, Bound) {
        let Smoothness { lipschitz, curvature, largest, range } = smoothness;
        let (lambda, d) = (self.lambda(length), self.d_in as f64);
        let spread = Spread::of(&self.points(length), lambda, self.d_in);
        let own = (self.seq_len as f64 * spread.own.exp()).min(1.0) * largest;
        let flat = lipschitz.value * spread.square.sqrt();
        let bias = lipschitz.value * (spread.ripple + spread.arc);
        let bend = curvature.value * spread.square / 2.0;
        let bound = if self.seq_len == 1 {
            Bound::default().and("the token itself", "p_0 max |f|, p_0 <= 1 / sum_i exp(lambda x.k_i)", own)
        } else {
            let formula = format!("n p_0 max |f|, p_0 <= 1 / sum_i exp(lambda x.k_i), n = {}", self.seq_len);
            Bound::default().and("the tokens themselves", formula, own)
        };
        let why = "over a lattice, with what its derivatives allow between";
        let bound = if flat <= bias + bend {
            let formula = format!("L E theta <= L sqrt(E theta^2), L = {lipschitz}; {why}");
            bound.and_on(lipschitz.basis, "distance to the prefix", formula, flat)
        } else {
            let ripple = format!("L (|E k_perp| + E (theta - sin theta)), L = {lipschitz}; {why}");
            let curve = format!("M E theta^2 / 2, M = {curvature}; {why}");
            bound.and_on(lipschitz.basis, "ripple", ripple, bias).and_on(curvature.basis, "curvature", curve, bend)
        };
        // A weighted mean of values and of 0 differs from a value by at most this, whatever the weights.
        let range = range.max(largest);
        let why = "sup f - inf f, or max |f|: the head gives a mean of values of f and of 0";
        let bound = bound.at_most(range, "range", why);
        let left = (range - bound.value).max(0.0);
        let noise = F32_ROUNDOFF * (lambda * (d + 4.0) * d.sqrt() + 16.0);
        let share = if self.d_in == 2 { (2.0 * PI / length as f64).powi(2) } else { 4.0 * PI / length as f64 };
        let c = lambda / 2.0 * share;
        // Number of points within the radius at which weights fall below a rounding error; half as many again for a
        // lattice that is not square.
        let keys = if self.d_in == 2 { felt(c) } else { (1.5 * PI * (17.0 / c + 1.0) + 8.0).min(length as f64) };
        let rounding = Bound::default()
            .and(
                "scores",
                "2 L sqrt(E theta^2) (exp(2 gamma) - 1) / 2, gamma = eps (lambda (d + 4) sqrt(d) + 16)",
                moved(2.0 * flat, noise).min(left),
            )
            .and("input", "4 eps L: float32 leaves the sphere", 4.0 * F32_ROUNDOFF * lipschitz.value)
            .and("values", "(2 keys felt + 8) eps max |f|", value_noise(keys, largest));
        (bound, rounding)
    }

    fn write(&self, length: usize, d_out: usize, bounds: (Bound, Bound)) -> Result<Construction, Refusal> {
        let (n, d) = (self.seq_len, self.d_in);
        let (points, lambda) = (self.points(length), self.lambda(length));
        let z = Space::new(&[("token", d), ("key", d), ("value", d_out)]);
        let mut map = InputMap::token_wise(d, length + n, z.width());
        let (weight, constant) = (map.linear.weight_mut(), &mut map.constant);
        (0..d).for_each(|j| weight[(j, z.nth("token", j))] = 1.0);
        for (i, k) in points.iter().enumerate() {
            let value = (self.function.function)(k);
            if value.len() != d_out || value.iter().any(|value| !value.is_finite()) {
                return Err(Refusal::invalid("function", "must be finite and of one width on all of the sphere"));
            }
            (0..d).for_each(|j| constant[(i + n, z.nth("key", j))] = lambda * k[j]);
            (0..d_out).for_each(|o| constant[(i + n, z.nth("value", o))] = value[o]);
        }
        // Neither f, nor the prefix, nor λ enters the head.
        let mut head = Head::zeros(z.width(), d, d_out, d_out);
        (0..d).for_each(|j| head.query.weight[(z.nth("token", j), j)] = 1.0);
        (0..d).for_each(|j| head.key.weight[(z.nth("key", j), j)] = 1.0);
        (0..d_out).for_each(|o| head.value.weight[(z.nth("value", o), o)] = 1.0);
        head.output = Matrix::identity(d_out, d_out);
        let layer = Layer { space: z, map: InputMap { queries: n, keys: length + n, ..map }, heads: vec![head] };
        let f = self.function.function.clone();
        let domain = Domain::Sphere { seq_len: n, d };
        let sphere = domain.clone();
        let place = if d == 2 { "circle" } else { "sphere" };
        let share = if d == 2 { 2.0 * PI / length as f64 } else { 4.0 * PI / length as f64 };
        let c = lambda / 2.0 * if d == 2 { share * share } else { share };
        Ok(Construction {
            name: Self::NAME,
            // Points are rounded to float32, which leaves the sphere: f is evaluated at the nearest point on it.
            target: Target {
                text: if n == 1 {
                    format!("y = f(x / |x|) on the {place}, f(x) = {}", self.function.text)
                } else {
                    format!("y_i = f(x_i / |x_i|) on the {place}, f(x) = {}", self.function.text)
                },
                function: Arc::new(move |x| {
                    let mut x = x.to_vec();
                    sphere.project(&mut x);
                    x.chunks(d).flat_map(|x| f(x)).collect()
                }),
                enclosure: self.function.enclosure.clone().map(|enclosure| -> Enclosure {
                    Arc::new(move |x| x.chunks(d).flat_map(|x| enclosure(x)).collect())
                }),
            },
            domain,
            network: Network { seq_len: n, d_in: d, d_out, layers: vec![layer], readout: Readout::Rows, causal: false },
            scored: None,
            sizes: vec![("N".to_owned(), length as f64), ("lambda".to_owned(), lambda)],
            temperature: Temperature {
                beta: lambda / 2.0,
                reason: format!(
                    "c = beta times the share of one point of the prefix = {c:.3}: wider than its gaps, and not much"
                ),
            },
            bound: bounds.0,
            rounding: bounds.1,
            likely: None,
            provable: None,
            proof: None,
            truth: None,
            norm: None,
            hard: self.hard(&points),
        })
    }

    /// Points of the prefix, points half-way between some of them, and the poles with their surroundings.
    fn hard(&self, points: &[Vec<f64>]) -> Vec<(&'static str, Vec<Vec<f64>>)> {
        const MOST_POINTS: usize = 512;
        let domain = Domain::Sphere { seq_len: 1, d: self.d_in };
        let stride = points.len().div_ceil(MOST_POINTS);
        // Points whose indices differ by a Fibonacci number are neighbours on the sphere.
        let apart: &[usize] = if self.d_in == 2 { &[1] } else { &[1, 5, 13, 34, 89] };
        let between = (0..points.len()).step_by(stride).flat_map(|i| {
            let others = apart.iter().filter_map(move |apart| points.get(i + apart));
            others.map(move |other| points[i].iter().zip(other).map(|(a, b)| a + b).collect::<Vec<f64>>())
        });
        let between: Vec<Vec<f64>> = between
            .map(|mut x| {
                domain.project(&mut x);
                x
            })
            .collect();
        // Axes, diagonals and points slightly off them, where functions tend to have kinks.
        let axes = (0..3_i32.pow(self.d_in as u32)).flat_map(|code| {
            let way = (0..self.d_in).map(move |j| f64::from(code / 3_i32.pow(j as u32) % 3 - 1)).collect::<Vec<f64>>();
            [0.0, 1e-3, 1e-2].map(|off| {
                let mut x: Vec<f64> = way.iter().enumerate().map(|(j, w)| w + off * (j as f64 + 1.0)).collect();
                domain.project(&mut x);
                x
            })
        });
        let prefix = points.iter().step_by(stride).cloned().collect::<Vec<_>>();
        [("prefix", prefix), ("between", between), ("axes", axes.collect::<Vec<_>>())]
            .map(|(kind, tokens)| (kind, sequences(&tokens, self.seq_len)))
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

    #[test]
    fn the_lattice_misses_nothing() {
        let f = Target::opaque("", |_| vec![0.0]);
        for (d, mode, length) in [
            (2, Mode::Smooth, 5),
            (2, Mode::Minimax, 31),
            (3, Mode::Smooth, 60),
            (3, Mode::Minimax, 400),
            (3, Mode::Hard, 200),
        ] {
            let prefix =
                Prefix { seq_len: 1, d_in: d, function: f.clone(), mode, length: None, given: Given::default() };
            let (points, lambda) = (prefix.points(length), prefix.lambda(length));
            let known = Spread::of(&points, lambda, d);
            let domain = Domain::Sphere { seq_len: 1, d };
            let mut rng = ChaCha8Rng::seed_from_u64(5);
            // By the definition, over all points of the prefix.
            let look = |x: &[f64]| {
                let terms = points.iter().map(|k| {
                    let cosine: f64 = x.iter().zip(k).map(|(x, k)| x * k).sum();
                    let angle = cosine.clamp(-1.0, 1.0).acos();
                    ((lambda * (cosine - 1.0)).exp(), cosine, angle, k)
                });
                let terms: Vec<_> = terms.collect();
                let total: f64 = terms.iter().map(|term| term.0).sum();
                let mean = |of: &dyn Fn(f64, f64, &[f64]) -> f64| {
                    terms.iter().map(|(w, c, a, k)| w * of(*c, *a, k)).sum::<f64>() / total
                };
                let side: Vec<f64> = (0..d).map(|j| mean(&|c, _, k| k[j] - c * x[j])).collect();
                Spread {
                    ripple: side.iter().map(|s| s * s).sum::<f64>().sqrt(),
                    arc: mean(&|_, a, _| a - a.sin()),
                    square: mean(&|_, a, _| a * a),
                    own: -lambda - total.ln(),
                }
            };
            let looks = (0..20_000).map(|_| look(&domain.sample(&mut rng)));
            let Some(worst) = looks.reduce(|a, b| a.with(b, f64::max)) else { panic!("no points") };
            for (name, worst, known, most) in [
                ("ripple", worst.ripple, known.ripple, if d == 2 { 1.2 } else { 8.0 }),
                ("arc", worst.arc, known.arc, 2.5),
                ("square", worst.square, known.square, if mode == Mode::Hard { 2.0 } else { 1.3 }),
                ("own", worst.own.exp(), known.own.exp(), f64::INFINITY),
            ] {
                println!("{d} {mode:?} {length} {name}: {worst:.3e} of {known:.3e}");
                assert!(worst <= known, "{d} {mode:?} {length} {name}: {worst} beyond {known}");
                assert!(known < most * worst, "{d} {mode:?} {length} {name}: {known} far beyond {worst}");
            }
        }
    }
}
