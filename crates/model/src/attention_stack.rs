//! Attention layers one after the other, each with its own affine input map: the form in which the theorems are stated.
//!
//! No mask, no skip, no norm, and no width that layers share. Every size is free, so that a construction takes exactly
//! what it needs, and the result can be trained on like any network.

use burn::{
    module::{Module, Param},
    tensor::{Tensor, activation},
};
use serde::{Deserialize, Serialize};

use crate::{
    adapter::{AttentionPlace, Prefix, Target},
    attention::{attend, kernel::KernelKind, merge_heads, precision::Precision, split_heads, with_prefix},
    config::{ConfigError, IoDims, LARGEST_WIDTH, MOST_LAYERS},
    init::Initializer,
    linear::{Linear, Projection},
    mask::Mask,
    trace::{Recorder, Trace},
};

/// Sizes of a stack of attention layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttentionStackConfig {
    /// Layers, first to last. Default: one sequence-wise layer of 32 rows and width 32 with one head.
    pub layers: Vec<StackLayer>,
    /// What becomes of the last layer's rows: `rows`, `affine` or `softmax`. Default `affine`.
    pub readout: StackReadout,
    /// Attention kernel, see `headway list kernels`. Default `softmax`.
    pub kernel: KernelKind,
}

impl Default for AttentionStackConfig {
    fn default() -> Self {
        Self { layers: vec![StackLayer::default()], readout: StackReadout::default(), kernel: KernelKind::default() }
    }
}

/// Sizes of one layer: an affine map to `rows` rows of `width` numbers, then attention among them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StackLayer {
    /// How the map reaches its rows: `token_wise` or `sequence_wise`. Default `sequence_wise`.
    pub map: StackMap,
    /// Rows after the map. Default 32.
    pub rows: usize,
    /// Numbers per row. Default 32.
    pub width: usize,
    /// The first so many rows ask, and become the layer's output. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queries: Option<usize>,
    /// The last so many rows answer: with all of them this is self-attention, with the others only, cross-attention.
    /// Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<usize>,
    /// Heads, grouped by size. Default: one of size 32.
    pub heads: Vec<Heads>,
    /// Numbers per row that leave the layer. Default 32.
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
    /// Rows that ask.
    pub fn n_queries(&self) -> usize {
        self.queries.unwrap_or(self.rows)
    }

    /// Rows that answer.
    pub fn n_keys(&self) -> usize {
        self.keys.unwrap_or(self.rows)
    }

    /// Heads of all groups.
    pub fn n_heads(&self) -> usize {
        self.heads.iter().map(|heads| heads.count).sum()
    }
}

/// The affine map before attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StackMap {
    /// z_i = x_i W + p_i on each row; rows beyond those that come in are p_i alone.
    TokenWise,
    /// vec(Z) = vec(X) W + b: every row of all rows.
    #[default]
    SequenceWise,
}

/// Heads of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heads {
    /// How many. Default 1.
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

/// What becomes of the last layer's rows H.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StackReadout {
    /// The first `seq_len` rows are the prediction.
    Rows,
    /// vec(Y) = vec(H) W + b.
    #[default]
    Affine,
    /// A softmax first: U = softmax(H K + c) V by rows, then vec(Y) = vec(U) W + b.
    Softmax {
        /// Channels of the softmax.
        width: usize,
        /// Numbers per row after it.
        d_value: usize,
    },
}

impl AttentionStackConfig {
    /// Rows and width of what enters each layer, and last of what leaves the stack.
    fn inputs(&self, dims: &IoDims, d_in: usize) -> Vec<(usize, usize)> {
        let outputs = self.layers.iter().map(|layer| (layer.n_queries(), layer.d_out));
        std::iter::once((dims.seq_len, d_in)).chain(outputs).collect()
    }

    /// The narrower side of a projection, in the layer where it is widest.
    pub(crate) fn projection_rank(&self, target: Target) -> usize {
        let groups = self.layers.iter().flat_map(|layer| layer.heads.iter().map(move |heads| (layer, heads)));
        let ranks = groups.map(|(layer, heads)| {
            let (keys, values) = (heads.count.saturating_mul(heads.d_key), heads.count.saturating_mul(heads.d_value));
            match target {
                Target::Query | Target::Key => layer.width.min(keys),
                Target::Value => layer.width.min(values),
                Target::Output => values.min(layer.d_out),
            }
        });
        ranks.max().unwrap_or(0)
    }

