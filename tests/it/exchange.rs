//! Weights from and for other programs: imported networks compute what they computed in the other program, exported
//! ones compute there what they compute here, and what cannot be imported is refused with advice.
//!
//! Tests that compare with PyTorch need a Python that has it, like those of `python_reference.rs`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use burn::tensor::{Int, Tensor, TensorData};
use headway_exchange::names::{CONVENTIONS, FORMATS};
use headway_model::{
    Input,
    weights::{self, Array, to_host},
};
use headway_testkit::{devices, worst};
use headway_trainer::{device::DeviceSpec, evaluate};
use safetensors::SafeTensors;

use crate::harness::{Lab, python, there_is};

const TOKENS: &str = "[task.copy]\nvocab = 6\nn_data = 4\n";
const VECTORS: &str = "[task.truncated_linear]\nseq_len = 7\nd_in = 5\nlow = -1.0\nhigh = 1.0\n";
const PROMPTS: &str = "[task.icl_linear]\nd = 3\nn_points = 5\n";
const DATA: &str = "[data.fresh]\nvalidation = 1\ntest = 6\n";

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A network of `python/foreign_models.py`, and how a user would import it.
struct Foreign {
    name: &'static str,
    task: &'static str,
    model: &'static str,
    words: &'static [&'static str],
    /// Expected messages, each on its own line.
    said: &'static [&'static str],
}

const FOREIGN: [Foreign; 12] = [
    Foreign {
        name: "encoder",
        task: VECTORS,
        model: "[model.transformer]\nd_model = 6\nn_layers = 2\nn_heads = 3\ncausal = false\nstate_mixer = { ffn = { d_ffn = 11, activation = \"relu\" } }\n",
        words: &[
            "--format",
            "pytorch",
            "--given",
            "norm_first=true",
            "--rename",
            "read=embed",
            "--rename",
            "pos=position.weight",
            "--rename",
            "write=head",
        ],
        said: &[
            "named as torch_encoder",
            "told by --given: norm_first = true",
            "n_heads = 3 is the experiment's",
            "causal = false is the experiment's",
            "activation: the experiment says it; that of an encoder layer is relu",
        ],
    },
    Foreign {
        name: "encoder_attention_only",
        task: TOKENS,
        model: "[model.transformer]\nd_model = 6\nn_layers = 2\nn_heads = 2\n",
        words: &["--format", "pytorch", "--given", "norm_first=True"],
        said: &["zero: the file has no bias here: 12", "norms are layer norms and no RMSNorm"],
    },
    Foreign {
        name: "bare_attention",
        task: VECTORS,
        model: "[model.transformer]\nd_model = 6\nn_layers = 2\nn_heads = 3\ncausal = false\nnorm = \"none\"\nposition = \"none\"\n",
        words: &["--format", "pytorch"],
        said: &["named as torch_attention"],
    },
    Foreign {
        name: "hugging_face",
        task: TOKENS,
        model: "[model.transformer]\nd_model = 8\nn_layers = 2\nn_heads = 4\nstate_mixer = { ffn = { d_ffn = 32, activation = \"gelu_tanh\" } }\n",
        words: &["--cut-positions"],
        said: &[
            "below `model_state_dict`",
            "beside it, not taken: 2",
            "[in, out]",
            "no weights: 4",
            "the first of 16 rows",
        ],
    },
    Foreign {
        name: "nano_gpt",
        task: TOKENS,
        model: "[model.transformer]\nd_model = 6\nn_layers = 2\nn_heads = 2\n",
        words: &["--format", "pytorch"],
        said: &["[out, in]", "`_orig_mod.` before every name"],
    },
    Foreign {
        name: "in_context",
        task: PROMPTS,
        model: "[model.transformer]\nd_model = 8\nn_layers = 2\nn_heads = 2\nstate_mixer = { ffn = { d_ffn = 32, activation = \"gelu_tanh\" } }\n",
        words: &["--format", "pytorch", "--cut-positions"],
        said: &["named as in_context_gpt2", "_backbone.wte.weight", "the first of 10 rows"],
    },
    Foreign {
        name: "llama",
        task: TOKENS,
        model: "[model.transformer]\nd_model = 8\nn_layers = 2\nn_heads = 4\nn_kv_heads = 2\nnorm_kind = \"rms\"\nnorm_epsilon = 1e-5\n\
                position = { rope = { theta = 31.0 } }\ntie_embedding = true\n\
                state_mixer = { ffn = { d_ffn = 11, activation = \"swiglu\" } }\n",
        words: &["--given", "rope_theta=31", "--given", "rms_norm_eps=1e-5"],
        said: &[
            "named as llama",
            "`model.` before every name",
            "the head is the embedding",
            "told by --given: rope_theta = 31",
        ],
    },
    Foreign {
        name: "llama_partial",
        task: TOKENS,
        model: "[model.transformer]\nd_model = 8\nn_layers = 2\nn_heads = 2\nn_kv_heads = 1\nd_head = 8\nnorm_kind = \"rms\"\n\
                norm_epsilon = 1e-5\nposition = { rope = { theta = 31.0, partial = 0.5 } }\ntie_embedding = true\n\
                state_mixer = { ffn = { d_ffn = 11, activation = \"swiglu\" } }\n",
        words: &["--given", "rope_theta=31", "--given", "rms_norm_eps=1e-5", "--given", "partial_rotary_factor=0.5"],
        said: &["named as llama", "told by --given: partial_rotary_factor = 0.5"],
    },
    Foreign {
        name: "qwen3",
        task: TOKENS,
        model: "[model.transformer]\nd_model = 8\nn_layers = 2\nn_heads = 3\nn_kv_heads = 1\nd_head = 6\nnorm_kind = \"rms\"\n\
                qk_norm = \"rms\"\nposition = { rope = { theta = 31.0 } }\n\
                state_mixer = { ffn = { d_ffn = 11, activation = \"swiglu\" } }\n",
        words: &["--format", "pytorch"],
        said: &["named as llama", "zero: the file has no bias here: 7", "norms add 1e-6 to the mean square"],
    },
    Foreign {
        name: "hooked_transformer",
        task: TOKENS,
        model: "[model.transformer]\nd_model = 6\nn_layers = 2\nn_heads = 3\n",
        words: &["--format", "transformer-lens"],
        said: &[
            "no weights: 4",
            "one: the file's norms have no parameters: 3",
            "norm = \"pre\" is the experiment's: the file has no weights of norms",
        ],
    },
    Foreign {
        name: "paper_one_layer",
        task: VECTORS,
        model: "[model.paper_one_layer]\nd_model = 6\nn_heads = 2\nn_anchors = 4\n",
        words: &["--format", "pytorch"],
        said: &["below `state_dict`"],
    },
    Foreign {
        name: "paper_two_layer",
        task: VECTORS,
        model: "[model.paper_two_layer]\nd_model = 6\nn_heads = 3\nn_anchors = 0\n",
        words: &["--format", "pytorch"],
        said: &["named as paper_two_layer"],
    },
];

