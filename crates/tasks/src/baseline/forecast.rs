//! Forecasts of several series from a window of their past.

use std::sync::{Arc, OnceLock};

use nalgebra::{DMatrix, DMatrixView, DVector};

use super::Baseline;
use crate::batch::Batch;

/// Sizes of a forecast.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// Number of steps that are seen.
    pub window: usize,
    /// Number of steps that are forecast.
    pub horizon: usize,
    /// Number of series.
    pub channels: usize,
    /// Whether a forecast counts from the last value that was seen.
    pub from_last: bool,
}

/// A predictor of series in which 0 is the mean over the training part.
struct Forecaster {
    name: &'static str,
    form: Form,
    rule: Rule,
}

/// What is forecast for step k = 1 … horizon after x_1 … x_n.
enum Rule {
    /// 0, the mean over the training part.
    Mean,
    /// x_n.
    Last,
    /// The newest value that is a whole number of periods older.
    Seasonal { period: usize },
    /// x_n + b + Σ_i W_i (x_i − x_n), see [`Fits`].
    Ridge { fits: Arc<Fits>, per_channel: bool },
}

impl Form {
    /// The mean, the last value, the value a period ago if there is one, and two ridge regressions: one map for all
    /// channels, and one for each. They are fitted to all windows of the first `train` rows of `series`.
    ///
    /// # Shapes
    /// series `[rows, channels]`
    pub fn baselines(self, period: Option<usize>, series: &Arc<Vec<f32>>, train: usize) -> Vec<Box<dyn Baseline>> {
        let fits = Arc::new(Fits {
            form: self,
            train,
            series: series.clone(),
            moments: OnceLock::new(),
            maps: [OnceLock::new(), OnceLock::new()],
        });
        let ridge = |per_channel| Rule::Ridge { fits: Arc::clone(&fits), per_channel };
        let rules = [
            Some(("mean", Rule::Mean)),
            Some(("last_value", Rule::Last)),
            period.map(|period| ("seasonal", Rule::Seasonal { period })),
            Some(("ridge", ridge(false))),
            Some(("ridge_per_channel", ridge(true))),
        ];
        let of = |(name, rule)| -> Box<dyn Baseline> { Box::new(Forecaster { name, form: self, rule }) };
        rules.into_iter().flatten().map(of).collect()
    }
}

impl Forecaster {
    /// The change from the last value, step by step.
    ///
    /// # Shapes
    /// window `[window, channels]` -> `[horizon, channels]`
    fn changes(&self, window: &[f32]) -> Vec<f32> {
        let Form { window: n, horizon, channels, .. } = self.form;
        let last = &window[(n - 1) * channels..];
        let of_each = |of: &dyn Fn(usize, usize) -> f32| -> Vec<f32> {
            (0..horizon).flat_map(|step| (0..channels).map(move |channel| of(step, channel))).collect()
        };
        match &self.rule {
            Rule::Mean => of_each(&|_, channel| -last[channel]),
            Rule::Last => vec![0.0; horizon * channels],
            Rule::Seasonal { period } => {
                of_each(&|step, channel| window[(n - period + step % period) * channels + channel] - last[channel])
            }
            Rule::Ridge { fits, per_channel } => {
                let maps = fits.maps(*per_channel);
                let answers: Vec<DVector<f64>> = (0..channels)
                    .map(|channel| {
                        let past = window[channel..].iter().step_by(channels).map(|x| f64::from(x - last[channel]));
                        let past = DVector::from_iterator(n + 1, past.chain([1.0]));
                        maps[channel % maps.len()].tr_mul(&past)
                    })
                    .collect();
                of_each(&|step, channel| answers[channel][step] as f32)
            }
        }
    }
}

