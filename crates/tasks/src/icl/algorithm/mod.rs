//! Prompts that hold an algorithm beside its data: what one network executes that can run any of them.

pub mod table;

use headway_keys::Described;
use nalgebra::{DMatrix, DVector};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::{
    baseline::{
        Baseline,
        gradient_descent::{ExampleLoss, FixedRateDescent},
        mean::Mean,
    },
    batch::{Batch, Example, Inputs, Targets, TaskDims, TaskInput},
    distribution::Distribution,
    error::TaskError,
    files::Files,
    seed::SampleRng,
    task::{Split, Task, TaskSpec},
};

use table::Table;

/// An algorithm that a prompt may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Gradient descent on least squares.
    Gd,
    /// Gradient descent on least squares with a penalty on |w|^2: ridge regression.
    Ridge,
    /// Proximal gradient descent on least squares with a penalty on |w|_1: the Lasso, by ISTA.
    Lasso,
    /// Gradient descent on Huber's loss: robust regression.
    Huber,
    /// Gradient descent on the logistic loss: logistic regression.
    Logistic,
    /// Proximal gradient descent on the logistic loss with a penalty on |w|_1.
    SparseLogistic,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Self; 6] = [Self::Gd, Self::Ridge, Self::Lasso, Self::Huber, Self::Logistic, Self::SparseLogistic];

    /// Its name in config files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gd => "gd",
            Self::Ridge => "ridge",
            Self::Lasso => "lasso",
            Self::Huber => "huber",
            Self::Logistic => "logistic",
            Self::SparseLogistic => "sparse_logistic",
        }
    }
}

/// Sizes and distributions of [`Algorithms`], and the numbers of its algorithms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct AlgorithmsConfig {
    /// Dimension of x. Default 5.
    pub d: usize,
    /// Number of examples N of a prompt; the query is one more row, and so is every anchor of the tables. Default 20.
    pub n_points: usize,
    /// Standard deviation of the noise added to the y of every example, in units of y. Default: one thirtieth.
    pub noise: f64,
    /// Distribution of every coordinate of x. Default U(-1, 1).
    pub input: Distribution,
    /// Distribution of every coordinate of w. Default U(-0.16, 0.16).
    pub weights: Distribution,
    /// Algorithms, one of which is drawn for every prompt. Default: all of them.
    pub algorithms: Vec<Algorithm>,
    /// Number of steps. Default 10.
    pub steps: usize,
    /// Learning rate; logistic losses, whose slopes change a quarter as fast, take four times as much. Default 0.2.
    pub rate: f64,
    /// Factor on |w|^2 / 2, of `ridge`. Default 0.1.
    pub ridge: f64,
    /// Factor on |w|_1, of `lasso` and `sparse_logistic`. Default 0.02.
    pub lasso: f64,
    /// Where Huber's loss becomes a line. Default 0.3.
    pub threshold: f64,
    /// Number of intervals between the anchors of a table, an even one. Default 128.
    pub intervals: usize,
    /// Arguments of tables that are no clamps lie within plus or minus this. Default 10.
    pub reach: f64,
}

impl Default for AlgorithmsConfig {
    fn default() -> Self {
        Self {
            d: 5,
            n_points: 20,
            noise: 1.0 / 30.0,
            input: Distribution::Uniform { low: -1.0, high: 1.0 },
            weights: Distribution::Uniform { low: -0.16, high: 0.16 },
            algorithms: Algorithm::ALL.to_vec(),
            steps: 10,
            rate: 0.2,
            ridge: 0.1,
            lasso: 0.02,
            threshold: 0.3,
            intervals: 128,
            reach: 10.0,
        }
    }
}

/// Columns of a row beyond x: see [`Programs`].
const MORE: usize = 7;
/// Their order.
const SHIFT: usize = 0;
const BIAS: usize = 1;
const SLOPE_KEY: usize = 2;
const STEP_KEY: usize = 3;
const OFFSET: usize = 4;
const VALUE: usize = 5;
const SECOND: usize = 6;
/// Smallest and largest number of intervals of a table.
const INTERVALS: [usize; 2] = [2 * Table::BEYOND + 2, 256];
/// Largest number of steps, since each is taken on every prompt of a test set.
const MOST_STEPS: usize = 100_000;

