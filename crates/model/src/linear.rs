//! Affine maps along the last axis.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};
use headway_kernels::{Precision, counts_launches, linear_onto};

use crate::{low_rank::LowRank, parameter::Matrix};

/// y = x W + b, or x W without a bias.
#[derive(Module, Debug)]
pub struct Linear {
    /// W. `[d_in, d_out]`
    pub weight: Matrix,
    /// b, if there is one. `[d_out]`
    pub bias: Option<Param<Tensor<1>>>,
    /// Low-rank parts that fine-tuning trains, if any.
    pub low_rank: Option<LowRank>,
    /// Precision of the product.
    #[module(skip)]
    pub precision: Precision,
}

/// y = x W.
#[derive(Module, Debug)]
pub struct Projection {
    /// W. `[d_in, d_out]`
    pub weight: Matrix,
    /// Low-rank parts that fine-tuning trains, if any.
    pub low_rank: Option<LowRank>,
    /// Precision of the product.
    #[module(skip)]
    pub precision: Precision,
}

impl Projection {
    /// # Shapes
    /// `[batch, rows, d_in]` -> `[batch, rows, d_out]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        forward(x, self.weight.val(), None, self.low_rank.as_ref(), self.precision)
    }

    pub(crate) fn place(&mut self) -> ProjectionPlace<'_> {
        ProjectionPlace { weight: &self.weight, low_rank: &mut self.low_rank }
    }
}

impl Linear {
    /// # Shapes
    /// `[batch, rows, d_in]` -> `[batch, rows, d_out]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        forward(x, self.weight.val(), self.bias.as_ref().map(Param::val), self.low_rank.as_ref(), self.precision)
    }

    /// onto + (x W + b), in as few operations where that is what counts.
    ///
    /// # Shapes
    /// onto `[batch, rows, d_out]` or `[1, rows, d_out]`, x `[batch, rows, d_in]` -> `[batch, rows, d_out]`
    pub(crate) fn forward_onto(&self, onto: Tensor<3>, x: Tensor<3>) -> Tensor<3> {
        match &self.bias {
            Some(bias) if counts_launches(&x.device()) && self.low_rank.is_none() => {
                linear_onto(onto, x, self.weight.val(), bias.val(), self.precision)
            }
            _ => onto + self.forward(x),
        }
    }

    /// x W, to which someone else adds b.
    pub(crate) fn product(&self, x: Tensor<3>) -> Tensor<3> {
        forward(x, self.weight.val(), None, self.low_rank.as_ref(), self.precision)
    }

    pub(crate) fn place(&mut self) -> ProjectionPlace<'_> {
        ProjectionPlace { weight: &self.weight, low_rank: &mut self.low_rank }
    }
}

fn forward(
    x: Tensor<3>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    low_rank: Option<&LowRank>,
    precision: Precision,
) -> Tensor<3> {
    match low_rank {
        Some(low_rank) => headway_kernels::linear(x.clone(), weight, bias, precision) + low_rank.forward(x, precision),
        None => headway_kernels::linear(x, weight, bias, precision),
    }
}

/// A projection, seen as a place for low-rank parts.
pub struct ProjectionPlace<'a> {
    /// `[d_in, d_out]`
    pub weight: &'a Param<Tensor<2>>,
    /// Low-rank update added to it; `None` if it has none.
    pub low_rank: &'a mut Option<LowRank>,
}

impl ProjectionPlace<'_> {
    /// Widths `[d_in, d_out]`.
    pub(crate) fn dims(&self) -> [usize; 2] {
        self.weight.lazy_shape().dims()
    }
}
