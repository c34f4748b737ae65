//! Kernel ridge regression on the examples in a prompt, by Richardson's iteration.
//!
//! The prompt holds N examples (x_i, y_i) and, last, (x_q, 0). At the last position the network predicts ŷ = Σ_i α_i k(x_i, x_q), where
//!
//! α ← α − η ((K + λ I) α − y)   from α = 0,   K_ij = k(x_i, x_j) = exp(−|x_i − x_j|²/(2 s²)).
//!
//! As k ≤ 1, K has eigenvalues between 0 and N, and for η ≤ 2/(N + λ) the iteration never diverges. It converges to (K + λ I)⁻¹ y.
//!
//! Softmax attention has the kernel built in: with scores −|x_i − x_j|²/(2 s²) and α_j as values, a row gets Σ_j k(x_i, x_j) α_j over the sum of
//! weights, which an empty row of weight e¹⁶ makes all but constant. So a step is one layer with one head beside the one that carries the prompt, with
//! no division by anything that depends on the data; layers are described in `layers.rs`, what bounds are based on in `bounds.rs`.
//!
//! # References
//! Yan et al. 2026, arXiv 2605.08475 (its abstract), where softmax attention gives the row-normalised kernel of a preconditioned Richardson iteration, and
//! feed-forward blocks of width O(√(N/ε)) do the arithmetic of each token. The empty row in their place, weights and bounds are specific to this crate.

mod bounds;
mod layers;

use headway_plain::Readout;
use headway_tasks::{
    Distribution, Probe, TaskConfig,
    baseline::{
        in_context::InContext,
        kernel_ridge::{Gaussian, KernelRidge as Exact, Richardson},
    },
    icl::kernel::{Iteration, KernelConfig},
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

/// Options of [`KernelRidge`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// N, number of examples of a prompt. Default 20.
    pub points: usize,
    /// d, dimension of an input. Default 5.
    pub d: usize,
    /// Number of steps. Default 10.
    pub steps: usize,
    /// η, size of a step, at most 2 / (N + ridge). Default 0.05.
    pub rate: f64,
    /// s, the kernel's bandwidth. Default 1.
    pub bandwidth: f64,
    /// λ, what is added to the kernel matrix's diagonal. Default 0.1.
    pub ridge: f64,
    /// Input numbers lie within ± this. Default 1.
    pub x_max: f64,
    /// Labels lie within ± this. Default 1.
    pub y_max: f64,
}

impl Default for Config {
    fn default() -> Self {
        let KernelConfig { d, n_points: points, bandwidth, richardson, .. } = KernelConfig::default();
        let Iteration { steps, rate, ridge } = richardson;
        Self { points, d, steps, rate, bandwidth, ridge, x_max: 1.0, y_max: 1.0 }
    }
}

/// Number of centres of the task's hidden functions.
const CENTRES: usize = 3;
/// Largest number of examples: positions are distinguished by squared distances, which float32 cannot hold exactly beyond it.
const MOST_POINTS: usize = 960;
/// Largest number of numbers of an input.
const MOST_D: usize = 1024;
/// Largest number of steps: each takes a layer, and a model has at most 10 000.
const MOST_STEPS: usize = 4000;

/// Largest label: float32 must hold what steps add up, times e¹⁶.
const LARGEST: f64 = 1e24;

impl Options for Config {
    fn sizes(&self) -> Vec<(&'static str, bool)> {
        Vec::new()
    }

    fn plan(&self, _: Option<Given>, max_parameters: usize) -> Result<Planned, Refusal> {
        let &Self { points, d, steps, rate, bandwidth, ridge, x_max, y_max } = self;
        ensure_size("points x --d", &[points, d], max_parameters)?;
        // Labels of the task stay within y_max: |f| is at most 0.8 of it, and the noise a thirtieth.
        let size = 0.8 * y_max / CENTRES as f64;
        let task = TaskConfig::InContextKernel(KernelConfig {
            d,
            n_points: points,
            centres: CENTRES,
            bandwidth,
            noise: y_max / 30.0,
            input: Distribution::Uniform { low: -x_max, high: x_max },
            weights: Distribution::Uniform { low: -size, high: size },
            richardson: Iteration { steps, rate, ridge },
        });
        let construction = KernelRidge { points, d, steps, rate, bandwidth, ridge, x_max, y_max };
        Ok(Planned::new(task, 0, move |request| construction.build(request)))
    }
}

