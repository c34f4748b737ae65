//! Benchmarks: the cost of a training step on this machine, and how it is measured.
//!
//! A benchmark is an experiment with a few values changed, trained for some steps (forward, backward and update, without reading
//! anything back), or attention alone with sequences of growing length. A GPU is fed as in training, by threads that make batches
//! ahead; on the CPU, where training makes them between the steps, a few are made in advance and are no part of the time.

use std::{fs, path::Path, sync::Arc, time::Instant};

use burn::tensor::{Device, Tensor, TensorData};
use headway_kernels::{launches, matmul};
use headway_model::{
    CombinerConfig, FavorConfig, Kernel, KernelKind, KernelSizes, Mask, Precision, View, weights::to_host,
};
use headway_tasks::{Seed, Stream};
use serde::{Deserialize, Serialize};

use crate::{
    build,
    capture::Capture,
    device::OpenDevice,
    error::Error,
    experiment::{self, Experiment, Memory},
    loader::Training,
    optimizer::Optimizer,
    prefetch::Waits,
    provenance::CapturedSteps,
    room,
    step::{Losses, TrainableModel, Update},
};

/// One benchmark.
#[derive(Clone, Copy, Debug)]
pub struct Bench {
    /// Name on the command line.
    pub name: &'static str,
    /// One-line summary.
    pub summary: &'static str,
    /// Whether it takes minutes on a CPU, so that it is run there only when it is named.
    pub for_gpu: bool,
    work: Work,
    precision: Precision,
}

