//! The one-layer model of "Universal Approximation with Softmax Attention" (Hu et al. 2025, arXiv 2504.15956), as in the
//! authors' code.

mod config;
mod network;
mod plain;

pub use config::{PaperOneLayerConfig, Readout};
pub use network::PaperOneLayer;

use crate::{
    attention::{
        AttentionConfig,
        kernel::{KernelKind, Naive},
        place::Target,
    },
    budget::{Count, size},
    config::{ConfigError, IoDims, countable_anchors, shared_width},
    family::{Capability, Family, LayerShape, Model, ModelConfig, Shape},
    init::Initializer,
    input_map,
    parameters::Rule,
    plain::{NoPlainForm, Parameters},
};

impl Family for PaperOneLayerConfig {
    fn validate(&self, dims: &IoDims, problems: &mut Vec<ConfigError>) {
        shared_width(self.d_model, self.n_heads, problems);
        countable_anchors(self.n_anchors, problems);
        problems.extend(self.kernel.problems());
        match self.readout {
            Readout::Softmax if dims.d_out != 1 => {
                let problem =
                    format!("the softmax readout gives one number per position, the task wants {}", dims.d_out);
                problems.push(ConfigError::new("readout", problem));
            }
            Readout::Channels if self.d_model < dims.d_out => {
                let problem = format!("{} channels cannot hold the task's {} outputs", self.d_model, dims.d_out);
                problems.push(ConfigError::new("d_model", problem));
            }
            _ => {}
        }
    }

    fn build(&self, dims: &IoDims, init: &mut Initializer<'_>) -> Model {
        Model::PaperOneLayer(PaperOneLayer::new(self, dims, init))
    }

    fn budget(&self, dims: &IoDims, count: &mut Count) {
        let [n, d] = [dims.seq_len, self.d_model].map(size);
        let rows = input_map::count(count, dims, self.d_model, self.n_anchors);
        AttentionConfig::shared_width(self.d_model, self.n_heads, &self.kernel).count(rows, false, count);
        if self.readout == Readout::Softmax {
            count.keep(n * d);
            // A softmax from plain operations.
            count.keep(Naive::kept_by_rows(n, d));
        }
    }

    fn capabilities(&self) -> &'static [Capability] {
        &[Capability::Prefix, Capability::AttentionPrecision]
    }

    fn shape(&self, dims: &IoDims) -> Shape {
        let Self { d_model, n_heads, n_anchors, .. } = *self;
        let rows = dims.seq_len + n_anchors;
        Shape {
            embedded: [rows, d_model],
            layers: vec![LayerShape { n_heads, q_len: rows, k_len: rows, state: [rows, d_model] }],
            width: match self.readout {
                Readout::Channels => d_model,
                Readout::Softmax => 1,
            },
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
        vec!["attention.output.*".to_owned()]
    }

    fn rows_by_position(&self) -> &'static [&'static str] {
        input_map::ROWS_BY_POSITION
    }

    fn examples(&self, _dims: &IoDims, scale: usize) -> Vec<ModelConfig> {
        let channels = Self { d_model: 3 * 5 * scale, n_heads: 3, n_anchors: 13 * scale, ..Self::default() };
        let softmax = Self { readout: Readout::Softmax, ..channels.clone() };
        let alone = Self { n_anchors: 0, ..channels.clone() };
        [channels, softmax, alone].map(ModelConfig::from).into()
    }
}
