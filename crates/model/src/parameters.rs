//! Which config keys the parameters of a model follow, and which of them are its head.

use crate::{attention_stack::StackReadout, config::ModelConfig};

/// What a parameter follows.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// Keys that set its shape.
    pub shape: &'static [Key],
    /// Keys that decide whether it is there.
    pub presence: &'static [Key],
}

/// Patterns for names of parameters, with what sets their shape and what decides whether they are there. The first row that matches
/// counts.
type Rules = &'static [(&'static str, &'static [Key], &'static [Key])];

/// What sets a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A key of the model's own table.
    Model(&'static str),
    /// What the task puts into one position.
    Inputs,
    /// Positions of the task's longest sequence.
    Length,
    /// Numbers that the task asks of one position.
    Outputs,
}

use Key::{Inputs, Length, Model, Outputs};

const D_MODEL: Key = Model("d_model");

const TRANSFORMER: Rules = &[
    ("embed.weight", &[D_MODEL, Inputs], &[]),
    ("embed.bias", &[D_MODEL], &[Inputs]),
    ("position.*", &[D_MODEL, Length], &[Model("position")]),
    ("blocks.*.ffn_norm.*", &[D_MODEL], &[Model("norm"), Model("state_mixer"), Model("n_layers")]),
    ("blocks.*.ffn.contract.bias", &[D_MODEL], &[Model("state_mixer"), Model("n_layers")]),
    ("blocks.*.ffn.expand.bias", &[Model("state_mixer")], &[Model("state_mixer"), Model("n_layers")]),
    ("blocks.*.ffn.*", &[D_MODEL, Model("state_mixer")], &[Model("state_mixer"), Model("n_layers")]),
    ("blocks.*_norm.*", &[D_MODEL], &[Model("norm"), Model("n_layers")]),
    ("blocks.*", &[D_MODEL], &[Model("n_layers")]),
    ("final_norm.*", &[D_MODEL], &[Model("norm")]),
    ("head.weight", &[D_MODEL, Outputs], &[]),
    ("head.bias", &[Outputs], &[]),
];

const PAPER: Rules = &[
    ("input_map.anchors", &[D_MODEL, Model("n_anchors")], &[Model("n_anchors")]),
    ("input_map.modulation", &[D_MODEL, Length], &[]),
    ("input_map.project.weight", &[D_MODEL, Inputs], &[]),
    ("head.weight", &[D_MODEL, Outputs], &[]),
    ("head.bias", &[Outputs], &[]),
    ("*", &[D_MODEL], &[]),
];

const LAYERS: Key = Model("layers");

const STACK: Rules = &[
    ("readout.softmax.*", &[Model("readout"), LAYERS], &[Model("readout")]),
    ("readout.*", &[Model("readout"), LAYERS, Length, Outputs], &[Model("readout")]),
    ("layers.0.map.project.*", &[LAYERS, Length, Inputs], &[LAYERS]),
    ("layers.*", &[LAYERS], &[LAYERS]),
];

impl ModelConfig {
    /// What a parameter follows; nothing for a name that is no parameter of such a model.
    pub fn keys_of(&self, parameter: &str) -> Option<Keys> {
        let rules = match self {
            Self::Transformer(_) => TRANSFORMER,
            Self::PaperOneLayer(_) | Self::PaperTwoLayer(_) | Self::PaperSetKeys(_) => PAPER,
            Self::AttentionStack(_) => STACK,
        };
        let (_, shape, presence) = rules.iter().find(|(pattern, ..)| matches(pattern, parameter))?;
        Some(Keys { shape, presence })
    }

    /// Patterns for the parameters of the last map before the prediction.
    pub fn head(&self) -> Vec<String> {
        match self {
            Self::Transformer(_) | Self::PaperTwoLayer(_) => vec!["head.*".to_owned()],
            Self::PaperOneLayer(_) | Self::PaperSetKeys(_) => vec!["attention.output.*".to_owned()],
            Self::AttentionStack(config) => match config.readout {
                StackReadout::Rows => {
                    vec![format!("layers.{}.heads.*.output.*", config.layers.len().saturating_sub(1))]
                }
                StackReadout::Affine | StackReadout::Softmax { .. } => vec!["readout.*".to_owned()],
            },
        }
    }

    /// Parameters with one row per position, of which a longer or shorter sequence keeps what there is.
    pub fn rows_by_position(&self) -> &'static [&'static str] {
        match self {
            Self::Transformer(_) => &["position.weight"],
            Self::PaperOneLayer(_) | Self::PaperTwoLayer(_) | Self::PaperSetKeys(_) => &["input_map.modulation"],
            Self::AttentionStack(_) => &[],
        }
    }
}

/// Whether a name matches a pattern in which `*` stands for any text.
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    let between = name.strip_prefix(head).and_then(|name| name.strip_suffix(tail));
    // Each part as far left as it can stand leaves the most for the parts behind it.
    between.is_some_and(|between| {
        let rest = middle.split('*').try_fold(between, |rest, part| Some(&rest[rest.find(part)? + part.len()..]));
        rest.is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, name, expected) in [
            ("embed", "embed", true),
            ("embed", "embed.weight", false),
            ("blocks.0.*", "blocks.0.attention.query.weight", true),
            ("blocks.0.*", "blocks.1.attention.query.weight", false),
            ("*.query.*", "blocks.1.attention.query.bias", true),
            ("*.bias", "head.weight", false),
            ("*", "anything", true),
            ("**", "", true),
            ("a*a", "a", false),
            ("a*b*a", "aba", true),
            ("a*b*a", "abcba", true),
            ("a*b*b*a", "aba", false),
            ("*b*d*", "abcde", true),
            ("*d*b*", "abcde", false),
            (&"*a".repeat(10_000), &"a".repeat(9_999), false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
