//! The command line of `headway construct`, which is converted to the config of a construction. Its defaults are those
//! of the config.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use headway_tasks::icl::algorithm::Algorithm;
use headway_theory::{
    cells::Attention,
    construct::{
        ConstructionConfig, activation, formula, in_context_gd, interpreter, kernel_ridge, max_affine, network_descent,
        options, prefix, program, relu_network, seq2seq,
        truncated_linear::{self, ClampConfig},
        truncated_linear_heads,
    },
    interpolation::Mode,
    smoothness::Given,
};
use headway_trainer::device::DeviceSpec;

use crate::values::{algorithms, parse_seed};

#[derive(Args)]
#[command(after_help = "\
A construction first finds the smallest size whose error bound, including rounding in float32,
meets the tolerance. Then it writes the weights, measures their error at random points and at
points known to be hard, and writes an ordinary checkpoint that contains a certificate.json.

Try:  headway construct truncated-linear --tolerance 0.05 --out runs/clamp
      headway eval runs/clamp
      headway train runs/clamp/train.toml --init-from runs/clamp")]
pub struct Construct {
    #[command(subcommand)]
    pub what: Construction,
}

/// Options that all constructions share.
#[derive(Args)]
pub struct Common {
    /// Largest error of any output number, over the whole domain, in float32. Where there are sizes to give, such as
    /// --intervals, it may be left out; the certificate then states the error of that size.
    #[arg(long, value_name = "EPS")]
    pub tolerance: Option<f64>,
    /// Folder of the checkpoint; must be empty or new. Default: runs/NAME-K, with the construction's name and the first free K.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Largest number of parameters; more is refused before any work.
    #[arg(long, default_value_t = 50_000_000, value_name = "N")]
    pub max_params: usize,
    /// Prove the error over the whole domain by branch and bound on the weights as the file holds them, of functions of up
    /// to three numbers: a bound near the true error, and boxes in proof.json that python/check_proof.py checks. relu-network and
    /// in-context-gd write the inequalities of their bound there, as exact rationals.
    #[arg(long)]
    pub prove: bool,
    /// Longest time for the proof; when it is over, the bound reached by then is taken.
    #[arg(long, default_value_t = 5.0, value_name = "M", requires = "prove")]
    pub prove_minutes: f64,
    /// Device to measure on: auto, or a name that `headway devices` lists.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceSpec,
    /// Print the certificate as JSON on standard output instead of a summary.
    #[arg(long)]
    pub json: bool,
}

/// One construction with its options.
#[derive(Subcommand)]
pub enum Construction {
    /// One head: y_i = clamp(w_i . x_i + t_i, low, high) at every position, with error 0.062 (high - low) / p.
    TruncatedLinear(TruncatedLinear),
    /// H heads: the same clamp, each head on a part of the range, with error 0.062 (high - low) / ((n - 1) H).
    TruncatedLinearHeads(TruncatedLinearHeads),
    /// One head: any function of one number at every position, given by its values at the anchors.
    Activation(Activation),
    /// A two-layer ReLU network of the whole sequence, compiled to attention alone.
    ReluNetwork(ReluNetwork),
    /// Any continuous function of the whole sequence: by a grid, or by fitting a ReLU network and compiling it.
    Seq2seq(Seq2seq),
    /// A formula of the whole sequence: every operation becomes heads, layers follow its depth, and errors are pushed through.
    Formula(Formula),
    /// A program in C-RASP: Boolean circuits, automata and counts, compiled to attention alone and tried on every word.
    Program(Program),
    /// Gradient descent in a prompt: least squares, ridge, Lasso, logistic, Huber.
    InContextGd(InContextGd),
    /// One frozen network that executes the algorithm in its prompt: `headway prompt` writes such prompts.
    Interpreter(Interpreter),
    /// Kernel ridge regression on the examples in a prompt, by Richardson's iteration: attention is the kernel.
    KernelRidge(KernelRidge),
    /// Training of a network with a hidden layer in its prompt: gradient descent on the examples behind it.
    NetworkDescent(NetworkDescent),
    /// One head that divides space into cells by the largest of several affine scores, and gives each cell its value.
    MaxAffine(MaxAffine),
    /// A prefix with which a frozen head computes a function on the circle or the sphere.
    Prefix(Prefix),
}

/// How sharply a head attends to its anchors.
#[derive(Clone, Copy, ValueEnum)]
pub enum Sharpness {
    /// c = 2.725: the smallest error over all inputs.
    Minimax,
    /// c = 1: nearly exact away from kinks.
    Smooth,
    /// c = 12: the regime of the theorem, in which the nearest anchor gets all attention.
    Hard,
}

