//! Masks: which keys a query may see.

use burn::tensor::{Bool, Device, Tensor, TensorData};

/// Visibility of keys, the same for all batches and heads of a layer.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one mask at a time, never a list of them")]
pub enum Mask {
    /// Every query sees every key.
    Full,
    /// Query i sees keys 0 ..= i + (`k_len` − `q_len`): the last query sees all keys.
    Causal,
    /// Any other choice, on the device of the inputs. `[q_len, k_len]`, `true` = hidden
    Hidden(Tensor<2, Bool>),
}

impl Mask {
    /// The hidden pairs as a tensor; `None` if all keys are visible.
    ///
    /// # Shapes
    /// result `[q_len, k_len]`, `true` = hidden
    pub fn hidden(&self, q_len: usize, k_len: usize, device: &Device) -> Option<Tensor<2, Bool>> {
        match self {
            Self::Full => None,
            Self::Causal => {
                let offset = k_len.cast_signed() - q_len.cast_signed();
                Some(Tensor::tril_mask([q_len, k_len], offset as i64, device))
            }
            Self::Hidden(hidden) => Some(hidden.clone()),
        }
    }

    /// Number of keys that each query sees, and 1 where it sees none.
    ///
    /// # Shapes
    /// result `[q_len, 1]`
    pub fn visible(&self, q_len: usize, k_len: usize, device: &Device) -> Tensor<2> {
        match self {
            Self::Full => Tensor::full([q_len, 1], k_len as f32, device),
            Self::Causal => {
                let seen = (1..=q_len).map(|i| (i + k_len).saturating_sub(q_len).max(1) as f32).collect::<Vec<_>>();
                Tensor::from_data(TensorData::new(seen, [q_len, 1]), device)
            }
            Self::Hidden(hidden) => hidden.clone().bool_not().float().sum_dim(1).clamp_min(1.0),
        }
    }
}
