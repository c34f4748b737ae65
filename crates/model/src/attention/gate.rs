//! A gate on what heads mix, before the output projection.

use burn::{
    module::Module,
    tensor::{Tensor, activation},
};
use headway_keys::Described;
use serde::{Deserialize, Serialize};

use crate::{budget::Count, init::Initializer, linear::Projection};

/// What the heads' mixtures are multiplied by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Nothing.
    #[default]
    None,
    /// The sigmoid of a linear map of the layer's input, number by number.
    Sigmoid,
}

impl Gate {
    /// Whether it is what stands for a key that is left out.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn init(self, d_model: usize, width: usize, init: &mut Initializer<'_>) -> Option<OutputGate> {
        match self {
            Self::None => None,
            Self::Sigmoid => Some(OutputGate { project: init.projection(d_model, width) }),
        }
    }

    /// Adds the gate over `rows` rows to a budget: beside what it multiplies, which is kept without it too, it keeps what enters the sigmoid,
    /// what leaves it, and the product.
    pub(crate) fn count(self, rows: f64, d_model: f64, width: f64, count: &mut Count) {
        if self == Self::Sigmoid {
            count.projection(rows, d_model, width);
            count.keep(3.0 * rows * width);
        }
    }
}

/// y ↦ y ⊙ sigmoid(x W), x what enters the layer and y the heads' mixtures side by side.
///
/// # References
/// Qiu et al. 2025, arXiv 2505.06708: the gate behind the mixture, of each head and channel apart.
#[derive(Module, Debug)]
pub struct OutputGate {
    /// W. `d_model` -> `n_heads · d_head`
    pub project: Projection,
}

impl OutputGate {
    /// The factors.
    ///
    /// # Shapes
    /// `[batch, q_len, d_model]` -> `[batch, q_len, n_heads · d_head]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        activation::sigmoid(self.project.forward(x))
    }
}
