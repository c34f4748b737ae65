//! Optimisers over named parameters. Their whole state is a set of named arrays and a step count.
//!
//! burn's `ModuleOptimizer` stores its state under random parameter ids, restores it on the default device, and clips
//! each tensor separately. Exact resuming and clipping by the global norm need something else, so the update rules are
//! implemented here.

use std::collections::{BTreeMap, HashMap};

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData},
};
use headway_kernels::{
    AdamStep,
    capture::Place,
    update::{self, DescentStep, Rule, Slot, Updater},
};
use headway_model::weights::{Array, Path, to_host};
use serde::{Deserialize, Serialize};

use crate::list::list;

list! {
    /// An optimiser by its name in a config file (`[optimizer.adam]`).
    OptimizerConfig, OPTIMIZERS;
    "adam" = Adam(AdamConfig), "Adam; weight decay, if any, is added to the gradient";
    "adamw" = AdamW(AdamWConfig), "Adam with decoupled weight decay";
    "sgd" = Sgd(SgdConfig), "gradient descent with optional momentum";
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::Adam(AdamConfig::default())
    }
}

/// Adam as in PyTorch: m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², w ← w − η/(1−β₁ᵗ) · m / (sqrt(v)/sqrt(1−β₂ᵗ) + ε),
/// where g includes `weight_decay` · w.
///
/// # References
/// Kingma, Ba 2014, arXiv 1412.6980.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamConfig {
    /// Base learning rate η. Default 1e-3.
    pub learning_rate: f64,
    /// Decay of the first moment. Default 0.9.
    pub beta_1: f64,
    /// Decay of the second moment. Default 0.999.
    pub beta_2: f64,
    /// Added to the denominator. Default 1e-8.
    pub epsilon: f64,
    /// L2 penalty added to the gradient. Default 0.
    pub weight_decay: f64,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self { learning_rate: 1e-3, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

/// Adam whose weight decay bypasses the moments: w ← (1 − η · `weight_decay`) w before Adam's update.
///
/// # References
/// Loshchilov, Hutter 2017, arXiv 1711.05101.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWConfig {
    /// Base learning rate η. Default 1e-3.
    pub learning_rate: f64,
    /// Decay of the first moment. Default 0.9.
    pub beta_1: f64,
    /// Decay of the second moment. Default 0.999.
    pub beta_2: f64,
    /// Added to the denominator. Default 1e-8.
    pub epsilon: f64,
    /// Decoupled weight decay. Default 0.01.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        let AdamConfig { learning_rate, beta_1, beta_2, epsilon, .. } = AdamConfig::default();
        Self { learning_rate, beta_1, beta_2, epsilon, weight_decay: 0.01 }
    }
}

/// b ← momentum · b + g, w ← w − η b, where g includes `weight_decay` · w.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SgdConfig {
    /// Base learning rate η. Default 0.01.
    pub learning_rate: f64,
    /// Decay of the velocity; 0 for plain gradient descent. Default 0.
    pub momentum: f64,
    /// L2 penalty added to the gradient. Default 0.
    pub weight_decay: f64,
}

impl Default for SgdConfig {
    fn default() -> Self {
        Self { learning_rate: 0.01, momentum: 0.0, weight_decay: 0.0 }
    }
}

impl OptimizerConfig {
    /// Base learning rate.
    pub fn learning_rate(&self) -> f64 {
        match self {
            Self::Adam(config) => config.learning_rate,
            Self::AdamW(config) => config.learning_rate,
            Self::Sgd(config) => config.learning_rate,
        }
    }

    /// Sets the base learning rate.
    pub fn set_learning_rate(&mut self, learning_rate: f64) {
        match self {
            Self::Adam(config) => config.learning_rate = learning_rate,
            Self::AdamW(config) => config.learning_rate = learning_rate,
            Self::Sgd(config) => config.learning_rate = learning_rate,
        }
    }

    /// Numbers that it keeps of each weight.
    pub fn moments(&self) -> usize {
        match self {
            Self::Adam(_) | Self::AdamW(_) => 2,
            Self::Sgd(config) => usize::from(config.momentum != 0.0),
        }
    }

