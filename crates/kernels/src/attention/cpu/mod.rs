//! Softmax attention on the CPU, forward and backward, in tiles that stay in cache; the pattern is never stored.
//!
//! The work is split by the sizes only, never by the number of threads, and every sum runs in a fixed order: the same
//! inputs give the same bits on one thread and on sixty-four.

mod narrow;
pub(super) mod tensor;
mod wide;

use std::ops::Range;

use burn::tensor::Shape;
use burn_flex::{Flex, FlexTensor};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{Gradients, Inputs, Options, Sizes};
use crate::{flex, vector};
use tensor::{Buffer, Heads};
use wide::KEYS_PER_TILE;

/// Heads with fewer channels than this are computed by [`narrow`], whose vectors run along the keys only.
const NARROWEST_TILE: usize = 8;
/// Number of queries of one forward task; with so many, packing keys and values once per task costs little.
const QUERIES_PER_TASK: usize = 512;
/// Number of tasks that a backward pass aims for; if there are few heads, the keys of a head are split into parts.
const BACKWARD_TASKS: usize = 64;
/// Largest number of parts: each keeps its own gradient of the queries until the gradients are added up.
const MOST_PARTS: usize = 4;
/// Least number of keys in a part.
const LEAST_KEYS_PER_PART: usize = 256;
/// Least number of multiply–adds worth a thread of its own.
const LEAST_WORK_PER_JOB: usize = 1 << 17;

/// What all tasks of one call share.
struct Problem<'a> {
    sizes: Sizes,
    options: Options,
    q: Heads<'a>,
    k: Heads<'a>,
    v: Heads<'a>,
    /// Biases by distance for each head, in units of log 2.
    bias: Option<Vec<Vec<f32>>>,
    /// True for each hidden pair. `[q_len, k_len]`
    hidden: Option<Vec<u8>>,
}

impl Problem<'_> {
    /// Factor that turns an inner product of query and key into an exponent of 2.
    fn exponent_scale(&self) -> f32 {
        self.options.scale * std::f32::consts::LOG2_E
    }

    /// Number of keys, counted from the first, that causality lets query `i` see.
    fn visible(&self, i: usize) -> usize {
        if self.options.causal { self.sizes.causal_limit(i) } else { self.sizes.k_len }
    }

    /// Biases of query `i` in a head, from key 0 on, with room for whole vectors after the last.
    fn bias(&self, head: usize, i: usize) -> Option<&[f32]> {
        self.bias.as_ref().map(|bias| &bias[head][self.sizes.q_len - 1 - i..])
    }

    /// Hides, among the scores of the keys from `first` on, those that query `i` may not see, and the padding of whole
    /// vectors.
    #[inline(always)]
    fn hide(&self, i: usize, first: usize, scores: &mut [f32]) {
        let visible = self.visible(i).saturating_sub(first).min(scores.len());
        scores[visible..].fill(f32::NEG_INFINITY);
        if let Some(hidden) = &self.hidden {
            let flags = &hidden[i * self.sizes.k_len + first.min(self.sizes.k_len)..(i + 1) * self.sizes.k_len];
            for (score, flag) in scores.iter_mut().zip(flags) {
                *score = if *flag == 0 { *score } else { f32::NEG_INFINITY };
            }
        }
    }

    fn is_narrow(&self) -> bool {
        self.sizes.d_key < NARROWEST_TILE && self.sizes.d_key == self.sizes.d_value
    }

    /// Number of tasks per job, so that jobs are about equally large and worth a thread.
    fn tasks_per_job(&self, tasks: usize) -> usize {
        let Sizes { batch, heads, q_len, k_len, d_key, d_value } = self.sizes;
        // An exponential costs about as much as sixteen multiply–adds.
        let work = batch * heads * q_len * k_len * (d_key + d_value + 16);
        (LEAST_WORK_PER_JOB * tasks).div_ceil(work.max(1)).clamp(1, tasks.max(1))
    }
}

