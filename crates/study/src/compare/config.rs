//! `compare.toml`: the config of a comparison, and its validation.

use std::collections::BTreeMap;

use headway_keys::Described;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::{
    Row,
    claim::Claim,
    matched::{Match, Matches},
    search::MOST_POINTS,
    verdict::noise_floor,
};
use crate::error::Error;
use crate::{
    file::{Seeds, StudyFile},
    sweep::default_metric,
};
use headway_trainer::experiment::{Override, lost};

/// Content of `compare.toml`.
#[derive(Clone, Debug, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields)]
pub struct CompareConfig {
    /// Heading of the report. Default: the name of the file.
    #[serde(default)]
    pub title: String,
    /// What the comparison is to find out, for the report. Default: nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub question: String,
    /// Profile that was merged in; written by Headway itself.
    #[described(found)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Seeds of every row: a list, `{ first = 0, count = 5 }`, or as many as it takes to decide, `{ until = "decided",
    /// at_most = 40 }`. Default: only 0.
    #[serde(default)]
    pub seeds: Seeds,
    /// Names of two rows that write one function in two ways. Differences to the reference that are no larger than the
    /// mean absolute difference between these two are no findings. Default: none, the floor is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise_floor: Option<[String; 2]>,
    /// What rows must have in common: `parameters`, `flops` (of all training steps), `depth` (attention layers; sizes stay
    /// as given) or `none`; a list makes one table for each entry. Default `none`.
    #[serde(default, rename = "match")]
    pub matched: Matches,
    /// Name of the row that the others are compared with.
    pub reference: String,
    /// Learning rates from which each row chooses the one with the best validation loss, or `search` for rates around
    /// each row's own. Default: none, every row keeps its own.
    #[serde(default, skip_serializing_if = "Rates::is_own")]
    pub learning_rates: Rates,
    /// Number of seeds with which the choice is made, taken from the start of the list; the others are run only at the
    /// chosen rate. Where something is searched, or seeds are added until all is decided, the choice has seeds of its own,
    /// from 1,000,000 on, which never score. Default 1.
    #[serde(default = "default_tuning_seeds")]
    pub tuning_seeds: usize,
    /// Multiples of the task's length at which all rows are tested, such as `[1, 2, 4]`; scores at 2 are `test_2x/loss`, … Default: only
    /// at 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lengths: Vec<usize>,
    /// Values that all rows share on all tasks, applied last. Default: none.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub set: Table,
    /// Classical predictors to show. Default: all that the task has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baselines: Option<Vec<String>>,
    /// The tasks to compare on.
    pub tasks: Vec<TaskPart>,
    /// The rows to compare.
    pub rows: Vec<RowPart>,
    /// What a theory or an earlier study says about the rows, each with a verdict. Default: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<Claim>,
}

fn default_tuning_seeds() -> usize {
    1
}

impl CompareConfig {
    /// What is wrong with names of tasks. A profile may leave out tasks of which rows and claims speak.
    pub(super) fn unknown_task(&self, names: &[String]) -> Option<String> {
        let is_there = |name: &&String| self.tasks.iter().any(|task| task.name == **name);
        let name = names.iter().find(|name| !is_there(name)).filter(|_| self.profile.is_none())?;
        let known: Vec<&str> = self.tasks.iter().map(|task| task.name.as_str()).collect();
        Some(format!("no task is called `{name}`; there are {}", known.join(", ")))
    }

    /// What is wrong with kinds of equality, which a profile may leave out too.
    pub(super) fn unknown_match(&self, kinds: &[Match]) -> Option<String> {
        let is_known = self.profile.is_some() || kinds.iter().all(|kind| self.matched.has(*kind));
        (!is_known).then(|| "the comparison's `match` does not list it".to_owned())
    }

    /// Learning rates that a row chooses from.
    pub(super) fn rates<'a>(&'a self, row: &'a RowPart) -> &'a Rates {
        row.learning_rates.as_ref().unwrap_or(&self.learning_rates)
    }

