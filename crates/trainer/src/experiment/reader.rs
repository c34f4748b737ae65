//! From a table to a checked config; all problems are collected, each with its position.

use std::{collections::BTreeMap, path::Path};

use headway_tasks::DataConfig;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use toml::{Table, Value};

use super::{
    Experiment,
    choice::spell_out,
    form::{self, Given, Refusal},
    join,
    keys::{ATTENTION_PRECISION, has, leaves, remove},
    origin::Places,
};
use crate::{
    data,
    error::Error,
    problem::{ExperimentError, Problem, ValueSource},
};

/// What an experiment is loaded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To inspect it, or a network that it describes.
    Look,
    /// To train, which makes sense only if the model does not see the answers.
    Train,
}

/// Largest number of problems of form that one reading reports.
const MOST_PROBLEMS: usize = 50;

/// The experiment of a table, bare names spelt out; `None` if its form is wrong. No rule is checked, and no file opened.
pub fn of_form(mut table: Table) -> Option<Experiment> {
    loop {
        let error = match form::read_with_path::<Experiment>(Value::Table(table.clone())) {
            Ok(experiment) => return Some(experiment),
            Err(error) => error,
        };
        let path = key_of(error.path());
        if error.into_inner() != Refusal::NameAlone {
            return None;
        }
        spell_out(&mut table, &path)?;
    }
}

/// A problem of form, and the keys that have no value because of it.
struct Refused {
    problem: Problem,
    unread: Vec<String>,
}

pub(super) struct Reader {
    pub(super) places: Places,
    pub(super) overridden: BTreeMap<String, String>,
}

impl Reader {
    pub(super) fn read(&self, path: &Path, table: Table, purpose: Purpose) -> Result<Experiment, Vec<Problem>> {
        let has_data = table.contains_key("data");
        let sets_attention = has(&table, ATTENTION_PRECISION);
        let (mut experiment, refused) = self.deserialize::<Experiment>(table);
        let mut unread: Vec<String> = refused.iter().flat_map(|refused| refused.unread.clone()).collect();
        let mut problems: Vec<Problem> = refused.into_iter().map(|refused| refused.problem).collect();
        if let Some(experiment) = &mut experiment {
            if let Some(problem) = self.settle(path, experiment) {
                problems.push(problem);
                // Where one file was not opened, none counts as read.
                let table = format!("task.{}", experiment.task.name());
                unread.extend(experiment.task.places_mut().into_iter().map(|(key, _)| join(&table, key)));
            }
            // A file has a fixed number of examples.
            if let Some([train, validation, test]) = experiment.task.held_examples().filter(|_| !has_data) {
                experiment.data = DataConfig::Fixed { train, validation, test };
            } else if experiment.task.held_evaluation().is_some() && !has_data {
                experiment.data = DataConfig::Whole {};
            }
            if !sets_attention {
                experiment.let_attention_follow();
            }
        }
        if let Some(experiment) = experiment {
            // A value that could not be read is replaced by its default; what does not fit together with the default is
            // not reported. Nor is a file again that was not opened.
            let refused: Vec<String> = problems.iter().map(|problem| problem.key.clone()).collect();
            let echoes = |key: &str, message: &str| {
                refused.iter().any(|refused| refused == key)
                    || unread.iter().any(|unread| is_same_or_below(key, unread) || names(message, unread))
            };
            let mut found = experiment.problems();
            // What a model sees is known only if model and task are valid.
            if purpose == Purpose::Train
                && !found.iter().any(|(key, _)| key.starts_with("task") || key.starts_with("model"))
            {
                found.extend(experiment.leak());
            }
            let found = found.into_iter().filter(|(key, message)| !echoes(key, message));
            problems.extend(found.map(|(key, message)| Problem {
                message: format!("{key}: {message}"),
                help: None,
                origin: self.origin_of_value(&key),
                key,
            }));
            if problems.is_empty() {
                return Ok(experiment);
            }
        }
        in_order(&mut problems);
        Err(problems)
    }

