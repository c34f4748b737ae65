//! `predict`: a network's answers to new inputs, both in the units of the data.
//!
//! Examples are read, answered and written batch by batch, so that memory does not grow with the file. The file of answers appears when it
//! is complete.

mod arrays;
mod fasta;
mod json;
mod numbers;
mod series;
mod table;

use std::{
    fs::File,
    io::{self, BufWriter},
    path::Path,
};

use burn::module::Module;
use headway_exchange::npz;
use headway_model::{Model, Precision, weights};
use headway_tasks::{DataNames, Inputs, Scale, TaskDims, TaskInput, unpacked};

use crate::{
    bad_inputs::BadInputs, beside, bounded_read, build, checkpoint::Checkpoint, device::OpenDevice, disk, error::Error,
    evaluate, experiment::Experiment, on_device, room,
};
use arrays::{ArchiveAnswers, ArrayAnswers, ArrayExamples};
pub use json::{Answer, LONGEST_TEXT, Nested};
use series::{NewestWindow, SeriesAnswers};
use table::{Rows, TableAnswers, TableExamples};

/// A trained network with what it needs to answer examples.
pub struct Predictor {
    model: Model,
    device: OpenDevice,
    experiment: Experiment,
    checkpoint: Checkpoint,
    form: Form,
}

/// What a network accepts and returns.
struct Form {
    dims: TaskDims,
    takes_shorter: bool,
    scale: Scale,
    /// Shape of the answer to a sequence, read at the last position; `None` if there is an answer for every position.
    answer: Option<Vec<usize>>,
    /// Whether its answers are logits of classes.
    classes: bool,
}

/// Examples of one length, in the units of the data.
struct Examples {
    n: usize,
    seq_len: usize,
    inputs: Inputs,
    /// Their names in a table.
    names: Vec<String>,
}

/// A file of examples, read from start to end.
trait ReadExamples {
    /// Number of examples; `None` if that is not known.
    fn total(&self) -> Option<usize>;

    /// The next examples, at most `most`; `None` after the last.
    fn next(&mut self, most: usize) -> Result<Option<Examples>, BadInputs>;
}

/// A file of answers, written from start to end.
trait WriteAnswers {
    /// Adds the answers `[n, positions, d_out]` to some examples.
    fn add(&mut self, examples: &Examples, answers: &[f32]) -> io::Result<()>;

    /// Writes what is still buffered.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

impl Form {
    /// Number of inputs of a position.
    fn d_in(&self) -> usize {
        match self.dims.input {
            TaskInput::Continuous { d_in } => d_in,
            TaskInput::Tokens { .. } => 1,
        }
    }

    /// Number of positions of the answer to a sequence of `seq_len` positions.
    fn positions(&self, seq_len: usize) -> usize {
        if self.answer.is_some() { 1 } else { seq_len }
    }

    /// Shape of an answer to a sequence.
    fn shape(&self, seq_len: usize) -> Vec<usize> {
        self.answer.clone().unwrap_or_else(|| vec![seq_len, self.dims.d_out])
    }

    /// Whether an answer is a table of steps with the columns of the inputs.
    fn has_steps(&self, names: Option<DataNames<'_>>) -> bool {
        names.is_some_and(|names| names.are_columns) && matches!(self.answer.as_deref(), Some([_, _]))
    }

    fn takes_length(&self, seq_len: usize) -> bool {
        seq_len == self.dims.seq_len || self.takes_shorter && (1..self.dims.seq_len).contains(&seq_len)
    }

    /// The sequence lengths that the network accepts, in words.
    fn lengths(&self) -> String {
        let longest = self.dims.seq_len;
        if self.takes_shorter { format!("1 to {longest}") } else { longest.to_string() }
    }

    /// The inputs that the network accepts, in words, with these axes before an example's own.
    fn taken(&self, outer: &str) -> String {
        let lengths = self.lengths();
        match self.dims.input {
            TaskInput::Continuous { d_in } => format!("[{outer}seq_len, {d_in}] with seq_len {lengths}"),
            TaskInput::Tokens { vocab } => format!("tokens below {vocab}, [{outer}seq_len] with seq_len {lengths}"),
        }
    }

