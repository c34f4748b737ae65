//! Plain numbers beside the same numbers worked out otherwise.

#![allow(clippy::unwrap_used, reason = "a test stops where something is missing")]

mod attention;
mod linear_rule;
mod paths;
mod random;
mod rank;
mod statistics;
