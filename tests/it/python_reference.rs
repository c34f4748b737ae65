//! A checkpoint means the same to numpy, PyTorch and Headway.
//!
//! These tests need a Python with numpy, the last of them also PyTorch: `HEADWAY_PYTHON` names it, `python3` by
//! default. Without it they say so and pass, unless `HEADWAY_REQUIRE_PYTHON=1`.

use std::{fs, path::PathBuf, process::Output};

use safetensors::SafeTensors;

use crate::harness::{Lab, python, there_is};

/// Largest difference, relative to the largest output.
const TOLERANCE: f32 = 1e-5;

const VECTORS: &str = "[task.truncated_linear]\nseq_len = 7\nd_in = 5\nlow = -1.0\nhigh = 1.0\n";
const WIDE_VECTORS: &str = "[task.relu_network]\nseq_len = 5\nd = 3\nd_hidden = 4\n";
const PROMPTS: &str = "[task.icl_linear]\nd = 3\nn_points = 4\n";
const TOKENS: &str = "[task.copy]\nvocab = 6\nn_data = 4\n";
/// Tokens without answers in the input, for networks that see all of them.
const WHOLE_TOKENS: &str = "[task.selective_copying]\nvocab = 6\nseq_len = 9\nn_data = 3\n";

/// Learning rates large enough to leave the initial weights behind: zero biases would hide errors.
const TRAIN: &str = r"
[data.fixed]
train = 12
test = 3
[optimizer.adam]
learning_rate = 0.05
[train]
steps = 15
batch_size = 4
log_every = 15
eval_every = 0
";

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A trained model with Headway's own inputs and outputs beside it.
struct Trained {
    lab: Lab,
}

impl Trained {
    fn new(task: &str, model: &str) -> Self {
        let lab = Lab::with(&format!("{task}{model}{TRAIN}"));
        lab.train("run", &[]).succeed();
        Self::saved_outputs(lab, "run")
    }

    /// A model fine-tuned in a mode that trains an adapter.
    fn tuned(task: &str, model: &str, mode: &str) -> Self {
        let lab = Lab::with(&format!("{task}{model}{TRAIN}"));
        lab.train("base", &[]).succeed();
        let words = ["finetune", "experiment.toml", "--from", "base", "--out", "run", "--device", "cpu", "-s", mode];
        lab.headway(&words).succeed();
        Self::saved_outputs(lab, "run")
    }

    fn saved_outputs(lab: Lab, run: &str) -> Self {
        let checkpoint = format!("{run}/checkpoints/step-00000015");
        lab.headway(&["eval", &checkpoint, "--device", "cpu", "--save-outputs", "saved"]).succeed();
        Self { lab }
    }

    fn checkpoint(&self) -> PathBuf {
        self.lab.path("run/checkpoints/step-00000015")
    }

    fn saved(&self, name: &str) -> PathBuf {
        self.lab.path(&format!("saved/{name}.safetensors"))
    }

