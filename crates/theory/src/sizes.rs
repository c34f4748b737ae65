//! Sizes of the constructions against the tolerance: what each of them takes, from its plan, beside other networks with the same bound.
//!
//! [`Subject`] is one construction of one target, or another network that is known by a formula; [`Subject::at`] gives its size at a
//! tolerance. A size above [`MOST_PARAMETERS`] is not built: its plan says how many parameters it would take. A tolerance that no size
//! reaches is refused with what can be reached.

use headway_plain::network::{Linear, Matrix, Sight};
use headway_tasks::Probe;

use crate::{
    Refusal,
    cells::Attention,
    construct::{
        Construction, ConstructionConfig, Request, activation, formula, in_context_gd, interpreter, kernel_ridge,
        max_affine, network_descent, options::Ends, prefix, relu_network, seq2seq, truncated_linear,
        truncated_linear_heads,
    },
};

/// Tolerances at which sizes are compared.
pub const TOLERANCES: [f64; 4] = [0.1, 1e-2, 1e-3, 1e-4];
/// Largest number of parameters that is built.
pub const MOST_PARAMETERS: usize = 20_000_000;
/// Random points at which a network is asked whether it looks ahead.
const POINTS: usize = 8;
/// A weight that counts as none: rows that are not to be attended to have e⁻³⁶ or less.
const NOTHING: f64 = 1e-12;

/// What is measured: a name, the target, and where sizes come from.
pub struct Subject {
    /// Name of its rows and of its curve.
    pub id: &'static str,
    /// The target.
    pub target: &'static str,
    of: Source,
}

enum Source {
    Built(fn() -> ConstructionConfig),
    Formula(fn(f64) -> Outcome),
}

/// The size of a network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Size {
    /// Rows of the longest layer.
    pub length: Option<usize>,
    /// Columns of the widest layer, or its units where there are no rows.
    pub width: Option<usize>,
    /// Heads of all layers together.
    pub heads: Option<usize>,
    /// Layers.
    pub layers: f64,
    /// Parameters.
    pub parameters: f64,
    /// Largest |weight| of the model's file, positions included.
    pub largest_weight: Option<f64>,
    /// Inverse temperature β.
    pub beta: Option<f64>,
    /// Whether every map before attention treats all positions alike.
    pub token_wise: bool,
    /// Whether no position attends to a later one, and rows beyond the sequence hold nothing but constants, so that a causal
    /// mask changes nothing once they stand first.
    pub causal: bool,
}

/// What is known of a size.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It was built.
    Built(Size),
    /// It follows from a formula.
    Known(Size),
    /// It is too large to be built; its plan knows its number of parameters.
    Planned(f64),
    /// It does not exist, for this reason.
    Refused(String),
}

impl Outcome {
    /// Number of parameters, if there is one.
    pub fn parameters(&self) -> Option<f64> {
        match self {
            Self::Built(size) | Self::Known(size) => Some(size.parameters),
            Self::Planned(parameters) => Some(*parameters),
            Self::Refused(_) => None,
        }
    }
}

impl Subject {
    /// Its size at a tolerance.
    pub fn at(&self, tolerance: f64) -> Outcome {
        let config = match &self.of {
            Source::Formula(of) => return of(tolerance),
            Source::Built(config) => config(),
        };
        let request = Request { tolerance, max_parameters: MOST_PARAMETERS };
        let built = config.plan(None, MOST_PARAMETERS).and_then(|planned| planned.build(request));
        match built {
            Ok((construction, _)) => Outcome::Built(size(&construction)),
            Err(Refusal::TooLarge { needed, .. }) => Outcome::Planned(needed),
            Err(refusal) => Outcome::Refused(refusal.to_string()),
        }
    }
}

fn size(construction: &Construction) -> Size {
    let network = &construction.network;
    let layers = &network.layers;
    let most = |of: &dyn Fn(&crate::Layer) -> usize| layers.iter().map(of).max();
    let weights = network.arrays();
    let token_wise = layers.iter().all(|layer| matches!(layer.map.linear, Linear::TokenWise(_)));
    Size {
        length: most(&crate::Layer::rows),
        width: most(&|layer| layer.space.width()),
        heads: Some(layers.iter().map(|layer| layer.heads.len()).sum()),
        layers: layers.len() as f64,
        parameters: network.parameters() as f64,
        largest_weight: weights.values().flat_map(|array| &array.values).map(|w| f64::from(w.abs())).reduce(f64::max),
        beta: Some(construction.temperature.beta),
        token_wise,
        causal: token_wise && is_causal(construction),
    }
}

