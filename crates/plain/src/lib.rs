#![doc = include_str!("../README.md")]

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