    /// Whether a row of the prediction depends on positions after its own. It does not where all maps are token-wise and only
    /// rows that belong to no position answer, as in cross-attention to learned rows.
    pub(crate) fn sees_ahead(&self, seq_len: usize) -> bool {
        // Rows that still belong to the position of the same number, first to last.
        let mut own = seq_len;
        for layer in &self.layers {
            let first_key = layer.rows.saturating_sub(layer.n_keys());
            // Every query sees the last of them.
            let mixes = own > 1 && first_key < own;
            if mixes || layer.map == StackMap::SequenceWise {
                return true;
            }
            own = own.min(layer.n_queries());
        }
        self.readout != StackReadout::Rows
    }

    pub(crate) fn validate(&self, dims: &IoDims, problems: &mut Vec<ConfigError>) {
        let mut refuse = |key, problem: String| problems.push(ConfigError { key, problem });
        if !(1..=MOST_LAYERS).contains(&self.layers.len()) {
            refuse("layers", format!("must be from 1 to {MOST_LAYERS} layers"));
        }
        let mut coming = dims.seq_len;
        for (at, layer) in self.layers.iter().enumerate() {
            let mut refuse = |problem: String| refuse("layers", format!("layer {at}: {problem}"));
            let heads = layer.heads.iter().flat_map(|heads| {
                [("heads.count", heads.count), ("heads.d_key", heads.d_key), ("heads.d_value", heads.d_value)]
            });
            let sizes = [("rows", layer.rows), ("width", layer.width), ("d_out", layer.d_out)];
            for (name, size) in sizes.into_iter().chain(heads) {
                if !(1..=LARGEST_WIDTH).contains(&size) {
                    refuse(format!("{name} must be from 1 to {LARGEST_WIDTH}"));
                }
            }
            if layer.heads.is_empty() {
                refuse("heads must name one group at least".to_owned());
            }
            for (name, part) in [("queries", layer.n_queries()), ("keys", layer.n_keys())] {
                if !(1..=layer.rows.max(1)).contains(&part) {
                    refuse(format!("{name} must be from 1 to the {} rows", layer.rows));
                }
            }
            if layer.map == StackMap::TokenWise && layer.rows < coming {
                refuse(format!("a token-wise map keeps the {coming} rows that come in; rows is {}", layer.rows));
            }
            coming = layer.n_queries();
        }
        let Some(last) = self.layers.last() else { return };
        match self.readout {
            StackReadout::Rows => {
                if coming < dims.seq_len {
                    let problem = format!("the last layer gives {coming} rows, the task wants {}", dims.seq_len);
                    refuse("readout", problem);
                }
                if last.d_out != dims.d_out {
                    let problem =
                        format!("the last layer's d_out is {}, the task wants {} numbers", last.d_out, dims.d_out);
                    refuse("readout", problem);
                }
            }
            StackReadout::Affine => {}
            StackReadout::Softmax { width, d_value } => {
                for (name, size) in [("width", width), ("d_value", d_value)] {
                    if !(1..=LARGEST_WIDTH).contains(&size) {
                        refuse("readout.softmax", format!("{name} must be from 1 to {LARGEST_WIDTH}"));
                    }
                }
            }
        }
    }

    pub(crate) fn init(&self, dims: &IoDims, d_in: usize, init: &mut Initializer<'_>) -> AttentionStack {
        let inputs = self.inputs(dims, d_in);
        let layers = self.layers.iter().zip(&inputs);
        let layers = layers.map(|(layer, input)| AttentionLayer::new(layer, *input, self.kernel, init)).collect();
        let (rows, width) = inputs.last().copied().unwrap_or((dims.seq_len, d_in));
        let flat = dims.seq_len * dims.d_out;
        let readout = match self.readout {
            StackReadout::Rows => None,
            StackReadout::Affine => Some(StackHead { softmax: None, project: init.linear(rows * width, flat) }),
            StackReadout::Softmax { width: channels, d_value } => Some(StackHead {
                softmax: Some(SoftmaxChannels {
                    scores: init.linear(width, channels),
                    values: init.projection(channels, d_value),
                }),
                project: init.linear(rows * d_value, flat),
            }),
        };
        AttentionStack { layers, readout, seq_len: dims.seq_len }
    }
}