    /// What is wrong with an input number; `None` if the network accepts it.
    fn problem(&self, value: f32) -> Option<String> {
        match self.dims.input {
            TaskInput::Continuous { .. } if value.is_finite() => None,
            TaskInput::Continuous { .. } => Some("no number to compute with".to_owned()),
            TaskInput::Tokens { vocab } if value >= 0.0 && value < vocab as f32 && value.fract() == 0.0 => None,
            TaskInput::Tokens { vocab } => {
                Some(format!("no token: this network knows the whole numbers from 0 to {}", vocab - 1))
            }
        }
    }

    /// Valid numbers as inputs.
    fn inputs(&self, values: Vec<f32>) -> Inputs {
        match self.dims.input {
            TaskInput::Continuous { .. } => Inputs::Continuous(values),
            TaskInput::Tokens { .. } => Inputs::Tokens(values.into_iter().map(|value| value as u32).collect()),
        }
    }
}

impl Predictor {
    /// Loads the network of a checkpoint or a run. It answers `batch_size` examples at a time; default: the batch size of its training.
    ///
    /// # Errors
    /// as [`evaluate::load`]; [`Error::Task`] where neither the checkpoint knows the scale of its data nor the file is there that it is of.
    pub fn load(path: &Path, batch_size: Option<usize>, device: &OpenDevice) -> Result<Self, Error> {
        let overrides: Vec<String> = batch_size.map(|size| format!("train.batch_size={size}")).into_iter().collect();
        let (model, experiment, checkpoint) = evaluate::load(path, &overrides, device)?;
        let config = checkpoint.config()?;
        let (scale, answer, classes) = if let Some(scale) = config.scale {
            let classes = scale.targets.is_empty();
            (scale, config.answer, classes)
        } else {
            let task = build::open_task(&experiment)?;
            (
                task.scale().unwrap_or_default(),
                task.answer(),
                evaluate::asks_for_classes(task.as_ref(), experiment.seed),
            )
        };
        let takes_shorter = experiment.model.takes_shorter_sequences();
        let form = Form { dims: experiment.task.dims(), takes_shorter, scale, answer, classes };
        let unfit = match &form.answer {
            Some(shape) if shape.iter().product::<usize>() != form.dims.d_out => Some("its answers have another size"),
            _ => None,
        };
        let unfit = unfit.map(str::to_owned).or_else(|| form.scale.problem(form.d_in(), form.dims.d_out));
        if let Some(problem) = unfit {
            return Err(Error::checkpoint(checkpoint.path, problem));
        }
        Ok(Self { model: model.valid(), device: device.clone(), experiment, checkpoint, form })
    }

