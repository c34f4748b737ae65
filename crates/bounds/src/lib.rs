#![doc = include_str!("../README.md")]
#![allow(
    clippy::many_single_char_names,
    clippy::single_match_else,
    reason = "formulas have their letters, and an option that is given or not reads best as a match"
)]

pub mod accuracy;
pub mod supremum;
