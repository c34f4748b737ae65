//! Precision of queries, keys and values inside the attention kernel.

use burn::tensor::{FloatDType, Tensor};
use serde::{Deserialize, Serialize};

/// Precision of queries, keys and values, of attention's output, and of the gradients of all four. Scores, sums and
/// everything outside attention stay in f32. There is no loss scaling: gradients below 6e-8 vanish in f16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 24 bits of significand.
    #[default]
    F32,
    /// 11 bits of significand, largest number 65504.
    F16,
    /// 8 bits of significand, the range of f32.
    Bf16,
}

impl Precision {
    /// The corresponding tensor type.
    pub fn dtype(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::F16 => FloatDType::F16,
            Self::Bf16 => FloatDType::BF16,
        }
    }

    /// Name in a config file.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// The tensor rounded to this precision.
    pub(super) fn round<const D: usize>(self, tensor: Tensor<D>) -> Tensor<D> {
        tensor.cast(self.dtype())
    }
}