    /// Whether choices are made with seeds of their own instead of the first of the list: they are where something is
    /// searched, and where the number of seeds depends on scores, which must not begin with those that chose.
    pub fn tunes_apart(&self) -> bool {
        let searches =
            |row: &RowPart| matches!(self.rates(row), Rates::Search(_)) || matches!(row.free, Some(Free::Searched(_)));
        self.seeds.first_of_more().is_some() || self.rows.iter().any(searches)
    }

    /// Whether a run with this seed is made only to choose by, and never scores.
    pub fn only_tries(&self, seed: u64) -> bool {
        self.tunes_apart() && seed >= FIRST_TUNING_SEED
    }

    /// Seeds with which learning rates and sizes are chosen.
    pub fn tuning(&self) -> Vec<u64> {
        if self.tunes_apart() {
            (FIRST_TUNING_SEED..).take(self.tuning_seeds).collect()
        } else {
            self.seeds.list().into_iter().take(self.tuning_seeds).collect()
        }
    }

    /// Whether seeds are added until all is decided, so that their number depends on the scores.
    pub fn grows(&self) -> bool {
        self.seeds.first_of_more().is_some()
    }

    /// Whether the differences are judged: they are if seeds are added until that is possible, or if there is a noise
    /// floor to judge them against.
    pub fn decides(&self) -> bool {
        self.seeds.first_of_more().is_some() || self.noise_floor.is_some()
    }

    /// Whether the difference between this row and the reference is to be decided: it is for every row that is neither
    /// the reference nor one of the two that make the noise floor.
    pub fn is_asked(&self, row: &str) -> bool {
        row != self.reference && !self.is_floor(row)
    }

    /// The noise floor, given each row's scores by its name: 0 if the file names none, `None` if its rows have no scores.
    pub fn floor<'a>(&self, scores: impl Fn(&str) -> Option<&'a BTreeMap<u64, f64>>) -> Option<f64> {
        match &self.noise_floor {
            None => Some(0.0),
            Some([first, second]) => noise_floor(scores(first)?, scores(second)?),
        }
    }

    /// The row for which the second row of the noise floor stands.
    pub(super) fn leader(&self) -> Option<&str> {
        self.noise_floor.as_ref().map(|[first, _]| first.as_str())
    }

    /// Whether a row has the learning rate and the size that are chosen for another: the second of the noise floor, which is the first written in
    /// another way, unless it has learning rates of its own.
    pub(super) fn follows(&self, row: &Row) -> bool {
        let is_second = self.noise_floor.as_ref().is_some_and(|[_, second]| *second == row.name);
        row.chooses()
            && is_second
            && self.rows.iter().any(|part| part.name == row.name && part.learning_rates.is_none())
    }

    /// Whether the row is one of the two that make the noise floor.
    pub fn is_floor(&self, row: &str) -> bool {
        self.noise_floor.iter().flatten().any(|name| name == row)
    }

    /// The setting that tests runs at the lengths beyond their own, if there are any.
    pub(super) fn test_lengths(&self) -> Option<Override> {
        let beyond: Vec<Value> = self
            .lengths
            .iter()
            .filter(|times| **times != 1)
            .map(|times| Value::Integer(i64::try_from(*times).unwrap_or(i64::MAX)))
            .collect();
        // Its text names what the file says, so that a refusal points there.
        let text = format!("lengths={:?}", self.lengths);
        (!beyond.is_empty()).then(|| Override { text, ..Override::new("train.test_lengths", Value::Array(beyond)) })
    }
}

/// A task of a comparison.
#[derive(Clone, Debug, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields)]
pub struct TaskPart {
    /// Name in tables.
    pub name: String,
    /// The experiment: the path of its file relative to this one, or the experiment itself as a table.
    pub experiment: Value,
    /// Values that all rows share on this task. Default: none.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub set: Table,
    /// The score to compare, one of those that a run reports. Default `test/loss`.
    #[serde(default = "default_metric")]
    pub metric: String,
}

/// A row of a comparison.
#[derive(Clone, Debug, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields)]
pub struct RowPart {
    /// Name in tables.
    pub name: String,
    /// Values that distinguish this row. Default: none.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub set: Table,
    /// Key of a size, such as `model.d_model`, that is chosen so that the row matches the reference; or two keys, of which
    /// the first is searched for the best validation loss while the second makes the row match. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<Free>,
    /// Learning rates that this row chooses from. Default: those of the comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rates: Option<Rates>,
    /// Tasks on which it stands. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Vec<String>>,
    /// Kinds of equality for which it stands. Default: all of the comparison.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matched: Option<Matches>,
}

