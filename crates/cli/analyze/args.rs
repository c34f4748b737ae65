//! The words of `headway analyze`: parsing only.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use headway_trainer::device::DeviceSpec;

use crate::values::{overrides, parse_seed};

#[derive(ClapArgs)]
pub struct Analyze {
    #[command(subcommand)]
    pub action: Action,
}

#[derive(Subcommand)]
pub enum Action {
    /// Rank collapse: how far the rows of the hidden state are from being equal, layer by layer.
    #[command(after_help = "\
Attention alone drives all rows together, doubly exponentially in the depth
(Dong, Cordonnier, Loukas 2021); skips keep them apart. The residual is the
hidden state less its mean row. It is followed down to 1e-300, far below what
rounding would leave of it, in f64 from the weights; what stands before the first
layer and behind the last is left out.

A map in front of each layer, as an attention_stack has (headway construct writes
such), adds a bias of its own to every row, and equal rows do not stay equal. The
residual of the rows that leave each layer is then computed plainly, in f64; below
1e-15 of the state it is rounding. Nothing goes past such layers: no --skip on.

Twelve layers with their first weights, with and without skips, on one page:
  headway analyze rank experiments/icl_linear.toml -s model.n_layers=12 \\
    -s model.causal=false -s model.norm=none --compare --out runs/rank

What is left of a trained network without its skips:
  headway analyze rank checkpoints/icl_linear_d5 --skip off --norm off")]
    Rank(Rank),
    /// The last hidden state as a sum over paths through the heads, and which paths matter.
    #[command(after_help = "\
With its attention patterns held fixed, a stack of attention layers is linear, and
its last hidden state is a sum over paths that pass at each layer through one head
or, where there is a skip, past all of them. Of H heads, a skip and L layers there
are (H + 1)^L; more than a million are refused. Layer norms take part with their
deviations held fixed, and maps in front of layers with their linear parts, their
constants being biases; feed-forward networks cannot (--ffn off).

Which paths through a trained network carry its output:
  headway analyze paths checkpoints/icl_linear_d5 --top 5")]
    Paths(Paths),
    /// Attention patterns: a map per layer and head, and where each head's attention goes.
    #[command(after_help = "\
Of each head: the entropy of its patterns, and their mass on the first key, on learned
keys (anchors, prefixes), on the own position, on the one before, and with tokens on
those after earlier occurrences of the same token (an induction head, Elhage et al.
2021, Olsson et al. 2022). Beside them stands what uniform attention would have. With
prompts x_1, y_1, x_2, ... also the mass from x to y and so on.

What the heads of a trained network look at, as a page:
  headway analyze patterns checkpoints/icl_linear_d5 --out runs/patterns

The same of one test sequence instead of the mean:
  headway analyze patterns checkpoints/icl_linear_d5 --sequence 3 --out runs/third")]
    Patterns(Patterns),
    /// What each head and each layer of attention is worth: the loss without it.
    #[command(after_help = "\
What a head mixes from its values, before the output projection, is replaced by zero
or by its mean over the evaluated sequences and their queries, in one head after the
other and in whole layers. The differences are paired by example.

Which heads of a trained network matter:
  headway analyze ablate checkpoints/icl_linear_d5 --sequences 512")]
    Ablate(Ablate),
    /// What the network would answer if it stopped after each layer, and what an affine map could read there.
    #[command(after_help = "\
The network's own head (last norm and head, channels, or readout) is put on the state
after each layer (nostalgebraist 2020). Beside it stands the best affine map of that
state, fitted by ridge regression to other examples (after Belrose et al. 2023): the
one says what the head can read, the other what is there to be read.

  headway analyze logit-lens checkpoints/icl_linear_d5")]
    LogitLens(LogitLens),
    /// Which classical predictor the network behaves like: gradient descent, ridge regression, least squares.
    #[command(after_help = "\
For tasks that are learned from the examples of a prompt: the mean squared distance
between the network's prediction and that of each predictor, divided by d, at every
number of examples (Garg et al. 2022, Akyürek et al. 2022). Ridge regression and
gradient descent are fitted to the network on other prompts. For rules that predict
w . x also the cosine of sensitivities (von Oswald et al. 2022) and the distance of
the network's implicit weights.

  headway analyze in-context checkpoints/icl_linear_d5 --out runs/in-context")]
    InContext(InContext),
}

