//! Forecasting: the next steps of several series, from a window of those before.

mod series;

use std::{path::PathBuf, sync::Arc};

use headway_keys::Described;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::{
    baseline::{Baseline, forecast::Form},
    batch::{Example, Inputs, Targets, TaskDims, TaskInput},
    error::TaskError,
    files::Files,
    found::{Found, Held, Read, ReadFile, wrong},
    measure::{Measure, Wanted},
    scale::{Scale, moments},
    seed::SampleRng,
    task::{DataNames, Split, Task, TaskSpec},
};
use series::Series;

/// A table of series, and what is forecast from what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct ForecastConfig {
    /// A `.csv` file, which may be packed as `.csv.gz`, with a line for each time, oldest or newest first; relative to the
    /// file that names it.
    pub path: PathBuf,
    /// Column of times. Default: the one called time, date, datetime or timestamp, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Columns to forecast, in order. Default: all but that of times.
    pub columns: Vec<String>,
    /// What stands in the place of a missing value, besides an empty cell. Default `["N/A", "NA", "NaN"]`.
    pub missing: Vec<String>,
    /// Number of steps that a forecast sees. Default 96.
    pub window: usize,
    /// Number of steps that are forecast. Default 24.
    pub horizon: usize,
    /// Number of successive steps at one position of the input; divides `window`. Default 1.
    pub patch: usize,
    /// Shares of the times for training, validation and test, in this order, or the times at which validation and test
    /// begin. Default `[0.7, 0.1, 0.2]`.
    pub split: TimeSplit,
    /// Number of steps by which windows advance in validation and test. Default 1.
    pub stride: usize,
    /// Whether a forecast counts from the last value that it saw, so that 0 is to forecast no change. Default true.
    pub from_last: bool,
    /// Whether ln(x_t / x_(t-1)) is forecast instead of x_t. Default false.
    pub log_returns: bool,
    /// Number of steps after which a series is expected to repeat, for a classical predictor that says so; at most
    /// `window`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<usize>,
    /// Columns with scores of their own, `mse[column]` and `mae[column]` in their own units. Default: all, if they are at most 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scored: Option<Vec<String>>,
    /// What was found in the file when it was first read; not to be set by hand.
    #[described(found)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<FoundSeries>,
    /// The series, once they have been read.
    #[serde(skip)]
    held: Held<Series>,
}

impl Default for ForecastConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            time: None,
            columns: Vec::new(),
            missing: ["N/A", "NA", "NaN"].map(str::to_owned).into(),
            window: 96,
            horizon: 24,
            patch: 1,
            split: TimeSplit::Shares([0.7, 0.1, 0.2]),
            stride: 1,
            from_last: true,
            log_returns: false,
            period: None,
            scored: None,
            found: None,
            held: Held::default(),
        }
    }
}

/// Which times are for training, validation and test: the first, those after them, and the last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(
    untagged,
    expecting = "give shares, as in [0.7, 0.1, 0.2], or times, as in { validation = \"2013-09-12\", test = \"2013-10-18\" }"
)]
pub enum TimeSplit {
    /// Shares of training, validation and test.
    Shares([f64; 3]),
    /// Times at which parts begin.
    Begins(Begins),
}

/// Times at which parts begin, written as in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields)]
pub struct Begins {
    /// The first time of validation; `None` for no validation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<String>,
    /// The first time of the test.
    pub test: String,
}

/// Content of a table of series: what a model and a record of it need to know. A network can be used without the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields)]
pub struct FoundSeries {
    /// Sha256 of the file as unpacked.
    pub sha256: String,
    /// Name of the column of times; `None` if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Names of the channels.
    pub channels: Vec<String>,
    /// Numbers of times for training, validation and test.
    pub times: [usize; 3],
    /// Number of missing values in the place of which the last one before stands.
    pub carried: usize,
}

impl FoundSeries {
    fn of(series: &Series, sha256: String, config: &ForecastConfig) -> Result<Self, TaskError> {
        let Series { time, channels, carried, .. } = series;
        let times = config.split.times(series)?;
        Ok(Self { sha256, time: time.clone(), channels: channels.clone(), times, carried: *carried })
    }
}

impl Found for FoundSeries {
    fn sha256(&self) -> &str {
        &self.sha256
    }
}

impl TimeSplit {
    /// The times at which the test and validation begin, if they are given.
    fn begins(&self) -> Vec<&str> {
        match self {
            Self::Shares(_) => Vec::new(),
            Self::Begins(Begins { validation, test }) => {
                std::iter::once(test).chain(validation).map(String::as_str).collect()
            }
        }
    }

