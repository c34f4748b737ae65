//! Writing a checkpoint: its files, the manifest last, into a folder that gets its final name when every byte is on disk.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use headway_model::{
    Model,
    weights::{self, Array, arrays_to_bytes},
};
use headway_tasks::Vocabulary;
use serde::Serialize;

use super::{Checkpoint, CheckpointConfig, Resumable};
use crate::{
    beside,
    digest::digest,
    disk,
    error::Error,
    experiment::Experiment,
    json,
    provenance::{Import, Lineage},
};

/// What stands beside constructed weights.
pub struct Evidence<'a, C, P, T> {
    /// What is certified, and what was measured.
    pub certificate: &'a C,
    /// The points with the largest errors.
    pub hardest: &'a BTreeMap<String, Array>,
    /// A proof over boxes, if there is one.
    pub proof: Option<&'a P>,
    /// Which head computes what, of a program.
    pub truth: Option<&'a T>,
}

impl Checkpoint {
    /// The bytes of a checkpoint's files, including those of an adapter. Optimiser and state are included only if
    /// training can be resumed from it.
    ///
    /// # Errors
    /// [`Error::Json`], [`Error::Weights`] when a value cannot be written, which no value of ours provokes.
    pub fn files(
        config: &CheckpointConfig,
        weights: &BTreeMap<String, Array>,
        resumable: Option<&Resumable>,
        lineage: Option<&Lineage>,
        adapter: Vec<(&'static str, Vec<u8>)>,
    ) -> Result<Vec<(&'static str, Vec<u8>)>, Error> {
        let mut files =
            vec![(Self::MODEL, safetensors(arrays_to_bytes(weights))?), (Self::CONFIG, json::file(config)?)];
        if let Some(lineage) = lineage {
            files.push((Self::LINEAGE, json::file(lineage)?));
        }
        files.extend(tokenizer(config));
        files.extend(adapter);
        if let Some(resumable) = resumable {
            files.push((Self::OPTIM, safetensors(arrays_to_bytes(&resumable.moments))?));
            files.push((Self::STATE, json::file(&resumable.state)?));
        }
        Ok(files)
    }

    /// One line per file: sha256 in hexadecimal, two spaces, name.
    pub fn manifest(files: &[(&str, Vec<u8>)]) -> String {
        files.iter().fold(String::new(), |mut lines, (name, bytes)| {
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{}  {name}", digest(bytes));
            lines
        })
    }

    /// Writes constructed weights and their evidence as a checkpoint into a new or empty folder. `page` adds its files before the folder gets
    /// its final name.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn write_constructed(
        path: PathBuf,
        experiment: &Experiment,
        model: &Model,
        evidence: &Evidence<'_, impl Serialize, impl Serialize, impl Serialize>,
        page: impl FnOnce(&Self) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let Evidence { certificate, hardest, proof, truth } = *evidence;
        let weights = weights::arrays(model);
        let mut files = Self::files(&CheckpointConfig::of(experiment), &weights, None, None, Vec::new())?;
        files.push((Self::CERTIFICATE, json::file(certificate)?));
        files.push((Self::HARDEST, safetensors(arrays_to_bytes(hardest))?));
        if let Some(proof) = proof {
            files.push((Self::PROOF, json::file(proof)?));
        }
        if let Some(truth) = truth {
            files.push((Self::TRUTH, json::file(truth)?));
        }
        files.push((Self::TRAIN, experiment.to_toml().into_bytes()));
        Self::write_new(path, &files, page)
    }

    /// Writes imported weights, with the record of where they came from, as a checkpoint into a new or empty folder.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn write_imported(
        path: PathBuf,
        experiment: &Experiment,
        weights: &BTreeMap<String, Array>,
        import: &Import,
        adapter: Vec<(&'static str, Vec<u8>)>,
    ) -> Result<Self, Error> {
        let mut files = Self::files(&CheckpointConfig::of(experiment), weights, None, None, adapter)?;
        files.push((Self::IMPORT, json::file(import)?));
        Self::write_new(path, &files, |_| Ok(()))
    }

    /// Writes weights derived from another checkpoint as a checkpoint into a new or empty folder.
    ///
    /// # Errors
    /// as [`Checkpoint::write_imported`]
    pub(crate) fn write_merged(
        path: PathBuf,
        config: &CheckpointConfig,
        arrays: &BTreeMap<String, Array>,
        lineage: &Lineage,
    ) -> Result<Self, Error> {
        let files = Self::files(config, arrays, None, Some(lineage), Vec::new())?;
        Self::write_new(path, &files, |_| Ok(()))
    }

    fn write_new(
        path: PathBuf,
        files: &[(&str, Vec<u8>)],
        more: impl FnOnce(&Self) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let whole = beside::absolute(&path)?;
        // A name of its own, so that nothing existing is replaced.
        let temporary = beside::temporary(&whole);
        let half = Self::at(temporary.clone(), None);
        write(&temporary, &whole, files, || more(&half)).inspect_err(|_| {
            // Errors are ignored; the error in hand is the one to report.
            let _ = fs::remove_dir_all(&temporary);
        })?;
        Ok(Self::at(path, None))
    }
}

/// Writes a checkpoint, and what `more` adds to it, into a temporary folder, which is renamed to `path` when every byte
/// is on disk. `path` must not exist or must be empty.
///
/// # Errors
/// [`Error::Io`]
pub(crate) fn write(
    temporary: &Path,
    path: &Path,
    files: &[(&str, Vec<u8>)],
    more: impl FnOnce() -> Result<(), Error>,
) -> Result<(), Error> {
    disk::write_files(temporary, files)?;
    disk::write(&temporary.join(Checkpoint::MANIFEST), Checkpoint::manifest(files).as_bytes())?;
    more()?;
    disk::sync(temporary)?;
    disk::rename(temporary, path)
}

/// The tokenizer of texts that one divides into tokens.
fn tokenizer(config: &CheckpointConfig) -> Option<(&'static str, Vec<u8>)> {
    match config.experiment.task.vocabulary()? {
        Vocabulary::Tokenizer { tokenizer, .. } => Some((Checkpoint::TOKENIZER, tokenizer.file().to_vec())),
        Vocabulary::Characters { .. } | Vocabulary::Bytes => None,
    }
}

pub(super) fn safetensors(bytes: Result<Vec<u8>, weights::WeightsError>) -> Result<Vec<u8>, Error> {
    Ok(bytes?)
}
