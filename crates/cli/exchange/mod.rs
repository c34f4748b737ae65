//! `headway import`, `headway export` and `headway card`: weights from other programs, for other programs, and what to say
//! about them.

pub mod args;
pub mod card;
pub mod export;
pub mod import;
