//! From text and overrides to a checked experiment.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use headway_model::Precision;
use headway_tasks::TaskConfig;
use toml::{Table, Value};

use super::{
    Experiment,
    choice::spell_out_choices,
    keys::{ATTENTION_PRECISION, PRECISION, take},
    origin::{Places, place},
    overrides::{BEYOND_NUMBERS, Override},
    reader::{Purpose, Reader},
};
use crate::{
    bounded_read,
    error::Error,
    layout,
    problem::{ExperimentError, Problem, ValueSource},
    quote,
};

/// An experiment and where each of its values came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The resolved experiment.
    pub experiment: Experiment,
    /// Path of the file.
    pub path: PathBuf,
    origins: BTreeMap<String, ValueSource>,
}

impl Loaded {
    /// Where the value of a key came from.
    pub fn origin(&self, key: &str) -> &ValueSource {
        self.origins.get(key).unwrap_or(&ValueSource::Default)
    }
}

/// Prefix of a change that removes a key from the file before any value is set.
pub const UNSET: &str = "--unset ";

/// Reads an experiment, applies `key=value` overrides and `--unset key`, fills in defaults and checks every rule.
///
/// # Errors
/// [`Error::Experiment`] with every problem found; [`Error::Argument`] for an override that is not `key=value`.
pub fn load(path: &Path, overrides: &[String]) -> Result<Loaded, Error> {
    from_text(path, read(path)?, overrides)
}

/// [`load`] for an experiment that is to be trained: also refuses a model that would see the answers.
///
/// # Errors
/// as [`load`]
pub fn load_to_train(path: &Path, overrides: &[String]) -> Result<Loaded, Error> {
    from_text_for(Purpose::Train, path, read(path)?, overrides)
}

fn read(path: &Path) -> Result<String, Error> {
    match bounded_read::read_text(path) {
        Ok(text) => Ok(text),
        Err(error) => {
            let is_run = error.kind() == io::ErrorKind::IsADirectory && layout::is_run(path)?;
            Err(Error::unreadable(path, error, |error| no_experiment(path, error, is_run)))
        }
    }
}

/// What the path of an experiment that cannot be read may stand for instead.
fn no_experiment(path: &Path, source: io::Error, is_run: bool) -> Error {
    let help = if source.kind() != io::ErrorKind::IsADirectory {
        bounded_read::did_you_mean(path)
    } else if is_run {
        let [word, again] = [path.to_owned(), path.join(layout::EXPERIMENT)].map(quote::shell_path);
        format!(": it is the folder of a run; `headway resume {word}` continues it, {again} is its experiment")
    } else {
        String::new()
    };
    Error::NoFile { what: "experiment ", path: path.to_owned(), source, help }
}

/// [`load`] for a text that came from `path`.
///
/// # Errors
/// as [`load`]
pub fn from_text(path: &Path, text: String, overrides: &[String]) -> Result<Loaded, Error> {
    from_text_for(Purpose::Look, path, text, overrides)
}

fn from_text_for(purpose: Purpose, path: &Path, text: String, overrides: &[String]) -> Result<Loaded, Error> {
    let (mut places, mut table) = parse(path, &text)?;
    if let Some(verb) = study_verb(&table) {
        let way_out = format!("use `headway {verb}`, or `headway sweep plan` to see its runs");
        return Err(Error::other_file(path, "is no experiment but names some", way_out));
    }
    let unset = |text: &String| text.strip_prefix(UNSET).map(str::to_owned);
    let followed = attention_follows(&table);
    for key in overrides.iter().filter_map(unset) {
        let Some(whole) = take(&mut table, &key) else {
            let problem = format!("{} does not set it; `headway show` says what it sets", path.display());
            return Err(Error::argument(format!("{UNSET}{key}"), problem));
        };
        places.forget(&whole);
        if followed && whole == PRECISION && take(&mut table, ATTENTION_PRECISION).is_some() {
            places.forget(ATTENTION_PRECISION);
        }
    }
    let set: Vec<String> = overrides.iter().filter(|text| unset(text).is_none()).cloned().collect();
    let overrides = Override::parse_all(&set)?;
    from_table(path, text, (places, table), &overrides, purpose)
}

