//! `headway predict`: what a network answers, in the units of its data.

use std::{fs, io::Write, path::Path, process::Stdio};

use headway_exchange::npz;
use headway_model::weights::{Array, arrays_from_bytes};
use headway_trainer::{device::DeviceSpec, evaluate, predict::Predictor};
use serde_json::Value;

use crate::harness::{Lab, packed};

const EXPERIMENT: &str = "[task.file]\npath = \"data.csv\"\ninputs = [\"a\", \"b\"]\ntargets = [\"y\"]\nshuffle = false\n\
    [model.transformer]\nd_model = 8\nn_layers = 1\nn_heads = 2\n[train]\nsteps = 4\nbatch_size = 8\n";

/// 40 examples of 3 positions; targets of the size 1000, at every position or at the last alone.
fn table(all: bool) -> String {
    let line = |at: u32| {
        let (a, b) = (f64::from(at * 7 % 11), f64::from(at * 5 % 13) / 10.0);
        let y = if all || at % 3 == 2 { (1000.0 + 200.0 * a - 300.0 * b).to_string() } else { String::new() };
        format!("{},{a},{b},{y}\n", at / 3)
    };
    "example,a,b,y\n".to_owned() + &(0..120).map(line).collect::<String>()
}

/// Numbers of a column, those that are there.
fn column(table: &str, name: &str) -> Vec<f32> {
    let at = table.lines().next().unwrap().split(',').position(|other| other == name).unwrap();
    let cells = table.lines().skip(1).map(|line| line.split(',').nth(at).unwrap());
    cells.filter(|cell| !cell.is_empty()).map(|cell| cell.parse().unwrap()).collect()
}

fn npy(array: &Array) -> Vec<u8> {
    [npz::header(&array.shape).unwrap(), npz::bytes_of(&array.values)].concat()
}

fn predict(lab: &Lab, inputs: &str, out: &str, more: &[&str]) {
    let words = ["predict", "run", "--device", "cpu", "--inputs", inputs, "--out", out];
    lab.headway(&[&words, more].concat()).succeed();
}

/// The mean squared error of the answers on the test set is that which `eval` says, whatever the form of the file and the batch.
#[test]
fn answers_are_those_that_are_scored_in_every_form_and_batch() {
    for all in [true, false] {
        let lab = Lab::with(EXPERIMENT);
        let text = table(all);
        lab.write("data.csv", &text);
        lab.train("run", &[]).succeed();
        predict(&lab, "data.csv", "out.csv", &[]);
        let answered = lab.read("out.csv");
        lab.write("packed.csv.gz", packed(&text));
        predict(&lab, "packed.csv.gz", "unpacked.csv", &[]);
        assert!(lab.read("unpacked.csv") == answered);
        // The same lines, with empty cells where the data has none.
        assert_eq!(answered.lines().count(), 121);
        let (answers, targets) = (column(&answered, "y"), column(&text, "y"));
        assert_eq!((answers.len(), column(&answered, "example").len()), (targets.len(), 120));
        // In the order of the file the last tenth is the test.
        let test = 9 * targets.len() / 10..targets.len();
        let square = |at: usize| (f64::from(answers[at]) - f64::from(targets[at])).powi(2);
        let mse = test.clone().map(square).sum::<f64>() / test.len() as f64;
        let scored = lab.headway(&["eval", "run", "--device", "cpu", "--json"]).succeed().json();
        let scored = scored["metrics"]["test/mse"].as_f64().unwrap();
        assert!((mse / scored - 1.0).abs() < 1e-5, "{mse} of the answers, {scored} scored");

        let inputs = column(&text, "a").into_iter().zip(column(&text, "b")).flat_map(|(a, b)| [a, b]).collect();
        let inputs = Array { shape: vec![40, 3, 2], values: inputs };
        lab.write("in.npy", npy(&inputs));
        lab.write("in.npz", npz::write(&[("inputs".to_owned(), inputs)].into()).unwrap());
        predict(&lab, "in.npy", "out.npy", &[]);
        predict(&lab, "in.npz", "out.npz", &[]);
        let shape = if all { vec![40, 3, 1] } else { vec![40, 1] };
        let outputs = Array { shape, values: answers };
        assert_eq!(npz::read_npy(&fs::read(lab.path("out.npy")).unwrap()).as_ref(), Ok(&outputs));
        assert_eq!(npz::read(&fs::read(lab.path("out.npz")).unwrap()).unwrap()["outputs"], outputs);
        for size in ["1", "7"] {
            let out = format!("batch-{size}.npy");
            predict(&lab, "in.npy", &out, &["--batch-size", size]);
            assert!(fs::read(lab.path(&out)).unwrap() == fs::read(lab.path("out.npy")).unwrap(), "batches of {size}");
        }
    }
}