/// The clamp that both clamp constructions compute.
#[derive(Args)]
pub struct Clamp {
    /// Number of positions.
    #[arg(long, default_value_t = ClampConfig::default().seq_len, value_name = "N")]
    pub seq_len: usize,
    /// Numbers per position.
    #[arg(long, default_value_t = ClampConfig::default().d_in, value_name = "N")]
    pub d_in: usize,
    /// Lower end of the clamp.
    #[arg(long, default_value_t = ClampConfig::default().low, value_name = "A")]
    pub low: f64,
    /// Upper end of the clamp.
    #[arg(long, default_value_t = ClampConfig::default().high, value_name = "B")]
    pub high: f64,
    /// Input numbers lie within plus or minus this.
    #[arg(long, default_value_t = ClampConfig::default().input, value_name = "X")]
    pub input: f64,
    /// Seed from which w and t are drawn, all from N(0, 1), as in the task `truncated_linear`.
    #[arg(long, default_value_t = ClampConfig::default().seed, value_name = "N", value_parser = parse_seed)]
    pub seed: u64,
    /// A safetensors file with w and t instead: `weights [seq_len, d_in]` and `offsets [seq_len]`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seq_len", "d_in", "seed"])]
    pub weights: Option<PathBuf>,
    /// How sharply heads attend to their anchors.
    #[arg(long, default_value = "minimax", value_name = "MODE")]
    pub mode: Sharpness,
}

/// Options of `truncated-linear`.
#[derive(Args)]
pub struct TruncatedLinear {
    #[command(flatten)]
    pub clamp: Clamp,
    /// p, number of intervals between anchors. Default: the fewest that meet the tolerance.
    #[arg(long, value_name = "P")]
    pub intervals: Option<usize>,
    /// Where the values of the anchors come from: the anchors themselves, or a linear program, with an error of 0.046 (high - low) / p, which
    /// needs --prove. Default: linear-program with --prove, else function.
    #[arg(long, value_name = "FROM", requires_if("linear-program", "prove"))]
    pub values: Option<AnchorValues>,
    /// Make all maps token-wise and hide later positions: two layers, with the anchors as a prompt before the sequence.
    #[arg(long)]
    pub causal: bool,
    #[command(flatten)]
    pub common: Common,
}

/// Options of `truncated-linear-heads`.
#[derive(Args)]
pub struct TruncatedLinearHeads {
    #[command(flatten)]
    pub clamp: Clamp,
    /// Use the w and t of the first position at every position, so that the map before attention is token-wise.
    #[arg(long)]
    pub shared: bool,
    /// H, number of heads. Default: the fewest that meet the tolerance.
    #[arg(long, value_name = "H")]
    pub heads: Option<usize>,
    #[command(flatten)]
    pub common: Common,
}

/// A box of inputs.
#[derive(Args)]
pub struct Ends {
    /// Smallest input number.
    #[arg(long, default_value_t = options::Ends::default().low, value_name = "A")]
    pub low: f64,
    /// Largest input number.
    #[arg(long, default_value_t = options::Ends::default().high, value_name = "B")]
    pub high: f64,
}

/// Options of `activation`.
#[derive(Args)]
pub struct Activation {
    /// A built-in (see `headway list functions`) or a formula in x1, such as "x1*sigmoid(x1)".
    #[arg(long, value_name = "NAME|FORMULA", required_unless_present = "table")]
    pub function: Option<String>,
    /// A CSV file of x,y in increasing x instead: linear between the points, constant beyond them.
    #[arg(long, value_name = "FILE", conflicts_with = "function")]
    pub table: Option<PathBuf>,
    /// Where the slope of a formula jumps; for built-ins and tables this is known.
    #[arg(long, value_name = "X", conflicts_with = "table")]
    pub kink: Vec<f64>,
    /// Number of positions, each with one number.
    #[arg(long, default_value_t = activation::Config::default().seq_len, value_name = "N")]
    pub seq_len: usize,
    /// Smallest input number.
    #[arg(long, default_value_t = activation::Config::default().low, value_name = "A")]
    pub low: f64,
    /// Largest input number.
    #[arg(long, default_value_t = activation::Config::default().high, value_name = "B")]
    pub high: f64,
    /// How sharply the head attends to its anchors. Default: minimax or smooth, whichever needs fewer anchors.
    #[arg(long, value_name = "MODE")]
    pub mode: Option<Sharpness>,
    /// p, number of intervals between anchors. Default: about the fewest that meet the tolerance.
    #[arg(long, value_name = "P")]
    pub intervals: Option<usize>,
    /// Where the values of the anchors come from; linear-program needs --prove. Default: linear-program with --prove, else
    /// function.
    #[arg(long, value_name = "FROM", requires_if("linear-program", "prove"))]
    pub values: Option<AnchorValues>,
    #[command(flatten)]
    pub smoothness: Smoothness,
    #[command(flatten)]
    pub common: Common,
}

/// Where the values of anchors come from.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum AnchorValues {
    /// The function at the anchor.
    Function,
    /// The values with the smallest largest error.
    LinearProgram,
}

/// Bounds on a function's derivatives.
#[derive(Args)]
pub struct Smoothness {
    /// Bound on the slope of the function, used if its formula implies less or nothing; the certificate then holds if
    /// the bound is true.
    #[arg(long, value_name = "L")]
    pub lipschitz: Option<f64>,
    /// Bound on the second derivative of the function, used likewise.
    #[arg(long, value_name = "M")]
    pub curvature: Option<f64>,
}