impl AlgorithmsConfig {
    /// What an algorithm does, exactly.
    pub fn rule(&self, algorithm: Algorithm) -> FixedRateDescent {
        let Self { steps, rate, ridge, lasso, threshold, .. } = *self;
        let squares = FixedRateDescent { steps, rate, loss: ExampleLoss::Squared, ridge: 0.0, lasso: 0.0 };
        let logistic = FixedRateDescent { rate: 4.0 * rate, loss: ExampleLoss::Logistic, ..squares };
        match algorithm {
            Algorithm::Gd => squares,
            Algorithm::Ridge => FixedRateDescent { ridge, ..squares },
            Algorithm::Lasso => FixedRateDescent { lasso, ..squares },
            Algorithm::Huber => FixedRateDescent { loss: ExampleLoss::Huber { threshold }, ..squares },
            Algorithm::Logistic => logistic,
            Algorithm::SparseLogistic => FixedRateDescent { lasso, ..logistic },
        }
    }

    /// Numbers of a row.
    pub fn width(&self) -> usize {
        self.d + MORE
    }

    /// The tables of an algorithm: slopes, and what a step takes from v on its way to w, or to where the next step starts.
    pub fn tables(&self, algorithm: Algorithm) -> [Table; 3] {
        let FixedRateDescent { rate, loss, ridge, lasso, .. } = self.rule(algorithm);
        let (reach, intervals) = (self.reach, self.intervals);
        let slopes = match loss {
            ExampleLoss::Squared => Table::smooth(|u| rate * u, reach, intervals),
            ExampleLoss::Huber { threshold } => Table::clamp(threshold, rate, intervals),
            ExampleLoss::Logistic => Table::smooth(|u| rate * (u / 2.0).tanh() / 2.0, reach, intervals),
        };
        if lasso > 0.0 {
            let threshold = Table::clamp(rate * lasso, 1.0, intervals);
            [slopes, threshold.clone(), threshold]
        } else if ridge > 0.0 {
            let decay = Table::smooth(|v| rate * ridge * v, reach, intervals);
            [slopes, Table { values: vec![0.0; intervals + 1], ..decay.clone() }, decay]
        } else {
            let nothing = Table::nothing(intervals);
            [slopes, nothing.clone(), nothing]
        }
    }
}

impl TaskSpec for AlgorithmsConfig {
    fn dims(&self) -> TaskDims {
        let seq_len = 2 * (self.intervals + 1) + self.n_points + 1;
        TaskDims { seq_len, input: TaskInput::Continuous { d_in: self.width() }, d_out: 1 }
    }

    fn validate(&self) -> Vec<TaskError> {
        let key =
            |key: &'static str, is_wrong: bool, problem: String| is_wrong.then_some(TaskError::Key { key, problem });
        let [fewest, most] = INTERVALS;
        let odd = format!("{} must be even, so that an anchor stands at 0", self.intervals);
        [
            TaskError::below("d", self.d, 1),
            TaskError::below("n_points", self.n_points, 1),
            TaskError::negative("noise", self.noise, "no noise"),
            TaskError::bad_distribution("input", &self.input),
            TaskError::bad_distribution("weights", &self.weights),
            key("algorithms", self.algorithms.is_empty(), "names no algorithm; name one at least".to_owned()),
            TaskError::below("steps", self.steps, 1),
            TaskError::above("steps", self.steps, MOST_STEPS),
            TaskError::not_positive("rate", self.rate),
            TaskError::not_positive("ridge", self.ridge),
            TaskError::not_positive("lasso", self.lasso),
            TaskError::not_positive("threshold", self.threshold),
            TaskError::below("intervals", self.intervals, fewest),
            TaskError::above("intervals", self.intervals, most),
            key("intervals", !self.intervals.is_multiple_of(2), odd),
            TaskError::not_positive("reach", self.reach),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn open(&self, _: &Files, _: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        Ok(Box::new(Algorithms { programs: Programs::of(self) }))
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        None
    }

    fn asks_once(&self) -> bool {
        true
    }
}

/// The algorithms of a config as rows of prompts, and what they do. A prompt, of which every row has the same columns:
///
/// | rows | x (d) | shift | bias | slope key | step key | offset | value | second value |
/// |---|---|---|---|---|---|---|---|---|
/// | anchors of Φ, for slopes | | | | g k | | −c k² | Φ | |
/// | anchors of Ψ and Ω, for steps | | | | | g k | −c k² | Ψ | Ω |
/// | N examples | x_i | a_i | b_i | | | | | |
/// | the query | x_q | | | | | | | |
///
/// It stands for w_0 = u_0 = 0, v_{t+1} = u_t − 1/N Σ_i (Φ(w_t · x_i − a_i) − b_i) x_i, w_{t+1} = v_{t+1} − Ψ(v_{t+1}), u_{t+1} =
/// v_{t+1} − Ω(v_{t+1}), of which w_k · x_q is asked for. For losses of w · x − y, Φ is the learning rate times the slope and a_i = y_i; for the
/// logistic loss a_i = 0, and b_i is half the rate times y_i. A soft threshold is Ψ = Ω = a clamp; a ridge has Ω(v) = rate ridge v.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The config.
    pub config: AlgorithmsConfig,
    /// The rows of both tables, rounded to float32, of every algorithm of the config.
    tables: Vec<Vec<f64>>,
}

impl Programs {
    /// Those of a config, which must be valid.
    pub fn of(config: &AlgorithmsConfig) -> Self {
        let tables = config.algorithms.iter().map(|algorithm| rows_of(config, *algorithm)).collect();
        Self { config: config.clone(), tables }
    }

