//! Heads of up to seven channels, as the paper's models have them: every vector runs along the keys, and what belongs to a
//! few keys stays in registers while all queries pass by.

use std::f32::consts::LN_2;

use pulp::Simd;

use super::{BackwardTask, ForwardTask, Problem};
use crate::vector::{exp2, load, padded, store};

/// Calls a function of the number of channels with that number known at compile time.
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

/// Channels of keys or values, each a row of `stride` numbers of which `D` at a time are read: `[stride / lanes][D][lanes]`.
fn pack<'a, S: Simd, const D: usize>(rows: impl ExactSizeIterator<Item = &'a [f32]>) -> Vec<f32> {
    let mut packed = vec![0.0; padded::<S>(rows.len()) * D];
    for (j, row) in rows.enumerate() {
        let (vector, lane) = (j / S::F32_LANES, j % S::F32_LANES);
        for (channel, value) in row.iter().enumerate() {
            packed[(vector * D + channel) * S::F32_LANES + lane] = *value;
        }
    }
    packed
}

/// The vectors of one group of keys.
#[inline(always)]
fn vectors<S: Simd, const D: usize>(simd: S, packed: &[f32]) -> [S::f32s; D] {
    let mut vectors = [simd.splat_f32s(0.0); D];
    vectors.iter_mut().zip(packed.chunks_exact(S::F32_LANES)).for_each(|(vector, from)| *vector = load::<S>(from));
    vectors
}

/// Σ_c a_c b_c, with a the same in all lanes.
#[inline(always)]
fn dot<S: Simd, const D: usize>(simd: S, a: &[f32], b: &[S::f32s; D]) -> S::f32s {
    let mut sum = simd.mul_f32s(simd.splat_f32s(a[0]), b[0]);
    for c in 1..D {
        sum = simd.mul_add_e_f32s(simd.splat_f32s(a[c]), b[c], sum);
    }
    sum
}

/// Queries that share each load of keys and values.
const QUERIES: usize = 4;

#[inline(always)]
fn forward_of<S: Simd, const D: usize>(simd: S, task: ForwardTask<'_>) {
    let ForwardTask { problem, at, queries, output, log_row, log_sums } = task;
    let lanes = S::F32_LANES;
    let seen = problem.visible(queries.end - 1);
    let keys = pack::<S, D>((0..seen).map(|j| problem.k.row(at, j)));
    let values = pack::<S, D>((0..seen).map(|j| problem.v.row(at, j)));
    let stride = padded::<S>(seen);
    let mut scores = vec![0.0; QUERIES * stride];
    let scale = problem.exponent_scale();
    for first in queries.clone().step_by(QUERIES) {
        // The last group repeats its last query rather than having a shape of its own.
        let rows: [usize; QUERIES] = std::array::from_fn(|r| (first + r).min(queries.end - 1));
        let q: [[f32; D]; QUERIES] = rows.map(|i| {
            let row = problem.q.row(at, i);
            std::array::from_fn(|c| row[c] * scale)
        });
        for (group, packed) in keys.chunks_exact(D * lanes).enumerate() {
            let k = vectors::<S, D>(simd, packed);
            for (r, q) in q.iter().enumerate() {
                store::<S>(&mut scores[r * stride + group * lanes..], dot(simd, q, &k));
            }
        }
        let mut tops = [simd.splat_f32s(0.0); QUERIES];
        for (r, top) in tops.iter_mut().enumerate() {
            let row = &mut scores[r * stride..][..stride];
            if let Some(bias) = problem.bias(at[1], rows[r]) {
                row.iter_mut().zip(bias).for_each(|(score, bias)| *score += bias);
            }
            problem.hide(rows[r], 0, row);
            let (row, _) = S::as_simd_f32s(row);
            let lowest = simd.splat_f32s(f32::NEG_INFINITY);
            *top =
                simd.splat_f32s(simd.reduce_max_f32s(row.iter().fold(lowest, |top, score| simd.max_f32s(top, *score))));
        }
        let mut sums = [simd.splat_f32s(0.0); QUERIES];
        let mut mixed = [[simd.splat_f32s(0.0); D]; QUERIES];
        for (group, packed) in values.chunks_exact(D * lanes).enumerate() {
            let v = vectors::<S, D>(simd, packed);
            for r in 0..QUERIES {
                let score = load::<S>(&scores[r * stride + group * lanes..]);
                let weight = exp2(simd, simd.sub_f32s(score, tops[r]));
                sums[r] = simd.add_f32s(sums[r], weight);
                for c in 0..D {
                    mixed[r][c] = simd.mul_add_e_f32s(weight, v[c], mixed[r][c]);
                }
            }
        }
        for r in 0..QUERIES.min(queries.end - first) {
            let top = simd.reduce_max_f32s(tops[r]);
            // SAFETY: this query of this head belongs to this task alone.
            let (to, log_sum) = unsafe { (output.row_mut(at, rows[r]), log_sums.row_mut([log_row, 0], rows[r])) };
            if top == f32::NEG_INFINITY {
                // No visible key.
                to.fill(0.0);
                log_sum[0] = f32::INFINITY;
                continue;
            }
            let sum = simd.reduce_sum_f32s(sums[r]);
            to.iter_mut().zip(&mixed[r]).for_each(|(to, mixed)| *to = simd.reduce_sum_f32s(*mixed) / sum);
            log_sum[0] = top + sum.log2();
        }
    }
}

