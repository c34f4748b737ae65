//! Pages made of finished runs.

use super::*;

#[test]
fn runs_side_by_side_are_grouped_by_config() {
    let lab = lab(&[("sweep.toml", SWEEP)]);
    for (out, seed, width) in [("a", "0", "4"), ("b", "1", "4"), ("c", "0", "8")] {
        lab.train(out, &["--seed", seed, "-s", &format!("model.d_model={width}")]).succeed();
    }
    let Finished { stdout, .. } = lab.headway(&["report", "a", "b", "c", "--out", "page"]).succeed();
    assert!(stdout.contains("report: page/report.html"), "{stdout}");
    let results = json_of(&lab, "page/results.json");
    let seeds: Vec<usize> =
        results["groups"].as_array().unwrap().iter().map(|group| group["runs"].as_array().unwrap().len()).collect();
    assert_eq!(seeds, [2, 1]);
    // The same run given twice counts once; a page of another kind is not overwritten.
    lab.copy("a", "copy");
    let finished = lab.headway(&["report", "a", "copy", "b", "--out", "twice"]).succeed();
    assert!(finished.stderr.contains("copy is left out: seed 0 of"), "{finished:#?}");
    assert_eq!(json_of(&lab, "twice/results.json")["groups"][0]["runs"].as_array().unwrap().len(), 2);
    lab.headway(&["report", "a", "b", "--out", "c"]).fail(2, &["c holds run.json, and a page of its own"]);
    // The same for a single run, if requested.
    let before = lab.read("a/report.html");
    lab.headway(&["report", "a", "--out", "alone"]).succeed();
    assert_eq!(json_of(&lab, "alone/results.json")["groups"][0]["runs"].as_array().unwrap().len(), 1);
    assert!(lab.path("alone/report.html").exists() && lab.read("a/report.html") == before);
    let page = lab.read("page/report.html");
    for text in [
        "model.transformer.d_model",
        "Learning curves",
        "Attention patterns",
        "Budgets",
        "Machine and versions",
        "precision of products",
    ] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn a_checkpoint_is_judged_under_every_shift() {
    let lab = lab(&[]);
    lab.train("run", &[]).succeed();
    let found = lab
        .headway(&["eval", "run", "--device", "cpu", "--shifts", "page", "--json", "-s", "data.test=64"])
        .succeed()
        .json();
    let shifts = found["shifts"].as_array().unwrap();
    let names: Vec<&str> = shifts.iter().map(|shift| shift["name"].as_str().unwrap()).collect();
    assert_eq!((names.len(), names[0], names[1]), (15, "none", "random_quadrant"), "{names:?}");
    let score = |name: &str, predictor: &str, metric: &str| {
        let shift = shifts.iter().find(|shift| shift["name"] == name).unwrap();
        let row = shift["rows"].as_array().unwrap().iter().find(|row| row["name"] == predictor).unwrap();
        row["metrics"][metric].as_f64().unwrap()
    };
    // Least squares scales with y, and is exact for a query that it has seen.
    let [plain, tripled] = ["none", "scale_y=3"].map(|shift| score(shift, "least_squares", "test/mse"));
    assert!((tripled / plain - 9.0).abs() < 1e-3, "{plain} {tripled}");
    assert!(score("repeated_query", "least_squares", "test/mse") < 1e-6);
    assert_sound_pages(&[lab.path("page/report.html")]);
    let page = lab.read("page/report.html");
    for text in ["repeated_query", "skewed", "The query is the x of an earlier example"] {
        assert!(page.contains(text), "{text}");
    }
    lab.write("copy.toml", "[task.copy]\nvocab = 5\nn_data = 3\n[model.transformer]\nd_model = 8\nn_layers = 1\nn_heads = 2\n[train]\nsteps = 1\n");
    lab.headway(&["train", "copy.toml", "--device", "cpu", "--out", "copy"]).succeed();
    lab.headway(&["eval", "copy", "--shifts", "page"])
        .fail(2, &["copy has no distribution shifts; the tasks whose names begin with icl_ have"]);
}

#[test]
fn a_checkpoint_is_judged_at_multiples_of_its_length() {
    let lab = lab(&[]);
    lab.train("run", &["-s", "model.position=alibi"]).succeed();
    let at = ["eval", "run", "--device", "cpu", "--lengths", "1,3"];
    let finished = lab.headway(&[&at[..], &["--out", "page", "--json"]].concat()).succeed();
    assert!(finished.stderr.contains("n_points = 12 (x3): scored in"), "{finished:#?}");
    let lengths = finished.json()["lengths"].clone();
    let lengths = lengths.as_array().unwrap();
    let sizes: Vec<[u64; 2]> =
        lengths.iter().map(|at| ["times", "length"].map(|key| at[key].as_u64().unwrap())).collect();
    assert_eq!(sizes, [[1, 4], [3, 12]]);
    // The same as a task of that length, which has questions after more examples.
    for (at, points) in lengths.iter().zip(["4", "12"]) {
        let set = format!("task.n_points={points}");
        let alone = lab.headway(&["eval", "run", "--device", "cpu", "--json", "-s", &set]).succeed().json();
        assert_eq!(at["rows"][0]["metrics"], alone["metrics"], "{points}");
    }
    assert!(lengths[1]["rows"][0]["metrics"]["test/mse[points=11]"].is_number());
    assert_sound_pages(&[lab.path("page/report.html")]);
    let page = lab.read("page/report.html");
    for text in ["Scores at each length", "n_points", "least_squares"] {
        assert!(page.contains(text), "{text}");
    }
    let shown = lab.headway(&at).succeed().stdout;
    let starts = |line: &str| line.split_whitespace().take(3).eq(["test/mse", "12", "3"]);
    assert!(shown.lines().any(starts), "{shown}");
    lab.train("learned", &["-s", "model.position=learned"]).succeed();
    lab.headway(&["eval", "learned", "--device", "cpu", "--lengths", "1,2"]).fail(
        2,
        &["--lengths: position.weight belongs to task.icl_linear.n_points = 4 and no other length; `headway list positions`"],
    );
    lab.headway(&["eval", "run", "--device", "cpu", "--lengths", "0"])
        .fail(2, &["--lengths: 0 times task.icl_linear.n_points = 4 is no length"]);
}

#[test]
fn the_page_of_a_run_is_made_again_with_its_patterns() {
    let lab = lab(&[]);
    lab.train("run", &[]).succeed();
    let page = lab.read("run/report.html");
    assert!(page.contains("Attention patterns"), "a run draws its patterns");
    fs::remove_file(lab.path("run/figures/patterns.svg")).unwrap();
    fs::remove_file(lab.path("run/report.html")).unwrap();
    lab.headway(&["report", "run", "--device", "cpu"]).succeed();
    assert!(lab.read("run/report.html").contains("Attention patterns"));
    lab.headway(&["report", "nowhere"]).fail(2, &["cannot read nowhere"]);
    fs::create_dir(lab.path("empty")).unwrap();
    lab.headway(&["report", "empty"]).fail(2, &["empty holds no run, and neither sweep.toml nor compare.toml"]);
}
