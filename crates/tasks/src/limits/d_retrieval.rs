//! Several maxima over a sequence at once.

use headway_keys::Described;
use nalgebra::{DMatrix, DVectorView};
use serde::{Deserialize, Serialize};

use crate::{
    baseline::{Baseline, flattened::Flattened, mean::Mean},
    batch::{Example, Inputs, Targets, TaskDims, TaskInput},
    distribution::Distribution,
    error::TaskError,
    files::Files,
    seed::SampleRng,
    task::{Split, Task, TaskSpec},
};

/// Largest number of maxima; more must be a typing error.
const MOST_FEATURES: usize = 1 << 16;

/// Sizes of [`DRetrieval`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct DRetrievalConfig {
    /// Number of tokens, T. Default 16.
    pub seq_len: usize,
    /// Length of a token. Default 4.
    pub d_in: usize,
    /// Number of maxima, D. Default 4.
    pub n_features: usize,
}

impl Default for DRetrievalConfig {
    fn default() -> Self {
        Self { seq_len: 16, d_in: 4, n_features: 4 }
    }
}

impl TaskSpec for DRetrievalConfig {
    fn dims(&self) -> TaskDims {
        TaskDims { seq_len: self.seq_len, input: TaskInput::Continuous { d_in: self.d_in }, d_out: 1 }
    }

    fn validate(&self) -> Vec<TaskError> {
        let sizes = [("seq_len", self.seq_len), ("d_in", self.d_in), ("n_features", self.n_features)];
        let too_few = sizes.into_iter().filter_map(|(key, size)| TaskError::below(key, size, 1));
        too_few.chain(TaskError::above("n_features", self.n_features, MOST_FEATURES)).collect()
    }

    fn open(&self, _: &Files, rng: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        Ok(Box::new(DRetrieval::new(self.clone(), rng)))
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        None
    }

    fn asked(&self) -> usize {
        1
    }

    fn length_mut(&mut self) -> Option<(&'static str, &mut usize)> {
        Some(("seq_len", &mut self.seq_len))
    }
}

/// y = Σ_i max_t a_i · x_t, with tokens x_t ~ N(0, 1)^d and D directions a_i of length 1, which all examples of a seed share. It is asked for at
/// the last token.
///
/// # Shapes
/// inputs `[T, d]` -> target `[1, 1]`
///
/// # References
/// D-retrieval, arXiv 2510.06662, by its summary: D heads suffice, with fewer a network must grow exponentially in T. Our reading of its
/// experiment.
#[derive(Clone, Debug)]
pub struct DRetrieval {
    /// Sizes.
    pub config: DRetrievalConfig,
    /// Rows a_i. `[n_features, d_in]`
    pub directions: DMatrix<f32>,
}

impl DRetrieval {
    /// Draws the directions. The config must be valid.
    pub fn new(config: DRetrievalConfig, rng: &mut SampleRng) -> Self {
        let (n, d) = (config.n_features, config.d_in);
        let mut directions = DMatrix::from_vec(n, d, Distribution::STANDARD_NORMAL.vector(n * d, rng));
        directions.row_iter_mut().for_each(|mut row| row /= row.norm());
        Self { config, directions }
    }

    /// The target of given tokens. `[seq_len · d_in]`
    pub fn target(&self, tokens: &[f32]) -> f32 {
        let scores =
            tokens.chunks_exact(self.config.d_in).map(|x| &self.directions * DVectorView::from_slice(x, x.len()));
        let largest = scores.reduce(|a, b| a.sup(&b)).expect("a valid config has a token");
        largest.sum()
    }
}

impl Task for DRetrieval {
    fn dims(&self) -> TaskDims {
        self.config.dims()
    }

    fn example(&self, _: Split, _: u64, rng: &mut SampleRng) -> Example {
        let tokens: Vec<f32> = Distribution::STANDARD_NORMAL.vector(self.config.seq_len * self.config.d_in, rng);
        let targets = Targets::Continuous(vec![self.target(&tokens)]);
        Example { inputs: Inputs::Continuous(tokens), targets, loss_mask: vec![true], slices: vec![None] }
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        vec![Box::new(Flattened::default()), Box::new(Mean::default())]
    }

    /// One number for each sequence.
    fn answer(&self) -> Option<Vec<usize>> {
        Some(vec![1])
    }
}
