//! Weights under our names made to fit one model: what is known to be zero or one is filled in, and what was filled is said.

use std::collections::{BTreeMap, BTreeSet};

use headway_model::weights::Array;

use crate::{
    Arrays, Error,
    names::{Renamed, effect_of},
};

/// What the user allows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choices {
    /// Leave out tensors that stand beside the network.
    pub allow_extra: bool,
    /// Take the first rows of a table of positions that is longer than the task's sequences.
    pub cut_positions: bool,
}

/// A parameter that the file does not have and the model does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filled {
    /// Our name.
    pub name: String,
    /// What stands there now.
    pub with: &'static str,
}

/// Weights ready to be loaded.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// Under our names.
    pub arrays: Arrays,
    /// Parameters that were filled in.
    pub filled: Vec<Filled>,
    /// Tensors that were left out.
    pub left_out: Vec<String>,
    /// Rows of positions in the file, where not all were taken.
    pub positions: Option<usize>,
}

/// Fits weights to a model, whose parameters have the shapes `wanted`. Shapes are not compared: loading does.
///
/// # Errors
/// [`Error::Names`] listing names of the file that are unknown, unless they may be left out: what changes the function of the
/// network never may.
pub fn fit(renamed: Renamed, wanted: &BTreeMap<String, Vec<usize>>, choices: Choices) -> Result<Fitted, Error> {
    let Renamed { mut arrays, unknown, inside, fills, .. } = renamed;
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
        // What has a name of ours and no place in the model is a part of the network: loading refuses it.
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

const POSITIONS: &str = "position.weight";

pub(crate) fn is_norm(name: &str) -> bool {
    ["attention_norm.", "ffn_norm.", "final_norm."].iter().any(|norm| name.contains(norm))
}