    /// Opens the files that the task names. Their paths are relative to the file that names them, or to the working
    /// folder if the command line does.
    fn settle(&self, path: &Path, experiment: &mut Experiment) -> Option<Problem> {
        let table = format!("task.{}", experiment.task.name());
        let here = std::env::current_dir().unwrap_or_default();
        let folder = here.join(path.parent().unwrap_or(Path::new("")));
        for (key, place) in experiment.task.places_mut() {
            let key = join(&table, key);
            let is_given = self.overridden.keys().any(|set| is_same_or_below(&key, set));
            // An empty path names nothing.
            if !place.as_os_str().is_empty() {
                *place = if is_given { &here } else { &folder }.join(&*place);
            }
        }
        if let Some(worst) = &mut experiment.train.worst_boxes {
            let key = "train.worst_boxes";
            let is_given = self.overridden.keys().any(|set| is_same_or_below(key, set));
            if let Err(problem) = worst.settle(if is_given { &here } else { &folder }) {
                let origin = self.origin_of_value(key);
                return Some(Problem { message: format!("{key}: {problem}"), help: None, origin, key: key.to_owned() });
            }
        }
        let files = data::files(here);
        let (key, problem) = experiment.task.settle(&files).err()?.into_parts();
        let key = join(&table, key);
        let origin = self.origin_of_value(&key);
        Some(Problem { message: format!("{key}: {problem}"), help: None, origin, key })
    }

    /// The config as far as it could be read, and every problem of its form.
    fn deserialize<T: DeserializeOwned>(&self, mut table: Table) -> (Option<T>, Vec<Refused>) {
        let mut all = Vec::new();
        let mut removed: Vec<String> = Vec::new();
        let mut spelt_out: Vec<String> = Vec::new();
        // Serde stops at the first error. Removing the key concerned and reading again finds the next one.
        let config = loop {
            let error = match form::read_with_path::<T>(Value::Table(table.clone())) {
                Ok(config) => break Some(config),
                Err(error) => error,
            };
            let (path, refusal) = (key_of(error.path()), error.into_inner());
            if refusal == Refusal::NameAlone
                && let Some(key) = spell_out(&mut table, &path)
            {
                spelt_out.push(key);
                continue;
            }
            // A bare name was replaced by a table, which the user did not write.
            if matches!(refusal, Refusal::Kind { given: Given::Table, .. }) && spelt_out.contains(&path) {
                let message = format!("{path}: the name alone says too little; write {path} = [\"…\", …]");
                let origin = self.origin_of_value(&path);
                let problem = Problem { key: path.clone(), message, help: None, origin };
                all.push(Refused { problem, unread: vec![path] });
                break None;
            }
            let was_removed =
                |key: &str| removed.iter().any(|removed| removed == key || removed.starts_with(&format!("{key}.")));
            let follows = match &refusal {
                Refusal::Missing(field) => was_removed(&join(&path, field)),
                Refusal::NotOne => was_removed(&path),
                _ => false,
            };
            if !follows {
                all.push(self.refused(&path, &refusal));
            }
            if all.len() == MOST_PROBLEMS || !remove(&mut table, &path) {
                break None;
            }
            removed.push(path);
        };
        (config, all)
    }

    fn refused(&self, path: &str, refusal: &Refusal) -> Refused {
        let nearest = refusal.nearest();
        let help = nearest.map(|name| format!("did you mean `{name}`?"));
        let problem = match refusal {
            Refusal::Missing(field) => {
                let key = join(path, field);
                let origin = self.places.key(path).cloned().unwrap_or(ValueSource::Default);
                let help = matches!(*field, "task" | "model")
                    .then(|| format!("add a table [{field}.NAME]; `headway list {field}s` shows the names"));
                Problem { message: format!("{key} is missing"), key, help, origin }
            }
            refusal => {
                let origin = match refusal {
                    Refusal::NoSuchKey(..) => self.origin_of_key(path),
                    Refusal::NoSuchChoice(wrong, _) => {
                        // The choice is a value (`loss = "sharp"`) or the name of a table (`[model.lstm]`).
                        let table = join(path, wrong);
                        let named = self.overridden.contains_key(&table) || self.places.sets(&table).is_some();
                        if named { self.origin_of_key(&table) } else { self.origin_of_value(path) }
                    }
                    _ => self.origin_of_value(path),
                };
                Problem { key: path.to_owned(), message: format!("{path}: {refusal}"), help, origin }
            }
        };
        // An unknown key was probably meant to be the nearest known one.
        let is_stray = matches!(refusal, Refusal::NoSuchKey(..));
        let meant = nearest.map(str::to_owned);
        let unread = meant.into_iter().chain((!is_stray).then(|| problem.key.clone())).collect();
        Refused { problem, unread }
    }

