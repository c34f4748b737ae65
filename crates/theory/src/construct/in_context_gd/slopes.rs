//! Slopes ℓ'(w · x_i, y_i) of losses other than squares, put into a column of each example, by two layers.
//!
//! - *Predictions.* Every row [reads the state](super::readout), as the query does at the end: z = w · x. Mirrored examples get −z.
//! - *Slopes.* Huber's is r − S(r) for r = z − y, S the [soft threshold](super::threshold). The logistic one is tanh(z/2)/2 − y/2, with a head over
//!   anchors for the hyperbolic tangent. Both are odd, so that mirrored examples get what cancels their share.
//!
//! The head of the step then has scores ±δ ℓ' instead of δ (w · x − y).

use std::rc::Rc;

use headway_plain::network::{Head as Attention, InputMap};
use headway_tasks::{Interval, baseline::gradient_descent::ExampleLoss, expression::FUNCTIONS};

use super::{
    InContextGd,
    readout::{self, predicted},
    threshold::{GATES, SoftThreshold, mark_from_one},
};
use crate::{
    bound::Bound,
    cells::{felt, value_noise},
    construct::formula::{Curve, Head, KEY, NOBODY, Rule, SHARPNESS},
    interpolation::F32_ROUNDOFF,
    network::Layer,
    places::{carrying, keeping, layer_size, mark_apart},
    space::Space,
};

/// Aim for the error of the hyperbolic tangent, below what float32 adds to a step.
const AIM: f64 = 1e-6;
/// Numbers of intervals on its range that are tried.
const INTERVALS: [usize; 15] = [4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512];
/// Anchors and gates are made for predictions this much larger than those of the exact iteration, since w has an error.
const MARGIN: f64 = 1.25;

/// How slopes are computed.
#[derive(Clone, Debug)]
pub(super) struct Slopes {
    /// δ', the scale of scores of predictions.
    pub scale: f64,
    /// Predictions lie within ± this.
    pub reach: f64,
    pub means: Means,
}

#[derive(Clone, Debug)]
pub(super) enum Means {
    /// By two gates.
    Huber(SoftThreshold),
    /// By a head over anchors.
    Logistic(Rc<Head>),
}

impl Slopes {
    /// Those of a loss; `None` for squares, whose slopes are scores already.
    pub fn of(gd: &InContextGd) -> Option<Self> {
        let reach = MARGIN * gd.input_norm() * gd.weight_norm();
        let means = match gd.loss {
            ExampleLoss::Squared => return None,
            ExampleLoss::Huber { threshold } => Means::Huber(SoftThreshold::new(threshold, reach + gd.y_max)),
            ExampleLoss::Logistic => Means::Logistic(Rc::new(hyperbolic_tangent(reach / 2.0))),
        };
        Some(Self { scale: readout::scale(gd.input_norm() * gd.weight_norm()), reach, means })
    }

    /// How far a prediction z is off.
    pub fn of_prediction(&self, z: f64) -> f64 {
        readout::error(self.scale, z)
    }

    /// How far a slope is off, for an exact prediction.
    pub fn error(&self) -> f64 {
        match &self.means {
            Means::Huber(of) => of.error(),
            Means::Logistic(head) => head.error / 2.0,
        }
    }

    /// How much of an error of a prediction reaches its slope.
    pub fn steepness(&self) -> f64 {
        match &self.means {
            // (v σ(β v))' lies between −0.1 and 1.1. One of the two gates is flat, unless β τ is small.
            Means::Huber(of) if of.beta * of.threshold < 20.0 => 1.2,
            Means::Huber(_) => 1.1,
            Means::Logistic(head) => (0.25 * head.slope * head.intervals as f64 / self.reach).max(0.25),
        }
    }

    /// Largest number of a row besides those of the prompt.
    pub fn largest(&self) -> f64 {
        match &self.means {
            Means::Huber(of) => of.reach + of.threshold,
            Means::Logistic(head) => head.values.iter().fold(head.intervals as f64, |top, value| top.max(value.abs())),
        }
    }

