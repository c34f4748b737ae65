//! Modes of fine-tuning: the section `finetune` of an experiment.

use headway_model::{
    ModelConfig,
    adapter::{Adapter, LowRankConfig, PrefixConfig, PromptConfig},
};

use crate::list::list;

list! {
    /// What fine-tuning trains; everything else stays as it is, to the last bit. Parameters that no checkpoint gave are trained in
    /// every mode.
    #[derive(Default)]
    FinetuneConfig, MODES;
    #[default]
    "full" = Full, "every parameter";
    "head" = Head, "the last map before the prediction";
    "freeze" = Freeze(Vec<String>), "every parameter but those whose names match a pattern, as in `blocks.0.*`";
    "lora" = Lora(LowRankConfig), "LoRA: (alpha / rank) A B beside projections of attention";
    "prefix" = Prefix(PrefixConfig), "prefix tuning: keys and values in front of those of every attention layer";
    "prompt" = Prompt(PromptConfig), "prompt tuning: rows in front of the embedded sequence";
}

impl FinetuneConfig {
    /// The adapter that the mode trains; `None` if it trains none.
    pub fn adapter(&self) -> Option<&dyn Adapter> {
        match self {
            Self::Full | Self::Head | Self::Freeze(_) => None,
            Self::Lora(config) => Some(config),
            Self::Prefix(config) => Some(config),
            Self::Prompt(config) => Some(config),
        }
    }

    /// The mode without settings that affect only training: all that determines what a network computes with its
    /// parameters.
    pub(crate) fn function(&self) -> Self {
        match self {
            Self::Full | Self::Head | Self::Freeze(_) => Self::Full,
            Self::Lora(config) => Self::Lora(LowRankConfig { dropout: 0.0, ..config.clone() }),
            Self::Prefix(_) | Self::Prompt(_) => self.clone(),
        }
    }

    /// Whether the mode freezes weights, which makes sense only for weights that were trained.
    pub fn keeps_weights(&self) -> bool {
        match self {
            Self::Full => false,
            Self::Freeze(patterns) => !patterns.is_empty(),
            Self::Head | Self::Lora(_) | Self::Prefix(_) | Self::Prompt(_) => true,
        }
    }

    /// Problems of the mode with such a model, each with its key.
    pub(crate) fn problems(&self, model: &ModelConfig) -> Vec<(String, String)> {
        let found = self.adapter().map(|adapter| adapter.validate(model)).unwrap_or_default();
        let dot = |key: &str| if key.is_empty() { "" } else { "." };
        found.into_iter().map(|p| (format!("finetune.{}{}{}", self.name(), dot(p.key), p.key), p.problem)).collect()
    }
}
