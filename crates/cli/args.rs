//! The command line: parsing only.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use headway_trainer::{
    device::DeviceSpec,
    experiment::{self, Loaded},
};

use crate::{
    error::Error,
    values::{overrides, parse_duration, parse_seed},
};

/// Train, evaluate and fine-tune attention-only transformers.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 120,
    after_help = "\
Exit codes: 0 done, 1 failed, 2 usage or config, 3 bad or mismatched checkpoint,
4 device missing or out of memory, 5 diverged (NaN), 6 part of a sweep failed,
7 a reproduction fell outside its tolerance, 129, 130 and 143 stopped by SIGHUP,
SIGINT and SIGTERM after saving.

Training stops at SIGINT (Ctrl-C), SIGTERM and, unless nohup has it ignored,
SIGHUP: it finishes the micro-batch, saves the last whole update and ends;
headway resume goes on with the same bits. At SIGUSR1 it saves and goes on.
A sweep passes these on to its runs.

Try:  headway train experiments/quickstart.toml"
)]
pub struct Args {
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Subcommand)]
pub enum Verb {
    /// Train an experiment from random weights in a new folder.
    Train(Train),
    /// Continue a run where it stopped; on the CPU with the same bits as if it had never stopped.
    Resume(Resume),
    /// Train an experiment from the weights of a checkpoint, in a new folder.
    Finetune(Finetune),
    /// Fold what LoRA learned into the weights that it stands beside.
    Merge(Merge),
    /// Run one experiment at many points, with several seeds each; done again, it does what is left.
    Sweep(Sweep),
    /// Put networks and classical predictors side by side at equal cost, with several seeds and intervals.
    Compare(Compare),
    /// Build weights from a theorem instead of training, with a certificate that the error is below the bound.
    Construct(crate::construct::args::Construct),
    /// Make a checkpoint of weights that PyTorch or TransformerLens saved, or show what such a file holds.
    Import(crate::exchange::args::Import),
    /// Write a checkpoint's weights as safetensors, as a state dict of PyTorch, or for numpy.
    Export(crate::exchange::args::Export),
    /// Write the model card of a checkpoint, or of several runs that differ in the seed: what it is, how good it is, where it is from.
    Card(crate::exchange::args::Card),
    /// Do an experiment of the paper with the authors' settings, and judge the result.
    Reproduce(Reproduce),
    /// Write the page about a run, a sweep or a comparison, or about several of them side by side.
    Report(Report),
    /// Score a checkpoint and the task's classical predictors on the test set.
    Eval(Eval),
    /// Answer the examples of a file with a checkpoint's network, in the units of its data.
    Predict(Predict),
    /// Look inside a network: its patterns, what each head is worth, what each layer knows, what it learns in context by.
    Analyze(crate::analyze::args::Analyze),
    /// Check everything but training, and report every problem at once.
    Check(Check),
    /// Print the resolved config with where each value came from.
    Show(Show),
    /// List what a config file can name.
    List(List),
    /// List the devices that this build can reach.
    Devices(Devices),
    /// Look at finished and unfinished runs.
    Runs(Runs),
    /// Time training steps on this machine, and compare them with what its matrix products could reach.
    Bench(Bench),
}

/// An experiment file and changes to it.
#[derive(ClapArgs)]
pub struct ExperimentArgs {
    /// Experiment file (TOML).
    pub experiment: PathBuf,
    /// Change one value, as in `-s train.steps=100`. A variant's name may be left out, `-s model.n_heads=8`, and alone stands
    /// for its defaults, `-s schedule=linear`.
    #[arg(short = 's', long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Take a value out of the file, before anything is set.
    #[arg(long, value_name = "KEY")]
    pub unset: Vec<String>,
    /// Seed of weights, data and order; the same as `-s seed=N`.
    #[arg(long, value_name = "N", value_parser = parse_seed)]
    pub seed: Option<u64>,
}

impl ExperimentArgs {
    /// The experiment, to be trained.
    ///
    /// # Errors
    /// as [`experiment::load_to_train`]
    pub fn load(&self) -> Result<Loaded, Error> {
        self.load_from(None)
    }

    /// The experiment, to be trained from the weights of `init_from` where that is given.
    ///
    /// # Errors
    /// as [`experiment::load_to_train`]
    pub fn load_from(&self, init_from: Option<&Path>) -> Result<Loaded, Error> {
        let init_from = init_from.map(|path| match path.to_str() {
            // A JSON string is a TOML string, which nothing in a path can leave.
            Some(path) => Ok(format!("init_from={}", serde_json::Value::from(path))),
            None => Err(headway_trainer::Error::argument(
                format!("--init-from {}", path.display()),
                "the path must be Unicode",
            )),
        });
        let init_from = init_from.transpose()?;
        let overrides: Vec<String> = self.overrides().into_iter().chain(init_from).collect();
        Ok(experiment::load_to_train(&self.experiment, &overrides)?)
    }

