//! Command lines on the pages are all understood by the program. Their effects are tested elsewhere.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{construct::words, harness::Lab};

/// README, CONTRIBUTING, and everything below docs/.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md"].map(|name| root.join(name)).into();
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

#[test]
fn every_command_line_on_a_page_is_understood() {
    let lab = Lab::new();
    let mut found = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap().replace("\\\n", " ");
        let blocks = text.lines().filter_map(|line| line.strip_prefix("    "));
        for line in blocks.filter_map(|line| line.trim_start_matches("$ ").strip_prefix("headway ")) {
            // What a shell does with the output is not the program's.
            let command = words(line.split(" #").next().unwrap().split(" > ").next().unwrap());
            // With --help nothing is executed, but everything before it is parsed.
            let command: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
            let finished = lab.headway(&command).run();
            assert_eq!(finished.status.code(), Some(0), "{}: {line}: {finished:#?}", page.display());
            found += 1;
        }
    }
    assert!(found >= 80, "only {found} command lines: are the pages gone?");
}
