//! `merge`: a checkpoint without its adapter, the low-rank parts folded into the weights.

use std::path::Path;

use super::{
    adapter::{self, PeftType},
    mode::FinetuneConfig,
};
use crate::{
    checkpoint::{Checkpoint, CheckpointConfig},
    error::Error,
    experiment::Experiment,
    provenance::Lineage,
    run_dir::NewRun,
};

/// Writes W + (alpha / rank) A B in place of every weight W that an adapter stands beside, as a checkpoint like any other.
///
/// `tuned` is a fine-tuned run or its checkpoint, or a folder that holds the adapter alone; the latter is folded into `base`, or into
/// the checkpoint that the adapter names.
///
/// # Errors
/// [`Error::Checkpoint`] for what cannot be read or does not fit, [`Error::Usage`] for what has nothing to fold in, and for a folder
/// that is not empty; [`Error::Io`]
pub fn merge(tuned: &Path, base: Option<&Path>, place: &NewRun) -> Result<Checkpoint, Error> {
    place.path()?;
    let is_alone = tuned.join(adapter::CONFIG).is_file() && !tuned.join(Checkpoint::MANIFEST).is_file();
    let (config, arrays, lineage) =
        if is_alone || base.is_some() { into_base(tuned, base)? } else { of_checkpoint(tuned)? };
    Checkpoint::write_merged(place, &config, &arrays, &lineage)
}

type Merged = (CheckpointConfig, std::collections::BTreeMap<String, headway_model::weights::Array>, Lineage);

fn of_checkpoint(tuned: &Path) -> Result<Merged, Error> {
    let checkpoint = Checkpoint::find(tuned)?;
    let config = checkpoint.config()?;
    if !matches!(config.experiment.finetune, FinetuneConfig::Lora(_)) {
        let problem = format!(
            "{} holds no low-rank parts to fold in: it was trained in the mode `{}`",
            checkpoint.path.display(),
            config.experiment.finetune.name()
        );
        return Err(Error::Usage(problem));
    }
    let arrays = adapter::without(&checkpoint, &config)?;
    let lineage = Lineage::whole(tuned, &checkpoint, &config, arrays.len())?;
    Ok((plain(config), arrays, lineage))
}

fn into_base(tuned: &Path, base: Option<&Path>) -> Result<Merged, Error> {
    let folder = if tuned.join(adapter::CONFIG).is_file() { tuned.to_owned() } else { Checkpoint::find(tuned)?.path };
    let files = adapter::read(&folder)?;
    if files.config.peft_type != PeftType::Lora {
        let problem = "holds learned rows, which no weights can take up; only LoRA can be folded in";
        return Err(Error::checkpoint(&folder, problem));
    }
    let named = files.config.base_model_name_or_path.as_deref().map(Path::new);
    let Some(base) = base.or(named) else {
        let problem = format!("{} does not name the checkpoint it goes with; give it with --base", folder.display());
        return Err(Error::Usage(problem));
    };
    let Some(scale) = files.config.scale() else {
        return Err(Error::checkpoint(
            folder.join(adapter::CONFIG),
            "`r` and `lora_alpha` must be given, and r above 0",
        ));
    };
    let checkpoint = Checkpoint::find(base)?;
    let config = checkpoint.config()?;
    let mut arrays = adapter::without(&checkpoint, &config)?;
    for (name, array) in files.arrays {
        let is_part = headway_model::adapter::is_adapter(&name);
        let fits = arrays.get(&name).is_some_and(|weight| weight.shape == array.shape);
        if !is_part && !fits {
            let problem = format!(
                "its {name} {:?} does not fit {}; merge from the folder of the run, which knows its task",
                array.shape,
                checkpoint.path.display()
            );
            return Err(Error::checkpoint(&folder, problem));
        }
        arrays.insert(name, array);
    }
    let arrays = adapter::fold(&folder, arrays, scale)?;
    let lineage = Lineage::whole(base, &checkpoint, &config, arrays.len())?;
    Ok((plain(config), arrays, lineage))
}

/// The config of a model that keeps nothing beside its weights.
fn plain(config: CheckpointConfig) -> CheckpointConfig {
    let experiment = Experiment { finetune: FinetuneConfig::Full, init_from: None, ..config.experiment };
    CheckpointConfig { experiment, ..config }
}
