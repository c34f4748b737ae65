//! Agreement with PyTorch: every fixture of a folder, on every device of the build.
//!
//! The folder is `tests/fixtures/`, or the one that `HEADWAY_FIXTURES` names. Its `manifest.json` lists the fixtures,
//! and `tests/fixtures/make_fixtures.py` says what each file contains. Fixtures of kinds that Headway has no model for
//! are named and skipped.
//!
//! Outputs, losses and patterns agree to the device's tolerance relative to their largest entry (1e-5 on the CPU, 1e-4
//! through wgpu), and so do gradients, per parameter. Parameters after Adam agree to three times that, in absolute
//! terms, because the size of an update does not depend on the size of the parameter. The gradient of a key bias is
//! zero, which is checked relative to the gradient of the key weight; Adam turns its rounding errors into noise, which
//! is not compared.

#![allow(clippy::unwrap_used, reason = "a test that cannot get its data has failed")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use burn::{optim::GradientsParams, tensor::Device};
use headway_exchange::names::{Convention, Format};
use headway_model::{
    Activation, Input, IoDims, Model, ModelConfig, Norm, PaperOneLayerConfig, PaperTwoLayerConfig, PositionKind,
    Readout, StateMixer, TransformerConfig,
    weights::{self, Array, to_host},
};
use headway_tasks::{Batch, Inputs, Seed, Stream, Targets, TaskDims, TaskInput};
use headway_testkit::{TestDevice, devices, numbers, worst, worst_of_scale};
use headway_trainer::{
    loss::{self, Loss},
    on_device::OnDevice,
    optimizer::{AdamConfig, Optimizer, OptimizerConfig},
};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

const ADAM_RATE: f64 = 1e-3;

/// One entry of a manifest with its tensors.
struct Fixture {
    name: String,
    kind: Kind,
    entry: Value,
    /// Float tensors by their name in the file.
    arrays: BTreeMap<String, Array>,
    /// `[batch, seq_len]`
    tokens: Option<Array>,
}

/// Kinds of fixtures that Headway has models for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    PaperOneLayer,
    PaperTwoLayer,
    Stack,
    TransformerLens,
}

impl Kind {
    fn named(name: &str) -> Option<Self> {
        match name {
            "paper_onelayer" => Some(Self::PaperOneLayer),
            "paper_twolayer" => Some(Self::PaperTwoLayer),
            "stack" => Some(Self::Stack),
            "transformer_lens" => Some(Self::TransformerLens),
            _ => None,
        }
    }
}

fn own_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn folder() -> PathBuf {
    std::env::var_os("HEADWAY_FIXTURES").map_or_else(own_folder, PathBuf::from)
}

/// Every fixture of a known kind; names the others.
fn fixtures(folder: &Path) -> Vec<Fixture> {
    let manifest = folder.join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap_or_else(|error| panic!("{}: {error}", manifest.display()));
    let manifest: Value = serde_json::from_str(&text).unwrap();
    let mut fixtures = Vec::new();
    for (name, entry) in manifest["fixtures"].as_object().unwrap() {
        let kind = entry["kind"].as_str().unwrap();
        match Kind::named(kind) {
            Some(kind) => fixtures.push(Fixture::read(folder, name, kind, entry)),
            None => println!("passed over: {name}, of kind {kind}"),
        }
    }
    assert!(!fixtures.is_empty(), "{}: no fixture of a known kind", folder.display());
    fixtures
}