#[derive(Clone, Copy, Debug)]
enum Work {
    /// Training steps of an experiment, with overrides for its data and for its model.
    Steps(&'static str, &'static [&'static str], &'static str),
    /// Attention alone, forward and backward.
    Attention { mixing: Mixing, n_heads: usize, seq_len: usize, causal: bool },
}

/// The kernel of attention alone.
#[derive(Clone, Copy, Debug)]
enum Mixing {
    Softmax,
    Favor,
    Combiner,
}

impl Mixing {
    /// For so many keys.
    fn kernel(self, seq_len: usize) -> KernelKind {
        match self {
            Self::Softmax => KernelKind::Softmax,
            Self::Favor => FavorConfig::default().into(),
            Self::Combiner => {
                // The power of two at the square root of the length, where it costs least.
                CombinerConfig { segment: 1 << seq_len.ilog2().div_ceil(2), ..CombinerConfig::default() }.into()
            }
        }
    }
}

const PAPER_ONE_LAYER: &str = include_str!("../../../experiments/truncated_linear.toml");
const PAPER_TWO_LAYER: &str = include_str!("../../../experiments/seq2seq_relu.toml");
const RECALL: &str = include_str!("../../../experiments/zoology.toml");
const IN_CONTEXT: &str = include_str!("../../../experiments/icl_linear.toml");

/// Vectors of 32 numbers, in and out, at 256 positions.
const VECTORS: &[&str] = &[
    "task={relu_network={seq_len=256, d=32, d_hidden=10}}",
    "data={fresh={validation=0, test=1}}",
    "train.batch_size=16",
];
/// In-context regression in 20 dimensions from 41 points, as in Garg et al. 2022.
const POINTS: &[&str] = &["task.d=20", "task.n_points=41", "data.test=1", "data.validation=0"];
const WIDE: &str = "model={transformer={d_model=256, n_layers=4, n_heads=8, causal=true}}";
const WIDE_FFN: &str =
    "model={transformer={d_model=256, n_layers=4, n_heads=8, causal=true, state_mixer={ffn={d_ffn=1024}}}}";
const MEDIUM: &str = "model={transformer={d_model=128, n_layers=6, n_heads=4, causal=true}}";
const MEDIUM_FFN: &str =
    "model={transformer={d_model=128, n_layers=6, n_heads=4, causal=true, state_mixer={ffn={d_ffn=512}}}}";
/// Vectors of 32 numbers, in and out, at 1,024 positions.
const LONG: &[&str] = &[
    "task={relu_network={seq_len=1024, d=32, d_hidden=10}}",
    "data={fresh={validation=0, test=1}}",
    "train.batch_size=16",
];
const LARGE: &str = "model={transformer={d_model=512, n_layers=8, n_heads=8, causal=true}}";
const LARGE_FFN: &str =
    "model={transformer={d_model=512, n_layers=8, n_heads=8, causal=true, state_mixer={ffn={d_ffn=2048}}}}";
/// A set is drawn before the first step: few sequences, which come again.
const FEW: &[&str] = &["data.fixed.train=2048", "data.fixed.validation=0", "data.fixed.test=1"];
const SMALL_SET: &[&str] = &["data.train=800", "data.test=1"];

/// Every benchmark, in the order of the tables.
pub const BENCHES: &[Bench] = &[
    steps("A1", "the paper's one-layer model, 1 head", PAPER_ONE_LAYER, &[], "model.n_heads=1"),
    steps("A4", "the paper's one-layer model, 4 heads", PAPER_ONE_LAYER, &[], "model.n_heads=4"),
    steps("A16", "the paper's one-layer model, 16 heads", PAPER_ONE_LAYER, &[], "model.n_heads=16"),
    steps("B", "the paper's two-layer model, 8 heads", PAPER_TWO_LAYER, SMALL_SET, "model.n_heads=8"),
    steps("C", "attention-only, causal, width 256, 4 layers, 256 positions, batch 16", IN_CONTEXT, VECTORS, WIDE),
    steps("D", "C with a feed-forward network of width 1024", IN_CONTEXT, VECTORS, WIDE_FFN),
    steps("E", "in-context regression, width 128, 6 layers, 81 positions, batch 64", IN_CONTEXT, POINTS, MEDIUM),
    steps("EF", "E with a feed-forward network of width 512", IN_CONTEXT, POINTS, MEDIUM_FFN),
    steps(
        "M",
        "associative recall as in Zoology: 8,192 tokens, width 64, 2 layers, 64 positions, batch 512",
        RECALL,
        FEW,
        "model.n_heads=1",
    ),
    Bench {
        for_gpu: true,
        ..steps("G", "attention-only, causal, width 512, 8 layers, 1024 positions, batch 16", IN_CONTEXT, LONG, LARGE)
    },
    Bench { for_gpu: true, ..steps("GF", "G with a feed-forward network of width 2048", IN_CONTEXT, LONG, LARGE_FFN) },
    heads("F512", "attention alone, 8 heads of 64, 512 positions", Mixing::Softmax, 512),
    heads("F1024", "attention alone, 1024 positions", Mixing::Softmax, 1024),
    heads("F2048", "attention alone, 2048 positions", Mixing::Softmax, 2048),
    heads("F4096", "attention alone, 4096 positions", Mixing::Softmax, 4096),
    heads("F8192", "attention alone, 8192 positions", Mixing::Softmax, 8192),
    heads("L512", "linear attention alone, FAVOR+ of 256 features, 8 heads of 64, 512 positions", Mixing::Favor, 512),
    heads("L1024", "linear attention alone, 1024 positions", Mixing::Favor, 1024),
    heads("L2048", "linear attention alone, 2048 positions", Mixing::Favor, 2048),
    heads("L4096", "linear attention alone, 4096 positions", Mixing::Favor, 4096),
    heads("L8192", "linear attention alone, 8192 positions", Mixing::Favor, 8192),
    head("softmax512", "one causal head of 64, softmax, 512 positions", Mixing::Softmax, 512),
    head("softmax1024", "one causal head of 64, softmax, 1024 positions", Mixing::Softmax, 1024),
    head("softmax2048", "one causal head of 64, softmax, 2048 positions", Mixing::Softmax, 2048),
    head("softmax4096", "one causal head of 64, softmax, 4096 positions", Mixing::Softmax, 4096),
    head("softmax8192", "one causal head of 64, softmax, 8192 positions", Mixing::Softmax, 8192),
    head("softmax16384", "one causal head of 64, softmax, 16384 positions", Mixing::Softmax, 16_384),
    head("softmax32768", "one causal head of 64, softmax, 32768 positions", Mixing::Softmax, 32_768),
    head("softmax65536", "one causal head of 64, softmax, 65536 positions", Mixing::Softmax, 65_536),
    head("favor512", "one causal head of 64, FAVOR+ of 256 features, 512 positions", Mixing::Favor, 512),
    head("favor1024", "one causal head of 64, FAVOR+ of 256 features, 1024 positions", Mixing::Favor, 1024),
    head("favor2048", "one causal head of 64, FAVOR+ of 256 features, 2048 positions", Mixing::Favor, 2048),
    head("favor4096", "one causal head of 64, FAVOR+ of 256 features, 4096 positions", Mixing::Favor, 4096),
    head("favor8192", "one causal head of 64, FAVOR+ of 256 features, 8192 positions", Mixing::Favor, 8192),
    head("favor16384", "one causal head of 64, FAVOR+ of 256 features, 16384 positions", Mixing::Favor, 16_384),
    head("favor32768", "one causal head of 64, FAVOR+ of 256 features, 32768 positions", Mixing::Favor, 32_768),
    head("favor65536", "one causal head of 64, FAVOR+ of 256 features, 65536 positions", Mixing::Favor, 65_536),
    head("combiner512", "one causal head of 64, Combiner, 512 positions", Mixing::Combiner, 512),
    head("combiner1024", "one causal head of 64, Combiner, 1024 positions", Mixing::Combiner, 1024),
    head("combiner2048", "one causal head of 64, Combiner, 2048 positions", Mixing::Combiner, 2048),
    head("combiner4096", "one causal head of 64, Combiner, 4096 positions", Mixing::Combiner, 4096),
    head("combiner8192", "one causal head of 64, Combiner, 8192 positions", Mixing::Combiner, 8192),
    head("combiner16384", "one causal head of 64, Combiner, 16384 positions", Mixing::Combiner, 16_384),
    head("combiner32768", "one causal head of 64, Combiner, 32768 positions", Mixing::Combiner, 32_768),
    head("combiner65536", "one causal head of 64, Combiner, 65536 positions", Mixing::Combiner, 65_536),
];

const fn steps(
    name: &'static str,
    summary: &'static str,
    text: &'static str,
    data: &'static [&'static str],
    model: &'static str,
) -> Bench {
    Bench { name, summary, for_gpu: false, work: Work::Steps(text, data, model), precision: Precision::F32 }
}

