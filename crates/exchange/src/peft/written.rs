//! The files of an adapter trained by Headway.

use std::collections::BTreeSet;

use headway_model::{
    ModelConfig,
    adapter::{LowRankConfig, MergeError, PrefixConfig, PromptConfig, Target, is_adapter, merge},
};
use serde::Serialize;

use super::names::{AROUND_ROWS, PREFIX, is_below, outermost, parts, to_peft};
use crate::Arrays;

/// The kind of adapter that was trained, with its config.
#[derive(Clone, Copy, Debug)]
pub enum Kind<'a> {
    /// LoRA.
    LowRank(&'a LowRankConfig),
    /// Keys and values of each layer.
    Prefix(&'a PrefixConfig),
    /// Rows in front of the embedded sequence.
    Prompt(&'a PromptConfig),
}

/// The checkpoint that an adapter was trained on.
#[derive(Clone, Debug)]
pub struct Base {
    /// Its path.
    pub from: String,
    /// Identifies the checkpoint's weights and the function computed with them.
    pub revision: String,
}

/// A trained adapter, with what its files say about its network.
#[derive(Clone, Debug)]
pub struct Learned<'a> {
    /// Its kind.
    pub kind: Kind<'a>,
    /// The network.
    pub model: &'a ModelConfig,
    /// Names of all parameters, in the model's order, in which layers are sorted by their numbers.
    pub names: &'a [String],
    /// Names of the trained parameters.
    pub trained: &'a BTreeSet<String>,
    /// The checkpoint that training started from; `None` if the weights were drawn.
    pub base: Option<Base>,
}

/// `adapter_config.json`, with those fields of PEFT that say how the parameters are used.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AdapterConfig {
    peft_type: &'static str,
    /// The checkpoint that the adapter was trained on.
    base_model_name_or_path: Option<String>,
    /// Identifies the checkpoint's weights and the function computed with them.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
    /// Whether PEFT loads the adapter without gradients.
    inference_mode: bool,
    /// Modules that are saved completely.
    modules_to_save: Option<Vec<String>>,
    #[serde(flatten)]
    sizes: Sizes,
}

/// Fields of only one kind of adapter; PEFT rejects fields of another kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Sizes {
    LowRank(LowRank),
    Rows(Rows),
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct LowRank {
    r: usize,
    /// α: the product B A is scaled by α / rank.
    lora_alpha: f64,
    /// Probability of dropping an input during training.
    lora_dropout: f64,
    /// Last parts of the names of the adapted projections.
    target_modules: Vec<&'static str>,
    /// Biases that are trained too: `none`.
    bias: &'static str,
    /// Whether weights are stored as `[d_in, d_out]`.
    fan_in_fan_out: bool,
    /// Whether the scale is α / sqrt(rank) instead.
    use_rslora: bool,
    /// Whether it is a weight-decomposed LoRA.
    use_dora: bool,
}

/// Fields with which PEFT puts a prefix or a prompt before a network's inputs.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Rows {
    /// Number of learned rows.
    num_virtual_tokens: usize,
    /// Without a task type, PEFT loads the rows but leaves them out of every forward pass. Of its tasks, this one
    /// requires nothing of the outputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    task_type: Option<&'static str>,
    /// Width of the hidden state.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_dim: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_attention_heads: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_layers: Option<usize>,
    /// Number of stacks: an encoder and a decoder would be two.
    num_transformer_submodules: usize,
}

