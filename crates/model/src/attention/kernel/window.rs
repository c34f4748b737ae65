//! Softmax attention to near keys alone.

use burn::{
    module::Module,
    tensor::{Bool, Device, FloatDType, Tensor, TensorData},
};
use headway_keys::Described;
use serde::{Deserialize, Serialize};

use super::{
    AttentionKernel, Demand, Kernel, KernelKind, KernelSizes, KernelSpec, Law, Naive,
    naive::{scores, softmax_of_visible},
};
use crate::{attention::view::View, config::ConfigError, init::Initializer, mask::Mask};

/// Softmax attention in which the query at place p sees keys at places p − w < j < p + w, w the size of the window, and with a causal
/// mask p − w < j ≤ p. The last query stands where the last key does; learned rows in front stand before the sequence.
///
/// Without a bias or weights of keys it runs in blocks of queries, each with the one or two neighbouring blocks of keys: time and memory
/// linear in the length. With them all scores are made.
///
/// # References
/// Beltagy, Peters, Cohan 2020, arXiv 2004.05150, section 3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct WindowConfig {
    /// w: the number of keys that a causal query sees, itself included; at least 1. Default 128.
    pub size: usize,
}

impl Default for WindowConfig {
    fn default() -> Self {
        Self { size: 128 }
    }
}

/// Softmax attention in a window.
#[derive(Module, Debug)]
pub struct Window {
    #[module(skip)]
    size: usize,
}

/// Least number of queries in a block.
const LEAST_BLOCK: usize = 32;

/// Blocks of queries and of the keys that they see.
struct Blocks {
    /// Rows of a block.
    rows: usize,
    /// Number of blocks of queries.
    count: usize,
    /// Number of blocks of keys that a block of queries sees.
    span: usize,
}

impl Blocks {
    fn of(size: usize, q_len: usize, causal: bool) -> Self {
        let rows = size.max(LEAST_BLOCK);
        Self { rows, count: q_len.div_ceil(rows), span: if causal { 2 } else { 3 } }
    }
}

/// Rows `first … first + count` of a tensor, with zeros where it has none.
fn rows_from(x: Tensor<4>, first: isize, count: usize) -> Tensor<4> {
    let [batch, n_heads, length, width] = x.dims();
    let (before, start) = ((-first).max(0).cast_unsigned(), first.max(0).cast_unsigned());
    let taken = (length - start).min(count - before);
    let zeros = |rows: usize| Tensor::zeros([batch, n_heads, rows, width], &x.device());
    let parts = [(before, zeros(before)), (taken, x.clone().narrow(2, start, taken))];
    let after = count - before - taken;
    let parts = parts.into_iter().chain([(after, zeros(after))]);
    Tensor::cat(parts.filter(|(rows, _)| *rows > 0).map(|(_, part)| part).collect(), 2)
}

impl Window {
    /// Whether the window of a query hides a key, by their places.
    fn hides(&self, query: isize, key: isize, causal: bool) -> bool {
        query.abs_diff(key) >= self.size || (causal && key > query)
    }

    /// What window and mask hide. `[q_len, k_len]`
    fn hidden(&self, [q_len, k_len]: [usize; 2], mask: &Mask, device: &Device) -> Tensor<2, Bool> {
        let causal = matches!(mask, Mask::Causal);
        let first = k_len.cast_signed() - q_len.cast_signed();
        let places = (0..q_len.cast_signed()).flat_map(|i| (0..k_len.cast_signed()).map(move |j| (first + i, j)));
        let far = places.map(|(query, key)| self.hides(query, key, causal)).collect::<Vec<bool>>();
        let far = Tensor::from_data(TensorData::new(far, [q_len, k_len]), device);
        match mask {
            Mask::Hidden(hidden) => far.bool_or(hidden.clone()),
            Mask::Full | Mask::Causal => far,
        }
    }

