//! Which classical predictor a network resembles when it learns from the examples of a prompt.

use std::collections::BTreeMap;

use burn::{module::Module, tensor::Device};
use headway_model::{Input, Model, weights};
use headway_plain::linear_rule::{Family, LinearRule, Observed, Spectrum, cosine, implicit_weights};
use headway_tasks::{
    Batch, Seed, Source, Split, Stream, Targets, Task, TaskConfig,
    prompt::{Layout, Question, set_query},
};
use serde::Serialize;

use super::opened::{LoadedModel, Measured, Provenance, count, first};
use crate::error::Error;
use headway_trainer::{
    build, data,
    device::OpenDevice,
    experiment::{Experiment, TrainConfig},
    loss,
};

/// Comparison of a network with classical predictors.
#[derive(Clone, Debug, Serialize)]
pub struct InContext {
    /// The analysed network.
    pub subject: Provenance,
    /// Number of test prompts.
    pub prompts: usize,
    /// Number of prompts, among these, at which gradients and weights were measured.
    pub probed: usize,
    /// Number of further prompts to which rules were fitted.
    pub fitted_to: usize,
    /// Dimension of x, by which distances are divided.
    pub d: usize,
    /// The predictors: those listed by the task, then those fitted to the network.
    pub predictors: Vec<Predictor>,
    /// Results for each number of examples before the query.
    pub seen: Vec<AfterExamples>,
}

/// A classical predictor.
#[derive(Clone, Debug, Serialize)]
pub struct Predictor {
    /// Its name.
    pub name: String,
    /// Its rule with the fitted numbers; `None` for a predictor listed by the task.
    pub rule: Option<String>,
    /// Mean squared distance from the network, over all queries that have examples before them, divided by d.
    pub distance: Measured,
}

/// Results for one number of examples before the query.
#[derive(Clone, Debug, Serialize)]
pub struct AfterExamples {
    /// Number of examples before the query.
    pub examples: usize,
    /// Mean square of the network's prediction, divided by d: its distance from the predictor 0.
    pub size: Option<f64>,
    /// Mean squared error of the network, divided by d.
    pub error: Measured,
    /// Mean squared distance of each predictor from the network, divided by d.
    pub distances: Vec<Measured>,
    /// The nearest predictor; `None` if there are no examples.
    pub nearest: Option<Nearest>,
    /// How linear the network's prediction is in its query, from 0 to 1; `None` if there are no examples.
    pub linearity: Option<f64>,
    /// Each linear rule compared with the network.
    pub linear: Vec<LinearFit>,
}

/// The predictor nearest to the network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Nearest {
    /// Index of the predictor.
    pub predictor: usize,
    /// Index of the second nearest predictor.
    pub second: Option<usize>,
    /// Whether their paired difference is more than two standard errors from zero.
    pub is_clear: bool,
}

/// Comparison of the network with a rule that predicts w · x.
#[derive(Clone, Debug, Serialize)]
pub struct LinearFit {
    /// Name of the rule.
    pub rule: String,
    /// Mean cosine between w and the gradient of the network's prediction in its query.
    pub cosine: Option<f64>,
    /// Mean of |w' − w|² / d, with w' fitted to the network's predictions for other queries.
    pub weights: Option<f64>,
}

/// Number of queries, per dimension of x, by which a query is replaced to fit the network's weights; and the least
/// number.
const PROBES_PER_DIMENSION: usize = 3;
const FEWEST_PROBES: usize = 16;
/// Largest number of prompts to which rules are fitted.
const MOST_FITTED: usize = 256;
/// Largest number of prompts at which gradients and weights are measured.
const MOST_PROBED: usize = 64;

