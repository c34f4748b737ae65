//! Constructions: from a function to attention weights and an error bound. Each is one file and one row in the list
//! below.
//!
//! A construction first plans: formulas alone give bound, rounding and number of parameters for growing sizes, and it
//! takes the smallest size that meets the tolerance ([`choose`]). Only then does it write weights.

pub mod activation;
pub mod formula;
pub mod in_context_gd;
pub mod interpreter;
pub mod kernel_ridge;
pub mod max_affine;
pub mod network_descent;
pub mod options;
pub mod prefix;
pub mod program;
pub mod relu_network;
pub mod seq2seq;
pub mod truncated_linear;
pub mod truncated_linear_heads;
mod written;

use std::{collections::BTreeMap, time::Duration};

use headway_model::weights::Array;
use serde::{Deserialize, Serialize};

use crate::{
    bound::Bound,
    domain::Domain,
    network::Network,
    prove::{self, Proof, Provable, Summary, search::Progress},
    refusal::{Limit, Refusal},
    target::Target,
};

use activation::Activation;
use formula::Formula;
use in_context_gd::InContextGd;
use interpreter::Interpreter;
use kernel_ridge::KernelRidge;
use max_affine::MaxAffine;
use network_descent::NetworkDescent;
use options::{File, Given, Options, Planned};
use prefix::Prefix;
use program::{GroundTruth, Program};
use relu_network::{ReluNetwork, ReluWeights};
use seq2seq::Seq2seq;
use truncated_linear::TruncatedLinear;
use truncated_linear_heads::TruncatedLinearHeads;

macro_rules! constructions {
    ($($name:ident($config:ty), $summary:literal;)*) => {
        /// Name on the command line and one-line summary of every construction.
        pub const CONSTRUCTIONS: &[(&str, &str)] = &[$(($name::NAME, $summary)),*];

        /// The options of one construction.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum ConstructionConfig {
            $(#[doc = $summary] $name($config)),*
        }

        impl ConstructionConfig {
            /// Every construction's options with their defaults, in the order of [`CONSTRUCTIONS`].
            pub fn defaults() -> Vec<Self> {
                vec![$(Self::$name(<$config>::default())),*]
            }

            fn options(&self) -> &dyn Options {
                match self {
                    $(Self::$name(config) => config),*
                }
            }
        }
    };
}

constructions! {
    TruncatedLinear(truncated_linear::Config),
        "one head: clamp(w_i . x_i + t_i, a, b) at every position, error 0.062 (b - a) / p";
    TruncatedLinearHeads(truncated_linear_heads::Config),
        "H heads after a token-wise map: the same clamp, error 0.062 (b - a) / ((n - 1) H)";
    Activation(activation::Config),
        "one head: any function of one number at every position, error g'' Delta^2 / 4 where it is smooth";
    ReluNetwork(relu_network::Config),
        "a two-layer ReLU network of the whole sequence: gather, gates, scatter, error 0.28 S / beta";
    Seq2seq(seq2seq::Config),
        "any continuous function of the whole sequence, or samples of it: by a grid, or by a fitted ReLU network";
    Formula(formula::Config),
        "a formula of the whole sequence: an operation a head, layers by depth, errors pushed through by derivatives";
    Program(program::Config),
        "a program in C-RASP: counts, comparisons and automata, every word of a length right";
    InContextGd(in_context_gd::Config),
        "k steps of gradient descent on the regression that a prompt holds: squares, ridge, Lasso, logistic, Huber";
    Interpreter(interpreter::Config),
        "the algorithm in the prompt, in one frozen network: squares, ridge, Lasso, logistic, Huber, as tables of their slopes and steps";
    KernelRidge(kernel_ridge::Config),
        "k steps of Richardson's iteration for kernel ridge regression on the examples in a prompt: attention is the kernel";
    NetworkDescent(network_descent::Config),
        "k steps of gradient descent of a network with a hidden layer, which the prompt holds beside examples: two layers a step";
    MaxAffine(max_affine::Config),
        "one head: the value of the cell that the largest of affine scores picks, error L sqrt(d) / (2 G)";
    Prefix(prefix::Config),
        "a prefix of N rows for a frozen head: a function on the circle or the sphere";
}

impl ConstructionConfig {
    /// The file to be read before the construction can be planned; `None` if no option names one.
    pub fn file(&self) -> Option<File<'_>> {
        self.options().file()
    }

    /// The request for this construction: its tolerance and the largest number of parameters.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if neither a tolerance nor a size is given.
    pub fn request(&self, tolerance: Option<f64>, max_parameters: usize) -> Result<Request, Refusal> {
        let sizes = self.options().sizes();
        if tolerance.is_none() && sizes.iter().all(|(_, is_given)| !is_given) {
            let sizes: Vec<String> = sizes.iter().map(|(option, _)| format!("--{option}")).collect();
            let or_size =
                if sizes.is_empty() { String::new() } else { format!(", or a size with {}", sizes.join(" or ")) };
            let problem = format!("give the largest error allowed, as in --tolerance 1e-3{or_size}");
            return Err(Refusal::invalid("tolerance", problem));
        }
        Ok(Request { tolerance: tolerance.unwrap_or(f64::MAX), max_parameters })
    }

    /// The planned construction, and the task with the same target; `given` is the content of
    /// [`ConstructionConfig::file`].
    ///
    /// # Errors
    /// [`Refusal::Invalid`] naming an option that is invalid, or whose size alone needs more than `max_parameters`;
    /// [`Refusal::File`] if the file does not hold what it should.
    pub fn plan(&self, given: Option<Given>, max_parameters: usize) -> Result<Planned, Refusal> {
        self.options().plan(given, max_parameters)
    }
}

