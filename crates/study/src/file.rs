//! The file of a study: TOML that names experiments, changes them and may hold profiles, with errors that point into
//! it.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use headway_keys::Described;
use headway_tasks::LARGEST_SEED;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use toml::{Table, Value};

use crate::error::Error;
use headway_trainer::{
    bounded_read,
    experiment::{self, Experiment, ExperimentError, Override, Places, Problem, Purpose, ValueSource},
};

/// Changes to a study from the command line.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Profile of the file to use; `None` for none.
    pub profile: Option<String>,
    /// Keys that are removed from every experiment of the study.
    pub unset: Vec<String>,
    /// `key=value` settings for every experiment of the study.
    pub set: Vec<String>,
    /// Seeds that replace those of the file; `None` to keep them.
    pub seeds: Option<Vec<u64>>,
}

/// The text of a study and the positions of its keys.
pub struct StudyFile {
    /// Path of the file.
    pub path: PathBuf,
    text: String,
    places: Places,
    table: Table,
}

impl StudyFile {
    /// Reads a file and merges a profile into it: the values of the table `[profiles.NAME]` replace those of the same
    /// keys.
    ///
    /// # Errors
    /// not there, or [`Error::NoProfile`]; [`Error::Experiment`] when it is no TOML.
    pub fn read(path: &Path, profile: Option<&str>) -> Result<Self, Error> {
        let text = bounded_read::read_given_text(path)?;
        Self::from_text(path, text, profile)
    }

    /// [`StudyFile::read`] for a text that came from `path`.
    ///
    /// # Errors
    /// as [`StudyFile::read`]
    pub fn from_text(path: &Path, text: String, profile: Option<&str>) -> Result<Self, Error> {
        let (mut places, mut table) = experiment::parse(path, &text)?;
        if table.contains_key("task") && table.contains_key("model") {
            return Err(
                headway_trainer::Error::other_file(path, "is an experiment", "`headway train` trains it").into()
            );
        }
        let mut profiles = match table.remove(PROFILES) {
            None => Table::new(),
            Some(Value::Table(profiles)) => profiles,
            Some(_) => {
                let problem = format!("{PROFILES} is a table of tables");
                return Err(headway_trainer::Error::Contents { path: path.to_owned(), problem }.into());
            }
        };
        if let Some(name) = profile {
            let Some(Value::Table(changes)) = profiles.remove(name) else {
                let known = profiles.keys().cloned().collect();
                return Err(Error::NoProfile { path: path.to_owned(), name: name.to_owned(), known });
            };
            // Seeds until something is decided are another thing than a number of seeds.
            let is_until = |table: &Table| {
                table.get("seeds").and_then(Value::as_table).is_some_and(|seeds| seeds.contains_key("until"))
            };
            if changes.contains_key("seeds") && is_until(&changes) != is_until(&table) {
                table.remove("seeds");
            }
            experiment::merge(&mut table, changes, false);
            places.lift(&format!("{PROFILES}.{name}"));
        }
        Ok(Self { path: path.to_owned(), text, places, table })
    }