impl Foreign {
    fn named(name: &str) -> &'static Self {
        FOREIGN.iter().find(|foreign| foreign.name == name).unwrap()
    }

    /// Imports a file of this network, and returns the messages.
    fn import(&self, lab: &Lab, file: &Path, out: &str) -> String {
        lab.write("experiment.toml", format!("{}{}{DATA}", self.task, self.model));
        let file = file.to_str().unwrap();
        let words = [&["import", file, "--experiment", "experiment.toml", "--out", out], self.words].concat();
        lab.headway(&words).succeed().stdout
    }
}

/// The files of every network.
fn foreign_files(lab: &Lab) -> PathBuf {
    let folder = lab.path("foreign");
    fs::create_dir(&folder).unwrap();
    let output = python().arg("foreign_models.py").arg("make").arg(&folder).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    folder
}

/// Headway's inputs and outputs of a checkpoint, in `OUT-saved`.
fn save_outputs(lab: &Lab, checkpoint: &str) -> [PathBuf; 2] {
    let saved = format!("{checkpoint}-saved");
    lab.headway(&["eval", checkpoint, "--device", "cpu", "--save-outputs", &saved]).succeed();
    ["inputs", "outputs"].map(|name| lab.path(&format!("{saved}/{name}.safetensors")))
}

fn manifest_holds(folder: &Path) {
    let mut check = Command::new("sha256sum");
    let check = check.args(["--check", "--strict", "--quiet", "MANIFEST"]).current_dir(folder).output().unwrap();
    assert!(check.status.success(), "{}: {check:?}", folder.display());
}

#[test]
fn what_pytorch_saved_computes_the_same_here() {
    if !there_is("numpy, torch") {
        return;
    }
    let lab = Lab::new();
    let files = foreign_files(&lab);
    let mut check = python();
    check.args(["foreign_models.py", "check"]);
    for foreign in &FOREIGN {
        for form in ["pt", "legacy.pt"] {
            let out = format!("{}-{form}", foreign.name);
            let heard = foreign.import(&lab, &files.join(format!("{}.{form}", foreign.name)), &out);
            for text in foreign.said {
                assert!(heard.contains(text), "{}: `{text}` is not in {heard}", foreign.name);
            }
            let container = if form == "pt" { "PyTorch zip" } else { "PyTorch legacy" };
            assert!(heard.contains(container), "{heard}");
            manifest_holds(&lab.path(&out));
            check.arg(foreign.name).args(save_outputs(&lab, &out));
        }
    }
    let output = check.output().unwrap();
    println!("{}", said(&output));
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&output).matches("ok  ").count(), 2 * FOREIGN.len(), "{}", said(&output));
    // What is imported is an ordinary checkpoint.
    lab.write(
        "experiment.toml",
        format!("{TOKENS}{}{DATA}[train]\nsteps = 2\neval_every = 0\n", Foreign::named("hooked_transformer").model),
    );
    lab.headway(&[
        "finetune",
        "experiment.toml",
        "--from",
        "hooked_transformer-pt",
        "--out",
        "tuned",
        "--device",
        "cpu",
    ])
    .succeed();
    lab.headway(&["analyze", "rank", "hooked_transformer-pt", "--out", "rank"]).succeed();
    // A module that was saved completely shows the place of its norms and its number of heads.
    let shown = lab.headway(&["import", "foreign/whole_module.pt"]).succeed().stdout;
    assert!(shown.contains("told by the file: norm_first = true") && shown.contains("n_heads = 3"), "{shown}");
    let shown = lab.headway(&["import", "foreign/averaged.pt"]).succeed().stdout;
    assert!(shown.contains("below `model`"), "{shown}");
    assert!(shown.contains("`ema` has tensors of the same names and shapes; --key ema takes those"), "{shown}");
    let shown = lab.headway(&["import", "foreign/averaged.pt", "--key", "ema"]).succeed().stdout;
    assert!(!shown.contains("--key"), "{shown}");
    let hugging_face = Foreign::named("hugging_face");
    let heard = hugging_face.import(&lab, &files.join("hugging_face"), "folder");
    assert!(heard.contains("told by config.json: n_head = 4"), "{heard}");
    let weights = |folder: &str| fs::read(lab.path(folder).join("model.safetensors")).unwrap();
    assert!(weights("folder") == weights("hugging_face-pt"), "other weights");
    for name in ["llama", "llama_partial", "qwen3"] {
        let foreign = Foreign::named(name);
        foreign.import(&lab, &files.join(name), &format!("{name}-folder"));
        assert!(weights(&format!("{name}-folder")) == weights(&format!("{name}-pt")), "{name}: other weights");
    }
    // What config.json says is compared, and is what the table without an experiment shows.
    let llama = Foreign::named("llama");
    let set = |key: &str, value: &str| llama.model.replacen(&format!("{key} ="), &format!("{key} = {value} #"), 1);
    for (model, told) in [
        (set("n_kv_heads", "4"), "num_key_value_heads = 2: n_kv_heads is 2, in the experiment 4"),
        (set("norm_epsilon", "1e-6"), "rms_norm_eps = 0.00001: norm_epsilon is 1e-5, in the experiment 1e-6"),
        (llama.model.replace("31.0", "30.0"), "position.rope.theta is 31, in the experiment 30"),
        (set("position", "\"learned\""), "-s model.position=rope"),
        (
            llama.model.replace("norm_kind = \"rms\"\nnorm_epsilon = 1e-5\n", ""),
            "norm_kind is rms, in the experiment layer",
        ),
    ] {
        lab.write("experiment.toml", format!("{}{model}{DATA}", llama.task));
        lab.headway(&["import", "foreign/llama", "--experiment", "experiment.toml", "--out", "no"]).fail(3, &[told]);
    }
    let partial = Foreign::named("llama_partial");
    let whole = partial.model.replace(", partial = 0.5", "");
    lab.write("experiment.toml", format!("{}{whole}{DATA}", partial.task));
    lab.headway(&["import", "foreign/llama_partial", "--experiment", "experiment.toml", "--out", "no"])
        .fail(3, &["position.rope.partial is 0.5, in the experiment 1"]);
    let shown = lab.headway(&["import", "foreign/llama_partial"]).succeed().stdout;
    assert!(shown.contains("rope = { theta = 31, partial = 0.5 }"), "{shown}");
    let shown = lab.headway(&["import", "foreign/llama"]).succeed().stdout;
    for line in [
        "n_kv_heads = 2",
        "norm_kind = \"rms\"",
        "norm_epsilon = 1e-5",
        "theta = 31 }",
        "tie_embedding = true",
        "bias = false",
        "\"swiglu\"",
    ] {
        assert!(shown.contains(line), "{line} is not in {shown}");
    }
}

