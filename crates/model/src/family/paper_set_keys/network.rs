//! The network of the model with set keys.

use std::sync::OnceLock;

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData, activation},
};

use headway_kernels::{Precision, matmul};

use super::PaperSetKeysConfig;
use crate::{
    attention::trace::Recorder,
    attention::{AttentionConfig, MultiHeadAttention, kernel::KernelKind, place::AttentionPlace},
    config::IoDims,
    embed::Input,
    family::Network,
    init::Initializer,
    input_map::InputMap,
};

/// Input map A, one head of softmax attention over all p rows, of which the first n rows are kept.
///
/// With L_k = low + k (high − low)/(p − 1) for k = 0 … p − 1, the last channel of key k is k (L_k + L_0) − 2 k t and the first
/// channel of value k is L_k; all other channels are projections. pattern = softmax(β q·k / sqrt(`d_model`)).
///
/// In the authors' code the set value, and with it the prediction, is in a random channel; here it is in the first.
#[derive(Module, Debug)]
pub struct PaperSetKeys {
    /// The map A.
    pub input_map: InputMap,
    /// Its four projections; the last channel of the keys and the first of the values are not used.
    pub attention: MultiHeadAttention,
    #[module(skip)]
    low: f64,
    #[module(skip)]
    high: f64,
    #[module(skip)]
    inverse_temperature: f64,
    #[module(skip)]
    shift: f32,
    /// The last channel of the keys and the first of the values, computed at first use and kept. `[1, rows, 1]` each
    #[module(skip)]
    set: OnceLock<[Tensor<3>; 2]>,
}

impl PaperSetKeys {
    pub(super) fn new(config: &PaperSetKeysConfig, dims: &IoDims, init: &mut Initializer<'_>) -> Self {
        let PaperSetKeysConfig { d_model, n_anchors, low, high, inverse_temperature, shift } = *config;
        let attention = AttentionConfig::shared_width(d_model, 1, &KernelKind::default());
        Self {
            input_map: InputMap::new(dims, d_model, n_anchors, init),
            attention: attention.init(init),
            low,
            high,
            inverse_temperature,
            shift: shift as f32,
            set: OnceLock::new(),
        }
    }

    /// The channels of keys and values that are set. `[batch, rows, 1]` each
    fn set(&self, [batch, rows, _]: [usize; 3], device: &Device) -> [Tensor<3>; 2] {
        let made = || {
            let device = device.clone().inner();
            channels([self.low, self.high], self.shift, rows)
                .map(|values| Tensor::from_data(TensorData::new(values, [1, rows, 1]), &device))
        };
        // The number of rows is the model's.
        self.set.get_or_init(made).clone().map(|channel: Tensor<3>| {
            let channel = if device.is_autodiff() { Tensor::from_inner(channel) } else { channel };
            channel.expand([batch, rows, 1])
        })
    }
}

/// The last channel of the keys, and the first of the values: the interpolation points L_0 … L_(rows − 1). `[rows]` each
pub(super) fn channels([low, high]: [f64; 2], shift: f32, rows: usize) -> [Vec<f32>; 2] {
    let gap = (high - low) / (rows.max(2) - 1) as f64;
    let points: Vec<f32> = (0..rows).map(|k| (low + gap * k as f64) as f32).collect();
    let key = |(k, point): (usize, &f32)| k as f32 * (point + points[0] - 2.0 * shift);
    [points.iter().enumerate().map(key).collect(), points]
}

impl Network for PaperSetKeys {
    fn run(&self, input: Input, recorder: &mut Recorder<'_>) -> Tensor<3> {
        let x = input.vectors();
        let z = self.input_map.forward(x); // [batch, rows, d_model]
        recorder.embedded(&z);
        let learned = z.dims()[2] - 1;
        let [set_key, set_value] = self.set(z.dims(), &z.device());
        let query = self.attention.query.forward(z.clone());
        let key = self.attention.key.forward(z.clone()).narrow(2, 0, learned);
        let key = Tensor::cat(vec![key, set_key], 2); // [batch, rows, d_model]
        let value = self.attention.value.forward(z.clone()).narrow(2, 1, learned);
        let value = Tensor::cat(vec![set_value, value], 2); // [batch, rows, d_model]
        let scale = self.inverse_temperature / ((learned + 1) as f64).sqrt();
        let pattern = activation::softmax(matmul(query, key.swap_dims(1, 2), Precision::F32).mul_scalar(scale), 2); // [batch, rows, rows]
        recorder.pattern(&pattern.clone().unsqueeze_dim(1));
        let mixed = recorder.mixture(matmul(pattern, value, Precision::F32).unsqueeze_dim(1)).squeeze_dim(1); // [batch, rows, d_model]
        let hidden = self.attention.output.forward(mixed);
        recorder.layer(&hidden);
        self.read_out(hidden)
    }

    /// `[batch, rows, d_model]` -> `[batch, seq_len, d_model]`
    fn read_out(&self, hidden: Tensor<3>) -> Tensor<3> {
        hidden.narrow(1, 0, self.input_map.seq_len())
    }

    fn attentions(&mut self) -> Vec<AttentionPlace<'_>> {
        vec![self.attention.place()]
    }
}
