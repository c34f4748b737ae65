//! The config of a LoRA in PEFT's format: its settings, and refusal of anything beyond W + s A B.
//!
//! Every known key is either read, or does not concern the function, or requests another function. A key that is not
//! known is accepted only if its value is null, false or empty.
//!
//! # References
//! Mangrulkar et al. 2022, PEFT 0.21: `src/peft/tuners/lora/config.py` for the keys, `src/peft/tuners/tuners_utils.py`
//! for the modules that they select.

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// What a key says about the function of base and adapter together.
enum Meaning {
    /// It is one of the settings read below.
    Read,
    /// Nothing: it is about training, files, or where the adapter came from.
    Nothing,
    /// That it is not W + s A B; the text says how.
    More(&'static str),
}

use Meaning::{More, Nothing, Read};

const KEYS: &[(&str, Meaning)] = &[
    ("alora_invocation_tokens", More("the adapter sets in behind certain tokens alone")),
    ("alpha_pattern", Read),
    ("arrow_config", More("several adapters are weighed by the input")),
    ("auto_mapping", Nothing),
    ("base_model_name_or_path", Read),
    ("bias", Read),
    ("corda_config", Nothing),
    ("enable_lora", More("only some outputs of a layer are adapted")),
    ("ensure_weight_tying", Nothing),
    ("eva_config", Nothing),
    ("exclude_modules", Read),
    (
        "fan_in_fan_out",
        More("it was learned beside weights kept as [d_in, d_out], and the base keeps them as [d_out, d_in]"),
    ),
    ("inference_mode", Nothing),
    ("init_lora_weights", Read),
    ("kasa_config", More("singular components are taken out of the base, and A B has a diagonal between")),
    ("layer_replication", More("layers of the base stand several times, each with an adapter of its own")),
    ("layers_pattern", Read),
    ("layers_to_transform", Read),
    ("loftq_config", Nothing),
    ("lora_alpha", Read),
    ("lora_bias", More("lora_B has a bias, which is added to the output")),
    ("lora_dropout", Nothing),
    ("lora_ga_config", Nothing),
    ("megatron_config", More("the weights of its base are split over devices")),
    ("megatron_core", Nothing),
    ("modules_to_save", Read),
    ("monteclora_config", More("the adapter is drawn at random around what was learned")),
    ("peft_type", Read),
    ("peft_version", Nothing),
    ("qalora_group_size", Nothing),
    ("r", Read),
    ("rank_pattern", Read),
    ("revision", Read),
    ("target_modules", Read),
    ("target_parameters", More("parameters are adapted that are no layer's weight")),
    ("task_type", Nothing),
    ("trainable_token_indices", More("rows of an embedding are learned beside A and B")),
    ("use_bdlora", More("A or B is block-diagonal")),
    ("use_dora", More("DoRA gives every output of W + s A B a length of its own (lora_magnitude_vector)")),
    ("use_qalora", More("inputs are averaged in groups before A")),
    ("use_rslora", Read),
    ("velora_config", Nothing),
];

/// Ways to draw the initial A and B that leave the base unchanged.
const PLAIN_STARTS: [&str; 3] = ["gaussian", "orthogonal", "eva"];

const WAY_OUT: &str = "fold it in there with merge_and_unload(), and take the weights over with `headway import`";

/// The settings of a LoRA from its config.
#[derive(Clone, Debug)]
pub struct AdapterSettings {
    /// The checkpoint that it was trained on, as named by its author.
    pub base: Option<String>,
    /// Version of that checkpoint.
    pub revision: Option<String>,
    rank: usize,
    alpha: f64,
    /// Whether the scale is alpha / sqrt(rank) instead of alpha / rank.
    by_root: bool,
    /// Ranks and alphas of modules that match a pattern; the first match counts.
    ranks: Vec<(Regex, usize)>,
    alphas: Vec<(Regex, f64)>,
    targets: Modules,
    excluded: Modules,
    layers: Option<Layers>,
    bias: Bias,
    whole: Vec<String>,
}

/// A selection of modules, by PEFT's names.
#[derive(Clone, Debug)]
enum Modules {
    /// Modules whose whole name, or its last parts, are in the list.
    Named(Vec<String>),
    /// Modules whose whole name matches.
    Matching(Regex),
    /// Modules for which the file has tensors.
    Unsaid,
}

impl Modules {
    /// Whether a module is selected; `None` if the config does not say.
    fn hold(&self, module: &str) -> Option<bool> {
        match self {
            Self::Named(names) => Some(names.iter().any(|name| is_last_part(module, name))),
            Self::Matching(pattern) => Some(pattern.is_match(module)),
            Self::Unsaid => None,
        }
    }
}

/// Numbers of layers, found in the names of modules.
#[derive(Clone, Debug)]
struct Layers {
    numbers: Vec<usize>,
    /// Patterns that find the number.
    patterns: Vec<Regex>,
}

impl Layers {
    fn hold(&self, module: &str) -> bool {
        let number = self.patterns.iter().find_map(|pattern| pattern.captures(module)?.get(1)?.as_str().parse().ok());
        number.is_some_and(|number: usize| self.numbers.contains(&number))
    }
}

/// Modules whose biases are trained and saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Bias {
    #[default]
    None,
    All,
    LoraOnly,
}

