//! ALiBi: attention with linear biases.

use std::sync::OnceLock;

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};

use super::{Hand, Position, PositionKind, PositionSizes, PositionSpec, Scheme};
use crate::init::Initializer;

/// Adds −s_h |i − j| to the score of query i and key j in head h, so that distant keys get less weight.
///
/// For n heads, n a power of two, s_h = 2^(−8h/n) for h = 1 … n. For other n, the slopes are those of the largest power
/// of two below n, followed by every second slope of twice that number of heads, starting with the first. Sequences may
/// be longer than those the model was built for.
///
/// # References
/// Press, Smith, Lewis 2022, arXiv 2108.12409, section 3; other numbers of heads as in the authors' code. In the paper
/// attention is causal; without a mask the same bias applies in both directions.
pub struct Alibi;

/// The biases of a model.
#[derive(Module, Debug)]
pub struct AlibiBias {
    #[module(skip)]
    seq_len: usize,
    /// Biases of `seq_len` queries and keys, computed at first use and kept. `[n_heads, 2 seq_len − 1]`
    #[module(skip)]
    longest: OnceLock<Tensor<2>>,
}

impl Scheme for AlibiBias {
    fn bias(&self, n_heads: usize, [q_len, k_len]: [usize; 2], device: &Device) -> Option<Tensor<2>> {
        let longest = self.longest.get_or_init(|| biases(n_heads, [self.seq_len; 2], &device.clone().inner())).clone();
        if q_len.max(k_len) > self.seq_len || longest.dims()[0] != n_heads {
            return Some(biases(n_heads, [q_len, k_len], device));
        }
        let longest = if device.is_autodiff() { Tensor::from_inner(longest) } else { longest };
        Some(if q_len + k_len == 2 * self.seq_len {
            longest
        } else {
            longest.narrow(1, self.seq_len - k_len, q_len + k_len - 1)
        })
    }
}

/// `[n_heads, q_len + k_len − 1]`
fn biases(n_heads: usize, [q_len, k_len]: [usize; 2], device: &Device) -> Tensor<2> {
    let distances = q_len + k_len - 1;
    // Entry k_len − 1 belongs to a query and a key at the same position.
    let distance = |at: usize| at.abs_diff(k_len - 1) as f64;
    let of_head = |slope: f64| (0..distances).map(move |at| (-slope * distance(at)) as f32);
    let values: Vec<f32> = slopes(n_heads).into_iter().flat_map(of_head).collect();
    Tensor::from_data(TensorData::new(values, [n_heads, distances]), device)
}

/// Slopes s_1 … s_n.
fn slopes(n_heads: usize) -> Vec<f64> {
    let of_power = |n: usize| (1..=n).map(move |h| (-8.0 * h as f64 / n as f64).exp2());
    let below = if n_heads.is_power_of_two() { n_heads } else { n_heads.next_power_of_two() / 2 };
    of_power(below).chain(of_power(2 * below).step_by(2)).take(n_heads).collect()
}

impl PositionSpec for Alibi {
    fn build(&self, sizes: &PositionSizes, _init: &mut Initializer<'_>) -> Position {
        Position::Alibi(AlibiBias { seq_len: sizes.seq_len, longest: OnceLock::new() })
    }

    fn hands(&self) -> &'static [Hand] {
        &[Hand::Bias]
    }

    fn examples(&self) -> Vec<PositionKind> {
        vec![PositionKind::Alibi]
    }
}
