//! Scores of predictions, computed on the host in f64 by the same code for networks and classical predictors.

use std::collections::BTreeMap;

use headway_tasks::{Batch, Measure, Targets, Wanted};

use crate::{
    loss::{Loss, zero_padded},
    provenance::Doubt,
};

/// Scores accumulated over the batches of an evaluation set.
#[derive(Clone)]
pub struct Scores {
    loss: Loss,
    slices: Vec<String>,
    loss_sum: Mean,
    metric: Mean,
    /// Mean absolute error, for tasks whose numbers have units.
    absolute: Mean,
    /// What the task asks for besides, each with its mean.
    measures: Vec<(Measure, Mean)>,
    per_slice: Vec<Mean>,
    /// Mean of each example, for the variation between examples.
    per_example: Vec<Mean>,
    classes: bool,
}

#[derive(Clone, Copy, Default)]
struct Mean {
    sum: f64,
    square: f64,
    /// Number of values, each by its weight.
    count: f64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.add_weighted(value, 1.0);
    }

    /// Adds a value that counts as `weight` others.
    fn add_weighted(&mut self, value: f64, weight: f64) {
        self.sum += weight * value;
        self.square += weight * value * value;
        self.count += weight;
    }

    fn get(self) -> Option<f64> {
        (self.count > 0.0).then(|| self.sum / self.count)
    }

    /// Standard error of the mean.
    fn error(self) -> Option<f64> {
        let n = self.count;
        let variance = (self.square - self.sum * self.sum / n) / (n - 1.0);
        (n > 1.0).then(|| (variance.max(0.0) / n).sqrt())
    }
}

impl Scores {
    /// Empty scores; `slices` are the names that positions of examples refer to, `measures` the task's further scores.
    pub fn new(loss: Loss, slices: Vec<String>, measures: Vec<Measure>) -> Self {
        let [per_slice, per_example] = [vec![Mean::default(); slices.len()], vec![Mean::default(); slices.len()]];
        let [loss_sum, metric, absolute] = [Mean::default(); 3];
        let measures = measures.into_iter().map(|measure| (measure, Mean::default())).collect();
        Self { loss, slices, loss_sum, metric, absolute, measures, per_slice, per_example, classes: false }
    }

    /// Adds a batch. A prediction narrower than the network's is padded with zeros, as classical predictors intend.
    ///
    /// # Shapes
    /// prediction `[batch, asked, width]`, row-major; `model_width` is the width of the network's output
    pub fn add(&mut self, batch: &Batch, prediction: &[f32], width: usize, model_width: usize) {
        let asked = batch.asked();
        let mut example = vec![Mean::default(); self.slices.len()];
        for (row, prediction) in prediction.chunks_exact(width).enumerate() {
            if batch.loss_mask[row] {
                let metric = score(self.loss, batch, row, prediction, model_width, &mut self.loss_sum);
                self.classes |= matches!(batch.targets, Targets::Classes(_));
                let share = batch.share(row);
                self.metric.add_weighted(metric, share);
                if let Some(error) = absolute(batch, row, prediction) {
                    self.absolute.add_weighted(error, share);
                }
                let wanted = wanted(batch, row);
                for (measure, mean) in &mut self.measures {
                    if let Some(value) = measure.at(prediction, wanted, batch.slices[row]) {
                        mean.add_weighted(value, share);
                    }
                }
                if let Some(slice) = batch.slices[row] {
                    self.per_slice[slice as usize].add_weighted(metric, share);
                    example[slice as usize].add_weighted(metric, share);
                }
            }
            if (row + 1).is_multiple_of(asked) {
                for (mean, all) in example.iter_mut().zip(&mut self.per_example) {
                    std::mem::take(mean).get().into_iter().for_each(|value| all.add(value));
                }
            }
        }
    }

    /// Whether all scores are finite; a network with one that is not has no scores.
    pub fn are_finite(&self) -> bool {
        self.values().values().all(|value| value.is_finite())
    }

    /// Values by name: `loss`, `mse` or `accuracy`, `mae` if numbers have units, what the task asks for besides, and per
    /// slice `mse[slice]` or `accuracy[slice]`. Squared and absolute errors are in the data's own units.
    pub fn values(&self) -> BTreeMap<String, f64> {
        let totals = [
            ("loss".to_owned(), self.loss_sum),
            (metric_name(self.classes).to_owned(), self.metric),
            (MAE.to_owned(), self.absolute),
        ];
        let slices = self.of_slices(&self.per_slice);
        let further = self.measures.iter().filter_map(|(measure, mean)| {
            Some((measure.name().to_owned(), measure.score(mean.get(), self.loss_sum.get())?))
        });
        totals.into_iter().chain(slices).filter_map(|(name, mean)| Some((name, mean.get()?))).chain(further).collect()
    }

    /// Standard error of each slice's value, taking examples as the independent observations.
    pub fn errors(&self) -> BTreeMap<String, f64> {
        self.of_slices(&self.per_example).filter_map(|(name, mean)| Some((name, mean.error()?))).collect()
    }

