//! `import`: weights of another program as a checkpoint, with a record of where they came from.
//!
//! [`Foreign::read`] reads the file and finds out which program's names its tensors have; [`Named::checkpoint`] makes a
//! checkpoint of them for an experiment, and [`Foreign::contents`] says what the experiment must be.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use headway_exchange::{
    Arrays, Choices, Contents, Fitted, Sizes, fit,
    names::{Convention, Format, Renamed, Unwrapped, substitute, unwrap},
    told::{self, Compared, Told},
};
use headway_model::{
    Model,
    weights::{self, WeightsError},
};

use crate::{
    adapter, bounded_read, build,
    checkpoint::{Checkpoint, CheckpointConfig},
    device::DeviceSpec,
    digest::digest,
    error::Error,
    experiment::Experiment,
    notice, presence,
    provenance::{self, Import},
    run_dir::NewRun,
};

/// Which file to read, and how.
#[derive(Clone, Debug)]
pub struct Reading {
    /// A file of tensors, or a folder in Hugging Face's layout.
    pub file: PathBuf,
    /// The program whose names the tensors have; detected if `None`.
    pub format: Option<Format>,
    /// Key of the file that contains the weights; detected if `None`.
    pub key: Option<String>,
    /// Names to change, old and new, before the format is detected.
    pub rename: Vec<(String, String)>,
    /// Facts from the other program's configuration that the user gave; they precede those found beside the file and in
    /// it.
    pub given: Vec<Told>,
}

/// A file of another program that was read but not yet interpreted.
pub struct Foreign {
    reading: Reading,
    contents: Contents,
    /// Number of tensors in the file, including wrappers.
    count: usize,
    unwrapped: Unwrapped,
    told: Vec<Told>,
    convention: Result<&'static Convention, headway_exchange::Error>,
}

/// The same tensors under Headway's names.
pub struct Named {
    reading: Reading,
    contents: Contents,
    count: usize,
    told: Vec<Told>,
    convention: &'static Convention,
    renamed: Renamed,
}

/// Result of an import.
pub struct Imported {
    /// Where the weights came from, and what was done to them.
    pub record: Import,
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// Number of tensors in the file.
    pub tensors: usize,
    /// Other keys of the file that contain tensors with the same names and shapes.
    pub alike: Vec<String>,
}

/// Content of a file, for users who are about to write the experiment.
pub struct Listing {
    /// The file as read, without the values of its tensors.
    pub contents: Contents,
    /// Shape of each tensor, by name.
    pub shapes: BTreeMap<String, Vec<usize>>,
    /// The program whose names the tensors have, and the tensors under Headway's names without their values; or why the
    /// names are unknown.
    pub renamed: Result<(&'static Convention, Renamed), headway_exchange::Error>,
    /// Facts known about the network.
    pub told: Vec<Told>,
    /// What the experiment must contain, as TOML; `None` if the names are of no known model.
    pub table: Option<String>,
}

impl Foreign {
    /// Reads a file and finds out which program's names its tensors have.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it is not a file of tensors, or if a new name already exists; [`Error::Io`]
    pub fn read(reading: Reading) -> Result<Self, Error> {
        let wrong = |error: headway_exchange::Error| Error::refused(&reading.file, error);
        let mut contents = headway_exchange::read(&reading.file, reading.key.as_deref()).map_err(wrong)?;
        let told = told_of(&reading, &contents).map_err(wrong)?;
        let count = contents.tensors.len();
        let mut unwrapped = unwrap(std::mem::take(&mut contents.tensors));
        unwrapped.tensors = substitute(std::mem::take(&mut unwrapped.tensors), &reading.rename).map_err(wrong)?;
        let key = contents.key.as_ref().map(|key| format!("{key}."));
        let above = key.unwrap_or_default() + &unwrapped.before;
        let convention = Convention::of(&unwrapped.tensors, reading.format, &above);
        Ok(Self { reading, contents, count, unwrapped, told, convention })
    }

    /// Converts the tensors to Headway's names and layout.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if the names are of no known program, or if what they describe cannot be expressed.
    pub fn named(self) -> Result<Named, Error> {
        let Self { reading, contents, count, unwrapped, told, convention } = self;
        let wrong = |error: headway_exchange::Error| Error::refused(&reading.file, error);
        let convention = convention.map_err(wrong)?;
        let mut renamed = convention.rename(unwrapped.tensors).map_err(wrong)?;
        renamed.assumed.extend(unwrapped.said);
        renamed.not_weights.extend(unwrapped.not_weights);
        Ok(Named { reading, contents, count, told, convention, renamed })
    }

