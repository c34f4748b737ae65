//! Gradient descent on a regression problem in the prompt, carried out by attention.
//!
//! The prompt holds N examples (x_i, y_i) and, last, (x_q, 0). At the last position the network predicts ŷ = w_k · x_q,
//! where
//!
//! w_0 = 0,  w_{t+1} = w_t − η ∇L(w_t),  L(w) = 1/(2N) Σ_i (w · x_i − y_i)².
//!
//! A step needs the products of residuals r_i = w · x_i − y_i with inputs. Two forms compute them, each in its own
//! file: [`linear`] (E1) uses softmax at small scores, where it is linear: one head per step, error O(δ²). [`squares`]
//! (E2) uses r x = ((r + x)² − (r − x)²)/4 with squares interpolated between anchors: 2d heads per step. Every map is
//! token-wise. There is no skip connection; heads that attend to a single row carry prompt and state from layer to
//! layer.
//!
//! # What both bounds are based on
//! For |x_ij| ≤ x and |y_i| ≤ y, the curvature H = XᵀX/N has eigenvalues in [0, λ], λ = d x². If η λ ≤ 2, a step is a
//! contraction,
//! 1 − η h| ≤ 1, so the root mean square of residuals stays below y, and the errors of steps at most add up.
//! - One residual may grow: r_t = −P y with P = (I − η XXᵀ/N)^t symmetric, eigenvalues in \[l, 1\]; a row of P − (1 + l)/2 has length
//!   (1 − l)/2 at most, hence |r_i| ≤ ((1 + l)/2 + (1 − l)/2 √N) y.
//! - |w_t| ≤ y max_h |1 − (1 − η h)^t| / √h ≤ y min(η t √λ, √(η t)), with 2 η t under the root where η λ > 1.
//!
//! # References
//! Hu et al. 2025, arXiv 2504.15956, whose appendix runs gradient descent in context by interpolation; the two forms,
//! their bounds, and carrying without a skip connection are specific to this crate.

pub mod linear;
pub mod squares;

use std::f64::consts::SQRT_2;

use headway_tasks::{
    Distribution, Probe, TaskConfig,
    icl::regression::{Descent, RegressionConfig},
};
use nalgebra::{DMatrix, DVector};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::{
    construct::{
        Construction, Request,
        options::{Given, Options, Planned, ensure_size, ensure_unused},
    },
    domain::Domain,
    refusal::Refusal,
    target::Target,
};

/// Options of [`InContextGd`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// N, number of examples of a prompt. Default 20.
    pub points: usize,
    /// d, dimension of an input. Default 5.
    pub d: usize,
    /// k, number of steps of gradient descent. Default 10.
    pub steps: usize,
    /// η, learning rate of a step, at most 2 / (d x²). Default 0.2.
    pub rate: f64,
    /// Input numbers lie within ± this. Default 1.
    pub x_max: f64,
    /// Labels lie within ± this. Default 1.
    pub y_max: f64,
    /// How residuals are multiplied with inputs. Default e1.
    pub form: FormName,
    /// δ, scale of scores (e1); if `None`, the one with the smallest error.
    pub delta: Option<f64>,
    /// p, intervals between anchors (e2); if `None`, the fewest that meet the tolerance.
    pub intervals: Option<usize>,
}

/// A [`Form`], by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FormName {
    /// [`Form::Linear`].
    #[default]
    E1,
    /// [`Form::Squares`].
    E2,
}

impl Default for Config {
    fn default() -> Self {
        let InContextGd { points, d, steps, rate, x_max, y_max, form: _ } = InContextGd::default();
        Self { points, d, steps, rate, x_max, y_max, form: FormName::default(), delta: None, intervals: None }
    }
}

impl Options for Config {
    fn sizes(&self) -> Vec<(&'static str, bool)> {
        vec![("delta", self.delta.is_some()), ("intervals", self.intervals.is_some())]
    }