    /// The prompt of an algorithm for rows (x_1, y_1), …, (x_N, y_N), (x_q, 0).
    ///
    /// # Shapes
    /// `[(n_points + 1) · (d + 1)]` -> `[seq_len · width]`, row by row
    ///
    /// # Panics
    /// If the config does not have the algorithm.
    pub fn prompt(&self, algorithm: Algorithm, rows: &[f64]) -> Vec<f64> {
        let AlgorithmsConfig { d, n_points, .. } = self.config;
        let known = self.config.algorithms.iter().position(|known| *known == algorithm);
        let mut prompt = self.tables[known.expect("an algorithm of the config")].clone();
        let rule = self.config.rule(algorithm);
        for (at, row) in rows.chunks_exact(d + 1).enumerate() {
            let mut wide = row[..d].to_vec();
            wide.resize(self.config.width(), 0.0);
            if at < n_points {
                match rule.loss {
                    ExampleLoss::Logistic => wide[d + BIAS] = rule.rate * row[d] / 2.0,
                    ExampleLoss::Squared | ExampleLoss::Huber { .. } => wide[d + SHIFT] = row[d],
                }
            }
            prompt.extend(wide);
        }
        prompt
    }

    /// The algorithm whose tables are nearest to those of a prompt.
    pub fn algorithm(&self, prompt: &[f64]) -> Algorithm {
        let far = |tables: &[f64]| tables.iter().zip(prompt).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        let nearest = self.tables.iter().map(|tables| far(tables)).enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
        self.config.algorithms[nearest.map_or(0, |(at, _)| at)]
    }

    /// Examples and query of a prompt of an algorithm: x, a point per column, y, and the query.
    ///
    /// # Shapes
    /// `[seq_len · width]` -> `[d, n_points]`, `[n_points]`, `[d]`
    pub fn examples(&self, algorithm: Algorithm, prompt: &[f64]) -> (DMatrix<f64>, DVector<f64>, DVector<f64>) {
        let AlgorithmsConfig { d, n_points, intervals, .. } = self.config;
        let width = self.config.width();
        let data = &prompt[2 * (intervals + 1) * width..];
        let rule = self.config.rule(algorithm);
        let y = |row: usize| match rule.loss {
            ExampleLoss::Logistic => 2.0 * data[row * width + d + BIAS] / rule.rate,
            ExampleLoss::Squared | ExampleLoss::Huber { .. } => data[row * width + d + SHIFT],
        };
        (
            DMatrix::from_fn(d, n_points, |column, row| data[row * width + column]),
            DVector::from_fn(n_points, |row, _| y(row)),
            DVector::from_fn(d, |column, _| data[n_points * width + column]),
        )
    }

