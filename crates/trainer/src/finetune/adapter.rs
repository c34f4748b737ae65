//! Adapters as files: PEFT's `adapter_config.json` and `adapter_model.safetensors`, which hold what was trained and nothing else.
//!
//! | here | in the file |
//! |---|---|
//! | `X.low_rank.a`, `X.low_rank.b` | `base_model.model.X.lora_A.weight` `[rank, d_in]`, `….lora_B.weight` `[d_out, rank]` |
//! | `X.prefix.keys`, `X.prefix.values` | side by side, layer by layer, in `prompt_embeddings` `[length, Σ (d_keys + d_values)]` |
//! | `prompt.rows` | `prompt_embeddings` `[length, d_model]` |
//! | parameters that no checkpoint gave | `base_model.model.NAME`, their modules listed in `modules_to_save` |
//!
//! # References
//! Mangrulkar et al. 2022, PEFT, `src/peft/utils/save_and_load.py`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use headway_model::{
    Model,
    adapter::{self, Target, is_adapter},
    weights::{self, Array, Trained},
};
use serde::{Deserialize, Serialize};

use super::mode::FinetuneConfig;
use crate::{
    checkpoint::{Checkpoint, CheckpointConfig},
    error::Error,
    input,
    provenance::Lineage,
};

/// File of what an adapter is.
pub const CONFIG: &str = "adapter_config.json";
/// File of its parameters.
pub const WEIGHTS: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";
const PROMPT: &str = "prompt_embeddings";

/// `adapter_config.json`, with the fields of PEFT that say how the parameters are to be used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "the fields are PEFT's")]
pub struct PeftConfig {
    /// `LORA`, `PREFIX_TUNING` or `PROMPT_TUNING`.
    pub peft_type: PeftType,
    /// The checkpoint that it goes with.
    #[serde(default)]
    pub base_model_name_or_path: Option<String>,
    /// PEFT loads without gradients.
    #[serde(default)]
    pub inference_mode: bool,
    /// Rank of LoRA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r: Option<usize>,
    /// LoRA's product is scaled by this over the rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora_alpha: Option<f64>,
    /// Probability of dropping an input while training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora_dropout: Option<f64>,
    /// Last parts of the names of the projections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_modules: Option<Vec<String>>,
    /// Modules that are saved whole.
    #[serde(default)]
    pub modules_to_save: Option<Vec<String>>,
    /// Learned rows of a prefix or prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_virtual_tokens: Option<usize>,
    /// Biases learned with LoRA: `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bias: Option<String>,
    /// Whether weights are `[d_in, d_out]`.
    #[serde(default)]
    pub fan_in_fan_out: bool,
    /// Scale by alpha / sqrt(rank) instead.
    #[serde(default)]
    pub use_rslora: bool,
    /// Weight-decomposed LoRA.
    #[serde(default)]
    pub use_dora: bool,
    /// Ranks by module.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rank_pattern: BTreeMap<String, usize>,
    /// Alphas by module.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub alpha_pattern: BTreeMap<String, f64>,
}

/// Kinds of adapter, in PEFT's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PeftType {
    /// Low-rank products beside projections.
    Lora,
    /// Keys and values in front of those of every layer.
    PrefixTuning,
    /// Rows in front of the sequence.
    PromptTuning,
}

/// An adapter-only folder.
#[derive(Clone, Debug)]
pub struct AdapterFiles {
    /// What it is.
    pub config: PeftConfig,
    /// Its parameters by the names of the model.
    pub arrays: BTreeMap<String, Array>,
}

/// The files of a fine-tuned model's adapter; none where the mode trains none.
///
/// # Errors
/// [`Error::Training`] when a value cannot be written, which no value of ours provokes.
pub(crate) fn files(
    mode: &FinetuneConfig,
    model: &Model,
    lineage: Option<&Lineage>,
) -> Result<Vec<(&'static str, Vec<u8>)>, Error> {
    let trained = weights::collect(model, &Trained);
    let whole: BTreeSet<String> = trained
        .keys()
        .filter(|name| !is_adapter(name))
        .map(|name| name.rsplit_once('.').map_or(name.as_str(), |(module, _)| module).to_owned())
        .collect();
    let blank = PeftConfig {
        peft_type: PeftType::Lora,
        base_model_name_or_path: lineage.map(|lineage| lineage.from.clone()),
        inference_mode: true,
        r: None,
        lora_alpha: None,
        lora_dropout: None,
        target_modules: None,
        modules_to_save: (!whole.is_empty()).then(|| whole.into_iter().collect()),
        num_virtual_tokens: None,
        bias: None,
        fan_in_fan_out: false,
        use_rslora: false,
        use_dora: false,
        rank_pattern: BTreeMap::new(),
        alpha_pattern: BTreeMap::new(),
    };
    let config = match mode {
        FinetuneConfig::Full | FinetuneConfig::Head | FinetuneConfig::Freeze(_) => return Ok(Vec::new()),
        FinetuneConfig::Lora(lora) => PeftConfig {
            r: Some(lora.rank),
            lora_alpha: Some(lora.alpha),
            lora_dropout: Some(lora.dropout),
            target_modules: Some(lora.targets.iter().map(|target| module(*target).to_owned()).collect()),
            bias: Some("none".to_owned()),
            ..blank
        },
        FinetuneConfig::Prefix(prefix) => {
            PeftConfig { peft_type: PeftType::PrefixTuning, num_virtual_tokens: Some(prefix.length), ..blank }
        }
        FinetuneConfig::Prompt(prompt) => {
            PeftConfig { peft_type: PeftType::PromptTuning, num_virtual_tokens: Some(prompt.length), ..blank }
        }
    };
    // The order of the model, in which layers stand by their numbers.
    let order: Vec<String> = weights::names(model).into_iter().map(|(name, _)| name).collect();
    let arrays = to_peft(trained, &order);
    let json = serde_json::to_string_pretty(&config).map_err(|error| Error::Training(error.to_string()))?;
    let bytes = weights::arrays_to_bytes(&arrays).map_err(|error| Error::Training(error.to_string()))?;
    Ok(vec![(CONFIG, (json + "\n").into_bytes()), (WEIGHTS, bytes)])
}

