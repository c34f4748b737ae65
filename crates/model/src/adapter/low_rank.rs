//! LoRA: a trained product of two thin matrices, added to a frozen projection.

use std::collections::BTreeMap;

use headway_keys::Described;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Adapter;
use crate::{
    attention::place::Target,
    config::{ConfigError, LARGEST_WIDTH},
    family::{Model, ModelConfig},
    init::Initializer,
    low_rank::LowRank,
    weights::Array,
};

/// Which projections get low-rank parts, and of which size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct LowRankConfig {
    /// Columns of A and rows of B; no more than the width of a projection. Default 8.
    pub rank: usize,
    /// The product is scaled by alpha / rank. Default 16.
    pub alpha: f64,
    /// Probability of dropping an input of A during training (the others are scaled up), from 0 to below 1. Default 0.
    pub dropout: f64,
    /// Projections of every attention layer: `query`, `key`, `value`, `output`. Default: all four.
    pub targets: Vec<Target>,
}

impl Default for LowRankConfig {
    fn default() -> Self {
        Self { rank: 8, alpha: 16.0, dropout: 0.0, targets: Target::ALL.to_vec() }
    }
}

impl LowRankConfig {
    /// The factor alpha / rank on the product.
    pub fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }
}

impl Adapter for LowRankConfig {
    fn validate(&self, model: &ModelConfig) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        let mut refuse = |key, problem: &str| problems.push(ConfigError::new(key, problem));
        let widest = self.targets.iter().map(|target| model.family().projection_rank(*target)).max();
        if !(1..=LARGEST_WIDTH).contains(&self.rank) {
            refuse("rank", &format!("must be from 1 to {LARGEST_WIDTH}"));
        } else if let Some(widest) = widest.filter(|widest| self.rank > *widest) {
            let problem = format!(
                "must be at most {widest}, the rank that a projection of such a model can have: more adds parameters and nothing else"
            );
            refuse("rank", &problem);
        }
        if !self.alpha.is_finite() || self.alpha == 0.0 {
            refuse("alpha", "must be a number other than 0, or nothing is learned");
        }
        if !(0.0..1.0).contains(&self.dropout) {
            refuse("dropout", "must be from 0 to below 1");
        }
        if self.targets.is_empty() {
            refuse("targets", "names no projection; there are query, key, value and output");
        }
        if self.targets.iter().enumerate().any(|(at, target)| self.targets[..at].contains(target)) {
            refuse("targets", "names a projection twice");
        }
        problems
    }

    /// As in the source, A is drawn and B is zero, so that nothing changes before the first step.
    fn attach(&self, model: &mut Model, init: &mut Initializer<'_>) {
        for attention in model.network_mut().attentions() {
            for (target, place) in attention.projections {
                if self.targets.contains(&target) {
                    let [d_in, d_out] = place.dims();
                    *place.low_rank = Some(LowRank {
                        a: init.projection(d_in, self.rank).weight,
                        b: init.param([self.rank, d_out], |_| vec![0.0; self.rank * d_out]).into(),
                        scale: self.scale(),
                        dropout: self.dropout,
                        noise: None,
                    });
                }
            }
        }
    }
}

/// Why low-rank parts cannot be added to weights.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum MergeError {
    /// The other half of a part, or its weight, is missing or has another shape.
    #[error(
        "{projection}: its low-rank parts and its weight do not fit together: A [rank, d_in] {}, B [d_out, rank] {}, weight [d_out, d_in] {}",
        shape(.a.as_deref()), shape(.b.as_deref()), shape(.weight.as_deref())
    )]
    Unfit {
        /// Name of the projection.
        projection: String,
        /// Shape of A; `None` if there is none.
        a: Option<Vec<usize>>,
        /// Shape of B; `None` if there is none.
        b: Option<Vec<usize>>,
        /// Shape of the weight; `None` if there is none.
        weight: Option<Vec<usize>>,
    },
    /// Learned rows, which no weight can take up.
    #[error("{0}: no weight can take it up")]
    NoPlace(String),
    /// The rank of the parts differs from that of the config, from which their scale was computed.
    #[error(
        "{projection}: its low-rank parts are of rank {found}, and the config says r = {said}, which sets their scale"
    )]
    Rank {
        /// Name of the projection.
        projection: String,
        /// Rank in the config.
        said: usize,
        /// Rank of the parts.
        found: usize,
    },
    /// A sum exceeds float32, or a part is not finite.
    #[error("{0}: its weight and its low-rank parts add up to what is no finite number")]
    NotFinite(String),
}

/// Adds every low-rank part to its weight: W ← W + scale · A B, computed in f64.
///
/// `scaling` gives the rank and the scale of each projection. Arrays are in file orientation: W `[d_out, d_in]`, A `[rank, d_in]`,
/// B `[d_out, rank]`.
///
/// # Errors
/// [`MergeError`]
pub fn merge(
    mut arrays: BTreeMap<String, Array>,
    scaling: impl Fn(&str) -> (usize, f64),
) -> Result<BTreeMap<String, Array>, MergeError> {
    let projections: Vec<String> =
        arrays.keys().filter_map(|name| name.strip_suffix(".low_rank.a").map(str::to_owned)).collect();
    for projection in projections {
        let [a, b] = ["a", "b"].map(|half| arrays.remove(&format!("{projection}.low_rank.{half}")));
        let weight = arrays.get_mut(&format!("{projection}.weight"));
        let shapes = [a.as_ref(), b.as_ref(), weight.as_deref()].map(|array| array.map(|array| array.shape.clone()));
        let (Some(a), Some(b), Some(weight)) = (a, b, weight) else { return Err(unfit(projection, shapes)) };
        let (&[rank, d_in], &[d_out, rank_b]) = (a.shape.as_slice(), b.shape.as_slice()) else {
            return Err(unfit(projection, shapes));
        };
        if rank != rank_b || weight.shape != [d_out, d_in] {
            return Err(unfit(projection, shapes));
        }
        let (said, scale) = scaling(&projection);
        if said != rank {
            return Err(MergeError::Rank { projection, said, found: rank });
        }
        for (o, row) in weight.values.chunks_exact_mut(d_in.max(1)).enumerate() {
            for (i, w) in row.iter_mut().enumerate() {
                let products = (0..rank).map(|r| f64::from(b.values[o * rank + r]) * f64::from(a.values[r * d_in + i]));
                *w = (f64::from(*w) + scale * products.sum::<f64>()) as f32;
            }
        }
        if weight.values.iter().any(|w| !w.is_finite()) {
            return Err(MergeError::NotFinite(projection));
        }
    }
    match arrays.keys().find(|name| super::is_adapter(name)) {
        Some(name) => Err(match name.strip_suffix(".low_rank.b") {
            Some(projection) => unfit(projection.to_owned(), [None, Some(arrays[name].shape.clone()), None]),
            None => MergeError::NoPlace(name.clone()),
        }),
        None => Ok(arrays),
    }
}

fn unfit(projection: String, [a, b, weight]: [Option<Vec<usize>>; 3]) -> MergeError {
    MergeError::Unfit { projection, a, b, weight }
}

fn shape(found: Option<&[usize]>) -> String {
    found.map_or_else(|| "is missing".to_owned(), |shape| format!("has {shape:?}"))
}
