//! Weights of models as arrays and files: names, and which weights fit which model.

use super::*;

#[test]
fn an_uninitialized_model_takes_no_memory_for_what_does_not_fit() {
    // It would need terabytes if it were allocated.
    let config = TransformerConfig { d_model: 1 << 20, n_heads: 1, ..TransformerConfig::default() };
    let config = ModelConfig::Transformer(config);
    let dims = IoDims::continuous(1 << 20, 1 << 20, 1);
    let file = BTreeMap::from([("head.bias".to_owned(), array(&[1], &[0.5]))]);
    let (_, report) = load_partial(config.uninitialized(&dims, &Device::flex()).unwrap(), file);
    assert_eq!(report.taken, ["head.bias"]);
    assert!(report.missing.contains(&"blocks.1.attention.query.weight".to_owned()), "{report:?}");
}

#[test]
fn a_table_of_misfits_ends_somewhere() {
    let missing = (0..250).map(|index| format!("blocks.{index}")).collect();
    let table = LoadReport { missing, ..LoadReport::default() }.table();
    // A heading, a hundred tensors, and how many more there are.
    assert_eq!(table.lines().count(), 102);
    assert!(table.contains("\n  blocks.99 ") && table.ends_with("\n  and 150 more"), "{table}");
}

#[test]
fn names_are_paths_and_linear_weights_are_out_by_in() {
    let dims = IoDims::tokens(SEQ_LEN, VOCAB);
    let config = TransformerConfig {
        d_model: D_MODEL,
        n_heads: HEADS,
        n_layers: 1,
        state_mixer: StateMixer::Ffn { d_ffn: D_FFN, activation: Activation::Relu },
        ..TransformerConfig::default()
    };
    let model = transformer(config, &dims, &Device::flex());
    let shapes: Vec<(String, Vec<usize>)> =
        arrays(&model).into_iter().map(|(name, array)| (name, array.shape)).collect();
    let want: Vec<(&str, &[usize])> = vec![
        ("blocks.0.attention.key.bias", &[D_MODEL]),
        ("blocks.0.attention.key.weight", &[D_MODEL, D_MODEL]),
        ("blocks.0.attention.output.bias", &[D_MODEL]),
        ("blocks.0.attention.output.weight", &[D_MODEL, D_MODEL]),
        ("blocks.0.attention.query.bias", &[D_MODEL]),
        ("blocks.0.attention.query.weight", &[D_MODEL, D_MODEL]),
        ("blocks.0.attention.value.bias", &[D_MODEL]),
        ("blocks.0.attention.value.weight", &[D_MODEL, D_MODEL]),
        ("blocks.0.attention_norm.bias", &[D_MODEL]),
        ("blocks.0.attention_norm.weight", &[D_MODEL]),
        ("blocks.0.ffn.contract.bias", &[D_MODEL]),
        ("blocks.0.ffn.contract.weight", &[D_MODEL, D_FFN]),
        ("blocks.0.ffn.expand.bias", &[D_FFN]),
        ("blocks.0.ffn.expand.weight", &[D_FFN, D_MODEL]),
        ("blocks.0.ffn_norm.bias", &[D_MODEL]),
        ("blocks.0.ffn_norm.weight", &[D_MODEL]),
        ("embed.weight", &[VOCAB, D_MODEL]),
        ("final_norm.bias", &[D_MODEL]),
        ("final_norm.weight", &[D_MODEL]),
        ("head.bias", &[VOCAB]),
        ("head.weight", &[VOCAB, D_MODEL]),
        ("position.weight", &[SEQ_LEN, D_MODEL]),
    ];
    let want: Vec<(String, Vec<usize>)> =
        want.into_iter().map(|(name, shape)| (name.to_owned(), shape.to_vec())).collect();
    assert_eq!(shapes, want);
}

#[test]
fn attention_only_means_no_feed_forward_parameters() {
    let dims = IoDims::continuous(SEQ_LEN, D_IN, D_OUT);
    let with = |state_mixer| {
        let config =
            TransformerConfig { d_model: D_MODEL, n_heads: HEADS, state_mixer, ..TransformerConfig::default() };
        let model = transformer(config, &dims, &Device::flex());
        names(&model).into_iter().map(|(name, _)| name).filter(|name| name.contains("ffn")).count()
    };
    assert_eq!(with(StateMixer::None), 0);
    assert_eq!(with(StateMixer::Ffn { d_ffn: D_FFN, activation: Activation::Relu }), 2 * 6);
}

