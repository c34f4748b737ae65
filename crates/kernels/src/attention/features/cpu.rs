//! Both passes on the CPU, in chunks of rows that stay in cache.
//!
//! A head's rows are cut into segments, and all segments are computed at once: first the sum over the keys of each, then, from the sums
//! before it, its queries. The backward pass does the same for gradients of queries, and from the end for those of keys and values.
//! With v⁺ = (v, 1), o⁺_i = Σ_j a_ij v⁺_j has the sum of weights D_i as its last entry. Where g is the gradient of the output and
//! g⁺_i = (g_i, −g_i·o_i) / D_i,
//!
//! dφ(q_i) = Σ_j (g⁺_i·v⁺_j) φ(k_j), dφ(k_j) = Σ_i (g⁺_i·v⁺_j) φ(q_i), dv_j = Σ_i a_ij g⁺_i,
//!
//! which are sums of the same kind. Features are relative to a level of their row, in powers of 2: φ(k_j) 2^(c_j). Weights of query i are
//! relative to C_i, the largest level among the keys that it sees, so that nothing overflows.

use std::ops::Range;

use burn::tensor::Shape;
use burn_flex::{Flex, FlexTensor};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    FeatureOptions, Inputs,
    map::{CHUNK, Features},
};
use crate::{
    attention::{
        Sizes,
        cpu::tensor::{Buffer, Heads, with_unit_columns},
    },
    flex,
    vector::{Rows, Strided, exp2, product},
};

/// Rows of a segment: enough that its sums take little memory beside its rows.
const SEGMENT: usize = 1024;
/// A smaller sum of weights than this is none.
const NOTHING: f32 = 1e-30;

/// The length of a vector.
struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> usize {
        S::F32_LANES
    }
}

/// What all tasks of one call share.
struct Problem<'a> {
    sizes: Sizes,
    causal: bool,
    features: Features,
    lanes: usize,
    q: Heads<'a>,
    k: Heads<'a>,
    v: Heads<'a>,
}

impl<'a> Problem<'a> {
    fn new([q, k, v]: [&'a FlexTensor; 3], directions: Option<&FlexTensor>, options: FeatureOptions) -> Self {
        let sizes = Sizes::of([q, k, v].map(|tensor| tensor.layout().shape()));
        let lanes = Arch::new().dispatch(Lanes);
        let features = Features::new(options.map, directions, sizes.d_key, lanes);
        let [q, k, v] = [q, k, v].map(Heads::of);
        Self { sizes, causal: options.causal, features, lanes, q, k, v }
    }

    fn heads(&self) -> usize {
        self.sizes.batch * self.sizes.heads
    }

    /// Indices of batch and head.
    fn at(&self, head: usize) -> [usize; 2] {
        [head / self.sizes.heads, head % self.sizes.heads]
    }

    /// Width of v⁺.
    fn width(&self) -> usize {
        self.sizes.d_value + 1
    }

    /// Number of first queries that see nothing.
    fn blind(&self) -> usize {
        if self.causal { self.sizes.q_len.saturating_sub(self.sizes.k_len) } else { 0 }
    }

    /// Queries in segments.
    fn queries(&self) -> Vec<Range<usize>> {
        segments(self.blind()..self.sizes.q_len)
    }

    /// Keys in segments: those that all queries see, and, with a causal mask, as many more as there are queries that see any, in segments
    /// of the same lengths as theirs.
    fn keys(&self) -> [Vec<Range<usize>>; 2] {
        let Sizes { q_len, k_len, .. } = self.sizes;
        let common = if self.causal { k_len.saturating_sub(q_len) } else { k_len };
        [segments(0..common), segments(common..k_len)]
    }
}

fn segments(rows: Range<usize>) -> Vec<Range<usize>> {
    rows.clone().step_by(SEGMENT).map(|first| first..rows.end.min(first + SEGMENT)).collect()
}

fn chunks(rows: Range<usize>) -> impl DoubleEndedIterator<Item = Range<usize>> {
    rows.clone().step_by(CHUNK).map(move |first| first..rows.end.min(first + CHUNK))
}

/// Rows of one side of attention in a chunk: keys with v⁺ and their levels c, or queries with g⁺ and −C.
struct Side {
    /// Number of rows.
    rows: usize,
    /// `[CHUNK, d_key]`
    x: Vec<f32>,
    /// `[CHUNK, stride]`
    phi: Vec<f32>,
    /// Level of each row. `[CHUNK]`
    levels: Vec<f32>,
    /// v⁺ or g⁺. `[CHUNK, width]`
    with: Vec<f32>,
}

impl Side {
    fn new(problem: &Problem<'_>) -> Self {
        let rows = |width: usize| vec![0.0; CHUNK * width];
        let [x, phi, levels, with] =
            [rows(problem.sizes.d_key), rows(problem.features.stride), rows(1), rows(problem.width())];
        Self { rows: 0, x, phi, levels, with }
    }

