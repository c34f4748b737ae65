//! `[task.language]` and `headway generate`: from texts to scores in bits per character, and back to text.

use std::{f64::consts::LN_2, fs, io::Write};

use flate2::{Compression, write::GzEncoder};
use headway_model::Kept;
use headway_trainer::{device::DeviceSpec, generate::Generator, predict::Predictor};
use serde_json::Value;

use crate::harness::Lab;

const EXPERIMENT: &str = "[task.language]\ntrain = [\"train.txt.gz\"]\nvalidation = [\"test.txt\"]\ntest = [\"test.txt\"]\nseq_len = 13\n\
    [model.transformer]\nd_model = 8\nn_layers = 1\nn_heads = 2\nposition = \"alibi\"\n\
    [train]\nsteps = 6\nbatch_size = 5\neval_every = 3\ncheckpoint_every = 3\n";

const BYTE_PAIRS: &[u8] = include_bytes!("../../crates/tasks/tests/it/fixtures/byte_pairs.json");
const SPACED_PAIRS: &[u8] = include_bytes!("../../crates/tasks/tests/it/fixtures/spaced_pairs.json");

/// Sentences of four words, without a pattern.
fn text(words: u64) -> String {
    (0..words).map(|at| ["one ", "two ", "three ", "four.\n"][(at * at * at % 1009 * 7 / 11 % 4) as usize]).collect()
}

