//! A task, a kernel, a position scheme and a model family of a crate that is not Headway's: registered by one line each, they are named in
//! config files, held to the laws, trained and resumed.

use std::{
    path::Path,
    sync::{Arc, Once},
    time::Duration,
};

use burn::{
    module::{Module, Param},
    tensor::{Device, FloatDType, Tensor, TensorData},
};
use headway_model::{
    AttentionConfig, AttentionKernel, Buffer, Capability, ConfigError, Count, Demand, Family, Hand, Initializer, Input,
    IoDims, Kernel, KernelKind, KernelSizes, KernelSpec, LayerShape, Linear, Mask, Model, ModelConfig,
    MultiHeadAttention, Network, Position, PositionKind, PositionSizes, PositionSpec, Recorder, Scheme, Shape, View,
    adapter::{AttentionPlace, Target},
    parameters::{Key, Rule},
    plain::{NoPlainForm, Parameters, is_softmax},
    weights,
};
use headway_tasks::{
    Example, Files, Inputs, SampleRng, Split, Targets, Task, TaskConfig, TaskDims, TaskError, TaskInput, TaskSpec,
    baseline::{Baseline, mean::Mean},
};
use headway_testkit::laws;
use headway_trainer::{
    Error, Interrupter,
    device::DeviceSpec,
    experiment::{Experiment, from_text},
    resume::{Resumed, resume},
    run_dir::NewRun,
    session::Options,
    train::train,
};
use rand::RngExt;
use serde::{Deserialize, Serialize};

/// Targets are the means of the inputs so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RunningMean {
    seq_len: usize,
}

impl Default for RunningMean {
    fn default() -> Self {
        Self { seq_len: 6 }
    }
}

impl headway_tasks::Listed for RunningMean {
    const NAME: &'static str = "running_mean";
    const SUMMARY: &'static str = "y_i = (x_1 + ... + x_i) / i";
}

impl TaskSpec for RunningMean {
    fn dims(&self) -> TaskDims {
        TaskDims { seq_len: self.seq_len, input: TaskInput::Continuous { d_in: 1 }, d_out: 1 }
    }

    fn validate(&self) -> Vec<TaskError> {
        TaskError::below("seq_len", self.seq_len, 1).into_iter().collect()
    }

    fn open(&self, _: &Files, _: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        Ok(Box::new(self.clone()))
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        None
    }
}

impl Task for RunningMean {
    fn dims(&self) -> TaskDims {
        TaskSpec::dims(self)
    }

    fn example(&self, _: Split, _: u64, rng: &mut SampleRng) -> Example {
        let x: Vec<f32> = (0..self.seq_len).map(|_| rng.random_range(-1.0..1.0)).collect();
        let y = (1..=x.len()).map(|n| x[..n].iter().sum::<f32>() / n as f32).collect();
        let (loss_mask, slices) = (vec![true; x.len()], vec![None; x.len()]);
        Example { inputs: Inputs::Continuous(x), targets: Targets::Continuous(y), loss_mask, slices }
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        vec![Box::new(Mean::default())]
    }
}

/// The pattern of a query is proportional to 1 + s + s²/2, Taylor's beginning of exp(s), with s = Σ_c g_c q_c k_c / sqrt(d) + bias and
/// gains g drawn once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Taylor {
    spread: f64,
}

impl Default for Taylor {
    fn default() -> Self {
        Self { spread: 0.5 }
    }
}

impl headway_model::Listed for Taylor {
    const NAME: &'static str = "taylor";
    const SUMMARY: &'static str = "1 + s + s^2/2 in the place of exp(s)";
}

#[derive(Module, Debug)]
struct TaylorKernel {
    gains: Buffer,
}

impl Kernel for TaylorKernel {
    fn pattern(&self, q: Tensor<4>, k: Tensor<4>, view: &View) -> Tensor<4> {
        let [q, k] = [q, k].map(|x| x.cast(FloatDType::F32));
        let ([batch, n_heads, q_len, d_key], k_len) = (q.dims(), k.dims()[2]);
        let gained = q * self.gains.val().reshape([1, 1, 1, d_key]);
        let scores = view.product(gained, k.swap_dims(2, 3)).div_scalar((d_key as f64).sqrt());
        let scores = match &view.bias {
            Some(bias) => scores + bias.pairs(q_len, k_len).unsqueeze(),
            None => scores,
        };
        let terms = scores.clone().powi_scalar(2).mul_scalar(0.5) + scores.add_scalar(1.0);
        let terms = match view.mask.hidden(q_len, k_len, &terms.device()) {
            Some(hidden) => {
                terms.mask_fill(hidden.reshape([1, 1, q_len, k_len]).expand([batch, n_heads, q_len, k_len]), 0.0)
            }
            None => terms,
        };
        terms.clone() / terms.sum_dim(3)
    }
}

