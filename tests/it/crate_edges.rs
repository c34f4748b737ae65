//! Which crate may use which: the layout that separates models, tasks and training; and where other dependencies come
//! from.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use serde_json::Value;

/// Crates that each crate may depend on. The root package, `headway`, is the command line.
const ALLOWED: [(&str, &[&str]); 16] = [
    (
        "headway",
        &[
            "headway-report",
            "headway-study",
            "headway-inspect",
            "headway-trainer",
            "headway-theory",
            "headway-bounds",
            "headway-exchange",
            "headway-draw",
            "headway-plain",
            "headway-model",
            "headway-tasks",
            "headway-keys",
        ],
    ),
    (
        "headway-report",
        &[
            "headway-study",
            "headway-inspect",
            "headway-trainer",
            "headway-theory",
            "headway-bounds",
            "headway-draw",
            "headway-plain",
            "headway-model",
            "headway-tasks",
        ],
    ),
    ("headway-study", &["headway-trainer", "headway-plain", "headway-tasks", "headway-keys"]),
    ("headway-inspect", &["headway-trainer", "headway-plain", "headway-model", "headway-tasks"]),
    ("headway-trainer", &["headway-kernels", "headway-model", "headway-tasks", "headway-exchange", "headway-keys"]),
    ("headway-theory", &["headway-model", "headway-plain", "headway-tasks"]),
    ("headway-bounds", &["headway-theory", "headway-model", "headway-plain", "headway-tasks"]),
    ("headway-exchange", &["headway-model"]),
    ("headway-draw", &[]),
    ("headway-plain", &[]),
    ("headway-model", &["headway-kernels", "headway-plain", "headway-keys"]),
    ("headway-kernels", &["headway-keys"]),
    ("headway-tasks", &["headway-keys"]),
    ("headway-keys", &["headway-keys-derive"]),
    ("headway-keys-derive", &[]),
    ("headway-testkit", &["headway-kernels", "headway-model", "headway-plain", "headway-tasks"]),
];

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn name(package: &Value) -> &str {
    package["name"].as_str().unwrap()
}

/// Names of the dependencies of certain kinds: null for normal ones, `dev` or `build`.
fn dependencies(package: &Value, wanted: impl Fn(&Value) -> bool) -> BTreeSet<&str> {
    let all = package["dependencies"].as_array().unwrap().iter();
    all.filter(|dependency| wanted(&dependency["kind"])).map(name).collect()
}

#[test]
fn crates_depend_only_on_those_they_may_see() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into();
    let packages = packages();
    let members: BTreeSet<&str> = packages.iter().map(name).collect();
    assert!(members.len() >= 6, "{members:?}");
    for package in &packages {
        let name = name(package);
        let allowed = allowed.get(name).unwrap_or_else(|| panic!("{name} is new: say above what it may see"));
        for dependency in dependencies(package, |kind| kind != "dev") {
            let is_ours = dependency.starts_with("headway");
            assert_eq!(is_ours, members.contains(dependency), "{dependency} has a name of ours");
            assert!(!is_ours || allowed.contains(&dependency), "{name} may not depend on {dependency}");
        }
    }
}

#[test]
fn nobody_depends_on_the_command_line_and_only_tests_on_the_test_kit() {
    for package in &packages() {
        assert!(!dependencies(package, |_| true).contains("headway"), "{} depends on the command line", name(package));
        let normal = dependencies(package, |kind| kind != "dev");
        assert!(!normal.contains("headway-testkit"), "{} depends on the test kit", name(package));
    }
}

#[test]
fn no_member_leaves_the_workspace_lints_of_which_unsafe_code_is_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lines = |path: &Path| -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| line.split('#').next().unwrap().trim().to_owned()).collect()
    };
    let section = |lines: &[String], header: &str| -> Vec<String> {
        let body = lines.iter().skip_while(|line| *line != header).skip(1);
        body.take_while(|line| !line.starts_with('[')).filter(|line| !line.is_empty()).cloned().collect()
    };
    let rust = section(&lines(&root.join("Cargo.toml")), "[workspace.lints.rust]");
    assert!(rust.contains(&"unsafe_code = \"deny\"".to_owned()), "{rust:?}");
    for package in &packages() {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap());
        assert_eq!(section(&lines(manifest), "[lints]"), ["workspace = true"], "{}", manifest.display());
    }
}

#[test]
fn what_is_not_ours_comes_from_one_registry_in_versions_that_are_named() {
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    let sources: BTreeSet<&str> = lock.lines().filter_map(|line| line.strip_prefix("source = ")).collect();
    assert!(sources.len() == 1 && sources.iter().all(|source| source.starts_with("\"registry+")), "{sources:?}");
    for package in &packages() {
        for dependency in package["dependencies"].as_array().unwrap() {
            let is_ours = dependency["source"].is_null();
            assert!(is_ours || dependency["req"] != "*", "{}: {dependency}", name(package));
        }
    }
}

/// Paths and texts of the product's files below a folder, without tests.
fn sources(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("tests") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap().to_owned();
                found.push((path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), code));
            }
        }
    }
    found
}

/// Files of the product below a folder with a line of code, without tests and comments, for which `is_it` holds.
fn files_with(folder: &str, is_it: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let has_it = |code: &str| code.lines().filter(|line| !line.trim_start().starts_with("//")).any(&is_it);
    sources(folder).into_iter().filter(|(_, code)| has_it(code)).map(|(path, _)| path).collect()
}

#[test]
fn one_place_makes_generators() {
    // Dropout masks are drawn at each pass, from a number that the run's own generator gives.
    const MAKERS: [&str; 2] = ["crates/model/src/low_rank.rs", "crates/tasks/src/seed.rs"];
    let found = files_with("crates", |line| {
        ["seed_from_u64(", "::from_seed(", ".seed("].iter().any(|maker| line.contains(maker))
    });
    assert_eq!(found.into_iter().collect::<Vec<_>>(), MAKERS);
}

#[test]
fn one_place_multiplies_matrices_on_devices() {
    // burn's own product rounds f32 on some devices.
    let found = files_with("crates", |line| line.contains(".matmul("));
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["crates/kernels/src/matmul.rs"]);
}

#[test]
fn one_place_opens_devices_and_says_what_there_is_to_say_about_them() {
    // Processes started by a benchmark or a study print nothing, since the process that started them has.
    const OPENERS: [&str; 3] = ["crates/cli/bench.rs", "crates/cli/device.rs", "crates/cli/sweep.rs"];
    let found = files_with("crates/cli", |line| line.contains("device.open()") || line.contains("spec.open()"));
    assert_eq!(found.into_iter().collect::<Vec<_>>(), OPENERS);
}

#[test]
fn a_public_item_has_one_path() {
    // A module is public, or its items are public where it is declared.
    let mut twice = Vec::new();
    for (path, code) in sources("crates") {
        for module in code.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')) {
            let uses = ["", "self::", "crate::"].map(|from| format!("pub use {from}{module}::"));
            if code.lines().any(|line| uses.iter().any(|used| line.starts_with(used))) {
                twice.push(format!("{path}: {module}"));
            }
        }
    }
    assert!(twice.is_empty(), "{twice:?}");
}