impl Fixture {
    fn read(folder: &Path, name: &str, kind: Kind, entry: &Value) -> Self {
        let path = folder.join(format!("{name}.safetensors"));
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (mut arrays, mut tokens) = (BTreeMap::new(), None);
        for (name, view) in SafeTensors::deserialize(&bytes).unwrap().iter() {
            let (data, shape) = (view.data(), view.shape().to_vec());
            if name == "tokens" {
                assert_eq!(view.dtype(), Dtype::I64, "tokens");
                let values = data.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b) as f32).collect();
                tokens = Some(Array { shape, values });
            } else {
                assert_eq!(view.dtype(), Dtype::F32, "{name}");
                let values = data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
                arrays.insert(name.to_owned(), Array { shape, values });
            }
        }
        Self { name: name.to_owned(), kind, entry: entry.clone(), arrays, tokens }
    }

    fn size(&self, key: &str) -> usize {
        let size = self.entry[key].as_u64().unwrap_or_else(|| panic!("{}: no size `{key}`", self.name));
        usize::try_from(size).unwrap()
    }

    fn flag(&self, key: &str) -> bool {
        self.entry[key].as_bool().unwrap_or_else(|| panic!("{}: no flag `{key}`", self.name))
    }

    fn array(&self, name: &str) -> &Array {
        self.arrays.get(name).unwrap_or_else(|| panic!("{}: no tensor `{name}`", self.name))
    }

    /// The tensors of a group such as `g.`, under Headway's names and in file orientation. `g.x` is not a parameter.
    fn parameters(&self, group: &str) -> BTreeMap<String, Array> {
        let in_group = self.arrays.iter().filter_map(|(name, array)| Some((name.strip_prefix(group)?, array)));
        let parameters: BTreeMap<String, Array> = in_group
            .filter(|(name, _)| !matches!(*name, "x" | "loss"))
            .map(|(name, array)| (name.to_owned(), array.clone()))
            .collect();
        let format = match self.kind {
            Kind::Stack => return parameters.into_iter().map(|(name, array)| (rename(&name), array)).collect(),
            Kind::PaperOneLayer | Kind::PaperTwoLayer => Format::Pytorch,
            Kind::TransformerLens => Format::TransformerLens,
        };
        if parameters.is_empty() {
            return parameters;
        }
        let renamed =
            Convention::of(&parameters, Some(format), "").and_then(|convention| convention.rename(parameters));
        let renamed = renamed.unwrap_or_else(|error| panic!("{}: {error}", self.name));
        assert!(renamed.unknown.is_empty(), "{}: {:?}", self.name, renamed.unknown);
        renamed.arrays
    }

    fn model(&self) -> (ModelConfig, IoDims) {
        match self.kind {
            Kind::PaperOneLayer => {
                let readout = match self.entry["readout"].as_str() {
                    Some("softmax") => Readout::Softmax,
                    None | Some("channels") => Readout::Channels,
                    Some(other) => panic!("{}: readout {other}", self.name),
                };
                let config = PaperOneLayerConfig {
                    d_model: self.size("hidden"),
                    n_heads: self.size("heads"),
                    n_anchors: self.size("p") - self.size("seq"),
                    readout,
                    ..PaperOneLayerConfig::default()
                };
                (ModelConfig::PaperOneLayer(config), IoDims::continuous(self.size("seq"), self.size("d_in"), 1))
            }
            Kind::PaperTwoLayer => {
                let config = PaperTwoLayerConfig {
                    d_model: self.size("hidden"),
                    n_heads: self.size("heads"),
                    n_anchors: self.size("p") - self.size("seq"),
                    ..PaperTwoLayerConfig::default()
                };
                let dims = IoDims::continuous(self.size("seq"), self.size("d_in"), self.size("d_out"));
                (ModelConfig::PaperTwoLayer(config), dims)
            }
            Kind::Stack => {
                let config = TransformerConfig {
                    d_model: self.size("d_model"),
                    n_layers: self.size("layers"),
                    n_heads: self.size("heads"),
                    causal: self.flag("causal"),
                    norm: if self.flag("layernorm") { Norm::Pre } else { Norm::None },
                    residual: self.flag("residual"),
                    position: PositionKind::Learned,
                    state_mixer: self.state_mixer(),
                    ..TransformerConfig::default()
                };
                let dims = IoDims::continuous(self.size("seq"), self.size("d_in"), self.size("d_out"));
                (ModelConfig::Transformer(config), dims)
            }
            Kind::TransformerLens => {
                let norm = match self.entry["normalization"].as_str() {
                    Some("LN") => Norm::Pre,
                    None => Norm::None,
                    Some(other) => panic!("{}: normalization {other}", self.name),
                };
                let config = TransformerConfig {
                    d_model: self.size("d_model"),
                    n_layers: self.size("n_layers"),
                    n_heads: self.size("n_heads"),
                    causal: self.flag("causal"),
                    norm,
                    residual: true,
                    position: PositionKind::Learned,
                    ..TransformerConfig::default()
                };
                assert!(self.flag("attn_only"), "{}: not attention-only", self.name);
                assert_eq!(self.size("d_head") * self.size("n_heads"), self.size("d_model"), "{}", self.name);
                (ModelConfig::Transformer(config), IoDims::tokens(self.size("n_ctx"), self.size("d_vocab")))
            }
        }
    }

    fn state_mixer(&self) -> StateMixer {
        // Either the width and the name of the activation, or a multiple of d_model and the kind of GELU.
        let width = self.entry.get("d_ffn").map(|_| self.size("d_ffn"));
        let d_ffn = width.unwrap_or_else(|| self.size("ffn") * self.size("d_model"));
        if d_ffn == 0 {
            return StateMixer::None;
        }
        let activation = self.entry.get("activation").or_else(|| self.entry.get("gelu"));
        let activation = match activation.and_then(Value::as_str) {
            Some("erf") => Activation::GeluErf,
            Some("tanh") => Activation::GeluTanh,
            Some("relu") => Activation::Relu,
            other => panic!("{}: activation {other:?}", self.name),
        };
        StateMixer::Ffn { d_ffn, activation }
    }

    /// Inputs and targets as from a task, and the loss.
    fn batch(&self, dims: &IoDims) -> (Batch, Loss) {
        if let Some(tokens) = &self.tokens {
            let [size, seq_len] = [tokens.shape[0], tokens.shape[1]];
            let ids: Vec<u32> = tokens.values.iter().map(|id| *id as u32).collect();
            let next = |at: usize| if at % seq_len + 1 < seq_len { ids[at + 1] } else { 0 };
            let batch = Batch {
                size,
                dims: TaskDims { seq_len, input: TaskInput::Tokens { vocab: dims.d_out }, d_out: dims.d_out },
                targets: Targets::Classes((0..ids.len()).map(next).collect()),
                // The last token has no successor.
                loss_mask: (0..ids.len()).map(|at| at % seq_len + 1 < seq_len).collect(),
                slices: vec![None; ids.len()],
                units: Vec::new(),
                inputs: Inputs::Tokens(ids),
            };
            return (batch, Loss::default());
        }
        let (x, y) = (self.array("x"), self.array("y"));
        let ([size, seq_len, d_in], width) = ([x.shape[0], x.shape[1], x.shape[2]], y.shape[2]);
        // The paper's loss pads the task's outputs with zeros to all channels of the network.
        let (rows, d_out) = (y.values.chunks_exact(width), dims.d_out);
        assert!(rows.clone().all(|row| row[d_out..].iter().all(|y| *y == 0.0)), "{}: targets not padded", self.name);
        let batch = Batch {
            size,
            dims: TaskDims { seq_len, input: TaskInput::Continuous { d_in }, d_out },
            inputs: Inputs::Continuous(x.values.clone()),
            targets: Targets::Continuous(rows.flat_map(|row| row[..d_out].to_vec()).collect()),
            loss_mask: vec![true; size * seq_len],
            slices: vec![None; size * seq_len],
            units: Vec::new(),
        };
        (batch, if width > d_out { Loss::Padded } else { Loss::Plain })
    }
}

