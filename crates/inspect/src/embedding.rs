//! How alike tokens have become for a network: the rows of its table.

use headway_model::weights;
use headway_plain::statistics::correlation;
use headway_tasks::{TaskInput, Vocabulary};
use serde::Serialize;

use super::opened::{LoadedModel, Provenance};
use crate::error::Error;

/// Similarities of the learned rows of tokens.
#[derive(Clone, Debug, Serialize)]
pub struct Embedding {
    /// The analysed network.
    pub subject: Provenance,
    /// Names of the tokens.
    pub tokens: Vec<String>,
    /// Cosine of the rows of two tokens, each less the mean of the rows shown. `[tokens, tokens]`
    pub cosine: Vec<Vec<f64>>,
    /// What is known about their likeness; `None` where nothing is.
    pub known: Option<Known>,
}

/// A table of how alike tokens are, from elsewhere.
#[derive(Clone, Debug, Serialize)]
pub struct Known {
    /// Its name.
    pub name: &'static str,
    /// `[tokens, tokens]`
    pub entries: Vec<Vec<f64>>,
    /// Pearson's correlation of its entries with the cosines, over pairs of different tokens; `None` if one of the two is constant.
    pub correlation: Option<f64>,
}

/// Largest number of tokens shown; of more, the first.
const MOST: usize = 64;

impl Known {
    /// Pairs of different tokens, each once: the table's entry and the cosine.
    pub fn pairs(&self, cosine: &[Vec<f64>]) -> Vec<(f64, f64)> {
        let pairs = (0..cosine.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
        pairs.map(|(a, b)| (self.entries[a][b], cosine[a][b])).collect()
    }
}

/// Compares the learned rows of tokens with one another, and with what the task knows about its tokens.
///
/// # Errors
/// [`Error::NoTable`] for a network that takes numbers
pub fn embedding(opened: &LoadedModel) -> Result<Embedding, Error> {
    let LoadedModel { model, experiment, provenance } = opened;
    let TaskInput::Tokens { vocab } = experiment.task.dims().input else {
        return Err(Error::NoTable { task: experiment.task.name() });
    };
    let arrays = weights::arrays(model);
    let table = arrays.iter().find(|(name, array)| name.starts_with("embed.") && array.shape.first() == Some(&vocab));
    let (_, table) = table.ok_or(Error::Fault("a network of tokens has no table of them"))?;
    let width = table.values.len() / vocab.max(1);
    let alike = experiment.task.alike();
    let shown: Vec<u32> = match &alike {
        Some(alike) => alike.tokens.clone(),
        None => (0..vocab.min(MOST) as u32).collect(),
    };
    let rows: Vec<Vec<f64>> = shown
        .iter()
        .map(|token| table.values[*token as usize * width..][..width].iter().copied().map(f64::from).collect())
        .collect();
    let mean = |at: usize| rows.iter().map(|row| row[at]).sum::<f64>() / rows.len() as f64;
    let mean: Vec<f64> = (0..width).map(mean).collect();
    let centred: Vec<Vec<f64>> =
        rows.iter().map(|row| row.iter().zip(&mean).map(|(value, mean)| value - mean).collect()).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let cosine = |a: &Vec<f64>, b: &Vec<f64>| {
        let lengths = (dot(a, a) * dot(b, b)).sqrt();
        if lengths > 0.0 { dot(a, b) / lengths } else { 0.0 }
    };
    let cosine: Vec<Vec<f64>> = centred.iter().map(|a| centred.iter().map(|b| cosine(a, b)).collect()).collect();
    let known = alike.map(|alike| {
        let mut known = Known { name: alike.name, entries: alike.entries, correlation: None };
        known.correlation = correlation(&known.pairs(&cosine));
        known
    });
    let name = |token: &u32| {
        experiment.task.vocabulary().as_ref().map_or_else(|| token.to_string(), |all: &Vocabulary| all.name(*token))
    };
    Ok(Embedding { subject: provenance.clone(), tokens: shown.iter().map(name).collect(), cosine, known })
}