    /// All overrides, `--seed` last.
    pub fn overrides(&self) -> Vec<String> {
        overrides(&self.unset, &self.set, self.seed)
    }
}

/// How to run, apart from what to run.
#[derive(ClapArgs)]
pub struct RunArgs {
    /// Where to compute: auto, cpu, wgpu, wgpu:N, cuda, cuda:N or ndarray (see `headway devices`).
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceSpec,
    /// Show a live dashboard instead of plain progress (needs a terminal).
    #[arg(long)]
    pub tui: bool,
    /// Save and stop after this long, as in 90s, 30m or 2h; `headway resume` goes on.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub max_time: Option<Duration>,
    /// Print one JSON document on standard output instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Where a new run goes.
#[derive(ClapArgs)]
pub struct OutArgs {
    /// Folder of the run; must be empty or new. Default: runs/NAME-K, with the experiment's name and the first free K.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Check everything and print what would be done, without training.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(ClapArgs)]
pub struct Train {
    #[command(flatten)]
    pub experiment: ExperimentArgs,
    /// Start from the weights of this checkpoint or run instead of random ones, all of which must fit; the same as
    /// `-s init_from=CHECKPOINT`.
    #[arg(long, value_name = "CHECKPOINT")]
    pub init_from: Option<PathBuf>,
    #[command(flatten)]
    pub out: OutArgs,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(ClapArgs)]
pub struct Resume {
    /// Folder of the run.
    pub run_dir: PathBuf,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(ClapArgs)]
#[command(after_help = "\
What is trained stands in the experiment, or in -s:
  full     every parameter (default)         -s finetune=full
  head     the last map                      -s finetune=head
  freeze   all but the names that match      -s 'finetune.freeze=[\"embed.*\", \"blocks.0.*\"]'
  lora     A B beside attention's maps       -s finetune.lora.rank=4 -s finetune.lora.alpha=8
  prefix   keys and values of each layer     -s finetune.prefix.length=8
  prompt   rows in front of the sequence     -s finetune.prompt.length=8

Everything else keeps its bits. Where the task has other inputs or outputs than the
checkpoint's, the maps that they decide are made anew, and said. A LoRA, prefix or
prompt is saved beside the weights in PEFT's layout (adapter_config.json,
adapter_model.safetensors); headway merge folds a LoRA in.

Try:  headway finetune experiments/finetune_sparse.toml --from checkpoints/icl_linear_d5")]
pub struct Finetune {
    #[command(flatten)]
    pub experiment: ExperimentArgs,
    /// Checkpoint folder, or run folder (its best checkpoint, else its newest).
    #[arg(long, value_name = "CHECKPOINT")]
    pub from: PathBuf,
    /// Load what fits and keep fresh values for the rest, instead of refusing.
    #[arg(long)]
    pub allow_partial: bool,
    #[command(flatten)]
    pub out: OutArgs,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(ClapArgs)]
#[command(after_help = "\
Try:  headway finetune experiments/finetune_sparse.toml --from checkpoints/icl_linear_d5 \\
        -s finetune.lora.rank=4 --out runs/lora
      headway merge runs/lora --out runs/merged
      headway eval runs/merged")]
pub struct Merge {
    /// Run or checkpoint fine-tuned in the mode `lora`, or a folder with adapter_config.json and adapter_model.safetensors alone.
    pub adapter: PathBuf,
    /// Checkpoint to fold the adapter into. Default: the weights beside it, or the checkpoint that a folder with the adapter
    /// alone names.
    #[arg(long, value_name = "CHECKPOINT")]
    pub base: Option<PathBuf>,
    /// Folder of the merged checkpoint; must be empty or new.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Changes to a study's file.
#[derive(ClapArgs)]
pub struct ChangeArgs {
    /// Profile of the file to use, a table [profiles.NAME] in it.
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Change one value of every run, as in `-s train.steps=100`.
    #[arg(short = 's', long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Take a value out of what the file sets in every run, before anything is set.
    #[arg(long, value_name = "KEY")]
    pub unset: Vec<String>,
    /// Seeds in place of the file's, as in `--seeds 0,1,2`.
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = parse_seed)]
    pub seeds: Vec<u64>,
}

/// How to do many runs.
#[derive(ClapArgs)]
pub struct JobArgs {
    /// Runs at once; the threads are divided among them. Default: one per core on a CPU, which keeps small models busiest,
    /// and one on a GPU.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Try failed runs again.
    #[arg(long)]
    pub retry: bool,
    /// Where to compute: auto, cpu, wgpu, wgpu:N, cuda, cuda:N or ndarray (see `headway devices`).
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceSpec,
    /// Print one JSON document on standard output instead of a table.
    #[arg(long)]
    pub json: bool,
}