/// Headway's name of a parameter of a stack, which has Headway's layouts.
fn rename(name: &str) -> String {
    let part = |part: &str| match part {
        "attn" => "attention".to_owned(),
        "q_proj" => "query".to_owned(),
        "k_proj" => "key".to_owned(),
        "v_proj" => "value".to_owned(),
        "out_proj" => "output".to_owned(),
        "pos" => "position.weight".to_owned(),
        "ln1" => "attention_norm".to_owned(),
        "ln2" => "ffn_norm".to_owned(),
        "fc1" => "ffn.expand".to_owned(),
        "fc2" => "ffn.contract".to_owned(),
        "ln_f" => "final_norm".to_owned(),
        same => same.to_owned(),
    };
    name.split('.').map(part).collect::<Vec<_>>().join(".")
}

/// What was compared, the deviations, and those that are too large.
#[derive(Default)]
struct Outcome {
    worst: BTreeMap<&'static str, f64>,
    failures: Vec<String>,
}

impl Outcome {
    fn compare(&mut self, group: &'static str, name: &str, got: &[f32], want: &[f32], scale: Option<f64>, limit: f64) {
        let found = match scale {
            Some(scale) => worst_of_scale(name, got, want, scale),
            None => worst(name, got, want),
        };
        let Some(found) = found else { return };
        let worst = self.worst.entry(group).or_default();
        *worst = worst.max(found.deviation);
        if found.deviation > limit {
            self.failures.push(format!("{name}: {found:?} exceeds {limit:e}"));
        }
    }

    /// Compares tensors by name; `scale` gives the unit of a tensor, by default its largest entry, or skips the tensor.
    fn compare_all(
        &mut self,
        group: &'static str,
        got: &BTreeMap<String, Array>,
        want: &BTreeMap<String, Array>,
        limit: f64,
        scale: impl Fn(&str) -> Scale,
    ) {
        let names = |arrays: &BTreeMap<String, Array>| arrays.keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(names(got), names(want), "{group}");
        for (name, want) in want {
            assert_eq!(got[name].shape, want.shape, "{group} of {name}");
            let label = format!("{group} of {name}");
            match scale(name) {
                Scale::Largest => self.compare(group, &label, &got[name].values, &want.values, None, limit),
                Scale::Of(unit) => self.compare(group, &label, &got[name].values, &want.values, Some(unit), limit),
                Scale::LeftOut => {}
            }
        }
    }
}

