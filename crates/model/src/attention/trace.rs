//! Recording a forward pass, and replacing the outputs of heads.

use burn::tensor::{Int, Tensor, TensorData};

use super::kernel::AttentionKernel;

/// The last `rows` rows of every sequence.
///
/// # Shapes
/// x `[batch, at least rows, width]` -> `[batch, rows, width]`
pub fn last_rows(x: Tensor<3>, rows: usize) -> Tensor<3> {
    let there = x.dims()[1];
    if there == rows { x } else { x.narrow(1, there - rows, rows) }
}

/// These rows of all sequences together, counted from the first row of the first sequence on.
///
/// # Shapes
/// x `[batch, n, width]`, rows `[k]` -> `[1, k, width]`
pub(crate) fn picked_rows(x: Tensor<3>, rows: Tensor<1, Int>) -> Tensor<3> {
    let ([batch, n, width], [k]) = (x.dims(), rows.dims());
    x.reshape([batch * n, width]).select(0, rows).reshape([1, k, width])
}

/// A record of one attention layer.
#[derive(Clone, Debug)]
pub struct LayerTrace {
    /// Attention pattern, rows sum to one. `[batch, n_heads, q_len, k_len]`
    pub pattern: Tensor<4>,
    /// Output of each head before the output projection, pattern · values; heads of the same size together. `[batch,
    /// heads of that size, q_len, d_value]`
    pub mixtures: Vec<Tensor<4>>,
    /// Hidden state after the layer (after the whole block in a transformer). `[batch, rows, width]`
    pub hidden: Tensor<3>,
}

/// A record of one forward pass: output, hidden states and patterns.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The output, as [`crate::Model::forward`] returns it for the same input.
    pub output: Tensor<3>,
    /// Hidden state before the first attention layer. `[batch, rows, d_model]`
    pub embedded: Tensor<3>,
    /// The attention layers, first to last.
    pub layers: Vec<LayerTrace>,
}

/// A constant that replaces one head's output (pattern · values): the same vector for every sequence and query.
#[derive(Clone, Debug, PartialEq)]
pub struct Replacement {
    /// Index of the layer, from 0.
    pub layer: usize,
    /// Index of the head in its layer, from 0.
    pub head: usize,
    /// The vector, as wide as the head's values. `[d_value]`
    pub mixture: Vec<f32>,
}

/// The positions of some sequences that a network has read, as the keys and values of each layer: it reads on from them with
/// [`crate::Model::read_on`].
#[derive(Clone, Debug, Default)]
pub struct Kept {
    positions: usize,
    /// Keys before positions turn them, and values; those of learned rows before the sequence come first. `[batch,
    /// n_kv_heads, rows, d_head]`
    layers: Vec<[Tensor<4>; 2]>,
}

impl Kept {
    /// Number of positions.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Counts the positions that were read.
    pub(crate) fn add(&mut self, positions: usize) {
        self.positions += positions;
    }
}

