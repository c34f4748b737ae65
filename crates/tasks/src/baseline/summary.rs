//! Classes of whole sequences from a few statistics of each channel.

use nalgebra::{DMatrix, DVector, DVectorView};

use super::{Baseline, min_norm::min_norm};
use crate::batch::Batch;

/// Statistics of a channel: mean, standard deviation, minimum, maximum and median.
const STATISTICS: usize = 5;
/// Weight of the ridge's penalty, for summaries of deviation 1.
const PENALTY: f64 = 1.0;
/// Smallest probability of a class.
const LEAST: f64 = 1e-3;

/// The statistics of the channels of each sequence. `[batch, channels · 5]`
fn summaries(batch: &Batch) -> DMatrix<f64> {
    let (values, seq_len) = (batch.inputs.continuous(), batch.dims.seq_len);
    let channels = values.len() / (batch.size * seq_len).max(1);
    let mut all = Vec::with_capacity(batch.size * channels * STATISTICS);
    for sequence in values.chunks_exact(seq_len * channels) {
        for channel in 0..channels {
            let mut x: Vec<f64> = sequence[channel..].iter().step_by(channels).map(|value| f64::from(*value)).collect();
            x.sort_by(f64::total_cmp);
            let n = x.len() as f64;
            let mean = x.iter().sum::<f64>() / n;
            let deviation = (x.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt();
            let median = f64::midpoint(x[(x.len() - 1) / 2], x[x.len() / 2]);
            all.extend([mean, deviation, x[0], x[x.len() - 1], median]);
        }
    }
    DMatrix::from_row_slice(batch.size, channels * STATISTICS, &all)
}

/// The classes at the last position of each sequence.
fn classes(batch: &Batch) -> Vec<usize> {
    let of_sequences = batch.targets.classes().chunks_exact(batch.dims.seq_len);
    of_sequences.map(|classes| classes[classes.len() - 1] as usize).collect()
}

/// Logits at the last position from scores of the classes, which are cut off below at 0.001. The other positions are not
/// scored.
///
/// # Shapes
/// scores `[batch, d_out]` -> `[batch, seq_len, d_out]`
fn logits(batch: &Batch, scores: &DMatrix<f64>) -> Vec<f32> {
    let before = vec![0.0; (batch.dims.seq_len - 1) * batch.dims.d_out];
    let sequence = |at: usize| {
        let last = scores.row(at).iter().map(|score| score.max(LEAST).ln() as f32).collect();
        [before.clone(), last].concat()
    };
    (0..batch.size).flat_map(sequence).collect()
}

/// Mean and standard deviation of each summary over training sequences.
struct Standard {
    mean: DVector<f64>,
    deviation: DVector<f64>,
}

impl Standard {
    fn of(summaries: &DMatrix<f64>) -> Self {
        let mean = summaries.row_mean().transpose();
        // A constant channel says nothing.
        let deviation =
            summaries.row_variance().transpose().map(|variance| if variance > 0.0 { variance.sqrt() } else { 1.0 });
        Self { mean, deviation }
    }

    fn apply(&self, mut summaries: DMatrix<f64>) -> DMatrix<f64> {
        for (at, mut column) in summaries.column_iter_mut().enumerate() {
            column.add_scalar_mut(-self.mean[at]);
            column /= self.deviation[at];
        }
        summaries
    }
}

/// The class with the largest score s = b + z W, z the standardised mean, deviation, minimum, maximum and median of every
/// channel, W and b minimising Σ |s − e|² + |W|² over training sequences, e the indicator
/// of the class. Its probabilities are the scores, cut off
/// below at 0.001.
#[derive(Default)]
pub struct SummaryRidge {
    /// What standardises, W and b; `None` until fitted.
    fitted: Option<(Standard, DMatrix<f64>, DVector<f64>)>,
}

impl Baseline for SummaryRidge {
    fn name(&self) -> &'static str {
        "ridge_on_summaries"
    }

    fn fit(&mut self, train: &Batch) {
        let summaries = summaries(train);
        let standard = Standard::of(&summaries);
        let z = standard.apply(summaries);
        let mut wanted = DMatrix::zeros(train.size, train.dims.d_out);
        classes(train).into_iter().enumerate().for_each(|(at, class)| wanted[(at, class)] = 1.0);
        let shares = wanted.row_mean();
        // Columns of z have mean 0, so that b is the mean of what is wanted. The penalty is as many more sequences as there are
        // summaries.
        let (rows, columns) = z.shape();
        let mut design = DMatrix::zeros(rows + columns, columns);
        design.rows_mut(0, rows).copy_from(&z);
        design.rows_mut(rows, columns).fill_diagonal(PENALTY.sqrt());
        let mut answers = DMatrix::zeros(rows + columns, train.dims.d_out);
        for (mut answer, wanted) in answers.row_iter_mut().zip(wanted.row_iter()) {
            answer.copy_from(&(wanted - &shares));
        }
        self.fitted = Some((standard, min_norm(design, answers), shares.transpose()));
    }

    fn predict(&self, batch: &Batch) -> Vec<f32> {
        let (standard, weight, bias) = self.fitted.as_ref().expect("fit first");
        let mut scores = standard.apply(summaries(batch)) * weight;
        scores.row_iter_mut().for_each(|mut row| row += bias.transpose());
        logits(batch, &scores)
    }
}

/// The class of the training sequence whose standardised summaries, the same as of [`SummaryRidge`], are nearest in the
/// sum of absolute differences; of two at the same distance, the earlier one counts. Every other class has the
/// probability 0.001.
#[derive(Default)]
pub struct NearestSummary {
    /// What standardises, the standardised summaries and classes of the training sequences; `None` until fitted.
    fitted: Option<(Standard, DMatrix<f64>, Vec<usize>)>,
}

impl Baseline for NearestSummary {
    fn name(&self) -> &'static str {
        "nearest_summary"
    }

    fn fit(&mut self, train: &Batch) {
        let summaries = summaries(train);
        let standard = Standard::of(&summaries);
        // One column for each sequence, which then lies in one piece.
        let known = standard.apply(summaries).transpose();
        self.fitted = Some((standard, known, classes(train)));
    }

    fn predict(&self, batch: &Batch) -> Vec<f32> {
        let (standard, known, classes) = self.fitted.as_ref().expect("fit first");
        let asked = standard.apply(summaries(batch)).transpose();
        let mut scores = DMatrix::zeros(batch.size, batch.dims.d_out);
        for (at, asked) in asked.column_iter().enumerate() {
            let distance =
                |known: DVectorView<'_, f64>| known.iter().zip(asked.iter()).map(|(a, b)| (a - b).abs()).sum::<f64>();
            let distances = known.column_iter().map(distance).enumerate();
            let nearest = distances.min_by(|(_, a), (_, b)| a.total_cmp(b)).map_or(0, |(nearest, _)| nearest);
            scores[(at, classes[nearest])] = 1.0;
        }
        logits(batch, &scores)
    }
}