    /// Settings that are out of range: each key, and what would be right.
    pub(crate) fn problems(&self) -> Vec<(&'static str, String)> {
        let positive = |value: f64| (!(value > 0.0 && value.is_finite())).then(|| "must be positive".to_owned());
        let natural = |value: f64| (!(value >= 0.0 && value.is_finite())).then(|| "must not be negative".to_owned());
        let decay = |value: f64| {
            let range = "must be at least 0 and below 1";
            if !(0.0..1.0).contains(&value) {
                return Some(range.to_owned());
            }
            // With such a decay a mean would never change.
            (value as f32 >= 1.0).then(|| format!("{value} is 1 in single precision; {range} there"))
        };
        let adam = |rate, beta_1, beta_2, epsilon, weight_decay| {
            vec![
                ("learning_rate", positive(rate)),
                ("beta_1", decay(beta_1)),
                ("beta_2", decay(beta_2)),
                ("epsilon", positive(epsilon)),
                ("weight_decay", natural(weight_decay)),
            ]
        };
        let checks = match self {
            Self::Adam(c) => adam(c.learning_rate, c.beta_1, c.beta_2, c.epsilon, c.weight_decay),
            Self::AdamW(c) => adam(c.learning_rate, c.beta_1, c.beta_2, c.epsilon, c.weight_decay),
            Self::Sgd(c) => vec![
                ("learning_rate", positive(c.learning_rate)),
                ("momentum", decay(c.momentum)),
                ("weight_decay", natural(c.weight_decay)),
            ],
        };
        checks.into_iter().filter_map(|(key, problem)| Some((key, problem?))).collect()
    }
}

/// An optimiser with its state.
pub struct Optimizer {
    config: OptimizerConfig,
    updates: u64,
    /// Moments under `<parameter>.<moment>`, in the memory order of the parameter.
    moments: BTreeMap<String, Tensor<1>>,
    updater: Updater,
}

impl Optimizer {
    /// An optimiser with no state yet.
    pub fn new(config: OptimizerConfig) -> Self {
        Self { config, updates: 0, moments: BTreeMap::new(), updater: Updater::default() }
    }

    /// An optimiser as it was after `updates` updates, given its moments.
    pub fn restored(config: OptimizerConfig, updates: u64, moments: BTreeMap<String, Array>, device: &Device) -> Self {
        let tensor = |array: Array| {
            let length = array.values.len();
            Tensor::from_data(TensorData::new(array.values, [length]), device)
        };
        let moments = moments.into_iter().map(|(name, array)| (name, tensor(array))).collect();
        Self { config, updates, moments, updater: Updater::default() }
    }

    /// Every moment by name.
    pub fn moments(&self) -> BTreeMap<String, Array> {
        let array = |tensor: &Tensor<1>| {
            let values = to_host(tensor.clone());
            Array { shape: vec![values.len()], values }
        };
        self.moments.iter().map(|(name, tensor)| (name.clone(), array(tensor))).collect()
    }

    /// One update of every parameter that has a gradient, at learning rate `rate`, the gradients clipped to a `max_norm` as
    /// [`clip_by_global_norm`] does. Parameters that only the module holds may change where they are.
    pub fn step<M: Module>(&mut self, module: &mut M, gradients: GradientsParams, rate: f64, max_norm: Option<f64>) {
        if let Some(device) = module.devices().first() {
            self.begin(rate, device);
        }
        self.update(module, gradients, max_norm);
    }

    /// The part of [`Self::step`] that differs from one step to the next: what depends on the rate and on how many updates there
    /// were. On a GPU it writes from the host, and [`Self::update`] does not.
    pub(crate) fn begin(&mut self, rate: f64, device: &Device) {
        self.updates += 1;
        self.updater.begin(self.rule(rate), device);
    }

    /// The rest of [`Self::step`].
    pub(crate) fn update<M: Module>(&mut self, module: &mut M, gradients: GradientsParams, max_norm: Option<f64>) {
        let on_device = |module: &M| module.devices().first().is_some_and(update::clips);
        let (gradients, max_norm) = match max_norm {
            Some(max_norm) if !on_device(module) => (clip_by_global_norm(module, gradients, max_norm), None),
            _ => (gradients, max_norm),
        };
        let mut take = Take { optimizer: self, gradients, path: Path::default(), names: Vec::new(), slots: Vec::new() };
        // The copy shares every tensor; with the module, the last other holder of the weights goes.
        *module = module.clone().map(&mut take);
        let Take { names, slots, .. } = take;
        let mut weights = HashMap::new();
        for ((id, name), (weight, moments)) in names.into_iter().zip(self.updater.update(slots, max_norm)) {
            let kept = self.moment_names().iter().map(|moment| format!("{name}.{moment}")).zip(moments);
            self.moments.extend(kept);
            weights.insert(id, weight);
        }
        *module = module.clone().map(&mut Put { weights });
    }

