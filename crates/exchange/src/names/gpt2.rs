//! GPT-2 in the names of Hugging Face, minGPT and nanoGPT, and of the code of Garg et al., which puts it between two
//! linear maps.
//!
//! Hugging Face stores matrices as `[in, out]` (Conv1D), the others as `[out, in]` (Linear). The shape of `c_attn`,
//! `[d, 3 d]` or `[3 d, d]`, shows which; the other matrices of the file have the same orientation, and some of them
//! are square.
//!
//! # References
//! Radford et al. 2019; Garg et al. 2022, arXiv 2208.01066.

use headway_model::{Activation, LAYER_NORM_EPSILON, Norm, StateMixer, weights::Array};

use super::{
    Convention, Elsewhere, Fills, Format, Place, Renamed, Shown, attention, axes, layer_of, mask, rename_each, three,
    transposed,
};
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

/// The prefix before `h.0`; `None` if there is no such name.
fn prefix(arrays: &Arrays) -> Option<String> {
    let found = arrays.keys().find_map(|name| name.strip_suffix(FIRST))?;
    (found.is_empty() || found.ends_with('.')).then(|| found.to_owned())
}

fn rename(arrays: Arrays) -> Result<Renamed, Error> {
    let prefix = prefix(&arrays).unwrap_or_default();
    // The prefix before `transformer.`, which the head has too.
    let outer = prefix.strip_suffix("transformer.").unwrap_or(&prefix).to_owned();
    let is_in_context = arrays.contains_key("_read_in.weight");
    let mut causal = None;
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
        let ours = match name.strip_prefix(&outer).unwrap_or(name) {
            "lm_head.weight" => "head.weight",
            "lm_head.bias" => "head.bias",
            _ => match name {
                "_read_out.weight" => "head.weight",
                "_read_out.bias" => "head.bias",
                "_read_in.weight" => "embed.weight",
                "_read_in.bias" => "embed.bias",
                _ => "",
            },
        };
        if !ours.is_empty() {
            return Ok(Place::weight(ours, array));
        }
        let Some(inner) = name.strip_prefix(&prefix) else { return Ok(Place::Unknown) };
        let ours = match inner {
            // A model that reads vectors never uses this table.
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
            "attn.bias" => {
                // A mask that hides nothing is a placeholder: GPT-2 makes its own mask.
                if mask(name, &array)? == Shown::Causal {
                    causal = Some(true);
                }
                return Ok(Place::NoWeight);
            }
            // The number that represents minus infinity.
            "attn.masked_bias" => return Ok(Place::NoWeight),
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
    renamed.causal = causal;
    renamed.shows_no_window = causal.is_some();
    if is_in_context {
        renamed.assumed.push(format!("{prefix}wte.weight is never looked at: the model reads vectors"));
        return Ok(renamed);
    }
    head(&mut renamed, &prefix, &outer)?;
    Ok(renamed)
}

/// Uses the embedding as the head if the file has no head. `prefix` is the prefix of `h.0`, `outer` that of `lm_head`.
///
/// # Errors
/// [`Error::Names`] if a tensor with another name may be the head, which would otherwise be lost and replaced by the
/// embedding.
fn head(renamed: &mut Renamed, prefix: &str, outer: &str) -> Result<(), Error> {
    let Some(table) = renamed.arrays.get("embed.weight").cloned() else { return Ok(()) };
    if let Some(head) = renamed.arrays.get("head.weight") {
        renamed.head_is_embedding = (*head != table).then_some(false);
        return Ok(());
    }
    let blocks = format!("{prefix}h.");
    if let Some(other) = renamed.unknown.iter().find(|name| name.ends_with("weight") && !name.starts_with(&blocks)) {
        return Err(Error::Names(format!(
            "there is no {outer}lm_head.weight, and `{other}` may be the head: --rename {}={outer}lm_head says so; without any \
             other tensor the head is a copy of the embedding",
            other.strip_suffix(".weight").unwrap_or(other)
        )));
    }
    renamed.arrays.insert("head.weight".to_owned(), table);
    renamed.head_is_embedding = Some(true);
    renamed.assumed.push("the head is tied to the embedding: head.weight is a copy of wte.weight".to_owned());
    Ok(())
}

/// Weights of a transformer under Headway's names as Hugging Face's `GPT2LMHeadModel` has them, and its `config.json`.
///
/// If the model has no feed-forward network, one of width one that adds zero is written. GPT-2's head has no bias; a
/// bias is merged into the final norm's offset if a combination of the head's columns equals it.
///
/// # Errors
/// [`Error::Names`] for a model that GPT-2 cannot represent.
pub fn export(model: &Elsewhere) -> Result<(Arrays, serde_json::Value), Error> {
    let Elsewhere { arrays, config, vocab, rows } = model;
    let no = |what: &str| {
        Err(Error::Names(format!("GPT-2 has {what}; export with --names transformer-bridge or headway instead")))
    };
    if !config.causal {
        return no("causal attention alone, the model sees all positions");
    }
    if config.norm == Norm::None {
        return no("norms, the model none");
    }
    let width = config.d_model;
    let take = |name: &str| {
        arrays
            .get(name)
            .cloned()
            .ok_or_else(|| Error::Names(format!("the checkpoint has no `{name}`, which GPT-2 needs")))
    };
    let turned = |name: &str| transposed(name, &take(name)?, "a matrix");
    let flat = |size: usize, value: f32| Array { shape: vec![size], values: vec![value; size] };
    let mut theirs = Arrays::new();
    let mut put = |name: String, array: Array| drop(theirs.insert(format!("transformer.{name}"), array));
    put("wte.weight".to_owned(), take("embed.weight")?);
    put("wpe.weight".to_owned(), take("position.weight")?);
    let d_ffn = match config.state_mixer {
        StateMixer::Ffn { d_ffn, .. } => d_ffn,
        StateMixer::None => 1,
    };
    for layer in 0..config.n_layers {
        let ours = |rest: &str| format!("blocks.{layer}.{rest}");
        let theirs = |rest: &str| format!("h.{layer}.{rest}");
        for parameter in ["weight", "bias"] {
            put(theirs(&format!("ln_1.{parameter}")), take(&ours(&format!("attention_norm.{parameter}")))?);
        }
        let parts = ["query", "key", "value"].map(|part| take(&ours(&format!("attention.{part}.weight"))));
        let [query, key, value] = parts;
        let mut stacked = query?;
        stacked.values.extend(key?.values);
        stacked.values.extend(value?.values);
        stacked.shape[0] *= 3;
        put(theirs("attn.c_attn.weight"), transposed("attention.query.weight", &stacked, "a matrix")?);
        let mut bias = flat(0, 0.0);
        for part in ["query", "key", "value"] {
            bias.values.extend(take(&ours(&format!("attention.{part}.bias")))?.values);
        }
        bias.shape = vec![bias.values.len()];
        put(theirs("attn.c_attn.bias"), bias);
        put(theirs("attn.c_proj.weight"), turned(&ours("attention.output.weight"))?);
        put(theirs("attn.c_proj.bias"), take(&ours("attention.output.bias"))?);
        if config.state_mixer == StateMixer::None {
            put(theirs("ln_2.weight"), flat(width, 1.0));
            put(theirs("ln_2.bias"), flat(width, 0.0));
            put(theirs("mlp.c_fc.weight"), Array { shape: vec![width, 1], values: vec![0.0; width] });
            put(theirs("mlp.c_fc.bias"), flat(1, 0.0));
            put(theirs("mlp.c_proj.weight"), Array { shape: vec![1, width], values: vec![0.0; width] });
            put(theirs("mlp.c_proj.bias"), flat(width, 0.0));
        } else {
            for parameter in ["weight", "bias"] {
                put(theirs(&format!("ln_2.{parameter}")), take(&ours(&format!("ffn_norm.{parameter}")))?);
            }
            put(theirs("mlp.c_fc.weight"), turned(&ours("ffn.expand.weight"))?);
            put(theirs("mlp.c_fc.bias"), take(&ours("ffn.expand.bias"))?);
            put(theirs("mlp.c_proj.weight"), turned(&ours("ffn.contract.weight"))?);
            put(theirs("mlp.c_proj.bias"), take(&ours("ffn.contract.bias"))?);
        }
    }
    let head = take("head.weight")?;
    put("ln_f.weight".to_owned(), take("final_norm.weight")?);
    put("ln_f.bias".to_owned(), with_bias_of_head(&take("final_norm.bias")?, &head, &take("head.bias")?)?);
    let is_tied = theirs.get("transformer.wte.weight") == Some(&head);
    if !is_tied {
        theirs.insert("lm_head.weight".to_owned(), head);
    }
    let activation = match config.state_mixer {
        StateMixer::Ffn { activation: Activation::GeluErf, .. } => "gelu",
        StateMixer::Ffn { activation: Activation::Relu, .. } => "relu",
        // A gated network is refused above.
        StateMixer::Ffn { activation: Activation::GeluTanh | Activation::Swiglu, .. } | StateMixer::None => "gelu_new",
    };
    let json = serde_json::json!({
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": vocab,
        "n_positions": rows,
        "n_embd": width,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_inner": d_ffn,
        "activation_function": activation,
        "layer_norm_epsilon": LAYER_NORM_EPSILON,
        "scale_attn_weights": true,
        "scale_attn_by_inverse_layer_idx": false,
        "tie_word_embeddings": is_tied,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "bos_token_id": null,
        "eos_token_id": null,
    });
    Ok((theirs, json))
}

/// The final norm's offset β plus c, where W c = b for the bias b of a head W `[d_out, d_model]`.
///
/// # Errors
/// [`Error::Names`] if b is no combination of the columns of W, which is the general case for `d_out` > `d_model`.
fn with_bias_of_head(offset: &Array, head: &Array, bias: &Array) -> Result<Array, Error> {
    let largest = bias.values.iter().fold(0.0_f64, |largest, b| largest.max(f64::from(b.abs())));
    if largest == 0.0 {
        return Ok(offset.clone());
    }
    let [outputs, width] = axes("head.weight", head, "[d_out, d_model]")?;
    let weight = |row: usize, column: usize| f64::from(head.values[row * width + column]);
    // The shortest c is Wᵀ y with W Wᵀ y = b, or else c solves WᵀW c = Wᵀ b.
    let wide = outputs <= width;
    let size = outputs.min(width);
    let gram = |a: usize, b: usize| -> f64 {
        if wide {
            (0..width).map(|k| weight(a, k) * weight(b, k)).sum()
        } else {
            (0..outputs).map(|k| weight(k, a) * weight(k, b)).sum()
        }
    };
    let right = |at: usize| -> f64 {
        if wide {
            f64::from(bias.values[at])
        } else {
            (0..outputs).map(|k| weight(k, at) * f64::from(bias.values[k])).sum()
        }
    };
    let mut rows: Vec<Vec<f64>> =
        (0..size).map(|a| (0..size).map(|b| gram(a, b)).chain([right(a)]).collect()).collect();
    let solution = solve(&mut rows);
    let offset_with = solution.map(|solution| {
        let c = |column: usize| -> f64 {
            if wide { (0..outputs).map(|k| weight(k, column) * solution[k]).sum() } else { solution[column] }
        };
        let values = offset.values.iter().enumerate().map(|(at, beta)| (f64::from(*beta) + c(at)) as f32).collect();
        Array { shape: offset.shape.clone(), values }
    });
    // Compares the effect of the rounded offset with that of the bias.
    let is_near = |with: &Array| {
        (0..outputs).all(|row| {
            let given: f64 =
                (0..width).map(|k| weight(row, k) * (f64::from(with.values[k]) - f64::from(offset.values[k]))).sum();
            (given - f64::from(bias.values[row])).abs() <= 1e-6 * largest.max(1.0)
        })
    };
    offset_with.filter(is_near).ok_or_else(|| {
        Error::Names(format!(
            "the head has a bias, GPT-2 has none, and no combination of the head's columns gives it (d_out = {outputs}, d_model = \
             {width}); with d_model of at least d_out there is one, and --names transformer-bridge keeps the bias"
        ))
    })
}

/// Solves A x = b by Gaussian elimination with pivoting, for rows `[a …, b]`; `None` if A is singular.
fn solve(rows: &mut [Vec<f64>]) -> Option<Vec<f64>> {
    let size = rows.len();
    for column in 0..size {
        let pivot = (column..size).max_by(|a, b| rows[*a][column].abs().total_cmp(&rows[*b][column].abs()))?;
        rows.swap(column, pivot);
        if rows[column][column] == 0.0 {
            return None;
        }
        for row in column + 1..size {
            let factor = rows[row][column] / rows[column][column];
            let above = rows[column].clone();
            rows[row].iter_mut().zip(above).skip(column).for_each(|(entry, above)| *entry -= factor * above);
        }
    }
    let mut solution = vec![0.0; size];
    for row in (0..size).rev() {
        let known: f64 = (row + 1..size).map(|at| rows[row][at] * solution[at]).sum();
        solution[row] = (rows[row][size] - known) / rows[row][row];
    }
    Some(solution)
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
            ("transformer.h.0.attn.masked_bias", &[]),
            ("transformer.wte.weight", &[5, 2]),
        ];
        let masked = |entries: &[f32]| {
            let mut arrays = counted::arrays(base);
            let values = entries.to_vec();
            arrays.insert("transformer.h.0.attn.bias".to_owned(), Array { shape: vec![1, 1, 3, 3], values });
            rename(arrays)
        };
        let tied = masked(&[1., 0., 0., 1., 1., 0., 1., 1., 1.])?;
        assert_eq!(tied.causal, Some(true));
        assert_eq!(masked(&[1.0; 9])?.causal, None);
        let local = masked(&[1., 0., 0., 1., 1., 0., 0., 1., 1.]).map(|_| ()).map_err(|error| error.to_string());
        assert!(local.as_ref().is_err_and(|said| said.contains("local attention")), "{local:?}");
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

    /// A head inside a wrapper is found, and one with another name is not replaced by the embedding.
    #[test]
    fn a_head_is_found_or_asked_for() -> Result<(), Error> {
        let base = counted::arrays(&[
            ("net.transformer.h.0.attn.c_attn.weight", &[2, 6]),
            ("net.transformer.wte.weight", &[5, 2]),
        ]);
        let with = |name: &str| {
            let mut arrays = base.clone();
            arrays.insert(name.to_owned(), Array { shape: vec![5, 2], values: vec![7.0; 10] });
            rename(arrays)
        };
        assert_eq!(with("net.lm_head.weight")?.arrays["head.weight"].values, [7.0; 10]);
        assert_eq!(with("net.lm_head.weight")?.head_is_embedding, Some(false));
        assert_eq!(rename(base.clone())?.head_is_embedding, Some(true));
        let said = with("net.out.weight").map(|_| ()).map_err(|error| error.to_string());
        assert!(said.as_ref().is_err_and(|said| said.contains("--rename net.out=net.lm_head")), "{said:?}");
        Ok(())
    }

    /// W = [[1, 0, 1], [0, 2, 0]], b = [2, 6]: the shortest c is [1, 3, 1].
    #[test]
    fn the_bias_of_a_head_moves_into_the_norm() -> Result<(), Error> {
        let array = |shape: &[usize], values: &[f32]| Array { shape: shape.to_vec(), values: values.to_vec() };
        let head = array(&[2, 3], &[1., 0., 1., 0., 2., 0.]);
        let offset = with_bias_of_head(&array(&[3], &[0.5; 3]), &head, &array(&[2], &[2., 6.]))?;
        assert_eq!(offset.values, [1.5, 3.5, 1.5]);
        // Three outputs of one channel, whose biases are not a multiple of its weights.
        let tall = array(&[3, 1], &[1., 1., 1.]);
        let offset = array(&[1], &[0.0]);
        assert_eq!(with_bias_of_head(&offset, &tall, &array(&[3], &[2.0; 3]))?.values, [2.0]);
        let error = with_bias_of_head(&offset, &tall, &array(&[3], &[2., 2., 3.])).map(|_| ());
        assert!(error.is_err_and(|error| error.to_string().contains("no combination")));
        Ok(())
    }

    #[test]
    fn a_matrix_of_neither_form_is_refused() {
        let said =
            rename(counted::arrays(&[("h.0.attn.c_attn.weight", &[4, 8])])).map(|_| ()).map_err(|e| e.to_string());
        assert!(said.is_err_and(|said| said.contains("Conv1D") && said.contains("wpe")));
    }
}