    /// Takes rows and computes their features.
    #[inline(always)]
    fn read<S: Simd>(&mut self, simd: S, problem: &Problem<'_>, of: &Heads<'_>, at: [usize; 2], rows: Range<usize>) {
        let d = problem.sizes.d_key;
        self.rows = rows.len();
        for (to, i) in self.x.chunks_exact_mut(d).zip(rows) {
            to.copy_from_slice(of.row(at, i));
        }
        problem.features.of(simd, self.rows, &self.x, &mut self.phi, &mut self.levels);
    }

    #[inline(always)]
    fn read_keys<S: Simd>(&mut self, simd: S, problem: &Problem<'_>, at: [usize; 2], rows: Range<usize>) {
        self.read(simd, problem, &problem.k, at, rows.clone());
        for (to, j) in self.with.chunks_exact_mut(problem.width()).zip(rows) {
            let (one, values) = to.split_last_mut().unwrap_or_else(|| unreachable!("v⁺ ends with 1"));
            values.copy_from_slice(problem.v.row(at, j));
            *one = 1.0;
        }
    }

    /// Queries with what the gradient of the output makes of them.
    #[inline(always)]
    fn read_queries<S: Simd>(
        &mut self,
        simd: S,
        problem: &Problem<'_>,
        known: &Known<'_>,
        head: usize,
        rows: Range<usize>,
    ) {
        let at = problem.at(head);
        self.read(simd, problem, &problem.q, at, rows.clone());
        let to = self.with.chunks_exact_mut(problem.width()).zip(&mut self.levels);
        for ((to, level), i) in to.zip(rows) {
            let [mass, largest] = known.sums(problem, head, i);
            let (output, gradient) = (known.output.row(at, i), known.d_output.row(at, i));
            let inverse = inverse(mass);
            let (last, first) = to.split_last_mut().unwrap_or_else(|| unreachable!("g⁺ has a last entry"));
            let mut product = 0.0;
            for ((to, g), o) in first.iter_mut().zip(gradient).zip(output) {
                *to = g * inverse;
                product += g * o;
            }
            *last = -product * inverse;
            *level = -largest;
        }
    }
}

/// 1 / D, or zero if D is nothing.
#[inline(always)]
fn inverse(mass: f32) -> f32 {
    // What is not a number stays one. Weights may be negative.
    if mass.abs() < NOTHING { 0.0 } else { 1.0 / mass }
}

/// Σ 2^(level of the row − level) `with` φᵀ over rows of a side.
#[derive(Clone)]
struct Sums {
    /// `[width, stride]`
    matrix: Vec<f32>,
    /// The largest level of the rows; −∞ if there are none.
    level: f32,
}

impl Sums {
    fn new(problem: &Problem<'_>) -> Self {
        Self { matrix: vec![0.0; problem.width() * problem.features.stride], level: f32::NEG_INFINITY }
    }

    fn is_empty(&self) -> bool {
        self.level == f32::NEG_INFINITY
    }

