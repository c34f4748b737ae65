//! The most similar picture.

use std::sync::Arc;

use super::Baseline;
use crate::{
    batch::Batch,
    picture::{Patches, Pictures},
};

/// The training picture whose pixels are nearest in Euclidean distance to those that are visible; of two at the same
/// distance, the earlier one counts.
pub struct NearestPicture {
    patches: Patches,
    pictures: Arc<Pictures>,
}

impl NearestPicture {
    pub(crate) fn new(patches: Patches, pictures: Arc<Pictures>) -> Self {
        Self { patches, pictures }
    }

    fn nearest(&self, inputs: &[f32]) -> usize {
        let (shown, hidden) = self.patches.shown(inputs);
        let bytes: Vec<u8> = shown.iter().map(|number| (number * 255.0).round() as u8).collect();
        let counts = hidden.iter().flat_map(|hidden| std::iter::repeat_n(-i16::from(!hidden), self.patches.channels));
        let counts: Vec<i16> = counts.collect();
        let distances = self.pictures.each().map(|picture| distance(picture, &bytes, &counts)).enumerate();
        distances.min_by_key(|(_, distance)| *distance).map_or(0, |(at, _)| at)
    }
}

impl Baseline for NearestPicture {
    fn name(&self) -> &'static str {
        "nearest_picture"
    }

    fn fit(&mut self, _: &Batch) {}

    fn predict(&self, batch: &Batch) -> Vec<f32> {
        let examples = batch.inputs.continuous().chunks_exact(self.patches.count() * self.patches.d_in());
        examples.flat_map(|inputs| self.patches.cut(&self.pictures.numbers(self.nearest(inputs)))).collect()
    }
}

/// Numbers whose squared differences a u32 can sum.
const BLOCK: usize = 1 << 15;

/// Σ (a − b)² over the numbers for which `counts` is −1, all bits set, and not 0.
fn distance(a: &[u8], b: &[u8], counts: &[i16]) -> u64 {
    let blocks = a.chunks(BLOCK).zip(b.chunks(BLOCK)).zip(counts.chunks(BLOCK));
    let of_block = |((a, b), counts): ((&[u8], &[u8]), &[i16])| -> u32 {
        let differences = a.iter().zip(b).zip(counts).map(|((a, b), counts)| (i16::from(*a) - i16::from(*b)) & counts);
        differences.map(|difference| i32::from(difference).pow(2).cast_unsigned()).sum()
    };
    blocks.map(|block| u64::from(of_block(block))).sum()
}
