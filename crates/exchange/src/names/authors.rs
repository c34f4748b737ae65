//! The authors' scripts for "Universal Approximation with Softmax Attention" (Hu et al. 2025, arXiv 2504.15956): their
//! one-layer and two-layer models. All matrices are `[out, in]`, as in PyTorch and in Headway's files.

use headway_model::weights::Array;

use super::{Convention, Format, Place, Renamed, rename_each};
use crate::{Arrays, Error};

pub(super) const ONE_LAYER: Convention = Convention {
    format: Format::Pytorch,
    name: "paper_one_layer",
    summary: "mapping_A.modulation, attn_layer.q_proj.weight, …: truncated.py of the paper",
    fits: |arrays| arrays.contains_key("mapping_A.modulation") && arrays.contains_key("attn_layer.q_proj.weight"),
    rename: |arrays| rename(arrays, |module| (module == "attn_layer").then_some("attention")),
};

pub(super) const TWO_LAYER: Convention = Convention {
    format: Format::Pytorch,
    name: "paper_two_layer",
    summary: "mapping_A.modulation, attn1.q_proj.weight, A2.weight, …: seq2seq.py of the paper",
    fits: |arrays| arrays.contains_key("mapping_A.modulation") && arrays.contains_key("attn1.q_proj.weight"),
    rename: |arrays| {
        rename(arrays, |module| match module {
            "attn1" => Some("attention_1"),
            "attn2" => Some("attention_2"),
            "A2" => Some("affine"),
            "out_proj" => Some("head"),
            _ => None,
        })
    },
};

/// Renames tensors; `module` maps the first part of the authors' names to Headway's, except for the map A, which both
/// models have.
fn rename(arrays: Arrays, module: impl Fn(&str) -> Option<&'static str>) -> Result<Renamed, Error> {
    rename_each(arrays, |name, array| {
        Ok(match name {
            // Without interpolation tokens, PyTorch has an empty tensor of them and Headway none.
            "mapping_A.interp_tokens" if array.values.is_empty() => Place::NoWeight,
            "mapping_A.interp_tokens" => Place::weight("input_map.anchors", array),
            "mapping_A.modulation" => Place::weight("input_map.modulation", array),
            "mapping_A.token_proj.weight" => Place::weight("input_map.project.weight", array),
            "mapping_A.token_proj.bias" => Place::weight("input_map.project.bias", array),
            _ => layer(name, array, &module),
        })
    })
}

fn layer(name: &str, array: Array, module: &impl Fn(&str) -> Option<&'static str>) -> Place {
    let Some((first, rest)) = name.split_once('.') else { return Place::Unknown };
    let Some(ours) = module(first) else { return Place::Unknown };
    let rest = match rest.split_once('.') {
        None if matches!(rest, "weight" | "bias") => rest.to_owned(),
        Some((projection, parameter @ ("weight" | "bias"))) => {
            let projection = match projection {
                "q_proj" => "query",
                "k_proj" => "key",
                "v_proj" => "value",
                "out_proj" => "output",
                _ => return Place::Unknown,
            };
            format!("{projection}.{parameter}")
        }
        _ => return Place::Unknown,
    };
    Place::weight(format!("{ours}.{rest}"), array)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::counted;

    #[test]
    fn both_models_by_their_names() -> Result<(), Error> {
        let map: &[(&str, &[usize])] = &[
            ("mapping_A.modulation", &[5, 6]),
            ("mapping_A.interp_tokens", &[0, 6]),
            ("mapping_A.token_proj.weight", &[6, 3]),
            ("mapping_A.token_proj.bias", &[6]),
        ];
        let layers = |layers: &[&str]| -> Vec<String> {
            let parts = ["q_proj", "k_proj", "v_proj", "out_proj"];
            layers.iter().flat_map(|layer| parts.map(|part| format!("{layer}.{part}.weight"))).collect()
        };
        for (convention, names, ours) in [
            (ONE_LAYER, layers(&["attn_layer"]), "attention.output.weight"),
            (
                TWO_LAYER,
                [layers(&["attn1", "attn2"]), vec!["A2.bias".to_owned(), "out_proj.weight".to_owned()]].concat(),
                "head.weight",
            ),
        ] {
            let mut arrays = counted::arrays(map);
            arrays.extend(names.iter().map(|name| (name.clone(), counted::array(&[6, 6]))));
            arrays.insert("attn_layer.interp_full_K".to_owned(), counted::array(&[9]));
            assert!((convention.fits)(&arrays));
            let renamed = convention.rename(arrays)?;
            assert!(renamed.arrays.contains_key(ours), "{:?}", renamed.arrays.keys());
            assert_eq!(renamed.arrays.len(), 3 + names.len());
            assert_eq!(renamed.not_weights, ["mapping_A.interp_tokens"]);
            assert_eq!(renamed.unknown, ["attn_layer.interp_full_K"]);
        }
        Ok(())
    }
}
