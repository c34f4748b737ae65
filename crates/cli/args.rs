//! The command line of `headway`: parsing only.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use headway_model::Precision;
use headway_trainer::{
    device::DeviceSpec,
    experiment::{self, Loaded},
};

use crate::{
    error::Error,
    values::{overrides, parse_duration, parse_minutes, parse_seed, parse_share, parse_temperature, parse_tolerance},
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

Training stops on SIGINT (Ctrl-C), SIGTERM and, unless ignored as under nohup,
SIGHUP: it finishes the micro-batch, saves the last whole update and ends;
headway resume continues with the same bits. On SIGUSR1 it saves and continues.
A sweep passes these signals on to its runs.

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
    /// Continue a run where it stopped; on the CPU with the same bits as without the stop.
    Resume(Resume),
    /// Train an experiment from the weights of a checkpoint, in a new folder.
    Finetune(Finetune),
    /// Fold an adapter trained by LoRA into the weights.
    Merge(Merge),
    /// Run one experiment at many points, each with several seeds; when repeated, runs only what is left.
    Sweep(Sweep),
    /// Compare networks and classical predictors at equal cost, with several seeds and intervals.
    Compare(Compare),
    /// Build weights from a theorem instead of training, with a certificate that the error is below a bound.
    Construct(crate::construct::args::Construct),
    /// Bound the largest error of a trained network over a whole domain: no error is above the one number, some error is at the
    /// other.
    Certify(Certify),
    /// Make a checkpoint from weights saved by PyTorch or TransformerLens, or show what such a file contains.
    Import(crate::exchange::args::Import),
    /// Write a checkpoint's weights as safetensors, as a PyTorch state dict, or for numpy.
    Export(crate::exchange::args::Export),
    /// Write the model card of a checkpoint, or of several runs that differ only in the seed: what it is, how good it
    /// is, where it comes from.
    Card(crate::exchange::args::Card),
    /// Run an experiment of the paper with the authors' settings, and judge the result.
    Reproduce(Reproduce),
    /// Write the page about a run, a sweep or a comparison, or about several runs side by side.
    Report(Report),
    /// Score a checkpoint and the task's classical predictors on the test set.
    Eval(Eval),
    /// Run a network of softmax attention under other kernels: its scores, the error of its patterns, and how many steps of
    /// fine-tuning bring it back.
    Swap(Swap),
    /// Answer the examples of a file with a checkpoint's network, in the units of its data.
    Predict(Predict),
    /// Continue a text with the network of a run on text, token by token.
    Generate(Generate),
    /// Look inside a network: its attention patterns, the effect of each head, what can be read after each layer, how
    /// it learns in context.
    Analyze(crate::analyze::args::Analyze),
    /// Check an experiment without training it, and report all problems at once; for a sweep or a comparison, also what it
    /// costs.
    Check(Check),
    /// Print the resolved config, with the origin of each value.
    Show(Show),
    /// Write a complete experiment for a task on standard output, every key with what it means.
    New(New),
    /// List what a config file can name, or tell of one entry: its keys, their defaults, what they mean.
    List(List),
    /// Tell what a key of a config file means, what it takes and what its default is.
    Explain(Explain),
    /// Print the JSON schema of config files, by which editors complete and check them.
    Schema(Schema),
    /// Print what completes verbs and options in a shell.
    Completions(Completions),
    /// List the devices that this build can use.
    Devices(Devices),
    /// List runs, or show the record of one.
    Runs(Runs),
    /// Time training steps on this machine, and compare them with the speed of its matrix products.
    Bench(Bench),
}

/// An experiment file, and changes to it.
#[derive(ClapArgs)]
pub struct ExperimentArgs {
    /// Experiment file (TOML).
    pub experiment: PathBuf,
    /// Change one value, as in `-s train.steps=100`. The name of a variant may be left out, `-s model.n_heads=8`; given
    /// alone, it selects the variant with its defaults, `-s schedule=linear`.
    #[arg(short = 's', long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Remove a value from the file before anything is set.
    #[arg(long, value_name = "KEY")]
    pub unset: Vec<String>,
    /// Seed of weights, data and order; the same as `-s seed=N`.
    #[arg(long, value_name = "N", value_parser = parse_seed)]
    pub seed: Option<u64>,
}

