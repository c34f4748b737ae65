//! Weights from other programs and for other programs: files of tensors, and whose names they carry.
//!
//! [`read`] takes a file of tensors that anybody may have made, without running any of it and within a bound on memory. A
//! [`names::Convention`] gives its tensors our names and our layout. [`pickle`], [`npz`] and safetensors are written. [`peft`] reads what the config of an
//! adapter asks for.

#![warn(clippy::disallowed_methods)]

pub mod disk;
mod error;
mod file;
mod fit;
pub mod names;
pub mod npz;
mod numbers;
pub mod peft;
pub mod pickle;
mod sizes;
pub mod told;

pub use error::Error;
pub use file::{Container, Contents, read};
pub use fit::{Choices, Filled, Fitted, fit};
pub use numbers::Rounded;
pub use sizes::Sizes;

/// Named arrays, in the order of their names.
pub type Arrays = std::collections::BTreeMap<String, headway_model::weights::Array>;
