//! What a forward pass can remember of itself, and what can be put in the place of its heads.

use burn::tensor::{Tensor, TensorData};

/// One attention layer seen from inside.
#[derive(Clone, Debug)]
pub struct LayerTrace {
    /// Attention pattern, rows sum to one. `[batch, n_heads, q_len, k_len]`
    pub pattern: Tensor<4>,
    /// What each head mixes from the values, pattern · values, before the output projection; heads of one size together.
    /// `[batch, heads of that size, q_len, d_value]`
    pub mixtures: Vec<Tensor<4>>,
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

/// A constant in the place of one head's mixture: the same vector in every sequence and at every query.
#[derive(Clone, Debug, PartialEq)]
pub struct Replacement {
    /// Number of the layer, from 0.
    pub layer: usize,
    /// Number of the head in its layer, from 0.
    pub head: usize,
    /// The vector, as wide as the head's values. `[d_value]`
    pub mixture: Vec<f32>,
}

/// Collects a [`Trace`] on the way and puts constants in the place of heads; or neither: then attention may fuse what nobody
/// looks at, and nothing is copied.
#[derive(Default)]
pub struct Recorder<'a> {
    on: bool,
    replacements: &'a [Replacement],
    /// Layers that are closed, and heads of the layer at hand that have passed.
    passed: [usize; 2],
    embedded: Option<Tensor<3>>,
    pattern: Option<Tensor<4>>,
    mixtures: Vec<Tensor<4>>,
    layers: Vec<LayerTrace>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn on() -> Self {
        Self { on: true, ..Self::default() }
    }

    pub(crate) fn replacing(replacements: &'a [Replacement]) -> Self {
        Self { replacements, ..Self::default() }
    }

    /// Whether somebody looks at patterns.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// The state that enters the first attention layer.
    pub fn embedded(&mut self, hidden: &Tensor<3>) {
        if self.on {
            self.embedded = Some(hidden.clone());
        }
    }

    /// Heads of the layer at hand; further ones go beside those already seen.
    pub fn pattern(&mut self, pattern: &Tensor<4>) {
        if self.on {
            let seen = self.pattern.take();
            self.pattern = Some(match seen {
                Some(seen) => Tensor::cat(vec![seen, pattern.clone()], 1),
                None => pattern.clone(),
            });
        }
    }

    /// What heads of the layer at hand mix, after those that have passed; returns what takes its place.
    ///
    /// # Shapes
    /// `[batch, n_heads, q_len, d_value]` -> the same
    pub fn mixture(&mut self, mixed: Tensor<4>) -> Tensor<4> {
        let [batch, n_heads, q_len, d_value] = mixed.dims();
        let [layer, first] = self.passed;
        self.passed[1] += n_heads;
        let here = |stand: &&Replacement| stand.layer == layer && (first..first + n_heads).contains(&stand.head);
        let mixed = self.replacements.iter().filter(here).fold(mixed, |mixed, Replacement { head, mixture, .. }| {
            let constant = TensorData::new(mixture.clone(), [1, 1, 1, d_value]);
            let constant = Tensor::<4>::from_data(constant, &mixed.device()).expand([batch, 1, q_len, d_value]);
            mixed.slice_assign([0..batch, head - first..head - first + 1, 0..q_len, 0..d_value], constant)
        });
        if self.on {
            self.mixtures.push(mixed.clone());
        }
        mixed
    }

    /// Closes the layer whose heads came last.
    pub fn layer(&mut self, hidden: &Tensor<3>) {
        self.passed = [self.passed[0] + 1, 0];
        if let Some(pattern) = self.pattern.take() {
            let mixtures = std::mem::take(&mut self.mixtures);
            self.layers.push(LayerTrace { pattern, mixtures, hidden: hidden.clone() });
        }
    }

    pub(crate) fn finish(self, output: Tensor<3>) -> Trace {
        let embedded = self.embedded.unwrap_or_else(|| output.clone());
        Trace { output, embedded, layers: self.layers }
    }
}
