//! One frozen network that executes the algorithm that its prompt describes.
//!
//! A prompt holds examples, a query, and an algorithm as two tables, whose rows are anchors with keys and values
//! ([`Programs`]). The network runs
//!
//! v = u − 1/N Σ_i (Φ(w · x_i − a_i) − b_i) x_i,   w = v − Ψ(v),   u = v − Ω(v)
//!
//! k times from w = u = 0 and answers w · x_q. Attention to the rows of a table gives its function, since it interpolates between keys and is
//! linear in values. No weight depends on the algorithm: slopes of the loss, penalty, learning rate, where anchors stand and how sharply they are
//! attended to are numbers of the prompt. Layers are described in `layers.rs`, what bounds are based on in `bounds.rs`.
//!
//! # References
//! Hu et al. 2025, arXiv 2508.17550, who show that a frozen attention layer emulates f(w · x − y) x, and so gradient descent, for every
//! continuous f that its prompt describes; their networks are trained. Weights, bounds and the state with two functions are specific to this crate.

mod bounds;
mod layers;
mod lookups;

use headway_plain::Readout;
use headway_tasks::{
    Distribution, TaskConfig, TaskSpec,
    icl::algorithm::{Algorithm, AlgorithmsConfig, Programs},
};
use serde::{Deserialize, Serialize};

use super::{
    Construction, Cost, Request, Temperature, choose,
    in_context_gd::{InContextGd, readout},
    options::{Given, Options, Planned, ensure_size, sound},
};
use crate::{bound::Bound, domain::Domain, network::Network, refusal::Refusal, target::Target};

use bounds::Executed;
use layers::Sizes;

/// Options of [`Interpreter`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// N, number of examples of a prompt. Default 20.
    pub points: usize,
    /// d, dimension of an input. Default 5.
    pub d: usize,
    /// k, number of steps. Default 10.
    pub steps: usize,
    /// η, learning rate, at most 2 / (d x² + ridge); logistic losses take four times as much. Default 0.2.
    pub rate: f64,
    /// λ₂, factor on |w|²/2 of `ridge`. Default 0.1.
    pub ridge: f64,
    /// λ₁, factor on |w|₁ of `lasso` and `sparse_logistic`. Default 0.02.
    pub lasso: f64,
    /// Where Huber's loss becomes linear. Default 0.3.
    pub threshold: f64,
    /// Algorithms that are certified. Default all.
    pub algorithms: Vec<Algorithm>,
    /// Input numbers lie within ± this. Default 1.
    pub x_max: f64,
    /// Labels lie within ± this. Default 1.
    pub y_max: f64,
    /// p, intervals between anchors of a table, an even number; if `None`, the fewest that meet the tolerance.
    pub intervals: Option<usize>,
    /// δ, scale of scores of a mean; if `None`, the one with the smallest error.
    pub delta: Option<f64>,
}

impl Default for Config {
    fn default() -> Self {
        let AlgorithmsConfig { d, n_points: points, steps, rate, ridge, lasso, threshold, algorithms, .. } =
            AlgorithmsConfig::default();
        let (x_max, y_max, intervals, delta) = (1.0, 1.0, None, None);
        Self { points, d, steps, rate, ridge, lasso, threshold, algorithms, x_max, y_max, intervals, delta }
    }
}

/// Numbers of intervals that are tried.
const INTERVALS: [usize; 7] = [32, 48, 64, 96, 128, 192, 256];
/// Largest number of rows: positions are distinguished by squared distances, which float32 cannot hold exactly beyond it.
const MOST_ROWS: usize = 1024;
/// Largest number of steps: each takes four layers, and a model has at most 10 000.
const MOST_STEPS: usize = 1000;

impl Options for Config {
    fn sizes(&self) -> Vec<(&'static str, bool)> {
        vec![("intervals", self.intervals.is_some())]
    }

    fn plan(&self, _: Option<Given>, max_parameters: usize) -> Result<Planned, Refusal> {
        ensure_size("points x --d", &[self.points, self.d], max_parameters)?;
        let this = self.clone();
        Ok(Planned::with_task(0, move |request| {
            let plan = Interpreter::plan(&this, request)?;
            let task = TaskConfig::InContextAlgorithm(plan.programs.config.clone());
            Ok((plan.write().weights_in_float32("x-max")?, task))
        }))
    }
}

/// The construction that executes algorithms from the prompt.
#[derive(Clone, Debug)]
pub struct Interpreter {
    programs: Programs,
    executed: Vec<Executed>,
    ends: [f64; 2],
    /// δ and δ'.
    scales: [f64; 2],
}

