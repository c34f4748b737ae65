//! From options to a construction, and to the task of the same target.

use headway_model::weights::Array;
use headway_tasks::{
    Descent, Domain, FunctionConfig, GivenForms, GivenNetwork, Law, RegressionConfig, ReluNetworkConfig, Seed, Stream,
    TaskConfig, TaskError, TruncatedLinearConfig,
};
use headway_theory::{
    Attention, Mode, Target,
    construct::{
        self, ReluWeights,
        activation::Scalar,
        in_context_gd, max_affine, relu_network,
        seq2seq::{self, Source},
        truncated_linear::Clamp,
    },
    smoothness::Given,
};
use headway_trainer::Error;

use super::{
    Planned,
    args::{self, AttentionKind, Common, Ends, GdForm, Method, ReluForm, Sharpness, Smoothness, What},
    files::{Doubles, read_arrays, read_cells, read_forms, read_samples, read_table},
    refused,
    written::{Sizes, WrittenDown},
};

impl What {
    pub fn common(&self) -> &Common {
        match self {
            Self::TruncatedLinear(args) => &args.common,
            Self::TruncatedLinearHeads(args) => &args.common,
            Self::Activation(args) => &args.common,
            Self::ReluNetwork(args) => &args.common,
            Self::Seq2seq(args) => &args.common,
            Self::InContextGd(args) => &args.common,
            Self::MaxAffine(args) => &args.common,
            Self::Prefix(args) => &args.common,
        }
    }

    /// Options that give a size, and whether one of them was given.
    pub(super) fn size(&self) -> (&'static str, bool) {
        match self {
            Self::TruncatedLinear(args) => ("--intervals", args.intervals.is_some()),
            Self::TruncatedLinearHeads(args) => ("--heads", args.heads.is_some()),
            Self::Activation(args) => ("--intervals", args.intervals.is_some()),
            Self::ReluNetwork(args) => ("--beta or --intervals", args.beta.is_some() || args.intervals.is_some()),
            Self::Seq2seq(args) => ("--cells or --units", args.cells.is_some() || args.units.is_some()),
            Self::InContextGd(args) => ("--delta or --intervals", args.delta.is_some() || args.intervals.is_some()),
            Self::MaxAffine(args) => ("--per-axis", args.per_axis.is_some()),
            Self::Prefix(args) => ("--length", args.length.is_some()),
        }
    }