/// The temperature of a construction's softmax.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Temperature {
    /// Inverse temperature β: the factor on squared distances, or on gates.
    pub beta: f64,
    /// Why this temperature.
    pub reason: String,
}

/// A network that computes a target, with a proved error bound.
#[derive(Clone, Debug)]
pub struct Construction {
    /// Its name in [`CONSTRUCTIONS`].
    pub name: &'static str,
    /// The function it computes.
    pub target: Target,
    /// The domain on which the bound holds.
    pub domain: Domain,
    /// The weights.
    pub network: Network,
    /// Whether each position counts; `None` if all do.
    pub scored: Option<Vec<bool>>,
    /// Sizes by name.
    pub sizes: Vec<(String, f64)>,
    /// Temperature of the softmax, and the reason for it.
    pub temperature: Temperature,
    /// Bound on the error in exact arithmetic.
    pub bound: Bound,
    /// Bound on the additional error from rounding to float32, whatever the order of sums.
    pub rounding: Bound,
    /// The same bound if roundings are independent of each other; exceeded in one case in two million. `None` unless it
    /// is much smaller.
    pub likely: Option<Bound>,
    /// What a proof over the whole domain is about; `None` if boxes cannot reach it.
    pub provable: Option<Provable>,
    /// The proof that the bounds come from; `None` if they come from formulas.
    pub proof: Option<Summary>,
    /// Which head computes which variable; `None` unless it was compiled from a program.
    pub truth: Option<GroundTruth>,
    /// p, if bound and errors are ‖·‖_p with every position uniform in the domain; `None` if they are the largest ones.
    pub norm: Option<f64>,
    /// Inputs known to be hard, by kind: kinks, seams, ties, corners. `[seq_len · d_in]`
    pub hard: Vec<(&'static str, Vec<Vec<f64>>)>,
}

impl Construction {
    /// Whether the outputs at a position count.
    pub fn is_scored(&self, position: usize) -> bool {
        self.scored.as_ref().is_none_or(|scored| scored[position])
    }

    /// Proves the error over the whole domain; `arrays` are the parameters of its model.
    ///
    /// # Errors
    /// as [`prove::prove`]
    pub fn prove(
        &self,
        arrays: &BTreeMap<String, Array>,
        time: Duration,
        progress: impl FnMut(Progress),
    ) -> Result<Proof, Refusal> {
        prove::prove(&self.network, (&self.domain, self.provable.as_ref()), arrays, time, progress)
    }

    /// The construction with the bounds of a proof in the place of those from formulas, if they are smaller or exact rationals.
    pub fn proved(mut self, proof: &Proof) -> Self {
        if !proof.steps.is_empty() || proof.bound + proof.rounding <= self.bound.value + self.rounding.value {
            [self.bound, self.rounding] = proof.bounds();
            self.likely = None;
            self.proof = Some(proof.summary());
        }
        self
    }
}

/// What a construction is asked to achieve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    /// Largest error of any output number.
    pub tolerance: f64,
    /// Largest number of parameters.
    pub max_parameters: usize,
}

/// Error and cost of one size, from formulas alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Bound plus rounding.
    pub error: f64,
    /// The bound alone, in exact arithmetic.
    pub exact: f64,
    /// Number of parameters.
    pub parameters: f64,
}

impl Cost {
    /// The cost of a size with this bound, this rounding and this number of parameters.
    pub fn of(bound: &Bound, rounding: &Bound, parameters: f64) -> Self {
        Self { error: bound.value + rounding.value, exact: bound.value, parameters }
    }

    /// The cost of a size that has no bound.
    pub fn unbounded(parameters: f64) -> Self {
        Self { error: f64::INFINITY, exact: f64::INFINITY, parameters }
    }
}