/// Form of a compiled ReLU network.
#[derive(Clone, Copy, ValueEnum)]
pub enum ReluForm {
    /// Two attention layers, the paper's form: error 0.062 S / (p H).
    T1,
    /// Three strict self-attention layers with token-wise maps; the error does not depend on the size.
    T2,
    /// One attention layer, then a softmax.
    S,
}

/// Options of `relu-network`.
#[derive(Args)]
pub struct ReluNetwork {
    /// A file of PyTorch's nn.Sequential(Linear, ReLU, Linear), as torch.save or safetensors write it: 0.weight, 0.bias, 2.weight, 2.bias.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["d", "hidden", "seed"])]
    pub network: Option<PathBuf>,
    /// Number of positions into which the network's flat inputs and outputs are split.
    #[arg(long, default_value_t = relu_network::Config::default().seq_len, value_name = "N")]
    pub seq_len: usize,
    /// Numbers per position of a drawn network, for inputs and outputs.
    #[arg(long, default_value_t = relu_network::Config::default().d, value_name = "N")]
    pub d: usize,
    /// Hidden units of a drawn network.
    #[arg(long, default_value_t = relu_network::Config::default().hidden, value_name = "N")]
    pub hidden: usize,
    /// Seed from which the network is drawn, all weights from N(0, 1), as in the task `relu_network`.
    #[arg(long, default_value_t = relu_network::Config::default().seed, value_name = "N", value_parser = parse_seed)]
    pub seed: u64,
    /// Form of the compiled network.
    #[arg(long, default_value = "t2", value_name = "FORM")]
    pub form: ReluForm,
    #[command(flatten)]
    pub ends: Ends,
    /// How sharply heads attend to their anchors (t1 and s). Default: minimax.
    #[arg(long, value_name = "MODE")]
    pub mode: Option<Sharpness>,
    /// p, number of intervals between anchors of a head (t1 and s). Default: the fewest that meet the tolerance.
    #[arg(long, value_name = "P")]
    pub intervals: Option<usize>,
    /// H, number of heads (t1). Default: the fewest that meet the tolerance.
    #[arg(long, value_name = "H")]
    pub heads: Option<usize>,
    /// Inverse temperature of the gates (t2). Default: large enough that gates matter little beside rounding.
    #[arg(long, value_name = "BETA")]
    pub beta: Option<f64>,
    /// Let no position see a later one (t2): a drawn network loses the weights that would, and a given one must have none.
    #[arg(long)]
    pub causal: bool,
    #[command(flatten)]
    pub common: Common,
}

/// How a function of the sequence is approximated.
#[derive(Clone, Copy, ValueEnum)]
pub enum Method {
    /// A grid, for at most four input numbers if it meets the tolerance, else a fit.
    Auto,
    /// One head looks the function up on a grid.
    Grid,
    /// A ReLU network is fitted, then compiled.
    Fit,
}

/// Options of `seq2seq`.
#[derive(Args)]
pub struct Seq2seq {
    /// A built-in (see `headway list functions`) or a formula per output number of a position, in x1 … (the position's
    /// own numbers), x1_1 … (number 1 of position 1, …) and i (the position); to be given once per output number.
    #[arg(long, value_name = "NAME|FORMULA", required_unless_present = "samples")]
    pub function: Vec<String>,
    /// Samples instead: `inputs [count, seq_len, d_in]` and `outputs [count, seq_len, d_out]` in a .safetensors or .npz file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["function", "seq_len", "d_in"])]
    pub samples: Option<PathBuf>,
    /// Number of positions. Default: that of a built-in, else 2.
    #[arg(long, value_name = "N")]
    pub seq_len: Option<usize>,
    /// Numbers per position. Default: those of a built-in, else 2.
    #[arg(long, value_name = "N")]
    pub d_in: Option<usize>,
    #[command(flatten)]
    pub ends: Ends,
    /// How to approximate the function.
    #[arg(long, default_value = "auto", value_name = "METHOD")]
    pub method: Method,
    /// L with |f(x)_i - f(x')_i| <= L |x - x'|, for the grid, used if the formula implies less or nothing; the
    /// certificate then holds if the bound is true.
    #[arg(long, value_name = "L")]
    pub lipschitz: Option<f64>,
    /// G, number of cells per input number of a grid. Default: the fewest that meet the tolerance.
    #[arg(long, value_name = "G")]
    pub cells: Option<usize>,
    /// Form of the network that a fit is compiled to, as for relu-network; giving one asks for a fit. Default: t2.
    #[arg(long, value_name = "FORM")]
    pub form: Option<ReluForm>,
    /// Number of hidden units of a fit. Default: doubled from 8 until the tolerance is met.
    #[arg(long, value_name = "N")]
    pub units: Option<usize>,
    /// Seed of sampled points and random directions.
    #[arg(long, default_value_t = seq2seq::Config::default().seed, value_name = "N", value_parser = parse_seed)]
    pub seed: u64,
    #[command(flatten)]
    pub common: Common,
}