/// Attention layers one after the other, then the readout:
///
/// H_0 = X, Z_l = map_l(H_{l−1}), H_l = Σ_h softmax(Z_l^q W_Q^h (Z_l^k W_K^h)ᵀ / sqrt(`d_key`)) Z_l^k W_V^h W_O^h,
///
/// with Z^q the first `queries` rows of Z and Z^k its last `keys` rows.
///
/// # References
/// Hu et al. 2025, arXiv 2504.15956: attention after a linear map A, and nothing else.
#[derive(Module, Debug)]
pub struct AttentionStack {
    /// The layers, first to last.
    pub layers: Vec<AttentionLayer>,
    /// The map from the last rows to the prediction; absent where the rows are the prediction.
    pub readout: Option<StackHead>,
    #[module(skip)]
    seq_len: usize,
}

/// One layer: affine map, then attention of its first rows to its last.
#[derive(Module, Debug)]
pub struct AttentionLayer {
    /// The map.
    pub map: LayerMap,
    /// Heads by size.
    pub heads: Vec<HeadGroup>,
    #[module(skip)]
    queries: usize,
    #[module(skip)]
    keys: usize,
}

/// The affine map before attention.
#[derive(Module, Debug)]
pub enum LayerMap {
    /// On each row.
    TokenWise(TokenWiseMap),
    /// On all rows together.
    SequenceWise(SequenceWiseMap),
}

/// z_i = x_i W + p_i.
#[derive(Module, Debug)]
pub struct TokenWiseMap {
    /// W. `d_in` -> `width`
    pub project: Projection,
    /// p, initially N(0, 1) as PyTorch's embeddings. `[rows, width]`
    pub position: Param<Tensor<2>>,
}

/// vec(Z) = vec(X) W + b.
#[derive(Module, Debug)]
pub struct SequenceWiseMap {
    /// `rows_in · d_in` -> `rows · width`
    pub project: Linear,
    #[module(skip)]
    rows: usize,
}

/// Heads of one size, their outputs summed: Σ_h pattern_h Z W_V^h W_O^h. Heads are contiguous slices of the features.
#[derive(Module, Debug)]
pub struct HeadGroup {
    /// `width` -> `count · d_key`
    pub query: Projection,
    /// `width` -> `count · d_key`
    pub key: Projection,
    /// `width` -> `count · d_value`
    pub value: Projection,
    /// `count · d_value` -> `d_out`
    pub output: Projection,
    /// Learned keys and values in front of the rows'.
    pub prefix: Option<Prefix>,
    #[module(skip)]
    count: usize,
    #[module(skip)]
    kernel: KernelKind,
    #[module(skip)]
    pub(crate) precision: Precision,
}

/// From the last rows to the prediction.
#[derive(Module, Debug)]
pub struct StackHead {
    /// A softmax over channels before the affine map.
    pub softmax: Option<SoftmaxChannels>,
    /// `rows · width` -> `seq_len · d_out`
    pub project: Linear,
}

/// U = softmax(H K + c) V, row by row.
#[derive(Module, Debug)]
pub struct SoftmaxChannels {
    /// K and c.
    pub scores: Linear,
    /// V.
    pub values: Projection,
}

impl AttentionLayer {
    fn new(
        config: &StackLayer,
        (rows_in, d_in): (usize, usize),
        kernel: KernelKind,
        init: &mut Initializer<'_>,
    ) -> Self {
        let StackLayer { rows, width, d_out, .. } = *config;
        let map = match config.map {
            StackMap::TokenWise => LayerMap::TokenWise(TokenWiseMap {
                project: init.projection(d_in, width),
                position: init.normal([rows, width]),
            }),
            StackMap::SequenceWise => {
                let project = init.linear(rows_in * d_in, rows * width);
                LayerMap::SequenceWise(SequenceWiseMap { project, rows })
            }
        };
        let heads = config.heads.iter().map(|heads| HeadGroup {
            query: init.projection(width, heads.count * heads.d_key),
            key: init.projection(width, heads.count * heads.d_key),
            value: init.projection(width, heads.count * heads.d_value),
            output: init.projection(heads.count * heads.d_value, d_out),
            prefix: None,
            count: heads.count,
            kernel,
            precision: Precision::F32,
        });
        Self { map, heads: heads.collect(), queries: config.n_queries(), keys: config.n_keys() }
    }

    fn run(&self, x: Tensor<3>, first: bool, recorder: &mut Recorder) -> Tensor<3> {
        let z = self.map.forward(x); // [batch, rows, width]
        if first {
            recorder.embedded(&z);
        }
        let rows = z.dims()[1];
        let asking = z.clone().narrow(1, 0, self.queries); // [batch, queries, width]
        let answering = z.narrow(1, rows - self.keys, self.keys); // [batch, keys, width]
        let mut heads = self.heads.iter().map(|heads| heads.run(asking.clone(), answering.clone(), recorder));
        let first = heads.next().unwrap_or_else(|| unreachable!("a layer has heads: validate asks for them"));
        let h = heads.fold(first, |sum, head| sum + head); // [batch, queries, d_out]
        recorder.layer(&h);
        h
    }
}

