//! PyTorch's own modules: `nn.MultiheadAttention`, alone or in `nn.TransformerEncoderLayer` and `nn.TransformerEncoder`.
//!
//! Query, key and value are in one matrix, `in_proj_weight` `[3 d, d]`. Outside the layers users choose the names, so
//! there Headway's own names are expected; `--rename` produces them.

use headway_model::weights::Array;

use super::{Convention, Fills, Format, Place, Renamed, attention, is_ours, rename_each, three};
use crate::{Arrays, Error};

pub(super) const ENCODER: Convention = Convention {
    format: Format::Pytorch,
    name: "torch_encoder",
    summary: "layers.0.self_attn.in_proj_weight, layers.0.norm1.weight, …: nn.TransformerEncoder, or its layers",
    fits: |arrays| layers(arrays, SELF).is_some(),
    rename: |arrays| {
        let mut renamed = rename(arrays, SELF)?;
        renamed.is_post_norm_by_default = true;
        Ok(renamed)
    },
};

pub(super) const ATTENTION: Convention = Convention {
    format: Format::Pytorch,
    name: "torch_attention",
    summary: "in_proj_weight, out_proj.weight, …: nn.MultiheadAttention, one or a list of them",
    fits: |arrays| layers(arrays, "").is_some(),
    rename: |arrays| rename(arrays, ""),
};

const PROJECTION: &str = "in_proj_weight";
/// Name of attention in an encoder layer.
const SELF: &str = "self_attn.";

/// The prefix of each attention module's names, first layer first; `None` if they are not layers 0, 1, 2, … of one
/// list.
fn layers(arrays: &Arrays, last: &str) -> Option<Vec<String>> {
    let found = arrays.keys().filter_map(|name| name.strip_suffix(PROJECTION)).filter(|prefix| prefix.ends_with(last));
    let mut numbered: Vec<(usize, String)> = found.map(|prefix| (number(prefix), prefix.to_owned())).collect();
    numbered.sort();
    let is_list = numbered.iter().enumerate().all(|(at, (number, _))| at == *number);
    (is_list && !numbered.is_empty()).then(|| numbered.into_iter().map(|(_, prefix)| prefix).collect())
}

/// The last number in a path; 0 if there is none.
fn number(path: &str) -> usize {
    path.split('.').rev().find_map(|part| part.parse().ok()).unwrap_or(0)
}

/// Renames tensors; `last` is the end of the names of attention modules.
fn rename(arrays: Arrays, last: &str) -> Result<Renamed, Error> {
    let is_encoder = !last.is_empty();
    let prefixes = layers(&arrays, last).unwrap_or_default();
    let blocks: Vec<String> =
        prefixes.iter().map(|prefix| prefix.strip_suffix(SELF).unwrap_or(prefix).to_owned()).collect();
    // `encoder.layers.0.` is part of `encoder.`, whose own norm is the final one.
    let outer = blocks.first().and_then(|block| block.strip_suffix("layers.0.")).map(|outer| format!("{outer}norm."));
    let mut renamed = rename_each(arrays, |name, array| {
        for (layer, prefix) in prefixes.iter().enumerate() {
            // A prefix may be empty, and then every name starts with it.
            match name.strip_prefix(prefix.as_str()) {
                Some("in_proj_weight") => return Ok(attention(layer, "weight", three(name, array)?)),
                Some("in_proj_bias") => return Ok(attention(layer, "bias", three(name, array)?)),
                Some("out_proj.weight") => {
                    return Ok(Place::weight(format!("blocks.{layer}.attention.output.weight"), array));
                }
                Some("out_proj.bias") => {
                    return Ok(Place::weight(format!("blocks.{layer}.attention.output.bias"), array));
                }
                _ => {}
            }
            let rest = name.strip_prefix(blocks[layer].as_str()).filter(|_| is_encoder);
            if let Some(ours) = rest.and_then(encoder_name) {
                return Ok(Place::weight(format!("blocks.{layer}.{ours}"), array));
            }
        }
        let final_norm = outer.as_deref().filter(|_| is_encoder).and_then(|outer| name.strip_prefix(outer));
        Ok(match final_norm {
            Some(parameter @ ("weight" | "bias")) => Place::weight(format!("final_norm.{parameter}"), array),
            _ if name == "position.weight" => Place::weight(name, table(array)),
            _ if is_ours(name) => Place::weight(name, array),
            _ => Place::Unknown,
        })
    })?;
    renamed.fills = Fills { zero_biases: true, unit_norms: false };
    if renamed.arrays.contains_key("blocks.0.ffn.expand.weight") {
        renamed.assumed.push(
            "activation: the experiment says it; that of an encoder layer is relu unless another was given".to_owned(),
        );
    }
    Ok(renamed)
}

/// Headway's name, within a block, of a parameter of an encoder layer; `None` if it has none.
fn encoder_name(theirs: &str) -> Option<String> {
    let (module, parameter) =
        theirs.split_once('.').filter(|(_, parameter)| matches!(*parameter, "weight" | "bias"))?;
    let ours = match module {
        "norm1" => "attention_norm",
        "norm2" => "ffn_norm",
        "linear1" => "ffn.expand",
        "linear2" => "ffn.contract",
        _ => return None,
    };
    Some(format!("{ours}.{parameter}"))
}

