//! Facts that determine a network's function but are in none of its tensors: heads, causality, the kind of its norms, …
//!
//! Other programs store them beside the weights: in `config.json`, in a dictionary `cfg` of a checkpoint, or in the
//! attributes of a module that was saved completely. All facts found there are compared with the experiment. Facts that
//! are stated nowhere are assumed, and the assumptions are listed.

use std::{io::ErrorKind, path::Path};

use crate::{
    Error, disk,
    names::{Convention, Renamed, llama},
};
use headway_model::{LAYER_NORM_EPSILON, ModelConfig, NormKind, PositionKind, StateMixer, TransformerConfig};

/// A value of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `None`, `null`.
    Nothing,
    /// `True`, `true`.
    Bool(bool),
    /// Any number.
    Number(f64),
    /// A text, the name of a function, or the texts of a list, joined.
    Text(String),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("none"),
            Self::Bool(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
        }
    }
}

/// A fact: one entry of another program's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Where the entry was found.
    pub source: String,
    /// Key in the other program's terms.
    pub key: String,
    /// Its value.
    pub value: Value,
}

/// A kind of fact that no tensor shows. If it is stated nowhere, it is assumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fact {
    Heads,
    Causal,
    NormKind,
    NormPlace,
    Epsilon,
    RmsEpsilon,
    Theta,
    Scale,
    LayerScale,
    Caps,
    Positions,
    Window,
    Parallel,
    Activation,
    Other,
}

