//! Known kinds of malicious files. Each is refused, with a message that says why.

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{KINDS, Kind, alone, fault, forge, kinds, outcome, workplace};

fn kind(name: &str) -> &'static Kind {
    KINDS.iter().find(|kind| kind.name == name).unwrap()
}

/// The first example of a kind whose file contains a text must be refused with certain words after its file is changed.
fn refused(name: &str, which: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>, words: &str) {
    let kind = kind(name);
    let contains =
        |example: &kinds::Example| String::from_utf8_lossy(&example.files[example.changed].1).contains(which);
    let mut example = (kind.examples)().into_iter().find(contains).unwrap();
    let bytes = change(std::mem::take(&mut example.files[example.changed].1));
    let what = String::from_utf8_lossy(&bytes).chars().take(200).collect::<String>();
    example.files[example.changed].1 = bytes;
    forge(&mut example.files);
    let outcome = outcome(kind, &example.files);
    let said = match &outcome {
        Ok(outcome) => outcome.result.as_ref().err().map(ToString::to_string).unwrap_or_default(),
        Err(panic) => panic.clone(),
    };
    let start: String = said.chars().take(600).collect();
    assert_eq!(fault(outcome), None, "{name}: {what}: {start}");
    assert!(said.contains(words), "{name}: {what}: said {start:?}, wanted {words:?}");
}

/// A file with its own content must be refused.
fn text_refused(name: &str, text: impl Into<Vec<u8>>, words: &str) {
    let text = text.into();
    refused(name, "", |_| text, words);
}

/// A checkpoint's config with one value of its experiment changed, also in the copies beside it, must be refused.
fn config_refused(model: &str, key: &str, value: Value, words: &str) {
    let change = |bytes: Vec<u8>| {
        let mut config: Value = serde_json::from_slice(&bytes).unwrap();
        *config.pointer_mut(&format!("/experiment/{key}")).unwrap() = value;
        let text = config.to_string().into_bytes();
        kinds::agreeing(&text).unwrap_or(text)
    };
    refused("config", &format!("\"{model}\""), change, words);
}

#[test]
fn models_far_larger_than_the_weights_beside_them() {
    let _alone = alone();
    let fits = "the weights do not fit the model";
    config_refused("transformer", "model/transformer/d_model", json!(1_000_000), fits);
    config_refused("transformer", "model/transformer/n_layers", json!(2000), fits);
    config_refused(
        "transformer",
        "model/transformer/n_layers",
        json!(1_000_000_000_000_u64),
        "n_layers: must be from 1 to",
    );
    config_refused("transformer", "model/transformer/d_model", json!(i64::MAX), "d_model: must be at most");
    config_refused(
        "transformer",
        "model/transformer/state_mixer",
        json!({ "ffn": { "d_ffn": i64::MAX } }),
        "d_ffn: must be",
    );
    config_refused("transformer", "model/transformer/state_mixer", json!({ "ffn": { "d_ffn": 1_000_000 } }), fits);
    config_refused("paper_one_layer", "model/paper_one_layer/n_anchors", json!(1_000_000), fits);
    config_refused("paper_one_layer", "model/paper_one_layer/n_anchors", json!(i64::MAX), "n_anchors: must be at most");
    config_refused("paper_two_layer", "model/paper_two_layer/d_model", json!(1 << 20), fits);
    config_refused("paper_set_keys", "model/paper_set_keys/n_anchors", json!(1_000_000), fits);
    config_refused("attention_stack", "model/attention_stack/layers/0/width", json!(1_000_000), fits);
    config_refused("attention_stack", "model/attention_stack/layers/0/heads/0/count", json!(1_000_000), fits);
    config_refused("sinusoidal", "task/icl_linear/n_points", json!(i64::MAX), "are too many");
    config_refused("transformer", "task/icl_linear/d", json!(i64::MAX), "are too many");
    config_refused("transformer", "task/icl_linear/n_points", json!(1_u64 << 40), "are too many");
}

