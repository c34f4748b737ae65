//! GPT-2 as Hugging Face, minGPT and nanoGPT name it, and the code of Garg et al. that puts it between two linear maps.
//!
//! Hugging Face keeps its matrices `[in, out]` (Conv1D), the others `[out, in]` (Linear). `c_attn`, `[d, 3 d]` or `[3 d, d]`,
//! tells which, and the other matrices of a file are as that one: some are square and would not tell.
//!
//! # References
//! Radford et al. 2019; Garg et al. 2022, arXiv 2208.01066.

use headway_model::weights::Array;

use super::{Convention, Fills, Format, Place, Renamed, attention, axes, layer_of, rename_each, three, transposed};
use crate::{Arrays, Error};

pub(super) const GPT2: Convention = Convention {
    format: Format::Pytorch,
    name: "gpt2",
    summary: "transformer.wte.weight, transformer.h.0.attn.c_attn.weight, …: GPT-2 of Hugging Face, minGPT, nanoGPT",
    fits: |arrays| prefix(arrays).is_some(),
    rename,
};

pub(super) const IN_CONTEXT: Convention = Convention {
    format: Format::Pytorch,
    name: "in_context_gpt2",
    summary: "_read_in.weight, _backbone.h.0.attn.c_attn.weight, _read_out.weight, …: Garg et al.",
    fits: |arrays| prefix(arrays).is_some() && arrays.contains_key("_read_in.weight"),
    rename,
};

const FIRST: &str = "h.0.attn.c_attn.weight";

/// What stands before `h.0`.
fn prefix(arrays: &Arrays) -> Option<String> {
    let found = arrays.keys().find_map(|name| name.strip_suffix(FIRST))?;
    (found.is_empty() || found.ends_with('.')).then(|| found.to_owned())
}

