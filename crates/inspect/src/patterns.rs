//! Attention patterns of a network on test examples: their mean, and scores of every head.

use std::{collections::BTreeMap, iter::repeat_n};

use burn::module::Module;
use headway_model::{LayerRows, LayerTrace, weights};
use headway_plain::attention::{Key, Layout, Measure, Query, SCORES};
use headway_tasks::{Batch, Inputs, Split};
use serde::Serialize;

use super::opened::{LoadedModel, Provenance, count, ensure_finite, first};
use headway_trainer::{build, device::OpenDevice, experiment::Experiment, loss};

use crate::error::Error;

/// Which test examples to trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The first ones, of this number, averaged.
    Mean(usize),
    /// The one with this index, from 0.
    One(usize),
}

/// Attention patterns and scores of every layer and head.
#[derive(Clone, Debug, Serialize)]
pub struct Patterns {
    /// The analysed network.
    pub subject: Provenance,
    /// Number of traced test examples.
    pub sequences: usize,
    /// Index of the test example if only one was traced, else `None`.
    pub sequence: Option<usize>,
    /// Names of its tokens, for tasks of text; `None` if several were traced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Vec<String>>,
    /// The layers, first to last.
    pub layers: Vec<PatternLayer>,
}

/// Attention patterns and scores of one layer.
#[derive(Clone, Debug, Serialize)]
pub struct PatternLayer {
    /// Number of queries.
    pub q_len: usize,
    /// Number of keys.
    pub k_len: usize,
    /// Number of learned keys: anchors, prefixes.
    pub learned_keys: usize,
    /// The scores of uniform attention, which spreads each query's attention evenly over its visible keys.
    pub uniform: PatternScores,
    /// The heads, first to last.
    pub heads: Vec<PatternHead>,
}

/// Attention pattern and scores of one head.
#[derive(Clone, Debug, Serialize)]
pub struct PatternHead {
    /// Its scores.
    pub scores: PatternScores,
    /// Mean pattern, row by row. `[q_len, k_len]`
    #[serde(skip)]
    pub mean: Vec<f64>,
}

/// Means over queries and sequences, by name; scores that are undefined in a layer are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PatternScores {
    /// The scores of [`SCORES`].
    pub scores: BTreeMap<String, f64>,
    /// Attention mass from positions of one role to those of another, as in `x -> y`, and to the previous position.
    pub roles: BTreeMap<String, f64>,
}

/// Largest number of attention weights that one forward pass may hold.
const MOST_WEIGHTS: usize = 1 << 22;

/// Traces test examples and averages their patterns.
///
/// # Errors
/// [`Error::Sequence`] for an example that there is not; [`Error::Trainer`] when a pattern or an answer is not finite.
pub fn patterns(opened: &LoadedModel, which: Which, device: &OpenDevice) -> Result<Patterns, Error> {
    let LoadedModel { model, experiment, provenance } = opened;
    let model = model.valid();
    let source = build::build_source(experiment)?;
    let roles = source.task().prompt_layout().map(|layout| layout.roles(source.task().dims().seq_len));
    let test = source.evaluation(Split::Test);
    let (batches, sequence) = match which {
        Which::Mean(sequences) => (first(test, sequences), None),
        Which::One(sequence) => (vec![one(&test, sequence)?], Some(sequence)),
    };
    let mut layers: Vec<Tally> = Vec::new();
    for batch in &batches {
        let mut start = 0;
        while start < batch.size {
            // The first pass has a single sequence, which shows how much memory a sequence needs.
            let weights = layers.iter().map(|layer| layer.heads.len() * layer.uniform.len()).sum::<usize>();
            let size = if layers.is_empty() { 1 } else { (MOST_WEIGHTS / weights.max(1)).max(1) };
            let part = batch.part(start..start + size);
            let trace = model.forward_traced_without_prompt(loss::inputs(&part, &device.device));
            ensure_finite(trace.output, experiment)?;
            if layers.is_empty() {
                layers = tallies(experiment, &trace.layers, roles.as_deref());
            }
            for (tally, layer) in layers.iter_mut().zip(trace.layers) {
                tally.add(&weights::to_host(layer.pattern), &part)?;
            }
            start += part.size;
        }
    }
    let sequences = count(&batches);
    let tokens = sequence.and_then(|_| batches.first().map(|batch| &batch.inputs));
    let tokens = tokens.and_then(|inputs| Some(experiment.task.vocabulary()?.names(inputs)));
    let layers = layers.into_iter().map(|tally| tally.finish(sequences)).collect();
    Ok(Patterns { subject: provenance.clone(), sequences, sequence, tokens, layers })
}

