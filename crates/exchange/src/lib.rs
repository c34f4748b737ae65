#![doc = include_str!("../README.md")]
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

/// Arrays by name.
pub type Arrays = std::collections::BTreeMap<String, headway_model::weights::Array>;