    /// Shape and values of Headway's output.
    fn outputs(&self) -> (Vec<usize>, Vec<f32>) {
        let bytes = fs::read(self.saved("outputs")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensor = file.tensor("outputs").unwrap();
        (tensor.shape().to_vec(), floats(tensor.data()))
    }

    fn agrees(&self) {
        self.agrees_with_numpy();
        if there_is("numpy, torch") {
            self.agrees_with_torch();
        }
    }

    fn agrees_with_numpy(&self) {
        let result = self.lab.path("numpy.npy");
        let output = python()
            .arg("headway_reference.py")
            .arg(self.checkpoint())
            .arg("--inputs")
            .arg(self.saved("inputs"))
            .arg("--out")
            .arg(&result)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let (shape, wanted) = self.outputs();
        let (found_shape, found) = npy(&fs::read(result).unwrap());
        assert_eq!(found_shape, shape);
        let largest = wanted.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        assert!(largest > 0.01, "an output of nothing but zeros shows nothing");
        for (index, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
            let difference = (found - wanted).abs() / largest;
            assert!(difference <= TOLERANCE, "entry {index}: numpy {found}, Headway {wanted}, {difference:e} apart");
        }
    }

    fn agrees_with_torch(&self) {
        let output = python()
            .arg("check_with_torch.py")
            .arg(self.checkpoint())
            .arg("--inputs")
            .arg(self.saved("inputs"))
            .arg("--outputs")
            .arg(self.saved("outputs"))
            .args(["--tolerance", &TOLERANCE.to_string()])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", said(&output));
        // One for numpy, one for Headway.
        assert_eq!(said(&output).matches("ok  ").count(), 2, "{}", said(&output));
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// Shape and values of a .npy file of version 1, float32, row-major.
fn npy(bytes: &[u8]) -> (Vec<usize>, Vec<f32>) {
    assert_eq!(bytes[..8], *b"\x93NUMPY\x01\x00");
    let header_len = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..10 + header_len]).unwrap();
    assert!(header.contains("'<f4'") && header.contains("'fortran_order': False"), "{header}");
    let shape = header.split_once('(').unwrap().1.split_once(')').unwrap().0;
    let shape = shape.split(',').filter_map(|size| size.trim().parse().ok()).collect();
    (shape, floats(&bytes[10 + header_len..]))
}

fn compare(task: &str, model: &str) {
    if there_is("numpy") {
        Trained::new(task, model).agrees();
    }
}

#[test]
fn what_fine_tuning_learns_beside_the_weights() {
    let transformer = "[model.transformer]\nd_model = 6\nn_layers = 2\nn_heads = 2\n";
    let full = "[model.transformer]\nd_model = 6\nn_layers = 2\nn_heads = 2\ncausal = false\n";
    let two_layer = "[model.paper_two_layer]\nd_model = 6\nn_heads = 2\nn_anchors = 3\n";
    let heads = "[{ count = 2, d_key = 3, d_value = 2 }, { d_key = 2, d_value = 5 }]";
    let layer = format!("{{ map = \"token_wise\", rows = 9, width = 4, heads = {heads}, d_out = 5 }}");
    let stack = format!("[model.attention_stack]\nlayers = [{layer}]\n");
    let (lora, prefix) = ("finetune.lora={rank=2, alpha=3}", "finetune.prefix.length=3");
    if there_is("numpy") {
        for (task, model, mode) in [
            (PROMPTS, transformer, lora),
            (PROMPTS, transformer, prefix),
            (PROMPTS, transformer, "finetune.prompt.length=3"),
            (WHOLE_TOKENS, full, prefix),
            (WHOLE_TOKENS, full, "finetune.prompt.length=3"),
            (WIDE_VECTORS, two_layer, lora),
            (WIDE_VECTORS, two_layer, prefix),
            (WIDE_VECTORS, &stack, lora),
            (WIDE_VECTORS, &stack, prefix),
        ] {
            Trained::tuned(task, model, mode).agrees();
        }
    }
}

#[test]
fn paper_one_layer_with_all_channels() {
    compare(VECTORS, "[model.paper_one_layer]\nd_model = 6\nn_heads = 2\nn_anchors = 4\n");
}

#[test]
fn paper_one_layer_with_softmax_readout() {
    compare(VECTORS, "[model.paper_one_layer]\nd_model = 6\nn_heads = 3\nn_anchors = 0\nreadout = \"softmax\"\n");
}

#[test]
fn paper_two_layer() {
    compare(WIDE_VECTORS, "[model.paper_two_layer]\nd_model = 6\nn_heads = 2\nn_anchors = 3\n");
}

#[test]
fn paper_set_keys() {
    // A larger temperature than the paper's, whose pattern is so sharp that rounding decides ties.
    let model = "[model.paper_set_keys]\nd_model = 6\nn_anchors = 3\nlow = -1.5\nhigh = 0.5\ninverse_temperature = 0.5\nshift = 0.7\n";
    compare(VECTORS, model);
}

#[test]
fn attention_stack() {
    let first = "{ map = \"sequence_wise\", rows = 13, width = 4, queries = 11, keys = 9, \
                 heads = [{ count = 2, d_key = 3, d_value = 1 }, { d_key = 5, d_value = 2 }], d_out = 6 }";
    let second = "{ map = \"token_wise\", rows = 17, width = 7, heads = [{ d_key = 2, d_value = 3 }], d_out = D }";
    for (readout, d_out) in [("\"rows\"", 3), ("\"affine\"", 4), ("{ softmax = { width = 19, d_value = 2 } }", 5)] {
        let second = second.replace('D', &d_out.to_string());
        compare(WIDE_VECTORS, &format!("[model.attention_stack]\nreadout = {readout}\nlayers = [{first}, {second}]\n"));
    }
}

#[test]
fn causal_transformer_with_feed_forward_networks() {
    let ffn = "state_mixer = { ffn = { d_ffn = 13, activation = \"gelu_erf\" } }\n";
    compare(PROMPTS, &format!("[model.transformer]\nd_model = 6\nn_layers = 2\nn_heads = 3\n{ffn}"));
}

#[test]
fn bidirectional_transformer_of_nothing_but_attention() {
    let bare = "causal = false\nresidual = false\nnorm = \"none\"\nposition = \"sinusoidal\"\n";
    compare(WIDE_VECTORS, &format!("[model.transformer]\nd_model = 7\nn_layers = 2\nn_heads = 1\n{bare}"));
}

/// Forecasts of 3 series, 2 steps from 8.
#[test]
fn csformer() {
    if !there_is("numpy") {
        return;
    }
    let line = |at: u32| format!("{at},{},{},{}\n", at * at % 17, f64::from(at).sin(), at * 7 % 11);
    let table = format!("time,a,b,c\n{}", (0..80).map(line).collect::<String>());
    let task = "[task.forecast]\npath = \"series.csv\"\nwindow = 8\nhorizon = 2\n";
    let model = |keys: &str| format!("[model.csformer]\nd_model = 6\nn_heads = 2\nd_adapter = 5\n{keys}\n");
    let trained = |keys: &str| {
        let lab = Lab::with(&format!("{task}{}{TRAIN}", model(keys)));
        fs::write(lab.path("series.csv"), &table).unwrap();
        lab.train("run", &[]).succeed();
        Trained::saved_outputs(lab, "run")
    };
    trained("").agrees();
    trained("patch = 2\nmix_channels = false\nfrom_last = true\nposition = \"sinusoidal\"").agrees();
    trained("position = \"alibi\"").agrees_with_numpy();
    trained("kernel = \"favor\"\npatch = 4").agrees_with_numpy();
}

/// Everything that stands around attention at once.
const SAN: &str = "norm = \"sandwich\"\nnorm_kind = \"zero_centred_rms\"\nqk_norm = \"zero_centred_rms\"\nresidual_gate = true\n\
    head_temperature = true\nvalue_residual = \"learned\"\nposition = \"rope\"\n\
    state_mixer = { ffn = { d_ffn = 5, activation = \"swiglu\" } }";

/// Parts that have no PyTorch module: those of attention, and pooling heads.
#[test]
fn parts_of_attention() {
    if !there_is("numpy") {
        return;
    }
    let model = |keys: &str| {
        format!("[model.transformer]\nd_model = 6\nn_layers = 2\nn_heads = 6\nd_head = 2\nn_kv_heads = 3\n{keys}\n")
    };
    for (task, keys) in [
        (PROMPTS, "position = \"rope\""),
        (WIDE_VECTORS, "position = { rope = { theta = 31.0 } }\ncausal = false"),
        (PROMPTS, "position = \"alibi\""),
        (PROMPTS, "position = \"kerple_log\""),
        (WIDE_VECTORS, "position = \"kerple_power\"\ncausal = false"),
        (PROMPTS, "position = { t5 = { buckets = 6, max_distance = 5 } }"),
        (WIDE_VECTORS, "position = { t5 = { buckets = 8, max_distance = 5 } }\ncausal = false"),
        (PROMPTS, "position = \"mep\""),
        (PROMPTS, "position = { mep = { window = \"official\" } }"),
        (PROMPTS, "position = { mep = { learned = {} } }"),
        (PROMPTS, "kernel = { favor = { n_features = 13, directions = \"iid\" } }"),
        (WIDE_VECTORS, "kernel = \"favor\"\nposition = \"rope\"\ncausal = false"),
        (PROMPTS, "kernel = { favor = { n_features = 7, features = \"relu\", epsilon = 0.1, redraw_every = 4 } }"),
        (PROMPTS, "kernel = { favor = { n_features = 97, features = \"trigonometric\" } }\nqk_norm = \"rms\""),
        (PROMPTS, "kernel = \"linear\""),
        (WIDE_VECTORS, "kernel = \"linear\"\ncausal = false"),
        (PROMPTS, "kernel = { combiner = { segment = 3 } }"),
        (WIDE_VECTORS, "kernel = { combiner = { blocks = \"logn\" } }\ncausal = false"),
        (PROMPTS, "kernel = { combiner = { blocks = \"axial\", segment = 3 } }"),
        (WIDE_VECTORS, "kernel = { combiner = { blocks = \"axial\", segment = 2 } }\ncausal = false"),
        (PROMPTS, "kernel = { combiner = { blocks = \"mixture\", segment = 3 } }"),
        (WIDE_VECTORS, "kernel = { combiner = { blocks = \"mixture\", segment = 2 } }\ncausal = false"),
        (PROMPTS, "kernel = { temperature = { temperature = 0.3 } }\nposition = \"alibi\""),
        (PROMPTS, "kernel = { window = { size = 3 } }"),
        (WIDE_VECTORS, "kernel = { window = { size = 2 } }\nposition = \"alibi\"\ncausal = false"),
        (PROMPTS, "kernel = { top_k = { k = 2 } }"),
        (WIDE_VECTORS, "kernel = \"sigmoid\"\nposition = \"alibi\"\ncausal = false"),
        (PROMPTS, "kernel = \"relu_over_n\""),
        (PROMPTS, "qk_norm = \"rms\"\ngate = \"sigmoid\"\nposition = \"rope\""),
        (PROMPTS, SAN),
        (PROMPTS, "norm_kind = \"rms\"\nnorm_epsilon = 1e-3\nqk_norm = \"rms\"\nvalue_residual = \"identity\""),
        (
            WIDE_VECTORS,
            "norm = \"sandwich\"\nvalue_residual = \"learned\"\nhead_temperature = true\nposition = \"alibi\"",
        ),
        (TOKENS, "tie_embedding = true\nnorm = \"none\"\nstate_mixer = { ffn = { d_ffn = 5, activation = \"relu\" } }"),
        (PROMPTS, "bias = false\ninitialization = \"gpt2\"\ngate = \"sigmoid\"\nposition = \"rope\""),
        (TOKENS, "bias = false\ntie_embedding = true\nstate_mixer = { ffn = { d_ffn = 5, activation = \"swiglu\" } }"),
        (PROMPTS, "token_weight = \"tfill\"\nposition = \"alibi\""),
        (WIDE_VECTORS, "token_weight = \"tfill\"\nattention_aware = 3\ncausal = false"),
        (WIDE_VECTORS, "pool = \"mean\"\ncausal = false"),
        (WIDE_VECTORS, "pool = { tensor = { features = 3, gamma = 0.7, time = 2 } }\ncausal = false"),
        (WIDE_VECTORS, "pool = { tensor = { order = 3, features = 2, gamma = 0.9, power = 0.9 } }\ncausal = false"),
    ] {
        Trained::new(task, &model(keys)).agrees_with_numpy();
    }
    let wider = model("position = { rope = { partial = 0.5 } }").replace("d_head = 2", "d_head = 4");
    Trained::new(PROMPTS, &wider).agrees_with_numpy();
    for keys in ["position = \"rope\"", "position = \"alibi\"", "position = \"t5\"", SAN] {
        for mode in ["finetune.prefix.length=3", "finetune.prompt.length=3"] {
            Trained::tuned(PROMPTS, &model(keys), mode).agrees_with_numpy();
        }
    }
    let aware = model("token_weight = \"tfill\"\nattention_aware = 2\ncausal = false");
    for mode in ["finetune.prefix.length=3", "finetune.prompt.length=3"] {
        Trained::tuned(WIDE_VECTORS, &aware, mode).agrees_with_numpy();
    }
}

#[test]
fn tokens() {
    let ffn = "state_mixer = { ffn = { d_ffn = 5, activation = \"gelu_tanh\" } }\n";
    compare(TOKENS, &format!("[model.transformer]\nd_model = 8\nn_layers = 2\nn_heads = 4\n{ffn}"));
}

#[test]
fn a_checkpoint_that_was_tampered_with_does_not_agree() {
    if !there_is("numpy") {
        return;
    }
    let trained = Trained::new(PROMPTS, "[model.transformer]\nd_model = 6\nn_layers = 1\nn_heads = 2\n");
    let path = trained.checkpoint().join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    // The sign of the file's last number.
    *bytes.last_mut().unwrap() ^= 0x80;
    fs::write(path, bytes).unwrap();
    let disagrees = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| trained.agrees_with_numpy()));
    assert!(disagrees.is_err(), "the comparison does not see a changed weight");
}

#[test]
fn the_scripts_pass_their_own_tests() {
    if there_is("numpy, torch, pandas") {
        let output = python().args(["-m", "unittest", "discover", "."]).output().unwrap();
        assert!(output.status.success() && !said(&output).contains("skipped"), "{}", said(&output));
    }
}
