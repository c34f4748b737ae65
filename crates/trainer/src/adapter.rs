//! Adapters as files: PEFT's `adapter_config.json` and `adapter_model.safetensors`, which hold what was trained and nothing else.
//!
//! | here | in the file |
//! |---|---|
//! | `X.low_rank.a`, `X.low_rank.b` | `base_model.model.X.lora_A.weight` `[rank, d_in]`, `….lora_B.weight` `[d_out, rank]` |
//! | `X.prefix.keys`, `X.prefix.values` | side by side, layer by layer, in `prompt_embeddings` `[length, Σ (d_keys + d_values)]` |
//! | `prompt.rows` | `prompt_embeddings` `[length, d_model]` |
//! | parameters that no checkpoint gave | `base_model.model.NAME`, beside learned rows `base_model.NAME`, with the others of their modules, which `modules_to_save` lists |
//!
//! Of a LoRA that PEFT wrote, A and B of a table stand in the file as `lora_embedding_A` `[rank, rows]` and `lora_embedding_B` `[width, rank]`.
//!
//! # References
//! Mangrulkar et al. 2022, PEFT, `src/peft/utils/save_and_load.py`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use headway_exchange::peft::{AdapterSettings, CONFIG, PICKLE, WEIGHTS};
use headway_model::{
    Model, ModelConfig,
    adapter::{self, Target, is_adapter},
    weights::{self, Array},
};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    bounded_read,
    checkpoint::{Checkpoint, CheckpointConfig},
    digest::digest,
    error::Error,
    experiment::FinetuneConfig,
    json, presence,
    provenance::Lineage,
};

const PREFIX: &str = "base_model.model.";
const AROUND_ROWS: &str = "base_model.";
const PROMPT: &str = "prompt_embeddings";

/// `adapter_config.json`, with the fields of PEFT that say how the parameters are to be used.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct PeftConfig {
    peft_type: &'static str,
    /// The checkpoint that it goes with.
    base_model_name_or_path: Option<String>,
    /// Which weights those are, and what function they made: [`revision`].
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
    /// PEFT loads without gradients.
    inference_mode: bool,
    /// Modules that are saved whole.
    modules_to_save: Option<Vec<String>>,
    #[serde(flatten)]
    sizes: Sizes,
}

/// What only one kind of adapter has; PEFT takes no field of another.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Sizes {
    LowRank(LowRank),
    Rows(Rows),
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct LowRank {
    r: usize,
    /// The product is scaled by this over the rank.
    lora_alpha: f64,
    /// Probability of dropping an input while training.
    lora_dropout: f64,
    /// Last parts of the names of the projections.
    target_modules: Vec<&'static str>,
    /// Biases learned beside: `none`.
    bias: &'static str,
    /// Whether weights are `[d_in, d_out]`.
    fan_in_fan_out: bool,
    /// Scale by alpha / sqrt(rank) instead.
    use_rslora: bool,
    /// Weight-decomposed LoRA.
    use_dora: bool,
}

/// What PEFT must know to put a prefix or a prompt in front of a network.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Rows {
    /// Learned rows.
    num_virtual_tokens: usize,
    /// Without one PEFT loads the rows and leaves them out of every forward pass. Of its tasks, this one asks nothing of the outputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    task_type: Option<&'static str>,
    /// Width of the hidden state.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_dim: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_attention_heads: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_layers: Option<usize>,
    /// Encoder and decoder would be two.
    num_transformer_submodules: usize,
}

