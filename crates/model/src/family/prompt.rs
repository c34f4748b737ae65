//! Learned rows before a sequence, for prompt tuning.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

/// The place for a prompt in a network.
pub struct PromptPlace<'a> {
    /// Width of its rows.
    pub d_model: usize,
    /// The prompt.
    pub prompt: &'a mut Option<Prompt>,
}

/// Learned rows before the embedded sequence. They have no position, and the sequence keeps its positions; their states
/// after the last layer are dropped.
///
/// # References
/// Lester, Al-Rfou, Constant 2021, arXiv 2104.08691. Rows are drawn from N(0, 0.02²).
#[derive(Module, Debug)]
pub struct Prompt {
    /// `[length, d_model]`
    pub rows: Param<Tensor<2>>,
}

impl Prompt {
    /// # Shapes
    /// `[batch, seq_len, d_model]` -> `[batch, length + seq_len, d_model]`
    pub fn before(&self, x: Tensor<3>) -> Tensor<3> {
        let rows = self.rows.val();
        let ([length, d_model], batch) = (rows.dims(), x.dims()[0]);
        Tensor::cat(vec![rows.unsqueeze::<3>().expand([batch, length, d_model]), x], 1)
    }
}
