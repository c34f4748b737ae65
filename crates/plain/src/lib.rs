//! Plain numbers on the host, in f64 and away from any device. From the weights alone, as a plain [`network`], come its [`rank`] collapse
//! and its [`paths`]; from its patterns, where [`attention`] goes; from what it predicts, which [`linear_rule`] it follows, and what a
//! [`ridge`] regression reads off its states. [`statistics`] say how far to trust a few runs, [`convergence`] how fast one quantity
//! falls with another.

pub mod attention;
pub mod convergence;
pub mod linear_rule;
pub mod network;
pub mod paths;
pub mod rank;
pub mod readout;
pub mod ridge;
pub mod statistics;

pub use convergence::{exponent, exponent_interval};
pub use linear_rule::LinearRule;
pub use network::Network;
pub use readout::Readout;
pub use ridge::Ridge;
pub use statistics::{Interval, bca, mean, mean_interval, sign_flip_test};