    fn of_slices<'a>(&'a self, means: &'a [Mean]) -> impl Iterator<Item = (String, Mean)> + 'a {
        let name = metric_name(self.classes);
        self.slices.iter().zip(means).map(move |(slice, mean)| (format!("{name}[{slice}]"), *mean))
    }
}

/// How much better a network is than the best possible predictor, example by example. Where the best prediction is
/// unknown, given as NaN, its error counts as zero.
pub struct Lead {
    loss: Loss,
    slices: Vec<String>,
    /// For the loss, the metric, and each slice: the best possible score, how much better the network's score is, and
    /// the size of the targets, each as a mean per example.
    scores: Vec<[Mean; 3]>,
    classes: bool,
}

/// A network is doubted if it is better by more than this number of standard errors.
const CLEARLY: f64 = 4.0;
/// Least number of examples for a standard error to be trusted that far.
const FEWEST: f64 = 20.0;
/// An advantage below this share of the size of the targets is rounding in single precision.
const ROUNDING: f64 = 1e-8;

impl Lead {
    /// An empty lead; `slices` as for [`Scores::new`].
    pub fn new(loss: Loss, slices: Vec<String>) -> Self {
        let scores = vec![[Mean::default(); 3]; 2 + slices.len()];
        Self { loss, slices, scores, classes: false }
    }

    /// Adds a batch with the network's prediction and the best possible prediction.
    ///
    /// # Shapes
    /// prediction `[batch, asked, width]`, best `[batch, asked, d_out]`, row-major
    pub fn add(&mut self, batch: &Batch, prediction: &[f32], width: usize, best: &[f32]) {
        let (asked, d_out) = (batch.asked(), batch.dims.d_out);
        self.classes = matches!(batch.targets, Targets::Classes(_));
        let mut example = vec![[Mean::default(); 3]; self.scores.len()];
        let rows = prediction.chunks_exact(width).zip(best.chunks_exact(d_out));
        for (row, (prediction, best)) in rows.enumerate() {
            if batch.loss_mask[row] {
                let mut losses = [Mean::default(); 2];
                let metric = score(self.loss, batch, row, prediction, width, &mut losses[0]);
                let best_metric = if best.iter().any(|value| value.is_nan()) {
                    losses[1].add(0.0);
                    f64::from(u8::from(self.classes))
                } else {
                    score(self.loss, batch, row, best, width, &mut losses[1])
                };
                let [loss, best_loss] = losses.map(|mean| mean.get().unwrap_or_default());
                let size = match &batch.targets {
                    Targets::Continuous(targets) => {
                        let known = targets[row * d_out..][..d_out].iter().filter(|target| !target.is_nan());
                        known.map(|target| f64::from(*target).powi(2)).sum::<f64>()
                            / (d_out - batch.missing(row)) as f64
                    }
                    Targets::Classes(_) => 1.0,
                };
                // Larger is better only for an accuracy.
                let ahead = if self.classes { metric - best_metric } else { best_metric - metric };
                let slice = batch.slices[row].map(|slice| 2 + slice as usize);
                let of_metric = [Some(1), slice].into_iter().flatten().map(|at| (at, [best_metric, ahead, size]));
                for (at, values) in of_metric.chain([(0, [best_loss, best_loss - loss, size])]) {
                    let share = batch.share(row);
                    example[at].iter_mut().zip(values).for_each(|(mean, value)| mean.add_weighted(value, share));
                }
            }
            if (row + 1).is_multiple_of(asked) {
                for (of_example, all) in example.iter_mut().flatten().zip(self.scores.iter_mut().flatten()) {
                    std::mem::take(of_example).get().into_iter().for_each(|value| all.add(value));
                }
            }
        }
    }

    /// Scores, by their names in [`Scores::values`], that are better than the best possible ones by more than `CLEARLY`
    /// standard errors, paired by example.
    pub fn doubts(&self) -> BTreeMap<String, Doubt> {
        let metric = metric_name(self.classes);
        let totals = ["loss".to_owned(), metric.to_owned()];
        let names = totals.into_iter().chain(self.slices.iter().map(|slice| format!("{metric}[{slice}]")));
        let doubt = |[best, ahead, size]: &[Mean; 3]| {
            let (best, lead, error, size) = (best.get()?, ahead.get()?, ahead.error()?, size.get()?);
            let is_clear = ahead.count >= FEWEST && lead > CLEARLY * error && lead > ROUNDING * size;
            is_clear.then_some(Doubt::BeyondBest(best))
        };
        names.zip(&self.scores).filter_map(|(name, scores)| Some((name, doubt(scores)?))).collect()
    }
}

/// Name of the mean absolute error.
pub const MAE: &str = "mae";

/// Whether a score with this name is better when it is larger.
pub fn larger_is_better(name: &str) -> bool {
    name.contains("accuracy") || name.contains("psnr")
}

