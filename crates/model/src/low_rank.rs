//! The low-rank parts of LoRA: a product of two thin matrices, added to a matrix.

use burn::{
    module::Module,
    tensor::{Tensor, TensorData},
};
use headway_kernels::{DropSeed, Precision, dropped, matmul};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::parameter::Matrix;

/// x ↦ (alpha / rank) drop(x) A B, added to the output of the projection that it belongs to.
///
/// # References
/// Hu et al. 2021, arXiv 2106.09685, section 4.1. A is drawn from U(−k, k), k = 1/sqrt(`d_in`), as in PEFT; the paper
/// uses a normal distribution.
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
    /// What the next mask is drawn from; `None` if nothing is dropped. Every projection has room for it.
    #[module(skip)]
    pub(crate) noise: Option<Box<Noise>>,
}

/// Where masks come from.
#[derive(Clone, Debug)]
pub(crate) struct Noise {
    seed: DropSeed,
    /// Distinguishes projections that share a seed.
    number: u32,
}

impl Noise {
    /// A seed of the projection's own.
    fn of_projection(&self) -> u64 {
        // Multiples of the odd number nearest to 2^64 / golden ratio, by which SplitMix64 spreads its states.
        self.seed.value().wrapping_add(u64::from(self.number).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

impl LowRank {
    /// # Shapes
    /// `[batch, rows, d_in]` -> `[batch, rows, d_out]`
    pub fn forward(&self, x: Tensor<3>, precision: Precision) -> Tensor<3> {
        let x = match &self.noise {
            Some(noise) if self.dropout > 0.0 => self.drop(x, noise),
            _ => x,
        };
        let thin = matmul(x, self.a.val().unsqueeze(), precision); // [batch, rows, rank]
        matmul(thin.mul_scalar(self.scale), self.b.val().unsqueeze(), precision)
    }

    /// Sets each entry to zero with probability p and multiplies the others by 1/(1 − p). A GPU draws the
    /// mask itself.
    fn drop(&self, x: Tensor<3>, noise: &Noise) -> Tensor<3> {
        if let Some(dropped) = dropped(&x, &noise.seed, noise.number, self.dropout) {
            return dropped;
        }
        let (dims, device) = (x.dims(), x.device());
        let mask = mask(dims.iter().product(), self.dropout, noise.of_projection());
        x * Tensor::from_data(TensorData::new(mask, dims), &device)
    }

    /// Sets the seed of the masks; `number` distinguishes projections that share a seed.
    pub(crate) fn set_noise(&mut self, seed: Option<&DropSeed>, number: u32) {
        self.noise = seed.map(|seed| Box::new(Noise { seed: seed.clone(), number }));
    }
}

/// Number of entries of a mask that one thread draws at a time.
const BLOCK: usize = 1 << 14;

/// A mask made on the host. Entry i depends on the i-th number of the seed's sequence, so the mask is the same for any number
/// of threads.
fn mask(n: usize, probability: f64, noise: u64) -> Vec<f32> {
    let kept = (1.0 / (1.0 - probability)) as f32;
    let mut mask = vec![kept; n];
    mask.par_chunks_mut(BLOCK).enumerate().for_each(|(block, mask)| {
        let mut rng = ChaCha8Rng::seed_from_u64(noise);
        // Each number takes two words of the sequence.
        rng.set_word_pos(2 * (block * BLOCK) as u128);
        mask.iter_mut().filter(|_| rng.random_bool(probability)).for_each(|entry| *entry = 0.0);
    });
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_one_sequence_in_whatever_blocks_it_is_drawn() {
        for n in [1, BLOCK - 1, BLOCK + 1, 3 * BLOCK + 5] {
            let mut rng = ChaCha8Rng::seed_from_u64(7);
            let sequence: Vec<f32> = (0..n).map(|_| if rng.random_bool(0.25) { 0.0 } else { 4.0 / 3.0 }).collect();
            assert_eq!(mask(n, 0.25, 7), sequence);
        }
    }
}
