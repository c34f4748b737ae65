//! Norms of hidden states, and of queries and keys.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};
use headway_keys::Described;
use serde::{Deserialize, Serialize};

use crate::{
    budget::{Count, size},
    init::Initializer,
};

/// Added to the variance, PyTorch's default.
pub const LAYER_NORM_EPSILON: f64 = 1e-5;
/// Added to the mean square where nothing else is said, as in Qwen3.
pub const RMS_EPSILON: f64 = 1e-6;

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
    /// A norm of gain one and offset zero.
    pub fn new(d_model: usize, init: &mut Initializer<'_>) -> Self {
        Self {
            weight: init.param([d_model], |_| vec![1.0; d_model]),
            bias: init.param([d_model], |_| vec![0.0; d_model]),
        }
    }

    /// # Shapes
    /// `[batch, rows, d_model]` -> the same
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        headway_kernels::layer_norm(x, self.weight.val(), self.bias.val(), LAYER_NORM_EPSILON)
    }
}

/// y = x / sqrt(mean(x²) + ε) ⊙ gain over the last axis, with gain = weight, or 1 + weight if it is zero-centred: the same function of
/// another parameter, which weight decay then draws to a gain of one and not of zero.
///
/// # References
/// Zhang, Sennrich 2019, arXiv 1910.07467; the gain 1 + g as in arXiv 2607.18363.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// Gains, initially one; zero-centred ones initially zero. `[width]`
    pub weight: Param<Tensor<1>>,
    #[module(skip)]
    zero_centred: bool,
    #[module(skip)]
    epsilon: f64,
}

impl RmsNorm {
    pub(crate) fn new(width: usize, zero_centred: bool, epsilon: f64, init: &mut Initializer<'_>) -> Self {
        let value = if zero_centred { 0.0 } else { 1.0 };
        Self { weight: init.param([width], |_| vec![value; width]), zero_centred, epsilon }
    }

    /// # Shapes
    /// `[…, width]` -> the same
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let size = x.clone().powi_scalar(2).mean_dim(D - 1).add_scalar(self.epsilon).sqrt(); // […, 1]
        let gain = if self.zero_centred { self.weight.val().add_scalar(1.0) } else { self.weight.val() };
        x / size * gain.unsqueeze()
    }

    /// Adds the norm of `rows` rows to a budget: it keeps its input, the input over its root mean square, and per row the numbers on the
    /// way to that; its output is kept by what follows.
    pub(crate) fn count(rows: f64, width: usize, count: &mut Count) {
        count.parameters += size(width);
        count.keep(rows * (2.0 * size(width) + 2.0));
    }
}

/// Kinds of norms of the hidden state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// [`LayerNorm`].
    #[default]
    Layer,
    /// [`RmsNorm`] with a gain.
    Rms,
    /// [`RmsNorm`] with a gain of one and more.
    ZeroCentredRms,
}

impl NormKind {
    /// Whether it is what stands for a key that is left out.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// A norm of states of a width; `epsilon` is that of [`RmsNorm`].
    pub(crate) fn init(self, width: usize, epsilon: f64, init: &mut Initializer<'_>) -> StateNorm {
        match self {
            Self::Layer => StateNorm::Layer(LayerNorm::new(width, init)),
            Self::Rms => StateNorm::Rms(RmsNorm::new(width, false, epsilon, init)),
            Self::ZeroCentredRms => StateNorm::Rms(RmsNorm::new(width, true, epsilon, init)),
        }
    }

    /// Adds the norm of `rows` rows to a budget.
    pub(crate) fn count(self, rows: f64, width: usize, count: &mut Count) {
        match self {
            Self::Layer => count.norm(rows, size(width)),
            Self::Rms | Self::ZeroCentredRms => RmsNorm::count(rows, width, count),
        }
    }
}

/// A norm of the hidden state.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant, reason = "a layer holds a few, all of one kind")]
pub enum StateNorm {
    /// Of mean zero and variance one.
    Layer(LayerNorm),
    /// Of mean square one.
    Rms(RmsNorm),
}

impl StateNorm {
    /// # Shapes
    /// `[batch, rows, d_model]` -> the same
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Layer(norm) => norm.forward(x),
            Self::Rms(norm) => norm.forward(x),
        }
    }
}

/// A state after its norm, or as it is.
pub(crate) fn normalise(norm: Option<&StateNorm>, x: Tensor<3>) -> Tensor<3> {
    match norm {
        Some(norm) => norm.forward(x),
        None => x,
    }
}
