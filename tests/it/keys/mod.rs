//! What the program tells of config files: their keys, new ones with every key, a schema.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::harness::Lab;

mod schema;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn names(lab: &Lab, list: &str) -> Vec<String> {
    let entries = lab.headway(&["list", list, "--json"]).succeed().json();
    entries.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
}

/// Experiments, sweeps and comparisons that ship.
fn shipped() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["experiments", "experiments/reproduce"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "toml") {
                found.push(path);
            }
        }
    }
    assert!(found.len() >= 40, "{found:?}");
    found
}

fn read(path: &Path) -> Value {
    let table: toml::Table = fs::read_to_string(path).unwrap().parse().unwrap();
    serde_json::to_value(table).unwrap()
}

#[test]
fn a_key_is_explained_by_the_doc_comment_of_its_field() {
    let lab = Lab::new();
    let loss = lab.headway(&["explain", "train.loss"]).succeed().stdout;
    for words in ["train.loss\n", "Default: \"plain\"", "padded", "The loss of the paper's code"] {
        assert!(loss.contains(words), "{words} is not in {loss}");
    }
    // One key of several models; keys with the same meaning stand together.
    let heads = lab.headway(&["explain", "model.n_heads"]).succeed().stdout;
    assert!(
        heads.contains("model.transformer.n_heads\n") && heads.contains("model.paper_one_layer.n_heads\n"),
        "{heads}"
    );
    let d = lab.headway(&["explain", "task.d"]).succeed().stdout;
    assert_eq!(d.matches("Dimension of x.").count(), 1, "{d}");
    let grid = lab.headway(&["explain", "grid"]).succeed().stdout;
    assert!(grid.contains("grid    (of a sweep)"), "{grid}");
    let entries = lab.headway(&["explain", "optimizer.adam.learning_rate", "--json"]).succeed().json();
    assert_eq!((entries[0]["default"].as_f64(), entries.as_array().unwrap().len()), (Some(1e-3), 1));
}

#[test]
fn a_misspelt_name_is_answered_by_what_is_like_it() {
    let lab = Lab::new();
    lab.headway(&["explain", "train.los"]).fail(2, &["no key or variant is called `train.los`", "`train.loss`"]);
    lab.headway(&["explain", "model.n_haeds"]).fail(2, &["did you mean `model.n_heads`"]);
    lab.headway(&["explain", "\u{1b}[2J"]).fail(2, &["no key or variant"]);
    lab.headway(&["list", "tasks", "icl_liner"]).fail(2, &["`headway list tasks` has no `icl_liner`", "`icl_linear`"]);
    lab.headway(&["list", "kernels", "soft"]).fail(2, &["did you mean `softmax`?"]);
    lab.headway(&["list", "kernels", "zzzzzz"]).fail(2, &["has no `zzzzzz`; without a name it shows all"]);
    let explained = lab.headway(&["explain", "match"]).succeed().stdout;
    assert_eq!(explained.matches("The number of trainable parameters.").count(), 1, "{explained}");
    lab.headway(&["new", "copi"]).fail(2, &["did you mean `copy`?"]);
    lab.headway(&["new", "copy", "-s", "train.stesp=3"]).fail(2, &["did you mean `steps`"]);
}

#[test]
fn every_entry_of_every_list_is_told_of() {
    let lab = Lab::new();
    for list in names_of_lists(&lab) {
        for name in names(&lab, &list) {
            let text = lab.headway(&["list", &list, &name]).succeed().stdout;
            // A program alone, to be written to a file.
            let wanted = if list == "programs" { "\nalphabet ".to_owned() } else { format!("{name}: ") };
            assert!(text.starts_with(&wanted) || list == "programs" && text.contains(&wanted), "{text}");
        }
    }
    let task = lab.headway(&["list", "tasks", "icl_linear"]).succeed().stdout;
    for words in
        ["[task.icl_linear]", "n_points", "11", "baselines: least_squares, ridge", "points=0, points=1, …, points=10"]
    {
        assert!(task.contains(words), "{words} is not in {task}");
    }
    let kernel = lab.headway(&["list", "kernels", "favor", "--json"]).succeed().json();
    let keys: Vec<&str> = kernel["keys"].as_array().unwrap().iter().map(|key| key["key"].as_str().unwrap()).collect();
    assert!(keys.contains(&"n_features") && keys.contains(&"redraw_every"), "{keys:?}");
    let options = lab.headway(&["list", "constructions", "activation"]).succeed().stdout;
    assert!(options.contains("--intervals") && !options.contains("--tolerance"), "{options}");
}

fn names_of_lists(lab: &Lab) -> Vec<String> {
    let lists = lab.headway(&["list", "--json"]).succeed().json();
    let lists: Vec<String> =
        lists.as_array().unwrap().iter().map(|list| list["name"].as_str().unwrap().to_owned()).collect();
    assert!(lists.contains(&"tasks".to_owned()) && lists.len() >= 10, "{lists:?}");
    lists
}

/// Settings with which a run of any task takes a moment.
const SHORT: [&str; 12] = [
    "-s",
    "data={ fixed = { train = 4, test = 2 } }",
    "-s",
    "schedule=constant",
    "-s",
    "train.steps=1",
    "-s",
    "train.batch_size=2",
    "-s",
    "train.eval_every=0",
    "-s",
    "train.log_every=1",
];

