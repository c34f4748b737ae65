//! Scores of predictions on the host, in f64: the same code for the network and for classical predictors.

use std::collections::BTreeMap;

use headway_tasks::{Batch, Slice, Targets};

use crate::loss::{Loss, zero_padded};

/// Scores accumulated over the batches of an evaluation set.
pub struct Scores {
    loss: Loss,
    slices: Vec<Slice>,
    loss_sum: Mean,
    quality: Mean,
    per_slice: Vec<Mean>,
    classes: bool,
}

#[derive(Clone, Copy, Default)]
struct Mean {
    sum: f64,
    count: u64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    fn get(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

impl Scores {
    /// No scores yet.
    pub fn new(loss: Loss, slices: Vec<Slice>) -> Self {
        let per_slice = vec![Mean::default(); slices.len()];
        Self { loss, slices, loss_sum: Mean::default(), quality: Mean::default(), per_slice, classes: false }
    }

    /// Adds a batch. A prediction narrower than the network's is padded with zeros, which a classical predictor means.
    ///
    /// # Shapes
    /// prediction `[batch, seq_len, width]`, row-major; `model_width` the channels the network returns
    pub fn add(&mut self, batch: &Batch, prediction: &[f32], width: usize, model_width: usize) {
        let seq_len = batch.dims.seq_len;
        for (row, prediction) in prediction.chunks_exact(width).enumerate() {
            if !batch.scored[row] {
                continue;
            }
            let quality = match &batch.targets {
                Targets::Continuous(targets) => {
                    let d_out = batch.dims.d_out;
                    let channels = self.loss.channels(model_width, d_out);
                    let target = zero_padded(&targets[row * d_out..][..d_out], d_out, channels.max(width));
                    let error = |channel: usize| {
                        let predicted = prediction.get(channel).copied().unwrap_or(0.0);
                        (f64::from(predicted) - f64::from(target[channel])).powi(2)
                    };
                    (0..channels).for_each(|channel| self.loss_sum.add(error(channel)));
                    (0..d_out).map(error).sum::<f64>() / d_out as f64
                }
                Targets::Classes(classes) => {
                    self.classes = true;
                    let class = classes[row] as usize;
                    self.loss_sum.add(cross_entropy(prediction, class));
                    f64::from(u8::from(argmax(prediction) == class))
                }
            };
            self.quality.add(quality);
            for (slice, mean) in self.slices.iter().zip(&mut self.per_slice) {
                if slice.positions.contains(&(row % seq_len)) {
                    mean.add(quality);
                }
            }
        }
    }

    /// Values by name: `loss`, `mse` or `accuracy`, and one of the latter per slice, `mse[slice]`.
    pub fn values(&self) -> BTreeMap<String, f64> {
        let quality = if self.classes { "accuracy" } else { "mse" };
        let totals = [("loss".to_owned(), self.loss_sum), (quality.to_owned(), self.quality)];
        let slices = self.slices.iter().zip(&self.per_slice);
        let slices = slices.map(|(slice, mean)| (format!("{quality}[{}]", slice.name), *mean));
        totals.into_iter().chain(slices).filter_map(|(name, mean)| Some((name, mean.get()?))).collect()
    }
}

fn cross_entropy(logits: &[f32], class: usize) -> f64 {
    let top = logits.iter().fold(f32::NEG_INFINITY, |top, &logit| top.max(logit));
    let total: f64 = logits.iter().map(|&logit| f64::from(logit - top).exp()).sum();
    total.ln() - f64::from(logits[class] - top)
}

fn argmax(logits: &[f32]) -> usize {
    let top = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    top.map_or(0, |(index, _)| index)
}