/// Meaning of an entry for Headway's models.
enum Says {
    /// A key of `[model.transformer]` must have this value.
    Setting(&'static str, String),
    /// All of Headway's models do this, or it does not affect the function.
    Fine,
    /// None of Headway's models does this.
    Never(&'static str),
    /// Scores are divided by this number.
    Scale(f64),
    /// Norms add this number to the variance.
    Epsilon(f64),
    /// Scores of a layer are also divided by the layer's number.
    LayerScale,
    /// Whether the head is a copy of the embedding.
    Tied(bool),
    /// Name of a Hugging Face architecture.
    Architecture(String),
}

type Row = (&'static [&'static str], Fact, fn(&Value) -> Says);

/// Known entries: keys, the kind of fact, and the meaning of a value.
const ROWS: &[Row] = &[
    (&["n_heads", "n_head", "num_attention_heads", "num_heads", "nhead"], Fact::Heads, |value| match value {
        Value::Number(n) if *n > 0.0 => Says::Setting("n_heads", n.to_string()),
        _ => Says::Fine,
    }),
    (&["attention_dir"], Fact::Causal, |value| match value {
        Value::Text(text) => Says::Setting("causal", (text == "causal").to_string()),
        _ => Says::Fine,
    }),
    (&["causal", "is_causal"], Fact::Causal, |value| match value {
        Value::Bool(causal) => Says::Setting("causal", causal.to_string()),
        _ => Says::Fine,
    }),
    (&["normalization_type", "normalization"], Fact::NormKind, |value| match value {
        Value::Nothing => Says::Setting("norm", "\"none\"".to_owned()),
        Value::Text(text) if matches!(text.as_str(), "LN" | "LNPre") => Says::Setting("norm", "\"pre\"".to_owned()),
        _ => Says::Never(RMS),
    }),
    (&["final_rms"], Fact::Other, |value| never_if(value, RMS)),
    (&["rms_norm_eps"], Fact::RmsEpsilon, |value| match value {
        Value::Number(epsilon) => Says::Setting("norm_epsilon", format!("{epsilon:e}")),
        _ => Says::Fine,
    }),
    (&["norm_first", "do_layer_norm_before"], Fact::NormPlace, |value| match value {
        Value::Bool(false) => Says::Never("norms stand behind attention and feed-forward network"),
        _ => Says::Fine,
    }),
    (&["use_normalization_before_and_after", "post_embedding_ln"], Fact::Other, |value| {
        never_if(value, "norms stand in other places")
    }),
    (&["eps", "layer_norm_epsilon", "layer_norm_eps", "norm_eps"], Fact::Epsilon, |value| match value {
        Value::Number(epsilon) => Says::Epsilon(*epsilon),
        _ => Says::Fine,
    }),
    (&["attn_scale"], Fact::Scale, |value| match value {
        Value::Number(scale) if *scale > 0.0 => Says::Scale(*scale),
        _ => Says::Fine,
    }),
    (&["use_attn_scale", "scale_attn_weights"], Fact::Scale, |value| match value {
        Value::Bool(false) => Says::Never("scores are not divided by sqrt(d_head)"),
        _ => Says::Fine,
    }),
    (&["scale_attn_by_inverse_layer_idx"], Fact::LayerScale, |value| match value {
        Value::Bool(true) => Says::LayerScale,
        _ => Says::Fine,
    }),
    (
        &["attn_scores_soft_cap", "output_logits_soft_cap", "attn_logit_softcapping", "final_logit_softcapping"],
        Fact::Caps,
        |value| match value {
            Value::Number(cap) if *cap > 0.0 => Says::Never("scores or logits are capped"),
            _ => Says::Fine,
        },
    ),
    (&["positional_embedding_type", "position_embedding_type"], Fact::Positions, |value| match value {
        Value::Text(text) if matches!(text.as_str(), "standard" | "absolute" | "learned") => {
            Says::Setting("position", "\"learned\"".to_owned())
        }
        Value::Text(text) if text == "none" => Says::Setting("position", "\"none\"".to_owned()),
        Value::Text(_) => Says::Never("positions act inside attention"),
        _ => Says::Fine,
    }),
    (&["shortformer_pos", "alibi"], Fact::Positions, |value| never_if(value, "positions act inside attention")),
    (&["rope_theta"], Fact::Theta, |value| match value {
        Value::Number(theta) => Says::Setting("position.rope.theta", theta.to_string()),
        _ => Says::Fine,
    }),
    (&["rope_type"], Fact::Other, |value| match value {
        Value::Text(kind) if kind != "default" => Says::Never(SCALED_ROPE),
        _ => Says::Fine,
    }),
    (&["rope_scaling"], Fact::Other, |value| never_unless_nothing(value, SCALED_ROPE)),
    (&["rotary_dim"], Fact::Other, |value| never_unless_nothing(value, PARTIAL)),
    (&["partial_rotary_factor"], Fact::Other, |value| match value {
        Value::Number(part) => Says::Setting("position.rope.partial", part.to_string()),
        _ => Says::Fine,
    }),
    (&["num_key_value_heads"], Fact::Other, |value| match value {
        Value::Number(n) if *n > 0.0 => Says::Setting("n_kv_heads", n.to_string()),
        _ => Says::Fine,
    }),
    (&["head_dim"], Fact::Other, |value| match value {
        Value::Number(width) if *width > 0.0 => Says::Setting("d_head", width.to_string()),
        _ => Says::Fine,
    }),
    (&["use_local_attn"], Fact::Window, |value| never_if(value, LOCAL)),
    (&["window_size", "sliding_window"], Fact::Other, |value| never_unless_nothing(value, LOCAL)),
    (&["attn_types", "layer_types"], Fact::Other, |value| match value {
        Value::Text(text) if text.contains("local") || text.contains("sliding") => Says::Never(LOCAL),
        _ => Says::Fine,
    }),
    (&["parallel_attn_mlp", "use_parallel_residual", "parallel_attn"], Fact::Parallel, |value| {
        never_if(value, "attention and feed-forward network read the same hidden state")
    }),
    (&["act_fn", "activation_function", "hidden_act", "activation"], Fact::Activation, |value| match value {
        Value::Text(text) => match text.as_str() {
            "gelu" => Says::Setting("activation", "\"gelu_erf\"".to_owned()),
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Says::Setting("activation", "\"gelu_tanh\"".to_owned()),
            "relu" => Says::Setting("activation", "\"relu\"".to_owned()),
            "silu" | "swish" => Says::Setting("activation", "\"swiglu\"".to_owned()),
            _ => Says::Never("the feed-forward network has another activation"),
        },
        _ => Says::Fine,
    }),
    (&["gated_mlp", "is_gated_act"], Fact::Other, |value| never_if(value, "the feed-forward network is gated")),
    (&["add_cross_attention"], Fact::Other, |value| never_if(value, "it attends to a second sequence")),
    (&["add_zero_attn"], Fact::Other, |value| never_if(value, "a key and a value of zeros are added")),
    (&["use_qk_norm"], Fact::Other, |value| never_if(value, "queries and keys are normalised")),
    (&["scale_embedding"], Fact::Other, |value| never_if(value, SCALED)),
    (
        &["embedding_multiplier", "residual_multiplier", "logits_scaling", "logit_scale"],
        Fact::Other,
        |value| match value {
            Value::Number(factor) if (factor - 1.0).abs() > 0.0 => Says::Never(SCALED),
            _ => Says::Fine,
        },
    ),
    (&["tie_word_embeddings"], Fact::Other, |value| match value {
        Value::Bool(tied) => Says::Tied(*tied),
        _ => Says::Fine,
    }),
    (&["model_type"], Fact::Other, |value| match value {
        Value::Text(text) => Says::Architecture(text.clone()),
        _ => Says::Fine,
    }),
];

const RMS: &str = "norms are no layer norms";
const SCALED_ROPE: &str = "angles of rotary positions are scaled";
const PARTIAL: &str = "some channels are not turned by positions";
const LOCAL: &str = "attention is local";
const SCALED: &str = "the hidden state or the logits are scaled";

fn never_if(value: &Value, what: &'static str) -> Says {
    if *value == Value::Bool(true) { Says::Never(what) } else { Says::Fine }
}

fn never_unless_nothing(value: &Value, what: &'static str) -> Says {
    if matches!(value, Value::Nothing | Value::Bool(false)) { Says::Fine } else { Says::Never(what) }
}

fn row(key: &str) -> Option<&'static Row> {
    ROWS.iter().find(|(keys, ..)| keys.contains(&key))
}

