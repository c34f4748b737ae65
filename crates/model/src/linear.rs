//! Affine maps of the last axis.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

/// y = x W + b.
#[derive(Module, Debug)]
pub struct Linear {
    /// W; `[d_in, d_out]` in memory, `[d_out, d_in]` in files.
    pub weight: Param<Tensor<2>>,
    /// b. `[d_out]`
    pub bias: Param<Tensor<1>>,
}

/// y = x W.
#[derive(Module, Debug)]
pub struct Projection {
    /// W; `[d_in, d_out]` in memory, `[d_out, d_in]` in files.
    pub weight: Param<Tensor<2>>,
}

impl Projection {
    /// # Shapes
    /// `[batch, rows, d_in]` -> `[batch, rows, d_out]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let weight = self.weight.val();
        let zeros = Tensor::zeros([weight.dims()[1]], &x.device());
        headway_kernels::linear(x, weight, zeros)
    }
}

impl Linear {
    /// # Shapes
    /// `[batch, rows, d_in]` -> `[batch, rows, d_out]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        headway_kernels::linear(x, self.weight.val(), self.bias.val())
    }
}