    fn plan(&self, _: Option<Given>, max_parameters: usize) -> Result<Planned, Refusal> {
        let &Self { points, d, steps, rate, x_max, y_max, form, delta, intervals } = self;
        let linear = form == FormName::E1;
        ensure_unused("delta", !linear && delta.is_some(), "form e1")?;
        ensure_unused("intervals", linear && intervals.is_some(), "form e2")?;
        ensure_size("points x --d", &[points, d], max_parameters)?;
        // Labels of the task stay within y_max: |w · x| is at most 0.8 of it, and the noise a thirtieth.
        let size = 0.8 * y_max / (d as f64 * x_max);
        let task = TaskConfig::InContextRegression(RegressionConfig {
            d,
            n_points: points,
            noise: y_max / 30.0,
            input: Distribution::Uniform { low: -x_max, high: x_max },
            weights: Distribution::Uniform { low: -size, high: size },
            gradient_descent: Descent { steps, rate },
        });
        let form = match form {
            FormName::E1 => Form::Linear { delta },
            FormName::E2 => Form::Squares { intervals, sharpness: None },
        };
        let construction = InContextGd { points, d, steps, rate, x_max, y_max, form };
        Ok(Planned::new(task, 0, move |request| construction.build(request)))
    }
}

/// The construction that runs gradient descent in context.
#[derive(Clone, Debug, PartialEq)]
pub struct InContextGd {
    /// N, number of examples of a prompt; the query is one more position. Default 20.
    pub points: usize,
    /// d, dimension of an input. Default 5.
    pub d: usize,
    /// k, number of steps of gradient descent. Default 10.
    pub steps: usize,
    /// η, learning rate, at most 2 / (d x²). Default 0.2.
    pub rate: f64,
    /// Input numbers lie within ± this. Default 1.
    pub x_max: f64,
    /// Labels lie within ± this. Default 1.
    pub y_max: f64,
    /// How residuals are multiplied with inputs. Default [`Form::Linear`].
    pub form: Form,
}

/// How residuals are multiplied with inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// E1: softmax at scores so small that it is nearly linear.
    Linear {
        /// δ, the scale of scores; if `None`, the one that makes bound and rounding together smallest.
        delta: Option<f64>,
    },
    /// E2: differences of squares, interpolated between anchors.
    Squares {
        /// p, intervals between anchors; if `None`, the fewest that meet the tolerance.
        intervals: Option<usize>,
        /// c = β Δ²; if `None`, the best for each p.
        sharpness: Option<f64>,
    },
}

impl Default for Form {
    fn default() -> Self {
        Self::Linear { delta: None }
    }
}

impl Default for InContextGd {
    fn default() -> Self {
        Self { points: 20, d: 5, steps: 10, rate: 0.2, x_max: 1.0, y_max: 1.0, form: Form::default() }
    }
}

/// Largest number of rows of a layer: positions are distinguished by squared distances, which float32 cannot hold
/// exactly beyond it.
const MOST_ROWS: usize = 1024;
/// Largest number of steps: each takes at most two layers, and a model has at most 10 000.
const MOST_STEPS: usize = 1000;

impl InContextGd {
    /// Name on the command line.
    pub const NAME: &str = "in-context-gd";

    /// Chooses the size, then writes the weights.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if a size is zero or above the limits of this file, if a number is not positive and finite,
    /// or if the rate is above 2 / (d x²), where gradient descent may diverge; and whatever [`choose`](super::choose)
    /// refuses.
    pub fn build(&self, request: Request) -> Result<Construction, Refusal> {
        self.check()?;
        match self.form {
            Form::Linear { delta } => linear::build(self, delta, request),
            Form::Squares { intervals, sharpness } => squares::build(self, intervals, sharpness, request),
        }?
        .in_float32("x-max", "x-max")
    }