    /// Makes the sums relative to another level, no lower than their own.
    #[inline(always)]
    fn raise(&mut self, level: f32) {
        if level > self.level {
            if !self.is_empty() {
                let factor = (self.level - level).exp2();
                for entry in &mut self.matrix {
                    *entry *= factor;
                }
            }
            self.level = level;
        }
    }

    fn and(mut self, more: &Self) -> Self {
        self.raise(more.level);
        if !more.is_empty() {
            let factor = (more.level - self.level).exp2();
            self.matrix.iter_mut().zip(&more.matrix).for_each(|(sum, term)| *sum += factor * term);
        }
        self
    }

    /// Adds the rows of a side.
    #[inline(always)]
    fn add<S: Simd>(&mut self, simd: S, problem: &Problem<'_>, side: &Side, scaled: &mut Vec<f32>) {
        let (width, stride) = (problem.width(), problem.features.stride);
        let mut level = self.level;
        for of_row in &side.levels[..side.rows] {
            level = level.max(*of_row);
        }
        self.raise(level);
        scaled.clear();
        scaled.extend_from_slice(&side.with[..side.rows * width]);
        if problem.features.has_levels() {
            for (row, of_row) in scaled.chunks_exact_mut(width).zip(&side.levels) {
                let factor = (of_row - level).exp2();
                for entry in row {
                    *entry *= factor;
                }
            }
        }
        let with = Strided { entries: scaled, row: 1, column: width };
        let phi = Rows { entries: &side.phi, stride };
        product::<S, true>(simd, [width, side.rows, stride], with, phi, &mut self.matrix, stride);
    }
}

/// Results of the forward pass, and the gradient of its output.
struct Known<'a> {
    output: Heads<'a>,
    /// D and C of each query. `[batch · n_heads, q_len, 2]`
    sums: &'a [f32],
    d_output: Heads<'a>,
}

impl Known<'_> {
    fn sums(&self, problem: &Problem<'_>, head: usize, i: usize) -> [f32; 2] {
        let at = 2 * (head * problem.sizes.q_len + i);
        [self.sums[at], self.sums[at + 1]]
    }
}

/// Rows turned into columns. from `[rows, stride]` -> to `[width, columns]`, with zeros behind the last row
#[inline(always)]
fn transposed(rows: usize, width: usize, from: &[f32], stride: usize, to: &mut [f32], columns: usize) {
    const GROUP: usize = 8;
    for first in (0..columns).step_by(GROUP) {
        let group = GROUP.min(columns - first);
        for c in 0..width {
            let to = &mut to[c * columns + first..][..group];
            for (r, to) in to.iter_mut().enumerate() {
                *to = if first + r < rows { from[(first + r) * stride + c] } else { 0.0 };
            }
        }
    }
}

/// Which pairs of a chunk count.
#[derive(Clone, Copy)]
enum Half {
    /// Those whose column is no later than their row.
    Lower,
    /// Those whose column is no earlier than their row.
    Upper,
}

/// Multiplies each pair by 2^(level of its row + level of its column), and by zero if it does not count.
#[inline(always)]
fn weigh<S: Simd>(simd: S, pairs: &mut [f32], columns: usize, of_rows: &[f32], of_columns: Option<&[f32]>, half: Half) {
    for (r, (row, level)) in pairs.chunks_exact_mut(columns).zip(of_rows).enumerate() {
        if let Some(of_columns) = of_columns {
            let (row, _) = S::as_mut_simd_f32s(&mut *row);
            let (of_columns, _) = S::as_simd_f32s(&of_columns[..columns]);
            for (pair, of_column) in row.iter_mut().zip(of_columns) {
                let [factor] = exp2(simd, [simd.add_f32s(simd.splat_f32s(*level), *of_column)]);
                *pair = simd.mul_f32s(*pair, factor);
            }
        }
        match half {
            Half::Lower => row[(r + 1).min(columns)..].fill(0.0),
            Half::Upper => row[..r].fill(0.0),
        }
    }
}

