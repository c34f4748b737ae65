//! The checkpoint folder: what is in it, and that every byte of it is as it was written.
//!
//! ```text
//! model.safetensors   weights, PyTorch orientation and names
//! config.json         model, sizes and the whole experiment
//! optim.safetensors   optimiser moments by parameter name
//! state.json          step, best score, early stopping
//! metrics.json        length and sha256 of the run's metrics.jsonl at that time
//! certificate.json    what was proved and measured of constructed weights
//! hardest.safetensors the points where they are farthest from their target
//! train.toml          the experiment of constructed weights, to train the same network
//! lineage.json        where the first weights of a fine-tuned model came from
//! adapter_config.json, adapter_model.safetensors   what fine-tuning learned beside the weights, in PEFT's layout
//! import.json         the file that imported weights came from, and what was made of it
//! MANIFEST            sha256 of each file, written last; `sha256sum -c MANIFEST` checks it
//! ```
//!
//! Only the first two and the manifest are needed to evaluate or fine-tune.

mod state;
mod write;

use std::{
    collections::BTreeMap,
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use headway_exchange::{disk::open, peft};
use headway_model::{
    IoDims, ModelConfig,
    weights::{self, Array},
};
use headway_tasks::Scale;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    bounded_read,
    digest::digest,
    error::Error,
    experiment::Experiment,
    layout::CHECKPOINTS,
    lock::FolderLock,
    notice, presence,
    provenance::{Import, Lineage},
};

pub use state::{Best, Resumable, TrainState, Written};
pub(crate) use write::write;

/// A checkpoint folder on disk.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The folder.
    pub path: PathBuf,
    /// The step in its name, for one inside a run folder.
    pub step: Option<u64>,
    /// The manifest under a lock that several may hold, which keeps a run in progress from deleting what is being read.
    read: Option<Arc<File>>,
}

/// `config.json`: all that is needed to rebuild the model and its data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointConfig {
    /// Version of this format, 1.
    pub format: u32,
    /// The model.
    pub model: ModelConfig,
    /// Sizes of its inputs and outputs.
    pub dims: IoDims,
    /// The experiment that trained it.
    pub experiment: Experiment,
    /// The scale of the data that it was trained on, where that comes from a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<Scale>,
    /// Shape of what it answers to a whole sequence, where that data has one target for a sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Vec<usize>>,
}

impl CheckpointConfig {
    pub(crate) fn of(experiment: &Experiment) -> Self {
        let (model, dims) = (experiment.model.clone(), experiment.dims());
        Self { format: 1, model, dims, experiment: experiment.clone(), scale: None, answer: None }
    }
}

impl Checkpoint {
    /// File name of the manifest.
    pub const MANIFEST: &str = "MANIFEST";
    const MODEL: &str = "model.safetensors";
    const CONFIG: &str = "config.json";
    const OPTIM: &str = "optim.safetensors";
    const STATE: &str = "state.json";
    const CERTIFICATE: &str = "certificate.json";
    const LINEAGE: &str = "lineage.json";
    const HARDEST: &str = "hardest.safetensors";
    /// The experiment, to train the same network on the same task.
    const TRAIN: &str = "train.toml";
    const IMPORT: &str = "import.json";
    /// What the run had logged.
    pub(crate) const METRICS: &str = "metrics.json";
    /// Every file that a manifest lists; others in a checkpoint's folder, pages perhaps, are none of its.
    const FILES: [&str; 12] = [
        Self::MODEL,
        Self::CONFIG,
        Self::OPTIM,
        Self::STATE,
        Self::METRICS,
        Self::CERTIFICATE,
        Self::HARDEST,
        Self::TRAIN,
        Self::LINEAGE,
        Self::IMPORT,
        peft::CONFIG,
        peft::WEIGHTS,
    ];

    /// One that is written, or known to be there.
    pub(crate) fn at(path: PathBuf, step: Option<u64>) -> Self {
        Self { path, step, read: None }
    }

