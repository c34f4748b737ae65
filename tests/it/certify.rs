//! Bounds on the largest error of trained networks, from the command line.

use std::fs;

use serde_json::Value;

use crate::harness::{Headway, Lab};

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

fn lab() -> Lab {
    let lab = Lab::with(EXPERIMENT);
    lab.train("run", &[]).succeed();
    lab
}

fn certify(lab: &Lab, more: &[&str]) -> Headway {
    lab.headway(&[&["certify", "run", "--device", "cpu"], more].concat())
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
