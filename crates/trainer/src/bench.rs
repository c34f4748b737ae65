//! Benchmarks: the cost of a training step on this machine, and how it is measured.
//!
//! A benchmark is an experiment with a few values changed, trained for some steps on batches made in advance (forward,
//! backward and update, without reading anything back), or attention alone with sequences of growing length.

use std::{fs, path::Path, time::Instant};

use burn::{
    tensor::{Device, Tensor, TensorData},
    train::TrainStep,
};
use headway_kernels::launches;
use headway_model::{AttentionKernel, Kernel, Mask, weights::to_host};
use headway_tasks::Batch;
use serde::{Deserialize, Serialize};

use crate::{
    build,
    device::OpenDevice,
    error::Error,
    experiment::{self, Experiment},
    optimizer::Optimizer,
    step::TrainableModel,
};

/// One benchmark.
#[derive(Clone, Copy, Debug)]
pub struct Bench {
    /// Name on the command line.
    pub name: &'static str,
    /// One-line summary.
    pub summary: &'static str,
    work: Work,
}

#[derive(Clone, Copy, Debug)]
enum Work {
    /// Training steps of an experiment, with overrides for its data and for its model.
    Steps(&'static str, &'static [&'static str], &'static str),
    /// Attention alone, forward and backward, with this many queries and keys.
    Attention(usize),
}

const PAPER_ONE_LAYER: &str = include_str!("../../../experiments/truncated_linear.toml");
const PAPER_TWO_LAYER: &str = include_str!("../../../experiments/seq2seq_relu.toml");
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
    attention("F512", "attention alone, 8 heads of 64, 512 positions", 512),
    attention("F1024", "attention alone, 1024 positions", 1024),
    attention("F2048", "attention alone, 2048 positions", 2048),
    attention("F4096", "attention alone, 4096 positions", 4096),
    attention("F8192", "attention alone, 8192 positions", 8192),
];

const fn steps(
    name: &'static str,
    summary: &'static str,
    text: &'static str,
    data: &'static [&'static str],
    model: &'static str,
) -> Bench {
    Bench { name, summary, work: Work::Steps(text, data, model) }
}

const fn attention(name: &'static str, summary: &'static str, length: usize) -> Bench {
    Bench { name, summary, work: Work::Attention(length) }
}

/// Heads, and width, of the benchmarks of attention alone.
const HEADS: usize = 8;
const D_HEAD: usize = 64;
/// Number of batches that training steps cycle through.
const BATCHES: u64 = 8;
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
    },
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
    /// Kernels that a step launches, on a GPU.
    pub launches: Option<usize>,
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

    /// Number of queries and keys of a benchmark of attention alone; `None` for others.
    pub fn attention_length(&self) -> Option<usize> {
        match self.work {
            Work::Attention(length) => Some(length),
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
                let overrides: Vec<String> = overrides.collect();
                let path = Path::new("benchmark").join(self.name);
                let loaded = experiment::from_text(&path, text.to_owned(), &overrides)?;
                Ok(Recipe::Steps(Box::new(loaded.experiment)))
            }
            Work::Attention(seq_len) => Ok(Recipe::Attention { n_heads: HEADS, d_head: D_HEAD, seq_len }),
        }
    }

    /// Measures the benchmark on a device.
    ///
    /// # Errors
    /// [`Error::Device`] if it does not fit there, [`Error::NotFinite`] if the loss of its last step is not finite.
    pub fn run(&self, device: &OpenDevice, repeats: usize) -> Result<Timing, Error> {
        let is_gpu = device.spec.is_gpu();
        self.on(device, &[], |step, flops| {
            let timing = time(step, flops, &device.device, repeats);
            // A GPU's memory is not this process's; and the CPU launches nothing.
            let peak_bytes = timing.peak_bytes.filter(|_| !is_gpu);
            // After the timing, which watching would slow down, and in the pool, where the launches are issued.
            let launches = is_gpu.then(|| rayon::scope(|_| launches::during(&mut *step).1.len()));
            Timing { peak_bytes, launches, ..timing }
        })
    }

    /// Names of the kernels that a step launches on a device, in order, once the first step is over, which sets things up. Further
    /// overrides may make its arrays smaller, which changes little about the launches.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn launches(&self, device: &OpenDevice, overrides: &[&str]) -> Result<Vec<&'static str>, Error> {
        self.on(device, overrides, |step, _| {
            step();
            launches::during(step).1
        })
    }

    /// Hands its step, ready to run, and the operations of one to whoever measures it.
    fn on<T>(
        &self,
        device: &OpenDevice,
        overrides: &[&str],
        measure: impl FnOnce(&mut (dyn FnMut() + Send), f64) -> T,
    ) -> Result<T, Error> {
        match self.recipe_with(overrides)? {
            Recipe::Steps(experiment) => train_steps(&experiment, device, measure),
            Recipe::Attention { n_heads, d_head, seq_len } => {
                Ok(attend_steps([1, n_heads, seq_len, d_head], &device.device, measure))
            }
        }
    }
}

