//! Attention patterns of a run on its first test example, drawn once when the run ends.

use burn::{module::Module, tensor::Device};
use headway_draw::{Pattern, Patterns};
use headway_model::{Model, weights};
use headway_tasks::{Source, Split, Vocabulary};

use crate::error::Error;
use headway_trainer::loss;

/// Name of the figure in a run folder.
pub(crate) const NAME: &str = "patterns";

/// Caption of the figure.
pub(super) const NOTE: &str = "First test example: a panel per layer and head, queries downwards, keys to the right. Point at a row \
                               to read its strongest keys.";

/// Longest sequence that is drawn: with more, a row would be thinner than a pixel.
const LONGEST: usize = 320;
/// Largest total number of heads that is drawn.
const MOST_HEADS: usize = 64;

/// The picture as SVG, with the names of tokens of text; `None` if it would be too large to draw.
///
/// # Errors
/// [`Error::Pattern`] when it cannot be drawn.
pub(crate) fn draw(
    model: &Model,
    source: &Source,
    vocabulary: Option<&Vocabulary>,
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
    let tokens = vocabulary.map(|vocabulary| vocabulary.names(&batch.inputs)).unwrap_or_default();
    // Learned keys stand before those of the tokens.
    let has_tokens_alone = layers.iter().flatten().all(|pattern| pattern.k_len == tokens.len());
    let key_labels = if has_tokens_alone { tokens.clone() } else { Vec::new() };
    Ok(Some(Patterns { title, layers, query_labels: tokens, key_labels }.to_svg()?))
}