/// What one group of keys needs to know of every query: scaled q, dO, log-sum, δ.
fn pack_queries<const D: usize>(problem: &Problem<'_>, task: &BackwardTask<'_>, deltas: &[f32]) -> Vec<f32> {
    let scale = problem.exponent_scale();
    let mut packed = Vec::with_capacity(problem.sizes.q_len * (2 * D + 2));
    for i in 0..problem.sizes.q_len {
        packed.extend(problem.q.row(task.at, i).iter().map(|q| q * scale));
        packed.extend(task.d_output.row(task.at, i));
        packed.extend([task.log_sums[i], deltas[i]]);
    }
    packed
}

/// One group of keys: its packed channels, and the gradients that gather in registers.
struct Group<S: Simd, const D: usize> {
    first: usize,
    k: [S::f32s; D],
    v: [S::f32s; D],
    d_k: [S::f32s; D],
    d_v: [S::f32s; D],
}

impl<S: Simd, const D: usize> Group<S, D> {
    /// Passes the queries from `start` on, `HIDDEN` where some of them may not see some of the keys.
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
        let lanes = S::F32_LANES;
        let rows = queries.chunks_exact(2 * D + 2).zip(d_queries.chunks_exact_mut(D * lanes));
        for (i, (row, d_q)) in rows.enumerate() {
            let (q, rest) = row.split_at(D);
            let (d_o, rest) = rest.split_at(D);
            let mut score = dot(simd, q, &self.k);
            let i = start + i;
            if let Some(bias) = problem.bias(head, i) {
                score = simd.add_f32s(score, load::<S>(&bias[self.first..]));
            }
            if HIDDEN {
                let mut lane_scores = [0.0; MOST_LANES];
                store::<S>(&mut lane_scores, score);
                problem.hide(i, self.first, &mut lane_scores[..lanes]);
                score = load::<S>(&lane_scores);
            }
            let weight = exp2(simd, simd.sub_f32s(score, simd.splat_f32s(rest[0])));
            let d_weight = dot(simd, d_o, &self.v);
            let d_score = simd.mul_f32s(weight, simd.sub_f32s(d_weight, simd.splat_f32s(rest[1])));
            for c in 0..D {
                self.d_v[c] = simd.mul_add_e_f32s(weight, simd.splat_f32s(d_o[c]), self.d_v[c]);
                self.d_k[c] = simd.mul_add_e_f32s(d_score, simd.splat_f32s(q[c]), self.d_k[c]);
                let d_q = &mut d_q[c * lanes..];
                store::<S>(d_q, simd.mul_add_e_f32s(d_score, self.k[c], load::<S>(d_q)));
            }
            if !d_bias.is_empty() {
                let d_bias = &mut d_bias[problem.sizes.q_len - 1 - i + self.first..];
                store::<S>(d_bias, simd.add_f32s(load::<S>(d_bias), d_score));
            }
        }
    }
}

/// Lanes of the widest vectors there are.
const MOST_LANES: usize = 16;

#[inline(always)]
fn backward_of<S: Simd, const D: usize>(simd: S, task: BackwardTask<'_>) -> Vec<f32> {
    let queries = pack_queries::<D>(task.problem, &task, &task.deltas(simd));
    let BackwardTask { problem, at, keys, d_q, d_k, d_v, .. } = task;
    let (lanes, q_len) = (S::F32_LANES, problem.sizes.q_len);
    let packed_keys = pack::<S, D>(keys.clone().map(|j| problem.k.row(at, j)));
    let packed_values = pack::<S, D>(keys.clone().map(|j| problem.v.row(at, j)));
    let mut d_queries = vec![0.0; q_len * D * lanes];
    let mut d_bias = problem.bias.as_ref().map_or_else(Vec::new, |bias| vec![0.0; bias[at[1]].len()]);
    let packed = packed_keys.chunks_exact(D * lanes).zip(packed_values.chunks_exact(D * lanes));
    for (first, (k, v)) in keys.clone().step_by(lanes).zip(packed) {
        let zero = [simd.splat_f32s(0.0); D];
        let mut group = Group { first, k: vectors(simd, k), v: vectors(simd, v), d_k: zero, d_v: zero };
        // Queries before `some` see none of these keys, those from `all` on all of them.
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