/// Records a [`Trace`] of a forward pass, or patterns of other kernels beside the network's, or replaces outputs of heads, or keeps keys and
/// values, or does nothing. In the last two cases attention may use fused operations, and in the last nothing is copied.
#[derive(Default)]
pub struct Recorder<'a> {
    on: bool,
    replacements: &'a [Replacement],
    /// Kernels whose patterns are recorded beside those of the network, of its attention layers in turn.
    kernels_beside: &'a [AttentionKernel],
    beside: Vec<[Tensor<4>; 2]>,
    /// Number of positions, from the last, of which the prediction is asked for; `None` for all.
    asked: Option<usize>,
    /// Rows among those, over all sequences, if the prediction is asked for at few of them.
    picked: Option<Tensor<1, Int>>,
    /// Number of groups of rows of each example within which the current layer attends apart; 0 and 1 for none.
    groups: usize,
    /// Number of finished layers, and of heads seen in the current layer.
    passed: [usize; 2],
    embedded: Option<Tensor<3>>,
    pattern: Option<Tensor<4>>,
    mixtures: Vec<Tensor<4>>,
    layers: Vec<LayerTrace>,
    kept: Option<&'a mut Kept>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn on() -> Self {
        Self { on: true, ..Self::default() }
    }

    pub(crate) fn replacing(replacements: &'a [Replacement]) -> Self {
        Self { replacements, ..Self::default() }
    }

    pub(crate) fn comparing(kernels_beside: &'a [AttentionKernel]) -> Self {
        Self { kernels_beside, ..Self::default() }
    }

    /// The kernel whose pattern is recorded beside that of the attention which comes next.
    pub(crate) fn kernel_beside(&self) -> Option<&'a AttentionKernel> {
        self.kernels_beside.get(self.beside.len())
    }

    /// Records two patterns of the same queries and keys.
    pub(crate) fn beside(&mut self, patterns: [Tensor<4>; 2]) {
        self.beside.push(patterns);
    }

    pub(crate) fn compared(self) -> Vec<[Tensor<4>; 2]> {
        self.beside
    }

    pub(crate) fn keeping(kept: &'a mut Kept) -> Self {
        Self { kept: Some(kept), ..Self::default() }
    }

    /// Number of positions before those that are read now.
    pub fn positions_before(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.positions)
    }

    /// Keys and values of the current layer at all positions so far, given those at the new ones.
    ///
    /// # Shapes
    /// `[batch, n_kv_heads, rows, d_head]` each -> the same with all rows
    pub fn so_far(&mut self, k: Tensor<4>, v: Tensor<4>) -> [Tensor<4>; 2] {
        let Some(kept) = &mut self.kept else { return [k, v] };
        let layer = self.passed[0];
        let Some([keys, values]) = kept.layers.get_mut(layer) else {
            kept.layers.push([k.clone(), v.clone()]);
            return [k, v];
        };
        *keys = Tensor::cat(vec![keys.clone(), k], 2);
        *values = Tensor::cat(vec![values.clone(), v], 2);
        [keys.clone(), values.clone()]
    }

    pub(crate) fn asking(asked: usize) -> Self {
        Self { asked: Some(asked), ..Self::default() }
    }

    pub(crate) fn picking(asked: usize, rows: Tensor<1, Int>) -> Self {
        Self { picked: Some(rows), ..Self::asking(asked) }
    }

    /// The rows from which the prediction is read, of one row per position: those that are asked for.
    pub fn asked(&self, x: Tensor<3>) -> Tensor<3> {
        let x = match self.asked {
            Some(asked) => last_rows(x, asked),
            None => x,
        };
        match &self.picked {
            Some(rows) => picked_rows(x, rows.clone()),
            None => x,
        }
    }

    /// Whether the prediction is asked for at the last position alone.
    pub fn asks_for_last(&self) -> bool {
        self.asked == Some(1)
    }

    /// Runs attention in which every example is `groups` sequences, each of which attends within itself; they are recorded,
    /// and replaced, as so many groups of heads.
    pub(crate) fn grouped<T>(&mut self, groups: usize, run: impl FnOnce(&mut Self) -> T) -> T {
        self.groups = groups;
        let result = run(self);
        self.groups = 0;
        result
    }

    /// The heads of all groups of an example side by side.
    ///
    /// # Shapes
    /// `[batch · groups, n_heads, rows, width]` -> `[batch, groups · n_heads, rows, width]`
    fn by_example(&self, x: Tensor<4>) -> Tensor<4> {
        let [sequences, n_heads, rows, width] = x.dims();
        match self.groups {
            0 | 1 => x,
            groups => x.reshape([sequences / groups, groups * n_heads, rows, width]),
        }
    }

    /// Whether patterns are recorded.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Whether heads pass unseen and as they are.
    pub(crate) fn lets_pass(&self) -> bool {
        !self.on && self.replacements.is_empty() && self.kernels_beside.is_empty() && self.kept.is_none()
    }

    /// Records the state before the first attention layer.
    pub fn embedded(&mut self, hidden: &Tensor<3>) {
        if self.on {
            self.embedded = Some(hidden.clone());
        }
    }

    /// Records patterns of heads in the current layer, after those already seen.
    pub fn pattern(&mut self, pattern: &Tensor<4>) {
        if self.on {
            let (seen, pattern) = (self.pattern.take(), self.by_example(pattern.clone()));
            self.pattern = Some(match seen {
                Some(seen) => Tensor::cat(vec![seen, pattern], 1),
                None => pattern,
            });
        }
    }

    /// Records the outputs of the next heads in the current layer, and returns them with the replacements applied.
    ///
    /// # Shapes
    /// `[batch, n_heads, q_len, d_value]` -> the same
    pub fn mixture(&mut self, mixed: Tensor<4>) -> Tensor<4> {
        // Heads of groups side by side are a copy, of which nothing may remain where nobody looks.
        if !self.on && self.replacements.is_empty() {
            return mixed;
        }
        let apart = mixed.dims();
        let mixed = self.by_example(mixed);
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
        if mixed.dims() == apart { mixed } else { mixed.reshape(apart) }
    }

    /// Finishes the current layer of a pass that is not recorded.
    pub(crate) fn pass(&mut self) {
        self.passed = [self.passed[0] + 1, 0];
    }

    /// Finishes the current layer.
    pub fn layer(&mut self, hidden: &Tensor<3>) {
        self.pass();
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