impl Baseline for Forecaster {
    fn name(&self) -> &'static str {
        self.name
    }

    /// Fits to the whole training part, of which the examples are windows.
    fn fit(&mut self, _: &Batch) {}

    fn predict(&self, batch: &Batch) -> Vec<f32> {
        let Form { window, channels, from_last, .. } = self.form;
        let answer = |seen: &[f32]| {
            let mut forecast = self.changes(seen);
            if !from_last {
                let last = seen[(window - 1) * channels..].iter().cycle();
                forecast.iter_mut().zip(last).for_each(|(change, last)| *change += last);
            }
            forecast
        };
        batch.inputs.continuous().chunks_exact(window * channels).flat_map(answer).collect()
    }
}

/// Ridge regressions of the next steps on a window minus its last value (NLinear): with z = (x_1 − x_n, …, x_n − x_n, 1) and
/// y = (x_(n+1) − x_n, …) the map W minimises Σ |y − W^T z|² + λ |W without its last row|² over all training windows, of
/// one channel or of all. Exact, by the normal equations in f64; λ = 1 in units of scaled numbers, next to nothing beside thousands of windows.
///
/// # References
/// Zeng et al. 2023, arXiv 2205.13504.
struct Fits {
    form: Form,
    train: usize,
    series: Arc<Vec<f32>>,
    /// Z^T Z and Z^T Y of each channel.
    moments: OnceLock<Vec<[DMatrix<f64>; 2]>>,
    /// The map for all channels, and those of each. `[window + 1, horizon]`
    maps: [OnceLock<Vec<DMatrix<f64>>>; 2],
}

const LAMBDA: f64 = 1.0;

impl Fits {
    fn maps(&self, per_channel: bool) -> &[DMatrix<f64>] {
        let moments =
            self.moments.get_or_init(|| (0..self.form.channels).map(|channel| self.moments(channel)).collect());
        self.maps[usize::from(per_channel)].get_or_init(|| {
            if per_channel {
                return moments.iter().map(solve).collect();
            }
            let sum = |which: usize| moments.iter().skip(1).fold(moments[0][which].clone(), |sum, of| sum + &of[which]);
            vec![solve(&[sum(0), sum(1)])]
        })
    }

    /// Z^T Z and Z^T Y over the windows of a channel.
    fn moments(&self, channel: usize) -> [DMatrix<f64>; 2] {
        /// Windows that are multiplied at a time.
        const BLOCK: usize = 512;
        let Form { window, horizon, channels, .. } = self.form;
        let values: Vec<f64> = self.series.iter().skip(channel).step_by(channels).map(|x| f64::from(*x)).collect();
        let windows = (self.train + 1).saturating_sub(window + horizon);
        let mut moments = [DMatrix::zeros(window + 1, window + 1), DMatrix::zeros(window + 1, horizon)];
        for first in (0..windows).step_by(BLOCK) {
            let count = BLOCK.min(windows - first);
            let last = |at: usize| values[first + at + window - 1];
            // One column per window.
            let z =
                DMatrix::from_fn(
                    window + 1,
                    count,
                    |i, at| {
                        if i == window { 1.0 } else { values[first + at + i] - last(at) }
                    },
                );
            let y = DMatrix::from_fn(horizon, count, |step, at| values[first + at + window + step] - last(at));
            let add = |to: &mut DMatrix<f64>, of: DMatrixView<f64>| to.gemm(1.0, &z, &of.transpose(), 1.0);
            let [zz, zy] = &mut moments;
            add(zz, z.as_view());
            add(zy, y.as_view());
        }
        moments
    }
}

/// (Z^T Z + λ I)^(-1) Z^T Y, where the offset's entry of I is 0.
fn solve([zz, zy]: &[DMatrix<f64>; 2]) -> DMatrix<f64> {
    let mut penalised = zz.clone();
    let offset = zz.nrows() - 1;
    (0..offset).for_each(|i| penalised[(i, i)] += LAMBDA);
    // Positive definite, as there is a window: the ones of the offset are not in the span of the penalised rest.
    let cholesky = penalised.cholesky();
    cholesky.map_or_else(|| DMatrix::zeros(zz.nrows(), zy.ncols()), |factors| factors.solve(zy))
}
