//! The network of a CSformer.

use burn::{module::Module, tensor::Tensor};

use super::config::{ACTIVATION, CsformerConfig, Rows};
use crate::{
    attention::trace::Recorder,
    attention::{MultiHeadAttention, axis::Axis, place::AttentionPlace, position::Position, view::Layout},
    config::IoDims,
    embed::Input,
    family::Network,
    ffn::Ffn,
    init::Initializer,
    linear::{Linear, Projection},
    mask::Mask,
    norm::LayerNorm,
};

/// h_(c,t) = x_(t,c) ν + position_t for every channel c and time t; then in every block, with the attention of both stages the same,
///
/// ```text
/// h ← h + adapter_c(norm_c(attention(h over channels)))    at every time
/// h ← h + adapter_t(norm_t(attention(h over time)))        in every channel
/// ```
///
/// and (y_(1,c) … y_(horizon,c)) = head(h_(c,1) … h_(c,times)), with one head for all channels. With a patch of p steps, ν lifts p successive
/// numbers, `[p, d_model]`, and times are patches.
///
/// The answer belongs to the whole sequence and is the same at every position.
///
/// # References
/// Wang et al. 2023, arXiv 2312.06220, of which only the abstract and a summary were read: the lift by ν, the order of the stages, the attention
/// they share and the adapter of each are theirs. That adapters have a GELU, that positions are added, and one head for all channels, are our reading.
#[derive(Module, Debug)]
pub struct Csformer {
    /// ν, `patch` -> `d_model`.
    pub lift: Projection,
    /// Position scheme of time.
    pub position: Position,
    /// Blocks, first to last.
    pub blocks: Vec<CsformerBlock>,
    /// times · `d_model` -> horizon
    pub head: Linear,
    #[module(skip)]
    patch: usize,
    #[module(skip)]
    seq_len: usize,
    #[module(skip)]
    from_last: bool,
}

/// One block: two stages around one attention.
#[derive(Module, Debug)]
pub struct CsformerBlock {
    /// The attention of both stages.
    pub attention: MultiHeadAttention,
    /// What follows attention over channels; `None` if channels do not attend to each other.
    pub channel: Option<Stage>,
    /// What follows attention over time.
    pub time: Stage,
}

/// What is a stage's own.
#[derive(Module, Debug)]
pub struct Stage {
    /// Norm behind attention.
    pub norm: LayerNorm,
    /// Two affine maps around a GELU.
    pub adapter: Ffn,
}

impl Stage {
    fn new(config: &CsformerConfig, init: &mut Initializer<'_>) -> Self {
        let CsformerConfig { d_model, d_adapter, .. } = *config;
        Self { norm: LayerNorm::new(d_model, init), adapter: Ffn::new(d_model, d_adapter, ACTIVATION, init) }
    }

    /// # Shapes
    /// x `[batch, channels, times, d_model]` -> the same
    fn run(
        &self,
        x: Tensor<4>,
        axis: Axis,
        attention: &MultiHeadAttention,
        layout: Layout<'_>,
        recorder: &mut Recorder<'_>,
    ) -> Tensor<4> {
        let update = axis.apply(x.clone(), recorder, |line, recorder| {
            self.adapter.forward(self.norm.forward(attention.run_on_itself(line, layout, recorder)))
        });
        let x = x + update;
        if recorder.is_on() {
            recorder.layer(&state(x.clone()));
        } else {
            recorder.pass();
        }
        x
    }
}

/// The table as a hidden state, the same behind both stages: a row for each time.
///
/// # Shapes
/// `[batch, channels, times, d_model]` -> `[batch, times, channels · d_model]`
fn state(x: Tensor<4>) -> Tensor<3> {
    Axis::Second.rows(x)
}

impl Csformer {
    pub(super) fn new(config: &CsformerConfig, dims: &IoDims, init: &mut Initializer<'_>) -> Self {
        let CsformerConfig { d_model, n_layers, patch, from_last, .. } = *config;
        let Rows { times, horizon, .. } = config.rows(dims);
        let block = |init: &mut Initializer<'_>| CsformerBlock {
            attention: config.attention().init(init),
            channel: config.mix_channels.then(|| Stage::new(config, init)),
            time: Stage::new(config, init),
        };
        Self {
            lift: init.projection(patch, d_model),
            position: config.position.spec().build(&config.position_sizes(times), init),
            blocks: (0..n_layers).map(|_| block(init)).collect(),
            head: init.linear(times * d_model, horizon),
            patch,
            seq_len: dims.seq_len,
            from_last,
        }
    }

    /// # Shapes
    /// `[batch, seq_len, channels]` -> `[batch, channels, times, d_model]`
    fn enter(&self, x: Tensor<3>) -> Tensor<4> {
        let [batch, seq_len, channels] = x.dims();
        let x = if self.from_last { x.clone() - x.narrow(1, seq_len - 1, 1) } else { x };
        let times = seq_len / self.patch;
        let x = x.swap_dims(1, 2).reshape([batch * channels, times, self.patch]);
        let x = self.position.forward(self.lift.forward(x)); // [batch · channels, times, d_model]
        let d_model = x.dims()[2];
        x.reshape([batch, channels, times, d_model])
    }

    /// # Shapes
    /// `[batch, channels, times, d_model]` -> `[batch, 1, horizon · channels]`
    fn answer(&self, x: Tensor<4>) -> Tensor<3> {
        let steps = self.head.forward(Axis::First.rows(x)); // [batch, channels, horizon]
        let [batch, channels, horizon] = steps.dims();
        steps.swap_dims(1, 2).reshape([batch, 1, horizon * channels])
    }

    fn at_every_position(&self, answer: Tensor<3>) -> Tensor<3> {
        let [batch, _, width] = answer.dims();
        answer.expand([batch, self.seq_len, width])
    }
}

impl Network for Csformer {
    fn run(&self, input: Input, recorder: &mut Recorder<'_>) -> Tensor<3> {
        let x = self.enter(input.vectors());
        if recorder.is_on() {
            recorder.embedded(&state(x.clone()));
        }
        let full = Mask::Full;
        let in_time = Layout { position: Some(&self.position), ..Layout::from(&full) };
        let x = self.blocks.iter().fold(x, |x, CsformerBlock { attention, channel, time }| {
            let x = match channel {
                Some(stage) => stage.run(x, Axis::First, attention, (&full).into(), recorder),
                None => x,
            };
            time.run(x, Axis::Second, attention, in_time, recorder)
        });
        let answer = self.answer(x);
        if recorder.asks_for_last() { answer } else { self.at_every_position(answer) }
    }

    /// `[batch, times, channels · d_model]` -> `[batch, seq_len, horizon · channels]`
    fn read_out(&self, hidden: Tensor<3>) -> Tensor<3> {
        let [batch, times, width] = hidden.dims();
        let d_model = self.lift.weight.lazy_shape()[1];
        let x = hidden.reshape([batch, times, width / d_model, d_model]).swap_dims(1, 2);
        self.at_every_position(self.answer(x))
    }

    fn reads_row_by_row(&self) -> bool {
        false
    }

    fn attentions(&mut self) -> Vec<AttentionPlace<'_>> {
        self.blocks.iter_mut().map(|block| block.attention.place()).collect()
    }
}
