//! The list of optimisers, their settings, and which parameters they update alike.

use std::collections::BTreeSet;

use burn::tensor::Device;
use headway_kernels::{
    AdamStep, MuonStep,
    update::{DescentStep, Rule},
};
use headway_keys::Described;
use headway_model::{IoDims, ModelConfig, parameters::matches, weights};
use serde::{Deserialize, Serialize};

use super::Law;
use crate::list::list;

list! {
    /// An optimiser by its name in a config file (`[optimizer.adam]`).
    OptimizerConfig, OPTIMIZERS;
    "adam" = Adam(AdamConfig), "Adam; weight decay, if any, is added to the gradient";
    "adamw" = AdamW(AdamWConfig), "Adam with decoupled weight decay";
    "sgd" = Sgd(SgdConfig), "gradient descent with optional momentum";
    "muon" = Muon(MuonConfig), "momentum made orthogonal for the matrices of hidden layers, Adam for all else";
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
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
    /// Parameters with settings of their own (`[[optimizer.adam.group]]`). Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<ParameterGroup>,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self { learning_rate: 1e-3, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 0.0, group: Vec::new() }
    }
}

/// Adam whose weight decay bypasses the moments: w ← (1 − η · `weight_decay`) w before Adam's update.
///
/// # References
/// Loshchilov, Hutter 2017, arXiv 1711.05101.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
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
    /// Parameters with settings of their own (`[[optimizer.adamw.group]]`). Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<ParameterGroup>,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        let AdamConfig { learning_rate, beta_1, beta_2, epsilon, .. } = AdamConfig::default();
        Self { learning_rate, beta_1, beta_2, epsilon, weight_decay: 0.01, group: Vec::new() }
    }
}

/// b ← momentum · b + g, w ← w − η b, where g includes `weight_decay` · w.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct SgdConfig {
    /// Base learning rate η. Default 0.01.
    pub learning_rate: f64,
    /// Decay of the velocity; 0 for plain gradient descent. Default 0.
    pub momentum: f64,
    /// L2 penalty added to the gradient. Default 0.
    pub weight_decay: f64,
    /// Parameters with settings of their own (`[[optimizer.sgd.group]]`). Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<ParameterGroup>,
}

impl Default for SgdConfig {
    fn default() -> Self {
        Self { learning_rate: 0.01, momentum: 0.0, weight_decay: 0.0, group: Vec::new() }
    }
}

/// Muon: for the matrices of hidden layers, b ← momentum · b + g, w ← (1 − η · `weight_decay`) w − η s NS(g + momentum · b), with NS the
/// orthogonal factor as far as five Newton–Schulz steps bring it ([`headway_kernels::orthogonalised`]), b itself in its argument
/// without `nesterov`, and s the [`MuonScale`]. Vectors, and the matrices that `by_adam` names, are updated by `adam`.
///
/// # References
/// Jordan et al. 2024, <https://kellerjordan.github.io/posts/muon/>; momentum and decay as in PyTorch's `torch.optim.Muon`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct MuonConfig {
    /// Base learning rate η of matrices. Default 0.02.
    pub learning_rate: f64,
    /// Decay of the velocity. Default 0.95.
    pub momentum: f64,
    /// Whether the gradient is added to the velocity once more. Default true.
    pub nesterov: bool,
    /// How the shape of a matrix scales its update: `spectral` or `rms`. Default `spectral`.
    pub scale: MuonScale,
    /// Decoupled weight decay of matrices. Default 0.
    pub weight_decay: f64,
    /// Names of matrices that Adam updates too, `*` standing for any text. Default: tables and the maps at both ends of a network.
    pub by_adam: Vec<String>,
    /// Adam for what is no matrix of a hidden layer.
    pub adam: MuonRest,
    /// Parameters with settings of their own (`[[optimizer.muon.group]]`). Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<ParameterGroup>,
}

