//! `headway import`, `headway export` and `headway card`: weights from and for other programs, and facts about them.

pub mod args;
pub mod card;
pub mod export;
pub mod import;