    /// Whether the file has this key at its top level.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The file parsed as a config.
    ///
    /// # Errors
    /// [`Error::Experiment`] with every problem found.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, Error> {
        Ok(experiment::read_as(&self.path, &self.text, self.places.clone(), self.table.clone())?)
    }

    /// Completes the keys that all studies share: seeds from the command line replace those of the file, the profile is
    /// the one that was merged in, and a missing title becomes the name of the file.
    pub(super) fn complete(
        &self,
        changes: &Changes,
        title: &mut String,
        profile: &mut Option<String>,
        seeds: &mut Seeds,
    ) {
        if let Some(given) = &changes.seeds {
            *seeds = Seeds::List(given.clone());
        }
        if changes.profile.is_some() {
            profile.clone_from(&changes.profile);
        }
        if title.is_empty() {
            *title = self.path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        }
    }

    /// An error about a key of this file.
    pub fn problem(&self, key: &str, message: &str) -> Error {
        let origin = self.places.value(key).cloned().unwrap_or(ValueSource::Default);
        let problem = Problem { key: key.to_owned(), message: format!("{key}: {message}"), help: None, origin };
        self.error(vec![problem])
    }

    fn error(&self, problems: Vec<Problem>) -> Error {
        Error::Experiment(Box::new(ExperimentError { path: self.path.clone(), text: self.text.clone(), problems }))
    }

    /// The experiment that the key `at` names: the path of its file relative to this one, or the experiment itself as a
    /// table.
    ///
    /// # Errors
    /// [`Error::Trainer`] when its file cannot be read; [`Error::Experiment`]
    pub fn base(&self, at: &str, value: &Value) -> Result<Base, Error> {
        match value {
            Value::String(name) => {
                let path = self.path.parent().unwrap_or(Path::new("")).join(name);
                let given = |error: io::Error| {
                    let near = bounded_read::did_you_mean(&path);
                    self.problem(at, &format!("cannot read {}: {error}{near}", path.display()))
                };
                let text = bounded_read::read_text(&path)
                    .map_err(|error| headway_trainer::Error::unreadable(&path, error, given))?;
                let (places, mut table) = experiment::parse(&path, &text)?;
                experiment::place_data(&path, &mut table);
                Ok(Base { path, text, places, table, inline_at: None })
            }
            Value::Table(table) => {
                let text = toml::to_string(table).map_err(|error| self.problem(at, &error.to_string()))?;
                let (places, mut table) = experiment::parse(&self.path, &text)?;
                experiment::place_data(&self.path, &mut table);
                Ok(Base { path: self.path.clone(), text, places, table, inline_at: Some(at.to_owned()) })
            }
            _ => Err(self.problem(at, "expected the path of an experiment file, or an experiment as a table")),
        }
    }

    /// An experiment changed by settings of this file. `places` are the tables of this file that contain the keys of
    /// the settings, for messages.
    ///
    /// # Errors
    /// [`Error::Experiment`], pointing into this file if it set the wrong value.
    pub fn experiment(&self, base: &Base, settings: &[Override], places: &[String]) -> Result<Experiment, Error> {
        let read = experiment::from_table(
            &base.path,
            base.text.clone(),
            (base.places.clone(), base.table.clone()),
            settings,
            Purpose::Train,
        );
        let error = match read {
            Ok(loaded) => return Ok(loaded.experiment),
            Err(headway_trainer::Error::Experiment(error)) => error,
            Err(error) => return Err(error.into()),
        };
        let mine: Vec<Problem> =
            error.problems.iter().filter_map(|problem| self.place(problem, base, places)).collect();
        if mine.is_empty() { Err(Error::Experiment(error)) } else { Err(self.error(mine)) }
    }

    /// The problem with its position in this file, if this file set the value.
    fn place(&self, problem: &Problem, base: &Base, places: &[String]) -> Option<Problem> {
        let origin = match (&problem.origin, &base.inline_at) {
            (ValueSource::Override(text), _) => {
                let key = text.split('=').next().unwrap_or(text);
                let below = places.iter().find_map(|table| self.places.sets(&format!("{table}.{key}")));
                below.or_else(|| self.places.sets(key))?.clone()
            }
            (_, Some(at)) => self.places.value(&format!("{at}.{}", problem.key))?.clone(),
            (_, None) => return None,
        };
        Some(Problem { origin, ..problem.clone() })
    }
}

/// Bytes of memory for a planned run besides the text of its experiment.
const BYTES_OF_A_RUN: usize = 4000;
/// Largest number of bytes for all runs of a plan.
const MOST_BYTES: usize = 40_000_000;

/// An experiment before a study changes it.
pub struct Base {
    path: PathBuf,
    text: String,
    places: Places,
    table: Table,
    /// Key of the table that holds the experiment, if it is part of the study's own file.
    inline_at: Option<String>,
}

impl Base {
    /// Refuses a number of runs that would not fit into memory, before the first is made.
    ///
    /// # Errors
    /// [`Error::Experiment`] at the key
    pub(super) fn ensure_few(&self, file: &StudyFile, key: &str, runs: usize) -> Result<(), Error> {
        let bytes = runs.saturating_mul(self.text.len() + BYTES_OF_A_RUN);
        if bytes <= MOST_BYTES {
            return Ok(());
        }
        let most = MOST_BYTES / (self.text.len() + BYTES_OF_A_RUN);
        Err(file.problem(key, &format!("these are {runs} runs; give {most} or fewer of an experiment of this size")))
    }

