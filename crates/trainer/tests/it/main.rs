//! Configs, optimisers and what a caller registers, one module each.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod captured;
mod examples;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod launches;
mod muon;
mod numbers;
mod on_device;
mod optimizers;
mod registered;
