//! The models of "Universal Approximation with Softmax Attention" (Hu et al. 2025, arXiv 2504.15956), as in the authors' code.
//!
//! Their A is [`InputMap`], their p is `seq_len + n_anchors`, their hidden size is `d_model`.

use burn::{
    module::{Module, Param},
    tensor::{Tensor, activation},
};
use serde::{Deserialize, Serialize};

use crate::{
    attention::{AttentionConfig, MultiHeadAttention, kernel::KernelKind},
    config::IoDims,
    init::Initializer,
    linear::Linear,
    mask::Mask,
    trace::{Recorder, Trace},
};

/// What becomes of the attention output of the one-layer model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Readout {
    /// All `d_model` channels; the prediction is the first `d_out` of them.
    #[default]
    Channels,
    /// One layer followed by a softmax: y = Σ_c softmax(z)_c z_c, one number per token.
    Softmax,
}

/// Sizes of the paper's one-layer model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PaperOneLayerConfig {
    /// Width of the hidden state, the authors' hidden size. Default 32.
    pub d_model: usize,
    /// Heads; divides `d_model`. Default 1.
    pub n_heads: usize,
    /// Learned interpolation tokens appended to the sequence, the paper's p − n. Default 10.
    pub n_anchors: usize,
    /// Attention kernel, see `headway list kernels`. Default `softmax`.
    pub kernel: KernelKind,
    /// `channels`, or `softmax` for the variant with one layer followed by a softmax. Default `channels`.
    pub readout: Readout,
}

impl Default for PaperOneLayerConfig {
    fn default() -> Self {
        Self { d_model: 32, n_heads: 1, n_anchors: 10, kernel: KernelKind::default(), readout: Readout::Channels }
    }
}

/// Sizes of the paper's two-layer model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PaperTwoLayerConfig {
    /// Width of the hidden state, the authors' hidden size. Default 32.
    pub d_model: usize,
    /// Heads per layer; divides `d_model`. Default 8.
    pub n_heads: usize,
    /// Learned interpolation tokens appended to the sequence, the paper's p − n. Default 0.
    pub n_anchors: usize,
    /// Attention kernel, see `headway list kernels`. Default `softmax`.
    pub kernel: KernelKind,
}

impl Default for PaperTwoLayerConfig {
    fn default() -> Self {
        Self { d_model: 32, n_heads: 8, n_anchors: 0, kernel: KernelKind::default() }
    }
}

/// The paper's sequence-wise linear map A with interpolation tokens:
/// `z_i` = (`x_i` W + b) ⊙ `m_i` for i < n, then `n_anchors` learned rows, together p rows.
#[derive(Module, Debug)]
pub struct InputMap {
    /// `d_in` -> `d_model`
    pub project: Linear,
    /// Gain m per position and channel, initially one. `[seq_len, d_model]`
    pub modulation: Param<Tensor<2>>,
    /// Interpolation tokens; row k starts at the k-th of `n_anchors` evenly spaced values on [−1, 1]. `[n_anchors, d_model]`
    pub anchors: Option<Param<Tensor<2>>>,
}

impl InputMap {
    pub(crate) fn new(
        dims: &IoDims,
        d_in: usize,
        d_model: usize,
        n_anchors: usize,
        init: &mut Initializer<'_>,
    ) -> Self {
        let step = 2.0 / (n_anchors.max(2) - 1) as f32;
        let anchors = || (0..n_anchors).flat_map(|k| std::iter::repeat_n(-1.0 + step * k as f32, d_model)).collect();
        Self {
            project: init.linear(d_in, d_model),
            modulation: init.param([dims.seq_len, d_model], |_| vec![1.0; dims.seq_len * d_model]),
            anchors: (n_anchors > 0).then(|| init.param([n_anchors, d_model], |_| anchors())),
        }
    }

    /// Tokens of a sequence, which the rows begin with.
    pub(crate) fn seq_len(&self) -> usize {
        self.modulation.val().dims()[0]
    }

    /// # Shapes
    /// `[batch, seq_len, d_in]` -> `[batch, seq_len + n_anchors, d_model]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let batch = x.dims()[0];
        let tokens = self.project.forward(x) * self.modulation.val().unsqueeze(); // [batch, seq_len, d_model]
        match &self.anchors {
            Some(anchors) => {
                let [n_anchors, d_model] = anchors.val().dims();
                let anchors = anchors.val().unsqueeze::<3>().expand([batch, n_anchors, d_model]);
                Tensor::cat(vec![tokens, anchors], 1)
            }
            None => tokens,
        }
    }
}