/// Sums over segments of keys.
struct KeySums<'a> {
    problem: &'a Problem<'a>,
    head: usize,
    rows: Range<usize>,
}

impl WithSimd for KeySums<'_> {
    type Output = Sums;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Sums {
        let Self { problem, head, rows } = self;
        let (mut keys, mut sums, mut scaled) = (Side::new(problem), Sums::new(problem), Vec::new());
        for rows in chunks(rows) {
            keys.read_keys(simd, problem, problem.at(head), rows);
            sums.add(simd, problem, &keys, &mut scaled);
        }
        sums
    }
}

/// Sums over segments of queries.
struct QuerySums<'a> {
    problem: &'a Problem<'a>,
    known: &'a Known<'a>,
    head: usize,
    rows: Range<usize>,
}

impl WithSimd for QuerySums<'_> {
    type Output = Sums;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Sums {
        let Self { problem, known, head, rows } = self;
        let (mut queries, mut sums, mut scaled) = (Side::new(problem), Sums::new(problem), Vec::new());
        for rows in chunks(rows) {
            queries.read_queries(simd, problem, known, head, rows);
            sums.add(simd, problem, &queries, &mut scaled);
        }
        sums
    }
}

/// Outputs of a segment of queries, from the sums over the keys before it.
struct Forward<'a> {
    problem: &'a Problem<'a>,
    head: usize,
    queries: Range<usize>,
    /// The keys at the same places, with a causal mask.
    keys: Option<Range<usize>>,
    before: Sums,
    output: &'a Buffer,
    /// `[batch · n_heads, 1, q_len, 2]`
    sums: &'a Buffer,
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { problem, head, queries: rows, keys: key_rows, before: mut sums, output, sums: sums_to } = self;
        let (at, width, features) = (problem.at(head), problem.width(), &problem.features);
        let (stride, levels) = (features.stride, features.has_levels());
        let [mut queries, mut keys] = [Side::new(problem), Side::new(problem)];
        let (mut across, mut pairs) = (vec![0.0; stride * CHUNK], vec![0.0; CHUNK * CHUNK]);
        let (mut mixed, mut scaled) = (vec![0.0; width * CHUNK], Vec::new());
        let mut relative_to = [0.0; CHUNK];
        for chunk in chunks(rows.clone()) {
            let count = chunk.len();
            let columns = count.next_multiple_of(problem.lanes);
            queries.read(simd, problem, &problem.q, at, chunk.clone());
            transposed(count, features.width, &queries.phi, stride, &mut across, columns);
            let of_queries = Rows { entries: &across, stride: columns };
            if let Some(first) = &key_rows {
                let first = first.start + (chunk.start - rows.start);
                keys.read_keys(simd, problem, at, first..first + count);
            }
            // −C for each query.
            let mut largest = sums.level;
            for (to, j) in relative_to.iter_mut().zip(0..count) {
                if key_rows.is_some() {
                    largest = largest.max(keys.levels[j]);
                }
                *to = -largest;
            }
            relative_to[count..].fill(f32::NEG_INFINITY);
            // o⁺, one query a column.
            let matrix = Strided { entries: &sums.matrix, row: stride, column: 1 };
            product::<S, false>(simd, [width, features.width, columns], matrix, of_queries, &mut mixed, columns);
            if levels {
                let mut factors = [0.0; CHUNK];
                for (factor, level) in factors.iter_mut().zip(relative_to) {
                    *factor = if sums.is_empty() { 0.0 } else { (sums.level + level).exp2() };
                }
                for row in mixed.chunks_exact_mut(columns).take(width) {
                    for (entry, factor) in row.iter_mut().zip(factors) {
                        *entry *= factor;
                    }
                }
            }
            if key_rows.is_some() {
                let phi = Strided { entries: &keys.phi, row: stride, column: 1 };
                product::<S, false>(simd, [count, features.width, columns], phi, of_queries, &mut pairs, columns);
                let of_columns = levels.then_some(&relative_to[..]);
                weigh(simd, &mut pairs, columns, &keys.levels[..count], of_columns, Half::Upper);
                let with = Strided { entries: &keys.with, row: 1, column: width };
                let pairs = Rows { entries: &pairs, stride: columns };
                product::<S, true>(simd, [width, count, columns], with, pairs, &mut mixed, columns);
            }
            for (i, row) in chunk.enumerate() {
                let mass = mixed[(width - 1) * columns + i];
                let factor = inverse(mass);
                // SAFETY: this query belongs to this task alone.
                let (output, sums_to) = unsafe { (output.row_mut(at, row), sums_to.row_mut([head, 0], row)) };
                for (c, output) in output.iter_mut().enumerate() {
                    *output = mixed[c * columns + i] * factor;
                }
                sums_to.copy_from_slice(&[mass, -relative_to[i]]);
            }
            if key_rows.is_some() {
                sums.add(simd, problem, &keys, &mut scaled);
            }
        }
    }
}

