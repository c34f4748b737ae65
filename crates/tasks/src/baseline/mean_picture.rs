//! The mean of pictures.

use std::sync::Arc;

use super::Baseline;
use crate::{
    batch::Batch,
    picture::{Patches, Pictures},
};

/// The mean of all training pictures, pixel by pixel, whatever is visible.
pub struct MeanPicture {
    patches: Patches,
    pictures: Arc<Pictures>,
    /// `[height, width, channels]`; empty until fitted.
    mean: Vec<f64>,
}

impl MeanPicture {
    pub(crate) fn new(patches: Patches, pictures: Arc<Pictures>) -> Self {
        Self { patches, pictures, mean: Vec::new() }
    }
}

impl Baseline for MeanPicture {
    fn name(&self) -> &'static str {
        "mean_picture"
    }

    /// Takes the mean of all training pictures, of which the examples are some.
    fn fit(&mut self, _: &Batch) {
        self.mean = mean(&self.pictures);
    }

    fn predict(&self, batch: &Batch) -> Vec<f32> {
        let mean: Vec<f32> = self.mean.iter().map(|value| *value as f32).collect();
        self.patches.cut(&mean).repeat(batch.size)
    }
}

/// The mean of pictures, from 0 to 1. `[height, width, channels]`
pub(super) fn mean(pictures: &Pictures) -> Vec<f64> {
    let mut sums = vec![0_u64; pictures.shape.iter().product()];
    for picture in pictures.each() {
        sums.iter_mut().zip(picture).for_each(|(sum, byte)| *sum += u64::from(*byte));
    }
    sums.into_iter().map(|sum| sum as f64 / (255.0 * pictures.len().max(1) as f64)).collect()
}
