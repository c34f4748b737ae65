//! A sweep: one experiment at every point of a grid, of a list, or of several lists in step, each with several seeds.

use headway_keys::Described;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::{
    file::{self, Base, Changes, Seeds, StudyFile, Unset, named, settings},
    plan::Plan,
};
use crate::error::Error;
use headway_trainer::{
    evaluate::{self, Names},
    experiment::{Experiment, Override},
};

/// Content of `sweep.toml`.
#[derive(Clone, Debug, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields)]
pub struct SweepConfig {
    /// Heading of the report. Default: the name of the file.
    #[serde(default)]
    pub title: String,
    /// What the sweep is to find out, for the report. Default: nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub question: String,
    /// Profile that was merged in; written by Headway itself.
    #[described(found)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Changes from the command line, for the page; written by Headway itself.
    #[described(found)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// The score of figures and verdicts, one of those that a run reports. Default `test/loss`.
    #[serde(default = "default_metric")]
    pub metric: String,
    /// Seeds of every point: a list, or `{ first = 0, count = 5 }`. Default: only 0.
    #[serde(default)]
    pub seeds: Seeds,
    /// The experiment: the path of its file relative to this one, or the experiment itself as a table.
    pub experiment: Value,
    /// Values that all runs share. Default: none.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub set: Table,
    /// Points given one by one, each a table of values. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub list: Vec<Table>,
    /// Lists of values that advance in step, all of the same length. Default: none.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub zip: Table,
    /// Lists of values, of which every combination is run. Default: none.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub grid: Table,
    /// Settings of the figure of the score against a swept value.
    #[serde(default)]
    pub plot: Plot,
    /// Classical predictors that the network must beat at every point, for the verdict. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beats: Vec<String>,
    /// Means measured by others, with which the sweep must agree for the verdict. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<Expect>,
}

pub(super) fn default_metric() -> String {
    "test/loss".to_owned()
}

/// Settings of the figure of the score against a swept value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct Plot {
    /// The swept key along x, or one number per point. Default: the first key, in alphabetical order, whose values are
    /// all numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x: Option<XAxis>,
    /// Name of the quantity along x. Default: the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x_label: Option<String>,
    /// Power laws that a theory predicts for the score; drawn and compared. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub theory: Vec<PowerLaw>,
    /// Whether to show the attention patterns of the first seed of every point. Default: for up to four points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patterns: Option<bool>,
}

/// A power law x^exponent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields)]
pub struct PowerLaw {
    /// The exponent.
    pub exponent: f64,
    /// The theory that predicts it, for the legend and the findings.
    pub label: String,
}

/// Positions of the points along x.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(untagged, expecting = "a swept key, or a list of numbers, one for each point")]
pub enum XAxis {
    /// The values of this key.
    Key(String),
    /// These numbers, one per point.
    Numbers(Vec<f64>),
}

/// A mean that someone else measured, with which the sweep's mean must agree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Position of the point along x.
    pub at: f64,
    /// Predictor: `network` or a classical one. Default `network`.
    #[serde(default = "network")]
    pub predictor: String,
    /// The score. Default: the sweep's metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// Predictor by whose score on the same examples the score is divided. Default: none, the score itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative_to: Option<String>,
    /// The mean measured by others.
    pub mean: f64,
    /// Their standard deviation over seeds.
    pub deviation: f64,
    /// Their number of seeds.
    pub seeds: usize,
    /// Where these numbers come from.
    pub source: String,
}

/// Number of standard errors of the difference within which two means agree.
const AGREEMENT: f64 = 3.0;

impl Expect {
    /// Whether a point is at the expected position; equal numbers may be written in two ways and so differ by rounding.
    pub fn is_at(&self, x: f64) -> bool {
        (x - self.at).abs() <= 1e-9 * x.abs().max(self.at.abs())
    }

    /// Largest distance at which the mean of `values` agrees: 3 sqrt(s²/n + s'²/n'), with the standard deviations and
    /// numbers of seeds of both sides. A single value has no standard deviation and borrows that of the others.
    pub fn tolerance(&self, values: &[f64]) -> f64 {
        let n = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = match values.len() {
            0 | 1 => self.deviation.powi(2),
            _ => values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0),
        };
        AGREEMENT * (variance / n + self.deviation.powi(2) / self.seeds as f64).sqrt()
    }

    /// Whether the tolerance can tell means apart at all: with one as large as the mean itself, an error of zero would
    /// pass.
    pub fn can_tell(&self, tolerance: f64) -> bool {
        tolerance < self.mean.abs()
    }
}