    /// This optimiser as it is now, for use after it was lost.
    pub(crate) fn saved(&self, device: &Device) -> impl FnOnce() -> Self + use<> {
        let (config, updates, moments, device) = (self.config.clone(), self.updates, self.moments(), device.clone());
        move || Self::restored(config, updates, moments, &device)
    }

    /// Where its moments lie.
    pub(crate) fn places(&self) -> impl Iterator<Item = Option<Place>> {
        self.moments.values().map(Place::of)
    }

    /// Names of what is kept of each parameter, in the order of the rule's moments.
    fn moment_names(&self) -> &'static [&'static str] {
        match &self.config {
            OptimizerConfig::Adam(_) | OptimizerConfig::AdamW(_) => &["exp_avg", "exp_avg_sq"],
            OptimizerConfig::Sgd(_) => &["momentum"],
        }
    }

    /// The rule of the current update.
    fn rule(&self, rate: f64) -> Rule {
        let updates = self.updates;
        match self.config {
            OptimizerConfig::Adam(AdamConfig { beta_1, beta_2, epsilon, weight_decay: penalty, .. }) => {
                Rule::Adam(AdamStep { beta_1, beta_2, epsilon, rate, updates, penalty, decay: 0.0 })
            }
            OptimizerConfig::AdamW(AdamWConfig { beta_1, beta_2, epsilon, weight_decay: decay, .. }) => {
                Rule::Adam(AdamStep { beta_1, beta_2, epsilon, rate, updates, penalty: 0.0, decay })
            }
            OptimizerConfig::Sgd(SgdConfig { momentum, weight_decay: penalty, .. }) => {
                Rule::Descent(DescentStep { rate, momentum, penalty })
            }
        }
    }
}

/// Takes every parameter that has a gradient out of a module, which holds the gradient in its place meanwhile.
struct Take<'a> {
    optimizer: &'a mut Optimizer,
    gradients: GradientsParams,
    path: Path,
    names: Vec<(ParamId, String)>,
    slots: Vec<Slot>,
}

impl ModuleMapper for Take<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = self.gradients.remove::<D>(param.id) else { return param };
        let name = self.path.name();
        let stored = self.optimizer.moment_names().iter().map(|moment| format!("{name}.{moment}"));
        let moments = stored.filter_map(|key| self.optimizer.moments.remove(&key)).collect();
        self.names.push((param.id, name));
        param.map(|weight| {
            let length = gradient.dims().iter().product::<usize>();
            let flat = gradient.clone().reshape([length]);
            self.slots.push(Slot { weight: weight.inner().reshape([length]), gradient: flat, moments });
            Tensor::from_inner(gradient)
        })
    }
}

/// Puts parameters back.
struct Put {
    weights: HashMap<ParamId, Tensor<1>>,
}

impl ModuleMapper for Put {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(weight) = self.weights.remove(&param.id) else { return param };
        param.map(|gradient| Tensor::from_inner(weight.reshape(gradient.dims())).require_grad())
    }
}

/// Scales all gradients by min(1, max_norm / ‖g‖), with ‖g‖ over all parameters together. The norm is not read back
/// from the device.
pub fn clip_by_global_norm<M: Module>(module: &M, gradients: GradientsParams, max_norm: f64) -> GradientsParams {
    let mut squares = SumOfSquares { gradients: &gradients, sum: None };
    module.visit(&mut squares);
    let Some(sum) = squares.sum else { return gradients };
    let factor = (sum.sqrt().add_scalar(1e-6).recip() * max_norm).clamp_max(1.0);
    let mut scale = Scale { gradients, factor, scaled: GradientsParams::new() };
    module.visit(&mut scale);
    scale.scaled
}

struct SumOfSquares<'a> {
    gradients: &'a GradientsParams,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for SumOfSquares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.gradients.get::<D>(param.id) else { return };
        let square = (gradient.clone() * gradient).sum();
        self.sum = Some(match self.sum.take() {
            Some(sum) => sum + square,
            None => square,
        });
    }
}

struct Scale {
    gradients: GradientsParams,
    factor: Tensor<1>,
    scaled: GradientsParams,
}

impl ModuleVisitor for Scale {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            let factor = self.factor.clone().reshape([1; D]);
            self.scaled.register(param.id, gradient * factor);
        }
    }
}