/// The construction that solves kernel ridge regression in context.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelRidge {
    /// N, number of examples of a prompt; the query is one more position. Default 20.
    pub points: usize,
    /// d, dimension of an input. Default 5.
    pub d: usize,
    /// Number of steps. Default 10.
    pub steps: usize,
    /// η, size of a step, at most 2 / (N + λ). Default 0.05.
    pub rate: f64,
    /// s, the kernel's bandwidth. Default 1.
    pub bandwidth: f64,
    /// λ, what is added to the kernel matrix's diagonal. Default 0.1.
    pub ridge: f64,
    /// Input numbers lie within ± this. Default 1.
    pub x_max: f64,
    /// Labels lie within ± this. Default 1.
    pub y_max: f64,
}

impl Default for KernelRidge {
    fn default() -> Self {
        let Config { points, d, steps, rate, bandwidth, ridge, x_max, y_max } = Config::default();
        Self { points, d, steps, rate, bandwidth, ridge, x_max, y_max }
    }
}

impl KernelRidge {
    /// Name on the command line.
    pub const NAME: &str = "kernel-ridge";

    /// Chooses the size, then writes the weights.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if a size is zero or above the limits of this file, if a number is not positive and finite, or if the rate is above
    /// 2 / (N + λ), where the iteration may diverge; and whatever [`choose`] refuses.
    pub fn build(&self, request: Request) -> Result<Construction, Refusal> {
        self.check()?;
        let cost =
            |plan: &Plan| Cost::of(&plan.bound(self), &plan.rounding(self), layers::parameters(self, plan.anchors()));
        let hint = "; fewer steps, a smaller rate or a wider kernel reach further";
        let plan = choose(request, Plan::all(), cost, hint)?;
        self.write(&plan).weights_in_float32("bandwidth")
    }

