//! What is computed, counted and drawn, one module a subject.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod attention;
mod figure;
mod forest;
mod heatmap;
mod linear_rule;
mod page;
mod paths;
mod pattern;
mod random;
mod rank;
mod report;
mod statistics;