/// Eight heads without a mask.
const fn heads(name: &'static str, summary: &'static str, mixing: Mixing, seq_len: usize) -> Bench {
    let work = Work::Attention { mixing, n_heads: HEADS, seq_len, causal: false };
    Bench { name, summary, for_gpu: false, work, precision: Precision::F32 }
}

/// One head with a causal mask.
const fn head(name: &'static str, summary: &'static str, mixing: Mixing, seq_len: usize) -> Bench {
    let work = Work::Attention { mixing, n_heads: 1, seq_len, causal: true };
    Bench { name, summary, for_gpu: seq_len > 8192, work, precision: Precision::F32 }
}

/// Heads, and width, of the benchmarks of attention alone.
const HEADS: usize = 8;
const D_HEAD: usize = 64;
/// Number of batches that training steps cycle through where they are made in advance.
const BATCHES: usize = 8;
/// Moments at which a long run's memory is looked at.
const MOMENTS: u64 = 10;
/// Least number of seconds of one sample.
const SAMPLE_SECONDS: f64 = 0.5;

/// What a benchmark does, for programs that repeat it elsewhere.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Recipe {
    /// Training steps of this experiment.
    Steps(Box<Experiment>),
    /// Attention alone.
    Attention {
        /// Number of heads, with a batch of one.
        n_heads: usize,
        /// Width of a head.
        d_head: usize,
        /// Number of queries and of keys.
        seq_len: usize,
        /// What computes it.
        kernel: KernelKind,
        /// Whether a causal mask hides later keys.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        causal: bool,
    },
}