/// Gradients of a segment of queries, from the sums over the keys before it.
struct BackwardQueries<'a> {
    problem: &'a Problem<'a>,
    known: &'a Known<'a>,
    head: usize,
    queries: Range<usize>,
    keys: Option<Range<usize>>,
    before: Sums,
    d_q: &'a Buffer,
}

impl WithSimd for BackwardQueries<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { problem, known, head, queries: rows, keys: key_rows, before: mut sums, d_q } = self;
        let (at, width, features) = (problem.at(head), problem.width(), &problem.features);
        let (stride, levels) = (features.stride, features.has_levels());
        let [mut queries, mut keys] = [Side::new(problem), Side::new(problem)];
        let (mut d_phi, mut d_x) = (vec![0.0; CHUNK * stride], Vec::new());
        let (mut across, mut pairs, mut scaled) = (vec![0.0; width * CHUNK], vec![0.0; CHUNK * CHUNK], Vec::new());
        for chunk in chunks(rows.clone()) {
            let count = chunk.len();
            let columns = count.next_multiple_of(problem.lanes);
            queries.read_queries(simd, problem, known, head, chunk.clone());
            from_sums(simd, problem, &queries, &sums, &mut d_phi);
            if let Some(first) = &key_rows {
                let first = first.start + (chunk.start - rows.start);
                keys.read_keys(simd, problem, at, first..first + count);
                keys.levels[count..].fill(f32::NEG_INFINITY);
                transposed(count, width, &keys.with, width, &mut across, columns);
                let with = Strided { entries: &queries.with, row: width, column: 1 };
                let across = Rows { entries: &across, stride: columns };
                product::<S, false>(simd, [count, width, columns], with, across, &mut pairs, columns);
                let of_columns = levels.then_some(&keys.levels[..]);
                weigh(simd, &mut pairs, columns, &queries.levels[..count], of_columns, Half::Lower);
                let pairs = Strided { entries: &pairs, row: columns, column: 1 };
                let phi = Rows { entries: &keys.phi, stride };
                product::<S, true>(simd, [count, count, stride], pairs, phi, &mut d_phi, stride);
            }
            let distance = features.backward(simd, count, &queries.x, &queries.phi, &mut d_phi, &mut d_x);
            for (i, row) in chunk.enumerate() {
                // SAFETY: this query belongs to this task alone.
                let d_q = unsafe { d_q.row_mut(at, row) };
                d_q.copy_from_slice(&d_x[i * distance..][..d_q.len()]);
            }
            if key_rows.is_some() {
                sums.add(simd, problem, &keys, &mut scaled);
            }
        }
    }
}

