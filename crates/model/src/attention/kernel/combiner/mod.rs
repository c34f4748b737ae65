//! Combiner: near keys one by one and far keys through their blocks, so that every key counts at less than quadratic cost.

mod table;

use burn::{
    module::Module,
    tensor::{Bool, FloatDType, Tensor, TensorData},
};
use headway_keys::Described;
use serde::{Deserialize, Serialize};

use super::{
    AttentionKernel, Demand, Kernel, KernelKind, KernelSizes, KernelSpec, Law,
    naive::{HIDDEN, softmax_of_visible},
};
use crate::{
    attention::view::View,
    config::{ConfigError, LARGEST_WIDTH},
    init::Initializer,
    mask::Mask,
};

/// mix(q, k, v)_i = Σ_j p(j|i) v_j, with p(j|i) = p(j) for a key j that query i sees by itself, and p(t) p(j|t) for a key of a block t.
///
/// p(j) and p(t) are one softmax over q_i·k_j / sqrt(d) and q_i·K_t / sqrt(d), K_t the largest entries of the keys of the block, and
/// p(j|t) is the softmax over the block of Q_t·k_j / sqrt(d), Q_t the largest entries of its queries. Every key that is not hidden is in
/// one block or by itself, in `mixture` in up to three:
///
/// - fixed: the keys of the query's own segment by themselves, every other segment as a block;
/// - logn: the query's own key by itself, and for each bit l of its place that is set the block of 2^l keys that ends where the bits
///   below l are zero. Without a causal mask also the blocks of the sequence read from its end;
/// - axial: of the places written row by row, `segment` in a row, the keys of the query's own row by themselves, every other row as a block,
///   with the query that stands there in the same column for Q_t and Σ_j p(j|t) k_j for K_t;
/// - mixture: the keys of the query's own row and column by themselves, and of every other row and every other column the block before and
///   the block behind the place at which it crosses the query's column or row.
///
/// With a causal mask a query sees its row up to its own place, earlier rows, and of columns what stands above its row. Reading without one
/// is published for fixed alone, and here by symmetry for the others; the code for axial has learned maps and a norm in its K_t, of which
/// this is the form without parameters that is also there.
///
/// Places count keys, the last query standing at the last key. A block with keys but no queries takes zero for Q_t, the mean of its
/// values. The reference gives logn too few levels for a length of 2^l + 1, whose last query then sees itself alone; here there are
/// as many as the places have bits.
///
/// # References
/// Ren et al. 2021, arXiv 2107.05768, sections 3.2 and 4; the pooling by largest entries is that of its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct CombinerConfig {
    /// Which blocks: `fixed`, `logn`, `axial` or `mixture`. Default `fixed`.
    pub blocks: CombinerBlocks,
    /// Number of keys in a segment of `fixed`, in a row of `axial` and `mixture`. Default 64. Costs are least at about the square root of the
    /// length.
    pub segment: usize,
}

/// The blocks of Combiner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum CombinerBlocks {
    /// Segments of one length.
    #[default]
    Fixed,
    /// Segments of all powers of two.
    Logn,
    /// Rows of a table of places.
    Axial,
    /// Parts of the rows and columns of a table of places.
    Mixture,
}

impl Default for CombinerConfig {
    fn default() -> Self {
        Self { blocks: CombinerBlocks::default(), segment: 64 }
    }
}

/// Combiner of one layer.
#[derive(Module, Debug)]
pub struct Combiner {
    #[module(skip)]
    blocks: CombinerBlocks,
    #[module(skip)]
    segment: usize,
}

/// Largest entries over blocks of `size` rows; zero for a block without rows.
///
/// # Shapes
/// `[batch, n_heads, count · size, width]`, with [`HIDDEN`] where there is no row -> `[batch, n_heads, count, width]`
fn largest(x: &Tensor<4>, size: usize) -> Tensor<4> {
    let [batch, n_heads, rows, width] = x.dims();
    let blocks = x.clone().reshape([batch, n_heads * (rows / size), size, width]).max_dim(2);
    blocks.reshape([batch, n_heads, rows / size, width])
}

