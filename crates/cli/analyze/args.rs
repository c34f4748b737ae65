//! The command line of `headway analyze`: parsing only.

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
Attention alone makes all rows equal, doubly exponentially in the depth (Dong,
Cordonnier, Loukas 2021); skip connections keep them apart. The residual is the
hidden state minus its mean row. It is computed in f64 from the weights, down to
1e-300, far below the rounding error of the state; the parts of the network before
the first and after the last layer are left out.

A map before each layer, as in an attention_stack (headway construct writes such
models), adds a different bias to every row, and equal rows do not stay equal. The
residual after each layer is then computed from the state itself, in f64; below
1e-15 of the state it is rounding error. Such layers have no skip connection, so
--skip on is refused.

Twelve layers with their initial weights, with and without skip connections:
  headway analyze rank experiments/icl_linear.toml -s model.n_layers=12 \\
    -s model.causal=false -s model.norm=none --compare --out runs/rank

The rank collapse of a trained network without its skip connections:
  headway analyze rank checkpoints/icl_linear_d5 --skip off --norm off")]
    Rank(Rank),
    /// The last hidden state as a sum over paths through the heads, and which paths matter.
    #[command(after_help = "\
With its attention patterns held fixed, a stack of attention layers is linear, and
its last hidden state is a sum over paths. At each layer a path goes through one
head or, if there is one, through the skip connection. L layers of H heads with
skip connections have (H + 1)^L paths; more than a million are refused. Layer norms
are included with their deviations held fixed. Maps before layers are included with
their linear parts, and their constants count as biases. Feed-forward networks
cannot be included; leave them out with --ffn off.

Which paths through a trained network carry its output:
  headway analyze paths checkpoints/icl_linear_d5 --top 5")]
    Paths(Paths),
    /// What the network would answer by its short paths alone.
    #[command(after_help = "\
As in analyze paths, the last hidden state is a sum over paths through the heads; here
the network's own head (final norm and head, channels, or readout) is applied to the sum
over paths with k heads on them, and to that over all paths with at most k heads. Sums
are exact for any number of paths (Dong, Cordonnier, Loukas 2021 draw some at random).
Feed-forward networks are refused, since they have no paths.

How long the paths are that a trained network needs:
  headway analyze path-scores checkpoints/icl_linear_d5")]
    PathScores(PathScores),
    /// Attention patterns: a map per layer and head, and what each head attends to.
    #[command(after_help = "\
For each head: the entropy of its patterns, and the share of attention on the first
key, on learned keys (anchors, prefixes), on the query's own position, on the one before
it, and, with tokens, on positions after earlier occurrences of the same token (as in an
induction head, Elhage et al. 2021, Olsson et al. 2022). Uniform attention is shown for
comparison. With prompts x_1, y_1, x_2, ... also the share from x to y and so on.

What the heads of a trained network attend to, as a page:
  headway analyze patterns checkpoints/icl_linear_d5 --out runs/patterns

The same for one test sequence instead of the mean:
  headway analyze patterns checkpoints/icl_linear_d5 --sequence 3 --out runs/third")]
    Patterns(Patterns),
    /// The effect of each head and each layer of attention: the loss without it.
    #[command(after_help = "\
The output of a head, before the output projection, is replaced by zero or by its mean
over the evaluated sequences and their queries: for each head by itself, and for whole
layers. Differences are paired by example.

Which heads of a trained network matter:
  headway analyze ablate checkpoints/icl_linear_d5 --sequences 512")]
    Ablate(Ablate),
    /// What the network would predict if it stopped after each layer, and what an affine map could read there.
    #[command(after_help = "\
The network's own head (final norm and head, channels, or readout) is applied to the
state after each layer (nostalgebraist 2020), and so is the best affine map of that
state, fitted by ridge regression to other examples (after Belrose et al. 2023). The
first shows what the head can read, the second what the state contains.

  headway analyze logit-lens checkpoints/icl_linear_d5")]
    LogitLens(LogitLens),
    /// Which classical predictor the network resembles: gradient descent, ridge regression, least squares.
    #[command(after_help = "\
For in-context tasks: the mean squared distance between the network's prediction and
that of each predictor, divided by d, for every number of examples (Garg et al. 2022,
Akyürek et al. 2022). Ridge regression and gradient descent are fitted to the network
on other prompts. For rules that predict w . x also the cosine between the gradients
of both predictions (von Oswald et al. 2022) and the distance between w and the
network's implicit weights.

  headway analyze in-context checkpoints/icl_linear_d5 --out runs/in-context")]
    InContext(InContext),
    /// How alike tokens have become: the cosines of their learned rows.
    #[command(after_help = "\
Each row less the mean row. Residues of proteins are also compared with BLOSUM62, a
table of how readily they replace one another in nature (Henikoff and Henikoff 1992).

  headway analyze embedding runs/proteins --out runs/residues")]
    Embedding(Target),
    /// Estimates of a point from agents some of whom lie, by classical estimators alone: no network.
    #[command(after_help = "\
Agent i observes a_i . mu with noise, and some agents report as if mu were another
point. The stochastic l1 algorithm sees one observation at a time. Without noise the
least sum of deviations withstands m liars, whatever they say, if and only if
sum_S |a_i . x| < sum_notS |a_i . x| for all x and all sets S of m agents. The liars
are those with the largest ratio of the two sums, which is computed exactly, and they
collude along its direction. Agents are directions drawn from the seed.

The threshold, as a page:
  headway analyze robust --out runs/robust")]
    Robust(Robust),
}