fn network() -> String {
    "network".to_owned()
}

/// A point of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Short description of the swept values.
    pub label: String,
    /// The swept values by full key.
    pub settings: Vec<(String, Value)>,
    /// Position along x; `None` if the sweep has no x axis.
    pub x: Option<f64>,
    /// Indices of its runs in the plan, in the order of the seeds.
    pub runs: Vec<usize>,
}

/// A sweep with all its runs.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The complete file, which refers to no other.
    pub config: SweepConfig,
    /// The points in order: list, then zip, then grid, whose keys are taken in alphabetical order with the last
    /// changing fastest.
    pub points: Vec<Point>,
    /// Every run, without duplicates.
    pub plan: Plan,
}

/// Tables that a swept value may come from, for messages.
const TABLES: [&str; 3] = ["set", "zip", "grid"];

impl Sweep {
    /// Makes every run of a sweep file.
    ///
    /// # Errors
    /// [`Error::Experiment`] with every problem of the first experiment that has one, pointing at what is wrong;
    /// [`Error::Trainer`] when a file cannot be read.
    pub fn new(file: &StudyFile, changes: &Changes) -> Result<Self, Error> {
        let mut config: SweepConfig = file.config()?;
        let mut base = file.base("experiment", &config.experiment)?;
        let mut unset = Unset::of(changes);
        unset.take_from(&mut base);
        unset.take_from_settings(&mut config.set);
        unset.ensure_found(file)?;
        config.experiment = base.inline();
        let points_of = [&config.grid, &config.zip].into_iter().chain(&config.list);
        let swept: Vec<String> = points_of.flat_map(settings).map(|setting| setting.key).collect();
        file::set(&mut config.set, &changes.set, &swept)?;
        unmixed(file, &config)?;
        config.changed.extend(changes.unset.iter().map(|key| format!("{key} unset")));
        config.changed.extend(changes.set.clone());
        config.changed.extend(changes.seeds.as_ref().map(|seeds| format!("seeds={seeds:?}")));
        let SweepConfig { title, profile, seeds, .. } = &mut config;
        file.complete(changes, title, profile, seeds);
        base.ensure_few(file, "seeds", config.seeds.count().saturating_mul(count_points(&config)))?;
        if let Some(problem) = config.seeds.problem() {
            return Err(file.problem("seeds", &problem));
        }
        if config.seeds.first_of_more().is_some() {
            let problem = "a sweep decides nothing; give a list of seeds, or a table such as { first = 0, count = 5 }";
            return Err(file.problem("seeds", problem));
        }
        let seeds = config.seeds.list();
        let (mut plan, mut points) = (Plan::default(), Vec::<Point>::new());
        for swept in combinations(file, &config)? {
            let label = label(&swept.values);
            let mut runs = Vec::new();
            let mut experiment = experiment(file, &base, &config, &swept).map_err(|error| at_point(error, &label))?;
            for &seed in &seeds {
                experiment.seed = seed;
                let name = if label.is_empty() { format!("seed {seed}") } else { format!("{label} seed {seed}") };
                runs.push(plan.add(name, experiment.clone()));
            }
            if let Some(same) = points.iter().find(|point| point.runs == runs) {
                let problem = format!("the points `{}` and `{label}` are the same experiment", same.label);
                return Err(file.problem(&swept.table, &problem));
            }
            let settings = swept.values.into_iter().map(|value| (value.key, value.value)).collect();
            points.push(Point { label, settings, x: None, runs });
        }
        let sample = plan.runs().first().map(|run| run.experiment.clone());
        place(file, &mut config, &mut points, sample.as_ref())?;
        Ok(Self { config, points, plan })
    }

    /// The complete file as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(&self.config).unwrap_or_else(|_| unreachable!("every field of a sweep has a TOML form"))
    }

    /// Name of the quantity along x.
    pub fn x_label(&self) -> &str {
        match (&self.config.plot.x_label, &self.config.plot.x) {
            (Some(label), _) => label,
            (None, Some(XAxis::Key(key))) => key,
            (None, _) => "point",
        }
    }
}

/// Values of one point, and the table of the file that they come from.
struct Swept {
    values: Vec<Override>,
    table: String,
}

/// Number of points that a file describes, whether or not they are valid.
fn count_points(config: &SweepConfig) -> usize {
    let lens = |table| settings(table).into_iter().map(|setting| setting.value.as_array().map_or(1, Vec::len));
    let steps = lens(&config.zip).next().unwrap_or(1);
    lens(&config.grid).fold(config.list.len().max(1).saturating_mul(steps), usize::saturating_mul)
}