/// Networks of Llama's kind, exported and read by PyTorch, and imported again: the block as Llama has it; one with norms of queries and keys,
/// zero-centred gains, gated layers and nothing but attention; one with temperatures and biases; one without biases and with a head of its own.
#[test]
fn networks_of_llamas_kind_are_exported() {
    if !there_is("numpy, torch") {
        return;
    }
    let train = "[train]\nsteps = 5\nbatch_size = 4\neval_every = 0\n[optimizer.adam]\nlearning_rate = 0.05\n";
    let swiglu = "state_mixer = { ffn = { d_ffn = 5, activation = \"swiglu\" } }\n";
    let tied = "position = \"rope\"\ntie_embedding = true\n";
    let cases = [
        ("llama", format!("{tied}norm_kind = \"rms\"\nnorm_epsilon = 1e-5\nn_kv_heads = 2\n{swiglu}"), true),
        (
            "qwen3",
            format!(
                "{tied}norm_kind = \"zero_centred_rms\"\nqk_norm = \"zero_centred_rms\"\nresidual_gate = true\nd_head = 4\n"
            ),
            false,
        ),
        ("llama", format!("{tied}norm_kind = \"rms\"\nhead_temperature = true\n{swiglu}"), false),
        (
            "qwen3",
            format!("{}norm_kind = \"rms\"\nqk_norm = \"rms\"\nbias = false\n{swiglu}", tied.replace("true", "false")),
            true,
        ),
    ];
    let mut check = python();
    check.args(["foreign_models.py", "hugging-face"]);
    let lab = Lab::new();
    for (at, (kind, keys, comes_back)) in cases.iter().enumerate() {
        let [experiment, run, out, back] = ["experiment.toml", "run", "out", "back"].map(|part| format!("{at}-{part}"));
        let model = format!("[model.transformer]\nd_model = 8\nn_layers = 2\nn_heads = 4\n{keys}");
        lab.write(&experiment, format!("{TOKENS}{DATA}{model}{train}"));
        lab.headway(&["train", &experiment, "--out", &run, "--device", "cpu"]).succeed();
        let checkpoint = format!("{run}/checkpoints/step-00000005");
        lab.headway(&["export", &run, "--format", "hugging-face", "--out", &out]).succeed();
        let config = fs::read_to_string(lab.path(&out).join("config.json")).unwrap();
        assert!(config.contains(&format!("\"model_type\": \"{kind}\"")), "{config}");
        check.arg(lab.path(&out)).args(save_outputs(&lab, &checkpoint));
        if *comes_back {
            lab.headway(&["import", &out, "--experiment", &experiment, "--out", &back]).succeed();
            let weights = |folder: &str| fs::read(lab.path(folder).join("model.safetensors")).unwrap();
            assert!(weights(&back) == weights(&checkpoint), "other weights");
        }
    }
    let output = check.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&output).matches("ok  ").count(), cases.len(), "{}", said(&output));
    for (set, told) in [
        ("model.norm=sandwich", "place of norms"),
        ("model.value_residual=learned", "value_residual"),
        ("model.tie_embedding=false", "a bias of the head"),
    ] {
        lab.headway(&["train", "0-experiment.toml", "--out", "other", "--device", "cpu", "-s", set]).succeed();
        lab.headway(&["export", "other", "--format", "hugging-face", "--out", "no"]).fail(3, &[told]);
        fs::remove_dir_all(lab.path("other")).unwrap();
    }
}

/// A trained model in every format, each read by PyTorch or numpy instead of Headway.
#[test]
fn what_was_exported_computes_the_same_there() {
    if !there_is("numpy, torch") {
        return;
    }
    let train = "[train]\nsteps = 5\nbatch_size = 4\neval_every = 0\n[optimizer.adam]\nlearning_rate = 0.05\n";
    for (task, model) in [
        (TOKENS, "[model.transformer]\nd_model = 6\nn_layers = 2\nn_heads = 3\n"),
        (VECTORS, "[model.paper_two_layer]\nd_model = 6\nn_heads = 3\nn_anchors = 2\n"),
    ] {
        let lab = Lab::with(&format!("{task}{model}{DATA}{train}"));
        lab.train("run", &[]).succeed();
        let checkpoint = "run/checkpoints/step-00000005";
        let [inputs, outputs] = save_outputs(&lab, checkpoint);
        let formats =
            [("safetensors", "weights.safetensors"), ("pytorch-state-dict", "weights.pt"), ("npz", "weights.npz")];
        let mut check = python();
        check.args(["foreign_models.py", "exported"]).arg(lab.path(checkpoint));
        for (format, file) in formats {
            lab.headway(&["export", "run", "--format", format, "--out", file]).succeed();
            check.arg(lab.path(file));
            // Imported again: the same weights, to the last bit.
            let back = format!("back-{format}");
            let words = ["import", file, "--format", "headway", "--experiment", "experiment.toml", "--out", &back];
            lab.headway(&words).succeed();
            let weights = |folder: &str| fs::read(lab.path(folder).join("model.safetensors")).unwrap();
            assert!(weights(&back) == weights(checkpoint), "{format}: other weights");
            lab.headway(&["export", "run", "--format", format, "--out", file]).fail(2, &["is there already"]);
        }
        let output = check.arg("--inputs").arg(&inputs).arg("--outputs").arg(&outputs).output().unwrap();
        println!("{}", said(&output));
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(said(&output).matches("ok  ").count(), formats.len(), "{}", said(&output));
    }
}

