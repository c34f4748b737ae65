//! Learning from the examples of one prompt. One file per task; all share the layout in [`prompt`].

pub mod linear;
pub mod prompt;
