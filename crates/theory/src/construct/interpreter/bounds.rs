//! What the network is off by when it executes an algorithm.
//!
//! The exact iteration is known well (`in_context_gd/iterates.rs`): w stays within W, slopes within their bounds, and a step makes no distance
//! larger, by a factor q ≤ 1 even smaller. So errors of steps add up. With slopes in units of ℓ', of which Φ is η times:
//!
//! - *tables*: Φ, Ψ and Ω as the prompt holds them, `lookups.rs`. A w that is off by ε_Ψ in every coordinate, from where steps start that are off by
//!   ε_Ω, has an error of √d (2 ε_Ψ + ε_Ω) per step.
//! - *predictions*: z off by δ'⁴ |z|⁵/180, and so slopes by sup |ℓ''| times that.
//! - *mean*: (8 sinh a − sinh 2a)/6 = a + a⁵/30 + … for a = δ η ℓ', off by |a|⁵ cosh(2a)/30 at most, of which the root mean square counts.
//! - *empty row*: the denominators K + Σ e^a are told apart by N e^(2a)/K at most.

use headway_tasks::icl::algorithm::{Algorithm, AlgorithmsConfig};

use super::{layers::NULL, lookups::Lookup};
use crate::{
    bound::Bound,
    construct::in_context_gd::{InContextGd, power, readout},
    interpolation::F32_ROUNDOFF,
    places::GAP,
};

/// sup |σ''| of the logistic function σ, 1/(6 √3).
const LOGISTIC_BEND: f64 = 0.096_226;
/// Roundings of 1 in a prediction: two weights of a fifth, each with ten of its own, times three.
const READ: f64 = 16.0;
/// Roundings of a mean beside those of its sum: sixteen of a score beside 24, the exponential, the division, four heads.
const MEAN: f64 = 48.0;

/// One algorithm: what is known of its iterates, and of its tables.
#[derive(Clone, Debug)]
pub(super) struct Executed {
    pub algorithm: Algorithm,
    pub gd: InContextGd,
    slopes: Lookup,
    /// Ψ and Ω.
    steps: [Lookup; 2],
}

/// Errors of the last w, by what they come from.
#[derive(Clone, Copy, Debug, Default)]
struct Drift {
    slopes: f64,
    predictions: f64,
    mean: f64,
    steps: f64,
    /// δ η ℓ' at most.
    score: f64,
}

impl Drift {
    fn total(&self) -> f64 {
        self.slopes + self.predictions + self.mean + self.steps
    }
}

impl Executed {
    pub fn of(config: &AlgorithmsConfig, algorithm: Algorithm, [x_max, y_max]: [f64; 2]) -> Self {
        let rule = config.rule(algorithm);
        let gd = InContextGd {
            points: config.n_points,
            d: config.d,
            steps: rule.steps,
            rate: rule.rate,
            loss: rule.loss,
            ridge: rule.ridge,
            lasso: rule.lasso,
            x_max,
            y_max,
            ..InContextGd::default()
        };
        let [slopes, values, seconds] = config.tables(algorithm);
        let of_slopes = match algorithm {
            Algorithm::Gd | Algorithm::Ridge | Algorithm::Lasso => {
                Lookup::of_smooth(&slopes.values, &slopes, |u| rule.rate * u, 0.0)
            }
            Algorithm::Huber => Lookup::of_clamp(&slopes, config.threshold, rule.rate),
            Algorithm::Logistic | Algorithm::SparseLogistic => Lookup::of_smooth(
                &slopes.values,
                &slopes,
                |u| rule.rate * (u / 2.0).tanh() / 2.0,
                rule.rate * LOGISTIC_BEND,
            ),
        };
        let steps = if rule.lasso > 0.0 {
            [Lookup::of_clamp(&values, rule.rate * rule.lasso, 1.0); 2]
        } else if rule.ridge > 0.0 {
            let decay = Lookup::of_smooth(&seconds.values, &seconds, |v| rule.rate * rule.ridge * v, 0.0);
            [Lookup::of_nothing(), decay]
        } else {
            [Lookup::of_nothing(); 2]
        };
        Self { algorithm, gd, slopes: of_slopes, steps }
    }

