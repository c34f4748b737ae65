//! From text and overrides to a checked experiment, collecting every problem on the way.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use headway_model::ModelConfig;
use headway_tasks::{DataConfig, TaskConfig};
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use toml::{Table, Value};

use super::{
    Experiment, FinetuneConfig, TrainConfig,
    form::{self, Given, Refusal},
    join,
    origin::{Places, place},
};
use crate::{
    bounded_read, data,
    error::Error,
    layout,
    optimizer::OptimizerConfig,
    problem::{ExperimentError, Problem, ValueSource},
    quote,
    schedule::Schedule,
};

/// An experiment and where each of its values came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The resolved experiment.
    pub experiment: Experiment,
    /// The file it was read from.
    pub path: PathBuf,
    origins: BTreeMap<String, ValueSource>,
}

impl Loaded {
    /// Where a value came from.
    pub fn origin(&self, key: &str) -> &ValueSource {
        self.origins.get(key).unwrap_or(&ValueSource::Default)
    }
}

/// What a change begins with that takes a key out of the file, before any value is set.
pub const UNSET: &str = "--unset ";

/// Reads an experiment, applies `key=value` overrides and `--unset key`, fills in defaults and checks every rule.
///
/// # Errors
/// [`Error::Experiment`] with every problem found; [`Error::Usage`] for an override that is not `key=value`.
pub fn load(path: &Path, overrides: &[String]) -> Result<Loaded, Error> {
    from_text(path, read(path)?, overrides)
}

/// [`load`] of an experiment that is to be trained: a model that would see the answers is refused too.
///
/// # Errors
/// as [`load`]
pub fn load_to_train(path: &Path, overrides: &[String]) -> Result<Loaded, Error> {
    from_text_for(Purpose::Train, path, read(path)?, overrides)
}

/// What an experiment is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To look at it, or at a network that it describes.
    Look,
    /// To train by it, which makes sense only where no answer is seen.
    Train,
}

fn read(path: &Path) -> Result<String, Error> {
    match bounded_read::read_text(path) {
        Ok(text) => Ok(text),
        Err(error) => {
            let is_run = error.kind() == io::ErrorKind::IsADirectory && layout::is_run(path)?;
            let given = |error| Error::Usage(unreadable(path, &error, is_run));
            Err(Error::unreadable(path, error, given))
        }
    }
}

/// Why an experiment cannot be read, and what the path may stand for instead.
fn unreadable(path: &Path, error: &io::Error, is_run: bool) -> String {
    let cannot = format!("cannot read experiment {}: {error}", path.display());
    if error.kind() != io::ErrorKind::IsADirectory {
        return cannot + &bounded_read::did_you_mean(path);
    }
    let word = quote::shell_path(path);
    if is_run {
        let again = quote::shell_path(path.join(layout::EXPERIMENT));
        return format!(
            "{cannot}: it is the folder of a run; `headway resume {word}` continues it, {again} is its experiment"
        );
    }
    cannot
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
        let path = path.display();
        let problem = format!(
            "{path} is no experiment but names some; use `headway {verb}`, or `headway sweep plan` to see its runs"
        );
        return Err(Error::Usage(problem));
    }
    let unset = |text: &String| text.strip_prefix(UNSET).map(str::to_owned);
    for key in overrides.iter().filter_map(unset) {
        let Some(whole) = take(&mut table, &key) else {
            let path = path.display();
            return Err(Error::Usage(format!(
                "{UNSET}{key}: {path} does not set it; `headway show` says what it sets"
            )));
        };
        places.forget(&whole);
    }
    let set: Vec<String> = overrides.iter().filter(|text| unset(text).is_none()).cloned().collect();
    let overrides = Override::parse_all(&set)?;
    from_table(path, text, (places, table), &overrides, purpose)
}

