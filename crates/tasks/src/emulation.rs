//! What the experiments on emulating algorithms ask of a network: a function, an attention head or a map of it, statistical models.

use headway_keys::Described;
use nalgebra::{DMatrix, DVector};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::{
    baseline::{Baseline, mean::Mean, per_position::PerPosition},
    batch::{Batch, Example, Inputs, Targets, TaskDims, TaskInput},
    distribution::Distribution,
    error::TaskError,
    files::Files,
    seed::SampleRng,
    task::{Split, Task, TaskSpec},
};

/// What is emulated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum Emulated {
    /// Y = tanh(X W^T + y) X from rows (x_i, y_i), with x from U(-5, 5), and W and y that all examples share.
    Function,
    /// The same Y from rows (Y_i, y_i), as in the authors' code: the answer stands in the input.
    ToldFunction,
    /// Y = softmax(X Q K^T X^T) X V, with x from N(-1, 4), and Q, K and V that all examples share.
    #[default]
    Attention,
    /// Y = X K, one of the linear maps of that head, which is what the authors' code trains.
    AttentionMap,
    /// y_i = w . x_i + noise from rows (x_i, w), with x from N(-1, 4). The w of an example is that of one of three models: N(0, 1); the same with
    /// half of its numbers 0; or what ridge regression with factor 5 on |w|^2 finds from labels of such a w.
    Statistics,
}

/// Sizes of [`Emulation`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct EmulationConfig {
    /// What is emulated. Default attention.
    pub what: Emulated,
    /// Number of rows of an example. Default 20.
    pub seq_len: usize,
    /// Number of columns of X. Default 24.
    pub d: usize,
    /// Number of columns of Q and K. Default 48.
    pub d_key: usize,
    /// Standard deviation of the noise of `statistics`. Default 0.05.
    pub noise: f64,
}

impl Default for EmulationConfig {
    fn default() -> Self {
        Self { what: Emulated::default(), seq_len: 20, d: 24, d_key: 48, noise: 0.05 }
    }
}

/// Largest size; matrices have as many rows and columns.
const LARGEST: usize = 512;
/// Factor on |w|^2 of ridge regression.
const RIDGE: f64 = 5.0;
/// A number of x, other than for the function, is twice a normal one less 1.
const INPUTS: Distribution = Distribution::Normal { mean: -1.0, std: 2.0 };
/// The models of `statistics`, as their scores are called.
const MODELS: [&str; 3] = ["linear", "lasso", "ridge"];

impl EmulationConfig {
    fn width(&self) -> usize {
        match self.what {
            Emulated::Function | Emulated::ToldFunction => self.d + 1,
            Emulated::Attention | Emulated::AttentionMap => self.d,
            Emulated::Statistics => 2 * self.d,
        }
    }
}

impl TaskSpec for EmulationConfig {
    fn dims(&self) -> TaskDims {
        let d_out = match self.what {
            Emulated::Function | Emulated::ToldFunction | Emulated::Attention => self.d,
            Emulated::AttentionMap => self.d_key,
            Emulated::Statistics => 1,
        };
        TaskDims { seq_len: self.seq_len, input: TaskInput::Continuous { d_in: self.width() }, d_out }
    }

    fn validate(&self) -> Vec<TaskError> {
        let sizes = [("seq_len", self.seq_len), ("d", self.d), ("d_key", self.d_key)];
        let few = sizes.into_iter().filter_map(|(key, size)| TaskError::below(key, size, 1));
        let many = sizes.into_iter().filter_map(|(key, size)| TaskError::above(key, size, LARGEST));
        let overflow = TaskError::squares_overflow("noise", self.noise.powi(2));
        few.chain(many).chain(TaskError::negative("noise", self.noise, "no noise").or(overflow)).collect()
    }

    fn open(&self, _: &Files, rng: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        Ok(Box::new(Emulation::new(self.clone(), rng)))
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        None
    }

    fn clues_ahead(&self) -> Option<&'static str> {
        let mixes = matches!(self.what, Emulated::Function | Emulated::Attention);
        mixes.then_some("every target mixes all rows")
    }
}