fn packed(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn trained() -> Lab {
    trained_on("")
}

/// With some more keys of the task.
fn trained_on(more: &str) -> Lab {
    let lab = Lab::with(&EXPERIMENT.replace("seq_len = 13\n", &format!("seq_len = 13\n{more}")));
    lab.write("pairs.json", BYTE_PAIRS);
    lab.write("train.txt.gz", packed(&text(600)));
    lab.write("test.txt", text(60));
    lab.train("run", &[]).succeed();
    lab
}

fn generate(lab: &Lab, more: &[&str]) -> Value {
    let words = ["generate", "run", "--prompt", "one two three", "--length", "40", "--json", "--device", "cpu"];
    lab.headway(&[&words, more].concat()).succeed().json()
}

#[test]
fn scores_are_in_bits_per_character_beside_n_grams_and_a_changed_text_is_refused() {
    let lab = trained();
    let record: Value = serde_json::from_str(&lab.read("run/run.json")).unwrap();
    let rows = record["results"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["network", "n_gram_0", "n_gram_1", "n_gram_2", "n_gram_3", "n_gram_4", "n_gram_5"]);
    for row in rows {
        let score = |name: &str| row["metrics"][name].as_f64().unwrap();
        assert!((score("test/bits_per_character") * LN_2 - score("test/loss")).abs() < 1e-9, "{row}");
    }
    assert!(lab.read("run/metrics.jsonl").contains("bits_per_character"));
    // Windows of another length cover the same text, all of it.
    lab.headway(&["eval", "run", "--device", "cpu", "-s", "task.seq_len=50"]).succeed();
    lab.headway(&["eval", "run", "--device", "cpu", "-s", "data.fresh.test=900"])
        .fail(2, &["data.fresh.test: 900 examples, and language holds "]);
    // What was packed may be given unpacked: it is the same data, and the same run.
    lab.write("train.txt", text(600));
    lab.write("unpacked.toml", EXPERIMENT.replace(".txt.gz", ".txt"));
    lab.headway(&["train", "unpacked.toml", "--device", "cpu", "--out", "unpacked"]).succeed();
    let unpacked: Value = serde_json::from_str(&lab.read("unpacked/run.json")).unwrap();
    assert_eq!((&record["run_id"], &record["data_sha256"]), (&unpacked["run_id"], &unpacked["data_sha256"]));
    assert_eq!(
        fs::read(lab.path("run/metrics.jsonl")).unwrap().len(),
        fs::read(lab.path("unpacked/metrics.jsonl")).unwrap().len()
    );

    lab.train("stopped", &["--max-time", "0s"]).run();
    lab.write("test.txt", text(61));
    let digests = "holds other data than when it was first read: sha256 ";
    lab.resume("stopped").fail(3, &["error: task.language.validation: ", "test.txt", digests, ", and it was "]);
}

#[test]
fn a_text_is_continued_by_the_likeliest_token_without_its_files_and_the_same_seed_gives_the_same_text() {
    let lab = trained();
    fs::remove_file(lab.path("train.txt.gz")).unwrap();
    fs::remove_file(lab.path("test.txt")).unwrap();
    // Every token of a greedy text is the likeliest by the logits that `predict` gives, of the last 13 tokens.
    let greedy = generate(&lab, &["--temperature", "0"]);
    let device = DeviceSpec::Cpu.open().unwrap().0;
    let predictor = Predictor::load(&lab.path("run"), None, &device).unwrap();
    let characters: Vec<char> = "\n .efhnortuw".chars().collect();
    let tokens = format!("one two three{}", greedy["text"].as_str().unwrap());
    let tokens: Vec<usize> = tokens.chars().map(|c| characters.iter().position(|other| *other == c).unwrap()).collect();
    assert_eq!(tokens.len(), 13 + 40);
    for at in 13..tokens.len() {
        let window = serde_json::to_vec(&tokens[at - 13..at]).unwrap();
        let answer = serde_json::to_value(predictor.json(&window, "window").unwrap()).unwrap();
        assert_eq!(
            answer["classes"].as_array().unwrap().last().unwrap().as_u64().unwrap() as usize,
            tokens[at],
            "{at}"
        );
    }
    // A prompt that is shorter than a window is read as it is.
    let generator = Generator::load(&lab.path("run"), &device).unwrap();
    let answer = serde_json::to_value(predictor.json(b"[7, 5, 3]", "prompt").unwrap()).unwrap();
    let logits: Vec<f64> = serde_json::from_value(answer["outputs"][2].clone()).unwrap();
    assert!(generator.logits(&[7, 5, 3]).unwrap().iter().zip(&logits).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5));

    // While all fits into a window, only what is new is read.
    let mut kept = Kept::default();
    for len in [5, 6, 7, 11, 13] {
        let tokens: Vec<u32> = tokens[..len].iter().map(|token| *token as u32).collect();
        let (next, whole) = (generator.next_logits(&tokens, &mut kept).unwrap(), generator.logits(&tokens).unwrap());
        assert!(next.iter().zip(&whole).all(|(a, b)| (a - b).abs() < 1e-5), "{next:?} {whole:?}");
        assert_eq!(kept.positions(), len);
    }
    let beyond: Vec<u32> = tokens[..14].iter().map(|token| *token as u32).collect();
    assert_eq!(generator.next_logits(&beyond, &mut kept).unwrap(), generator.logits(&beyond).unwrap());

    let [first, again, other] = ["3", "3", "4"].map(|seed| generate(&lab, &["--seed", seed]));
    assert_eq!(first["text"], again["text"]);
    assert_ne!(first["text"], other["text"]);
    let one = generate(&lab, &["--top-k", "1", "--temperature", "5"]);
    assert_eq!(one["text"], greedy["text"]);
    // Without --json it is printed behind its prompt.
    let words = ["generate", "run", "--prompt", "one two three", "--length", "40", "--seed", "3", "--device", "cpu"];
    let printed = lab.headway(&words).succeed().stdout;
    assert_eq!(printed, format!("one two three{}\n", first["text"].as_str().unwrap()));
}