/// As [`Size::causal`] says: by a mask, or at random points of the domain.
fn is_causal(construction: &Construction) -> bool {
    let network = &construction.network;
    let n = network.seq_len;
    if network.causal {
        return true;
    }
    if network.layers.iter().any(|layer| layer.map.queries > n) {
        return false;
    }
    let mut rng = Probe::Certificate.rng();
    (0..POINTS).all(|_| {
        let mut x = Matrix::from_row_slice(n, network.d_in, &construction.domain.sample(&mut rng));
        network.layers.iter().all(|layer| {
            let z = layer.map.forward(&x);
            let (queries, keys) = (layer.map.queries(&z), layer.map.keys(&z));
            let first = z.nrows() - keys.nrows();
            let looks_ahead = layer.heads.iter().any(|head| {
                let pattern = head.pattern(&queries, &keys, Sight::All);
                let ahead = |i: usize| (i + 1..n).filter_map(move |row| Some((i, row.checked_sub(first)?)));
                (0..queries.nrows()).flat_map(ahead).any(|at| pattern[at] > NOTHING)
            });
            x = layer.forward(&x, network.causal);
            !looks_ahead
        })
    })
}

/// Every subject, in the order of the report.
pub const SUBJECTS: &[Subject] = &[
    Subject {
        id: "truncated-linear",
        target: CLAMP,
        of: Source::Built(|| {
            ConstructionConfig::TruncatedLinear(truncated_linear::Config { clamp: clamp(), ..Default::default() })
        }),
    },
    Subject {
        id: "truncated-linear, causal",
        target: CLAMP,
        of: Source::Built(|| {
            let config = truncated_linear::Config { clamp: clamp(), causal: true, ..Default::default() };
            ConstructionConfig::TruncatedLinear(config)
        }),
    },
    Subject {
        id: "truncated-linear-heads",
        target: CLAMP,
        of: Source::Built(|| {
            let config = truncated_linear_heads::Config { clamp: clamp(), shared: true, ..Default::default() };
            ConstructionConfig::TruncatedLinearHeads(config)
        }),
    },
    Subject { id: "ReLU network, clamp", target: CLAMP, of: Source::Formula(|_| relu_clamp()) },
    Subject {
        id: "activation",
        target: GELU,
        of: Source::Built(|| {
            let function = Some("gelu".to_owned());
            ConstructionConfig::Activation(activation::Config {
                function,
                seq_len: 8,
                low: -3.0,
                high: 3.0,
                ..Default::default()
            })
        }),
    },
    Subject { id: "ReLU network, GELU", target: GELU, of: Source::Formula(relu_gelu) },
    Subject { id: "relu-network, t1", target: UNITS, of: Source::Built(|| relu_network_in(relu_network::Form::T1)) },
    Subject { id: "relu-network, t2", target: UNITS, of: Source::Built(|| relu_network_in(relu_network::Form::T2)) },
    Subject { id: "relu-network, s", target: UNITS, of: Source::Built(|| relu_network_in(relu_network::Form::S)) },
    Subject { id: "ReLU network itself", target: UNITS, of: Source::Formula(|_| relu_itself()) },
    Subject {
        id: "max-affine",
        target: WAVES,
        of: Source::Built(|| {
            let function = vec!["sin(3*x1)*x2".to_owned()];
            ConstructionConfig::MaxAffine(max_affine::Config {
                function,
                seq_len: 2,
                d_in: Some(2),
                attention: Attention::CrossAttention,
                ..Default::default()
            })
        }),
    },
    Subject { id: "seq2seq, grid", target: WAVES, of: Source::Built(|| waves(seq2seq::Method::Grid)) },
    Subject { id: "seq2seq, fit", target: WAVES, of: Source::Built(|| waves(seq2seq::Method::Fit)) },
    Subject {
        id: "formula",
        target: WAVES,
        of: Source::Built(|| {
            let function = vec!["sin(3*x1_1)*x2_1".to_owned()];
            let ends = Ends { low: 0.0, high: 1.0 };
            ConstructionConfig::Formula(formula::Config { function, seq_len: Some(2), d_in: Some(1), ends })
        }),
    },
    Subject { id: "ReLU network, waves", target: WAVES, of: Source::Formula(relu_waves) },
    Subject { id: "FFN transformer", target: WAVES, of: Source::Formula(ffn_transformer) },
    Subject {
        id: "prefix",
        target: "a smooth function on the circle",
        of: Source::Built(|| {
            ConstructionConfig::Prefix(prefix::Config {
                function: vec!["circle_smooth".to_owned()],
                ..Default::default()
            })
        }),
    },
    Subject { id: "in-context-gd, e1", target: DESCENT, of: Source::Built(|| descent(|_| ())) },
    Subject {
        id: "in-context-gd, e2",
        target: DESCENT,
        of: Source::Built(|| descent(|gd| gd.form = in_context_gd::FormName::E2)),
    },
    Subject { id: "in-context-gd, Lasso", target: DESCENT, of: Source::Built(|| descent(|gd| gd.lasso = 0.05)) },
    Subject {
        id: "in-context-gd, Huber",
        target: DESCENT,
        of: Source::Built(|| descent(|gd| gd.loss = in_context_gd::LossName::Huber)),
    },
    Subject {
        id: "in-context-gd, logistic",
        target: DESCENT,
        of: Source::Built(|| descent(|gd| gd.loss = in_context_gd::LossName::Logistic)),
    },
    Subject { id: "interpreter", target: DESCENT, of: Source::Built(interpreter) },
    Subject {
        id: "kernel-ridge",
        target: DESCENT,
        of: Source::Built(|| {
            ConstructionConfig::KernelRidge(kernel_ridge::Config { points: 8, d: 2, steps: 3, ..Default::default() })
        }),
    },
    Subject {
        id: "network-descent",
        target: DESCENT,
        of: Source::Built(|| {
            ConstructionConfig::NetworkDescent(network_descent::Config { points: 8, ..Default::default() })
        }),
    },
];

