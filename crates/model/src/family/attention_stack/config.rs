//! Sizes of a stack of attention layers.

use headway_keys::Described;
use serde::{Deserialize, Serialize};

use crate::{attention::kernel::KernelKind, config::IoDims};

/// Sizes of a stack of attention layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct AttentionStackConfig {
    /// Layers, first to last. Default: one sequence-wise layer of 32 rows and width 32 with one head.
    pub layers: Vec<StackLayer>,
    /// How the prediction is computed from the last layer's rows: `rows`, `affine` or `softmax`. Default `affine`.
    pub readout: StackReadout,
    /// Attention kernel, see `headway list kernels`. Default `softmax`.
    pub kernel: KernelKind,
    /// Whether a row sees only itself, the rows above it, and rows that belong to no row before the map, as if these
    /// stood first. For token-wise maps and the readout `rows`. Default false.
    #[serde(skip_serializing_if = "is_off")]
    pub causal: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_off(flag: &bool) -> bool {
    !*flag
}

impl Default for AttentionStackConfig {
    fn default() -> Self {
        Self {
            layers: vec![StackLayer::default()],
            readout: StackReadout::default(),
            kernel: KernelKind::default(),
            causal: false,
        }
    }
}

/// Sizes of one layer: an affine map to `rows` rows of `width` numbers, then attention among them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct StackLayer {
    /// Kind of map: `token_wise` or `sequence_wise`. Default `sequence_wise`.
    pub map: StackMap,
    /// Number of rows after the map. Default 32.
    pub rows: usize,
    /// Numbers per row. Default 32.
    pub width: usize,
    /// Number of queries, the first rows, which become the layer's output. Default: all rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queries: Option<usize>,
    /// Number of keys, the last rows. With all rows as keys this is self-attention; with keys that are not queries it
    /// is cross-attention. Default: all rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<usize>,
    /// Groups of heads of the same size. Default: one head of size 32.
    pub heads: Vec<Heads>,
    /// Width of the layer's output. Default 32.
    pub d_out: usize,
}

impl Default for StackLayer {
    fn default() -> Self {
        Self {
            map: StackMap::default(),
            rows: 32,
            width: 32,
            queries: None,
            keys: None,
            heads: vec![Heads { count: 1, d_key: 32, d_value: 32 }],
            d_out: 32,
        }
    }
}

impl StackLayer {
    /// Number of queries.
    pub fn n_queries(&self) -> usize {
        self.queries.unwrap_or(self.rows)
    }

    /// Number of keys.
    pub fn n_keys(&self) -> usize {
        self.keys.unwrap_or(self.rows)
    }

    /// Number of heads, over all groups.
    pub fn n_heads(&self) -> usize {
        self.heads.iter().map(|heads| heads.count).sum()
    }
}

/// The affine map before attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum StackMap {
    /// z_i = x_i W + p_i for each row; if there are more output rows than input rows, the others are p_i alone.
    TokenWise,
    /// vec(Z) = vec(X) W + b: every output row depends on all input rows.
    #[default]
    SequenceWise,
}

/// Heads of the same size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields)]
pub struct Heads {
    /// Number of heads. Default 1.
    #[serde(default = "one")]
    pub count: usize,
    /// Width of queries and keys.
    pub d_key: usize,
    /// Width of values.
    pub d_value: usize,
}

fn one() -> usize {
    1
}

/// How the prediction is computed from the last layer's rows H.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum StackReadout {
    /// The first `seq_len` rows are the prediction.
    Rows,
    /// vec(Y) = vec(H) W + b.
    #[default]
    Affine,
    /// A softmax over each row first: U = softmax(H K + c) V, then vec(Y) = vec(U) W + b.
    Softmax {
        /// Number of channels of the softmax.
        width: usize,
        /// Number of values per row after it.
        d_value: usize,
    },
}

impl AttentionStackConfig {
    /// Shape `(rows, width)` of each layer's input, followed by that of the stack's output.
    pub(super) fn inputs(&self, dims: &IoDims, d_in: usize) -> Vec<(usize, usize)> {
        let outputs = self.layers.iter().map(|layer| (layer.n_queries(), layer.d_out));
        std::iter::once((dims.seq_len, d_in)).chain(outputs).collect()
    }
}