/// A network, and where its page goes.
#[derive(ClapArgs)]
pub struct Target {
    /// Checkpoint folder, run folder (its best checkpoint, else its newest), or an experiment file (TOML), which is taken with the
    /// weights that training would start from.
    #[arg(value_name = "CHECKPOINT|EXPERIMENT")]
    pub source: PathBuf,
    /// Change one value of the experiment, as in `-s model.n_layers=12`.
    #[arg(short = 's', long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Give a value of the experiment its default, before anything is set.
    #[arg(long, value_name = "KEY")]
    pub unset: Vec<String>,
    /// Seed of weights and data; the same as `-s seed=N`.
    #[arg(long, value_name = "N", value_parser = parse_seed)]
    pub seed: Option<u64>,
    /// Where to compute: auto, cpu, wgpu, wgpu:N, cuda, cuda:N or ndarray (see `headway devices`).
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceSpec,
    /// Write a page with the figure and the numbers to DIR/report.html.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print one JSON document on standard output instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// A network and the part of it to look at.
#[derive(ClapArgs)]
pub struct Subject {
    #[command(flatten)]
    pub target: Target,
    /// Sequences of the first test batch to take at most; numbers are medians over them.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub sequences: u16,
    /// Take only the first N layers.
    #[arg(long, value_name = "N")]
    pub layers: Option<usize>,
    /// The layer norms; off takes them out. Default: as the model has it.
    #[arg(long, value_name = "ON|OFF", hide_possible_values = true)]
    pub norm: Option<Switch>,
    /// The causal mask; off takes it away. Default: as the model has it.
    #[arg(long, value_name = "ON|OFF", hide_possible_values = true)]
    pub causal: Option<Switch>,
}

#[derive(ClapArgs)]
pub struct Patterns {
    #[command(flatten)]
    pub target: Target,
    /// Test sequences to take the mean over, at most.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub sequences: u16,
    /// Look at test sequence K alone, counted from 0.
    #[arg(long, value_name = "K", conflicts_with = "sequences")]
    pub sequence: Option<usize>,
}

#[derive(ClapArgs)]
pub struct Ablate {
    #[command(flatten)]
    pub target: Target,
    /// Test examples to score, at most.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    pub sequences: u16,
    /// What takes the place of a head. Default: both, one after the other.
    #[arg(long, value_name = "ZERO|MEAN", hide_possible_values = true)]
    pub with: Option<AblationKind>,
}

#[derive(ClapArgs)]
pub struct LogitLens {
    #[command(flatten)]
    pub target: Target,
    /// Test examples to score, at most.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    pub sequences: u16,
}

#[derive(ClapArgs)]
pub struct InContext {
    #[command(flatten)]
    pub target: Target,
    /// Test prompts to compare on, at most; rules are fitted to as many others, up to 256.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    pub sequences: u16,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum AblationKind {
    Zero,
    Mean,
}

impl AblationKind {
    /// What the analysis calls it.
    pub fn with(self) -> headway_inspect::AblationKind {
        match self {
            Self::Zero => headway_inspect::AblationKind::Zero,
            Self::Mean => headway_inspect::AblationKind::Mean,
        }
    }
}

#[derive(ClapArgs)]
pub struct Rank {
    #[command(flatten)]
    pub subject: Subject,
    /// The skips around attention and feed-forward network; on adds them where the model has none. Default: as the model has it.
    #[arg(long, value_name = "ON|OFF", hide_possible_values = true)]
    pub skip: Option<Switch>,
    /// The feed-forward networks; off takes them out. Default: as the model has it.
    #[arg(long, value_name = "ON|OFF", hide_possible_values = true)]
    pub ffn: Option<Switch>,
    /// Put side by side all combinations of skips and feed-forward networks that the model has weights for.
    #[arg(long, conflicts_with_all = ["skip", "ffn"])]
    pub compare: bool,
}

#[derive(ClapArgs)]
pub struct Paths {
    #[command(flatten)]
    pub subject: Subject,
    /// The skips around attention and feed-forward network; on adds them where the model has none. Default: as the model has it.
    #[arg(long, value_name = "ON|OFF", hide_possible_values = true)]
    pub skip: Option<Switch>,
    /// The feed-forward networks; off takes them out. Default: as the model has it.
    #[arg(long, value_name = "ON|OFF", hide_possible_values = true)]
    pub ffn: Option<Switch>,
    /// How many of the largest paths to show.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

impl Target {
    /// All changes to the experiment, `--seed` last.
    pub fn overrides(&self) -> Vec<String> {
        overrides(&self.unset, &self.set, self.seed)
    }
}

impl Subject {
    /// What to analyse.
    pub fn request(&self) -> headway_inspect::Request {
        headway_inspect::Request {
            source: self.target.source.clone(),
            overrides: self.target.overrides(),
            sequences: usize::from(self.sequences),
            layers: self.layers,
        }
    }

    /// The pieces switched on or off.
    pub fn parts(&self, skip: Option<Switch>, ffn: Option<Switch>) -> headway_inspect::Parts {
        let is_on = |switch: Switch| matches!(switch, Switch::On);
        headway_inspect::Parts {
            skip: skip.map(is_on),
            norm: self.norm.map(is_on),
            ffn: ffn.map(is_on),
            causal: self.causal.map(is_on),
        }
    }
}