fn train_steps<T>(
    experiment: &Experiment,
    device: &OpenDevice,
    measure: impl FnOnce(&mut (dyn FnMut() + Send), f64) -> T,
) -> Result<T, Error> {
    let model = build::build_model(experiment, device)?;
    let source = build::build_source(experiment)?;
    let batches: Vec<Batch> = (0..BATCHES).map(|number| source.train_batch(number)).collect();
    let mut trainable = TrainableModel { model, loss: experiment.train.loss };
    let mut optimizer = Optimizer::new(experiment.optimizer.clone());
    let rate = experiment.optimizer.learning_rate();
    let flops = experiment.model.budget(&experiment.dims()).step_flops(experiment.micro_batch()) as f64;
    let mut turns = batches.iter().cycle();
    let mut loss = None;
    let mut step = || {
        let Some(batch) = turns.next() else { return };
        let output = TrainStep::step(&trainable, batch.clone());
        loss = Some(output.item.0);
        optimizer.step(&mut trainable.model, output.grads, rate, experiment.train.clip_norm);
    };
    let measured = measure(&mut step, flops);
    match loss.map(|loss| to_host(loss)[0]) {
        Some(loss) if !loss.is_finite() => {
            Err(Error::not_finite("the last loss", experiment.train.attention_precision))
        }
        _ => Ok(measured),
    }
}

fn attend_steps<T>(
    [batch, n_heads, seq_len, d_head]: [usize; 4],
    device: &Device,
    measure: impl FnOnce(&mut (dyn FnMut() + Send), f64) -> T,
) -> T {
    let shape = [batch, n_heads, seq_len, d_head];
    let device = device.clone().autodiff();
    let entries = |seed: usize| -> Vec<f32> {
        let count = shape.iter().product::<usize>();
        (0..count).map(|at| ((at * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0).collect()
    };
    let tensor = |seed| Tensor::<4>::from_data(TensorData::new(entries(seed), shape), &device);
    let [q, k, v] = [1, 2, 3].map(|seed| tensor(seed).require_grad());
    let weights = tensor(4);
    let kernel = AttentionKernel::default();
    let mut step = || {
        let mixed = kernel.mix(q.clone(), k.clone(), v.clone(), &Mask::Full.into());
        let gradients = (mixed * weights.clone()).sum().backward();
        drop([&q, &k, &v].map(|tensor| tensor.grad(&gradients)));
    };
    let flops = 3.0 * 4.0 * (batch * n_heads * seq_len * seq_len * d_head) as f64;
    measure(&mut step, flops)
}

/// Times a step: one warm-up, then samples of as many steps as take a while together.
fn time(step: &mut (dyn FnMut() + Send), flops: f64, device: &Device, repeats: usize) -> Timing {
    let before = memory("VmRSS:");
    let mut sample = |count: usize| {
        let began = Instant::now();
        // Runs inside the thread pool, as training does. A GPU queues work per thread, so the same thread must wait for
        // it at the end.
        rayon::scope(|_| {
            (0..count).for_each(|_| step());
            drop(device.sync());
        });
        began.elapsed().as_secs_f64() / count as f64
    };
    sample(1);
    let count = (SAMPLE_SECONDS / sample(1)).ceil().clamp(1.0, 1000.0) as usize;
    let seconds = (0..repeats).map(|_| sample(count)).collect();
    let peak_bytes = memory("VmHWM:").zip(before).map(|(peak, before)| peak.saturating_sub(before));
    Timing { seconds, flops, peak_bytes, launches: None }
}

/// One of the system's numbers about this process's memory, in bytes; `None` if the system does not tell.
fn memory(key: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes = text.lines().find_map(|line| line.strip_prefix(key))?.trim().strip_suffix("kB")?.trim();
    Some(kibibytes.parse::<u64>().ok()? * 1024)
}

/// Floating-point operations per second of a product of two large matrices, which no step can exceed.
pub fn matmul_peak(device: &OpenDevice, repeats: usize) -> f64 {
    let size: usize = if device.spec.is_gpu() { 4096 } else { 1024 };
    let matrix = Tensor::<2>::from_data(TensorData::new(vec![0.5_f32; size * size], [size, size]), &device.device);
    let mut product = || drop(matrix.clone().matmul(matrix.clone()));
    let flops = 2.0 * (size as f64).powi(3);
    flops / time(&mut product, flops, &device.device, repeats).best()
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
}