    /// Writes the answers to the examples of a file into a new file and returns their number. Both are .csv, .npy, .npz or .fasta, and the same, the
    /// examples packed too as .csv.gz or .fasta.gz; after each batch `on_progress` gets the number of examples done and, if known, the number of all.
    ///
    /// A network of tokens or numbers takes `[n, seq_len]` or `[n, seq_len, d_in]` and returns `[n, seq_len, d_out]`, logits for
    /// classes; `[n, d_out]` or `[n, horizon, width]` if the data has one target per sequence. A table has a line for each position, and
    /// for classes the likeliest class with its probability; a table of series is answered by the steps that follow its last. A .fasta
    /// file holds sequences with gaps, and is written with the gaps filled.
    ///
    /// # Errors
    /// [`Error::Inputs`] with the place, also of an example whose answer is not finite; [`Error::Occupied`] where the file of answers is there already; [`Error::NotFinite`]; [`Error::Io`]
    pub fn file(
        &self,
        inputs: &Path,
        out: &Path,
        on_progress: &mut dyn FnMut(usize, Option<usize>),
    ) -> Result<usize, Error> {
        let refused = |path: &Path| {
            let path = path.to_owned();
            move |problem| Error::Inputs { path, problem }
        };
        let (format, is_packed) = Format::of(inputs).ok_or(BadInputs::Ending).map_err(refused(inputs))?;
        if Format::of(out) != Some((format, false)) {
            return Err(refused(out)(BadInputs::OtherEnding { inputs: format.ending() }));
        }
        if format == Format::Fasta {
            return self.fasta(inputs, out, on_progress);
        }
        let unwritten = || Error::io(disk::CANNOT_WRITE, out);
        let names = self.experiment.task.data_names();
        let mut n = 0;
        beside::write_new_through(out, |temporary| {
            let file = bounded_read::open_given(inputs)?;
            let create = || disk::create(temporary).map(BufWriter::new);
            let mut run = |examples: &mut dyn ReadExamples, mut answers: Box<dyn WriteAnswers>| {
                while let Some(some) = examples.next(self.experiment.train.batch_size).map_err(refused(inputs))? {
                    let answered = self.answers(&some, n, inputs)?;
                    answers.add(&some, &answered).map_err(unwritten())?;
                    n += some.n;
                    on_progress(n, examples.total());
                }
                answers.finish().map_err(unwritten())
            };
            let unreadable = |problem: String| refused(inputs)(BadInputs::Unreadable(problem));
            match format {
                Format::Csv if self.form.has_steps(names) => {
                    let newest = self.experiment.task.newest(&contents(inputs)?).unwrap_or_else(|| Ok(Vec::new()));
                    let mut examples = NewestWindow::of(newest.map_err(unreadable)?, &self.form);
                    let answers = SeriesAnswers::begin(create()?, names);
                    run(&mut examples, Box::new(answers.map_err(unwritten())?))?;
                }
                Format::Csv => {
                    let file: Box<dyn Rows> =
                        if is_packed { Box::new(io::Cursor::new(contents(inputs)?)) } else { Box::new(file) };
                    let mut examples = TableExamples::open(file, &self.form, names).map_err(refused(inputs))?;
                    let answers = TableAnswers::begin(create()?, &self.form, names, examples.has_names());
                    run(&mut examples, Box::new(answers.map_err(unwritten())?))?;
                }
                Format::Npy => {
                    let len = file.metadata().map_err(Error::unread(inputs))?.len();
                    let array = npz::ArrayReader::new("inputs", len, io::BufReader::new(file)).map_err(unreadable)?;
                    let mut examples = ArrayExamples::of(array, &self.form).map_err(refused(inputs))?;
                    let answers = ArrayAnswers::begin(create()?, &examples.answers());
                    run(&mut examples, Box::new(answers.map_err(unwritten())?))?;
                }
                // Filled above.
                Format::Fasta => return Err(refused(inputs)(BadInputs::NoGaps)),
                Format::Npz => {
                    let mut archive = npz::Archive::open(io::BufReader::new(file)).map_err(unreadable)?;
                    let array = archive.array(&arrays::name(&archive.names(), names)).map_err(unreadable)?;
                    let mut examples = ArrayExamples::of(array, &self.form).map_err(refused(inputs))?;
                    let answers = ArchiveAnswers::begin(create()?, &examples.answers());
                    run(&mut examples, Box::new(answers.map_err(unwritten())?))?;
                }
            }
            disk::sync(temporary)
        })?;
        Ok(n)
    }