/// A scaled number in the units of its data.
fn in_units(value: f32, [mean, deviation]: [f64; 2]) -> f64 {
    f64::from(value) * deviation + mean
}

/// Every checkpoint that ships answers what `eval --save-outputs` writes.
#[test]
fn every_shipped_checkpoint_answers_as_it_is_evaluated() {
    let lab = Lab::new();
    let device = DeviceSpec::Cpu.open().unwrap().0;
    let mut count = 0;
    for folder in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints")).unwrap() {
        let folder = folder.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        let name = folder.file_name().unwrap().to_str().unwrap();
        let saved = lab.path(name);
        evaluate::save_outputs(&folder, &[], &device, &saved).unwrap();
        let read = |name: &str| {
            let bytes = fs::read(saved.join(format!("{name}.safetensors"))).unwrap();
            arrays_from_bytes(&bytes).unwrap().remove(name).unwrap()
        };
        let (mut inputs, outputs) = (read("inputs"), read("outputs"));
        let config: Value = serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap();
        let scale = |of: &str| serde_json::from_value::<Vec<[f64; 2]>>(config["scale"][of].clone()).unwrap_or_default();
        let (of_inputs, of_targets) = (scale("inputs"), scale("targets"));
        if !of_inputs.is_empty() {
            let of_inputs = of_inputs.iter().cycle();
            inputs.values.iter_mut().zip(of_inputs).for_each(|(value, scale)| *value = in_units(*value, *scale) as f32);
        }
        let (from, to) = (lab.write(&format!("{name}.npy"), npy(&inputs)), lab.path(&format!("{name}-out.npy")));
        let n = Predictor::load(&folder, None, &device).unwrap().file(&from, &to, &mut |_, _| ()).unwrap();
        let answers = npz::read_npy(&fs::read(to).unwrap()).unwrap();
        assert_eq!((n, answers.shape[0]), (inputs.shape[0], inputs.shape[0]), "{name}");
        count += 1;
        let width = outputs.shape[2];
        if of_targets.is_empty() {
            assert_eq!(answers.shape[1], inputs.shape[1], "{name}");
            // The paper's networks give more channels than are asked for.
            let d_out = answers.shape[2];
            let asked: Vec<f32> = outputs.values.chunks(width).flat_map(|row| &row[..d_out]).copied().collect();
            assert!(answers.values == asked, "{name}");
            continue;
        }
        // A forecast: the answers at the last position, which count from the last value of each series.
        let (positions, channels) = (inputs.shape[1], inputs.shape[2]);
        assert_eq!(answers.shape[1..], [width / channels, channels], "{name}");
        let ends = outputs.values.chunks(positions * width).map(|all| &all[all.len() - width..]);
        let lasts = inputs.values.chunks(positions * channels).map(|all| &all[all.len() - channels..]);
        for ((ahead, end), last) in answers.values.chunks(width).zip(ends).zip(lasts) {
            for (at, (answer, output)) in ahead.iter().zip(end).enumerate() {
                let expected = in_units(*output, of_targets[at]) + f64::from(last[at % channels]);
                // Inputs are rounded to f32 in their units and scaled once more: 6e-5 of a pressure of 1,016 with deviation 7.
                let off = (f64::from(*answer) - expected).abs() / of_targets[at][1];
                assert!(off < 2e-4, "{name}: {answer} instead of {expected}");
            }
        }
    }
    assert_eq!(count, 8);
}

