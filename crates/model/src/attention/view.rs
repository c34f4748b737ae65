//! What a layer tells its kernel: which keys are hidden from which queries, what is added to scores, how products are rounded.

use std::cell::OnceCell;

use burn::tensor::{Int, Tensor, TensorData};
use headway_kernels::{Precision, matmul};

use super::{
    position::{Position, Scheme},
    weighting::behind,
};
use crate::mask::Mask;

/// Input of a kernel besides queries, keys and values.
#[derive(Clone, Debug)]
pub struct View {
    /// Hidden pairs.
    pub mask: Mask,
    /// Bias of the scores, if there is one.
    pub bias: Option<Bias>,
    /// Weights of keys, if they do not count alike, for [`weighted`](super::weighting::weighted) scores. `[batch, k_len]`
    pub weights: Option<Tensor<2>>,
    /// How operands of the kernel's products are rounded. Queries, keys and values have the type of this precision.
    pub precision: Precision,
}

impl From<Mask> for View {
    fn from(mask: Mask) -> Self {
        Self { mask, bias: None, weights: None, precision: Precision::F32 }
    }
}

impl View {
    /// A B of f32 tensors inside the kernel, whose queries, keys and values were rounded when they came: only what matrix units round as
    /// they read is still rounded.
    ///
    /// # Shapes
    /// a `[batch, n_heads, m, k]`, b `[batch, n_heads, k, n]` -> `[batch, n_heads, m, n]`; both first axes of b may be 1
    pub fn product(&self, a: Tensor<4>, b: Tensor<4>) -> Tensor<4> {
        let precision = if self.precision == Precision::Tf32 { Precision::Tf32 } else { Precision::F32 };
        matmul(a, b, precision)
    }
}

/// A bias of the scores by head and distance. It is zero for learned rows before the sequence, which have no position.
#[derive(Clone, Debug)]
pub struct Bias {
    /// Query i and key j, counted without the rows before the sequence, have entry `j − i + q_len − 1`. `[n_heads,
    /// q_len + k_len − 1]`
    pub by_distance: Tensor<2>,
    /// Number of queries before the sequence, which have no position.
    pub queries_in_front: usize,
    /// Number of keys before the sequence, which have no position.
    pub keys_in_front: usize,
}

impl Bias {
    /// The bias by distance; `None` if some rows have no position, so that it does not determine the bias of every
    /// pair.
    pub(crate) fn by_distance_alone(&self) -> Option<Tensor<2>> {
        (self.queries_in_front == 0 && self.keys_in_front == 0).then(|| self.by_distance.clone())
    }

    /// The bias of every pair of query and key.
    ///
    /// # Shapes
    /// result `[n_heads, q_len, k_len]`, including rows before the sequence
    pub fn pairs(&self, q_len: usize, k_len: usize) -> Tensor<3> {
        let Self { by_distance, queries_in_front, keys_in_front } = self;
        let (queries, keys) = (q_len - queries_in_front, k_len - keys_in_front);
        let (n_heads, device) = (by_distance.dims()[0], by_distance.device());
        let entries = (0..queries).flat_map(|i| (0..keys).map(move |j| (j + queries - 1 - i).cast_signed() as i32));
        let entries = TensorData::new(entries.collect::<Vec<i32>>(), [queries * keys]);
        let placed = by_distance.clone().select(1, Tensor::<1, Int>::from_data(entries, &device));
        let placed = placed.reshape([n_heads, queries, keys]);
        let of_keys = match keys_in_front {
            0 => placed,
            _ => Tensor::cat(vec![Tensor::zeros([n_heads, queries, *keys_in_front], &device), placed], 2),
        };
        match queries_in_front {
            0 => of_keys,
            _ => Tensor::cat(vec![Tensor::zeros([n_heads, *queries_in_front, k_len], &device), of_keys], 1),
        }
    }
}

/// Positions and visibility of a layer's rows.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    /// Hidden pairs.
    pub mask: &'a Mask,
    /// Position scheme that acts inside the layer, if there is one.
    pub position: Option<&'a Position>,
    /// Number of learned rows before the sequence. They have no position, and the sequence keeps its positions. They are
    /// queries too, unless queries are only the last of many rows.
    pub in_front: usize,
    /// Weights of the sequence's rows as keys; `None` if they count alike. `[batch, seq_len]`
    pub weights: Option<&'a Tensor<2>>,
    /// Values of the first layer, where later layers mix them with their own: the first layer puts them here. `[batch, n_kv_heads,
    /// rows, d_head]`
    pub first_values: Option<&'a OnceCell<Tensor<4>>>,
}

impl<'a> From<&'a Mask> for Layout<'a> {
    fn from(mask: &'a Mask) -> Self {
        Self { mask, position: None, in_front: 0, weights: None, first_values: None }
    }
}

impl Layout<'_> {
    /// Rotates queries and keys by their positions, if the scheme does so.
    ///
    /// # Shapes
    /// `[batch, n_heads, rows, d_head]` each -> the same
    pub(crate) fn rotate(&self, q: Tensor<4>, k: Tensor<4>) -> [Tensor<4>; 2] {
        let Some(position) = self.position else { return [q, k] };
        if self.in_front == 0 {
            return position.rotate(q, k);
        }
        let in_front = [self.queries_in_front([q.dims()[2], k.dims()[2]]), self.in_front];
        let placed = |x: &Tensor<4>, front: usize| x.clone().narrow(2, front, x.dims()[2] - front);
        let [turned_q, turned_k] = position.rotate(placed(&q, in_front[0]), placed(&k, in_front[1]));
        let behind = |(x, turned, front): (Tensor<4>, Tensor<4>, usize)| match front {
            0 => turned,
            _ => Tensor::cat(vec![x.narrow(2, 0, front), turned], 2),
        };
        [(q, turned_q, in_front[0]), (k, turned_k, in_front[1])].map(behind)
    }

    /// Number of learned rows among the queries.
    fn queries_in_front(&self, [q_len, k_len]: [usize; 2]) -> usize {
        self.in_front.saturating_sub(k_len.saturating_sub(q_len))
    }

    /// The view for `q_len` queries and `k_len` keys, with `prefix` learned keys before them.
    pub(crate) fn view(&self, n_heads: usize, lengths: [usize; 2], prefix: usize, like: &Tensor<4>) -> View {
        let ([q_len, k_len], queries_in_front) = (lengths, self.queries_in_front(lengths));
        let placed = [q_len - queries_in_front, k_len - self.in_front];
        let by_distance = self.position.and_then(|position| position.bias(n_heads, placed, &like.device()));
        let bias = by_distance.map(|by_distance| Bias {
            by_distance,
            queries_in_front,
            keys_in_front: self.in_front + prefix,
        });
        let weights = self.weights.map(|weights| behind(weights.clone(), self.in_front + prefix));
        View { mask: self.mask.clone(), bias, weights, precision: Precision::F32 }
    }
}
