//! What LoRA learns beside a matrix: a product of two thin ones.

use burn::{
    module::Module,
    tensor::{Tensor, TensorData},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::parameter::Matrix;

/// x ↦ (alpha / rank) drop(x) A B, added to what the projection beside it gives.
///
/// # References
/// Hu et al. 2021, arXiv 2106.09685, section 4.1. A is drawn from U(−k, k), k = 1/sqrt(`d_in`), as PEFT draws it; the paper takes
/// a normal law.
#[derive(Module, Debug)]
pub struct LowRank {
    /// A. `[d_in, rank]`
    pub a: Matrix,
    /// B. `[rank, d_out]`
    pub b: Matrix,
    #[module(skip)]
    pub(crate) scale: f64,
    #[module(skip)]
    pub(crate) dropout: f64,
    /// What the next mask is drawn from; nothing where nothing is dropped.
    #[module(skip)]
    pub(crate) noise: Option<u64>,
}

impl LowRank {
    /// # Shapes
    /// `[batch, rows, d_in]` -> `[batch, rows, d_out]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = match self.noise {
            Some(noise) if self.dropout > 0.0 => self.drop(x, noise),
            _ => x,
        };
        let thin = x.matmul(self.a.val().unsqueeze()); // [batch, rows, rank]
        thin.mul_scalar(self.scale).matmul(self.b.val().unsqueeze())
    }

    /// Each entry is zero with probability p and 1/(1 − p) times as large otherwise. The mask is drawn on the host, so that it is the
    /// same on every device and after every resume.
    fn drop(&self, x: Tensor<3>, noise: u64) -> Tensor<3> {
        let mut rng = ChaCha8Rng::seed_from_u64(noise);
        let kept = (1.0 / (1.0 - self.dropout)) as f32;
        let n: usize = x.dims().iter().product();
        let mask = (0..n).map(|_| if rng.random_bool(self.dropout) { 0.0 } else { kept }).collect::<Vec<f32>>();
        let mask = Tensor::from_data(TensorData::new(mask, x.dims()), &x.device());
        x * mask
    }

    /// Projections that share a seed draw masks of their own.
    pub(crate) fn set_noise(&mut self, seed: Option<u64>, number: u64) {
        // Apart by the odd number next to 2^64 / golden ratio, as SplitMix64 spreads its states.
        self.noise = seed.map(|seed| seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    }
}
