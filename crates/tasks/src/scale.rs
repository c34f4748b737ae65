//! Scaling of the numbers of a file.

use serde::{Deserialize, Serialize};

/// Mean and standard deviation of every channel, in the data's own units. A network sees (value - mean) / deviation,
/// and its predictions are converted back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// Mean and deviation of input channels; empty for tokens. `[d_in]`
    pub inputs: Vec<[f64; 2]>,
    /// Mean and deviation of target channels; empty for classes. `[d_out]`
    pub targets: Vec<[f64; 2]>,
}

impl Scale {
    /// Inputs scaled for a network.
    ///
    /// # Shapes
    /// `[…, d_in]`, in the units of the data
    pub fn scaled_inputs(&self, values: &[f32]) -> Vec<f32> {
        scaled(values, &self.inputs)
    }

    /// Targets scaled for a network.
    ///
    /// # Shapes
    /// `[…, d_out]`, in the units of the data
    pub fn scaled_targets(&self, values: &[f32]) -> Vec<f32> {
        scaled(values, &self.targets)
    }

    /// Predictions of a network converted to the data's own units; logits of classes are unchanged.
    ///
    /// # Shapes
    /// `[…, d_out]`
    pub fn unscaled_targets(&self, values: &[f32]) -> Vec<f32> {
        if self.targets.is_empty() {
            return values.to_vec();
        }
        let one = |(value, [mean, deviation]): (&f32, &[f64; 2])| (f64::from(*value) * deviation + mean) as f32;
        values.iter().zip(self.targets.iter().cycle()).map(one).collect()
    }

    /// What is wrong with the scale for these widths; `None` if it fits. An empty one fits every width.
    pub fn problem(&self, d_in: usize, d_out: usize) -> Option<String> {
        let widths = [("inputs", &self.inputs, d_in), ("targets", &self.targets, d_out)];
        widths.into_iter().find_map(|(name, scale, width)| {
            let is_good = |[mean, deviation]: &[f64; 2]| mean.is_finite() && deviation.is_finite() && *deviation > 0.0;
            if !scale.is_empty() && scale.len() != width {
                return Some(format!("the scale of {name} has {} channels, and they have {width}", scale.len()));
            }
            let at = scale.iter().position(|channel| !is_good(channel))?;
            Some(format!("the scale of {name} has a mean and a deviation {:?} that no data has", scale[at]))
        })
    }
}

/// Mean and standard deviation of every channel over some examples; for a constant channel the deviation is replaced by
/// 1.
///
/// # Shapes
/// values `[n, positions, width]` -> `[width]`
pub(crate) fn moments(values: &[f32], positions: usize, width: usize, examples: &[usize]) -> Vec<[f64; 2]> {
    let rows =
        || examples.iter().flat_map(|&i| values[i * positions * width..][..positions * width].chunks_exact(width));
    let count = (examples.len() * positions).max(1) as f64;
    let channel = |channel: usize| {
        let numbers = || rows().map(|row| f64::from(row[channel]));
        let mean = numbers().sum::<f64>() / count;
        let deviation = (numbers().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
        // Equal f32 numbers have an exact mean in f64, so their deviation is exactly zero.
        [mean, if deviation > 0.0 { deviation } else { 1.0 }]
    };
    (0..width).map(channel).collect()
}

/// Values scaled for a network; unchanged if the scale is empty.
///
/// # Shapes
/// values `[…, width]`, scale `[width]`
fn scaled(values: &[f32], scale: &[[f64; 2]]) -> Vec<f32> {
    if scale.is_empty() {
        return values.to_vec();
    }
    let one = |(value, [mean, deviation]): (&f32, &[f64; 2])| ((f64::from(*value) - mean) / deviation) as f32;
    values.iter().zip(scale.iter().cycle()).map(one).collect()
}
