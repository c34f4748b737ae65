//! A model family: a config, and the network that it describes.

use burn::{module::Module, tensor::Tensor};
use headway_model::{
    AttentionConfig, Capability, ConfigError, Count, Family, Initializer, Input, IoDims, KernelKind, LayerShape,
    Linear, Mask, Model, ModelConfig, MultiHeadAttention, Network, Recorder, Shape,
    adapter::{AttentionPlace, Target},
    parameters::{Key, Rule},
    plain::{NoPlainForm, Parameters, is_softmax},
};
use serde::{Deserialize, Serialize};

use super::kernel::Taylor;

/// An affine map, one layer of attention, an affine map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Single {
    /// Width of the state. Default 8.
    pub d_model: usize,
    /// Attention heads, which divide the width. Default 2.
    pub n_heads: usize,
    /// Attention kernel. Default softmax.
    pub kernel: KernelKind,
}

impl Default for Single {
    fn default() -> Self {
        Self { d_model: 8, n_heads: 2, kernel: KernelKind::default() }
    }
}

impl headway_model::Listed for Single {
    const NAME: &'static str = "single";
    const SUMMARY: &'static str = "an affine map, one attention layer, an affine map";
}

/// What is built from [`Single`].
#[derive(Module, Debug)]
pub struct SingleNetwork {
    embed: Linear,
    attention: MultiHeadAttention,
    head: Linear,
}

impl Single {
    fn attention(&self) -> AttentionConfig {
        AttentionConfig::shared_width(self.d_model, self.n_heads, &self.kernel)
    }
}

impl Family for Single {
    fn validate(&self, _: &IoDims, problems: &mut Vec<ConfigError>) {
        if self.n_heads == 0 || !self.d_model.is_multiple_of(self.n_heads) {
            problems.push(ConfigError::new("n_heads", "must divide d_model"));
        }
        problems.extend(self.kernel.problems());
    }

    fn build(&self, dims: &IoDims, init: &mut Initializer<'_>) -> Model {
        Model::registered(SingleNetwork {
            embed: init.linear(dims.vector_width(), self.d_model),
            attention: self.attention().init(init),
            head: init.linear(self.d_model, dims.d_out),
        })
    }

    fn budget(&self, dims: &IoDims, count: &mut Count) {
        let [rows, d_in, d_model, d_out] =
            [dims.seq_len, dims.vector_width(), self.d_model, dims.d_out].map(|size| size as f64);
        count.linear(rows, d_in, d_model);
        count.keep(rows * d_in);
        self.attention().count(rows, false, count);
        count.linear(rows, d_model, d_out);
        count.keep(rows * d_model);
    }

    fn capabilities(&self) -> &'static [Capability] {
        &[Capability::ShorterSequences, Capability::Prefix, Capability::AttentionPrecision]
    }

    fn shape(&self, dims: &IoDims) -> Shape {
        let Self { d_model, n_heads, .. } = *self;
        let layer = LayerShape { n_heads, q_len: dims.seq_len, k_len: dims.seq_len, state: [dims.seq_len, d_model] };
        Shape { embedded: [dims.seq_len, d_model], layers: vec![layer], width: dims.d_out }
    }

    fn plain(&self, parameters: &Parameters) -> Result<headway_plain::network::Network, NoPlainForm> {
        is_softmax(&self.kernel)?;
        let layers = vec![parameters.attention("attention", self.n_heads)?];
        Ok(headway_plain::network::Network { layers, causal: false })
    }

    fn n_heads(&self) -> Option<usize> {
        Some(self.n_heads)
    }

    fn sees_ahead(&self, _: usize) -> bool {
        true
    }

    fn projection_rank(&self, _: Target) -> usize {
        self.d_model
    }

    fn function(&self) -> ModelConfig {
        ModelConfig::registered(Self { kernel: self.kernel.spec().function(), ..self.clone() })
    }

    fn rules(&self) -> Vec<Rule> {
        const D_MODEL: Key = Key::Model("d_model");
        let own: &[Rule] = &[
            ("embed.weight", &[D_MODEL, Key::Inputs], &[]),
            ("head.weight", &[D_MODEL, Key::Outputs], &[]),
            ("head.bias", &[Key::Outputs], &[]),
            ("*", &[D_MODEL], &[]),
        ];
        [self.kernel.spec().rules(), own].concat()
    }

    fn head(&self) -> Vec<String> {
        vec!["head.*".to_owned()]
    }

    fn examples(&self, _: &IoDims, scale: usize) -> Vec<ModelConfig> {
        let config = Self { d_model: 15 * scale, n_heads: 3, ..Self::default() };
        [KernelKind::Softmax, KernelKind::registered(Taylor::default())]
            .map(|kernel| ModelConfig::registered(Self { kernel, ..config.clone() }))
            .into()
    }
}

impl Network for SingleNetwork {
    fn run(&self, input: Input, recorder: &mut Recorder<'_>) -> Tensor<3> {
        let x = self.embed.forward(input.vectors());
        recorder.embedded(&x);
        let x = self.attention.run(x.clone(), x, (&Mask::Full).into(), recorder);
        recorder.layer(&x);
        self.read_out(x)
    }

    fn read_out(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.head.forward(hidden)
    }

    fn attentions(&mut self) -> Vec<AttentionPlace<'_>> {
        vec![self.attention.place()]
    }
}
