//! `headway analyze` from end to end.

mod activations;
mod weights;
