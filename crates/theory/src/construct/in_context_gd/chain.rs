//! The error of E1 as a chain of inequalities: what is known of every iterate, the error of each step, what later steps leave of it, and what
//! float32 adds. The formulas are those of `linear.rs`, `iterates.rs`, `slopes.rs` and `threshold.rs`.

use headway_tasks::baseline::gradient_descent::ExampleLoss;

use super::{
    InContextGd,
    parts::Parts,
    power,
    slopes::{Means, Slopes},
    steps, threshold,
};
use crate::{
    bound::Bound,
    cells::{felt, value_noise},
    construct::formula::SHARPNESS,
    interpolation::F32_ROUNDOFF,
    places::GAP,
    prove::chain::{Chain, Steps},
};

/// What is known before the first step; claimed.
struct Known {
    /// Layers of all steps.
    layers: f64,
    label: f64,
    /// √d x.
    far: f64,
    root_d: f64,
    coarse: f64,
    delta: f64,
    coarse_readout: f64,
    readout: f64,
    weight: f64,
    /// Root mean square of slopes.
    mean: f64,
    /// The largest slope of every step.
    largest: Vec<f64>,
    gains: Vec<f64>,
    /// qˢ.
    left: Vec<f64>,
}

/// Two gates; claimed.
#[derive(Clone, Copy, Default)]
struct Gates {
    /// 1/β.
    blunt: f64,
    error: f64,
}

impl Gates {
    fn noise(self, rows: usize) -> f64 {
        threshold::noise(rows) * self.blunt
    }

    /// Above every number of a gate.
    fn most(self) -> f64 {
        threshold::SHARPEST * self.blunt
    }
}

/// What slopes of another loss than squares are off by; claimed.
struct Sloped {
    /// 1/δ'' and δ'' of predictions.
    coarse: f64,
    scale: f64,
    /// sup |slope'|.
    steep: f64,
    /// How far a slope is off, for an exact prediction.
    error: f64,
    own: Own,
    /// Largest number of a row, and further rows.
    largest: f64,
    anchors: usize,
}

enum Own {
    Gates(Gates),
    /// What noise of scores moves, in units of ε, and Σ P |V|.
    Anchors([f64; 2]),
}

impl Sloped {
    /// The term that float32 adds to a slope of its own, with its formula, for predictions up to z.
    fn rounding(&self, gd: &InContextGd, label: f64, z: f64) -> (&'static str, f64) {
        let eps = F32_ROUNDOFF;
        match &self.own {
            Own::Gates(gates) => (
                "k eta d x^2 (2.002 eps (720 rows^2 + 16) / beta + 20 eps (sqrt(d) x W + y + kappa))",
                gates.noise(steps::rows(gd)) + 20.0 * eps * (z + label + gd.slope_limit()),
            ),
            Own::Anchors([noise, mass]) => (
                "k eta d x^2 eps (1.001 (noise of the head) + 34 (mass of the head) + 3 s sqrt(d) x W + 4 (1 + y))",
                1.001 * eps * noise
                    + value_noise(felt(SHARPNESS), *mass)
                    + self.steep * 3.0 * eps * z
                    + 8.0 * eps * f64::midpoint(1.0, label),
            ),
        }
    }
}

/// Errors of the last state; claimed.
struct Drift {
    linear: f64,
    predictions: f64,
    slopes: f64,
    threshold: f64,
    total: f64,
    largest: f64,
}

/// The chain for scales δ and δ' of scores, with the bounds on error and rounding whose terms it claims.
pub(super) fn chain(gd: &InContextGd, parts: &Parts, scales: [f64; 2], [bound, rounding]: [Bound; 2]) -> Chain {
    let mut steps = Steps::default();
    let known = known(gd, scales, parts.depth(), &mut steps);
    let gate =
        if parts.has_gates() { steps.follows("gate", "sup over t of t / (1 + exp t)", threshold::GATE) } else { 0.0 };
    let sloped = parts.slopes.as_ref().map(|of| sloped(of, gate, &mut steps));
    let soft = parts.threshold.map(|of| {
        let blunt = steps.stands("1/beta", "of the gates of the soft threshold", 1.0 / of.beta);
        let error = steps.follows("S", "sqrt(d) 2 (gate) / beta", known.root_d * 2.0 * gate * blunt);
        Gates { blunt, error }
    });
    let drift = drift(gd, &known, (sloped.as_ref(), soft), &mut steps);
    let errors = errors(gd, &known, (sloped.as_ref(), soft), &drift, &mut steps);
    let roundings = roundings(gd, &known, (sloped.as_ref(), soft), &drift, &mut steps);
    steps.end(bound.with_values(&errors), rounding.with_values(&roundings))
}