/// The unit in which a tensor's deviation is measured.
enum Scale {
    Largest,
    Of(f64),
    LeftOut,
}

fn inputs(batch: &Batch, device: &Device) -> Input {
    match loss::inputs(batch, device) {
        Input::Continuous(x) => Input::Continuous(x.require_grad()),
        tokens @ Input::Tokens(_) => tokens,
    }
}

fn build(fixture: &Fixture, parameters: BTreeMap<String, Array>, device: &Device) -> (Model, IoDims) {
    let (config, dims) = fixture.model();
    let fresh = config.init(&dims, &mut Seed(1).rng(Stream::Init, 0), device).unwrap();
    let (model, _) = weights::load(fresh, parameters).unwrap_or_else(|error| panic!("{}: {error}", fixture.name));
    (model, dims)
}

fn output_name(fixture: &Fixture) -> &'static str {
    if fixture.tokens.is_some() { "logits" } else { "out" }
}

/// Runs one fixture on one device and compares everything it contains.
fn check(fixture: &Fixture, on: &TestDevice) -> Outcome {
    let (tolerance, device) = (on.tolerance, on.device.clone().autodiff());
    let mut outcome = Outcome::default();
    let (mut model, dims) = build(fixture, fixture.parameters("w."), &device);
    let (batch, loss) = fixture.batch(&dims);

    let output = fixture.array(output_name(fixture));
    let trace = model.forward_traced(loss::inputs(&batch, &device));
    assert_eq!(trace.output.dims().to_vec(), output.shape, "{}", fixture.name);
    outcome.compare("output", "traced output", &to_host(trace.output), &output.values, None, tolerance);
    assert!(!fixture.arrays.contains_key(&format!("att.{}", trace.layers.len())), "{}: more layers", fixture.name);
    for (layer, seen) in trace.layers.into_iter().enumerate() {
        let want = fixture.array(&format!("att.{layer}"));
        assert_eq!(seen.pattern.dims().to_vec(), want.shape, "{}", fixture.name);
        let name = format!("pattern of layer {layer}");
        outcome.compare("pattern", &name, &to_host(seen.pattern), &want.values, None, tolerance);
        if let Some(want) = fixture.arrays.get(&format!("resid_post.{layer}")) {
            let name = format!("hidden state after layer {layer}");
            outcome.compare("hidden", &name, &to_host(seen.hidden), &want.values, None, tolerance);
        }
    }

    let input = inputs(&batch, &device);
    let prediction = model.forward(input.clone());
    outcome.compare("output", "output", &to_host(prediction.clone()), &output.values, None, tolerance);
    let value = loss.forward(prediction, &OnDevice::new(&batch, &device));
    outcome.compare("loss", "loss", &to_host(value.clone()), &fixture.array("loss").values, None, tolerance);
    let gradients = value.backward();
    if let Input::Continuous(x) = input {
        let got = to_host(x.grad(&gradients).unwrap());
        outcome.compare("gradient", "gradient of x", &got, &fixture.array("g.x").values, None, tolerance);
    }
    let got = weights::collect(&model, &GradientsParams::from_grads(gradients, &model));
    let want = fixture.parameters("g.");
    outcome.compare_all("gradient", &got, &want, tolerance, |name| match name.strip_suffix("key.bias") {
        Some(layer) => {
            let key = &want[&format!("{layer}key.weight")].values;
            Scale::Of(key.iter().fold(0.0, |top, g| f64::max(top, f64::from(g.abs()))))
        }
        None => Scale::Largest,
    });

    let want = fixture.parameters("adam.");
    if want.is_empty() {
        assert!(fixture.entry.get("adam_steps").is_none(), "{}: no parameters after Adam", fixture.name);
        return outcome;
    }
    let steps = fixture.size("adam_steps");
    let adam = AdamConfig { learning_rate: ADAM_RATE, ..AdamConfig::default() };
    let mut optimizer = Optimizer::new(OptimizerConfig::Adam(adam));
    let (mut losses, there) = (Vec::new(), OnDevice::new(&batch, &device));
    for _ in 0..steps {
        let value = loss.forward(model.forward(there.input()), &there);
        losses.extend(to_host(value.clone()));
        let gradients = GradientsParams::from_grads(value.backward(), &model);
        optimizer.step(&mut model, gradients, ADAM_RATE, None);
    }
    outcome.compare("loss", "losses under Adam", &losses, &fixture.array("adam.loss").values, None, tolerance);
    outcome.compare_all("adam", &weights::arrays(&model), &want, 3.0 * tolerance, |name| {
        if name.ends_with("key.bias") { Scale::LeftOut } else { Scale::Of(1.0) }
    });
    outcome
}