const CLAMP: &str = "clamp(w . x_i + t_i, -1, 1), 8 positions of 2 numbers within ±1";
const GELU: &str = "GELU on [-3, 3], 8 positions";
const UNITS: &str = "a ReLU network of 8 units, 4 positions of 2 numbers in [0, 1]";
const WAVES: &str = "sin(3 u) v for u, v in [0, 1]";
const DESCENT: &str = "3 steps on 8 examples of 2 numbers within ±1";

fn clamp() -> truncated_linear::ClampConfig {
    truncated_linear::ClampConfig { seq_len: 8, d_in: 2, low: -1.0, high: 1.0, input: 1.0, ..Default::default() }
}

fn relu_network_in(form: relu_network::Form) -> ConstructionConfig {
    ConstructionConfig::ReluNetwork(relu_network::Config { seq_len: 4, d: 2, hidden: 8, form, ..Default::default() })
}

fn waves(method: seq2seq::Method) -> ConstructionConfig {
    let function = vec!["sin(3*x1_1)*x2_1".to_owned()];
    ConstructionConfig::Seq2seq(seq2seq::Config {
        function,
        seq_len: Some(2),
        d_in: Some(1),
        method,
        ..Default::default()
    })
}

fn descent(change: fn(&mut in_context_gd::Config)) -> ConstructionConfig {
    let mut config = in_context_gd::Config { points: 8, d: 2, steps: 3, ..Default::default() };
    change(&mut config);
    ConstructionConfig::InContextGd(config)
}

fn interpreter() -> ConstructionConfig {
    ConstructionConfig::Interpreter(interpreter::Config { points: 8, d: 2, steps: 3, ..Default::default() })
}

/// A network of units without rows or heads.
fn units(width: f64, layers: f64, parameters: f64) -> Outcome {
    Outcome::Known(Size { width: Some(width as usize), layers, parameters, ..Size::default() })
}

/// clamp(u, −1, 1) = −1 + max(u + 1, 0) − max(u − 1, 0) is exact: per position two units of d + 1 weights, two outputs and a bias.
fn relu_clamp() -> Outcome {
    let (n, d) = (8.0, 2.0);
    units(2.0 * n, 1.0, n * (2.0 * (d + 1.0) + 3.0))
}