    /// Numbers of times in each part.
    fn times(&self, series: &Series) -> Result<[usize; 3], TaskError> {
        let n = series.rows();
        match self {
            Self::Shares(shares) => {
                let total: f64 = shares.iter().sum();
                let part = |share: f64| (n as f64 * share / total).round() as usize;
                let train = part(shares[0]).min(n);
                let test = part(shares[2]).min(n - train);
                Ok([train, n - train - test, test])
            }
            Self::Begins(_) => {
                let refused = |problem: &str| Err(TaskError::Key { key: "split", problem: problem.to_owned() });
                if series.time.is_none() {
                    return refused("names times, and the file has no column of times; give shares");
                }
                let test = series.before[0];
                let validation = series.before.get(1).copied().unwrap_or(test);
                if validation > test {
                    return refused("validation begins after the test; give validation before test");
                }
                Ok([validation, test - validation, n - test])
            }
        }
    }

    fn problem(&self) -> Option<TaskError> {
        let Self::Shares(shares @ [train, validation, test]) = self else { return None };
        let good = shares.iter().all(|share| share.is_finite() && *share >= 0.0) && *train > 0.0 && *test > 0.0;
        let problem = || {
            format!(
                "[{train}, {validation}, {test}] needs shares of 0 or more, some for training and some for the test"
            )
        };
        (!good).then(|| TaskError::Key { key: "split", problem: problem() })
    }
}

/// An error if a name of a list stands there twice.
fn twice(key: &'static str, names: &[String]) -> Option<TaskError> {
    let (_, name) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name))?;
    Some(TaskError::Key { key, problem: format!("`{name}` stands there twice") })
}

/// Most columns that have scores of their own without being asked for.
const FEW: usize = 8;

impl ForecastConfig {
    fn form(&self, channels: usize) -> Form {
        Form { window: self.window, horizon: self.horizon, channels, from_last: self.from_last }
    }

    /// Numbers of windows for training, validation and test: those with all targets in the part. Windows of validation and
    /// test see times of the part before.
    fn windows(&self, [train, validation, test]: [usize; 3]) -> [usize; 3] {
        let room = |times: usize| (times + 1).saturating_sub(self.horizon);
        let part = |times: usize| room(times).div_ceil(self.stride.max(1));
        let seen = self.window <= train;
        [room(train).saturating_sub(self.window), part(validation), part(test)].map(|n| if seen { n } else { 0 })
    }

    fn unread(&self) -> Option<TaskError> {
        // With a bad split a file is not read, and it is not the one at fault.
        let is_named = !self.path.as_os_str().is_empty();
        if self.found.is_some() || is_named && self.split.problem().is_some() {
            return None;
        }
        let problem = "names no file that was read; give path = \"data.csv\", or a .gz of it".to_owned();
        Some(TaskError::Key { key: "path", problem })
    }

    fn bad_patch(&self) -> Option<TaskError> {
        let divides = self.patch > 0 && self.window.is_multiple_of(self.patch);
        let problem = || format!("{} does not divide window = {}", self.patch, self.window);
        (!divides).then(|| TaskError::Key { key: "patch", problem: problem() })
    }

    fn bad_period(&self) -> Option<TaskError> {
        let period = self.period?;
        let problem = || format!("{period} must be from 1 to window = {}", self.window);
        (period < 1 || period > self.window).then(|| TaskError::Key { key: "period", problem: problem() })
    }

    fn bad_scored(&self) -> Option<TaskError> {
        let channels = &self.found.as_ref()?.channels;
        let unknown = self.scored.iter().flatten().find(|name| !channels.contains(name));
        let problem = |name| format!("`{name}` is not among the columns that are forecast");
        let unknown = unknown.map(|name| TaskError::Key { key: "scored", problem: problem(name) });
        unknown.or_else(|| twice("scored", self.scored.as_deref()?))
    }

    fn too_few(&self) -> Option<TaskError> {
        let times @ [train, validation, test] = self.found.as_ref()?.times;
        let problem = match self.windows(times) {
            [0, ..] => format!(
                "has {train} times for training; a window of {} and a horizon of {} need more: make them shorter, or give training a larger share",
                self.window, self.horizon
            ),
            [_, _, 0] => format!(
                "has {test} times for the test, and horizon = {} is longer; give it a larger share",
                self.horizon
            ),
            [_, 0, _] if validation > 0 => {
                format!(
                    "has {validation} times for validation, and horizon = {} is longer; give it a larger share, or 0",
                    self.horizon
                )
            }
            _ => return None,
        };
        Some(TaskError::Key { key: "split", problem })
    }

    fn sizes(&self) -> Vec<TaskError> {
        let sizes =
            [("window", self.window), ("horizon", self.horizon), ("patch", self.patch), ("stride", self.stride)];
        sizes.into_iter().filter_map(|(key, size)| TaskError::below(key, size, 1)).collect()
    }