impl ExperimentArgs {
    /// Loads the experiment for training.
    ///
    /// # Errors
    /// as [`experiment::load_to_train`]
    pub fn load(&self) -> Result<Loaded, Error> {
        self.load_from(None)
    }

    /// Loads the experiment for training, starting from the weights of `init_from` if it is given.
    ///
    /// # Errors
    /// as [`experiment::load_to_train`]
    pub fn load_from(&self, init_from: Option<&Path>) -> Result<Loaded, Error> {
        let init_from = init_from.map(|path| match path.to_str() {
            // A JSON string is a valid TOML string, whatever the path contains.
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

    /// All changes to the experiment, `--seed` last.
    pub fn overrides(&self) -> Vec<String> {
        overrides(&self.unset, &self.set, self.seed)
    }
}

/// How to run, for all verbs that train.
#[derive(ClapArgs)]
pub struct RunArgs {
    /// Device to compute on: auto, or a name that `headway devices` lists.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceSpec,
    /// Show a live dashboard instead of plain progress (needs a terminal).
    #[arg(long)]
    pub tui: bool,
    /// Save and stop after this time, as in 90s, 30m or 2h; `headway resume` continues.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub max_time: Option<Duration>,
    /// Print one JSON document on standard output instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Where a new run is placed.
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
    /// Start from the weights of this checkpoint or run, all of which must fit, instead of random ones; the same as `-s
    /// init_from=CHECKPOINT`.
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
What is trained is set in the experiment, or with -s:
  full     every parameter (default)         -s finetune=full
  head     the last map                      -s finetune=head
  freeze   all but the names that match      -s 'finetune.freeze=[\"embed.*\", \"blocks.0.*\"]'
  lora     A B added to attention's maps     -s finetune.lora.rank=4 -s finetune.lora.alpha=8
  prefix   keys and values of each layer     -s finetune.prefix.length=8
  prompt   rows before the sequence          -s finetune.prompt.length=8

All other weights stay the same to the last bit. If the task has other inputs or outputs
than the checkpoint's, the maps that depend on them are replaced by fresh ones, and listed.
A LoRA, prefix or prompt is saved beside the weights in PEFT's layout (adapter_config.json,
adapter_model.safetensors); headway merge folds a LoRA into the weights.

Try:  headway finetune experiments/finetune_sparse.toml --from checkpoints/icl_linear_d5")]
pub struct Finetune {
    #[command(flatten)]
    pub experiment: ExperimentArgs,
    /// Checkpoint folder, or run folder (its best checkpoint, else its newest).
    #[arg(long, value_name = "CHECKPOINT")]
    pub from: PathBuf,
    /// Load the weights that fit and keep fresh values for the others, instead of refusing.
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
    /// Run or checkpoint fine-tuned in the mode `lora`, or a folder with only adapter_config.json and
    /// adapter_model.safetensors.
    pub adapter: PathBuf,
    /// Checkpoint to fold the adapter into. Default: the weights of the fine-tuned checkpoint itself, or, for a folder
    /// with only the adapter, the checkpoint that it names.
    #[arg(long, value_name = "CHECKPOINT")]
    pub base: Option<PathBuf>,
    /// Folder of the merged checkpoint; must be empty or new.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Changes to the file of a study.
#[derive(ClapArgs)]
pub struct ChangeArgs {
    /// Profile of the file to use, which is a table [profiles.NAME] in it.
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Change one value of every run, as in `-s train.steps=100`.
    #[arg(short = 's', long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Remove a value that the file sets in every run, before anything is set.
    #[arg(long, value_name = "KEY")]
    pub unset: Vec<String>,
    /// Seeds instead of those of the file, as in `--seeds 0,1,2`.
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = parse_seed)]
    pub seeds: Vec<u64>,
}

/// How to execute many runs.
#[derive(ClapArgs)]
pub struct JobArgs {
    /// Number of runs at a time, shared out among the devices; the threads are divided among the runs. Default: one per core on a CPU,
    /// which is fastest for small models, and one on each GPU.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Try failed runs again.
    #[arg(long)]
    pub retry: bool,
    /// Device to compute on: auto, or a name that `headway devices` lists; or several, as in `--device cuda:0,cuda:1`.
    #[arg(long, default_value = "auto", value_name = "DEVICE", value_delimiter = ',')]
    pub device: Vec<DeviceSpec>,
    /// Print one JSON document on standard output instead of a table.
    #[arg(long)]
    pub json: bool,
}

#[derive(ClapArgs)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Sweep {
    #[command(subcommand)]
    pub action: Option<SweepAction>,
    /// Sweep file (TOML), or the folder of a sweep to continue.
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
    /// Comparison file (TOML), or the folder of a comparison to continue.
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
    /// Experiment to reproduce (see `headway list reproductions`).
    pub id: String,
    /// Use the short profile for a laptop; the same as `--profile quick`.
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
    /// Folders of runs, sweeps or comparisons. For a single folder its own page is made again; for several, or with
    /// --out, all runs go on one page.
    #[arg(required = true)]
    pub folders: Vec<PathBuf>,
    /// Folder for the page about all runs. Default with several folders: runs/report.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Device for attention patterns of runs that have no picture of them.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceSpec,
}

#[derive(Subcommand)]
pub enum SweepAction {
    /// Print one line per run: index, run, seed, settings. Nothing is executed.
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
    /// Execute one run of a plan, or the rest of it: one element of a cluster's job array.
    Exec {
        /// Sweep or comparison: its file or its folder.
        study: PathBuf,
        /// Index of the run, from 0. In a comparison that chooses learning rates, the final runs get their indices when
        /// the first ones are done.
        #[arg(long, value_name = "K", required_unless_present = "run_id")]
        index: Option<usize>,
        /// The run with this id.
        #[arg(long = "run", value_name = "RUN", hide = true)]
        run_id: Option<String>,
        #[command(flatten)]
        changes: ChangeArgs,
        /// Folder of the sweep. Default: runs/NAME, with the file's name and the profile's.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Try the run again if it failed.
        #[arg(long)]
        retry: bool,
        #[command(flatten)]
        run: RunArgs,
        /// Print nothing, and stop when standard input ends: for runs that a sweep leads.
        #[arg(long, hide = true)]
        led: bool,
    },
    /// Print how many runs are done, which are at work and how long the rest takes, read from their folders.
    Status {
        /// Sweep or comparison: its file or its folder.
        study: PathBuf,
        #[command(flatten)]
        changes: ChangeArgs,
        /// Folder of the sweep. Default: runs/NAME, with the file's name and the profile's.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Also print a line for every run.
        #[arg(long, conflicts_with = "failed")]
        all: bool,
        /// Also print why runs failed.
        #[arg(long)]
        failed: bool,
        /// Print one JSON document about every run on standard output.
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
    /// Reset a value of that experiment to its default before anything is set.
    #[arg(long, value_name = "KEY")]
    pub unset: Vec<String>,
    /// Device to compute on: auto, or a name that `headway devices` lists.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceSpec,
    /// Score under every distribution shift of an in-context task, and write a page with the errors for each number of
    /// examples to DIR/report.html.
    #[arg(long, value_name = "DIR", conflicts_with = "save_outputs")]
    pub shifts: Option<PathBuf>,
    /// Score at these multiples of the length that the task had in training: tokens, examples or symbols.
    #[arg(long, value_name = "TIMES", value_delimiter = ',', conflicts_with_all = ["shifts", "save_outputs"])]
    pub lengths: Vec<usize>,
    /// With --lengths, also write a page with figures to DIR/report.html.
    #[arg(long, value_name = "DIR", requires = "lengths")]
    pub out: Option<PathBuf>,
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
The weights stay as they are; what mixes values by queries and keys is another kernel.
Patterns are compared on the queries and keys of the network under softmax attention:
  total variation      mean over queries of half the sum over keys of |P' - P|, from 0 to 1
  relative Frobenius   root of the sum of all (P' - P)^2 over the sum of all P^2
Random features are drawn --draws times; numbers are means with 95 % intervals. Kernels that
form no scores (favor, linear) or one for many keys (combiner) cannot keep a bias of the
position scheme, and are then refused.

With --finetune the network is trained on under each kernel, with the optimiser and schedule
of its experiment (-s changes them), and the validation set is scored 20 times: `steps back`
is the first time at which the loss is within the tolerance. Each is a run in DIR/runs.

  headway swap checkpoints/copy --kernel window --kernel combiner
  headway swap checkpoints/copy --kernel '{ window = { size = 20 } }'

Try:  headway swap checkpoints/icl_linear_d5 --kernel favor --m 64,128,256 --out runs/swap")]
pub struct Swap {
    /// Checkpoint folder, or run folder (its best checkpoint, else its newest), of a network of softmax attention.
    pub checkpoint: PathBuf,
    /// Kernel as a config file writes it: its name, or a table of its settings; may be given several times.
    #[arg(long, value_name = "KERNEL", required = true)]
    pub kernel: Vec<String>,
    /// Numbers of random features, of kernels that have some. Default: that of the kernel.
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    pub m: Vec<u32>,
    /// Number of draws of the random features.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub draws: u64,
    /// Number of test examples whose patterns are compared.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    pub sequences: u16,
    /// Fine-tune under each kernel for this number of steps.
    #[arg(long, value_name = "STEPS", requires = "out", value_parser = clap::value_parser!(u64).range(1..))]
    pub finetune: Option<u64>,
    /// Share by which the loss may exceed that under softmax attention to count as back.
    #[arg(long, value_name = "SHARE", default_value_t = 0.05, requires = "finetune", value_parser = parse_tolerance)]
    pub within: f64,
    /// Change the experiment that the checkpoint was trained on, as in `-s data.test=5000`.
    #[arg(short = 's', long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Reset a value of that experiment to its default before anything is set.
    #[arg(long, value_name = "KEY")]
    pub unset: Vec<String>,
    /// Device to compute on: auto, or a name that `headway devices` lists.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceSpec,
    /// Also write a page with figures to DIR/report.html, and every value to DIR/results.json.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print one JSON document on standard output instead of a table.
    #[arg(long)]
    pub json: bool,
}

impl Swap {
    /// All changes to the experiment.
    pub fn overrides(&self) -> Vec<String> {
        overrides(&self.unset, &self.set, None)
    }
}

#[derive(ClapArgs)]
#[command(after_help = "\
A loss is a mean over examples; this is the worst case. The network is followed through all
its layers over boxes of inputs, and the worst box is halved again and again:
  upper  no input of the domain has a larger error, proved
  lower  the error at a point that was found
The search ends when they are --gap apart, after --minutes, or on Ctrl-C; what is printed then
holds, and the same command goes on. At most three input numbers can vary, named as in formulas
(x2_1 is number 1 of position 2); others are fixed. Networks with softmax attention: the paper's
models, attention_stack, and transformers with or without feed-forward networks.

  headway certify runs/first --target 'sin(3*x1)' --domain -1,1 --out runs/bound
  headway certify runs/first --free x1_1,x1_2 --fix 0 --out runs/slice   # all others at 0

Try:  headway train experiments/truncated_linear.toml -s task.seq_len=3 -s task.d_in=1 --out runs/clamp
      headway certify runs/clamp --minutes 1 --out runs/clamp-bound")]
pub struct Certify {
    /// Checkpoint folder, or run folder (its best checkpoint, else its newest); an experiment file for its first weights.
    pub checkpoint: PathBuf,
    /// Formula of the target at every position, once for each number that the network answers there. Default: the task's own
    /// function, of tasks that have one (function, truncated_linear, relu_network).
    #[arg(long, value_name = "FORMULA", allow_hyphen_values = true)]
    pub target: Vec<String>,
    /// Ends of the domain, once for all free numbers or once for each. Default: those between which the task draws its inputs.
    #[arg(long, value_name = "LOW,HIGH", allow_hyphen_values = true)]
    pub domain: Vec<String>,
    /// Input numbers that vary, as in x1_1,x2_1. Default: all that are not fixed.
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    pub free: Vec<String>,
    /// Input numbers that do not vary, as in x3_1=0.5; a value alone is that of all numbers that --free leaves out.
    #[arg(long, value_name = "NAME=VALUE", value_delimiter = ',', allow_hyphen_values = true)]
    pub fix: Vec<String>,
    /// Stop after this time; the bounds that are reached hold.
    #[arg(long, value_name = "MINUTES", default_value_t = 10.0, value_parser = parse_minutes)]
    pub minutes: f64,
    /// Stop when the upper bound exceeds the lower one by this share.
    #[arg(long, value_name = "SHARE", default_value_t = 0.01, value_parser = parse_tolerance)]
    pub gap: f64,
    /// Let the upper bound also cover every evaluation of the network in float32, in any order of sums. Default: it is about the
    /// function of the weights in real numbers.
    #[arg(long)]
    pub float32: bool,
    /// Folder of the page, the gap against time and the state of the search; if it holds the same search, that goes on.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Change the experiment that the checkpoint was trained on, as in `-s train.precision=f32`.
    #[arg(short = 's', long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Reset a value of that experiment to its default before anything is set.
    #[arg(long, value_name = "KEY")]
    pub unset: Vec<String>,
    /// Device of the model that is run at the worst point: auto, or a name that `headway devices` lists.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceSpec,
    /// Print one JSON document on standard output instead of lines.
    #[arg(long)]
    pub json: bool,
}

impl Certify {
    /// All changes to the experiment.
    pub fn overrides(&self) -> Vec<String> {
        overrides(&self.unset, &self.set, None)
    }
}

#[derive(ClapArgs)]
#[command(after_help = "\
Inputs have the shape [n, seq_len, d_in], or [n, seq_len] for tokens. Answers have the shape
[n, seq_len, d_out], or [n, d_out] or [n, horizon, d_out] if the data has one target per sequence.
Both are in the units of the data. If answers are classes, arrays contain their logits, and tables
the likeliest class and its probability.

  .csv  a line for each position; a column `example` says which lines belong together. Columns are
        those that the network was trained on, or all of them. A file may be packed as .csv.gz
  .npy  one array
  .npz  the array `inputs`, or the one that the network was trained on; answers are `outputs`

  headway predict runs/first --inputs new.csv --out answers.csv
  headway predict checkpoints/copy --inputs tokens.npy --out logits.npy
  echo '[[0.1, 0.2], [0.3, 0.4]]' | headway predict runs/first --json

Try:  echo '[3, 1, 4]' | headway predict checkpoints/copy --json")]
pub struct Predict {
    /// Checkpoint folder, or run folder (its best checkpoint, else its newest).
    pub checkpoint: PathBuf,
    /// File of examples: .csv, .npy, .npz or .fasta, by its extension. Without it, --json reads one example.
    #[arg(long, value_name = "FILE", requires = "out", required_unless_present = "json")]
    pub inputs: Option<PathBuf>,
    /// File to write the answers to, in the same format; must not exist.
    #[arg(long, value_name = "FILE", requires = "inputs")]
    pub out: Option<PathBuf>,
    /// Number of examples to compute at a time. Default: the batch size that the network was trained with.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_size: Option<u32>,
    /// Device to compute on: auto, or a name that `headway devices` lists.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceSpec,
    /// Print one JSON document on standard output. Without --inputs it is the answer to one example, which is read
    /// from standard input as a JSON array [seq_len, d_in], or [seq_len] for tokens.
    #[arg(long)]
    pub json: bool,
}

#[derive(ClapArgs)]
#[command(after_help = "\
Each token is drawn given the tokens before it, at most as many as the network was trained on.
Low temperatures repeat what is likeliest; --top-k and --top-p leave out what is unlikely. The same
prompt, options and seed give the same text. The files of the texts are not needed.

  headway generate checkpoints/austen --prompt 'It is a truth universally' --temperature 0.8
  headway generate checkpoints/austen --prompt 'CHAPTER' --length 2000 --top-p 0.9 --seed 3
  headway generate checkpoints/austen --prompt 'Mr. ' --temperature 0   # always the likeliest

Try:  headway train experiments/language.toml --out runs/austen
      headway generate runs/austen --prompt 'It is a truth'")]
pub struct Generate {
    /// Checkpoint folder, or run folder (its best checkpoint, else its newest), of a run on text.
    pub checkpoint: PathBuf,
    /// Text to continue.
    #[arg(long, value_name = "TEXT")]
    pub prompt: String,
    /// Number of tokens to add to it, at least 1.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub length: u32,
    /// Divides the logits before a token is drawn; 0 takes the likeliest token.
    #[arg(long, value_name = "T", default_value_t = 1.0, value_parser = parse_temperature)]
    pub temperature: f64,
    /// Draw from this many likeliest tokens only.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub top_k: Option<u32>,
    /// Draw from the fewest likeliest tokens only that have this probability together, above 0 and at most 1.
    #[arg(long, value_name = "P", value_parser = parse_share)]
    pub top_p: Option<f64>,
    /// Seed of the draws.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = parse_seed)]
    pub seed: u64,
    /// Device to compute on: auto, or a name that `headway devices` lists.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceSpec,
    /// Print one JSON document on standard output when the text is complete.
    #[arg(long)]
    pub json: bool,
}

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
pub struct Show {
    #[command(flatten)]
    pub experiment: ExperimentArgs,
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
pub struct Runs {
    #[command(subcommand)]
    pub action: RunsAction,
}

#[derive(Subcommand)]
pub enum RunsAction {
    /// Print one line per run in a folder, and one per sweep and comparison.
    List(RunsList),
    /// Print the record of one run: device, versions, status, results.
    Show {
        /// Folder of the run.
        run_dir: PathBuf,
        /// Print one JSON document on standard output.
        #[arg(long)]
        json: bool,
    },
    /// Print in what two runs differ: settings, circumstances, scores.
    Diff {
        /// Folders of the two runs.
        #[arg(num_args = 2, required = true, value_name = "RUN_DIR")]
        runs: Vec<PathBuf>,
        /// Print one JSON document on standard output.
        #[arg(long)]
        json: bool,
    },
    /// Delete runs, sweeps or comparisons with all that they hold; without --yes, print what that would be.
    Rm {
        /// Folders of runs, sweeps or comparisons. If one of them is something else or in use, none is deleted.
        #[arg(required = true)]
        folders: Vec<PathBuf>,
        /// Delete them for good.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(ClapArgs)]
pub struct RunsList {
    /// Folder that contains the runs.
    #[arg(default_value = "runs")]
    pub folder: PathBuf,
    /// Only runs on this task, see `headway list tasks`.
    #[arg(long, value_name = "NAME")]
    pub task: Option<String>,
    /// Only runs of this model, see `headway list models`.
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Only runs with this status: running, killed, complete, stopped_early, stopped or diverged.
    #[arg(long, value_name = "STATUS")]
    pub status: Option<String>,
    /// Order: by name, or those first that are the newest, took the most steps, the longest time or the most parameters, or have
    /// the best score.
    #[arg(long, value_enum, default_value = "name")]
    pub sort: RunsOrder,
    /// Print one JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum RunsOrder {
    Name,
    Date,
    Steps,
    Time,
    Parameters,
    Score,
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
