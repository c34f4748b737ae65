//! Cost of a model: parameters, floating-point operations, activation memory. Fair comparisons are based on it.

use serde::Serialize;

/// Cost of a model on given data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// Trainable numbers.
    pub parameters: usize,
    /// Floating-point operations of the forward pass of one sequence, two per multiply–add. Only matrix products count
    /// (linear maps, scores, mixing); for `d_head` ≥ 8, norms, softmax and additions change the total by a few per
    /// cent.
    pub forward_flops: usize,
    /// Bytes of f32 that the forward pass of one sequence keeps for the backward pass, with fused kernels (burn-flex;
    /// more on other devices). Not counted are the prediction, the nodes of the autodiff graph, and the mask.
    pub activation_bytes: usize,
}

impl Budget {
    /// Operations of one training step: the backward pass costs twice the forward pass.
    pub fn step_flops(&self, batch: usize) -> usize {
        self.forward_flops.saturating_mul(batch).saturating_mul(3)
    }

    /// Activation bytes of one training step.
    pub fn step_activation_bytes(&self, batch: usize) -> usize {
        self.activation_bytes.saturating_mul(batch)
    }
}

/// Running totals, to which each method adds one layer. In f64: exact up to 2^53 and without overflow, since a config
/// may have any size.
#[derive(Default)]
pub struct Count {
    /// Trainable numbers.
    pub parameters: f64,
    /// Floating-point operations.
    pub flops: f64,
    /// Numbers kept for the backward pass.
    pub floats: f64,
    /// Whether the affine maps that are added have no bias.
    pub unbiased: bool,
    /// Number of positions whose prediction is read, for a network that computes it there alone; `None` for all.
    pub read: Option<f64>,
}

impl Count {
    /// Adds an affine map over `rows` rows: it keeps its input and has `rows · d_out` outputs.
    pub fn linear(&mut self, rows: f64, d_in: f64, d_out: f64) {
        self.parameters += d_in * d_out + if self.unbiased { 0.0 } else { d_out };
        self.flops += 2.0 * rows * d_in * d_out;
    }

    /// Adds a linear map without bias.
    pub fn projection(&mut self, rows: f64, d_in: f64, d_out: f64) {
        self.parameters += d_in * d_out;
        self.flops += 2.0 * rows * d_in * d_out;
    }

    /// Numbers kept for the backward pass.
    pub fn keep(&mut self, floats: f64) {
        self.floats += floats;
    }

    /// Layer norm over `rows`: keeps its input; its output is kept by what follows.
    pub fn norm(&mut self, rows: f64, d: f64) {
        self.parameters += 2.0 * d;
        self.keep(rows * d);
    }

    pub(crate) fn finish(self) -> Budget {
        Budget {
            parameters: self.parameters as usize,
            forward_flops: self.flops as usize,
            activation_bytes: (4.0 * self.floats) as usize,
        }
    }
}

impl Count {
    /// Adds the totals of another count `n` times.
    pub fn repeat(&mut self, n: usize, part: &Self) {
        let n = size(n);
        self.parameters += n * part.parameters;
        self.flops += n * part.flops;
        self.floats += n * part.floats;
    }
}

pub(crate) fn size(n: usize) -> f64 {
    n as f64
}