fn one(test: &[Batch], sequence: usize) -> Result<Batch, Error> {
    let mut left = sequence;
    for batch in test {
        if left < batch.size {
            return Ok(batch.part(left..left + 1));
        }
        left -= batch.size;
    }
    Err(Error::Sequence { asked: sequence, there: count(test) })
}

/// Running sums of one layer's patterns and scores.
struct Tally {
    layout: Layout,
    /// Roles of the rows; empty if rows are not positions.
    roles: Vec<&'static str>,
    uniform: Vec<f64>,
    uniform_means: Means,
    heads: Vec<(Vec<f64>, Means)>,
}

impl Tally {
    /// Adds the patterns of some sequences. `[batch, n_heads, q_len, k_len]`
    fn add(&mut self, patterns: &[f32], batch: &Batch) -> Result<(), Error> {
        let Self { layout, roles, uniform, uniform_means, heads } = self;
        let measures = measures(roles);
        let seq_len = batch.dims.seq_len;
        let tokens: Option<Vec<&[u32]>> = match &batch.inputs {
            Inputs::Tokens(ids) => Some(ids.chunks_exact(seq_len).collect()),
            Inputs::Continuous(_) => None,
        };
        for (sequence, patterns) in patterns.chunks_exact(heads.len() * uniform.len()).enumerate() {
            let tokens = tokens.as_ref().map(|tokens| tokens[sequence]);
            let score = |pattern: &[f64], means: &mut Means| {
                for (name, measure) in &measures {
                    means.add(name, layout.total(pattern, tokens, measure.as_ref()));
                }
            };
            score(uniform, uniform_means);
            for ((sum, means), pattern) in heads.iter_mut().zip(patterns.chunks_exact(uniform.len())) {
                let pattern: Vec<f64> = pattern.iter().copied().map(f64::from).collect();
                if !pattern.iter().all(|weight| weight.is_finite()) {
                    return Err(headway_trainer::Error::NotFinite(
                        "an attention pattern of the network is not finite".to_owned(),
                    )
                    .into());
                }
                score(&pattern, means);
                sum.iter_mut().zip(&pattern).for_each(|(sum, weight)| *sum += weight);
            }
        }
        Ok(())
    }

    fn finish(self, sequences: usize) -> PatternLayer {
        let (q_len, k_len) = (self.layout.q_len, self.layout.keys.len());
        let heads = self.heads.into_iter().map(|(sum, means)| PatternHead {
            scores: named(&means),
            mean: sum.into_iter().map(|sum| sum / sequences as f64).collect(),
        });
        PatternLayer {
            q_len,
            k_len,
            learned_keys: self.layout.keys.iter().filter(|key| key.is_learned).count(),
            uniform: named(&self.uniform_means),
            heads: heads.collect(),
        }
    }
}

fn named(means: &Means) -> PatternScores {
    let is_score = |name: &String| SCORES.iter().any(|score| score.name == name);
    let (scores, roles) = means.values().into_iter().partition(|(name, _)| is_score(name));
    PatternScores { scores, roles }
}

