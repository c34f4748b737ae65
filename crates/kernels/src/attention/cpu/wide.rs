//! Heads of eight or more channels, or whose values are wider or narrower than the keys: products of tiles, whose
//! vectors run along keys or along channels, whichever is dense.

use std::{f32::consts::LN_2, ops::Range};

use pulp::Simd;

use super::{BackwardTask, ForwardTask, Problem, finite_or_zero};
use crate::vector::{Rows, Strided, exp2, padded, product};

/// Queries per tile.
const QUERIES_PER_TILE: usize = 48;
/// Keys per tile.
pub(super) const KEYS_PER_TILE: usize = 64;

/// Rows packed one after the other, each padded with zeros to whole vectors.
fn pack_rows<'a, S: Simd>(rows: impl ExactSizeIterator<Item = &'a [f32]>, width: usize, scale: f32) -> Vec<f32> {
    let stride = padded::<S>(width);
    let mut packed = Vec::with_capacity(rows.len() * stride);
    for row in rows {
        packed.extend(row.iter().map(|entry| entry * scale));
        packed.resize(packed.len() + stride - width, 0.0);
    }
    packed
}

/// Rows transposed into the columns of a tile, `[width, KEYS_PER_TILE]`, eight at a time; the last few columns may
/// repeat the last row.
fn pack_columns<'a>(keys: Range<usize>, row: impl Fn(usize) -> &'a [f32], to: &mut [f32]) {
    const GROUP: usize = 8;
    for first in keys.clone().step_by(GROUP) {
        let group: [&[f32]; GROUP] = std::array::from_fn(|lane| row((first + lane).min(keys.end - 1)));
        let columns = to.chunks_exact_mut(KEYS_PER_TILE).map(|channel| &mut channel[first - keys.start..][..GROUP]);
        for (channel, column) in columns.enumerate().take(group[0].len()) {
            column.iter_mut().zip(group).for_each(|(to, row)| *to = row[channel]);
        }
    }
}

/// The keys split into tiles of at most [`KEYS_PER_TILE`].
fn key_tiles(keys: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    keys.clone().step_by(KEYS_PER_TILE).map(move |first| first..keys.end.min(first + KEYS_PER_TILE))
}

/// Adds the biases of a row to its scores.
#[inline(always)]
fn add_bias<S: Simd>(simd: S, scores: &mut [f32], bias: &[f32]) {
    let (scores, _) = S::as_mut_simd_f32s(scores);
    let (bias, _) = S::as_simd_f32s(bias);
    for (score, bias) in scores.iter_mut().zip(bias) {
        *score = simd.add_f32s(*score, *bias);
    }
}

/// Largest score of a row.
#[inline(always)]
fn row_max<S: Simd>(simd: S, scores: &[f32]) -> f32 {
    let (scores, _) = S::as_simd_f32s(scores);
    let lowest = simd.splat_f32s(f32::NEG_INFINITY);
    let (quads, rest) = scores.as_chunks::<4>();
    let mut top = [lowest; 4];
    for quad in quads {
        for (top, score) in top.iter_mut().zip(quad) {
            *top = simd.max_f32s(*top, *score);
        }
    }
    for (top, score) in top.iter_mut().zip(rest) {
        *top = simd.max_f32s(*top, *score);
    }
    simd.reduce_max_f32s(simd.max_f32s(simd.max_f32s(top[0], top[1]), simd.max_f32s(top[2], top[3])))
}

