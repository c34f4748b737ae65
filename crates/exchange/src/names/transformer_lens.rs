//! TransformerLens: HookedTransformer, attention-only or with its feed-forward network.
//!
//! Heads are a separate axis: `W_Q`, `W_K`, `W_V` `[n_heads, d_model, d_head]`, `W_O` `[n_heads, d_head, d_model]`,
//! their biases `[n_heads, d_head]`. Matrices are `[in, out]`. Norms of the kind LNPre have no parameters.
//!
//! # References
//! github.com/TransformerLensOrg/TransformerLens, components of HookedTransformer.

use headway_model::weights::Array;

use super::{Convention, Fills, Format, Place, axes, layer_of, mask, rename_each, transposed};
use crate::{Arrays, Error, names::Renamed};

pub(super) const CONVENTION: Convention = Convention {
    format: Format::TransformerLens,
    name: "transformer_lens",
    summary: "blocks.0.attn.W_Q [n_heads, d_model, d_head], unembed.W_U, …: HookedTransformer",
    fits: |arrays| arrays.contains_key("blocks.0.attn.W_Q"),
    rename,
};

fn rename(arrays: Arrays) -> Result<Renamed, Error> {
    let n_heads = arrays.get("blocks.0.attn.W_Q").and_then(|array| array.shape.first().copied());
    let has_ffn = arrays.contains_key("blocks.0.mlp.W_in");
    no_rms(&arrays, ".w", ".b")?;
    let mut renamed = rename_each(arrays, |name, array| {
        if name.ends_with(".attn.mask") {
            // With attention_dir = "bidirectional" the mask is the same but not used.
            mask(name, &array)?;
        }
        place(name, array)
    })?;
    renamed.n_heads = n_heads;
    renamed.shows_no_window = renamed.not_weights.iter().any(|name| name.ends_with(".attn.mask"));
    renamed.fills = Fills { zero_biases: true, unit_norms: true };
    if has_ffn {
        renamed.assumed.push(ACTIVATIONS.to_owned());
    }
    Ok(renamed)
}

pub(super) const ACTIVATIONS: &str =
    "activation: the experiment says it; act_fn gelu is our gelu_erf, gelu_new our gelu_tanh, relu our relu";

/// Refuses norms with a gain but no offset: in TransformerLens these are RMSNorms, since its layer norms have both.
pub(super) fn no_rms(arrays: &Arrays, gain: &str, offset: &str) -> Result<(), Error> {
    let is_norm = |name: &str| matches!(name.rsplit('.').next(), Some("ln1" | "ln2" | "ln_final"));
    let alone = arrays.keys().find_map(|name| {
        let norm = name.strip_suffix(gain).filter(|norm| is_norm(norm))?;
        (!arrays.contains_key(&format!("{norm}{offset}"))).then_some(name)
    });
    match alone {
        Some(name) => Err(Error::Names(format!(
            "`{name}` is the gain of a norm without an offset: RMSNorm, which no model here has; ours are layer norms"
        ))),
        None => Ok(()),
    }
}

/// One tensor under Headway's name and in its layout.
fn place(name: &str, array: Array) -> Result<Place, Error> {
    let outside = |ours: &str, array| Ok(Place::weight(ours, array));
    match name {
        "embed.W_E" => return outside("embed.weight", array),
        "pos_embed.W_pos" => return outside("position.weight", array),
        "ln_final.w" => return outside("final_norm.weight", array),
        "ln_final.b" => return outside("final_norm.bias", array),
        "unembed.W_U" => return outside("head.weight", transposed(name, &array, "[d_model, d_vocab]")?),
        "unembed.b_U" => return outside("head.bias", array),
        _ => {}
    }
    let Some((layer, rest)) = layer_of(name, "blocks.") else { return Ok(Place::Unknown) };
    let (ours, array) = match rest {
        "attn.W_Q" => ("attention.query.weight", heads_out(name, &array)?),
        "attn.W_K" => ("attention.key.weight", heads_out(name, &array)?),
        "attn.W_V" => ("attention.value.weight", heads_out(name, &array)?),
        "attn.W_O" => ("attention.output.weight", heads_in(name, array)?),
        "attn.b_Q" => ("attention.query.bias", flat(name, array)?),
        "attn.b_K" => ("attention.key.bias", flat(name, array)?),
        "attn.b_V" => ("attention.value.bias", flat(name, array)?),
        "attn.b_O" => ("attention.output.bias", array),
        "ln1.w" => ("attention_norm.weight", array),
        "ln1.b" => ("attention_norm.bias", array),
        "ln2.w" => ("ffn_norm.weight", array),
        "ln2.b" => ("ffn_norm.bias", array),
        "mlp.W_in" => ("ffn.expand.weight", transposed(name, &array, "[d_model, d_mlp]")?),
        "mlp.b_in" => ("ffn.expand.bias", array),
        "mlp.W_out" => ("ffn.contract.weight", transposed(name, &array, "[d_mlp, d_model]")?),
        "mlp.b_out" => ("ffn.contract.bias", array),
        "attn.mask" | "attn.IGNORE" => return Ok(Place::NoWeight),
        _ => return Ok(Place::Unknown),
    };
    Ok(Place::weight(format!("blocks.{layer}.{ours}"), array))
}