    fn check(&self) -> Result<(), Refusal> {
        let sizes = [("points", self.points, MOST_ROWS), ("d", self.d, MOST_ROWS), ("steps", self.steps, MOST_STEPS)];
        for (key, size, most) in sizes {
            if !(1..=most).contains(&size) {
                return Err(Refusal::invalid(key, format!("must be from 1 to {most}, not {size}")));
            }
        }
        for (key, value) in [("rate", self.rate), ("x-max", self.x_max), ("y-max", self.y_max)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Refusal::invalid(key, format!("must be a positive number, not {value}")));
            }
        }
        let stable = 2.0 / self.curvature();
        if self.rate > stable * (1.0 + 1e-12) {
            let problem = format!(
                "must be at most 2 / (d x_max^2) = {stable}, not {}: the curvature of some prompt is d x_max^2, where larger \
                 steps diverge, and no bound holds",
                self.rate
            );
            return Err(Refusal::invalid("rate", problem));
        }
        Ok(())
    }

    /// Refuses more rows than positions can be distinguished in.
    fn check_rows(&self, rows: usize) -> Result<(), Refusal> {
        if rows > MOST_ROWS {
            let problem = format!("{} take {rows} rows, of which float32 tells {MOST_ROWS} apart at most", self.points);
            return Err(Refusal::invalid("points", problem));
        }
        Ok(())
    }

    /// λ = d x², an upper bound on the eigenvalues of XᵀX/N.
    fn curvature(&self) -> f64 {
        self.d as f64 * self.x_max.powi(2)
    }

    /// √d x, an upper bound on the length of every input.
    fn input_norm(&self) -> f64 {
        self.curvature().sqrt()
    }

    /// Upper bound on every |r_i| of step t.
    fn largest_residual(&self, t: usize) -> f64 {
        let base = 1.0 - self.rate * self.curvature();
        // l: the minimum of (1 − η h)^t over η h from 0 to η λ; if that reaches beyond 1, even powers go down to 0.
        let low = if base < 0.0 && t > 0 && t.is_multiple_of(2) { 0.0 } else { power(base, t) };
        (f64::midpoint(1.0, low) + (1.0 - low) / 2.0 * (self.points as f64).sqrt()) * self.y_max
    }

    /// Upper bound on |w_t| for all t up to k.
    fn weight_norm(&self) -> f64 {
        let time = self.rate * self.steps as f64;
        let fast = if self.rate * self.curvature() > 1.0 { SQRT_2 } else { 1.0 };
        self.y_max * (time * self.input_norm()).min(fast * time.sqrt())
    }

    /// w_k of gradient descent on a prompt. `[d]`
    fn descend(&self, prompt: &[f64]) -> Vec<f64> {
        let mut w = vec![0.0; self.d];
        for _ in 0..self.steps {
            let mut gradient = vec![0.0; self.d];
            for example in prompt.chunks(self.d + 1).take(self.points) {
                let (x, y) = example.split_at(self.d);
                let residual = dot(&w, x) - y[0];
                gradient.iter_mut().zip(x).for_each(|(sum, x)| *sum += residual * x);
            }
            w.iter_mut().zip(gradient).for_each(|(w, sum)| *w -= self.rate / self.points as f64 * sum);
        }
        w
    }

    /// ŷ of the last position: k steps of gradient descent in double precision.
    ///
    /// # Shapes
    /// `[(points + 1) · (d + 1)]`, row by row
    pub fn predict(&self, prompt: &[f64]) -> f64 {
        dot(&self.descend(prompt), self.query(prompt))
    }

    /// Difference between this prediction and that of the least-squares solution of smallest norm, to which gradient
    /// descent converges.
    ///
    /// # Shapes
    /// `[(points + 1) · (d + 1)]`, row by row
    pub fn least_squares_gap(&self, prompt: &[f64]) -> f64 {
        let width = self.d + 1;
        let x = DMatrix::from_fn(self.points, self.d, |i, j| prompt[i * width + j]);
        let y = DVector::from_fn(self.points, |i, _| prompt[i * width + self.d]);
        let svd = x.svd(true, true);
        let cut = 1e-12 * svd.singular_values.max() * self.points.max(self.d) as f64;
        // Both factors were requested, so there is a solution.
        let limit = svd.solve(&y, cut).map_or(f64::NAN, |w| dot(w.as_slice(), self.query(prompt)));
        (self.predict(prompt) - limit).abs()
    }

    fn query<'a>(&self, prompt: &'a [f64]) -> &'a [f64] {
        &prompt[self.points * (self.d + 1)..][..self.d]
    }

    fn target(&self) -> Target {
        let this = self.clone();
        let Self { steps, rate, .. } = self;
        let text = format!(
            "w . x_q after {steps} steps of gradient descent from 0 at rate {rate} on 1/(2N) sum (w . x_i - y_i)^2"
        );
        Target::opaque(text, move |prompt| {
            let mut y = vec![0.0; this.points + 1];
            y[this.points] = this.predict(prompt);
            y
        })
    }

    fn domain(&self) -> Domain {
        let example: Vec<f64> = vec![self.x_max; self.d].into_iter().chain([self.y_max]).collect();
        let mut high = example.repeat(self.points + 1);
        if let Some(last) = high.last_mut() {
            *last = 0.0;
        }
        Domain::Box { low: high.iter().map(|end| 0.0 - end).collect(), high }
    }

    fn scored(&self) -> Vec<bool> {
        (0..=self.points).map(|position| position == self.points).collect()
    }

    /// A prompt from its examples and query.
    fn prompt(&self, example: impl FnMut(usize) -> (Vec<f64>, f64), query: Vec<f64>) -> Vec<f64> {
        let examples = (0..self.points).map(example).flat_map(|(x, y)| x.into_iter().chain([y]));
        examples.chain(query).chain([0.0]).collect()
    }

    /// Prompts that are hard for either form: labels of a linear function; corners with labels that drive w as far as
    /// possible; identical examples (errors do not average out); one large example among small ones (its residual
    /// grows); and all zeros.
    fn hard(&self) -> Vec<(&'static str, Vec<Vec<f64>>)> {
        let Self { points, d, x_max, y_max, .. } = *self;
        let mut rng = Probe::Prompt.rng();
        let mut signs =
            |count: usize| -> Vec<f64> { (0..count).map(|_| if rng.random::<bool>() { 1.0 } else { -1.0 }).collect() };
        let (mut corners, mut outliers) = (Vec::new(), Vec::new());
        for _ in 0..48 {
            let w = signs(d);
            let xs: Vec<Vec<f64>> = (0..points).map(|_| signs(d).iter().map(|s| s * x_max).collect()).collect();
            let query: Vec<f64> = w.iter().map(|s| s * x_max).collect();
            corners.push(self.prompt(|i| (xs[i].clone(), y_max * dot(&w, &xs[i]).signum()), query.clone()));
            let small = 1.0 / (points as f64).sqrt();
            let labels = signs(points);
            let outlier = |i: usize| {
                let size = if i == 0 { 1.0 } else { small };
                (
                    w.iter().map(|s| s * size * labels[i] * x_max).collect(),
                    if i == 0 { -1.0 } else { 1.0 } * y_max * labels[i],
                )
            };
            outliers.push(self.prompt(outlier, query));
        }
        let mut random =
            |count: usize, size: f64| -> Vec<f64> { (0..count).map(|_| size * rng.random_range(-1.0..=1.0)).collect() };
        let linear = (0..48).map(|_| {
            let w = random(d, y_max / (d as f64 * x_max));
            let xs: Vec<Vec<f64>> = (0..points).map(|_| random(d, x_max)).collect();
            let query = random(d, x_max);
            self.prompt(|i| (xs[i].clone(), dot(&w, &xs[i])), query)
        });
        let linear: Vec<Vec<f64>> = linear.collect();
        let steps = [-1.0, -0.83, -0.5, -0.31, -0.11, 0.07, 0.29, 0.5, 0.71, 0.9, 1.0];
        let alike = steps.iter().flat_map(|y| steps.iter().map(move |x| (x * x_max, y * y_max)));
        let alike = alike.map(|(x, y)| self.prompt(|_| (vec![x; d], y), vec![x_max; d]));
        vec![
            ("linear", linear),
            ("corners", corners),
            ("outlier", outliers),
            ("alike", alike.collect()),
            ("nothing", vec![self.prompt(|_| (vec![0.0; d], 0.0), vec![0.0; d])]),
        ]
    }
}

fn power(base: f64, exponent: usize) -> f64 {
    base.powi(i32::try_from(exponent).unwrap_or(i32::MAX))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
