//! `python/headway.py` reads what Headway writes, and the notebook in `examples/` draws figures of it.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::{
    cli::REGRESSION,
    harness::{Lab, python, there_is},
};

/// What Python printed, as JSON.
fn found(lab: &Lab, script: &str) -> Value {
    let output =
        python().args(["-c", &format!("import json, headway\n{script}")]).env("LAB", lab.path("")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn tables_hold_what_the_run_and_the_comparison_printed() {
    if !there_is("pandas") {
        return;
    }
    let lab = Lab::with(REGRESSION);
    let trained = lab.train("runs/one", &["--json"]).succeed().json();
    lab.write(
        "compare.toml",
        "reference = \"-a, b\"\nseeds = [0, 1]\n[[tasks]]\nname = \"t\"\nexperiment = \"experiment.toml\"\n\
         [[rows]]\nname = \"-a, b\"\n[[rows]]\nname = \"c\"\nset.model.n_heads = 2\n",
    );
    let compared = lab.headway(&["compare", "compare.toml", "--out", "both", "--json"]).succeed().json();
    let read = found(
        &lab,
        r#"
import os
lab = os.environ["LAB"]
run, study = headway.Run(f"{lab}/runs/one"), headway.Study(f"{lab}/both")
of_c = study.lines.set_index("row").loc["c"]
print(json.dumps({
    "scores": run.scores.loc["network"].to_dict(),
    "slices": run.slices("test/mse").query("predictor == 'ridge'")["test/mse"].tolist(),
    "steps": run.metrics.index.tolist(),
    "best": run.best.name,
    "runs": headway.runs(lab).model.tolist(),
    "difference": of_c.difference,
    "rows": sorted(set(study.results.group)),
    "seeds": sorted(int(seed) for seed in set(study.results.seed)),
}))"#,
    );
    for name in ["test/loss", "test/mse"] {
        assert_eq!(read["scores"][name], trained["metrics"][name]);
    }
    let ridge = &trained["baselines"][1]["metrics"];
    let by_hand: Vec<&Value> = (0..4).map(|points| &ridge[format!("test/mse[points={points}]")]).collect();
    assert_eq!(read["slices"], json!(by_hand));
    assert_eq!(read["steps"], json!([1, 2, 3, 4, 5, 6]));
    let state: Value = serde_json::from_str(&lab.read("runs/one/checkpoints/step-00000006/state.json")).unwrap();
    assert_eq!(read["best"], format!("step-{:08}", state["best"]["step"].as_u64().unwrap()));
    assert_eq!(read["runs"], json!(vec!["transformer"; 5]));
    let line = &compared["blocks"][0]["lines"][1];
    assert_eq!(read["difference"], line["difference"]["estimate"]["mean"]);
    assert_eq!((&read["rows"], &read["seeds"]), (&json!(["t: -a, b", "t: c"]), &json!([0, 1])));
}

#[test]
fn the_notebook_runs_from_its_first_cell_to_its_last() {
    if !there_is("pandas, matplotlib") {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("examples/figures.ipynb")).unwrap();
    let notebook: Value = serde_json::from_str(&text).unwrap();
    let mut cells = Vec::new();
    for cell in notebook["cells"].as_array().unwrap() {
        if cell["cell_type"] == "code" {
            assert_eq!(cell["outputs"], json!([]), "outputs hold the paths of a machine");
            cells
                .push(cell["source"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect::<String>());
        }
    }
    let lab = Lab::with(REGRESSION);
    fs::create_dir(lab.path("examples")).unwrap();
    lab.train("runs/quickstart-1", &[]).succeed();
    // Where there is no screen, matplotlib draws into memory.
    let script = cells.join("\n")
        + "\nassert all(plt.figure(n).axes for n in plt.get_fignums()) and len(plt.get_fignums()) == 3";
    let mut python = python();
    python.args(["-c", &script]).current_dir(lab.path("examples"));
    let output = python.env("MPLBACKEND", "agg").env("PYTHONPATH", root.join("python")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