/// Gradients of features of a side from the sums over the other: 2^(level of the row + level of the sums) `with` · sums.
#[inline(always)]
fn from_sums<S: Simd>(simd: S, problem: &Problem<'_>, side: &Side, sums: &Sums, d_phi: &mut [f32]) {
    let (width, stride) = (problem.width(), problem.features.stride);
    let with = Strided { entries: &side.with, row: width, column: 1 };
    let matrix = Rows { entries: &sums.matrix, stride };
    product::<S, false>(simd, [side.rows, width, stride], with, matrix, d_phi, stride);
    if problem.features.has_levels() {
        for (row, level) in d_phi.chunks_exact_mut(stride).zip(&side.levels).take(side.rows) {
            let factor = if sums.is_empty() { 0.0 } else { (sums.level + level).exp2() };
            for entry in row {
                *entry *= factor;
            }
        }
    }
}

/// Gradients of a segment of keys and values, from the sums over the queries after it.
struct BackwardKeys<'a> {
    problem: &'a Problem<'a>,
    known: &'a Known<'a>,
    head: usize,
    keys: Range<usize>,
    /// The queries at the same places, with a causal mask.
    queries: Option<Range<usize>>,
    after: Sums,
    d_k: &'a Buffer,
    d_v: &'a Buffer,
}

impl WithSimd for BackwardKeys<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { problem, known, head, keys: rows, queries: query_rows, after: mut sums, d_k, d_v } = self;
        let (at, width, features) = (problem.at(head), problem.width(), &problem.features);
        let (stride, levels) = (features.stride, features.has_levels());
        let [mut queries, mut keys] = [Side::new(problem), Side::new(problem)];
        let (mut d_phi, mut d_x) = (vec![0.0; CHUNK * stride], Vec::new());
        let (mut of_keys, mut of_queries) = (vec![0.0; stride * CHUNK], vec![0.0; width * CHUNK]);
        let (mut pairs, mut mixed, mut scaled) = (vec![0.0; CHUNK * CHUNK], vec![0.0; width * CHUNK], Vec::new());
        for chunk in chunks(rows.clone()).rev() {
            let count = chunk.len();
            let columns = count.next_multiple_of(problem.lanes);
            keys.read_keys(simd, problem, at, chunk.clone());
            keys.levels[count..].fill(f32::NEG_INFINITY);
            transposed(count, features.width, &keys.phi, stride, &mut of_keys, columns);
            let of_keys = Rows { entries: &of_keys, stride: columns };
            from_sums(simd, problem, &keys, &sums, &mut d_phi);
            // dv⁺, one key a column.
            let matrix = Strided { entries: &sums.matrix, row: stride, column: 1 };
            product::<S, false>(simd, [width, features.width, columns], matrix, of_keys, &mut mixed, columns);
            if levels {
                let mut factors = [0.0; CHUNK];
                for (factor, level) in factors.iter_mut().zip(&keys.levels) {
                    *factor = if sums.is_empty() { 0.0 } else { (sums.level + level).exp2() };
                }
                for row in mixed.chunks_exact_mut(columns).take(width) {
                    for (entry, factor) in row.iter_mut().zip(factors) {
                        *entry *= factor;
                    }
                }
            }
            if let Some(first) = &query_rows {
                let first = first.start + (chunk.start - rows.start);
                queries.read_queries(simd, problem, known, head, first..first + count);
                queries.levels[count..].fill(f32::NEG_INFINITY);
                transposed(count, width, &queries.with, width, &mut of_queries, columns);
                let with = Strided { entries: &keys.with, row: width, column: 1 };
                let across = Rows { entries: &of_queries, stride: columns };
                product::<S, false>(simd, [count, width, columns], with, across, &mut pairs, columns);
                let of_columns = levels.then_some(&queries.levels[..]);
                weigh(simd, &mut pairs, columns, &keys.levels[..count], of_columns, Half::Upper);
                let by_key = Strided { entries: &pairs, row: columns, column: 1 };
                let phi = Rows { entries: &queries.phi, stride };
                product::<S, true>(simd, [count, count, stride], by_key, phi, &mut d_phi, stride);
                let phi = Strided { entries: &queries.phi, row: stride, column: 1 };
                product::<S, false>(simd, [count, features.width, columns], phi, of_keys, &mut pairs, columns);
                let of_columns = levels.then_some(&keys.levels[..]);
                weigh(simd, &mut pairs, columns, &queries.levels[..count], of_columns, Half::Lower);
                let with = Strided { entries: &queries.with, row: 1, column: width };
                let by_query = Rows { entries: &pairs, stride: columns };
                product::<S, true>(simd, [width, count, columns], with, by_query, &mut mixed, columns);
                sums.add(simd, problem, &queries, &mut scaled);
            }
            let distance = features.backward(simd, count, &keys.x, &keys.phi, &mut d_phi, &mut d_x);
            for (j, row) in chunk.enumerate() {
                // SAFETY: this key belongs to this task alone.
                let (d_k, d_v) = unsafe { (d_k.row_mut(at, row), d_v.row_mut(at, row)) };
                d_k.copy_from_slice(&d_x[j * distance..][..d_k.len()]);
                for (c, d_v) in d_v.iter_mut().enumerate() {
                    *d_v = mixed[c * columns + j];
                }
            }
        }
    }
}