    /// Upper bound on |w · x| of the exact iteration.
    pub fn prediction(&self) -> f64 {
        self.gd.input_norm() * self.gd.weight_norm()
    }

    /// Upper bound on what the exact iteration looks up in smooth tables: w · x − y, and v where there is a ridge.
    pub fn reach(&self) -> f64 {
        let gd = &self.gd;
        let v = gd.weight_norm() + gd.rate * gd.input_norm() * gd.mean_slope();
        (self.prediction() + gd.y_max).max(if gd.ridge > 0.0 { v } else { 0.0 })
    }

    fn drift(&self, [delta, read]: [f64; 2]) -> Drift {
        let gd = &self.gd;
        let (far, bend, root) = (gd.input_norm(), gd.loss.bend(), (gd.d as f64).sqrt());
        let gains: Vec<f64> = (0..gd.steps).map(|s| gd.gain(s)).collect();
        let left: Vec<f64> = (0..gd.steps).map(|s| power(gd.contraction(), s)).collect();
        let [values, seconds] = &self.steps;
        let of_step = root * (2.0 * values.error + seconds.error);
        let of_slope = self.slopes.error / gd.rate;
        let (mut slopes, mut predictions, mut mean_of) = (Vec::new(), Vec::new(), Vec::new());
        let (mut apart, mut drift) = (0.0_f64, Drift::default());
        for t in 0..gd.steps {
            let e = drift.total();
            let z = far * (gd.weight_norm() + e);
            let of_z = readout::error(read, z);
            let of_prediction = bend * of_z;
            let actual = |exact: f64| (exact + bend * far * e).min(gd.slope_limit()) + of_prediction + of_slope;
            let (largest, mean) = (actual(gd.largest_slope(t)), actual(gd.mean_slope()));
            let score = delta * gd.rate * largest;
            let of_mean = mean * score.powi(4) / 30.0 * (2.0 * score).cosh();
            // Arguments must be within what tables were made for.
            let moved = gd.weight_norm() + e + gd.rate * far * (mean + of_mean);
            let within = z + of_z + gd.y_max <= self.slopes.reach && moved <= seconds.reach.min(values.reach);
            apart = apart.max(if within {
                1.5 / delta * gd.x_max * root * gd.points as f64 * (4.0 * score - NULL).exp()
            } else {
                f64::INFINITY
            });
            slopes.push(of_slope);
            predictions.push(of_prediction);
            mean_of.push(of_mean);
            let after = |each: &[f64]| each.iter().rev().zip(&gains).map(|(v, gain)| v * gain).sum::<f64>();
            let so_far = left[..=t].iter().sum::<f64>();
            drift = Drift {
                slopes: after(&slopes),
                predictions: after(&predictions),
                mean: after(&mean_of) + apart * so_far,
                steps: of_step * so_far,
                score: drift.score.max(score),
            };
        }
        drift
    }

    /// The bound in exact arithmetic, in a network with so many rows.
    pub fn bound(&self, scales: [f64; 2], rows: usize) -> Bound {
        let (drift, far) = (self.drift(scales), self.gd.input_norm());
        let named = |what: &str| format!("{}, {what}", self.algorithm.name());
        Bound::default()
            .and(&named("table of slopes"), "sqrt(d) x sum_s g_s sup |table - rate slope| / rate", far * drift.slopes)
            .and(
                &named("predictions of examples"),
                "sqrt(d) x sum_s g_s sup |slope'| delta'^4 |z|^5 / 180",
                far * drift.predictions,
            )
            .and(
                &named("softmax is not quite linear"),
                "sqrt(d) x sum_s (g_s |l'| a^4 cosh(2a) / 30 + q^s sqrt(d) 1.5 x N e^(4a - 24) / delta), a = delta rate |l'|",
                far * drift.mean,
            )
            .and(&named("tables of steps"), "sqrt(d) x sum_s q^s sqrt(d) (2 sup |.| + sup |.|)", far * drift.steps)
            .and(
                "readout",
                "delta'^4 (sqrt(d) x (|w| + E_k))^5 / 180",
                readout::error(scales[1], far * self.weight(&drift)),
            )
            .and("rows attended to by mistake", "see `leak`", self.leak(scales, rows))
            .without_nothing()
    }

