//! Plain computations, compared with other ways to compute the same numbers.

#![allow(clippy::unwrap_used, reason = "a test stops where something is missing")]

mod attention;
mod linear_rule;
mod paths;
mod random;
mod rank;
mod sequential;
mod statistics;