/// For each head the sum over all `shared` segments, and with each of the `own` ones the sum over those before it too.
fn running(problem: &Problem<'_>, sums: &[Sums], shared: usize, own: usize) -> Vec<Vec<Sums>> {
    let per_head = sums.len() / problem.heads().max(1);
    let of_head = |head: usize| {
        let sums = &sums[head * per_head..][..per_head];
        let mut total = sums[..shared].iter().fold(Sums::new(problem), Sums::and);
        let mut all = vec![total.clone()];
        for more in sums[shared..].iter().take(own.saturating_sub(1)) {
            total = total.and(more);
            all.push(total.clone());
        }
        all
    };
    (0..problem.heads()).map(of_head).collect()
}

/// For each head and segment of queries the sums over the keys before it: one for all segments without a causal mask.
fn sums_before(problem: &Problem<'_>) -> Vec<Vec<Sums>> {
    let arch = Arch::new();
    let [shared, own] = problem.keys();
    // Nobody reads the sums over the last segment.
    let summed: Vec<Range<usize>> =
        shared.iter().chain(own.iter().take(own.len().saturating_sub(1))).cloned().collect();
    let tasks = (0..problem.heads() * summed.len()).into_par_iter();
    let sums = tasks.map(|task| {
        let (head, rows) = (task / summed.len(), summed[task % summed.len()].clone());
        arch.dispatch(KeySums { problem, head, rows })
    });
    running(problem, &sums.collect::<Vec<_>>(), shared.len(), own.len())
}

/// For each head and segment of keys the sums over the queries after it, and last over all queries.
fn sums_after(problem: &Problem<'_>, known: &Known<'_>) -> Vec<Vec<Sums>> {
    let arch = Arch::new();
    let segments = problem.queries();
    let tasks = (0..problem.heads() * segments.len()).into_par_iter();
    let sums: Vec<Sums> = tasks
        .map(|task| {
            let (head, rows) = (task / segments.len(), segments[segments.len() - 1 - task % segments.len()].clone());
            arch.dispatch(QuerySums { problem, known, head, rows })
        })
        .collect();
    let mut all = running(problem, &sums, 0, segments.len() + 1);
    for of_head in &mut all {
        let total = of_head.pop();
        of_head.reverse();
        of_head.extend(total);
    }
    all
}

/// The segment of a head that a task works on, with its number.
fn each<T: Send + Sync>(heads: usize, segments: &[T], work: impl Fn(usize, usize, &T) + Sync) {
    (0..heads * segments.len()).into_par_iter().for_each(|task| {
        let (head, number) = (task / segments.len(), task % segments.len());
        work(head, number, &segments[number]);
    });
}

/// Writes zeros for queries that see nothing.
fn clear_blind(problem: &Problem<'_>, buffer: &Buffer, by_head: bool) {
    for head in 0..problem.heads() {
        let at = if by_head { [head, 0] } else { problem.at(head) };
        for i in 0..problem.blind() {
            // SAFETY: no task writes the rows of these queries.
            unsafe { buffer.row_mut(at, i) }.fill(0.0);
        }
    }
}