/// The largest score of a row, or 0 if no key is visible, so that differences from it are −∞ and not NaN.
#[inline(always)]
fn finite_or_zero(top: f32) -> f32 {
    if top == f32::NEG_INFINITY { 0.0 } else { top }
}

/// Entries added after the biases of a head, so that whole vectors may be read from the last one on.
const BIAS_ROOM: usize = 128;

fn problem<'a>(
    [q, k, v]: [&'a FlexTensor; 3],
    bias: Option<&FlexTensor>,
    hidden: Option<&FlexTensor>,
    options: Options,
) -> Problem<'a> {
    let sizes = Sizes::of([q, k, v].map(|tensor| tensor.layout().shape()));
    Problem {
        sizes,
        options,
        q: Heads::of(q),
        k: Heads::of(k),
        v: Heads::of(v),
        bias: bias.map(|bias| tensor::bias_rows(bias, sizes, BIAS_ROOM)),
        hidden: hidden.map(flex::flags),
    }
}

/// Output `[batch, heads, q_len, d_value]` and, for the backward pass, log₂ Σ 2^score per row `[batch, heads, q_len]`,
/// +∞ for a row that sees no key.
pub(super) fn forward(inputs: Inputs<Flex>, options: Options) -> (FlexTensor, FlexTensor) {
    let qkv = [inputs.q, inputs.k, inputs.v].map(tensor::with_unit_columns);
    let problem = problem(qkv.each_ref(), inputs.bias.as_ref(), inputs.hidden.as_ref(), options);
    let Sizes { batch, heads, q_len, d_value, .. } = problem.sizes;
    let (output, log_sums) = (Buffer::new([batch, heads, q_len, d_value]), Buffer::new([batch * heads, 1, q_len, 1]));
    let pieces = q_len.div_ceil(QUERIES_PER_TASK);
    let tasks = batch * heads * pieces;
    let arch = Arch::new();
    (0..tasks).into_par_iter().with_min_len(problem.tasks_per_job(tasks)).for_each(|task| {
        let at = [task / pieces / heads, task / pieces % heads];
        let first = task % pieces * QUERIES_PER_TASK;
        let queries = first..q_len.min(first + QUERIES_PER_TASK);
        arch.dispatch(ForwardTask {
            problem: &problem,
            at,
            queries,
            log_row: task / pieces,
            output: &output,
            log_sums: &log_sums,
        });
    });
    // SAFETY: the tasks cover all queries of all heads, and each has written both rows of its queries.
    let (output, log_sums) = unsafe { (output.into_tensor(), log_sums.into_entries()) };
    (output, flex::dense(log_sums, Shape::new([batch, heads, q_len])))
}

/// Forward pass of some queries of one head.
struct ForwardTask<'a> {
    problem: &'a Problem<'a>,
    /// Indices of batch and head.
    at: [usize; 2],
    queries: Range<usize>,
    output: &'a Buffer,
    /// Row of the head in `log_sums`.
    log_row: usize,
    /// `[batch · heads, 1, q_len, 1]`
    log_sums: &'a Buffer,
}

impl WithSimd for ForwardTask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if self.problem.is_narrow() { narrow::forward(simd, self) } else { wide::forward(simd, self) }
    }
}