/// The files of a fine-tuned model's adapter; none where the mode trains none. `arrays` are all its parameters.
///
/// # Errors
/// [`Error::Training`] when a value cannot be written, which no value of ours provokes.
pub(crate) fn files(
    config: &CheckpointConfig,
    model: &Model,
    arrays: &BTreeMap<String, Array>,
    lineage: Option<&Lineage>,
) -> Result<Vec<(&'static str, Vec<u8>)>, Error> {
    let mode = &config.experiment.finetune;
    if mode.adapter().is_none() {
        return Ok(Vec::new());
    }
    let trained = weights::trained(model);
    let whole = outermost(trained.iter().filter(|name| !is_adapter(name)).map(|name| parts(name).0));
    let saved =
        if whole.is_empty() { some(arrays, |name| trained.contains(name)) } else { with_whole(mode, arrays, &whole)? };
    let revision = lineage.map(|lineage| revision(&lineage.weights_sha256, &config.model)).transpose()?;
    // The order of the model, in which layers stand by their numbers.
    let order: Vec<String> = weights::names(model).into_iter().map(|(name, _)| name).collect();
    let widths: Vec<usize> =
        order.iter().filter(|name| is_adapter(name)).filter_map(|name| Some(saved.get(name)?.shape[1])).collect();
    let (peft_type, sizes) = match mode {
        FinetuneConfig::Full | FinetuneConfig::Head | FinetuneConfig::Freeze(_) => return Ok(Vec::new()),
        FinetuneConfig::Lora(lora) => {
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
        FinetuneConfig::Prefix(prefix) => {
            // Keys and values of each layer.
            ("PREFIX_TUNING", Sizes::Rows(Rows::new(prefix.length, &config.model, &widths, widths.len() / 2)))
        }
        FinetuneConfig::Prompt(prompt) => {
            ("PROMPT_TUNING", Sizes::Rows(Rows::new(prompt.length, &config.model, &widths, layers(&config.model))))
        }
    };
    // Around learned rows PEFT puts one wrapper less.
    let prefix = if matches!(sizes, Sizes::Rows(_)) { AROUND_ROWS } else { PREFIX };
    let arrays = to_peft(saved, &order, prefix);
    let peft = PeftConfig {
        peft_type,
        base_model_name_or_path: lineage.map(|lineage| lineage.from.clone()),
        revision,
        inference_mode: true,
        modules_to_save: (!whole.is_empty()).then(|| whole.into_iter().collect()),
        sizes,
    };
    let bytes = weights::arrays_to_bytes(&arrays).map_err(|error| Error::Training(error.to_string()))?;
    Ok(vec![(CONFIG, json::file(&peft)?), (WEIGHTS, bytes)])
}

impl Rows {
    /// Of a network whose keys and values have these widths. Those of PEFT's networks are all alike, and divided among as many heads in
    /// every layer; to another one it cannot put rows, and is not told to.
    fn new(length: usize, model: &ModelConfig, widths: &[usize], layers: usize) -> Self {
        let width = widths.first().copied().filter(|first| widths.iter().all(|width| width == first));
        let sizes = width.zip(model.n_heads());
        Self {
            num_virtual_tokens: length,
            task_type: sizes.map(|_| "FEATURE_EXTRACTION"),
            token_dim: sizes.map(|(width, _)| width),
            num_attention_heads: sizes.map(|(_, heads)| heads),
            num_layers: sizes.map(|_| layers),
            num_transformer_submodules: 1,
        }
    }
}

/// Modules, without those that are part of another.
fn outermost<'a>(modules: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let all: BTreeSet<&str> = modules.collect();
    let is_part = |module: &str| all.iter().any(|other| is_below(module, other));
    all.iter().filter(|module| !is_part(module)).map(|module| (*module).to_owned()).collect()
}

fn is_below(name: &str, module: &str) -> bool {
    name.strip_prefix(module).is_some_and(|rest| rest.starts_with('.'))
}

