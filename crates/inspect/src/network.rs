//! From a model and its named arrays to the plain network that is analysed.

use headway_model::{InputDims, Model, ModelConfig, adapter::merge, plain::Parameters, weights};
use headway_plain::{function::Function, network::Network};
use headway_trainer::experiment::FinetuneConfig;

use crate::{error::Error, opened::LoadedModel};

/// The whole network from the numbers of a sequence to its prediction.
///
/// # Errors
/// [`Error::Tokens`], [`Error::LearnedRows`], [`Error::NotBounded`]; [`Error::Merge`]
pub fn function(loaded: &LoadedModel) -> Result<Function, Error> {
    if matches!(loaded.experiment.dims().input, InputDims::Tokens { .. }) {
        return Err(Error::Tokens);
    }
    function_of_vectors(loaded)
}

/// The same of a network that may read tokens: each is a vector with a single 1.
///
/// # Errors
/// [`Error::LearnedRows`], [`Error::NotBounded`]; [`Error::Merge`]
pub fn function_of_vectors(loaded: &LoadedModel) -> Result<Function, Error> {
    let LoadedModel { model, experiment, .. } = loaded;
    let dims = experiment.dims();
    let arrays = weights::arrays(model);
    let arrays = match &experiment.finetune {
        FinetuneConfig::Lora(lora) => merge(arrays, |_| (lora.rank, lora.scale()))?,
        FinetuneConfig::Prefix(_) => return Err(Error::LearnedRows("prefix")),
        FinetuneConfig::Prompt(_) => return Err(Error::LearnedRows("prompt")),
        FinetuneConfig::Full | FinetuneConfig::Head | FinetuneConfig::Freeze(_) => arrays,
    };
    experiment.model.family().plain_function(&Parameters::from(arrays), &dims).map_err(Error::NotBounded)
}

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