#[test]
fn a_new_experiment_of_every_task_is_sound_and_runs() {
    let lab = Lab::new();
    symlink(root().join("datasets"), lab.path("datasets")).unwrap();
    let schema = lab.headway(&["schema", "experiment"]).succeed().json();
    for task in names(&lab, "tasks") {
        let file = format!("{task}.toml");
        let path = lab.write(&file, lab.headway(&["new", &task]).succeed().stdout);
        let text = lab.read(&file);
        assert!(
            text.contains(&format!("[task.{task}]")) && text.contains("[train]") && !text.contains("\nfound = "),
            "{text}"
        );
        schema::fulfils(&schema, &read(&path)).unwrap_or_else(|problem| panic!("{task}: {problem}"));
        lab.headway(&["check", &file, "--device", "cpu"]).succeed();
        let run = format!("run-{task}");
        lab.headway(&[&["train", &file, "--device", "cpu", "--out", &run], &SHORT[..]].concat()).succeed();
    }
}

/// The new experiment of a task for which one ships is that one, every value of it.
#[test]
fn a_new_experiment_has_the_values_of_the_one_that_ships() {
    let lab = Lab::new();
    let show = |path: &str| lab.headway(&["show", path, "--json"]).succeed().json()["experiment"].clone();
    for name in ["icl_linear", "icl_tree", "copy", "mqar", "truncated_linear", "robust_mean"] {
        lab.write("new.toml", lab.headway(&["new", name]).succeed().stdout);
        assert_eq!(show("new.toml"), show(root().join(format!("experiments/{name}.toml")).to_str().unwrap()), "{name}");
    }
    lab.write("new.toml", lab.headway(&["new", "copy", "-s", "model.n_layers=5", "-s", "seed=3"]).succeed().stdout);
    let changed = show("new.toml");
    assert_eq!((&changed["model"]["transformer"]["n_layers"], &changed["seed"]), (&5.into(), &3.into()));
    // A short training is validated too.
    lab.write("new.toml", lab.headway(&["new", "icl_linear", "-s", "train.steps=800"]).succeed().stdout);
    assert_eq!(show("new.toml")["train"]["eval_every"], 100);
}

#[test]
fn the_users_own_file_is_read_where_it_is() {
    let lab = Lab::new();
    lab.write("table.csv", "a,b\n1,2\n2,4\n3,6\n");
    let set = ["-s", "task.path=table.csv", "-s", "task.inputs=[\"a\"]", "-s", "task.targets=[\"b\"]"];
    lab.write("my.toml", lab.headway(&[&["new", "file"], &set[..]].concat()).succeed().stdout);
    assert!(lab.read("my.toml").contains("path = \"table.csv\""));
    lab.headway(&["check", "my.toml", "--device", "cpu"]).succeed();
    // What comes with the source is not here.
    let finished = lab
        .headway(&["new", "language"])
        .fail(2, &["error: language: begins with datasets/", "comes with the source of Headway"]);
    assert_eq!(finished.stdout, "");
}

#[test]
fn every_shipped_file_fulfils_the_schema_and_mistakes_do_not() {
    let lab = Lab::new();
    let any = lab.headway(&["schema"]).succeed().json();
    let [experiment, sweep, comparison] =
        ["experiment", "sweep", "comparison"].map(|file| lab.headway(&["schema", file]).succeed().json());
    for path in shipped() {
        let file = read(&path);
        schema::fulfils(&any, &file).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()));
        let own = match &file {
            file if file.get("rows").is_some() => &comparison,
            file if file.get("experiment").is_some() => &sweep,
            _ => &experiment,
        };
        schema::fulfils(own, &file).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()));
    }
    let whole = "task = \"copy\"\n[model.transformer]\nn_layers = 1\n[train]\nloss = \"plain\"\nkeep_last = \"all\"\n";
    for (from, to) in [
        ("", ""),
        ("n_layers", "n_layer"),
        ("n_layers = 1", "n_layers = -1"),
        ("n_layers = 1", "n_layers = 1.5"),
        ("transformer", "transfromer"),
        ("\"plain\"", "\"plane\""),
        ("\"all\"", "true"),
        ("task = \"copy\"", "seed = 1"),
        ("\"copy\"", "\"copi\""),
        ("[model.transformer]", "[model.transformer]\nkernel = { favor = { features = 3 } }"),
    ] {
        let table: toml::Table = whole.replace(from, to).parse().unwrap();
        let found = schema::fulfils(&experiment, &serde_json::to_value(table).unwrap());
        assert_eq!(found.is_ok(), from == to, "{from} -> {to}: {found:?}");
    }
}

#[test]
fn the_page_of_all_keys_is_the_one_that_the_program_writes() {
    let lab = Lab::new();
    let page = lab.headway(&["explain", "--page"]).succeed().stdout;
    let path = root().join("docs/keys.md");
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(page == written, "docs/keys.md is out of date: headway explain --page > docs/keys.md");
}

/// As the README has it.
#[test]
fn two_lines_are_an_experiment() {
    let lab = Lab::with("task = \"copy\"\nmodel = \"transformer\"\n");
    lab.train("run", &SHORT).succeed();
}