fn known(gd: &InContextGd, [delta, readout]: [f64; 2], depth: usize, steps: &mut Steps) -> Known {
    let (d, n, is_linear) = (gd.d as f64, gd.points as f64, gd.is_linear());
    let label = steps.follows("y", "30 times the noise of the task's labels", gd.y_max);
    let far = steps.follows("sqrt(d) x", "above the length of any input", gd.input_norm());
    let root_d = steps.follows("sqrt(d)", "", d.sqrt());
    let root_n = steps.follows("sqrt(N)", "", n.sqrt());
    let coarse = steps.stands("1/delta", "", 1.0 / delta);
    let delta = steps.stands("delta", "scale of scores of a step, off its query and its output", delta);
    let coarse_readout = steps.stands("1/delta'", "", 1.0 / readout);
    let readout = steps.stands("delta'", "scale of scores of the readout", readout);
    // What is claimed of labels and inputs is above what they are; no formula grows faster than their product, or the square of labels.
    let up = (label / gd.y_max) * (far / gd.input_norm());
    if !is_linear {
        steps.follows("F(0)", "the loss of the largest label at w = 0", gd.start() * up);
    }
    let mut mean = label;
    if matches!(gd.loss, ExampleLoss::Huber { .. }) {
        mean = steps.follows("mean slope", "one of kappa, sqrt(2 F(0))", gd.mean_slope() * up);
    }
    let says = if is_linear {
        "one of eta k sqrt(d) x y, (1 or sqrt(2)) sqrt(eta k) y, y / sqrt(ridge)"
    } else {
        "one of eta k sqrt(d) x (mean slope, (1 + y) / 2 of the logistic loss), sqrt(2 eta k F(0) / min(1, 2 - eta L)), sqrt(2 F(0) / ridge), F(0) / lasso"
    };
    let weight = steps.follows("|w|", says, gd.weight_norm() * up * up);
    if gd.loss == ExampleLoss::Logistic {
        let value = label / 2.0 + (far * weight / 4.0).min(0.5);
        mean = steps.follows("mean slope", "y / 2 + min(1/2, sqrt(d) x |w| / 4)", value);
    }
    let plain = gd.descent().is_plain();
    let (mut largest, mut gains, mut left) = (Vec::new(), Vec::new(), Vec::new());
    if is_linear {
        for t in 0..gd.steps {
            let (says, value) = if plain {
                (
                    "((1 + l) / 2 + (1 - l) / 2 sqrt(N)) y, l = min (1 - eta h)^t",
                    gd.largest_residual(t) * up * (root_n / n.sqrt()),
                )
            } else {
                ("min(sqrt(N) y, sqrt(d) x |w| + y)", (root_n * label).min(far * weight + label))
            };
            largest.push(steps.follows(format!("residual {t}"), says, value));
        }
        for s in 0..gd.steps {
            gains.push(steps.follows(
                format!("gain {s}"),
                "max over h of eta sqrt(h) |1 - eta (h + ridge)|^s",
                gd.gain(s),
            ));
        }
    } else {
        let (says, value) = if gd.loss == ExampleLoss::Logistic {
            ("(mean slope)", mean)
        } else {
            let value = (root_n * mean).min(far * weight + label).min(gd.slope_limit());
            ("one of kappa, sqrt(N) (mean slope), sqrt(d) x |w| + y", value)
        };
        largest = vec![steps.follows("largest slope", says, value); gd.steps];
        let q = steps.follows("q", "max(|1 - eta ridge|, |1 - eta L|)", gd.contraction());
        left = (0..gd.steps).map(|s| power(q, s)).collect();
        gains = left.iter().map(|left| gd.rate * far * left).collect();
    }
    let layers = (gd.steps * depth) as f64;
    Known { layers, label, far, root_d, coarse, delta, coarse_readout, readout, weight, mean, largest, gains, left }
}

fn sloped(of: &Slopes, gate: f64, steps: &mut Steps) -> Sloped {
    let coarse = steps.stands("1/delta''", "", 1.0 / of.scale);
    let scale = steps.stands("delta''", "scale of scores of predictions", of.scale);
    let (steep, error, own, largest);
    match &of.means {
        Means::Huber(gates) => {
            let blunt = steps.stands("1/beta of slopes", "of the gates of slopes", 1.0 / gates.beta);
            error = steps.follows("slope of the loss", "2 (gate) / beta", 2.0 * gate * blunt);
            let gates = Gates { blunt, error };
            (steep, own, largest) = (of.steepness(), Own::Gates(gates), gates.most());
        }
        Means::Logistic(head) => {
            let says = "s, the largest of 1/4 and of what the head for tanh changes with z, over boxes";
            steep = steps.studied("slope of the head", says, of.steepness());
            // Values and the factor of z are rounded to float32.
            let rounded = F32_ROUNDOFF * (head.mass + 1.0);
            let says = "sup |head - tanh(z / 2) / 2| over boxes";
            error = steps.studied("slope of the loss", says, of.error() + rounded);
            let says = "sup sum P |V - head| (|u k| + |u^2 - (u - k)^2| / 2 + 5/2 (u - k)^2 + 10) over boxes";
            let noise = steps.studied("noise of the head", says, head.noise / 2.0);
            let mass = steps.studied("mass of the head", "sup sum P |V| over boxes", head.mass / 2.0);
            (own, largest) = (Own::Anchors([noise, mass]), of.largest() * (1.0 + 2.0 * F32_ROUNDOFF));
        }
    }
    Sloped { coarse, scale, steep, error, own, largest, anchors: of.anchors() }
}