/// Options of `formula`.
#[derive(Args)]
pub struct Formula {
    /// A formula per output number of a position, in x1 … (the position's own numbers), x1_1 … (number 1 of position 1, …) and i
    /// (the position), such as "x1*x1_2 + sin(x2_1)/(1 + abs(x3))"; or a built-in (see `headway list functions`).
    #[arg(value_name = "FORMULA", required = true)]
    pub function: Vec<String>,
    /// Number of positions. Default: as many as the formulas name.
    #[arg(long, value_name = "N")]
    pub seq_len: Option<usize>,
    /// Numbers per position. Default: as many as the formulas name.
    #[arg(long, value_name = "N")]
    pub d_in: Option<usize>,
    #[command(flatten)]
    pub ends: Ends,
    #[command(flatten)]
    pub common: Common,
}

/// Options of `program`.
#[derive(Args)]
#[command(after_help = "\
A program says what every position of a word returns. Truth values and integers are all it knows:

  alphabet ( )                          the symbols, one of which stands at every position
  opened = #[j <= i] '('                a count: at how many positions j up to this one, i
  closed = #[j <= i] ')'
  behind = closed > opened              a comparison of linear combinations: <, <=, =, !=, >=, >
  return closed = opened and #[j <= i] behind = 0

  'a'                  whether a stands here            not p, p and q, p or q
  #[j < i] p  #[j] p   counts of earlier, of all        x + y, 2 * x, x mod 2, x div 2
  p[3], p[i-1], p[n]   at the third, previous, last     min(x, y), max(x, y), if p then x else y
  i, n                 this position, how many          // a comment; indented lines go on

  cups = automaton                      rows of states, the first of which is the start
    left:  'x' -> right, 'y' -> left
    right: 'x' -> left,  'y' -> right
  return cups.right

Truth values are made by attention to a position or to an empty row, so that every answer is
right by a margin. Where all words of the length can be tried, they are; the folder then holds
ground_truth.json: which head computes which variable, and which columns hold it.

Try:  headway list programs
      headway list programs dyck > mine.crasp
      headway construct program dyck --length 10 --out runs/dyck
      headway construct program mine.crasp --out runs/mine
      python3 python/check_certificate.py runs/dyck")]
#[allow(clippy::struct_field_names, reason = "a program is what the command is about")]
pub struct Program {
    /// A program that ships (see `headway list programs`), or a file with one.
    #[arg(value_name = "NAME|FILE")]
    pub program: String,
    /// Number of positions, 63 at most. Default: that of a program that ships, else 8.
    #[arg(long, value_name = "N")]
    pub length: Option<usize>,
    #[command(flatten)]
    pub common: Common,
}

/// Loss of one example.
#[derive(Clone, Copy, ValueEnum)]
pub enum GdLoss {
    /// (w . x - y)^2 / 2: least squares.
    Squared,
    /// The cross-entropy of a class that is 1 with probability (1 + y) / 2: logistic regression for labels 1 and -1.
    Logistic,
    /// Squared near 0, linear beyond --threshold: robust regression.
    Huber,
}

/// How residuals are multiplied with inputs in a step of gradient descent.
#[derive(Clone, Copy, ValueEnum)]
pub enum GdForm {
    /// One head per step, at scores so small that softmax is nearly linear.
    E1,
    /// Products as differences of squares, interpolated between anchors, as in the paper.
    E2,
}

/// Options of `in-context-gd`.
#[derive(Args)]
pub struct InContextGd {
    /// N, number of examples of a prompt.
    #[arg(long, default_value_t = in_context_gd::Config::default().points, value_name = "N")]
    pub points: usize,
    /// d, dimension of an input.
    #[arg(long, default_value_t = in_context_gd::Config::default().d, value_name = "N")]
    pub d: usize,
    /// Number of steps of gradient descent.
    #[arg(long, default_value_t = in_context_gd::Config::default().steps, value_name = "K")]
    pub steps: usize,
    /// Learning rate of a step, at most 2 / (d x_max^2 + ridge), for the logistic loss 2 / (d x_max^2 / 4 + ridge).
    #[arg(long, default_value_t = in_context_gd::Config::default().rate, value_name = "ETA")]
    pub rate: f64,
    /// Loss of one example, whose mean is descended on; other than squared with form e1.
    #[arg(long, default_value = "squared", value_name = "LOSS")]
    pub loss: GdLoss,
    /// Size of residuals from which on Huber's loss is linear. Default: 0.5.
    #[arg(long, value_name = "KAPPA")]
    pub threshold: Option<f64>,
    /// Factor on |w|^2 / 2, added to the mean loss: ridge regression (e1).
    #[arg(long, default_value_t = in_context_gd::Config::default().ridge, value_name = "LAMBDA")]
    pub ridge: f64,
    /// Factor on |w|_1, added to the mean loss: the Lasso, each step of which ends with a soft threshold, as in ISTA (e1).
    #[arg(long, default_value_t = in_context_gd::Config::default().lasso, value_name = "LAMBDA")]
    pub lasso: f64,
    /// Input numbers lie within plus or minus this.
    #[arg(long, default_value_t = in_context_gd::Config::default().x_max, value_name = "X")]
    pub x_max: f64,
    /// Labels lie within plus or minus this.
    #[arg(long, default_value_t = in_context_gd::Config::default().y_max, value_name = "Y")]
    pub y_max: f64,
    /// How residuals are multiplied with inputs.
    #[arg(long, default_value = "e1", value_name = "FORM")]
    pub form: GdForm,
    /// Scale of scores (e1). Default: the one with the smallest error.
    #[arg(long, value_name = "DELTA")]
    pub delta: Option<f64>,
    /// p, number of intervals between anchors (e2). Default: the fewest that meet the tolerance.
    #[arg(long, value_name = "P")]
    pub intervals: Option<usize>,
    #[command(flatten)]
    pub common: Common,
}

