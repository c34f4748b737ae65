//! TransformerLens from 4.0 on: the state dict of a TransformerBridge.
//!
//! Its names are those of the bridge; its matrices are those of the wrapped network: `[out, in]` for one made by
//! `boot_native`, and Conv1D's `[in, out]` for `attn.o`, `mlp.in` and `mlp.out` of one made from Hugging Face's GPT-2.
//! The shape of `mlp.in`, which GPT-2 always has, shows which. Heads are not an axis here, and the mask is not in the
//! file.
//!
//! # References
//! github.com/TransformerLensOrg/TransformerLens, `TransformerBridge.state_dict`.

use headway_model::weights::Array;

use super::{
    Convention, Fills, Format, Place, Renamed, axes, layer_of, rename_each,
    transformer_lens::{ACTIVATIONS, no_rms},
    transposed,
};
use crate::{Arrays, Error};

pub(super) const CONVENTION: Convention = Convention {
    format: Format::TransformerLens,
    name: "transformer_bridge",
    summary: "embed.weight, blocks.0.attn.q.weight [d_model, d_model], unembed.weight, …: TransformerBridge, from 4.0 on",
    fits: |arrays| arrays.contains_key("blocks.0.attn.q.weight"),
    rename,
};

/// Headway's and the bridge's names of modules outside blocks.
const OUTSIDE: [(&str, &str); 4] =
    [("embed", "embed"), ("position", "pos_embed"), ("final_norm", "ln_final"), ("head", "unembed")];

/// Headway's and the bridge's names of modules inside a block.
const INSIDE: [(&str, &str); 8] = [
    ("attention_norm", "ln1"),
    ("attention.query", "attn.q"),
    ("attention.key", "attn.k"),
    ("attention.value", "attn.v"),
    ("attention.output", "attn.o"),
    ("ffn_norm", "ln2"),
    ("ffn.expand", "mlp.in"),
    ("ffn.contract", "mlp.out"),
];

fn rename(arrays: Arrays) -> Result<Renamed, Error> {
    no_rms(&arrays, ".weight", ".bias")?;
    let d_model = arrays.get("embed.weight").and_then(|table| table.shape.last().copied());
    let expand = arrays.get("blocks.0.mlp.in.weight").map(|matrix| matrix.shape.clone());
    let is_conv = match (d_model, expand.as_deref()) {
        (Some(d_model), Some(&[rows, columns])) if rows == columns && rows == d_model => {
            let wanted = "its layout cannot be told: a native bridge has [d_mlp, d_model], one that was booted from GPT-2 \
                          [d_model, d_mlp]; write the state dict of the network below it, bridge.original_model";
            let (name, wanted) = ("blocks.0.mlp.in.weight".to_owned(), wanted.to_owned());
            return Err(Error::Shape { name, wanted, found: vec![rows, columns] });
        }
        (Some(d_model), Some(&[rows, _])) => rows == d_model,
        _ => false,
    };
    let mut renamed = rename_each(arrays, |name, array| {
        let Some((module, parameter @ ("weight" | "bias"))) = name.rsplit_once('.') else { return Ok(Place::Unknown) };
        if let Some((ours, _)) = OUTSIDE.iter().find(|(_, theirs)| *theirs == module) {
            return Ok(Place::weight(format!("{ours}.{parameter}"), array));
        }
        let Some((layer, rest)) = layer_of(module, "blocks.") else { return Ok(Place::Unknown) };
        let Some((ours, theirs)) = INSIDE.iter().find(|(_, theirs)| *theirs == rest) else { return Ok(Place::Unknown) };
        let is_turned = is_conv && parameter == "weight" && matches!(*theirs, "attn.o" | "mlp.in" | "mlp.out");
        let array = if is_turned { transposed(name, &array, "a matrix")? } else { array };
        if parameter == "weight" && theirs.starts_with("attn.") {
            axes::<2>(name, &array, "[d_model, d_model]")?;
        }
        Ok(Place::weight(format!("blocks.{layer}.{ours}.{parameter}"), array))
    })?;
    renamed.fills = Fills { zero_biases: true, unit_norms: true };
    if expand.is_some() {
        let layout = if is_conv { "[in, out] (booted from Conv1D)" } else { "[out, in] (native)" };
        renamed.assumed.push(format!("attn.o, mlp.in and mlp.out are {layout}, as the shape of mlp.in shows"));
        renamed.assumed.push(ACTIVATIONS.to_owned());
    }
    Ok(renamed)
}

