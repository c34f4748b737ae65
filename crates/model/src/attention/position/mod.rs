//! Position schemes, which tell tokens apart by position. One file each, and one row in the list below.
//!
//! A file contains a config, which is a [`PositionSpec`], and the scheme built from it, which is a [`Scheme`].

mod alibi;
mod distance;
mod kerple;
mod learned;
mod mep;
mod none;
mod rope;
mod sinusoidal;
mod t5;

use burn::tensor::{Device, Tensor};
use rand::Rng;

use crate::{config::ConfigError, init::Initializer, parameters::Rule, registry::open_list};

pub use alibi::{Alibi, AlibiBias};
pub use kerple::{KerpleBias, KerpleLog, KerplePower};
pub use learned::{LearnedPositions, LearnedTable};
pub use mep::{MepBias, MepConfig, Window};
pub use none::NoPositions;
pub use rope::{Rope, RopeConfig};
pub use sinusoidal::{Sinusoidal, SinusoidalTable};
pub use t5::{T5Bias, T5Config};

/// A position scheme as it is built. It can act in up to three places. The laws that it obeys are
/// `headway_testkit::laws::position`.
pub trait Scheme {
    /// Rows to add to the embedded tokens before the first layer; `None` if the scheme has no table.
    ///
    /// # Shapes
    /// result `[rows, d_model]`, with at least as many rows as the model was built for
    fn table(&self, _device: &Device) -> Option<Tensor<2>> {
        None
    }

    /// Rotates queries and keys of a layer by their positions. The last query and the last key have the same position.
    ///
    /// # Shapes
    /// `[batch, n_heads, rows, d_head]` each -> the same
    fn rotate(&self, q: Tensor<4>, k: Tensor<4>) -> [Tensor<4>; 2] {
        [q, k]
    }

    /// Bias of the scores of query i and key j: entry `j − i + q_len − 1`. The last query and the last key have the
    /// same position, so entry `k_len − 1` is that of a query and a key at one position, and entries before it are those
    /// of earlier keys. `None` if the scheme has no bias.
    ///
    /// # Shapes
    /// result `[n_heads, q_len + k_len − 1]`
    fn bias(&self, _n_heads: usize, [_q_len, _k_len]: [usize; 2], _device: &Device) -> Option<Tensor<2>> {
        None
    }
}

/// A way in which a scheme acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hand {
    /// [`Scheme::table`]
    Table,
    /// [`Scheme::rotate`]
    Rotation,
    /// [`Scheme::bias`]
    Bias,
}

/// Sizes of the model that a scheme is built for.
#[derive(Clone, Copy, Debug)]
pub struct PositionSizes {
    /// Longest sequence of the data.
    pub seq_len: usize,
    /// Width of the hidden state.
    pub d_model: usize,
    /// Width of queries and keys.
    pub d_head: usize,
    /// Number of heads.
    pub n_heads: usize,
    /// Whether later keys are hidden.
    pub causal: bool,
}

/// Config of a position scheme: its settings, and its properties for other modules.
pub trait PositionSpec {
    /// Problems of settings and sizes, by their key below `position`; the key is empty for the scheme as a whole.
    fn validate(&self, _sizes: &PositionSizes) -> Vec<ConfigError> {
        Vec::new()
    }

    /// Builds the scheme for a model of these sizes.
    fn build(&self, sizes: &PositionSizes, init: &mut Initializer<'_>) -> Position;

    /// The ways in which it acts.
    fn hands(&self) -> &'static [Hand];

    /// Number of trainable parameters.
    fn parameters(&self, _sizes: &PositionSizes) -> f64 {
        0.0
    }

    /// What its parameters and buffers follow, by their names in the model; empty for those of a table `[seq_len, d_model]` and for a
    /// scheme that has none.
    fn rules(&self) -> &'static [Rule] {
        &[]
    }

    /// Values of a fixed table, row-major `[rows, d_model]`; `None` if it is trained or there is none.
    fn fixed_table(&self, _rows: usize, _d_model: usize) -> Option<Vec<f32>> {
        None
    }

    /// Configs for the law tests, one for each way in which it acts.
    fn examples(&self) -> Vec<PositionKind>;
}

