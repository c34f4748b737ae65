//! Constructions whose bounds are attacked: every one of them, in networks, sizes and functions that a seed decides.
//!
//! A bound is refuted by one error above it. `cargo bench --bench bounds` looks for one at a million points, nearly all made to be hard, over
//! several seeds; the tests of this crate look at a few.

use crate::{
    construct::{
        Construction, ConstructionConfig, Request,
        activation::{self, Values},
        formula, in_context_gd, interpreter, kernel_ridge, max_affine, network_descent, prefix, program, relu_network,
        seq2seq, truncated_linear, truncated_linear_heads,
    },
    interpolation::Mode,
    refusal::Refusal,
};

/// Largest number of parameters of a construction that is attacked.
const MOST_PARAMETERS: usize = 2_000_000;

/// Where a size is given, no tolerance is.
const ANY: f64 = f64::MAX;

/// The constructions of one seed.
///
/// # Errors
/// [`Refusal`] if one cannot be built, which is a fault in this list.
pub fn constructions(seed: u64) -> Result<Vec<Construction>, Refusal> {
    let parts = Parts::of(seed);
    let configs = parts.clamps().into_iter().chain(parts.functions()).chain(parts.networks());
    configs
        .map(|(config, tolerance)| {
            let request = Request { tolerance, max_parameters: MOST_PARAMETERS };
            Ok(config.plan(None, MOST_PARAMETERS)?.build(request)?.0)
        })
        .collect()
}

/// What a seed decides.
struct Parts {
    seed: u64,
    /// Positions, numbers per position, and a few steps or heads.
    n: usize,
    d: usize,
    few: usize,
    /// Intervals, cells or units.
    many: usize,
    /// A frequency.
    a: f64,
    mode: Mode,
}

impl Parts {
    fn of(seed: u64) -> Self {
        let turn = |count: u64| (seed % count) as usize;
        Self {
            seed,
            n: 4 + turn(5),
            d: 1 + turn(3),
            few: 1 + turn(4),
            many: 3 + 5 * turn(7),
            a: 1.0 + 0.37 * turn(11) as f64,
            mode: [Mode::Minimax, Mode::Smooth, Mode::Hard][turn(3)],
        }
    }

    fn clamps(&self) -> Vec<(ConstructionConfig, f64)> {
        let &Self { seed, n, d, many, a, mode, .. } = self;
        let clamp = |mode: Mode| truncated_linear::ClampConfig {
            seq_len: n,
            d_in: d,
            low: -a,
            high: many as f64,
            seed,
            mode,
            ..Default::default()
        };
        let alone = |mode: Mode, values: Values, causal: bool| {
            let config = truncated_linear::Config { clamp: clamp(mode), intervals: Some(many), values, causal };
            ConstructionConfig::TruncatedLinear(config)
        };
        let shared = seed.is_multiple_of(2);
        let heads = truncated_linear_heads::Config { clamp: clamp(mode), shared, heads: Some(many) };
        vec![
            (alone(mode, Values::Function, false), ANY),
            (alone(mode, Values::Function, true), ANY),
            (alone(Mode::Minimax, Values::LinearProgram, false), ANY),
            (ConstructionConfig::TruncatedLinearHeads(heads), ANY),
        ]
    }

    fn functions(&self) -> Vec<(ConstructionConfig, f64)> {
        let &Self { few, many, a, mode, .. } = self;
        let activation = |function: String, values: Values| {
            let (function, intervals) = (Some(function), Some(many));
            ConstructionConfig::Activation(activation::Config { function, intervals, values, ..Default::default() })
        };
        let grid = seq2seq::Config {
            function: vec![format!("x1_1*x2_1 + sin({a}*x1_1)")],
            seq_len: Some(2),
            d_in: Some(1),
            method: seq2seq::Method::Grid,
            cells: Some(many),
            ..Default::default()
        };
        let formula =
            formula::Config { function: vec![format!("x1*x1_2 + sin({a}*x2_1)/(1 + abs(x3))")], ..Default::default() };
        let cells = max_affine::Config {
            function: vec![format!("sin({a}*x1)*x2"), "abs(x1 - x2)".to_owned()],
            mode: Some(mode),
            per_axis: Some(many),
            ..Default::default()
        };
        let circle = prefix::Config {
            function: vec!["abs(x1)".to_owned(), format!("x1*x2*{a}")],
            seq_len: Some(few),
            d_in: Some(2),
            length: Some(8 * many),
            ..Default::default()
        };
        vec![
            (activation(format!("sin({a}*x1) + abs(x1 - 0.{few})"), Values::Function), ANY),
            (activation(format!("gelu({a}*x1)"), Values::LinearProgram), ANY),
            (ConstructionConfig::Seq2seq(grid), ANY),
            (ConstructionConfig::Formula(formula), 1e-2),
            (ConstructionConfig::MaxAffine(cells), ANY),
            (ConstructionConfig::Prefix(circle), ANY),
        ]
    }

    fn networks(&self) -> Vec<(ConstructionConfig, f64)> {
        let &Self { seed, n, d, few, many, .. } = self;
        let relu = |form: relu_network::Form, intervals: Option<usize>, heads: Option<usize>| {
            let hidden = if intervals.is_none() { many } else { n };
            ConstructionConfig::ReluNetwork(relu_network::Config {
                seq_len: n,
                d,
                hidden,
                seed,
                form,
                intervals,
                heads,
                ..Default::default()
            })
        };
        let causal = relu_network::Config { seq_len: n, d, hidden: many, seed, causal: true, ..Default::default() };
        let descent = |change: &dyn Fn(&mut in_context_gd::Config)| {
            let mut config = in_context_gd::Config { points: n, d, steps: few, ..Default::default() };
            change(&mut config);
            ConstructionConfig::InContextGd(config)
        };
        let majority = program::Config { program: "majority".to_owned(), length: Some(n) };
        let interpreter = interpreter::Config {
            points: n.min(5),
            d: d.min(2),
            steps: 1 + few % 2,
            intervals: Some(32),
            ..Default::default()
        };
        let kernel = kernel_ridge::Config {
            points: n,
            d,
            steps: 2 * few,
            bandwidth: 0.3 * few as f64,
            ridge: 0.1 * (seed % 2) as f64,
            ..Default::default()
        };
        let network = network_descent::Config {
            points: n,
            d: d.min(2),
            units: few,
            steps: 1 + few % 3,
            rate: 0.02 * (1 + seed % 2) as f64,
            ..Default::default()
        };
        vec![
            (ConstructionConfig::Interpreter(interpreter), ANY),
            (ConstructionConfig::KernelRidge(kernel), ANY),
            (ConstructionConfig::NetworkDescent(network), ANY),
            (relu(relu_network::Form::T2, None, None), 0.05),
            (ConstructionConfig::ReluNetwork(causal), 0.05),
            (relu(relu_network::Form::T1, Some(many), Some(few)), ANY),
            (relu(relu_network::Form::S, Some(many), None), ANY),
            (ConstructionConfig::Program(majority), 0.1),
            (descent(&|gd| (gd.rate, gd.ridge) = (0.1 * few as f64, 0.1 * (seed % 2) as f64)), 0.1),
            (descent(&|gd| (gd.loss, gd.lasso) = (in_context_gd::LossName::Logistic, 0.02)), 0.5),
            (descent(&|gd| (gd.form, gd.intervals) = (in_context_gd::FormName::E2, Some((8 + many).max(16)))), ANY),
        ]
    }
}