impl KernelSpec for Taylor {
    fn validate(&self) -> Vec<ConfigError> {
        let good = (0.0..1.0).contains(&self.spread);
        (!good).then(|| ConfigError::new("spread", "must be from 0 to below 1")).into_iter().collect()
    }

    fn build(&self, d_key: usize, init: &mut Initializer<'_>) -> AttentionKernel {
        let spread = self.spread as f32;
        let draw =
            |rng: &mut dyn rand::Rng| (0..d_key).map(|_| 1.0 + spread * (2.0 * rng.random::<f32>() - 1.0)).collect();
        AttentionKernel::registered(TaylorKernel { gains: init.buffer([1, d_key], draw) })
    }

    fn supports(&self, demand: Demand) -> Result<(), &'static str> {
        match demand {
            Demand::AnyMask => Err("needs a key for every query"),
            Demand::Bias => Ok(()),
            Demand::Weights => Err("has no scores to weigh"),
        }
    }

    fn flops(&self, sizes: &KernelSizes) -> f64 {
        2.0 * sizes.q_len * sizes.k_len * sizes.n_heads * (sizes.d_key + sizes.d_value)
    }

    fn kept_floats(&self, sizes: &KernelSizes) -> f64 {
        4.0 * sizes.n_heads * sizes.q_len * sizes.k_len
    }

    fn function(&self) -> KernelKind {
        KernelKind::registered(self.clone())
    }

    fn rules(&self) -> &'static [Rule] {
        const SIZES: &[Key] =
            &[Key::Model("kernel"), Key::Model("d_model"), Key::Model("n_heads"), Key::Model("d_head")];
        &[("*.kernel.gains", SIZES, &[Key::Model("kernel")])]
    }

    fn examples(&self) -> Vec<KernelKind> {
        vec![KernelKind::registered(self.clone())]
    }
}

/// −w |i − j| with one learned w.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Recency {}

impl headway_model::Listed for Recency {
    const NAME: &'static str = "recency";
    const SUMMARY: &'static str =
        "lowers the scores of keys in proportion to their distance, by one slope that is learned";
}

#[derive(Module, Debug)]
struct RecencyScheme {
    slope: Param<Tensor<1>>,
}

impl Scheme for RecencyScheme {
    fn bias(&self, n_heads: usize, [q_len, k_len]: [usize; 2], device: &Device) -> Option<Tensor<2>> {
        let distances = q_len + k_len - 1;
        let distance = (0..distances).map(|at| at.abs_diff(k_len - 1) as f32).collect::<Vec<_>>();
        let distance = Tensor::<2>::from_data(TensorData::new(distance, [1, distances]), device);
        Some((distance * self.slope.val().unsqueeze()).neg().expand([n_heads, distances]))
    }
}

impl PositionSpec for Recency {
    fn build(&self, _: &PositionSizes, init: &mut Initializer<'_>) -> Position {
        Position::registered(RecencyScheme { slope: init.param([1], |_| vec![0.1]) })
    }

    fn hands(&self) -> &'static [Hand] {
        &[Hand::Bias]
    }

    fn parameters(&self, _: &PositionSizes) -> f64 {
        1.0
    }

    fn rules(&self) -> &'static [Rule] {
        &[("position.slope", &[], &[Key::Model("position")])]
    }

    fn examples(&self) -> Vec<PositionKind> {
        vec![PositionKind::registered(self.clone())]
    }
}

/// An affine map, one layer of attention, an affine map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Single {
    d_model: usize,
    n_heads: usize,
    kernel: KernelKind,
}

impl Default for Single {
    fn default() -> Self {
        Self { d_model: 8, n_heads: 2, kernel: KernelKind::default() }
    }
}

impl headway_model::Listed for Single {
    const NAME: &'static str = "single";
    const SUMMARY: &'static str = "an affine map, one attention layer, an affine map";
}

#[derive(Module, Debug)]
struct SingleNetwork {
    embed: Linear,
    attention: MultiHeadAttention,
    head: Linear,
}

