//! Theory you can run: functions compiled into attention weights, with a certificate.
//!
//! Softmax attention interpolates, and a construction turns that into weights: it plans the sizes that a tolerance
//! needs, writes a [`Network`] in double precision over named columns ([`Space`]), and [assembles](Network::assemble)
//! it to an ordinary model. [`certify()`] then measures the error of that model and compares it with the proved bound.
//!
//! ```
//! use burn::tensor::Device;
//! use headway_theory::{Effort, certify, construct::{Request, truncated_linear::{Clamp, TruncatedLinear}}};
//!
//! let clamp = Clamp { weights: vec![vec![1.0, -2.0]; 5], offsets: vec![0.5; 5], low: -1.0, high: 1.0, input: 2.0 };
//! let head = TruncatedLinear { clamp, mode: Default::default(), intervals: None };
//! let construction = head.build(Request { tolerance: 0.01, max_parameters: 1_000_000 })?;
//! let device = Device::flex();
//! let model = construction.network.assemble(&device);
//! let certificate = certify(&construction, 0.01, &model, &device, "cpu", Effort::default());
//! assert!(certificate.holds && certificate.float32.error < 0.01);
//! # Ok::<(), headway_theory::Refusal>(())
//! ```
//!
//! # Symbols
//!
//! n positions, d numbers per position, p intervals between p + 1 anchors L_k, Δ apart; H heads; β inverse temperature, c = β Δ².

#![allow(
    clippy::many_single_char_names,
    clippy::single_match_else,
    reason = "formulas have their letters, and an option that is given or not reads best as a match"
)]

mod assemble;
pub mod attacks;
mod bound;
pub mod cells;
mod certify;
pub mod construct;
pub mod convergence;
mod domain;
pub mod enclosure;
pub mod interpolation;
pub mod minimax;
pub mod mixing;
mod network;
mod places;
pub mod prove;
mod refusal;
mod schedule;
pub mod sizes;
pub mod smoothness;
mod space;
pub mod supremum;
mod target;
mod words;

pub use bound::{Basis, Bound, Term};
pub use certify::{Attack, Certificate, Effort, Hardest, Line, Measured, Objection, Verdict, attack, certify};
pub use domain::{Domain, Partition, Path};
pub use network::{Layer, Network};
pub use refusal::{Limit, Refusal};
pub use space::Space;
pub use target::{Enclosure, Function, Target};
pub use words::{Tried, Words};