#[derive(ClapArgs)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Sweep {
    #[command(subcommand)]
    pub action: Option<SweepAction>,
    /// Sweep file (TOML), or the folder of a sweep to go on with.
    #[arg(required = true, value_name = "SWEEP")]
    pub study: Option<PathBuf>,
    #[command(flatten)]
    pub changes: ChangeArgs,
    /// Folder of the sweep. Default: runs/NAME, with the file's name and the profile's.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub jobs: JobArgs,
}

#[derive(ClapArgs)]
pub struct Compare {
    /// Comparison file (TOML), or the folder of a comparison to go on with.
    pub comparison: PathBuf,
    #[command(flatten)]
    pub changes: ChangeArgs,
    /// Folder of the comparison. Default: runs/NAME, with the file's name and the profile's.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub jobs: JobArgs,
}

#[derive(ClapArgs)]
pub struct Reproduce {
    /// Which experiment (see `headway list reproductions`).
    pub id: String,
    /// The shortened profile for a laptop; the same as `--profile quick`.
    #[arg(long, conflicts_with = "profile")]
    pub quick: bool,
    #[command(flatten)]
    pub changes: ChangeArgs,
    /// Folder of the runs. Default: runs/reproduce-ID, with the profile's name.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub jobs: JobArgs,
}

#[derive(ClapArgs)]
pub struct Report {
    /// Folders of runs, sweeps or comparisons. One has its page made again; of several, or with --out, all runs go on one page.
    #[arg(required = true)]
    pub folders: Vec<PathBuf>,
    /// Folder for the page about all runs. Default with several folders: runs/report.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Where to compute attention patterns that a run has no picture of.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceSpec,
}

#[derive(Subcommand)]
pub enum SweepAction {
    /// One line per run: index, run, seed, settings. Nothing is done.
    Plan {
        /// Sweep or comparison: its file or its folder.
        study: PathBuf,
        #[command(flatten)]
        changes: ChangeArgs,
        /// Folder of the sweep. Default: runs/NAME, with the file's name and the profile's.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Write the lines to a file instead.
        #[arg(long, value_name = "FILE")]
        write: Option<PathBuf>,
        /// Print one JSON document on standard output.
        #[arg(long)]
        json: bool,
    },
    /// Do one run of a plan, or what is left of it: one element of a cluster's job array.
    Exec {
        /// Sweep or comparison: its file or its folder.
        study: PathBuf,
        /// Index of the run, counted from 0. In a comparison that chooses learning rates, those of the final runs follow when the
        /// first are done.
        #[arg(long, value_name = "K", required_unless_present = "run_id")]
        index: Option<usize>,
        /// The run by its identity.
        #[arg(long = "run", value_name = "RUN", hide = true)]
        run_id: Option<String>,
        #[command(flatten)]
        changes: ChangeArgs,
        /// Folder of the sweep. Default: runs/NAME, with the file's name and the profile's.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Try it again if it failed.
        #[arg(long)]
        retry: bool,
        #[command(flatten)]
        run: RunArgs,
        /// Say nothing, and stop when standard input ends: led by a sweep.
        #[arg(long, hide = true)]
        led: bool,
    },
    /// How every run stands, from its folder alone.
    Status {
        /// Sweep or comparison: its file or its folder.
        study: PathBuf,
        #[command(flatten)]
        changes: ChangeArgs,
        /// Folder of the sweep. Default: runs/NAME, with the file's name and the profile's.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Print one JSON document on standard output.
        #[arg(long)]
        json: bool,
    },
}

#[derive(ClapArgs)]
pub struct Eval {
    /// Checkpoint folder, or run folder (its best checkpoint, else its newest).
    pub checkpoint: PathBuf,
    /// Change the experiment that the checkpoint was trained on, as in `-s data.test=5000` or `-s seed=1`.
    #[arg(short = 's', long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Give a value of that experiment its default, before anything is set.
    #[arg(long, value_name = "KEY")]
    pub unset: Vec<String>,
    /// Where to compute: auto, cpu, wgpu, wgpu:N, cuda, cuda:N or ndarray (see `headway devices`).
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceSpec,
    /// Score under every distribution shift of an in-context task, and write a page with the error at each number of examples
    /// to DIR/report.html.
    #[arg(long, value_name = "DIR", conflicts_with = "save_outputs")]
    pub shifts: Option<PathBuf>,
    /// Also write the network's inputs and outputs on the first test batch to DIR/inputs.safetensors and DIR/outputs.safetensors.
    #[arg(long, value_name = "DIR")]
    pub save_outputs: Option<PathBuf>,
    /// Print one JSON document on standard output instead of a table.
    #[arg(long)]
    pub json: bool,
}