    fn read(&self, files: &Files) -> Result<Read<Series, FoundSeries>, TaskError> {
        let (bytes, file) = ReadFile::open("path", files, &self.path)?;
        let content = Series::read(&bytes, self).map_err(|problem| wrong("path", files, &self.path, problem))?;
        Ok(Read { found: FoundSeries::of(&content, file.sha256.clone(), self)?, content, files: vec![file] })
    }
}

impl TaskSpec for ForecastConfig {
    fn dims(&self) -> TaskDims {
        // Before the file is read, one channel is known.
        let channels = self.found.as_ref().map_or(1, |found| found.channels.len());
        let input = TaskInput::Continuous { d_in: channels.saturating_mul(self.patch) };
        let seq_len = self.window / self.patch.max(1);
        TaskDims { seq_len, input, d_out: channels.saturating_mul(self.horizon) }
    }

    fn validate(&self) -> Vec<TaskError> {
        let sizes = self.sizes();
        if !sizes.is_empty() {
            return sizes;
        }
        let problems = [
            self.unread(),
            self.bad_patch(),
            self.bad_period(),
            self.split.problem(),
            self.too_few(),
            self.found.as_ref().and_then(|found| twice("columns", &found.channels)),
            self.bad_scored(),
        ];
        problems.into_iter().flatten().collect()
    }

    fn settle(&mut self, files: &Files) -> Result<(), TaskError> {
        if self.path.as_os_str().is_empty() {
            return Ok(());
        }
        if self.found.is_none() && self.split.problem().is_none() {
            let Read { content, found, .. } = self.read(files)?;
            (self.found, self.held) = (Some(found), Held::of(content));
        }
        self.path = files.path(&self.path);
        Ok(())
    }

    fn open(&self, files: &Files, _: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        let series = self.held.or_read(self.found.as_ref(), || self.read(files))?;
        let channels = series.channels.len();
        let times = self.split.times(&series)?;
        let [train, ..] = times;
        let moments = moments(&series.values, 1, channels, &(0..train).collect::<Vec<_>>());
        let scaled = Scale { inputs: moments.clone(), targets: Vec::new() }.scaled_inputs(&series.values);
        if let Some(at) = scaled.iter().position(|value| !(value * value).is_finite()) {
            let (row, channel) = (at / channels + 1, &series.channels[at % channels]);
            let problem = format!(
                "time {row}, column `{channel}`: {:e} is so far from the mean of the training part that its square overflows single precision",
                series.values[at]
            );
            return Err(wrong("path", files, &self.path, problem));
        }
        // A change has the deviation of the values, and no mean.
        let of_targets = |[mean, deviation]: &[f64; 2]| [if self.from_last { 0.0 } else { *mean }, *deviation];
        let scale = Scale {
            inputs: moments.repeat(self.patch),
            targets: moments.iter().map(of_targets).collect::<Vec<_>>().repeat(self.horizon),
        };
        let few = || if channels <= FEW { series.channels.clone() } else { Vec::new() };
        let scored = self.scored.clone().unwrap_or_else(few);
        let at = |name: &String| series.channels.iter().position(|other| other == name).map(|at| (name.clone(), at));
        Ok(Box::new(Forecast {
            dims: self.dims(),
            form: self.form(channels),
            scored: scored.iter().filter_map(at).collect(),
            period: self.period,
            stride: self.stride as u64,
            windows: self.windows(times),
            times,
            scaled: Arc::new(scaled),
            scale,
        }))
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        None
    }

    fn held_evaluation(&self) -> Option<[usize; 2]> {
        let [_, validation, test] = self.windows(self.found.as_ref()?.times);
        Some([validation, test])
    }

    fn places_mut(&mut self) -> Vec<(&'static str, &mut PathBuf)> {
        vec![("path", &mut self.path)]
    }

    fn data_sha256(&self) -> Option<&str> {
        self.found.as_ref().map(|found| found.sha256.as_str())
    }

    fn data_names(&self) -> Option<DataNames<'_>> {
        let channels = &self.found.as_ref()?.channels;
        Some(DataNames { inputs: channels, targets: channels, are_columns: true })
    }

    fn asked(&self) -> usize {
        1
    }

    fn baseline_bytes(&self) -> f64 {
        self.found.as_ref().map_or(0.0, |found| self.form(found.channels.len()).bytes())
    }

    fn newest(&self, table: &[u8]) -> Option<Result<Vec<f32>, String>> {
        let found = self.found.as_ref()?;
        let last = || {
            // The channels by name, in the order of training; nothing is split.
            let (columns, time, split) = (found.channels.clone(), found.time.clone(), Self::default().split);
            let config = Self { time, columns, split, ..self.clone() };
            let series = Series::read(table, &config)?;
            let (rows, width) = (series.rows(), found.channels.len());
            let Some(first) = rows.checked_sub(self.window) else {
                // A return is of two times.
                let [there, seen] = [rows, self.window].map(|steps| steps + usize::from(self.log_returns));
                return Err(format!("holds {there} times, and a forecast sees {seen}"));
            };
            Ok(series.values[first * width..].to_vec())
        };
        Some(last())
    }

    fn answers_count_from_last(&self) -> bool {
        self.from_last
    }
}

