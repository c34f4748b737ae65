//! `headway analyze` from end to end.

mod activations;
mod robust;
mod weights;
