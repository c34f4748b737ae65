//! Learning from the examples of one prompt. One file per family of hidden functions; all share the keys in [`config`]
//! and the layout in [`alternating`](crate::prompt::alternating), and [`family`] makes them tasks. [`regression`], [`algorithm`], [`kernel`] and [`network`] show an example per row.

pub mod algorithm;
pub mod config;
pub mod curriculum;
pub mod family;
pub mod kernel;
pub mod linear;
pub mod logistic;
pub mod network;
pub mod quadratic;
pub mod regression;
pub mod relu;
pub mod sine;
pub mod sparse;
pub mod tree;
pub mod two_layer_net;