/// [`from_text`] for a text that is already parsed, with overrides that need not come from a text.
///
/// # Errors
/// as [`load`]
pub fn from_table(
    path: &Path,
    text: String,
    (mut places, mut table): (Places, Table),
    overrides: &[Override],
    purpose: Purpose,
) -> Result<Loaded, Error> {
    let mut overridden = BTreeMap::new();
    let sets = |key: &str| overrides.iter().any(|setting| setting.key == key);
    if sets(PRECISION) && !sets(ATTENTION_PRECISION) && attention_follows(&table) {
        take(&mut table, ATTENTION_PRECISION);
        places.forget(ATTENTION_PRECISION);
    }
    for setting in overrides {
        overridden.insert(setting.apply(&mut table)?, setting.text.clone());
    }
    let reader = Reader { places, overridden };
    match reader.read(path, table, purpose) {
        Ok(experiment) => {
            let origins = reader.origins(&experiment);
            Ok(Loaded { experiment, path: path.to_owned(), origins })
        }
        Err(problems) => Err(Error::Experiment(Box::new(ExperimentError { path: path.to_owned(), text, problems }))),
    }
}

/// Whether attention has the precision of all products, as the file of a run says even if its user said nothing.
fn attention_follows(table: &Table) -> bool {
    let train = table.get("train").and_then(Value::as_table);
    let named = |key: &str| train.and_then(|train| train.get(key)).and_then(Value::as_str);
    let all = named("precision").unwrap_or(Precision::F32.name());
    named("attention_precision").is_some_and(|attention| attention == all)
}

/// Makes the paths of the data files that a table names absolute, so that it means the same at another place than `path`.
/// What cannot be read stays as it is.
pub fn place_data(path: &Path, table: &mut Table) {
    let Some(mut task) = table.get("task").and_then(|task| task.clone().try_into::<TaskConfig>().ok()) else { return };
    let folder = std::env::current_dir().unwrap_or_default().join(path.parent().unwrap_or(Path::new("")));
    let mut keys = BTreeSet::new();
    for (key, place) in task.places_mut() {
        if !place.as_os_str().is_empty() {
            *place = folder.join(&*place);
            keys.insert(key);
        }
    }
    let name = task.name();
    let Ok(written) = Table::try_from(&task) else { return };
    let written = written.get(name).and_then(Value::as_table);
    let there = table.get_mut("task").and_then(|task| task.get_mut(name)).and_then(Value::as_table_mut);
    if let (Some(written), Some(there)) = (written, there) {
        let placed = keys.into_iter().filter_map(|key| Some((key.to_owned(), written.get(key)?.clone())));
        there.extend(placed);
    }
}

/// The verb for a table that is a study instead of an experiment; `None` if it is an experiment.
fn study_verb(table: &Table) -> Option<&'static str> {
    if table.contains_key("rows") && table.contains_key("tasks") {
        Some("compare")
    } else {
        table.contains_key("experiment").then_some("sweep")
    }
}

/// Parses a TOML text to a table and the positions of its keys.
///
/// # Errors
/// [`Error::Experiment`] for a text that is not TOML.
pub fn parse(path: &Path, text: &str) -> Result<(Places, Table), Error> {
    let refused = |origin, message| {
        let problems = vec![Problem { key: String::new(), message, help: None, origin }];
        Error::Experiment(Box::new(ExperimentError { path: path.to_owned(), text: text.to_owned(), problems }))
    };
    bounded_read::ensure_lean_toml(text).map_err(|problem| refused(ValueSource::Default, problem))?;
    let syntax = |error: toml::de::Error| {
        let origin = place(text, error.span().unwrap_or_default());
        refused(origin, format!("not valid TOML: {}", error.message()))
    };
    let (places, document) = Places::of(text).map_err(syntax)?;
    if let Some(at) = places.too_long() {
        return Err(refused(at.clone(), format!("a key of more than {} characters", Places::LONGEST)));
    }
    if let Some((key, at)) = places.too_large() {
        return Err(refused(at.clone(), format!("{key}: {BEYOND_NUMBERS}")));
    }
    let mut table = document.table().map_err(syntax)?;
    spell_out_choices(&mut table);
    Ok((places, table))
}