/// Adapter and modules that are saved whole: PEFT takes those from the file with all of their parameters, whichever were trained, and puts
/// no low-rank parts beside them, so that theirs are folded in.
///
/// # Errors
/// [`Error::Training`] where the sum is no finite number.
fn with_whole(
    mode: &FinetuneConfig,
    arrays: &BTreeMap<String, Array>,
    whole: &BTreeSet<String>,
) -> Result<BTreeMap<String, Array>, Error> {
    let is_whole = |name: &str| whole.iter().any(|module| is_below(name, module));
    let (mut inside, mut saved) = (some(arrays, is_whole), some(arrays, |name| is_adapter(name) && !is_whole(name)));
    if let FinetuneConfig::Lora(lora) = mode {
        inside = adapter::merge(inside, |_| (lora.rank, lora.scale()))
            .map_err(|error| Error::Training(error.to_string()))?;
    }
    saved.extend(inside);
    Ok(saved)
}

/// The arrays of some names.
fn some(arrays: &BTreeMap<String, Array>, is_one: impl Fn(&str) -> bool) -> BTreeMap<String, Array> {
    arrays.iter().filter(|(name, _)| is_one(name)).map(|(name, array)| (name.clone(), array.clone())).collect()
}

/// Which weights an adapter was learned beside and what function they made: the sha256 of the weights' file and, behind a dash, twelve
/// digits of that of the model's config, without what changes no function.
fn revision(weights_sha256: &str, model: &ModelConfig) -> Result<String, Error> {
    let function = serde_json::to_vec(&model.function()).map_err(|error| Error::Training(error.to_string()))?;
    Ok(format!("{weights_sha256}-{}", &digest(&function)[..12]))
}

