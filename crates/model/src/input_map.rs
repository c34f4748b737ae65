//! The map before the models of "Universal Approximation with Softmax Attention" (Hu et al. 2025, arXiv 2504.15956).
//!
//! Their A is [`InputMap`], their p is `seq_len + n_anchors`, their hidden size is `d_model`.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};
use headway_kernels::{counts_launches, modulated};

use crate::{
    budget::{Count, size},
    config::{InputDims, IoDims},
    init::Initializer,
    linear::Linear,
    parameters::{Key, Rule},
};

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
    pub(crate) fn new(dims: &IoDims, d_model: usize, n_anchors: usize, init: &mut Initializer<'_>) -> Self {
        let step = 2.0 / (n_anchors.max(2) - 1) as f32;
        let anchors = || (0..n_anchors).flat_map(|k| std::iter::repeat_n(-1.0 + step * k as f32, d_model)).collect();
        Self {
            project: init.linear(dims.vector_width(), d_model),
            modulation: init.param([dims.seq_len, d_model], |_| vec![1.0; dims.seq_len * d_model]),
            anchors: (n_anchors > 0).then(|| init.param([n_anchors, d_model], |_| anchors())),
        }
    }

    /// Number of tokens of a sequence, which are the first rows.
    pub(crate) fn seq_len(&self) -> usize {
        self.modulation.val().dims()[0]
    }

    /// # Shapes
    /// `[batch, seq_len, d_in]` -> `[batch, seq_len + n_anchors, d_model]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        if counts_launches(&x.device())
            && let Some(bias) = &self.project.bias
        {
            let (bias, gain) = (bias.val(), self.modulation.val());
            return modulated(self.project.product(x), bias, gain, self.anchors.as_ref().map(Param::val));
        }
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

/// Adds the map to a budget and returns its number of rows.
pub(crate) fn count(count: &mut Count, dims: &IoDims, d_model: usize, n_anchors: usize) -> f64 {
    let [n, d] = [dims.seq_len, d_model].map(size);
    if let InputDims::Continuous { d_in } = dims.input {
        count.linear(n, size(d_in), d);
        count.keep(n * (size(d_in) + d));
    }
    let rows = n + size(n_anchors);
    count.parameters += rows * d; // modulation and interpolation tokens
    rows
}

const D_MODEL: Key = Key::Model("d_model");

/// Config keys that the parameters of the map depend on.
pub(crate) const RULES: &[Rule] = &[
    ("input_map.anchors", &[D_MODEL, Key::Model("n_anchors")], &[Key::Model("n_anchors")]),
    ("input_map.modulation", &[D_MODEL, Key::Length], &[]),
    ("input_map.project.weight", &[D_MODEL, Key::Inputs], &[]),
    ("head.weight", &[D_MODEL, Key::Outputs], &[]),
    ("head.bias", &[Key::Outputs], &[]),
    ("*", &[D_MODEL], &[]),
];

/// Parameters of the map with one row per position.
pub(crate) const ROWS_BY_POSITION: &[&str] = &["input_map.modulation"];