/// A benchmark of attention alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention {
    /// Name of the kernel.
    pub kernel: &'static str,
    /// Number of heads.
    pub n_heads: usize,
    /// Number of queries and keys.
    pub seq_len: usize,
    /// Whether a causal mask hides later keys.
    pub causal: bool,
}

/// Memory after some steps.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Moment {
    /// Steps taken.
    pub steps: u64,
    /// Bytes of this process; `None` if the system does not tell.
    pub host_bytes: Option<u64>,
    /// Bytes of its own memory that a GPU had set aside for this process.
    pub device_bytes: Option<u64>,
}

/// Measured cost of a benchmark's steps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Timing {
    /// Seconds per step, one number per repeat.
    pub seconds: Vec<f64>,
    /// Floating-point operations of a step: two per multiply–add of the matrix products, the backward pass counting
    /// twice; pairs hidden by a causal mask count as if they were computed.
    pub flops: f64,
    /// Bytes by which the process grew at its peak over its size before the first step; `None` if the system does not
    /// tell.
    pub peak_bytes: Option<u64>,
    /// Bytes of its own memory that a GPU had set aside for this process.
    pub device_bytes: Option<u64>,
    /// How often the steps waited for their batches; `None` where they were made in advance.
    pub waits: Option<Waits>,
    /// Kernels that a step launches, on a GPU.
    pub launches: Option<usize>,
    /// Steps that were replays of a captured one; `None` for attention alone, and on the CPU.
    pub captured: Option<CapturedSteps>,
}

impl Timing {
    /// Seconds per step of the fastest repeat.
    pub fn best(&self) -> f64 {
        self.seconds.iter().copied().fold(f64::INFINITY, f64::min)
    }
}

