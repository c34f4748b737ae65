//! The checkpoint folder: its files, and the verification of every byte of them.
//!
//! ```text
//! model.safetensors   weights, PyTorch orientation and names
//! config.json         model, sizes and the whole experiment
//! optim.safetensors   optimiser moments by parameter name
//! state.json          step, best score, early stopping
//! metrics.json        length and sha256 of the run's metrics.jsonl at that time
//! certificate.json    what was proved and measured about constructed weights
//! hardest.safetensors the points with the largest errors of constructed weights
//! train.toml          the experiment of constructed weights, to train the same network
//! lineage.json        where the initial weights of a fine-tuned model came from
//! adapter_config.json, adapter_model.safetensors   the trained adapter of a fine-tuned model, in PEFT's layout
//! import.json         the file that imported weights came from, and what was done to it
//! tokenizer.json      what divides texts into tokens, if a tokenizer does, as it was given
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
    beside, bounded_read, data,
    digest::digest,
    error::Error,
    experiment::Experiment,
    layout::CHECKPOINTS,
    lock::FolderLock,
    notice, presence,
    provenance::{Import, Lineage},
};

pub use state::{Best, Resumable, TrainState, Written};
pub use write::Evidence;
pub(crate) use write::write;

/// A checkpoint folder on disk.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Path of the folder.
    pub path: PathBuf,
    /// The step in its name; `None` for a checkpoint outside a run folder.
    pub step: Option<u64>,
    /// The manifest under a shared lock, which keeps a run in progress from deleting the checkpoint while it is read.
    read: Option<Arc<File>>,
}

