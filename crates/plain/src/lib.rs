//! Computations in f64 on the host, without any device. From the weights alone, as a plain [`network`], come its
//! [`rank`] collapse and its [`paths`], and from input to answer the [`function`] that it computes. From its patterns comes what [`attention`] attends to; from its predictions,
//! which [`linear_rule`] they follow; and from its hidden states, what a [`Ridge`] regression can read off them.
//! [`statistics`] say how far to trust a few runs, [`sequential`] when they are enough, and [`convergence`] how fast one
//! quantity falls with another.
//!
//! ```
//! use headway_plain::{convergence::exponent, statistics::t_interval};
//!
//! // What halves when a size doubles falls with the power -1.
//! let power = exponent(&[(1.0, 0.4), (2.0, 0.2), (4.0, 0.1)]).unwrap();
//! assert!((power + 1.0).abs() < 1e-12);
//! // Two runs say little: with one degree of freedom, 95 % are 12.706 standard errors.
//! let interval = t_interval(&[-1.0, 1.0], 0.95).unwrap();
//! assert!((interval.high - 12.706).abs() < 1e-3);
//! ```

pub mod attention;
pub mod convergence;
pub mod function;
pub mod linear_rule;
pub mod network;
pub mod paths;
pub mod rank;
mod readout;
mod ridge;
pub mod sequential;
pub mod statistics;

pub use readout::Readout;
pub use ridge::Ridge;
