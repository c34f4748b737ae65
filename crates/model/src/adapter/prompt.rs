//! Prompt tuning: learned rows that enter the first layer in front of the sequence.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};
use serde::{Deserialize, Serialize};

use super::{Adapter, PromptPlace};
use crate::{
    config::{ConfigError, LARGEST_WIDTH},
    family::{Capability, Model, ModelConfig},
    init::Initializer,
};

/// Size of a prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PromptConfig {
    /// Learned rows. Default 8.
    pub length: usize,
}

impl Default for PromptConfig {
    fn default() -> Self {
        Self { length: 8 }
    }
}

/// What is wrong with a number of learned rows.
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

/// Rows in front of the embedded sequence. They have no position of their own, and the sequence keeps its positions; what they
/// become behind the last layer is dropped.
///
/// # References
/// Lester, Al-Rfou, Constant 2021, arXiv 2104.08691. Rows are drawn from N(0, 0.02²).
#[derive(Module, Debug)]
pub struct Prompt {
    /// `[length, d_model]`
    pub rows: Param<Tensor<2>>,
}

impl Prompt {
    /// # Shapes
    /// `[batch, seq_len, d_model]` -> `[batch, length + seq_len, d_model]`
    pub fn before(&self, x: Tensor<3>) -> Tensor<3> {
        let rows = self.rows.val();
        let ([length, d_model], batch) = (rows.dims(), x.dims()[0]);
        Tensor::cat(vec![rows.unsqueeze::<3>().expand([batch, length, d_model]), x], 1)
    }
}
