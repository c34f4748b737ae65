//! What rows have in common.

use headway_keys::Described;
use headway_trainer::experiment::Experiment;
use serde::{Deserialize, Serialize};

/// What the rows of a table have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum Match {
    /// The number of trainable parameters.
    Parameters,
    /// The floating-point operations of all training steps.
    Flops,
    /// The number of attention layers.
    Depth,
    /// Nothing.
    None,
}

/// One [`Match`] or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(untagged, expecting = "`parameters`, `flops`, `depth` or `none`, or a list of them")]
pub enum Matches {
    /// A single one.
    One(Match),
    /// Several.
    Several(Vec<Match>),
}

impl Matches {
    /// All of them.
    pub(super) fn list(&self) -> &[Match] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        }
    }

    /// Whether it is among them.
    pub(super) fn has(&self, matched: Match) -> bool {
        self.list().contains(&matched)
    }
}

impl Default for Matches {
    fn default() -> Self {
        Self::One(Match::None)
    }
}

impl Match {
    /// Whether free sizes are chosen for it.
    pub(super) fn is_cost(self) -> bool {
        matches!(self, Self::Parameters | Self::Flops)
    }

    /// The phrase for headings.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Parameters => "equal parameters",
            Self::Flops => "equal training FLOPs",
            Self::Depth => "equal depth",
            Self::None => "sizes as given",
        }
    }

    /// Amount that an experiment spends of it.
    pub(super) fn spent(self, experiment: &Experiment) -> f64 {
        match self {
            Self::Parameters => parameters(experiment),
            Self::Flops => experiment.training_flops(),
            Self::Depth => layers(experiment) as f64,
            Self::None => 0.0,
        }
    }
}

/// Number of attention layers.
pub(super) fn layers(experiment: &Experiment) -> usize {
    experiment.model.shape(&experiment.dims()).layers.len()
}

/// Trainable parameters.
pub(super) fn parameters(experiment: &Experiment) -> f64 {
    experiment.budget().parameters as f64
}
