//! Constructions: a function in, attention weights and an error bound out. Each is one file and one row in the list below.
//!
//! A construction first plans: for growing sizes it knows bound, rounding and number of parameters from formulas alone, and
//! takes the smallest size that meets the tolerance ([`choose`]). Only then are weights written.

pub mod activation;
pub mod in_context_gd;
pub mod max_affine;
pub mod options;
pub mod prefix;
pub mod relu_network;
pub mod seq2seq;
pub mod truncated_linear;
pub mod truncated_linear_heads;
mod written;

use std::{
    borrow::Cow,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use headway_tasks::Jet;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{bound::Bound, domain::Domain, network::Network};

use options::{File, Given, Options, Planned};

pub use activation::Activation;
pub use in_context_gd::InContextGd;
pub use max_affine::MaxAffine;
pub use prefix::Prefix;
pub use relu_network::{Form, ReluNetwork, ReluWeights};
pub use seq2seq::Seq2seq;
pub use truncated_linear::TruncatedLinear;
pub use truncated_linear_heads::TruncatedLinearHeads;

macro_rules! constructions {
    ($($name:ident($config:ty), $summary:literal;)*) => {
        /// Every construction's name on the command line, with one line about it.
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
    InContextGd(in_context_gd::Config),
        "k steps of gradient descent on the regression that a prompt holds, linear or by squares";
    MaxAffine(max_affine::Config),
        "one head: the value of the cell that the largest of affine scores picks, error L sqrt(d) / (2 G)";
    Prefix(prefix::Config),
        "a prefix of N rows for a frozen head: a function on the circle or the sphere";
}

impl ConstructionConfig {
    /// The file that is to be read before the construction can be planned; None if no option names one.
    pub fn file(&self) -> Option<File<'_>> {
        self.options().file()
    }

    /// What is asked of the construction.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] where neither a tolerance nor a size is given.
    pub fn request(&self, tolerance: Option<f64>, max_parameters: usize) -> Result<Request, Refusal> {
        let sizes = self.options().sizes();
        if tolerance.is_none() && sizes.iter().all(|(_, is_given)| !is_given) {
            let sizes: Vec<String> = sizes.iter().map(|(option, _)| format!("--{option}")).collect();
            let problem = format!("give the largest error allowed, or a size with {}", sizes.join(" or "));
            return Err(Refusal::invalid("tolerance", problem));
        }
        Ok(Request { tolerance: tolerance.unwrap_or(f64::MAX), max_parameters })
    }

    /// The construction, and the task of the same target; `given` is what [`ConstructionConfig::file`] holds.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] with the option that makes no sense, or whose size alone is more than `max_parameters`;
    /// [`Refusal::File`]
    pub fn plan(&self, given: Option<Given>, max_parameters: usize) -> Result<Planned, Refusal> {
        self.options().plan(given, max_parameters)
    }
}

/// A function of the whole sequence, row by row: `[seq_len · d_in]` -> `[seq_len · d_out]`.
pub type Function = Arc<dyn Fn(&[f64]) -> Vec<f64> + Send + Sync>;

/// What holds for a function on a whole box of inputs, or on a piece of a path: numbers `[seq_len · d_in]`, each with its derivatives, ->
/// values and derivatives `[seq_len · d_out]`.
pub type Enclosure = Arc<dyn Fn(&[Jet]) -> Vec<Jet> + Send + Sync>;

/// What is to be computed.
#[derive(Clone)]
pub struct Target {
    /// In words or as a formula.
    pub text: String,
    /// The function, in double precision.
    pub function: Function,
    /// The same over boxes, where it is known: what is proved about slopes is read off here.
    pub enclosure: Option<Enclosure>,
}

impl Target {
    /// A function of which nothing is known but its values.
    pub fn opaque(text: impl Into<String>, function: impl Fn(&[f64]) -> Vec<f64> + Send + Sync + 'static) -> Self {
        Self { text: text.into(), function: Arc::new(function), enclosure: None }
    }

    /// A function that is written down.
    pub fn written(text: impl Into<String>, function: headway_tasks::Function) -> Self {
        let same = function.clone();
        Self {
            text: text.into(),
            function: Arc::new(move |x| function.evaluate(x)),
            enclosure: Some(Arc::new(move |x| same.enclose(x))),
        }
    }

    /// A function of sequences `[seq_len, d_in]` of numbers between two ends, by a formula per output number of a position.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for what is no formula, or not finite there.
    pub fn formulas(formulas: &[&str], [seq_len, d_in]: [usize; 2], [low, high]: [f64; 2]) -> Result<Self, Refusal> {
        let outputs: Vec<String> = formulas.iter().map(|formula| (*formula).to_owned()).collect();
        let domain = headway_tasks::Domain::Cube { low, high };
        let config = headway_tasks::FunctionConfig { seq_len, d_in, outputs, table: None, domain };
        match headway_tasks::Function::new(&config) {
            Ok(function) => Ok(Self::written(formulas.join(", "), function)),
            Err(problems) => {
                let problems: Vec<String> = problems.into_iter().map(|problem| problem.problem).collect();
                Err(Refusal::invalid("function", problems.join("; ")))
            }
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("text", &self.text).finish_non_exhaustive()
    }
}

/// The temperature of a construction's softmax.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Temperature {
    /// Inverse temperature: the factor on squared distances, or on gates.
    pub beta: f64,
    /// Why this one.
    pub reason: String,
}

/// A network that computes a target, and what is proved about it.
#[derive(Clone, Debug)]
pub struct Construction {
    /// Its name in [`CONSTRUCTIONS`].
    pub name: &'static str,
    /// What it computes.
    pub target: Target,
    /// Where the bound holds.
    pub domain: Domain,
    /// The weights.
    pub network: Network,
    /// Positions that count; nothing for all of them.
    pub scored: Option<Vec<bool>>,
    /// Sizes by name.
    pub sizes: Vec<(String, f64)>,
    /// Temperature, and why.
    pub temperature: Temperature,
    /// Error in exact arithmetic at most.
    pub bound: Bound,
    /// What rounding to float32 adds at most, in whatever order sums are taken.
    pub rounding: Bound,
    /// What it adds but for one case in two million, if roundings are independent of each other; where that is less by far.
    pub likely: Option<Bound>,
    /// Inputs known to be hard, by kind: kinks, seams, ties, corners. `[seq_len · d_in]`
    pub hard: Vec<(&'static str, Vec<Vec<f64>>)>,
}

impl Construction {
    /// Whether the outputs of a position count.
    pub fn is_scored(&self, position: usize) -> bool {
        self.scored.as_ref().is_none_or(|scored| scored[position])
    }
}

/// What was asked of a construction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    /// Largest error of any output number.
    pub tolerance: f64,
    /// Most numbers in the weights.
    pub max_parameters: usize,
}

/// Why there is no construction.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum Refusal {
    /// An option or a target makes no sense.
    #[error("{key}: {problem}")]
    Invalid {
        /// Option, without dashes.
        key: Cow<'static, str>,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A file that an option names does not hold what it should.
    #[error("{}: {problem}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        problem: String,
    },
    /// No size meets the tolerance.
    #[error("tolerance {wanted:e} is out of reach{why}; {}{hint}", best(*.reachable, *.with_more, *.allowed))]
    Unreachable {
        /// The tolerance asked for.
        wanted: f64,
        /// The smallest that can be met within the parameters allowed, infinite where no size fits.
        reachable: f64,
        /// The smallest that can be met with any number of parameters.
        with_more: f64,
        /// Parameters allowed.
        allowed: usize,
        /// What keeps the error up.
        why: Limit,
        /// What else would help; may be empty.
        hint: String,
    },
    /// Meeting the tolerance takes more parameters than allowed.
    #[error(
        "tolerance {wanted:e} takes {needed} parameters, and --max-params allows {allowed}; within that {}",
        if reachable.is_finite() { format!("the smallest reachable is {}", upward(*.reachable)) } else { "no size fits".to_owned() }
    )]
    TooLarge {
        /// The tolerance asked for.
        wanted: f64,
        /// Parameters it takes.
        needed: f64,
        /// Parameters allowed.
        allowed: usize,
        /// The smallest tolerance within them, infinite where no size fits.
        reachable: f64,
    },
    /// A fit to a function or to samples stays too far off.
    #[error(
        "tolerance {wanted:e} is below what a fit reaches: {} in all with {units} hidden units; \
         more units, more samples or a smoother function would help",
        upward(*.reached)
    )]
    Unfit {
        /// The tolerance asked for.
        wanted: f64,
        /// The smallest that was reached, fit and compilation together.
        reached: f64,
        /// Hidden units with which it was reached.
        units: usize,
    },
}