impl RowPart {
    /// Whether it stands in the table of a task for a kind of equality.
    pub(super) fn stands(&self, task: &str, matched: Match) -> bool {
        self.tasks.as_ref().is_none_or(|tasks| tasks.iter().any(|name| name == task))
            && self.matched.as_ref().is_none_or(|matches| matches.has(matched))
    }

    /// What is wrong with where it stands, by its key.
    fn misplaced(&self, config: &CompareConfig) -> Option<(&'static str, String)> {
        let tasks = self.tasks.as_ref().map(|tasks| ("tasks", config.unknown_task(tasks)));
        let matched = self.matched.as_ref().map(|matches| ("match", config.unknown_match(matches.list())));
        let whole = "the reference and the rows of the noise floor stand in every table";
        let is_measure = self.name == config.reference || config.is_floor(&self.name);
        let problem = |(key, problem): (&'static str, Option<String>)| {
            Some((key, problem.or_else(|| is_measure.then(|| whole.to_owned()))?))
        };
        tasks.into_iter().chain(matched).find_map(problem)
    }
}

/// Learning rates that a row chooses from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(untagged, expecting = "a list of learning rates, or \"search\"")]
pub enum Rates {
    /// The listed rates; none to keep the row's own.
    List(Vec<f64>),
    /// Its own times powers of two.
    Search(Search),
}

/// The word for a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum Search {
    /// Until the best is inside.
    Search,
}

impl Default for Rates {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Rates {
    /// Whether a row keeps its own rate.
    pub(super) fn is_own(&self) -> bool {
        matches!(self, Self::List(rates) if rates.is_empty())
    }

    /// Largest number of rates that a row is tried with.
    fn most(&self) -> usize {
        match self {
            Self::List(rates) => rates.len().max(1),
            Self::Search(_) => MOST_POINTS,
        }
    }
}

/// Sizes of a row that are not as its file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(
    untagged,
    expecting = "the key of a size, or two keys, of which the first is searched and the second solved for"
)]
pub enum Free {
    /// A size that is solved for.
    Solved(String),
    /// A size that is searched, and one that is solved for.
    Searched([String; 2]),
}

impl Free {
    /// Their keys.
    pub(super) fn keys(&self) -> &[String] {
        match self {
            Self::Solved(key) => std::slice::from_ref(key),
            Self::Searched(keys) => keys,
        }
    }
}

/// Upper bound on the number of runs of a file, whether or not they are valid.
pub(super) fn most_runs(config: &CompareConfig) -> usize {
    let tables = match &config.matched {
        Matches::One(_) => 1,
        Matches::Several(several) => several.len(),
    };
    let of_row = |row: &RowPart| {
        let sizes = if matches!(row.free, Some(Free::Searched(_))) { MOST_POINTS } else { 1 };
        let choices = config.rates(row).most().saturating_mul(sizes).saturating_mul(config.tuning_seeds);
        config.seeds.count().saturating_add(choices)
    };
    let rows = config.rows.iter().map(of_row).fold(0, usize::saturating_add);
    rows.saturating_mul(tables).saturating_mul(config.tasks.len())
}

