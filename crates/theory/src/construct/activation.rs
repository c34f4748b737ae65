//! One head applies any function of one number at every position: y_i = g(x_i).
//!
//! Anchors L_k stand Δ = (b − a)/p apart on [a, b] and on a few steps beyond either end, with values V_k = g(L_k), and the head
//! gives Σ_k softmax_k(−c (x − L_k)²/Δ²) g(L_k) ([`crate::cells`] has the columns). On a smooth g it errs by g'' Δ²/(4c): c = 1
//! is then best. At a kink it errs by 0.07 Δ times the jump of the slope at c = 2.725. No formula is needed for the bound:
//! head and g are compared on a lattice of 64 or more points per Δ, and what can happen between its points is added.
//!
//! g is asked for values on the padded interval, ⌈6/√c⌉ Δ beyond both ends.
//!
//! # References
//! Hu et al. 2025, arXiv 2504.15956, have V_k = L_k; here values are any function's, and the temperature is chosen.

use std::{fmt, sync::Arc};

use crate::{
    bound::{Basis, Bound},
    cells::{self, Attention, Cells, felt, moved, sequences, value_noise},
    construct::{Construction, Cost, Refusal, Request, Target, Temperature, choose},
    domain::Domain,
    interpolation::{F32_ROUNDOFF, Mode},
    smoothness::SLOPE_SAFETY,
};

/// A function of one number.
#[derive(Clone)]
pub struct Scalar {
    /// In words or as a formula.
    pub text: String,
    /// g.
    pub function: Arc<dyn Fn(f64) -> f64 + Send + Sync>,
    /// Where its slope jumps.
    pub kinks: Vec<f64>,
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scalar").field("text", &self.text).field("kinks", &self.kinks).finish_non_exhaustive()
    }
}

impl Scalar {
    /// A function without kinks.
    pub fn smooth(text: &str, function: impl Fn(f64) -> f64 + Send + Sync + 'static) -> Self {
        Self { text: text.to_owned(), function: Arc::new(function), kinks: Vec::new() }
    }

    /// max(x, 0).
    pub fn relu() -> Self {
        Self { kinks: vec![0.0], ..Self::smooth("relu(x)", |x| x.max(0.0)) }
    }

    /// Straight lines through these points (x, y), constant before the first and beyond the last.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] unless there are two points at least, finite and with growing x.
    pub fn table(points: &[(f64, f64)]) -> Result<Self, Refusal> {
        if points.len() < 2 {
            return Err(Refusal::invalid("table", "needs two points at least"));
        }
        if points.iter().any(|(x, y)| !(x.is_finite() && y.is_finite())) {
            return Err(Refusal::invalid("table", "holds something that is not a finite number"));
        }
        if let Some(pair) = points.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
            let problem = format!("x must grow from point to point, but {} is not below {}", pair[0].0, pair[1].0);
            return Err(Refusal::invalid("table", problem));
        }
        let kinks = points.iter().map(|(x, _)| *x).collect();
        let points = points.to_vec();
        let text = format!("straight lines through {} points, constant beyond", points.len());
        let line = move |x: f64| {
            let after = points.partition_point(|(at, _)| *at < x).clamp(1, points.len() - 1);
            let ((x0, y0), (x1, y1)) = (points[after - 1], points[after]);
            y0 + (y1 - y0) * ((x - x0) / (x1 - x0)).clamp(0.0, 1.0)
        };
        Ok(Self { kinks, ..Self::smooth(&text, line) })
    }
}

/// The construction of this file.
#[derive(Clone, Debug)]
pub struct Activation {
    /// n.
    pub seq_len: usize,
    /// g.
    pub function: Scalar,
    /// a.
    pub low: f64,
    /// b.
    pub high: f64,
    /// Temperature; the one of minimax and smooth that needs fewer anchors where it is not given.
    pub mode: Option<Mode>,
    /// p; about the smallest that meets the tolerance where it is not given.
    pub intervals: Option<usize>,
    /// sup |g'| on [a, b], which makes the bound proved where g has kinks that are not listed.
    pub lipschitz: Option<f64>,
    /// sup |g''| on [a, b] but for the listed kinks, which makes the bound proved.
    pub curvature: Option<f64>,
}

/// More intervals than this are never tried; up to here squares of anchors are exact in float32.
const MOST_INTERVALS: usize = 4000;

/// The head's weights from u = t Δ after an anchor, the same in every cell.
struct Kernel {
    c: f64,
    padding: usize,
    /// Per lattice point, one weight for each of the anchors −padding … padding + 1, and their mean.
    weights: Vec<(Vec<f64>, f64)>,
    /// sup Σ P_k (k − mean)² (|k − mean| + Σ P_j |j − mean|), which with slopes of values at most 1 bounds h'' Δ / (4 c²).
    third: f64,
}

