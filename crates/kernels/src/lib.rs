#![doc = include_str!("../README.md")]
#![allow(
    unsafe_code,
    reason = "the one crate where loops are worth it: disjoint writes from many threads, and unchecked vectors"
)]
#![allow(
    clippy::inline_always,
    reason = "a function that is not inlined into its dispatcher is compiled without the vector unit"
)]
#![allow(clippy::many_single_char_names, reason = "q, k, v and A, B, C are what the formulas call them")]

mod adam;
mod attention;
pub mod backend;
pub mod capture;
mod cross_entropy;
mod dropped;
mod flex;
mod gelu;
#[cfg(feature = "gpu")]
mod gpu;
mod joined;
pub mod launches;
mod layer_norm;
mod linear;
mod matmul;
pub mod memory;
mod modulated;
mod muon;
mod overwrite;
mod precision;
mod product;
mod reading;
mod rows;
mod squared_error;
pub mod update;
mod vector;

use burn::{backend::DispatchDevice, tensor::Device};

pub use adam::{AdamStep, adam};
pub use attention::{
    FeatureMap, FeatureOptions, Options, feature_attention, fused_attention, is_on_matrix_units, is_supported,
    packed_attention,
};
pub use cross_entropy::cross_entropy;
pub use dropped::{DropSeed, dropped};
pub use gelu::gelu;
pub use joined::joined;
pub use layer_norm::layer_norm;
pub use linear::{linear, linear_onto};
pub use matmul::matmul;
pub use modulated::modulated;
pub use muon::{MuonStep, muon, orthogonalised};
pub use overwrite::overwrite;
pub use precision::Precision;
pub use reading::Reading;
pub use rows::{put_rows_of_set, rows_of_set};
pub use squared_error::squared_error;

/// Whether the device is burn-flex, which runs on the CPU, with or without autodiff.
pub fn is_flex(device: &Device) -> bool {
    matches!(device.clone().inner().as_dispatch(), DispatchDevice::Flex(_))
}

/// Whether a device is one on which launches are what costs, so that operations are better done together: [`joined`] maps,
/// [`modulated`] rows and [`packed_attention`] instead of their parts.
pub fn counts_launches(device: &Device) -> bool {
    is_cube(device)
}

/// Whether a device is a GPU with kernels of ours, with or without autodiff.
#[cfg(feature = "gpu")]
fn is_cube(device: &Device) -> bool {
    matches!(device.clone().inner().as_dispatch(), DispatchDevice::Cube(_))
}

/// Whether a device is a GPU with kernels of ours, of which this build has none.
#[cfg(not(feature = "gpu"))]
fn is_cube(_device: &Device) -> bool {
    false
}
