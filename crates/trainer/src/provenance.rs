//! Records: of a run (its origin, machine and end) and of weights (their origin).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Display, Formatter},
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use headway_model::Precision;
use serde::{Deserialize, Serialize};

use crate::{confusion::Confusion, prefetch::Waits, quote};

/// `run.json`: the record of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Twelve hexadecimal digits of the digest of the config without the seed, then the seed: equal for equal runs.
    pub run_id: String,
    /// The verb that started the run: `train` or `finetune`.
    pub verb: String,
    /// The command line that started it.
    pub command: String,
    /// Headway's version and, where it was built from a checkout, the commit.
    pub version: String,
    /// Operating system and architecture.
    pub platform: String,
    /// `--device` name of the device, and the name that it reports.
    pub device: String,
    /// Precision of the products of matrices.
    #[serde(default)]
    pub precision: Precision,
    /// Precision of the products inside attention.
    #[serde(default)]
    pub attention_precision: Precision,
    /// Threads that the CPU backend may use.
    pub threads: usize,
    /// Steps of the last session that were replays of a captured one; `None` on a device where that makes no difference.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub captured: Option<CapturedSteps>,
    /// Number of parameters, frozen ones included.
    pub parameters: usize,
    /// Number of frozen parameters.
    pub frozen_parameters: usize,
    /// Sha256 of the data, for a task that reads it from files.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub data_sha256: Option<String>,
    /// Where the weights came from; `None` unless the run is fine-tuned.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lineage: Option<Lineage>,
    /// Time of the start, in seconds since 1970.
    pub started: u64,
    /// Seconds of training so far, over all sessions.
    pub seconds: f64,
    /// How often its steps waited for their batches, over all sessions that did not diverge; `None` where they were made in the steps.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waits: Option<Waits>,
    /// State of the run.
    pub status: Status,
    /// Steps taken.
    pub step: u64,
    /// Result rows: one for the network and one per classical predictor. The row of a network that diverged is empty.
    pub results: Vec<Row>,
}

/// How many steps were replays of a captured one instead of launches one by one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapturedSteps {
    /// Steps that were replays.
    pub replayed: u64,
    /// All steps.
    pub steps: u64,
    /// Why no further step was captured, in words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refused: Option<String>,
}

impl Display for CapturedSteps {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} steps", self.replayed, self.steps)?;
        self.refused.iter().try_for_each(|why| write!(f, "; {why}"))
    }
}

/// State of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// In progress, or killed.
    Running,
    /// All steps were taken.
    Complete,
    /// Validation stopped improving.
    StoppedEarly,
    /// Stopped by a signal; resumable.
    Interrupted,
    /// Stopped by the time limit; resumable.
    OutOfTime,
    /// A loss or weight became NaN or infinite.
    Diverged,
}

impl Status {
    /// Whether nothing is left to do.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Complete | Self::StoppedEarly)
    }
}

/// One row of a result table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// `network`, or the name of a classical predictor.
    pub name: String,
    /// Values by name, `test/loss`, `test/mse`, …
    pub metrics: BTreeMap<String, f64>,
    /// Standard errors over test examples, for values of slices, under the same names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, f64>,
    /// Doubts about finite scores of the network, under the same names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub doubts: BTreeMap<String, Doubt>,
    /// Which classes it took for which, for tasks whose classes have names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confusion: Option<Confusion>,
}

/// A reason to doubt a finite score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doubt {
    /// It is better than this score, the best possible on these examples, by more than four standard errors.
    BeyondBest(f64),
    /// It is more than ten times this score, that of predicting the mean whatever the input.
    Absurd(f64),
}

impl Doubt {
    /// The sign that follows the score in tables.
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
    /// A row without errors and doubts.
    pub fn new(name: &str, metrics: BTreeMap<String, f64>) -> Self {
        Self { name: name.to_owned(), metrics, errors: BTreeMap::new(), doubts: BTreeMap::new(), confusion: None }
    }

    /// Whether the row has scores: those of a network are all finite, or there are none.
    pub fn is_scored(&self) -> bool {
        self.metrics.contains_key(TEST_LOSS)
    }
}

/// Names of the scores in these rows that are not about a slice.
pub fn totals(rows: &[Row]) -> BTreeSet<&String> {
    rows.iter().flat_map(|row| row.metrics.keys()).filter(|name| !name.contains('[')).collect()
}

impl Record {
    /// The precisions in words: `bf16`, or `bf16, in attention f16`.
    pub fn precisions(&self) -> String {
        let (all, attention) = (self.precision.name(), self.attention_precision.name());
        if all == attention { all.to_owned() } else { format!("{all}, in attention {attention}") }
    }

    /// Whether the network has scores.
    pub fn is_scored(&self) -> bool {
        self.results.first().is_some_and(Row::is_scored)
    }
}