/// Layers of a model that takes a prompt.
fn layers(model: &ModelConfig) -> usize {
    match model {
        ModelConfig::Transformer(config) => config.n_layers,
        _ => 1,
    }
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

/// The module of a parameter, and the parameter's own name.
fn parts(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or(("", name))
}

fn to_peft(mut trained: BTreeMap<String, Array>, order: &[String], prefix: &str) -> BTreeMap<String, Array> {
    let mut arrays = BTreeMap::new();
    let mut rows: Option<Array> = None;
    for name in order {
        let Some(array) = trained.remove(name) else { continue };
        let low_rank = name.strip_suffix(".low_rank.a").map(|at| (at, "A"));
        let low_rank = low_rank.or_else(|| name.strip_suffix(".low_rank.b").map(|at| (at, "B")));
        match low_rank {
            Some((at, half)) => drop(arrays.insert(format!("{prefix}{at}.lora_{half}.weight"), array)),
            None if is_adapter(name) => {
                rows = Some(match rows {
                    Some(rows) => beside(&rows, &array),
                    None => array,
                });
            }
            None => drop(arrays.insert(format!("{prefix}{name}"), array)),
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

/// A LoRA as files, with what its config asks for.
#[derive(Clone, Debug)]
pub(crate) struct AdapterFiles {
    folder: PathBuf,
    /// What is to be done with its parameters.
    pub(crate) asked: AdapterSettings,
    /// Its parameters by the names of the model.
    arrays: BTreeMap<String, Array>,
    /// Sha256 of the file that holds them.
    pub(crate) sha256: String,
}

/// Whether a folder holds an adapter.
///
/// # Errors
/// [`Error::Io`] where that cannot be seen.
pub(crate) fn lies_in(folder: &Path) -> Result<bool, Error> {
    presence::is_there(&folder.join(CONFIG))
}

/// Reads the two files of a LoRA.
///
/// # Errors
/// [`Error::Checkpoint`] for files that are missing, damaged, or of a kind of adapter that cannot be folded in.
pub(crate) fn read(folder: &Path) -> Result<AdapterFiles, Error> {
    let path = folder.join(CONFIG);
    let bytes = read_whole(&path)?;
    let config: Map<String, Value> =
        bounded_read::from_json(&bytes).map_err(|problem| Error::checkpoint(&path, problem))?;
    let asked = AdapterSettings::read(&config).map_err(|problem| Error::checkpoint(&path, problem))?;
    let mut path = folder.join(WEIGHTS);
    if !presence::is_there(&path)? {
        path = folder.join(PICKLE);
        if !presence::is_there(&path)? {
            return Err(Error::checkpoint(folder, format!("holds neither {WEIGHTS} nor {PICKLE}")));
        }
    }
    let bytes = read_whole(&path)?;
    let sha256 = digest(&bytes);
    drop(bytes);
    let contents = headway_exchange::read(&path, None).map_err(|error| Error::refused(&path, error))?;
    let mut arrays = BTreeMap::new();
    for (name, array) in contents.tensors {
        let (name, array) = of_peft(&name, array);
        if let Some(value) = array.values.iter().find(|value| !value.is_finite()) {
            return Err(Error::checkpoint(&path, format!("{name} holds {value}, which is no finite number")));
        }
        if arrays.contains_key(&name) {
            return Err(Error::checkpoint(&path, format!("holds {name} twice")));
        }
        arrays.insert(name, array);
    }
    Ok(AdapterFiles { folder: folder.to_owned(), asked, arrays, sha256 })
}

fn read_whole(path: &Path) -> Result<Vec<u8>, Error> {
    bounded_read::read(path).map_err(|error| Error::unreadable(path, error, |error| Error::checkpoint(path, error)))
}

/// A parameter under its name in the model, in our layout.
fn of_peft(name: &str, array: Array) -> (String, Array) {
    // A layer that is adapted keeps its own parameters one level down.
    let name = name.strip_prefix(PREFIX).unwrap_or(name).replace(".base_layer.", ".");
    let is_matrix = array.shape.len() == 2;
    for (theirs, ours) in [(".lora_A.weight", ".low_rank.a"), (".lora_B.weight", ".low_rank.b")] {
        if let Some(at) = name.strip_suffix(theirs) {
            return (format!("{at}{ours}"), array);
        }
    }
    // A table [rows, width] gets (B A)ᵀ = Aᵀ Bᵀ.
    for (theirs, ours) in [(".lora_embedding_A", ".low_rank.b"), (".lora_embedding_B", ".low_rank.a")] {
        if let Some(at) = name.strip_suffix(theirs).filter(|_| is_matrix) {
            return (format!("{at}{ours}"), array.transposed());
        }
    }
    (name, array)
}

impl AdapterFiles {
    /// The weights of its base with it folded in.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where config, parameters and base contradict each other.
    pub(crate) fn onto(self, base: &Path, weights: BTreeMap<String, Array>) -> Result<BTreeMap<String, Array>, Error> {
        let Self { folder, asked, arrays, .. } = self;
        let refused = |problem: String| Error::checkpoint(&folder, problem);
        let matrices = weights.iter().filter(|(name, array)| parts(name).1 == "weight" && array.shape.len() == 2);
        let modules: Vec<String> = matrices.map(|(name, _)| parts(name).0.to_owned()).collect();
        let is_saved = |name: &str| {
            let (module, parameter) = parts(name);
            asked.saves(module) || parameter == "bias" && asked.saves_bias(module)
        };
        let mut scalings = BTreeMap::new();
        for (name, array) in &arrays {
            if let Some(module) = parts(name).0.strip_suffix(".low_rank") {
                if !modules.iter().any(|known| known == module) {
                    let known: Vec<&str> = modules.iter().map(String::as_str).take(3).collect();
                    return Err(refused(format!(
                        "has low-rank parts for {module}, and {} no such weight, but {}, …",
                        base.display(),
                        known.join(", ")
                    )));
                }
                if asked.targets(module) == Some(false) {
                    return Err(refused(format!(
                        "has low-rank parts for {module}, which its config leaves out: see `target_modules`, `exclude_modules`, \
                         `modules_to_save` and `layers_to_transform` in {CONFIG}"
                    )));
                }
                scalings.insert(module.to_owned(), asked.scaling(module).map_err(refused)?);
                continue;
            }
            if weights.get(name).is_none_or(|weight| weight.shape != array.shape) {
                return Err(refused(format!(
                    "its {name} {:?} does not fit {}; merge from the folder of the run, which knows its task",
                    array.shape,
                    base.display()
                )));
            }
            if !is_saved(name) {
                return Err(refused(format!(
                    "holds {name}, which its config says nothing of: neither `modules_to_save` nor `bias` in {CONFIG} names it"
                )));
            }
        }
        let is_targeted = |module: &&String| asked.targets(module) == Some(true) && !scalings.contains_key(*module);
        if let Some(module) = modules.iter().find(is_targeted) {
            return Err(refused(format!(
                "has no low-rank parts for {module}, which its config names: it is not whole"
            )));
        }
        if let Some(name) = weights.keys().find(|name| is_saved(name) && !arrays.contains_key(*name)) {
            return Err(refused(format!("has no {name}, which its config says was saved with it: it is not whole")));
        }
        let mut weights = weights;
        weights.extend(arrays);
        // Every part has its scaling by now; what has none has no place either.
        fold(&folder, weights, |module| scalings.get(module).copied().unwrap_or_default())
    }

    /// Whether it was learned beside these weights, as far as it says so; else what to know about it.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where it says that it was not.
    pub(crate) fn belongs_to(&self, base: &Checkpoint, config: &CheckpointConfig) -> Result<Option<String>, Error> {
        let (weights, base) = (base.weights_digest()?, base.path.display());
        let Some((beside, function)) = self
            .asked
            .revision
            .as_deref()
            .and_then(|text| text.split_once('-'))
            .filter(|(beside, function)| [beside.len(), function.len()] == [64, 12])
        else {
            let note = format!(
                "{} does not say which weights it was learned beside; folded into {base} (sha256 {weights}), whose shapes it fits",
                self.folder.display()
            );
            return Ok(Some(note));
        };
        let refused = |problem: String| {
            let hint = "give the checkpoint that it was learned for with --base";
            Err(Error::checkpoint(&self.folder, format!("{problem}; {hint}")))
        };
        if beside != weights {
            return refused(format!(
                "was learned beside other weights than those of {base}, though the shapes are the same: the `revision` in {CONFIG} \
                 begins with their sha256, {beside}, and there it is {weights}"
            ));
        }
        if revision(&weights, &config.model)?.split_once('-').is_none_or(|(_, found)| found != function) {
            return refused(format!(
                "was learned for another function of the weights of {base}: with other heads, another mask or norm, or other positions than \
                 its config.json says; merge from the folder of the run, which knows them"
            ));
        }
        Ok(None)
    }
}

/// A checkpoint's weights, with low-rank parts folded in.
///
/// # Errors
/// [`Error::Checkpoint`], also for one that holds a prefix or a prompt, which no weights can take up.
pub(crate) fn without(checkpoint: &Checkpoint, config: &CheckpointConfig) -> Result<BTreeMap<String, Array>, Error> {
    let arrays = checkpoint.weights()?;
    let mode = &config.experiment.finetune;
    match mode {
        FinetuneConfig::Full | FinetuneConfig::Head | FinetuneConfig::Freeze(_) => Ok(arrays),
        FinetuneConfig::Lora(lora) => fold(&checkpoint.path, arrays, |_| (lora.rank, lora.scale())),
        FinetuneConfig::Prefix(_) | FinetuneConfig::Prompt(_) => {
            let problem = format!(
                "holds a learned {name}, which its other weights cannot take up; start from the checkpoint that it was learned for, or \
                 train the {name} on with `finetune` in the mode `{name}`",
                name = mode.name()
            );
            Err(Error::checkpoint(&checkpoint.path, problem))
        }
    }
}

/// W + scale · A B for every low-rank part.
///
/// # Errors
/// [`Error::Checkpoint`] for a part whose other half or weight is missing or of another size.
fn fold(
    path: &Path,
    arrays: BTreeMap<String, Array>,
    scaling: impl Fn(&str) -> (usize, f64),
) -> Result<BTreeMap<String, Array>, Error> {
    adapter::merge(arrays, scaling).map_err(|error| Error::checkpoint(path, error))
}