/// Step by step, E_t and what it is made of.
fn drift(
    gd: &InContextGd,
    known: &Known,
    (sloped, soft): (Option<&Sloped>, Option<Gates>),
    steps: &mut Steps,
) -> Drift {
    let &Known { far, delta, weight, ref gains, ref left, .. } = known;
    let after = |each: &[f64]| each.iter().rev().zip(gains).map(|(error, gain)| error * gain).sum::<f64>();
    let off = sloped.map_or(0.0, |of| of.error);
    let (mut errors, mut predictions) = (Vec::new(), Vec::new());
    let mut drift = Drift { linear: 0.0, predictions: 0.0, slopes: 0.0, threshold: 0.0, total: 0.0, largest: 0.0 };
    for t in 0..gd.steps {
        let mut of_prediction = 0.0;
        if let Some(sloped) = sloped {
            let says = format!("s delta''^4 (sqrt(d) x (|w| + drift {t}))^5 / 180, s = sup |slope'|");
            let value = sloped.steep * sloped.scale.powi(4) * (far * (weight + drift.total)).powi(5) / 180.0;
            of_prediction = steps.follows(format!("prediction {t}"), says, value);
        }
        let actual =
            |exact: f64| (exact + gd.loss.bend() * far * drift.total).min(gd.slope_limit()) + of_prediction + off;
        let (largest, mean) = (actual(known.largest[t]), actual(known.mean));
        let curve = (largest.powi(2) / 6.0).max(mean.powi(2) / 2.0);
        let says = if sloped.is_some() {
            format!(
                "R delta^2 max(M^2 / 6, R^2 / 2) cosh(delta M), M and R = min(l, (largest or mean slope) + b sqrt(d) x (drift {t})) + (prediction {t}) + (slope of the loss), \
                 l = kappa, b = 1 or l = (1 + y) / 2, b = 1/4"
            )
        } else {
            let of = if gd.is_linear() { format!("residual {t}") } else { "largest slope".to_owned() };
            format!(
                "R delta^2 max(M^2 / 6, R^2 / 2) cosh(delta M), M = ({of}) + sqrt(d) x (drift {t}), R = y + sqrt(d) x (drift {t})"
            )
        };
        errors.push(steps.follows(format!("step {t}"), says, mean * delta.powi(2) * curve * (delta * largest).cosh()));
        predictions.push(of_prediction);
        let through: f64 = gains[..=t].iter().sum();
        drift = Drift {
            linear: after(&errors),
            predictions: after(&predictions),
            slopes: off * through,
            threshold: soft.map_or(0.0, |soft| soft.error * left[..=t].iter().sum::<f64>()),
            total: 0.0,
            largest: drift.largest.max(largest),
        };
        let says = if gd.is_linear() {
            "sum over s of (step t - s) (gain s)"
        } else {
            "sum over s of ((step t - s) + (prediction t - s) + (slope of the loss)) eta sqrt(d) x q^s + S q^s"
        };
        let total = drift.linear + drift.predictions + drift.slopes + drift.threshold;
        drift.total = steps.follows(format!("drift {}", t + 1), says, total);
    }
    drift
}