    fn weight(&self, drift: &Drift) -> f64 {
        self.gd.weight_norm() + drift.total()
    }

    /// Every number that is carried through a layer is off by ζ = 2 T e⁻⁶⁰ B at most, B being the largest of any row, a key. A prediction multiplies that
    /// by 3/δ', a mean by 6/δ, and an argument of a table meets it in keys.
    fn leak(&self, [delta, read]: [f64; 2], rows: usize) -> f64 {
        let gd = &self.gd;
        let steepest = self.steps.iter().chain([&self.slopes]).fold(0.0, |top: f64, of| top.max(of.slope));
        // A key is 2c/Δ times half the number of intervals, and c at most 2.75.
        let largest = 5.5 * rows as f64 * (1.0 + self.steepest_key()) * (1.0 + self.reach());
        let shift = (4 * gd.steps + 1) as f64 * 2.0 * rows as f64 * (-GAP).exp() * largest;
        let gain = (1.0 + 3.0 / read) * (1.0 + 6.0 / delta) * (1.0 + steepest) * (1.0 + self.reach());
        gd.input_norm() * gd.steps as f64 * (gd.d as f64).sqrt() * gain * shift
    }

    /// 1/Δ of the finest table.
    fn steepest_key(&self) -> f64 {
        let finest = |end: f64| if end > 0.0 { 128.0 / end } else { 0.0 };
        finest(self.gd.rate * self.gd.lasso).max(finest(self.slopes.largest / self.gd.rate)).max(256.0)
    }

    /// What float32 adds, whatever the order of sums. What is carried is exact: the weight of a row's own place is 1, and others are below e⁻⁵⁸.
    pub fn rounding(&self, scales: [f64; 2]) -> Bound {
        let ([delta, read], gd, eps) = (scales, &self.gd, F32_ROUNDOFF);
        let drift = self.drift(scales);
        let (k, d, n, far, root) =
            (gd.steps as f64, gd.d as f64, gd.points as f64, gd.input_norm(), (gd.d as f64).sqrt());
        let weight = self.weight(&drift);
        let z = far * weight;
        let argument = z + gd.y_max;
        let mean = 1.5 * (n + MEAN) * eps / delta * (2.0 * drift.score).exp();
        let prediction = READ * eps / read + (d + 12.0) * eps * z + 3.0 * eps * argument;
        let slope = self.slopes.noise + 6.0 * eps * (self.slopes.largest + gd.rate * gd.y_max);
        let step = |of: &Lookup| of.noise + of.slope * 3.0 * eps * weight + 4.0 * eps * of.largest;
        let [values, seconds] = &self.steps;
        let steps = 2.0 * step(values) + step(seconds);
        let each = k * gd.curvature();
        let named = |what: &str| format!("{}, {what}", self.algorithm.name());
        Bound::default()
            .and(&named("mean over examples"), "k d x^2 1.5 (N + 48) eps e^(2a) / delta", each * mean)
            .and(
                &named("predictions of examples"),
                "k d x^2 sup |table'| (16 eps / delta' + (d + 12) eps |z| + 3 eps (|z| + y))",
                each * self.slopes.slope * prediction,
            )
            .and(&named("table of slopes"), "k d x^2 what scores and values are off by", each * slope)
            .and(&named("tables of steps"), "k d x what scores and values are off by", k * far * root * steps)
            .and("state", "(20 k + d + 12) eps sqrt(d) x |w|", (20.0 * k + d + 12.0) * eps * z)
            .and("readout", "16 eps / delta'", READ * eps / read)
            .without_nothing()
    }

    /// Bound and rounding together; infinite if there is none.
    pub fn error(&self, scales: [f64; 2], rows: usize) -> f64 {
        let error = self.bound(scales, rows).value + self.rounding(scales).value;
        if error.is_nan() { f64::INFINITY } else { error }
    }
}