impl Bench {
    /// The benchmark with this name, in upper or lower case.
    ///
    /// # Errors
    /// [`Error::UnknownName`].
    pub fn find(name: &str) -> Result<&'static Self, Error> {
        BENCHES.iter().find(|bench| bench.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
            let known = BENCHES.iter().map(|bench| bench.name).collect();
            Error::UnknownName { what: "benchmark", name: name.to_owned(), known }
        })
    }

    /// The benchmark in another precision than f32, of affine maps and attention.
    pub fn in_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// What a benchmark of attention alone measures; `None` for others.
    pub fn attention(&self) -> Option<Attention> {
        match self.work {
            Work::Attention { mixing, n_heads, seq_len, causal } => {
                Some(Attention { kernel: mixing.kernel(seq_len).name(), n_heads, seq_len, causal })
            }
            Work::Steps(..) => None,
        }
    }

    /// What the benchmark does.
    ///
    /// # Errors
    /// [`Error::Experiment`] if its experiment is invalid, which a test rules out.
    pub fn recipe(&self) -> Result<Recipe, Error> {
        self.recipe_with(&[])
    }

    fn recipe_with(&self, further: &[&str]) -> Result<Recipe, Error> {
        match self.work {
            Work::Steps(text, data, model) => {
                let overrides = data.iter().chain([&model]).chain(further).map(|text| (*text).to_owned());
                let precision = format!("train.precision={}", self.precision.name());
                let overrides: Vec<String> = overrides.chain([precision]).collect();
                let path = Path::new("benchmark").join(self.name);
                let loaded = experiment::from_text(&path, text.to_owned(), &overrides)?;
                Ok(Recipe::Steps(Box::new(loaded.experiment)))
            }
            Work::Attention { mixing, n_heads, seq_len, causal } => {
                Ok(Recipe::Attention { n_heads, d_head: D_HEAD, seq_len, kernel: mixing.kernel(seq_len), causal })
            }
        }
    }

    /// Measures the benchmark on a device.
    ///
    /// # Errors
    /// [`Error::Device`] if it does not fit there, [`Error::NotFinite`] if the loss of its last step is not finite.
    pub fn run(&self, device: &OpenDevice, repeats: usize) -> Result<Timing, Error> {
        // One thread from the first step to the last: a GPU's queue and captured steps belong to it.
        let measure = || rayon::scope(|_| self.on(device, &[], |mut work| time(&mut work, &device.device, repeats)));
        let (timing, captured) = room::within(device, &self.needed()?, measure)?;
        // After the timing, which watching would slow down.
        let launches = if device.spec.is_gpu() { Some(self.launches(device, &[])?.len()) } else { None };
        Ok(Timing { launches, captured, ..timing })
    }

    /// Memory at ten moments of so many steps, which should stay flat: training takes many more. Further overrides are as in
    /// [`Self::launches`].
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn soak(&self, device: &OpenDevice, overrides: &[&str], steps: u64) -> Result<Vec<Moment>, Error> {
        let take = || {
            let (moments, _) = self.on(device, overrides, |work| {
                let mut taken = 0;
                let moments = (1..=MOMENTS).map(|tenth| {
                    while taken < steps * tenth / MOMENTS {
                        (work.step)();
                        taken += 1;
                    }
                    drop(device.device.sync());
                    let device_bytes = device.device.memory_pool_usage().map(|usage| usage.bytes_reserved);
                    Moment { steps: taken, host_bytes: memory("VmRSS:"), device_bytes }
                });
                moments.collect()
            })?;
            Ok(moments)
        };
        // On one thread, as in `run`.
        room::within(device, &self.needed()?, || rayon::scope(|_| take()))
    }

    /// What its steps need.
    fn needed(&self) -> Result<Memory, Error> {
        Ok(match self.recipe()? {
            Recipe::Steps(experiment) => experiment.memory(),
            Recipe::Attention { n_heads, d_head, seq_len, kernel, causal } => {
                attention_memory([n_heads, seq_len, d_head], causal, &kernel)
            }
        })
    }

    /// Names of the kernels that a step launches on a device when it is not a replay, in order, once the first step is over, which
    /// sets things up. Further overrides may make its arrays smaller, which changes little about the launches.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn launches(&self, device: &OpenDevice, overrides: &[&str]) -> Result<Vec<&'static str>, Error> {
        let one_by_one = [overrides, &["train.capture=\"off\""]].concat();
        let (launches, _) = self.on(device, &one_by_one, |work| {
            (work.step)();
            launches::during(work.step).1
        })?;
        Ok(launches)
    }

    /// Hands its step, ready to run, to whoever measures it; with how many of the steps were replays.
    fn on<T>(
        &self,
        device: &OpenDevice,
        overrides: &[&str],
        measure: impl FnOnce(Ready) -> T,
    ) -> Result<(T, Option<CapturedSteps>), Error> {
        match self.recipe_with(overrides)? {
            Recipe::Steps(experiment) => train_steps(&experiment, device, measure),
            Recipe::Attention { n_heads, d_head, seq_len, kernel, causal } => {
                device.ensure_precision("the precision", self.precision)?;
                let mask = if causal { Mask::Causal } else { Mask::Full };
                let view = View { precision: self.precision, ..mask.into() };
                Ok((attend_steps([n_heads, seq_len, d_head], &kernel, &view, &device.device, measure), None))
            }
        }
    }
}

/// Measures training steps of an experiment on a device, which cycle through a few batches where those are made in advance.
///
/// # Errors
/// As [`Bench::run`].
pub fn steps_of(experiment: &Experiment, device: &OpenDevice, repeats: usize) -> Result<Timing, Error> {
    // On one thread, as in `Bench::run`.
    let take = || train_steps(experiment, device, |mut work| time(&mut work, &device.device, repeats));
    let (timing, captured) = room::within(device, &experiment.memory(), || rayon::scope(|_| take()))?;
    Ok(Timing { captured, ..timing })
}

/// Work that is ready to be measured.
struct Ready<'a> {
    step: &'a mut (dyn FnMut() + Send),
    /// Operations of a step.
    flops: f64,
    /// How often steps waited for their batches so far.
    waits: &'a dyn Fn() -> Option<Waits>,
}