#[test]
fn names_of_transformer_lens_come_back() {
    let lab = Lab::with(&format!(
        "{TOKENS}{DATA}[model.transformer]\nd_model = 6\nn_layers = 2\nn_heads = 3\nstate_mixer = {{ ffn = {{ d_ffn = 5 }} }}\n\
         [train]\nsteps = 1\neval_every = 0\n"
    ));
    lab.train("run", &[]).succeed();
    let export = ["export", "run", "--format", "safetensors", "--names", "transformer-lens", "--out", "tl.safetensors"];
    lab.headway(&export).succeed();
    let bytes = fs::read(lab.path("tl.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.tensor("blocks.1.attn.W_Q").unwrap().shape(), [3, 6, 2]);
    assert_eq!(file.tensor("blocks.0.mlp.W_in").unwrap().shape(), [6, 5]);
    lab.headway(&["import", "tl.safetensors", "--experiment", "experiment.toml", "--out", "back"]).succeed();
    let weights = |folder: &str| fs::read(lab.path(folder).join("model.safetensors")).unwrap();
    assert!(weights("back") == weights("run/checkpoints/step-00000001"), "other weights");
    let lab = Lab::with(&format!("{VECTORS}{DATA}[model.paper_one_layer]\n[train]\nsteps = 1\neval_every = 0\n"));
    lab.train("run", &[]).succeed();
    lab.headway(&export).fail(3, &["has no name in other programs"]);
}

/// The tensors of a safetensors file that are float32 or int64.
fn tensors(path: &Path) -> BTreeMap<String, Array> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let array = |view: &safetensors::tensor::TensorView<'_>| {
        let values = match view.dtype() {
            safetensors::Dtype::I64 => {
                view.data().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b) as f32).collect()
            }
            _ => view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        };
        Array { shape: view.shape().to_vec(), values }
    };
    file.iter().map(|(name, view)| (name.to_owned(), array(&view))).collect()
}

fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Deviation of an imported checkpoint from logits beside their tokens.
fn deviation(lab: &Lab, checkpoint: &str, logits: &str) -> f64 {
    let device = DeviceSpec::Cpu.open().unwrap().0;
    let (model, _, _) = evaluate::load(&lab.path(checkpoint), &[], &device).unwrap();
    let all = tensors(Path::new(&fixture(logits)));
    let ids: Vec<i32> = all["tokens"].values.iter().map(|id| *id as i32).collect();
    let shape: [usize; 2] = all["tokens"].shape.clone().try_into().unwrap();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, shape), &device.device);
    let worst = worst(checkpoint, &to_host(model.forward(Input::Tokens(ids))), &all["logits"].values).unwrap();
    println!("{checkpoint}: {worst:?}");
    worst.deviation
}

/// Files written by transformers, TransformerLens and PyTorch themselves (`python/foreign_programs.py fixtures`), with
/// logits of the networks that wrote them.
#[test]
fn files_of_the_programs_themselves_are_read() {
    let lab = Lab::new();
    let sizes = "[model.transformer]\nd_model = 6\nn_layers = 2\nn_heads = 3\n";
    let ffn = |activation: &str| format!("state_mixer = {{ ffn = {{ d_ffn = 24, activation = \"{activation}\" }} }}\n");
    lab.write("attention.toml", format!("{TOKENS}{DATA}{sizes}"));
    lab.write("gpt2.toml", format!("{TOKENS}{DATA}{sizes}{}", ffn("gelu_tanh")));
    lab.write("erf.toml", format!("{TOKENS}{DATA}{sizes}{}", ffn("gelu_erf")));
    let tolerance = devices()[0].tolerance;
    for (file, experiment, out, logits) in [
        ("gpt2_folder", "gpt2.toml", "folder", "gpt2"),
        ("bridge_of_gpt2.pt", "gpt2.toml", "booted", "gpt2"),
        ("bridge.pt", "attention.toml", "native", "bridge"),
        ("no_check_sums.pt", "attention.toml", "no_sums", "bridge"),
    ] {
        let file = fixture(&format!("programs/{file}"));
        lab.headway(&["import", &file, "--experiment", experiment, "--out", out]).succeed();
        let deviation = deviation(&lab, out, &format!("programs/{logits}_logits.safetensors"));
        assert!(deviation <= tolerance, "{file}: {deviation}");
    }
    // What config.json says about the network is compared with the experiment.
    let folder = fixture("programs/gpt2_folder");
    let refused = |experiment: &str, words: &[&str], texts: &[&str]| {
        let import = ["import", &folder, "--experiment", experiment, "--out", "no"];
        lab.headway(&[import.as_slice(), words].concat()).fail(3, texts);
    };
    refused("gpt2.toml", &["-s", "model.n_heads=2"], &["config.json: n_head = 3", "-s model.n_heads=3"]);
    refused("erf.toml", &[], &["activation_function = gelu_new", "-s model.state_mixer.ffn.activation=gelu_tanh"]);
    // A part of the folder that is missing or is not what the index says.
    fs::create_dir(lab.path("cut")).unwrap();
    for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), lab.path("cut").join(entry.file_name())).unwrap();
    }
    let [second, third] = [2, 3].map(|part| lab.path("cut").join(format!("model-0000{part}-of-00003.safetensors")));
    fs::copy(&second, &third).unwrap();
    lab.headway(&["import", "cut"]).fail(3, &["does not list"]);
    fs::remove_file(&third).unwrap();
    lab.headway(&["import", "cut"]).fail(3, &["lists model-00003-of-00003.safetensors, which is missing"]);
    for (file, text) in [
        ("sparse.pt", ".to_dense()"),
        ("quantized.pt", ".dequantize()"),
        ("float8.pt", ".float()"),
        ("tensor.pt", "holds one `torch.Tensor`"),
    ] {
        lab.headway(&["import", &fixture(&format!("programs/{file}"))]).fail(3, &[text]);
    }
}