/// The values of every point: each entry of the list, with each step of the zip, with each combination of the grid.
fn combinations(file: &StudyFile, config: &SweepConfig) -> Result<Vec<Swept>, Error> {
    let lists: Vec<(Vec<Override>, String)> = if config.list.is_empty() {
        vec![(Vec::new(), "grid".to_owned())]
    } else {
        config.list.iter().enumerate().map(|(index, table)| (settings(table), format!("list.{index}"))).collect()
    };
    let zipped = axes(file, "zip", &config.zip)?;
    if let [(_, first), rest @ ..] = zipped.as_slice()
        && let Some((key, other)) = rest.iter().find(|(_, values)| values.len() != first.len())
    {
        let problem =
            format!("{} values beside {} of the other keys; lists in step have one length", other.len(), first.len());
        return Err(file.problem(&format!("zip.{key}"), &problem));
    }
    let steps = zipped.first().map_or(1, |(_, values)| values.len());
    let grid = axes(file, "grid", &config.grid)?;
    let mut all = Vec::new();
    for (listed, table) in &lists {
        for step in 0..steps {
            let in_step = zipped.iter().map(|(key, values)| Override::new(key, values[step].clone()));
            let mut combinations: Vec<Vec<Override>> = vec![listed.iter().cloned().chain(in_step).collect()];
            for (key, values) in &grid {
                let longer = combinations.iter().flat_map(|point| {
                    values.iter().map(move |value| {
                        let mut point = point.clone();
                        point.push(Override::new(key, value.clone()));
                        point
                    })
                });
                combinations = longer.collect();
            }
            all.extend(combinations.into_iter().map(|values| Swept { values, table: table.clone() }));
        }
    }
    Ok(all)
}

/// Refuses a key that two tables set, since the later one would silently win.
fn unmixed(file: &StudyFile, config: &SweepConfig) -> Result<(), Error> {
    let zip: Vec<String> = settings(&config.zip).into_iter().map(|setting| setting.key).collect();
    let list = config.list.iter().flat_map(settings).map(|setting| setting.key);
    for (key, table) in
        settings(&config.grid).iter().map(|setting| (&setting.key, "grid")).chain(zip.iter().map(|key| (key, "zip")))
    {
        let earlier = list.clone().chain(if table == "grid" { zip.clone() } else { Vec::new() });
        if earlier.into_iter().any(|other| file::is_same(&other, key)) {
            return Err(file.problem(&format!("{table}.{key}"), "another axis sets it too"));
        }
    }
    Ok(())
}

/// The keys of a table with their lists of values.
fn axes(file: &StudyFile, name: &str, table: &Table) -> Result<Vec<(String, Vec<Value>)>, Error> {
    let axis = |setting: Override| match setting.value {
        Value::Array(values) if !values.is_empty() => Ok((setting.key, values)),
        _ => Err(file.problem(&format!("{name}.{}", setting.key), "expected a list of values")),
    };
    settings(table).into_iter().map(axis).collect()
}

fn experiment(file: &StudyFile, base: &Base, config: &SweepConfig, swept: &Swept) -> Result<Experiment, Error> {
    let all: Vec<Override> = settings(&config.set).into_iter().chain(swept.values.iter().cloned()).collect();
    if all.iter().any(|setting| setting.key == "seed") {
        return Err(file.problem("seeds", "seeds are an axis of their own; give them here and nowhere else"));
    }
    let tables: Vec<String> = TABLES.iter().map(|table| (*table).to_owned()).chain([swept.table.clone()]).collect();
    file.experiment(base, &all, &tables)
}

/// The error with the point's label added, for what is wrong at some points only.
fn at_point(error: Error, label: &str) -> Error {
    match error {
        Error::Experiment(mut error) if !label.is_empty() => {
            for problem in &mut error.problems {
                problem.help.get_or_insert_with(|| format!("at the point {label}"));
            }
            Error::Experiment(error)
        }
        error => error,
    }
}

/// Label of a point: its values with the last part of each key, or the whole key if two keys share that part.
fn label(values: &[Override]) -> String {
    let short = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    let name = |key: &str| {
        let alone = values.iter().filter(|value| short(&value.key) == short(key)).count() == 1;
        if alone { short(key) } else { key.to_owned() }
    };
    values.iter().map(|value| format!("{}={}", name(&value.key), plain(&value.value))).collect::<Vec<_>>().join(" ")
}