fn train_steps<T>(
    experiment: &Experiment,
    device: &OpenDevice,
    measure: impl FnOnce(Ready) -> T,
) -> Result<(T, Option<CapturedSteps>), Error> {
    let model = build::build_model(experiment, device)?;
    let source = Arc::new(build::build_source(experiment)?);
    let training = Training::new(source, 0..u64::MAX, device, &experiment.memory());
    let mut trainable = TrainableModel { model, loss: experiment.train.loss };
    let mut optimizer = Optimizer::new(experiment.optimizer.clone());
    let mut capture = Capture::new(experiment, &device.device);
    let (rate, clip_norm) = (experiment.optimizer.learning_rate(), experiment.train.clip_norm);
    let flops = experiment.budget().step_flops(experiment.micro_batch()) as f64;
    let mut batches = training.batches();
    if training.waits().is_none() {
        let made: Vec<_> = batches.take(BATCHES).filter_map(Result::ok).collect();
        batches = Box::new((0..).map(move |turn| Ok(made[turn % BATCHES].clone())));
    }
    let mut last = Ok(Losses::new());
    let mut step = || {
        if last.is_err() {
            return;
        }
        let batch = match batches.next() {
            Some(Ok(batch)) => batch,
            Some(Err(error)) => return last = Err(Error::Training(error.to_string())),
            None => return,
        };
        let batches = std::slice::from_ref(&batch);
        last = capture.step(&mut trainable, &mut optimizer, batches, &[None], rate).map(|replayed| {
            replayed.unwrap_or_else(|| {
                let batch = trainable.upload(&batch);
                let mut update = Update::of(std::iter::once(batch.layout()));
                update.add(&trainable, &batch, None);
                optimizer.begin(rate, &device.device);
                update.apply(&mut trainable, &mut optimizer, clip_norm)
            })
        });
    };
    let measured = measure(Ready { step: &mut step, flops, waits: &|| training.waits() });
    for (_, loss) in last? {
        if !to_host(loss)[0].is_finite() {
            return Err(Error::not_finite("the last loss", experiment.train.attention_precision));
        }
    }
    Ok((measured, capture.outcome()))
}

/// What attention alone needs: queries, keys, values and weights of the sum, and what is kept and made of them.
fn attention_memory(shape: [usize; 3], causal: bool, kernel: &KernelKind) -> Memory {
    let array = 4.0 * shape.iter().product::<usize>() as f64;
    let kept = 4.0 * kernel.spec().kept_floats(&attention_sizes(shape, causal));
    Memory {
        examples: 0.0,
        batch: 4.0 * array,
        largest_array: array,
        weights: 0.0,
        gradients: 3.0 * array,
        moments: 0.0,
        activations: array + kept,
    }
}

fn attention_sizes([n_heads, seq_len, d_head]: [usize; 3], causal: bool) -> KernelSizes {
    let [n_heads, len, d_head] = [n_heads, seq_len, d_head].map(|size| size as f64);
    KernelSizes { n_heads, q_len: len, k_len: len, d_key: d_head, d_value: d_head, causal }
}

