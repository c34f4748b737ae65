//! The network of a stack of attention layers.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor, TensorData, activation},
};

use headway_kernels::Precision;
use headway_plain::network::Sight;

use super::{AttentionStackConfig, StackLayer, StackMap, StackReadout};
use crate::{
    attention::trace::Recorder,
    attention::{
        attend,
        kernel::AttentionKernel,
        merge_heads,
        place::{AttentionPlace, Target},
        prefix::Prefix,
        split_heads,
        view::View,
        with_prefix,
    },
    config::IoDims,
    embed::Input,
    family::Network,
    init::Initializer,
    linear::{Linear, Projection},
    mask::Mask,
};

/// Attention layers one after the other, then the readout:
///
/// H_0 = X, Z_l = map_l(H_{l−1}), H_l = Σ_h softmax(Z_l^q W_Q^h (Z_l^k W_K^h)ᵀ / sqrt(`d_key`)) Z_l^k W_V^h W_O^h,
///
/// with Z^q the first `queries` rows of Z and Z^k its last `keys` rows. Under a causal mask a row sees itself, the rows
/// above it, and those that belong to no row of H.
///
/// # References
/// Hu et al. 2025, arXiv 2504.15956: attention after a linear map A, and nothing else.
#[derive(Module, Debug)]
pub struct AttentionStack {
    /// The layers, first to last.
    pub layers: Vec<AttentionLayer>,
    /// The map from the last rows to the prediction; `None` if the rows are the prediction.
    pub readout: Option<StackHead>,
    #[module(skip)]
    seq_len: usize,
}

/// One layer: an affine map, then attention from its first rows to its last rows.
#[derive(Module, Debug)]
pub struct AttentionLayer {
    /// The map.
    pub map: LayerMap,
    /// Groups of heads of the same size.
    pub heads: Vec<HeadGroup>,
    #[module(skip)]
    queries: usize,
    #[module(skip)]
    keys: usize,
    #[module(skip)]
    causal: bool,
}

/// The affine map before attention.
#[derive(Module, Debug)]
pub enum LayerMap {
    /// Applied to each row.
    TokenWise(TokenWiseMap),
    /// Applied to all rows together.
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

/// Heads of the same size, whose outputs are summed: Σ_h pattern_h Z W_V^h W_O^h. Heads are contiguous slices of the
/// features.
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
    /// Learned keys and values before those of the rows, if any.
    pub prefix: Option<Prefix>,
    /// The attention kernel.
    pub kernel: AttentionKernel,
    #[module(skip)]
    count: usize,
    #[module(skip)]
    precision: Precision,
}

/// From the last rows to the prediction.
#[derive(Module, Debug)]
pub struct StackHead {
    /// A softmax over channels before the affine map, if there is one.
    pub softmax: Option<SoftmaxChannels>,
    /// `rows · width` -> `seq_len · d_out`
    pub project: Linear,
}