impl Kernel {
    fn new(mode: Mode) -> Self {
        let c = mode.sharpness();
        let padding = (6.0 / c.sqrt()).ceil() as usize;
        let density = 64.max((5.0 * c).ceil() as usize);
        let mut third = 0.0_f64;
        let at = |step: usize| {
            let t = step as f64 / density as f64;
            let place = |j: usize| j as f64 - padding as f64;
            let mut weights: Vec<f64> = (0..2 * padding + 2).map(|j| (-c * (t - place(j)).powi(2)).exp()).collect();
            let total: f64 = weights.iter().sum();
            for weight in &mut weights {
                *weight /= total;
            }
            let mean: f64 = weights.iter().enumerate().map(|(j, weight)| weight * place(j)).sum();
            let away = |j: usize| (place(j) - mean).abs();
            let deviation: f64 = weights.iter().enumerate().map(|(j, weight)| weight * away(j)).sum();
            let cubes = weights.iter().enumerate().map(|(j, weight)| weight * away(j).powi(2) * (away(j) + deviation));
            third = third.max(cubes.sum());
            (weights, mean)
        };
        let weights = (0..density).map(at).collect();
        Self { c, padding, weights, third: 1.05 * third }
    }

    fn density(&self) -> usize {
        self.weights.len()
    }
}

/// One size at one temperature.
#[derive(Clone, Debug)]
struct Plan {
    mode: Mode,
    intervals: usize,
}

/// What the lattice shows of a plan.
struct Study {
    bound: Bound,
    rounding: Bound,
}

impl Activation {
    /// Name on the command line.
    pub const NAME: &str = "activation";