/// Options of `interpreter`.
#[derive(Args)]
#[command(after_help = "\
The certificate is about every algorithm of --algorithms and all examples within the box. What the
prompt holds of an algorithm are numbers: slopes of the loss at anchors, where anchors stand, how sharply
they are attended to, what a step does to every weight, the learning rate. More anchors, a smaller error.

Try:  headway construct interpreter --tolerance 1e-2 --out runs/interpreter
      headway prompt runs/interpreter
      python3 python/check_certificate.py runs/interpreter")]
pub struct Interpreter {
    /// N, number of examples of a prompt.
    #[arg(long, default_value_t = interpreter::Config::default().points, value_name = "N")]
    pub points: usize,
    /// d, dimension of an input.
    #[arg(long, default_value_t = interpreter::Config::default().d, value_name = "N")]
    pub d: usize,
    /// Number of steps.
    #[arg(long, default_value_t = interpreter::Config::default().steps, value_name = "K")]
    pub steps: usize,
    /// Learning rate of a step, at most 2 / (d x_max^2 + ridge); logistic losses take four times as much.
    #[arg(long, default_value_t = interpreter::Config::default().rate, value_name = "ETA")]
    pub rate: f64,
    /// Factor on |w|^2 / 2 of ridge.
    #[arg(long, default_value_t = interpreter::Config::default().ridge, value_name = "LAMBDA")]
    pub ridge: f64,
    /// Factor on |w|_1 of lasso and sparse_logistic.
    #[arg(long, default_value_t = interpreter::Config::default().lasso, value_name = "LAMBDA")]
    pub lasso: f64,
    /// Size of residuals from which on Huber's loss is linear.
    #[arg(long, default_value_t = interpreter::Config::default().threshold, value_name = "KAPPA")]
    pub threshold: f64,
    /// Algorithms that are certified, separated by commas. Default: all.
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',', value_parser = algorithms())]
    pub algorithms: Vec<Algorithm>,
    /// Input numbers lie within plus or minus this.
    #[arg(long, default_value_t = interpreter::Config::default().x_max, value_name = "X")]
    pub x_max: f64,
    /// Labels lie within plus or minus this.
    #[arg(long, default_value_t = interpreter::Config::default().y_max, value_name = "Y")]
    pub y_max: f64,
    /// p, number of intervals between anchors of a table, an even one from 20 to 256. Default: the fewest that meet the
    /// tolerance.
    #[arg(long, value_name = "P")]
    pub intervals: Option<usize>,
    /// Scale of scores of a mean. Default: the one with the smallest error.
    #[arg(long, value_name = "DELTA")]
    pub delta: Option<f64>,
    #[command(flatten)]
    pub common: Common,
}

/// Options of `kernel-ridge`.
#[derive(Args)]
#[command(after_help = "\
The network predicts sum_i alpha_i k(x_i, x_q) with k(x, x') = exp(-|x - x'|^2 / (2 s^2)) and the alpha that
steps of alpha <- alpha - eta ((K + lambda I) alpha - y) reach from 0. A step is one layer with one head
beside the one that carries the prompt. Its task, in_context_kernel, scores networks beside the same
iteration and beside the exact solution.

Try:  headway construct kernel-ridge --tolerance 1e-3 --out runs/kernel-ridge
      headway eval runs/kernel-ridge
      python3 python/check_certificate.py runs/kernel-ridge")]
pub struct KernelRidge {
    /// N, number of examples of a prompt.
    #[arg(long, default_value_t = kernel_ridge::Config::default().points, value_name = "N")]
    pub points: usize,
    /// d, dimension of an input.
    #[arg(long, default_value_t = kernel_ridge::Config::default().d, value_name = "N")]
    pub d: usize,
    /// Number of steps.
    #[arg(long, default_value_t = kernel_ridge::Config::default().steps, value_name = "K")]
    pub steps: usize,
    /// Size of a step, at most 2 / (points + ridge).
    #[arg(long, default_value_t = kernel_ridge::Config::default().rate, value_name = "ETA")]
    pub rate: f64,
    /// Bandwidth of the kernel, in units of x.
    #[arg(long, default_value_t = kernel_ridge::Config::default().bandwidth, value_name = "S")]
    pub bandwidth: f64,
    /// What is added to the kernel matrix's diagonal.
    #[arg(long, default_value_t = kernel_ridge::Config::default().ridge, value_name = "LAMBDA")]
    pub ridge: f64,
    /// Input numbers lie within plus or minus this.
    #[arg(long, default_value_t = kernel_ridge::Config::default().x_max, value_name = "X")]
    pub x_max: f64,
    /// Labels lie within plus or minus this.
    #[arg(long, default_value_t = kernel_ridge::Config::default().y_max, value_name = "Y")]
    pub y_max: f64,
    #[command(flatten)]
    pub common: Common,
}

