//! Heads of up to seven channels, as the paper's models have: vectors run along the keys, and the data of a few keys
//! stay in registers while all queries pass by.

use std::{f32::consts::LN_2, ops::Range};

use pulp::Simd;

use super::{BackwardTask, ForwardTask, Problem, finite_or_zero};
use crate::vector::{exp2, load, padded, store};

/// Calls a function with the number of channels as a compile-time constant.
macro_rules! with_channels {
    ($channels:expr, $function:ident::<$simd:ident>($($argument:expr),*)) => {
        match $channels {
            1 => $function::<$simd, 1>($($argument),*),
            2 => $function::<$simd, 2>($($argument),*),
            3 => $function::<$simd, 3>($($argument),*),
            4 => $function::<$simd, 4>($($argument),*),
            5 => $function::<$simd, 5>($($argument),*),
            6 => $function::<$simd, 6>($($argument),*),
            _ => $function::<$simd, 7>($($argument),*),
        }
    };
}

#[inline(always)]
pub(super) fn forward<S: Simd>(simd: S, task: ForwardTask<'_>) {
    with_channels!(task.problem.sizes.d_key, forward_of::<S>(simd, task));
}

#[inline(always)]
pub(super) fn backward<S: Simd>(simd: S, task: BackwardTask<'_>) -> Vec<f32> {
    with_channels!(task.problem.sizes.d_key, backward_of::<S>(simd, task))
}

/// Channels of keys or values in groups of as many rows as a vector has lanes: `[rows / lanes, D, lanes]`, padded with
/// zeros.
fn pack<'a, S: Simd, const D: usize>(rows: Range<usize>, row: impl Fn(usize) -> &'a [f32]) -> Vec<f32> {
    let mut packed = vec![0.0; padded::<S>(rows.len()) * D];
    for (first, group) in rows.clone().step_by(S::F32_LANES).zip(packed.chunks_exact_mut(D * S::F32_LANES)) {
        for (lane, j) in (first..rows.end.min(first + S::F32_LANES)).enumerate() {
            let row = &row(j)[..D];
            for c in 0..D {
                group[c * S::F32_LANES + lane] = row[c];
            }
        }
    }
    packed
}

/// The vectors of one group of keys.
#[inline(always)]
fn vectors<S: Simd, const D: usize>(simd: S, packed: &[f32]) -> [S::f32s; D] {
    let mut vectors = [simd.splat_f32s(0.0); D];
    for (vector, from) in vectors.iter_mut().zip(packed.chunks_exact(S::F32_LANES)) {
        *vector = load::<S>(from);
    }
    vectors
}

/// Σ_c a_c b_c, where a is the same in all lanes.
#[inline(always)]
fn dot<S: Simd, const D: usize>(simd: S, a: &[f32], b: &[S::f32s; D]) -> S::f32s {
    let mut sum = simd.mul_f32s(simd.splat_f32s(a[0]), b[0]);
    for c in 1..D {
        sum = simd.mul_add_e_f32s(simd.splat_f32s(a[c]), b[c], sum);
    }
    sum
}

/// Number of queries that share each load of keys and values.
const QUERIES: usize = 4;

/// Hides the keys from `first` on that query `i` may not see.
#[inline(always)]
fn hide<S: Simd>(problem: &Problem<'_>, i: usize, first: usize, score: S::f32s) -> S::f32s {
    let mut lanes = [0.0; MOST_LANES];
    store::<S>(&mut lanes, score);
    problem.hide(i, first, &mut lanes[..S::F32_LANES]);
    load::<S>(&lanes)
}

