//! Reproductions and the experiments of the repository.

use super::*;

#[test]
fn every_one_is_sound_in_every_profile() {
    let lab = Lab::new();
    let listed = lab.headway(&["list", "reproductions", "--json"]).succeed().json();
    let ids: Vec<&str> = listed.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    // Behind the sweeps stand comparisons, and two that train nothing.
    assert_eq!(ids[..6], ["heads", "range", "anchors", "seq2seq-heads", "seq2seq-anchors", "attention-map"]);
    assert_eq!(ids[6..], ["rival", "interpreter", "limits", "rank", "san", "theory", "sizes"]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/reproduce");
    for (id, [paper, quick, converged]) in
        ids.iter().zip([[55, 15, 25], [55, 15, 15], [77, 21, 21], [42, 12, 18], [18, 6, 18], [3, 3, 3]])
    {
        let file = root.join(format!("{id}.toml")).display().to_string();
        let plan = |more: &[&str]| {
            let words = [&["sweep", "plan", &file, "--json"], more].concat();
            lab.headway(&words).succeed().json().as_array().unwrap().len()
        };
        let found = [plan(&[]), plan(&["--profile", "quick"]), plan(&["--profile", "converged"])];
        assert_eq!(found, [paper, quick, converged], "{id}");
    }
    let file = root.join("rival.toml").display().to_string();
    for profile in [&[][..], &["--profile", "quick"]] {
        // Three rates for each of two rows on four tasks at first; or three seeds.
        let words = [&["sweep", "plan", &file, "--json"], profile].concat();
        assert_eq!(lab.headway(&words).succeed().json().as_array().unwrap().len(), 24);
    }
    // Five seeds of one head on each of five tasks, of three numbers of heads on three, and of two numbers of learned tokens on two; or one of fewer.
    let file = root.join("interpreter.toml").display().to_string();
    for (profile, runs) in [(&[][..], 5 * (5 + 3 * 3 + 2 * 2)), (&["--profile", "quick"], 5 + 3 + 2)] {
        let words = [&["sweep", "plan", &file, "--json"], profile].concat();
        assert_eq!(lab.headway(&words).succeed().json().as_array().unwrap().len(), runs);
    }
    // Three rates at first: on each of six tasks for attention and for feed-forward blocks at equal depth, FLOPs and parameters, and for five more rows
    // on two of them. Or two rates: on three tasks of attention and feed-forward blocks in two sizes, and of the five.
    let file = root.join("san.toml").display().to_string();
    for (profile, runs) in [(&[][..], 3 * (6 * 4 + 2 * 5)), (&["--profile", "quick"], 2 * (3 * 3 + 5))] {
        let words = [&["sweep", "plan", &file, "--json"], profile].concat();
        assert_eq!(lab.headway(&words).succeed().json().as_array().unwrap().len(), runs);
    }
}

#[test]
fn every_experiment_that_ships_is_sound() {
    let lab = Lab::new();
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments")).unwrap();
    let files =
        files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|kind| kind == "toml"));
    let (studies, experiments): (Vec<_>, Vec<_>) =
        files.partition(|path| fs::read_to_string(path).unwrap().contains("[[rows]]"));
    assert!(experiments.len() >= 10 && !studies.is_empty());
    for path in experiments {
        lab.headway(&["check", &path.display().to_string(), "--device", "cpu"]).succeed();
    }
    for path in studies {
        let has_long = fs::read_to_string(&path).unwrap().contains("[[profiles.long");
        let profiles: &[&[&str]] = if has_long { &[&[], &["--profile", "long"]] } else { &[&[]] };
        for profile in profiles {
            let path = path.display().to_string();
            lab.headway(&[&["sweep", "plan", &path], *profile].concat()).succeed();
        }
    }
}

#[test]
fn one_runs_from_end_to_end_and_is_judged() {
    let lab = Lab::new();
    let words = [
        "reproduce",
        "heads",
        "--quick",
        "--seeds",
        "1234,1235",
        "-s",
        "train.steps=3",
        "--device",
        "cpu",
        "--out",
        "out",
    ];
    // Three steps are too few for any agreement.
    let finished = lab.headway(&words).fail(7, &[]);
    assert!(finished.stdout.contains("0 of 5 means are as expected"), "{finished:#?}");
    let results = json_of(&lab, "out/results.json");
    assert_eq!((&results["agrees"], &results["profile"]), (&json!(false), &json!("quick")));
    assert!(results["exponents"]["network"]["interval"].is_array(), "{results}");
    lab.headway(&["reproduce", "nothing"])
        .fail(2, &["no reproduction is called `nothing`; there are heads, range", "rival"]);
}
