//! What burn has no fast path for under autodiff, as backend extensions: attention that never holds its pattern, affine maps
//! that write their result once, layer normalisation, the GELU and Adam in one pass each.
//!
//! The only crate of the product with `unsafe` code, each block with the reason why it is sound. It knows tensors, not
//! models. Affine maps, norm, GELU and Adam run on every device, where there is no kernel of ours on burn's own operations;
//! whether attention does, [`is_supported`] says. On the CPU work is cut by sizes alone, never by the number of threads, so that neither does the result depend on it.

#![allow(
    unsafe_code,
    reason = "the one crate where loops are worth it: disjoint writes from many threads, and unchecked vectors"
)]
#![allow(
    clippy::inline_always,
    reason = "a function that is not inlined into its dispatcher is compiled without the vector unit"
)]
#![allow(clippy::many_single_char_names, reason = "q, k, v and A, B, C are what the formulas call them")]

pub mod adam;
pub mod attention;
mod flex;
pub mod gelu;
pub mod layer_norm;
pub mod linear;
pub mod memory;
mod vector;

use burn::{backend::DispatchDevice, tensor::Device};

pub use adam::{AdamStep, adam};
pub use attention::{Options, fused_attention, is_supported};
pub use gelu::gelu;
pub use layer_norm::layer_norm;
pub use linear::linear;

/// Whether a device is burn-flex, the CPU, with or without autodiff.
pub fn is_flex(device: &Device) -> bool {
    matches!(device.clone().inner().as_dispatch(), DispatchDevice::Flex(_))
}