    /// Plans, then writes the weights.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn build(&self, request: Request) -> Result<Construction, Refusal> {
        self.check()?;
        let modes = self.mode.map_or(vec![Mode::Minimax, Mode::Smooth], |mode| vec![mode]);
        let kernels: Vec<(Mode, Kernel)> = modes.iter().map(|mode| (*mode, Kernel::new(*mode))).collect();
        let intervals: Vec<usize> = match self.intervals {
            Some(intervals) => vec![intervals],
            // Every number up to 32, then in steps of three per cent.
            None => {
                let next = |p: &usize| Some((p + p / 32).max(p + 1));
                std::iter::successors(Some(1), next).take_while(|p| *p <= MOST_INTERVALS).collect()
            }
        };
        let candidates = intervals.iter().flat_map(|p| modes.iter().map(|mode| Plan { mode: *mode, intervals: *p }));
        let of = |plan: &Plan| kernels.iter().find(|(mode, _)| *mode == plan.mode).map(|(_, kernel)| kernel);
        let cost = |plan: &Plan| {
            let study = of(plan).map(|kernel| self.study(plan, kernel));
            let error = study.map_or(f64::INFINITY, |study| study.bound.value + study.rounding.value);
            Cost { error, parameters: self.parameters(plan) }
        };
        let hint = "; a shorter interval has finer anchors";
        let plan = choose(request, candidates, cost, hint).map_err(|refusal| {
            // Modes are left to choose from.
            let refusal = if self.intervals.is_some() { refusal.at_given_size() } else { refusal };
            refusal.or_blame_function(
                "is not finite at some anchor whatever their number; they stand on up to 6 steps beyond either end as well",
            )
        })?;
        let kernel = Kernel::new(plan.mode);
        self.write(&plan, &kernel).in_float32("low")
    }

    fn check(&self) -> Result<(), Refusal> {
        let Self { low, high, .. } = *self;
        if self.seq_len == 0 {
            return Err(Refusal::invalid("seq-len", "must be at least 1"));
        }
        if !(low.is_finite() && high.is_finite() && low < high) {
            return Err(Refusal::invalid("low", format!("must be below high, but {low} is not below {high}")));
        }
        if !self.intervals.is_none_or(|p| (1..=MOST_INTERVALS).contains(&p)) {
            return Err(Refusal::invalid("intervals", format!("must be from 1 to {MOST_INTERVALS}")));
        }
        for (key, given) in [("lipschitz", self.lipschitz), ("curvature", self.curvature)] {
            if given.is_some_and(|value| !(value >= 0.0 && value.is_finite())) {
                return Err(Refusal::invalid(key, "must be a number from 0 on"));
            }
        }
        if self.function.kinks.iter().any(|kink| !kink.is_finite()) {
            return Err(Refusal::invalid("kinks", "hold something that is not a finite number"));
        }
        let lattice = (0..=256).map(|i| low + (high - low) * f64::from(i) / 256.0);
        if let Some(x) = lattice.into_iter().find(|x| !(self.function.function)(*x).is_finite()) {
            return Err(Refusal::invalid("function", format!("is no finite number at {x}")));
        }
        Ok(())
    }

    fn spacing(&self, intervals: usize) -> f64 {
        (self.high - self.low) / intervals as f64
    }

    /// An anchor near the middle, from which all are counted.
    fn centre(&self, intervals: usize) -> f64 {
        self.low + self.spacing(intervals) * (intervals / 2) as f64
    }

    /// Values from the first padded anchor to the last.
    fn values(&self, intervals: usize, padding: usize) -> Vec<f64> {
        let at = |j: usize| self.low + self.spacing(intervals) * (j as f64 - padding as f64);
        (0..=intervals + 2 * padding).map(|j| (self.function.function)(at(j))).collect()
    }

    fn parameters(&self, plan: &Plan) -> f64 {
        let padding = (6.0 / plan.mode.sharpness().sqrt()).ceil() as usize;
        cells::parameters(self.seq_len, 1, 1, plan.intervals + 2 * padding + 1, Attention::SelfAttention)
    }

    fn study(&self, plan: &Plan, kernel: &Kernel) -> Study {
        let Plan { intervals, .. } = *plan;
        let Kernel { c, padding, third, .. } = *kernel;
        let (spacing, density) = (self.spacing(intervals), kernel.density());
        let g = &self.function.function;
        let values = self.values(intervals, padding);
        let largest = values.iter().fold(0.0_f64, |top, v| top.max(v.abs()));
        let steepest = values.windows(2).fold(0.0_f64, |top, v| top.max((v[1] - v[0]).abs())) / spacing;
        let reach = (40.0 / c).sqrt() + 1.0;
        // Kinks first, then lattice point after lattice point.
        let kink_errors =
            self.function.kinks.iter().filter(|kink| (self.low..=self.high).contains(*kink)).map(|kink| {
                let u = (kink - self.low) / spacing;
                let cell = (u.floor() as usize).min(intervals - 1);
                let weights =
                    values[cell..].iter().take(2 * padding + 2).enumerate().map(|(j, value)| {
                        ((-c * (u - cell as f64 - (j as f64 - padding as f64)).powi(2)).exp(), value)
                    });
                let (sum, total) = weights.fold((0.0, 0.0), |(sum, total), (w, v)| (sum + w * v, total + w));
                (sum / total - g(*kink)).abs()
            });
        // What is not finite meets no tolerance.
        let finite = values.iter().all(|value| value.is_finite());
        let mut error = if finite { kink_errors.fold(0.0, f64::max) } else { f64::INFINITY };
        let (mut scores, mut slope, mut bend) = (0.0_f64, 0.0_f64, 0.0_f64);
        let at = |step: usize| self.low + spacing * (step as f64 / density as f64);
        let last = intervals * density;
        let (mut before, mut here) = (None, g(at(0)));
        for step in 0..=last {
            // The last point is the end of the last cell, where weights are those of a cell's start, one anchor on.
            let (cell, t) = (step / density, step % density);
            let (weights, mean) = &kernel.weights[t];
            let seen = &values[cell..(cell + 2 * padding + 2).min(values.len())];
            let h: f64 = weights.iter().zip(seen).map(|(w, v)| w * v).sum();
            let spread: f64 = weights.iter().zip(seen).map(|(w, v)| w * (v - h).abs()).sum();
            let covariance: f64 = weights
                .iter()
                .zip(seen)
                .enumerate()
                .map(|(j, (w, v))| w * (j as f64 - padding as f64 - mean) * (v - h))
                .sum();
            let miss = (h - here).abs();
            error = if miss.is_nan() { f64::INFINITY } else { error.max(miss) };
            slope = slope.max(2.0 * c * covariance.abs());
            let u = (step as f64 / density as f64 - (intervals / 2) as f64).abs();
            let key = u + reach;
            let noise = F32_ROUNDOFF * (c * (2.0 * u * key + key * key + f64::max(u * u, reach * reach)) + 16.0);
            scores = scores.max(moved(spread, noise));
            let next = if step < last { g(at(step + 1)) } else { here };
            if let Some(before) = before
                && step < last
            {
                let second: f64 = next - 2.0 * here + before;
                bend = bend.max(second.abs());
            }
            (before, here) = (Some(here), next);
        }
        let step = spacing / density as f64;
        // How far g strays from its chord over one step of the lattice.
        let by_slope = self.lipschitz.map(|l| l * step / 2.0);
        let by_curvature = self.curvature.map(|m| m * step * step / 8.0);
        let (stray, why, on) = match (by_slope, by_curvature) {
            (None, None) => (
                bend / 2.0,
                "half the largest second difference of g there (measured: it sees kinks, but nothing narrower)",
                Basis::Measured,
            ),
            (slope, curvature) => (
                slope.unwrap_or(f64::INFINITY).min(curvature.unwrap_or(f64::INFINITY)),
                "min(L s / 2, M s^2 / 8) as given",
                Basis::Given,
            ),
        };
        let own = steepest * spacing * c * c * third / (2.0 * (density as f64).powi(2));
        let bound = Bound::default()
            .and("on the lattice", format!("max |head - g| at {density} points per Delta and at kinks"), error)
            .and_on(on, "between its points, g", why, stray)
            .and("between its points, head", "max |V_k+1 - V_k| c^2 T(c) / (2 density^2), from sup |head''|", own);
        let size = self.low.abs().max(self.high.abs()) / spacing;
        let half = intervals.div_ceil(2) as f64;
        let shift = F32_ROUNDOFF * (3.0 * size + 2.0 * self.centre(intervals).abs() / spacing + 3.0 * half);
        let rounding = Bound::default()
            .and(
                "scores",
                "sup_u S(u) (exp(2 gamma(u)) - 1) / 2, gamma = eps (c (2 u k + k^2 + |u^2 - (u - k)^2|) + 16), u and k in units of Delta",
                1.05 * scores,
            )
            .and("input", "sup |head'| eps (3 |x| + 2 |m| + 3 |x - m|)", SLOPE_SAFETY * slope * shift)
            .and("values", "(2 keys felt + 8) eps max |V|", value_noise(felt(c), largest));
        Study { bound, rounding }
    }

    fn write(&self, plan: &Plan, kernel: &Kernel) -> Construction {
        let Study { bound, rounding } = self.study(plan, kernel);
        let Plan { mode, intervals } = *plan;
        let (c, padding) = (kernel.c, kernel.padding);
        let keys: Vec<f64> =
            (0..=intervals + 2 * padding).map(|j| j as f64 - padding as f64 - (intervals / 2) as f64).collect();
        let spacing = self.spacing(intervals);
        let cells = Cells {
            centre: vec![self.centre(intervals)],
            spacing,
            sharpness: c,
            slopes: keys.iter().map(|k| vec![2.0 * k]).collect(),
            offsets: keys.iter().map(|k| -k * k).collect(),
            values: self.values(intervals, padding).into_iter().map(|value| vec![value]).collect(),
            // The nearest anchor's score is −c/4 at least.
            nobody: -0.25 - 60.0 / c,
        };
        let g = self.function.function.clone();
        let network = cells.network(self.seq_len, Attention::SelfAttention);
        let rows = network.layers[0].rows() as f64;
        Construction {
            name: Self::NAME,
            target: Target {
                text: format!("y_i = {} of every number", self.function.text),
                function: Arc::new(move |x| x.iter().map(|x| g(*x)).collect()),
            },
            domain: Domain::cube(self.seq_len, self.low, self.high),
            network,
            scored: None,
            sizes: vec![
                ("p".to_owned(), intervals as f64),
                ("padding".to_owned(), padding as f64),
                ("rows".to_owned(), rows),
            ],
            temperature: Temperature { beta: c / spacing.powi(2), reason: mode.reason().to_owned() },
            bound,
            rounding,
            hard: self.hard(intervals),
        }
    }

    /// Kinks, both ends, and all of a cell wherever there are not too many of them.
    fn hard(&self, intervals: usize) -> Vec<(&'static str, Vec<Vec<f64>>)> {
        let spacing = self.spacing(intervals);
        let around = |at: f64| (-4..=4).map(move |i| at + 0.25 * f64::from(i) * spacing);
        let kinks: Vec<f64> = self.function.kinks.iter().copied().flat_map(around).collect();
        let stride = intervals.div_ceil(512);
        let cells = (0..intervals).step_by(stride);
        let ties: Vec<f64> =
            cells.flat_map(|k| (0..4).map(move |t| self.low + spacing * (k as f64 + 0.25 * f64::from(t)))).collect();
        let ends: Vec<f64> = [self.low, self.high].into_iter().flat_map(around).collect();
        let kinds = [("kinks", kinks), ("ends", ends), ("ties", ties)].map(|(kind, values)| {
            let inside = values.into_iter().filter(|x| (self.low..=self.high).contains(x)).map(|x| vec![x]);
            (kind, sequences(&inside.collect::<Vec<_>>(), self.seq_len))
        });
        kinds.into_iter().filter(|(_, points)| !points.is_empty()).collect()
    }
}