/// Options of `network-descent`.
#[derive(Args)]
#[command(after_help = "\
The prompt holds the network f(x) = sum_j a_j tanh(w_j . x), a row for each of its units, then examples and
a query. The answer is f(x_q) after the steps, each of which is two layers of attention. The certificate is
about all networks and examples within the box.

Try:  headway construct network-descent --tolerance 1e-2 --out runs/network-descent
      headway eval runs/network-descent
      python3 python/check_certificate.py runs/network-descent")]
pub struct NetworkDescent {
    /// N, number of examples of a prompt.
    #[arg(long, default_value_t = network_descent::Config::default().points, value_name = "N")]
    pub points: usize,
    /// d, dimension of an input.
    #[arg(long, default_value_t = network_descent::Config::default().d, value_name = "N")]
    pub d: usize,
    /// Number of hidden units.
    #[arg(long, default_value_t = network_descent::Config::default().units, value_name = "R")]
    pub units: usize,
    /// Number of steps of gradient descent.
    #[arg(long, default_value_t = network_descent::Config::default().steps, value_name = "K")]
    pub steps: usize,
    /// Learning rate, at most 2 over a bound on the curvature of the loss.
    #[arg(long, default_value_t = network_descent::Config::default().rate, value_name = "ETA")]
    pub rate: f64,
    /// Numbers of w in the prompt lie within plus or minus this.
    #[arg(long, default_value_t = network_descent::Config::default().w_max, value_name = "W")]
    pub w_max: f64,
    /// Output weights in the prompt lie within plus or minus this.
    #[arg(long, default_value_t = network_descent::Config::default().a_max, value_name = "A")]
    pub a_max: f64,
    /// Input numbers lie within plus or minus this.
    #[arg(long, default_value_t = network_descent::Config::default().x_max, value_name = "X")]
    pub x_max: f64,
    /// Labels lie within plus or minus this.
    #[arg(long, default_value_t = network_descent::Config::default().y_max, value_name = "Y")]
    pub y_max: f64,
    /// Scale of scores of a mean. Default: the one with the smallest error.
    #[arg(long, value_name = "DELTA")]
    pub delta: Option<f64>,
    #[command(flatten)]
    pub common: Common,
}

/// Which rows tokens attend to.
#[derive(Clone, Copy, ValueEnum)]
pub enum AttentionKind {
    /// The tokens' own rows, each of which also holds a cell.
    #[value(name = "self")]
    SelfAttention,
    /// Further rows, each of which holds a cell.
    #[value(name = "cross")]
    CrossAttention,
}

/// Options of `max-affine`.
#[derive(Args)]
pub struct MaxAffine {
    /// A built-in (see `headway list functions`) or a formula in x1 … per output number; to be given once per output
    /// number.
    #[arg(long, value_name = "NAME|FORMULA", required_unless_present = "cells")]
    pub function: Vec<String>,
    /// Cells instead: `slopes [cells, d_in]`, `offsets [cells]`, `values [cells, d_out]` in a safetensors file. The
    /// value of the cell with the largest slope . x + offset is promised where it leads all others by --gap.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["function", "d_in", "per_axis", "padding", "mode", "lipschitz", "curvature"])]
    pub cells: Option<PathBuf>,
    /// Lead of the largest score from which on the value of a given cell is promised. Default: 0.05.
    #[arg(long, value_name = "G", requires = "cells")]
    pub gap: Option<f64>,
    /// Number of positions.
    #[arg(long, default_value_t = max_affine::Config::default().seq_len, value_name = "N")]
    pub seq_len: usize,
    /// Numbers per position. Default: those of a built-in, else 2.
    #[arg(long, value_name = "N")]
    pub d_in: Option<usize>,
    #[command(flatten)]
    pub ends: Ends,
    /// Self-attention or cross-attention.
    #[arg(long, default_value = "self", value_name = "KIND")]
    pub attention: AttentionKind,
    /// How sharply tokens attend to cells; smooth pads the grid, and the function must be defined on the padding too.
    /// Default: minimax.
    #[arg(long, value_name = "MODE")]
    pub mode: Option<Sharpness>,
    /// G, number of cells per axis. Default: the fewest that meet the tolerance.
    #[arg(long, value_name = "G")]
    pub per_axis: Option<usize>,
    /// Bound the error in the mean, (E |error|^P)^(1/P) with x uniform between --low and --high, for functions that jump. Default: bound the largest
    /// error.
    #[arg(long, value_name = "P", conflicts_with_all = ["cells", "lipschitz", "curvature", "prove"])]
    pub norm: Option<f64>,
    /// Number of padding cells beyond every face. Default: 3 for smooth, else none.
    #[arg(long, value_name = "N")]
    pub padding: Option<usize>,
    #[command(flatten)]
    pub smoothness: Smoothness,
    #[command(flatten)]
    pub common: Common,
}