/// The target at one position.
fn wanted(batch: &Batch, row: usize) -> Wanted<'_> {
    match &batch.targets {
        Targets::Continuous(targets) => Wanted::Numbers(&targets[row * batch.dims.d_out..][..batch.dims.d_out]),
        Targets::Classes(classes) => Wanted::Class(classes[row]),
    }
}

/// Mean absolute error at one position in the data's own units; `None` if they have none.
fn absolute(batch: &Batch, row: usize, prediction: &[f32]) -> Option<f64> {
    let Targets::Continuous(targets) = &batch.targets else { return None };
    let d_out = batch.dims.d_out;
    let rows = prediction.iter().zip(&targets[row * d_out..][..d_out]).zip(&batch.units);
    let known = rows.filter(|((_, t), _)| !t.is_nan());
    let sum: f64 = known.map(|((p, t), unit)| (f64::from(*p) - f64::from(*t)).abs() * unit).sum();
    (!batch.units.is_empty()).then_some(sum / (d_out - batch.missing(row)) as f64)
}

/// Adds the loss at one position to a mean. Returns the squared error there, or 1 if the class is right and 0 if not.
fn score(loss: Loss, batch: &Batch, row: usize, prediction: &[f32], model_width: usize, losses: &mut Mean) -> f64 {
    match &batch.targets {
        Targets::Continuous(targets) => {
            let d_out = batch.dims.d_out;
            let channels = loss.channels(model_width, d_out);
            let target = zero_padded(&targets[row * d_out..][..d_out], d_out, channels.max(prediction.len()));
            let has_target = |channel: &usize| !target[*channel].is_nan();
            let error = |channel: usize| {
                let predicted = prediction.get(channel).copied().unwrap_or(0.0);
                f64::from(predicted) - f64::from(target[channel])
            };
            (0..channels).filter(has_target).for_each(|channel| losses.add(loss.of_error(error(channel))));
            let unit = |channel: usize| batch.units.get(channel).copied().unwrap_or(1.0);
            let squares = (0..d_out).filter(has_target).map(|channel| error(channel).powi(2) * unit(channel).powi(2));
            squares.sum::<f64>() / (d_out - batch.missing(row)) as f64
        }
        Targets::Classes(classes) => {
            let class = classes[row] as usize;
            losses.add(cross_entropy(prediction, class));
            f64::from(u8::from(argmax(prediction) == class))
        }
    }
}

/// Sums over the scored positions of one example.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExampleScore {
    /// Sum of losses, and their number.
    pub loss: (f64, f64),
    /// Sum of squared errors or number of right answers, and the number of positions.
    pub metric: (f64, f64),
}

/// The scores of each example of a batch. Sums over all examples divided by counts equal what [`Scores`] gives.
///
/// # Shapes
/// as [`Scores::add`]
pub fn by_example(
    loss: Loss,
    batch: &Batch,
    prediction: &[f32],
    width: usize,
    model_width: usize,
) -> Vec<ExampleScore> {
    let asked = batch.asked();
    let example = |(example, prediction): (usize, &[f32])| {
        let (mut losses, mut metric) = (Mean::default(), Mean::default());
        for (at, prediction) in prediction.chunks_exact(width).enumerate() {
            let row = example * asked + at;
            if batch.loss_mask[row] {
                let value = score(loss, batch, row, prediction, model_width, &mut losses);
                metric.add_weighted(value, batch.share(row));
            }
        }
        let pair = |mean: Mean| (mean.sum, mean.count);
        ExampleScore { loss: pair(losses), metric: pair(metric) }
    };
    prediction.chunks_exact(asked * width).enumerate().map(example).collect()
}

/// Name of the metric besides the loss: `accuracy` for classes, else `mse`.
pub fn metric_name(classes: bool) -> &'static str {
    if classes { "accuracy" } else { "mse" }
}

/// −ln softmax(logits) at the class; NaN if any logit is not finite.
fn cross_entropy(logits: &[f32], class: usize) -> f64 {
    if !logits.iter().all(|logit| logit.is_finite()) {
        return f64::NAN;
    }
    let top = logits.iter().fold(f32::NEG_INFINITY, |top, &logit| top.max(logit));
    let total: f64 = logits.iter().map(|&logit| f64::from(logit - top).exp()).sum();
    total.ln() - f64::from(logits[class] - top)
}

/// KL(p ‖ q) = Σ_c p_c ln(p_c / q_c) in nats, of the distributions p and q given by two rows of logits.
pub fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let log_softmax = |logits: &[f32]| -> Vec<f64> {
        let top = logits.iter().fold(f32::NEG_INFINITY, |top, &logit| top.max(logit));
        let total: f64 = logits.iter().map(|&logit| f64::from(logit - top).exp()).sum();
        logits.iter().map(|&logit| f64::from(logit - top) - total.ln()).collect()
    };
    log_softmax(p).iter().zip(log_softmax(q)).map(|(p, q)| p.exp() * (p - q)).sum()
}

/// Index of the largest number; of equal ones, the last.
pub(crate) fn argmax(logits: &[f32]) -> usize {
    let top = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    top.map_or(0, |(index, _)| index)
}
