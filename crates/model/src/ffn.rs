//! The part of a block after attention: nothing (attention-only) or a feed-forward network.

use burn::{
    module::Module,
    tensor::{Tensor, activation},
};
use headway_keys::Described;
use serde::{Deserialize, Serialize};

use crate::{budget::Count, init::Initializer, linear::Linear};

/// What follows attention in a block. `none` makes the transformer attention-only; `ffn` makes it an ordinary one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StateMixer {
    /// Nothing: the block is attention alone.
    #[default]
    None,
    /// A two-layer network applied to each token.
    Ffn {
        /// Hidden width.
        d_ffn: usize,
        /// Nonlinearity between the two layers.
        #[serde(default)]
        activation: Activation,
    },
}

/// Nonlinearity of a feed-forward network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// x Φ(x) with the exact error function.
    #[default]
    GeluErf,
    /// GELU's tanh approximation: x/2 (1 + tanh(sqrt(2/π) (x + 0.044715 x³))).
    GeluTanh,
    /// max(x, 0).
    Relu,
    /// x σ(x), the SiLU, times a second map of the layer's input: the layer is then g(x `W_1` + `b_1`) ⊙ (x `W_3` + `b_3`) between its maps,
    /// Shazeer 2020, arXiv 2002.05202.
    Swiglu,
}

impl Activation {
    /// Applies the nonlinearity to each entry.
    pub fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::GeluErf => headway_kernels::gelu(x),
            Self::GeluTanh => activation::gelu_approximate(x),
            Self::Relu => activation::relu(x),
            Self::Swiglu => activation::silu(x),
        }
    }

    /// Whether the network has a second map of its input, by which the nonlinearity is multiplied.
    pub fn is_gated(self) -> bool {
        self == Self::Swiglu
    }

    /// Number of floats kept per entry besides the output: the input and, for the tanh formula, the argument and value
    /// of its gate. The exact GELU is a single operation on burn-flex; on other devices it keeps as much as the tanh
    /// formula.
    pub(crate) fn kept(self) -> f64 {
        match self {
            Self::GeluErf | Self::Relu => 1.0,
            Self::GeluTanh => 3.0,
            // What enters the gate, its sigmoid, their product, and the other map.
            Self::Swiglu => 4.0,
        }
    }
}

/// y = g(x `W_1` + `b_1`) `W_2` + `b_2` on each token; with a gate y = (g(x `W_1` + `b_1`) ⊙ (x `W_3` + `b_3`)) `W_2` + `b_2`.
#[derive(Module, Debug)]
pub struct Ffn {
    /// `d_model` -> `d_ffn`
    pub expand: Linear,
    /// `d_ffn` -> `d_model`
    pub contract: Linear,
    /// The second map of a gated network. `d_model` -> `d_ffn`
    pub up: Option<Linear>,
    #[module(skip)]
    activation: Activation,
}

impl Ffn {
    pub(crate) fn new(d_model: usize, d_ffn: usize, activation: Activation, init: &mut Initializer<'_>) -> Self {
        Self {
            expand: init.linear(d_model, d_ffn),
            contract: init.linear_of_residual(d_ffn, d_model),
            up: activation.is_gated().then(|| init.linear(d_model, d_ffn)),
            activation,
        }
    }

    /// Adds the network over `rows` rows to a budget.
    pub(crate) fn count(rows: f64, d_model: f64, d_ffn: f64, activation: Activation, count: &mut Count) {
        count.linear(rows, d_model, d_ffn);
        count.linear(rows, d_ffn, d_model);
        if activation.is_gated() {
            count.linear(rows, d_model, d_ffn);
        }
        count.keep(rows * d_model + (1.0 + activation.kept()) * rows * d_ffn);
    }

    /// # Shapes
    /// `[batch, seq_len, d_model]` -> the same
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.contract.forward(self.hidden(x))
    }

    /// The network's output added to `onto`.
    ///
    /// # Shapes
    /// `[batch, seq_len, d_model]` each -> the same
    pub(crate) fn forward_onto(&self, onto: Tensor<3>, x: Tensor<3>) -> Tensor<3> {
        self.contract.forward_onto(onto, self.hidden(x))
    }

    /// `[batch, seq_len, d_model]` -> `[batch, seq_len, d_ffn]`
    fn hidden(&self, x: Tensor<3>) -> Tensor<3> {
        let Some(up) = &self.up else { return self.activation.forward(self.expand.forward(x)) };
        let gate = self.activation.forward(self.expand.forward(x.clone()));
        gate * up.forward(x)
    }
}