    /// Content of the file, without converting it.
    pub fn contents(self) -> Listing {
        let Self { contents, unwrapped, told, convention, .. } = self;
        let tensors = unwrapped.tensors;
        let shapes = tensors.iter().map(|(name, array)| (name.clone(), array.shape.clone())).collect();
        let renamed = convention.and_then(|convention| Ok((convention, convention.rename(tensors)?)));
        let sizes = renamed.as_ref().ok().map(|(_, renamed)| Sizes::of(renamed, &told));
        Listing { contents, shapes, renamed, told, table: sizes.as_ref().and_then(Sizes::to_toml) }
    }
}

impl Named {
    /// Writes the weights as a checkpoint of an experiment into an empty or new folder.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when the weights do not fit, with one line per tensor; [`Error::Occupied`] when the folder is not empty;
    /// [`Error::Io`]
    pub fn checkpoint(self, experiment: &Experiment, choices: Choices, place: &NewRun) -> Result<Imported, Error> {
        let Self { reading, contents, count, told, convention, renamed } = self;
        let wrong = |error: headway_exchange::Error| Error::refused(&reading.file, error);
        place.path()?;
        let compared = Compared { model: &experiment.model, convention, renamed: &renamed };
        compared.check(&told).map_err(wrong)?;
        let assumed = compared.taken_for_granted(&told);
        let (device, _) = DeviceSpec::Cpu.open()?;
        let model = build::build_model(experiment, &device)?;
        let not_weights = renamed.not_weights.clone();
        let fitted = fit(renamed, &weights::shapes(&model), choices).map_err(wrong)?;
        let strange = fitted.arrays.values().flat_map(|array| &array.values).filter(|value| !value.is_finite()).count();
        if strange > 0 {
            notice::say(format!("warning: {strange} weights are no finite numbers"));
        }
        let told = told.iter().map(|told| format!("{}: {} = {}", told.source, told.key, told.value)).collect();
        let record = Import { assumed, told, not_weights, ..record(&reading, &contents, convention, &fitted)? };
        let checkpoint = write(place, experiment, model, fitted.arrays, &record)?;
        Ok(Imported { record, checkpoint, tensors: count, alike: contents.alike })
    }
}

/// Facts known about the network: from the user, beside the file, in the file, in this order.
fn told_of(reading: &Reading, contents: &Contents) -> Result<Vec<Told>, headway_exchange::Error> {
    let file = contents.files.first().unwrap_or(&reading.file);
    let folder = file.parent().unwrap_or(Path::new(""));
    let found = told::beside(folder)?.into_iter().chain(contents.told.iter().cloned()).collect();
    Ok(told::before(reading.given.clone(), found))
}

fn record(reading: &Reading, contents: &Contents, convention: &Convention, fitted: &Fitted) -> Result<Import, Error> {
    let rounded = contents.rounded.iter().map(|r| (r.name.clone(), (r.from.to_owned(), r.numbers)));
    Ok(Import {
        file: reading.file.display().to_string(),
        sha256: if contents.files.is_empty() { file_digest(&reading.file)? } else { files_digest(&contents.files)? },
        container: contents.container.text().to_owned(),
        key: contents.key.clone(),
        convention: convention.name.to_owned(),
        renamed: reading.rename.iter().map(|(old, new)| format!("{old}={new}")).collect(),
        assumed: Vec::new(),
        not_weights: Vec::new(),
        told: Vec::new(),
        beside: contents.beside.clone(),
        left_out: fitted.left_out.clone(),
        filled: fitted.filled.iter().map(|filled| (filled.name.clone(), filled.with.to_owned())).collect(),
        rounded: rounded.collect(),
        positions: fitted.positions,
        version: provenance::version(),
    })
}

/// Loads weights into a fresh model and writes it as a checkpoint into an empty or new folder.
fn write(
    place: &NewRun,
    experiment: &Experiment,
    fresh: Model,
    arrays: Arrays,
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
    let arrays = weights::arrays(&model);
    let adapter = adapter::files(&CheckpointConfig::of(experiment), &model, &arrays, None)?;
    Checkpoint::write_imported(place.path()?, experiment, &arrays, import, adapter)
}

const CUT: &str = "\n--cut-positions takes the first rows of position.weight, as many as the task has";

/// Whether everything fits except that the file's table of positions is too long.
fn has_more_positions(error: &WeightsError) -> bool {
    let WeightsError::Mismatch(report) = error else { return false };
    report.mismatched.iter().any(|mismatch| {
        let (wanted, found) = (mismatch.wanted.as_slice(), mismatch.found.as_slice());
        let is_longer = matches!((wanted, found), ([few, a], [many, b]) if many > few && a == b);
        mismatch.name == "position.weight" && is_longer
    })
}

/// Sha256 of a file, in hexadecimal.
fn file_digest(path: &Path) -> Result<String, Error> {
    let given = |error| Error::checkpoint(path, error);
    bounded_read::read(path).map(|bytes| digest(&bytes)).map_err(|error| Error::unreadable(path, error, given))
}

/// Sha256 of several files: that of a text with one line per file, made of its sha256, two spaces and its name.
fn files_digest(paths: &[PathBuf]) -> Result<String, Error> {
    let line = |path: &PathBuf| Ok::<String, Error>(format!("{}  {}\n", file_digest(path)?, presence::name(path)));
    Ok(digest(paths.iter().map(line).collect::<Result<String, _>>()?.as_bytes()))
}