/// nn.TransformerEncoder places norms after attention by default: such a file is not read as if they came before.
#[test]
fn norms_that_stand_behind_are_not_read_as_before() {
    let lab = Lab::with(&format!(
        "{VECTORS}{DATA}[model.transformer]\nd_model = 4\nn_layers = 1\nn_heads = 2\ncausal = false\n\
         state_mixer = {{ ffn = {{ d_ffn = 5, activation = \"relu\" }} }}\n"
    ));
    for (file, words, text) in [
        ("post_norm.pt", &[][..], "--given norm_first=true"),
        ("post_norm.pt", &["--given", "norm_first=false"], "behind attention"),
        ("post_norm_module.pt", &[], "the file: norm_first = false"),
    ] {
        let file = fixture(&format!("programs/{file}"));
        let import = ["import", &file, "--experiment", "experiment.toml", "--out", "in"];
        lab.headway(&[import.as_slice(), words].concat()).fail(3, &[text]);
    }
}

/// Files that were once misread, or not read at all.
#[test]
fn wrapped_and_unusual_files_are_read_as_what_they_are() {
    let lab = Lab::new();
    let case = |name: &str| fixture(&format!("cases/{name}"));
    let import = |file: &str, experiment: &str, out: &str, words: &[&str]| {
        let all = ["import", &case(file), "--experiment", &case(experiment), "--out", out].map(str::to_owned);
        let all: Vec<&str> = all.iter().map(String::as_str).chain(words.iter().copied()).collect();
        lab.headway(&all)
    };
    let weights = |folder: &str| tensors(&lab.path(folder).join("model.safetensors"));
    let heard = import("06_prefix_model.ckpt", "q.toml", "prefix", &[]).succeed().stdout;
    assert!(heard.contains("`model.` before every name is a wrapper's"), "{heard}");
    let named = headway_exchange::read(Path::new(&case("06_prefix_model.ckpt")), Some("state_dict.model")).unwrap();
    assert!(weights("prefix") == named.tensors, "other weights");
    import("06_prefix_model.ckpt", "q.toml", "by_key", &["--key", "state_dict.model"]).succeed();
    assert!(weights("by_key") == named.tensors, "other weights");
    // A separate head, inside a wrapper or not.
    import("07_gpt_plain.pt", "gpt.toml", "plain", &[]).succeed();
    import("07_gpt_in_wrapper.ckpt", "gpt.toml", "wrapped", &[]).succeed();
    assert!(weights("wrapped") == weights("plain"), "other weights");
    assert!(weights("plain")["head.weight"] != weights("plain")["embed.weight"]);
    // A gain without an offset is an RMSNorm, whether or not the rest fits.
    import("08_tl_rms.pt", "tl.toml", "rms", &[]).fail(3, &["ln1.w", "RMSNorm"]);
    let heard = import("09_tl_mask.npz", "tl.toml", "mask", &[]).succeed().stdout;
    assert!(heard.contains("no weights: 2 (blocks.0.attn.IGNORE, blocks.0.attn.mask)"), "{heard}");
    lab.headway(&["import", &case("11_torchscript.pt")]).fail(3, &["TorchScript", "torch.jit.load(FILE).state_dict()"]);
    // Names below a key that was not given.
    let array = |shape: &[usize]| Array { shape: shape.to_vec(), values: vec![0.25; shape.iter().product()] };
    let deep = [("a.student.blocks.0.attn.W_Q", array(&[1, 2, 2])), ("a.teacher.weight", array(&[2]))];
    lab.write("deep", weights::arrays_to_bytes(&deep.map(|(name, array)| (name.to_owned(), array)).into()).unwrap());
    let shown = lab.headway(&["import", "deep"]).succeed().stdout;
    assert!(shown.contains("--key a.student"), "{shown}");
    // Without weights of norms, nothing is known about norms.
    let bare = [("blocks.0.attn.W_Q", array(&[1, 2, 2]))];
    lab.write("bare", weights::arrays_to_bytes(&bare.map(|(name, array)| (name.to_owned(), array)).into()).unwrap());
    let shown = lab.headway(&["import", "bare"]).succeed().stdout;
    assert!(!shown.contains("norm =") && shown.contains("tensors do not show: norm, causal"), "{shown}");
}

/// A folder for Hugging Face and a file for TransformerBridge, imported again; `python/foreign_programs.py` checks what
/// those programs compute with both.
#[test]
fn folders_and_bridges_come_back() {
    let lab = Lab::with(&format!(
        "{TOKENS}{DATA}[model.transformer]\nd_model = 8\nn_layers = 2\nn_heads = 2\n\
         state_mixer = {{ ffn = {{ d_ffn = 5, activation = \"relu\" }} }}\n\
         [train]\nsteps = 3\nbatch_size = 2\neval_every = 0\n[optimizer.adam]\nlearning_rate = 0.05\n"
    ));
    lab.train("run", &[]).succeed();
    let checkpoint = "run/checkpoints/step-00000003";
    lab.headway(&["export", "run", "--format", "hugging-face", "--out", "hf"]).succeed();
    lab.headway(&["export", "run", "--format", "hugging-face", "--out", "hf"]).fail(2, &["hf is there already"]);
    lab.headway(&["import", "hf", "--experiment", "experiment.toml", "--out", "back"]).succeed();
    // The bias of the head is merged into the final norm: the same outputs from other weights.
    let [ours, theirs] =
        [checkpoint, "back"].map(|folder| tensors(&save_outputs(&lab, folder)[1]).into_values().next().unwrap());
    let back = worst("back", &theirs.values, &ours.values).unwrap();
    assert!(back.deviation <= 1e-5, "{back:?}");
    assert!(tensors(&lab.path("back/model.safetensors"))["head.bias"].values.iter().all(|bias| *bias == 0.0));
    let bridge =
        ["export", "run", "--format", "pytorch-state-dict", "--names", "transformer-bridge", "--out", "bridge.pt"];
    let said = lab.headway(&bridge).succeed().stdout;
    assert!(said.contains("n_heads=2") && said.contains("d_mlp=5, act_fn=\"relu\""), "{said}");
    lab.headway(&["import", "bridge.pt", "--experiment", "experiment.toml", "--out", "bridge"]).succeed();
    let weights = |folder: &str| fs::read(lab.path(folder).join("model.safetensors")).unwrap();
    assert!(weights("bridge") == weights(checkpoint), "other weights");
    // GPT-2's head has no bias: with a vocabulary larger than the width it cannot be merged.
    lab.train("narrow", &["-s", "model.d_model=4"]).succeed();
    lab.headway(&["export", "narrow", "--format", "hugging-face", "--out", "no"])
        .fail(3, &["bias", "d_out = 7, d_model = 4"]);
    // With a single symbol no answer is visible.
    lab.train("open", &["-s", "model.causal=false", "-s", "task.copy.n_data=1"]).succeed();
    lab.headway(&["export", "open", "--format", "hugging-face", "--out", "no"]).fail(3, &["causal"]);
    lab.train("plain", &["-s", "model.residual=false"]).succeed();
    lab.headway(&["export", "plain", "--format", "npz", "--names", "transformer-lens", "--out", "no"])
        .fail(3, &["residual"]);
    assert!(!lab.path("no").exists());
}

