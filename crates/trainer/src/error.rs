//! Everything that can go wrong with one run, and the exit codes of all errors.

use std::{
    fmt::Display,
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use headway_model::{ConfigError, Precision, adapter::MergeError, weights::WeightsError};
use headway_tasks::TaskError;

use crate::{bad_inputs::BadInputs, problem::ExperimentError};

const CANNOT_READ: &str = "cannot read";

/// What kind of end an error is; the one place that knows exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Input or output, no thread, a fault.
    Failed,
    /// Nothing was wrong but that something could not be read, which may be right the next time.
    Unread,
    /// Usage or config.
    Usage,
    /// A checkpoint is bad or does not match.
    Checkpoint,
    /// The device is missing or out of memory.
    Device,
    /// A loss, a weight or an answer is not finite.
    Diverged,
    /// As an earlier process ended.
    Earlier(u8),
}

impl ErrorKind {
    /// The process exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed | Self::Unread => 1,
            Self::Usage => 2,
            Self::Checkpoint => 3,
            Self::Device => 4,
            Self::Diverged => 5,
            Self::Earlier(code) => code,
        }
    }
}

/// An error that a verb can end with.
pub trait VerbError: std::error::Error {
    /// What kind of end it is.
    fn kind(&self) -> ErrorKind;

    /// What is wrong with an experiment, to be shown with its text; `None` for everything else.
    fn experiment(&self) -> Option<&ExperimentError> {
        None
    }

    /// The process exit code.
    fn exit_code(&self) -> u8 {
        self.kind().exit_code()
    }
}