#[test]
fn a_strict_load_names_everything_that_does_not_fit() {
    let (config, dims) = first_transformer();
    let model = build(&config, &dims, 1, &Device::flex());
    let mut file = arrays(&model);
    let head = file.remove("head.weight").unwrap();
    file.insert("head.weight".to_owned(), Array { shape: vec![D_MODEL, D_OUT], values: head.values });
    file.remove("position.weight");
    file.remove("blocks.1.attention.query.bias");
    file.insert("blocks.2.attention.query.bias".to_owned(), array(&[1], &[0.0]));
    file.insert("rotary".to_owned(), array(&[2], &[0.0, 1.0]));
    let error = load(build(&config, &dims, 2, &Device::flex()), file).unwrap_err();
    let WeightsError::Mismatch(report) = &error else { panic!("{error}") };
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort();
        names
    };
    assert_eq!(sorted(&report.missing), ["blocks.1.attention.query.bias", "position.weight"]);
    assert_eq!(sorted(&report.extra), ["blocks.2.attention.query.bias", "rotary"]);
    let mismatch =
        ShapeMismatch { name: "head.weight".to_owned(), wanted: vec![D_OUT, D_MODEL], found: vec![D_MODEL, D_OUT] };
    assert_eq!(report.mismatched, [mismatch]);
    let message = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    for name in [
        "parameter the model has the file has",
        "head.weight [17, 15] [15, 17]",
        "position.weight a parameter nothing",
        "rotary nothing a tensor",
    ] {
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn a_partial_load_takes_what_fits_and_keeps_the_rest() {
    let (config, dims) = first_transformer();
    let (source, fresh) = (build(&config, &dims, 1, &Device::flex()), build(&config, &dims, 2, &Device::flex()));
    let (old, own) = (arrays(&source), arrays(&fresh));
    let mut file = old.clone();
    file.remove("head.bias");
    file.insert("head.weight".to_owned(), array(&[1, 2], &[0.0, 0.0]));
    file.insert("extra".to_owned(), array(&[1], &[0.0]));
    let (loaded, report) = load_partial(fresh, file);
    assert!(!report.is_complete());
    assert_eq!(
        (report.missing.as_slice(), report.extra.as_slice()),
        (&["head.bias".to_owned()][..], &["extra".to_owned()][..])
    );
    assert_eq!(report.mismatched.len(), 1);
    assert_eq!(report.taken.len() + 2, old.len());
    for (name, array) in arrays(&loaded) {
        let kept = name.starts_with("head.");
        assert_eq!(array, if kept { own[&name].clone() } else { old[&name].clone() }, "{name}");
        assert_eq!(!kept, report.taken.contains(&name), "{name}");
    }
}

#[test]
fn loaded_weights_can_be_trained() {
    let (config, dims) = first_transformer();
    let device = Device::flex().autodiff();
    let model = build(&config, &dims, 1, &device);
    let (model, _) = load(build(&config, &dims, 2, &device), arrays(&model)).unwrap();
    let gradients = model.forward(input(&dims, 3, &device)).sum().backward();
    let gradients = burn::optim::GradientsParams::from_grads(gradients, &model);
    assert_eq!(gradients.len(), names(&model).len());
}

#[test]
fn bytes_that_are_no_weights_are_refused() {
    assert!(matches!(arrays_from_bytes(b"not a file"), Err(WeightsError::Format(_))));
    let bytes = arrays_to_bytes(&BTreeMap::from([("w".to_owned(), array(&[2], &[1.0, 2.0]))])).unwrap();
    assert!(matches!(arrays_from_bytes(&bytes[..bytes.len() - 1]), Err(WeightsError::Format(_))));
    let integers = String::from_utf8(bytes[8..bytes.len() - 8].to_vec()).unwrap().replace("F32", "I32");
    let mut file = bytes.clone();
    file[8..bytes.len() - 8].copy_from_slice(integers.as_bytes());
    let error = arrays_from_bytes(&file).unwrap_err();
    assert_eq!(error.to_string(), "tensor `w` holds I32; weights are F32 or F64");
}