/// `[n_heads, d_model, d_head]` -> `[n_heads · d_head, d_model]`
fn heads_out(name: &str, array: &Array) -> Result<Array, Error> {
    let [heads, d_model, d_head] = axes(name, array, "[n_heads, d_model, d_head]")?;
    let at = |h: usize, c: usize, d: usize| (h * d_model + d) * d_head + c;
    let mut values = Vec::with_capacity(array.values.len());
    for h in 0..heads {
        for c in 0..d_head {
            values.extend((0..d_model).map(|d| array.values[at(h, c, d)]));
        }
    }
    Ok(Array { shape: vec![heads * d_head, d_model], values })
}

/// `[n_heads, d_head, d_model]` -> `[d_model, n_heads · d_head]`
fn heads_in(name: &str, array: Array) -> Result<Array, Error> {
    let [heads, d_head, d_model] = axes(name, &array, "[n_heads, d_head, d_model]")?;
    transposed(name, &Array { shape: vec![heads * d_head, d_model], values: array.values }, "")
}

/// `[n_heads, d_head]` -> `[n_heads · d_head]`
fn flat(name: &str, array: Array) -> Result<Array, Error> {
    let [heads, d_head] = axes(name, &array, "[n_heads, d_head]")?;
    Ok(Array { shape: vec![heads * d_head], values: array.values })
}

/// Weights of a transformer under Headway's names, in HookedTransformer's names and layout.
///
/// # Errors
/// [`Error::Names`] for weights that it has no names for: those of other models, and an embedding of vectors.
pub fn export(arrays: &Arrays, n_heads: usize) -> Result<Arrays, Error> {
    let mut exported = Arrays::new();
    for (name, array) in arrays {
        let no_name = || {
            Error::Names(format!(
                "`{name}` has no name in TransformerLens, which knows transformers of tokens with learned positions"
            ))
        };
        let (theirs, array) = match name.as_str() {
            // This is a map of vectors and not a table.
            "embed.bias" => return Err(no_name()),
            "embed.weight" => ("embed.W_E".to_owned(), array.clone()),
            "position.weight" => ("pos_embed.W_pos".to_owned(), array.clone()),
            "final_norm.weight" => ("ln_final.w".to_owned(), array.clone()),
            "final_norm.bias" => ("ln_final.b".to_owned(), array.clone()),
            "head.weight" => ("unembed.W_U".to_owned(), transposed(name, array, "[d_vocab, d_model]")?),
            "head.bias" => ("unembed.b_U".to_owned(), array.clone()),
            _ => {
                let (layer, rest) = layer_of(name, "blocks.").ok_or_else(no_name)?;
                let (theirs, array) = block(name, rest, array, n_heads)?.ok_or_else(no_name)?;
                (format!("blocks.{layer}.{theirs}"), array)
            }
        };
        exported.insert(theirs, array);
    }
    Ok(exported)
}