    /// The network's answers, in the units of the data; logits for classes. `before` examples of `from` have been answered.
    ///
    /// # Errors
    /// [`Error::Inputs`] for an example whose answer is not finite; [`Error::Checkpoint`] where the weights are not, [`Error::NotFinite`]
    /// where attention computes in f16.
    ///
    /// # Shapes
    /// `[n, positions, d_out]`
    fn answers(&self, examples: &Examples, before: usize, from: &Path) -> Result<Vec<f32>, Error> {
        let Form { dims, ref scale, .. } = self.form;
        let &Examples { n, seq_len, ref inputs, .. } = examples;
        let inputs = match inputs {
            Inputs::Continuous(values) => Inputs::Continuous(scale.scaled_inputs(values)),
            Inputs::Tokens(ids) => Inputs::Tokens(ids.clone()),
        };
        let positions = self.form.positions(seq_len);
        let answer = || {
            let inputs = on_device::input(&inputs, n, TaskDims { seq_len, ..dims }, &self.device.device);
            let output = self.model.forward(inputs);
            let output = output.narrow(1, seq_len - positions, positions).narrow(2, 0, dims.d_out);
            Ok::<_, Error>(scale.unscaled_targets(&weights::to_host(output)))
        };
        let answer = || answer().map(|answers| self.with_last(answers, examples));
        let answers = room::within(&self.device, &self.experiment.memory().of_answers(), answer)?; // [n, positions, d_out]
        let Some(at) = answers.iter().position(|value| !value.is_finite()) else { return Ok(answers) };
        self.checkpoint.ensure_finite(&self.checkpoint.weights()?)?;
        let at = at / (positions * dims.d_out);
        let name = examples.names.get(at).filter(|name| !name.is_empty());
        let example = name.map_or_else(|| (before + at).to_string(), Clone::clone);
        match self.experiment.train.attention_precision {
            Precision::F32 | Precision::Tf32 | Precision::Bf16 => {
                Err(Error::Inputs { path: from.to_owned(), problem: BadInputs::Answer { example } })
            }
            precision @ Precision::F16 => {
                Err(Error::not_finite(&format!("{}: the answer to example {example}", from.display()), precision))
            }
        }
    }
}

impl Predictor {
    /// Answers with the last numbers of each example added, if that is where they count from.
    fn with_last(&self, mut answers: Vec<f32>, examples: &Examples) -> Vec<f32> {
        if let (true, Inputs::Continuous(values), Some([_, width])) =
            (self.experiment.task.answers_count_from_last(), &examples.inputs, self.form.answer.as_deref())
        {
            let each = answers.chunks_exact_mut(self.form.dims.d_out);
            for (answers, values) in each.zip(values.chunks_exact(values.len() / examples.n)) {
                let last = values[values.len() - width..].iter().cycle();
                answers.iter_mut().zip(last).for_each(|(answer, last)| *answer += last);
            }
        }
        answers
    }
}

/// The likeliest class of a row of logits, and its probability.
fn likeliest(logits: &[f32]) -> (usize, f32) {
    let (class, top) =
        logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or((0, 0.0), |(at, top)| (at, *top));
    let total: f64 = logits.iter().map(|logit| f64::from(logit - top).exp()).sum();
    (class, (1.0 / total) as f32)
}

/// Form of a file of examples.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    Fasta,
    Npy,
    Npz,
}

impl Format {
    fn ending(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Fasta => "fasta",
            Self::Npy => "npy",
            Self::Npz => "npz",
        }
    }

    /// The form that the name of a file tells, and whether the file is packed, as a text may be.
    fn of(path: &Path) -> Option<(Self, bool)> {
        let (name, is_packed) = match path.extension()?.to_str()? {
            "gz" => (Path::new(path.file_stem()?), true),
            _ => (path, false),
        };
        let ending = name.extension()?.to_str()?;
        let all: &[Self] =
            if is_packed { &[Self::Csv, Self::Fasta] } else { &[Self::Csv, Self::Fasta, Self::Npy, Self::Npz] };
        let format = all.iter().find(|format| format.ending() == ending)?;
        Some((*format, is_packed))
    }
}

/// The bytes of a file of texts, unpacked if its name ends in .gz.
///
/// # Errors
/// [`Error::NoFile`]; [`Error::Inputs`] for what is no sound .gz file; [`Error::Io`]
fn contents(path: &Path) -> Result<Vec<u8>, Error> {
    let bytes = bounded_read::read_given(path)?;
    let unsound = |error: io::Error| BadInputs::Unreadable(error.to_string());
    unpacked(path, bytes).map_err(|error| Error::Inputs { path: path.to_owned(), problem: unsound(error) })
}

/// The writer of a file of answers.
type Out = BufWriter<File>;