/// Rows with others of one value before and behind them.
fn between(x: Tensor<4>, before: usize, behind: usize, value: f32) -> Tensor<4> {
    let [batch, n_heads, _, width] = x.dims();
    let device = x.device();
    let rows = |count: usize| Tensor::full([batch, n_heads, count, width], value, &device);
    let parts = [(before > 0).then(|| rows(before)), Some(x), (behind > 0).then(|| rows(behind))];
    Tensor::cat(parts.into_iter().flatten().collect(), 2)
}

/// Zero where there was no row.
fn or_zero(pooled: Tensor<4>) -> Tensor<4> {
    let missing = pooled.clone().lower_elem(0.5 * HIDDEN);
    pooled.mask_fill(missing, 0.0)
}

/// Queries, keys and values of whole blocks, with rows of zeros where there are none.
struct Placed {
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    /// Queries and keys with [`HIDDEN`] in the rows that are none.
    pooled: [Tensor<4>; 2],
    /// Number of rows that are keys.
    length: usize,
}

impl Placed {
    /// With `rows` rows, the first of them without queries if there are fewer queries than keys; of a sequence read from its `end` the
    /// last of them. Queries are scaled already.
    fn new([q, k, v]: [Tensor<4>; 3], rows: usize, from_end: bool) -> Self {
        let (length, queries) = (k.dims()[2], q.dims()[2]);
        let front = if from_end { 0 } else { length - queries };
        let (behind, end) = (rows - front - queries, rows - length);
        let pooled = [between(q.clone(), front, behind, HIDDEN), between(k.clone(), 0, end, HIDDEN)];
        let [q, k, v] = [between(q, front, behind, 0.0), between(k, 0, end, 0.0), between(v, 0, end, 0.0)];
        Self { q, k, v, pooled, length }
    }

    /// Σ_j p(j|t) v_j for each block of `size` rows, from its pooled queries.
    ///
    /// # Shapes
    /// `[batch, n_heads, count, d_key]` -> `[batch, n_heads, count, d_value]`
    fn values_of_blocks(&self, pooled: Tensor<4>, size: usize, view: &View) -> Tensor<4> {
        let ([batch, n_heads, rows, d_key], d_value) = (self.k.dims(), self.v.dims()[3]);
        let count = rows / size;
        let queries = or_zero(pooled).reshape([batch, n_heads * count, 1, d_key]);
        let keys = self.k.clone().reshape([batch, n_heads * count, size, d_key]);
        let scores = view.product(queries, keys.swap_dims(2, 3)).reshape([batch, n_heads, count, size]);
        let behind = (self.length < rows).then(|| {
            let behind = (0..rows).map(|place| place >= self.length).collect::<Vec<bool>>();
            let behind = TensorData::new(behind, [1, 1, count, size]);
            Tensor::<4, Bool>::from_data(behind, &scores.device()).expand(scores.dims())
        });
        let pattern = softmax_of_visible(scores, behind).reshape([batch, n_heads * count, 1, size]);
        let values = self.v.clone().reshape([batch, n_heads * count, size, d_value]);
        view.product(pattern, values).reshape([batch, n_heads, count, d_value])
    }
}

/// The query's own segment, and all others as blocks.
fn fixed(qkv: [Tensor<4>; 3], size: usize, causal: bool, view: &View) -> Tensor<4> {
    let ([batch, n_heads, q_len, d_key], [_, _, k_len, d_value]) = (qkv[0].dims(), qkv[2].dims());
    let count = k_len.div_ceil(size);
    let rows = count * size;
    let placed = Placed::new(qkv, rows, false);
    let segments = |x: &Tensor<4>, width: usize| x.clone().reshape([batch, n_heads * count, size, width]);
    let near = view.product(segments(&placed.q, d_key), segments(&placed.k, d_key).swap_dims(2, 3));
    let near = near.reshape([batch, n_heads, rows, size]);
    let [pooled_q, pooled_k] = placed.pooled.each_ref().map(|x| largest(x, size));
    let far = view.product(placed.q.clone(), pooled_k.swap_dims(2, 3)); // [batch, n_heads, rows, count]
    let hidden = (0..rows).flat_map(|i| {
        let own = i / size;
        let near = (0..size).map(move |r| own * size + r >= k_len || (causal && r > i % size));
        near.chain((0..count).map(move |t| if causal { t >= own } else { t == own }))
    });
    let hidden = TensorData::new(hidden.collect::<Vec<bool>>(), [1, 1, rows, size + count]);
    let hidden = Tensor::<4, Bool>::from_data(hidden, &near.device());
    let scores = Tensor::cat(vec![near, far], 3);
    let hidden = hidden.expand(scores.dims());
    let pattern = softmax_of_visible(scores, Some(hidden));
    let of_near = pattern.clone().narrow(3, 0, size).reshape([batch, n_heads * count, size, size]);
    let near = view.product(of_near, segments(&placed.v, d_value)).reshape([batch, n_heads, rows, d_value]);
    let values = placed.values_of_blocks(pooled_q, size, view);
    let mixed = near + view.product(pattern.narrow(3, size, count), values);
    mixed.narrow(2, k_len - q_len, q_len)
}

