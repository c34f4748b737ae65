//! Computations in f64 on the host, without any device. From the weights alone, as a plain [`network`], come its
//! [`rank`] collapse and its [`paths`]. From its patterns comes what [`attention`] attends to; from its predictions,
//! which [`linear_rule`] they follow; and from its hidden states, what a [`Ridge`] regression can read off them.
//! [`statistics`] say how far to trust a few runs, [`sequential`] when they are enough, and [`convergence`] how fast one
//! quantity falls with another.

pub mod attention;
pub mod convergence;
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
