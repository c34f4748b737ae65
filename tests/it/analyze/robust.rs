//! `headway analyze robust` from end to end.

use std::fs;

use serde_json::Value;

use crate::harness::{Lab, assert_sound_pages};

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// The threshold at a fifth of the runs and a tenth of the steps, and its caution: lies that do not collude can be
/// harmless beyond it.
#[test]
fn a_ratio_below_1_converges_and_one_above_does_not() {
    let lab = Lab::new();
    let words = ["analyze", "robust", "--runs", "5", "--steps", "200,2000,20000", "--out", "page", "--json"];
    let document = lab.headway(&words).succeed().json();
    let rows = document["robust"]["rows"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["liars"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 3, 4, 6]);
    let (mut below, mut harmless) = (0, 0);
    for row in rows {
        let [colluding, constant] = ["colluding", "constant"].map(|lies| &row[lies]);
        let last = |ending: &Value| number(&ending["after"].as_array().unwrap().last().unwrap()["error"]);
        let [l1, l1_constant] = [colluding, constant].map(|ending| number(&ending["estimators"][0]["error"]));
        assert_eq!(
            (colluding["estimators"][0]["name"].as_str(), number(&colluding["gap"]) < 1e-12),
            (Some("l1"), true)
        );
        if number(&row["ratio"]) < 1.0 {
            assert_eq!(colluding["outcome"], "converges", "{row}");
            // The noise of 1,250 observations of each agent has a deviation of 0.03.
            assert!(l1 < 0.5 && l1_constant < 0.5, "{row}");
            below += 1;
        } else {
            assert_ne!(colluding["outcome"], "converges", "{row}");
            assert!(l1 > 10.0 && last(colluding) > 3.0, "{row}");
            harmless += usize::from(l1_constant < 0.5);
        }
    }
    assert!(below == 2 && harmless > 0, "{below} below 1, {harmless} harmless beyond");
    assert_eq!(document["follows_the_ratio"], true);
    assert_sound_pages(&[lab.path("page/report.html")]);
    assert!(lab.path("page/figures/robust.svg").is_file());
    let saved: Value = serde_json::from_slice(&fs::read(lab.path("page/results.json")).unwrap()).unwrap();
    assert_eq!(saved, document);
    let lines = fs::read_to_string(lab.path("page/robust.csv")).unwrap();
    assert!(lines.starts_with("liars,ratio,lies,steps,median,smallest,largest\n2,"), "{lines}");
}

/// Two honest agents in three dimensions tell nothing of the third, wherever the estimate ends; three tell all.
#[test]
fn what_honest_agents_do_not_span_is_undetermined() {
    let lab = Lab::new();
    let words = ["analyze", "robust", "--liars", "0", "--runs", "2", "--steps", "20,200", "--json"];
    for (agents, outcome) in [("2", "undetermined"), ("3", "converges")] {
        let document = lab.headway(&[&words[..], &["--agents", agents]].concat()).succeed().json();
        let row = &document["robust"]["rows"][0];
        assert_eq!([&row["colluding"]["outcome"], &row["constant"]["outcome"]], [outcome; 2], "{row}");
        assert_eq!(document["follows_the_ratio"], true);
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let lab = Lab::new();
    for (words, said) in [
        (&["--liars", "2,14"][..], "--liars: 14 of 16 agents leave 2 that tell the truth, and 3 are needed"),
        (&["--distance", "0"][..], "--distance: 0 must be above 0"),
        (&["--noise=-1"][..], "--noise: -1 must be 0 up to"),
        (&["--noise", "1e300"][..], "--noise: 1e300 must be 0 up to 1e6"),
        (&["--agents", "3"][..], "for as many dimensions; give more agents, or fewer dimensions"),
        (&["--agents", "1000"][..], "--agents: among 1000 agents in 3 dimensions"),
        (&["--agents", "1000000000000", "-d", "1"][..], "--agents: "),
        (&["-d", "0"][..], "--d: 0 is too few"),
    ] {
        lab.headway(&[&["analyze", "robust"], words].concat()).fail(2, &[said]);
    }
    fs::create_dir(lab.path("taken")).unwrap();
    lab.write("taken/run.json", "{}");
    lab.headway(&["analyze", "robust", "--out", "taken"]).fail(2, &["taken holds run.json, and a page of its own"]);
}