#[inline(always)]
fn forward_of<S: Simd, const D: usize>(simd: S, task: ForwardTask<'_>) {
    let ForwardTask { problem, at, queries, output, log_row, log_sums } = task;
    let lanes = S::F32_LANES;
    let seen = problem.visible(queries.end - 1);
    let keys = pack::<S, D>(0..seen, |j| problem.k.row(at, j));
    let values = pack::<S, D>(0..seen, |j| problem.v.row(at, j));
    let mut scores = vec![0.0; QUERIES * padded::<S>(seen)];
    let scale = problem.exponent_scale();
    let lowest = simd.splat_f32s(f32::NEG_INFINITY);
    for first in queries.clone().step_by(QUERIES) {
        // The last group repeats its last query to keep its size.
        let rows: [usize; QUERIES] = std::array::from_fn(|r| (first + r).min(queries.end - 1));
        let q: [[f32; D]; QUERIES] = rows.map(|i| {
            let row = &problem.q.row(at, i)[..D];
            std::array::from_fn(|c| row[c] * scale)
        });
        // First the groups of keys that every query sees completely, then those that need a check, up to the last key
        // that any query sees.
        let whole = if problem.hidden.is_some() { 0 } else { problem.visible(rows[0]) / lanes };
        let some = problem.visible(rows[QUERIES - 1]).div_ceil(lanes);
        let mut tops = [lowest; QUERIES];
        let groups = keys.chunks_exact(D * lanes).zip(scores.chunks_exact_mut(QUERIES * lanes)).take(some);
        for (group, (packed, scores)) in groups.enumerate() {
            let k = vectors::<S, D>(simd, packed);
            for ((r, score), top) in scores.chunks_exact_mut(lanes).enumerate().zip(&mut tops) {
                let mut sum = dot(simd, &q[r], &k);
                if let Some(bias) = problem.bias(at[1], rows[r]) {
                    sum = simd.add_f32s(sum, load::<S>(&bias[group * lanes..]));
                }
                if group >= whole {
                    sum = hide::<S>(problem, rows[r], group * lanes, sum);
                }
                *top = simd.max_f32s(*top, sum);
                store::<S>(score, sum);
            }
        }
        // The number subtracted from the scores: the largest of them, or 0 if no key is visible.
        let mut bases = [0.0; QUERIES];
        for (base, top) in bases.iter_mut().zip(tops) {
            *base = finite_or_zero(simd.reduce_max_f32s(top));
        }
        let mut sums = [simd.splat_f32s(0.0); QUERIES];
        let mut mixed = [[simd.splat_f32s(0.0); D]; QUERIES];
        let groups = values.chunks_exact(D * lanes).zip(scores.chunks_exact(QUERIES * lanes)).take(some);
        for (packed, scores) in groups {
            let v = vectors::<S, D>(simd, packed);
            let mut below = [lowest; QUERIES];
            for (r, below) in below.iter_mut().enumerate() {
                *below = simd.sub_f32s(load::<S>(&scores[r * lanes..]), simd.splat_f32s(bases[r]));
            }
            let weights = exp2(simd, below);
            for (r, weight) in weights.into_iter().enumerate() {
                sums[r] = simd.add_f32s(sums[r], weight);
                for c in 0..D {
                    mixed[r][c] = simd.mul_add_e_f32s(weight, v[c], mixed[r][c]);
                }
            }
        }
        for r in 0..QUERIES.min(queries.end - first) {
            // SAFETY: this query of this head belongs to this task alone.
            let (to, log_sum) = unsafe { (output.row_mut(at, rows[r]), log_sums.row_mut([log_row, 0], rows[r])) };
            let sum = simd.reduce_sum_f32s(sums[r]);
            if sum == 0.0 {
                // No key is visible. NaN scores would give another sum.
                to.fill(0.0);
                log_sum[0] = f32::INFINITY;
                continue;
            }
            for (to, mixed) in to.iter_mut().zip(&mixed[r]) {
                *to = simd.reduce_sum_f32s(*mixed) / sum;
            }
            log_sum[0] = bases[r] + sum.log2();
        }
    }
}

/// What a group of keys needs of every query: scaled q, dO, log-sum, δ.
fn pack_queries<const D: usize>(problem: &Problem<'_>, task: &BackwardTask<'_>, deltas: &[f32]) -> Vec<f32> {
    let scale = problem.exponent_scale();
    let mut packed = Vec::with_capacity(problem.sizes.q_len * (2 * D + 2));
    for (i, (log_sum, delta)) in task.log_sums.iter().zip(deltas).enumerate() {
        packed.extend(problem.q.row(task.at, i).iter().map(|q| q * scale));
        packed.extend(task.d_output.row(task.at, i));
        packed.extend([log_sum, delta]);
    }
    packed
}

/// One group of keys: its packed channels, and its gradients, which are summed in registers.
struct Group<S: Simd, const D: usize> {
    first: usize,
    k: [S::f32s; D],
    v: [S::f32s; D],
    d_k: [S::f32s; D],
    d_v: [S::f32s; D],
}

impl<S: Simd, const D: usize> Group<S, D> {
    /// Passes over the queries from `start` on; with `HIDDEN`, some of them may not see some of the keys.
    #[inline(always)]
    fn pass<const HIDDEN: bool>(
        &mut self,
        simd: S,
        problem: &Problem<'_>,
        head: usize,
        (queries, start): (&[f32], usize),
        d_queries: &mut [f32],
        d_bias: &mut [f32],
    ) {
        let (width, reach) = (2 * D + 2, D * S::F32_LANES);
        let mut pairs = queries.chunks_exact(TOGETHER * width);
        let mut d_pairs = d_queries.chunks_exact_mut(TOGETHER * reach);
        let mut i = start;
        for (rows, d_q) in pairs.by_ref().zip(d_pairs.by_ref()) {
            self.rows::<HIDDEN, TOGETHER>(simd, problem, [head, i], rows, d_q, d_bias);
            i += TOGETHER;
        }
        let rest = pairs.remainder().chunks_exact(width).zip(d_pairs.into_remainder().chunks_exact_mut(reach));
        for (row, d_q) in rest {
            self.rows::<HIDDEN, 1>(simd, problem, [head, i], row, d_q, d_bias);
            i += 1;
        }
    }