/// Whether an entry with this key has a meaning here.
pub(crate) fn is_known(key: &str) -> bool {
    row(key).is_some()
}

impl Told {
    /// Parses an entry that the user gives, as KEY=VALUE.
    ///
    /// # Errors
    /// A sentence, for a key without a meaning here.
    pub fn given(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, as in norm_first=true")?;
        if !is_known(key) {
            let keys: Vec<&str> = ROWS.iter().flat_map(|(keys, ..)| *keys).copied().collect();
            return Err(format!("nothing is known of `{key}`; known are {}", keys.join(", ")));
        }
        let value = match value.to_ascii_lowercase().as_str() {
            "none" | "null" => Value::Nothing,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => value.parse().map_or_else(|_| Value::Text(value.to_owned()), Value::Number),
        };
        Ok(Self { source: "--given".to_owned(), key: key.to_owned(), value })
    }

    fn fact_and_meaning(&self) -> Option<(Fact, Says)> {
        row(&self.key).map(|(_, fact, meaning)| (*fact, meaning(&self.value)))
    }
}

/// Facts from the configurations beside a file of weights: `config.json` and `cfg.json` in its folder.
///
/// # Errors
/// [`Error::Unread`]; [`Error::File`] for a file that is not JSON.
pub fn beside(folder: &Path) -> Result<Vec<Told>, Error> {
    let mut told = Vec::new();
    for name in ["config.json", "cfg.json"] {
        let path = folder.join(name);
        let bytes = match disk::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::unread(&path)(error)),
        };
        let json: serde_json::Value = serde_json::from_slice(&bytes)
            .map_err(|error| Error::file(format!("has a {name} beside it that is no JSON: {error}")))?;
        // Newer programs keep what rotary positions need in a table of its own.
        let entries = json.as_object().into_iter().flatten();
        let within = json.get("rope_parameters").and_then(serde_json::Value::as_object).into_iter().flatten();
        for (key, value) in entries.chain(within).filter(|(key, _)| is_known(key)) {
            if let Some(value) = of_json(value) {
                told.push(Told { source: name.to_owned(), key: key.clone(), value });
            }
        }
    }
    Ok(told)
}