/// What all examples of a seed share.
#[derive(Clone, Debug)]
enum Shared {
    Function {
        /// `[seq_len, d]`
        w: DMatrix<f64>,
        /// `[seq_len]`
        y: DVector<f64>,
    },
    Head {
        /// `[d, d_key]`
        query: DMatrix<f64>,
        /// `[d, d_key]`
        key: DMatrix<f64>,
        /// `[d, d]`
        value: DMatrix<f64>,
    },
    Nothing,
}

/// Examples of an algorithm that a network is to emulate, each asked for at every row.
///
/// # Shapes
/// inputs `[seq_len, d + 1]` -> targets `[seq_len, d]` of a function;
/// `[seq_len, d]` -> `[seq_len, d]` of attention, `[seq_len, d_key]` of a map;
/// `[seq_len, 2 d]` -> `[seq_len, 1]` of statistics
///
/// # References
/// The experiments of Hu et al. 2025, arXiv 2508.17550, with the distributions of the authors' code, MAGICS-LAB/algo_emu.
#[derive(Clone, Debug)]
pub struct Emulation {
    /// Sizes.
    pub config: EmulationConfig,
    shared: Shared,
}

/// An example as matrices.
struct Drawn {
    inputs: DMatrix<f64>,
    targets: DMatrix<f64>,
    /// Index into [`MODELS`].
    model: Option<u32>,
}

impl Emulation {
    /// Draws what all examples share. The config must be valid.
    pub fn new(config: EmulationConfig, rng: &mut SampleRng) -> Self {
        let EmulationConfig { what, seq_len, d, d_key, .. } = config;
        let shared = match what {
            Emulated::Function | Emulated::ToldFunction => {
                Shared::Function { w: normal(seq_len, d, rng), y: normal(seq_len, 1, rng).column(0).into_owned() }
            }
            Emulated::Attention | Emulated::AttentionMap => {
                let [query, key] = [0, 1].map(|_| normal(d, d_key, rng));
                Shared::Head { query, key, value: normal(d, d, rng) }
            }
            Emulated::Statistics => Shared::Nothing,
        };
        Self { config, shared }
    }

    fn is_told(&self) -> bool {
        self.config.what == Emulated::ToldFunction
    }

    fn draw(&self, rng: &mut SampleRng) -> Drawn {
        let EmulationConfig { seq_len, d, noise, .. } = self.config;
        match &self.shared {
            Shared::Function { w, y } => {
                let x = matrix(&Distribution::Uniform { low: -5.0, high: 5.0 }, seq_len, d, rng);
                let targets = function(&x, w, y);
                let shown = if self.is_told() { &targets } else { &x };
                let inputs = DMatrix::from_fn(seq_len, d + 1, |row, at| if at < d { shown[(row, at)] } else { y[row] });
                Drawn { inputs, targets, model: None }
            }
            Shared::Head { .. } => {
                let inputs = matrix(&INPUTS, seq_len, d, rng);
                Drawn { targets: self.answers(&inputs), inputs, model: None }
            }
            Shared::Nothing => {
                let x = matrix(&INPUTS, seq_len, d, rng);
                let model = rng.random_range(0..MODELS.len());
                let w = weights(MODELS[model], &x, noise, rng);
                let targets = &x * &w + normal(seq_len, 1, rng) * noise;
                let inputs = DMatrix::from_fn(seq_len, 2 * d, |row, at| if at < d { x[(row, at)] } else { w[at - d] });
                Drawn { inputs, targets, model: Some(model as u32) }
            }
        }
    }

    /// What the algorithm makes of inputs: targets without noise.
    fn answers(&self, inputs: &DMatrix<f64>) -> DMatrix<f64> {
        let d = self.config.d;
        let x = inputs.columns(0, d).into_owned();
        match &self.shared {
            Shared::Function { .. } if self.is_told() => x,
            Shared::Function { w, y } => function(&x, w, y),
            Shared::Head { key, .. } if self.config.what == Emulated::AttentionMap => x * key,
            Shared::Head { query, key, value } => attention(&x, query, key, value),
            Shared::Nothing => {
                let products = x.component_mul(&inputs.columns(d, d));
                DMatrix::from_fn(x.nrows(), 1, |row, _| products.row(row).sum())
            }
        }
    }
}

