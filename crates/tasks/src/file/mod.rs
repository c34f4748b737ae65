//! Data of one's own: examples from a file.

mod csv;
mod rows;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::{
    baseline::{Baseline, chance::Chance, mean::Mean, nearest_example::NearestExample, per_position::PerPosition},
    files::Files,
    scale::{Scale, moments, scaled},
    seed::SampleRng,
    task::{Example, Inputs, Split, Targets, Task, TaskDims, TaskError, TaskInput, TaskSpec},
};
use rows::Rows;

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
    /// Shares of the examples for training, validation and test. Default `[0.8, 0.1, 0.1]`.
    pub split: [f64; 3],
    /// Whether the seed decides which examples are trained on; without, the first are and the last are the test. Default true.
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
            split: [0.8, 0.1, 0.1],
            shuffle: true,
            scale: true,
            found: None,
            held: Held::default(),
        }
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
}

impl FoundData {
    fn of(rows: &Rows, sha256: String) -> Self {
        let (d_in, vocab) = match rows.input {
            TaskInput::Continuous { d_in } => (Some(d_in), None),
            TaskInput::Tokens { vocab } => (None, Some(vocab)),
        };
        Self { sha256, examples: rows.n, seq_len: rows.seq_len, d_in, vocab, d_out: rows.d_out }
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

/// Fewest parts of an example set: one to train on and one to test with.
const FEWEST: usize = 2;

impl FileConfig {
    /// Examples for training, validation and test.
    fn sizes(&self) -> Option<[usize; 3]> {
        let n = self.found.as_ref()?.examples;
        let [train, validation, test] = self.split;
        let total = train + validation + test;
        let part = |share: f64| (n as f64 * share / total).round() as usize;
        let test = part(test).clamp(1, n.saturating_sub(1).max(1));
        let validation = part(validation).min(n.saturating_sub(test + 1));
        Some([n.saturating_sub(test + validation), validation, test])
    }

    fn bad_split(&self) -> Option<TaskError> {
        let [train, validation, test] = self.split;
        let good = self.split.iter().all(|share| share.is_finite() && *share >= 0.0) && train > 0.0 && test > 0.0;
        let problem = format!(
            "[{train}, {validation}, {test}] needs shares of 0 or more, some for training and some for the test"
        );
        (!good).then_some(TaskError { key: "split", problem })
    }

    fn bad_names(&self) -> Option<TaskError> {
        let key = if self.inputs.is_empty() { "inputs" } else { "targets" };
        let problem = || "the list is empty; name the columns, or the array".to_owned();
        (self.inputs.is_empty() || self.targets.is_empty()).then(|| TaskError { key, problem: problem() })
    }

    fn too_few(&self) -> Option<TaskError> {
        let n = self.found.as_ref()?.examples;
        let problem =
            || format!("holds {n} examples; at least {FEWEST} are needed, to train on one and test the other");
        (n < FEWEST).then(|| TaskError { key: "path", problem: problem() })
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
            Targets::Continuous(values) => channels(values, rows.scored(), rows.d_out),
            Targets::Classes(_) => Vec::new(),
        };
        Scale { inputs, targets }
    }

    fn read(&self, files: &Files) -> Result<(Arc<Rows>, String), TaskError> {
        read(files, &self.path, &self.inputs, &self.targets).map(|(rows, sha256)| (Arc::new(rows), sha256)).map_err(
            |problem| TaskError { key: "path", problem: format!("{}: {problem}", files.path(&self.path).display()) },
        )
    }
}

/// The examples under a path, and the sha256 of what was read.
///
/// # Errors
/// What is wrong, and where.
fn read(files: &Files, path: &Path, inputs: &[String], targets: &[String]) -> Result<(Rows, String), String> {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let open = |path: &Path| files.read(path).map_err(|error| error.to_string());
    if ending == "csv" {
        let contents = open(path)?;
        let text = std::str::from_utf8(&contents.bytes).map_err(|error| format!("is no UTF-8 text: {error}"))?;
        return Ok((csv::read(text, inputs, targets)?, contents.sha256));
    }
    let (inputs, targets) = (one(inputs, "inputs")?, one(targets, "targets")?);
    let (mut arrays, sha256) = if ending == "npz" {
        let contents = open(path)?;
        (files.arrays(path, &contents.bytes)?, contents.sha256)
    } else if ending == "npy" {
        return Err("holds one array; give the folder that holds inputs.npy and targets.npy".to_owned());
    } else {
        let (mut all, mut digests) = (BTreeMap::new(), Vec::new());
        for name in [inputs, targets] {
            let file = path.join(format!("{name}.npy"));
            let contents = open(&file).map_err(|problem| {
                format!("{name}.npy: {problem}; give a .csv or .npz file, or a folder of .npy files")
            })?;
            let arrays = files.arrays(&file, &contents.bytes).map_err(|problem| format!("{name}.npy: {problem}"))?;
            all.extend(arrays.into_values().map(|array| (name.to_owned(), array)));
            digests.push(contents.sha256);
        }
        // One for both, that of the first with that of the second.
        (all, digests.join("+"))
    };
    let names = arrays.keys().cloned().collect::<Vec<_>>().join(", ");
    let mut take =
        |name: &str| arrays.remove(name).ok_or_else(|| format!("holds no array `{name}`; there are: {names}"));
    let (x, y) = (
        take(inputs)?,
        if targets == inputs { return Err("inputs and targets are one array".to_owned()) } else { take(targets)? },
    );
    Ok((rows::of_arrays(x, y)?, sha256))
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
            TaskError { key: "path", problem: problem.to_owned() }
        });
        let bad_size = self.found.as_ref().and_then(FoundData::bad_size);
        let problems = [unread, self.bad_split(), self.bad_names(), self.too_few(), bad_size];
        problems.into_iter().flatten().collect()
    }

    fn settle(&mut self, files: &Files) -> Result<(), TaskError> {
        if self.path.as_os_str().is_empty() || self.inputs.is_empty() || self.targets.is_empty() {
            return Ok(());
        }
        if self.found.is_none() {
            let (rows, sha256) = self.read(files)?;
            self.found = Some(FoundData::of(&rows, sha256));
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
            if self.found.as_ref().is_some_and(|found| *found != FoundData::of(&rows, sha256)) {
                let path = files.path(&self.path);
                let problem = format!("{} holds other data than when it was first read", path.display());
                return Err(TaskError { key: TaskError::CHANGED, problem });
            }
            rows
        };
        let mut order: Vec<usize> = (0..rows.n).collect();
        if self.shuffle {
            order.shuffle(rng);
        }
        let sizes = self.sizes().unwrap_or([rows.n, 0, 0]);
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
}

/// Examples of a file, each in one part of the split. Where a target belongs to a whole sequence, it is asked for at the last position.
///
/// # Shapes
/// inputs `[seq_len, d_in]` or ids `[seq_len]` -> targets `[seq_len, d_out]`, or classes `[seq_len]`
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
        let Rows { seq_len, d_out, ref inputs, ref targets, last, .. } = *self.rows;
        let inputs = match (inputs, self.dims.input) {
            (Inputs::Continuous(values), TaskInput::Continuous { d_in }) => {
                Inputs::Continuous(scaled(&values[at * seq_len * d_in..][..seq_len * d_in], &self.scale.inputs))
            }
            (Inputs::Continuous(_), TaskInput::Tokens { .. }) => unreachable!("rows hold what their sizes name"),
            (Inputs::Tokens(ids), _) => Inputs::Tokens(ids[at * seq_len..][..seq_len].to_vec()),
        };
        let unscored = if last { seq_len - 1 } else { 0 };
        let asked = self.rows.scored();
        let targets = match targets {
            Targets::Continuous(values) => {
                let values = scaled(&values[at * asked * d_out..][..asked * d_out], &self.scale.targets);
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
}