fn of_json(json: &serde_json::Value) -> Option<Value> {
    use serde_json::Value as Json;
    Some(match json {
        Json::Null => Value::Nothing,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(value) => Value::Number(value.as_f64()?),
        Json::String(value) => Value::Text(value.clone()),
        Json::Array(values) => Value::Text(values.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(", ")),
        // The key exists, but its content is of no use here.
        Json::Object(_) => Value::Text("{…}".to_owned()),
    })
}

/// Joins facts from two sources; if both state the same fact, the first source wins.
pub fn before(first: Vec<Told>, second: Vec<Told>) -> Vec<Told> {
    let facts: Vec<Fact> = first.iter().filter_map(|told| Some(told.fact_and_meaning()?.0)).collect();
    let is_new = |told: &Told| {
        let fact = told.fact_and_meaning().map(|(fact, _)| fact);
        let is_same = fact.is_some_and(|fact| fact != Fact::Other && facts.contains(&fact));
        !is_same && first.iter().all(|other| other.key != told.key)
    };
    let rest: Vec<Told> = second.into_iter().filter(is_new).collect();
    first.into_iter().chain(rest).collect()
}

/// Keys of `[model.transformer]` that facts determine, with their values as TOML.
pub fn settings(told: &[Told]) -> Vec<(&'static str, String)> {
    let mut all: Vec<(&'static str, String)> = Vec::new();
    for (_, says) in told.iter().filter_map(Told::fact_and_meaning) {
        if let Says::Setting(key, value) = says
            && all.iter().all(|(other, _)| *other != key)
        {
            all.push((key, value));
        }
    }
    all
}

/// A model of Headway and a file of weights for it, to be compared with facts.
pub struct Compared<'a> {
    /// The model.
    pub model: &'a ModelConfig,
    /// The program whose names the file has.
    pub convention: &'static Convention,
    /// The file's tensors under Headway's names.
    pub renamed: &'a Renamed,
}