/// [`from_text`] for a text already parsed, with overrides that need not have come as text.
///
/// # Errors
/// as [`load`]
pub fn from_table(
    path: &Path,
    text: String,
    (places, mut table): (Places, Table),
    overrides: &[Override],
    purpose: Purpose,
) -> Result<Loaded, Error> {
    let mut overridden = BTreeMap::new();
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

/// The verb for a table that is a study of experiments instead of one.
fn study_verb(table: &Table) -> Option<&'static str> {
    if table.contains_key("rows") && table.contains_key("tasks") {
        Some("compare")
    } else {
        table.contains_key("experiment").then_some("sweep")
    }
}

/// A TOML text as a table, with the places of its keys.
///
/// # Errors
/// [`Error::Experiment`] for a text that is no TOML.
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

/// What is wrong with a whole number outside the range of TOML's.
const BEYOND_NUMBERS: &str = "whole numbers end at 9223372036854775807, which is 2^63 - 1";

/// Reads a table as any config of ours, with every problem of form found.
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

/// One value to set, and how it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// Key, in which the name of the one variant its table holds may be left out: `model.n_heads` for
    /// `model.transformer.n_heads`.
    pub key: String,
    /// The value.
    pub value: Value,
    /// As in `-s KEY=VALUE`.
    pub text: String,
}

impl Override {
    /// A value from a file other than the experiment's.
    pub fn new(key: &str, value: Value) -> Self {
        Self { key: key.to_owned(), text: format!("{key}={value}"), value }
    }

    /// Reads `key=value`.
    ///
    /// # Errors
    /// [`Error::Usage`]
    pub fn parse(text: &str) -> Result<Self, Error> {
        let Some((key, value)) = text.split_once('=') else {
            return Err(Error::Usage(format!("-s {text}: write it as key=value, for example -s train.steps=100")));
        };
        let (key, value) = (key.trim(), value.trim());
        let alone = format!("value = {value}");
        let read = Places::of(&alone).ok();
        if read.as_ref().is_some_and(|(places, _)| places.too_large().is_some()) {
            return Err(Error::Usage(format!("-s {text}: {BEYOND_NUMBERS}")));
        }
        // What is no TOML value is a string that lost its quotes to the shell.
        let value = read
            .and_then(|(_, document)| document.table().ok())
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| Value::String(value.to_owned()));
        Ok(Self { key: key.to_owned(), value, text: text.to_owned() })
    }

    /// Reads every `key=value` of a command line.
    ///
    /// # Errors
    /// [`Error::Usage`], also for two that choose different variants of one part of an experiment: the first would go without a
    /// word.
    pub fn parse_all(texts: &[String]) -> Result<Vec<Self>, Error> {
        let all = texts.iter().map(|text| Self::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let mut chosen: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
        for (choice, variant, text) in all.iter().filter_map(Self::choice) {
            let (before, first) = *chosen.entry(choice).or_insert((variant, text));
            if before != variant {
                let problem =
                    format!("-s {first} and -s {text} choose two of `{choice}`: {before} and {variant}; leave one out");
                return Err(Error::Usage(problem));
            }
        }
        Ok(all)
    }

    /// The part of an experiment of which it chooses a variant, and which.
    fn choice(&self) -> Option<(&str, &str, &str)> {
        let (choice, rest) = self.key.split_once('.').unwrap_or((&self.key, ""));
        is_choice(choice).then_some(())?;
        let variant = match (rest, &self.value) {
            ("", Value::String(name)) => name.as_str(),
            ("", Value::Table(table)) => table.keys().next().filter(|_| table.len() == 1)?.as_str(),
            ("", _) => return None,
            _ => rest.split('.').next().filter(|name| is_variant(choice, name))?,
        };
        Some((choice, variant, &self.text))
    }

    /// Sets the value; returns its full key.
    ///
    /// # Errors
    /// [`Error::Usage`]
    pub fn apply(&self, table: &mut Table) -> Result<String, Error> {
        if self.key.len() > Places::LONGEST {
            return Err(Error::Usage(format!(
                "-s {:.40}…: a key of more than {} characters",
                self.key,
                Places::LONGEST
            )));
        }
        let mut parts: Vec<String> = self.key.split('.').map(str::to_owned).collect();
        let is_field = parts.len() == 2 && !self.value.is_table();
        if let [first, second, ..] = parts.as_slice()
            && let Some(variant) = variant_left_out(table, first, second, is_field)
        {
            parts.insert(1, variant);
        }
        let full = parts.join(".");
        if let [choice, variant, _, ..] = parts.as_slice() {
            replace_variant(table, choice, variant);
        }
        let last = parts.pop().unwrap_or_default();
        let (mut current, mut at) = (&mut *table, String::new());
        for part in parts {
            at = join(&at, &part);
            let Value::Table(below) = current.entry(part).or_insert_with(|| Value::Table(Table::new())) else {
                return Err(Error::Usage(format!("-s {}: {at} is a value, not a table", self.text)));
            };
            current = below;
        }
        current.insert(last, self.value.clone());
        spell_out_choices(table);
        Ok(full)
    }
}