/// Why no size meets a tolerance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// There is one size: it was given, or follows from the target.
    Given,
    /// The largest size that is tried is the best.
    Largest,
    /// A smaller size is the best: beyond it, float32 loses more than is gained.
    Rounding,
    /// A smaller size is the best, and none would be better even in exact arithmetic.
    Target,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Given => " with this size",
            Self::Largest => " even at the largest size that is tried",
            Self::Rounding => " in float32: beyond a certain size rounding costs more than size gains",
            Self::Target => " at any size: the bound does not fall with it, as where a function jumps",
        })
    }
}

/// What can be reached within the parameters allowed, and with more.
fn best(reachable: f64, with_more: f64, allowed: usize) -> String {
    let (within, more) = (upward(reachable), upward(with_more));
    match (reachable.is_finite(), with_more.is_finite()) {
        (_, false) => "no size has a finite bound".to_owned(),
        (false, true) => {
            format!("no size fits the {allowed} parameters of --max-params; with more {more} is reachable")
        }
        (true, true) if with_more < reachable => {
            format!(
                "the smallest reachable is {within} within the {allowed} parameters of --max-params, and {more} with more"
            )
        }
        (true, true) => format!("the smallest reachable is {within}"),
    }
}

/// Three digits, rounded up: what is read as reachable is.
fn upward(value: f64) -> String {
    let text = format!("{value:.2e}");
    match (text.parse::<f64>(), text.split_once('e').and_then(|(_, exponent)| exponent.parse::<i32>().ok())) {
        (Ok(read), Some(exponent)) if read < value => format!("{:.2e}", read + 10.0_f64.powi(exponent - 2)),
        _ => text,
    }
}

