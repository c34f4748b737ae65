//! The user's own data: examples from a file.

mod csv;
mod rows;
mod split;
pub mod table;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use headway_keys::Described;
use serde::{Deserialize, Serialize};

use crate::{
    baseline::{
        Baseline, chance::Chance, flattened::Flattened, mean::Mean, nearest_example::NearestExample,
        per_position::PerPosition,
    },
    batch::{Example, Inputs, Targets, TaskDims, TaskInput},
    error::TaskError,
    files::Files,
    found::{Found, Held, Read, ReadFile, by_hand, joined, wrong},
    scale::{Scale, moments},
    seed::{SampleRng, Seed, Stream},
    task::{DataNames, Split, Task, TaskSpec},
};
pub use csv::EXAMPLE;
use rows::Rows;
use split::FEWEST;
pub use split::{FileSplit, Ranges};

/// A file of examples, and how it is split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct FileConfig {
    /// A `.csv` or `.npz` file, a packed `.csv.gz`, or a folder of `.npy` files; relative to the file that names it.
    pub path: PathBuf,
    /// Columns of a `.csv` file, in order, or the name of one array. Default `["inputs"]`.
    pub inputs: Vec<String>,
    /// Columns of a `.csv` file, in order, or the name of one array. Default `["targets"]`.
    pub targets: Vec<String>,
    /// Whether inputs are tokens. `true` takes the vocabulary size to be one more than the largest token; a number
    /// gives it. Default: arrays with two axes are tokens, columns of a `.csv` file are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Ids>,
    /// Whether targets are classes. `true` takes the number of classes to be one more than the largest; a number gives
    /// it. Default: arrays with one axis are classes, or with two axes like those of input tokens; columns of a `.csv`
    /// file are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<Ids>,
    /// Whether the second axis of targets counts steps of a horizon instead of positions, even if it has the length of
    /// the sequence. Default false; an axis of another length always does.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub horizon: bool,
    /// Shares of the examples for training, validation and test, or ranges of examples. Default `[0.8, 0.1, 0.1]`.
    pub split: FileSplit,
    /// A column, or an array `[n]`, with equal values for the examples of a group; a group is never divided between
    /// parts of the split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Whether the seed decides which examples are in which part; if false, the first are for training and the last for
    /// the test. Groups are shuffled in the same way for every seed, since their sizes determine how many examples a
    /// part has; not to be given beside ranges. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shuffle: Option<bool>,
    /// Whether numbers are scaled, channel by channel, to mean 0 and deviation 1 over the training examples; scores are
    /// in the data's own units either way. Default true.
    pub scale: bool,
    /// What was found in the file when it was first read; not to be set by hand.
    #[described(found)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<FoundData>,
    /// Content of the file, once it has been read.
    #[serde(skip)]
    held: Held<Rows>,
}

impl Default for FileConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            inputs: vec!["inputs".to_owned()],
            targets: vec!["targets".to_owned()],
            tokens: None,
            classes: None,
            horizon: false,
            split: FileSplit::Shares([0.8, 0.1, 0.1]),
            group: None,
            shuffle: None,
            scale: true,
            found: None,
            held: Held::default(),
        }
    }
}

/// Whether numbers are ids, that is tokens or classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(untagged, expecting = "give true, false, or how many there are")]
pub enum Ids {
    /// Whether they are ids, as many as the largest id requires.
    Are(bool),
    /// They are ids below this number.
    Below(usize),
}

impl Ids {
    fn or(this: Option<Self>, default: bool) -> bool {
        this.map_or(default, |ids| ids != Self::Are(false))
    }
}

/// Content of a file of examples: its digest, and the sizes that a model needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields)]
pub struct FoundData {
    /// Sha256 of the file's bytes.
    pub sha256: String,
    /// Number of examples.
    pub examples: usize,
    /// Number of positions of an example.
    pub seq_len: usize,
    /// Width of an input vector; `None` if inputs are tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub d_in: Option<usize>,
    /// Size of the vocabulary; `None` if inputs are numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocab: Option<usize>,
    /// Number of values or classes predicted.
    pub d_out: usize,
    /// Number of positions with a target, from the last; `None` for all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<usize>,
    /// Number of examples in each part of the split, if groups determine it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<[usize; 3]>,
}

impl FoundData {
    fn of(rows: &Rows, sha256: String, config: &FileConfig) -> Self {
        let (d_in, vocab) = match rows.input {
            TaskInput::Continuous { d_in } => (Some(d_in), None),
            TaskInput::Tokens { vocab } => (None, Some(vocab)),
        };
        // Ranges beside groups are refused, and may be too long to be counted out before.
        let groups = rows.groups.as_ref().filter(|_| matches!(config.split, FileSplit::Shares(_)));
        let split = groups.map(|groups| config.order_of_groups(groups).1);
        // A run that began before this was recorded pads every position, and goes on so.
        let is_recorded = config.found.as_ref().is_none_or(|found| found.asked.is_some());
        let asked = (rows.answer.is_some() && is_recorded).then_some(1);
        Self { sha256, examples: rows.n, seq_len: rows.seq_len, d_in, vocab, d_out: rows.d_out, asked, split }
    }