/// Number of bits of the places of `length` rows.
fn levels(length: usize) -> u32 {
    usize::BITS - (length - 1).leading_zeros()
}

/// The blocks before each query, of all powers of two.
struct Before {
    placed: Placed,
    /// Values of the blocks of 2^l keys, for each l. `[batch, n_heads, rows / 2^l, d_value]`
    values: Vec<Tensor<4>>,
    /// Scores of the blocks, [`HIDDEN`] where the query has none. `[batch, n_heads, k_len, levels]`
    scores: Option<Tensor<4>>,
}

impl Before {
    fn new(qkv: [Tensor<4>; 3], from_end: bool, view: &View) -> Self {
        let [batch, n_heads, length, d_key] = qkv[1].dims();
        let count = levels(length);
        let rows = 1 << count;
        let placed = Placed::new(qkv, rows, from_end);
        let [mut of_queries, mut of_keys] = placed.pooled.clone();
        let (mut values, mut scores) = (Vec::new(), Vec::new());
        for level in 0..count {
            let size = 1 << level;
            let pairs = rows / size / 2;
            if level > 0 {
                [of_queries, of_keys] = [of_queries, of_keys].map(|x| largest(&x, 2));
            }
            values.push(placed.values_of_blocks(of_queries.clone(), size, view));
            // Of every two blocks the second's queries see the first.
            let first = of_keys.clone().reshape([batch, n_heads * pairs, 2, d_key]).narrow(2, 0, 1);
            let second = placed.q.clone().reshape([batch, n_heads * pairs, 2 * size, d_key]).narrow(2, size, size);
            let seen = view.product(second, or_zero(first).swap_dims(2, 3)); // [batch, n_heads · pairs, size, 1]
            scores.push(between(seen, size, 0, HIDDEN).reshape([batch, n_heads, rows, 1]));
        }
        let scores = (!scores.is_empty()).then(|| Tensor::cat(scores, 3).narrow(2, 0, length));
        Self { placed, values, scores }
    }

    /// Σ_t p(t) Σ_j p(j|t) v_j. p `[batch, n_heads, k_len, levels]` -> `[batch, n_heads, k_len, d_value]`
    fn mix(&self, pattern: Tensor<4>, view: &View) -> Tensor<4> {
        let ([batch, n_heads, rows, d_value], length) = (self.placed.v.dims(), self.placed.length);
        let pattern = between(pattern, 0, rows - length, 0.0);
        let of_level = |(level, values): (usize, &Tensor<4>)| {
            let size = 1 << level;
            let pairs = rows / size / 2;
            let first = values.clone().reshape([batch, n_heads * pairs, 2, d_value]).narrow(2, 0, 1);
            let second = pattern.clone().narrow(3, level, 1).reshape([batch, n_heads * pairs, 2 * size, 1]);
            let mixed = view.product(second.narrow(2, size, size), first); // [batch, n_heads · pairs, size, d_value]
            between(mixed, size, 0, 0.0).reshape([batch, n_heads, rows, d_value])
        };
        let sum = self.values.iter().enumerate().map(of_level).reduce(|sum, of_level| sum + of_level);
        let none = || Tensor::zeros([batch, n_heads, rows, d_value], &pattern.device());
        sum.unwrap_or_else(none).narrow(2, 0, length)
    }
}

