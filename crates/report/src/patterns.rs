//! Attention patterns of a run on its first test example, drawn once when the run ends.

use burn::{module::Module, tensor::Device};
use headway_draw::{Pattern, Patterns};
use headway_model::{LayerRows, Model, weights};
use headway_tasks::{Source, Split};

use crate::error::Error;
use headway_trainer::{experiment::Experiment, loss};

/// Name of the figure in a run folder.
pub(crate) const NAME: &str = "patterns";

/// Caption of the figure.
pub(super) const NOTE: &str = "First test example: a panel per layer and head, queries downwards, keys to the right. Point at a row \
                               to read its strongest keys.";

/// Longest sequence that is drawn: with more, a row would be thinner than a pixel.
const LONGEST: usize = 320;
/// Largest total number of heads that is drawn.
const MOST_HEADS: usize = 64;

/// The picture as SVG, with the names of tokens: those of a text, x1 y1 x2 … of a prompt, and of learned rows what they are; `None` if it
/// would be too large to draw.
///
/// # Errors
/// [`Error::Pattern`] when it cannot be drawn.
pub(crate) fn draw(
    model: &Model,
    source: &Source,
    experiment: &Experiment,
    device: &Device,
) -> Result<Option<String>, Error> {
    let batch = source.evaluation(Split::Test).remove(0).part(0..1);
    if batch.dims.seq_len > LONGEST {
        return Ok(None);
    }
    let trace = model.valid().forward_traced(loss::inputs(&batch, device));
    let layers: Vec<Vec<Pattern>> = trace
        .layers
        .into_iter()
        .map(|layer| {
            let [_, n_heads, q_len, k_len] = layer.pattern.dims();
            let weights = weights::to_host(layer.pattern); // [1, n_heads, q_len, k_len]
            let heads = weights.chunks_exact(q_len * k_len);
            heads.take(n_heads).map(|weights| Pattern { q_len, k_len, weights: weights.to_vec() }).collect()
        })
        .collect();
    if layers.iter().map(Vec::len).sum::<usize>() > MOST_HEADS {
        return Ok(None);
    }
    let title = "Attention patterns on the first test example".to_owned();
    let of_text = experiment.task.vocabulary().map(|vocabulary| vocabulary.names(&batch.inputs));
    let of_prompt = || source.task().prompt_layout().map(|layout| layout.names(batch.dims.seq_len));
    let tokens = of_text.or_else(of_prompt).unwrap_or_default();
    let rows = experiment.model.family().layer_rows(&experiment.dims());
    let [query_labels, key_labels] = labels(tokens, &rows, layers.iter().flatten());
    Ok(Some(Patterns { title, layers, query_labels, key_labels }.to_svg()?))
}

/// Names of queries and of keys; none where rows are something else from layer to layer.
fn labels<'a>(
    tokens: Vec<String>,
    rows: &[LayerRows],
    patterns: impl Iterator<Item = &'a Pattern> + Clone,
) -> [Vec<String>; 2] {
    let Some((first, others)) = rows.split_first() else { return [Vec::new(), Vec::new()] };
    let alike = others.iter().all(|other| other == first);
    let of_positions = first.has_positions && first.read >= tokens.len();
    if tokens.is_empty() || !alike || !of_positions {
        return [Vec::new(), Vec::new()];
    }
    let learned = (first.read..first.rows).map(|row| format!("anchor {}", row - first.read + 1));
    let named: Vec<String> = tokens.into_iter().chain(learned).collect();
    let keys = &named[first.first_key.min(named.len())..];
    let fits = |length: fn(&Pattern) -> usize, names: &[String]| patterns.clone().all(|one| length(one) == names.len());
    // What fine-tuning learned stands before the keys of the rows.
    let before = patterns.clone().next().map_or(0, |pattern| pattern.k_len.saturating_sub(keys.len()));
    let keys: Vec<String> = (1..=before).map(|index| format!("learned {index}")).chain(keys.iter().cloned()).collect();
    [
        if fits(|pattern| pattern.q_len, &named) { named } else { Vec::new() },
        if fits(|pattern| pattern.k_len, &keys) { keys } else { Vec::new() },
    ]
}