    /// A problem with a size that no file can have, which must have been set by hand.
    fn bad_size(&self) -> Option<TaskError> {
        let sizes = [
            ("found.seq_len", Some(self.seq_len)),
            ("found.d_in", self.d_in),
            ("found.vocab", self.vocab),
            ("found.d_out", Some(self.d_out)),
        ];
        let is_one = self.asked.is_none_or(|asked| asked == 1);
        sizes
            .into_iter()
            .find_map(|(key, size)| TaskError::below(key, size?, 1))
            .or_else(|| (!is_one).then(|| by_hand("found.asked")))
    }
}

impl Found for FoundData {
    fn sha256(&self) -> &str {
        &self.sha256
    }
}

impl FileConfig {
    fn has_tokens(&self, default: bool) -> bool {
        Ids::or(self.tokens, default)
    }

    fn has_classes(&self, default: bool) -> bool {
        Ids::or(self.classes, default)
    }

    /// Numbers of examples for training, validation and test; `None` if they are not known yet.
    fn sizes(&self) -> Option<[usize; 3]> {
        let found = self.found.as_ref()?;
        Some(found.split.unwrap_or_else(|| self.split.sizes(found.examples)))
    }

    fn shuffles(&self) -> bool {
        self.shuffle.unwrap_or(true)
    }

    fn order_of_groups(&self, groups: &[u32]) -> (Vec<usize>, [usize; 3]) {
        let mut rng = Seed(0).rng(Stream::Task, 0);
        self.split.grouped(groups, self.shuffles().then_some(&mut rng))
    }

    fn bad_names(&self) -> Option<TaskError> {
        let key = if self.inputs.is_empty() { "inputs" } else { "targets" };
        let problem = || "the list is empty; name the columns, or the array".to_owned();
        (self.inputs.is_empty() || self.targets.is_empty()).then(|| TaskError::Key { key, problem: problem() })
    }

    fn too_few(&self) -> Option<TaskError> {
        let n = self.found.as_ref()?.examples;
        let problem =
            || format!("holds {n} examples; at least {FEWEST} are needed, to train on one and test the other");
        (n < FEWEST).then(|| TaskError::Key { key: "path", problem: problem() })
    }

    fn one_group(&self) -> Option<TaskError> {
        let group = self.group.as_ref()?;
        let [train, _, test] = self.found.as_ref()?.split?;
        let problem = || {
            format!(
                "`{group}` has one value alone; at least {FEWEST} groups are needed, to train on one and test the other"
            )
        };
        (train == 0 || test == 0).then(|| TaskError::Key { key: "group", problem: problem() })
    }

    fn scale_of(&self, rows: &Rows, train: &[usize]) -> Scale {
        let channels = |values: &[f32], positions: usize, width: usize| {
            if self.scale { moments(values, positions, width, train) } else { vec![[0.0, 1.0]; width] }
        };
        let inputs = match (&rows.inputs, rows.input) {
            (Inputs::Continuous(values), TaskInput::Continuous { d_in }) => channels(values, rows.seq_len, d_in),
            _ => Vec::new(),
        };
        let targets = match &rows.targets {
            Targets::Continuous(values) => channels(values, rows.asked(), rows.d_out),
            Targets::Classes(_) => Vec::new(),
        };
        Scale { inputs, targets }
    }

    fn read(&self, files: &Files) -> Result<Read<Rows, FoundData>, TaskError> {
        let read = self.read_rows(files).map_err(|problem| wrong("path", files, &self.path, problem))?;
        let (content, files) = read;
        Ok(Read { found: FoundData::of(&content, joined(&files), self), content, files })
    }

