//! What a fine-tuned run takes from its base, what it leaves unchanged, and what it records about both.

use std::{fs, path::Path, process::Command};

use safetensors::SafeTensors;
use serde_json::{Value, json};

use super::record;
use crate::{
    cli::{REGRESSION, tensors},
    harness::Lab,
};

fn finetune(lab: &Lab, out: &str, more: &[&str]) -> Value {
    let words = ["finetune", "experiment.toml", "--device", "cpu", "--json", "--out", out];
    lab.headway(&[&words, more].concat()).succeed().json()
}

fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

#[test]
fn starts_from_the_weights_of_another_run_and_moves_all_of_them() {
    let lab = Lab::with(REGRESSION);
    lab.train("base", &[]).succeed();
    let best = lab.headway(&["eval", "base", "--device", "cpu", "--json"]).succeed().json()["step"].as_u64().unwrap();
    let best = format!("base/checkpoints/step-{best:08}");
    let summary = finetune(&lab, "tuned", &["--from", "base", "--seed", "2", "-s", "train.steps=4"]);
    assert_eq!((&summary["status"], &summary["step"]), (&json!("complete"), &json!(4)));
    let start = tensors(&lab, &best);
    let end = tensors(&lab, "tuned/checkpoints/step-00000004");
    for (name, bytes) in &start {
        // A key's bias adds the same number to all scores of a query, which softmax ignores, so rounding decides.
        assert!(bytes != &end[name] || name.ends_with("key.bias"), "{name} did not move");
    }
    let record = record(&lab, "tuned");
    assert_eq!(record["verb"], "finetune");
    let lineage = &record["lineage"];
    assert_eq!(lineage["from"], "base");
    assert_eq!(lineage["weights_sha256"], sha256(&lab.path(&best).join("model.safetensors")));
    assert_eq!(lineage["taken"], start.len());
    for rest in ["missing", "extra", "mismatched"] {
        assert_eq!(lineage[rest], json!([]), "{rest}");
    }
    assert!(lab.read("tuned/report.html").contains(lineage["weights_sha256"].as_str().unwrap()));
    let shown = lab.headway(&["runs", "show", "tuned"]).succeed().stdout;
    assert!(
        shown.contains(&format!("base (sha256 {}…)", &lineage["weights_sha256"].as_str().unwrap()[..12])),
        "{shown}"
    );
}

#[test]
fn begins_with_exactly_the_weights_it_was_given() {
    let lab = Lab::with(REGRESSION);
    lab.train("base", &["-s", "train.keep_last=9"]).succeed();
    let from = "base/checkpoints/step-00000003";
    finetune(&lab, "tuned", &["--from", from, "--max-time", "0s", "--seed", "8"]);
    assert_eq!(tensors(&lab, "tuned/checkpoints/step-00000000"), tensors(&lab, from));
}

#[test]
fn leaves_frozen_tensors_as_they_are_to_the_last_bit() {
    let lab = Lab::with(REGRESSION);
    lab.train("base", &["-s", "train.eval_every=0"]).succeed();
    let start = tensors(&lab, "base/checkpoints/step-00000006");
    let freeze = r#"finetune.freeze=["blocks.0.*", "embed.*", "*.value.bias"]"#;
    // Decoupled weight decay shrinks weights without a gradient; it must not affect frozen ones.
    let decay = "optimizer={adamw={weight_decay=0.5}}";
    finetune(&lab, "tuned", &["--from", "base", "-s", freeze, "-s", decay, "-s", "train.eval_every=0"]);
    let end = tensors(&lab, "tuned/checkpoints/step-00000006");
    let is_frozen =
        |name: &str| name.starts_with("blocks.0.") || name.starts_with("embed.") || name.ends_with(".value.bias");
    let mut frozen = 0;
    for (name, bytes) in &start {
        assert_eq!(*bytes == end[name], is_frozen(name), "{name}");
        frozen += if is_frozen(name) { bytes.len() / 4 } else { 0 };
    }
    let record = record(&lab, "tuned");
    assert_eq!(record["frozen_parameters"], frozen);
    assert!(record["parameters"].as_u64() > Some(frozen as u64));
    let moments = fs::read(lab.path("tuned/checkpoints/step-00000006/optim.safetensors")).unwrap();
    for name in SafeTensors::deserialize(&moments).unwrap().names() {
        assert!(!is_frozen(name.rsplit_once('.').unwrap().0), "the optimiser holds {name}");
    }
}

#[test]
fn takes_what_fits_and_records_the_rest() {
    let lab = Lab::with(REGRESSION);
    lab.train("base", &["-s", "train.eval_every=0"]).succeed();
    let start = tensors(&lab, "base/checkpoints/step-00000006");
    // One more layer and longer prompts: the position table has another shape, and the third block is new.
    let other = ["-s", "model.n_layers=3", "-s", "task.n_points=5", "--max-time", "0s"];
    finetune(&lab, "tuned", &[&["--from", "base", "--allow-partial"], &other[..]].concat());
    let lineage = &record(&lab, "tuned")["lineage"];
    assert_eq!(lineage["replaced"], json!(["position.weight"]));
    assert_eq!(lineage["mismatched"], json!([]));
    assert_eq!(lineage["extra"], json!([]));
    let missing: Vec<&str> = lineage["missing"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(missing.len(), 10, "{missing:?}");
    assert!(missing.iter().all(|name| name.starts_with("blocks.2.")), "{missing:?}");
    assert_eq!(lineage["taken"], start.len());
    let tuned = tensors(&lab, "tuned/checkpoints/step-00000000");
    let position = "position.weight";
    for (name, bytes) in start.iter().filter(|(name, _)| *name != position) {
        assert!(tuned[name] == *bytes, "{name}");
    }
    // Positions that both have are kept.
    let kept = start[position].len();
    assert!(tuned[position].len() > kept && tuned[position].starts_with(&start[position]));
    // New parameters have the fresh weights of the seed.
    lab.train("fresh", &other).succeed();
    let fresh = tensors(&lab, "fresh/checkpoints/step-00000000");
    for name in missing {
        assert!(tuned[name] == fresh[name], "{name}");
    }
    assert!(tuned[position][kept..] == fresh[position][kept..]);
    // In the other direction a block is left over.
    let fewer = ["-s", "model.n_layers=1", "--from", "base", "--allow-partial", "--max-time", "0s"];
    finetune(&lab, "shallow", &fewer);
    let extra = &record(&lab, "shallow")["lineage"]["extra"];
    assert_eq!(extra.as_array().unwrap().len(), 10, "{extra}");
}