/// What a key `<choice>.<field>` leaves out: the name of the variant that the table `choice` holds, or holds by default.
/// `is_field` where it can be no name of a variant, misspelt perhaps.
fn variant_left_out(table: &Table, choice: &str, field: &str, is_field: bool) -> Option<String> {
    if !is_choice(choice) || is_variant(choice, field) {
        return None;
    }
    let default = default_choices();
    let variants = table.get(choice).or_else(|| default.get(choice))?.as_table()?;
    let (name, below) = variants.iter().next().filter(|_| variants.len() == 1)?;
    let set_or_possible = is_field || table.contains_key(choice) || below.as_table()?.contains_key(field);
    (below.is_table() && name != field && set_or_possible).then(|| name.clone())
}

/// Whether a value is one of the variants of a choice.
type Reads = fn(Value) -> Result<(), Refusal>;

/// Parts of an experiment that are one of several variants, written as a table with the variant's name as its only key.
const CHOICES: [(&str, Reads); 6] = [
    ("task", reads::<TaskConfig>),
    ("data", reads::<DataConfig>),
    ("model", reads::<ModelConfig>),
    ("optimizer", reads::<OptimizerConfig>),
    ("schedule", reads::<Schedule>),
    ("finetune", reads::<FinetuneConfig>),
];

fn reads<T: DeserializeOwned>(value: Value) -> Result<(), Refusal> {
    form::read::<T>(value).map(drop)
}

fn is_choice(key: &str) -> bool {
    CHOICES.iter().any(|(choice, _)| *choice == key)
}

/// A variant with every value at its default.
fn with_defaults(variant: &str) -> Value {
    Value::Table(Table::from_iter([(variant.to_owned(), Value::Table(Table::new()))]))
}

/// Whether a choice has a variant of this name.
fn is_variant(choice: &str, name: &str) -> bool {
    let reads = CHOICES.iter().find_map(|(other, reads)| (*other == choice).then_some(reads));
    reads.is_some_and(|reads| !matches!(reads(with_defaults(name)), Err(Refusal::NoSuchChoice(..))))
}

/// A bare name is the variant with its defaults: `schedule = "linear"` for `[schedule.linear]`.
fn spell_out_choices(table: &mut Table) {
    for (choice, reads) in CHOICES {
        let Some(Value::String(name)) = table.get(choice) else { continue };
        let is_alone = reads(Value::String(name.clone())).is_ok();
        let spelt_out = with_defaults(name);
        // What is missing then is said with its name.
        if !is_alone && matches!(reads(spelt_out.clone()), Ok(()) | Err(Refusal::Missing(_))) {
            table.insert(choice.to_owned(), spelt_out);
        }
    }
}

/// Takes a key out of a table, the name of a variant being left out perhaps; returns the whole key.
pub fn take(table: &mut Table, key: &str) -> Option<String> {
    let whole = match key.split_once('.') {
        Some((choice, field)) if is_choice(choice) => {
            let first = field.split('.').next().unwrap_or(field);
            match variant_left_out(table, choice, first, false) {
                Some(variant) => format!("{choice}.{variant}.{field}"),
                None => key.to_owned(),
            }
        }
        _ => key.to_owned(),
    };
    let taken = has(table, &whole) && remove(table, &whole);
    // A choice without a variant is none.
    table.retain(|key, value| !(is_choice(key) && value.as_table().is_some_and(Table::is_empty)));
    taken.then_some(whole)
}