/// The next `horizon` steps of every channel, at the last position of a window of the steps before:
///
/// ```text
/// input     x_(t-window) … x_(t-1), each with all channels, `patch` steps at a position
/// target    x_t … x_(t+horizon-1), minus x_(t-1) if forecasts count from the last value
/// ```
///
/// all scaled, channel by channel, to mean 0 and deviation 1 over the times for training. Training windows begin anywhere
/// in the part for training, with equal probability; those of validation and test have all their targets in their part,
/// and follow each other by `stride` steps.
///
/// # Shapes
/// inputs `[window / patch, patch · channels]` -> targets `[1, horizon · channels]`, of the last position alone
pub struct Forecast {
    dims: TaskDims,
    form: Form,
    /// Names and indices of the channels with scores of their own.
    scored: Vec<(String, usize)>,
    period: Option<usize>,
    stride: u64,
    /// Numbers of windows for training, validation and test.
    windows: [usize; 3],
    /// Numbers of times of each part.
    times: [usize; 3],
    /// `[rows, channels]`
    scaled: Arc<Vec<f32>>,
    scale: Scale,
}

impl Forecast {
    /// The example of which the first target is at row `row`.
    fn at(&self, row: usize) -> Example {
        let Form { window, horizon, channels, from_last } = self.form;
        let rows = |first: usize, count: usize| self.scaled[first * channels..][..count * channels].to_vec();
        let (inputs, mut targets) = (rows(row - window, window), rows(row, horizon));
        if from_last {
            let last = &inputs[(window - 1) * channels..];
            targets.iter_mut().zip(last.iter().cycle()).for_each(|(target, last)| *target -= last);
        }
        let (loss_mask, slices) = (vec![true], vec![None]);
        Example { inputs: Inputs::Continuous(inputs), targets: Targets::Continuous(targets), loss_mask, slices }
    }
}

impl Task for Forecast {
    fn dims(&self) -> TaskDims {
        self.dims
    }

    fn example(&self, split: Split, index: u64, rng: &mut SampleRng) -> Example {
        let [train, validation, _] = self.times;
        let [windows, of_validation, of_test] = self.windows.map(|windows| windows.max(1));
        // An empty part is never requested.
        let begin = |first: usize, windows: usize| first + (index % windows as u64 * self.stride) as usize;
        self.at(match split {
            Split::Train => self.form.window + rng.random_range(0..windows),
            Split::Validation => begin(train, of_validation),
            Split::Test => begin(train + validation, of_test),
        })
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        self.form.baselines(self.period, &self.scaled, self.times[0])
    }

    fn scale(&self) -> Option<Scale> {
        Some(self.scale.clone())
    }

    fn answer(&self) -> Option<Vec<usize>> {
        Some(vec![self.form.horizon, self.form.channels])
    }

    /// The mean absolute error in deviations, that of the loss; the squared error at some steps, in squared deviations; and
    /// for some channels both errors in their own units.
    fn measures(&self) -> Vec<Measure> {
        let Form { horizon, channels, .. } = self.form;
        let over = |name: String, at: Vec<usize>, unit: f64, error: fn(f64) -> f64| {
            Measure::new(name, move |prediction, wanted| {
                let Wanted::Numbers(wanted) = wanted else { return None };
                let error = |&at: &usize| error((f64::from(prediction[at]) - f64::from(wanted[at])) * unit);
                Some(at.iter().map(error).sum::<f64>() / at.len() as f64)
            })
        };
        let square: fn(f64) -> f64 = |error| error * error;
        let absolute: fn(f64) -> f64 = f64::abs;
        let mut measures = vec![over("scaled_mae".to_owned(), (0..horizon * channels).collect(), 1.0, absolute)];
        // The first step, the last, and two between them.
        let mut steps = vec![1, horizon.div_ceil(4), horizon.div_ceil(2), horizon];
        steps.dedup();
        for step in steps {
            let at = ((step - 1) * channels..step * channels).collect();
            measures.push(over(format!("scaled_mse[step={step}]"), at, 1.0, square));
        }
        for (name, channel) in &self.scored {
            let at: Vec<usize> = (0..horizon).map(|step| step * channels + channel).collect();
            let unit = self.scale.targets[*channel][1];
            measures.push(over(format!("mse[{name}]"), at.clone(), unit, square));
            measures.push(over(format!("mae[{name}]"), at, unit, absolute));
        }
        measures
    }
}