    /// The experiment as a table that refers to no other file.
    pub fn inline(&self) -> Value {
        Value::Table(self.table.clone())
    }

    /// The experiment with changes, of which only the form is checked.
    pub(super) fn unchecked(&self, settings: &[Override]) -> Option<Experiment> {
        let mut table = self.table.clone();
        for setting in settings {
            setting.apply(&mut table).ok()?;
        }
        experiment::of_form(table)
    }
}

const PROFILES: &str = "profiles";

/// The settings of a table, in its order. A quoted key is set as a whole, `"model.state_mixer" = { ffn = {} }`; bare
/// keys lead to single values, `model.n_heads = 4`.
pub(super) fn settings(table: &Table) -> Vec<Override> {
    let entries = table.iter().flat_map(|(key, value)| match value {
        Value::Table(below) if !key.contains('.') => experiment::leaves(key, below),
        value => vec![(key.clone(), value.clone())],
    });
    entries.map(|(key, value)| Override::new(&key, value)).collect()
}

/// Refuses a name that is not in the list `there_are`.
///
/// # Errors
/// [`Error::Experiment`]
pub(super) fn named(file: &StudyFile, key: &str, name: &str, there_are: &[String]) -> Result<(), Error> {
    if there_are.iter().any(|there| there == name) {
        return Ok(());
    }
    // Names of slices are left out, since they would fill the screen.
    let shown: Vec<&str> = there_are.iter().map(String::as_str).filter(|name| !name.contains('[')).collect();
    let near = there_are.iter().filter(|there| there.len().abs_diff(name.len()) < 100);
    let closest = near.min_by_key(|there| strsim::damerau_levenshtein(name, there));
    let closest = closest.map(|closest| format!("; did you mean `{closest}`?")).unwrap_or_default();
    Err(file.problem(key, &format!("nothing is called `{name}`; there are {}{closest}", shown.join(", "))))
}

/// Adds the `key=value` settings of a command line to the values that all runs share.
///
/// # Errors
/// [`Error::Trainer`] for what is not `key=value`, or for one of the keys that have a value of their own in every run.
pub(super) fn set(table: &mut Table, texts: &[String], taken: &[String]) -> Result<(), Error> {
    for Override { key, value, text } in Override::parse_all(texts)? {
        if key == "seed" {
            let problem = "seeds are an axis of their own; use --seeds";
            return Err(headway_trainer::Error::argument(format!("-s {text}"), problem).into());
        }
        if taken.iter().any(|taken| is_same(taken, &key)) {
            let problem = format!("this study gives {key} values of its own");
            return Err(headway_trainer::Error::argument(format!("-s {text}"), problem).into());
        }
        // Inserted as a quoted key, so that it comes after the bare keys of the same table.
        table.insert(key, value);
    }
    Ok(())
}

/// Keys that a command line removes, and whether each was found.
pub(super) struct Unset(Vec<(String, bool)>);

impl Unset {
    pub(super) fn of(changes: &Changes) -> Self {
        Self(changes.unset.iter().map(|key| (key.clone(), false)).collect())
    }

    /// Removes them from an experiment.
    pub(super) fn take_from(&mut self, base: &mut Base) {
        for (key, found) in &mut self.0 {
            if let Some(whole) = experiment::take(&mut base.table, key) {
                base.places.forget(&whole);
                *found = true;
            }
        }
    }

    /// Removes them from a table of settings.
    pub(super) fn take_from_settings(&mut self, table: &mut Table) {
        for (key, found) in &mut self.0 {
            *found |= table.remove(key.as_str()).is_some() || experiment::take(table, key).is_some();
        }
    }

    /// # Errors
    /// [`Error::Trainer`] for a key that was set nowhere.
    pub(super) fn ensure_found(&self, file: &StudyFile) -> Result<(), Error> {
        match self.0.iter().find(|(_, found)| !found) {
            Some((key, _)) => {
                let problem = format!("nothing in {} sets it", file.path.display());
                Err(headway_trainer::Error::argument(format!("--unset {key}"), problem).into())
            }
            None => Ok(()),
        }
    }
}

