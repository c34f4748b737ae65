//! Adapters in checkpoints: the two files of an adapter, and the weights that it was trained on.

use std::path::{Path, PathBuf};

use headway_exchange::{
    Arrays,
    peft::{AdapterSettings, Base, CONFIG, Kind, Learned, Lora, PICKLE, WEIGHTS},
};
use headway_model::{Model, ModelConfig, adapter, weights};
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

/// The files of a fine-tuned model's adapter, given all its parameters as `arrays`; empty if the mode trains no
/// adapter.
///
/// # Errors
/// [`Error::Json`], [`Error::Weights`] when a value cannot be written, which no value of ours provokes; [`Error::Merge`]
pub(crate) fn files(
    config: &CheckpointConfig,
    model: &Model,
    arrays: &Arrays,
    lineage: Option<&Lineage>,
) -> Result<Vec<(&'static str, Vec<u8>)>, Error> {
    let kind = match &config.experiment.finetune {
        FinetuneConfig::Full | FinetuneConfig::Head | FinetuneConfig::Freeze(_) => return Ok(Vec::new()),
        FinetuneConfig::Lora(lora) => Kind::LowRank(lora),
        FinetuneConfig::Prefix(prefix) => Kind::Prefix(prefix),
        FinetuneConfig::Prompt(prompt) => Kind::Prompt(prompt),
    };
    let base = |lineage: &Lineage| {
        let revision = revision(&lineage.weights_sha256, &config.model)?;
        Ok::<_, Error>(Base { from: lineage.from.clone(), revision })
    };
    let names: Vec<String> = weights::names(model).into_iter().map(|(name, _)| name).collect();
    let learned = Learned {
        kind,
        model: &config.model,
        names: &names,
        trained: &weights::trained(model),
        base: lineage.map(base).transpose()?,
    };
    let (peft, arrays) = learned.files(arrays)?;
    let bytes = weights::arrays_to_bytes(&arrays)?;
    Ok(vec![(CONFIG, json::file(&peft)?), (WEIGHTS, bytes)])
}

/// Identifies the weights an adapter was trained on, and the function computed with them: the sha256 of the file of
/// weights, a dash, and twelve hexadecimal digits of the sha256 of the model's config without settings that do not
/// change the function.
fn revision(weights_sha256: &str, model: &ModelConfig) -> Result<String, Error> {
    let function = serde_json::to_vec(&model.function())?;
    Ok(format!("{weights_sha256}-{}", &digest(&function)[..12]))
}

/// A LoRA read from files, with the settings of its config.
#[derive(Clone, Debug)]
pub(crate) struct AdapterFiles {
    folder: PathBuf,
    /// Its settings and its parameters.
    pub(crate) lora: Lora,
    /// Sha256 of the file that holds them.
    pub(crate) sha256: String,
}

/// Whether a folder contains an adapter.
///
/// # Errors
/// [`Error::Io`] if the folder cannot be read.
pub(crate) fn lies_in(folder: &Path) -> Result<bool, Error> {
    presence::is_there(&folder.join(CONFIG))
}

/// Reads the files of a LoRA.
///
/// # Errors
/// [`Error::Checkpoint`] if a file is missing or damaged, or if the adapter is of a kind that cannot be folded in.
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
    let lora = Lora::new(asked, contents.tensors).map_err(|problem| Error::checkpoint(&path, problem))?;
    Ok(AdapterFiles { folder: folder.to_owned(), lora, sha256 })
}

fn read_whole(path: &Path) -> Result<Vec<u8>, Error> {
    bounded_read::read(path).map_err(|error| Error::unreadable(path, error, |error| Error::checkpoint(path, error)))
}

impl AdapterFiles {
    /// The weights of its base, with the adapter folded in.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if config, parameters and base contradict each other.
    pub(crate) fn onto(self, base: &Path, weights: Arrays) -> Result<Arrays, Error> {
        let base = base.display().to_string();
        self.lora.onto(&base, weights).map_err(|problem| Error::checkpoint(&self.folder, problem))
    }

    /// Checks that the adapter was trained on these weights, as far as it says. Returns a note if it does not say so.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it was trained on other weights.
    pub(crate) fn belongs_to(&self, base: &Checkpoint, config: &CheckpointConfig) -> Result<Option<String>, Error> {
        let (weights, base) = (base.weights_digest()?, base.path.display());
        let Some((beside, function)) = self
            .lora
            .settings
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

/// A checkpoint's weights with low-rank parts folded in.
///
/// # Errors
/// [`Error::Checkpoint`], also if it has a prefix or a prompt, which cannot be folded into weights.
pub(crate) fn without(checkpoint: &Checkpoint, config: &CheckpointConfig) -> Result<Arrays, Error> {
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

/// Replaces every W that has low-rank parts by W + scale · A B.
///
/// # Errors
/// [`Error::Checkpoint`] if the other half of a part or its weight is missing or has another size.
fn fold(path: &Path, arrays: Arrays, scaling: impl Fn(&str) -> (usize, f64)) -> Result<Arrays, Error> {
    adapter::merge(arrays, scaling).map_err(|error| Error::checkpoint(path, error))
}
