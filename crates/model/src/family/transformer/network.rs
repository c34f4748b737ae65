//! The network of a transformer.

use std::cell::OnceCell;

use burn::{module::Module, tensor::Tensor};
use headway_kernels::Precision;

use super::{Block, TransformerConfig};
use crate::{
    attention::trace::Recorder,
    attention::{
        aware::AwareAttention,
        place::AttentionPlace,
        position::Position,
        value_residual::ValueResidual,
        view::Layout,
        weighting::{TokenWeight, behind, deeper},
    },
    config::IoDims,
    embed::{Embed, Input},
    family::{Network, Prompt, PromptPlace},
    init::Initializer,
    linear::Linear,
    mask::Mask,
    norm::{StateNorm, normalise},
    pool::Pool,
};

/// h = embed(x) + position; h = `block_l`(h) for each layer; output = head(norm(h)), or head(pool(norm(h))) at every position. The head
/// is h Eᵀ if it is tied to the table E of tokens.
/// With weights of tokens m, `block_l` has m^(1/2^(l-1)), and the attention-aware layer, if there is one, follows the blocks with
/// those after the last.
#[derive(Module, Debug)]
pub struct Transformer {
    /// Input projection or token embedding.
    pub embed: Embed,
    /// Position scheme.
    pub position: Position,
    /// Learned rows before the sequence, if any.
    pub prompt: Option<Prompt>,
    /// Blocks, first to last.
    pub blocks: Vec<Block>,
    /// Attention-aware layer after the blocks, if there is one.
    pub aware: Option<AwareAttention>,
    /// Norm before the head, if there is one.
    pub final_norm: Option<StateNorm>,
    /// What makes one row of all positions, if anything does.
    pub pool: Option<Pool>,
    /// `d_model`, or the width of what was pooled, -> `d_out`; `None` if the table of tokens is the head.
    pub head: Option<Linear>,
    #[module(skip)]
    causal: bool,
    #[module(skip)]
    residual: bool,
    #[module(skip)]
    token_weight: TokenWeight,
    #[module(skip)]
    mixes_values: bool,
    #[module(skip)]
    precision: Precision,
    #[module(skip)]
    d_model: usize,
}

impl Transformer {
    pub(super) fn new(config: &TransformerConfig, dims: &IoDims, init: &mut Initializer<'_>) -> Self {
        let d_model = config.d_model;
        let init = init.with_maps(config.bias, config.initialization, config.n_layers);
        let norm = |init: &mut Initializer<'_>| Some(config.norm_before()?.init(d_model, config.rms_epsilon(), init));
        Self {
            embed: Embed::new(&dims.input, d_model, init),
            position: config.position.spec().build(&config.position_sizes(dims), init),
            prompt: None,
            blocks: (0..config.n_layers).map(|layer| Block::new(config, layer, init)).collect(),
            aware: config.aware().map(|n_heads| AwareAttention::new(d_model, n_heads, norm(init), init)),
            final_norm: norm(init),
            pool: config.pool.init(d_model, init),
            head: (!config.tie_embedding).then(|| init.linear(config.pool.width(d_model), dims.d_out)),
            causal: config.causal,
            residual: config.residual,
            token_weight: config.token_weight,
            mixes_values: config.value_residual != ValueResidual::None,
            precision: init.maps(),
            d_model,
        }
    }
}

impl Network for Transformer {
    fn run(&self, input: Input, recorder: &mut Recorder<'_>) -> Tensor<3> {
        let weights = match &input {
            Input::Continuous(x) => self.token_weight.of_inputs(x), // [batch, seq_len]
            Input::Tokens(_) => None,
        };
        let before = recorder.positions_before();
        let x = self.embed.forward_at(input, &self.position, before); // [batch, seq_len, d_model]
        let seq_len = x.dims()[1];
        let x = match &self.prompt {
            Some(prompt) if before == 0 => prompt.before(x), // [batch, length + seq_len, d_model]
            _ => x,
        };
        recorder.embedded(&x);
        let mask = if self.causal { Mask::Causal } else { Mask::Full };
        let learned = x.dims()[1] - seq_len;
        let embedded = self.aware.as_ref().map(|_| x.clone());
        let in_front = self.prompt.as_ref().map_or(0, |prompt| prompt.rows.lazy_shape()[0]);
        let first_values = OnceCell::new();
        let run = |(x, weights): (Tensor<3>, Option<Tensor<2>>), block: &Block| {
            let layout = Layout {
                mask: &mask,
                position: Some(&self.position),
                in_front,
                weights: weights.as_ref(),
                first_values: self.mixes_values.then_some(&first_values),
            };
            let x = block.run(x, layout, recorder);
            (x, weights.map(deeper))
        };
        let (x, weights) = self.blocks.iter().fold((x, weights), run);
        let x = match (&self.aware, embedded, weights) {
            (Some(aware), Some(embedded), Some(weights)) => {
                let read = aware.run(x.clone(), embedded, behind(weights, learned), recorder);
                let x = if self.residual { x + read } else { read };
                recorder.layer(&x);
                x
            }
            _ => x,
        };
        let x = if learned == 0 { x } else { x.narrow(1, learned, seq_len) };
        // A pooling head reads all positions, whichever are asked for.
        self.read_out(if self.pool.is_none() { recorder.asked(x) } else { x })
    }

    /// `[batch, seq_len, d_model]` -> `[batch, seq_len, d_out]`
    fn read_out(&self, x: Tensor<3>) -> Tensor<3> {
        let x = normalise(self.final_norm.as_ref(), x);
        let head = |x: Tensor<3>| match &self.head {
            Some(head) => head.forward(x),
            None => self.embed.transposed(x, self.precision),
        };
        let Some(pool) = &self.pool else { return head(x) };
        let [batch, seq_len, _] = x.dims();
        let y = head(pool.forward(x)); // [batch, 1, d_out]
        let d_out = y.dims()[2];
        y.expand([batch, seq_len, d_out])
    }

    fn reads_row_by_row(&self) -> bool {
        self.pool.is_none()
    }

    fn attentions(&mut self) -> Vec<AttentionPlace<'_>> {
        self.blocks.iter_mut().map(|block| block.attention.place()).collect()
    }

    fn prompt(&self) -> Option<&Prompt> {
        self.prompt.as_ref()
    }

    fn prompt_place(&mut self) -> Option<PromptPlace<'_>> {
        Some(PromptPlace { d_model: self.d_model, prompt: &mut self.prompt })
    }
}