    /// Rows with anchors; 0 without.
    pub fn anchors(&self) -> usize {
        match &self.means {
            Means::Huber(_) => 0,
            Means::Logistic(head) => head.values.len(),
        }
    }

    /// Whether rows must be few enough for gates.
    pub fn has_gates(&self) -> bool {
        matches!(self.means, Means::Huber(_))
    }

    /// What float32 adds to a slope: by its prediction, and by itself; `z` bounds predictions.
    pub fn rounding(&self, gd: &InContextGd, rows: usize, z: f64) -> [f64; 2] {
        let (d, eps) = (gd.d as f64, F32_ROUNDOFF);
        let prediction = readout::ROUNDINGS * eps / self.scale + (d + 12.0) * eps * z;
        let own = match &self.means {
            // 6 of r that is carried; 3 of v, 4 of the gate that is open, 6 of their sum.
            Means::Huber(of) => of.noise(rows) + 20.0 * eps * (z + gd.y_max + of.threshold),
            Means::Logistic(head) => {
                // The thousandth allows for weights that are off themselves.
                let of_head = 1.001 * eps * head.noise + value_noise(felt(SHARPNESS), head.mass);
                of_head / 2.0 + self.steepness() * 3.0 * eps * z + 8.0 * eps * f64::midpoint(1.0, gd.y_max)
            }
        };
        [self.steepness() * prediction, own]
    }

    /// The terms of a bound on how far the prediction of the query is off, given how much of each error reaches it.
    pub fn terms(&self, bound: Bound, [predictions, slopes]: [f64; 2]) -> Bound {
        let formula = match &self.means {
            Means::Huber(_) => "sqrt(d) x sum_s g_s 2 x 0.2785 / beta".to_owned(),
            Means::Logistic(head) => {
                format!("sqrt(d) x sum_s g_s sup |head - tanh| / 2, {} intervals on its range", head.intervals)
            }
        };
        bound.and("predictions of examples", "sqrt(d) x sum_s g_s sup |slope'| delta'^4 |z|^5 / 180", predictions).and(
            "slopes of the loss",
            formula,
            slopes,
        )
    }

    /// Both layers, from the prompt or what is carried to what a step needs: x, y, w and slope.
    pub fn layers(&self, gd: &InContextGd, rows: usize, from: &Space, names: &[&str]) -> [Layer; 2] {
        let predicted = predicted(gd.d);
        let second = match &self.means {
            Means::Huber(of) => huber_layer(of, gd.d, rows, &predicted),
            Means::Logistic(head) => self.logistic_layer(head, gd.d, rows, &predicted),
        };
        [readout::prediction_layer(gd.d, rows, self.scale, from, names), second]
    }

    pub fn parameters(&self, d: usize, rows: usize, d_in: usize) -> f64 {
        let first = readout::prediction_parameters(d, rows, d_in);
        let (more, space, head) = match &self.means {
            Means::Huber(_) => (1, huber_space(d), GATES),
            Means::Logistic(_) => (self.anchors(), logistic_space(d), [1, KEY, 1]),
        };
        first + layer_size(2 * d + 2, [rows + more, space.width(), 2 * d + 2], &[[1, 2, 2 * d + 2], head])
    }

