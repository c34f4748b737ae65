//! Parts that Headway's lists do not have.

pub mod family;
pub mod kernel;
pub mod position;
pub mod task;

use headway_model::{KernelKind, ModelConfig, PositionKind};
use headway_tasks::TaskConfig;

/// Adds them to the lists, once in a process and before anything is read.
///
/// # Panics
/// when a name stands in a list already
pub fn register() {
    TaskConfig::register::<task::RunningMean>().expect("a name of its own");
    KernelKind::register::<kernel::Taylor>().expect("a name of its own");
    PositionKind::register::<position::Recency>().expect("a name of its own");
    ModelConfig::register::<family::Single>().expect("a name of its own");
}