/// Replaces the scores by 2^(score − top) and returns their sum.
#[inline(always)]
fn exponentials<S: Simd>(simd: S, scores: &mut [f32], top: f32) -> f32 {
    let (scores, _) = S::as_mut_simd_f32s(scores);
    let (top, zero) = (simd.splat_f32s(top), simd.splat_f32s(0.0));
    let (quads, rest) = scores.as_chunks_mut::<4>();
    let mut sums = [zero; 4];
    for quad in quads {
        for score in &mut *quad {
            *score = simd.sub_f32s(*score, top);
        }
        *quad = exp2(simd, *quad);
        for (sum, weight) in sums.iter_mut().zip(quad) {
            *sum = simd.add_f32s(*sum, *weight);
        }
    }
    for (score, sum) in rest.iter_mut().zip(&mut sums) {
        [*score] = exp2(simd, [simd.sub_f32s(*score, top)]);
        *sum = simd.add_f32s(*sum, *score);
    }
    simd.reduce_sum_f32s(simd.add_f32s(simd.add_f32s(sums[0], sums[1]), simd.add_f32s(sums[2], sums[3])))
}

/// A tile of scores in units of log 2, hidden pairs at −∞. `[queries, stride]`
#[inline(always)]
fn score_tile<S: Simd>(
    simd: S,
    problem: &Problem<'_>,
    head: usize,
    (queries, q): (Range<usize>, Strided<'_>),
    (keys, k): (Range<usize>, Rows<'_>),
    scores: &mut [f32],
) {
    let stride = padded::<S>(keys.len());
    product::<S, false>(simd, [queries.len(), problem.sizes.d_key, stride], q, k, scores, k.stride);
    for (i, row) in queries.zip(scores.chunks_exact_mut(k.stride)) {
        let row = &mut row[..stride];
        if let Some(bias) = problem.bias(head, i) {
            add_bias(simd, row, &bias[keys.start..]);
        }
        problem.hide(i, keys.start, row);
    }
}

#[inline(always)]
pub(super) fn forward<S: Simd>(simd: S, task: ForwardTask<'_>) {
    let ForwardTask { problem, at, queries, output, log_row, log_sums } = task;
    let sizes = problem.sizes;
    let value_stride = padded::<S>(sizes.d_value);
    let seen = problem.visible(queries.end - 1);
    let values = pack_rows::<S>((0..seen).map(|j| problem.v.row(at, j)), sizes.d_value, 1.0);
    let mut keys = vec![0.0; seen.div_ceil(KEYS_PER_TILE) * sizes.d_key * KEYS_PER_TILE];
    for (tile, packed) in key_tiles(0..seen).zip(keys.chunks_exact_mut((sizes.d_key * KEYS_PER_TILE).max(1))) {
        pack_columns(tile, |j| problem.k.row(at, j), packed);
    }
    let mut scores = vec![0.0; QUERIES_PER_TILE * KEYS_PER_TILE];
    for first in queries.clone().step_by(QUERIES_PER_TILE) {
        let rows = first..queries.end.min(first + QUERIES_PER_TILE);
        let scaled = pack_rows::<S>(rows.clone().map(|i| problem.q.row(at, i)), sizes.d_key, problem.exponent_scale());
        let q = Strided { entries: &scaled, row: padded::<S>(sizes.d_key), column: 1 };
        let mut mixed = vec![0.0; rows.len() * value_stride];
        let mut tops = [f32::NEG_INFINITY; QUERIES_PER_TILE];
        let mut sums = [0.0; QUERIES_PER_TILE];
        for (tile, packed) in
            key_tiles(0..problem.visible(rows.end - 1)).zip(keys.chunks_exact((sizes.d_key * KEYS_PER_TILE).max(1)))
        {
            let k = Rows { entries: packed, stride: KEYS_PER_TILE };
            score_tile(simd, problem, at[1], (rows.clone(), q), (tile.clone(), k), &mut scores);
            for (r, row) in scores.chunks_exact_mut(KEYS_PER_TILE).take(rows.len()).enumerate() {
                let row = &mut row[..padded::<S>(tile.len())];
                let top = row_max(simd, row).max(tops[r]);
                if top > tops[r] && tops[r] > f32::NEG_INFINITY {
                    let shrink = (tops[r] - top).exp2();
                    sums[r] *= shrink;
                    mixed[r * value_stride..][..value_stride].iter_mut().for_each(|entry| *entry *= shrink);
                }
                tops[r] = top;
                sums[r] += exponentials(simd, row, finite_or_zero(top));
            }
            let pattern = Strided { entries: &scores, row: KEYS_PER_TILE, column: 1 };
            let v = Rows { entries: &values[tile.start * value_stride..], stride: value_stride };
            product::<S, true>(simd, [rows.len(), tile.len(), value_stride], pattern, v, &mut mixed, value_stride);
        }
        for (r, i) in rows.enumerate() {
            // No key is visible. NaN scores would give another sum.
            let is_blind = sums[r] == 0.0;
            let share = if is_blind { 0.0 } else { 1.0 / sums[r] };
            // SAFETY: query `i` of this head belongs to this task alone.
            let (to, log_sum) = unsafe { (output.row_mut(at, i), log_sums.row_mut([log_row, 0], i)) };
            to.iter_mut().zip(&mixed[r * value_stride..]).for_each(|(to, entry)| *to = entry * share);
            log_sum[0] = if is_blind { f32::INFINITY } else { finite_or_zero(tops[r]) + sums[r].log2() };
        }
    }
}

/// Turns a tile of scores into the pattern, and dP into the gradient of the scores, dS = P ⊙ (dP − δ).
#[inline(always)]
fn pattern_tile<S: Simd>(simd: S, scores: &mut [f32], d_pattern: &mut [f32], log_sum: f32, delta: f32) {
    let (scores, _) = S::as_mut_simd_f32s(scores);
    let (d_pattern, _) = S::as_mut_simd_f32s(d_pattern);
    let (log_sum, delta) = (simd.splat_f32s(log_sum), simd.splat_f32s(delta));
    let (score_quads, score_rest) = scores.as_chunks_mut::<4>();
    let (d_quads, d_rest) = d_pattern.as_chunks_mut::<4>();
    for (scores, d) in score_quads.iter_mut().zip(d_quads) {
        for score in &mut *scores {
            *score = simd.sub_f32s(*score, log_sum);
        }
        *scores = exp2(simd, *scores);
        for (d, weight) in d.iter_mut().zip(scores) {
            *d = simd.mul_f32s(*weight, simd.sub_f32s(*d, delta));
        }
    }
    for (score, d) in score_rest.iter_mut().zip(d_rest) {
        [*score] = exp2(simd, [simd.sub_f32s(*score, log_sum)]);
        *d = simd.mul_f32s(*score, simd.sub_f32s(*d, delta));
    }
}

#[inline(always)]
pub(super) fn backward<S: Simd>(simd: S, task: BackwardTask<'_>) -> Vec<f32> {
    let deltas = task.deltas(simd);
    let BackwardTask { problem, at, keys, output: _, d_output, log_sums, d_q, d_k, d_v } = task;
    let sizes = problem.sizes;
    let (key_stride, value_stride) = (padded::<S>(sizes.d_key), padded::<S>(sizes.d_value));
    let all = 0..sizes.q_len;
    let scaled = pack_rows::<S>(all.clone().map(|i| problem.q.row(at, i)), sizes.d_key, problem.exponent_scale());
    let d_mixed = pack_rows::<S>(all.clone().map(|i| d_output.row(at, i)), sizes.d_value, 1.0);
    let mut d_queries = vec![0.0; sizes.q_len * key_stride];
    let mut d_bias = problem.bias.as_ref().map_or_else(Vec::new, |bias| vec![0.0; bias[at[1]].len()]);
    let mut scores = vec![0.0; QUERIES_PER_TILE * KEYS_PER_TILE];
    let mut d_scores = vec![0.0; QUERIES_PER_TILE * KEYS_PER_TILE];
    let mut key_columns = vec![0.0; sizes.d_key * KEYS_PER_TILE];
    let mut value_columns = vec![0.0; sizes.d_value * KEYS_PER_TILE];
    for tile in key_tiles(keys) {
        let width = padded::<S>(tile.len());
        pack_columns(tile.clone(), |j| problem.k.row(at, j), &mut key_columns);
        pack_columns(tile.clone(), |j| problem.v.row(at, j), &mut value_columns);
        let key_rows = pack_rows::<S>(tile.clone().map(|j| problem.k.row(at, j)), sizes.d_key, 1.0);
        let mut d_keys = vec![0.0; tile.len() * key_stride];
        let mut d_values = vec![0.0; tile.len() * value_stride];
        let first_seeing = all.clone().find(|&i| problem.visible(i) > tile.start).unwrap_or(sizes.q_len);
        for first in (first_seeing..sizes.q_len).step_by(QUERIES_PER_TILE) {
            let rows = first..sizes.q_len.min(first + QUERIES_PER_TILE);
            let q = Strided { entries: &scaled[first * key_stride..], row: key_stride, column: 1 };
            let k = Rows { entries: &key_columns, stride: KEYS_PER_TILE };
            score_tile(simd, problem, at[1], (rows.clone(), q), (tile.clone(), k), &mut scores);
            let d = Strided { entries: &d_mixed[first * value_stride..], row: value_stride, column: 1 };
            let v = Rows { entries: &value_columns, stride: KEYS_PER_TILE };
            product::<S, false>(simd, [rows.len(), sizes.d_value, width], d, v, &mut d_scores, KEYS_PER_TILE);
            let tiles = scores.chunks_exact_mut(KEYS_PER_TILE).zip(d_scores.chunks_exact_mut(KEYS_PER_TILE));
            for (i, (scores, d_scores)) in rows.clone().zip(tiles) {
                let d_scores = &mut d_scores[..width];
                pattern_tile(simd, &mut scores[..width], d_scores, log_sums[i], deltas[i]);
                if !d_bias.is_empty() {
                    add_bias(simd, &mut d_bias[sizes.q_len - 1 - i + tile.start..][..width], d_scores);
                }
            }
            let transposed = |entries| Strided { entries, row: 1, column: KEYS_PER_TILE };
            let d_rows = Rows { entries: &d_mixed[first * value_stride..], stride: value_stride };
            let shape = [tile.len(), rows.len(), value_stride];
            product::<S, true>(simd, shape, transposed(&scores), d_rows, &mut d_values, value_stride);
            let q_rows = Rows { entries: &scaled[first * key_stride..], stride: key_stride };
            let shape = [tile.len(), rows.len(), key_stride];
            product::<S, true>(simd, shape, transposed(&d_scores), q_rows, &mut d_keys, key_stride);
            let d = Strided { entries: &d_scores, row: KEYS_PER_TILE, column: 1 };
            let k = Rows { entries: &key_rows, stride: key_stride };
            let shape = [rows.len(), tile.len(), key_stride];
            product::<S, true>(simd, shape, d, k, &mut d_queries[first * key_stride..], key_stride);
        }
        for (r, j) in tile.enumerate() {
            // SAFETY: key `j` of this head belongs to this task alone.
            let (d_k, d_v) = unsafe { (d_k.row_mut(at, j), d_v.row_mut(at, j)) };
            // The packed queries are multiplied by scale / ln 2.
            d_k.iter_mut().zip(&d_keys[r * key_stride..]).for_each(|(to, entry)| *to = entry * LN_2);
            d_v.copy_from_slice(&d_values[r * value_stride..][..sizes.d_value]);
        }
    }
    for i in all {
        // SAFETY: the gradients of this head's queries from this part of the keys belong to this task alone.
        let d_q = unsafe { d_q.row_mut(at, i) };
        d_q.iter_mut().zip(&d_queries[i * key_stride..]).for_each(|(to, entry)| *to = entry * problem.options.scale);
    }
    d_bias
}