    /// The examples at the path, and the files that were read.
    ///
    /// # Errors
    /// A sentence about what is wrong, and where.
    fn read_rows(&self, files: &Files) -> Result<(Rows, Vec<ReadFile>), String> {
        let open = |path: &Path| {
            let contents = files.read(path).map_err(|error| error.to_string())?;
            Ok((contents.bytes, ReadFile { key: "path", path: files.path(path), sha256: contents.sha256 }))
        };
        let ending = self.ending();
        if ending == "csv" {
            let (bytes, file) = open(&self.path)?;
            return Ok((csv::read(&bytes, self)?, vec![file]));
        }
        let (inputs, targets) = (one(&self.inputs, "inputs")?, one(&self.targets, "targets")?);
        if inputs == targets {
            return Err("inputs and targets are one array".to_owned());
        }
        let names: Vec<&str> = [inputs, targets].into_iter().chain(self.group.as_deref()).collect();
        let (mut arrays, read) = if ending == "npz" {
            let (bytes, file) = open(&self.path)?;
            (files.arrays(&self.path, &bytes, &names)?, vec![file])
        } else if ending == "npy" {
            return Err("holds one array; give the folder that holds inputs.npy and targets.npy".to_owned());
        } else {
            let (mut all, mut read) = (BTreeMap::new(), Vec::new());
            for name in names {
                let path = self.path.join(format!("{name}.npy"));
                let (bytes, file) = open(&path).map_err(|problem: String| {
                    format!("{name}.npy: {problem}; give a .csv or .npz file, or a folder of .npy files")
                })?;
                let arrays = files.arrays(&path, &bytes, &[name]);
                all.extend(arrays.map_err(|problem| format!("{name}.npy: {problem}"))?);
                read.push(file);
            }
            (all, read)
        };
        let mut take = |name: &str| arrays.remove(name).ok_or_else(|| format!("holds no array `{name}`"));
        let (x, y, group) = (take(inputs)?, take(targets)?, self.group.as_deref().map(&mut take).transpose()?);
        Ok((rows::of_arrays(x, y, group, self)?, read))
    }

    /// Extension of the file's name; of a packed table, that of the table.
    fn ending(&self) -> &str {
        let name = self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let of = |name| Path::new(name).extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        match name.strip_suffix(".gz").map(of) {
            Some("csv") => "csv",
            _ => of(name),
        }
    }
}

fn one<'a>(names: &'a [String], key: &str) -> Result<&'a str, String> {
    match names {
        [name] => Ok(name),
        _ => Err(format!("{key} names {} arrays; of a file of arrays, give the name of one", names.len())),
    }
}

impl TaskSpec for FileConfig {
    fn dims(&self) -> TaskDims {
        // Before the file is read nothing is known about it, so the smallest sizes are used.
        let Some(FoundData { seq_len, d_in, vocab, d_out, .. }) = self.found.clone() else {
            return TaskDims { seq_len: 1, input: TaskInput::Continuous { d_in: 1 }, d_out: 1 };
        };
        let input = match vocab {
            Some(vocab) => TaskInput::Tokens { vocab },
            None => TaskInput::Continuous { d_in: d_in.unwrap_or(1) },
        };
        TaskDims { seq_len, input, d_out }
    }

    fn validate(&self) -> Vec<TaskError> {
        let unread = self.found.is_none().then(|| {
            let problem =
                "names no file that was read; give path = \"data.csv\", a .npz file or a folder of .npy files";
            TaskError::Key { key: "path", problem: problem.to_owned() }
        });
        let bad_size = self.found.as_ref().and_then(FoundData::bad_size);
        let examples = self.found.as_ref().map(|found| found.examples);
        let bad_split = self.split.problem(examples, self.group.is_some());
        let problems = [unread, bad_split, self.bad_names(), self.too_few(), self.one_group(), bad_size];
        problems.into_iter().flatten().collect()
    }

    fn settle(&mut self, files: &Files) -> Result<(), TaskError> {
        if self.path.as_os_str().is_empty() || self.inputs.is_empty() || self.targets.is_empty() {
            return Ok(());
        }
        let mut useless_shuffle = false;
        if self.found.is_none() {
            let Read { content, found, .. } = self.read(files)?;
            (self.found, self.held) = (Some(found), Held::of(content));
            // A resolved config says it in any case, so only that of a file not yet read was given by hand.
            useless_shuffle = self.shuffle.is_some() && matches!(self.split, FileSplit::Ranges(_));
        }
        self.path = files.path(&self.path);
        self.shuffle = Some(self.shuffles());
        let problem = "ranges say which examples are in which part; leave shuffle out, or give shares";
        let error = TaskError::Key { key: "shuffle", problem: problem.to_owned() };
        if useless_shuffle { Err(error) } else { Ok(()) }
    }

    fn open(&self, files: &Files, rng: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        let rows = self.held.or_read(self.found.as_ref(), || self.read(files))?;
        let (order, sizes) = if let Some(groups) = &rows.groups {
            self.order_of_groups(groups)
        } else {
            let sizes = self.sizes().unwrap_or([rows.n, 0, 0]);
            (self.split.order(rows.n, self.shuffles().then_some(rng)), sizes)
        };
        let scale = self.scale_of(&rows, &order[..sizes[0]]);
        Ok(Box::new(FileTask { dims: self.dims(), asked: self.asked(), rows, order, sizes, scale }))
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        None
    }

    fn held_examples(&self) -> Option<[usize; 3]> {
        self.sizes()
    }

    fn places_mut(&mut self) -> Vec<(&'static str, &mut PathBuf)> {
        vec![("path", &mut self.path)]
    }