/// `lineage.json`: where the weights of a fine-tuned run came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lineage {
    /// The checkpoint's path, as it was given.
    pub from: String,
    /// Sha256 of its `model.safetensors`.
    pub weights_sha256: String,
    /// Id of the run that trained it, see [`Record::run_id`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// Number of tensors loaded.
    pub taken: usize,
    /// Parameters that kept their fresh values because of `--allow-partial`.
    pub missing: Vec<String>,
    /// Tensors of the checkpoint that the model does not have.
    pub extra: Vec<String>,
    /// Tensors whose shapes differed.
    pub mismatched: Vec<String>,
    /// Parameters that were replaced because the task has other sizes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<String>,
    /// Keys that give another function of the same weights than the checkpoint's config, as `KEY = VALUE, the
    /// checkpoint's VALUE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// The adapter that was folded into the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folded: Option<Folded>,
}

/// An adapter that was folded into weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Folded {
    /// The run, its checkpoint or the adapter's folder, as it was given.
    pub from: String,
    /// Sha256 of the file with its parameters.
    pub sha256: String,
    /// Id of the run that trained it, see [`Record::run_id`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
}

impl Lineage {
    /// Parameters that did not come from the checkpoint.
    pub fn fresh(&self) -> Vec<String> {
        [&self.missing, &self.mismatched, &self.replaced].into_iter().flatten().cloned().collect()
    }
}

/// `import.json`: the file that weights came from, and what was done to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// Path of the file, as it was given.
    pub file: String,
    /// Sha256 of the file; for a folder, that of a text with one line per file read, made of its sha256, two spaces and
    /// its name.
    pub sha256: String,
    /// Its format: `safetensors`, `PyTorch zip`, …
    pub container: String,
    /// Key of the file that contained the weights.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
    /// Program or library whose names the tensors had.
    pub convention: String,
    /// Names that the user changed, as OLD=NEW.
    pub renamed: Vec<String>,
    /// Assumptions, in words.
    pub assumed: Vec<String>,
    /// Facts from configurations, as `source: key = value`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub told: Vec<String>,
    /// Tensors of the file that are not weights.
    pub not_weights: Vec<String>,
    /// Tensors outside the key.
    pub beside: Vec<String>,
    /// Tensors left out at the user's request.
    pub left_out: Vec<String>,
    /// Parameters that the file lacks, and what they were filled with.
    pub filled: BTreeMap<String, String>,
    /// Tensors whose numbers were rounded to f32: their type in the file, and how many numbers changed.
    pub rounded: BTreeMap<String, (String, usize)>,
    /// Number of position rows in the file, if only the first were used.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub positions: Option<usize>,
    /// Version of this program.
    pub version: String,
}

/// `failure.json`: why a run ended with an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Exit code of the error.
    pub exit_code: u8,
    /// Message of the error.
    pub message: String,
}

/// Result of a session.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Folder of the run.
    #[serde(serialize_with = "quote::lossy")]
    pub run_dir: PathBuf,
    /// State of the run.
    pub status: Status,
    /// Steps taken.
    pub step: u64,
    /// Seconds of training, over all sessions.
    pub seconds: f64,
    /// The network's scores under names like `test/loss`; empty if one is not finite.
    pub metrics: BTreeMap<String, f64>,
    /// Doubts about finite scores.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub doubts: BTreeMap<String, Doubt>,
    /// Which classes the network took for which, for tasks whose classes have names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confusion: Option<Confusion>,
    /// The same scores of classical predictors.
    pub baselines: Vec<Row>,
    /// What to know to read the scores, in sentences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

impl Summary {
    /// A summary from result rows, the first of which is the network's.
    pub(crate) fn new(run_dir: &Path, status: Status, step: u64, seconds: f64, rows: Vec<Row>) -> Self {
        let mut rows = rows.into_iter();
        let network = rows.next().unwrap_or_else(|| Row::new(NETWORK, BTreeMap::new()));
        let Row { metrics, doubts, confusion, .. } = network;
        let baselines = rows.collect();
        let remarks = Vec::new();
        Self { run_dir: run_dir.to_owned(), status, step, seconds, metrics, doubts, confusion, baselines, remarks }
    }

    /// The summary with a remark.
    pub(crate) fn remarked(mut self, remark: Option<String>) -> Self {
        self.remarks.extend(remark);
        self
    }

    /// The result rows of this summary.
    pub fn rows(&self) -> Vec<Row> {
        let (doubts, confusion) = (self.doubts.clone(), self.confusion.clone());
        let network = Row { doubts, confusion, ..Row::new(NETWORK, self.metrics.clone()) };
        std::iter::once(network).chain(self.baselines.iter().cloned()).collect()
    }
}

/// Version, and the commit if the sources are a git checkout.
pub fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    match commit() {
        Some(commit) => format!("{version} ({commit})"),
        None => version.to_owned(),
    }
}

fn commit() -> Option<String> {
    // The checkout that this binary was built from, not the working folder.
    let source = env!("CARGO_MANIFEST_DIR");
    let output = Command::new("git").args(["-C", source, "describe", "--always", "--dirty"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success()).then(|| text.trim().to_owned())
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Command line of this process, quoted for a shell.
pub fn command_line() -> String {
    let mut words = std::env::args_os();
    let program = words.next().unwrap_or_default();
    let program = Path::new(&program).file_name().unwrap_or("headway".as_ref());
    std::iter::once(quote::shell(program)).chain(words.map(quote::shell)).collect::<Vec<_>>().join(" ")
}
