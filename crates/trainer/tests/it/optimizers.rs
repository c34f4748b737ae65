//! Update rules and clipping compared with PyTorch, step by step, on every device of the build.
//!
//! The repository's `tests/fixtures/optimizers.json` lists the cases; `make_fixtures.py` beside it wrote them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    nn,
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData},
};
use headway_model::{
    Linear, Precision,
    weights::{self, Array},
};
use headway_testkit::{assert_close, assert_close_of_scale, devices};
use headway_trainer::optimizer::{AdamConfig, AdamWConfig, Optimizer, OptimizerConfig, SgdConfig, clip_by_global_norm};
use serde_json::Value;

/// Relative to the largest entry: f32 over a few steps.
const TOLERANCE: f64 = 1e-6;

pub(crate) struct Fixture {
    pub(crate) arrays: BTreeMap<String, Array>,
    pub(crate) listing: Value,
}

impl Fixture {
    fn read() -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures");
        let bytes = fs::read(format!("{folder}/optimizers.safetensors")).unwrap();
        let listing = fs::read_to_string(format!("{folder}/optimizers.json")).unwrap();
        Self { arrays: weights::arrays_from_bytes(&bytes).unwrap(), listing: serde_json::from_str(&listing).unwrap() }
    }

    fn rates(&self) -> Vec<f64> {
        self.listing["rates"].as_array().unwrap().iter().map(|rate| rate.as_f64().unwrap()).collect()
    }

    /// The tensors `<prefix>.weight` and `<prefix>.bias`.
    pub(crate) fn pair(&self, prefix: &str) -> BTreeMap<String, Array> {
        ["weight", "bias"].map(|name| (name.to_owned(), self.arrays[&format!("{prefix}.{name}")].clone())).into()
    }

    /// The map that has the parameters `<prefix>.weight` and `<prefix>.bias`.
    pub(crate) fn start(&self, prefix: &str, device: &Device) -> Linear {
        let parameters = self.pair(prefix);
        let [d_out, d_in]: [usize; 2] = parameters["weight"].shape.clone().try_into().unwrap();
        let nn::Linear { weight, bias } = nn::LinearConfig::new(d_in, d_out).init(&device.clone().autodiff());
        let linear = Linear { weight: weight.into(), bias, low_rank: None, precision: Precision::F32 };
        weights::load(linear, parameters).unwrap().0
    }

    /// The gradients `<prefix>.weight` and `<prefix>.bias`, as a backward pass would register them.
    pub(crate) fn gradients(&self, prefix: &str, module: &Linear, device: &Device) -> GradientsParams {
        let mut gradients = GradientsParams::new();
        // Loading them as if they were weights transposes the matrix from [out, in] to [in, out].
        let of_gradients = weights::load(module.clone(), self.pair(prefix)).unwrap().0;
        let ids = weights::names(module).into_iter().map(|(_, id)| id).collect();
        of_gradients.visit(&mut Register { gradients: &mut gradients, ids, device });
        gradients
    }
}

/// Registers a module's values as the gradients of the parameters `ids`.
struct Register<'a> {
    gradients: &'a mut GradientsParams,
    ids: std::collections::VecDeque<ParamId>,
    device: &'a Device,
}

impl ModuleVisitor for Register<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let data = TensorData::new(weights::to_host(param.val()), param.val().dims());
        self.gradients.register(self.ids.pop_front().unwrap(), Tensor::<D>::from_data(data, self.device));
    }
}

/// The config of a case, from PyTorch's arguments.
fn config(case: &Value) -> OptimizerConfig {
    let number = |key: &str| case[key].as_f64();
    let weight_decay = number("weight_decay").unwrap_or(0.0);
    let default = AdamConfig::default();
    let beta = |at: usize, default: f64| case["betas"][at].as_f64().unwrap_or(default);
    let adam = AdamConfig {
        beta_1: beta(0, default.beta_1),
        beta_2: beta(1, default.beta_2),
        epsilon: number("eps").unwrap_or(default.epsilon),
        weight_decay,
        ..default
    };
    match case["optimizer"].as_str().unwrap() {
        "Adam" => OptimizerConfig::Adam(adam),
        "AdamW" => {
            let AdamConfig { learning_rate, beta_1, beta_2, epsilon, weight_decay, group } = adam;
            OptimizerConfig::AdamW(AdamWConfig { learning_rate, beta_1, beta_2, epsilon, weight_decay, group })
        }
        "SGD" => {
            let momentum = number("momentum").unwrap_or(0.0);
            OptimizerConfig::Sgd(SgdConfig { momentum, weight_decay, ..SgdConfig::default() })
        }
        other => panic!("optimiser {other}"),
    }
}

pub(crate) fn assert_arrays_close(
    name: &str,
    got: &BTreeMap<String, Array>,
    want: &BTreeMap<String, Array>,
    tolerance: f64,
) {
    assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>(), "{name}");
    for (parameter, want) in want {
        assert_eq!(got[parameter].shape, want.shape, "{name}, {parameter}");
        assert_close(&format!("{name}, {parameter}"), &got[parameter].values, &want.values, tolerance);
    }
}