/// An error of one run, or of what reads one.
#[derive(Debug, Error)]
pub enum Error {
    /// The experiment file or an override is invalid.
    #[error(transparent)]
    Experiment(#[from] Box<ExperimentError>),
    /// An argument of the command line.
    #[error("{argument}: {problem}")]
    Argument {
        /// As it was given.
        argument: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// Two arguments that choose different variants of one part of an experiment.
    #[error("{} choose two of `{choice}`: {}; leave one out", .arguments.each_ref().map(|it| format!("-s {it}")).join(" and "), .variants.join(" and "))]
    TwoChoices {
        /// Both.
        arguments: Box<[String; 2]>,
        /// The part.
        choice: String,
        /// Its variants that they choose.
        variants: Box<[String; 2]>,
    },
    /// A name that no list has.
    #[error("no {what} `{name}`; there are {}", .known.join(", "))]
    UnknownName {
        /// What it should be the name of.
        what: &'static str,
        /// The name.
        name: String,
        /// Names that there are.
        known: Vec<&'static str>,
    },
    /// A file that was named is not there, or cannot be what it should be.
    #[error("cannot read {what}{}: {source}{help}", .path.display())]
    NoFile {
        /// What it should be, with a space behind; empty for any file.
        what: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
        /// What the path may stand for instead; may be empty.
        help: String,
    },
    /// A file that was named does not hold what it should.
    #[error("{}: {problem}", .path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file that was named is one for something else.
    #[error("{} {is}; {way_out}", .path.display())]
    OtherFile {
        /// The file.
        path: PathBuf,
        /// What it is.
        is: String,
        /// What to do.
        way_out: String,
    },
    /// Nothing is at a path that was named.
    #[error("{} does not exist{help}", .path.display())]
    NotThere {
        /// The path.
        path: PathBuf,
        /// What to give instead; may be empty.
        help: String,
    },
    /// A place that is to be written to is taken.
    #[error("{} {is}; {way_out}", .path.display())]
    Occupied {
        /// File or folder.
        path: PathBuf,
        /// How it is taken.
        is: String,
        /// What to do.
        way_out: String,
    },
    /// A folder that another process holds.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// A folder that holds no run.
    #[error("{} is not a run folder: it has no {missing}{help}", .path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
        /// The file that it lacks.
        missing: &'static str,
        /// What to give instead; may be empty.
        help: String,
    },
    /// The record of a run cannot be understood.
    #[error(
        "{} is damaged: {problem}. Put a copy of it back; where there is a whole checkpoint, `headway resume` makes a new one",
        .path.display()
    )]
    DamagedRecord {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A model that makes no sense for its task.
    #[error(transparent)]
    Model(#[from] ConfigError),
    /// A task that cannot be opened.
    #[error("task.{task}.{error}")]
    Task {
        /// Its name.
        task: &'static str,
        /// The key below it, and what is wrong.
        error: TaskError,
    },
    /// A file of a task's data has changed since it was first read.
    #[error("task.{task}.{key}: {error}; give back the file, or train anew: other data is another run")]
    DataChanged {
        /// Name of the task.
        task: &'static str,
        /// Key that names the file.
        key: &'static str,
        /// Which file, and how it was.
        error: Box<TaskError>,
    },
    /// Task and model of a construction do not make an experiment.
    #[error("{}", .0.iter().map(|(key, problem)| format!("{key}: {problem}")).collect::<Vec<_>>().join("\n"))]
    Constructed(Vec<(String, String)>),
    /// A task that is not learned in context.
    #[error("{task} has no distribution shifts; the tasks whose names begin with icl_ have")]
    NoShifts {
        /// Its name.
        task: &'static str,
    },
    /// A network whose tokens are not those of a text.
    #[error("{} was trained on the task {task}, which has no text; give a run of [task.language]", .path.display())]
    NoText {
        /// The checkpoint or run.
        path: PathBuf,
        /// Name of its task.
        task: &'static str,
    },
    /// Fine-tuning was told to start from two checkpoints.
    #[error("init_from names {}, fine-tuning starts from {}; leave one out", .init_from.display(), .from.display())]
    TwoStarts {
        /// By the experiment.
        init_from: PathBuf,
        /// By the command line.
        from: PathBuf,
    },
    /// A mode of fine-tuning without weights to fine-tune.
    #[error("finetune.{mode} is set, but `train` starts from random weights; use `headway finetune`, or set init_from")]
    NoStart {
        /// The mode.
        mode: &'static str,
    },
    /// A mode of fine-tuning that trains nothing.
    #[error("finetune.{mode} leaves nothing to train")]
    NothingToTrain {
        /// The mode.
        mode: &'static str,
    },
    /// A pattern of `finetune.freeze` that matches no parameter.
    #[error("finetune.freeze: `{pattern}` matches no parameter; the nearest names are\n  {}", .nearest.join("\n  "))]
    NoParameter {
        /// The pattern.
        pattern: String,
        /// Names that are like it.
        nearest: Vec<String>,
    },
    /// A pattern of `finetune.freeze` that matches a parameter which no checkpoint gives.
    #[error(
        "finetune.freeze: `{pattern}` keeps {name} fixed, which the checkpoint does not give: it would stay random"
    )]
    StaysRandom {
        /// The pattern.
        pattern: String,
        /// The parameter.
        name: String,
    },
    /// A checkpoint without low-rank parts.
    #[error("{} holds no low-rank parts to fold in: it was trained in the mode `{mode}`", .path.display())]
    NothingToFold {
        /// The checkpoint.
        path: PathBuf,
        /// How it was trained.
        mode: &'static str,
    },
    /// An adapter that does not say which checkpoint it goes with.
    #[error("{} does not name the checkpoint it goes with; give it with --base", .0.display())]
    NoBase(PathBuf),
    /// Inputs that a network does not accept, or that cannot be read.
    #[error("{}: {problem}", .path.display())]
    Inputs {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: BadInputs,
    },
    /// A checkpoint is missing or damaged, or belongs to another model.
    #[error("checkpoint {}: {problem}", .path.display())]
    Checkpoint {
        /// Folder or file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The device does not exist or cannot be used.
    #[error("{0}")]
    Device(String),
    /// The loss or a weight became NaN or infinite.
    #[error("diverged at step {step}: {tensor} is not finite; {kept}. {remedy}")]
    Diverged {
        /// Step at which it was noticed.
        step: u64,
        /// First tensor, in the model's order, that contains NaN or an infinity.
        tensor: String,
        /// What had been saved before.
        kept: String,
        /// What may help.
        remedy: &'static str,
    },
    /// The output of a network is not finite.
    #[error("{0}")]
    NotFinite(String),
    /// A file could not be read or written.
    #[error("{action} {}: {source}", .path.display())]
    Io {
        /// The action that failed, for example `cannot read`.
        action: &'static str,
        /// Path of the file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system could not start a thread.
    #[error("{}", no_threads(.0))]
    NoThread(io::Error),
    /// A value that JSON cannot hold.
    #[error("cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Weights that cannot be written.
    #[error("cannot be written as safetensors: {0}")]
    Weights(#[from] WeightsError),
    /// Low-rank parts that cannot be folded in.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// burn's training frame stopped with an error.
    #[error("training stopped: {0}")]
    Training(String),
}

/// The message if the system cannot start a thread.
pub fn no_threads(problem: &impl Display) -> String {
    format!("the system gives no more threads ({problem}); raise the limit (`ulimit -u`) or set RAYON_NUM_THREADS=1")
}

impl Error {
    /// What kind of end it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { action: CANNOT_READ, .. } => ErrorKind::Unread,
            Self::Io { .. }
            | Self::NoThread(_)
            | Self::Training(_)
            | Self::Json(_)
            | Self::Weights(_)
            | Self::Merge(_) => ErrorKind::Failed,
            Self::Checkpoint { .. } | Self::DataChanged { .. } => ErrorKind::Checkpoint,
            Self::Device(_) => ErrorKind::Device,
            Self::Diverged { .. } | Self::NotFinite(_) => ErrorKind::Diverged,
            Self::Experiment(_)
            | Self::Argument { .. }
            | Self::TwoChoices { .. }
            | Self::UnknownName { .. }
            | Self::NoFile { .. }
            | Self::Contents { .. }
            | Self::OtherFile { .. }
            | Self::NotThere { .. }
            | Self::Occupied { .. }
            | Self::InUse(_)
            | Self::NotARun { .. }
            | Self::DamagedRecord { .. }
            | Self::Inputs { .. }
            | Self::Model(_)
            | Self::Task { .. }
            | Self::Constructed(_)
            | Self::NoShifts { .. }
            | Self::NoText { .. }
            | Self::TwoStarts { .. }
            | Self::NoStart { .. }
            | Self::NothingToTrain { .. }
            | Self::NoParameter { .. }
            | Self::StaysRandom { .. }
            | Self::NothingToFold { .. }
            | Self::NoBase(_) => ErrorKind::Usage,
        }
    }

    /// An argument of the command line that makes no sense.
    pub fn argument(argument: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Argument { argument: argument.into(), problem: problem.into() }
    }

    /// A file that is there, but for something else.
    pub fn other_file(path: &Path, is: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self::OtherFile { path: path.to_owned(), is: is.into(), way_out: way_out.into() }
    }

    /// A place that is taken.
    pub fn occupied(path: &Path, is: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self::Occupied { path: path.to_owned(), is: is.into(), way_out: way_out.into() }
    }

    /// A file that is not there, or cannot be what it should be.
    pub fn no_file(path: &Path, source: io::Error) -> Self {
        Self::NoFile { what: "", path: path.to_owned(), source, help: String::new() }
    }

    /// The error for a network with attention in this precision whose `what` is not finite; it says what may help.
    pub fn not_finite(what: &str, precision: Precision) -> Self {
        let remedy = match precision {
            Precision::F16 => "f16 ends at 65504: set train.attention_precision to bf16 or f32",
            Precision::F32 | Precision::Tf32 | Precision::Bf16 => {
                "train with a smaller learning rate or train.clip_norm"
            }
        };
        Self::NotFinite(format!("{what} of the network is not finite; {remedy}"))
    }

    /// The error for a checkpoint, or a file of weights, with what is wrong with it.
    pub fn checkpoint(path: impl Into<PathBuf>, problem: impl ToString) -> Self {
        Self::Checkpoint { path: path.into(), problem: problem.to_string() }
    }

    /// The error for a file of weights that cannot be used; a system error if it could not be read.
    pub fn refused(path: &Path, error: headway_exchange::Error) -> Self {
        match error {
            headway_exchange::Error::Unread { path, source } => {
                Self::unreadable(&path, source, |source| Self::checkpoint(&path, source))
            }
            error => Self::checkpoint(path, error),
        }
    }

    /// The error for a path that could not be read or examined, for use with `map_err`.
    pub fn unread(path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::io(CANNOT_READ, path)
    }

    /// The error for a file that could not be read. If it does not exist, or cannot be a file of the right kind, the
    /// user's input is wrong, as `given` says; any other failure is the system's, and may not occur the next time.
    pub fn unreadable<E: From<Self>>(path: &Path, error: io::Error, given: impl FnOnce(io::Error) -> E) -> E {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::NotFound
            | Kind::NotADirectory
            | Kind::IsADirectory
            | Kind::InvalidInput
            | Kind::InvalidData
            | Kind::InvalidFilename
            | Kind::FileTooLarge => given(error),
            _ => Self::unread(path)(error).into(),
        }
    }

    /// The error for an action that failed on a path, for use with `map_err`.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

impl VerbError for Error {
    fn kind(&self) -> ErrorKind {
        self.kind()
    }

    fn experiment(&self) -> Option<&ExperimentError> {
        match self {
            Self::Experiment(error) => Some(error),
            _ => None,
        }
    }
}