impl Compared<'_> {
    fn transformer(&self) -> Option<&TransformerConfig> {
        if let ModelConfig::Transformer(config) = self.model { Some(config) } else { None }
    }

    /// The value of a key of the experiment's model, as TOML; `None` if there is no such key.
    fn setting(&self, key: &str) -> Option<String> {
        if key == "n_heads" {
            return self.model.n_heads().map(|n| n.to_string());
        }
        let config = self.transformer()?;
        Some(match key {
            "norm_kind" => quoted(&config.norm_kind),
            "norm_epsilon" => format!("{:e}", config.rms_epsilon()),
            "qk_norm" => quoted(&config.qk_norm),
            "n_kv_heads" => config.n_kv_heads.unwrap_or(config.n_heads).to_string(),
            "d_head" => d_head(config)?.to_string(),
            "position.rope.theta" => match &config.position {
                PositionKind::Rope(rope) => rope.theta.to_string(),
                other => other.name().to_owned(),
            },
            "position.rope.partial" => match &config.position {
                PositionKind::Rope(rope) => rope.partial.to_string(),
                other => other.name().to_owned(),
            },
            "causal" => config.causal.to_string(),
            "norm" => quoted(&config.norm),
            "position" => quoted(&config.position),
            "activation" => match &config.state_mixer {
                StateMixer::Ffn { activation, .. } => quoted(activation),
                StateMixer::None => return None,
            },
            _ => return None,
        })
    }

    /// Compares the experiment with the facts, and with what the file itself shows.
    ///
    /// # Errors
    /// [`Error::Told`] for the first fact that the experiment contradicts or that none of Headway's models can express,
    /// and if the other program's default cannot be expressed and no fact says that it was changed.
    pub fn check(&self, told: &[Told]) -> Result<(), Error> {
        let shown = [
            self.renamed.n_heads.map(|n| ("the file's shapes", "n_heads", n.to_string())),
            self.renamed.causal.map(|causal| ("the file's masks", "causal", causal.to_string())),
        ];
        for (what, key, value) in shown.into_iter().flatten() {
            self.must_have(what, key, &value)?;
        }
        for (key, value) in &self.renamed.shown {
            self.must_have("the file's names", key, value)?;
        }
        let turns = |config: &TransformerConfig| matches!(config.position, PositionKind::Rope(_));
        if self.renamed.is_rotary && !self.transformer().is_some_and(turns) {
            return Err(Error::Told(
                "the file's names are of a network with rotary positions; write -s model.position=rope".to_owned(),
            ));
        }
        let mut place_is_told = false;
        for entry in told {
            let Some((fact, says)) = entry.fact_and_meaning() else { continue };
            place_is_told |= fact == Fact::NormPlace;
            let what = format!("{}: {} = {}", entry.source, entry.key, entry.value);
            if let Some(problem) = self.problem(&says) {
                let way = if entry.source == "--given" {
                    String::new()
                } else {
                    format!("; if that is not said of this network, --given {}=VALUE says what is", entry.key)
                };
                return Err(Error::Told(format!("{what} means that {problem}, which no model here does{way}")));
            }
            if let Says::Setting(key, value) = says {
                self.must_have(&what, key, &value)?;
            }
        }
        let has_norms = self.renamed.arrays.keys().any(|name| name.contains("attention_norm."));
        if self.renamed.is_post_norm_by_default && has_norms && !place_is_told {
            return Err(Error::Told(
                "a file of nn.TransformerEncoder does not show where its norms stand: behind attention unless norm_first=True was \
                 given, which no model here does; if it was given, write --given norm_first=true"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    fn must_have(&self, what: &str, key: &str, value: &str) -> Result<(), Error> {
        match self.setting(key) {
            Some(ours) if ours != value => {
                let path = if key == "activation" { "state_mixer.ffn.activation" } else { key };
                let word = value.trim_matches('"');
                let ours = ours.trim_matches('"');
                Err(Error::Told(format!(
                    "{what}: {key} is {word}, in the experiment {ours}; write -s model.{path}={word}"
                )))
            }
            _ => Ok(()),
        }
    }

    /// What is wrong if none of Headway's models does what an entry means; `None` if one does.
    fn problem(&self, says: &Says) -> Option<String> {
        let config = self.transformer();
        match says {
            Says::Setting(..) | Says::Fine => None,
            Says::Never(what) => Some((*what).to_owned()),
            Says::Scale(scale) => {
                let d_head = d_head(config?)? as f64;
                let is_other = (scale / d_head.sqrt() - 1.0).abs() > 1e-3;
                is_other
                    .then(|| format!("scores are divided by {scale} and not by sqrt(d_head) = {:.4}", d_head.sqrt()))
            }
            Says::Epsilon(epsilon) => {
                let has_norms =
                    config.is_some_and(|config| config.norm.is_before() && config.norm_kind == NormKind::Layer);
                let is_other = has_norms && (epsilon / LAYER_NORM_EPSILON - 1.0).abs() > 1e-6;
                is_other.then(|| format!("norms add {epsilon:e} to the variance and not {LAYER_NORM_EPSILON:e}"))
            }
            Says::LayerScale => config
                .is_some_and(|config| config.n_layers > 1)
                .then(|| "scores of each layer are divided by its number".to_owned()),
            Says::Tied(tied) => match (self.renamed.head_is_embedding, tied) {
                (Some(true), false) => Some("the head is not the embedding, and the file has no other".to_owned()),
                (Some(false), true) => Some("the head is the embedding, and the file has another".to_owned()),
                _ => None,
            },
            Says::Architecture(name) => {
                let (wanted, of): (&[&str], _) = match self.convention.name {
                    "gpt2" => (&["gpt2"], "GPT-2"),
                    "llama" => (&llama::ARCHITECTURES, "Llama"),
                    _ => return None,
                };
                (!wanted.contains(&name.as_str())).then(|| format!("it is no {of} but `{name}`"))
            }
        }
    }

    /// The assumptions made for facts that are stated nowhere, one sentence each.
    pub fn taken_for_granted(&self, told: &[Told]) -> Vec<String> {
        let is_told = |fact| told.iter().filter_map(Told::fact_and_meaning).any(|(told, _)| told == fact);
        let mut all: Vec<String> = self
            .renamed
            .assumed
            .iter()
            .filter(|line| !line.starts_with("activation") || !is_told(Fact::Activation))
            .cloned()
            .collect();
        let mut say = |fact: Fact, line: String| {
            if !is_told(fact) {
                all.push(line);
            }
        };
        if let Some(n) = self.model.n_heads().filter(|_| self.renamed.n_heads.is_none()) {
            say(Fact::Heads, format!("n_heads = {n} is the experiment's: shapes are the same for any number of heads"));
        }
        say(Fact::Scale, "scores are divided by sqrt(d_head)".to_owned());
        say(Fact::LayerScale, "scores are divided by no layer's number".to_owned());
        say(Fact::Caps, "neither scores nor logits are capped".to_owned());
        let Some(config) = self.transformer() else { return all };
        if self.renamed.causal.is_none() {
            say(Fact::Causal, format!("causal = {} is the experiment's", config.causal));
        }
        if !self.renamed.shows_no_window {
            let which = if config.causal { "all before it" } else { "all others" };
            say(Fact::Window, format!("each position sees {which}: attention is not local"));
        }
        let has_norms = self.renamed.arrays.keys().any(|name| crate::fit::is_norm(name));
        match (config.norm, has_norms) {
            (norm, true) if norm.is_before() && config.norm_kind == NormKind::Layer => {
                say(Fact::NormKind, "norms are layer norms and no RMSNorm".to_owned());
            }
            // Their names show what they are.
            (norm, true) if norm.is_before() => {}
            (norm, _) => say(
                Fact::NormKind,
                format!(
                    "norm = {} is the experiment's: the file has no weights of norms, and those of LNPre and RMSPre have none",
                    quoted(&norm)
                ),
            ),
        }
        if config.norm.is_before() {
            say(Fact::NormPlace, "norms stand before attention, feed-forward network and head".to_owned());
            match config.norm_kind {
                NormKind::Layer => say(Fact::Epsilon, format!("norms add {LAYER_NORM_EPSILON:e} to the variance")),
                NormKind::Rms | NormKind::ZeroCentredRms => {
                    say(Fact::RmsEpsilon, format!("norms add {:e} to the mean square", config.rms_epsilon()));
                }
            }
        }
        let position = quoted(&config.position);
        let fact = if self.renamed.is_rotary { Fact::Theta } else { Fact::Positions };
        say(
            fact,
            match config.position {
                PositionKind::Learned => {
                    "positions are added to the embedding alone (not as shortformer does)".to_owned()
                }
                _ => format!("position = {position} is the experiment's"),
            },
        );
        if config.state_mixer != StateMixer::None {
            say(Fact::Parallel, "the feed-forward network follows attention and is not parallel to it".to_owned());
        }
        if !config.residual {
            all.push("residual = false is the experiment's".to_owned());
        }
        all
    }
}

/// Width of a head; `None` without heads.
fn d_head(config: &TransformerConfig) -> Option<usize> {
    config.d_head.or_else(|| config.d_model.checked_div(config.n_heads))
}

/// A unit variant as a TOML string, which has the same form as in JSON.
fn quoted(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
