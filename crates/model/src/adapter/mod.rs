//! Small trainable parts beside weights that stay as they are. One file each.

mod low_rank;
mod prefix;
mod prompt;

use burn::tensor::Device;
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

/// A kind of adapter with its sizes.
pub trait Adapter {
    /// Everything that makes no sense, or has no place in such a model.
    fn validate(&self, model: &ModelConfig) -> Vec<ConfigError>;

    /// Puts fresh parts into a model for which [`Adapter::validate`] finds nothing.
    #[doc(hidden)]
    fn attach(&self, model: &mut Model, init: &mut Initializer<'_>);
}

/// Modules in which adapters keep their parameters.
const MODULES: [&str; 3] = ["low_rank", "prefix", "prompt"];

/// Whether a parameter of this name belongs to an adapter.
pub fn is_adapter(name: &str) -> bool {
    name.split('.').any(|part| MODULES.contains(&part))
}

impl Model {
    /// The model with fresh adapter parts, drawn from `rng` on the host, or without values for those of a file; everything else
    /// stays as it is.
    pub fn with_adapter(mut self, adapter: &dyn Adapter, rng: Option<&mut dyn Rng>, device: &Device) -> Self {
        let mut init = match rng {
            Some(rng) => Initializer::new(rng, device),
            None => Initializer::uninitialized(device),
        };
        adapter.attach(&mut self, &mut init);
        self
    }

    /// The same model whose forward passes drop inputs of low-rank parts at random, drawn from `seed`, as training does; without
    /// a seed nothing is dropped.
    pub fn with_dropout(mut self, seed: Option<u64>) -> Self {
        let projections = self.network_mut().attentions().into_iter().flat_map(|attention| attention.projections);
        for (number, (_, projection)) in (0_u64..).zip(projections) {
            if let Some(low_rank) = projection.low_rank {
                low_rank.set_noise(seed, number);
            }
        }
        self
    }
}
