//! What fine-tuning trains: the section `finetune` of an experiment.

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::Tensor,
};
use headway_model::{
    Adapter, LowRankConfig, Model, ModelConfig, PrefixConfig, PromptConfig,
    adapter::is_adapter,
    parameters::matches,
    weights::{self, Path as ParameterPath},
};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Declares the list of modes once: config names and `headway list modes` come from it.
macro_rules! modes {
    ($($(#[$attribute:meta])* $name:literal = $variant:ident $(($config:ty))?, $summary:literal;)+) => {
        /// What fine-tuning trains; everything else stays as it is, to the last bit. Parameters that no checkpoint gave are trained in
        /// every mode.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub enum FinetuneConfig {
            $($(#[$attribute])* #[doc = $summary] #[serde(rename = $name)] $variant $(($config))?,)+
        }

        /// Every mode's name in a config file, with one line about it.
        pub const MODES: &[(&str, &str)] = &[$(($name, $summary),)+];

        impl FinetuneConfig {
            /// Name in a config file.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $name,)+ }
            }
        }
    };
}

modes! {
    #[default]
    "full" = Full, "every parameter";
    "head" = Head, "the last map before the prediction";
    "freeze" = Freeze(Vec<String>), "every parameter but those whose names match a pattern, as in `blocks.0.*`";
    "lora" = Lora(LowRankConfig), "LoRA: (alpha / rank) A B beside projections of attention";
    "prefix" = Prefix(PrefixConfig), "prefix tuning: keys and values in front of those of every attention layer";
    "prompt" = Prompt(PromptConfig), "prompt tuning: rows in front of the embedded sequence";
}

impl FinetuneConfig {
    /// The adapter that the mode trains, if it is one.
    pub fn adapter(&self) -> Option<&dyn Adapter> {
        match self {
            Self::Full | Self::Head | Self::Freeze(_) => None,
            Self::Lora(config) => Some(config),
            Self::Prefix(config) => Some(config),
            Self::Prompt(config) => Some(config),
        }
    }

    /// The mode with everything at its default that changes training alone and not what a network computes with its parameters.
    pub(crate) fn function(&self) -> Self {
        match self {
            Self::Full | Self::Head | Self::Freeze(_) => Self::Full,
            Self::Lora(config) => Self::Lora(LowRankConfig { dropout: 0.0, ..config.clone() }),
            Self::Prefix(_) | Self::Prompt(_) => self.clone(),
        }
    }

    /// Whether a network keeps some of its weights, which asks for weights worth keeping.
    pub fn keeps_weights(&self) -> bool {
        match self {
            Self::Full => false,
            Self::Freeze(patterns) => !patterns.is_empty(),
            Self::Head | Self::Lora(_) | Self::Prefix(_) | Self::Prompt(_) => true,
        }
    }

    /// Everything that makes no sense for such a model, each with its key.
    pub(crate) fn problems(&self, model: &ModelConfig) -> Vec<(String, String)> {
        let found = self.adapter().map(|adapter| adapter.validate(model)).unwrap_or_default();
        let dot = |key: &str| if key.is_empty() { "" } else { "." };
        found.into_iter().map(|p| (format!("finetune.{}{}{}", self.name(), dot(p.key), p.key), p.problem)).collect()
    }
}

/// Keeps fixed what a mode leaves as it is; returns how many numbers that are. `fresh` names parameters that no checkpoint gave.
///
/// # Errors
/// [`Error::Usage`] for a pattern that matches nothing, with the nearest names, or that matches a fresh parameter, and when
/// nothing is left to train.
pub fn freeze(
    model: Model,
    mode: &FinetuneConfig,
    config: &ModelConfig,
    fresh: &[String],
) -> Result<(Model, usize), Error> {
    let names: Vec<String> = weights::names(&model).into_iter().map(|(name, _)| name).collect();
    let head = config.head();
    let in_head = |name: &str| head.iter().any(|pattern| matches(pattern, name));
    let is_fresh = |name: &str| fresh.iter().any(|fresh| fresh == name);
    let trains = |name: &str| match mode {
        FinetuneConfig::Full => true,
        FinetuneConfig::Freeze(patterns) => !patterns.iter().any(|pattern| matches(pattern, name)),
        FinetuneConfig::Head => in_head(name) || is_fresh(name),
        FinetuneConfig::Lora(_) | FinetuneConfig::Prefix(_) | FinetuneConfig::Prompt(_) => {
            is_adapter(name) || is_fresh(name)
        }
    };
    if let FinetuneConfig::Freeze(patterns) = mode {
        check(patterns, &names, fresh)?;
    }
    if !names.iter().any(|name| trains(name)) {
        return Err(Error::Usage(format!("finetune.{} leaves nothing to train", mode.name())));
    }
    let mut freezer = Freezer { trains, path: ParameterPath::default(), numbers: 0 };
    let model = model.map(&mut freezer);
    Ok((model, freezer.numbers))
}

fn check(patterns: &[String], names: &[String], fresh: &[String]) -> Result<(), Error> {
    for pattern in patterns {
        if let Some(fresh) = fresh.iter().find(|name| matches(pattern, name)) {
            return Err(Error::Usage(format!(
                "finetune.freeze: `{pattern}` keeps {fresh} fixed, which the checkpoint does not give: it would stay random"
            )));
        }
        if !names.iter().any(|name| matches(pattern, name)) {
            let mut nearest = names.to_vec();
            // Beyond the length of a name all are equally far.
            let start: String = pattern.chars().take(100).collect();
            nearest.sort_by_cached_key(|name| strsim::damerau_levenshtein(&start, name));
            nearest.truncate(5);
            let nearest = nearest.join("\n  ");
            return Err(Error::Usage(format!(
                "finetune.freeze: `{pattern}` matches no parameter; the nearest names are\n  {nearest}"
            )));
        }
    }
    Ok(())
}

struct Freezer<F> {
    trains: F,
    path: ParameterPath,
    numbers: usize,
}

impl<F: Fn(&str) -> bool> ModuleMapper for Freezer<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if (self.trains)(&self.path.name()) {
            return param;
        }
        self.numbers += param.lazy_shape().num_elements();
        param.set_require_grad(false)
    }
}