/// Gradients of the inputs from that of the output.
///
/// With P the pattern, recomputed from the log-sums, and δ_i = Σ_c dO_ic O_ic:
/// dV = Pᵀ dO, dS = P ⊙ (dO Vᵀ − δ), dQ = scale · dS K, dK = scale · dSᵀ Q, and a bias gathers dS over its distance.
pub(super) fn backward(
    inputs: Inputs<Flex>,
    output: FlexTensor,
    log_sums: FlexTensor,
    d_output: FlexTensor,
    options: Options,
) -> Gradients<Flex> {
    let [q, k, v, output, d_output] = [inputs.q, inputs.k, inputs.v, output, d_output].map(tensor::with_unit_columns);
    let problem = problem([&q, &k, &v], inputs.bias.as_ref(), inputs.hidden.as_ref(), options);
    let Sizes { batch, heads, q_len, k_len, d_key, d_value } = problem.sizes;
    let (output, d_output) = (Heads::of(&output), Heads::of(&d_output));
    let log_sums = flex::flat(&log_sums);
    let parts = BACKWARD_TASKS.div_ceil((batch * heads).max(1)).min(k_len / LEAST_KEYS_PER_PART).clamp(1, MOST_PARTS);
    let keys_per_part = k_len.div_ceil(parts).next_multiple_of(KEYS_PER_TILE);
    let d_q: Vec<Buffer> = (0..parts).map(|_| Buffer::new([batch, heads, q_len, d_key])).collect();
    let (d_k, d_v) = (Buffer::new([batch, heads, k_len, d_key]), Buffer::new([batch, heads, k_len, d_value]));
    let tasks = batch * heads * parts;
    let arch = Arch::new();
    let jobs = (0..tasks).into_par_iter().with_min_len(problem.tasks_per_job(tasks));
    let d_bias: Vec<Vec<f32>> = jobs
        .map(|task| {
            let (row, part) = (task / parts, task % parts);
            arch.dispatch(BackwardTask {
                problem: &problem,
                at: [row / heads, row % heads],
                keys: (part * keys_per_part).min(k_len)..((part + 1) * keys_per_part).min(k_len),
                output: &output,
                d_output: &d_output,
                log_sums: &log_sums[row * q_len..][..q_len],
                d_q: &d_q[part],
                d_k: &d_k,
                d_v: &d_v,
            })
        })
        .collect();
    // SAFETY: each task has written the rows of all queries in the buffer of its part, and those of its keys; the parts
    // cover all keys.
    let (d_q, d_k, d_v) = unsafe {
        let d_q = d_q.into_iter().map(|part| part.into_entries());
        (d_q.collect::<Vec<_>>(), d_k.into_tensor(), d_v.into_tensor())
    };
    let d_q = d_q.into_iter().reduce(|mut total, part| {
        total.iter_mut().zip(part).for_each(|(sum, term)| *sum += term);
        total
    });
    let d_q = tensor::tensor_of(d_q.unwrap_or_default(), [batch, heads, q_len, d_key]);
    let bias = inputs.bias.map(|_| {
        let distances = problem.sizes.distances();
        let mut total = vec![0.0; heads * distances];
        for (task, part) in d_bias.iter().enumerate() {
            let head = task / parts % heads;
            total[head * distances..][..distances].iter_mut().zip(part).for_each(|(sum, d)| *sum += d);
        }
        flex::dense(total, Shape::new([heads, distances]))
    });
    Gradients { q: d_q, k: d_k, v: d_v, bias }
}

/// Backward pass of some keys of one head against all its queries. Returns the gradient of the head's biases, if there
/// are any.
struct BackwardTask<'a> {
    problem: &'a Problem<'a>,
    /// Indices of batch and head.
    at: [usize; 2],
    keys: Range<usize>,
    output: &'a Heads<'a>,
    d_output: &'a Heads<'a>,
    /// Log-sums of this head. `[q_len]`
    log_sums: &'a [f32],
    /// Gradient of the queries with respect to this part of the keys.
    d_q: &'a Buffer,
    d_k: &'a Buffer,
    d_v: &'a Buffer,
}

impl BackwardTask<'_> {
    /// δ_i = Σ_c dO_ic O_ic for every query.
    #[inline(always)]
    fn deltas<S: Simd>(&self, simd: S) -> Vec<f32> {
        let mut deltas = vec![0.0; self.problem.sizes.q_len];
        for (i, delta) in deltas.iter_mut().enumerate() {
            *delta = vector::inner(simd, self.output.row(self.at, i), self.d_output.row(self.at, i));
        }
        deltas
    }
}

impl WithSimd for BackwardTask<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
        if self.problem.is_narrow() { narrow::backward(simd, self) } else { wide::backward(simd, self) }
    }
}