/// A projection's name in the model.
fn module(target: Target) -> &'static str {
    match target {
        Target::Query => "query",
        Target::Key => "key",
        Target::Value => "value",
        Target::Output => "output",
    }
}

fn to_peft(mut trained: BTreeMap<String, Array>, order: &[String]) -> BTreeMap<String, Array> {
    let mut arrays = BTreeMap::new();
    let mut rows: Option<Array> = None;
    for name in order {
        let Some(array) = trained.remove(name) else { continue };
        let low_rank = name.strip_suffix(".low_rank.a").map(|at| (at, "A"));
        let low_rank = low_rank.or_else(|| name.strip_suffix(".low_rank.b").map(|at| (at, "B")));
        match low_rank {
            Some((at, half)) => drop(arrays.insert(format!("{PREFIX}{at}.lora_{half}.weight"), array)),
            None if is_adapter(name) => {
                rows = Some(match rows {
                    Some(rows) => beside(&rows, &array),
                    None => array,
                });
            }
            None => drop(arrays.insert(format!("{PREFIX}{name}"), array)),
        }
    }
    arrays.extend(rows.map(|rows| (PROMPT.to_owned(), rows)));
    arrays
}

/// Two matrices of equally many rows side by side.
fn beside(left: &Array, right: &Array) -> Array {
    let (l, r) = (left.shape[1], right.shape[1]);
    let rows = left.values.chunks_exact(l).zip(right.values.chunks_exact(r));
    let values = rows.flat_map(|(left, right)| left.iter().chain(right)).copied().collect();
    Array { shape: vec![left.shape[0], l + r], values }
}

/// Reads an adapter-only folder.
///
/// # Errors
/// [`Error::Checkpoint`] for files that are missing, damaged, or of a kind of adapter that cannot be used.
pub fn read(folder: &Path) -> Result<AdapterFiles, Error> {
    let path = folder.join(CONFIG);
    let bytes = input::read(&path).map_err(|error| Error::checkpoint(&path, error))?;
    let config: PeftConfig = input::from_json(&bytes).map_err(|problem| Error::checkpoint(&path, problem))?;
    let unusable = [
        (config.fan_in_fan_out, "fan_in_fan_out"),
        (config.use_dora, "use_dora"),
        (!config.rank_pattern.is_empty(), "rank_pattern"),
        (!config.alpha_pattern.is_empty(), "alpha_pattern"),
        (config.bias.as_ref().is_some_and(|bias| bias != "none"), "bias"),
    ];
    if let Some((_, key)) = unusable.iter().find(|(is_set, _)| *is_set) {
        return Err(Error::checkpoint(&path, format!("`{key}` asks for something that is not done here")));
    }
    let path = folder.join(WEIGHTS);
    let bytes = input::read(&path).map_err(|error| Error::checkpoint(&path, error))?;
    let arrays = weights::arrays_from_bytes(&bytes).map_err(|error| Error::checkpoint(&path, error))?;
    let arrays = arrays.into_iter().map(|(name, array)| (of_peft(&name), array)).collect();
    Ok(AdapterFiles { config, arrays })
}

/// A parameter's name in the model.
fn of_peft(name: &str) -> String {
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    for (theirs, ours) in [(".lora_A.weight", ".low_rank.a"), (".lora_B.weight", ".low_rank.b")] {
        if let Some(at) = name.strip_suffix(theirs) {
            return format!("{at}{ours}");
        }
    }
    name.to_owned()
}

impl PeftConfig {
    /// The factor on LoRA's product.
    pub(crate) fn scale(&self) -> Option<f64> {
        let (rank, alpha) = (self.r.filter(|rank| *rank > 0)? as f64, self.lora_alpha?);
        Some(if self.use_rslora { alpha / rank.sqrt() } else { alpha / rank }).filter(|scale| scale.is_finite())
    }
}

/// A checkpoint's weights, with low-rank parts folded in.
///
/// # Errors
/// [`Error::Checkpoint`], also for one that holds a prefix or a prompt, which no weights can take up.
pub(crate) fn without(checkpoint: &Checkpoint, config: &CheckpointConfig) -> Result<BTreeMap<String, Array>, Error> {
    let arrays = checkpoint.weights()?;
    match &config.experiment.finetune {
        FinetuneConfig::Full | FinetuneConfig::Head | FinetuneConfig::Freeze(_) => Ok(arrays),
        FinetuneConfig::Lora(lora) => fold(&checkpoint.path, arrays, lora.scale()),
        FinetuneConfig::Prefix(_) | FinetuneConfig::Prompt(_) => {
            let problem = format!(
                "holds a learned {}, which its other weights cannot take up; start from the checkpoint that it was learned for",
                config.experiment.finetune.name()
            );
            Err(Error::checkpoint(&checkpoint.path, problem))
        }
    }
}

/// W + scale · A B for every low-rank part.
///
/// # Errors
/// [`Error::Checkpoint`] for a part whose other half or weight is missing or of another size.
pub(super) fn fold(path: &Path, arrays: BTreeMap<String, Array>, scale: f64) -> Result<BTreeMap<String, Array>, Error> {
    adapter::merge(arrays, scale).map_err(|name| {
        Error::checkpoint(path, format!("{name}: its low-rank parts and its weight do not fit together"))
    })
}
