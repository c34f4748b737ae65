//! Freezing the parameters that a mode of fine-tuning does not train.

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::Tensor,
};
use headway_model::{
    Model, ModelConfig,
    adapter::is_adapter,
    parameters::matches,
    weights::{self, Path as ParameterPath},
};

use crate::{error::Error, experiment::FinetuneConfig};

/// Freezes the parameters that a mode does not train, and returns how many numbers they have. `fresh` names parameters
/// that no checkpoint gave.
///
/// # Errors
/// [`Error::NoParameter`] for a pattern that matches nothing, [`Error::StaysRandom`] for one that matches a fresh parameter, [`Error::NothingToTrain`] when
/// nothing is left to train.
pub fn freeze(
    model: Model,
    mode: &FinetuneConfig,
    config: &ModelConfig,
    fresh: &[String],
) -> Result<(Model, usize), Error> {
    let names: Vec<String> = weights::names(&model).into_iter().map(|(name, _)| name).collect();
    let head = config.head();
    let in_head = |name: &str| head.iter().any(|pattern| matches(pattern, name));
    let is_fresh = |name: &str| fresh.iter().any(|fresh| fresh == name);
    let trains = |name: &str| match mode {
        FinetuneConfig::Full => true,
        FinetuneConfig::Freeze(patterns) => !patterns.iter().any(|pattern| matches(pattern, name)),
        FinetuneConfig::Head => in_head(name) || is_fresh(name),
        FinetuneConfig::Lora(_) | FinetuneConfig::Prefix(_) | FinetuneConfig::Prompt(_) => {
            is_adapter(name) || is_fresh(name)
        }
    };
    if let FinetuneConfig::Freeze(patterns) = mode {
        check(patterns, &names, fresh)?;
    }
    if !names.iter().any(|name| trains(name)) {
        return Err(Error::NothingToTrain { mode: mode.name() });
    }
    let mut freezer = Freezer { trains, path: ParameterPath::default(), numbers: 0 };
    let model = model.map(&mut freezer);
    Ok((model, freezer.numbers))
}

fn check(patterns: &[String], names: &[String], fresh: &[String]) -> Result<(), Error> {
    for pattern in patterns {
        if let Some(fresh) = fresh.iter().find(|name| matches(pattern, name)) {
            return Err(Error::StaysRandom { pattern: pattern.clone(), name: fresh.clone() });
        }
        if !names.iter().any(|name| matches(pattern, name)) {
            let mut nearest = names.to_vec();
            // Patterns longer than any name are equally far from all names.
            let start: String = pattern.chars().take(100).collect();
            nearest.sort_by_cached_key(|name| strsim::damerau_levenshtein(&start, name));
            nearest.truncate(5);
            return Err(Error::NoParameter { pattern: pattern.clone(), nearest });
        }
    }
    Ok(())
}

struct Freezer<F> {
    trains: F,
    path: ParameterPath,
    numbers: usize,
}

impl<F: Fn(&str) -> bool> ModuleMapper for Freezer<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if (self.trains)(&self.path.name()) {
            return param;
        }
        self.numbers += param.lazy_shape().num_elements();
        param.set_require_grad(false)
    }
}