/// Options of `prefix`.
#[derive(Args)]
pub struct Prefix {
    /// A built-in (see `headway list functions`) or a formula in x1 … per output number; to be given once per output
    /// number.
    #[arg(long, value_name = "NAME|FORMULA", required = true)]
    pub function: Vec<String>,
    /// n, number of positions, at each of which the function is computed. Default: 1.
    #[arg(long, value_name = "N")]
    pub seq_len: Option<usize>,
    /// Dimension of the input, a unit vector: 2 for the circle, 3 for the sphere. Default: that of a built-in, else 3.
    #[arg(long, value_name = "N")]
    pub d_in: Option<usize>,
    /// How sharply the head attends to its prefix; on the sphere the three modes mean c = pi, pi/2 and 4 pi.
    #[arg(long, default_value = "minimax", value_name = "MODE")]
    pub mode: Sharpness,
    /// N, number of rows of the prefix. Default: about the fewest that meet the tolerance.
    #[arg(long, value_name = "N")]
    pub length: Option<usize>,
    #[command(flatten)]
    pub smoothness: Smoothness,
    #[command(flatten)]
    pub common: Common,
}

impl Construction {
    /// The shared options, and the config of this construction.
    pub fn parts(&self) -> (&Common, ConstructionConfig) {
        match self {
            Self::TruncatedLinear(args) => (
                &args.common,
                ConstructionConfig::TruncatedLinear(truncated_linear::Config {
                    clamp: (&args.clamp).into(),
                    intervals: args.intervals,
                    values: chosen(args.values, args.common.prove),
                    causal: args.causal,
                }),
            ),
            Self::TruncatedLinearHeads(args) => (
                &args.common,
                ConstructionConfig::TruncatedLinearHeads(truncated_linear_heads::Config {
                    clamp: (&args.clamp).into(),
                    shared: args.shared,
                    heads: args.heads,
                }),
            ),
            Self::Activation(args) => (&args.common, ConstructionConfig::Activation(args.into())),
            Self::ReluNetwork(args) => (&args.common, ConstructionConfig::ReluNetwork(args.into())),
            Self::Seq2seq(args) => (&args.common, ConstructionConfig::Seq2seq(args.into())),
            Self::Formula(args) => (&args.common, ConstructionConfig::Formula(args.into())),
            Self::Program(args) => (
                &args.common,
                ConstructionConfig::Program(program::Config { program: args.program.clone(), length: args.length }),
            ),
            Self::InContextGd(args) => (&args.common, ConstructionConfig::InContextGd(args.into())),
            Self::Interpreter(args) => (&args.common, ConstructionConfig::Interpreter(args.into())),
            Self::KernelRidge(args) => (&args.common, ConstructionConfig::KernelRidge(args.into())),
            Self::NetworkDescent(args) => (&args.common, ConstructionConfig::NetworkDescent(args.into())),
            Self::MaxAffine(args) => (&args.common, ConstructionConfig::MaxAffine(args.into())),
            Self::Prefix(args) => (&args.common, ConstructionConfig::Prefix(args.into())),
        }
    }
}

/// The values that were asked for: by linear program where nothing was said and a proof bounds them.
fn chosen(values: Option<AnchorValues>, prove: bool) -> activation::Values {
    match values {
        Some(AnchorValues::LinearProgram) => activation::Values::LinearProgram,
        None if prove => activation::Values::LinearProgram,
        Some(AnchorValues::Function) | None => activation::Values::Function,
    }
}

impl From<Sharpness> for Mode {
    fn from(sharpness: Sharpness) -> Self {
        match sharpness {
            Sharpness::Minimax => Self::Minimax,
            Sharpness::Smooth => Self::Smooth,
            Sharpness::Hard => Self::Hard,
        }
    }
}

impl From<&Smoothness> for Given {
    fn from(known: &Smoothness) -> Self {
        Self { lipschitz: known.lipschitz, curvature: known.curvature }
    }
}

impl From<&Ends> for options::Ends {
    fn from(ends: &Ends) -> Self {
        Self { low: ends.low, high: ends.high }
    }
}

impl From<&Clamp> for ClampConfig {
    fn from(args: &Clamp) -> Self {
        Self {
            seq_len: args.seq_len,
            d_in: args.d_in,
            low: args.low,
            high: args.high,
            input: args.input,
            seed: args.seed,
            weights: args.weights.clone(),
            mode: args.mode.into(),
        }
    }
}

