//! The model behind the paper's attention maps (Hu et al. 2025, arXiv 2504.15956), as in the authors' code: one channel
//! of the keys and one of the values are the interpolation points of the proof instead of learned numbers.

mod config;
mod network;
mod plain;

pub use config::PaperSetKeysConfig;
pub use network::PaperSetKeys;

use crate::{
    attention::{AttentionConfig, kernel::KernelKind, place::Target},
    budget::Count,
    config::{ConfigError, IoDims, countable_anchors, shared_width},
    family::{Capability, Family, LayerShape, Model, ModelConfig, Shape},
    init::Initializer,
    input_map,
    parameters::Rule,
    plain::{NoPlainForm, Parameters},
};

impl Family for PaperSetKeysConfig {
    fn validate(&self, dims: &IoDims, problems: &mut Vec<ConfigError>) {
        shared_width(self.d_model, 1, problems);
        countable_anchors(self.n_anchors, problems);
        if self.d_model < dims.d_out.max(2) {
            let problem = format!("{} channels are too few; give {} or more", self.d_model, dims.d_out.max(2));
            problems.push(ConfigError::new("d_model", problem));
        }
        for (key, value) in self.numbers() {
            if !value.is_finite() {
                problems.push(ConfigError::new(key, "must be finite"));
            }
        }
        // Points and scores are computed in single precision.
        let [low, high] = [self.low, self.high].map(|end| end as f32);
        if low >= high && low.is_finite() && high.is_finite() {
            let problem = format!("{} must be below high = {}", self.low, self.high);
            problems.push(ConfigError::new("low", problem));
        }
        if self.inverse_temperature.is_finite() && self.inverse_temperature <= 0.0 {
            problems.push(ConfigError::new("inverse_temperature", "must be above 0"));
        }
    }

    fn build(&self, dims: &IoDims, init: &mut Initializer<'_>) -> Model {
        Model::PaperSetKeys(PaperSetKeys::new(self, dims, init))
    }

    fn budget(&self, dims: &IoDims, count: &mut Count) {
        let rows = input_map::count(count, dims, self.d_model, self.n_anchors);
        AttentionConfig::shared_width(self.d_model, 1, &KernelKind::Naive).count(rows, false, count);
    }

    fn capabilities(&self) -> &'static [Capability] {
        &[]
    }

    fn shape(&self, dims: &IoDims) -> Shape {
        let rows = dims.seq_len + self.n_anchors;
        Shape {
            embedded: [rows, self.d_model],
            layers: vec![LayerShape { n_heads: 1, q_len: rows, k_len: rows, state: [rows, self.d_model] }],
            width: self.d_model,
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

    fn n_heads(&self) -> Option<usize> {
        Some(1)
    }

    fn sees_ahead(&self, _seq_len: usize) -> bool {
        true
    }

    fn projection_rank(&self, _target: Target) -> usize {
        self.d_model
    }

    fn function(&self) -> ModelConfig {
        self.clone().into()
    }

    fn rules(&self) -> Vec<Rule> {
        input_map::RULES.to_vec()
    }

    fn head(&self) -> Vec<String> {
        vec!["attention.output.*".to_owned()]
    }

    fn rows_by_position(&self) -> &'static [&'static str] {
        input_map::ROWS_BY_POSITION
    }

    /// At the default inverse temperature, the pattern of random weights is a single key and tests little.
    fn examples(&self, _dims: &IoDims, scale: usize) -> Vec<ModelConfig> {
        let config = Self { d_model: 19 * scale, n_anchors: 13 * scale, inverse_temperature: 0.1, ..Self::default() };
        vec![config.into()]
    }
}
