//! Headway's own names: paths in a model, as in `model.safetensors`.

use super::{Convention, Format, Place, rename_each};
use crate::Arrays;

pub(super) const CONVENTION: Convention = Convention {
    format: Format::Headway,
    name: "headway",
    summary: "blocks.0.attention.query.weight, input_map.project.weight, …: names of this program",
    fits,
    // Any name may be one of Headway's: loading compares them with those of the model.
    rename: |arrays| rename_each(arrays, |name, array| Ok(Place::weight(name, array))),
};

/// Whether some name occurs in no other convention.
fn fits(arrays: &Arrays) -> bool {
    let first = ["blocks.0.attention.query.weight", "input_map.project.weight", "layers.0.heads.0.query.weight"];
    first.iter().any(|name| arrays.contains_key(*name))
}
