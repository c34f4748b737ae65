//! Every kernel beside the same written out in f64, one module a kind. Apart is `memory`, which counts the bytes of its process.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod attention;
mod rows;