open_list! {
    /// A position scheme by its name in a config file (`position = "learned"`), with its settings if it has any.
    #[derive(Clone, Debug, Default, PartialEq)]
    config PositionKind: PositionSpec, spec, POSITIONS;
    /// A built position scheme.
    #[allow(clippy::large_enum_variant, reason = "a model holds one, never a list of them")]
    built Position: Scheme, scheme, scheme_mut;
    "none" = None as NoPositions => NoPositions, "no positions: bidirectional attention then treats the sequence as a set";
    #[default] "learned" = Learned as LearnedPositions => LearnedTable, "one trainable row per position, added to the embedded tokens";
    "sinusoidal" = Sinusoidal as Sinusoidal => SinusoidalTable, "fixed sines and cosines of geometrically spaced wavelengths, added to the embedded tokens";
    "rope" = Rope(RopeConfig) => Rope, "turns pairs of channels of queries and keys, so that scores depend on distances; any length";
    "alibi" = Alibi as Alibi => AlibiBias, "lowers the scores of keys in proportion to their distance, in each head by a slope of its own; any length";
    "kerple_log" = KerpleLog as KerpleLog => KerpleBias, "lowers the scores of keys by r1 log(1 + r2 distance), with r1 and r2 learned by each head; any length";
    "kerple_power" = KerplePower as KerplePower => KerpleBias, "lowers the scores of keys by r1 distance^r2, with r1 and r2 learned by each head; any length";
    "t5" = T5(T5Config) => T5Bias, "adds a number to scores that each head learns for each bucket of distances; any length";
    "mep" = Mep(MepConfig) => MepBias, "adds the logarithm of a mean of kernels of the distance to scores, with or without parameters; any length";
}

impl PositionKind {
    /// [`PositionSpec::examples`] of every entry.
    pub fn examples() -> Vec<Self> {
        Self::defaults().iter().flat_map(|kind| kind.spec().examples()).collect()
    }

    /// Builds the scheme, with parameters drawn from `rng` on the host.
    pub fn init(&self, sizes: &PositionSizes, rng: &mut dyn Rng, device: &Device) -> Position {
        self.spec().build(sizes, &mut Initializer::new(rng, device))
    }

    /// Problems of settings and sizes, by key of the model's table.
    pub fn problems(&self, sizes: &PositionSizes) -> impl Iterator<Item = ConfigError> {
        let name = self.name();
        let place = move |ConfigError { key, problem }: ConfigError| {
            let key = if key.is_empty() { String::new() } else { format!(".{key}") };
            ConfigError::new("position", format!("{name}{key} {problem}"))
        };
        self.spec().validate(sizes).into_iter().map(place)
    }

    /// Whether the scheme acts in this way.
    pub fn has(&self, hand: Hand) -> bool {
        self.spec().hands().contains(&hand)
    }
}

impl Position {
    /// Whether the scheme acts within layers, by [`Hand::Rotation`] or [`Hand::Bias`]; one that a caller registered may.
    pub(crate) fn acts_within_layers(&self) -> bool {
        !matches!(self, Self::None(_) | Self::Learned(_) | Self::Sinusoidal(_))
    }

    /// Adds the first `seq_len` rows of the table, if there is a table.
    ///
    /// # Shapes
    /// hidden `[batch, seq_len, d_model]` -> the same
    ///
    /// # Panics
    /// If the sequence is longer than the table.
    pub fn forward(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.forward_from(0, hidden)
    }

    /// [`Self::forward`] for the positions from `first` on.
    pub(crate) fn forward_from(&self, first: usize, hidden: Tensor<3>) -> Tensor<3> {
        match self.rows(first, hidden.dims()[1], &hidden.device()) {
            Some(rows) => hidden + rows.unsqueeze(),
            None => hidden,
        }
    }

    /// `seq_len` rows of the table from row `first` on, if there is a table.
    ///
    /// # Shapes
    /// result `[seq_len, d_model]`
    pub(crate) fn rows(&self, first: usize, seq_len: usize, device: &Device) -> Option<Tensor<2>> {
        let table = self.table(device)?;
        // Of all rows there is nothing to take, nor a gradient to put back.
        let is_whole = first == 0 && table.dims()[0] == seq_len;
        Some(if is_whole { table } else { table.narrow(0, first, seq_len) })
    }
}

impl Scheme for Position {
    fn table(&self, device: &Device) -> Option<Tensor<2>> {
        self.scheme().table(device)
    }

    fn rotate(&self, q: Tensor<4>, k: Tensor<4>) -> [Tensor<4>; 2] {
        self.scheme().rotate(q, k)
    }

    fn bias(&self, n_heads: usize, lengths: [usize; 2], device: &Device) -> Option<Tensor<2>> {
        self.scheme().bias(n_heads, lengths, device)
    }
}
