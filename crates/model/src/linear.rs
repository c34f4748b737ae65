//! Affine maps of the last axis.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

use crate::{low_rank::LowRank, parameter::Matrix};

/// y = x W + b.
#[derive(Module, Debug)]
pub struct Linear {
    /// W. `[d_in, d_out]`
    pub weight: Matrix,
    /// b. `[d_out]`
    pub bias: Param<Tensor<1>>,
    /// What fine-tuning learns beside W.
    pub low_rank: Option<LowRank>,
}

/// y = x W.
#[derive(Module, Debug)]
pub struct Projection {
    /// W. `[d_in, d_out]`
    pub weight: Matrix,
    /// What fine-tuning learns beside W.
    pub low_rank: Option<LowRank>,
}

impl Projection {
    /// # Shapes
    /// `[batch, rows, d_in]` -> `[batch, rows, d_out]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        forward(x, self.weight.val(), None, self.low_rank.as_ref())
    }

    pub(crate) fn place(&mut self) -> ProjectionPlace<'_> {
        ProjectionPlace { weight: &self.weight, low_rank: &mut self.low_rank }
    }
}

impl Linear {
    /// # Shapes
    /// `[batch, rows, d_in]` -> `[batch, rows, d_out]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        forward(x, self.weight.val(), Some(self.bias.val()), self.low_rank.as_ref())
    }

    pub(crate) fn place(&mut self) -> ProjectionPlace<'_> {
        ProjectionPlace { weight: &self.weight, low_rank: &mut self.low_rank }
    }
}

fn forward(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>, low_rank: Option<&LowRank>) -> Tensor<3> {
    match low_rank {
        Some(low_rank) => headway_kernels::linear(x.clone(), weight, bias) + low_rank.forward(x),
        None => headway_kernels::linear(x, weight, bias),
    }
}

/// A projection and what is learned beside it.
pub struct ProjectionPlace<'a> {
    /// `[d_in, d_out]`
    pub weight: &'a Param<Tensor<2>>,
    /// What is learned beside it.
    pub low_rank: &'a mut Option<LowRank>,
}

impl ProjectionPlace<'_> {
    /// Width of its inputs and of its outputs.
    pub(crate) fn dims(&self) -> [usize; 2] {
        self.weight.lazy_shape().dims()
    }
}
