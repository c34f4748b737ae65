//! Data of one's own: examples from a file.

mod csv;
mod rows;
mod split;
pub mod table;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    baseline::{Baseline, chance::Chance, mean::Mean, nearest_example::NearestExample, per_position::PerPosition},
    batch::{Example, Inputs, Targets, TaskDims, TaskInput},
    error::TaskError,
    files::Files,
    scale::{Scale, moments},
    seed::{SampleRng, Seed, Stream},
    task::{DataNames, Split, Task, TaskSpec},
};
pub use csv::EXAMPLE;
use rows::Rows;
use split::FEWEST;
pub use split::{FileSplit, Ranges};

/// A file of examples, and how it is split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileConfig {
    /// A `.csv` or `.npz` file, or a folder of `.npy` files; relative to the file that names it.
    pub path: PathBuf,
    /// Columns of a `.csv` file, in order; or the name of one array. Default `["inputs"]`.
    pub inputs: Vec<String>,
    /// As `inputs`. Default `["targets"]`.
    pub targets: Vec<String>,
    /// Whether inputs are tokens, as many as are named or one more than the largest. Default: of arrays whether they have two axes, of a
    /// `.csv` file that they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Ids>,
    /// Whether targets are classes, as many as are named or one more than the largest. Default: of arrays whether they have one axis, or two
    /// like the tokens beside them; of a `.csv` file that they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<Ids>,
    /// Whether the second axis of targets counts steps of a horizon, and not positions, although it is as long as the sequence. Default
    /// false; where it is not as long, it does.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub horizon: bool,
    /// Shares of the examples for training, validation and test, or ranges of them. Default `[0.8, 0.1, 0.1]`.
    pub split: FileSplit,
    /// A column, or an array `[n]`, whose equal values make a group of examples: it is whole in one part of the split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Whether the seed decides which examples are trained on; without, the first are and the last are the test. Groups are shuffled alike for
    /// every seed, since their sizes decide how many examples a part has. Default true.
    pub shuffle: bool,
    /// Whether numbers are scaled to mean 0 and deviation 1 over the training examples, channel by channel; scores are in the data's
    /// own units all the same. Default true.
    pub scale: bool,
    /// What was found in the file when it was first read; never to be set by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<FoundData>,
    /// What the file holds, once it was read.
    #[serde(skip)]
    held: Held,
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
            shuffle: true,
            scale: true,
            found: None,
            held: Held::default(),
        }
    }
}

/// Whether numbers are ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "give true, false, or how many there are")]
pub enum Ids {
    /// Whether they are; as many as the largest asks for.
    Are(bool),
    /// They are, each below this number.
    Below(usize),
}

impl Ids {
    fn or(this: Option<Self>, default: bool) -> bool {
        this.map_or(default, |ids| ids != Self::Are(false))
    }
}

/// What a file of examples held: its digest, and the sizes that a model needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FoundData {
    /// Sha256 of the bytes.
    pub sha256: String,
    /// Number of examples.
    pub examples: usize,
    /// Positions of an example.
    pub seq_len: usize,
    /// Width of an input vector, where inputs are numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub d_in: Option<usize>,
    /// Number of tokens, where inputs are those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocab: Option<usize>,
    /// Numbers or classes predicted.
    pub d_out: usize,
    /// Examples of each part of the split, where whole groups decide that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<[usize; 3]>,
}

impl FoundData {
    fn of(rows: &Rows, sha256: String, config: &FileConfig) -> Self {
        let (d_in, vocab) = match rows.input {
            TaskInput::Continuous { d_in } => (Some(d_in), None),
            TaskInput::Tokens { vocab } => (None, Some(vocab)),
        };
        let split = rows.groups.as_ref().map(|groups| config.order_of_groups(groups).1);
        Self { sha256, examples: rows.n, seq_len: rows.seq_len, d_in, vocab, d_out: rows.d_out, split }
    }

    /// A size that no file has, written by hand.
    fn bad_size(&self) -> Option<TaskError> {
        let sizes = [
            ("found.seq_len", Some(self.seq_len)),
            ("found.d_in", self.d_in),
            ("found.vocab", self.vocab),
            ("found.d_out", Some(self.d_out)),
        ];
        sizes.into_iter().find_map(|(key, size)| TaskError::below(key, size?, 1))
    }
}

/// Rows that all copies of a config share. They are as their digest says, which is compared in their place.
#[derive(Clone, Debug, Default)]
struct Held(Option<Arc<Rows>>);

impl PartialEq for Held {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl FileConfig {
    fn has_tokens(&self, default: bool) -> bool {
        Ids::or(self.tokens, default)
    }

    fn has_classes(&self, default: bool) -> bool {
        Ids::or(self.classes, default)
    }

    /// Examples for training, validation and test.
    fn sizes(&self) -> Option<[usize; 3]> {
        let found = self.found.as_ref()?;
        Some(found.split.unwrap_or_else(|| self.split.sizes(found.examples)))
    }