/// Input map, one softmax attention over all p rows, first n rows kept.
#[derive(Module, Debug)]
pub struct PaperOneLayer {
    /// The map A.
    pub input_map: InputMap,
    /// The attention layer.
    pub attention: MultiHeadAttention,
    #[module(skip)]
    readout: Readout,
}

impl PaperOneLayerConfig {
    pub(crate) fn init(&self, dims: &IoDims, d_in: usize, init: &mut Initializer<'_>) -> PaperOneLayer {
        let attention = AttentionConfig { d_model: self.d_model, n_heads: self.n_heads, kernel: self.kernel };
        PaperOneLayer {
            input_map: InputMap::new(dims, d_in, self.d_model, self.n_anchors, init),
            attention: attention.init(init),
            readout: self.readout,
        }
    }
}

impl PaperOneLayer {
    pub(crate) fn run(&self, x: Tensor<3>, recorder: &mut Recorder) -> Tensor<3> {
        let z = self.input_map.forward(x); // [batch, seq_len + n_anchors, d_model]
        recorder.embedded(&z);
        let z = self.attention.run(z.clone(), z, &Mask::Full, recorder);
        recorder.layer(&z);
        self.read_out(z)
    }

    /// From the rows behind the layer to the prediction.
    ///
    /// # Shapes
    /// `[batch, rows, d_model]` -> as [`Self::forward`]
    pub(crate) fn read_out(&self, z: Tensor<3>) -> Tensor<3> {
        let y = z.narrow(1, 0, self.input_map.seq_len()); // [batch, seq_len, d_model]
        match self.readout {
            Readout::Channels => y,
            Readout::Softmax => (activation::softmax(y.clone(), 2) * y).sum_dim(2), // [batch, seq_len, 1]
        }
    }

    /// # Shapes
    /// `[batch, seq_len, d_in]` -> `[batch, seq_len, d_model]`, or `[batch, seq_len, 1]` with the softmax readout
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

/// Input map, attention, affine map, attention, first n rows, linear readout.
#[derive(Module, Debug)]
pub struct PaperTwoLayer {
    /// The map A.
    pub input_map: InputMap,
    /// First attention layer.
    pub attention_1: MultiHeadAttention,
    /// Affine map between the layers.
    pub affine: Linear,
    /// Second attention layer.
    pub attention_2: MultiHeadAttention,
    /// `d_model` -> `d_out`
    pub head: Linear,
}

impl PaperTwoLayerConfig {
    pub(crate) fn init(&self, dims: &IoDims, d_in: usize, init: &mut Initializer<'_>) -> PaperTwoLayer {
        let attention = AttentionConfig { d_model: self.d_model, n_heads: self.n_heads, kernel: self.kernel };
        PaperTwoLayer {
            input_map: InputMap::new(dims, d_in, self.d_model, self.n_anchors, init),
            attention_1: attention.init(init),
            affine: init.linear(self.d_model, self.d_model),
            attention_2: attention.init(init),
            head: init.linear(self.d_model, dims.d_out),
        }
    }
}

impl PaperTwoLayer {
    pub(crate) fn run(&self, x: Tensor<3>, recorder: &mut Recorder) -> Tensor<3> {
        let z = self.input_map.forward(x); // [batch, seq_len + n_anchors, d_model]
        recorder.embedded(&z);
        let z = self.attention_1.run(z.clone(), z, &Mask::Full, recorder);
        recorder.layer(&z);
        let z = self.affine.forward(z);
        let z = self.attention_2.run(z.clone(), z, &Mask::Full, recorder);
        recorder.layer(&z);
        self.read_out(z)
    }

    /// From the rows behind a layer to the prediction.
    ///
    /// # Shapes
    /// `[batch, rows, d_model]` -> `[batch, seq_len, d_out]`
    pub(crate) fn read_out(&self, z: Tensor<3>) -> Tensor<3> {
        self.head.forward(z.narrow(1, 0, self.input_map.seq_len()))
    }

    /// # Shapes
    /// `[batch, seq_len, d_in]` -> `[batch, seq_len, d_out]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.run(x, &mut Recorder::default())
    }

    /// The same output together with hidden states and patterns.
    pub fn forward_traced(&self, x: Tensor<3>) -> Trace {
        let mut recorder = Recorder::on();
        let output = self.run(x, &mut recorder);
        recorder.finish(output)
    }
}
