//! `merge`: a checkpoint without an adapter, whose low-rank parts are folded into the weights.

use std::{collections::BTreeMap, path::Path};

use headway_model::weights::Array;

use crate::{
    adapter,
    checkpoint::{Checkpoint, CheckpointConfig},
    error::Error,
    experiment::{Experiment, FinetuneConfig},
    presence,
    provenance::{Folded, Lineage},
    run_dir::NewRun,
};

/// Result of a merge.
#[derive(Clone, Debug)]
pub struct Merged {
    /// The checkpoint that was written.
    pub checkpoint: Checkpoint,
    /// Its record of both origins.
    pub lineage: Lineage,
    /// A note for the user.
    pub note: Option<String>,
}

/// Replaces every adapted weight W by W + (alpha / rank) A B, and writes the result as an ordinary checkpoint.
///
/// `tuned` is a fine-tuned run or its checkpoint, or a folder with an adapter alone; such an adapter is folded into
/// `base`, or into the checkpoint that it names.
///
/// # Errors
/// [`Error::Checkpoint`] for what cannot be read or does not fit, and for an adapter that was learned beside other weights;
/// [`Error::NothingToFold`], [`Error::NoBase`]; [`Error::Occupied`] for a folder that is not empty; [`Error::Io`]
pub fn merge(tuned: &Path, base: Option<&Path>, place: &NewRun) -> Result<Merged, Error> {
    place.path()?;
    let is_alone = adapter::lies_in(tuned)? && !presence::is_file(&tuned.join(Checkpoint::MANIFEST))?;
    let Sum { config, arrays, lineage, note } =
        if is_alone || base.is_some() { into_base(tuned, base)? } else { of_checkpoint(tuned)? };
    let checkpoint = Checkpoint::write_merged(place.path()?, &config, &arrays, &lineage)?;
    Ok(Merged { checkpoint, lineage, note })
}

/// Weights with an adapter folded in.
struct Sum {
    config: CheckpointConfig,
    arrays: BTreeMap<String, Array>,
    lineage: Lineage,
    note: Option<String>,
}

fn of_checkpoint(tuned: &Path) -> Result<Sum, Error> {
    let checkpoint = Checkpoint::find(tuned)?;
    let config = checkpoint.config()?;
    if !matches!(config.experiment.finetune, FinetuneConfig::Lora(_)) {
        return Err(Error::NothingToFold { path: checkpoint.path, mode: config.experiment.finetune.name() });
    }
    let arrays = adapter::without(&checkpoint, &config)?;
    let itself = checkpoint.as_lineage(tuned, &config, arrays.len())?;
    let folded =
        Folded { from: itself.from.clone(), sha256: itself.weights_sha256.clone(), run_id: itself.run_id.clone() };
    // The weights without the low-rank parts are those that the run started from.
    let base = checkpoint.lineage()?.unwrap_or(itself);
    Ok(Sum { config: plain(config), arrays, lineage: Lineage { folded: Some(folded), ..base }, note: None })
}

fn into_base(tuned: &Path, base: Option<&Path>) -> Result<Sum, Error> {
    let (folder, run_id) = if adapter::lies_in(tuned)? {
        (tuned.to_owned(), None)
    } else {
        let checkpoint = Checkpoint::find(tuned)?;
        let run_id = checkpoint.config()?.experiment.run_id();
        (checkpoint.path, Some(run_id))
    };
    let files = adapter::read(&folder)?;
    let named = files.lora.settings.base.clone();
    let Some(base) = base.or(named.as_deref().map(Path::new)) else {
        return Err(Error::NoBase(folder));
    };
    let checkpoint = Checkpoint::find(base)?;
    let config = checkpoint.config()?;
    let folded = Folded { from: tuned.display().to_string(), sha256: files.sha256.clone(), run_id };
    let belongs = files.belongs_to(&checkpoint, &config);
    // A tensor that does not fit is a better message than that the checkpoint is another one.
    let arrays = files.onto(&checkpoint.path, adapter::without(&checkpoint, &config)?)?;
    let note = belongs?;
    let lineage = checkpoint.as_lineage(base, &config, arrays.len())?;
    Ok(Sum { config: plain(config), arrays, lineage: Lineage { folded: Some(folded), ..lineage }, note })
}

/// The config without an adapter.
fn plain(config: CheckpointConfig) -> CheckpointConfig {
    let experiment = Experiment { finetune: FinetuneConfig::Full, init_from: None, ..config.experiment };
    CheckpointConfig { experiment, ..config }
}