impl Learned<'_> {
    /// PEFT's config, and the parameters under PEFT's names, for a model with these `arrays`.
    ///
    /// # Errors
    /// [`MergeError`] if the low-rank parts of a layer that is saved completely cannot be folded in.
    pub fn files(self, arrays: &Arrays) -> Result<(AdapterConfig, Arrays), MergeError> {
        let Self { kind, model, names, trained, base } = self;
        let whole = outermost(trained.iter().filter(|name| !is_adapter(name)).map(|name| parts(name).0));
        let saved = if whole.is_empty() {
            some(arrays, |name| trained.contains(name))
        } else {
            with_whole(kind, arrays, &whole)?
        };
        let widths: Vec<usize> =
            names.iter().filter(|name| is_adapter(name)).filter_map(|name| Some(saved.get(name)?.shape[1])).collect();
        let (peft_type, sizes) = match kind {
            Kind::LowRank(lora) => {
                let low_rank = LowRank {
                    r: lora.rank,
                    lora_alpha: lora.alpha,
                    lora_dropout: lora.dropout,
                    target_modules: lora.targets.iter().map(|target| module(*target)).collect(),
                    bias: "none",
                    fan_in_fan_out: false,
                    use_rslora: false,
                    use_dora: false,
                };
                ("LORA", Sizes::LowRank(low_rank))
            }
            // Keys and values of each layer.
            Kind::Prefix(prefix) => {
                ("PREFIX_TUNING", Sizes::Rows(Rows::new(prefix.length, model, &widths, Some(widths.len() / 2))))
            }
            Kind::Prompt(prompt) => {
                ("PROMPT_TUNING", Sizes::Rows(Rows::new(prompt.length, model, &widths, layers(model))))
            }
        };
        // PEFT uses one wrapper less for learned rows.
        let prefix = if matches!(sizes, Sizes::Rows(_)) { AROUND_ROWS } else { PREFIX };
        let arrays = to_peft(saved, names, prefix);
        let (base_model_name_or_path, revision) = base.map(|base| (base.from, base.revision)).unzip();
        let config = AdapterConfig {
            peft_type,
            base_model_name_or_path,
            revision,
            inference_mode: true,
            modules_to_save: (!whole.is_empty()).then(|| whole.into_iter().collect()),
            sizes,
        };
        Ok((config, arrays))
    }
}

impl Rows {
    /// The fields for a network whose keys and values have these widths. In PEFT's networks all layers have the same
    /// widths and the same number of heads; for any other network PEFT cannot add rows, and the fields that would make
    /// it do so are left out.
    fn new(length: usize, model: &ModelConfig, widths: &[usize], layers: Option<usize>) -> Self {
        let width = widths.first().copied().filter(|first| widths.iter().all(|width| width == first));
        let sizes = width.zip(model.n_heads());
        Self {
            num_virtual_tokens: length,
            task_type: sizes.map(|_| "FEATURE_EXTRACTION"),
            token_dim: sizes.map(|(width, _)| width),
            num_attention_heads: sizes.map(|(_, heads)| heads),
            num_layers: sizes.and(layers),
            num_transformer_submodules: 1,
        }
    }
}

/// Adapter and modules that are saved whole: PEFT takes those from the file with all of their parameters, whichever were trained, and puts
/// no low-rank parts beside them, so that theirs are folded in.
///
/// # Errors
/// [`MergeError`]
fn with_whole(kind: Kind<'_>, arrays: &Arrays, whole: &BTreeSet<String>) -> Result<Arrays, MergeError> {
    let is_whole = |name: &str| whole.iter().any(|module| is_below(name, module));
    let (mut inside, mut saved) = (some(arrays, is_whole), some(arrays, |name| is_adapter(name) && !is_whole(name)));
    if let Kind::LowRank(lora) = kind {
        inside = merge(inside, |_| (lora.rank, lora.scale()))?;
    }
    saved.extend(inside);
    Ok(saved)
}

/// The arrays of some names.
fn some(arrays: &Arrays, is_one: impl Fn(&str) -> bool) -> Arrays {
    arrays.iter().filter(|(name, _)| is_one(name)).map(|(name, array)| (name.clone(), array.clone())).collect()
}

/// Number of layers of a model that takes a prompt; `None` if only its family knows.
fn layers(model: &ModelConfig) -> Option<usize> {
    match model {
        ModelConfig::Transformer(config) => Some(config.n_layers),
        _ => None,
    }
}

/// Name of a projection in the model.
fn module(target: Target) -> &'static str {
    match target {
        Target::Query => "query",
        Target::Key => "key",
        Target::Value => "value",
        Target::Output => "output",
    }
}