impl Interpreter {
    /// Name on the command line.
    pub const NAME: &str = "interpreter";

    /// Chooses the size, then writes the weights.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if a size is zero or above the limits of this file, if a number is not positive and finite, or if the rate is one at
    /// which steps may diverge; and whatever [`choose`] refuses.
    pub fn build(config: &Config, request: Request) -> Result<Construction, Refusal> {
        Self::plan(config, request)?.write().weights_in_float32("x-max")
    }

    fn plan(config: &Config, request: Request) -> Result<Self, Refusal> {
        check(config)?;
        let intervals = config.intervals.map_or_else(|| INTERVALS.to_vec(), |intervals| vec![intervals]);
        let plans = intervals.into_iter().map(|intervals| Self::of(config, intervals));
        let plans = plans.collect::<Result<Vec<Self>, Refusal>>()?;
        // Bound and rounding may be largest of different algorithms.
        let cost = |plan: &Self| Cost::of(&plan.bound(), &plan.rounding(), plan.sizes().parameters());
        choose(request, plans, cost, "; fewer steps or a smaller rate reach further")
    }

    fn of(config: &Config, intervals: usize) -> Result<Self, Refusal> {
        let Config { points, d, steps, rate, ridge, lasso, threshold, x_max, y_max, .. } = *config;
        // Labels of the task stay within y_max: |w · x| is at most 0.8 of it, and the noise a thirtieth.
        let size = 0.8 * y_max / (d as f64 * x_max);
        let mut task = AlgorithmsConfig {
            d,
            n_points: points,
            noise: y_max / 30.0,
            input: Distribution::Uniform { low: -x_max, high: x_max },
            weights: Distribution::Uniform { low: -size, high: size },
            algorithms: config.algorithms.clone(),
            steps,
            rate,
            ridge,
            lasso,
            threshold,
            intervals,
            reach: 1.0,
        };
        sound(&task.validate())?;
        let ends = [x_max, y_max];
        let rows = Sizes::of(&task).rows();
        if rows > MOST_ROWS {
            let problem =
                format!("{points} take {rows} rows with the tables, of which float32 tells {MOST_ROWS} apart at most");
            return Err(Refusal::invalid("points", problem));
        }
        // What iterates reach does not depend on tables; w has an error, for which there is a tenth.
        let of = |task: &AlgorithmsConfig| -> Vec<Executed> {
            task.algorithms.iter().map(|algorithm| Executed::of(task, *algorithm, ends)).collect()
        };
        let known = of(&task);
        let largest = |each: fn(&Executed) -> f64| known.iter().map(each).fold(0.0, f64::max);
        task.reach = 1.1 * largest(Executed::reach);
        let executed = of(&task);
        let read = readout::scale(1.01 * largest(Executed::prediction));
        let scales = config.delta.map_or_else(
            || {
                let worst = |scales: &[f64; 2]| executed.iter().map(|one| one.error(*scales, rows)).fold(0.0, f64::max);
                let all = (0..400).map(|step| [10.0 * 0.98_f64.powi(step), read]);
                all.min_by(|a, b| worst(a).total_cmp(&worst(b))).unwrap_or([0.1, read])
            },
            |delta| [delta, read],
        );
        Ok(Self { programs: Programs::of(&task), executed, ends, scales })
    }

    fn sizes(&self) -> Sizes {
        Sizes::of(&self.programs.config)
    }

    /// The largest bound of any algorithm.
    fn bound(&self) -> Bound {
        let bounds = self.executed.iter().map(|one| one.bound(self.scales, self.sizes().rows()));
        bounds.max_by(|a, b| a.value.total_cmp(&b.value)).unwrap_or_default()
    }

    /// The largest of any algorithm.
    fn rounding(&self) -> Bound {
        let all = self.executed.iter().map(|one| one.rounding(self.scales));
        all.max_by(|a, b| a.value.total_cmp(&b.value)).unwrap_or_default()
    }

    fn target(&self) -> Target {
        let programs = self.programs.clone();
        let names: Vec<&str> = self.executed.iter().map(|one| one.algorithm.name()).collect();
        let AlgorithmsConfig { steps, .. } = programs.config;
        let text = format!("w . x_q after {steps} steps from 0 of the algorithm in the prompt: {}", names.join(", "));
        Target::opaque(text, move |prompt| {
            let mut y = vec![0.0; programs.config.dims().seq_len];
            if let Some(last) = y.last_mut() {
                *last = programs.answer(prompt);
            }
            y
        })
    }