/// One value or a list, either of which PEFT may write.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(value) => vec![value],
            Self::Many(values) => values,
        }
    }
}

/// Whether `name` is a module's name, or the part of it after one of its dots.
fn is_last_part(module: &str, name: &str) -> bool {
    module.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

impl AdapterSettings {
    /// Reads a config.
    ///
    /// # Errors
    /// A sentence: a value is invalid, a key requests more than W + s A B, or a key is unknown.
    pub fn read(config: &Map<String, Value>) -> Result<Self, String> {
        match config.get("peft_type").and_then(Value::as_str) {
            Some("LORA") => {}
            Some("PREFIX_TUNING" | "PROMPT_TUNING" | "P_TUNING" | "MULTITASK_PROMPT_TUNING" | "CPT" | "CARTRIDGE") => {
                return Err("holds learned rows, which no weights can take up; only LoRA can be folded in".to_owned());
            }
            Some(other) => {
                return Err(format!("`peft_type` is {other}, and only LoRA can be folded in here; {WAY_OUT}"));
            }
            None => return Err("does not say its `peft_type`".to_owned()),
        }
        for (key, value) in config.iter().filter(|(_, value)| !is_nothing(value)) {
            match KEYS.iter().find(|(name, _)| name == key) {
                Some((_, Read | Nothing)) => {}
                Some((_, More(what))) => {
                    return Err(format!("`{key}` asks for more than W + s A B: {what}; {WAY_OUT}"));
                }
                None => {
                    return Err(format!(
                        "`{key}` = {} is not known here and may change what the adapter computes; {WAY_OUT}",
                        shortened(value)
                    ));
                }
            }
        }
        match config.get("init_lora_weights") {
            None | Some(Value::Null | Value::Bool(_)) => {}
            Some(Value::String(start)) if PLAIN_STARTS.contains(&start.as_str()) => {}
            Some(start) => {
                return Err(format!(
                    "`init_lora_weights` = {} takes its first A B out of the base's weights, which are no longer those of the base in \
                     hand; save it with `path_initial_model_for_weight_conversion`, which makes a plain LoRA of it",
                    shortened(start)
                ));
            }
        }
        let (Some(rank), Some(alpha)) = (get::<usize>(config, "r")?, get::<f64>(config, "lora_alpha")?) else {
            return Err("`r` and `lora_alpha` must be given, and r above 0".to_owned());
        };
        let modules = |key: &str| -> Result<Modules, String> {
            match config.get(key) {
                None | Some(Value::Null) => Ok(Modules::Unsaid),
                Some(Value::String(all)) if all == "all-linear" => Ok(Modules::Unsaid),
                Some(Value::String(pattern)) => Ok(Modules::Matching(compile(key, &format!("^(?:{pattern})$"))?)),
                Some(_) => Ok(Modules::Named(get(config, key)?.unwrap_or_default())),
            }
        };
        let asked = Self {
            base: get(config, "base_model_name_or_path")?,
            revision: get(config, "revision")?,
            rank,
            alpha,
            by_root: get(config, "use_rslora")?.unwrap_or(false),
            ranks: patterns(config, "rank_pattern")?,
            alphas: patterns(config, "alpha_pattern")?,
            targets: modules("target_modules")?,
            excluded: modules("exclude_modules")?,
            layers: layers(config)?,
            bias: get(config, "bias")?.unwrap_or_default(),
            whole: get(config, "modules_to_save")?.unwrap_or_default(),
        };
        let ranks = asked.ranks.iter().map(|(_, rank)| *rank).chain([rank]);
        let mut alphas = asked.alphas.iter().map(|(_, alpha)| *alpha).chain([alpha]);
        if ranks.min() == Some(0) || alphas.any(|alpha| !alpha.is_finite()) {
            return Err("`r` must be above 0 and `lora_alpha` finite, for every module".to_owned());
        }
        Ok(asked)
    }

    /// Rank of a module's A and B, and the factor on their product.
    ///
    /// # Errors
    /// A sentence, if two patterns match the module; PEFT would use the one written first.
    pub fn scaling(&self, module: &str) -> Result<(usize, f64), String> {
        let rank = only(&self.ranks, "rank_pattern", module)?.unwrap_or(self.rank);
        let alpha = only(&self.alphas, "alpha_pattern", module)?.unwrap_or(self.alpha);
        let divisor = if self.by_root { (rank as f64).sqrt() } else { rank as f64 };
        Ok((rank, alpha / divisor))
    }

    /// Whether a module has A and B; `None` if the config leaves this to the tensors.
    pub fn targets(&self, module: &str) -> Option<bool> {
        if self.excluded.hold(module) == Some(true) || self.saves(module) {
            return Some(false);
        }
        // As in PEFT, numbers of layers restrict only a list of names.
        match (&self.targets, &self.layers) {
            (Modules::Named(_), Some(layers)) => self.targets.hold(module).map(|is_one| is_one && layers.hold(module)),
            _ => self.targets.hold(module),
        }
    }

    /// Whether a module is saved completely, by itself or as part of another one.
    pub fn saves(&self, module: &str) -> bool {
        let mut above = module.match_indices('.').map(|(dot, _)| &module[..dot]).chain([module]);
        above.any(|module| self.whole.iter().any(|name| is_last_part(module, name)))
    }

    /// Whether a module's bias is trained and saved although its weight is not.
    pub fn saves_bias(&self, module: &str) -> bool {
        match self.bias {
            Bias::None => false,
            Bias::All => true,
            Bias::LoraOnly => self.targets(module) != Some(false),
        }
    }
}

/// The value of the only pattern that matches a module; `None` if none matches.
fn only<T: Copy>(patterns: &[(Regex, T)], key: &str, module: &str) -> Result<Option<T>, String> {
    let mut found = patterns.iter().filter(|(pattern, _)| pattern.is_match(module));
    match (found.next(), found.next()) {
        (_, Some(_)) => Err(format!("`{key}` has two patterns for {module}; leave one of them")),
        (first, None) => Ok(first.map(|(_, value)| *value)),
    }
}

/// Whether a value requests nothing: null, false or empty.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is_on) => !is_on,
        Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// A value as JSON, shortened to fit into a sentence.
fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The value of a key; `None` if it is missing or null.
fn get<T: DeserializeOwned>(config: &Map<String, Value>, key: &str) -> Result<Option<T>, String> {
    let value = config.get(key).cloned().unwrap_or_default();
    let wrong = |error| format!("`{key}` = {}: {error}", shortened(config.get(key).unwrap_or(&Value::Null)));
    serde_json::from_value(value).map_err(wrong)
}

/// # Errors
/// A sentence, for a Python pattern that is not supported here, such as one with look-ahead.
fn compile(key: &str, pattern: &str) -> Result<Regex, String> {
    // Names of modules are short, and so are reasonable patterns; a larger one was made to exhaust memory.
    let built = RegexBuilder::new(pattern).size_limit(1 << 20).build();
    built.map_err(|_| format!("`{key}` holds a pattern that is not understood here; write the names as a list"))
}

/// Values by pattern; a pattern matches a module's whole name or its last parts.
fn patterns<T: DeserializeOwned>(config: &Map<String, Value>, key: &str) -> Result<Vec<(Regex, T)>, String> {
    let entries: Vec<(String, Value)> =
        get::<Map<String, Value>>(config, key)?.unwrap_or_default().into_iter().collect();
    let read = |(pattern, value): (String, Value)| -> Result<(Regex, T), String> {
        let wrong = |error| format!("`{key}.{pattern}`: {error}");
        Ok((compile(key, &format!("^(?:.*\\.)?(?:{pattern})$"))?, serde_json::from_value(value).map_err(wrong)?))
    };
    entries.into_iter().map(read).collect()
}

fn layers(config: &Map<String, Value>) -> Result<Option<Layers>, String> {
    let numbers = get::<OneOrMany<usize>>(config, "layers_to_transform")?.map(OneOrMany::into_vec);
    let Some(numbers) = numbers.filter(|numbers| !numbers.is_empty()) else { return Ok(None) };
    let key = "layers_pattern";
    let named = get::<OneOrMany<String>>(config, key)?.map(OneOrMany::into_vec).unwrap_or_default();
    let named: Vec<String> = named.into_iter().filter(|name| !name.is_empty()).collect();
    let patterns = if named.is_empty() {
        vec![compile(key, r"^.*?\.[^.]*\.(\d+)\.")?]
    } else {
        let pattern = |name: &String| compile(key, &format!(r"^(?:.*?\.)?(?:{name})\.(\d+)\."));
        named.iter().map(pattern).collect::<Result<_, _>>()?
    };
    Ok(Some(Layers { numbers, patterns }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use super::*;

    /// A config with PEFT's defaults and some changes.
    fn asked(changes: &Value) -> Result<AdapterSettings, String> {
        let mut config = serde_json::json!({
            "peft_type": "LORA", "r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "bias": "none", "target_modules": ["query", "head"],
            "fan_in_fan_out": false, "use_rslora": false, "rank_pattern": {}, "init_lora_weights": true, "task_type": null,
            "megatron_core": "megatron.core", "qalora_group_size": 16, "loftq_config": {}, "layers_to_transform": null,
        });
        config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        AdapterSettings::read(config.as_object().unwrap())
    }

    #[test]
    fn scales_are_those_of_each_module() {
        let plain = asked(&serde_json::json!({})).unwrap();
        assert_eq!(plain.scaling("blocks.0.attention.query"), Ok((4, 2.0)));
        let by_root = asked(&serde_json::json!({ "use_rslora": true, "lora_alpha": 3 })).unwrap();
        assert_eq!(by_root.scaling("head"), Ok((4, 1.5)));
        let changes = serde_json::json!({
            "rank_pattern": { "blocks.1.attention.query": 2, "0.*": 8 }, "alpha_pattern": { "query": 6 },
        });
        let by_module = asked(&changes).unwrap();
        assert_eq!(by_module.scaling("blocks.1.attention.query"), Ok((2, 3.0)));
        assert_eq!(by_module.scaling("blocks.0.attention.query"), Ok((8, 0.75)));
        assert_eq!(by_module.scaling("head"), Ok((4, 2.0)));
        let twice = asked(&serde_json::json!({ "rank_pattern": { "query": 2, ".*query": 8 } })).unwrap();
        assert!(twice.scaling("blocks.0.attention.query").unwrap_err().contains("two patterns"));
    }

    #[test]
    fn modules_are_meant_as_peft_means_them() {
        let modules =
            ["blocks.0.attention.query", "blocks.1.attention.query", "blocks.1.attention.key", "head", "subhead"];
        let meant = |changes: Value| {
            let asked = asked(&changes).unwrap();
            modules.map(|module| asked.targets(module))
        };
        let [no, yes] = [Some(false), Some(true)];
        assert_eq!(meant(serde_json::json!({})), [yes, yes, no, yes, no]);
        for unsaid in [Value::Null, "all-linear".into()] {
            assert_eq!(meant(serde_json::json!({ "target_modules": unsaid })), [None; 5]);
        }
        let pattern = r".*\.1\.attention\.(query|key)";
        assert_eq!(meant(serde_json::json!({ "target_modules": pattern })), [no, yes, yes, no, no]);
        assert_eq!(meant(serde_json::json!({ "target_modules": "query" })), [no; 5]);
        assert_eq!(meant(serde_json::json!({ "exclude_modules": ["attention.query"] })), [no, no, no, yes, no]);
        assert_eq!(meant(serde_json::json!({ "exclude_modules": "blocks.0.*" })), [no, yes, no, yes, no]);
        assert_eq!(meant(serde_json::json!({ "modules_to_save": ["head"] })), [yes, yes, no, no, no]);
        for layers in [1.into(), serde_json::json!([1, 7])] {
            let changes = serde_json::json!({ "layers_to_transform": layers, "layers_pattern": "blocks" });
            assert_eq!(meant(changes), [no, yes, no, no, no]);
        }
    }

    #[test]
    fn what_asks_for_more_is_refused_by_its_name() {
        for (key, value, text) in [
            ("use_dora", true.into(), "lora_magnitude_vector"),
            ("fan_in_fan_out", true.into(), "[d_in, d_out]"),
            ("lora_bias", true.into(), "added to the output"),
            ("layer_replication", serde_json::json!([[0, 2]]), "several times"),
            ("target_parameters", serde_json::json!(["a"]), "no layer's weight"),
            ("trainable_token_indices", serde_json::json!([1]), "rows of an embedding"),
            ("alora_invocation_tokens", serde_json::json!([1]), "behind certain tokens"),
            ("use_qalora", true.into(), "averaged in groups"),
            ("init_lora_weights", "pissa".into(), "path_initial_model_for_weight_conversion"),
            ("init_lora_weights", "loftq".into(), "path_initial_model_for_weight_conversion"),
            ("peft_type", "IA3".into(), "`peft_type` is IA3"),
            ("peft_type", "P_TUNING".into(), "learned rows"),
            ("peft_type", Value::Null, "`peft_type`"),
            ("of_tomorrow", 0.5.into(), "`of_tomorrow` = 0.5 is not known"),
            ("target_modules", "(?!head).*".into(), "`target_modules` holds a pattern"),
            ("bias", "some".into(), "`bias`"),
            ("r", 0.into(), "`r` must be above 0"),
            ("r", "four".into(), "`r` = \"four\""),
            ("rank_pattern", serde_json::json!({ "query": 0 }), "`r` must be above 0"),
            ("lora_alpha", Value::Null, "`r` and `lora_alpha` must be given"),
        ] {
            let problem = asked(&Value::from(Map::from_iter([(key.to_owned(), value)]))).unwrap_err();
            assert!(problem.contains(text), "{key}: {problem}");
        }
        for (key, value) in [
            ("of_tomorrow", Value::Null),
            ("of_tomorrow", false.into()),
            ("of_tomorrow", serde_json::json!({})),
            ("init_lora_weights", false.into()),
            ("init_lora_weights", "gaussian".into()),
            ("revision", "main".into()),
            ("inference_mode", true.into()),
        ] {
            asked(&Value::from(Map::from_iter([(key.to_owned(), value)]))).unwrap();
        }
    }
}
