#![doc = include_str!("../README.md")]
#![warn(clippy::disallowed_methods)]

mod ablate;
mod embedding;
mod error;
mod in_context;
mod lens;
mod network;
mod opened;
mod path_scores;
mod paths;
mod patterns;
mod rank;
mod robust;
mod swap;
mod wording;

use std::path::PathBuf;

use burn::module::Module;
use headway_model::{Input, weights};
use headway_plain::network::{Matrix, Network};
use headway_tasks::Split;
use serde::Serialize;

pub use ablate::{Ablation, AblationKind, Effect, ablate};
pub use embedding::{Embedding, Known, embedding};
pub use error::Error;
pub use in_context::{AfterExamples, InContext, LinearFit, Nearest, Predictor, in_context};
pub use lens::{Distance, Lens, LensLayer, Reading, lens};
pub use network::{function, function_of_vectors};
pub use opened::{LoadedModel, Measured, Provenance, open};
pub use path_scores::{LengthScores, PathScores, path_scores};
pub use paths::{Largest, Length, MOST_PATHS, Paths, paths};
pub use patterns::{PatternHead, PatternLayer, PatternScores, Patterns, Which, patterns};
pub use rank::{Curve, Method, Rank, RankLayer, combinations, rank};
pub use robust::{After, Ending, OneEstimator, Outcome, Robust, RobustRequest, RobustRow, robust};
pub use swap::{Back, Drawn, Estimate, PatternError, Swap, SwapRequest, Swapped, swap};
pub use wording::counted;

use headway_trainer::{build, device::OpenDevice, loss};

/// What to analyse, for [`subject()`].
#[derive(Clone, Debug)]
pub struct Request {
    /// Checkpoint folder, run folder, or experiment file.
    pub source: PathBuf,
    /// Changes to its experiment, as `key=value`.
    pub overrides: Vec<String>,
    /// Largest number of sequences, taken from the first test batch.
    pub sequences: usize,
    /// Number of layers to keep, from the first; `None` for all.
    pub layers: Option<usize>,
}

/// A network and the states before its first layer.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Where it comes from, and its sizes.
    pub about: Description,
    /// The network, as plain matrices.
    pub network: Network,
    /// The state before the first layer, for each sequence. `[rows, d_model]`
    pub inputs: Vec<Matrix>,
}

/// Where a subject comes from, and its sizes.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    /// Path of the checkpoint or the experiment file.
    #[serde(serialize_with = "headway_trainer::quote::lossy")]
    pub source: PathBuf,
    /// Where the weights come from.
    pub weights: WeightsOrigin,
    /// Seed of the experiment.
    pub seed: u64,
    /// Name of the model in a config file.
    pub model: &'static str,
    /// Number of layers kept.
    pub n_layers: usize,
    /// Number of heads in each layer.
    pub n_heads: Vec<usize>,
    /// Width of the state before the first layer.
    pub d_model: usize,
    /// Rows of the state before the first layer: the tokens, and learned interpolation tokens if there are any.
    pub rows: usize,
    /// Shape `[rows, width]` of the state after each layer.
    pub behind: Vec<[usize; 2]>,
    /// Whether a row attends only to itself and the rows above.
    pub causal: bool,
    /// Number of sequences.
    pub sequences: usize,
}

/// Where weights come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightsOrigin {
    /// From training.
    Trained,
    /// From a theorem, with a certificate.
    Constructed,
    /// From the experiment's seed: the weights from which training starts.
    First,
}

/// Parts to switch on or off; `None` leaves a part as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Skip connections.
    pub skip: Option<bool>,
    /// The layer norms inside the layers.
    pub norm: Option<bool>,
    /// The feed-forward networks.
    pub ffn: Option<bool>,
    /// The causal mask.
    pub causal: Option<bool>,
}

/// Loads a subject.
///
/// # Errors
/// [`Error::Checkpoint`](headway_trainer::Error::Checkpoint) for a folder without a sound checkpoint, [`Error::Experiment`](headway_trainer::Error::Experiment) for a wrong experiment or override,
/// [`Error::Layers`] for more layers than there are, [`Error::NotFinite`](headway_trainer::Error::NotFinite) for a network whose answers are not finite.
pub fn subject(request: &Request, device: &OpenDevice) -> Result<Subject, Error> {
    let LoadedModel { model, experiment, provenance } = open(&request.source, &request.overrides, device)?;
    let model = model.valid();
    let mut network = network::plain(&experiment.model, &experiment.finetune, &model)?;
    if let Some(layers) = request.layers {
        if !(1..=network.layers.len()).contains(&layers) {
            return Err(Error::Layers { asked: layers, there: network.layers.len() });
        }
        network.layers.truncate(layers);
    }
    let batch = build::build_source(&experiment)?.evaluation(Split::Test).remove(0);
    let sequences = request.sequences.min(batch.size);
    let input = match loss::inputs(&batch, &device.device) {
        Input::Continuous(x) => Input::Continuous(x.narrow(0, 0, sequences)),
        Input::Tokens(ids) => Input::Tokens(ids.narrow(0, 0, sequences)),
    };
    opened::ensure_finite(model.forward(input.clone()), &experiment)?;
    let entering = model.network().enters_plain(input); // [sequences, rows, d_model]
    let [_, rows, d_model] = entering.dims();
    let values: Vec<f64> = weights::to_host(entering).into_iter().map(f64::from).collect();
    let inputs = values.chunks_exact(rows * d_model).map(|values| Matrix::from_row_slice(rows, d_model, values));
    let about = Description {
        source: provenance.source,
        weights: provenance.weights,
        seed: provenance.seed,
        model: provenance.model,
        n_layers: network.layers.len(),
        n_heads: network.layers.iter().map(|layer| layer.heads.len()).collect(),
        d_model,
        rows,
        behind: network.shapes([rows, d_model]),
        causal: network.causal,
        sequences,
    };
    Ok(Subject { about, network, inputs: inputs.collect() })
}