impl Eval {
    /// All changes to the experiment.
    pub fn overrides(&self) -> Vec<String> {
        overrides(&self.unset, &self.set, None)
    }
}

#[derive(ClapArgs)]
#[command(after_help = "\
Inputs are the network's own, [n, seq_len, d_in] or tokens [n, seq_len]. Answers are
[n, seq_len, d_out], or [n, d_out] or [n, horizon, d_out] where the data has one target for a
sequence. Both are in the units of the data. Where answers are classes, arrays hold their logits,
a table the likeliest class and its probability.

  .csv  a line for each position; a column `example` says which lines belong together. Columns are
        those that the network was trained on, or all of them
  .npy  one array
  .npz  the array `inputs`, or the one that the network was trained on; answers are `outputs`

  headway predict runs/first --inputs new.csv --out answers.csv
  headway predict checkpoints/copy --inputs tokens.npy --out logits.npy
  echo '[[0.1, 0.2], [0.3, 0.4]]' | headway predict runs/first --json

Try:  echo '[3, 1, 4]' | headway predict checkpoints/copy --json")]
pub struct Predict {
    /// Checkpoint folder, or run folder (its best checkpoint, else its newest).
    pub checkpoint: PathBuf,
    /// File of examples: .csv, .npy or .npz, told by the ending of its name. Without it, --json reads one example.
    #[arg(long, value_name = "FILE", requires = "out", required_unless_present = "json")]
    pub inputs: Option<PathBuf>,
    /// File of answers, of the same form; must not be there yet.
    #[arg(long, value_name = "FILE", requires = "inputs")]
    pub out: Option<PathBuf>,
    /// Examples at a time. Default: as many as in a batch that the network was trained with.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_size: Option<u32>,
    /// Where to compute: auto, cpu, wgpu, wgpu:N, cuda, cuda:N or ndarray (see `headway devices`).
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceSpec,
    /// Print one JSON document on standard output. Without --inputs it is the answer to one example, which is read from standard input as
    /// a JSON array [seq_len, d_in], or [seq_len] for tokens.
    #[arg(long)]
    pub json: bool,
}

#[derive(ClapArgs)]
pub struct Check {
    #[command(flatten)]
    pub experiment: ExperimentArgs,
    /// Device that must be there.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceSpec,
    /// Print one JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(ClapArgs)]
pub struct Show {
    #[command(flatten)]
    pub experiment: ExperimentArgs,
    /// Print one JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(ClapArgs)]
pub struct List {
    /// What to list.
    pub what: Listed,
    /// Print one JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Listed {
    Tasks,
    Models,
    Kernels,
    Positions,
    Optimizers,
    Modes,
    Reproductions,
    Constructions,
    Functions,
    Conventions,
}

#[derive(ClapArgs)]
pub struct Devices {
    /// Print one JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(ClapArgs)]
pub struct Runs {
    #[command(subcommand)]
    pub action: RunsAction,
}

#[derive(Subcommand)]
pub enum RunsAction {
    /// One line per run in a folder.
    List {
        /// Folder that holds the runs.
        #[arg(default_value = "runs")]
        folder: PathBuf,
        /// Print one JSON document on standard output.
        #[arg(long)]
        json: bool,
    },
    /// The record of one run: device, versions, status, results.
    Show {
        /// Folder of the run.
        run_dir: PathBuf,
        /// Print one JSON document on standard output.
        #[arg(long)]
        json: bool,
    },
}

#[derive(ClapArgs)]
pub struct Bench {
    /// Benchmarks by name (see --list). Default: all of them, a quarter of an hour on two cores.
    pub names: Vec<String>,
    /// Numbers of CPU threads, as in `--threads 1,2`. Default: 1 and as many as there are cores.
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Vec<u16>,
    /// Samples of each figure, of which the fastest counts.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub repeats: u16,
    /// Where to compute: auto, cpu, wgpu, wgpu:N, cuda, cuda:N or ndarray (see `headway devices`).
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceSpec,
    /// Also write every figure of the table to DIR/bench.json, and draw what attention costs against the length.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Say what there is to time, and do nothing.
    #[arg(long)]
    pub list: bool,
    /// Print one JSON document on standard output.
    #[arg(long)]
    pub json: bool,
    /// Time in this process, which then says so to the one that started it.
    #[arg(long, hide = true)]
    pub here: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_hours(2)));
        assert_eq!(parse_duration("7"), Ok(Duration::from_secs(7)));
        assert!(parse_duration("soon").is_err());
        assert!(parse_duration("-1s").is_err());
        assert!(parse_duration("").is_err());
    }
}
