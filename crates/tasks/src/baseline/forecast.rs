//! Forecasts of several series from a window of their past.

use std::sync::{Arc, OnceLock};

use nalgebra::{DMatrix, DVector};

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
    /// Bytes of what is kept at once while ridge regressions are fitted: the products of the numbers of a window, of one
    /// channel and of all, and the maps.
    pub fn bytes(self) -> f64 {
        let [window, horizon, channels] = [self.window, self.horizon, self.channels].map(|size| size as f64);
        8.0 * (window + 1.0) * (2.0 * (window + 1.0) + (channels + 2.0) * horizon)
    }

    /// The mean, the last value, the value a period ago if there is one, and two ridge regressions: one map for all
    /// channels, and one for each. They are fitted to all windows of the first `train` rows of `series`.
    ///
    /// # Shapes
    /// series `[rows, channels]`
    pub fn baselines(self, period: Option<usize>, series: &Arc<Vec<f32>>, train: usize) -> Vec<Box<dyn Baseline>> {
        let fits = Arc::new(Fits { form: self, train, series: series.clone(), maps: OnceLock::new() });
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
                let Maps { shared, each } = fits.maps();
                let answers: Vec<DVector<f64>> = (0..channels)
                    .map(|channel| {
                        let past = window[channel..].iter().step_by(channels).map(|x| f64::from(x - last[channel]));
                        let past = DVector::from_iterator(n + 1, past.chain([1.0]));
                        if *per_channel { &each[channel] } else { shared }.tr_mul(&past)
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
    maps: OnceLock<Maps>,
}

/// The map for all channels, and that of each. `[window + 1, horizon]`
struct Maps {
    shared: DMatrix<f64>,
    each: Vec<DMatrix<f64>>,
}

const LAMBDA: f64 = 1.0;

impl Fits {
    /// All maps, of one channel after the other, so that the products of one are kept beside their sum alone.
    fn maps(&self) -> &Maps {
        self.maps.get_or_init(|| {
            let Form { window, horizon, channels, .. } = self.form;
            let windows = (self.train + 1).saturating_sub(window + horizon);
            let mut sum = Moments::zeros(window, horizon);
            let each = (0..channels).map(|channel| {
                let values = self.series.iter().skip(channel).step_by(channels).map(|x| f64::from(*x));
                let moments = Moments::of(&values.collect::<Vec<f64>>(), window, horizon, windows);
                sum.zz += &moments.zz;
                sum.zy += &moments.zy;
                moments.solve()
            });
            let each = each.collect();
            Maps { shared: sum.solve(), each }
        })
    }
}

/// Z^T Z and Z^T Y over the windows of a channel.
struct Moments {
    /// `[window + 1, window + 1]`
    zz: DMatrix<f64>,
    /// `[window + 1, horizon]`
    zy: DMatrix<f64>,
}

impl Moments {
    fn zeros(window: usize, horizon: usize) -> Self {
        Self { zz: DMatrix::zeros(window + 1, window + 1), zy: DMatrix::zeros(window + 1, horizon) }
    }

    /// From S_ij = Σ_t x_(t+i) x_(t+j) over windows t < T, which follow each other along a diagonal,
    ///
    /// ```text
    /// S_(i+1)(j+1) = S_ij + x_(T+i) x_(T+j) − x_i x_j
    /// ```
    ///
    /// and with l the last step that is seen, Σ (x_i − x_l)(x_j − x_l) = S_ij − S_il − S_lj + S_ll.
    fn of(x: &[f64], window: usize, horizon: usize, windows: usize) -> Self {
        let (last, steps) = (window - 1, window + horizon);
        let mut moments = Self::zeros(window, horizon);
        let Self { zz, zy } = &mut moments;
        let mut before = vec![0.0; window];
        for j in 0..steps {
            let mut column = vec![0.0; window];
            column[0] = x[..windows].iter().zip(&x[j..]).map(|(first, later)| first * later).sum();
            for i in 1..=j.min(last) {
                column[i] = before[i - 1] + x[windows + i - 1] * x[windows + j - 1] - x[i - 1] * x[j - 1];
            }
            for (i, sum) in column.iter().enumerate().take(j + 1) {
                if j < window {
                    (zz[(i, j)], zz[(j, i)]) = (*sum, *sum);
                } else {
                    zy[(i, j - window)] = *sum;
                }
            }
            before = column;
        }
        let of_last: Vec<f64> = zz.column(last).iter().take(window).copied().collect(); // S_il
        let ahead: Vec<f64> = zy.row(last).iter().copied().collect(); // S_l(window + k)
        let mean: Vec<f64> = (0..steps).map(|j| x[j..j + windows].iter().sum()).collect();
        for i in 0..window {
            for j in 0..window {
                zz[(i, j)] += of_last[last] - of_last[i] - of_last[j];
            }
            for (k, ahead) in ahead.iter().enumerate() {
                zy[(i, k)] += of_last[last] - of_last[i] - ahead;
            }
            (zz[(i, window)], zz[(window, i)]) = (mean[i] - mean[last], mean[i] - mean[last]);
        }
        zz[(window, window)] = windows as f64;
        (0..horizon).for_each(|k| zy[(window, k)] = mean[window + k] - mean[last]);
        moments
    }

    /// (Z^T Z + λ I)^(-1) Z^T Y, where the offset's entry of I is 0.
    fn solve(self) -> DMatrix<f64> {
        let Self { mut zz, mut zy } = self;
        let offset = zz.nrows() - 1;
        (0..offset).for_each(|i| zz[(i, i)] += LAMBDA);
        // Positive definite, as there is a window: the ones of the offset are not in the span of the penalised rest.
        match zz.cholesky() {
            Some(factors) => factors.solve_mut(&mut zy),
            None => zy.fill(0.0),
        }
        zy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the definition, window after window; no two sizes are equal.
    #[test]
    fn moments_are_sums_over_windows() {
        let x: Vec<f64> = (0..23).map(|t| f64::from(t * t % 17) - 0.25 * f64::from(t)).collect();
        for (window, horizon) in [(1, 2), (5, 3), (7, 11)] {
            let windows = x.len() + 1 - window - horizon;
            let mut wanted = Moments::zeros(window, horizon);
            for seen in x.windows(window + horizon) {
                let change = |at: usize| seen[at] - seen[window - 1];
                let z = DVector::from_fn(window + 1, |i, _| if i == window { 1.0 } else { change(i) });
                let y = DVector::from_fn(horizon, |k, _| change(window + k));
                wanted.zz += &z * z.transpose();
                wanted.zy += &z * y.transpose();
            }
            let found = Moments::of(&x, window, horizon, windows);
            // Quarters below 2^10 and their products: every sum is exact.
            assert_eq!((found.zz, found.zy), (wanted.zz, wanted.zy), "{window}, {horizon}");
        }
    }
}
