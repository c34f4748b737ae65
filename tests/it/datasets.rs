//! The data that ships: every file is the one that was checked, packed and unpacked, and none is without a digest.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use headway_trainer::{data, digest::digest};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets")
}

/// Digests by path, as `sha256sum` writes them.
fn listed(name: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(folder().join(name)).unwrap();
    let line = |line: &str| line.split_once("  ").map(|(digest, path)| (path.to_owned(), digest.to_owned()));
    text.lines().map(|text| line(text).unwrap_or_else(|| panic!("{name}: {text}"))).collect()
}

fn all(below: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder().join(below)).unwrap().map(Result::unwrap) {
        let path = below.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            all(&path, found);
        } else {
            found.push(path.to_str().unwrap().replace('\\', "/"));
        }
    }
}

#[test]
fn every_file_is_the_one_that_was_checked() {
    let (packed, contents) = (listed("SHA256SUMS"), listed("SHA256SUMS.contents"));
    let mut files = Vec::new();
    all(Path::new(""), &mut files);
    files.retain(|file| {
        !["README.md", "LICENSES.md", "SHA256SUMS", "SHA256SUMS.contents", "make_datasets.py"].contains(&file.as_str())
    });
    files.sort();
    assert_eq!(files, packed.keys().cloned().collect::<Vec<_>>());
    assert_eq!(files, contents.keys().cloned().collect::<Vec<_>>());
    let reader = data::files(folder());
    for file in &files {
        assert_eq!(digest(&fs::read(folder().join(file)).unwrap()), packed[file], "{file}");
        assert_eq!(reader.read(Path::new(file)).unwrap().sha256, contents[file], "{file}, unpacked");
    }
    // Notices and origins are there for each.
    for page in ["README.md", "LICENSES.md"] {
        let page = fs::read_to_string(folder().join(page)).unwrap();
        for file in &files {
            let name = file.split('/').next().unwrap();
            assert!(page.contains(name), "{name}");
        }
    }
}