    /// What a prompt asks for: w · `x_q` after the steps of its algorithm, in double precision.
    pub fn answer(&self, prompt: &[f64]) -> f64 {
        let algorithm = self.algorithm(prompt);
        let (x, y, query) = self.examples(algorithm, prompt);
        self.config.rule(algorithm).weights(x.as_view(), y.as_view()).dot(&query)
    }
}

/// The rows of the tables of an algorithm, as float32 holds them.
fn rows_of(config: &AlgorithmsConfig, algorithm: Algorithm) -> Vec<f64> {
    let [slopes, values, seconds] = config.tables(algorithm);
    let (d, width) = (config.d, config.width());
    let row = |key: usize, [at, offset]: [f64; 2], value: f64, second: f64| {
        let mut row = vec![0.0; width];
        for (column, number) in [(key, at), (OFFSET, offset), (VALUE, value), (SECOND, second)] {
            row[d + column] = f64::from(number as f32);
        }
        row
    };
    let of_slopes = slopes.keys().into_iter().zip(&slopes.values).map(|(key, value)| row(SLOPE_KEY, key, *value, 0.0));
    let of_steps = values.keys().into_iter().zip(values.values.iter().zip(&seconds.values));
    let of_steps = of_steps.map(|(key, (value, second))| row(STEP_KEY, key, *value, *second));
    of_slopes.chain(of_steps).flatten().collect()
}

/// `y_i` = w . `x_i` + noise with a new w in every prompt, which also holds one of several algorithms as tables: the answer is the
/// prediction for a query after so many steps of that algorithm. Rows are those of [`Programs`].
///
/// # Shapes
/// inputs `[2 (intervals + 1) + n_points + 1, d + 7]` -> targets `[…, 1]`, of which the last is scored
///
/// # References
/// Hu et al. 2025, arXiv 2508.17550, where a frozen network emulates algorithms that its prompt describes.
#[derive(Clone, Debug)]
pub struct Algorithms {
    /// Rows and answers of its algorithms.
    pub programs: Programs,
}

impl Algorithms {
    /// A regression problem drawn from the distributions, as rows (x_1, y_1), …, (x_N, y_N), (x_q, 0).
    pub fn problem(config: &AlgorithmsConfig, rng: &mut SampleRng) -> Vec<f64> {
        let AlgorithmsConfig { d, n_points, noise, ref input, ref weights, .. } = *config;
        let w = weights.vector(d, rng);
        let mut rows = Vec::with_capacity((n_points + 1) * (d + 1));
        for row in 0..=n_points {
            let x = input.vector(d, rng);
            let z: f64 = x.iter().zip(&w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
            rows.extend(x.into_iter().map(f64::from));
            let y = z + noise * f64::from(Distribution::STANDARD_NORMAL.sample(rng));
            rows.push(if row < n_points { f64::from(y as f32) } else { 0.0 });
        }
        rows
    }
}

impl Task for Algorithms {
    fn dims(&self) -> TaskDims {
        self.programs.config.dims()
    }

    /// Draws the algorithm, then w, then x and noise of every row.
    fn example(&self, _: Split, _: u64, rng: &mut SampleRng) -> Example {
        let config = &self.programs.config;
        let algorithm = config.algorithms[rng.random_range(0..config.algorithms.len())];
        let prompt = self.programs.prompt(algorithm, &Self::problem(config, rng));
        let prompt: Vec<f32> = prompt.into_iter().map(|number| number as f32).collect();
        let seq_len = config.dims().seq_len;
        let mut targets = vec![0.0; seq_len];
        targets[seq_len - 1] = self.programs.answer(&doubles(&prompt)) as f32;
        Example {
            inputs: Inputs::Continuous(prompt),
            targets: Targets::Continuous(targets),
            loss_mask: (1..=seq_len).map(|position| position == seq_len).collect(),
            slices: vec![None; seq_len],
        }
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        vec![
            Box::new(AsTold(self.programs.clone())),
            Box::new(AlwaysDescent(self.programs.clone())),
            Box::new(Mean::default()),
        ]
    }
}

/// The algorithm of each prompt, in double precision.
struct AsTold(Programs);

/// Gradient descent on least squares, whatever the prompt says.
struct AlwaysDescent(Programs);

impl Baseline for AsTold {
    fn name(&self) -> &'static str {
        "algorithm"
    }

    fn fit(&mut self, _: &Batch) {}

    fn predict(&self, batch: &Batch) -> Vec<f32> {
        at_queries(batch, |prompt| self.0.answer(prompt))
    }
}

impl Baseline for AlwaysDescent {
    fn name(&self) -> &'static str {
        "gradient_descent"
    }

    fn fit(&mut self, _: &Batch) {}

    fn predict(&self, batch: &Batch) -> Vec<f32> {
        let rule = self.0.config.rule(Algorithm::Gd);
        at_queries(batch, |prompt| {
            let (x, y, query) = self.0.examples(self.0.algorithm(prompt), prompt);
            rule.weights(x.as_view(), y.as_view()).dot(&query)
        })
    }
}

/// Answers at the last row of every prompt, and 0 at all others.
fn at_queries(batch: &Batch, answer: impl Fn(&[f64]) -> f64) -> Vec<f32> {
    let inputs = batch.inputs.continuous();
    let answers = inputs.chunks_exact(inputs.len() / batch.size).map(|prompt| answer(&doubles(prompt)) as f32);
    answers.flat_map(|answer| std::iter::repeat_n(0.0, batch.dims.seq_len - 1).chain([answer])).collect()
}

fn doubles(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().copied().map(f64::from).collect()
}
