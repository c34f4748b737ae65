//! Folders as written by Hugging Face's `save_pretrained`: one file of weights, or an index of several files.
//!
//! # References
//! `model.safetensors.index.json`: `{"metadata": …, "weight_map": {name: file}}`.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    path::Path,
};

use serde::Deserialize;

use super::{Contents, named, read_file};
use crate::{Arrays, Error, disk};

/// Files of weights in such a folder, in the order in which `from_pretrained` looks for them.
const WEIGHTS: [&str; 4] =
    ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];

/// Largest size in bytes of an index; a model with a hundred thousand tensors has this size.
const LARGEST_INDEX: u64 = 20_000_000;

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Whether a file name is that of an index of a model's parts.
pub(super) fn is_index(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".index.json"))
}

/// Reads the weights of a folder.
///
/// # Errors
/// as [`super::read`]; if the folder has none of these files, the error says what it is
pub(super) fn read(folder: &Path, key: Option<&str>) -> Result<Contents, Error> {
    let entries = disk::entries(folder).map_err(Error::unread(folder))?;
    let names: Vec<String> =
        entries.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
    let is_ours = names.iter().any(|name| name == "MANIFEST");
    let found = WEIGHTS.into_iter().find(|wanted| names.iter().any(|name| name == wanted));
    let Some(file) = found.filter(|_| !is_ours) else {
        return Err(Error::File(named::folder_of_no_weights(&names)));
    };
    let path = folder.join(file);
    let contents = if is_index(&path) { read_index(&path, key) } else { read_file(&path, key) };
    let contents = contents.map_err(|error| in_file(file, error))?;
    Ok(if contents.files.is_empty() { Contents { files: vec![path], ..contents } } else { contents })
}

fn in_file(file: &str, error: Error) -> Error {
    match error {
        Error::File(problem) => Error::File(format!("{file}: {problem}")),
        other => other,
    }
}

/// Reads the parts that an index lists, which are in the same folder.
///
/// # Errors
/// as [`super::read`], and if a part is missing or lacks tensors that the index lists for it
pub(super) fn read_index(path: &Path, key: Option<&str>) -> Result<Contents, Error> {
    let size = disk::about(path).map_err(Error::unread(path))?.len();
    if size > LARGEST_INDEX {
        return Err(Error::file(format!("is an index of {} MB, larger than that of any model", size / 1_000_000)));
    }
    let index: Index = serde_json::from_slice(&disk::read(path).map_err(Error::unread(path))?)
        .map_err(|error| Error::file(format!("is no index of the parts of a model: {error}")))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let parts: BTreeSet<&str> = index.weight_map.values().map(String::as_str).collect();
    let mut whole: Option<Contents> = None;
    for part in parts {
        if Path::new(part).components().count() != 1 || part.contains("..") {
            return Err(Error::file(format!("lists `{part}`, which does not lie beside it")));
        }
        let file = folder.join(part);
        let contents = read_file(&file, None).map_err(|error| match error {
            Error::Unread { source, .. } if source.kind() == ErrorKind::NotFound => {
                Error::file(format!("lists {part}, which is missing; all parts must lie beside the index"))
            }
            error => in_file(part, error),
        })?;
        let all = whole.get_or_insert_with(|| Contents {
            container: contents.container,
            key: None,
            beside: Vec::new(),
            alike: Vec::new(),
            tensors: Arrays::new(),
            rounded: Vec::new(),
            told: Vec::new(),
            files: vec![path.to_owned()],
        });
        all.files.push(file);
        all.rounded.extend(contents.rounded);
        all.told.extend(contents.told);
        for (name, array) in contents.tensors {
            if index.weight_map.get(&name).is_none_or(|listed| listed != part) {
                return Err(Error::file(format!("does not list `{name}`, which {part} holds")));
            }
            all.tensors.insert(name, array);
        }
    }
    let mut whole = whole.ok_or_else(|| Error::file("lists no weights"))?;
    if let Some(missing) = index.weight_map.keys().find(|name| !whole.tensors.contains_key(*name)) {
        return Err(Error::file(format!("lists `{missing}`, which its part does not hold")));
    }
    whole.rounded.sort_by(|a, b| a.name.cmp(&b.name));
    let Contents { container, tensors, rounded, told, files, .. } = whole;
    Ok(Contents { told, files, ..super::select(container, tensors, rounded, key)? })
}