    /// Attention block by block, for at most as many queries as keys.
    fn in_blocks(&self, [q, k, v]: [Tensor<4>; 3], causal: bool, view: &View) -> Tensor<4> {
        let ([batch, n_heads, q_len, d_key], [_, _, k_len, d_value]) = (q.dims(), v.dims());
        let [q, k, v] = [q, k, v].map(|tensor| tensor.cast(FloatDType::F32));
        let Blocks { rows, count, span } = Blocks::of(self.size, q_len, causal);
        // Places of the first query, and of the first key that the first block gets.
        let first = (k_len - q_len).cast_signed();
        let from = first - rows.cast_signed();
        let blocks = |x: Tensor<4>, width: usize| {
            let x = rows_from(x, from, (count + span - 1) * rows);
            let shifted = |by: usize| x.clone().narrow(2, by * rows, count * rows);
            let shifted = (0..span).map(|by| shifted(by).reshape([batch, n_heads * count, rows, width]));
            Tensor::cat(shifted.collect(), 2) // [batch, n_heads · count, span · rows, width]
        };
        let q = rows_from(q, 0, count * rows).reshape([batch, n_heads * count, rows, d_key]);
        let all = View { precision: view.precision, ..Mask::Full.into() };
        let scores = scores(q, blocks(k, d_key), &all); // [batch, n_heads · count, rows, span · rows]
        let places = (0..count * rows).flat_map(|i| {
            let begin = from + (i / rows * rows).cast_signed();
            (0..(span * rows).cast_signed()).map(move |j| (first + i.cast_signed(), begin + j))
        });
        let hides = |(query, key)| key < 0 || key >= k_len.cast_signed() || self.hides(query, key, causal);
        let hidden = TensorData::new(places.map(hides).collect::<Vec<bool>>(), [1, 1, count, rows, span * rows]);
        let hidden = Tensor::<5, Bool>::from_data(hidden, &scores.device());
        let by_block = [batch, n_heads, count, rows, span * rows];
        let pattern = softmax_of_visible(scores.reshape(by_block), Some(hidden.expand(by_block)));
        let pattern = pattern.reshape([batch, n_heads * count, rows, span * rows]);
        let mixed = view.product(pattern, blocks(v, d_value));
        mixed.reshape([batch, n_heads, count * rows, d_value]).narrow(2, 0, q_len)
    }
}

impl Kernel for Window {
    fn pattern(&self, q: Tensor<4>, k: Tensor<4>, view: &View) -> Tensor<4> {
        let hidden = self.hidden([q.dims()[2], k.dims()[2]], &view.mask, &q.device());
        Naive.pattern(q, k, &View { mask: Mask::Hidden(hidden), ..view.clone() })
    }

    fn mix(&self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, view: &View) -> Tensor<4> {
        let plain = view.bias.is_none() && view.weights.is_none() && q.dims()[2] <= k.dims()[2];
        match &view.mask {
            Mask::Full if plain => self.in_blocks([q, k, v], false, view),
            Mask::Causal if plain => self.in_blocks([q, k, v], true, view),
            _ => view.product(self.pattern(q, k, view), v.cast(FloatDType::F32)),
        }
    }
}

impl KernelSpec for WindowConfig {
    fn validate(&self) -> Vec<ConfigError> {
        (self.size == 0).then(|| ConfigError::new("size", "must be at least 1")).into_iter().collect()
    }

    fn build(&self, _d_key: usize, _init: &mut Initializer<'_>) -> AttentionKernel {
        AttentionKernel::Window(Window { size: self.size })
    }

    fn supports(&self, demand: Demand) -> Result<(), &'static str> {
        match demand {
            Demand::AnyMask => Err("sees near keys alone, all of which a mask may hide"),
            Demand::Bias | Demand::Weights => Ok(()),
        }
    }

    fn lacks(&self) -> &'static [Law] {
        &[Law::AnyOrder, Law::FullSupport]
    }

    /// Scores and mixing of the pairs that its blocks make.
    fn flops(&self, sizes: &KernelSizes) -> f64 {
        let KernelSizes { n_heads, d_key, d_value, .. } = *sizes;
        2.0 * n_heads * self.pairs(sizes) * (d_key + d_value)
    }

    /// The softmax of all pairs of blocks, and keys and values once more for each block that sees them.
    fn kept_floats(&self, sizes: &KernelSizes) -> f64 {
        let KernelSizes { n_heads, q_len, k_len, d_key, d_value, causal } = *sizes;
        let Blocks { rows, count, span } = Blocks::of(self.size, q_len as usize, causal);
        let (padded, span) = ((rows * count) as f64, span as f64);
        let copies = (span * padded - k_len) * (d_key + d_value) + (padded - q_len) * d_key;
        n_heads * (Naive::kept_by_rows(padded, span * rows as f64) + copies)
    }

    fn function(&self) -> KernelKind {
        KernelKind::Window(*self)
    }

    fn examples(&self) -> Vec<KernelKind> {
        vec![KernelKind::Window(Self { size: 3 })]
    }
}

impl WindowConfig {
    /// Number of pairs of a query and a key that are computed.
    fn pairs(self, sizes: &KernelSizes) -> f64 {
        let Blocks { rows, count, span } = Blocks::of(self.size, sizes.q_len as usize, sizes.causal);
        (rows * count * span * rows) as f64
    }
}
