//! Gradient descent of a network with a hidden layer, in the forward pass of attention.
//!
//! The prompt holds a network f(x) = Σ_j a_j tanh(w_j · x), a row (w_j, a_j) for each of its r units, then N examples (x_i, y_i) and, last, (x_q, 0). At the last
//! position the answer is f(x_q) after k steps of gradient descent on 1/(2N) Σ_i (f(x_i) − y_i)² in all weights w and a.
//!
//! A step takes two layers, of attention alone. Softmax has the hyperbolic tangent built in, and its derivative: over the scores 2z, −2z and ln 2 its weights differ
//! by tanh z, and the last is half of 1 − tanh² z. What is left are means of products, which four factors on scores make linear in each factor
//! up to the order 5; layers are described in `layers.rs`, what bounds are based on in `bounds.rs`.
//!
//! # References
//! arXiv 2411.16549, where (2N + 4) L layers, feed-forward ones among them, carry out L steps for a network of N layers. Layers, weights and bounds are specific to this
//! crate.

mod bounds;
mod layers;

use headway_plain::Readout;
use headway_tasks::{
    Distribution, Probe, TaskConfig,
    baseline::{in_context::InContext, network_descent::NetworkDescent as Exact},
    icl::network::NetworkConfig,
};
use nalgebra::{DMatrix, DVector};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::{
    Construction, Cost, Request, Temperature, choose,
    options::{Given, Options, Planned, ensure_size},
};
use crate::{domain::Domain, network::Network, refusal::Refusal, target::Target};

use bounds::Plan;

/// Options of [`NetworkDescent`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// N, number of examples of a prompt. Default 10.
    pub points: usize,
    /// d, dimension of an input. Default 2.
    pub d: usize,
    /// r, number of hidden units. Default 4.
    pub units: usize,
    /// k, number of steps. Default 3.
    pub steps: usize,
    /// η, learning rate. Default 0.05.
    pub rate: f64,
    /// Numbers of w in the prompt lie within ± this. Default 1.
    pub w_max: f64,
    /// Output weights a in the prompt lie within ± this. Default 0.25.
    pub a_max: f64,
    /// Input numbers lie within ± this. Default 1.
    pub x_max: f64,
    /// Labels lie within ± this. Default 1.
    pub y_max: f64,
    /// Scale of scores of a mean; if `None`, the one with the smallest error.
    pub delta: Option<f64>,
}

impl Default for Config {
    fn default() -> Self {
        let NetworkConfig { d, units, n_points: points, steps, rate, .. } = NetworkConfig::default();
        Self { points, d, units, steps, rate, w_max: 1.0, a_max: 0.25, x_max: 1.0, y_max: 1.0, delta: None }
    }
}

/// Largest number of rows: positions are distinguished by squared distances, which float32 cannot hold exactly beyond it.
const MOST_ROWS: usize = 1024;
/// Largest number of numbers of an input.
const MOST_D: usize = 1024;
/// Largest number of hidden units: each takes 17 heads a step.
const MOST_UNITS: usize = 64;
/// Largest number of steps: each takes two layers, and a model has at most 10 000.
const MOST_STEPS: usize = 2000;

impl Options for Config {
    fn sizes(&self) -> Vec<(&'static str, bool)> {
        vec![("delta", self.delta.is_some())]
    }

    fn plan(&self, _: Option<Given>, max_parameters: usize) -> Result<Planned, Refusal> {
        let &Self { points, d, units, steps, rate, w_max, a_max, x_max, y_max, delta } = self;
        ensure_size("points x --d", &[points, d], max_parameters)?;
        ensure_size("units x --d", &[units, d], max_parameters)?;
        let within = |end: f64| Distribution::Uniform { low: -end, high: end };
        let task = TaskConfig::InContextNetwork(NetworkConfig {
            d,
            units,
            n_points: points,
            steps,
            rate,
            noise: y_max / 30.0,
            input: within(x_max),
            weights: within(w_max),
            outputs: within(a_max),
            // Labels stay within y_max: what they are drawn from is at most 0.8 of it, and the noise a thirtieth.
            teacher: within(0.8 * y_max / units as f64),
        });
        let construction = NetworkDescent { points, d, units, steps, rate, w_max, a_max, x_max, y_max, delta };
        Ok(Planned::new(task, 0, move |request| construction.build(request)))
    }
}

/// The construction that trains the network in its prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkDescent {
    /// N, number of examples of a prompt. Default 10.
    pub points: usize,
    /// d, dimension of an input. Default 2.
    pub d: usize,
    /// r, number of hidden units. Default 4.
    pub units: usize,
    /// k, number of steps. Default 3.
    pub steps: usize,
    /// η, learning rate. Default 0.05.
    pub rate: f64,
    /// Numbers of w in the prompt lie within ± this. Default 1.
    pub w_max: f64,
    /// Output weights a in the prompt lie within ± this. Default 0.25.
    pub a_max: f64,
    /// Input numbers lie within ± this. Default 1.
    pub x_max: f64,
    /// Labels lie within ± this. Default 1.
    pub y_max: f64,
    /// δ, the largest factor of a score in a mean; if `None`, the one that makes bound and rounding together smallest.
    pub delta: Option<f64>,
}