/// The terms of the bound.
fn errors(
    gd: &InContextGd,
    known: &Known,
    (sloped, soft): (Option<&Sloped>, Option<Gates>),
    drift: &Drift,
    steps: &mut Steps,
) -> Vec<f64> {
    let &Known { layers, label, far, root_d, coarse, delta, readout, weight, .. } = known;
    let (k, w) = (gd.steps as f64, weight + drift.total);
    let rows = steps::rows(gd) + sloped.map_or(0, |of| of.anchors);
    let says = if gd.is_linear() {
        "sqrt(d) x (drift k)"
    } else {
        "sqrt(d) x sum over s of (step k - 1 - s) eta sqrt(d) x q^s"
    };
    let mut terms = vec![steps.follows("softmax is not quite linear", says, far * drift.linear)];
    if sloped.is_some() {
        let says = "sqrt(d) x sum over s of (prediction k - 1 - s) eta sqrt(d) x q^s";
        terms.push(steps.follows("predictions of examples", says, far * drift.predictions));
        let says = "sqrt(d) x (slope of the loss) sum over s of eta sqrt(d) x q^s";
        terms.push(steps.follows("slopes of the loss", says, far * drift.slopes));
    }
    if soft.is_some() {
        terms.push(steps.follows("soft threshold", "sqrt(d) x S sum over s of q^s", far * drift.threshold));
    }
    let says = "delta'^4 (sqrt(d) x (|w| + drift k))^5 / 180";
    terms.push(steps.follows("readout", says, readout.powi(4) * (far * w).powi(5) / 180.0));
    let gates = [sloped.map_or(0.0, |of| of.largest), soft.map_or(0.0, Gates::most)];
    let largest = gates.into_iter().fold(gd.x_max.max(label).max(w), f64::max);
    let through = sloped.map_or(1.0, |of| (1.0 + 3.0 * of.coarse) * (1.0 + of.steep));
    let shift = (layers + 1.0) * 2.0 * rows as f64 * (-GAP).exp() * largest;
    let gain = 1.0 + 2.0 * delta * gd.x_max * (root_d * w + 1.0);
    let step = gd.rate * coarse * root_d * (gain + 1.0) * 2.0 + 1.0;
    let says = "(sqrt(d) x k (2 eta / delta sqrt(d) (g + 1) + 1) p + sqrt(d) W) 2 (layers - 1) rows exp(-60) B, W = |w| + drift k, \
                g = 1 + 2 delta x (sqrt(d) W + 1), B = max(x, y, W, 4e6 / beta of gates, and |V| and intervals of anchors), p = (1 + 3 / delta'') (1 + s) or 1 for squares";
    terms.push(steps.follows("rows attended to by mistake", says, (far * k * step * through + root_d * w) * shift));
    terms
}

/// The terms of the rounding.
fn roundings(
    gd: &InContextGd,
    known: &Known,
    (sloped, soft): (Option<&Sloped>, Option<Gates>),
    drift: &Drift,
    steps: &mut Steps,
) -> Vec<f64> {
    let &Known { layers, label, far, root_d, coarse, coarse_readout, weight, .. } = known;
    let (k, d, n, rows, eps) = (gd.steps as f64, gd.d as f64, gd.points as f64, steps::rows(gd), F32_ROUNDOFF);
    let reach = far * (weight + drift.total);
    let each = k * gd.rate * gd.curvature();
    let says = "k eta d x^2 (N / 2 + 10) eps / delta";
    let mut terms = vec![steps.follows("mean of mirrored inputs", says, each * eps * (n / 2.0 + 10.0) * coarse)];
    let mut largest = drift.largest;
    if !gd.is_linear() {
        largest = steps.follows("M", "the largest M of any step", largest);
    }
    if let Some(sloped) = sloped {
        terms.push(steps.follows("scores", "k eta d x^2 14 eps M", each * eps * 14.0 * largest));
        let says = "k eta d x^2 s (12 eps / delta'' + (d + 12) eps sqrt(d) x W)";
        let prediction = sloped.steep * (12.0 * eps * sloped.coarse + (d + 12.0) * eps * reach);
        terms.push(steps.follows("rounding of predictions", says, each * prediction));
        let (says, own) = sloped.rounding(gd, label, reach);
        terms.push(steps.follows("rounding of slopes", says, each * own));
    } else {
        let says = "k eta d x^2 (d + 12) eps (sqrt(d) x W + y)";
        terms.push(steps.follows("scores", says, each * eps * (d + 12.0) * (reach + label)));
    }
    if layers > k {
        let says = "k eta d x^2 4 (layers - 2 - k) eps (sqrt(d) x W + y + M)";
        let carried = each * 4.0 * (layers - k) * eps * (reach + label + largest);
        terms.push(steps.follows("carried examples", says, carried));
    }
    if let Some(soft) = soft {
        let says = "k d x (2.002 eps (720 rows^2 + 16) + 10 eps 4e6) / beta";
        let own = soft.noise(rows) + 10.0 * eps * soft.most();
        terms.push(steps.follows("rounding of the soft threshold", says, k * far * root_d * own));
    }
    let factors = if gd.ridge > 0.0 || layers > k { k } else { 0.0 };
    let says = "(4 (layers - 2) + d + 8, and k more with a ridge or several layers a step) eps sqrt(d) x W";
    terms.push(steps.follows("state", says, (4.0 * layers + factors + d + 8.0) * eps * reach));
    terms.push(steps.follows("rounding of the readout", "12 eps / delta'", 12.0 * eps * coarse_readout));
    terms
}