/// Removes the batch axis of size one that a table of positions often has: `[1, n, d]` or `[n, 1, d]` -> `[n, d]`
fn table(mut array: Array) -> Array {
    if array.shape.len() == 3
        && let Some(axis) = array.shape[..2].iter().position(|size| *size == 1)
    {
        array.shape.remove(axis);
    }
    array
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::counted;

    #[test]
    fn an_encoder_by_its_names() -> Result<(), Error> {
        let arrays = counted::arrays(&[
            ("encoder.layers.0.self_attn.in_proj_weight", &[6, 2]),
            ("encoder.layers.1.self_attn.in_proj_weight", &[6, 2]),
            ("encoder.layers.0.self_attn.in_proj_bias", &[6]),
            ("encoder.layers.0.self_attn.out_proj.weight", &[2, 2]),
            ("encoder.layers.1.norm1.weight", &[2]),
            ("encoder.layers.1.norm2.bias", &[2]),
            ("encoder.layers.0.linear1.weight", &[7, 2]),
            ("encoder.layers.0.linear2.weight", &[2, 7]),
            ("encoder.norm.weight", &[2]),
            ("position.weight", &[1, 5, 2]),
            ("embed.weight", &[2, 3]),
            ("readout.weight", &[1, 2]),
        ]);
        assert!((ENCODER.fits)(&arrays));
        let renamed = ENCODER.rename(arrays)?;
        let values = |name: &str| renamed.arrays.get(name).map(|array| array.values.clone()).unwrap_or_default();
        assert_eq!(values("blocks.1.attention.key.weight"), [4., 5., 6., 7.]);
        assert_eq!(values("blocks.0.attention.value.bias"), [4., 5.]);
        for name in ["blocks.1.attention_norm.weight", "blocks.1.ffn_norm.bias", "final_norm.weight", "embed.weight"] {
            assert!(renamed.arrays.contains_key(name), "{name} is not in {:?}", renamed.arrays.keys());
        }
        assert_eq!(renamed.arrays["position.weight"].shape, [5, 2]);
        assert_eq!(renamed.arrays["blocks.0.ffn.expand.weight"].shape, [7, 2]);
        assert_eq!(renamed.unknown, ["readout.weight"]);
        Ok(())
    }

    #[test]
    fn a_list_of_attention_modules() -> Result<(), Error> {
        let arrays = counted::arrays(&[
            ("attns.0.in_proj_weight", &[6, 2]),
            ("attns.1.in_proj_weight", &[6, 2]),
            ("attns.1.out_proj.bias", &[2]),
            ("attns.1.bias_k", &[1, 1, 2]),
        ]);
        assert!(!(ENCODER.fits)(&arrays) && (ATTENTION.fits)(&arrays));
        let renamed = ATTENTION.rename(arrays)?;
        assert_eq!(renamed.arrays.len(), 7);
        assert_eq!(renamed.unknown, ["attns.1.bias_k"]);
        // Two attention modules that are not in a list have no order.
        assert!(!(ATTENTION.fits)(&counted::arrays(&[("a.in_proj_weight", &[6, 2]), ("b.in_proj_weight", &[6, 2])])));
        Ok(())
    }

    #[test]
    fn one_module_alone_has_no_prefix() -> Result<(), Error> {
        let arrays =
            counted::arrays(&[("in_proj_weight", &[6, 2]), ("out_proj.bias", &[2]), ("embed.weight", &[2, 3])]);
        let renamed = ATTENTION.rename(arrays)?;
        assert_eq!((renamed.arrays.len(), renamed.unknown.len()), (5, 0), "{:?}", renamed.unknown);
        let arrays = counted::arrays(&[
            ("self_attn.in_proj_weight", &[6, 2]),
            ("norm1.weight", &[2]),
            ("linear1.bias", &[7]),
            ("head.weight", &[1, 2]),
            ("norm3.weight", &[2]),
        ]);
        let renamed = ENCODER.rename(arrays)?;
        assert!(renamed.arrays.contains_key("blocks.0.ffn.expand.bias"), "{:?}", renamed.arrays.keys());
        assert_eq!(renamed.unknown, ["norm3.weight"]);
        Ok(())
    }

    /// The second attention of a decoder does not exist in Headway's models.
    #[test]
    fn a_decoder_is_not_taken_for_an_encoder() -> Result<(), Error> {
        let arrays = counted::arrays(&[
            ("layers.0.self_attn.in_proj_weight", &[6, 2]),
            ("layers.0.multihead_attn.in_proj_weight", &[6, 2]),
        ]);
        assert!((ENCODER.fits)(&arrays) && !(ATTENTION.fits)(&arrays));
        assert_eq!(ENCODER.rename(arrays)?.unknown, ["layers.0.multihead_attn.in_proj_weight"]);
        Ok(())
    }

    #[test]
    fn what_is_no_triple_is_refused() {
        let error = ATTENTION.rename(counted::arrays(&[("in_proj_weight", &[7, 2])])).map(|_| ());
        assert!(error.is_err_and(|error| error.to_string().contains("three times d_model")));
    }
}
