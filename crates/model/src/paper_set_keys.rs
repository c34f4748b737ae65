//! The model behind the paper's attention maps (Hu et al. 2025, arXiv 2504.15956), as in the authors' code: one channel of the
//! keys and one of the values hold the interpolation points of the proof instead of learned numbers.

use burn::{
    module::Module,
    tensor::{Tensor, TensorData, activation},
};
use serde::{Deserialize, Serialize};

use crate::{
    attention::{AttentionConfig, MultiHeadAttention, kernel::KernelKind},
    config::IoDims,
    init::Initializer,
    paper::InputMap,
    trace::{Recorder, Trace},
};

/// Sizes of [`PaperSetKeys`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PaperSetKeysConfig {
    /// Width of the hidden state, the authors' hidden size; at least 2. Default 11.
    pub d_model: usize,
    /// Learned interpolation tokens appended to the sequence, the paper's p − n. Default 0.
    pub n_anchors: usize,
    /// First interpolation point, the task's lower end a. Default -0.5.
    pub low: f64,
    /// Last interpolation point, the task's upper end b. Default 0.5.
    pub high: f64,
    /// Factor β on the scores. Default 25.
    pub inverse_temperature: f64,
    /// Shift t of the set keys. Default 1.
    pub shift: f64,
}

impl Default for PaperSetKeysConfig {
    fn default() -> Self {
        Self { d_model: 11, n_anchors: 0, low: -0.5, high: 0.5, inverse_temperature: 25.0, shift: 1.0 }
    }
}

/// Input map A, one head of softmax attention over all p rows, first n rows kept.
///
/// With L_k = low + k (high − low)/(p − 1) for k = 0 … p − 1, the last channel of key k is k (L_k + L_0) − 2 k t and the first
/// channel of value k is L_k; all other channels are projections. pattern = softmax(β q·k / sqrt(`d_model`)).
///
/// The authors put the set value, and with it the prediction, into a random channel; here it is the first.
#[derive(Module, Debug)]
pub struct PaperSetKeys {
    /// The map A.
    pub input_map: InputMap,
    /// Its four projections; the keys' last channel and the values' first are not used.
    pub attention: MultiHeadAttention,
    #[module(skip)]
    low: f64,
    #[module(skip)]
    high: f64,
    #[module(skip)]
    inverse_temperature: f64,
    #[module(skip)]
    shift: f32,
}

impl PaperSetKeysConfig {
    /// Numbers that are not sizes, by key.
    pub(crate) fn numbers(&self) -> [(&'static str, f64); 4] {
        let Self { low, high, inverse_temperature, shift, .. } = *self;
        [("low", low), ("high", high), ("inverse_temperature", inverse_temperature), ("shift", shift)]
    }

    pub(crate) fn init(&self, dims: &IoDims, d_in: usize, init: &mut Initializer<'_>) -> PaperSetKeys {
        let attention = AttentionConfig { d_model: self.d_model, n_heads: 1, kernel: KernelKind::default() };
        PaperSetKeys {
            input_map: InputMap::new(dims, d_in, self.d_model, self.n_anchors, init),
            attention: attention.init(init),
            low: self.low,
            high: self.high,
            inverse_temperature: self.inverse_temperature,
            shift: self.shift as f32,
        }
    }
}

impl PaperSetKeys {
    /// L_0 … L_(rows − 1).
    fn points(&self, rows: usize) -> Vec<f32> {
        let gap = (self.high - self.low) / (rows.max(2) - 1) as f64;
        (0..rows).map(|k| (self.low + gap * k as f64) as f32).collect()
    }

    pub(crate) fn run(&self, x: Tensor<3>, recorder: &mut Recorder) -> Tensor<3> {
        let z = self.input_map.forward(x); // [batch, rows, d_model]
        recorder.embedded(&z);
        let [_, rows, d_model] = z.dims();
        let (learned, points) = (d_model - 1, self.points(rows));
        let set_keys = points.iter().enumerate().map(|(k, point)| k as f32 * (point + points[0] - 2.0 * self.shift));
        let query = self.attention.query.forward(z.clone());
        let key = self.attention.key.forward(z.clone()).narrow(2, 0, learned);
        let key = Tensor::cat(vec![key, channel(set_keys.collect(), &z)], 2); // [batch, rows, d_model]
        let value = self.attention.value.forward(z.clone()).narrow(2, 1, learned);
        let value = Tensor::cat(vec![channel(points, &z), value], 2); // [batch, rows, d_model]
        let scale = self.inverse_temperature / ((learned + 1) as f64).sqrt();
        let pattern = activation::softmax(query.matmul(key.swap_dims(1, 2)).mul_scalar(scale), 2); // [batch, rows, rows]
        recorder.pattern(&pattern.clone().unsqueeze_dim(1));
        let mixed = recorder.mixture(pattern.matmul(value).unsqueeze_dim(1)).squeeze_dim(1); // [batch, rows, d_model]
        let hidden = self.attention.output.forward(mixed);
        recorder.layer(&hidden);
        self.read_out(hidden)
    }

    /// From the rows behind the layer to the prediction.
    ///
    /// # Shapes
    /// `[batch, rows, d_model]` -> `[batch, seq_len, d_model]`
    pub(crate) fn read_out(&self, hidden: Tensor<3>) -> Tensor<3> {
        hidden.narrow(1, 0, self.input_map.seq_len())
    }

    /// # Shapes
    /// `[batch, seq_len, d_in]` -> `[batch, seq_len, d_model]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.run(x, &mut Recorder::default())
    }

    /// The same output together with hidden state and pattern.
    pub fn forward_traced(&self, x: Tensor<3>) -> Trace {
        let mut recorder = Recorder::on();
        let output = self.run(x, &mut recorder);
        recorder.finish(output)
    }
}

/// One channel, the same in every sequence of the batch that `like` belongs to. `[batch, rows, 1]`
fn channel(values: Vec<f32>, like: &Tensor<3>) -> Tensor<3> {
    let (batch, rows) = (like.dims()[0], values.len());
    Tensor::<3>::from_data(TensorData::new(values, [1, rows, 1]), &like.device()).expand([batch, rows, 1])
}
