//! A LoRA read from files, and how it is folded into the weights of its base.

use std::collections::BTreeMap;

use headway_model::adapter::{self, MergeError};
use thiserror::Error;

use super::{
    AdapterSettings, CONFIG,
    names::{of_peft, parts},
};
use crate::Arrays;

/// A LoRA read from files: its settings and its parameters.
#[derive(Clone, Debug)]
pub struct Lora {
    /// Settings from its config.
    pub settings: AdapterSettings,
    /// Its parameters, by their names in the model.
    arrays: Arrays,
}

/// Why a LoRA is refused: its config, parameters and base contradict each other.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum LoraError {
    /// A parameter with a value that is not finite.
    #[error("{name} holds {value}, which is no finite number")]
    NotFinite {
        /// Its name.
        name: String,
        /// The first such value.
        value: f32,
    },
    /// A parameter is in the file under two of PEFT's names.
    #[error("holds {0} twice")]
    Twice(String),
    /// Low-rank parts for a weight that the base does not have.
    #[error("has low-rank parts for {module}, and {base} no such weight, but {}, …", .known.join(", "))]
    Unknown {
        /// Name of the module they are for.
        module: String,
        /// Name of the base.
        base: String,
        /// Some of the base's modules.
        known: Vec<String>,
    },
    /// Low-rank parts for a module that the config leaves out.
    #[error(
        "has low-rank parts for {0}, which its config leaves out: see `target_modules`, `exclude_modules`, `modules_to_save` and \
         `layers_to_transform` in {CONFIG}"
    )]
    LeftOut(String),
    /// A parameter whose shape differs from that in the base.
    #[error(
        "its {name} {found:?} does not fit {base}, {}; merge from the folder of the run, which knows its task",
        .expected.as_ref().map_or("which has none of that name".to_owned(), |shape| format!("where it is {shape:?}"))
    )]
    Shape {
        /// Its name.
        name: String,
        /// Shape in the adapter.
        found: Vec<usize>,
        /// Shape in the base; `None` if it has none of that name.
        expected: Option<Vec<usize>>,
        /// Name of the base.
        base: String,
    },
    /// A parameter in the file that is not saved according to the config.
    #[error("holds {0}, which its config says nothing of: neither `modules_to_save` nor `bias` in {CONFIG} names it")]
    Unsaid(String),
    /// A module named by the config has no low-rank parts.
    #[error("has no low-rank parts for {0}, which its config names: it is not whole")]
    NoParts(String),
    /// A parameter that is saved according to the config is missing.
    #[error("has no {0}, which its config says was saved with it: it is not whole")]
    Missing(String),
    /// Two patterns of the config match the same module.
    #[error("{0}")]
    Scaling(String),
    /// The low-rank parts cannot be added to the weights.
    #[error(transparent)]
    Merge(#[from] MergeError),
}

impl Lora {
    /// The LoRA with the parameters of its file, converted to the model's names and layout.
    ///
    /// # Errors
    /// [`LoraError::NotFinite`], [`LoraError::Twice`]
    pub fn new(settings: AdapterSettings, tensors: Arrays) -> Result<Self, LoraError> {
        let mut arrays = Arrays::new();
        for (name, array) in tensors {
            let (name, array) = of_peft(&name, array);
            if let Some(&value) = array.values.iter().find(|value| !value.is_finite()) {
                return Err(LoraError::NotFinite { name, value });
            }
            if arrays.contains_key(&name) {
                return Err(LoraError::Twice(name));
            }
            arrays.insert(name, array);
        }
        Ok(Self { settings, arrays })
    }

    /// The weights of its base, which is called `base`, with the LoRA folded in.
    ///
    /// # Errors
    /// [`LoraError`] if config, parameters and base contradict each other.
    pub fn onto(self, base: &str, mut weights: Arrays) -> Result<Arrays, LoraError> {
        let Self { settings, arrays } = self;
        let matrices = weights.iter().filter(|(name, array)| parts(name).1 == "weight" && array.shape.len() == 2);
        let modules: Vec<String> = matrices.map(|(name, _)| parts(name).0.to_owned()).collect();
        let is_saved = |name: &str| {
            let (module, parameter) = parts(name);
            settings.saves(module) || parameter == "bias" && settings.saves_bias(module)
        };
        let mut scalings = BTreeMap::new();
        for (name, array) in &arrays {
            if let Some(module) = parts(name).0.strip_suffix(".low_rank") {
                let module = module.to_owned();
                if !modules.contains(&module) {
                    let known = modules.iter().take(3).cloned().collect();
                    return Err(LoraError::Unknown { module, base: base.to_owned(), known });
                }
                if settings.targets(&module) == Some(false) {
                    return Err(LoraError::LeftOut(module));
                }
                let scaling = settings.scaling(&module).map_err(LoraError::Scaling)?;
                scalings.insert(module, scaling);
                continue;
            }
            let expected = weights.get(name).map(|weight| weight.shape.clone());
            if expected.as_ref() != Some(&array.shape) {
                let (name, found) = (name.clone(), array.shape.clone());
                return Err(LoraError::Shape { name, found, expected, base: base.to_owned() });
            }
            if !is_saved(name) {
                return Err(LoraError::Unsaid(name.clone()));
            }
        }
        let is_targeted = |module: &&String| settings.targets(module) == Some(true) && !scalings.contains_key(*module);
        if let Some(module) = modules.iter().find(is_targeted) {
            return Err(LoraError::NoParts(module.clone()));
        }
        if let Some(name) = weights.keys().find(|name| is_saved(name) && !arrays.contains_key(*name)) {
            return Err(LoraError::Missing(name.clone()));
        }
        weights.extend(arrays);
        // Every part has its scaling by now; what has none has no place either.
        Ok(adapter::merge(weights, |module| scalings.get(module).copied().unwrap_or_default())?)
    }
}