/// tanh(X Wᵀ + y) X, with y added to rows. `[n, d], [n, d], [n] -> [n, d]`
fn function(x: &DMatrix<f64>, w: &DMatrix<f64>, y: &DVector<f64>) -> DMatrix<f64> {
    let mut slopes = x * w.transpose();
    for (mut row, shift) in slopes.row_iter_mut().zip(y) {
        row.apply(|form| *form = (*form + shift).tanh());
    }
    slopes * x
}

/// softmax(X Q Kᵀ Xᵀ) X V
fn attention(x: &DMatrix<f64>, query: &DMatrix<f64>, key: &DMatrix<f64>, value: &DMatrix<f64>) -> DMatrix<f64> {
    let mut scores = (x * query) * (x * key).transpose();
    for mut row in scores.row_iter_mut() {
        let largest = row.max();
        row.apply(|score| *score = (*score - largest).exp());
        row /= row.sum();
    }
    scores * (x * value)
}

/// The w of a model of [`MODELS`]. `[d, 1]`
fn weights(model: &str, x: &DMatrix<f64>, noise: f64, rng: &mut SampleRng) -> DMatrix<f64> {
    let (seq_len, d) = x.shape();
    let mut w = normal(d, 1, rng);
    match model {
        "lasso" => w.apply(|number| *number *= f64::from(u8::from(rng.random::<bool>()))),
        "ridge" => {
            let labels = x * &w + normal(seq_len, 1, rng) * noise;
            let gram = x.tr_mul(x) + DMatrix::identity(d, d) * RIDGE;
            let gram = gram.cholesky().expect("the penalty makes it positive definite");
            w = gram.solve(&x.tr_mul(&labels));
        }
        _ => {}
    }
    w
}

fn normal(rows: usize, columns: usize, rng: &mut SampleRng) -> DMatrix<f64> {
    matrix(&Distribution::STANDARD_NORMAL, rows, columns, rng)
}

fn matrix(of: &Distribution, rows: usize, columns: usize, rng: &mut SampleRng) -> DMatrix<f64> {
    DMatrix::from_row_iterator(rows, columns, of.vector(rows * columns, rng).into_iter().map(f64::from))
}

/// The numbers, row by row.
fn flat(matrix: &DMatrix<f64>) -> Vec<f32> {
    matrix.transpose().iter().map(|number| *number as f32).collect()
}

impl Task for Emulation {
    fn dims(&self) -> TaskDims {
        self.config.dims()
    }

    fn example(&self, _: Split, _: u64, rng: &mut SampleRng) -> Example {
        let Drawn { inputs, targets, model } = self.draw(rng);
        let n = self.config.seq_len;
        Example {
            inputs: Inputs::Continuous(flat(&inputs)),
            targets: Targets::Continuous(flat(&targets)),
            loss_mask: vec![true; n],
            slices: vec![model; n],
        }
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        vec![Box::new(Exact(self.clone())), Box::new(PerPosition::default()), Box::new(Mean::default())]
    }

    fn best_possible(&self) -> Option<Box<dyn Baseline>> {
        let has_noise = self.config.what == Emulated::Statistics && self.config.noise > 0.0;
        has_noise.then(|| Box::new(Exact(self.clone())) as Box<dyn Baseline>)
    }

    fn slices(&self) -> Vec<String> {
        if self.config.what == Emulated::Statistics { MODELS.map(str::to_owned).to_vec() } else { Vec::new() }
    }
}

/// The algorithm itself, which knows what all examples share. Of `statistics` it leaves the noise, elsewhere rounding alone.
struct Exact(Emulation);

impl Baseline for Exact {
    fn name(&self) -> &'static str {
        "exact"
    }

    fn fit(&mut self, _: &Batch) {}

    fn predict(&self, batch: &Batch) -> Vec<f32> {
        let (seq_len, width) = (self.0.config.seq_len, self.0.config.width());
        let examples = batch.inputs.continuous().chunks_exact(seq_len * width);
        let answer = |rows: &[f32]| {
            let rows = DMatrix::from_row_iterator(seq_len, width, rows.iter().copied().map(f64::from));
            flat(&self.0.answers(&rows))
        };
        examples.flat_map(answer).collect()
    }
}
