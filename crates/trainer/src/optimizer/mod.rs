//! Optimisers over named parameters. Their whole state is a set of named arrays and a step count.
//!
//! burn's `ModuleOptimizer` stores its state under random parameter ids, restores it on the default device, and clips
//! each tensor separately. Exact resuming and clipping by the global norm need something else, so the update rules are
//! implemented here.

mod config;

use std::collections::{BTreeMap, HashMap};

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData},
};
use headway_kernels::{
    MuonStep,
    capture::Place,
    muon,
    update::{self, Rule, Slot, Updated, Updater},
};
use headway_model::weights::{Array, Path, to_host};

pub use config::{
    AdamConfig, AdamWConfig, MuonConfig, MuonRest, MuonScale, OPTIMIZERS, OptimizerConfig, ParameterGroup, SgdConfig,
};

/// An optimiser with its state.
pub struct Optimizer {
    config: OptimizerConfig,
    updates: u64,
    /// Moments under `<parameter>.<moment>`, in the memory order of the parameter.
    moments: BTreeMap<String, Tensor<1>>,
    /// One for each kind of parameters that are updated alike, see [`OptimizerConfig::kind`].
    ways: Vec<Way>,
}

/// How the parameters of a kind are updated.
#[derive(Default)]
struct Way {
    updater: Updater,
    /// Set where each is updated as a matrix.
    matrices: Option<MuonStep>,
}

/// What an update makes of the parameters of a kind.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Law {
    /// Number by number.
    Each(Rule),
    /// By Muon. The step's scale is that of a square matrix.
    Matrices(MuonStep),
}

impl Optimizer {
    /// An optimiser with no state yet.
    pub fn new(config: OptimizerConfig) -> Self {
        let ways = (0..config.kinds()).map(|_| Way::default()).collect();
        Self { config, updates: 0, moments: BTreeMap::new(), ways }
    }

    /// An optimiser as it was after `updates` updates, given its moments.
    pub fn restored(config: OptimizerConfig, updates: u64, moments: BTreeMap<String, Array>, device: &Device) -> Self {
        let tensor = |array: Array| {
            let length = array.values.len();
            Tensor::from_data(TensorData::new(array.values, [length]), device)
        };
        let moments = moments.into_iter().map(|(name, array)| (name, tensor(array))).collect();
        Self { updates, moments, ..Self::new(config) }
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
    /// were. On a GPU it writes from the host, and [`Self::update`] does not, except by Muon.
    pub(crate) fn begin(&mut self, rate: f64, device: &Device) {
        self.updates += 1;
        for (kind, way) in self.ways.iter_mut().enumerate() {
            match self.config.law(kind, rate, self.updates) {
                Law::Each(rule) => way.updater.begin(rule, device),
                Law::Matrices(step) => way.matrices = Some(step),
            }
        }
    }

    /// The rest of [`Self::step`].
    pub(crate) fn update<M: Module>(&mut self, module: &mut M, gradients: GradientsParams, max_norm: Option<f64>) {
        // Several updaters know no norm over all parameters.
        let clips = self.ways.len() == 1 && module.devices().first().is_some_and(update::clips);
        let (gradients, max_norm) = match max_norm {
            Some(max_norm) if !clips => (clip_by_global_norm(module, gradients, max_norm), None),
            _ => (gradients, max_norm),
        };
        let taken = self.ways.iter().map(|_| Taken::default()).collect();
        let mut take = Take { optimizer: self, gradients, path: Path::default(), taken };
        // The copy shares every tensor; with the module, the last other holder of the weights goes.
        *module = module.clone().map(&mut take);
        let Take { taken, .. } = take;
        let mut weights = HashMap::new();
        for (kind, Taken { names, slots }) in taken.into_iter().enumerate() {
            let updated = self.ways[kind].update(&self.config, &names, slots, max_norm);
            for (Named { id, name, .. }, (weight, moments)) in names.into_iter().zip(updated) {
                let kept = self.config.moment_names(kind).iter().map(|moment| format!("{name}.{moment}")).zip(moments);
                self.moments.extend(kept);
                weights.insert(id, weight);
            }
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
}

impl Way {
    /// New weights and moments of parameters, in their order.
    fn update(
        &mut self,
        config: &OptimizerConfig,
        names: &[Named],
        slots: Vec<Slot>,
        max_norm: Option<f64>,
    ) -> Vec<Updated> {
        let Some(step) = self.matrices else { return self.updater.update(slots, max_norm) };
        let matrix = |(slot, name): (Slot, &Named)| {
            let dims: [usize; 2] =
                name.dims.as_slice().try_into().unwrap_or_else(|_| unreachable!("only matrices are of this kind"));
            muon(slot, dims, MuonStep { scale: config.scale(dims), ..step })
        };
        slots.into_iter().zip(names).map(matrix).collect()
    }
}

/// A parameter that was taken out of its module.
struct Named {
    id: ParamId,
    name: String,
    /// Its axes in memory.
    dims: Vec<usize>,
}

/// Parameters of a kind that were taken out of their module.
#[derive(Default)]
struct Taken {
    names: Vec<Named>,
    slots: Vec<Slot>,
}

/// Takes every parameter that has a gradient out of a module, which holds the gradient in its place meanwhile.
struct Take<'a> {
    optimizer: &'a mut Optimizer,
    gradients: GradientsParams,
    path: Path,
    /// By kind.
    taken: Vec<Taken>,
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
        let Optimizer { config, moments, .. } = &mut *self.optimizer;
        let kind = config.kind(&name, D);
        let stored = config.moment_names(kind).iter().map(|moment| format!("{name}.{moment}"));
        let moments = stored.filter_map(|key| moments.remove(&key)).collect();
        let Taken { names, slots } = &mut self.taken[kind];
        names.push(Named { id: param.id, name, dims: gradient.dims().to_vec() });
        param.map(|weight| {
            let length = gradient.dims().iter().product::<usize>();
            let flat = gradient.clone().reshape([length]);
            slots.push(Slot { weight: weight.inner().reshape([length]), gradient: flat, moments });
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