/// Checks the rules that serde cannot express.
pub(super) fn check(file: &StudyFile, config: &CompareConfig) -> Result<(), Error> {
    if config.seeds.count() > MOST_SEEDS {
        return Err(file.problem("seeds", &format!("give {MOST_SEEDS} or fewer")));
    }
    if let Some(problem) = config.seeds.problem() {
        return Err(file.problem("seeds", &problem));
    }
    let names = config.rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>();
    if !names.contains(&config.reference.as_str()) {
        return Err(file.problem("reference", &format!("no such row; there are {}", names.join(", "))));
    }
    if let Some([first, second]) = &config.noise_floor {
        let problem = if first == second {
            Some("name two rows".to_owned())
        } else {
            let unknown = [first, second].into_iter().find(|name| !names.contains(&name.as_str()));
            unknown.map(|name| format!("no row is called `{name}`; there are {}", names.join(", ")))
        };
        if let Some(problem) = problem {
            return Err(file.problem("noise_floor", &problem));
        }
    }
    let tasks: Vec<&str> = config.tasks.iter().map(|task| task.name.as_str()).collect();
    for (index, claim) in config.claims.iter().enumerate() {
        let tasks = config.unknown_task(claim.tasks.as_deref().unwrap_or_default());
        let matched = config.unknown_match(claim.matched.as_slice());
        if let Some((key, problem)) = claim.problem(&names, [tasks, matched]) {
            return Err(file.problem(&format!("claims.{index}.{key}"), &problem));
        }
    }
    for (index, row) in config.rows.iter().enumerate() {
        if let Some((key, problem)) = row.misplaced(config) {
            return Err(file.problem(&format!("rows.{index}.{key}"), &problem));
        }
    }
    for (key, names) in [("rows", names), ("tasks", tasks)] {
        if let Some(index) = (1..names.len()).find(|index| names[..*index].contains(&names[*index])) {
            return Err(file.problem(&format!("{key}.{index}.name"), "this name is taken"));
        }
    }
    let most = if config.tunes_apart() { MOST_SEEDS } else { config.seeds.list().len() };
    if config.tunes_apart() && config.seeds.list().iter().any(|seed| *seed >= FIRST_TUNING_SEED) {
        let problem = format!("seeds from {FIRST_TUNING_SEED} on choose sizes and rates, and never score");
        return Err(file.problem("seeds", &problem));
    }
    if config.tuning_seeds == 0 || config.tuning_seeds > most {
        return Err(file.problem("tuning_seeds", &format!("must be at least 1 and no more than {most}")));
    }
    if matches!(&config.matched, Matches::Several(several) if several.is_empty()) {
        return Err(file.problem("match", "name at least one: `parameters`, `flops`, `depth` or `none`"));
    }
    let equal = match &config.matched {
        Matches::One(one) => one.is_cost(),
        Matches::Several(several) => several.iter().any(|matched| matched.is_cost()),
    };
    for (index, row) in config.rows.iter().enumerate() {
        let Some(free) = &row.free else { continue };
        let problem = if row.name == config.reference && matches!(free, Free::Solved(_)) {
            "the reference is what the others are matched to; it has no size to solve for, unless another is searched"
        } else if equal {
            continue;
        } else {
            "nothing is solved for with match = \"none\" or \"depth\""
        };
        return Err(file.problem(&format!("rows.{index}.free"), problem));
    }
    let tables = std::iter::once(("set".to_owned(), &config.set))
        .chain(config.rows.iter().enumerate().map(|(index, row)| (format!("rows.{index}.set"), &row.set)))
        .chain(config.tasks.iter().enumerate().map(|(index, task)| (format!("tasks.{index}.set"), &task.set)));
    for (key, table) in tables {
        if table.contains_key("seed") {
            return Err(file.problem(&format!("{key}.seed"), "seeds are the same for all rows; give them in `seeds`"));
        }
    }
    if config.rows.len() < 2 {
        return Err(file.problem("rows", "a comparison needs two rows or more"));
    }
    if config.tasks.is_empty() {
        return Err(file.problem("tasks", "a comparison needs a task"));
    }
    let of_rows = config
        .rows
        .iter()
        .enumerate()
        .filter_map(|(index, row)| Some((format!("rows.{index}.learning_rates"), row.learning_rates.as_ref()?)));
    for (key, rates) in std::iter::once(("learning_rates".to_owned(), &config.learning_rates)).chain(of_rows) {
        let Rates::List(rates) = rates else { continue };
        if let Some(rate) = rates.iter().find(|rate| !(rate.is_finite() && **rate > 0.0)) {
            return Err(file.problem(&key, &format!("{rate} is no learning rate")));
        }
        if let Some(problem) = rates.iter().find_map(|rate| lost(*rate)) {
            return Err(file.problem(&key, &problem));
        }
    }
    Ok(())
}

/// The first of the seeds that only choose and never score.
const FIRST_TUNING_SEED: u64 = 1_000_000;
/// Largest number of seeds.
const MOST_SEEDS: usize = 10_000;