impl Default for MuonConfig {
    fn default() -> Self {
        let by_adam =
            ["embed.*", "input_map.*", "lift.*", "position.*", "prompt.*", "*.prefix.*", "readout.*", "head.*"];
        Self {
            learning_rate: 0.02,
            momentum: 0.95,
            nesterov: true,
            scale: MuonScale::Spectral,
            weight_decay: 0.0,
            by_adam: by_adam.map(str::to_owned).to_vec(),
            adam: MuonRest::default(),
            group: Vec::new(),
        }
    }
}

/// Factor of Muon's update of a matrix `[d_out, d_in]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum MuonScale {
    /// sqrt(max(1, `d_out` / `d_in`)), as its authors have it.
    #[default]
    Spectral,
    /// 0.2 sqrt(max(`d_out`, `d_in`)): updates then have the root mean square of Adam's, and so may the learning rate. Liu et al. 2025, arXiv
    /// 2502.16982.
    Rms,
}

/// [`AdamWConfig`] for the parameters that Muon leaves, at a learning rate that follows the same schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct MuonRest {
    /// Base learning rate. Default 1e-3.
    pub learning_rate: f64,
    /// Decay of the first moment. Default 0.9.
    pub beta_1: f64,
    /// Decay of the second moment. Default 0.95.
    pub beta_2: f64,
    /// Added to the denominator. Default 1e-8.
    pub epsilon: f64,
    /// Decoupled weight decay. Default 0.
    pub weight_decay: f64,
}

