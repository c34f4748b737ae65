//! What a run tells whoever is watching.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

/// A listener to [`Event`]s.
pub type OnEvent = Arc<dyn Fn(&Event) + Send + Sync>;

/// Something to tell whoever is watching.
#[derive(Clone, Debug)]
pub enum Event {
    /// The weights that training starts from are in place.
    Prepared {
        /// What to know about them.
        notes: Vec<String>,
    },
    /// A training loss was read.
    Logged {
        /// Steps taken.
        step: u64,
        /// Steps in all.
        steps: u64,
        /// Training loss of this step.
        loss: f64,
        /// Mean rate of this session.
        steps_per_second: f64,
    },
    /// The validation set was scored.
    Validated {
        /// Steps taken.
        step: u64,
        /// Scores by name.
        scores: BTreeMap<String, f64>,
    },
    /// A checkpoint is on disk.
    Saved {
        /// Steps taken.
        step: u64,
        /// Its folder.
        path: PathBuf,
    },
}