/// Compares the network with classical predictors on the first `prompts` test prompts; `number` formats the numbers of
/// rules.
///
/// # Errors
/// [`Error::NotInContext`]; [`Error::Trainer`] when predictions are not finite.
pub fn in_context(
    opened: &LoadedModel,
    prompts: usize,
    device: &OpenDevice,
    number: fn(f64) -> String,
) -> Result<InContext, Error> {
    let LoadedModel { model, experiment, provenance } = opened;
    // Test prompts do not depend on the size of batches; replacement queries come from the same batch.
    let train = TrainConfig { batch_size: MOST_PROBED, ..experiment.train.clone() };
    let source = build::build_source(&Experiment { train, ..experiment.clone() })?;
    let layout = asks_for_numbers(source.task(), Seed(experiment.seed))
        .ok_or_else(|| unsuited(provenance.task, Seed(experiment.seed)))?;
    let network = Network { model, plain: model.valid(), experiment, layout, device: &device.device };
    let test = first(source.evaluation(Split::Test), prompts);
    let asked = network.ask(&test)?;
    let d = asked.first().map_or(1, |one| one.question.query.len());

    let fit_set = source.fit_set().part(0..prompts.min(MOST_FITTED));
    let rules = rules(&network.ask(&batched(&fit_set, MOST_PROBED))?, &asked);
    let mut predictors = listed(&source, &test, &asked);
    predictors.extend(rules.iter().map(|(name, rule)| {
        let predictions = asked.iter().map(|one| one.spectrum.weights(*rule).dot(&one.question.query)).collect();
        (name.clone(), Some(rule.described(number)), predictions)
    }));
    let linear =
        [("least squares".to_owned(), LinearRule::LeastSquares), ("averaging".to_owned(), LinearRule::Averaging)];
    let linear: Vec<_> = linear.into_iter().chain(rules).collect();

    let probed = prompts.min(MOST_PROBED).min(count(&test));
    let mut probes = network.probes(&first(test.clone(), probed))?;
    let mut places: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, one) in asked.iter().enumerate() {
        places.entry(one.question.seen()).or_default().push(index);
    }
    let squares = |predictions: &[f64], index: usize| (predictions[index] - asked[index].prediction).powi(2) / d as f64;
    let seen = places.iter().map(|(&examples, places)| {
        let estimate = |of: &dyn Fn(usize) -> f64| Measured::mean(places.iter().map(|index| of(*index)));
        let distances: Vec<_> =
            predictors.iter().map(|(_, _, predictions)| estimate(&|index| squares(predictions, index))).collect();
        let between =
            |a: usize, b: usize| estimate(&|index| squares(&predictors[a].2, index) - squares(&predictors[b].2, index));
        let probes = probes.remove(&examples).unwrap_or_default();
        AfterExamples {
            examples,
            size: estimate(&|index| asked[index].prediction.powi(2) / d as f64).value,
            error: estimate(&|index| (asked[index].target - asked[index].prediction).powi(2) / d as f64),
            // Without examples all predictors give the same answer.
            nearest: if examples == 0 { None } else { nearest(&distances, between) },
            distances,
            linearity: mean(probes.iter().filter_map(|probe| Some(probe.weights.as_ref()?.1))),
            linear: if examples == 0 {
                Vec::new()
            } else {
                linear.iter().map(|(name, rule)| beside(name, *rule, &probes)).collect()
            },
        }
    });
    let seen: Vec<AfterExamples> = seen.collect();
    let with_examples: Vec<usize> = (0..asked.len()).filter(|index| asked[*index].question.seen() > 0).collect();
    let predictors = predictors.into_iter().map(|(name, rule, predictions)| Predictor {
        distance: by_prompt(&with_examples, &asked, |index| squares(&predictions, index)),
        name,
        rule,
    });
    Ok(InContext {
        subject: provenance.clone(),
        prompts: count(&test),
        probed,
        fitted_to: fit_set.size,
        d,
        predictors: predictors.collect(),
        seen,
    })
}

/// The layout of the task's prompts; `None` if it has no prompts or its targets are not numbers.
fn asks_for_numbers(task: &dyn Task, seed: Seed) -> Option<Layout> {
    let is_number = |task: &dyn Task| {
        matches!(task.example(Split::Test, 0, &mut seed.rng(Stream::Test, 0)).targets, Targets::Continuous(_))
    };
    task.prompt_layout().filter(|_| is_number(task))
}

fn unsuited(task: &'static str, seed: Seed) -> Error {
    let suits = |name: &str| {
        let task = TaskConfig::with_defaults(name).and_then(|task| task.open(&data::files(""), seed).ok());
        task.is_some_and(|task| asks_for_numbers(task.as_ref(), seed).is_some())
    };
    let suited = TaskConfig::list().into_iter().map(|(name, _)| name).filter(|name| suits(name)).collect();
    Error::NotInContext { task, suited }
}

/// A question of a prompt, the network's answer and the true one.
struct Answer {
    /// Index of its prompt.
    prompt: usize,
    question: Question,
    spectrum: Spectrum,
    prediction: f64,
    target: f64,
}

/// What the network's answers to other queries in the same place show about a question.
struct Probe {
    spectrum: Spectrum,
    /// Gradient of the prediction in the query. `[d]`
    gradient: Vec<f64>,
    /// The network's w, and the share of its predictions' mean square that w · x explains; `None` if w cannot be
    /// fitted.
    weights: Option<(Vec<f64>, f64)>,
}

