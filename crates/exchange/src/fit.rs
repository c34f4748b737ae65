//! Fitting weights under Headway's names to one model: parameters known to be zero or one are filled in and reported.

use std::collections::{BTreeMap, BTreeSet};

use headway_model::weights::Array;

use crate::{
    Arrays, Error,
    names::{Renamed, effect_of},
};

/// What the user allows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choices {
    /// Whether tensors that are not part of the network may be left out.
    pub allow_extra: bool,
    /// Whether a table of positions that is longer than the task's sequences may be cut.
    pub cut_positions: bool,
}

/// A parameter of the model that the file lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filled {
    /// Its name in Headway.
    pub name: String,
    /// What it was filled with, in words.
    pub with: &'static str,
}

/// Weights that are ready to be loaded.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// The arrays, under Headway's names.
    pub arrays: Arrays,
    /// Parameters that were filled in.
    pub filled: Vec<Filled>,
    /// Tensors that were left out.
    pub left_out: Vec<String>,
    /// Number of position rows in the file, if only the first were used.
    pub positions: Option<usize>,
}

/// Fits weights to a model whose parameters have the shapes `wanted`. Shapes are not compared here but when weights are
/// loaded.
///
/// # Errors
/// [`Error::Names`] listing unknown names of the file, unless they may be left out. Tensors that change the function of
/// the network may never be left out.
pub fn fit(renamed: Renamed, wanted: &BTreeMap<String, Vec<usize>>, choices: Choices) -> Result<Fitted, Error> {
    let Renamed { mut arrays, unknown, inside, fills, .. } = renamed;
    // A model whose head is its embedding has no array for it.
    if !wanted.contains_key(HEAD) && arrays.get(HEAD) == arrays.get("embed.weight") {
        arrays.remove(HEAD);
    }
    let effect = |name: &String| {
        effect_of(name).or_else(|| inside.contains(name).then_some("in a block, so part of what the network computes"))
    };
    if !unknown.is_empty() && !choices.allow_extra {
        let lines = unknown.iter().map(|name| match effect(name) {
            Some(effect) => format!("{name}: {effect}"),
            None => name.clone(),
        });
        return Err(Error::Names(format!(
            "these tensors are unknown:\n  {}\n--rename OLD=NEW gives one our name, --allow-extra leaves out all that stand beside \
             the network",
            lines.collect::<Vec<_>>().join("\n  ")
        )));
    }
    let mut left_out = unknown;
    if choices.allow_extra {
        // A tensor under one of Headway's names that the model does not have is part of the network; loading will
        // refuse it.
        let first = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
        let ours: BTreeSet<String> =
            wanted.keys().map(|name| first(name)).chain(["position".to_owned(), "final_norm".to_owned()]).collect();
        let extra: Vec<String> =
            arrays.keys().filter(|name| !wanted.contains_key(*name) && !ours.contains(&first(name))).cloned().collect();
        for name in &extra {
            arrays.remove(name);
        }
        left_out.extend(extra);
        if let Some((name, effect)) = left_out.iter().find_map(|name| Some((name, effect(name)?))) {
            return Err(Error::Names(format!(
                "`{name}` changes what the network computes ({effect}); --allow-extra leaves out what stands beside the network, \
                 and never that"
            )));
        }
    }
    let has_norms = arrays.keys().any(|name| is_norm(name));
    let mut filled = Vec::new();
    for (name, shape) in wanted.iter().filter(|(name, _)| !arrays.contains_key(*name)).collect::<Vec<_>>() {
        let bias_of = name.strip_suffix(".bias").map(|module| format!("{module}.weight"));
        let with = if fills.unit_norms && !has_norms && is_norm(name) {
            if bias_of.is_some() {
                Some((0.0, "zero: the file's norms have no parameters"))
            } else {
                Some((1.0, "one: the file's norms have no parameters"))
            }
        } else if fills.zero_biases && bias_of.is_some_and(|weight| arrays.contains_key(&weight)) {
            Some((0.0, "zero: the file has no bias here"))
        } else {
            None
        };
        if let Some((value, with)) = with {
            filled.push((
                name.clone(),
                Array { shape: shape.clone(), values: vec![value; shape.iter().product()] },
                with,
            ));
        }
    }
    let filled = filled
        .into_iter()
        .map(|(name, array, with)| {
            arrays.insert(name.clone(), array);
            Filled { name, with }
        })
        .collect();
    let mut positions = None;
    if choices.cut_positions
        && let (Some(table), Some(&[rows, width])) =
            (arrays.get_mut(POSITIONS), wanted.get(POSITIONS).map(Vec::as_slice))
        && table.shape.len() == 2
        && table.shape[0] > rows
        && table.shape[1] == width
    {
        positions = Some(table.shape[0]);
        table.shape[0] = rows;
        table.values.truncate(rows * width);
    }
    Ok(Fitted { arrays, filled, left_out, positions })
}

const HEAD: &str = "head.weight";
const POSITIONS: &str = "position.weight";

pub(crate) fn is_norm(name: &str) -> bool {
    ["attention_norm.", "ffn_norm.", "final_norm."].iter().any(|norm| name.contains(norm))
}