fn attend_steps<T>(
    sizes: [usize; 3],
    kernel: &KernelKind,
    view: &View,
    device: &Device,
    measure: impl FnOnce(Ready) -> T,
) -> T {
    let [n_heads, seq_len, d_head] = sizes;
    let shape = [1, n_heads, seq_len, d_head];
    let flops = 3.0 * kernel.spec().flops(&attention_sizes(sizes, matches!(view.mask, Mask::Causal)));
    let device = device.clone().autodiff();
    let entries = |seed: usize| -> Vec<f32> {
        let count = shape.iter().product::<usize>();
        (0..count).map(|at| ((at * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0).collect()
    };
    let tensor = |seed| Tensor::<4>::from_data(TensorData::new(entries(seed), shape), &device);
    let [q, k, v] = [1, 2, 3].map(|seed| view.precision.cast(tensor(seed)).detach().require_grad());
    let weights = view.precision.cast(tensor(4));
    let kernel = kernel.init(d_head, &mut Seed(0).rng(Stream::Init, 0), &device);
    let mut step = || {
        let mixed = kernel.mix(q.clone(), k.clone(), v.clone(), view);
        let gradients = (mixed * weights.clone()).sum().backward();
        drop([&q, &k, &v].map(|tensor| tensor.grad(&gradients)));
    };
    measure(Ready { step: &mut step, flops, waits: &|| None })
}

/// Times a step: one warm-up, then samples of as many steps as take a while together.
fn time(work: &mut Ready, device: &Device, repeats: usize) -> Timing {
    let before = memory("VmRSS:");
    let mut sample = |count: usize| {
        let began = Instant::now();
        // Runs inside the thread pool, as training does. A GPU queues work per thread, so the same thread must wait for
        // it at the end.
        rayon::scope(|_| {
            (0..count).for_each(|_| (work.step)());
            drop(device.sync());
        });
        began.elapsed().as_secs_f64() / count as f64
    };
    sample(1);
    let count = (SAMPLE_SECONDS / sample(1)).ceil().clamp(1.0, 1000.0) as usize;
    let waited = (work.waits)();
    let seconds = (0..repeats).map(|_| sample(count)).collect();
    Timing {
        seconds,
        flops: work.flops,
        peak_bytes: memory("VmHWM:").zip(before).map(|(peak, before)| peak.saturating_sub(before)),
        device_bytes: device.memory_pool_usage().map(|usage| usage.bytes_reserved),
        waits: (work.waits)().zip(waited).map(|(now, before)| now - before),
        launches: None,
        captured: None,
    }
}

/// One of the system's numbers about this process's memory, in bytes; `None` if the system does not tell.
fn memory(key: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes = text.lines().find_map(|line| line.strip_prefix(key))?.trim().strip_suffix("kB")?.trim();
    Some(kibibytes.parse::<u64>().ok()? * 1024)
}

/// Floating-point operations per second of a product of two large matrices, which no step can exceed.
///
/// # Errors
/// [`Error::Device`] if the device lacks the precision.
pub fn matmul_peak(device: &OpenDevice, precision: Precision, repeats: usize) -> Result<f64, Error> {
    device.ensure_precision("the precision", precision)?;
    let size: usize = if device.spec.is_gpu() { 4096 } else { 1024 };
    let matrix = Tensor::<2>::from_data(TensorData::new(vec![0.5_f32; size * size], [size, size]), &device.device);
    let mut product = || drop(matmul(matrix.clone(), matrix.clone(), precision));
    let flops = 2.0 * (size as f64).powi(3);
    let mut work = Ready { step: &mut product, flops, waits: &|| None };
    Ok(flops / time(&mut work, &device.device, repeats).best())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_benchmark_is_a_sound_experiment() {
        for bench in BENCHES {
            let recipe = bench.recipe().unwrap_or_else(|error| panic!("{}: {error}", bench.name));
            if let Recipe::Steps(experiment) = recipe {
                assert!(experiment.problems().is_empty(), "{}", bench.name);
            }
        }
    }

    #[test]
    fn operations_of_the_large_benchmarks_are_those_of_their_products() {
        let (batch, rows, d, d_ffn, layers, vectors) = (16.0, 1024.0, 512.0, 2048.0, 8.0, 32.0);
        let ends = 2.0 * vectors * d;
        let attention = 4.0 * d * d + 2.0 * rows * d;
        for (name, ffn) in [("G", 0.0), ("GF", 2.0 * d * d_ffn)] {
            // Two operations for each multiply–add, and the backward pass has twice those of the forward pass.
            let want = 3.0 * 2.0 * batch * rows * (ends + layers * (attention + ffn));
            let Ok(Recipe::Steps(experiment)) = Bench::find(name).and_then(Bench::recipe) else { panic!("{name}") };
            let got = experiment.budget().step_flops(experiment.micro_batch()) as f64;
            assert!((got / want - 1.0).abs() < 1e-12, "{name}: {got:e}, not {want:e}");
        }
    }
}
