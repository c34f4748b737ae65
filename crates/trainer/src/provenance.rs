//! Records: of a run, where it came from, on what it ran, how it ended; of weights, where they came from.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::quote;

/// `run.json`: the record of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Digest of the config without the seed, twelve hexadecimal digits, then the seed: equal for equal runs.
    pub run_id: String,
    /// The verb that began the run: `train` or `finetune`.
    pub verb: String,
    /// The command line that began it.
    pub command: String,
    /// Headway's version and, where it was built from a checkout, the commit.
    pub version: String,
    /// Operating system and architecture.
    pub platform: String,
    /// Device by its `--device` name and by its own.
    pub device: String,
    /// Threads that the CPU backend may use.
    pub threads: usize,
    /// Trainable parameters, of which frozen.
    pub parameters: usize,
    /// Parameters kept fixed.
    pub frozen_parameters: usize,
    /// Sha256 of the data, for a task that reads it from files.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub data_sha256: Option<String>,
    /// Where the weights came from, for a fine-tuned run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lineage: Option<Lineage>,
    /// Start, seconds since 1970.
    pub started: u64,
    /// Seconds of training so far, all sessions together.
    pub seconds: f64,
    /// How it stands.
    pub status: Status,
    /// Steps taken.
    pub step: u64,
    /// Results: one row for the network and one per classical predictor. Of a network that diverged the row is empty.
    pub results: Vec<Row>,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// In progress, or killed.
    Running,
    /// Took every step.
    Complete,
    /// Validation stopped improving.
    StoppedEarly,
    /// Stopped by a signal; resumable.
    Interrupted,
    /// Stopped by the time limit; resumable.
    OutOfTime,
    /// A loss or weight stopped being a number.
    Diverged,
}

impl Status {
    /// Whether the run has nothing left to do.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Complete | Self::StoppedEarly)
    }
}

/// One row of a result table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// `network`, or the predictor's name.
    pub name: String,
    /// Values by name, `test/loss`, `test/mse`, …
    pub metrics: BTreeMap<String, f64>,
    /// Standard errors over test examples of the values of slices, by the same names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, f64>,
    /// What is wrong with scores of the network that are finite, by the same names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub doubts: BTreeMap<String, Doubt>,
}

/// What is wrong with a score that is finite.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doubt {
    /// It is better by more than four standard errors than this one, the best possible on these examples.
    BeyondBest(f64),
    /// It is more than ten times this one, that of a predictor which says the mean whatever the input.
    Absurd(f64),
}

impl Doubt {
    /// Stands behind the score in tables.
    pub fn sign(self) -> char {
        match self {
            Self::BeyondBest(_) => '†',
            Self::Absurd(_) => '‡',
        }
    }
}

/// Name of the network's row.
pub const NETWORK: &str = "network";
/// The score that every network has.
const TEST_LOSS: &str = "test/loss";

impl Row {
    /// A row of scores alone.
    pub fn new(name: &str, metrics: BTreeMap<String, f64>) -> Self {
        Self { name: name.to_owned(), metrics, errors: BTreeMap::new(), doubts: BTreeMap::new() }
    }

    /// Whether there are scores: those of a network are all finite, or there are none.
    pub fn is_scored(&self) -> bool {
        self.metrics.contains_key(TEST_LOSS)
    }
}

/// Names of the scores that are not about a slice, of any of these rows.
pub fn totals(rows: &[Row]) -> BTreeSet<&String> {
    rows.iter().flat_map(|row| row.metrics.keys()).filter(|name| !name.contains('[')).collect()
}

impl Record {
    /// Whether the network has scores.
    pub fn is_scored(&self) -> bool {
        self.results.first().is_some_and(Row::is_scored)
    }
}

/// `lineage.json`: where the weights of a fine-tuned run came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lineage {
    /// The checkpoint as it was given.
    pub from: String,
    /// Sha256 of its `model.safetensors`.
    pub weights_sha256: String,
    /// Identity of the run that trained it: digest of its config, then its seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// Names loaded.
    pub taken: usize,
    /// Parameters that kept their fresh values, with `--allow-partial`.
    pub missing: Vec<String>,
    /// Tensors of the checkpoint that found no place.
    pub extra: Vec<String>,
    /// Names whose shapes differed.
    pub mismatched: Vec<String>,
    /// Parameters that the task's sizes made anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<String>,
    /// Keys that make another function of the same weights than the checkpoint's config did, as `KEY = VALUE, the checkpoint's VALUE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// What was folded into the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folded: Option<Folded>,
}

