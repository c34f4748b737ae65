//! Gradient descent on a regression problem in the prompt, carried out by attention.
//!
//! The prompt holds N examples (x_i, y_i) and, last, (x_q, 0). At the last position the network predicts ŷ = w_k · x_q,
//! where
//!
//! w_0 = 0,  w_{t+1} = S(w_t − η (1/N Σ_i ℓ'(w_t · x_i, y_i) x_i + λ₂ w_t)),  S(u) = u − clamp(u, −η λ₁, η λ₁)
//!
//! are steps of proximal gradient descent on F(w) = 1/N Σ_i ℓ(w · x_i, y_i) + λ₂/2 |w|² + λ₁ |w|₁. With squares, ℓ = (w · x −
//! y)²/2, that is gradient descent on a regression, ridge regression for λ₂ > 0 and the Lasso by ISTA for λ₁ > 0; other losses
//! are the logistic one and Huber's.
//!
//! A step needs the products of slopes ℓ' with inputs. Two forms compute them, each in its own file: [`linear`] (E1) uses softmax
//! at small scores, where it is linear: one head per step, error O(δ²); `slopes.rs` puts slopes of other losses into a column first,
//! and `threshold.rs` is S. [`squares`] (E2) is for squares alone and uses r x = ((r + x)² − (r − x)²)/4 with squares interpolated
//! between anchors: 2d heads per step. Every map is token-wise. There is no skip connection; heads that attend to a single row carry
//! prompt and state from layer to layer.
//!
//! What bounds are based on, `iterates.rs` says.
//!
//! # References
//! Hu et al. 2025, arXiv 2504.15956, whose appendix runs gradient descent in context by interpolation, for convex losses in its
//! Theorem 4.1; the two forms, their bounds, and carrying without a skip connection are specific to this crate.

mod chain;
mod hard;
mod iterates;
pub mod linear;
mod parts;
pub(super) mod readout;
mod slopes;
pub mod squares;
mod steps;
mod threshold;

use headway_tasks::{
    Distribution, TaskConfig,
    baseline::gradient_descent::{ExampleLoss, FixedRateDescent, HUBER_THRESHOLD},
    icl::regression::{Descent, RegressionConfig},
};
use nalgebra::{DMatrix, DVector};
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
    /// η, learning rate of a step, at most 2 / (sup ℓ'' d x² + ridge). Default 0.2.
    pub rate: f64,
    /// ℓ, the loss of one example; other than squared with e1 alone. Default squared.
    pub loss: LossName,
    /// Where Huber's loss becomes linear; if `None`, at 0.5.
    pub threshold: Option<f64>,
    /// λ₂, factor on |w|²/2 (e1). Default 0.
    pub ridge: f64,
    /// λ₁, factor on |w|₁ (e1). Default 0.
    pub lasso: f64,
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

/// An [`ExampleLoss`], by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LossName {
    /// [`ExampleLoss::Squared`].
    #[default]
    Squared,
    /// [`ExampleLoss::Logistic`].
    Logistic,
    /// [`ExampleLoss::Huber`].
    Huber,
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
        let InContextGd { points, d, steps, rate, loss: _, ridge, lasso, x_max, y_max, form: _ } =
            InContextGd::default();
        let (loss, threshold, form, delta, intervals) = (LossName::default(), None, FormName::default(), None, None);
        Self { points, d, steps, rate, loss, threshold, ridge, lasso, x_max, y_max, form, delta, intervals }
    }
}

impl Options for Config {
    fn sizes(&self) -> Vec<(&'static str, bool)> {
        vec![("delta", self.delta.is_some()), ("intervals", self.intervals.is_some())]
    }

    fn plan(&self, _: Option<Given>, max_parameters: usize) -> Result<Planned, Refusal> {
        let &Self { points, d, steps, rate, loss, threshold, ridge, lasso, x_max, y_max, form, delta, intervals } =
            self;
        let linear = form == FormName::E1;
        ensure_unused("loss", !linear && loss != LossName::Squared, "form e1")?;
        ensure_unused("ridge", !linear && ridge != 0.0, "form e1")?;
        ensure_unused("lasso", !linear && lasso != 0.0, "form e1")?;
        ensure_unused("threshold", loss != LossName::Huber && threshold.is_some(), "loss huber")?;
        ensure_unused("delta", !linear && delta.is_some(), "form e1")?;
        ensure_unused("intervals", linear && intervals.is_some(), "form e2")?;
        ensure_size("points x --d", &[points, d], max_parameters)?;
        // Labels of the task stay within y_max: |w · x| is at most 0.8 of it, and the noise a thirtieth.
        let size = 0.8 * y_max / (d as f64 * x_max);
        let loss = match loss {
            LossName::Squared => ExampleLoss::Squared,
            LossName::Logistic => ExampleLoss::Logistic,
            LossName::Huber => ExampleLoss::Huber { threshold: threshold.unwrap_or(HUBER_THRESHOLD) },
        };
        let task = TaskConfig::InContextRegression(RegressionConfig {
            d,
            n_points: points,
            noise: y_max / 30.0,
            input: Distribution::Uniform { low: -x_max, high: x_max },
            weights: Distribution::Uniform { low: -size, high: size },
            gradient_descent: Descent { steps, rate, loss, ridge, lasso },
        });
        let form = match form {
            FormName::E1 => Form::Linear { delta },
            FormName::E2 => Form::Squares { intervals, sharpness: None },
        };
        let construction = InContextGd { points, d, steps, rate, loss, ridge, lasso, x_max, y_max, form };
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
    /// η, learning rate, at most 2 / (sup ℓ'' d x² + ridge). Default 0.2.
    pub rate: f64,
    /// ℓ, the loss of one example. Default squared.
    pub loss: ExampleLoss,
    /// λ₂, factor on |w|²/2. Default 0.
    pub ridge: f64,
    /// λ₁, factor on |w|₁. Default 0.
    pub lasso: f64,
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
        let (loss, ridge, lasso, form) = (ExampleLoss::Squared, 0.0, 0.0, Form::default());
        Self { points: 20, d: 5, steps: 10, rate: 0.2, loss, ridge, lasso, x_max: 1.0, y_max: 1.0, form }
    }
}