impl LayerMap {
    /// # Shapes
    /// `[batch, rows_in, d_in]` -> `[batch, rows, width]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::TokenWise(map) => map.forward(x),
            Self::SequenceWise(map) => map.forward(x),
        }
    }
}

impl TokenWiseMap {
    /// # Shapes
    /// `[batch, rows_in, d_in]` -> `[batch, rows, width]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let z = self.project.forward(x); // [batch, rows_in, width]
        let [batch, rows_in, width] = z.dims();
        let position = self.position.val();
        let rows = position.dims()[0];
        let tokens = z + position.clone().narrow(0, 0, rows_in).unsqueeze();
        if rows == rows_in {
            return tokens;
        }
        let others = position.narrow(0, rows_in, rows - rows_in).unsqueeze::<3>();
        Tensor::cat(vec![tokens, others.expand([batch, rows - rows_in, width])], 1)
    }
}

impl SequenceWiseMap {
    /// # Shapes
    /// `[batch, rows_in, d_in]` -> `[batch, rows, width]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, rows_in, d_in] = x.dims();
        let z = self.project.forward(x.reshape([batch, 1, rows_in * d_in])); // [batch, 1, rows * width]
        let width = z.dims()[2] / self.rows;
        z.reshape([batch, self.rows, width])
    }
}

impl HeadGroup {
    fn run(&self, asking: Tensor<3>, answering: Tensor<3>, recorder: &mut Recorder) -> Tensor<3> {
        let q = split_heads(self.query.forward(asking), self.count); // [batch, count, queries, d_key]
        let k = split_heads(self.key.forward(answering.clone()), self.count); // [batch, count, keys, d_key]
        let v = split_heads(self.value.forward(answering), self.count); // [batch, count, keys, d_value]
        let [k, v] = with_prefix(self.prefix.as_ref(), k, v);
        let mixed = attend([q, k, v], &Mask::Full, self.kernel, self.precision, recorder);
        self.output.forward(merge_heads(mixed)) // [batch, queries, d_out]
    }

    pub(crate) fn place(&mut self) -> AttentionPlace<'_> {
        let projections = [
            (Target::Query, self.query.place()),
            (Target::Key, self.key.place()),
            (Target::Value, self.value.place()),
            (Target::Output, self.output.place()),
        ];
        AttentionPlace { projections, prefix: &mut self.prefix }
    }
}

impl StackHead {
    /// # Shapes
    /// `[batch, rows, width]` -> `[batch, seq_len, d_out]`
    pub fn forward(&self, h: Tensor<3>, seq_len: usize) -> Tensor<3> {
        let h = match &self.softmax {
            Some(SoftmaxChannels { scores, values }) => values.forward(activation::softmax(scores.forward(h), 2)),
            None => h,
        };
        let [batch, rows, width] = h.dims();
        let y = self.project.forward(h.reshape([batch, 1, rows * width])); // [batch, 1, seq_len * d_out]
        let d_out = y.dims()[2] / seq_len;
        y.reshape([batch, seq_len, d_out])
    }
}

impl AttentionStack {
    pub(crate) fn run(&self, x: Tensor<3>, recorder: &mut Recorder) -> Tensor<3> {
        let layers = self.layers.iter().enumerate();
        let h = layers.fold(x, |h, (at, layer)| layer.run(h, at == 0, recorder)); // [batch, queries, d_out]
        self.read_out(h)
    }

    /// From the rows behind the last layer to the prediction.
    ///
    /// # Shapes
    /// `[batch, queries, d_out of the layer]` -> `[batch, seq_len, d_out]`
    pub(crate) fn read_out(&self, h: Tensor<3>) -> Tensor<3> {
        match &self.readout {
            None => h.narrow(1, 0, self.seq_len), // [batch, seq_len, d_out]
            Some(readout) => readout.forward(h, self.seq_len),
        }
    }

    /// # Shapes
    /// `[batch, seq_len, d_in]` -> `[batch, seq_len, d_out]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.run(x, &mut Recorder::default())
    }

    /// The same output together with hidden states and patterns.
    pub fn forward_traced(&self, x: Tensor<3>) -> Trace {
        let mut recorder = Recorder::on();
        let output = self.run(x, &mut recorder);
        recorder.finish(output)
    }
}
