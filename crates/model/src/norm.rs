//! Layer normalisation.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

/// Added to the variance, PyTorch's default.
pub const EPSILON: f64 = 1e-5;

/// y = (x − mean(x)) / sqrt(var(x) + 1e-5) ⊙ weight + bias, over the last axis.
///
/// # References
/// Ba, Kiros, Hinton 2016, arXiv 1607.06450.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// Gain γ, initially one. `[d_model]`
    pub weight: Param<Tensor<1>>,
    /// Offset β, initially zero. `[d_model]`
    pub bias: Param<Tensor<1>>,
}

impl LayerNorm {
    /// # Shapes
    /// `[batch, rows, d_model]` -> the same
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        headway_kernels::layer_norm(x, self.weight.val(), self.bias.val(), EPSILON)
    }
}
