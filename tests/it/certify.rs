//! Bounds on the largest error of trained networks, from the command line.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::harness::{Headway, Lab, python, there_is};

/// The paper's clamp on two positions of one number each, learned for a moment.
const EXPERIMENT: &str = r"
[task.truncated_linear]
seq_len = 2
d_in = 1
low = -1.0
high = 1.0
input = { uniform = { low = -2.0, high = 2.0 } }

[data.fixed]
train = 64
test = 16

[model.paper_one_layer]
d_model = 8
n_heads = 2
n_anchors = 3

[train]
steps = 60
batch_size = 16
";

/// The larger of two tokens, learned for a moment.
const WORDS: &str = r#"
[task.max_of_k]
k = 2
vocab = 8

[data.fresh]
validation = 0
test = 16

[model.transformer]
d_model = 8
n_layers = 1
n_heads = 1
norm = "none"
causal = true
state_mixer = "none"

[train]
steps = 60
batch_size = 16
"#;

fn lab() -> Lab {
    let lab = Lab::with(EXPERIMENT);
    lab.train("run", &[]).succeed();
    lab
}

fn certify(lab: &Lab, more: &[&str]) -> Headway {
    lab.headway(&[&["certify", "run", "--device", "cpu"], more].concat())
}

/// What `python/check_bound.py` says of a folder, and of other weights if they are named.
fn check(folder: &Path, weights: Option<&Path>) -> (Option<i32>, String) {
    let output = python().arg("check_bound.py").arg(folder).args(weights).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn the_largest_error_of_a_trained_network_lies_between_both_bounds() {
    let lab = lab();
    let found = certify(&lab, &["--gap", "0.05", "--out", "bound", "--json"]).succeed().json();
    let (lower, upper) = (number(&found["lower"]), number(&found["upper"]));
    assert!(lower > 0.0 && lower <= upper && upper <= 1.0501 * lower, "{lower} {upper}");
    assert_eq!((found["end"].as_str(), found["arithmetic"].as_str()), (Some("gap"), Some("exact")));
    // The model itself has that error at the point, up to what float32 adds and to the point's rounding.
    let off = (number(&found["measured_float32"]) - lower).abs();
    assert!(off < 1e-4, "{off}");
    for file in ["report.html", "figures/gap.svg", "gap.csv", "results.json", "state.json"] {
        assert!(fs::metadata(lab.path("bound").join(file)).unwrap().len() > 0, "{file}");
    }
    let moments = lab.read("bound/gap.csv");
    assert!(moments.starts_with("seconds,boxes,upper,lower\n") && moments.lines().count() > 2, "{moments}");

    // With every evaluation in float32 the bound is a little higher.
    let single = certify(&lab, &["--gap", "0.05", "--float32", "--out", "single", "--json"]).succeed().json();
    assert!(number(&single["upper"]) > number(&single["measured_float32"]), "{single}");
    assert_eq!(single["arithmetic"], "float32");

    // Another target: the network is off by more from one that is far away.
    let far = ["--target", "x1 + 30", "--gap", "0.05", "--out", "far", "--json"];
    let far = certify(&lab, &far).succeed().json();
    assert!(number(&far["lower"]) > 25.0, "{far}");

    if !there_is("numpy") {
        return;
    }
    // Another program finds the same, and not for other weights or a smaller bound.
    for folder in ["bound", "single", "far"] {
        let (code, said) = check(&lab.path(folder), None);
        assert!(
            code == Some(0) && said.lines().filter(|line| line.starts_with("ok ")).count() == 3,
            "{folder}: {said}"
        );
    }
    lab.train("other", &["--seed", "1"]).succeed();
    let (code, said) = check(&lab.path("bound"), Some(&lab.path("other/checkpoints/step-00000060")));
    assert!(code == Some(1) && said.starts_with("FAIL the claim is about other weights"), "{said}");
    for (file, changes) in [
        ("bound/results.json", json!({ "upper": 0.99 * lower })),
        ("bound/state.json", json!({ "closed": 0.99 * lower, "open": [] })),
    ] {
        let mut claim: Value = serde_json::from_str(&lab.read(file)).unwrap();
        claim.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        lab.write(file, claim.to_string());
    }
    let (code, said) = check(&lab.path("bound"), None);
    assert!(code == Some(1) && said.contains("FAIL the bound is wrong: "), "{said}");
}

/// A proof of accuracy names its weights, and every word that is tried by another program agrees with it.
#[test]
fn an_accuracy_is_found_again() {
    let lab = Lab::with(WORDS);
    lab.train("run", &[]).succeed();
    let found = certify(&lab, &["--out", "proved", "--json"]).succeed().json();
    let proved = found["proved"].as_array().unwrap();
    let words: Vec<f64> = proved.iter().map(|proved| number(&proved["words"])).collect();
    let [bounds @ .., all] = words.as_slice() else { panic!("{found}") };
    assert!(bounds.len() == 3 && bounds.iter().all(|words| words <= all) && *all <= 64.0, "{found}");
    if !there_is("numpy") {
        return;
    }
    let (code, said) = check(&lab.path("proved"), None);
    assert!(code == Some(0) && said.lines().filter(|line| line.starts_with("ok ")).count() == 4, "{said}");
    lab.write("proved/results.json", lab.read("proved/results.json").replace("\"words\"", "\"w\""));
    assert_eq!(check(&lab.path("proved"), None).0, Some(1));
}

/// Training takes examples from where the bound is worst, keeps the boxes, and needs the folder no more.
#[test]
fn the_worst_boxes_are_fed_back() {
    let lab = lab();
    certify(&lab, &["--gap", "0.2", "--out", "bound"]).succeed();
    let worst: Value = serde_json::from_str(&lab.read("bound/boxes.json")).unwrap();
    let (boxes, bounds) = (worst["boxes"].as_array().unwrap(), worst["bounds"].as_array().unwrap());
    // A twentieth of 32 x 32, the worst first; each has a side for each input number.
    assert_eq!((boxes.len(), bounds.len(), &worst["of"]), (52, 52, &1024.into()));
    assert!(bounds.is_sorted_by(|a, b| number(a) >= number(b)));
    let sides: Vec<[f64; 2]> = serde_json::from_value(boxes[0].clone()).unwrap();
    assert!(sides.len() == 2 && sides.iter().all(|[low, high]| (high - low - 4.0 / 32.0).abs() < 1e-12), "{sides:?}");
    let fresh = ["--unset", "data", "-s", "data.fresh={ validation = 0, test = 8 }"];
    let more = [&fresh[..], &["-s", "train.worst_boxes=bound", "-s", "train.worst_share=0.5"]].concat();
    lab.train("fed", &more).succeed();
    fs::rename(lab.path("bound"), lab.path("elsewhere")).unwrap();
    assert!(lab.read("fed/experiment.toml").contains("worst_boxes = [[["), "{}", lab.read("fed/experiment.toml"));
    // The same bits again, without the folder.
    let weights = |run: &str| fs::read(lab.path(run).join("checkpoints/step-00000060/model.safetensors")).unwrap();
    let whole = weights("fed");
    lab.headway(&["train", "fed/experiment.toml", "--device", "cpu", "--out", "again"]).succeed();
    assert!(weights("again") == whole);
    // Boxes change what is learned.
    lab.train("plain", &fresh).succeed();
    assert!(weights("plain") != whole);
    lab.headway(&[&["check", "experiment.toml"], &more[..]].concat()).fail(
        2,
        &["train.worst_boxes: ", "bound/boxes.json is not there; give the folder that `headway certify` has written"],
    );
    let fixed = ["check", "experiment.toml", "-s", "train.worst_boxes=elsewhere"];
    lab.headway(&fixed).fail(2, &["train.worst_boxes: are for examples that are drawn anew"]);
    let longer =
        [&["check", "experiment.toml", "-s", "task.seq_len=3", "-s", "train.worst_boxes=elsewhere"], &fresh[..]];
    lab.headway(&longer.concat()).fail(2, &["has boxes of 2 input numbers, and this task gives 3"]);
}

#[test]
fn a_search_goes_on_in_its_folder_and_refuses_another() {
    let lab = lab();
    let first = certify(&lab, &["--minutes", "0", "--out", "bound", "--json"]).succeed().json();
    assert_eq!(first["end"], "time");
    let (lower, upper) = (number(&first["lower"]), number(&first["upper"]));
    let next = certify(&lab, &["--gap", "0.05", "--out", "bound", "--json"]).succeed();
    assert!(next.stderr.contains("going on after 1 boxes"), "{}", next.stderr);
    let next = next.json();
    assert!(number(&next["upper"]) < upper && number(&next["lower"]) >= lower, "{next}");
    assert!(number(&next["boxes"]) > number(&first["boxes"]) && number(&next["seconds"]) >= number(&first["seconds"]));
    // At one go it is the same search.
    let whole = certify(&lab, &["--gap", "0.05", "--out", "whole", "--json"]).succeed().json();
    for key in ["upper", "lower", "boxes", "at"] {
        assert_eq!(next[key], whole[key], "{key}");
    }
    let other = ["--domain", "-1,1", "--out", "bound"];
    certify(&lab, &other).fail(2, &["holds a search with other domain", "choose another folder with --out"]);
    lab.write("bound/state.json", "{}");
    certify(&lab, &["--out", "bound"]).fail(2, &["holds no search", "delete it"]);
}

#[test]
fn what_cannot_be_bounded_is_refused_with_what_could_be() {
    let lab = lab();
    let fails = |more: &[&str], texts: &[&str]| {
        certify(&lab, &[more, &["--out", "none"]].concat()).fail(2, texts);
        assert!(!lab.path("none").join("report.html").is_file());
    };
    fails(&["--target", "x1*"], &["--target", "x1*"]);
    fails(&["--target", "x1", "--target", "x1"], &["gives 2 formulas", "answers 1 numbers"]);
    fails(&["--domain", "3"], &["--domain: `3` is no domain; write -3,3"]);
    fails(&["--free", "x3_1"], &["--free: `x3_1` is no input of this network; there are x1_1 to x2_1"]);
    fails(&["--minutes", "soon"], &["`soon` is no number of minutes"]);
    let wide = EXPERIMENT.replace("seq_len = 2", "seq_len = 5");
    let lab = Lab::with(&wide);
    lab.train("run", &["-s", "train.steps=1"]).succeed();
    certify(&lab, &["--out", "none"])
        .fail(2, &["at most 3 input numbers, and this network reads 5", "--free x1_1,x1_2 --fix 0"]);
    let some = ["--free", "x1_1,x5_1", "--fix", "0.5", "--gap", "0.2", "--out", "some", "--json"];
    let found = certify(&lab, &some).succeed().json();
    assert_eq!(found["domain"], "x1_1 in [-2, 2], x5_1 in [-2, 2]; x2_1 = 0.5, x3_1 = 0.5, x4_1 = 0.5");
}
