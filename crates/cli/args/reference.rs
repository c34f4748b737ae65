//! Verbs that tell of experiments, keys, lists and the machine.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};
use headway_model::Precision;
use headway_trainer::device::DeviceSpec;

use super::ExperimentArgs;

#[derive(ClapArgs)]
pub struct Check {
    #[command(flatten)]
    pub experiment: ExperimentArgs,
    /// Profile of a sweep or comparison to use, which is a table [profiles.NAME] in its file.
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Device that must be available.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceSpec,
    /// Also take a few steps, to tell how long training takes on this machine; of a sweep or a comparison, steps of its first run.
    #[arg(long, conflicts_with = "json")]
    pub time: bool,
    /// Print one JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(ClapArgs)]
#[command(after_help = "\
The experiment begins with the values of one that ships for the task, or with the defaults of
the task and a transformer. Tasks with files name data that comes with the source of Headway,
unless -s names others.

  headway new icl_linear -s model.n_layers=6 > deep.toml
  headway new copy -s model.kernel=favor > copy.toml
  headway new file -s task.path=mine.npz > mine.toml

Try:  headway new icl_linear > my.toml
      headway train my.toml")]
pub struct New {
    /// Task to learn, see `headway list tasks`.
    pub task: String,
    /// Write another value, as in `-s train.steps=100`.
    #[arg(short = 's', long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Leave a value at its default before anything is set.
    #[arg(long, value_name = "KEY")]
    pub unset: Vec<String>,
}

#[derive(ClapArgs)]
#[command(after_help = "\
A list alone is a line for each entry:

  headway list                             # the lists
  headway list tasks                       # the tasks, a line each
  headway list kernels favor               # one kernel with its keys
  headway list constructions relu-network  # one construction with its options

Try:  headway list tasks icl_linear")]
pub struct List {
    /// What to list. Default: the lists.
    pub what: Option<Listed>,
    /// Entry to tell of.
    pub name: Option<String>,
    /// Print one JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Listed {
    /// What a network can learn.
    Tasks,
    /// Networks.
    Models,
    /// How attention mixes values by queries and keys.
    Kernels,
    /// How attention knows where tokens stand.
    Positions,
    /// Rules by which weights are updated.
    Optimizers,
    /// How the learning rate changes.
    Schedules,
    /// What fine-tuning trains.
    Modes,
    /// Experiments of papers with their settings.
    Reproductions,
    /// Weights from theorems.
    Constructions,
    /// Functions that formulas and constructions know by name.
    Functions,
    /// Programs in C-RASP that can be constructed by name.
    Programs,
    /// Software whose weights are read and written.
    Conventions,
}

#[derive(ClapArgs)]
#[command(after_help = "\
A key is given whole (model.transformer.n_heads), without the name of a variant (model.n_heads),
or by its end (n_heads); a variant like a key (task.icl_linear, favor). Keys of sweeps and
comparisons are told too (grid, rows.free).

Try:  headway explain train.loss")]
pub struct Explain {
    /// Key or variant of a config file.
    #[arg(required_unless_present = "page")]
    pub key: Option<String>,
    /// Print all keys as a page of Markdown instead.
    #[arg(long, conflicts_with_all = ["key", "json"])]
    pub page: bool,
    /// Print one JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(ClapArgs)]
#[command(after_help = "\
Editors with a TOML language server (Even Better TOML in VS Code, taplo) complete keys and show
what they mean, if a file begins with a line that names the schema:

  #:schema ./headway.schema.json

Try:  headway schema > headway.schema.json")]
pub struct Schema {
    /// Kind of file. Default: any of them.
    pub file: Option<SchemaFile>,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum SchemaFile {
    Experiment,
    Sweep,
    Comparison,
}

impl SchemaFile {
    /// Its name among the kinds of files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Experiment => "experiment",
            Self::Sweep => "sweep",
            Self::Comparison => "comparison",
        }
    }
}

#[derive(ClapArgs)]
#[command(after_help = "\
Where shells look for it:

  bash  headway completions bash > ~/.local/share/bash-completion/completions/headway
  zsh   headway completions zsh > ~/.zfunc/_headway          # with ~/.zfunc in fpath
  fish  headway completions fish > ~/.config/fish/completions/headway.fish

Try:  source <(headway completions bash)")]
pub struct Completions {
    /// Shell to write for.
    pub shell: clap_complete::Shell,
}

#[derive(ClapArgs)]
pub struct Devices {
    /// Print one JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(ClapArgs)]
pub struct Bench {
    /// Benchmarks by name (see --list). Default: all of them, on a CPU without those for a GPU, which takes a quarter of an hour on
    /// two cores.
    pub names: Vec<String>,
    /// Precision of products: f32, tf32, bf16 or, for attention alone, f16.
    #[arg(long, default_value = "f32", value_name = "NAME", value_parser = parse_precision)]
    pub precision: Precision,
    /// Numbers of CPU threads, as in `--threads 1,2`. Default: 1 and the number of cores.
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Vec<u16>,
    /// Number of samples per benchmark, of which the fastest counts.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub repeats: u16,
    /// Device to compute on: auto, or a name that `headway devices` lists.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceSpec,
    /// Also write the table to DIR/bench.json, and figures of the cost of attention against the length.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Take STEPS steps of each benchmark named, and show at ten moments how much memory is taken.
    #[arg(long, value_name = "STEPS", requires = "names", conflicts_with_all = ["threads", "out", "list"], value_parser = clap::value_parser!(u64).range(10..))]
    pub soak: Option<u64>,
    /// List the benchmarks without running them.
    #[arg(long)]
    pub list: bool,
    /// Print one JSON document on standard output.
    #[arg(long)]
    pub json: bool,
    /// Run in this process and report to the process that started it.
    #[arg(long, hide = true)]
    pub here: bool,
}

fn parse_precision(text: &str) -> Result<Precision, String> {
    Precision::ALL.into_iter().find(|precision| precision.name() == text).ok_or_else(|| {
        let names = Precision::ALL.map(Precision::name);
        format!("there are {}", names.join(", "))
    })
}
