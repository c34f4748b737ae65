//! Prompt tuning: learned rows before the sequence at the first layer.

use headway_keys::Described;
use serde::{Deserialize, Serialize};

use super::Adapter;
use crate::{
    config::{ConfigError, LARGEST_WIDTH},
    family::{Capability, Model, ModelConfig, Prompt, PromptPlace},
    init::Initializer,
};

/// Settings of a prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct PromptConfig {
    /// Number of learned rows. Default 8.
    pub length: usize,
}

impl Default for PromptConfig {
    fn default() -> Self {
        Self { length: 8 }
    }
}

/// The problem with a number of learned rows; `None` if there is none.
pub(super) fn length_problem(length: usize) -> Option<ConfigError> {
    let fits = (1..=LARGEST_WIDTH).contains(&length);
    (!fits).then(|| ConfigError::new("length", format!("must be from 1 to {LARGEST_WIDTH}")))
}

impl Adapter for PromptConfig {
    fn validate(&self, model: &ModelConfig) -> Vec<ConfigError> {
        let is_fixed = (!model.can(Capability::Prompt)).then(|| {
            let fits = if model.can(Capability::Prefix) { "prefix" } else { "lora" };
            let problem = format!("{} has a fixed number of rows; {fits} fits it, prompt a transformer", model.name());
            ConfigError::new("", problem)
        });
        length_problem(self.length).into_iter().chain(is_fixed).collect()
    }

    fn attach(&self, model: &mut Model, init: &mut Initializer<'_>) {
        if let Some(PromptPlace { d_model, prompt }) = model.network_mut().prompt_place() {
            *prompt = Some(Prompt { rows: init.embedding_table([self.length, d_model]) });
        }
    }
}