#[test]
fn updates_are_those_of_pytorch() {
    let fixture = Fixture::read();
    let cases = fixture.listing["cases"].as_object().unwrap();
    let kinds: BTreeSet<&str> = cases.values().map(|case| config(case).name()).collect();
    assert_eq!(kinds, BTreeSet::from(["adam", "adamw", "sgd"]));
    for on in devices() {
        for (case, options) in cases {
            let mut module = fixture.start("start", &on.device);
            let mut optimizer = Optimizer::new(config(options));
            for (step, rate) in fixture.rates().into_iter().enumerate() {
                let gradients = fixture.gradients(&format!("gradient.{step}"), &module, &on.device);
                optimizer.step(&mut module, gradients, rate, None);
                let name = format!("{case} after step {step} on {}", on.name);
                assert_arrays_close(
                    &name,
                    &weights::arrays(&module),
                    &fixture.pair(&format!("{case}.{step}")),
                    TOLERANCE,
                );
            }
            compare_moments(&fixture, case, &optimizer.moments());
        }
    }
}

/// Compares the moments after the last step; ours are stored in memory order, `[in, out]`.
fn compare_moments(fixture: &Fixture, case: &str, moments: &BTreeMap<String, Array>) {
    let mut compared = 0;
    for (name, want) in &fixture.arrays {
        let moment = name.strip_prefix(case).and_then(|rest| rest.strip_prefix('.'));
        let Some(moment) = moment.filter(|m| m.contains("exp_avg") || m.contains("momentum")) else { continue };
        let moment = moment.replace("momentum_buffer", "momentum");
        let want = match want.shape[..] {
            [rows, columns] => (0..want.values.len()).map(|at| want.values[at % rows * columns + at / rows]).collect(),
            _ => want.values.clone(),
        };
        assert_close(&format!("{case}, {moment}"), &moments[&moment].values, &want, TOLERANCE);
        compared += 1;
    }
    assert_eq!(compared, moments.len(), "{case}: {:?}", moments.keys());
}

#[test]
fn a_restored_optimiser_goes_on_bit_for_bit() {
    const CUT: usize = 3;
    let fixture = Fixture::read();
    for on in devices() {
        for (case, options) in fixture.listing["cases"].as_object().unwrap() {
            let step = |optimizer: &mut Optimizer, mut module: Linear, step: usize| {
                let gradients = fixture.gradients(&format!("gradient.{step}"), &module, &on.device);
                optimizer.step(&mut module, gradients, fixture.rates()[step], None);
                module
            };
            let steps = fixture.rates().len();
            let mut optimizer = Optimizer::new(config(options));
            let half = (0..CUT).fold(fixture.start("start", &on.device), |module, at| step(&mut optimizer, module, at));
            let moments = optimizer.moments();
            let straight = (CUT..steps).fold(half.clone(), |module, at| step(&mut optimizer, module, at));
            let mut restored = Optimizer::restored(config(options), CUT as u64, moments, &on.device);
            let resumed = (CUT..steps).fold(half, |module, at| step(&mut restored, module, at));
            assert_eq!(weights::arrays(&straight), weights::arrays(&resumed), "{case} on {}", on.name);
            assert_eq!(optimizer.moments(), restored.moments(), "{case} on {}", on.name);
        }
    }
}

#[test]
fn clipping_is_by_the_norm_of_all_gradients_together() {
    let fixture = Fixture::read();
    for on in devices() {
        let module = fixture.start("start", &on.device);
        let given = weights::collect(&module, &fixture.gradients("gradient.0", &module, &on.device));
        let norm = given.values().flat_map(|array| &array.values).map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        let clips = fixture.listing["clips"].as_object().unwrap();
        for (case, max_norm) in clips {
            let max_norm = max_norm.as_f64().unwrap();
            let gradients = fixture.gradients("gradient.0", &module, &on.device);
            let clipped = weights::collect(&module, &clip_by_global_norm(&module, gradients, max_norm));
            assert_arrays_close(&format!("{case} on {}", on.name), &clipped, &fixture.pair(case), TOLERANCE);
            assert_eq!(clipped == given, max_norm > norm, "{case}: norm {norm}");
            // A descent of rate one takes the clipped gradient from the weights.
            let mut moved = module.clone();
            let gradients = fixture.gradients("gradient.0", &module, &on.device);
            let descent = OptimizerConfig::Sgd(SgdConfig::default());
            Optimizer::new(descent).step(&mut moved, gradients, 1.0, Some(max_norm));
            let (start, moved) = (weights::arrays(&module), weights::arrays(&moved));
            for (name, want) in fixture.pair(case) {
                let way = start[&name].values.iter().zip(&moved[&name].values).map(|(from, to)| from - to);
                let way: Vec<f32> = way.collect();
                // Of two numbers of size one, rounded to an f32.
                assert_close_of_scale(&format!("{case}, {name} on {}", on.name), &way, &want.values, 1.0, TOLERANCE);
            }
        }
        let sides: BTreeSet<bool> = clips.values().map(|max_norm| max_norm.as_f64().unwrap() > norm).collect();
        assert_eq!(sides.len(), 2, "one limit below and one above the norm {norm}");
    }
}

#[test]
fn parameters_without_a_gradient_stay() {
    /// Freezes vectors.
    struct Freeze;
    impl ModuleMapper for Freeze {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if D == 1 { param.map(|tensor| tensor.set_require_grad(false)) } else { param }
        }
    }
    let fixture = Fixture::read();
    for on in devices() {
        let mut module = fixture.start("start", &on.device).map(&mut Freeze);
        let x = Tensor::<3>::ones([1, 1, 3], &on.device.clone().autodiff());
        let gradients = GradientsParams::from_grads(module.forward(x).sum().backward(), &module);
        let decayed = OptimizerConfig::AdamW(AdamWConfig::default());
        Optimizer::new(decayed).step(&mut module, gradients, 0.1, None);
        let (after, before) = (weights::arrays(&module), fixture.pair("start"));
        assert_eq!(after["bias"], before["bias"], "{}", on.name);
        assert_ne!(after["weight"], before["weight"], "{}", on.name);
    }
}