    pub(super) fn plan(&self) -> Result<Planned, Error> {
        match self {
            Self::TruncatedLinear(args) => {
                let (clamp, task) = clamp(&args.clamp, false, &args.common)?;
                let head =
                    construct::TruncatedLinear { clamp, mode: args.clamp.mode.into(), intervals: args.intervals };
                Ok(Planned::new(task, args.clamp.seed, move |request| head.build(request)))
            }
            Self::TruncatedLinearHeads(args) => {
                let (clamp, task) = clamp(&args.clamp, args.shared, &args.common)?;
                let heads = construct::TruncatedLinearHeads { clamp, mode: args.clamp.mode.into(), heads: args.heads };
                Ok(Planned::new(task, args.clamp.seed, move |request| heads.build(request)))
            }
            Self::Activation(args) => activation(args),
            Self::ReluNetwork(args) => relu_network(args),
            Self::Seq2seq(args) => seq2seq(args),
            Self::InContextGd(args) => in_context_gd(args),
            Self::MaxAffine(args) => max_affine(args),
            Self::Prefix(args) => prefix(args),
        }
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

/// The first thing wrong with a task, as the option that sets it.
pub fn sound(problems: Vec<TaskError>) -> Result<(), Error> {
    match problems.first() {
        None => Ok(()),
        Some(TaskError { key, problem }) => {
            let option = match *key {
                "outputs" => "function",
                "d_hidden" => "hidden",
                key => key.split('.').next().unwrap_or(key),
            };
            Err(Error::Usage(format!("--{}: {problem}", option.replace('_', "-"))))
        }
    }
}

/// Refuses sizes whose product alone is more than the weights may hold, before anything of that size is made.
fn ensure_size(what: &str, factors: &[usize], common: &Common) -> Result<(), Error> {
    let product = factors.iter().try_fold(1_usize, |product, factor| product.checked_mul(*factor));
    if product.is_some_and(|product| product <= common.max_params) {
        return Ok(());
    }
    let factors: Vec<String> = factors.iter().map(ToString::to_string).collect();
    let problem = format!("{what}: {} are more than --max-params allows, {}", factors.join(" x "), common.max_params);
    Err(Error::Usage(problem))
}

/// Refuses an option that nothing would read.
fn ensure_unused(option: &str, is_given: bool, where_read: &str) -> Result<(), Error> {
    if is_given { Err(Error::Usage(format!("--{option}: is an option of {where_read} alone"))) } else { Ok(()) }
}

fn cube(ends: &Ends) -> Result<Domain, Error> {
    if ends.low < ends.high && ends.low.is_finite() && ends.high.is_finite() {
        Ok(Domain::Cube { low: ends.low, high: ends.high })
    } else {
        Err(Error::Usage(format!("--low: must be below --high, but {} is not below {}", ends.low, ends.high)))
    }
}

fn activation(args: &args::Activation) -> Result<Planned, Error> {
    let domain = cube(&Ends { low: args.low, high: args.high })?;
    ensure_size("--seq-len", &[args.seq_len], &args.common)?;
    let (scalar, config) = if let Some(path) = &args.table {
        let table = read_table(path)?;
        let points: Vec<(f64, f64)> = table.x.iter().copied().zip(table.y.iter().copied()).collect();
        let config = FunctionConfig { seq_len: args.seq_len, d_in: 1, outputs: Vec::new(), table: Some(table), domain };
        sound(TaskConfig::Function(config.clone()).validate())?;
        (Scalar::table(&points).map_err(refused)?, config)
    } else {
        let texts = args.function.as_slice();
        let sizes = Sizes { seq_len: (Some(args.seq_len), 1), d_in: (None, 1) };
        let written = WrittenDown::new(texts, sizes, domain)?;
        if written.config.d_in != 1 || written.function.d_out() != 1 {
            return Err(Error::Usage("--function: takes one number, x1, and gives one".to_owned()));
        }
        let kinks = [written.kinks, &args.kink].concat();
        (Scalar::written(&written.text, written.per_position()?, kinks), written.config)
    };
    let construction = construct::Activation {
        seq_len: args.seq_len,
        function: scalar,
        low: args.low,
        high: args.high,
        mode: args.mode.map(Mode::from),
        intervals: args.intervals,
        lipschitz: args.smoothness.lipschitz,
        curvature: args.smoothness.curvature,
    };
    Ok(Planned::new(TaskConfig::Function(config), 0, move |request| construction.build(request)))
}

fn relu_network(args: &args::ReluNetwork) -> Result<Planned, Error> {
    cube(&args.ends)?;
    let t2 = matches!(args.form, ReluForm::T2);
    ensure_unused("mode", t2 && args.mode.is_some(), "forms t1 and s")?;
    let flat = args.seq_len.saturating_mul(args.d);
    ensure_size("--hidden x --seq-len x --d", &[args.hidden, flat], &args.common)?;
    let input = Law::Uniform { low: args.ends.low, high: args.ends.high };
    let base = ReluNetworkConfig { seq_len: args.seq_len, input, ..ReluNetworkConfig::default() };
    let (weights, config) = if let Some(path) = &args.network {
        let weights = ReluWeights::from_arrays(&read_arrays(path)?, args.seq_len).map_err(refused)?;
        let config = written_network(&weights, base);
        (weights, config)
    } else {
        let config = ReluNetworkConfig { d: args.d, d_hidden: args.hidden, ..base };
        sound(TaskConfig::ReluNetwork(config.clone()).validate())?;
        let drawn = headway_tasks::ReluNetwork::new(config.clone(), &mut Seed(args.seed).rng(Stream::Task, 0));
        // As drawn, so that the task rounds nothing that the construction does not.
        let given = drawn.written_down().given.unwrap_or_else(|| unreachable!("written down means given"));
        let GivenNetwork { weights_in, bias_in, weights_out, bias_out } = given;
        let (seq_len, d) = (config.seq_len, config.d);
        (ReluWeights { seq_len, d_in: d, d_out: d, weights_in, bias_in, weights_out, bias_out }, config)
    };
    sound(TaskConfig::ReluNetwork(config.clone()).validate())?;
    let flat = weights.seq_len * weights.d_in;
    let construction = construct::ReluNetwork {
        form: match args.form {
            ReluForm::T1 => relu_network::Form::T1,
            ReluForm::T2 => relu_network::Form::T2,
            ReluForm::S => relu_network::Form::S,
        },
        low: vec![args.ends.low; flat],
        high: vec![args.ends.high; flat],
        mode: args.mode.map_or(Mode::default(), Mode::from),
        intervals: args.intervals,
        heads: args.heads,
        beta: args.beta,
        ..construct::ReluNetwork::new(weights)
    };
    Ok(Planned::new(TaskConfig::ReluNetwork(config), args.seed, move |request| construction.build(request)))
}

/// The task of a network with these weights.
fn written_network(weights: &ReluWeights, base: ReluNetworkConfig) -> ReluNetworkConfig {
    ReluNetworkConfig {
        seq_len: weights.seq_len,
        d: weights.d_in,
        d_out: (weights.d_out != weights.d_in).then_some(weights.d_out),
        d_hidden: weights.units(),
        given: Some(GivenNetwork {
            weights_in: weights.weights_in.clone(),
            bias_in: weights.bias_in.clone(),
            weights_out: weights.weights_out.clone(),
            bias_out: weights.bias_out.clone(),
        }),
        ..base
    }
}

fn seq2seq(args: &args::Seq2seq) -> Result<Planned, Error> {
    let domain = cube(&args.ends)?;
    let (grid, fit) = (matches!(args.method, Method::Grid), matches!(args.method, Method::Fit));
    ensure_unused("cells", fit && args.cells.is_some(), "the grid")?;
    ensure_unused("lipschitz", fit && args.lipschitz.is_some(), "the grid")?;
    ensure_unused("units", grid && args.units.is_some(), "the fit")?;
    let asked = [args.seq_len, args.d_in].map(|size| size.unwrap_or(2));
    ensure_size("--seq-len x --d-in", &asked, &args.common)?;
    let options = |source, seq_len: usize, d_in: usize, d_out| construct::Seq2seq {
        low: vec![args.ends.low; seq_len * d_in],
        high: vec![args.ends.high; seq_len * d_in],
        method: match args.method {
            Method::Auto => seq2seq::Method::Auto,
            Method::Grid => seq2seq::Method::Grid,
            Method::Fit => seq2seq::Method::Fit,
        },
        lipschitz: args.lipschitz,
        cells: args.cells,
        units: args.units,
        seed: args.seed,
        ..construct::Seq2seq::new(source, seq_len, d_in, d_out)
    };
    if let Some(path) = &args.samples {
        let [inputs, outputs] = read_samples(path)?;
        let sizes = |array: &Array| [array.shape[1], array.shape[2]];
        let ([seq_len, d_in], [_, d_out]) = (sizes(&inputs), sizes(&outputs));
        let source = Source::Samples { inputs: inputs.rows(seq_len * d_in), outputs: outputs.rows(seq_len * d_out) };
        let construction = options(source, seq_len, d_in, d_out);
        let input = Law::Uniform { low: args.ends.low, high: args.ends.high };
        let base = ReluNetworkConfig { input, ..ReluNetworkConfig::default() };
        return Ok(Planned {
            seed: args.seed,
            // The task is the network that was fitted, which is known only then.
            build: Box::new(move |request| {
                let (construction, fitted) = construction.build_with_fit(request)?;
                let fitted = fitted.unwrap_or_else(|| unreachable!("samples are always fitted"));
                Ok((construction, TaskConfig::ReluNetwork(written_network(&fitted, base))))
            }),
        });
    }
    let sizes = Sizes { seq_len: (args.seq_len, 2), d_in: (args.d_in, 2) };
    let written = WrittenDown::new(&args.function, sizes, domain)?;
    let (function, target) = (&written.function, written.target());
    let construction = options(Source::Function(target), function.seq_len(), function.d_in(), function.d_out());
    Ok(Planned::new(TaskConfig::Function(written.config), args.seed, move |request| construction.build(request)))
}

fn in_context_gd(args: &args::InContextGd) -> Result<Planned, Error> {
    let linear = matches!(args.form, GdForm::E1);
    ensure_unused("delta", !linear && args.delta.is_some(), "form e1")?;
    ensure_unused("intervals", linear && args.intervals.is_some(), "form e2")?;
    ensure_size("--points x --d", &[args.points, args.d], &args.common)?;
    // Labels of the task stay within y_max: the largest w . x is 0.8 of it, and the noise a thirtieth.
    let size = 0.8 * args.y_max / (args.d as f64 * args.x_max);
    let task = TaskConfig::InContextRegression(RegressionConfig {
        d: args.d,
        n_points: args.points,
        noise: args.y_max / 30.0,
        input: Law::Uniform { low: -args.x_max, high: args.x_max },
        weights: Law::Uniform { low: -size, high: size },
        gradient_descent: Descent { steps: args.steps, rate: args.rate },
    });
    let construction = construct::InContextGd {
        points: args.points,
        d: args.d,
        steps: args.steps,
        rate: args.rate,
        x_max: args.x_max,
        y_max: args.y_max,
        form: match args.form {
            GdForm::E1 => in_context_gd::Form::Linear { delta: args.delta },
            GdForm::E2 => in_context_gd::Form::Squares { intervals: args.intervals, sharpness: None },
        },
    };
    Ok(Planned::new(task, 0, move |request| construction.build(request)))
}

fn max_affine(args: &args::MaxAffine) -> Result<Planned, Error> {
    let domain = cube(&args.ends)?;
    ensure_size("--seq-len x --d-in", &[args.seq_len, args.d_in.unwrap_or(2)], &args.common)?;
    let (partition, config) = if let Some(path) = &args.cells {
        let cells = read_cells(path, args.gap.unwrap_or(0.05))?;
        let d_in = cells.slopes.first().map_or(0, Vec::len);
        let config = FunctionConfig { seq_len: args.seq_len, d_in, outputs: formulas(&cells), table: None, domain };
        sound(TaskConfig::Function(config.clone()).validate())?;
        (max_affine::Cut::Given(cells), config)
    } else {
        let sizes = Sizes { seq_len: (Some(args.seq_len), 4), d_in: (args.d_in, 2) };
        let written = WrittenDown::new(&args.function, sizes, domain)?;
        let grid = max_affine::Grid {
            d_in: written.config.d_in,
            function: Target::written(&written.text, written.per_position()?),
            mode: args.mode.map_or(Mode::default(), Mode::from),
            per_axis: args.per_axis,
            padding: args.padding,
            given: (&args.smoothness).into(),
        };
        (max_affine::Cut::Grid(grid), written.config)
    };
    let construction = construct::MaxAffine {
        seq_len: config.seq_len,
        low: args.ends.low,
        high: args.ends.high,
        partition,
        attention: match args.attention {
            AttentionKind::SelfAttention => Attention::SelfAttention,
            AttentionKind::CrossAttention => Attention::CrossAttention,
        },
    };
    Ok(Planned::new(TaskConfig::Function(config), 0, move |request| construction.build(request)))
}

/// The value of the cell with the largest score as formulas, one per output number: Σ_k v_k step(s_k − max(s_1, …, s_K)).
fn formulas(cells: &max_affine::GivenCells) -> Vec<String> {
    let score = |(slope, offset): (&Vec<f64>, &f64)| {
        let terms = slope.iter().enumerate().map(|(j, a)| format!(" + {a:?}*x{}", j + 1));
        format!("({offset:?}{})", terms.collect::<String>())
    };
    let scores: Vec<String> = cells.slopes.iter().zip(&cells.offsets).map(score).collect();
    let top = if scores.len() == 1 { scores[0].clone() } else { format!("max({})", scores.join(", ")) };
    let d_out = cells.values.first().map_or(0, Vec::len);
    let output = |c: usize| {
        let terms = cells.values.iter().zip(&scores);
        terms.map(|(v, s)| format!("{:?}*step({s} - {top})", v[c])).collect::<Vec<_>>().join(" + ")
    };
    (0..d_out).map(output).collect()
}

fn prefix(args: &args::Prefix) -> Result<Planned, Error> {
    let sizes = Sizes { seq_len: (None, 1), d_in: (args.d_in, 3) };
    let written = WrittenDown::new(&args.function, sizes, Domain::Sphere)?;
    let construction = construct::Prefix {
        d_in: written.config.d_in,
        function: Target::written(&written.text, written.per_position()?),
        mode: args.mode.into(),
        length: args.length,
        given: (&args.smoothness).into(),
    };
    Ok(Planned::new(TaskConfig::Function(written.config), 0, move |request| construction.build(request)))
}

/// The clamp of the options, and the task of the same numbers.
fn clamp(args: &args::Clamp, shared: bool, common: &Common) -> Result<(Clamp, TaskConfig), Error> {
    ensure_size("--seq-len x --d-in", &[args.seq_len, args.d_in], common)?;
    let input = Law::Uniform { low: -args.input, high: args.input };
    let ends = TruncatedLinearConfig { low: args.low, high: args.high, input, ..TruncatedLinearConfig::default() };
    let given = match &args.weights {
        Some(path) => Some(read_forms(path)?),
        None if shared => {
            let drawn =
                draw(&TruncatedLinearConfig { seq_len: args.seq_len, d_in: args.d_in, ..ends.clone() }, args.seed)?;
            let first = (drawn.weights.first(), drawn.offsets.first());
            let (Some(weights), Some(offset)) = first else { return Err(too_small()) };
            Some(GivenForms { weights: vec![weights.clone(); args.seq_len], offsets: vec![*offset; args.seq_len] })
        }
        None => None,
    };
    let (seq_len, d_in) = match &given {
        Some(given) => (given.weights.len(), given.weights.first().map_or(0, Vec::len)),
        None => (args.seq_len, args.d_in),
    };
    let config = TruncatedLinearConfig { seq_len, d_in, given, ..ends };
    let GivenForms { weights, offsets } = draw(&config, args.seed)?;
    let clamp = Clamp { weights, offsets, low: args.low, high: args.high, input: args.input };
    Ok((clamp, TaskConfig::TruncatedLinear(config)))
}

fn too_small() -> Error {
    Error::Usage("--seq-len and --d-in must be at least 1".to_owned())
}

/// The numbers of a task, drawn or given, as the task itself rounds them.
fn draw(config: &TruncatedLinearConfig, seed: u64) -> Result<GivenForms, Error> {
    sound(TaskConfig::TruncatedLinear(config.clone()).validate())?;
    let drawn = headway_tasks::TruncatedLinear::new(config.clone(), &mut Seed(seed).rng(Stream::Task, 0));
    let weights = drawn.weights.column_iter().map(|w| w.iter().copied().map(f64::from).collect());
    Ok(GivenForms { weights: weights.collect(), offsets: drawn.offsets.iter().copied().map(f64::from).collect() })
}