/// Whether two keys name the same value, even if one of them omits the name of a variant.
pub(super) fn is_same(a: &str, b: &str) -> bool {
    let short = |key: &str| match key.split('.').collect::<Vec<_>>().as_slice() {
        [choice, _variant, rest @ ..] if !rest.is_empty() => format!("{choice}.{}", rest.join(".")),
        _ => key.to_owned(),
    };
    a == b || short(a) == b || a == short(b)
}

/// Seeds of a study.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "a list of seeds, a table such as { first = 0, count = 5 }, or { until = \"decided\", at_most = 40 }"
)]
pub enum Seeds {
    /// The listed seeds.
    List(Vec<u64>),
    /// `first`, `first` + 1, …
    Range {
        /// The first seed.
        first: u64,
        /// Number of seeds.
        count: u64,
    },
    /// 0, 1, …, one at a time until every comparison is decided.
    Until {
        /// What ends them.
        until: Until,
        /// Largest number of seeds.
        at_most: u64,
        /// Number of seeds that are run at once, before the first look. Default 5.
        #[serde(default = "first_seeds")]
        first: u64,
    },
}

/// What ends the seeds of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// Every difference to the reference is a finding or a tie.
    Decided,
}

fn first_seeds() -> u64 {
    5
}

/// Largest number of seeds that are added one at a time.
const MOST_ONE_BY_ONE: u64 = 1000;

impl Default for Seeds {
    fn default() -> Self {
        Self::List(vec![0])
    }
}

impl Seeds {
    /// The seeds, each once, in order.
    pub fn list(&self) -> Vec<u64> {
        let all = match self {
            Self::List(seeds) => seeds.clone(),
            Self::Range { first, count } => (*first..first.saturating_add(*count)).collect(),
            Self::Until { at_most, .. } => (0..*at_most).collect(),
        };
        let mut seen = BTreeSet::new();
        all.into_iter().filter(|seed| seen.insert(*seed)).collect()
    }

    /// Number of seeds before the first look, if there are more until every comparison is decided.
    pub fn first_of_more(&self) -> Option<usize> {
        match self {
            Self::Until { first, .. } => usize::try_from(*first).ok(),
            Self::List(_) | Self::Range { .. } => None,
        }
    }

    /// What is wrong with the seeds, checked before they are listed; `None` if nothing is.
    pub(super) fn problem(&self) -> Option<String> {
        let last = match self {
            Self::Until { first, at_most, .. } => {
                let is_sound = *first >= 2 && first <= at_most && *at_most <= MOST_ONE_BY_ONE;
                let problem = format!("`first` is 2 or more, and `at_most` from there to {MOST_ONE_BY_ONE}");
                return (!is_sound).then_some(problem);
            }
            Self::List(seeds) => seeds.iter().copied().max(),
            Self::Range { first, count } => count.checked_sub(1).map(|more| first.saturating_add(more)),
        };
        match last {
            None => Some("give at least one seed".to_owned()),
            Some(last) if last > LARGEST_SEED => Some(format!("{last} is beyond the largest seed, {LARGEST_SEED}")),
            Some(_) => None,
        }
    }

    /// Upper bound on the number of seeds, without listing them.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::List(seeds) => seeds.len(),
            Self::Range { count: most, .. } | Self::Until { at_most: most, .. } => {
                usize::try_from(*most).unwrap_or(usize::MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_goes_before_the_file_which_goes_before_what_is_left_out() -> Result<(), Error> {
        let file = StudyFile::from_text(Path::new("folder/heads.toml"), String::new(), None)?;
        let written = || ("Heads".to_owned(), Some("quick".to_owned()), Seeds::List(vec![3]));
        let complete = |changes: Changes, (mut title, mut profile, mut seeds)| {
            file.complete(&changes, &mut title, &mut profile, &mut seeds);
            (title, profile, seeds)
        };
        assert_eq!(complete(Changes::default(), written()), written());
        assert_eq!(complete(Changes::default(), Default::default()), ("heads".to_owned(), None, Seeds::default()));
        let changes = Changes { profile: Some("long".to_owned()), seeds: Some(vec![1, 2]), ..Changes::default() };
        let seeds = Seeds::List(vec![1, 2]);
        assert_eq!(complete(changes, written()), ("Heads".to_owned(), Some("long".to_owned()), seeds));
        Ok(())
    }
}