    fn order_of_groups(&self, groups: &[u32]) -> (Vec<usize>, [usize; 3]) {
        let mut rng = Seed(0).rng(Stream::Task, 0);
        self.split.grouped(groups, self.shuffle.then_some(&mut rng))
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

    fn read(&self, files: &Files) -> Result<(Arc<Rows>, String), TaskError> {
        self.read_rows(files).map(|(rows, sha256)| (Arc::new(rows), sha256)).map_err(|problem| TaskError::Key {
            key: "path",
            problem: format!("{}: {problem}", files.path(&self.path).display()),
        })
    }

    /// The examples under the path, and the sha256 of what was read.
    ///
    /// # Errors
    /// What is wrong, and where.
    fn read_rows(&self, files: &Files) -> Result<(Rows, String), String> {
        let open = |path: &Path| files.read(path).map_err(|error| error.to_string());
        let ending = self.ending();
        if ending == "csv" {
            let contents = open(&self.path)?;
            return Ok((csv::read(&contents.bytes, self)?, contents.sha256));
        }
        let (inputs, targets) = (one(&self.inputs, "inputs")?, one(&self.targets, "targets")?);
        if inputs == targets {
            return Err("inputs and targets are one array".to_owned());
        }
        let names: Vec<&str> = [inputs, targets].into_iter().chain(self.group.as_deref()).collect();
        let (mut arrays, sha256) = if ending == "npz" {
            let contents = open(&self.path)?;
            (files.arrays(&self.path, &contents.bytes, &names)?, contents.sha256)
        } else if ending == "npy" {
            return Err("holds one array; give the folder that holds inputs.npy and targets.npy".to_owned());
        } else {
            let (mut all, mut digests) = (BTreeMap::new(), Vec::new());
            for name in names {
                let file = self.path.join(format!("{name}.npy"));
                let contents = open(&file).map_err(|problem| {
                    format!("{name}.npy: {problem}; give a .csv or .npz file, or a folder of .npy files")
                })?;
                let arrays = files.arrays(&file, &contents.bytes, &[name]);
                all.extend(arrays.map_err(|problem| format!("{name}.npy: {problem}"))?);
                digests.push(contents.sha256);
            }
            // One for all, that of the first with those that follow.
            (all, digests.join("+"))
        };
        let mut take = |name: &str| arrays.remove(name).ok_or_else(|| format!("holds no array `{name}`"));
        let (x, y, group) = (take(inputs)?, take(targets)?, self.group.as_deref().map(&mut take).transpose()?);
        Ok((rows::of_arrays(x, y, group, self)?, sha256))
    }

    /// What the name of the file ends in.
    fn ending(&self) -> &str {
        self.path.extension().and_then(|ending| ending.to_str()).unwrap_or_default()
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
        // Nothing is known before the file is read; the smallest sizes stand for it.
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
        if self.found.is_none() {
            let (rows, sha256) = self.read(files)?;
            self.found = Some(FoundData::of(&rows, sha256, self));
            self.held = Held(Some(rows));
        }
        self.path = files.path(&self.path);
        Ok(())
    }

    fn open(&self, files: &Files, rng: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        let rows = if let Some(rows) = &self.held.0 {
            rows.clone()
        } else {
            let (rows, sha256) = self.read(files)?;
            let now = FoundData::of(&rows, sha256, self);
            match &self.found {
                Some(found) if found.sha256 != now.sha256 => {
                    let (path, then, now) = (files.path(&self.path), found.sha256.clone(), now.sha256);
                    return Err(TaskError::Changed { path, then, now });
                }
                Some(found) if *found != now => {
                    let problem =
                        "is not what the file holds; leave it out, it is never to be written by hand".to_owned();
                    return Err(TaskError::Key { key: "found", problem });
                }
                _ => {}
            }
            rows
        };
        let (order, sizes) = if let Some(groups) = &rows.groups {
            self.order_of_groups(groups)
        } else {
            let sizes = self.sizes().unwrap_or([rows.n, 0, 0]);
            (self.split.order(rows.n, self.shuffle.then_some(rng)), sizes)
        };
        let scale = self.scale_of(&rows, &order[..sizes[0]]);
        Ok(Box::new(FileTask { dims: self.dims(), rows, order, sizes, scale }))
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        None
    }

    fn held_examples(&self) -> Option<[usize; 3]> {
        self.sizes()
    }

    fn place_mut(&mut self) -> Option<&mut PathBuf> {
        Some(&mut self.path)
    }

    fn data_sha256(&self) -> Option<&str> {
        self.found.as_ref().map(|found| found.sha256.as_str())
    }

    fn data_names(&self) -> Option<DataNames<'_>> {
        Some(DataNames { inputs: &self.inputs, targets: &self.targets, are_columns: self.ending() == "csv" })
    }
}

/// Examples of a file, each in one part of the split. Where a target belongs to a whole sequence, it is asked for at the last position, all
/// steps of a horizon side by side.
///
/// # Shapes
/// inputs `[seq_len, d_in]` or ids `[seq_len]` -> targets `[seq_len, d_out]`, or classes `[seq_len]`; d_out is horizon · width for a horizon
#[derive(Clone, Debug)]
pub struct FileTask {
    dims: TaskDims,
    rows: Arc<Rows>,
    /// Examples of training, then of validation, then of the test.
    order: Vec<usize>,
    sizes: [usize; 3],
    scale: Scale,
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
        // A part that is empty is asked for by nobody.
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
        let unscored = seq_len - asked;
        let targets = match targets {
            Targets::Continuous(values) => {
                let values = self.scale.scaled_targets(&values[at * asked * d_out..][..asked * d_out]);
                Targets::Continuous([vec![0.0; unscored * d_out], values].concat())
            }
            Targets::Classes(ids) => {
                Targets::Classes([vec![0; unscored], ids[at * asked..][..asked].to_vec()].concat())
            }
        };
        let loss_mask = (0..seq_len).map(|position| position >= unscored).collect();
        Example { inputs, targets, loss_mask, slices: vec![None; seq_len] }
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        match (&self.rows.inputs, &self.rows.targets) {
            (Inputs::Continuous(_), Targets::Continuous(_)) => {
                vec![Box::<PerPosition>::default(), Box::<NearestExample>::default(), Box::<Mean>::default()]
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