#[test]
fn byte_pairs_go_with_the_network_and_another_tokenizer_is_refused() {
    let lab = trained_on("tokens = { tokenizer = \"pairs.json\" }\n");
    let record: Value = serde_json::from_str(&lab.read("run/run.json")).unwrap();
    for row in record["results"].as_array().unwrap() {
        let score = |name: &str| row["metrics"][name].as_f64().unwrap();
        // Fewer bits per character than nats per token: most tokens are several characters.
        let characters = score("test/loss") / (LN_2 * score("test/bits_per_character"));
        assert!(characters > 1.1 && characters < 6.0, "{row}");
    }
    lab.train("stopped", &["--max-time", "0s"]).run();
    lab.write("pairs.json", SPACED_PAIRS);
    let digests = "pairs.json holds other data than when it was first read: sha256 ";
    lab.resume("stopped").fail(3, &["error: task.language.tokens: ", digests, ", and it was "]);

    fs::remove_file(lab.path("pairs.json")).unwrap();
    let written = generate(&lab, &["--seed", "3"]);
    assert!(written["text"].as_str().unwrap().chars().count() > 10);
    lab.headway(&["analyze", "patterns", "run", "--sequence", "0", "--out", "patterns", "--device", "cpu"]).succeed();
    let page = lab.read("patterns/report.html");
    assert!(page.contains(">␣t<"), "names of tokens");
    // An experiment needs the file, whose lack is told once.
    let missing =
        lab.headway(&["check", "experiment.toml"]).fail(2, &["task.language.tokens: ", "pairs.json: No such"]);
    assert!(!missing.stderr.contains("was not read"), "{}", missing.stderr);
    // What was put in its place by hand is noticed, as anything in a checkpoint is.
    let checkpoint = fs::read_dir(lab.path("run/checkpoints")).unwrap().next().unwrap().unwrap().path();
    fs::write(checkpoint.join("tokenizer.json"), SPACED_PAIRS).unwrap();
    let at = checkpoint.to_str().unwrap();
    let damaged = ["tokenizer.json: does not match its digest in MANIFEST"];
    lab.headway(&["generate", at, "--prompt", "one", "--device", "cpu"]).fail(3, &damaged);
}

/// Texts lie beside the experiment, which a study runs in other folders and goes on with from its own.
#[test]
fn a_comparison_finds_the_texts_and_makes_sizes_equal_by_their_vocabulary() {
    let lab = trained_on("tokens = { tokenizer = \"pairs.json\" }\n");
    fs::create_dir(lab.path("studies")).unwrap();
    let study = "title = \"t\"\nquestion = \"q\"\nseeds = { first = 0, count = 2 }\nmatch = [\"parameters\"]\n\
        reference = \"plain\"\nlearning_rates = [1e-3]\n[[tasks]]\nname = \"text\"\nexperiment = \"../experiment.toml\"\n\
        metric = \"test/bits_per_character\"\nset = { train.steps = 2, train.eval_every = 1, train.checkpoint_every = 0 }\n\
        [[rows]]\nname = \"plain\"\n[[rows]]\nname = \"wide\"\nset = { model.d_model = 4, model.n_heads = 1, \
        model.state_mixer = { ffn = { d_ffn = 3 } } }\nfree = \"model.state_mixer.ffn.d_ffn\"\n";
    lab.write("studies/compare.toml", study);
    lab.headway(&["compare", "studies/compare.toml", "--device", "cpu", "--out", "compared", "--jobs", "1"]).succeed();
    assert!(lab.read("compared/results.csv").contains("n_gram_5"));
    let again = lab.headway(&["compare", "compared", "--device", "cpu", "--seeds", "0,1,2", "--jobs", "1"]);
    again.succeed();
}

#[test]
fn what_cannot_be_continued_is_refused_with_the_reason() {
    let lab = trained();
    let with = |run: &str, prompt: &str, more: &[&str]| {
        lab.headway(&[&["generate", run, "--prompt", prompt, "--device", "cpu"], more].concat())
    };
    with("run", "", &[]).fail(2, &["--prompt: is empty"]);
    with("run", "one\nTwo", &[]).fail(2, &["--prompt: line 2, column 1: 'T' is in no training text"]);
    with("nowhere", "one", &[]).fail(3, &["nowhere: does not exist"]);
    with("run", "one", &["--temperature", "-1"]).fail(2, &["--temperature"]);
    with("run", "one", &["--top-p", "0"]).fail(2, &["--top-p"]);
    lab.write("copy.toml", "[task.copy]\n[model.transformer]\nd_model = 4\nn_heads = 1\n[train]\nsteps = 1\n");
    lab.headway(&["train", "copy.toml", "--device", "cpu", "--out", "copy"]).succeed();
    with("copy", "one", &[]).fail(2, &["copy was trained on the task copy, which has no text"]);
    lab.headway(&["check", "copy.toml", "-s", "data=whole"]).fail(2, &["data.whole: copy holds no fixed validation"]);
}
