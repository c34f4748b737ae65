//! From a model and its named arrays to the plain layers that are analysed.

use headway_model::{
    Model, ModelConfig,
    adapter::merge,
    plain::{NoPlainForm, Parameters},
    weights,
};
use headway_plain::Network;
use headway_trainer::{Error, experiment::FinetuneConfig};

/// The model's layers, from the state that enters the first to the state behind the last; what stands before and after them
/// is left out: embedding and positions, last norm and head.
///
/// # Errors
/// [`Error::Usage`] for a model that has no plain form, or a learned prefix; [`Error::Training`] for one without the parameters that its
/// config asks for.
pub(super) fn plain(config: &ModelConfig, mode: &FinetuneConfig, model: &Model) -> Result<Network, Error> {
    let arrays = weights::arrays(model);
    let arrays = match mode {
        FinetuneConfig::Lora(lora) => {
            merge(arrays, |_| (lora.rank, lora.scale())).map_err(|error| Error::Training(error.to_string()))?
        }
        FinetuneConfig::Prefix(_) => {
            let problem =
                "rank and paths follow layers whose keys are their own rows; this network has a learned prefix";
            return Err(Error::Usage(problem.to_owned()));
        }
        FinetuneConfig::Full | FinetuneConfig::Head | FinetuneConfig::Freeze(_) | FinetuneConfig::Prompt(_) => arrays,
    };
    config.family().plain(&Parameters::from(arrays)).map_err(|reason| match reason {
        NoPlainForm::Missing(_) => Error::Training(reason.to_string()),
        _ => Error::Usage(format!("rank and paths follow {reason}")),
    })
}
