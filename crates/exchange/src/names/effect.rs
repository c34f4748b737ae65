//! Effects of tensors that no convention knows.

/// Part of a name, with a sentence on what such a tensor does and what to do about it.
const EFFECTS: &[(&str, &str)] = &[
    (
        "_original_component",
        "inside a TransformerBridge; torch.save(bridge.state_dict(), FILE) gives the names to read",
    ),
    ("rotary", ROTARY),
    ("rope", ROTARY),
    ("inv_freq", ROTARY),
    ("cos_cached", ROTARY),
    ("sin_cached", ROTARY),
    ("alibi", RELATIVE),
    ("rel_pos", RELATIVE),
    ("relative", RELATIVE),
    ("rel_attn", RELATIVE),
    ("parametrizations", PARAMETRIZED),
    ("weight_g", PARAMETRIZED),
    ("weight_v", PARAMETRIZED),
    ("weight_u", PARAMETRIZED),
    (
        "weight_orig",
        "pruned or normalised weights; torch.nn.utils.prune.remove(module, 'weight') before saving puts them in place",
    ),
    ("weight_mask", "pruned weights; torch.nn.utils.prune.remove(module, 'weight') before saving puts them in place"),
    ("_packed_params", QUANTIZED),
    ("zero_point", QUANTIZED),
    ("qweight", QUANTIZED),
    ("quant_state", QUANTIZED),
    ("absmax", QUANTIZED),
    ("weight_format", QUANTIZED),
    ("lora_", ADAPTER),
    ("base_layer", ADAPTER),
    ("adapter", ADAPTER),
    ("bias_k", "a further key and value, which no model here has"),
    ("bias_v", "a further key and value, which no model here has"),
    ("q_proj_weight", WIDTHS),
    ("k_proj_weight", WIDTHS),
    ("v_proj_weight", WIDTHS),
    ("_W_K", "keys that several heads share, which no model here has"),
    ("_W_V", "values that several heads share, which no model here has"),
    ("gate", "a gated feed-forward network, which no model here has"),
    ("router", "several feed-forward networks to choose from, which no model here has"),
    ("experts", "several feed-forward networks to choose from, which no model here has"),
    ("multihead_attn", CROSS),
    ("crossattention", CROSS),
    ("cross_attn", CROSS),
    ("q_norm", NORMS),
    ("k_norm", NORMS),
    ("q_ln", NORMS),
    ("k_ln", NORMS),
    ("ln1_post", NORMS),
    ("ln2_post", NORMS),
    ("ln", NORMS),
    ("norm", NORMS),
    ("layernorm", NORMS),
    ("embed", EMBEDDED),
    ("emb", EMBEDDED),
    ("wte", EMBEDDED),
    ("wpe", EMBEDDED),
    ("pos", EMBEDDED),
    ("position", EMBEDDED),
];

const ROTARY: &str = "rotary positions, which no model here has";
const RELATIVE: &str = "positions inside attention, which no model here has";
const PARAMETRIZED: &str = "parametrized weights; torch.nn.utils.parametrize.remove_parametrizations(module, 'weight'), or \
                            remove_weight_norm and its like, before saving puts them in place";
const QUANTIZED: &str = "quantized weights; save the network as it was before, in float32";
const ADAPTER: &str =
    "an adapter beside its base; merge_and_unload() of PEFT, or `headway merge`, puts it into the weights";
const WIDTHS: &str = "keys and values of other widths, which no model here has";
const CROSS: &str = "attention to a second sequence, which no model here has";
const NORMS: &str = "a norm in a place where no model here has one";
const EMBEDDED: &str = "something added to or done with the embedding, which no model here has";

/// How a tensor with this name affects a network's function; `None` if it may be harmless.
pub fn effect_of(name: &str) -> Option<&'static str> {
    let parts: Vec<&str> = name.split('.').collect();
    let is_in = |wanted: &str| {
        parts.iter().any(|part| {
            // A short word must be a whole part of the name, delimited by numbers or underscores.
            *part == wanted
                || wanted.len() > 4 && part.contains(wanted)
                || part.strip_prefix(wanted).is_some_and(|rest| rest.starts_with(['_', '0', '1', '2', '3']))
                || part.strip_suffix(wanted).is_some_and(|rest| rest.ends_with('_'))
        })
    };
    EFFECTS.iter().find(|(wanted, _)| is_in(wanted)).map(|(_, effect)| *effect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_the_function_is_known_by_its_name() {
        for (name, wanted) in [
            ("blocks.0.attn.rotary_sin", "rotary"),
            ("rotary_emb.inv_freq", "rotary"),
            ("h.0.attn.parametrizations.weight.original0", "remove_parametrizations"),
            ("in_proj.weight_g", "remove_weight_norm"),
            ("base_model.model.h.0.attn.c_attn.lora_A.default.weight", "merge"),
            ("blocks.0.mlp.W_gate", "gated"),
            ("layers.0.multihead_attn.in_proj_weight", "second sequence"),
            ("blocks.0.ln1_post.w", "norm"),
            ("token_type_embeddings.weight", "embedding"),
            ("embed.ln.w", "norm"),
        ] {
            assert!(effect_of(name).is_some_and(|effect| effect.contains(wanted)), "{name}: {:?}", effect_of(name));
        }
        for name in ["value_head.weight", "classifier.0.bias", "loss.weight", "extra", "temperature", "metric.total"] {
            assert_eq!(effect_of(name), None, "{name}");
        }
    }
}
