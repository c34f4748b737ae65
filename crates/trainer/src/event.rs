//! Events of a run, for progress displays.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use headway_tasks::Source;

use crate::experiment::Experiment;

/// A listener to [`Event`]s.
pub type OnEvent = Arc<dyn Fn(&Event) + Send + Sync>;

/// Something that happened in a run.
#[derive(Clone)]
pub enum Event {
    /// The initial weights are in place.
    Prepared {
        /// Notes about them for the user.
        notes: Vec<String>,
    },
    /// Training begins.
    Begun {
        /// Folder of the run.
        root: PathBuf,
        /// What is trained.
        experiment: Arc<Experiment>,
        /// Its examples.
        source: Arc<Source>,
        /// Steps that earlier sessions took.
        step: u64,
    },
    /// A training loss was logged.
    Logged {
        /// Steps taken.
        step: u64,
        /// Total number of steps.
        steps: u64,
        /// Training loss of this step.
        loss: f64,
        /// Mean number of steps per second in this session.
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