struct Network<'a> {
    model: &'a Model,
    /// The same model without gradients.
    plain: Model,
    experiment: &'a Experiment,
    layout: Layout,
    device: &'a Device,
}

impl Network<'_> {
    /// The network's first output channel at every position. `[batch, seq_len]`
    fn predict(&self, batch: &Batch) -> Vec<f32> {
        weights::to_host(self.plain.forward(loss::inputs(batch, self.device)).narrow(2, 0, 1))
    }

    /// Every question of some prompts, with the network's answer.
    fn ask(&self, batches: &[Batch]) -> Result<Vec<Answer>, Error> {
        let (mut asked, mut before) = (Vec::new(), 0);
        for batch in batches {
            let seq_len = batch.dims.seq_len;
            let (predictions, targets) = (self.predict(batch), batch.targets.continuous());
            for (prompt, questions) in self.layout.questions(batch).into_iter().enumerate() {
                for question in questions {
                    let at = prompt * seq_len + question.position;
                    let prediction = f64::from(predictions[at]);
                    if !prediction.is_finite() {
                        return Err(Error::not_finite("an answer", self.experiment.train.attention_precision));
                    }
                    let spectrum = Spectrum::of(&question.x, &question.y);
                    let target = f64::from(targets[at]);
                    asked.push(Answer { prompt: before + prompt, question, spectrum, prediction, target });
                }
            }
            before += batch.size;
        }
        Ok(asked)
    }

    /// Probes of the questions of some prompts, by the number of examples before the question.
    fn probes(&self, batches: &[Batch]) -> Result<BTreeMap<usize, Vec<Probe>>, Error> {
        let mut all: BTreeMap<usize, Vec<Probe>> = BTreeMap::new();
        for batch in batches {
            let questions = self.layout.questions(batch);
            let mut positions: Vec<usize> = questions.iter().flatten().map(|question| question.position).collect();
            positions.sort_unstable();
            positions.dedup();
            for position in positions {
                let here: Vec<(usize, &Question)> = (questions.iter().enumerate())
                    .filter_map(|(prompt, all)| {
                        Some((prompt, all.iter().find(|question| question.position == position)?))
                    })
                    .filter(|(_, question)| question.seen() > 0)
                    .collect();
                let gradients = if here.is_empty() { Vec::new() } else { self.gradients(batch, position)? };
                for ((prompt, question), weights) in here.iter().zip(self.weights(batch, &here)) {
                    let spectrum = Spectrum::of(&question.x, &question.y);
                    let width = gradients.len() / batch.size;
                    let gradient = &gradients[prompt * width..][..question.query.len()];
                    let gradient = gradient.iter().map(|value| f64::from(*value)).collect();
                    all.entry(question.seen()).or_default().push(Probe { spectrum, gradient, weights });
                }
            }
        }
        Ok(all)
    }

    /// Gradient of every prompt's prediction at a position, with respect to the token at that position. `[batch, d_in]`
    fn gradients(&self, batch: &Batch, position: usize) -> Result<Vec<f32>, Error> {
        let Input::Continuous(x) = loss::inputs(batch, &self.device.clone().autodiff()) else {
            return Err(Error::Fault("prompts hold numbers, not tokens"));
        };
        let x = x.require_grad();
        let prediction = self.model.forward(Input::Continuous(x.clone()));
        let gradients = prediction.narrow(1, position, 1).narrow(2, 0, 1).sum().backward();
        let gradient = x.grad(&gradients).ok_or(Error::Fault("the network has no gradient in its inputs"))?;
        Ok(weights::to_host(gradient.narrow(1, position, 1)))
    }

    /// The network's w at one position, for some prompts of a batch: the query of each is replaced by those of other
    /// prompts.
    fn weights(&self, batch: &Batch, here: &[(usize, &Question)]) -> Vec<Option<(Vec<f64>, f64)>> {
        let d = here.first().map_or(0, |(_, question)| question.query.len());
        let probes = (PROBES_PER_DIMENSION * d).max(FEWEST_PROBES).min(here.len());
        let queries: Vec<Vec<f32>> =
            here.iter().map(|(_, question)| question.query.iter().map(|value| *value as f32).collect()).collect();
        let mut answers = vec![Vec::new(); here.len()];
        for probe in 0..probes {
            let mut moved = batch.clone();
            for (index, (prompt, question)) in here.iter().enumerate() {
                set_query(&mut moved, *prompt, question.position, &queries[(index + probe) % here.len()]);
            }
            let predictions = self.predict(&moved);
            for (answers, (prompt, question)) in answers.iter_mut().zip(here) {
                answers.push(f64::from(predictions[prompt * batch.dims.seq_len + question.position]));
            }
        }
        let fit = |(index, answers): (usize, Vec<f64>)| {
            let asked = (0..probes)
                .flat_map(|probe| queries[(index + probe) % here.len()].iter().map(|value| f64::from(*value)));
            implicit_weights(&asked.collect::<Vec<_>>(), &answers, d)
        };
        answers.into_iter().enumerate().map(fit).collect()
    }
}

