//! A network in the prompt, to be trained on the examples behind it.

use headway_keys::Described;
use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};

use crate::{
    baseline::{Baseline, in_context::InContext, mean::Mean, network_descent::NetworkDescent, rows::Rows},
    batch::{Example, TaskDims, TaskInput},
    distribution::Distribution,
    error::TaskError,
    files::Files,
    prompt::rows,
    seed::SampleRng,
    task::{Split, Task, TaskSpec},
};

/// Sizes and distributions of [`NetworkTraining`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// Dimension of x and of every w. Default 2.
    pub d: usize,
    /// Number of hidden units of the network in a prompt, a row each. Default 4.
    pub units: usize,
    /// Number of examples N of a prompt; the query is one more row. Default 10.
    pub n_points: usize,
    /// Number of steps of gradient descent. Default 3.
    pub steps: usize,
    /// Learning rate. Default 0.05.
    pub rate: f64,
    /// Standard deviation of the noise added to the y of every example, in units of y. Default: one thirtieth.
    pub noise: f64,
    /// Distribution of every coordinate of x. Default U(-1, 1).
    pub input: Distribution,
    /// Distribution of every coordinate of w, of the network in the prompt and of the one that examples are drawn from. Default
    /// U(-1, 1).
    pub weights: Distribution,
    /// Distribution of every output weight a of the network in the prompt. Default U(-0.25, 0.25).
    pub outputs: Distribution,
    /// Distribution of every output weight of the network that examples are drawn from. Default U(-0.2, 0.2).
    pub teacher: Distribution,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        let within = |end: f64| Distribution::Uniform { low: -end, high: end };
        Self {
            d: 2,
            units: 4,
            n_points: 10,
            steps: 3,
            rate: 0.05,
            noise: 1.0 / 30.0,
            input: within(1.0),
            weights: within(1.0),
            outputs: within(0.25),
            teacher: within(0.2),
        }
    }
}

/// Largest number of steps, since each is taken on every prompt of a test set.
const MOST_STEPS: usize = 100_000;

impl NetworkConfig {
    /// The training that the answer comes from.
    pub fn rule(&self) -> NetworkDescent {
        let Self { units, steps, rate, .. } = *self;
        NetworkDescent { units, steps, rate }
    }
}

impl TaskSpec for NetworkConfig {
    fn dims(&self) -> TaskDims {
        let seq_len = self.units + self.n_points + 1;
        TaskDims { seq_len, input: TaskInput::Continuous { d_in: self.d + 1 }, d_out: 1 }
    }

    fn validate(&self) -> Vec<TaskError> {
        let problems = [
            TaskError::below("d", self.d, 1),
            TaskError::below("units", self.units, 1),
            TaskError::below("n_points", self.n_points, 1),
            TaskError::below("steps", self.steps, 1),
            TaskError::above("steps", self.steps, MOST_STEPS),
            TaskError::not_positive("rate", self.rate),
            TaskError::negative("noise", self.noise, "no noise"),
            TaskError::bad_distribution("input", &self.input),
            TaskError::bad_distribution("weights", &self.weights),
            TaskError::bad_distribution("outputs", &self.outputs),
            TaskError::bad_distribution("teacher", &self.teacher),
        ];
        let mut problems: Vec<TaskError> = problems.into_iter().flatten().collect();
        if problems.is_empty() {
            let units = self.units as f64;
            problems.extend(TaskError::squares_overflow("outputs", units.powi(2) * self.outputs.moment(2)));
            problems.extend(TaskError::squares_overflow("teacher", units.powi(2) * self.teacher.moment(2)));
        }
        problems
    }

    fn open(&self, _: &Files, _: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        Ok(Box::new(NetworkTraining { config: self.clone() }))
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        None
    }

    fn asks_once(&self) -> bool {
        true
    }
}

/// A prompt begins with a network f(x) = sum_j a_j tanh(w_j . x), a row (w_j, a_j) for each of its units, and goes on with examples (x_i, y_i) of another network
/// of the same size, with noise, and a query (x_q, 0): the answer is f(x_q) after so many steps of gradient descent of f on the examples.
///
/// # Shapes
/// inputs `[units + n_points + 1, d + 1]` -> targets `[…, 1]`, of which the last is scored
#[derive(Clone, Debug)]
pub struct NetworkTraining {
    /// Sizes and distributions.
    pub config: NetworkConfig,
}

impl Task for NetworkTraining {
    fn dims(&self) -> TaskDims {
        self.config.dims()
    }

    /// Draws both networks, then x_1, …, x_N, x_q, then the noise.
    fn example(&self, _: Split, _: u64, rng: &mut SampleRng) -> Example {
        let NetworkConfig { d, units, n_points, noise, ref input, ref weights, ref outputs, ref teacher, .. } =
            self.config;
        let inner = DMatrix::from_vec(d, units, weights.vector(d * units, rng));
        let outer = DVector::from_vec(outputs.vector(units, rng));
        let teacher_w = DMatrix::from_vec(d, units, weights.vector(d * units, rng)).map(f64::from);
        let teacher_a = DVector::from_vec(teacher.vector(units, rng)).map(f64::from);
        let x = DMatrix::from_vec(d, n_points + 1, input.vector(d * (n_points + 1), rng)); // a point per column
        let noise = DVector::from_vec(Distribution::STANDARD_NORMAL.vector(n_points, rng)).map(f64::from) * noise;
        let labels = teacher_w.tr_mul(&x.columns(0, n_points).map(f64::from)).map(f64::tanh).tr_mul(&teacher_a) + noise;
        let y = DVector::from_iterator(units + n_points, outer.iter().copied().chain(labels.iter().map(|y| *y as f32)));
        let all = DMatrix::from_fn(d, units + n_points + 1, |row, column| {
            if column < units { inner[(row, column)] } else { x[(row, column - units)] }
        });
        // As float32 holds them.
        let (seen, known) = (all.columns(0, units + n_points).map(f64::from), y.map(f64::from));
        let query = all.column(units + n_points).map(f64::from);
        let answer = self.config.rule().answer(seen.as_view(), known.as_view(), query.as_view());
        rows::write(&all, &y, &[answer as f32])
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        vec![
            Box::new(Rows(self.config.rule())),
            Box::new(Rows(NetworkDescent { steps: 0, ..self.config.rule() })),
            Box::new(Mean::default()),
        ]
    }
}
