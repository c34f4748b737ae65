//! Attention layers one after the other, each with its own affine input map: the form in which the theorems are stated.
//!
//! It has no skip connection, no norm, and no width shared by layers. Every size is free, so that a
//! construction uses exactly the sizes it needs, and the result can be trained like any network.

mod config;
mod network;
mod plain;

pub use config::{AttentionStackConfig, Heads, StackLayer, StackMap, StackReadout};
pub use network::AttentionStack;

use crate::{
    attention::{
        kernel::{Demand, KernelKind, KernelSizes, Naive},
        place::Target,
    },
    budget::{Count, size},
    config::{ConfigError, InputDims, IoDims, LARGEST_WIDTH, MOST_LAYERS},
    family::{Capability, Family, LayerRows, LayerShape, Model, ModelConfig, Shape},
    init::Initializer,
    parameters::{
        Key::{self, Inputs, Length, Model as Own, Outputs},
        Rule,
    },
    plain::{NoPlainForm, Parameters},
};

const LAYERS: Key = Own("layers");

const RULES: &[Rule] = &[
    ("readout.softmax.*", &[Own("readout"), LAYERS], &[Own("readout")]),
    ("readout.*", &[Own("readout"), LAYERS, Length, Outputs], &[Own("readout")]),
    ("layers.0.map.project.*", &[LAYERS, Length, Inputs], &[LAYERS]),
    ("layers.*", &[LAYERS], &[LAYERS]),
];

impl Family for AttentionStackConfig {
    fn validate(&self, dims: &IoDims, problems: &mut Vec<ConfigError>) {
        problems.extend(self.kernel.problems());
        let mut refuse = |key, problem: String| problems.push(ConfigError { key, problem });
        if self.causal
            && let Err(reason) = self.kernel.spec().supports(Demand::AnyMask)
        {
            refuse("kernel", format!("{} {reason}; with causal = true give another one", self.kernel.name()));
        }
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
            if self.causal && layer.map == StackMap::SequenceWise {
                refuse(
                    "a sequence-wise map lets every row see all others; with causal = true give map = \"token_wise\""
                        .to_owned(),
                );
            }
            if self.causal && layer.n_keys() < layer.rows && layer.rows <= coming {
                refuse(format!(
                    "with causal = true row 1 sees none of the last {} of {coming} rows; give all rows as keys, or rows beyond those that come in",
                    layer.n_keys()
                ));
            }
            if layer.map == StackMap::TokenWise && layer.rows < coming {
                refuse(format!("a token-wise map keeps the {coming} rows that come in; rows is {}", layer.rows));
            }
            coming = layer.n_queries();
        }
        if self.causal && self.readout != StackReadout::Rows {
            refuse(
                "readout",
                "lets every position see all rows; with causal = true give readout = \"rows\"".to_owned(),
            );
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

    fn build(&self, dims: &IoDims, init: &mut Initializer<'_>) -> Model {
        Model::AttentionStack(AttentionStack::new(self, dims, init))
    }

    fn budget(&self, dims: &IoDims, count: &mut Count) {
        let InputDims::Continuous { d_in } = dims.input else { return };
        let (mut rows_in, mut d_in) = (size(dims.seq_len), size(d_in));
        let flat = size(dims.seq_len) * size(dims.d_out);
        for layer in &self.layers {
            let [rows, width, queries, keys] = [layer.rows, layer.width, layer.n_queries(), layer.n_keys()].map(size);
            match layer.map {
                StackMap::TokenWise => {
                    count.projection(rows_in, d_in, width);
                    count.parameters += rows * width;
                }
                StackMap::SequenceWise => count.linear(1.0, rows_in * d_in, rows * width),
            }
            count.keep(rows_in * d_in + rows * width);
            for heads in &layer.heads {
                let [n_heads, d_key, d_value] = [heads.count, heads.d_key, heads.d_value].map(size);
                count.projection(queries, width, n_heads * d_key);
                count.projection(keys, width, n_heads * d_key);
                count.projection(keys, width, n_heads * d_value);
                count.projection(queries, n_heads * d_value, size(layer.d_out));
                count.keep(n_heads * (queries * (d_key + d_value) + keys * (d_key + d_value)));
                let sizes = KernelSizes { n_heads, q_len: queries, k_len: keys, d_key, d_value, causal: false };
                self.kernel.count(&sizes, count);
            }
            (rows_in, d_in) = (queries, size(layer.d_out));
        }
        match self.readout {
            StackReadout::Rows => {}
            StackReadout::Affine => {
                count.linear(1.0, rows_in * d_in, flat);
                count.keep(rows_in * d_in);
            }
            StackReadout::Softmax { width, d_value } => {
                let [width, d_value] = [width, d_value].map(size);
                count.linear(rows_in, d_in, width);
                count.keep(rows_in * d_in);
                count.keep(Naive::kept_by_rows(rows_in, width));
                count.projection(rows_in, width, d_value);
                count.linear(1.0, rows_in * d_value, flat);
                count.keep(rows_in * d_value);
            }
        }
    }

    fn capabilities(&self) -> &'static [Capability] {
        &[Capability::CrossAttention, Capability::Prefix, Capability::AttentionPrecision]
    }

