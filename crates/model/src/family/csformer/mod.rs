//! Forecasts of several series: attention over channels and over time with the same weights, after the abstract of
//! "CSformer" (Wang et al. 2023, arXiv 2312.06220).

mod config;
mod network;

pub use config::CsformerConfig;
pub use network::{Csformer, CsformerBlock, Stage};

use crate::{
    attention::{
        kernel::{Demand, KernelKind},
        place::Target,
        position::{Hand, PositionKind},
    },
    budget::{Count, size},
    config::{ConfigError, InputDims, IoDims, LARGEST_WIDTH, MOST_LAYERS, shared_width},
    family::{Capability, Family, LayerRows, LayerShape, Model, ModelConfig, Shape},
    init::Initializer,
    parameters::{
        Key::{self, Inputs, Length, Model as Own, Outputs},
        Rule,
    },
    plain::{NoPlainForm, Parameters},
};
use config::Rows;

const D_MODEL: Key = Own("d_model");
const PATCH: Key = Own("patch");

const RULES: &[Rule] = &[
    ("lift.weight", &[D_MODEL, PATCH], &[]),
    ("position.*", &[D_MODEL, Length, PATCH], &[Own("position")]),
    ("blocks.*.channel.norm.*", &[D_MODEL], &[Own("n_layers"), Own("mix_channels")]),
    ("blocks.*.channel.adapter.contract.bias", &[D_MODEL], &[Own("n_layers"), Own("mix_channels")]),
    ("blocks.*.channel.adapter.*", &[D_MODEL, Own("d_adapter")], &[Own("n_layers"), Own("mix_channels")]),
    ("blocks.*.adapter.contract.bias", &[D_MODEL], &[Own("n_layers")]),
    ("blocks.*.adapter.*", &[D_MODEL, Own("d_adapter")], &[Own("n_layers")]),
    ("blocks.*", &[D_MODEL], &[Own("n_layers")]),
    ("head.weight", &[D_MODEL, Length, PATCH, Outputs, Inputs], &[]),
    ("head.bias", &[Outputs, Inputs], &[]),
];

impl Family for CsformerConfig {
    fn validate(&self, dims: &IoDims, problems: &mut Vec<ConfigError>) {
        shared_width(self.d_model, self.n_heads, problems);
        if !(1..=MOST_LAYERS).contains(&self.n_layers) {
            problems.push(ConfigError::new("n_layers", format!("must be from 1 to {MOST_LAYERS}")));
        }
        if !(1..=LARGEST_WIDTH).contains(&self.d_adapter) {
            problems.push(ConfigError::new("d_adapter", format!("must be from 1 to {LARGEST_WIDTH}")));
        }
        if self.patch == 0 || !dims.seq_len.is_multiple_of(self.patch) {
            let problem = format!("{} does not divide the {} positions of a sequence", self.patch, dims.seq_len);
            problems.push(ConfigError::new("patch", problem));
        } else {
            problems.extend(self.position.problems(&self.position_sizes(dims.seq_len / self.patch)));
        }
        problems.extend(self.kernel.problems());
        if self.position.has(Hand::Bias)
            && let Err(reason) = self.kernel.spec().supports(Demand::Bias)
        {
            let (position, kernel) = (self.position.name(), self.kernel.name());
            let problem =
                format!("{position} adds a bias to the scores of attention, and {kernel} {reason}; use softmax");
            problems.push(ConfigError::new("kernel", problem));
        }
        if let InputDims::Continuous { d_in } = dims.input
            && !dims.d_out.is_multiple_of(d_in)
        {
            let problem = format!(
                "forecasts the channels that it is given, and {} outputs are no whole number of steps of {d_in} channels; use [model.transformer]",
                dims.d_out
            );
            problems.push(ConfigError::new("", problem));
        }
    }

    fn build(&self, dims: &IoDims, init: &mut Initializer<'_>) -> Model {
        Model::Csformer(Csformer::new(self, dims, init))
    }

    fn budget(&self, dims: &IoDims, count: &mut Count) {
        let rows @ Rows { times, channels, horizon } = self.rows(dims);
        let [n, d, patch] = [times * channels, self.d_model, self.patch].map(size);
        count.projection(n, patch, d);
        count.keep(n * patch);
        count.parameters += self.position.spec().parameters(&self.position_sizes(times));
        let mut block = Count::default();
        self.count_block(rows, &mut block);
        count.repeat(self.n_layers, &block);
        count.linear(size(channels), size(times) * d, size(horizon));
        count.keep(n * d);
    }

    fn capabilities(&self) -> &'static [Capability] {
        &[Capability::AttentionPrecision]
    }

    fn shape(&self, dims: &IoDims) -> Shape {
        let Rows { times, channels, .. } = self.rows(dims);
        let state = [times, channels * self.d_model];
        let layer =
            |rows: usize, lines: usize| LayerShape { n_heads: lines * self.n_heads, q_len: rows, k_len: rows, state };
        let (over_channels, over_time) = (layer(channels, times), layer(times, channels));
        let block = if self.mix_channels { vec![over_channels, over_time] } else { vec![over_time] };
        Shape { embedded: state, layers: block.repeat(self.n_layers), width: dims.d_out }
    }

    fn layer_rows(&self, dims: &IoDims) -> Vec<LayerRows> {
        let rows =
            |layer: LayerShape| LayerRows { rows: layer.q_len, first_key: 0, read: layer.q_len, has_positions: false };
        self.shape(dims).layers.into_iter().map(rows).collect()
    }

    fn plain(&self, _: &Parameters) -> Result<headway_plain::network::Network, NoPlainForm> {
        Err(NoPlainForm::Other(
            "layers that mix the rows of one sequence; this network mixes channels and times in turn",
        ))
    }

    fn n_heads(&self) -> Option<usize> {
        None
    }

    fn sees_ahead(&self, _seq_len: usize) -> bool {
        true
    }

    fn one_answer_key(&self) -> Option<&'static str> {
        Some("")
    }

    fn projection_rank(&self, _target: Target) -> usize {
        self.d_model
    }

    fn kernel(&self) -> Option<&KernelKind> {
        Some(&self.kernel)
    }

    fn function(&self) -> ModelConfig {
        Self { kernel: self.kernel.spec().function(), ..self.clone() }.into()
    }

    fn rules(&self) -> Vec<Rule> {
        [self.kernel.spec().rules(), self.position.spec().rules(), RULES].concat()
    }

    fn head(&self) -> Vec<String> {
        vec!["head.*".to_owned()]
    }

    fn examples(&self, dims: &IoDims, scale: usize) -> Vec<ModelConfig> {
        let both = Self { d_model: 3 * 5 * scale, n_heads: 3, d_adapter: 19 * scale, n_layers: 2, ..Self::default() };
        let apart = Self { mix_channels: false, from_last: true, position: PositionKind::Sinusoidal, ..both.clone() };
        let whole = Self { patch: dims.seq_len, n_layers: 1, ..both.clone() };
        let distances = Self { position: PositionKind::Alibi, n_layers: 1, ..both.clone() };
        [both, apart, whole, distances].map(ModelConfig::from).into()
    }
}