impl Refusal {
    /// An option that makes no sense.
    pub fn invalid(key: impl Into<Cow<'static, str>>, problem: impl Into<String>) -> Self {
        Self::Invalid { key: key.into(), problem: problem.into() }
    }

    /// A file that does not hold what it should.
    pub fn file(path: &Path, problem: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), problem: problem.into() }
    }

    /// The same, unless no size at all has a finite bound: then this is what is wrong with the function.
    pub(crate) fn or_blame_function(self, problem: &str) -> Self {
        match self {
            Self::Unreachable { with_more, .. } if with_more.is_infinite() => Self::invalid("function", problem),
            other => other,
        }
    }

    /// The same where candidates differ in other things than size.
    pub(crate) fn at_given_size(self) -> Self {
        match self {
            Self::Unreachable { wanted, reachable, with_more, allowed, hint, .. } => {
                Self::Unreachable { wanted, reachable, with_more, allowed, why: Limit::Given, hint }
            }
            other => other,
        }
    }
}

/// What a size would cost and give, from formulas alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Bound and rounding together.
    pub error: f64,
    /// The bound alone, in exact arithmetic.
    pub exact: f64,
    /// Numbers in the weights.
    pub parameters: f64,
}

impl Cost {
    /// Of a bound, what rounding adds to it, and the size of the weights.
    pub fn of(bound: &Bound, rounding: &Bound, parameters: f64) -> Self {
        Self { error: bound.value + rounding.value, exact: bound.value, parameters }
    }

    /// Of a size without a bound.
    pub fn unbounded(parameters: f64) -> Self {
        Self { error: f64::INFINITY, exact: f64::INFINITY, parameters }
    }
}

/// The first of the candidates, which go from small to large, that meets the tolerance within the allowed size.
///
/// # Errors
/// [`Refusal::TooLarge`] when one beyond the allowed size would meet it, [`Refusal::Unreachable`] when none would.
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
    // The least that exact arithmetic gives beyond the best size.
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
        // Two candidates may share a size.
        (_, 0 | 1) => Limit::Largest,
        // A hundredth less would be worth the size.
        _ if beyond < 0.99 * ever => Limit::Rounding,
        _ => Limit::Target,
    };
    Err(Refusal::Unreachable { wanted, reachable: within, with_more: ever, allowed, why, hint: hint.to_owned() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    /// Sizes 1, 2, … with these errors, and ten times as many parameters; without rounding errors would fall with the size.
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

    /// Rounding is not blamed for what no size changes: a step is off by a half wherever cells end, and the bound on it is 1.
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
                mode: crate::Mode::default(),
                per_axis: None,
                padding: None,
                given: crate::smoothness::Given::default(),
            }),
            attention: crate::Attention::default(),
        };
        let request = Request { tolerance: 0.1, max_parameters: 50_000_000 };
        let refusal = cells.build(request).unwrap_err();
        let Refusal::Unreachable { why, reachable, .. } = &refusal else { panic!("{refusal}") };
        assert!(*why == Limit::Target && (1.0..1.01).contains(reachable), "{refusal}");
        let text = refusal.to_string();
        assert!(text.contains("at any size: the bound does not fall") && !text.contains("float32"), "{text}");
    }

    /// A config names its construction as the command line does, keeps its defaults, and refuses keys that nobody reads.
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

    #[test]
    fn what_is_read_is_never_less() {
        for (value, wanted) in [
            (1.0, "1.00e0"),
            (1.231e-3, "1.24e-3"),
            (1.238e-3, "1.24e-3"),
            (9.991e-7, "1.00e-6"),
            (123_456.0, "1.24e5"),
            (f64::INFINITY, "inf"),
            (0.0, "0.00e0"),
        ] {
            assert_eq!(upward(value), wanted);
            assert!(wanted.parse::<f64>().unwrap() >= value);
        }
        for i in 0..10_000 {
            let value = (f64::from(i) * 0.01 - 50.0).exp();
            let read: f64 = upward(value).parse().unwrap();
            assert!(read >= value && read <= 1.0101 * value, "{value}: {read}");
        }
    }
}
