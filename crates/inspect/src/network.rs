//! From a model and its named arrays to the plain network that is analysed.

use headway_model::{Model, ModelConfig, adapter::merge, plain::Parameters, weights};
use headway_plain::network::Network;
use headway_trainer::experiment::FinetuneConfig;

use crate::error::Error;

/// The model's layers, from the state before the first to the state after the last. What comes before and after them is
/// left out: embedding and positions, final norm and head.
///
/// # Errors
/// [`Error::NotPlain`], [`Error::Prefix`]; [`Error::Merge`]
pub(super) fn plain(config: &ModelConfig, mode: &FinetuneConfig, model: &Model) -> Result<Network, Error> {
    let arrays = weights::arrays(model);
    let arrays = match mode {
        FinetuneConfig::Lora(lora) => merge(arrays, |_| (lora.rank, lora.scale()))?,
        FinetuneConfig::Prefix(_) => {
            return Err(Error::Prefix);
        }
        FinetuneConfig::Full | FinetuneConfig::Head | FinetuneConfig::Freeze(_) | FinetuneConfig::Prompt(_) => arrays,
    };
    config.family().plain(&Parameters::from(arrays)).map_err(Error::NotPlain)
}