#[test]
fn configs_that_disagree_with_themselves() {
    let _alone = alone();
    let change =
        |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replacen("\"n_heads\": 2", "\"n_heads\": 3", 1).into_bytes();
    refused("config", "\"n_heads\": 2", change, "not those of the experiment");
}

#[test]
fn headers_that_promise_more_than_the_file_holds() {
    let _alone = alone();
    let file = |header: &str, data: usize| {
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
    };
    let tensor = |name: usize, shape: &str, from: u64, to: u64| {
        format!("\"t{name}\":{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":[{from},{to}]}}")
    };
    let format = "not a readable safetensors file";
    for kind in ["weights", "arrays"] {
        text_refused(kind, [], format);
        text_refused(kind, u64::MAX.to_le_bytes(), format);
        text_refused(kind, file("{}", 0)[..9].to_vec(), format);
        text_refused(kind, file(&format!("{{{}}}", tensor(0, "[1099511627776]", 0, 1 << 42)), 4), format);
        text_refused(kind, file(&format!("{{{}}}", tensor(0, "[4294967296,4294967296]", 0, 0)), 0), format);
        text_refused(kind, file(&"[".repeat(1_000_000), 0), format);
        text_refused(
            kind,
            file(&format!("{{{}}}", tensor(0, &format!("[{}1]", "1,".repeat(3_000_000)), 0, 4)), 4),
            "values",
        );
        text_refused(
            kind,
            file(&format!("{{\"__metadata__\":{{{}\"k\":\"\"}}}}", "\"a\":\"\",".repeat(900_000)), 0),
            "values",
        );
        // Offsets near the largest integer.
        let eighth = 1_u64 << 61;
        let tensors: Vec<String> = (0..7)
            .map(|at| tensor(at, "[576460752303423488]", at as u64 * eighth, (at as u64 + 1) * eighth))
            .chain([tensor(7, "[576460752303423487]", 7 * eighth, u64::MAX - 3)])
            .collect();
        text_refused(kind, file(&format!("{{{}}}", tensors.join(",")), 0), format);
    }
}