/// Straight lines between N + 1 points, N units of one weight, bias and output each: off by sup |g''| h²/8, sup |g''| = 2/√(2π).
fn relu_gelu(tolerance: f64) -> Outcome {
    let bend = std::f64::consts::FRAC_2_SQRT_PI / std::f64::consts::SQRT_2;
    let count = (6.0 * (bend / (8.0 * tolerance)).sqrt()).ceil();
    units(count, 1.0, 3.0 * count + 1.0)
}

/// The network of 8 units on 4 positions of 2 numbers.
fn relu_itself() -> Outcome {
    let (flat, r) = (8.0, 8.0);
    units(r, 1.0, r * (flat + 1.0) + flat * (r + 1.0))
}

/// Linear interpolation over triangles of a G × G grid: off by M h²/4 where second derivatives are at most M in any direction, since a
/// right triangle of legs h lies in a circle of radius h/√2 (Waldron 1998). M = 9 for sin(3 u) v. A node's hat is max(0, 1 − max(0, s, t) + min(0,
/// s, t)), from max(0, s − t), which is shared along a diagonal, by three units of two weights and a bias; u and v are handed on.
fn relu_waves(tolerance: f64) -> Outcome {
    let per_axis = (0.5 * (9.0 / tolerance).sqrt()).ceil();
    let nodes = (per_axis + 1.0).powi(2);
    units(2.0 * nodes, 3.0, 10.0 * nodes + 3.0 * (2.0 * per_axis + 1.0) + 2.0)
}

/// n (1/δ)^(d n) feed-forward layers of four units look cells of side δ up, the leading term of the construction; each has 9 d + 4
/// parameters. A value in the middle of a cell is off by L √(d n) δ/2, L = 3 for sin(3 u) v.
///
/// # References
/// Yun et al. 2020, arXiv 1912.10077, section 4 (recalled), whose theorem is about the mean of errors and not about the largest.
fn ffn_transformer(tolerance: f64) -> Outcome {
    let (n, d, lipschitz) = (2.0_f64, 1.0_f64, 3.0);
    let side = 2.0 * tolerance / (lipschitz * (d * n).sqrt());
    let layers = n * side.recip().ceil().powf(d * n);
    let size = Size {
        length: Some(2),
        width: Some(1),
        layers,
        parameters: layers * (9.0 * d + 4.0),
        token_wise: true,
        ..Size::default()
    };
    Outcome::Known(size)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    fn of(id: &str) -> &'static Subject {
        SUBJECTS.iter().find(|subject| subject.id == id).unwrap()
    }

    fn built(id: &str, tolerance: f64) -> Size {
        match of(id).at(tolerance) {
            Outcome::Built(size) | Outcome::Known(size) => size,
            other => panic!("{id}: {other:?}"),
        }
    }

    /// Which constructions have token-wise maps, and which look ahead, is known by how they are made.
    #[test]
    fn maps_and_masks() {
        for (id, token_wise, causal) in [
            ("truncated-linear", false, false),
            ("truncated-linear-heads", true, false),
            ("truncated-linear, causal", true, true),
            ("prefix", true, true),
            ("relu-network, t1", false, false),
            ("relu-network, t2", true, false),
            ("max-affine", true, true),
            ("formula", true, false),
            ("in-context-gd, e1", true, false),
        ] {
            let size = built(id, 0.1);
            assert_eq!((size.token_wise, size.causal), (token_wise, causal), "{id}: {size:?}");
        }
    }

    /// Sizes follow the rates: 1/ε for the clamp's anchors, 1/√ε per axis for smooth functions; what is too large is not built.
    #[test]
    fn sizes_grow_as_the_rates_say() {
        let ratio = |id: &str| built(id, 1e-3).parameters / built(id, 1e-2).parameters;
        assert!((8.0..10.5).contains(&ratio("truncated-linear")), "{}", ratio("truncated-linear"));
        assert!((2.5..3.5).contains(&ratio("ReLU network, GELU")), "{}", ratio("ReLU network, GELU"));
        assert!((8.5..11.5).contains(&ratio("ReLU network, waves")), "{}", ratio("ReLU network, waves"));
        assert!((90.0..110.0).contains(&ratio("FFN transformer")), "{}", ratio("FFN transformer"));
        assert!(ratio("formula") < 3.0, "{}", ratio("formula"));
        let Outcome::Refused(why) = of("in-context-gd, logistic").at(1e-9) else { panic!("reached") };
        assert!(why.contains("out of reach"), "{why}");
    }
}