/// The examples in batches of at most `size`.
fn batched(all: &Batch, size: usize) -> Vec<Batch> {
    (0..all.size).step_by(size).map(|start| all.part(start..start + size)).collect()
}

/// The rules nearest to a network's answers, with their names, for use on other questions.
fn rules(asked: &[Answer], others: &[Answer]) -> Vec<(String, LinearRule)> {
    let observed: Vec<Observed> = asked
        .iter()
        .filter(|one| one.question.seen() > 0)
        .map(|one| Observed {
            spectrum: one.spectrum.clone(),
            query: one.question.query.clone(),
            prediction: one.prediction,
        })
        .collect();
    let spectra = || others.iter().map(|one| &one.spectrum);
    let name = |family: &Family| match family {
        Family::Ridge => "fitted ridge",
        Family::Descent => "fitted descent",
        Family::ScaledDescent => "fitted scaled descent",
    };
    Family::ALL
        .iter()
        .filter_map(|family| Some((name(family).to_owned(), family.nearest(&observed, spectra())?)))
        .collect()
}

/// The task's own baselines, each with its answer to every question.
fn listed(source: &Source, test: &[Batch], asked: &[Answer]) -> Vec<(String, Option<String>, Vec<f64>)> {
    let fit_set = source.fit_set();
    let answers = |mut baseline: Box<dyn headway_tasks::baseline::Baseline>| {
        baseline.fit(&fit_set);
        let predictions: Vec<Vec<f32>> = test
            .iter()
            .flat_map(|batch| {
                let d_out = batch.dims.d_out;
                let predictions: Vec<f32> = baseline.predict(batch).into_iter().step_by(d_out).collect();
                predictions.chunks_exact(batch.dims.seq_len).map(<[f32]>::to_vec).collect::<Vec<_>>()
            })
            .collect();
        let of = |one: &Answer| f64::from(predictions[one.prompt][one.question.position]);
        (baseline.name().to_owned(), None, asked.iter().map(of).collect())
    };
    // The distance from zero is the size of the network's predictions, which is told for all of them.
    source.task().baselines().into_iter().filter(|baseline| baseline.name() != "zero").map(answers).collect()
}

/// The two predictors with the smallest distances.
fn nearest(distances: &[Measured], between: impl Fn(usize, usize) -> Measured) -> Option<Nearest> {
    let mut known: Vec<(usize, f64)> =
        distances.iter().enumerate().filter_map(|(index, distance)| Some((index, distance.value?))).collect();
    known.sort_by(|a, b| a.1.total_cmp(&b.1));
    let (&(predictor, _), rest) = known.split_first()?;
    let second = rest.first().map(|(index, _)| *index);
    let is_clear = second.is_some_and(|second| between(predictor, second).is_clear());
    Some(Nearest { predictor, second, is_clear })
}

/// A mean over questions; its standard error takes prompts as the observations.
fn by_prompt(indices: &[usize], asked: &[Answer], of: impl Fn(usize) -> f64) -> Measured {
    let mut prompts: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
    for &index in indices {
        let sum = prompts.entry(asked[index].prompt).or_default();
        *sum = (sum.0 + of(index), sum.1 + 1.0);
    }
    Measured::ratio(&prompts.into_values().collect::<Vec<_>>())
}

fn beside(name: &str, rule: LinearRule, probes: &[Probe]) -> LinearFit {
    let w = |probe: &Probe| probe.spectrum.weights(rule);
    let distance = |probe: &Probe| {
        let (own, _) = probe.weights.as_ref()?;
        let w = w(probe);
        Some(own.iter().zip(w.iter()).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / w.len() as f64)
    };
    LinearFit {
        rule: name.to_owned(),
        cosine: mean(probes.iter().filter_map(|probe| cosine(&probe.gradient, w(probe).as_slice()))),
        weights: mean(probes.iter().filter_map(distance)),
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    headway_plain::statistics::mean(&values.collect::<Vec<_>>()).filter(|mean| mean.is_finite())
}