/// The query's own key, and blocks of all powers of two.
fn logn(qkv: [Tensor<4>; 3], causal: bool, view: &View) -> Tensor<4> {
    let (q_len, k_len) = (qkv[0].dims()[2], qkv[1].dims()[2]);
    let missing = k_len - q_len;
    let [q, k, v] = qkv.clone();
    let own = (between(q, missing, 0, 0.0) * k).sum_dim(3); // [batch, n_heads, k_len, 1]
    let before = Before::new(qkv.clone(), false, view);
    let after = (!causal && k_len > 1).then(|| Before::new(qkv.map(|x| x.flip([2])), true, view));
    let backward = after.as_ref().and_then(|after| after.scores.clone()).map(|scores| scores.flip([2]));
    let scores: Vec<Tensor<4>> = [Some(own), before.scores.clone(), backward].into_iter().flatten().collect();
    let widths: Vec<usize> = scores.iter().map(|scores| scores.dims()[3]).collect();
    // A level of which a query has no block has weight zero beside its own key.
    let pattern = softmax_of_visible(Tensor::cat(scores, 3), None);
    let mut mixed = pattern.clone().narrow(3, 0, 1) * v;
    if let Some(width) = widths.get(1) {
        mixed = mixed + before.mix(pattern.clone().narrow(3, 1, *width), view);
    }
    if let (Some(after), Some(width)) = (after, widths.get(2)) {
        let of_blocks = pattern.narrow(3, 1 + widths[1], *width).flip([2]);
        mixed = mixed + after.mix(of_blocks, view).flip([2]);
    }
    mixed.narrow(2, missing, q_len)
}

impl Combiner {
    /// # Shapes
    /// as [`Kernel::mix`]
    fn attend(&self, [q, k, v]: [Tensor<4>; 3], view: &View) -> Tensor<4> {
        let causal = match view.mask {
            Mask::Full => false,
            Mask::Causal => true,
            Mask::Hidden(_) => unreachable!("a mask of any pairs is refused"),
        };
        let [q, k, v] = [q, k, v].map(|tensor| tensor.cast(FloatDType::F32));
        let ([_, _, q_len, d_key], k_len) = (q.dims(), k.dims()[2]);
        if q_len > k_len {
            // The first queries stand before all keys.
            let blind = q_len - k_len;
            let q = q.narrow(2, blind, k_len);
            let mixed = self.attend([q, k, v], view);
            return between(mixed, blind, 0, 0.0);
        }
        let q = q.mul_scalar(1.0 / (d_key as f64).sqrt());
        match self.blocks {
            CombinerBlocks::Fixed => fixed([q, k, v], self.segment, causal, view),
            CombinerBlocks::Logn => logn([q, k, v], causal, view),
            CombinerBlocks::Axial => table::axial([q, k, v], self.segment, causal, view),
            CombinerBlocks::Mixture => table::mixture([q, k, v], self.segment, causal, view),
        }
    }
}

impl Kernel for Combiner {
    /// The factorisation written out: what it makes of the values (1, 0, …), (0, 1, …), ….
    fn pattern(&self, q: Tensor<4>, k: Tensor<4>, view: &View) -> Tensor<4> {
        let [batch, n_heads, k_len, _] = k.dims();
        let each = Tensor::<2>::eye(k_len, &k.device()).reshape([1, 1, k_len, k_len]);
        self.attend([q, k, each.expand([batch, n_heads, k_len, k_len])], view)
    }

    fn mix(&self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, view: &View) -> Tensor<4> {
        self.attend([q, k, v], view)
    }
}

/// Numbers of rows and scores of a pass.
struct Counts {
    /// Rows with those that fill the last block.
    rows: f64,
    /// Scores of each query.
    scores: f64,
    /// Number of rows whose keys are scored once more, for their blocks.
    pooled: f64,
}

impl CombinerConfig {
    fn counts(&self, sizes: &KernelSizes) -> Counts {
        let length = sizes.k_len as usize;
        let count = length.div_ceil(self.segment.max(1));
        let (rows, [count, segment]) = ((count * self.segment) as f64, [count, self.segment].map(|n| n as f64));
        match self.blocks {
            CombinerBlocks::Fixed => Counts { rows, scores: segment + count, pooled: rows },
            // The scores of single keys are those within blocks too, where keys are mixed beside values.
            CombinerBlocks::Axial => Counts { rows, scores: segment + count, pooled: rows * segment },
            CombinerBlocks::Mixture => {
                let ways = if sizes.causal { 1.0 } else { 2.0 };
                let scores = (1.0 + ways) * segment + 3.0 * count;
                Counts { rows, scores, pooled: rows * (2.0 * segment + ways * count) }
            }
            CombinerBlocks::Logn => {
                let (levels, ways) = (f64::from(levels(length.max(1))), if sizes.causal { 1.0 } else { 2.0 });
                let rows = levels.exp2();
                Counts { rows, scores: 1.0 + ways * levels, pooled: ways * levels * rows }
            }
        }
    }
}