    /// Finds the checkpoint that a path means: a checkpoint folder itself, or a run folder, whose best checkpoint by
    /// validation loss is taken where there is one and its newest otherwise.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when there is none.
    pub fn find(path: &Path) -> Result<Self, Error> {
        // What a run in progress deletes between two looks is looked for again, in what it has saved since.
        for _ in 0..100 {
            match Self::look(path).and_then(Self::while_read) {
                Ok(Some(checkpoint)) => return Ok(checkpoint),
                Err(error) if !FolderLock::is_held(path)? => return Err(error),
                Ok(None) | Err(_) => {}
            }
        }
        Self::look(path)
    }

    /// The checkpoint with its manifest locked; nothing where it is being deleted. Where there are no locks, it goes without.
    fn while_read(mut self) -> Result<Option<Self>, Error> {
        let manifest = self.path.join(Self::MANIFEST);
        match open(&manifest) {
            Ok(file) => match file.try_lock_shared() {
                Ok(()) => self.read = Some(Arc::new(file)),
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(_)) => {}
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::unread(&manifest)(error)),
        }
        // Between the look and the lock it may have gone.
        Ok(presence::is_file(&manifest)?.then_some(self))
    }

    /// Whether a process reads it, so that it must not be deleted now; also where that cannot be told.
    pub(crate) fn is_being_read(&self) -> bool {
        match File::open(self.path.join(Self::MANIFEST)) {
            Ok(file) => matches!(file.try_lock(), Err(TryLockError::WouldBlock)),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    fn look(path: &Path) -> Result<Self, Error> {
        if presence::is_file(&path.join(Self::MANIFEST))? {
            return Ok(Self::at(path.to_owned(), None));
        }
        let all = checkpoints_in(path)?;
        let Some(newest) = all.last() else {
            let problem = if presence::is_there(path)? {
                "holds no whole checkpoint; give a run folder, or a checkpoint folder with a MANIFEST".to_owned()
            } else {
                format!("does not exist{}", bounded_read::did_you_mean(path))
            };
            return Err(Error::checkpoint(path, problem));
        };
        let best = newest.state()?.and_then(|state| state.best).map(|best| best.step);
        Ok(all.iter().find(|checkpoint| checkpoint.step == best).unwrap_or(newest).clone())
    }

    /// Refuses weights of it that are no numbers to compute with.
    ///
    /// # Errors
    /// [`Error::NotFinite`] with the first tensor that holds NaN or an infinity; as [`Checkpoint::import`]
    pub fn ensure_finite(&self, weights: &BTreeMap<String, Array>) -> Result<(), Error> {
        let is_finite = |array: &Array| array.values.iter().all(|value| value.is_finite());
        let Some((name, _)) = weights.iter().find(|(_, array)| !is_finite(array)) else { return Ok(()) };
        let anew = self.import()?.map_or_else(String::new, |import| {
            format!(", or write {} anew where it comes from, and import it again", import.file)
        });
        let path = self.path.display();
        Err(Error::NotFinite(format!(
            "{path}: {name} holds numbers that are not finite; take another checkpoint{anew}"
        )))
    }

    /// The config, verified against the manifest.
    ///
    /// # Errors
    /// [`Error::Checkpoint`]
    pub fn config(&self) -> Result<CheckpointConfig, Error> {
        let config: CheckpointConfig = self.read_json(Self::CONFIG)?;
        if config.format != 1 {
            let problem = format!("{} has format {}, this version reads format 1", Self::CONFIG, config.format);
            return Err(Error::checkpoint(&self.path, problem));
        }
        // JSON has numbers that a config file cannot hold.
        let written = toml::Table::try_from(&config.experiment).map(|_| ());
        written.map_err(|error| Error::checkpoint(self.path.join(Self::CONFIG), error.to_string().trim()))?;
        if config.model != config.experiment.model || config.dims != config.experiment.dims() {
            let problem = "model and dims are not those of the experiment beside them";
            return Err(Error::checkpoint(self.path.join(Self::CONFIG), problem));
        }
        Ok(config)
    }

    /// The weights by name, verified against the manifest.
    ///
    /// # Errors
    /// [`Error::Checkpoint`]
    pub fn weights(&self) -> Result<BTreeMap<String, Array>, Error> {
        self.read_arrays(Self::MODEL)
    }

    /// Training state and optimiser moments, verified against the manifest.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], also when the checkpoint has none and can only be evaluated or fine-tuned.
    pub fn resumable(&self) -> Result<Resumable, Error> {
        Ok(Resumable { state: self.read_json(Self::STATE)?, moments: self.read_arrays(Self::OPTIM)? })
    }

    /// Training state alone, verified against the manifest; nothing where training cannot go on from.
    ///
    /// # Errors
    /// [`Error::Checkpoint`]
    pub fn state(&self) -> Result<Option<TrainState>, Error> {
        if self.digest_of(Self::STATE)?.is_some() { self.read_json(Self::STATE).map(Some) } else { Ok(None) }
    }

    /// What the run had logged when this was saved; nothing where that was not noted.
    ///
    /// # Errors
    /// [`Error::Checkpoint`]
    pub(crate) fn metrics(&self) -> Result<Option<Written>, Error> {
        if self.digest_of(Self::METRICS)?.is_some() { self.read_json(Self::METRICS).map(Some) } else { Ok(None) }
    }

    /// The certificate of constructed weights, verified against the manifest; nothing where weights were trained.
    ///
    /// # Errors
    /// [`Error::Checkpoint`]
    pub fn certificate(&self) -> Result<Option<serde_json::Value>, Error> {
        if self.digest_of(Self::CERTIFICATE)?.is_some() {
            self.read_json(Self::CERTIFICATE).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Where the first weights came from, verified against the manifest; nothing where they were random or constructed.
    ///
    /// # Errors
    /// [`Error::Checkpoint`]
    pub fn lineage(&self) -> Result<Option<Lineage>, Error> {
        if self.digest_of(Self::LINEAGE)?.is_some() { self.read_json(Self::LINEAGE).map(Some) } else { Ok(None) }
    }

    /// Where imported weights came from, verified against the manifest; nothing for others.
    ///
    /// # Errors
    /// [`Error::Checkpoint`]
    pub fn import(&self) -> Result<Option<Import>, Error> {
        if self.digest_of(Self::IMPORT)?.is_some() { self.read_json(Self::IMPORT).map(Some) } else { Ok(None) }
    }

    /// Digest of the weights, to name where a fine-tuned model came from. It is the manifest's: whoever reads the weights has compared it
    /// with them, and they are not read again.
    ///
    /// # Errors
    /// [`Error::Checkpoint`]
    pub fn weights_digest(&self) -> Result<String, Error> {
        self.recorded(Self::MODEL)
    }

    /// The record of weights that were all taken from this checkpoint, found at `from`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`]
    pub(crate) fn as_lineage(&self, from: &Path, config: &CheckpointConfig, taken: usize) -> Result<Lineage, Error> {
        Ok(Lineage {
            from: from.display().to_string(),
            weights_sha256: self.weights_digest()?,
            run_id: Some(config.experiment.run_id()),
            taken,
            missing: Vec::new(),
            extra: Vec::new(),
            mismatched: Vec::new(),
            replaced: Vec::new(),
            changed: Vec::new(),
            folded: None,
        })
    }

    fn read_arrays(&self, name: &str) -> Result<BTreeMap<String, Array>, Error> {
        let bytes = self.read(name)?;
        weights::arrays_from_bytes(&bytes).map_err(|error| Error::checkpoint(self.path.join(name), error))
    }

    fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<T, Error> {
        let bytes = self.read(name)?;
        bounded_read::from_json(&bytes).map_err(|problem| Error::checkpoint(self.path.join(name), problem))
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        let (path, recorded) = (self.path.join(name), self.recorded(name)?);
        let damaged = |error| Error::checkpoint(&path, error);
        let bytes = bounded_read::read(&path).map_err(|error| Error::unreadable(&path, error, damaged))?;
        if digest(&bytes) != recorded {
            let problem = "does not match its digest in MANIFEST: the file was cut short or changed";
            return Err(Error::checkpoint(path, problem));
        }
        Ok(bytes)
    }

    /// What the manifest says about a file.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], also when it does not list it.
    fn recorded(&self, name: &str) -> Result<String, Error> {
        self.digest_of(name)?.ok_or_else(|| Error::checkpoint(&self.path, format!("has no {name}")))
    }

    /// What the manifest says about a file, nothing when it does not list it.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is no manifest of this folder.
    fn digest_of(&self, name: &str) -> Result<Option<String>, Error> {
        let path = self.path.join(Self::MANIFEST);
        let damaged = |problem: String| Error::checkpoint(&path, problem);
        let manifest = bounded_read::read_text(&path)
            .map_err(|error| Error::unreadable(&path, error, |error| damaged(error.to_string())))?;
        let mut entries = BTreeMap::new();
        for (number, line) in (1..).zip(manifest.lines()) {
            let entry = line.split_once("  ").filter(|(digest, _)| is_digest(digest));
            if entry.and_then(|(digest, file)| entries.insert(file, digest).is_none().then_some(())).is_none() {
                return Err(damaged(format!("line {number} is no sha256 and name, or names a file again")));
            }
        }
        // What is left of one that was cut short between two lines looks whole.
        for file in presence::list(&self.path)?.unwrap_or_default() {
            let file = presence::name(&file);
            // What was logged concerns nobody where training cannot go on.
            let concerns = file != Self::METRICS || entries.contains_key(Self::STATE);
            if concerns && Self::FILES.contains(&file.as_str()) && !entries.contains_key(file.as_str()) {
                return Err(damaged(format!(
                    "does not list {file}, which lies beside it: it was cut short or changed"
                )));
            }
        }
        Ok(entries.get(name).map(|digest| (*digest).to_owned()))
    }
}

/// Whole checkpoints of a run folder, oldest first. Says where the newest has no manifest, and is passed over.
///
/// # Errors
/// [`Error::Io`] when that cannot be told.
pub fn checkpoints_in(root: &Path) -> Result<Vec<Checkpoint>, Error> {
    let mut all = Vec::new();
    for path in presence::list(&root.join(CHECKPOINTS))?.unwrap_or_default() {
        if let Some(step) = presence::name(&path).strip_prefix("step-").and_then(|step| step.parse().ok()) {
            all.push(Checkpoint::at(path, Some(step)));
        }
    }
    all.sort_by_key(|checkpoint| checkpoint.step);
    let mut whole = Vec::new();
    for checkpoint in &all {
        if presence::is_file(&checkpoint.path.join(Checkpoint::MANIFEST))? {
            whole.push(checkpoint.clone());
        }
    }
    if let Some(newest) = all.last()
        && whole.last().is_none_or(|it: &Checkpoint| it.step != newest.step)
        // A run in progress may have deleted it meanwhile.
        && presence::is_folder(&newest.path)?
    {
        let instead =
            whole.last().map_or("there is no other".to_owned(), |it| format!("{} is taken", it.path.display()));
        let newest = newest.path.display();
        notice::say(format!("warning: {newest} has no {} and is passed over; {instead}", Checkpoint::MANIFEST));
    }
    Ok(whole)
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use headway_model::weights::arrays_to_bytes;

    use super::{write::safetensors, *};
    use crate::disk;

    #[test]
    fn weights_are_read_once_and_known_by_the_digest_that_they_were_compared_with() -> Result<(), Error> {
        let folder = tempfile::tempdir().map_err(Error::io("cannot create folder", "a temporary one"))?;
        let at = folder.path().join("checkpoint");
        let arrays = BTreeMap::from([("w".to_owned(), Array { shape: vec![2], values: vec![1.0, -0.5] })]);
        let bytes = safetensors(arrays_to_bytes(&arrays))?;
        write(&folder.path().join("half"), &at, &[(Checkpoint::MODEL, bytes.clone())], || Ok(()))?;
        let checkpoint = Checkpoint::find(&at)?;
        assert_eq!(checkpoint.weights()?, arrays);
        // Nobody looks at them again.
        disk::remove_file(&at.join(Checkpoint::MODEL))?;
        assert_eq!(checkpoint.weights_digest()?, digest(&bytes));
        disk::replace(&at.join(Checkpoint::MODEL), &bytes[1..])?;
        let damaged = checkpoint.weights().map(drop).map_err(|error| error.to_string());
        assert!(damaged.is_err_and(|error| error.contains("does not match its digest in MANIFEST")));
        Ok(())
    }
}