impl Default for NetworkDescent {
    fn default() -> Self {
        let Config { points, d, units, steps, rate, w_max, a_max, x_max, y_max, delta } = Config::default();
        Self { points, d, units, steps, rate, w_max, a_max, x_max, y_max, delta }
    }
}

impl NetworkDescent {
    /// Name on the command line.
    pub const NAME: &str = "network-descent";

    /// Chooses the scale of scores, then writes the weights.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if a size is zero or above the limits of this file, if a number is not positive and finite, or if at the rate the loss of some
    /// prompt may rise, so that nothing is known of its iterates; and whatever [`choose`] refuses.
    pub fn build(&self, request: Request) -> Result<Construction, Refusal> {
        self.check()?;
        let error = |plan: &Plan| {
            let error = plan.bound(self).value + plan.rounding(self).value;
            if error.is_nan() { f64::INFINITY } else { error }
        };
        let plan = match self.delta {
            Some(delta) => Plan { delta },
            // Every scale needs the same number of parameters, so the best is taken, to within 2 per cent.
            None => (0..300)
                .map(|step| Plan { delta: 2.0 * 0.98_f64.powi(step) })
                .min_by(|a, b| error(a).total_cmp(&error(b)))
                .unwrap_or(Plan { delta: 0.2 }),
        };
        let cost = |plan: &Plan| Cost {
            error: error(plan),
            exact: plan.bound(self).value,
            parameters: layers::parameters(self),
        };
        let hint = if self.delta.is_some() {
            "; another delta may do better"
        } else {
            "; fewer steps, a smaller rate or fewer units reach further"
        };
        let plan = choose(request, [plan], cost, hint)?;
        self.write(plan).weights_in_float32("x-max")
    }