impl KernelSpec for CombinerConfig {
    fn validate(&self) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        if !(1..=LARGEST_WIDTH).contains(&self.segment) {
            problems.push(ConfigError::new("segment", format!("must be from 1 to {LARGEST_WIDTH}")));
        }
        if self.blocks == CombinerBlocks::Logn && self.segment != Self::default().segment {
            problems.push(ConfigError::new("segment", "belongs to the other blocks; leave it out"));
        }
        problems
    }

    fn build(&self, _d_key: usize, _init: &mut Initializer<'_>) -> AttentionKernel {
        AttentionKernel::Combiner(Combiner { blocks: self.blocks, segment: self.segment })
    }

    fn supports(&self, demand: Demand) -> Result<(), &'static str> {
        match demand {
            Demand::AnyMask => Err("sees blocks of keys, of which a mask may hide some"),
            Demand::Bias | Demand::Weights => Err("has one score for a block of keys"),
        }
    }

    fn lacks(&self) -> &'static [Law] {
        match self.blocks {
            CombinerBlocks::Axial => &[Law::AnyOrder, Law::QueriesApart],
            _ => &[Law::AnyOrder, Law::QueriesApart, Law::Smooth],
        }
    }

    /// Scores and mixing of single keys and of blocks, and the same of the keys within blocks.
    fn flops(&self, sizes: &KernelSizes) -> f64 {
        let KernelSizes { n_heads, d_key, d_value, .. } = *sizes;
        let Counts { rows, scores, pooled } = self.counts(sizes);
        2.0 * n_heads * (rows * scores + pooled) * (d_key + d_value)
    }

    /// Of fixed blocks the softmax of all scores, and for each block its pooled queries and keys, which rows they come from, and its value.
    /// Of logn for each level the queries that have a block, its scores and weights, and for all levels together what is pooled and the
    /// rows in whole blocks. Of axial and mixture every softmax, and copies of what is read column by column; of mixture for each way in which a
    /// line is read also what is pooled, and the blocks.
    fn kept_floats(&self, sizes: &KernelSizes) -> f64 {
        let KernelSizes { n_heads, d_key, d_value, causal, .. } = *sizes;
        let Counts { rows, scores, pooled } = self.counts(sizes);
        match self.blocks {
            CombinerBlocks::Fixed => {
                let count = rows / self.segment.max(1) as f64;
                n_heads * (3.0 * rows * scores + count * (4.0 * d_key + d_value))
            }
            CombinerBlocks::Logn => {
                let (ways, levels) = (if causal { 1.0 } else { 2.0 }, rows.log2());
                n_heads * ways * rows * (levels * (0.5 * d_key + 6.0) + 4.0 * d_key + 2.0 * d_value)
            }
            CombinerBlocks::Axial => n_heads * (3.0 * (rows * scores + pooled) + rows * (2.0 * d_key + d_value)),
            CombinerBlocks::Mixture => {
                let ways = if causal { 3.0 } else { 4.0 };
                // Less what rows that are read as they lie have in common.
                let of_ways = ways * (6.0 * d_key + 2.0 * d_value) - 1.5 * d_key;
                n_heads * (3.0 * (rows * scores + pooled) + rows * of_ways)
            }
        }
    }

    fn function(&self) -> KernelKind {
        KernelKind::Combiner(*self)
    }

    fn examples(&self) -> Vec<KernelKind> {
        let fixed = Self { segment: 3, ..Self::default() };
        let logn = Self { blocks: CombinerBlocks::Logn, ..Self::default() };
        let [axial, mixture] = [CombinerBlocks::Axial, CombinerBlocks::Mixture].map(|blocks| Self { blocks, ..fixed });
        [fixed, logn, axial, mixture].map(KernelKind::Combiner).into()
    }
}
