//! Conversion between the parameter names of models and those in PEFT's files.

use std::collections::BTreeSet;

use headway_model::{adapter::is_adapter, weights::Array};

use crate::Arrays;

/// Prefix of every name; learned rows use only the first part of it.
pub(super) const PREFIX: &str = "base_model.model.";
pub(super) const AROUND_ROWS: &str = "base_model.";
const PROMPT: &str = "prompt_embeddings";

/// Modules that are not part of another module of the list.
pub(super) fn outermost<'a>(modules: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let all: BTreeSet<&str> = modules.collect();
    let is_part = |module: &str| all.iter().any(|other| is_below(module, other));
    all.iter().filter(|module| !is_part(module)).map(|module| (*module).to_owned()).collect()
}

pub(super) fn is_below(name: &str, module: &str) -> bool {
    name.strip_prefix(module).is_some_and(|rest| rest.starts_with('.'))
}

/// The module of a parameter, and the parameter's name within it.
pub(super) fn parts(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or(("", name))
}

/// The trained parameters under PEFT's names; learned rows are put side by side, in the order of the model.
pub(super) fn to_peft(mut trained: Arrays, order: &[String], prefix: &str) -> Arrays {
    let mut arrays = Arrays::new();
    let mut rows: Option<Array> = None;
    for name in order {
        let Some(array) = trained.remove(name) else { continue };
        let low_rank = name.strip_suffix(".low_rank.a").map(|at| (at, "A"));
        let low_rank = low_rank.or_else(|| name.strip_suffix(".low_rank.b").map(|at| (at, "B")));
        match low_rank {
            Some((at, half)) => drop(arrays.insert(format!("{prefix}{at}.lora_{half}.weight"), array)),
            None if is_adapter(name) => {
                rows = Some(match rows {
                    Some(rows) => beside(&rows, &array),
                    None => array,
                });
            }
            None => drop(arrays.insert(format!("{prefix}{name}"), array)),
        }
    }
    arrays.extend(rows.map(|rows| (PROMPT.to_owned(), rows)));
    arrays
}

/// Two matrices with the same number of rows, side by side.
fn beside(left: &Array, right: &Array) -> Array {
    let (l, r) = (left.shape[1], right.shape[1]);
    let rows = left.values.chunks_exact(l).zip(right.values.chunks_exact(r));
    let values = rows.flat_map(|(left, right)| left.iter().chain(right)).copied().collect();
    Array { shape: vec![left.shape[0], l + r], values }
}

/// A parameter converted to the model's name and layout.
pub(super) fn of_peft(name: &str, array: Array) -> (String, Array) {
    // In an adapted layer, the layer's own parameters are one level further down.
    let name = name.strip_prefix(PREFIX).unwrap_or(name).replace(".base_layer.", ".");
    let is_matrix = array.shape.len() == 2;
    for (theirs, ours) in [(".lora_A.weight", ".low_rank.a"), (".lora_B.weight", ".low_rank.b")] {
        if let Some(at) = name.strip_suffix(theirs) {
            return (format!("{at}{ours}"), array);
        }
    }
    // To a table [rows, width], (B A)ᵀ = Aᵀ Bᵀ is added.
    for (theirs, ours) in [(".lora_embedding_A", ".low_rank.b"), (".lora_embedding_B", ".low_rank.a")] {
        if let Some(at) = name.strip_suffix(theirs).filter(|_| is_matrix) {
            return (format!("{at}{ours}"), array.transposed());
        }
    }
    (name, array)
}
