#![doc = include_str!("../README.md")]
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
