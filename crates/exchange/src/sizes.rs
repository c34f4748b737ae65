//! Sizes of a model, derived from the shapes of weights under Headway's names.

use crate::{
    names::Renamed,
    told::{self, Told},
};

/// The content of a table `[model.…]` that fits some weights, as far as shapes determine it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Name of the model; `None` if the names are of no known model.
    pub model: Option<&'static str>,
    /// Keys of its table with their values as TOML.
    pub shown: Vec<(&'static str, String)>,
    /// Keys that shapes do not determine.
    pub hidden: Vec<&'static str>,
    /// Sizes that the task must have, by name.
    pub task: Vec<(&'static str, usize)>,
}

impl Sizes {
    /// Sizes of weights under Headway's names, with facts from a configuration.
    pub fn of(renamed: &Renamed, told: &[Told]) -> Self {
        let Renamed { arrays, n_heads, causal, .. } = renamed;
        let settings = told::settings(told);
        let said = |key: &str| {
            let all = renamed.shown.iter().chain(&settings);
            all.clone().find(|(other, _)| *other == key).map(|(_, value)| value.clone())
        };
        let rows = |name: &str, axis: usize| arrays.get(name).and_then(|array| array.shape.get(axis).copied());
        let has = |prefix: &str| arrays.keys().any(|name| name.starts_with(prefix));
        let mut sizes = Self::default();
        let mut show = |key, size: Option<usize>| {
            if let Some(size) = size {
                sizes.shown.push((key, size.to_string()));
            }
        };
        let either = |sizes: &mut Self, key: &'static str, value: Option<String>| match value.or_else(|| said(key)) {
            Some(value) => sizes.shown.push((key, value)),
            None => sizes.hidden.push(key),
        };
        let n_heads = n_heads.map(|n| n.to_string());
        if has("blocks.") {
            let n_layers = (0..arrays.len()).take_while(|layer| has(&format!("blocks.{layer}."))).count();
            show("d_model", rows("blocks.0.attention.query.weight", 1));
            show("n_layers", Some(n_layers));
            sizes.model = Some("transformer");
            either(&mut sizes, "n_heads", n_heads);
            // Norms without parameters are not visible in a file.
            let norm = if has("blocks.0.attention_norm.") {
                Some("\"pre\"")
            } else {
                Some("\"none\"").filter(|_| !renamed.fills.unit_norms)
            };
            let norm = norm.map(str::to_owned);
            either(&mut sizes, "norm", norm);
            either(&mut sizes, "causal", causal.map(|causal| causal.to_string()));
            sizes.hidden.extend(["residual", "kernel"]);
            let table = rows("position.weight", 0).map(|_| "\"learned\"".to_owned());
            let turns = [("theta", said("position.rope.theta")), ("partial", said("position.rope.partial"))];
            let turns = turns.into_iter().filter_map(|(key, value)| Some(format!("{key} = {}", value?)));
            let turns = turns.collect::<Vec<_>>().join(", ");
            let turn = (!turns.is_empty()).then(|| format!("{{ rope = {{ {turns} }} }}"));
            let turn = turn.or_else(|| renamed.is_rotary.then(|| "\"rope\"".to_owned()));
            either(&mut sizes, "position", table.or(turn));
            for key in ["n_kv_heads", "d_head", "norm_kind", "norm_epsilon", "qk_norm"] {
                sizes.shown.extend(said(key).map(|value| (key, value)));
            }
            if renamed.is_rotary && renamed.head_is_embedding == Some(true) {
                sizes.shown.push(("tie_embedding", "true".to_owned()));
            }
            let is_bias = |name: &String| name.rsplit('.').next() == Some("bias") && !name.contains("norm");
            if renamed.fills.zero_biases && !arrays.keys().any(is_bias) {
                sizes.shown.push(("bias", "false".to_owned()));
            }
            if let Some(d_ffn) = rows("blocks.0.ffn.expand.weight", 0) {
                let activation = said("activation").map(|activation| format!(", activation = {activation}"));
                if activation.is_none() {
                    sizes.hidden.push("state_mixer.ffn.activation");
                }
                let activation = activation.unwrap_or_default();
                sizes.shown.push(("state_mixer", format!("{{ ffn = {{ d_ffn = {d_ffn}{activation} }} }}")));
            }
        } else if has("input_map.") {
            show("d_model", rows("input_map.project.weight", 0));
            show("n_anchors", Some(rows("input_map.anchors", 0).unwrap_or(0)));
            sizes.model = Some(if has("attention_1.") { "paper_two_layer" } else { "paper_one_layer" });
            either(&mut sizes, "n_heads", n_heads);
            sizes.hidden.push("kernel");
            if !has("attention_1.") {
                sizes.hidden.push("readout");
            }
        }
        // A token table is [vocab, d_model] without a bias; a map of vectors is [d_model, d_in].
        let d_model = rows("blocks.0.attention.query.weight", 1);
        let is_map = has("embed.bias") || rows("embed.weight", 1) != d_model;
        let (table, map) = if is_map { (None, rows("embed.weight", 1)) } else { (rows("embed.weight", 0), None) };
        let task = [
            ("seq_len", rows("position.weight", 0).or_else(|| rows("input_map.modulation", 0))),
            ("vocab", table),
            ("d_in", map.or_else(|| rows("input_map.project.weight", 1))),
            ("d_out", rows("head.weight", 0)),
        ];
        sizes.task = task.into_iter().filter_map(|(name, size)| Some((name, size?))).collect();
        sizes
    }

    /// The table for an experiment file, with undetermined keys as comments; `None` if the model is unknown.
    pub fn to_toml(&self) -> Option<String> {
        let mut lines = vec![format!("[model.{}]", self.model?)];
        lines.extend(self.shown.iter().map(|(key, value)| format!("{key} = {value}")));
        if !self.hidden.is_empty() {
            lines.push(format!("# tensors do not show: {}", self.hidden.join(", ")));
        }
        if !self.task.is_empty() {
            let task = self.task.iter().map(|(name, size)| format!("{name} = {size}"));
            lines.push(format!("# the task must have: {}", task.collect::<Vec<_>>().join(", ")));
        }
        Some(lines.join("\n"))
    }
}