/// Whether a table holds exactly this key.
fn has(table: &Table, key: &str) -> bool {
    match key.split_once('.') {
        None => table.contains_key(key),
        Some((first, rest)) => table.get(first).and_then(Value::as_table).is_some_and(|below| has(below, rest)),
    }
}

/// Where a choice holds another variant than the one that is now set, that one goes.
fn replace_variant(table: &mut Table, choice: &str, variant: &str) {
    if is_choice(choice)
        && let Some(value) = table.get_mut(choice)
        && !matches!(value, Value::Table(below) if below.contains_key(variant))
    {
        *value = Value::Table(Table::new());
    }
}

/// Puts the values of `changes` in place of those of the same keys; tables are merged, everything else replaced. In an
/// `experiment`, another variant of a choice takes the place of the one that is there.
pub fn merge(table: &mut Table, changes: Table, experiment: bool) {
    for (key, value) in changes {
        if let Value::Table(changes) = &value
            && experiment
        {
            changes.keys().for_each(|variant| replace_variant(table, &key, variant));
        }
        match (table.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(changes)) => merge(below, changes, key == "experiment"),
            (_, value) => drop(table.insert(key, value)),
        }
    }
}

/// The key whose last part is `name`, of those that every experiment has.
pub fn key_called(name: &str) -> Option<String> {
    let mut all = default_choices();
    all.insert("train".to_owned(), Value::try_from(TrainConfig::default()).ok()?);
    let (key, _) = leaves("", &all).into_iter().find(|(key, _)| key.rsplit('.').next() == Some(name))?;
    match key.split('.').collect::<Vec<_>>().as_slice() {
        [choice, _variant, field] if is_choice(choice) => Some(format!("{choice}.{field}")),
        _ => Some(key),
    }
}

/// Those that may be left out, at their defaults.
fn default_choices() -> Table {
    #[derive(Default, serde::Serialize)]
    struct Choices {
        data: DataConfig,
        optimizer: OptimizerConfig,
        schedule: Schedule,
    }
    Table::try_from(Choices::default()).unwrap_or_else(|_| unreachable!("every choice has a TOML form"))
}

/// Problems of form that one reading names: whoever has more starts with these.
const MOST_PROBLEMS: usize = 50;

/// A problem of form, and the keys that have no value for it.
struct Refused {
    problem: Problem,
    unread: Vec<String>,
}

struct Reader {
    places: Places,
    overridden: BTreeMap<String, String>,
}

