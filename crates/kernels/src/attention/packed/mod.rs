//! Attention over queries, keys and values that lie side by side, so that no heads are copied together or apart.

#[cfg(feature = "gpu")]
mod gpu;

#[cfg(feature = "gpu")]
use burn::backend::Dispatch;
use burn::tensor::Tensor;

use super::{Options, fused_attention};
#[cfg(feature = "gpu")]
use crate::is_cube;
#[cfg(feature = "gpu")]
pub(crate) use gpu::{PackedAttention, PackedPasses};

/// [`fused_attention`] of as many queries as keys, without bias and with no mask but causality. Each row holds
/// `[queries of head 1 … H | keys of head 1 … H | values of head 1 … H]`.
///
/// # Shapes
/// `[batch, rows, 3 · n_heads · d_head]` -> `[batch, rows, n_heads · d_head]`
///
/// # Panics
/// When heads do not divide the width, an axis is empty, or the device is not [supported](super::is_supported).
pub fn packed_attention(qkv: Tensor<3>, n_heads: usize, options: Options) -> Tensor<3> {
    let [batch, rows, width] = qkv.dims();
    assert!(width.is_multiple_of(3 * n_heads), "queries, keys and values of {n_heads} heads, not {width} numbers");
    assert!([batch, rows, width].iter().all(|axis| *axis > 0), "no axis may be empty");
    #[cfg(feature = "gpu")]
    if is_cube(&qkv.device()) {
        return Tensor::from_dispatch(<Dispatch as PackedAttention>::packed_attention(
            qkv.into_dispatch(),
            n_heads,
            options,
        ));
    }
    let heads = qkv.reshape([batch, rows, 3 * n_heads, width / 3 / n_heads]).swap_dims(1, 2);
    let [q, k, v] = [0, 1, 2].map(|part| heads.clone().narrow(1, part * n_heads, n_heads));
    fused_attention(q, k, v, None, None, options).swap_dims(1, 2).reshape([batch, rows, width / 3])
}
