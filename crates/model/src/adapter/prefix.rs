//! Prefix tuning: learned keys and values that every query sees.

use headway_keys::Described;
use serde::{Deserialize, Serialize};

use super::{Adapter, prompt::length_problem};
use crate::{
    attention::prefix::Prefix,
    config::ConfigError,
    family::{Capability, Model, ModelConfig},
    init::Initializer,
};

/// Settings of a prefix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct PrefixConfig {
    /// Number of learned keys and values in each attention layer. Default 8.
    pub length: usize,
}

impl Default for PrefixConfig {
    fn default() -> Self {
        Self { length: 8 }
    }
}

impl Adapter for PrefixConfig {
    fn validate(&self, model: &ModelConfig) -> Vec<ConfigError> {
        let sets_its_own = (!model.can(Capability::Prefix)).then(|| {
            let problem =
                format!("{} holds set keys and values, and has no room for learned ones; lora fits it", model.name());
            ConfigError::new("", problem)
        });
        length_problem(self.length).into_iter().chain(sets_its_own).collect()
    }

    fn attach(&self, model: &mut Model, init: &mut Initializer<'_>) {
        for attention in model.network_mut().attentions() {
            let widths = attention.projections.each_ref().map(|(_, place)| place.dims()[1]);
            let [_, d_keys, d_values, _] = widths;
            *attention.prefix = Some(Prefix {
                keys: init.embedding_table([self.length, d_keys]),
                values: init.embedding_table([self.length, d_values]),
            });
        }
    }
}
