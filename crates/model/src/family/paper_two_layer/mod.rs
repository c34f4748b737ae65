//! The two-layer model of "Universal Approximation with Softmax Attention" (Hu et al. 2025, arXiv 2504.15956), as in the
//! authors' code.

mod config;
mod network;
mod plain;

pub use config::PaperTwoLayerConfig;
pub use network::PaperTwoLayer;

use crate::{
    attention::{AttentionConfig, kernel::KernelKind, place::Target},
    budget::{Count, size},
    config::{ConfigError, IoDims, countable_anchors, shared_width},
    family::{Capability, Family, LayerShape, Model, ModelConfig, Shape},
    init::Initializer,
    input_map,
    parameters::Rule,
    plain::{NoPlainForm, Parameters},
};

impl Family for PaperTwoLayerConfig {
    fn validate(&self, _dims: &IoDims, problems: &mut Vec<ConfigError>) {
        shared_width(self.d_model, self.n_heads, problems);
        countable_anchors(self.n_anchors, problems);
        problems.extend(self.kernel.problems());
    }

    fn build(&self, dims: &IoDims, init: &mut Initializer<'_>) -> Model {
        Model::PaperTwoLayer(PaperTwoLayer::new(self, dims, init))
    }

    fn budget(&self, dims: &IoDims, count: &mut Count) {
        let [n, d, d_out] = [dims.seq_len, self.d_model, dims.d_out].map(size);
        let attention = AttentionConfig::shared_width(self.d_model, self.n_heads, &self.kernel);
        let rows = input_map::count(count, dims, self.d_model, self.n_anchors);
        attention.count(rows, false, count);
        count.linear(rows, d, d);
        count.keep(rows * d);
        attention.count(rows, false, count);
        count.linear(n, d, d_out);
        count.keep(n * d);
    }

    fn capabilities(&self) -> &'static [Capability] {
        &[Capability::Prefix, Capability::AttentionPrecision]
    }

    fn shape(&self, dims: &IoDims) -> Shape {
        let Self { d_model, n_heads, n_anchors, .. } = *self;
        let rows = dims.seq_len + n_anchors;
        let layer = LayerShape { n_heads, q_len: rows, k_len: rows, state: [rows, d_model] };
        Shape { embedded: [rows, d_model], layers: vec![layer; 2], width: dims.d_out }
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

    fn n_heads(&self) -> Option<usize> {
        Some(self.n_heads)
    }

    fn sees_ahead(&self, _seq_len: usize) -> bool {
        true
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
        [self.kernel.spec().rules(), input_map::RULES].concat()
    }

    fn head(&self) -> Vec<String> {
        vec!["head.*".to_owned()]
    }

    fn rows_by_position(&self) -> &'static [&'static str] {
        input_map::ROWS_BY_POSITION
    }

    fn examples(&self, _dims: &IoDims, scale: usize) -> Vec<ModelConfig> {
        let alone = Self { d_model: 3 * 5 * scale, n_heads: 3, n_anchors: 0, ..Self::default() };
        let anchored = Self { n_anchors: 13 * scale, ..alone.clone() };
        [alone, anchored].map(ModelConfig::from).into()
    }
}
