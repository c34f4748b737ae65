//! What a forward pass can remember of itself.

use burn::tensor::Tensor;

/// One attention layer seen from inside.
#[derive(Clone, Debug)]
pub struct LayerTrace {
    /// Attention pattern, rows sum to one. `[batch, n_heads, q_len, k_len]`
    pub pattern: Tensor<4>,
    /// Hidden state after the layer (after the whole block in a transformer). `[batch, q_len, d_model]`
    pub hidden: Tensor<3>,
}

/// Output, hidden states and patterns of one forward pass.
#[derive(Clone, Debug)]
pub struct Trace {
    /// What [`crate::Model::forward`] returns for the same input.
    pub output: Tensor<3>,
    /// Hidden state that enters the first attention layer. `[batch, rows, d_model]`
    pub embedded: Tensor<3>,
    /// Attention layers, first to last.
    pub layers: Vec<LayerTrace>,
}

/// Collects a [`Trace`] on the way, or nothing: then attention may fuse what nobody looks at.
#[derive(Default)]
pub(crate) struct Recorder {
    on: bool,
    embedded: Option<Tensor<3>>,
    pattern: Option<Tensor<4>>,
    layers: Vec<LayerTrace>,
}

impl Recorder {
    pub(crate) fn on() -> Self {
        Self { on: true, ..Self::default() }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    pub(crate) fn embedded(&mut self, hidden: &Tensor<3>) {
        if self.on {
            self.embedded = Some(hidden.clone());
        }
    }

    /// Heads of the layer at hand; further ones go beside those already seen.
    pub(crate) fn pattern(&mut self, pattern: &Tensor<4>) {
        let seen = self.pattern.take();
        self.pattern = Some(match seen {
            Some(seen) => Tensor::cat(vec![seen, pattern.clone()], 1),
            None => pattern.clone(),
        });
    }

    /// Closes the layer whose patterns came last.
    pub(crate) fn layer(&mut self, hidden: &Tensor<3>) {
        if let Some(pattern) = self.pattern.take() {
            self.layers.push(LayerTrace { pattern, hidden: hidden.clone() });
        }
    }

    pub(crate) fn finish(self, output: Tensor<3>) -> Trace {
        let embedded = self.embedded.unwrap_or_else(|| output.clone());
        Trace { output, embedded, layers: self.layers }
    }
}
