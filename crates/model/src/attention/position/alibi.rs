//! ALiBi: attention with linear biases.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use super::{Hand, Position, PositionKind, PositionSizes, PositionSpec, Scheme, distance::ByDistance};
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
    by_distance: ByDistance,
}

impl Scheme for AlibiBias {
    fn bias(&self, n_heads: usize, lengths: [usize; 2], device: &Device) -> Option<Tensor<2>> {
        let slopes = slopes(n_heads);
        let value = |head: usize, offset: isize| (-slopes[head] * offset.unsigned_abs() as f64) as f32;
        Some(self.by_distance.rows(lengths, device, n_heads, value))
    }
}

/// Slopes s_1 … s_n.
pub(super) fn slopes(n_heads: usize) -> Vec<f64> {
    let of_power = |n: usize| (1..=n).map(move |h| (-8.0 * h as f64 / n as f64).exp2());
    let below = if n_heads.is_power_of_two() { n_heads } else { n_heads.next_power_of_two() / 2 };
    of_power(below).chain(of_power(2 * below).step_by(2)).take(n_heads).collect()
}

impl PositionSpec for Alibi {
    fn build(&self, sizes: &PositionSizes, _init: &mut Initializer<'_>) -> Position {
        Position::Alibi(AlibiBias { by_distance: ByDistance::new(sizes.seq_len) })
    }

    fn hands(&self) -> &'static [Hand] {
        &[Hand::Bias]
    }

    fn examples(&self) -> Vec<PositionKind> {
        vec![PositionKind::Alibi]
    }
}