    /// `N` queries, starting at `i`.
    #[inline(always)]
    fn rows<const HIDDEN: bool, const N: usize>(
        &mut self,
        simd: S,
        problem: &Problem<'_>,
        [head, i]: [usize; 2],
        rows: &[f32],
        d_queries: &mut [f32],
        d_bias: &mut [f32],
    ) {
        let (width, lanes) = (2 * D + 2, S::F32_LANES);
        let mut below = [simd.splat_f32s(0.0); N];
        for (n, below) in below.iter_mut().enumerate() {
            let mut score = dot(simd, &rows[n * width..][..D], &self.k);
            if let Some(bias) = problem.bias(head, i + n) {
                score = simd.add_f32s(score, load::<S>(&bias[self.first..]));
            }
            if HIDDEN {
                score = hide::<S>(problem, i + n, self.first, score);
            }
            *below = simd.sub_f32s(score, simd.splat_f32s(rows[n * width + 2 * D]));
        }
        let weights = exp2(simd, below);
        for (n, weight) in weights.into_iter().enumerate() {
            let (q, d_o) = rows[n * width..][..2 * D].split_at(D);
            let d_weight = dot(simd, d_o, &self.v);
            let d_score = simd.mul_f32s(weight, simd.sub_f32s(d_weight, simd.splat_f32s(rows[n * width + 2 * D + 1])));
            for c in 0..D {
                self.d_v[c] = simd.mul_add_e_f32s(weight, simd.splat_f32s(d_o[c]), self.d_v[c]);
                self.d_k[c] = simd.mul_add_e_f32s(d_score, simd.splat_f32s(q[c]), self.d_k[c]);
                let d_q = &mut d_queries[(n * D + c) * lanes..];
                store::<S>(d_q, simd.mul_add_e_f32s(d_score, self.k[c], load::<S>(d_q)));
            }
            if !d_bias.is_empty() {
                let d_bias = &mut d_bias[problem.sizes.q_len - 1 - (i + n) + self.first..];
                store::<S>(d_bias, simd.add_f32s(load::<S>(d_bias), d_score));
            }
        }
    }
}

/// Number of queries that go through the backward pass side by side.
const TOGETHER: usize = 2;

/// Number of lanes of the widest vectors.
const MOST_LANES: usize = 16;

#[inline(always)]
fn backward_of<S: Simd, const D: usize>(simd: S, task: BackwardTask<'_>) -> Vec<f32> {
    let queries = pack_queries::<D>(task.problem, &task, &task.deltas(simd));
    let BackwardTask { problem, at, keys, d_q, d_k, d_v, .. } = task;
    let (lanes, q_len) = (S::F32_LANES, problem.sizes.q_len);
    let packed_keys = pack::<S, D>(keys.clone(), |j| problem.k.row(at, j));
    let packed_values = pack::<S, D>(keys.clone(), |j| problem.v.row(at, j));
    let mut d_queries = vec![0.0; q_len * D * lanes];
    let mut d_bias = problem.bias.as_ref().map_or_else(Vec::new, |bias| vec![0.0; bias[at[1]].len()]);
    let packed = packed_keys.chunks_exact(D * lanes).zip(packed_values.chunks_exact(D * lanes));
    for (first, (k, v)) in keys.clone().step_by(lanes).zip(packed) {
        let zero = [simd.splat_f32s(0.0); D];
        let mut group = Group { first, k: vectors(simd, k), v: vectors(simd, v), d_k: zero, d_v: zero };
        // Queries before `some` see none of these keys; those from `all` on see all of them.
        let sees = |count: usize| move |i: &usize| problem.visible(*i) >= count;
        let some = (0..q_len).find(sees(first + 1)).unwrap_or(q_len);
        let all =
            if problem.hidden.is_some() { q_len } else { (some..q_len).find(sees(first + lanes)).unwrap_or(q_len) };
        let (width, reach) = (2 * D + 2, D * lanes);
        let (before, after) = (&queries[some * width..all * width], &queries[all * width..]);
        let (d_before, d_after) = d_queries[some * reach..].split_at_mut((all - some) * reach);
        group.pass::<true>(simd, problem, at[1], (before, some), d_before, &mut d_bias);
        group.pass::<false>(simd, problem, at[1], (after, all), d_after, &mut d_bias);
        let mut gathered = [0.0; MOST_LANES];
        for c in 0..D {
            for (gradient, to, factor) in [(group.d_k[c], d_k, LN_2), (group.d_v[c], d_v, 1.0)] {
                store::<S>(&mut gathered, gradient);
                for (j, entry) in (first..keys.end).zip(&gathered[..lanes]) {
                    // SAFETY: key `j` of this head belongs to this task alone.
                    unsafe { to.row_mut(at, j)[c] = entry * factor };
                }
            }
        }
    }
    for (i, gathered) in d_queries.chunks_exact(D * lanes).enumerate() {
        // SAFETY: the gradients of this head's queries from this part of the keys belong to this task alone.
        let d_q = unsafe { d_q.row_mut(at, i) };
        for (to, gathered) in d_q.iter_mut().zip(gathered.chunks_exact(lanes)) {
            *to = simd.reduce_sum_f32s(load::<S>(gathered)) * problem.options.scale;
        }
    }
    d_bias
}