impl Single {
    fn attention(&self) -> AttentionConfig {
        AttentionConfig::shared_width(self.d_model, self.n_heads, &self.kernel)
    }
}

impl Family for Single {
    fn validate(&self, _: &IoDims, problems: &mut Vec<ConfigError>) {
        if self.n_heads == 0 || !self.d_model.is_multiple_of(self.n_heads) {
            problems.push(ConfigError::new("n_heads", "must divide d_model"));
        }
        problems.extend(self.kernel.problems());
    }

    fn build(&self, dims: &IoDims, init: &mut Initializer<'_>) -> Model {
        Model::registered(SingleNetwork {
            embed: init.linear(dims.vector_width(), self.d_model),
            attention: self.attention().init(init),
            head: init.linear(self.d_model, dims.d_out),
        })
    }

    fn budget(&self, dims: &IoDims, count: &mut Count) {
        let [rows, d_in, d_model, d_out] =
            [dims.seq_len, dims.vector_width(), self.d_model, dims.d_out].map(|size| size as f64);
        count.linear(rows, d_in, d_model);
        count.keep(rows * d_in);
        self.attention().count(rows, false, count);
        count.linear(rows, d_model, d_out);
        count.keep(rows * d_model);
    }

    fn capabilities(&self) -> &'static [Capability] {
        &[Capability::ShorterSequences, Capability::Prefix, Capability::AttentionPrecision]
    }

    fn shape(&self, dims: &IoDims) -> Shape {
        let Self { d_model, n_heads, .. } = *self;
        let layer = LayerShape { n_heads, q_len: dims.seq_len, k_len: dims.seq_len, state: [dims.seq_len, d_model] };
        Shape { embedded: [dims.seq_len, d_model], layers: vec![layer], width: dims.d_out }
    }

    fn plain(&self, parameters: &Parameters) -> Result<headway_plain::network::Network, NoPlainForm> {
        is_softmax(&self.kernel)?;
        let layers = vec![parameters.attention("attention", self.n_heads)?];
        Ok(headway_plain::network::Network { layers, causal: false })
    }

    fn n_heads(&self) -> Option<usize> {
        Some(self.n_heads)
    }

    fn sees_ahead(&self, _: usize) -> bool {
        true
    }

    fn projection_rank(&self, _: Target) -> usize {
        self.d_model
    }

    fn function(&self) -> ModelConfig {
        ModelConfig::registered(Self { kernel: self.kernel.spec().function(), ..self.clone() })
    }

    fn rules(&self) -> Vec<Rule> {
        const D_MODEL: Key = Key::Model("d_model");
        let own: &[Rule] = &[
            ("embed.weight", &[D_MODEL, Key::Inputs], &[]),
            ("head.weight", &[D_MODEL, Key::Outputs], &[]),
            ("head.bias", &[Key::Outputs], &[]),
            ("*", &[D_MODEL], &[]),
        ];
        [self.kernel.spec().rules(), own].concat()
    }

    fn head(&self) -> Vec<String> {
        vec!["head.*".to_owned()]
    }

    fn examples(&self, _: &IoDims, scale: usize) -> Vec<ModelConfig> {
        let config = Self { d_model: 15 * scale, n_heads: 3, ..Self::default() };
        [KernelKind::Softmax, KernelKind::registered(Taylor::default())]
            .map(|kernel| ModelConfig::registered(Self { kernel, ..config.clone() }))
            .into()
    }
}

impl Network for SingleNetwork {
    fn run(&self, input: Input, recorder: &mut Recorder<'_>) -> Tensor<3> {
        let x = self.embed.forward(input.vectors());
        recorder.embedded(&x);
        let x = self.attention.run(x.clone(), x, (&Mask::Full).into(), recorder);
        recorder.layer(&x);
        self.read_out(x)
    }

    fn read_out(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.head.forward(hidden)
    }

    fn attentions(&mut self) -> Vec<AttentionPlace<'_>> {
        vec![self.attention.place()]
    }
}

/// Once in this process, before anything else.
fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        TaskConfig::register::<RunningMean>().unwrap();
        KernelKind::register::<Taylor>().unwrap();
        PositionKind::register::<Recency>().unwrap();
        ModelConfig::register::<Single>().unwrap();
    });
}

const TRANSFORMER: &str = "
seed = 5
[task.running_mean]
seq_len = 7
[model.transformer]
d_model = 8
n_layers = 1
n_heads = 2
position = \"recency\"
kernel.taylor = { spread = 0.25 }
[data.fresh]
validation = 4
test = 4
[train]
batch_size = 3
steps = 5
";

