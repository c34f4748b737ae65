//! Verbs about a trained network.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use headway_tasks::icl::algorithm::Algorithm;
use headway_trainer::device::DeviceSpec;

use super::ExperimentArgs;
use crate::values::{
    algorithms, overrides, parse_minutes, parse_seed, parse_share, parse_temperature, parse_tolerance,
};

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

Where the error is worst is written to DIR/boxes.json, and train.worst_boxes=DIR takes a quarter of
the training examples from there.

Of a network that was trained on max_of_k its accuracy over all words is bounded from below
instead, by three strategies that try no word, and by trying every word where these are at
most 2^24. The network has one layer of attention alone.

  headway certify runs/first --target 'sin(3*x1)' --domain -1,1 --out runs/bound
  headway certify runs/first --free x1_1,x1_2 --fix 0 --out runs/slice   # all others at 0

  headway train experiments/max_of_k.toml --out runs/max
  headway certify runs/max --out runs/max-proved

Without Headway, from the weights and the task alone, either is found anew by
  python3 python/check_bound.py runs/bound

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
The prompt holds examples (x, y), a query, and the algorithm as two tables: slopes of its loss, and what
a step of it does to every weight. The network looks them up by attention and runs the steps; none of
its weights depends on the algorithm. Problems are drawn as in the task, the same for all algorithms.

  gd               least squares             huber             Huber's robust regression
  ridge            a penalty on |w|^2        logistic          logistic regression
  lasso            a penalty on |w|_1        sparse_logistic   logistic regression with one on |w|_1

--out writes the prompts for `headway predict`, whose last answer is that to the query.

Try:  headway construct interpreter --tolerance 1e-2 --out runs/interpreter
      headway prompt runs/interpreter --algorithm ridge,lasso")]
pub struct Prompt {
    /// Checkpoint folder, or run folder (its best checkpoint, else its newest), of `headway construct interpreter` or of a
    /// network trained on in_context_algorithm.
    pub checkpoint: PathBuf,
    /// Algorithms, separated by commas. Default: all that the network was made for.
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',', value_parser = algorithms())]
    pub algorithm: Vec<Algorithm>,
    /// Number of problems, each given to every algorithm.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub problems: u16,
    /// Seed from which problems are drawn.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = parse_seed)]
    pub seed: u64,
    /// Write the prompts to a .npy file [prompts, seq_len, d_in]; must not exist.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Device to compute on: auto, or a name that `headway devices` lists.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceSpec,
    /// Print one JSON document on standard output instead of a table.
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
pub struct Show {
    #[command(flatten)]
    pub experiment: ExperimentArgs,
    /// Print one JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}