/// `headway predict RUN --json` with this on standard input.
fn answer(lab: &Lab, run: &str, example: &str) -> (i32, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_headway"));
    command.args(["predict", run, "--json", "--device", "cpu"]).current_dir(lab.path(""));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(example.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn one_example_is_answered_as_json_and_classes_have_their_probability() {
    let lab = Lab::with(
        "[task.file]\npath = \"data.csv\"\ninputs = [\"word\"]\ntargets = [\"label\"]\ntokens = 9\nclasses = true\n\
         [model.transformer]\nd_model = 8\nn_layers = 1\nn_heads = 2\n[train]\nsteps = 2\nbatch_size = 4\n",
    );
    let line =
        |at: u32| format!("{},{},{}\n", at / 2, at % 7, if at % 2 == 1 { (at % 3).to_string() } else { String::new() });
    lab.write("data.csv", "example,word,label\n".to_owned() + &(0..40).map(line).collect::<String>());
    lab.train("run", &[]).succeed();
    let found = lab.read("run/experiment.toml");
    assert!(found.contains("vocab = 9") && found.contains("d_out = 3"), "{found}");
    let (code, text) = answer(&lab, "run", "[3, 8]");
    let parsed: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{code}: {text}"));
    let logits: Vec<f64> = parsed["outputs"].as_array().unwrap().iter().map(|logit| logit.as_f64().unwrap()).collect();
    let class = parsed["classes"].as_u64().unwrap() as usize;
    let probability = logits[class].exp() / logits.iter().map(|logit| logit.exp()).sum::<f64>();
    assert!(logits.len() == 3 && logits.iter().all(|logit| *logit <= logits[class]), "{text}");
    assert!((parsed["probabilities"].as_f64().unwrap() - probability).abs() < 1e-6, "{text}");
    // The same in a table, in which the sequence has its class at the last line.
    lab.write("in.csv", "word,example\n3,x\n8,x\n");
    predict(&lab, "in.csv", "out.csv", &[]);
    let out = lab.read("out.csv");
    assert!(out.starts_with(&format!("example,label,probability\nx,,\nx,{class},0.")), "{out}");
    for (example, problem) in [
        ("[3, 9]", "inputs[1] is 9, no token: this network knows the whole numbers from 0 to 8"),
        ("[3, 1, 2]", "inputs [3]; this network takes one example of tokens below 9, [seq_len] with seq_len 1 to 2"),
        ("{}", "give one example, an array of tokens"),
        ("[3,", "EOF while parsing"),
    ] {
        let (code, text) = answer(&lab, "run", example);
        assert!(code == 2 && text.starts_with("error: standard input: ") && text.contains(problem), "{code}: {text}");
    }
}

#[test]
fn inputs_that_it_does_not_take_are_refused_with_their_place() {
    let lab = Lab::with(EXPERIMENT);
    lab.write("data.csv", table(true));
    lab.train("run", &[]).succeed();
    let refuse = |inputs: &str, out: &str, problem: &str| {
        let words = ["predict", "run", "--device", "cpu", "--inputs", inputs, "--out", out];
        lab.headway(&words).fail(2, &[problem]);
        assert!(!lab.path(out).exists() || out == "data.csv", "{out} was written");
    };
    for (text, problem) in [
        ("example,a,b\n1,1,2\n1,x,2\n", "in.csv: line 3, column `a`: `x` is no number"),
        ("example,a,b\n1,1,nan\n", "line 2, column `b`: `nan` is no number"),
        ("example,a,c\n1,1,2\n", "has no column `b`; there are: example, a, c"),
        ("a,b\n1,2\n", "has no column `example`, which says which lines are the 3 positions of one example"),
        ("example,a,b\nn,1,2\nn,1,2\nn,1,2\nn,1,2\n", "example n has more than 3 positions"),
        ("example,a,b\nn,1,2\nm,1,2\n\nn,1,2\n", "line 5: example n comes a second time; put its lines together"),
    ] {
        lab.write("in.csv", text);
        refuse("in.csv", "out.csv", problem);
    }
    let mut array = Array { shape: vec![5, 3, 2], values: vec![0.5; 30] };
    array.values[27] = f32::NAN;
    lab.write("in.npy", npy(&array));
    refuse("in.npy", "out.npy", "in.npy: inputs[4, 1, 1] is NaN, no number to compute with");
    lab.write("in.npy", npy(&Array { shape: vec![3, 5, 2], values: vec![0.5; 30] }));
    refuse("in.npy", "out.npy", "inputs [3, 5, 2]; this network takes [n, seq_len, 2] with seq_len 1 to 3");
    array.values[27] = 3e38;
    lab.write("in.npy", npy(&array));
    refuse("in.npy", "out.npy", "in.npy: example 4: the network's answer is not finite, and its weights are");
    lab.write("in.csv", "example,a,b\nm,1,2\nn,1,3e38\n");
    refuse("in.csv", "out.csv", "in.csv: example n: the network's answer is not finite");
    lab.write("in.npy", &npy(&array)[..150]);
    refuse("in.npy", "out.npy", "holds 5 numbers, its shape asks for 30");
    refuse("in.npy", "out.npz", "so end the name in .npy");
    refuse("in.csv.gz", "out.csv.gz", "answers have the same form and are not packed, so end the name in .csv");
    lab.write("in.csv.gz", "example,a,b\nm,1,2\n");
    refuse("in.csv.gz", "out.csv", "in.csv.gz: no sound .gz file (");
    refuse("in.npy.gz", "out.npy", "the name ends in none of .csv");
    refuse("in.txt", "out.txt", "the name ends in none of .csv, .npy, .npz and .fasta");
    refuse("missing.npy", "out.npy", "cannot read missing.npy");
    refuse("in.csv", "data.csv", "data.csv is there already; choose another file with --out");
    assert!(lab.read("data.csv") == table(true));
}
