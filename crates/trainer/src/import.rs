//! `import`: weights of another program as a checkpoint, with a record of where they came from.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use headway_model::{
    Model,
    weights::{self, Array, WeightsError},
};

use crate::{
    adapter, build,
    checkpoint::{Checkpoint, CheckpointConfig},
    device::Found,
    digest::digest,
    error::Error,
    experiment::Experiment,
    input, presence,
    provenance::Import,
    run_dir::NewRun,
};

/// The model of an experiment with fresh weights, to be replaced.
///
/// # Errors
/// [`Error::Experiment`] and [`Error::Device`] as for training.
pub fn fresh(experiment: &Experiment, device: &Found) -> Result<Model, Error> {
    build::build_model(experiment, device)
}

/// Puts weights into a fresh model and writes it as a checkpoint into an empty or new folder.
///
/// # Errors
/// [`Error::Checkpoint`] when the weights do not fit, with one line per tensor; [`Error::Usage`] when the folder is not empty;
/// [`Error::Io`]
pub fn write(
    place: &NewRun,
    experiment: &Experiment,
    fresh: Model,
    arrays: BTreeMap<String, Array>,
    import: &Import,
) -> Result<Checkpoint, Error> {
    if let Some((name, _)) = arrays.iter().find(|(_, array)| array.values.iter().any(|value| !value.is_finite())) {
        return Err(Error::checkpoint(
            &import.file,
            format!("{name} holds numbers that are not finite: no network to go on from"),
        ));
    }
    let (model, _) = weights::load(fresh, arrays).map_err(|error| {
        let hint =
            "sizes come from [model] and [task] of the experiment; `headway import FILE` alone shows those of the file";
        let longer = if has_more_positions(&error) { CUT } else { "" };
        Error::checkpoint(&import.file, format!("{error}\n{hint}{longer}"))
    })?;
    let adapter = adapter::files(&CheckpointConfig::of(experiment), &model, None)?;
    Checkpoint::write_imported(place.path()?, experiment, &model, import, adapter)
}

const CUT: &str = "\n--cut-positions takes the first rows of position.weight, as many as the task has";

/// Whether a file's table of positions is too long and would fit but for that.
fn has_more_positions(error: &WeightsError) -> bool {
    let WeightsError::Mismatch(report) = error else { return false };
    report.mismatched.iter().any(|mismatch| {
        let (wanted, found) = (mismatch.wanted.as_slice(), mismatch.found.as_slice());
        let is_longer = matches!((wanted, found), ([few, a], [many, b]) if many > few && a == b);
        mismatch.name == "position.weight" && is_longer
    })
}

/// Sha256 of a file.
///
/// # Errors
/// [`Error::Checkpoint`] when it cannot be read.
pub fn file_digest(path: &Path) -> Result<String, Error> {
    let given = |error| Error::checkpoint(path, error);
    input::read(path).map(|bytes| digest(&bytes)).map_err(|error| Error::unreadable(path, error, given))
}

/// Sha256 of a line with sha256, two blanks and name for each of several files.
///
/// # Errors
/// [`Error::Checkpoint`] when one cannot be read.
pub fn files_digest(paths: &[PathBuf]) -> Result<String, Error> {
    let line = |path: &PathBuf| Ok::<String, Error>(format!("{}  {}\n", file_digest(path)?, presence::name(path)));
    Ok(digest(paths.iter().map(line).collect::<Result<String, _>>()?.as_bytes()))
}
