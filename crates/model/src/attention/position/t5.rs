//! T5's biases: one learned number per head and bucket of distances.

use burn::{
    module::{Module, Param},
    tensor::{Device, Int, Tensor},
};
use headway_keys::Described;
use serde::{Deserialize, Serialize};

use super::{Hand, Position, PositionKind, PositionSizes, PositionSpec, Scheme, distance::ByDistance};
use crate::{
    budget::size,
    config::ConfigError,
    init::Initializer,
    parameters::{Key::Model as Own, Rule},
};

/// Adds t_h[bucket(i − j)] to the score of query i and key j in head h, with a learned table t that all layers share.
///
/// The first half of the buckets are single distances 0, 1, …; the others grow evenly in the logarithm of the distance up to
/// `max_distance`, and the last one holds all beyond. Without a causal mask later keys have buckets of their own, half of all. T5's table
/// then has one row that no distance reaches, that of later keys at distance 0; this one does not have it.
///
/// Drawn from N(0, 1/`d_model`) as in T5, whose scores are not divided by sqrt(`d_head`); here they are. Sequences may be longer than those
/// the model was built for.
///
/// # References
/// Raffel et al. 2020, arXiv 1910.10683, section 2.1; the buckets as in the authors' code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct T5Config {
    /// Number of buckets, even, at least 4. Default 32.
    pub buckets: usize,
    /// Distance from which on all are alike, above the number of buckets of one distance. Default 128.
    pub max_distance: usize,
}

impl Default for T5Config {
    fn default() -> Self {
        Self { buckets: 32, max_distance: 128 }
    }
}

/// The biases of a model.
#[derive(Module, Debug)]
pub struct T5Bias {
    /// `[n_heads, rows]`
    pub table: Param<Tensor<2>>,
    #[module(skip)]
    buckets: Buckets,
    #[module(skip)]
    by_distance: ByDistance,
}

/// Numbers of distances.
#[derive(Clone, Copy, Debug)]
struct Buckets {
    /// Buckets of one direction.
    count: usize,
    max_distance: usize,
    /// Whether later keys have buckets of their own.
    two_sided: bool,
}

impl Buckets {
    fn rows(self) -> usize {
        if self.two_sided { 2 * self.count - 1 } else { self.count }
    }

    /// The row of the table for a key at position j of a query at i, by j − i.
    fn row(self, offset: isize) -> usize {
        let bucket = self.of(offset.unsigned_abs());
        if self.two_sided && offset > 0 { self.count - 1 + bucket } else { bucket }
    }

    fn of(self, distance: usize) -> usize {
        let single = self.count / 2;
        if distance < single {
            return distance;
        }
        let log = |distance: usize| (distance as f64 / single as f64).log2();
        let share = log(distance) / log(self.max_distance);
        (single + (share * (self.count - single) as f64) as usize).min(self.count - 1)
    }
}

impl T5Config {
    /// Buckets of the data; `two_sided` if later keys have buckets of their own.
    fn of(self, two_sided: bool) -> Buckets {
        let count = if two_sided { self.buckets / 2 } else { self.buckets };
        Buckets { count, max_distance: self.max_distance, two_sided }
    }

    /// Problems of buckets, by key.
    pub(super) fn problems(self, two_sided: bool) -> Vec<ConfigError> {
        if self.buckets < 4 || !self.buckets.is_multiple_of(2) {
            return vec![ConfigError::new("buckets", "must be an even number, at least 4")];
        }
        let single = self.of(two_sided).count / 2;
        if self.max_distance <= single {
            let problem = format!("must be above {single}, the number of buckets of one distance");
            return vec![ConfigError::new("max_distance", problem)];
        }
        Vec::new()
    }

    /// The table, drawn from N(0, `std`²).
    pub(super) fn bias(self, two_sided: bool, std: f64, sizes: &PositionSizes, init: &mut Initializer<'_>) -> T5Bias {
        let buckets = self.of(two_sided);
        let table = init.gaussian([sizes.n_heads, buckets.rows()], std as f32);
        T5Bias { table, buckets, by_distance: ByDistance::new(sizes.seq_len) }
    }

    /// Number of trainable parameters.
    pub(super) fn count(self, two_sided: bool, sizes: &PositionSizes) -> f64 {
        size(sizes.n_heads) * size(self.of(two_sided).rows())
    }
}

impl Scheme for T5Bias {
    fn bias(&self, _n_heads: usize, lengths: [usize; 2], device: &Device) -> Option<Tensor<2>> {
        let buckets = self.buckets;
        let rows = self.by_distance.rows(lengths, device, 1, |_, offset| buckets.row(offset) as f32);
        let rows: Tensor<1, Int> = rows.squeeze_dim::<1>(0).int();
        Some(self.table.val().select(1, rows))
    }
}

impl PositionSpec for T5Config {
    fn validate(&self, sizes: &PositionSizes) -> Vec<ConfigError> {
        self.problems(!sizes.causal)
    }

    fn build(&self, sizes: &PositionSizes, init: &mut Initializer<'_>) -> Position {
        Position::T5(self.bias(!sizes.causal, 1.0 / (sizes.d_model as f64).sqrt(), sizes, init))
    }

    fn hands(&self) -> &'static [Hand] {
        &[Hand::Bias]
    }

    fn parameters(&self, sizes: &PositionSizes) -> f64 {
        self.count(!sizes.causal, sizes)
    }

    fn rules(&self) -> &'static [Rule] {
        &[("position.table", &[Own("n_heads"), Own("position")], &[Own("position")])]
    }

    /// So few buckets that the distances of a short sequence reach all.
    fn examples(&self) -> Vec<PositionKind> {
        vec![PositionKind::T5(Self { buckets: 6, max_distance: 5 })]
    }
}