    fn check(&self) -> Result<(), Refusal> {
        let sizes = [
            ("points", self.points, MOST_ROWS),
            ("d", self.d, MOST_D),
            ("units", self.units, MOST_UNITS),
            ("steps", self.steps, MOST_STEPS),
        ];
        for (key, size, most) in sizes {
            if !(1..=most).contains(&size) {
                return Err(Refusal::invalid(key, format!("must be from 1 to {most}, not {size}")));
            }
        }
        let numbers = [
            ("rate", self.rate),
            ("w-max", self.w_max),
            ("a-max", self.a_max),
            ("x-max", self.x_max),
            ("y-max", self.y_max),
            ("delta", self.delta.unwrap_or(1.0)),
        ];
        for (key, value) in numbers {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Refusal::invalid(key, format!("must be a positive number, not {value}")));
            }
        }
        let rows = self.rows();
        if rows > MOST_ROWS {
            let problem = format!(
                "{} take {rows} rows with the units, of which float32 tells {MOST_ROWS} apart at most",
                self.points
            );
            return Err(Refusal::invalid("points", problem));
        }
        let steep = self.rate * self.curvature();
        if steep.is_nan() || steep > 2.0 {
            let problem = format!(
                "{} is so large that the loss of some prompt may rise: times a bound on its curvature it is {steep:.3}, and up to 2 is safe; nothing is \
                 known of weights beyond. The bound grows with --units, --a-max, --y-max, --x-max and --steps",
                self.rate
            );
            return Err(Refusal::invalid("rate", problem));
        }
        Ok(())
    }

    /// The training in double precision.
    pub fn training(&self) -> Exact {
        let Self { units, steps, rate, .. } = *self;
        Exact { units, steps, rate }
    }

    /// The answer of the last position, in double precision.
    ///
    /// # Shapes
    /// `[(units + points + 1) · (d + 1)]`, row by row
    pub fn predict(&self, prompt: &[f64]) -> f64 {
        let (width, seen) = (self.d + 1, self.units + self.points);
        let x = DMatrix::from_fn(self.d, seen, |j, i| prompt[i * width + j]);
        let y = DVector::from_fn(seen, |i, _| prompt[i * width + self.d]);
        let query = DVector::from_column_slice(&prompt[seen * width..][..self.d]);
        self.training().answer(x.as_view(), y.as_view(), query.as_view())
    }

    /// Rows of a layer: the prompt, mirrored units, an empty row.
    fn rows(&self) -> usize {
        self.seq_len() + self.units + 1
    }

    fn seq_len(&self) -> usize {
        self.units + self.points + 1
    }

    fn target(&self) -> Target {
        let this = self.clone();
        let Self { steps, rate, units, .. } = self;
        let text = format!(
            "f(x_q), f(x) = sum_j a_j tanh(w_j . x) of {units} units, after {steps} steps of gradient descent of w and a in the prompt at rate {rate} on \
             1/(2N) sum (f(x_i) - y_i)^2"
        );
        Target::opaque(text, move |prompt| {
            let mut y = vec![0.0; this.seq_len()];
            y[this.seq_len() - 1] = this.predict(prompt);
            y
        })
    }

    fn domain(&self) -> Domain {
        let row = |end: f64, last: f64| vec![end; self.d].into_iter().chain([last]).collect::<Vec<f64>>();
        let mut high = row(self.w_max, self.a_max).repeat(self.units);
        high.extend(row(self.x_max, self.y_max).repeat(self.points));
        high.extend(row(self.x_max, 0.0));
        Domain::Box { low: high.iter().map(|end| 0.0 - end).collect(), high }
    }

    /// A prompt from its units, examples and query.
    fn prompt(
        &self,
        unit: impl FnMut(usize) -> (Vec<f64>, f64),
        example: impl FnMut(usize) -> (Vec<f64>, f64),
        query: Vec<f64>,
    ) -> Vec<f64> {
        let rows = (0..self.units).map(unit).chain((0..self.points).map(example));
        rows.flat_map(|(row, last)| row.into_iter().chain([last])).chain(query).chain([0.0]).collect()
    }

    /// Prompts that are hard: corners, where errors are largest; identical examples and units, whose errors add up; units that cancel in pairs; zeros.
    fn hard(&self) -> Vec<(&'static str, Vec<Vec<f64>>)> {
        let Self { points, d, units, w_max, a_max, x_max, y_max, .. } = *self;
        let sign = |i: usize| if i.is_multiple_of(2) { 1.0 } else { -1.0 };
        let mut rng = Probe::Prompt.rng();
        let mut signs = |count: usize, size: f64| -> Vec<f64> {
            (0..count).map(|_| if rng.random::<bool>() { size } else { -size }).collect()
        };
        let corners = (0..96).map(|_| {
            let (outputs, labels) = (signs(units, a_max), signs(points, y_max));
            let w: Vec<Vec<f64>> = (0..units).map(|_| signs(d, w_max)).collect();
            let x: Vec<Vec<f64>> = (0..points).map(|_| signs(d, x_max)).collect();
            self.prompt(|j| (w[j].clone(), outputs[j]), |i| (x[i].clone(), labels[i]), x[0].clone())
        });
        let corners = corners.collect();
        let parts = [-1.0, -0.71, -0.5, -0.29, -0.11, 0.0, 0.07, 0.31, 0.5, 0.83, 1.0];
        let every = |of: &dyn Fn(f64, f64) -> Vec<f64>| -> Vec<Vec<f64>> {
            parts.iter().flat_map(|a| parts.iter().map(move |b| (*a, *b))).map(|(a, b)| of(a, b)).collect()
        };
        let alike = every(&|a, b| {
            self.prompt(|_| (vec![a * w_max; d], a_max), |_| (vec![x_max; d], b * y_max), vec![x_max; d])
        });
        let pairs = every(&|a, b| {
            let unit = |j: usize| (vec![a * w_max; d], sign(j) * a_max);
            self.prompt(unit, |i| (vec![sign(i) * b * x_max; d], -sign(i) * y_max), vec![x_max; d])
        });
        let nothing = self.prompt(|_| (vec![0.0; d], 0.0), |_| (vec![0.0; d], 0.0), vec![0.0; d]);
        vec![("corners", corners), ("alike", alike), ("pairs", pairs), ("nothing", vec![nothing])]
    }

    fn write(&self, plan: Plan) -> Construction {
        let layers = layers::layers(self, plan);
        let seq_len = self.seq_len();
        Construction {
            name: Self::NAME,
            target: self.target(),
            domain: self.domain(),
            sizes: vec![
                ("delta".to_owned(), plan.delta),
                ("rows".to_owned(), self.rows() as f64),
                ("layers".to_owned(), layers.len() as f64),
            ],
            network: Network { seq_len, d_in: self.d + 1, d_out: 1, layers, readout: Readout::Rows, causal: false },
            scored: Some((1..=seq_len).map(|position| position == seq_len).collect()),
            temperature: Temperature {
                beta: plan.delta,
                reason: "the largest factor of a score in a mean: larger ones leave the range where softmax is linear in both factors, smaller ones lose the \
                         mean in float32; hidden units have the temperature 2 of the hyperbolic tangent"
                    .to_owned(),
            },
            bound: plan.bound(self),
            rounding: plan.rounding(self),
            likely: None,
            provable: None,
            proof: None,
            truth: None,
            norm: None,
            hard: self.hard(),
        }
    }
}