/// The first candidate that meets the tolerance within the allowed number of parameters. Candidates are ordered from
/// small to large.
///
/// # Errors
/// [`Refusal::TooLarge`] if a candidate above the allowed number would meet it, [`Refusal::Unreachable`] if none would.
pub fn choose<P>(
    request: Request,
    candidates: impl IntoIterator<Item = P>,
    cost: impl Fn(&P) -> Cost,
    hint: &str,
) -> Result<P, Refusal> {
    let Request { tolerance: wanted, max_parameters: allowed } = request;
    if !(wanted > 0.0 && wanted.is_finite()) {
        return Err(Refusal::invalid("tolerance", format!("must be a positive number, not {wanted}")));
    }
    let (mut within, mut ever) = (f64::INFINITY, f64::INFINITY);
    let (mut count, mut best) = (0, 0);
    // The smallest exact error beyond the best size.
    let mut beyond = f64::INFINITY;
    for candidate in candidates {
        count += 1;
        let Cost { error, exact, parameters } = cost(&candidate);
        let fits = parameters <= allowed as f64;
        if error <= wanted {
            return if fits {
                Ok(candidate)
            } else {
                Err(Refusal::TooLarge { wanted, needed: parameters, allowed, reachable: within })
            };
        }
        if error < ever {
            (ever, best, beyond) = (error, count, f64::INFINITY);
        } else {
            beyond = beyond.min(exact);
        }
        if fits {
            within = within.min(error);
        }
    }
    let why = match (count, count - best) {
        (1, _) => Limit::Given,
        // Two candidates may have the same size.
        (_, 0 | 1) => Limit::Largest,
        // An improvement of one per cent would be worth the size.
        _ if beyond < 0.99 * ever => Limit::Rounding,
        _ => Limit::Target,
    };
    Err(Refusal::Unreachable { wanted, reachable: within, with_more: ever, allowed, why, hint: hint.to_owned() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    /// The refusal for sizes 1, 2, … with these errors and ten times as many parameters; without rounding, errors would
    /// fall with the size.
    fn refused(errors: &[f64], max_parameters: usize) -> String {
        let exact = |size: usize| errors[size - 1] / size as f64;
        let cost =
            |size: &usize| Cost { exact: exact(*size), error: errors[size - 1], parameters: 10.0 * *size as f64 };
        let chosen = choose(Request { tolerance: 1e-3, max_parameters }, 1..=errors.len(), cost, "; a hint");
        chosen.unwrap_err().to_string()
    }

    #[test]
    fn refusals_say_why_and_what_is_left() {
        for (errors, allowed, words) in [
            (
                &[0.5, 0.1231, 0.2, 0.3][..],
                100,
                " in float32: beyond a certain size rounding costs more than size gains; the smallest reachable is 1.24e-1; a hint",
            ),
            (
                &[0.5, 0.3, 0.2, 0.1],
                100,
                " even at the largest size that is tried; the smallest reachable is 1.00e-1; a hint",
            ),
            (&[0.5], 100, " with this size; the smallest reachable is 5.00e-1; a hint"),
            (
                &[0.5, 0.3, 0.2, 0.1],
                25,
                " even at the largest size that is tried; the smallest reachable is 3.00e-1 within the 25 parameters of --max-params, and 1.00e-1 with more; a hint",
            ),
            (
                &[0.5],
                5,
                " with this size; no size fits the 5 parameters of --max-params; with more 5.00e-1 is reachable; a hint",
            ),
            (&[f64::INFINITY, f64::NAN], 100, "; no size has a finite bound; a hint"),
        ] {
            let found = refused(errors, allowed);
            assert!(
                found.starts_with("tolerance 1e-3 is out of reach") && found.ends_with(words),
                "{found}, not {words}"
            );
        }
    }

    /// Rounding is not blamed for what no size changes: a step function is off by a half wherever cells end, and the
    /// bound on it is 1.
    #[test]
    fn a_jump_is_named_as_the_reason() {
        let step = Target::formulas(&["step(x1 - 0.3)"], [1, 4], [0.0, 1.0]).unwrap();
        let cells = MaxAffine {
            seq_len: 2,
            low: 0.0,
            high: 1.0,
            partition: max_affine::Cut::Grid(max_affine::Grid {
                d_in: 4,
                function: step,
                mode: crate::interpolation::Mode::default(),
                per_axis: None,
                padding: None,
                given: crate::smoothness::Given::default(),
                norm: None,
            }),
            attention: crate::cells::Attention::default(),
        };
        let request = Request { tolerance: 0.1, max_parameters: 50_000_000 };
        let refusal = cells.build(request).unwrap_err();
        let Refusal::Unreachable { why, reachable, .. } = &refusal else { panic!("{refusal}") };
        assert!(*why == Limit::Target && (1.0..1.01).contains(reachable), "{refusal}");
        let text = refusal.to_string();
        assert!(text.contains("at any size: the bound does not fall") && !text.contains("float32"), "{text}");
    }

    /// A config names its construction as the command line does, keeps its defaults, and refuses unknown keys.
    #[test]
    fn options_are_configs() {
        let configs = ConstructionConfig::defaults();
        assert_eq!(configs.len(), CONSTRUCTIONS.len());
        for (config, (name, _)) in configs.iter().zip(CONSTRUCTIONS) {
            let empty: ConstructionConfig = serde_json::from_str(&format!("{{\"{name}\": {{}}}}")).unwrap();
            assert_eq!(&empty, config, "{name}");
            let written = serde_json::to_string(config).unwrap();
            assert_eq!(&serde_json::from_str::<ConstructionConfig>(&written).unwrap(), config, "{written}");
            let stranger = format!("{{\"{name}\": {{\"heights\": 3}}}}");
            let problem = serde_json::from_str::<ConstructionConfig>(&stranger).unwrap_err().to_string();
            assert!(problem.contains("unknown field `heights`"), "{name}: {problem}");
        }
    }
}