impl From<&Activation> for activation::Config {
    fn from(args: &Activation) -> Self {
        Self {
            function: args.function.clone(),
            table: args.table.clone(),
            kink: args.kink.clone(),
            seq_len: args.seq_len,
            low: args.low,
            high: args.high,
            mode: args.mode.map(Mode::from),
            intervals: args.intervals,
            values: chosen(args.values, args.common.prove),
            smoothness: (&args.smoothness).into(),
        }
    }
}

impl From<ReluForm> for relu_network::Form {
    fn from(form: ReluForm) -> Self {
        match form {
            ReluForm::T1 => Self::T1,
            ReluForm::T2 => Self::T2,
            ReluForm::S => Self::S,
        }
    }
}

impl From<&ReluNetwork> for relu_network::Config {
    fn from(args: &ReluNetwork) -> Self {
        Self {
            network: args.network.clone(),
            seq_len: args.seq_len,
            d: args.d,
            hidden: args.hidden,
            seed: args.seed,
            form: args.form.into(),
            ends: (&args.ends).into(),
            mode: args.mode.map(Mode::from),
            intervals: args.intervals,
            heads: args.heads,
            beta: args.beta,
            causal: args.causal,
        }
    }
}

impl From<&Seq2seq> for seq2seq::Config {
    fn from(args: &Seq2seq) -> Self {
        Self {
            function: args.function.clone(),
            samples: args.samples.clone(),
            seq_len: args.seq_len,
            d_in: args.d_in,
            ends: (&args.ends).into(),
            method: match args.method {
                Method::Auto => seq2seq::Method::Auto,
                Method::Grid => seq2seq::Method::Grid,
                Method::Fit => seq2seq::Method::Fit,
            },
            lipschitz: args.lipschitz,
            cells: args.cells,
            form: args.form.map(relu_network::Form::from),
            units: args.units,
            seed: args.seed,
        }
    }
}

impl From<&Formula> for formula::Config {
    fn from(args: &Formula) -> Self {
        Self { function: args.function.clone(), seq_len: args.seq_len, d_in: args.d_in, ends: (&args.ends).into() }
    }
}

impl From<&Interpreter> for interpreter::Config {
    fn from(args: &Interpreter) -> Self {
        let all = Self::default().algorithms;
        Self {
            points: args.points,
            d: args.d,
            steps: args.steps,
            rate: args.rate,
            ridge: args.ridge,
            lasso: args.lasso,
            threshold: args.threshold,
            algorithms: if args.algorithms.is_empty() { all } else { args.algorithms.clone() },
            x_max: args.x_max,
            y_max: args.y_max,
            intervals: args.intervals,
            delta: args.delta,
        }
    }
}

impl From<&KernelRidge> for kernel_ridge::Config {
    fn from(args: &KernelRidge) -> Self {
        let &KernelRidge { points, d, steps, rate, bandwidth, ridge, x_max, y_max, common: _ } = args;
        Self { points, d, steps, rate, bandwidth, ridge, x_max, y_max }
    }
}

impl From<&NetworkDescent> for network_descent::Config {
    fn from(args: &NetworkDescent) -> Self {
        let &NetworkDescent { points, d, units, steps, rate, w_max, a_max, x_max, y_max, delta, common: _ } = args;
        Self { points, d, units, steps, rate, w_max, a_max, x_max, y_max, delta }
    }
}

impl From<&InContextGd> for in_context_gd::Config {
    fn from(args: &InContextGd) -> Self {
        Self {
            points: args.points,
            d: args.d,
            steps: args.steps,
            rate: args.rate,
            loss: match args.loss {
                GdLoss::Squared => in_context_gd::LossName::Squared,
                GdLoss::Logistic => in_context_gd::LossName::Logistic,
                GdLoss::Huber => in_context_gd::LossName::Huber,
            },
            threshold: args.threshold,
            ridge: args.ridge,
            lasso: args.lasso,
            x_max: args.x_max,
            y_max: args.y_max,
            form: match args.form {
                GdForm::E1 => in_context_gd::FormName::E1,
                GdForm::E2 => in_context_gd::FormName::E2,
            },
            delta: args.delta,
            intervals: args.intervals,
        }
    }
}

impl From<&MaxAffine> for max_affine::Config {
    fn from(args: &MaxAffine) -> Self {
        Self {
            function: args.function.clone(),
            cells: args.cells.clone(),
            gap: args.gap,
            seq_len: args.seq_len,
            d_in: args.d_in,
            ends: (&args.ends).into(),
            attention: match args.attention {
                AttentionKind::SelfAttention => Attention::SelfAttention,
                AttentionKind::CrossAttention => Attention::CrossAttention,
            },
            mode: args.mode.map(Mode::from),
            per_axis: args.per_axis,
            padding: args.padding,
            smoothness: (&args.smoothness).into(),
            norm: args.norm,
        }
    }
}

impl From<&Prefix> for prefix::Config {
    fn from(args: &Prefix) -> Self {
        Self {
            function: args.function.clone(),
            seq_len: args.seq_len,
            d_in: args.d_in,
            mode: args.mode.into(),
            length: args.length,
            smoothness: (&args.smoothness).into(),
        }
    }
}