/// Largest number of rows of a layer: positions are distinguished by squared distances, which float32 cannot hold
/// exactly beyond it.
const MOST_ROWS: usize = 1024;
/// Largest number of steps: each takes at most four layers, and a model has at most 10 000.
const MOST_STEPS: usize = 1000;

impl InContextGd {
    /// Name on the command line.
    pub const NAME: &str = "in-context-gd";

    /// Chooses the size, then writes the weights.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if a size is zero or above the limits of this file, if a number is not positive and finite,
    /// or if the rate is above 2 / (sup ℓ'' d x² + λ₂), where gradient descent may diverge; for loss or penalties that the
    /// form does not have; and whatever [`choose`](super::choose) refuses.
    pub fn build(&self, request: Request) -> Result<Construction, Refusal> {
        self.check()?;
        match self.form {
            Form::Linear { delta } => linear::build(self, delta, request),
            Form::Squares { intervals, sharpness } => squares::build(self, intervals, sharpness, request),
        }?
        .in_float32("x-max", "x-max")
    }

    pub(super) fn check(&self) -> Result<(), Refusal> {
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
        for (key, value) in [("ridge", self.ridge), ("lasso", self.lasso)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Refusal::invalid(key, format!("must be a number from 0 on, not {value}")));
            }
        }
        match self.loss {
            ExampleLoss::Logistic if self.y_max > 1.0 => {
                let problem = format!(
                    "must be at most 1 with the logistic loss, not {}: (1 + y) / 2 is the probability of a class",
                    self.y_max
                );
                return Err(Refusal::invalid("y-max", problem));
            }
            ExampleLoss::Huber { threshold } if !(threshold > 0.0 && threshold.is_finite()) => {
                return Err(Refusal::invalid("threshold", format!("must be a positive number, not {threshold}")));
            }
            _ => {}
        }
        if matches!(self.form, Form::Squares { .. }) && !self.descent().is_plain() {
            return Err(Refusal::invalid("form", "e2 is for the squared loss without ridge and lasso"));
        }
        let stable = 2.0 / self.smoothness();
        if self.rate > stable * (1.0 + 1e-12) {
            let quarter = if self.loss == ExampleLoss::Logistic { " / 4" } else { "" };
            let ridge = if self.ridge > 0.0 { " + ridge" } else { "" };
            let problem = format!(
                "must be at most 2 / (d x_max^2{quarter}{ridge}) = {stable}, not {}: the curvature of some prompt is d x_max^2{quarter}{ridge}, \
                 where larger steps diverge, and no bound holds",
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

    /// The iteration in double precision.
    pub fn descent(&self) -> FixedRateDescent {
        let Self { steps, rate, loss, ridge, lasso, .. } = *self;
        FixedRateDescent { steps, rate, loss, ridge, lasso }
    }

    /// Inputs and labels of a prompt. `[d, points]`, `[points]`
    fn examples(&self, prompt: &[f64]) -> (DMatrix<f64>, DVector<f64>) {
        let width = self.d + 1;
        let x = DMatrix::from_fn(self.d, self.points, |j, i| prompt[i * width + j]);
        (x, DVector::from_fn(self.points, |i, _| prompt[i * width + self.d]))
    }

    /// w_k of the iteration on a prompt. `[d]`
    fn descend(&self, prompt: &[f64]) -> Vec<f64> {
        let (x, y) = self.examples(prompt);
        self.descent().weights(x.as_view(), y.as_view()).as_slice().to_vec()
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
        let (x, y) = self.examples(prompt);
        let svd = x.transpose().svd(true, true);
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
        let Self { steps, rate, ridge, lasso, .. } = self;
        let mean = match self.loss {
            ExampleLoss::Squared => "1/(2N) sum (w . x_i - y_i)^2".to_owned(),
            ExampleLoss::Logistic => "1/N sum (ln(1 + exp(w . x_i)) - (1 + y_i) w . x_i / 2)".to_owned(),
            ExampleLoss::Huber { threshold } => format!("1/N sum huber(w . x_i - y_i), linear beyond {threshold}"),
        };
        let penalty = |factor: f64, of: &str| if factor > 0.0 { format!(" + {factor} {of}") } else { String::new() };
        let proximal = if *lasso > 0.0 { "proximal " } else { "" };
        let text = format!(
            "w . x_q after {steps} steps of {proximal}gradient descent from 0 at rate {rate} on {mean}{}{}",
            penalty(*ridge, "|w|^2/2"),
            penalty(*lasso, "|w|_1")
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
}

pub(super) fn power(base: f64, exponent: usize) -> f64 {
    base.powi(i32::try_from(exponent).unwrap_or(i32::MAX))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