/// Where the results of an analysis go.
#[derive(ClapArgs)]
pub struct Output {
    /// Write a page with the figure and the numbers to DIR/report.html.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print one JSON document on standard output instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// A network, and where its page is written.
#[derive(ClapArgs)]
pub struct Target {
    /// Checkpoint folder, run folder (its best checkpoint, else its newest), or an experiment file (TOML), which stands
    /// for the weights from which training would start.
    #[arg(value_name = "CHECKPOINT|EXPERIMENT")]
    pub source: PathBuf,
    /// Change one value of the experiment, as in `-s model.n_layers=12`.
    #[arg(short = 's', long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Reset a value of the experiment to its default before anything is set.
    #[arg(long, value_name = "KEY")]
    pub unset: Vec<String>,
    /// Seed of weights and data; the same as `-s seed=N`.
    #[arg(long, value_name = "N", value_parser = parse_seed)]
    pub seed: Option<u64>,
    /// Device to compute on: auto, or a name that `headway devices` lists.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceSpec,
    #[command(flatten)]
    pub output: Output,
}

/// A network, and which part of it to analyse.
#[derive(ClapArgs)]
pub struct Subject {
    #[command(flatten)]
    pub target: Target,
    /// Largest number of sequences of the first test batch to use; numbers are medians over them.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub sequences: u16,
    /// Use only the first N layers.
    #[arg(long, value_name = "N")]
    pub layers: Option<usize>,
    /// The layer norms; off removes them. Default: as in the model.
    #[arg(long, value_name = "ON|OFF", hide_possible_values = true)]
    pub norm: Option<Switch>,
    /// The causal mask; off removes it. Default: as in the model.
    #[arg(long, value_name = "ON|OFF", hide_possible_values = true)]
    pub causal: Option<Switch>,
}

#[derive(ClapArgs)]
pub struct PathScores {
    #[command(flatten)]
    pub target: Target,
    /// Largest number of test examples to score.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    pub sequences: u16,
}

#[derive(ClapArgs)]
pub struct Patterns {
    #[command(flatten)]
    pub target: Target,
    /// Largest number of test sequences to average over.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub sequences: u16,
    /// Use only test sequence K, counted from 0.
    #[arg(long, value_name = "K", conflicts_with = "sequences")]
    pub sequence: Option<usize>,
}

#[derive(ClapArgs)]
pub struct Ablate {
    #[command(flatten)]
    pub target: Target,
    /// Largest number of test examples to score.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    pub sequences: u16,
    /// What replaces the output of a head. Default: both, one after the other.
    #[arg(long, value_name = "ZERO|MEAN", hide_possible_values = true)]
    pub with: Option<AblationKind>,
}

#[derive(ClapArgs)]
pub struct LogitLens {
    #[command(flatten)]
    pub target: Target,
    /// Largest number of test examples to score.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    pub sequences: u16,
}

#[derive(ClapArgs)]
pub struct InContext {
    #[command(flatten)]
    pub target: Target,
    /// Largest number of test prompts for the comparison; rules are fitted to the same number of others, up to 256.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    pub sequences: u16,
}

#[derive(ClapArgs)]
pub struct Robust {
    /// Number of agents.
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub agents: usize,
    /// Dimension of mu.
    #[arg(short, long, value_name = "D", default_value_t = 3)]
    pub d: usize,
    /// Numbers of liars, each a row of the table.
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "2,3,4,6")]
    pub liars: Vec<usize>,
    /// Distance from mu to the point that liars report; constant liars report this number.
    #[arg(long, value_name = "X", default_value_t = 20.0)]
    pub distance: f64,
    /// Standard deviation of the noise of every observation.
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub noise: f64,
    /// Number of runs; errors are medians over them.
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub runs: u64,
    /// Numbers of steps at which errors are printed; the largest is the length of a run.
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "2000,20000,200000",
          value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub steps: Vec<u64>,
    /// Seed of agents and observations.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = parse_seed)]
    pub seed: u64,
    #[command(flatten)]
    pub output: Output,
}

impl Robust {
    /// The request for the analysis.
    pub fn request(&self) -> headway_inspect::RobustRequest {
        headway_inspect::RobustRequest {
            d: self.d,
            n_agents: self.agents,
            liars: self.liars.clone(),
            distance: self.distance,
            noise: self.noise,
            runs: self.runs,
            steps: self.steps.clone(),
            seed: self.seed,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub enum AblationKind {
    Zero,
    Mean,
}

impl AblationKind {
    /// The corresponding kind of ablation.
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
    /// The skip connections around attention and feed-forward networks; on adds them if the model has none. Default: as
    /// in the model.
    #[arg(long, value_name = "ON|OFF", hide_possible_values = true)]
    pub skip: Option<Switch>,
    /// The feed-forward networks; off removes them. Default: as in the model.
    #[arg(long, value_name = "ON|OFF", hide_possible_values = true)]
    pub ffn: Option<Switch>,
    /// Compare all combinations of skip connections and feed-forward networks that the model has weights for.
    #[arg(long, conflicts_with_all = ["skip", "ffn"])]
    pub compare: bool,
}

#[derive(ClapArgs)]
pub struct Paths {
    #[command(flatten)]
    pub subject: Subject,
    /// The skip connections around attention and feed-forward networks; on adds them if the model has none. Default: as
    /// in the model.
    #[arg(long, value_name = "ON|OFF", hide_possible_values = true)]
    pub skip: Option<Switch>,
    /// The feed-forward networks; off removes them. Default: as in the model.
    #[arg(long, value_name = "ON|OFF", hide_possible_values = true)]
    pub ffn: Option<Switch>,
    /// Number of the largest paths to show.
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
    /// The request for the analysis.
    pub fn request(&self) -> headway_inspect::Request {
        headway_inspect::Request {
            source: self.target.source.clone(),
            overrides: self.target.overrides(),
            sequences: usize::from(self.sequences),
            layers: self.layers,
        }
    }

    /// The parts to switch on or off.
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