/// A value without the quotes of a string; a number with many zeros is written with a power of ten.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Float(number) if *number != 0.0 && !(1e-6..1e9).contains(&number.abs()) => format!("{number:e}"),
        value => value.to_string(),
    }
}

/// Gives every point its position along x.
///
/// `sample` is one of the experiments, whose scores and predictors the file may name.
fn place(
    file: &StudyFile,
    config: &mut SweepConfig,
    points: &mut [Point],
    sample: Option<&Experiment>,
) -> Result<(), Error> {
    let number = |point: &Point, key: &str| {
        let (_, value) = point.settings.iter().find(|(name, _)| name == key)?;
        value.as_float().or_else(|| value.as_integer().map(|integer| integer as f64))
    };
    let numeric = |key: &str| points.iter().all(|point| number(point, key).is_some());
    let places: Vec<Option<f64>> = match &config.plot.x {
        Some(XAxis::Numbers(numbers)) if numbers.len() != points.len() => {
            let problem = format!("{} numbers for {} points", numbers.len(), points.len());
            return Err(file.problem("plot.x", &problem));
        }
        Some(XAxis::Numbers(numbers)) => numbers.iter().copied().map(Some).collect(),
        Some(XAxis::Key(key)) if !numeric(key) => {
            return Err(file.problem("plot.x", &format!("`{key}` is not swept over numbers")));
        }
        Some(XAxis::Key(key)) => points.iter().map(|point| number(point, key)).collect(),
        None => {
            let keys =
                points.first().map(|point| point.settings.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>());
            let key = keys.unwrap_or_default().into_iter().find(|key| numeric(key));
            let places = points.iter().map(|point| number(point, key.as_ref()?)).collect();
            config.plot.x = key.map(XAxis::Key);
            places
        }
    };
    let of_plot = match &config.plot.x {
        Some(XAxis::Numbers(numbers)) => numbers.as_slice(),
        _ => &[],
    };
    let exponents = config.plot.theory.iter().map(|law| law.exponent);
    if let Some(number) = of_plot.iter().copied().chain(exponents).find(|number| !number.is_finite()) {
        return Err(file.problem("plot", &format!("{number} is no number of a figure")));
    }
    if let Some(XAxis::Numbers(numbers)) = &config.plot.x
        && let Some(index) = (1..numbers.len()).find(|index| numbers[..*index].contains(&numbers[*index]))
    {
        return Err(file.problem("plot.x", &format!("two points stand at {}", numbers[index])));
    }
    let shown = config.plot.x_label.clone().filter(|_| matches!(config.plot.x, Some(XAxis::Numbers(_))));
    for (point, place) in points.iter_mut().zip(places) {
        point.x = place;
        if let (Some(label), Some(x)) = (&shown, place) {
            point.label = format!("{label}={x}");
        }
    }
    let Some(experiment) = sample else { return Ok(()) };
    let Names { scores, predictors } = evaluate::names(experiment)?;
    named(file, "metric", &config.metric, &scores)?;
    for (index, name) in config.beats.iter().enumerate() {
        named(file, &format!("beats.{index}"), name, &predictors)?;
    }
    for (index, expect) in config.expect.iter().enumerate() {
        let at = |key: &str| format!("expect.{index}.{key}");
        named(file, &at("predictor"), &expect.predictor, &predictors)?;
        expect.metric.iter().try_for_each(|name| named(file, &at("metric"), name, &scores))?;
        expect.relative_to.iter().try_for_each(|name| named(file, &at("relative_to"), name, &predictors))?;
        if expect.seeds == 0 || !(expect.deviation >= 0.0 && expect.deviation.is_finite()) {
            return Err(
                file.problem(&format!("expect.{index}.deviation"), "a deviation of 0 or more over 1 seed or more")
            );
        }
        if !expect.mean.is_finite() {
            return Err(file.problem(&format!("expect.{index}.mean"), "must be a finite number"));
        }
        let is_there = points.iter().any(|point| point.x.is_some_and(|x| expect.is_at(x)));
        if !is_there {
            return Err(file.problem(&format!("expect.{index}.at"), &format!("no point stands at {}", expect.at)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_without_rows_of_zeros() {
        let shown = [1e25, -1e-20, 0.0, 1e-5, 0.25, 64.0].map(|number| plain(&Value::Float(number)));
        assert_eq!(shown, ["1e25", "-1e-20", "0.0", "0.00001", "0.25", "64.0"]);
        assert_eq!(plain(&Value::String("adam".to_owned())), "adam");
    }
}