    /// tanh(z/2)/2 by a head over anchors, which are the last rows, and −y/2 beside it.
    fn logistic_layer(&self, of: &Head, d: usize, rows: usize, from: &Space) -> Layer {
        let (z, out) = (logistic_space(d), sloped(d));
        let count = of.values.len();
        let mut map = keeping(from, &z, &["x", "y", "w"], rows + count);
        mark_apart(&mut map, &z, rows);
        let weight = map.linear.weight_mut();
        weight[(from.at("y"), z.at("slope"))] = -0.5;
        weight[(from.at("z"), z.at("argument"))] = 0.5 * of.intervals as f64 / self.reach;
        for row in 0..rows {
            map.constant[(row, z.at("offset"))] = NOBODY;
        }
        for (k, value) in of.values.iter().enumerate() {
            let anchor = k as f64 - (count as f64 - 1.0) / 2.0;
            map.constant[(rows + k, z.at("anchor"))] = anchor;
            map.constant[(rows + k, z.at("offset"))] = -anchor * anchor;
            map.constant[(rows + k, z.at("value"))] = *value;
        }
        let mut head = Attention::zeros(z.width(), KEY, 1, out.width());
        head.query.weight[(z.at("argument"), 0)] = SHARPNESS;
        head.key.weight[(z.at("anchor"), 0)] = 2.0;
        head.query.weight[(z.at("one"), 1)] = SHARPNESS;
        head.key.weight[(z.at("offset"), 1)] = 1.0;
        head.value.weight[(z.at("value"), 0)] = 1.0;
        head.output[(0, out.at("slope"))] = 0.5;
        let carry = carrying(&z, &out, "place", &["x", "y", "w", "slope"], 1.0);
        Layer { space: z, map: InputMap { queries: rows, ..map }, heads: vec![carry, head] }
    }
}

/// r − S(r) for r = z − y.
fn huber_layer(of: &SoftThreshold, d: usize, rows: usize, from: &Space) -> Layer {
    let (z, out) = (huber_space(d), sloped(d));
    let mut map = keeping(from, &z, &["x", "y", "w"], rows + 1);
    mark_from_one(&mut map, &z, rows);
    for (column, sign, shift) in [("slope", 1.0, 0.0), ("above", 1.0, of.threshold), ("below", -1.0, of.threshold)] {
        let weight = map.linear.weight_mut();
        weight[(from.at("z"), z.at(column))] = sign;
        weight[(from.at("y"), z.at(column))] = -sign;
        for row in 0..rows {
            map.constant[(row, z.at(column))] = -shift;
        }
    }
    let carry = carrying(&z, &out, "place", &["x", "y", "w", "slope"], 1.0);
    let gates = of.heads(&z, [z.at("above"), z.at("below")], (out.at("slope"), out.width()), -1.0);
    Layer { space: z, map: InputMap { queries: rows, ..map }, heads: [carry].into_iter().chain(gates).collect() }
}

/// The head for tanh on [−end, end], with as few anchors as have the error [`AIM`], or else those with the least.
fn hyperbolic_tangent(end: f64) -> Head {
    let rule = FUNCTIONS.iter().find(|function| function.name == "tanh");
    let rule = rule.unwrap_or_else(|| unreachable!("formulas know the hyperbolic tangent"));
    let curve = Curve { rule: Rule::Named(rule), shift: 0.0 };
    let mut best: Option<Head> = None;
    for intervals in INTERVALS {
        let head = Head::odd(curve, Interval::new(-end, end), intervals);
        if best.as_ref().is_none_or(|best| head.error < best.error) {
            best = Some(head);
        }
        if best.as_ref().is_some_and(|best| best.error <= AIM) {
            break;
        }
    }
    best.unwrap_or_else(|| unreachable!("some number of intervals is tried"))
}

/// Space of slopes, from which a step goes on.
pub(super) fn sloped(d: usize) -> Space {
    Space::new(&[("x", d), ("y", 1), ("w", d), ("slope", 1)])
}

const DATA_PLACE: [(&str, usize); 3] = [("one", 1), ("place", 1), ("square", 1)];

fn huber_space(d: usize) -> Space {
    let numbers = [("x", d), ("y", 1), ("w", d), ("slope", 1), ("above", 1), ("below", 1)];
    Space::new(&[numbers.as_slice(), &DATA_PLACE].concat())
}

fn logistic_space(d: usize) -> Space {
    let numbers = [("x", d), ("y", 1), ("w", d), ("slope", 1), ("argument", 1)];
    Space::new(&[numbers.as_slice(), &DATA_PLACE, &[("anchor", 1), ("offset", 1), ("value", 1)]].concat())
}