    fn shape(&self, dims: &IoDims) -> Shape {
        let layer = |layer: &StackLayer| LayerShape {
            n_heads: layer.n_heads(),
            q_len: layer.n_queries(),
            k_len: layer.n_keys(),
            state: [layer.n_queries(), layer.d_out],
        };
        Shape {
            embedded: self.layers.first().map_or([0; 2], |first| [first.rows, first.width]),
            layers: self.layers.iter().map(layer).collect(),
            width: dims.d_out,
        }
    }

    fn plain(&self, parameters: &Parameters) -> Result<headway_plain::network::Network, NoPlainForm> {
        self.plain_network(parameters)
    }

    fn plain_function(
        &self,
        parameters: &Parameters,
        dims: &IoDims,
    ) -> Result<headway_plain::function::Function, NoPlainForm> {
        self.whole(parameters, dims)
    }

    fn layer_rows(&self, dims: &IoDims) -> Vec<LayerRows> {
        let (mut coming, mut has_positions) = (dims.seq_len, true);
        let rows = self.layers.iter().map(|layer| {
            let is_row_wise = layer.map == StackMap::TokenWise;
            has_positions &= is_row_wise;
            let read = if is_row_wise { coming } else { layer.rows };
            coming = layer.n_queries();
            LayerRows { rows: layer.rows, first_key: layer.rows - layer.n_keys(), read, has_positions }
        });
        rows.collect()
    }

    fn n_heads(&self) -> Option<usize> {
        None
    }

    /// A row depends on later positions unless all maps are token-wise and all keys are rows that belong to no
    /// position, as in cross-attention to learned rows, or hidden by the mask.
    fn sees_ahead(&self, seq_len: usize) -> bool {
        if self.causal {
            return false;
        }
        // Number of first rows that still belong to the position with the same index.
        let mut own = seq_len;
        for layer in &self.layers {
            let first_key = layer.rows.saturating_sub(layer.n_keys());
            // Every query sees the last of these rows.
            let mixes = own > 1 && first_key < own;
            if mixes || layer.map == StackMap::SequenceWise {
                return true;
            }
            own = own.min(layer.n_queries());
        }
        self.readout != StackReadout::Rows
    }

    fn causal_key(&self) -> Option<&'static str> {
        Some("causal")
    }

    fn projection_rank(&self, target: Target) -> usize {
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

    fn kernel(&self) -> Option<&KernelKind> {
        Some(&self.kernel)
    }

    fn function(&self) -> ModelConfig {
        Self { kernel: self.kernel.spec().function(), ..self.clone() }.into()
    }

    fn rules(&self) -> Vec<Rule> {
        [self.kernel.spec().rules(), RULES].concat()
    }

    fn head(&self) -> Vec<String> {
        match self.readout {
            StackReadout::Rows => vec![format!("layers.{}.heads.*.output.*", self.layers.len().saturating_sub(1))],
            StackReadout::Affine | StackReadout::Softmax { .. } => vec!["readout.*".to_owned()],
        }
    }

    /// One for every kind of map, of readout, and of split into queries and keys.
    fn examples(&self, dims: &IoDims, scale: usize) -> Vec<ModelConfig> {
        let IoDims { seq_len, d_out, .. } = *dims;
        let token_wise = StackLayer {
            map: StackMap::TokenWise,
            rows: seq_len + 18 * scale,
            width: 19 * scale,
            queries: Some(seq_len + 2 * scale),
            keys: Some(16 * scale),
            heads: vec![
                Heads { count: 2, d_key: 3 * scale, d_value: 5 * scale },
                Heads { count: 1, d_key: 23 * scale, d_value: 2 * scale },
            ],
            d_out,
        };
        let sequence_wise = StackLayer {
            map: StackMap::SequenceWise,
            rows: 14 * scale,
            width: 6,
            queries: None,
            keys: None,
            heads: vec![Heads { count: 3, d_key: 2 * scale, d_value: scale }],
            d_out: 8,
        };
        let stack = |layers: &[&StackLayer], readout| {
            let layers = layers.iter().map(|layer| (*layer).clone()).collect();
            Self { layers, readout, ..Self::default() }.into()
        };
        let softmax = StackReadout::Softmax { width: 31 * scale, d_value: 4 };
        let last =
            StackLayer { rows: seq_len.max(14 * scale) + 18 * scale, queries: None, keys: None, ..token_wise.clone() };
        let first_half = StackLayer { queries: Some(seq_len.div_ceil(2)), ..token_wise.clone() };
        let between = StackLayer { queries: Some(seq_len), keys: None, d_out: 8, ..token_wise.clone() };
        // For the second layer, rows that belong to no position are learned ones.
        let fewer = StackLayer {
            rows: seq_len.max(2),
            keys: Some(seq_len.div_ceil(2).max(2) - 1),
            queries: None,
            ..token_wise.clone()
        };
        vec![
            stack(&[&token_wise], StackReadout::Rows),
            stack(&[&sequence_wise, &last], StackReadout::Rows),
            stack(&[&token_wise, &sequence_wise], StackReadout::Affine),
            stack(&[&sequence_wise], softmax),
            stack(&[&first_half, &fewer], StackReadout::Rows),
            Self { layers: vec![between, token_wise], readout: StackReadout::Rows, causal: true, ..Self::default() }
                .into(),
        ]
    }
}