    fn origin_of_key(&self, key: &str) -> ValueSource {
        let file = || self.places.key(key).cloned();
        self.overridden_origin(key).or_else(file).unwrap_or(ValueSource::Default)
    }

    fn origin_of_value(&self, key: &str) -> ValueSource {
        let file = || self.places.value(key).cloned();
        self.overridden_origin(key).or_else(file).unwrap_or(ValueSource::Default)
    }

    /// The override that set this key, or that replaced it or a key above it by a table.
    fn overridden_origin(&self, key: &str) -> Option<ValueSource> {
        let below = || {
            let prefix = format!("{key}.");
            let is_new = self.places.sets(key).is_none();
            self.overridden.iter().find(|(key, _)| is_new && key.starts_with(&prefix)).map(|(_, text)| text)
        };
        self.overridden.get(key).or_else(below).cloned().map(ValueSource::Override)
    }

    /// Origin of every key that was set.
    pub(super) fn origins(&self, experiment: &Experiment) -> BTreeMap<String, ValueSource> {
        let keys = leaves("", &experiment.to_table()).into_iter().map(|(key, _)| key);
        keys.filter_map(|key| {
            let origin = self.overridden_origin(&key).or_else(|| self.places.sets(&key).cloned())?;
            Some((key, origin))
        })
        .collect()
    }
}

/// Reads a table as any of Headway's configs, collecting all problems of its form.
///
/// # Errors
/// [`Error::Experiment`]
pub fn read_as<T: DeserializeOwned>(path: &Path, text: &str, places: Places, table: Table) -> Result<T, Error> {
    let reader = Reader { places, overridden: BTreeMap::new() };
    match reader.deserialize(table) {
        (Some(config), refused) if refused.is_empty() => Ok(config),
        (_, refused) => {
            let mut problems = refused.into_iter().map(|refused| refused.problem).collect::<Vec<_>>();
            in_order(&mut problems);
            Err(Error::Experiment(Box::new(ExperimentError { path: path.to_owned(), text: text.to_owned(), problems })))
        }
    }
}

fn is_same_or_below(key: &str, above: &str) -> bool {
    key.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether a message names the last part of a key.
fn names(message: &str, key: &str) -> bool {
    let name = key.rsplit('.').next().unwrap_or(key);
    !name.is_empty() && message.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name)
}

/// Sorts problems into the order of the file; those without a position come last.
fn in_order(problems: &mut [Problem]) {
    problems.sort_by_key(|problem| match problem.origin {
        ValueSource::File { offset, .. } => offset,
        ValueSource::Override(_) | ValueSource::Default => usize::MAX,
    });
}

/// The key of a path. A list index is part of it only if the path continues into the item.
fn key_of(path: &serde_path_to_error::Path) -> String {
    let segments: Vec<&Segment> = path.iter().filter(|segment| !matches!(segment, Segment::Unknown)).collect();
    let last = segments.iter().rposition(|segment| !matches!(segment, Segment::Seq { .. })).map_or(0, |last| last + 1);
    let parts = segments[..last].iter().map(|segment| match segment {
        Segment::Map { key } => key.clone(),
        Segment::Enum { variant } => variant.clone(),
        Segment::Seq { index } => index.to_string(),
        Segment::Unknown => unreachable!("left out above"),
    });
    parts.collect::<Vec<_>>().join(".")
}