/// Weights of a transformer under Headway's names, renamed as in a bridge made by `boot_native`.
///
/// # Errors
/// [`Error::Names`] for weights that the bridge has no names for: those of other models, and an embedding of vectors.
pub fn export(arrays: &Arrays) -> Result<Arrays, Error> {
    let theirs = |name: &str| {
        let (module, parameter) = name.rsplit_once('.')?;
        if name == "embed.bias" {
            return None;
        }
        if let Some((_, theirs)) = OUTSIDE.iter().find(|(ours, _)| *ours == module) {
            return Some(format!("{theirs}.{parameter}"));
        }
        let (layer, rest) = layer_of(module, "blocks.")?;
        let (_, theirs) = INSIDE.iter().find(|(ours, _)| *ours == rest)?;
        Some(format!("blocks.{layer}.{theirs}.{parameter}"))
    };
    let renamed = arrays.iter().map(|(name, array)| {
        let theirs = theirs(name).ok_or_else(|| {
            Error::Names(format!(
                "`{name}` has no name in TransformerLens, which knows transformers of tokens with learned positions"
            ))
        })?;
        Ok::<(String, Array), Error>((theirs, array.clone()))
    });
    renamed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::counted;

    #[test]
    fn what_is_exported_comes_back() -> Result<(), Error> {
        let block = INSIDE.map(|(ours, _)| ours);
        let names = block.iter().flat_map(|ours| [format!("blocks.0.{ours}.weight"), format!("blocks.0.{ours}.bias")]);
        let mut ours: Arrays = names
            .map(|name| {
                let shape: &[usize] = match name.as_str() {
                    "blocks.0.ffn.expand.weight" => &[5, 4],
                    "blocks.0.ffn.contract.weight" => &[4, 5],
                    name if name.contains("norm") || name.ends_with("bias") => &[4],
                    _ => &[4, 4],
                };
                (name, counted::array(shape))
            })
            .collect();
        ours.extend(counted::arrays(&[
            ("embed.weight", &[7, 4]),
            ("position.weight", &[3, 4]),
            ("final_norm.weight", &[4]),
            ("final_norm.bias", &[4]),
            ("head.weight", &[7, 4]),
            ("head.bias", &[7]),
        ]));
        let theirs = export(&ours)?;
        assert_eq!(theirs.len(), ours.len());
        assert!(theirs.contains_key("blocks.0.mlp.in.weight") && theirs.contains_key("pos_embed.weight"));
        assert_eq!(rename(theirs)?.arrays, ours);
        Ok(())
    }

    /// With Conv1D, the square matrix of the output is transposed too.
    #[test]
    fn the_layout_of_gpt2_is_told_by_a_shape() -> Result<(), Error> {
        let renamed = rename(counted::arrays(&[
            ("embed.weight", &[7, 2]),
            ("blocks.0.attn.q.weight", &[2, 2]),
            ("blocks.0.attn.o.weight", &[2, 2]),
            ("blocks.0.mlp.in.weight", &[2, 3]),
            ("blocks.0.mlp.out.weight", &[3, 2]),
        ]))?;
        let values = |name: &str| renamed.arrays[&format!("blocks.0.{name}.weight")].values.clone();
        assert_eq!(values("attention.query"), [0., 1., 2., 3.]);
        assert_eq!(values("attention.output"), [0., 2., 1., 3.]);
        assert_eq!(values("ffn.expand"), [0., 3., 1., 4., 2., 5.]);
        let ambiguous = rename(counted::arrays(&[
            ("embed.weight", &[7, 2]),
            ("blocks.0.attn.q.weight", &[2, 2]),
            ("blocks.0.mlp.in.weight", &[2, 2]),
        ]));
        assert!(ambiguous.is_err_and(|error| error.to_string().contains("cannot be told")));
        Ok(())
    }
}