/// An adapter that was folded into weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Folded {
    /// The run, its checkpoint or the adapter's folder, as it was given.
    pub from: String,
    /// Sha256 of the file that held its parameters.
    pub sha256: String,
    /// Identity of the run that trained it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
}

impl Lineage {
    /// Parameters that the checkpoint did not give.
    pub fn fresh(&self) -> Vec<String> {
        [&self.missing, &self.mismatched, &self.replaced].into_iter().flatten().cloned().collect()
    }
}

/// `import.json`: the file that weights came from, and what was made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// The file as it was given.
    pub file: String,
    /// Its sha256; of a folder, that of a line with sha256, two blanks and name for each file that was read.
    pub sha256: String,
    /// Its form: `safetensors`, `PyTorch zip`, …
    pub container: String,
    /// Key of the file below which the weights lay.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
    /// Whose names they carried.
    pub convention: String,
    /// Names that were changed by hand, as OLD=NEW.
    pub renamed: Vec<String>,
    /// What was taken for granted, in words.
    pub assumed: Vec<String>,
    /// What configurations said of the network, as `source: key = value`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub told: Vec<String>,
    /// Tensors of the file that are no weights.
    pub not_weights: Vec<String>,
    /// Tensors that lay beside the key.
    pub beside: Vec<String>,
    /// Tensors that were left out by the user's wish.
    pub left_out: Vec<String>,
    /// Parameters that the file does not have, with what stands there.
    pub filled: BTreeMap<String, String>,
    /// Tensors whose numbers were rounded to f32: type in the file, and how many changed.
    pub rounded: BTreeMap<String, (String, usize)>,
    /// Rows of positions in the file, where only the first were taken.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub positions: Option<usize>,
    /// Version of this program.
    pub version: String,
}

/// `failure.json`: why a run ended before its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Exit code of the error.
    pub exit_code: u8,
    /// The error.
    pub message: String,
}

/// The end of a session.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Folder of the run.
    #[serde(serialize_with = "quote::lossy")]
    pub run_dir: PathBuf,
    /// How it stands.
    pub status: Status,
    /// Steps taken.
    pub step: u64,
    /// Seconds of training, all sessions together.
    pub seconds: f64,
    /// The network's scores, keyed like `test/loss`; none where one is not finite.
    pub metrics: BTreeMap<String, f64>,
    /// What is wrong with them where they are finite.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub doubts: BTreeMap<String, Doubt>,
    /// The same scores of classical predictors.
    pub baselines: Vec<Row>,
}

impl Summary {
    /// From result rows, of which the network's is the first.
    pub(crate) fn new(run_dir: &Path, status: Status, step: u64, seconds: f64, rows: Vec<Row>) -> Self {
        let mut rows = rows.into_iter();
        let network = rows.next().unwrap_or_else(|| Row::new(NETWORK, BTreeMap::new()));
        let (metrics, doubts, baselines) = (network.metrics, network.doubts, rows.collect());
        Self { run_dir: run_dir.to_owned(), status, step, seconds, metrics, doubts, baselines }
    }

    /// The result rows again.
    pub fn rows(&self) -> Vec<Row> {
        let network = Row { doubts: self.doubts.clone(), ..Row::new(NETWORK, self.metrics.clone()) };
        std::iter::once(network).chain(self.baselines.iter().cloned()).collect()
    }
}

/// Version, and the commit where the sources are a git checkout.
pub fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    match commit() {
        Some(commit) => format!("{version} ({commit})"),
        None => version.to_owned(),
    }
}

fn commit() -> Option<String> {
    // The checkout this binary was built from, not the folder it runs in.
    let source = env!("CARGO_MANIFEST_DIR");
    let output = Command::new("git").args(["-C", source, "describe", "--always", "--dirty"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success()).then(|| text.trim().to_owned())
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// This process's command line, as a shell takes it.
pub fn command_line() -> String {
    let mut words = std::env::args_os();
    let program = words.next().unwrap_or_default();
    let program = Path::new(&program).file_name().unwrap_or("headway".as_ref());
    std::iter::once(quote::shell(program)).chain(words.map(quote::shell)).collect::<Vec<_>>().join(" ")
}