const SINGLE: &str = "
seed = 5
task = \"running_mean\"
[model.single]
kernel = \"taylor\"
[data.fresh]
validation = 4
test = 4
[train]
batch_size = 3
steps = 5
";

fn experiment(text: &str) -> Experiment {
    register();
    from_text(Path::new("own.toml"), text.to_owned(), &[]).unwrap().experiment
}

#[test]
fn what_is_registered_is_held_to_the_laws() {
    register();
    let no_files = Files::new("", |_| Err(std::io::ErrorKind::NotFound.into()), |_, _, _| Err(String::new()));
    laws::task::all(&TaskConfig::registered(RunningMean::default()), &no_files);
    laws::kernel::all(&Taylor::default());
    laws::position::all(&Recency::default());
    laws::family::all(&Single::default());
}

#[test]
fn lists_and_messages_know_what_is_registered_and_no_name_is_taken_twice() {
    register();
    assert_eq!(
        KernelKind::register::<Taylor>().unwrap_err().to_string(),
        "`taylor` stands in the list already; give yours another name"
    );
    assert!(ModelConfig::list().contains(&("single", "an affine map, one attention layer, an affine map")));
    let summary = "y_i = (x_1 + ... + x_i) / i";
    assert_eq!(TaskConfig::list().last(), Some(&("running_mean", summary)));
    let problems = |text: &str| match from_text(Path::new("own.toml"), text.to_owned(), &[]) {
        Err(Error::Experiment(error)) => error.problems,
        other => panic!("{other:?}"),
    };
    let misspelt = problems(&TRANSFORMER.replace("kernel.taylor", "kernel.tailor"));
    assert_eq!(misspelt[0].help.as_deref(), Some("did you mean `taylor`?"), "{misspelt:?}");
    let stray = problems(&TRANSFORMER.replace("spread =", "sprad ="));
    assert_eq!(stray[0].key, "model.transformer.kernel.taylor.sprad", "{stray:?}");
    assert!(stray[0].message.ends_with("no such key; there is `spread`"), "{stray:?}");
    let wide = problems(&TRANSFORMER.replace("spread = 0.25", "spread = 2.0"));
    assert_eq!(wide[0].message, "model.transformer.kernel: taylor.spread must be from 0 to below 1");
}

#[test]
fn the_resolved_config_and_the_run_id_carry_it() {
    let config = experiment(SINGLE);
    let text = config.to_toml();
    assert!(text.contains("[model.single.kernel.taylor]\nspread = 0.5"), "{text}");
    assert!(text.contains("[task.running_mean]\nseq_len = 6"), "{text}");
    assert_eq!(from_text(Path::new("again.toml"), text, &[]).unwrap().experiment, config);
    let other = experiment(&SINGLE.replace("\"taylor\"", "{ taylor = { spread = 0.125 } }"));
    assert_ne!(other.run_id(), config.run_id());
}

#[test]
fn it_is_trained_and_resumed_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let options = |max_time| Options {
        device: DeviceSpec::Cpu.open().unwrap().0,
        dashboard: false,
        max_time,
        interrupter: Interrupter::new(),
        save_now: Arc::default(),
        on_event: Arc::new(|_| ()),
    };
    for (name, text) in [("transformer", TRANSFORMER), ("single", SINGLE)] {
        let experiment = experiment(text);
        let place = |run: &str| NewRun::At(folder.path().join(format!("{name}-{run}")));
        let whole = train(&experiment, &place("whole"), &options(None)).unwrap();
        let stopped = train(&experiment, &place("parts"), &options(Some(Duration::ZERO))).unwrap();
        assert!(stopped.model.is_none(), "{name}: something is left to train");
        drop(stopped.conclude().unwrap());
        let Resumed::Trained(resumed) = resume(&folder.path().join(format!("{name}-parts")), &options(None)).unwrap()
        else {
            panic!("{name}: nothing was left to train");
        };
        let [whole, resumed] = [whole.model, resumed.model].map(|model| weights::arrays(&model.unwrap()));
        assert_eq!(whole, resumed, "{name}");
        assert!(whole.keys().any(|key| key.ends_with("kernel.gains")), "{name}: {:?}", whole.keys());
        // The learned slope of the positions has left its first value.
        assert!(name == "single" || whole["position.slope"].values[0].to_bits() != 0.1_f32.to_bits(), "{name}");
    }
}