impl Default for MuonRest {
    fn default() -> Self {
        Self { learning_rate: 1e-3, beta_1: 0.9, beta_2: 0.95, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

/// Parameters with settings of their own. A parameter belongs to the first group that names it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields)]
pub struct ParameterGroup {
    /// Their names, `*` standing for any text, such as `"*.bias"` or `"blocks.0.*"`.
    #[serde(rename = "match")]
    pub pattern: String,
    /// Factor of their learning rate. Default 1.
    #[serde(default = "one")]
    pub learning_rate_factor: f64,
    /// Their weight decay. Default: that of the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
}

fn one() -> f64 {
    1.0
}

impl OptimizerConfig {
    /// Base learning rate; of Muon that of matrices.
    pub fn learning_rate(&self) -> f64 {
        match self {
            Self::Adam(config) => config.learning_rate,
            Self::AdamW(config) => config.learning_rate,
            Self::Sgd(config) => config.learning_rate,
            Self::Muon(config) => config.learning_rate,
        }
    }

    /// Sets the base learning rate; Muon's Adam keeps its own.
    pub fn set_learning_rate(&mut self, learning_rate: f64) {
        match self {
            Self::Adam(config) => config.learning_rate = learning_rate,
            Self::AdamW(config) => config.learning_rate = learning_rate,
            Self::Sgd(config) => config.learning_rate = learning_rate,
            Self::Muon(config) => config.learning_rate = learning_rate,
        }
    }

    /// Parameters with settings of their own.
    pub fn groups(&self) -> &[ParameterGroup] {
        match self {
            Self::Adam(config) => &config.group,
            Self::AdamW(config) => &config.group,
            Self::Sgd(config) => &config.group,
            Self::Muon(config) => &config.group,
        }
    }

    /// Numbers that it keeps for a model of these sizes, all of whose parameters are trained.
    pub fn moments(&self, model: &ModelConfig, dims: &IoDims) -> f64 {
        let parameters = model.budget(dims).parameters as f64;
        match self {
            Self::Adam(_) | Self::AdamW(_) => 2.0 * parameters,
            Self::Sgd(config) if config.momentum == 0.0 => 0.0,
            Self::Sgd(_) => parameters,
            Self::Muon(config) => {
                let shapes = model.uninitialized(dims, &Device::flex()).map(|model| weights::parameters(&model));
                let by_muon = |(name, shape): &(String, Vec<usize>)| config.takes(name, shape.len());
                let matrices = shapes.unwrap_or_default().into_iter().filter(by_muon);
                2.0 * parameters - matrices.map(|(_, shape)| shape.iter().product::<usize>() as f64).sum::<f64>()
            }
        }
    }

    /// Why its steps cannot be captured; `None` if they can.
    pub(crate) fn works_on_the_host(&self) -> Option<&'static str> {
        matches!(self, Self::Muon(_)).then_some("Muon takes its learning rate from the host, anew at each step")
    }

    /// Patterns that match none of the parameters with these names: each key, and what would be right.
    pub(crate) fn strays(&self, names: impl FnOnce() -> Vec<String>) -> Vec<(String, String)> {
        let groups = self.groups().iter().enumerate().map(|(at, group)| (format!("group.{at}.match"), &group.pattern));
        // The default names the ends of every family.
        let by_adam = match self {
            Self::Muon(config) if config.by_adam != MuonConfig::default().by_adam => config.by_adam.as_slice(),
            _ => &[],
        };
        let by_adam = by_adam.iter().enumerate().map(|(at, pattern)| (format!("by_adam.{at}"), pattern));
        let patterns: Vec<(String, &String)> = groups.chain(by_adam).collect();
        if patterns.is_empty() {
            return Vec::new();
        }
        let names = names();
        let strays = patterns.into_iter().filter(|(_, pattern)| !names.iter().any(|name| matches(pattern, name)));
        let problem = |pattern: &String| format!("\"{pattern}\" matches no parameter; there are {}", listed(&names));
        strays.map(|(key, pattern)| (key, problem(pattern))).collect()
    }

    /// Settings that are out of range: each key, and what would be right.
    pub(crate) fn problems(&self) -> Vec<(String, String)> {
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
        let descent = |rate, momentum, weight_decay| {
            vec![
                ("learning_rate", positive(rate)),
                ("momentum", decay(momentum)),
                ("weight_decay", natural(weight_decay)),
            ]
        };
        let checks = match self {
            Self::Adam(c) => adam(c.learning_rate, c.beta_1, c.beta_2, c.epsilon, c.weight_decay),
            Self::AdamW(c) => adam(c.learning_rate, c.beta_1, c.beta_2, c.epsilon, c.weight_decay),
            Self::Sgd(c) => descent(c.learning_rate, c.momentum, c.weight_decay),
            Self::Muon(c) => descent(c.learning_rate, c.momentum, c.weight_decay),
        };
        let mut checks: Vec<(String, Option<String>)> =
            checks.into_iter().map(|(key, problem)| (key.to_owned(), problem)).collect();
        if let Self::Muon(MuonConfig { adam: c, .. }) = self {
            let rest = adam(c.learning_rate, c.beta_1, c.beta_2, c.epsilon, c.weight_decay);
            checks.extend(rest.into_iter().map(|(key, problem)| (format!("adam.{key}"), problem)));
        }
        // Lists of tables are read by no other check of numbers.
        let single = |value: f64| {
            let is_lost = value != 0.0 && !(value as f32).is_normal();
            is_lost.then(|| format!("{value:e} is no number of single precision"))
        };
        for (at, group) in self.groups().iter().enumerate() {
            let factor = group.learning_rate_factor;
            checks.push((format!("group.{at}.learning_rate_factor"), positive(factor).or_else(|| single(factor))));
            let decay = group.weight_decay.and_then(|decay| natural(decay).or_else(|| single(decay)));
            checks.push((format!("group.{at}.weight_decay"), decay));
        }
        checks.into_iter().filter_map(|(key, problem)| Some((key, problem?))).collect()
    }
}

/// How the parameters of a model are updated. Those that are updated alike are a kind: of each group those that the optimiser's own
/// rule takes, then, if it has two, those that it leaves; first of the parameters in no group.
impl OptimizerConfig {
    /// Rules that it has.
    fn rules(&self) -> usize {
        if matches!(self, Self::Muon(_)) { 2 } else { 1 }
    }

    /// Number of kinds.
    pub(super) fn kinds(&self) -> usize {
        (1 + self.groups().len()) * self.rules()
    }

    /// Kind of a parameter with a number of axes.
    pub(super) fn kind(&self, name: &str, axes: usize) -> usize {
        let group = self.groups().iter().position(|group| matches(&group.pattern, name)).map_or(0, |at| at + 1);
        let is_left = matches!(self, Self::Muon(config) if !config.takes(name, axes));
        group * self.rules() + usize::from(is_left)
    }

    /// Whether a kind is of the parameters that the optimiser's own rule leaves.
    fn is_left(&self, kind: usize) -> bool {
        kind % self.rules() == 1
    }

    /// Names of what is kept of each parameter of a kind, in the order of the rule's moments.
    pub(super) fn moment_names(&self, kind: usize) -> &'static [&'static str] {
        match self {
            Self::Muon(_) if !self.is_left(kind) => &["momentum"],
            Self::Adam(_) | Self::AdamW(_) | Self::Muon(_) => &["exp_avg", "exp_avg_sq"],
            Self::Sgd(_) => &["momentum"],
        }
    }

    /// Factor of Muon's update of a matrix `[d_in, d_out]`; 1 of all others.
    pub(super) fn scale(&self, [d_in, d_out]: [usize; 2]) -> f64 {
        let [d_in, d_out] = [d_in as f64, d_out as f64];
        match self {
            Self::Muon(MuonConfig { scale: MuonScale::Spectral, .. }) => (d_out / d_in).max(1.0).sqrt(),
            Self::Muon(MuonConfig { scale: MuonScale::Rms, .. }) => 0.2 * d_out.max(d_in).sqrt(),
            _ => 1.0,
        }
    }

    /// What update number `updates` makes of a kind at a base learning rate.
    pub(super) fn law(&self, kind: usize, rate: f64, updates: u64) -> Law {
        let group = (kind / self.rules()).checked_sub(1).map(|at| &self.groups()[at]);
        let rate = rate * group.map_or(1.0, |group| group.learning_rate_factor);
        let decay = |own: f64| group.and_then(|group| group.weight_decay).unwrap_or(own);
        match *self {
            Self::Adam(AdamConfig { beta_1, beta_2, epsilon, weight_decay, .. }) => {
                let penalty = decay(weight_decay);
                Law::Each(Rule::Adam(AdamStep { beta_1, beta_2, epsilon, rate, updates, penalty, decay: 0.0 }))
            }
            Self::AdamW(AdamWConfig { beta_1, beta_2, epsilon, weight_decay, .. }) => {
                let decay = decay(weight_decay);
                Law::Each(Rule::Adam(AdamStep { beta_1, beta_2, epsilon, rate, updates, penalty: 0.0, decay }))
            }
            Self::Sgd(SgdConfig { momentum, weight_decay, .. }) => {
                Law::Each(Rule::Descent(DescentStep { rate, momentum, penalty: decay(weight_decay) }))
            }
            Self::Muon(MuonConfig { learning_rate, ref adam, .. }) if self.is_left(kind) => {
                let MuonRest { beta_1, beta_2, epsilon, weight_decay, .. } = *adam;
                let (rate, decay) = (rate * (adam.learning_rate / learning_rate), decay(weight_decay));
                Law::Each(Rule::Adam(AdamStep { beta_1, beta_2, epsilon, rate, updates, penalty: 0.0, decay }))
            }
            Self::Muon(MuonConfig { momentum, nesterov, weight_decay, .. }) => {
                Law::Matrices(MuonStep { rate, momentum, nesterov, scale: 1.0, decay: decay(weight_decay) })
            }
        }
    }
}

impl MuonConfig {
    /// Whether Muon itself updates a parameter with a number of axes.
    fn takes(&self, name: &str, axes: usize) -> bool {
        axes == 2 && !self.by_adam.iter().any(|pattern| matches(pattern, name))
    }
}

/// Names of parameters, those that differ in the number of a layer alone as one.
fn listed(names: &[String]) -> String {
    let alike = |name: &String| {
        let parts = name.split('.').map(|part| if part.bytes().all(|c| c.is_ascii_digit()) { "*" } else { part });
        parts.collect::<Vec<_>>().join(".")
    };
    names.iter().map(alike).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
}