/// The fixtures contain weights under TransformerLens's names below `w`, tokens, and their logits.
#[test]
fn fixtures_of_transformer_lens_give_their_logits() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let tolerance = devices()[0].tolerance;
    for (name, norm) in [("transformer_lens_ln", "pre"), ("transformer_lens_noln", "none")] {
        let path = fixtures.join(format!("{name}.safetensors"));
        // Its 11 positions are one more than the task has; the last is left out, and causal models do not see it.
        let lab = Lab::with(&format!(
            "[task.copy]\nvocab = 22\nn_data = 5\n[model.transformer]\nd_model = 15\nn_layers = 2\nn_heads = 3\nnorm = \"{norm}\"\n"
        ));
        let import = |more: &[&str]| {
            let words =
                ["import", path.to_str().unwrap(), "--key", "w", "--experiment", "experiment.toml", "--out", "in"];
            lab.headway(&[words.as_slice(), &["--format", "transformer-lens"], more].concat())
        };
        import(&[]).fail(3, &["position.weight", "[10, 15]", "[11, 15]", "--cut-positions takes the first rows"]);
        import(&["--cut-positions"]).succeed();
        let device = DeviceSpec::Cpu.open().unwrap().0;
        let (model, _, _) = evaluate::load(&lab.path("in"), &[], &device).unwrap();
        let all = tensors(&path);
        let (tokens, logits) = (&all["tokens"], &all["logits"]);
        let [batch, rows, vocab] = [tokens.shape[0], tokens.shape[1], logits.shape[2]];
        let first = |values: &[f32], width: usize| -> Vec<f32> {
            values.chunks(rows * width).flat_map(|one| one[..(rows - 1) * width].to_vec()).collect()
        };
        let ids: Vec<i32> = first(&tokens.values, 1).into_iter().map(|id| id as i32).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [batch, rows - 1]), &device.device);
        let found = to_host(model.forward(Input::Tokens(ids)));
        let worst = worst(name, &found, &first(&logits.values, vocab)).unwrap();
        assert!(worst.deviation <= tolerance, "{name}: {worst:?}");
        println!("{name}: {worst:?}");
    }
}

/// A file of a small HookedTransformer, with some tensors of other shapes (`Some`) or removed (`None`).
fn hooked(changes: &[(&str, Option<&[usize]>)]) -> Vec<u8> {
    let array = |shape: &[usize]| Array { shape: shape.to_vec(), values: vec![0.25; shape.iter().product()] };
    let mut arrays: BTreeMap<&str, Array> = BTreeMap::from([
        ("embed.W_E", array(&[7, 6])),
        ("pos_embed.W_pos", array(&[8, 6])),
        ("blocks.0.attn.W_Q", array(&[3, 6, 2])),
        ("blocks.0.attn.W_K", array(&[3, 6, 2])),
        ("blocks.0.attn.W_V", array(&[3, 6, 2])),
        ("blocks.0.attn.W_O", array(&[3, 2, 6])),
        ("unembed.W_U", array(&[6, 7])),
    ]);
    for (name, shape) in changes {
        match shape {
            Some(shape) => drop(arrays.insert(name, array(shape))),
            None => drop(arrays.remove(name)),
        }
    }
    let arrays = arrays.into_iter().map(|(name, array)| (name.to_owned(), array)).collect();
    weights::arrays_to_bytes(&arrays).unwrap()
}

