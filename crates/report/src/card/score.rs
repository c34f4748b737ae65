//! Scores with intervals: over the seeds of several checkpoints, or over the test examples of one.

use std::collections::BTreeMap;

use burn::{module::Module, tensor::Device};
use headway_model::{Model, weights};
use headway_plain::statistics;
use headway_tasks::{Batch, Measure, Split};

use crate::error::Error;
use crate::scores;
use headway_study::results::{Estimate, LEVEL, resamples};
use headway_trainer::{
    build,
    evaluate::{self, Doubter},
    experiment::Experiment,
    loss, metric,
    provenance::{NETWORK, Row},
};

/// A number with its interval.
pub(super) struct Score {
    pub mean: f64,
    pub interval: Option<[f64; 2]>,
}

/// The scores of one predictor, by name.
pub(super) struct Scored {
    pub name: String,
    pub values: BTreeMap<String, Score>,
}

/// The network's scores, then those of every classical predictor.
pub(super) struct Scores {
    /// Number of seeds behind each score; `None` for a single one.
    pub seeds: Option<usize>,
    /// Number of test examples per seed.
    pub examples: usize,
    pub rows: Vec<Scored>,
    /// Remarks about scores of the network that are finite but doubtful.
    pub remarks: Vec<String>,
}

/// Largest number of observations; of more, neighbours are merged, since more would make intervals slower but not
/// better.
const MOST_OBSERVATIONS: usize = 1000;

impl Scores {
    /// Means over the scores of several runs, one per seed, each given as its result rows.
    pub(super) fn over_seeds(runs: &[Vec<Row>]) -> Self {
        let rows = runs.first().map(Vec::as_slice).unwrap_or_default().iter().map(|row| {
            let values = row.metrics.keys().filter(|name| !name.contains('[')).filter_map(|name| {
                let of = |run: &Vec<Row>| run.iter().find(|other| other.name == row.name)?.metrics.get(name).copied();
                let estimate = Estimate::of(&runs.iter().filter_map(of).collect::<Vec<_>>())?;
                Some((name.clone(), Score { mean: estimate.mean, interval: estimate.interval }))
            });
            Scored { name: row.name.clone(), values: values.collect() }
        });
        let remarks = runs.iter().flatten().flat_map(scores::remarks).collect();
        Self { seeds: Some(runs.len()), examples: 0, rows: rows.collect(), remarks }
    }

    /// Scores of one network, with test examples as the independent observations.
    ///
    /// # Errors
    /// [`Error::Trainer`] where one of them is not finite.
    pub(super) fn over_examples(model: &Model, experiment: &Experiment, device: &Device) -> Result<Self, Error> {
        let source = build::build_source(experiment)?;
        let batches = source.evaluation(Split::Test);
        let model = model.valid();
        let mut width = 0;
        let predictions: Vec<Vec<f32>> = batches
            .iter()
            .map(|batch| {
                let prediction = model.forward_last(loss::inputs(batch, device), batch.asked()); // [batch, asked, width]
                width = prediction.dims()[2];
                weights::to_host(prediction)
            })
            .collect();
        let measures = &source.task().measures();
        let means: &Vec<Measure> = &measures.iter().map(Measure::mean).collect();
        let score = |name: &str, predictions: &[Vec<f32>], d: usize| {
            let examples = batches.iter().zip(predictions).flat_map(|(batch, prediction)| {
                let row = prediction.len() / batch.size;
                (0..batch.size).map(move |at| {
                    let example = example(batch, at);
                    let mut scores = metric::Scores::new(experiment.train.loss, Vec::new(), means.clone());
                    scores.add(&example, &prediction[at * row..][..row], d, width);
                    let scored = (0..example.loss_mask.len()).filter(|row| example.loss_mask[*row]);
                    (scored.map(|row| example.share(row)).sum::<f64>(), scores.values())
                })
            });
            let mut values = intervals(&examples.collect::<Vec<_>>());
            for measure in measures {
                of_mean(measure, &mut values);
            }
            Scored { name: name.to_owned(), values }
        };
        let fit_set = source.fit_set();
        let mut network = evaluate::empty(experiment.train.loss, source.task());
        let mut doubter = Doubter::new(experiment.train.loss, &source, &fit_set);
        for (batch, prediction) in batches.iter().zip(&predictions) {
            network.add(batch, prediction, width, width);
            doubter.add(batch, prediction, width);
        }
        if !network.are_finite() {
            let precision = experiment.train.attention_precision;
            return Err(headway_trainer::Error::not_finite(evaluate::SCORES, precision).into());
        }
        let metrics = evaluate::test_names(network.values());
        let network = Row { doubts: doubter.doubts(&metrics), ..Row::new(NETWORK, metrics) };
        let mut rows = vec![score(NETWORK, &predictions, width)];
        for mut baseline in source.task().baselines() {
            baseline.fit(&fit_set);
            let predictions: Vec<Vec<f32>> = batches.iter().map(|batch| baseline.predict(batch)).collect();
            rows.push(score(baseline.name(), &predictions, experiment.dims().d_out));
        }
        let examples = batches.iter().map(|batch| batch.size).sum();
        Ok(Self { seeds: None, examples, rows, remarks: scores::remarks(&network) })
    }
}

/// Makes the score of a measure from its mean, and the ends of the interval from those of the mean's.
fn of_mean(measure: &Measure, values: &mut BTreeMap<String, Score>) {
    let name = format!("test/{}", measure.name());
    let of = |mean: f64| measure.score(Some(mean), Some(mean)).unwrap_or(mean);
    if let Some(score) = values.get_mut(&name) {
        score.mean = of(score.mean);
        score.interval = score.interval.map(|ends| {
            let [a, b] = ends.map(of);
            [a.min(b), a.max(b)]
        });
    }
}

/// Σ_i n_i v_i / Σ_i n_i over examples with n_i scored positions, with an interval over examples.
fn intervals(examples: &[(f64, BTreeMap<String, f64>)]) -> BTreeMap<String, Score> {
    let names = examples.iter().flat_map(|(_, values)| values.keys()).collect::<std::collections::BTreeSet<_>>();
    let group = examples.len().div_ceil(MOST_OBSERVATIONS).max(1);
    let score = |name: &String| {
        let sum = |examples: &[(f64, BTreeMap<String, f64>)]| {
            examples.iter().fold((0.0, 0.0), |(sum, count), (scored, values)| match values.get(name) {
                Some(value) => (sum + scored * value, count + scored),
                None => (sum, count),
            })
        };
        let sums: Vec<(f64, f64)> = examples.chunks(group).map(sum).filter(|(_, count)| *count > 0.0).collect();
        let mean = |sums: &mut dyn Iterator<Item = (f64, f64)>| {
            let (sum, count) = sums.fold((0.0, 0.0), |(a, b), (sum, count)| (a + sum, b + count));
            sum / count
        };
        let statistic = |indices: &[usize]| mean(&mut indices.iter().map(|index| sums[*index]));
        let interval = statistics::bca(sums.len(), statistic, &resamples(sums.len()), LEVEL);
        Score {
            mean: mean(&mut sums.iter().copied()),
            interval: interval.map(|interval| [interval.low, interval.high]),
        }
    };
    // Scores that are not finite are missing, as in every table of results.
    let scores = names.into_iter().map(|name| (format!("test/{name}"), score(name)));
    scores.filter(|(_, score)| score.mean.is_finite()).collect()
}

/// One example of a batch, as a batch of its own, without slices.
fn example(batch: &Batch, at: usize) -> Batch {
    Batch { slices: vec![None; batch.asked()], ..batch.part(at..at + 1) }
}