/// `config.json`: everything needed to rebuild the model and its data.
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
    /// Scale of the data that it was trained on; `None` if the data does not come from a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<Scale>,
    /// Shape of the answer to a sequence; `None` unless the data has one target per sequence.
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
    /// The boxes of a proof that a certificate rests on.
    const PROOF: &str = "proof.json";
    /// Which head of a compiled program computes which variable.
    const TRUTH: &str = "ground_truth.json";
    const LINEAGE: &str = "lineage.json";
    const HARDEST: &str = "hardest.safetensors";
    /// The experiment of constructed weights, to train the same network on the same task.
    const TRAIN: &str = "train.toml";
    const IMPORT: &str = "import.json";
    const TOKENIZER: &str = "tokenizer.json";
    /// Length and digest of the run's metrics file.
    pub(crate) const METRICS: &str = "metrics.json";
    /// Every file that a manifest lists. Other files in the folder, such as pages, are not part of the checkpoint.
    const FILES: [&str; 15] = [
        Self::MODEL,
        Self::CONFIG,
        Self::OPTIM,
        Self::STATE,
        Self::METRICS,
        Self::CERTIFICATE,
        Self::PROOF,
        Self::TRUTH,
        Self::HARDEST,
        Self::TRAIN,
        Self::LINEAGE,
        Self::IMPORT,
        Self::TOKENIZER,
        peft::CONFIG,
        peft::WEIGHTS,
    ];

    /// A checkpoint that is being written or known to exist.
    pub(crate) fn at(path: PathBuf, step: Option<u64>) -> Self {
        Self { path, step, read: None }
    }

    /// The checkpoint at a path: a checkpoint folder itself, or the best checkpoint by validation loss of a run folder,
    /// or else its newest one.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if there is none.
    pub fn find(path: &Path) -> Result<Self, Error> {
        // A run in progress may delete a checkpoint while it is looked for; then look again among those saved since.
        for _ in 0..100 {
            match Self::look(path).and_then(Self::while_read) {
                Ok(Some(checkpoint)) => return Ok(checkpoint),
                Err(error) if !FolderLock::is_held(path)? => return Err(error),
                Ok(None) | Err(_) => {}
            }
        }
        Self::look(path)
    }

    /// The checkpoint with its manifest locked; `None` if it is being deleted. On file systems without locks it is not
    /// locked.
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
        // It may have been deleted before the lock was taken.
        Ok(presence::is_file(&manifest)?.then_some(self))
    }

    /// Whether a process is reading it, so that it must not be deleted now; true if that is unknown.
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

    /// Refuses weights of the checkpoint that are not finite.
    ///
    /// # Errors
    /// [`Error::NotFinite`] with the first tensor that contains NaN or an infinity; as [`Checkpoint::import`]
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

    /// The config, verified against the manifest, with absolute paths of data, which it may name from its folder on. A tokenizer in the
    /// folder takes the place of the file that it is a copy of.
    ///
    /// # Errors
    /// [`Error::Checkpoint`]
    pub fn config(&self) -> Result<CheckpointConfig, Error> {
        let mut config: CheckpointConfig = self.read_json(Self::CONFIG)?;
        if config.format != 1 {
            let problem = format!("{} has format {}, this version reads format 1", Self::CONFIG, config.format);
            return Err(Error::checkpoint(&self.path, problem));
        }
        // JSON allows numbers that TOML does not.
        let written = toml::Table::try_from(&config.experiment).map(|_| ());
        written.map_err(|error| Error::checkpoint(self.path.join(Self::CONFIG), error.to_string().trim()))?;
        if config.model != config.experiment.model || config.dims != config.experiment.dims() {
            let problem = "model and dims are not those of the experiment beside them";
            return Err(Error::checkpoint(self.path.join(Self::CONFIG), problem));
        }
        // Paths of data are relative to what names them.
        for (_, place) in config.experiment.task.places_mut() {
            // An empty path names nothing.
            if !place.as_os_str().is_empty() {
                *place = beside::absolute(&self.path.join(&*place))?;
            }
        }
        if let Some(place) = config.experiment.task.tokenizer_mut() {
            let path = self.path.join(Self::TOKENIZER);
            // What is read here is compared with the manifest.
            self.read(Self::TOKENIZER)?;
            *place = beside::absolute(&path)?;
            let settled = config.experiment.task.settle(&data::files(""));
            settled.map_err(|error| Error::checkpoint(path, error))?;
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
    /// [`Error::Checkpoint`], also if the checkpoint has none of these and so can only be evaluated or fine-tuned.
    pub fn resumable(&self) -> Result<Resumable, Error> {
        Ok(Resumable { state: self.read_json(Self::STATE)?, moments: self.read_arrays(Self::OPTIM)? })
    }

    /// Training state alone, verified against the manifest; `None` if training cannot be resumed from this checkpoint.
    ///
    /// # Errors
    /// [`Error::Checkpoint`]
    pub fn state(&self) -> Result<Option<TrainState>, Error> {
        if self.digest_of(Self::STATE)?.is_some() { self.read_json(Self::STATE).map(Some) } else { Ok(None) }
    }

    /// What the run's metrics file contained when the checkpoint was saved; `None` if that was not recorded.
    ///
    /// # Errors
    /// [`Error::Checkpoint`]
    pub(crate) fn metrics(&self) -> Result<Option<Written>, Error> {
        if self.digest_of(Self::METRICS)?.is_some() { self.read_json(Self::METRICS).map(Some) } else { Ok(None) }
    }

    /// The certificate of constructed weights, verified against the manifest; `None` if the weights were trained.
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

    /// Where the initial weights came from, verified against the manifest; `None` if they were random or constructed.
    ///
    /// # Errors
    /// [`Error::Checkpoint`]
    pub fn lineage(&self) -> Result<Option<Lineage>, Error> {
        if self.digest_of(Self::LINEAGE)?.is_some() { self.read_json(Self::LINEAGE).map(Some) } else { Ok(None) }
    }

    /// Where imported weights came from, verified against the manifest; `None` for other weights.
    ///
    /// # Errors
    /// [`Error::Checkpoint`]
    pub fn import(&self) -> Result<Option<Import>, Error> {
        if self.digest_of(Self::IMPORT)?.is_some() { self.read_json(Self::IMPORT).map(Some) } else { Ok(None) }
    }

    /// Sha256 of the weights, which identifies the origin of a fine-tuned model. It is taken from the manifest, with
    /// which the weights are compared whenever they are read, so they are not read again.
    ///
    /// # Errors
    /// [`Error::Checkpoint`]
    pub fn weights_digest(&self) -> Result<String, Error> {
        self.recorded(Self::MODEL)
    }

    /// The lineage of weights that were all taken from this checkpoint, whose path was given as `from`.
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

    /// The digest that the manifest records for a file.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], also if the manifest does not list the file.
    fn recorded(&self, name: &str) -> Result<String, Error> {
        self.digest_of(name)?.ok_or_else(|| Error::checkpoint(&self.path, format!("has no {name}")))
    }

    /// The digest that the manifest records for a file; `None` if it does not list the file.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it is not a manifest of this folder.
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
        // A manifest cut off at the end of a line looks complete, so the folder's files are compared with it.
        for file in presence::list(&self.path)?.unwrap_or_default() {
            let file = presence::name(&file);
            // The metrics file matters only if training can be resumed.
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

/// Complete checkpoints of a run folder, oldest first. If the newest has no manifest, it is left out with a notice.
///
/// # Errors
/// [`Error::Io`] if the folder cannot be read.
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
        // The checkpoint is not examined again.
        disk::remove_file(&at.join(Checkpoint::MODEL))?;
        assert_eq!(checkpoint.weights_digest()?, digest(&bytes));
        disk::replace(&at.join(Checkpoint::MODEL), &bytes[1..])?;
        let damaged = checkpoint.weights().map(drop).map_err(|error| error.to_string());
        assert!(damaged.is_err_and(|error| error.contains("does not match its digest in MANIFEST")));
        Ok(())
    }
}
