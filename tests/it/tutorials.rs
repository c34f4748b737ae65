//! Every command of the tutorials is run, as a reader runs them: in one folder, in their order, by a shell.

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use crate::harness::{Lab, there_is};

/// What a tutorial asks its reader to do.
#[derive(Debug, PartialEq)]
enum Step {
    /// Writes a block into a file.
    Write { name: String, text: String },
    /// Runs a command line.
    Run(String),
}

/// The steps of a page. A block is the file that the line before it names at its end, as `` `mine.toml`: ``; of other blocks, lines that begin with the name of a
/// program are commands. What cargo does is not a step.
fn steps(page: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for paragraph in blocks(page) {
        let (before, block) = paragraph;
        let name = before.strip_suffix("`:").and_then(|start| start.rsplit('`').next());
        if let Some(name) = name {
            steps.push(Step::Write { name: name.to_owned(), text: block.join("\n") + "\n" });
            continue;
        }
        let programs = ["headway ", "python ", "sbatch "];
        let commands = block.iter().filter(|line| programs.iter().any(|program| line.starts_with(program)));
        steps.extend(commands.map(|line| Step::Run(line.split("  #").next().unwrap().trim_end().to_owned())));
    }
    steps
}

/// Indented blocks, without the indentation, each with the line of text before it.
fn blocks(page: &str) -> Vec<(&str, Vec<&str>)> {
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    let (mut before, mut is_open) = ("", false);
    for line in page.lines() {
        match (line.strip_prefix("    "), line.is_empty()) {
            (Some(inside), _) if is_open => found.last_mut().unwrap().1.push(inside),
            (Some(inside), _) => {
                found.push((before, vec![inside]));
                (before, is_open) = ("", true);
            }
            (None, true) if is_open => found.last_mut().unwrap().1.push(""),
            (None, true) => {}
            (None, false) => (before, is_open) = (line, false),
        }
    }
    for (_, block) in &mut found {
        while block.last().is_some_and(|line| line.is_empty()) {
            block.pop();
        }
    }
    found
}

#[test]
fn a_page_is_read_as_its_reader_reads_it() {
    let page = "Write `a.toml`:\n\n    x = 1\n\n    y = 2\n\n\nThen\n\n    headway check a.toml    # all at once\n    printed\n    headway eval a\n";
    let run = |line: &str| Step::Run(line.to_owned());
    let file = Step::Write { name: "a.toml".to_owned(), text: "x = 1\n\ny = 2\n".to_owned() };
    assert_eq!(steps(page), [file, run("headway check a.toml"), run("headway eval a")]);
}

/// Programs in place of those that a reader has: `headway` takes a few steps only, with further settings, and looks at a few sequences; `sbatch` executes each element of an array.
fn programs(lab: &Lab, smaller: &str) {
    let headway = env!("CARGO_BIN_EXE_headway");
    let python = env::var("HEADWAY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    fs::create_dir(lab.path("bin")).unwrap();
    for (name, script) in [
        (
            "headway",
            format!(
                "case $1 in
                 train|sweep|compare) exec {headway} \"$@\" -s train.steps=12 -s schedule.warmup_steps=2 {smaller};;
                 analyze) exec {headway} \"$@\" --sequences 16;;
                 *) exec {headway} \"$@\";;
                 esac"
            ),
        ),
        ("python", format!("exec {python} \"$@\"")),
        // The scheduler of a cluster, of which this machine is the only node.
        (
            "sbatch",
            "range=${1#--array=}\nfor k in $(seq ${range%-*} ${range#*-}); do SLURM_ARRAY_TASK_ID=$k sh $2 || exit 1; done"
                .to_owned(),
        ),
    ] {
        let path = lab.write(&format!("bin/{name}"), format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// Follows a tutorial, and asserts that every command succeeds and that each `runs/…` that the page names is there in the end.
fn follow(name: &str, smaller: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/tutorials").join(name)).unwrap();
    let lab = Lab::new();
    for folder in ["experiments", "checkpoints", "python"] {
        symlink(root.join(folder), lab.path(folder)).unwrap();
    }
    programs(&lab, smaller);
    let path = format!("{}:{}", lab.path("bin").display(), env::var("PATH").unwrap_or_default());
    let mut commands = 0;
    for step in steps(&page) {
        match step {
            Step::Write { name, text } if lab.path(&name).is_file() => {
                assert_eq!(text, lab.read(&name), "{name} is another in the repository");
            }
            Step::Write { name, text } => drop(lab.write(&name, text)),
            Step::Run(line) => {
                let line = ["cuda", "vulkan"]
                    .iter()
                    .fold(line, |line, device| line.replace(&format!("--device {device}"), "--device cpu"));
                let mut shell = Command::new("sh");
                shell.args(["-c", &line]).current_dir(lab.path("")).env("PATH", &path);
                let output = shell.env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success() && !said.contains("panicked"), "{name}: {line}: {output:?}");
                commands += 1;
            }
        }
    }
    assert!(commands >= 2, "{name}: only {commands} commands");
    for (at, _) in page.match_indices("`runs/") {
        let named = page[at + 1..].split('`').next().unwrap();
        assert!(fs::exists(lab.path(named)).unwrap(), "{name}: {named} is not there");
    }
}

#[test]
fn first_run() {
    follow("first-run.md", "");
}

#[test]
fn own_data() {
    if there_is("numpy") {
        follow("own-data.md", "");
    }
}

#[test]
fn own_question() {
    follow("own-question.md", "-s data.test=32 -s data.validation=32 -s train.batch_size=8");
}

#[test]
fn comparing() {
    follow("comparing.md", "-s data.test=32 -s data.validation=32 -s train.batch_size=8");
}

#[test]
fn theorem() {
    if there_is("numpy") {
        follow("theorem.md", "");
    }
}

#[test]
fn cluster() {
    follow("cluster.md", "");
}

#[test]
fn gpu() {
    follow("gpu.md", "");
}

/// A crate of one's own takes minutes to build; what its page says of files, names and features must be so.
#[test]
fn own_parts() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap();
    let (page, manifest) = (read("docs/tutorials/own-parts.md"), read("Cargo.toml"));
    let paths = page.split("{ path = \"../headway").skip(1).map(|rest| rest.split('"').next().unwrap());
    assert_eq!(paths.filter(|path| root.join(path.trim_start_matches('/')).join("Cargo.toml").exists()).count(), 5);
    let burn = |text: &str| {
        let start = text.find("burn = { version").unwrap();
        let line = text[start..].split_inclusive('}').next().unwrap();
        line.split_whitespace().collect::<String>().replace(",]", "]")
    };
    assert_eq!(burn(&page), burn(&manifest));
    let kernel = read("examples/own/parts/kernel.rs");
    let shown = page.split("```rust\n").find(|block| block.starts_with("impl Kernel for")).unwrap();
    assert!(kernel.contains(shown.split("```").next().unwrap()), "the page shows another kernel than the example");
    assert!(page.contains("kernel::Taylor") && kernel.contains("pub struct Taylor") && kernel.contains("\"taylor\""));
}

#[test]
fn every_tutorial_is_followed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = include_str!("tutorials.rs");
    for entry in fs::read_dir(root.join("docs/tutorials")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == "own-parts.md" || source.contains(&format!("follow(\"{name}\",")), "{name} is not followed");
    }
}
