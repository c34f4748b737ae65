//! Rank collapse of a subject: the residual after each layer, with parts of the network switched on and off.

use headway_plain::{
    network::Network,
    rank::{fall_ratios, residuals},
};
use serde::Serialize;

use super::{Description, Parts, Subject, median, name};
use crate::error::Error;

/// Residuals of one network, or of several variants of it.
#[derive(Clone, Debug, Serialize)]
pub struct Rank {
    /// The analysed subject.
    pub subject: Description,
    /// One curve per combination of parts.
    pub curves: Vec<Curve>,
}

/// How residuals are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Separately from the mean row, to full precision however small they are.
    Deflated,
    /// From the state, to within its rounding error; used if there are maps before the layers.
    Plain,
}

/// Residuals layer by layer.
#[derive(Clone, Debug, Serialize)]
pub struct Curve {
    /// Names of its parts, as in `attention + skip`.
    pub name: String,
    /// Whether it has skip connections.
    pub skip: bool,
    /// Whether it has layer norms.
    pub norm: bool,
    /// Whether it has feed-forward networks.
    pub ffn: bool,
    /// How residuals are computed.
    pub method: Method,
    /// The residual before the first layer (layer 0) and after each layer.
    pub layers: Vec<RankLayer>,
}

/// The residual after one layer. A logarithm is `None` if the residual is zero, below 1e-300 or not finite.
#[derive(Clone, Debug, Serialize)]
pub struct RankLayer {
    /// Index of the layer, from 1; 0 is the state before the first.
    pub layer: usize,
    /// log10 of ‖res(X)‖, the median over sequences.
    pub log10_residual: Option<f64>,
    /// log10 of ‖res(X)‖ / ‖X‖, the median over sequences.
    pub log10_relative: Option<f64>,
    /// Fall of `log10_residual` at this layer divided by its fall at the layer before; `None` unless it fell at both,
    /// and if residuals are computed plainly.
    pub fall_ratio: Option<f64>,
    /// `log10_residual` of each sequence.
    pub log10_residuals: Vec<Option<f64>>,
    /// `log10_relative` of each sequence.
    pub log10_relatives: Vec<Option<f64>>,
}

/// Every combination of skip connections and feed-forward networks that the subject can have, attention alone first;
/// all other parts are as in `parts`.
pub fn combinations(subject: &Subject, parts: Parts) -> Vec<Parts> {
    let ffns = if subject.network.has_feed_forward() { &[false, true][..] } else { &[false] };
    let skips = if subject.network.has_maps() { &[false][..] } else { &[false, true] };
    let both = ffns.iter().flat_map(|ffn| skips.iter().map(|skip| (*skip, *ffn)));
    both.map(|(skip, ffn)| Parts { skip: Some(skip), ffn: Some(ffn), ..parts }).collect()
}

/// Follows the residual of every sequence through the network, once for each choice of parts.
///
/// # Errors
/// as [`Parts::of`]
pub fn rank(subject: &Subject, choices: &[Parts]) -> Result<Rank, Error> {
    let curve = |parts: &Parts| Ok(curve(subject, &parts.of(&subject.network)?));
    let curves = choices.iter().map(curve).collect::<Result<_, Error>>()?;
    Ok(Rank { subject: subject.about.clone(), curves })
}

fn curve(subject: &Subject, network: &Network) -> Curve {
    let logs: Vec<Vec<(Option<f64>, Option<f64>)>> = subject
        .inputs
        .iter()
        .map(|x| residuals(network, x).iter().map(headway_plain::rank::Residual::log10).collect())
        .collect();
    let mut layers: Vec<RankLayer> = (0..=network.layers.len())
        .map(|layer| {
            let at = logs.iter().map(|sequence| sequence[layer]);
            let (log10_residuals, log10_relatives): (Vec<_>, Vec<_>) = at.unzip();
            RankLayer {
                layer,
                log10_residual: median(log10_residuals.iter().copied()),
                log10_relative: median(log10_relatives.iter().copied()),
                fall_ratio: None,
                log10_residuals,
                log10_relatives,
            }
        })
        .collect();
    let method = if network.has_maps() { Method::Plain } else { Method::Deflated };
    if method == Method::Deflated {
        let ratios = fall_ratios(&layers.iter().map(|layer| layer.log10_residual).collect::<Vec<_>>());
        layers.iter_mut().zip(ratios).for_each(|(layer, ratio)| layer.fall_ratio = ratio);
    }
    let (skip, norm, ffn) = (network.has_skip(), network.has_norm(), network.has_feed_forward());
    Curve { name: name(network), skip, norm, ffn, method, layers }
}