/// A repeated text, with what precedes and what follows it.
type Dense = (&'static str, &'static str, &'static str);

/// Tests every dense text at every size, including sizes that are only just allowed.
fn harmless(kinds: &[&str], dense: &[Dense]) {
    let mut faults = Vec::new();
    for (name, (open, text, close)) in kinds.iter().flat_map(|name| dense.iter().map(move |dense| (name, dense))) {
        let kind = kind(name);
        let mut example = (kind.examples)().remove(0);
        for times in [300, 10_000, 30_000, 90_000, 300_000, 1_000_000] {
            let numbered =
                text.contains('#').then(|| (0..times).map(|at| text.replace('#', &at.to_string())).collect());
            let body: String = numbered.unwrap_or_else(|| text.repeat(times));
            let bytes = format!("{open}{body}{close}").into_bytes();
            // A safetensors file: the length of its header, its header, and here no data.
            let len = (bytes.len() as u64).to_le_bytes();
            let is_header = kind.format == crate::change::Format::Safetensors;
            example.files[example.changed].1 = if is_header { [&len[..], &bytes].concat() } else { bytes };
            forge(&mut example.files);
            let fault = fault(outcome(kind, &example.files));
            faults.extend(fault.map(|fault| format!("{name}: {open}{text}{close}, {times} times: {fault}")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn json_that_is_deep_or_dense() {
    let _alone = alone();
    for kind in ["config", "certificate"] {
        let words = if kind == "certificate" { "recursion limit" } else { "config.json" };
        text_refused(kind, format!("{{\"experiment\":{}", "[".repeat(10_000)), words);
        text_refused(kind, "{\"experiment\":".repeat(10_000), words);
        text_refused(kind, format!("[{}0]", "0,".repeat(2_000_000)), "too many values");
        text_refused(kind, format!("{{\"a\":[{}[]]}}", "[],".repeat(2_000_000)), "too many values");
        text_refused(kind, b"\xff\xfe".to_vec(), "expected value");
        text_refused(kind, vec![0; 1 << 20], "expected value");
    }
    let given = r#"{"format":1,"model":{"transformer":{}},"dims":{"seq_len":1,"input":{"continuous":{"d_in":1}},"d_out":1},"experiment":{"model":{"transformer":{}},"task":{"truncated_linear":{"given":{"weights":["#;
    let scored = r#"{"run_id":"","verb":"","command":"","version":"","platform":"","device":"","threads":1,"parameters":1,"frozen_parameters":1,"started":1,"seconds":1,"status":"complete","step":1,"results":["#;
    let record = r#"{"run_id":"","verb":"","command":"","version":"","platform":"","device":"","threads":1,"parameters":1,"frozen_parameters":1,"started":1,"seconds":1,"status":"running","step":1,"results":[{"name":"","metrics":{"#;
    harmless(
        &["config", "state", "record", "certificate", "failure", "metrics"],
        &[
            ("", "[", ""),
            ("", "{\"a\":", ""),
            ("[", "0,", "0]"),
            ("[", "[],", "0]"),
            ("[", "{},", "0]"),
            ("[", "\"\",", "0]"),
            ("[", "[0],", "0]"),
            ("{", "\"k#\":0,", "\"k\":0}"),
            ("{", "\"k#\":{\"k\":[]},", "\"k\":0}"),
            (given, "[],", "[]]}}}}"),
            (given, "[0],", "[]]}}}}"),
            (record, "\"#\":0,", "\"a\":0}}]}"),
            (
                scored,
                "{\"name\":\"#\",\"metrics\":{\"test/loss\":1,\"test/mse[points=#]\":1}},",
                "{\"name\":\"\",\"metrics\":{}}]}",
            ),
            ("", "\n", ""),
            ("\"", "\\u0041", "\""),
            ("{\"step\":1,", "\"#\":0,", "\"a\":0}"),
            ("", "{\"step\":1}\n", ""),
        ],
    );
}

#[test]
fn tables_that_are_dense() {
    let _alone = alone();
    text_refused("table", "0,".repeat(5_000_000), "line 1: more than 1000 characters");
    harmless(
        &["table"],
        &[
            ("", "0,", ""),
            ("", "\n", ""),
            ("", ",\n", ""),
            ("", "1,1\n", ""),
            ("", "\r", ""),
            ("\"", "\n", "\""),
            ("", "\"\",", ""),
        ],
    );
    harmless(&["data_table"], &[("", ",", ""), ("", "name#,", "x,z,targets,g\n")]);
}

#[test]
fn ranges_of_any_length_beside_groups() {
    let _alone = alone();
    let experiment = "[task.file]\npath = \"table.csv\"\ninputs = [\"x\"]\ntargets = [\"y\"]\ngroup = \"x\"\n\
        split = { train = [0, 9000000000000], test = [0, 1] }\n[model.transformer]\n";
    let folder = workplace().join("ranges");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("table.csv"), "x,y\n0,1\n1,2\n2,3\n").unwrap();
    let path = folder.join("table.csv");
    text_refused("experiment", experiment.replace("table.csv", path.to_str().unwrap()), "ranges say it all");
}

#[test]
fn headers_that_are_deep_or_dense() {
    let _alone = alone();
    harmless(
        &["weights", "moments", "arrays"],
        &[
            ("", "[", ""),
            ("{\"a\":", "[", ""),
            (
                "{",
                "\"t#\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},",
                "\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}",
            ),
            ("{\"a\":{\"dtype\":\"F32\",\"shape\":[0", ",1", "],\"data_offsets\":[0,0]}}"),
            ("{\"a\":{\"dtype\":\"F32\",\"shape\":[0", ",[]", "],\"data_offsets\":[0,0]}}"),
            ("{\"__metadata__\":{", "\"#\":\"\",", "\"a\":\"\"}}"),
        ],
    );
}

#[test]
fn toml_that_is_deep_or_dense() {
    let _alone = alone();
    for kind in ["experiment", "study"] {
        text_refused(kind, format!("a = {}", "[".repeat(20_000)), "not valid TOML");
        text_refused(kind, format!("a = {}", "{a=".repeat(10_000)), "not valid TOML");
        text_refused(kind, format!("[{}a]\nb = 1", "a.".repeat(10_000)), "not valid TOML");
        text_refused(kind, format!("{}a = 1", "a.".repeat(10_000)), "not valid TOML");
        text_refused(kind, format!("a = [{}]", "0,".repeat(2_000_000)), "too many values");
        text_refused(kind, format!("[{}]\na = 1", "k".repeat(200_000)), "a key of more than");
        text_refused(kind, format!("{} = 1", "k".repeat(240)), "no such key");
        text_refused(kind, b"a = 1\xff".to_vec(), "UTF-8");
    }
    let long = "k".repeat(200);
    let under_long: &'static str = Box::leak(format!("[{long}]\n").into_boxed_str());
    let given = "[model.transformer]\n[task.truncated_linear.given]\noffsets = [1]\nweights = [";
    harmless(
        &["experiment", "study"],
        &[
            ("a = ", "[", ""),
            ("a = ", "{a=", ""),
            ("[", "a.", "a]"),
            ("", "a.", "a = 1"),
            ("", "\n", ""),
            ("", " \n", ""),
            ("", "#\n", ""),
            ("", "= ", ""),
            ("", "'", ""),
            ("", "\"", ""),
            ("", ".", ""),
            ("", "a ", ""),
            ("", "k# = 1\n", ""),
            ("", "[k#]\n", ""),
            ("", "[[k]]\n", ""),
            (under_long, "# = 1\n", ""),
            ("a = [", "0,", "]"),
            ("a = [", "0.5,", "]"),
            ("a = [", "[],", "]"),
            ("a = [", "{},", "]"),
            ("a = [", "''\n,", "]"),
            ("a = {", "k# = 1, ", "}"),
            ("a = \"", "x", "\""),
            ("a = \"", "\\u0041", "\""),
            ("a = '", ".", "'"),
            (given, "[0.5],", "]"),
            (given, "[1],", "]"),
            ("[model.transformer]\n[task.function]\noutputs = [", "'x1',", "]"),
            ("[model.transformer]\n[task.function]\noutputs = ['x1", "+x1", "']"),
            ("[model.transformer]\n[task.function]\noutputs = ['x1", "+.1", "']"),
            ("[experiment.model.transformer]\n[experiment.task.copy]\n[grid]\n'train.steps' = [", "#, ", "1]"),
            ("[experiment.model.transformer]\n[experiment.task.copy]\n", "[[list]]\n'train.steps' = #\n", ""),
            ("experiment = 'x'\nseeds = [", "#, ", "0]"),
        ],
    );
}

#[test]
fn studies_without_end() {
    let _alone = alone();
    let experiment = "[experiment.task.copy]\n[experiment.model.transformer]\n";
    let sweep = |text: &str| format!("{text}\n{experiment}");
    let runs = "give";
    text_refused(
        "study",
        sweep("seeds = { first = 0, count = 18446744073709551615 }")
            .replace("18446744073709551615", "9223372036854775807"),
        runs,
    );
    text_refused("study", sweep("seeds = { first = 9223372036854775807, count = 1000000000 }"), runs);
    let axis = |key: &str| format!("\"{key}\" = [{}]\n", (1..100).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
    let grid: String = ["train.steps", "train.batch_size", "train.log_every", "train.eval_every", "train.keep_last"]
        .map(axis)
        .concat();
    text_refused("study", format!("{experiment}[grid]\n{grid}"), runs);
    let rows = |count: usize, matched: usize| {
        let rows = (0..count).map(|row| format!("[[rows]]\nname = \"{row}\"\n")).collect::<Vec<_>>().concat();
        format!(
            "reference = \"0\"\nmatch = [{}]\nseeds = {{ first = 0, count = 100 }}\n{rows}[[tasks]]\nname = \"a\"\n\
             [tasks.experiment.task.copy]\n[tasks.experiment.model.transformer]\n",
            "\"none\",".repeat(matched)
        )
    };
    text_refused("study", rows(100, 1000), runs);
    text_refused("study", rows(2, 1).replace("count = 100", "count = 1000000000"), "give 10000 or fewer");
    // Quoted keys are paths.
    text_refused("study", format!("{experiment}[set]\n\"{}\" = 1\n", "a.".repeat(100)), "");
    text_refused("study", format!("{experiment}[set]\n\"{}\" = 1\n", "a.".repeat(100_000)), "a key of more than");
}

#[test]
fn experiments_of_any_size() {
    let _alone = alone();
    let model = "[model.transformer]\n";
    let largest = i64::MAX;
    for (task, words) in [
        (format!("[task.copy]\nvocab = {largest}\n"), "are too many"),
        (format!("[task.copy]\nn_data = {largest}\n"), "are too many"),
        (format!("[task.icl_linear]\nd = {largest}\nn_points = {largest}\n"), "are too many"),
        (format!("[task.icl_relu]\nd_hidden = {largest}\n"), "are too many"),
        (format!("[task.icl_two_layer_net]\nd_hidden = {largest}\n"), "are too many"),
        (format!("[task.relu_network]\nd_hidden = {largest}\n"), "are too many"),
        (format!("[task.relu_network]\nseq_len = {largest}\nd = 3\n"), "are too many"),
        (format!("[task.truncated_linear]\nseq_len = {largest}\nd_in = {largest}\n"), "are too many"),
        (format!("[task.mqar]\nvocab = {largest}\nseq_len = {largest}\n"), "are too many"),
        (format!("[task.noisy_recall]\nvocab = {largest}\nnoise_vocab = {largest}\n"), "are too many"),
        (format!("[task.selective_copying]\nseq_len = {largest}\nn_data = {largest}\n"), "are too many"),
        (format!("[task.function]\nseq_len = {largest}\n"), "are too many"),
        ("[task.function]\nseq_len = 1000000\nd_in = 1\noutputs = [\"x1\",\"x1\",\"x1\"]\n".to_owned(), "are too many"),
        (format!("[task.function]\noutputs = [\"{}x1\"]\n", "(".repeat(1_000_000)), "brackets"),
        (format!("[task.icl_tree]\ndepth = {largest}\n"), "too many"),
        ("[task.icl_linear]\nd = 20000\nn_points = 2\nshift = \"skewed\"\n".to_owned(), "turns d"),
    ] {
        text_refused("experiment", format!("{task}{model}"), words);
    }
    let copy = "[task.copy]\n";
    for (model, words) in [
        (format!("[model.transformer]\nn_layers = {largest}\n"), "must be from 1 to"),
        (format!("[model.transformer]\nd_model = {largest}\nn_heads = {largest}\n"), "must be at most"),
        (
            format!(
                "[model.transformer]\n[train]\nsteps = {largest}\nbatch_size = {largest}\naccumulate = {largest}\nclip_norm = nan\n"
            ),
            "clip_norm",
        ),
    ] {
        text_refused("experiment", format!("{copy}{model}"), words);
    }
}

#[test]
fn archives_whose_entries_share_their_bytes() {
    let _alone = alone();
    let change = |zip: Vec<u8>| {
        // The first entry of the directory, under thousands of names, with a matching count.
        let start = zip.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
        let entry = 46 + "inputs.npy".len();
        let end = zip.windows(4).rposition(|window| window == b"PK\x05\x06").unwrap();
        let count = 60_000_u16;
        let mut tail = zip[end..].to_vec();
        tail[8..10].copy_from_slice(&count.to_le_bytes());
        tail[10..12].copy_from_slice(&count.to_le_bytes());
        let entries = (0..count).flat_map(|number| {
            let mut entry = zip[start..start + entry].to_vec();
            entry[46..].copy_from_slice(format!("i{number:05}.npy").as_bytes());
            entry
        });
        zip[..start].iter().copied().chain(entries).chain(tail).collect::<Vec<u8>>()
    };
    refused("archive", "", change, "lie over each other");
}

#[test]
fn reports_about_any_certificate() {
    let _alone = alone();
    let folder = workplace().join("certificates");
    let mut example = (kind("certificate").examples)().remove(0);
    let sound: Value = serde_json::from_slice(&example.files[example.changed].1).unwrap();
    let others = [json!(1e300), json!(-1e-300), json!(u64::MAX), json!([]), json!("\u{0}<script>")];
    let mut reports = 0;
    for (at, path) in crate::change::paths(&sound).iter().enumerate() {
        let mut certificate = sound.clone();
        *certificate.pointer_mut(path).unwrap() = others[at % others.len()].clone();
        example.files[example.changed].1 = certificate.to_string().into_bytes();
        forge(&mut example.files);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        example.files.iter().for_each(|(name, bytes)| fs::write(folder.join(name), bytes).unwrap());
        let (code, said) = headway(&["report", folder.to_str().unwrap()]).unwrap();
        assert!([0, 3].contains(&code), "{path}: exit code {code}: {said}");
        reports += i32::from(code == 0);
    }
    assert!(reports > 10, "numbers may have any size");
}

/// Runs `headway` with these words; returns its exit code and messages, or `None` if it is still running after ten
/// seconds.
fn headway(words: &[&str]) -> Option<(i32, String)> {
    #[allow(clippy::zombie_processes, reason = "a process that has ended was waited for")]
    let mut child = Command::new(env!("CARGO_BIN_EXE_headway"))
        .args(words)
        .current_dir(workplace())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(10) {
        if let Some(status) = child.try_wait().unwrap() {
            let mut said = String::new();
            std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
            return Some((status.code().unwrap_or(-1), said));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

#[test]
fn pipes_devices_and_folders_in_place_of_files() {
    let _alone = alone();
    let place = workplace().join("no-files");
    let _ = fs::remove_dir_all(&place);
    let run = |name: &str| place.join(name);
    fs::create_dir_all(run("run/checkpoints")).unwrap();
    let sound = (kind("weights").examples)().remove(0);
    for (at, odd) in ["pipe", "device", "folder"].into_iter().enumerate() {
        let folder = run(&format!("checkpoint-{odd}"));
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in &sound.files {
            fs::write(folder.join(name), bytes).unwrap();
        }
        let make = |path: &std::path::Path| {
            let _ = fs::remove_file(path);
            match at {
                0 => assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
                1 => std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
                _ => fs::create_dir(path).unwrap(),
            }
        };
        make(&run(odd));
        make(&folder.join("model.safetensors"));
        let record = run(&format!("run-{odd}"));
        fs::create_dir_all(&record).unwrap();
        make(&record.join("run.json"));
        let words = if odd == "folder" { "directory" } else { "a pipe or device; give a file" };
        let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
        let odd_path = path(&run(odd));
        for (code, verb) in [
            (2, vec!["check", &odd_path]),
            (2, vec!["construct", "activation", "--table", &odd_path, "--tolerance", "0.1", "--out", "x"]),
            (2, vec!["construct", "seq2seq", "--samples", &odd_path, "--tolerance", "0.1", "--out", "x"]),
            (3, vec!["eval", &path(&folder), "--device", "cpu"]),
            (2, vec!["runs", "show", &path(&record)]),
        ] {
            let (found, said) = headway(&verb).unwrap_or_else(|| panic!("{verb:?} waits"));
            assert_eq!(found, code, "{verb:?}: {said}");
            assert!(said.to_lowercase().contains(words), "{verb:?}: {said}");
        }
    }
}

#[test]
fn a_file_larger_than_memory() {
    let _alone = alone();
    let path = workplace().join("sparse.toml");
    fs::create_dir_all(workplace()).unwrap();
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let (code, said) = headway(&["check", path.to_str().unwrap()]).unwrap();
    fs::remove_file(path).unwrap();
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("GB of memory"), "{said}");
}