    /// A box for every algorithm: its tables, and all examples and queries.
    fn domain(&self) -> Domain {
        let [x_max, y_max] = self.ends;
        let of = |algorithm: Algorithm| {
            let rows = |sign: f64| -> Vec<f64> {
                let AlgorithmsConfig { d, n_points, .. } = self.programs.config;
                let example: Vec<f64> = vec![sign * x_max; d].into_iter().chain([sign * y_max]).collect();
                self.programs.prompt(algorithm, &example.repeat(n_points + 1))
            };
            [rows(-1.0), rows(1.0)]
        };
        Domain::Boxes(self.executed.iter().map(|one| of(one.algorithm)).collect())
    }

    /// For every algorithm, prompts that are hard for [`InContextGd`].
    fn hard(&self) -> Vec<(&'static str, Vec<Vec<f64>>)> {
        let of = |one: &Executed| {
            let prompts = one.gd.hard().into_iter().flat_map(|(_, prompts)| prompts);
            prompts.map(|rows| self.programs.prompt(one.algorithm, &rows)).collect()
        };
        self.executed.iter().map(|one| (one.algorithm.name(), of(one))).collect()
    }

    fn write(&self) -> Construction {
        let (sizes, config) = (self.sizes(), &self.programs.config);
        let seq_len = sizes.rows();
        let layers = sizes.layers(self.scales);
        let [delta, read] = self.scales;
        Construction {
            name: Self::NAME,
            target: self.target(),
            domain: self.domain(),
            sizes: vec![
                ("delta".to_owned(), delta),
                ("delta'".to_owned(), read),
                ("p".to_owned(), config.intervals as f64),
                ("rows".to_owned(), seq_len as f64),
                ("layers".to_owned(), layers.len() as f64),
            ],
            network: Network { seq_len, d_in: config.width(), d_out: 1, layers, readout: Readout::Rows, causal: false },
            scored: Some((1..=seq_len).map(|position| position == seq_len).collect()),
            temperature: Temperature {
                beta: delta,
                reason: "delta scales the scores of a mean: larger ones leave the range where softmax is linear, smaller ones lose \
                         the mean in float32; how sharply tables are attended to is part of the prompt"
                    .to_owned(),
            },
            bound: self.bound(),
            rounding: self.rounding(),
            likely: None,
            provable: None,
            proof: None,
            truth: None,
            norm: None,
            hard: self.hard(),
        }
    }
}

fn check(config: &Config) -> Result<(), Refusal> {
    let Config { points, d, steps, rate, ridge, lasso, threshold, x_max, y_max, delta, .. } = *config;
    for (key, size, most) in [("points", points, MOST_ROWS), ("d", d, MOST_ROWS), ("steps", steps, MOST_STEPS)] {
        if !(1..=most).contains(&size) {
            return Err(Refusal::invalid(key, format!("must be from 1 to {most}, not {size}")));
        }
    }
    let numbers = [("ridge", ridge), ("lasso", lasso), ("threshold", threshold), ("delta", delta.unwrap_or(1.0))];
    for (key, number) in numbers {
        if !(number > 0.0 && number.is_finite()) {
            return Err(Refusal::invalid(key, format!("must be a positive number, not {number}")));
        }
    }
    if config.algorithms.is_empty() {
        return Err(Refusal::invalid("algorithms", "names none; name one at least"));
    }
    for (at, algorithm) in config.algorithms.iter().enumerate() {
        if config.algorithms[..at].contains(algorithm) {
            return Err(Refusal::invalid("algorithms", format!("names {} twice", algorithm.name())));
        }
    }
    let of = |algorithm: Algorithm| config.algorithms.contains(&algorithm);
    // Logistic losses take four times the rate, and have a quarter of the curvature.
    let ridge = if of(Algorithm::Ridge) { ridge } else { 0.0 };
    InContextGd { points, d, steps, rate, ridge, x_max, y_max, ..InContextGd::default() }.check()?;
    if (of(Algorithm::Logistic) || of(Algorithm::SparseLogistic)) && y_max > 1.0 {
        let problem = format!(
            "must be at most 1 with the logistic loss, not {y_max}: (1 + y) / 2 is the probability of a class; or leave logistic and \
             sparse_logistic out of --algorithms"
        );
        return Err(Refusal::invalid("y-max", problem));
    }
    Ok(())
}