fn block(name: &str, rest: &str, array: &Array, n_heads: usize) -> Result<Option<(&'static str, Array)>, Error> {
    let split = |axes: [usize; 2], array: Array| Array { shape: [&[n_heads], axes.as_slice()].concat(), ..array };
    let heads = |theirs| {
        // [n_heads · d_head, d_model] -> [n_heads, d_model, d_head]
        let [width, d_model] = axes::<2>(name, array, "[d_model, d_model]")?;
        let d_head = width / n_heads;
        let mut values = Vec::with_capacity(array.values.len());
        for h in 0..n_heads {
            for d in 0..d_model {
                values.extend((0..d_head).map(|c| array.values[(h * d_head + c) * d_model + d]));
            }
        }
        Ok(Some((theirs, split([d_model, d_head], Array { shape: Vec::new(), values }))))
    };
    let biases = |theirs| {
        let [width] = axes::<1>(name, array, "[d_model]")?;
        Ok(Some((theirs, Array { shape: vec![n_heads, width / n_heads], values: array.values.clone() })))
    };
    Ok(Some(match rest {
        "attention.query.weight" => return heads("attn.W_Q"),
        "attention.key.weight" => return heads("attn.W_K"),
        "attention.value.weight" => return heads("attn.W_V"),
        "attention.query.bias" => return biases("attn.b_Q"),
        "attention.key.bias" => return biases("attn.b_K"),
        "attention.value.bias" => return biases("attn.b_V"),
        "attention.output.weight" => {
            let array = transposed(name, array, "[d_model, d_model]")?;
            let [width, d_model] = [array.shape[0], array.shape[1]];
            ("attn.W_O", split([width / n_heads, d_model], array))
        }
        "attention.output.bias" => ("attn.b_O", array.clone()),
        "attention_norm.weight" => ("ln1.w", array.clone()),
        "attention_norm.bias" => ("ln1.b", array.clone()),
        "ffn_norm.weight" => ("ln2.w", array.clone()),
        "ffn_norm.bias" => ("ln2.b", array.clone()),
        "ffn.expand.weight" => ("mlp.W_in", transposed(name, array, "[d_ffn, d_model]")?),
        "ffn.expand.bias" => ("mlp.b_in", array.clone()),
        "ffn.contract.weight" => ("mlp.W_out", transposed(name, array, "[d_model, d_ffn]")?),
        "ffn.contract.bias" => ("mlp.b_out", array.clone()),
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::counted;

    /// Two heads of two channels and width three, worked out by hand.
    #[test]
    fn layouts_by_hand() -> Result<(), Error> {
        let all = counted::arrays(&[
            ("blocks.0.attn.W_Q", &[2, 3, 2]),
            ("blocks.1.attn.W_K", &[2, 3, 2]),
            ("blocks.0.attn.W_O", &[2, 2, 3]),
            ("blocks.0.attn.b_V", &[2, 2]),
            ("unembed.W_U", &[2, 3]),
            ("embed.W_E", &[5, 3]),
            ("blocks.0.attn.IGNORE", &[]),
            ("blocks.0.attn.rotary_sin", &[4, 2]),
        ]);
        let masked = |window: usize| {
            let see = |row: usize, column: usize| f32::from(u8::from(column <= row && row - column < window));
            let values = (0..16).map(|at| see(at / 4, at % 4)).collect();
            let mut all = all.clone();
            all.insert("blocks.0.attn.mask".to_owned(), Array { shape: vec![4, 4], values });
            rename(all)
        };
        let local = masked(2).map(|_| ()).map_err(|error| error.to_string());
        assert!(local.as_ref().is_err_and(|said| said.contains("blocks.0.attn.mask")), "{local:?}");
        let renamed = masked(4)?;
        let values = |name: &str| renamed.arrays[name].clone();
        let key = Array { shape: vec![4, 3], values: vec![0., 2., 4., 1., 3., 5., 6., 8., 10., 7., 9., 11.] };
        assert_eq!(values("blocks.1.attention.key.weight"), key);
        let output = Array { shape: vec![3, 4], values: vec![0., 3., 6., 9., 1., 4., 7., 10., 2., 5., 8., 11.] };
        assert_eq!(values("blocks.0.attention.output.weight"), output);
        assert_eq!(values("head.weight"), Array { shape: vec![3, 2], values: vec![0., 3., 1., 4., 2., 5.] });
        assert_eq!(values("blocks.0.attention.value.bias").shape, [4]);
        assert_eq!(renamed.n_heads, Some(2));
        assert_eq!(renamed.not_weights, ["blocks.0.attn.IGNORE", "blocks.0.attn.mask"]);
        assert_eq!(renamed.unknown, ["blocks.0.attn.rotary_sin"]);
        Ok(())
    }

    #[test]
    fn what_is_exported_comes_back() -> Result<(), Error> {
        let theirs = counted::arrays(&[
            ("embed.W_E", &[7, 6]),
            ("pos_embed.W_pos", &[5, 6]),
            ("blocks.0.attn.W_Q", &[3, 6, 2]),
            ("blocks.0.attn.W_K", &[3, 6, 2]),
            ("blocks.0.attn.W_V", &[3, 6, 2]),
            ("blocks.0.attn.W_O", &[3, 2, 6]),
            ("blocks.0.attn.b_Q", &[3, 2]),
            ("blocks.0.attn.b_K", &[3, 2]),
            ("blocks.0.attn.b_V", &[3, 2]),
            ("blocks.0.attn.b_O", &[6]),
            ("blocks.0.ln1.w", &[6]),
            ("blocks.0.ln1.b", &[6]),
            ("blocks.0.ln2.w", &[6]),
            ("blocks.0.ln2.b", &[6]),
            ("blocks.0.mlp.W_in", &[6, 11]),
            ("blocks.0.mlp.b_in", &[11]),
            ("blocks.0.mlp.W_out", &[11, 6]),
            ("blocks.0.mlp.b_out", &[6]),
            ("ln_final.w", &[6]),
            ("ln_final.b", &[6]),
            ("unembed.W_U", &[6, 7]),
            ("unembed.b_U", &[7]),
        ]);
        let ours = rename(theirs.clone())?.arrays;
        assert_eq!(ours.len(), theirs.len());
        assert_eq!(export(&ours, 3)?, theirs);
        Ok(())
    }

    #[test]
    fn a_gain_without_an_offset_is_rms_norm() {
        let error = rename(counted::arrays(&[("blocks.0.attn.W_Q", &[1, 2, 2]), ("blocks.0.ln1.w", &[2])])).map(|_| ());
        assert!(error.is_err_and(|error| error.to_string().contains("RMSNorm")));
    }

    #[test]
    fn a_wrong_shape_is_named() {
        let error = rename(counted::arrays(&[("blocks.0.attn.W_Q", &[6, 6])])).map(|_| ());
        let said = error.map_err(|error| error.to_string());
        let wanted = "`blocks.0.attn.W_Q` has shape [6, 6]; it must be [n_heads, d_model, d_head]";
        assert_eq!(said, Err(wanted.to_owned()));
    }
}