    fn data_sha256(&self) -> Option<&str> {
        self.found.as_ref().map(|found| found.sha256.as_str())
    }

    fn doubt(&self) -> Option<String> {
        let is_array = self.ending() != "csv";
        self.held.get().filter(|_| is_array).and_then(Rows::doubt)
    }

    fn asked(&self) -> usize {
        self.found.as_ref().and_then(|found| found.asked).unwrap_or_else(|| self.dims().seq_len)
    }

    fn data_names(&self) -> Option<DataNames<'_>> {
        Some(DataNames { inputs: &self.inputs, targets: &self.targets, are_columns: self.ending() == "csv" })
    }
}

/// The examples of a file, each in one part of the split. A target that belongs to a whole sequence is predicted at the
/// last position, with all steps of a horizon in one vector.
///
/// # Shapes
/// inputs `[seq_len, d_in]` or ids `[seq_len]` -> targets `[asked, d_out]`, or classes `[asked]`, of the last positions: of one if a target belongs
/// to a whole sequence, else of all; d_out is horizon · width for a horizon
#[derive(Clone, Debug)]
pub struct FileTask {
    dims: TaskDims,
    /// Number of positions of an example that have a row of targets.
    asked: usize,
    rows: Arc<Rows>,
    /// Indices of the training examples, then of the validation examples, then of the test examples.
    order: Vec<usize>,
    sizes: [usize; 3],
    scale: Scale,
}

/// Widest sequence that is fitted as a whole, in numbers.
const WIDEST: usize = 512;
/// Most numbers of all sequences that are fitted as a whole; least squares then take seconds.
const MOST_NUMBERS: usize = 1 << 23;

/// Whether least squares are fitted to whole sequences, which of a single position are those by position.
fn fits_whole(dims: TaskDims, examples: usize) -> bool {
    let TaskInput::Continuous { d_in } = dims.input else { return false };
    let width = dims.seq_len * d_in;
    dims.seq_len > 1 && width <= WIDEST && examples.saturating_mul(width) <= MOST_NUMBERS
}

impl Task for FileTask {
    fn dims(&self) -> TaskDims {
        self.dims
    }

    fn example(&self, split: Split, index: u64, _: &mut SampleRng) -> Example {
        let [train, validation, test] = self.sizes;
        let (first, len) = match split {
            Split::Train => (0, train),
            Split::Validation => (train, validation),
            Split::Test => (train + validation, test),
        };
        // An empty part is never requested.
        let at = self.order[(first + (index % len.max(1) as u64) as usize) % self.order.len()];
        let Rows { seq_len, d_out, ref inputs, ref targets, .. } = *self.rows;
        let inputs = match (inputs, self.dims.input) {
            (Inputs::Continuous(values), TaskInput::Continuous { d_in }) => {
                Inputs::Continuous(self.scale.scaled_inputs(&values[at * seq_len * d_in..][..seq_len * d_in]))
            }
            (Inputs::Continuous(_), TaskInput::Tokens { .. }) => unreachable!("rows hold what their sizes name"),
            (Inputs::Tokens(ids), _) => Inputs::Tokens(ids[at * seq_len..][..seq_len].to_vec()),
        };
        let asked = self.rows.asked();
        let unscored = self.asked - asked;
        let targets = match targets {
            Targets::Continuous(values) => {
                let values = self.scale.scaled_targets(&values[at * asked * d_out..][..asked * d_out]);
                Targets::Continuous([vec![0.0; unscored * d_out], values].concat())
            }
            Targets::Classes(ids) => {
                Targets::Classes([vec![0; unscored], ids[at * asked..][..asked].to_vec()].concat())
            }
        };
        let loss_mask = (0..self.asked).map(|position| position >= unscored).collect();
        Example { inputs, targets, loss_mask, slices: vec![None; self.asked] }
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        match (&self.rows.inputs, &self.rows.targets) {
            (Inputs::Continuous(_), Targets::Continuous(_)) => {
                let by_position: [Box<dyn Baseline>; 3] =
                    [Box::<PerPosition>::default(), Box::<NearestExample>::default(), Box::<Mean>::default()];
                let of_all: Option<Box<dyn Baseline>> =
                    fits_whole(self.dims, self.rows.n).then(|| Box::<Flattened>::default() as _);
                of_all.into_iter().chain(by_position).collect()
            }
            (Inputs::Tokens(_), Targets::Continuous(_)) => vec![Box::<Mean>::default()],
            (_, Targets::Classes(_)) => vec![Box::new(Chance { possible: 0..self.dims.d_out })],
        }
    }

    fn scale(&self) -> Option<Scale> {
        Some(self.scale.clone())
    }

    fn answer(&self) -> Option<Vec<usize>> {
        self.rows.answer.clone()
    }
}