/// U = softmax(H K + c) V, with the softmax over each row.
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
        whole: &AttentionStackConfig,
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
            kernel: whole.kernel.spec().build(heads.d_key, init),
            count: heads.count,
            precision: init.attention,
        });
        Self { map, heads: heads.collect(), queries: config.n_queries(), keys: config.n_keys(), causal: whole.causal }
    }

    fn run(&self, x: Tensor<3>, first: bool, recorder: &mut Recorder<'_>) -> Tensor<3> {
        let (rows_in, device) = (x.dims()[1], x.device());
        let z = self.map.forward(x); // [batch, rows, width]
        if first {
            recorder.embedded(&z);
        }
        let rows = z.dims()[1];
        let queries = z.clone().narrow(1, 0, self.queries); // [batch, queries, width]
        let keys = z.narrow(1, rows - self.keys, self.keys); // [batch, keys, width]
        let mut heads = self.heads.iter().map(|heads| {
            let mask = self.mask(rows_in, rows, heads.learned(), &device);
            heads.run(queries.clone(), keys.clone(), mask, recorder)
        });
        let first = heads.next().unwrap_or_else(|| unreachable!("a layer has heads: validate asks for them"));
        let h = heads.fold(first, |sum, head| sum + head); // [batch, queries, d_out]
        recorder.layer(&h);
        h
    }

    /// Under a causal mask row i sees row j if j ≤ i, or if j belongs to none of the rows that came in; and the `learned` keys
    /// before those of rows.
    fn mask(&self, rows_in: usize, rows: usize, learned: usize, device: &Device) -> Mask {
        if !self.causal {
            return Mask::Full;
        }
        let sight = Sight::Causal { own: rows_in, first_key: rows - self.keys };
        let is_hidden = |query: usize, key: usize| key.checked_sub(learned).is_some_and(|key| !sight.sees(query, key));
        let n_keys = learned + self.keys;
        let pairs = (0..self.queries).flat_map(|query| (0..n_keys).map(move |key| is_hidden(query, key)));
        let hidden: Vec<bool> = pairs.collect();
        Mask::Hidden(Tensor::from_data(TensorData::new(hidden, [self.queries, n_keys]), device))
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
    fn run(&self, queries: Tensor<3>, keys: Tensor<3>, mask: Mask, recorder: &mut Recorder<'_>) -> Tensor<3> {
        let q = split_heads(self.query.forward(queries), self.count); // [batch, count, queries, d_key]
        let k = split_heads(self.key.forward(keys.clone()), self.count); // [batch, count, keys, d_key]
        let v = split_heads(self.value.forward(keys), self.count); // [batch, count, keys, d_value]
        let [k, v] = with_prefix(self.prefix.as_ref(), k, v);
        let view = View { precision: self.precision, ..mask.into() };
        let mixed = attend([q, k, v], &view, &self.kernel, recorder);
        self.output.forward(merge_heads(mixed)) // [batch, queries, d_out]
    }

    /// Number of learned keys.
    fn learned(&self) -> usize {
        self.prefix.as_ref().map_or(0, |prefix| prefix.keys.val().dims()[0])
    }

    pub(crate) fn place(&mut self) -> AttentionPlace<'_> {
        let projections = [
            (Target::Query, self.query.place()),
            (Target::Key, self.key.place()),
            (Target::Value, self.value.place()),
            (Target::Output, self.output.place()),
        ];
        AttentionPlace { projections, prefix: &mut self.prefix, kernel: &mut self.kernel }
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
    pub(super) fn new(config: &AttentionStackConfig, dims: &IoDims, init: &mut Initializer<'_>) -> Self {
        let inputs = config.inputs(dims, dims.vector_width());
        let layers = config.layers.iter().zip(&inputs);
        let layers = layers.map(|(layer, input)| AttentionLayer::new(layer, *input, config, init)).collect();
        let (rows, width) = inputs.last().copied().unwrap_or((dims.seq_len, dims.vector_width()));
        let flat = dims.seq_len * dims.d_out;
        let readout = match config.readout {
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
        Self { layers, readout, seq_len: dims.seq_len }
    }
}

impl Network for AttentionStack {
    fn run(&self, input: Input, recorder: &mut Recorder<'_>) -> Tensor<3> {
        let x = input.vectors();
        let layers = self.layers.iter().enumerate();
        let h = layers.fold(x, |h, (at, layer)| layer.run(h, at == 0, recorder)); // [batch, queries, d_out]
        self.read_out(h)
    }

    /// `[batch, queries, d_out of the layer]` -> `[batch, seq_len, d_out]`
    fn read_out(&self, h: Tensor<3>) -> Tensor<3> {
        match &self.readout {
            None => h.narrow(1, 0, self.seq_len), // [batch, seq_len, d_out]
            Some(readout) => readout.forward(h, self.seq_len),
        }
    }

    fn reads_row_by_row(&self) -> bool {
        self.readout.is_none()
    }

    /// The map before the first layer belongs to that layer.
    fn enters_plain(&self, input: Input) -> Tensor<3> {
        input.vectors()
    }

    fn attentions(&mut self) -> Vec<AttentionPlace<'_>> {
        self.layers.iter_mut().flat_map(|layer| &mut layer.heads).map(HeadGroup::place).collect()
    }
}