impl Reader {
    fn read(&self, path: &Path, table: Table, purpose: Purpose) -> Result<Experiment, Vec<Problem>> {
        let has_data = table.contains_key("data");
        let (mut experiment, refused) = self.deserialize::<Experiment>(table);
        let unread: Vec<String> = refused.iter().flat_map(|refused| refused.unread.clone()).collect();
        let mut problems: Vec<Problem> = refused.into_iter().map(|refused| refused.problem).collect();
        if let Some(experiment) = &mut experiment {
            problems.extend(self.settle(path, experiment));
            // A file has as many examples as it has.
            if let Some([train, validation, test]) = experiment.task.held_examples().filter(|_| !has_data) {
                experiment.data = DataConfig::Fixed { train, validation, test };
            }
        }
        if let Some(experiment) = experiment {
            // A default stands where a value could not be read: what does not go together with that is no problem of its own.
            let echoes = |key: &str, message: &str| {
                unread.iter().any(|unread| is_same_or_below(key, unread) || names(message, unread))
            };
            let mut found = experiment.problems();
            // What a model sees is known once model and task make sense.
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

    /// Looks into the files that the task names, which are relative to the file that names them, or to the working folder where the
    /// command line does.
    fn settle(&self, path: &Path, experiment: &mut Experiment) -> Option<Problem> {
        let table = format!("task.{}", experiment.task.name());
        let path_key = join(&table, "path");
        let is_given = self.overridden.keys().any(|set| is_same_or_below(&path_key, set));
        let folder = path.parent().filter(|_| !is_given).unwrap_or(Path::new(""));
        let files = data::files(std::env::current_dir().unwrap_or_default().join(folder));
        let (key, problem) = experiment.task.settle(&files).err()?.into_parts();
        let key = join(&table, key);
        let origin = self.origin_of_value(&key);
        Some(Problem { message: format!("{key}: {problem}"), help: None, origin, key })
    }

    /// What could be read, and every problem of form.
    fn deserialize<T: DeserializeOwned>(&self, mut table: Table) -> (Option<T>, Vec<Refused>) {
        let mut all = Vec::new();
        let mut removed: Vec<String> = Vec::new();
        let mut spelt_out: Vec<String> = Vec::new();
        // Serde stops at the first error. Taking the culprit out and reading again finds the next one.
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
            // What was spelt out is a table, which nobody wrote.
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
        // A key that there is not stands for the one that is meant.
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

    /// The override that set this key, or one below it that made it a table.
    fn overridden_origin(&self, key: &str) -> Option<ValueSource> {
        let below = || {
            let prefix = format!("{key}.");
            let is_new = self.places.sets(key).is_none();
            self.overridden.iter().find(|(key, _)| is_new && key.starts_with(&prefix)).map(|(_, text)| text)
        };
        self.overridden.get(key).or_else(below).cloned().map(ValueSource::Override)
    }

    /// Origin of every key that somebody set.
    fn origins(&self, experiment: &Experiment) -> BTreeMap<String, ValueSource> {
        let keys = leaves("", &experiment.to_table()).into_iter().map(|(key, _)| key);
        keys.filter_map(|key| {
            let origin = self.overridden_origin(&key).or_else(|| self.places.sets(&key).cloned())?;
            Some((key, origin))
        })
        .collect()
    }
}

fn is_same_or_below(key: &str, above: &str) -> bool {
    key.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether a message speaks of a key by its last part.
fn names(message: &str, key: &str) -> bool {
    let name = key.rsplit('.').next().unwrap_or(key);
    !name.is_empty() && message.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name)
}

/// Sorts problems into the order of the file; what has no place in it comes last.
fn in_order(problems: &mut [Problem]) {
    problems.sort_by_key(|problem| match problem.origin {
        ValueSource::File { offset, .. } => offset,
        ValueSource::Override(_) | ValueSource::Default => usize::MAX,
    });
}

/// Every value of a table with its full key, in the table's order; empty tables count as values.
pub fn leaves(prefix: &str, table: &Table) -> Vec<(String, Value)> {
    let entries = table.iter().flat_map(|(key, value)| {
        let key = join(prefix, key);
        match value {
            Value::Table(below) if !below.is_empty() => leaves(&key, below),
            value => vec![(key, value.clone())],
        }
    });
    entries.collect()
}

/// The key that a path means. An item of a list is part of it only where the path goes on into the item.
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

fn remove(table: &mut Table, path: &str) -> bool {
    match path.split_once('.') {
        None => table.remove(path).is_some(),
        Some((first, rest)) => match table.get_mut(first) {
            Some(Value::Table(below)) => remove(below, rest),
            Some(Value::Array(items)) => {
                let (index, rest) = rest.split_once('.').unwrap_or((rest, ""));
                let item = index.parse().ok().and_then(|index: usize| items.get_mut(index));
                let Some(Value::Table(below)) = item else { return false };
                remove(below, rest)
            }
            // A path into something that is no table: the whole of it is wrong.
            Some(_) => table.remove(first).is_some(),
            None => false,
        },
    }
}

/// Puts the variant with its defaults in place of its bare name, where a path leads to one; returns the key of the variant.
fn spell_out(table: &mut Table, path: &str) -> Option<String> {
    let (mut current, mut at) = (table, String::new());
    for part in path.split('.') {
        at = join(&at, part);
        if let Some(name) = current.get(part).and_then(Value::as_str).map(str::to_owned) {
            current.insert(part.to_owned(), with_defaults(&name));
            return Some(join(&at, &name));
        }
        current = current.get_mut(part)?.as_table_mut()?;
    }
    None
}
