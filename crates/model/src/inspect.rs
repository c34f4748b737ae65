//! A model looked into: its own read-out on the state behind any layer, and heads put out of action.

use burn::tensor::Tensor;

use crate::{
    config::{Model, vectors},
    embed::Input,
    trace::{LayerTrace, Recorder, StandIn, Trace},
    transformer::Transformer,
};

impl Model {
    /// [`Model::forward`] together with hidden states and patterns of every layer.
    pub fn forward_traced(&self, input: Input) -> Trace {
        let mut recorder = Recorder::on();
        let output = self.run(input, &mut recorder);
        recorder.finish(output)
    }

    /// [`Model::forward_traced`] of the sequence's own rows: those of a learned prompt in front of it are left out as states and as queries,
    /// and stay as keys.
    pub fn forward_traced_without_prompt(&self, input: Input) -> Trace {
        let trace = self.forward_traced(input);
        let Self::Transformer(Transformer { prompt: Some(prompt), .. }) = self else { return trace };
        let length = prompt.rows.lazy_shape()[0];
        let state = |x: Tensor<3>| {
            let rows = x.dims()[1];
            x.narrow(1, length, rows - length)
        };
        let layer = |layer: LayerTrace| {
            let rows = layer.pattern.dims()[2];
            LayerTrace {
                pattern: layer.pattern.narrow(2, length, rows - length),
                hidden: state(layer.hidden),
                mixtures: layer.mixtures.into_iter().map(|mixture| mixture.narrow(2, length, rows - length)).collect(),
            }
        };
        Trace {
            output: trace.output,
            embedded: state(trace.embedded),
            layers: trace.layers.into_iter().map(layer).collect(),
        }
    }

    /// [`Model::forward`] with constants in the place of what some heads mix; those that name no head of the model change nothing.
    ///
    /// # Shapes
    /// as [`Model::forward`]
    ///
    /// # Panics
    /// When a constant is not as wide as its head's values.
    pub fn forward_replacing(&self, input: Input, stand_ins: &[StandIn]) -> Tensor<3> {
        self.run(input, &mut Recorder::replacing(stand_ins))
    }

    /// What the model makes of a hidden state behind its last layer, where [`Model::forward`] ends: last norm and head, channels, or
    /// the stack's readout. A state behind an earlier layer is read in the same way.
    ///
    /// # Shapes
    /// `[batch, rows, width]` of the state behind the last layer -> as [`Model::forward`]
    ///
    /// # Panics
    /// When rows or width are others than behind the last layer.
    pub fn read_out(&self, hidden: Tensor<3>) -> Tensor<3> {
        match self {
            Self::PaperOneLayer(model) => model.read_out(hidden),
            Self::PaperTwoLayer(model) => model.read_out(hidden),
            Self::PaperSetKeys(model) => model.read_out(hidden),
            Self::AttentionStack(model) => model.read_out(hidden),
            Self::Transformer(model) => model.read_out(hidden),
        }
    }

    /// Whether [`Model::read_out`] takes the prediction at a position from that position's row alone.
    pub fn reads_row_by_row(&self) -> bool {
        match self {
            Self::AttentionStack(model) => model.readout.is_none(),
            Self::PaperOneLayer(_) | Self::PaperTwoLayer(_) | Self::PaperSetKeys(_) | Self::Transformer(_) => true,
        }
    }

    fn run(&self, input: Input, recorder: &mut Recorder) -> Tensor<3> {
        match self {
            Self::PaperOneLayer(model) => model.run(vectors(input), recorder),
            Self::PaperTwoLayer(model) => model.run(vectors(input), recorder),
            Self::PaperSetKeys(model) => model.run(vectors(input), recorder),
            Self::AttentionStack(model) => model.run(vectors(input), recorder),
            Self::Transformer(model) => model.run(input, recorder),
        }
    }
}