/// The output, and D and C of each query.
pub(super) fn forward(inputs: Inputs<Flex>, options: FeatureOptions) -> [FlexTensor; 2] {
    let qkv = inputs.qkv.map(with_unit_columns);
    let problem = Problem::new(qkv.each_ref(), inputs.directions.as_ref(), options);
    let Sizes { batch, heads, q_len, d_value, .. } = problem.sizes;
    let (output, sums) = (Buffer::new([batch, heads, q_len, d_value]), Buffer::new([batch * heads, 1, q_len, 2]));
    let (before, [_, keys], arch) = (sums_before(&problem), problem.keys(), Arch::new());
    clear_blind(&problem, &output, false);
    clear_blind(&problem, &sums, true);
    each(problem.heads(), &problem.queries(), |head, number, queries| {
        arch.dispatch(Forward {
            problem: &problem,
            head,
            queries: queries.clone(),
            keys: options.causal.then(|| keys[number].clone()),
            before: before[head][if options.causal { number } else { 0 }].clone(),
            output: &output,
            sums: &sums,
        });
    });
    // SAFETY: the segments cover the queries that see a key, and the others have been cleared.
    let (output, sums) = unsafe { (output.into_tensor(), sums.into_entries()) };
    [output, flex::dense(sums, Shape::new([batch * heads, q_len, 2]))]
}

/// Gradients of q, k and v.
pub(super) fn backward(
    inputs: Inputs<Flex>,
    [output, sums]: [FlexTensor; 2],
    d_output: FlexTensor,
    options: FeatureOptions,
) -> [FlexTensor; 3] {
    let qkv = inputs.qkv.map(with_unit_columns);
    let problem = Problem::new(qkv.each_ref(), inputs.directions.as_ref(), options);
    let Sizes { batch, heads, q_len, k_len, d_key, d_value } = problem.sizes;
    let ([output, d_output], sums) = ([output, d_output].map(with_unit_columns), flex::flat(&sums));
    let known = Known { output: Heads::of(&output), sums: &sums, d_output: Heads::of(&d_output) };
    let arch = Arch::new();
    let (queries, [shared, own]) = (problem.queries(), problem.keys());
    let d_q = Buffer::new([batch, heads, q_len, d_key]);
    clear_blind(&problem, &d_q, false);
    let before = sums_before(&problem);
    each(problem.heads(), &queries, |head, number, rows| {
        arch.dispatch(BackwardQueries {
            problem: &problem,
            known: &known,
            head,
            queries: rows.clone(),
            keys: options.causal.then(|| own[number].clone()),
            before: before[head][if options.causal { number } else { 0 }].clone(),
            d_q: &d_q,
        });
    });
    drop(before);
    let (d_k, d_v) = (Buffer::new([batch, heads, k_len, d_key]), Buffer::new([batch, heads, k_len, d_value]));
    let after = sums_after(&problem, &known);
    // Keys that all queries see, then those with queries at their places.
    let alone = shared.into_iter().map(|keys| (keys, None));
    let keys: Vec<_> = alone.chain(own.into_iter().zip(queries.iter().cloned().map(Some))).collect();
    let first = keys.iter().filter(|(_, queries)| queries.is_none()).count();
    each(problem.heads(), &keys, |head, number, (keys, queries)| {
        let after = &after[head];
        arch.dispatch(BackwardKeys {
            problem: &problem,
            known: &known,
            head,
            keys: keys.clone(),
            queries: queries.clone(),
            after: if number < first { &after[after.len() - 1] } else { &after[number - first] }.clone(),
            d_k: &d_k,
            d_v: &d_v,
        });
    });
    // SAFETY: the segments cover all keys, and all queries but those that have been cleared.
    unsafe { [d_q.into_tensor(), d_k.into_tensor(), d_v.into_tensor()] }
}
