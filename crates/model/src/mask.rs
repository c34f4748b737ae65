//! Which keys a query may see.

use burn::tensor::{Bool, Device, Tensor};

/// Visibility of keys, shared by all layers and heads of a forward pass.
#[derive(Clone, Debug)]
pub enum Mask {
    /// Every query sees every key.
    Full,
    /// Query i sees keys 0 ..= i + (`k_len` − `q_len`): the last query sees all keys.
    Causal,
    /// `true` hides a key from a query. Shape `[q_len, k_len]`; every row must leave at least one key visible.
    Hidden(Tensor<2, Bool>),
}

impl Mask {
    /// The hidden pairs as a tensor, or nothing when all keys are visible.
    ///
    /// # Shapes
    /// result `[q_len, k_len]`, `true` = hidden
    pub fn hidden(&self, q_len: usize, k_len: usize, device: &Device) -> Option<Tensor<2, Bool>> {
        match self {
            Self::Full => None,
            Self::Causal => Some(Tensor::tril_mask([q_len, k_len], k_len as i64 - q_len as i64, device)),
            Self::Hidden(hidden) => Some(hidden.clone()),
        }
    }
}
