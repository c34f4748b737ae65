//! Adapters: small trained parts beside frozen weights, one file each.

mod low_rank;
mod prefix;
mod prompt;

use burn::tensor::Device;
use headway_kernels::DropSeed;
use rand::Rng;

use crate::{
    config::ConfigError,
    family::{Model, ModelConfig},
    init::Initializer,
};

pub use crate::{
    attention::{
        place::{AttentionPlace, Target},
        prefix::Prefix,
    },
    family::{Prompt, PromptPlace},
    linear::ProjectionPlace,
    low_rank::LowRank,
};
pub use low_rank::{LowRankConfig, MergeError, merge};
pub use prefix::PrefixConfig;
pub use prompt::PromptConfig;

/// A kind of adapter with its settings.
pub trait Adapter {
    /// Problems of its settings, and parts that such a model cannot have.
    fn validate(&self, model: &ModelConfig) -> Vec<ConfigError>;

    /// Adds fresh parts to a model for which [`Adapter::validate`] finds no problem.
    #[doc(hidden)]
    fn attach(&self, model: &mut Model, init: &mut Initializer<'_>);
}

/// Modules that contain the parameters of adapters.
const MODULES: [&str; 3] = ["low_rank", "prefix", "prompt"];

/// Whether a parameter of this name belongs to an adapter.
pub fn is_adapter(name: &str) -> bool {
    name.split('.').any(|part| MODULES.contains(&part))
}

impl Model {
    /// Adds fresh adapter parts, drawn from `rng` on the host; if `rng` is `None`, parts without values, to be loaded
    /// from a file. Everything else stays as it is.
    pub fn with_adapter(mut self, adapter: &dyn Adapter, rng: Option<&mut dyn Rng>, device: &Device) -> Self {
        let mut init = match rng {
            Some(rng) => Initializer::new(rng, device),
            None => Initializer::uninitialized(device),
        };
        adapter.attach(&mut self, &mut init);
        self
    }

    /// Makes forward passes drop inputs of low-rank parts at random, drawn from `seed`, as training does; if `seed` is
    /// `None`, nothing is dropped.
    pub fn with_dropout(mut self, seed: Option<&DropSeed>) -> Self {
        let projections = self.network_mut().attentions().into_iter().flat_map(|attention| attention.projections);
        for (number, (_, projection)) in (0_u32..).zip(projections) {
            if let Some(low_rank) = projection.low_rank {
                low_rank.set_noise(seed, number);
            }
        }
        self
    }
}