/// Files that contain weights but cannot be imported as requested.
#[test]
fn what_does_not_fit_is_refused_with_what_to_do() {
    let lab = Lab::with(&format!("{TOKENS}{DATA}[model.transformer]\nd_model = 6\nn_layers = 1\nn_heads = 3\n"));
    let write = |name: &str, changes: &[(&str, Option<&[usize]>)]| lab.write(name, hooked(changes));
    write("sound", &[]);
    write("heads", &[("blocks.0.attn.W_Q", Some(&[2, 6, 3]))]);
    write("axes", &[("blocks.0.attn.W_K", Some(&[6, 6]))]);
    write("width", &[("embed.W_E", Some(&[9, 6]))]);
    write("layer", &[("blocks.1.attn.W_Q", Some(&[3, 6, 2]))]);
    write("unknown", &[("blocks.0.attn.rotary_sin", Some(&[4])), ("extra", Some(&[1]))]);
    write("in_block", &[("blocks.0.attn.temperature", Some(&[1]))]);
    write("missing", &[("unembed.W_U", None)]);
    write("nothing_known", &[("blocks.0.attn.W_Q", None)]);
    let mut infinite = hooked(&[]);
    let last = infinite.len() - 4;
    infinite[last..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    lab.write("infinite", infinite);
    lab.write("text", "no weights");
    let config = ["--experiment", "experiment.toml", "--out", "in"];
    for (file, words, code, texts) in [
        ("nowhere", &[][..], 3, &["nowhere", "No such file"][..]),
        (".", &[], 3, &["is a folder without model.safetensors"]),
        ("text", &[], 3, &["no file of tensors", "torch.save"]),
        ("infinite", &[], 3, &["head.weight holds numbers that are not finite"]),
        ("heads", &[], 3, &["n_heads is 2, in the experiment 3", "-s model.n_heads=2"]),
        ("axes", &[], 3, &["`blocks.0.attn.W_K` has shape [6, 6]", "[n_heads, d_model, d_head]"]),
        ("width", &[], 3, &["embed.weight", "[7, 6]", "[9, 6]", "headway import FILE"]),
        ("layer", &[], 3, &["blocks.1.attention.query.weight nothing a tensor"]),
        ("unknown", &[], 3, &["blocks.0.attn.rotary_sin: rotary positions", "extra", "--allow-extra"]),
        ("unknown", &["--allow-extra"], 3, &["blocks.0.attn.rotary_sin", "changes what the network computes"]),
        ("in_block", &["--allow-extra"], 3, &["blocks.0.attn.temperature", "changes what the network computes"]),
        ("layer", &["--allow-extra"], 3, &["blocks.1.attention.query.weight nothing a tensor"]),
        (
            "sound",
            &["--given", "positional_embedding_type=rotary"],
            3,
            &["positions act inside attention", "no model here"],
        ),
        ("sound", &["--given", "attn_scores_soft_cap=30"], 3, &["capped"]),
        ("sound", &["--given", "attn_scale=4"], 3, &["sqrt(d_head) = 1.4142"]),
        ("sound", &["--given", "eps=1e-12"], 3, &["1e-12", "1e-5"]),
        ("sound", &["--given", "attention_dir=bidirectional"], 3, &["causal is false", "-s model.causal=false"]),
        ("sound", &["--given", "normalization_type=RMSPre"], 3, &["no layer norms"]),
        ("sound", &["--given", "n_headz=3"], 2, &["nothing is known of `n_headz`", "n_heads"]),
        ("missing", &[], 3, &["head.weight a parameter nothing"]),
        ("nothing_known", &[], 3, &["no convention", "--rename"]),
        ("sound", &["--format", "pytorch"], 3, &["no convention", "nn.TransformerEncoder"]),
        ("sound", &["--format", "keras"], 2, &["pytorch, transformer-lens, headway"]),
        ("sound", &["--rename", "a"], 2, &["OLD=NEW"]),
        ("sound", &["--rename", "tok=embed"], 3, &["--rename tok=embed: no tensor is called that", "embed.W_E"]),
        ("sound", &["--rename", "unembed=embed"], 0, &[]),
        ("sound", &["--rename", "unembed.W_U=embed.W_E"], 3, &["there is a `embed.W_E` already"]),
        ("sound", &["--key", "model"], 3, &["no tensors below `model`", "blocks"]),
        ("sound", &["-s", "model.n_heads=0"], 2, &["n_heads"]),
        ("sound", &["--unset", "model.n_headz"], 2, &["--unset model.n_headz", "does not set it"]),
    ] {
        // A file that is not refused for what it says is refused because the model then lacks weights.
        let code = if code == 0 { 3 } else { code };
        lab.headway(&[&["import", file], config.as_slice(), words].concat()).fail(code, texts);
        assert!(!lab.path("in").exists(), "{file} {words:?} left a folder");
    }
    lab.headway(&["import", "sound", "--experiment", "experiment.toml"]).fail(2, &["--out"]);
    lab.headway(&["import", "sound", "--allow-extra"]).fail(2, &["--experiment"]);
}

/// The program's own configuration beside a file is compared with the experiment, and facts that are stated nowhere are
/// listed.
#[test]
fn what_other_programs_tell_is_compared() {
    let lab = Lab::with(&format!("{TOKENS}{DATA}[model.transformer]\nd_model = 6\nn_layers = 1\nn_heads = 3\n"));
    lab.write("beside", hooked(&[("extra", Some(&[1]))]));
    let config = ["--experiment", "experiment.toml", "--out", "in"];
    let beside = |json: &str| {
        lab.write("cfg.json", json);
        lab.headway(&[&["import", "beside", "--allow-extra"], config.as_slice()].concat())
    };
    beside(r#"{"n_heads": 3, "use_local_attn": true}"#)
        .fail(3, &["cfg.json: use_local_attn = true", "--given use_local_attn="]);
    beside(r#"{"normalization_type": null}"#).fail(3, &["cfg.json", "norm is none, in the experiment pre"]);
    beside("{").fail(3, &["cfg.json beside it that is no JSON"]);
    let heard =
        beside(r#"{"attention_dir": "causal", "eps": 1e-5, "rotary_dim": null, "n_layers": 9}"#).succeed().stdout;
    for text in [
        "left out: 1 (extra)",
        "told by cfg.json: attention_dir = causal",
        "taken for granted: scores are divided by sqrt(d_head)",
        "taken for granted: scores are divided by no layer's number",
        "taken for granted: neither scores nor logits are capped",
        "taken for granted: positions are added to the embedding alone (not as shortformer does)",
        "taken for granted: each position sees all before it: attention is not local",
    ] {
        assert!(heard.contains(text), "`{text}` is not in {heard}");
    }
    assert!(!heard.contains("causal = true is the experiment's") && !heard.contains("norms add"), "{heard}");
    lab.headway(&[&["import", "beside"], config.as_slice()].concat()).fail(2, &["in is not empty"]);
    lab.headway(&["eval", "in", "--device", "cpu"]).succeed();
    let import: serde_json::Value = serde_json::from_str(&lab.read("in/import.json")).unwrap();
    assert_eq!(import["left_out"], serde_json::json!(["extra"]));
    assert_eq!(import["convention"], "transformer_lens");
    let sha256 = Command::new("sha256sum").arg(lab.path("beside")).output().unwrap();
    assert!(String::from_utf8(sha256.stdout).unwrap().starts_with(import["sha256"].as_str().unwrap()));
}

/// Without an experiment a file is described: its content, the program of its names, and the table to write.
#[test]
fn a_file_is_shown_without_an_experiment() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/transformer_lens_ln.safetensors");
    let lab = Lab::new();
    let words = ["import", fixtures.to_str().unwrap(), "--key", "w"];
    let heard = lab.headway(&words).succeed().stdout;
    for text in [
        "blocks.0.attn.W_Q",
        "[3, 15, 5]",
        "named as transformer_lens",
        "[model.transformer]\nd_model = 15\nn_layers = 2\nn_heads = 3\nnorm = \"pre\"\nposition = \"learned\"\n",
        "tensors do not show: causal, residual, kernel",
        "the task must have: seq_len = 11, vocab = 23, d_out = 23",
    ] {
        assert!(heard.contains(text), "`{text}` is not in {heard}");
    }
    let json = lab.headway(&[words.as_slice(), &["--json"]].concat()).succeed().json();
    assert_eq!(json["convention"], "transformer_lens");
    assert_eq!(json["tensors"]["embed.W_E"], serde_json::json!([23, 15]));
    assert_eq!(fs::read_dir(lab.path("")).unwrap().count(), 0, "nothing is written");
}

/// The page about formats has a row for every convention and every format.
#[test]
fn the_page_knows_every_convention() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/exchange.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with('|')).collect();
    for convention in CONVENTIONS {
        let format = FORMATS.iter().find(|(_, format)| *format == convention.format).unwrap().0;
        let is_row =
            |row: &&&str| row.contains(&format!("`{}`", convention.name)) && row.contains(&format!("`{format}`"));
        assert_eq!(rows.iter().filter(is_row).count(), 1, "{} of {format}", convention.name);
    }
}

/// A pickle that would write a file if any of it were called.
#[test]
fn code_in_a_checkpoint_is_not_run() {
    let lab = Lab::new();
    let victim = lab.path("victim");
    let shell = format!("touch {}", victim.display());
    let mut pickle = b"\x80\x02cposix\nsystem\nX".to_vec();
    pickle.extend((shell.len() as u32).to_le_bytes());
    pickle.extend(shell.as_bytes());
    pickle.extend(b"\x85R.");
    lab.write("evil.pt", &pickle);
    lab.headway(&["import", "evil.pt"]).fail(3, &["evil.pt"]);
    assert!(!victim.exists(), "it was run");
    // The file is really malicious: Python executes it.
    if there_is("pickle") {
        let output = python()
            .args(["-c", "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'))"])
            .arg(lab.path("evil.pt"))
            .output();
        assert!(output.unwrap().status.success() && victim.exists(), "the file is harmless, so the test shows nothing");
    }
}

#[test]
fn a_card_says_what_is_known() {
    let lab = Lab::with(&format!(
        "{PROMPTS}[data.fresh]\nvalidation = 2\ntest = 40\n[model.transformer]\nd_model = 8\nn_layers = 1\nn_heads = 2\n\
         [train]\nsteps = 3\nbatch_size = 4\neval_every = 0\n"
    ));
    for seed in ["0", "1", "2"] {
        lab.train(&format!("run-{seed}"), &["--seed", seed]).succeed();
    }
    let card = lab.headway(&["card", "run-1", "--device", "cpu"]).succeed().stdout;
    for text in [
        "# transformer on icl_linear",
        "linear regression in context",
        "n_points = 5",
        "3 of 3 steps of 4 examples, seed 1",
        "learning_rate",
        "over 40 test examples",
        "| network |",
        "| least_squares |",
        "trained from random weights",
        "One seed: the numbers describe this file",
        "headway_reference.load(\"run-1/checkpoints/step-00000003\")",
    ] {
        assert!(card.contains(text), "`{text}` is not in {card}");
    }
    // The mean is that of `eval`, and lies in its interval.
    let eval = lab.headway(&["eval", "run-1", "--device", "cpu", "--json"]).succeed().json();
    let [mean, low, high] = network_cell(&card);
    let wanted = eval["metrics"]["test/loss"].as_f64().unwrap();
    assert!((mean - wanted).abs() < 1e-3 * wanted, "{mean} on the card, {wanted} by eval");
    assert!(low < mean && mean < high, "{low} {mean} {high}");
    let card = lab.headway(&["card", "run-0", "run-1", "run-2", "--device", "cpu", "--out", "README.md"]).succeed();
    assert!(card.stdout.contains("README.md"));
    let card = lab.read("README.md");
    assert!(card.contains("means over 3 seeds") && card.contains("seeds 0, 1, 2"), "{card}");
    let [over_seeds, ..] = network_cell(&card);
    let losses = ["run-0", "run-1", "run-2"].map(|run| {
        let record: serde_json::Value = serde_json::from_str(&lab.read(&format!("{run}/run.json"))).unwrap();
        record["results"][0]["metrics"]["test/loss"].as_f64().unwrap()
    });
    let wanted = losses.iter().sum::<f64>() / 3.0;
    assert!((over_seeds - wanted).abs() < 1e-3 * wanted, "{over_seeds} on the card, {wanted} by run.json");
    lab.headway(&["card", "run-0", "--out", "README.md"]).fail(2, &["README.md is there already"]);
    lab.headway(&["card", "run-0", "run-0"]).fail(2, &["same seed"]);
    lab.headway(&["card", "nowhere"]).fail(3, &["nowhere"]);
    lab.write(
        "experiment.toml",
        format!("{TOKENS}[model.transformer]\nd_model = 6\nn_heads = 3\n[train]\nsteps = 1\neval_every = 0\n"),
    );
    lab.train("other", &[]).succeed();
    lab.headway(&["card", "run-0", "other"]).fail(2, &["different experiments"]);
    // Constructed weights come with their bound.
    lab.headway(&["construct", "truncated-linear", "--tolerance", "0.5", "--out", "clamp", "--device", "cpu"])
        .succeed();
    let card = lab.headway(&["card", "clamp", "--device", "cpu"]).succeed().stdout;
    assert!(card.contains("constructed as") && card.contains("error at most"), "{card}");
}

/// Mean and interval of the network's loss on a card.
fn network_cell(card: &str) -> [f64; 3] {
    let header = card.lines().find(|line| line.starts_with("| |")).unwrap();
    let column = header.split('|').position(|cell| cell.trim() == "test/loss").unwrap();
    let row = card.lines().find(|line| line.starts_with("| network |")).unwrap();
    let cell = row.split('|').nth(column).unwrap();
    let numbers: Vec<f64> = cell.split(['[', ',', ']']).filter_map(|number| number.trim().parse().ok()).collect();
    numbers.try_into().unwrap_or_else(|_| panic!("no mean and interval in `{cell}`"))
}