    fn check(&self) -> Result<(), Refusal> {
        for (key, size, most) in
            [("points", self.points, MOST_POINTS), ("d", self.d, MOST_D), ("steps", self.steps, MOST_STEPS)]
        {
            if !(1..=most).contains(&size) {
                return Err(Refusal::invalid(key, format!("must be from 1 to {most}, not {size}")));
            }
        }
        let numbers =
            [("rate", self.rate), ("bandwidth", self.bandwidth), ("x-max", self.x_max), ("y-max", self.y_max)];
        for (key, value) in numbers {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Refusal::invalid(key, format!("must be a positive number, not {value}")));
            }
        }
        if self.y_max > LARGEST {
            return Err(Refusal::invalid("y-max", format!("must be at most {LARGEST:e}, not {}", self.y_max)));
        }
        if !(self.ridge >= 0.0 && self.ridge.is_finite()) {
            return Err(Refusal::invalid("ridge", format!("must be a number from 0 on, not {}", self.ridge)));
        }
        let stable = 2.0 / (self.points as f64 + self.ridge);
        // So that 2 / (N + λ) itself may be given, as it is printed.
        if self.rate > stable * (1.0 + 1e-9) {
            let problem = format!(
                "must be at most 2 / (points + ridge) = {stable}, not {}: where all examples have the same input the kernel matrix has the \
                 eigenvalue {}, larger steps diverge, and no bound holds",
                self.rate, self.points
            );
            return Err(Refusal::invalid("rate", problem));
        }
        Ok(())
    }

    /// The iteration in double precision.
    pub fn richardson(&self) -> Richardson {
        let Self { steps, rate, ridge, bandwidth, .. } = *self;
        Richardson { kernel: Gaussian { bandwidth }, ridge, steps, rate }
    }

    /// Inputs, labels and query of a prompt. `[d, points]`, `[points]`, `[d]`
    fn examples(&self, prompt: &[f64]) -> (DMatrix<f64>, DVector<f64>, DVector<f64>) {
        let width = self.d + 1;
        let x = DMatrix::from_fn(self.d, self.points, |j, i| prompt[i * width + j]);
        let y = DVector::from_fn(self.points, |i, _| prompt[i * width + self.d]);
        (x, y, DVector::from_column_slice(&prompt[self.points * width..][..self.d]))
    }

    /// ŷ of the last position: so many steps of the iteration in double precision.
    ///
    /// # Shapes
    /// `[(points + 1) · (d + 1)]`, row by row
    pub fn predict(&self, prompt: &[f64]) -> f64 {
        let (x, y, query) = self.examples(prompt);
        self.richardson().answer(x.as_view(), y.as_view(), query.as_view())
    }

    /// Difference between this prediction and that of (K + λ I)⁻¹ y.
    ///
    /// # Shapes
    /// `[(points + 1) · (d + 1)]`, row by row
    pub fn solution_gap(&self, prompt: &[f64]) -> f64 {
        let (x, y, query) = self.examples(prompt);
        let exact = Exact { kernel: Gaussian { bandwidth: self.bandwidth }, ridge: self.ridge };
        (self.predict(prompt) - exact.answer(x.as_view(), y.as_view(), query.as_view())).abs()
    }

    fn target(&self) -> Target {
        let this = self.clone();
        let Self { steps, rate, ridge, bandwidth, .. } = self;
        let text = format!(
            "sum_i alpha_i k(x_i, x_q) after {steps} steps of Richardson's iteration from 0 at rate {rate} on (K + {ridge} I) alpha = y, \
             k(x, x') = exp(-|x - x'|^2 / (2 s^2)), s = {bandwidth}"
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

    /// A prompt from its examples and query.
    fn prompt(&self, example: impl FnMut(usize) -> (Vec<f64>, f64), query: Vec<f64>) -> Vec<f64> {
        let examples = (0..self.points).map(example).flat_map(|(x, y)| x.into_iter().chain([y]));
        examples.chain(query).chain([0.0]).collect()
    }

    /// Prompts that are hard: identical examples, with the largest eigenvalue there is; two groups of them, nearer and farther apart; a line of
    /// examples, whose neighbours disagree; corners, where scores are largest and cancel; labels that are small beside their weights; zeros.
    fn hard(&self) -> Vec<(&'static str, Vec<Vec<f64>>)> {
        let Self { points, d, x_max, y_max, bandwidth, .. } = *self;
        let sign = |i: usize| if i.is_multiple_of(2) { 1.0 } else { -1.0 };
        let parts = [-1.0, -0.83, -0.5, -0.11, 0.0, 0.07, 0.29, 0.5, 0.71, 0.9, 1.0];
        let every = |of: &dyn Fn(f64, f64) -> Vec<f64>| -> Vec<Vec<f64>> {
            parts.iter().flat_map(|a| parts.iter().map(move |b| (*a, *b))).map(|(a, b)| of(a, b)).collect()
        };
        let alike = every(&|a, b| self.prompt(|_| (vec![a * x_max; d], b * y_max), vec![a * x_max; d]));
        let groups = every(&|a, b| {
            let other = (a * x_max + b * bandwidth).clamp(-x_max, x_max);
            self.prompt(|i| (vec![if i % 2 == 0 { a * x_max } else { other }; d], sign(i) * y_max), vec![a * x_max; d])
        });
        let line = every(&|a, b| {
            let place = |i: usize| a * x_max * (2.0 * i as f64 / points as f64 - 1.0);
            self.prompt(|i| (vec![place(i); d], sign(i) * y_max), vec![b * x_max; d])
        });
        let mut rng = Probe::Prompt.rng();
        let mut signs = |count: usize, size: f64| -> Vec<f64> {
            (0..count).map(|_| if rng.random::<bool>() { size } else { -size }).collect()
        };
        let (mut corners, mut opposed) = (Vec::new(), Vec::new());
        for _ in 0..48 {
            let labels = signs(points, y_max);
            let xs: Vec<Vec<f64>> = (0..points).map(|_| signs(d, x_max)).collect();
            corners.push(self.prompt(|i| (xs[i].clone(), labels[i]), xs[0].clone()));
            // As many of either label at each of a few places: coefficients grow, and what they add up to does not.
            opposed.push(self.prompt(|i| (xs[i % 3 % points].clone(), sign(i / 3) * y_max), xs[0].clone()));
        }
        vec![
            ("alike", alike),
            ("groups", groups),
            ("line", line),
            ("corners", corners),
            ("opposed", opposed),
            ("nothing", vec![self.prompt(|_| (vec![0.0; d], 0.0), vec![0.0; d])]),
        ]
    }

    fn write(&self, plan: &Plan) -> Construction {
        let layers = layers::layers(self, plan);
        let seq_len = self.points + 1;
        Construction {
            name: Self::NAME,
            target: self.target(),
            domain: self.domain(),
            sizes: vec![
                ("p".to_owned(), plan.intervals() as f64),
                ("rows".to_owned(), layers[0].rows().max(layers::rows(self)) as f64),
                ("layers".to_owned(), layers.len() as f64),
            ],
            network: Network { seq_len, d_in: self.d + 1, d_out: 1, layers, readout: Readout::Rows, causal: false },
            scored: Some((0..seq_len).map(|position| position == self.points).collect()),
            temperature: Temperature {
                beta: 0.5 / self.bandwidth.powi(2),
                reason: "the kernel's own: scores are -beta |x - x'|^2, beta = 1 / (2 s^2)".to_owned(),
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