impl Description {
    /// The subject, described in a sentence.
    pub fn sentence(&self) -> String {
        let Self { source, seed, model, d_model, rows, .. } = self;
        let introduction = opened::introduction(source, self.weights, *seed);
        let layers = format!("{} of {}", counted(self.n_layers, "layer"), self.heads());
        let mask = if self.causal { "causal" } else { "full" };
        let sequences = counted(self.sequences, "test sequence");
        let sizes = if self.behind.iter().all(|behind| behind == &[*rows, *d_model]) {
            format!("width {d_model}, {mask} attention; {sequences} of {rows} rows")
        } else {
            let behind: Vec<String> = self.behind.iter().map(|[rows, width]| format!("{rows} x {width}")).collect();
            format!("{mask} attention; {sequences} of {rows} x {d_model}, behind the layers {}", behind.join(", "))
        };
        format!("{introduction}: {model} with {layers}, {sizes}.")
    }

    /// Number of heads per layer, written once if all layers have the same number.
    fn heads(&self) -> String {
        match self.n_heads.as_slice() {
            [first, others @ ..] if others.iter().all(|heads| heads == first) => counted(*first, "head"),
            all => format!("{} heads", all.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
        }
    }
}

impl Parts {
    /// The network with parts switched.
    ///
    /// # Errors
    /// [`Error::NoPiece`] when a piece is to be on that the network does not have.
    pub fn of(self, network: &Network) -> Result<Network, Error> {
        let mut network = network.clone();
        match self.skip {
            Some(true) if network.has_maps() => {
                let what = "skips, and the maps in front of its layers leave no room for any";
                return Err(missing("skip", what, "-s model.residual=true"));
            }
            Some(skip) => network = network.with_skip(skip),
            None => {}
        }
        match self.norm {
            Some(false) => network = network.without_norm(),
            Some(true) if !network.has_norm() => {
                return Err(missing("norm", "layer norms", "-s model.norm=pre"));
            }
            _ => {}
        }
        match self.ffn {
            Some(false) => network = network.without_feed_forward(),
            Some(true) if !network.has_feed_forward() => {
                let cure = "-s 'model.state_mixer={ ffn = { d_ffn = 64 } }'";
                return Err(missing("ffn", "feed-forward networks", cure));
            }
            _ => {}
        }
        match self.causal {
            Some(true) if !network.causal => {
                return Err(missing("causal", "causal mask", "-s model.causal=true"));
            }
            Some(causal) => network.causal = causal,
            None => {}
        }
        Ok(network)
    }
}

fn missing(piece: &'static str, what: &'static str, cure: &'static str) -> Error {
    Error::NoPiece { piece, what, cure }
}

/// Names of the network's parts, as in `attention + skip`.
pub(crate) fn name(network: &Network) -> String {
    let pieces = [
        (true, "attention"),
        (network.has_maps(), "maps"),
        (network.has_skip(), "skip"),
        (network.has_norm(), "norm"),
        (network.has_feed_forward(), "feed-forward"),
    ];
    pieces.into_iter().filter(|(has, _)| *has).map(|(_, piece)| piece).collect::<Vec<_>>().join(" + ")
}

/// Median of some numbers, the mean of the two middle ones for an even count. `None` counts as smaller than every
/// number; the median is `None` if the middle one is.
fn median(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let mut values: Vec<f64> = values.map(|value| value.unwrap_or(f64::NEG_INFINITY)).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len().checked_sub(1)? / 2;
    let pair = [values[middle], values[values.len() / 2]];
    Some(0.5 * (pair[0] + pair[1])).filter(|median| median.is_finite())
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians() {
        let of = |values: &[Option<f64>]| median(values.iter().copied());
        assert_eq!(of(&[Some(3.0), Some(1.0), Some(7.0)]), Some(3.0));
        assert_eq!(of(&[Some(3.0), Some(1.0), Some(7.0), Some(4.0)]), Some(3.5));
        assert_eq!(of(&[Some(3.0), None, Some(7.0)]), Some(3.0));
        assert_eq!(of(&[Some(3.0), None]), None);
        assert_eq!(of(&[]), None);
    }
}