fn rename(arrays: Arrays) -> Result<Renamed, Error> {
    let prefix = prefix(&arrays).unwrap_or_default();
    let is_in_context = arrays.contains_key("_read_in.weight");
    let has_ffn = arrays.contains_key(&format!("{prefix}h.0.mlp.c_fc.weight"));
    let first = format!("{prefix}{FIRST}");
    let is_conv = match arrays.get(&first) {
        Some(array) => {
            let [rows, columns] = axes(&first, array, "[d_model, 3 d_model] or [3 d_model, d_model]")?;
            if rows * 3 != columns && columns * 3 != rows {
                let wanted = "Conv1D has [d_model, 3 d_model] and Linear [3 d_model, d_model]; it cannot be told which this is. \
                     Compare it with the width of wpe.weight, and bring it into one of the two forms";
                return Err(Error::Shape { name: first, wanted: wanted.to_owned(), found: vec![rows, columns] });
            }
            rows * 3 == columns
        }
        None => false,
    };
    let matrix = |name: &str, array: Array| {
        axes::<2>(name, &array, "a matrix")?;
        if is_conv { transposed(name, &array, "a matrix") } else { Ok(array) }
    };
    let mut renamed = rename_each(arrays, |name, array| {
        let ours = match name {
            "lm_head.weight" | "_read_out.weight" => "head.weight",
            "lm_head.bias" | "_read_out.bias" => "head.bias",
            "_read_in.weight" => "embed.weight",
            "_read_in.bias" => "embed.bias",
            _ => "",
        };
        if !ours.is_empty() {
            return Ok(Place::weight(ours, array));
        }
        let Some(inner) = name.strip_prefix(&prefix) else { return Ok(Place::Unknown) };
        let ours = match inner {
            // The table of a model that reads vectors is never looked at.
            "wte.weight" if is_in_context => return Ok(Place::NoWeight),
            "wte.weight" => "embed.weight",
            "wpe.weight" => "position.weight",
            "ln_f.weight" => "final_norm.weight",
            "ln_f.bias" => "final_norm.bias",
            _ => "",
        };
        if !ours.is_empty() {
            return Ok(Place::weight(ours, array));
        }
        let Some((layer, rest)) = layer_of(inner, "h.") else { return Ok(Place::Unknown) };
        let (ours, array) = match rest {
            "ln_1.weight" => ("attention_norm.weight", array),
            "ln_1.bias" => ("attention_norm.bias", array),
            "ln_2.weight" => ("ffn_norm.weight", array),
            "ln_2.bias" => ("ffn_norm.bias", array),
            "attn.c_attn.weight" => return Ok(attention(layer, "weight", three(name, matrix(name, array)?)?)),
            "attn.c_attn.bias" => return Ok(attention(layer, "bias", three(name, array)?)),
            "attn.c_proj.weight" => ("attention.output.weight", matrix(name, array)?),
            "attn.c_proj.bias" => ("attention.output.bias", array),
            "mlp.c_fc.weight" => ("ffn.expand.weight", matrix(name, array)?),
            "mlp.c_fc.bias" => ("ffn.expand.bias", array),
            "mlp.c_proj.weight" => ("ffn.contract.weight", matrix(name, array)?),
            "mlp.c_proj.bias" => ("ffn.contract.bias", array),
            // The causal mask and the number that stands for minus infinity.
            "attn.bias" | "attn.masked_bias" => return Ok(Place::NoWeight),
            _ => return Ok(Place::Unknown),
        };
        Ok(Place::weight(format!("blocks.{layer}.{ours}"), array))
    })?;
    renamed.fills = Fills { zero_biases: true, unit_norms: false };
    renamed.assumed.push(format!(
        "matrices are {}, as c_attn shows",
        if is_conv { "[in, out] (Conv1D of Hugging Face)" } else { "[out, in] (Linear)" }
    ));
    if has_ffn {
        renamed.assumed.push(
            "activation: the experiment says it; gelu_new of Hugging Face and minGPT is our gelu_tanh, nn.GELU() of nanoGPT our gelu_erf"
                .to_owned(),
        );
    }
    if is_in_context {
        renamed.assumed.push(format!("{prefix}wte.weight is never looked at: the model reads vectors"));
    } else if !renamed.arrays.contains_key("head.weight")
        && let Some(table) = renamed.arrays.get("embed.weight").cloned()
    {
        renamed.arrays.insert("head.weight".to_owned(), table);
        renamed.assumed.push("the head is tied to the embedding: head.weight is a copy of wte.weight".to_owned());
    }
    Ok(renamed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::counted;

    #[test]
    fn conv1d_and_linear_by_hand() -> Result<(), Error> {
        let linear =
            rename(counted::arrays(&[("h.0.attn.c_attn.weight", &[6, 2]), ("h.0.attn.c_proj.weight", &[2, 2])]))?;
        let conv =
            rename(counted::arrays(&[("h.0.attn.c_attn.weight", &[2, 6]), ("h.0.attn.c_proj.weight", &[2, 2])]))?;
        let of =
            |renamed: &Renamed, part: &str| renamed.arrays[&format!("blocks.0.attention.{part}.weight")].values.clone();
        assert_eq!(
            [of(&linear, "query"), of(&linear, "key"), of(&linear, "value")],
            [[0., 1., 2., 3.], [4., 5., 6., 7.], [8., 9., 10., 11.]]
        );
        assert_eq!(of(&linear, "output"), [0., 1., 2., 3.]);
        assert_eq!(
            [of(&conv, "query"), of(&conv, "key"), of(&conv, "value")],
            [[0., 6., 1., 7.], [2., 8., 3., 9.], [4., 10., 5., 11.]]
        );
        assert_eq!(of(&conv, "output"), [0., 2., 1., 3.]);
        Ok(())
    }

    #[test]
    fn heads_tables_and_masks() -> Result<(), Error> {
        let base: &[(&str, &[usize])] = &[
            ("transformer.h.0.attn.c_attn.weight", &[2, 6]),
            ("transformer.h.0.attn.bias", &[1, 1, 4, 4]),
            ("transformer.h.0.attn.masked_bias", &[]),
            ("transformer.wte.weight", &[5, 2]),
        ];
        let tied = rename(counted::arrays(base))?;
        assert_eq!(tied.arrays["head.weight"], tied.arrays["embed.weight"]);
        assert!(tied.assumed.iter().any(|line| line.contains("tied")), "{:?}", tied.assumed);
        assert_eq!(tied.not_weights.len(), 2);
        let mut own = counted::arrays(base);
        own.insert("lm_head.weight".to_owned(), counted::array(&[5, 1]));
        assert_eq!(rename(own)?.arrays["head.weight"].shape, [5, 1]);
        let in_context = rename(counted::arrays(&[
            ("_backbone.h.0.attn.c_attn.weight", &[2, 6]),
            ("_backbone.wte.weight", &[5, 2]),
            ("_read_in.weight", &[2, 3]),
            ("_read_out.weight", &[1, 2]),
        ]))?;
        assert_eq!(in_context.not_weights, ["_backbone.wte.weight"]);
        assert_eq!(in_context.arrays["embed.weight"].shape, [2, 3]);
        assert_eq!(in_context.arrays["head.weight"].shape, [1, 2]);
        Ok(())
    }

    #[test]
    fn a_matrix_of_neither_form_is_refused() {
        let said =
            rename(counted::arrays(&[("h.0.attn.c_attn.weight", &[4, 8])])).map(|_| ()).map_err(|e| e.to_string());
        assert!(said.is_err_and(|said| said.contains("Conv1D") && said.contains("wpe")));
    }
}