/// Everything measured at a query: the scores, and the attention mass between roles.
fn measures<'a>(roles: &'a [&'static str]) -> Vec<(String, Box<Measure<'a>>)> {
    let scores = SCORES.iter().map(|score| (score.name.to_owned(), Box::new(score.measure) as Box<Measure<'a>>));
    let mut all: Vec<_> = scores.collect();
    let mut kinds: Vec<&'static str> = Vec::new();
    for role in roles {
        if !kinds.contains(role) {
            kinds.push(role);
        }
    }
    let role = |row: usize| roles.get(row).copied();
    for &from in &kinds {
        for &to in &kinds {
            let measure = move |query: &Query<'_>| {
                let is_other = |key: &Key| key.row.is_some_and(|row| row != query.row && role(row) == Some(to));
                if role(query.row) == Some(from) { query.mass(is_other) } else { None }
            };
            all.push((format!("{from} -> {to}"), Box::new(measure)));
        }
        let own = move |query: &Query<'_>| {
            let is_asked = role(query.row) == Some(from) && query.has_choice();
            if is_asked { query.mass(|key| key.row == Some(query.row)) } else { None }
        };
        let before = move |query: &Query<'_>| {
            let is_before = |key: &Key| key.row.is_some() && key.row == query.row.checked_sub(1);
            if role(query.row) == Some(from) { query.mass(is_before) } else { None }
        };
        all.push((format!("{from} -> itself"), Box::new(own)));
        all.push((format!("{from} -> position before"), Box::new(before)));
    }
    all
}

/// One empty tally per layer.
fn tallies(experiment: &Experiment, layers: &[LayerTrace], roles: Option<&[&'static str]>) -> Vec<Tally> {
    let of_layer = |(layout, has_positions): (Layout, bool), trace: &LayerTrace| {
        let uniform = layout.uniform();
        let heads = repeat_n((vec![0.0; uniform.len()], Means::default()), trace.pattern.dims()[1]).collect();
        let roles = if has_positions { roles.unwrap_or_default().to_vec() } else { Vec::new() };
        Tally { layout, roles, uniform, uniform_means: Means::default(), heads }
    };
    layouts(experiment, layers).into_iter().zip(layers).map(|(layout, trace)| of_layer(layout, trace)).collect()
}

/// What queries and keys of each layer stand for, and whether the layer's first rows are the positions of the sequence.
fn layouts(experiment: &Experiment, layers: &[LayerTrace]) -> Vec<(Layout, bool)> {
    let dims = experiment.dims();
    let is_causal = experiment.model.is_causal(&dims);
    let layout = |(layer, trace): (LayerRows, &LayerTrace)| {
        let LayerRows { rows, first_key, read, has_positions } = layer;
        let [_, _, q_len, k_len] = trace.pattern.dims();
        // Keys before the rows are learned prefixes, not rows.
        let in_front = repeat_n(Key { row: None, is_learned: true }, k_len.saturating_sub(rows - first_key));
        let of_rows = (first_key..rows).map(|row| Key { row: Some(row), is_learned: row >= read });
        (Layout { q_len, keys: in_front.chain(of_rows).collect(), is_causal }, has_positions)
    };
    experiment.model.family().layer_rows(&dims).into_iter().zip(layers).map(layout).collect()
}

/// Running means, by name.
#[derive(Clone, Debug, Default)]
struct Means(BTreeMap<String, (f64, usize)>);

impl Means {
    /// Adds a sum of `count` values.
    fn add(&mut self, name: &str, (sum, count): (f64, usize)) {
        match self.0.get_mut(name) {
            Some(mean) => *mean = (mean.0 + sum, mean.1 + count),
            None if count > 0 => _ = self.0.insert(name.to_owned(), (sum, count)),
            None => {}
        }
    }

    /// The means of all names that have values.
    fn values(&self) -> BTreeMap<String, f64> {
        self.0.iter().map(|(name, (sum, count))| (name.clone(), sum / *count as f64)).collect()
    }
}