fn shown(worst: &BTreeMap<&str, f64>) -> String {
    worst.iter().map(|(group, deviation)| format!("{group} {deviation:.1e}")).collect::<Vec<_>>().join(", ")
}

#[test]
fn every_fixture_agrees_with_pytorch() {
    let fixtures = fixtures(&folder());
    let mut failures = Vec::new();
    for on in devices() {
        let mut worst = BTreeMap::new();
        for fixture in &fixtures {
            let outcome = check(fixture, &on);
            println!("{} on {}: {}", fixture.name, on.name, shown(&outcome.worst));
            for (group, deviation) in outcome.worst {
                let worst: &mut f64 = worst.entry(group).or_default();
                *worst = worst.max(deviation);
            }
            let named =
                outcome.failures.into_iter().map(|failure| format!("{} on {}: {failure}", fixture.name, on.name));
            failures.extend(named);
        }
        println!("worst on {}: {}", on.name, shown(&worst));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// In the repository's fixtures a change of 2 % in any parameter would be noticed, so no comparison is empty.
#[test]
fn every_parameter_matters() {
    let on = &devices()[0];
    for fixture in fixtures(&own_folder()) {
        let parameters = fixture.parameters("w.");
        for changed in parameters.keys().filter(|name| !name.ends_with("key.bias")) {
            let mut parameters = parameters.clone();
            let values = &mut parameters.get_mut(changed).unwrap().values;
            let size = values.iter().fold(0.0, |top, w| f32::max(top, w.abs()));
            let changes = numbers(1, values.len());
            values.iter_mut().zip(changes).for_each(|(w, change)| *w += 0.02 * change * size);
            let (model, dims) = build(&fixture, parameters, &on.device);
            let (batch, _) = fixture.batch(&dims);
            let output = to_host(model.forward(loss::inputs(&batch, &on.device)));
            let found = worst("output", &output, &fixture.array(output_name(&fixture)).values).unwrap();
            assert!(found.deviation > 3.0 * on.tolerance, "{}: {changed} has no influence: {found:?}", fixture.name);
        }
    }
}

/// The repository's fixtures cover every kind and every switch of a stack.
#[test]
fn own_fixtures_cover_every_kind() {
    let fixtures = fixtures(&own_folder());
    let kinds: BTreeSet<Kind> = fixtures.iter().map(|fixture| fixture.kind).collect();
    let all = [Kind::PaperOneLayer, Kind::PaperTwoLayer, Kind::Stack, Kind::TransformerLens];
    assert_eq!(kinds, BTreeSet::from(all));
    let stacks = fixtures.iter().filter(|fixture| fixture.kind == Kind::Stack);
    let switches = |f: &Fixture| (f.flag("layernorm"), f.flag("causal"), f.flag("residual"));
    let bare = stacks.clone().filter(|f| f.state_mixer() == StateMixer::None).map(switches);
    assert_eq!(bare.collect::<BTreeSet<_>>().len(), 8, "norm x causal x residual");
    let activations = stacks.map(|f| format!("{:?}", f.state_mixer()));
    assert_eq!(activations.collect::<BTreeSet<_>>().len(), 4, "no feed-forward network, erf, tanh, relu");
    let norms = fixtures.iter().filter(|f| f.kind == Kind::TransformerLens).map(|f| f.entry["normalization"].is_null());
    assert_eq!(norms.collect::<BTreeSet<_>>().len(), 2, "TransformerLens with and without norms");
    let anchors = fixtures.iter().filter(|f| f.kind == Kind::PaperTwoLayer).map(|f| f.size("p") > f.size("seq"));
    assert_eq!(anchors.collect::<BTreeSet<_>>().len(), 2, "two layers with and without interpolation tokens");
    let readouts = fixtures.iter().filter(|f| f.kind == Kind::PaperOneLayer).map(|f| f.entry["readout"].to_string());
    assert_eq!(readouts.collect::<BTreeSet<_>>().len(), 2, "both readouts");
}
