//! Attention kernels: how queries, keys and values become a mixture. One file each, and one row in the list below.

mod naive;
mod softmax;

use burn::tensor::{FloatDType, Tensor};
use serde::{Deserialize, Serialize};

use crate::mask::Mask;

/// An attention kernel. The law tests in `crates/model/tests/it/kernel_laws.rs` run for every entry of [`KERNELS`].
pub trait Kernel: Sync {
    /// Attention pattern in f32; each row is a probability vector over the visible keys, or zero where there are none. Queries
    /// and keys may come in half precision.
    ///
    /// # Shapes
    /// q `[batch, n_heads, q_len, d_head]`, k `[batch, n_heads, k_len, d_head]` -> `[batch, n_heads, q_len, k_len]`
    fn pattern(&self, q: Tensor<4>, k: Tensor<4>, mask: &Mask) -> Tensor<4>;

    /// pattern(q, k) · v, free to avoid building the pattern.
    ///
    /// # Shapes
    /// as [`Kernel::pattern`], v `[batch, n_heads, k_len, d_head]` -> `[batch, n_heads, q_len, d_head]`
    fn mix(&self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: &Mask) -> Tensor<4> {
        self.pattern(q, k, mask).matmul(v.cast(FloatDType::F32))
    }

    /// Numbers that [`Kernel::mix`] keeps for the backward pass on the CPU beside q, k, v and its result, for `rows` rows of
    /// `width` scores.
    fn kept_floats(&self, rows: f64, width: f64) -> f64;
}

/// Declares the list of kernels once: config names, dispatch and `headway list kernels` all come from it.
macro_rules! kernels {
    ($($(#[$attribute:meta])* $variant:ident = $implementation:expr, $summary:literal;)+) => {
        /// An attention kernel by its name in a config file (`kernel = "softmax"`).
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum KernelKind {
            $(#[doc = $summary] $(#[$attribute])* $variant,)+
        }

        /// Every kernel with one line about it.
        pub const KERNELS: &[(KernelKind, &str)] = &[$((KernelKind::$variant, $summary),)+];

        impl KernelKind {
            /// The implementation behind the name.
            pub fn kernel(self) -> &'static dyn Kernel {
                match self { $(Self::$variant => &$implementation,)+ }
            }
        }
    };
}

kernels! {
    #[default] Softmax = softmax::Softmax, "softmax(q k^T / sqrt(d_head)) v, exact, fused: memory linear in the length";
    Naive = naive::Naive, "the same from plain tensor operations: the readable reference, memory quadratic in the length";
}
