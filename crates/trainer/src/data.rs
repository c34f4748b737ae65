//! Data files: how tasks read the files that they name.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use headway_exchange::npz;
use headway_model::weights::Array;
use headway_tasks::{Files, Numbers};

use crate::bounded_read;

/// Access to the data files of tasks, relative to a folder; an empty path is the working folder.
pub fn files(folder: impl Into<PathBuf>) -> Files {
    Files::new(folder, bounded_read::read, arrays)
}

fn arrays(path: &Path, bytes: &[u8], names: &[&str]) -> Result<BTreeMap<String, Numbers>, String> {
    let numbers = |Array { shape, values }| Numbers { shape, values };
    if path.extension().is_some_and(|ending| ending == "npz") {
        let arrays = npz::read_named(bytes, names)?;
        return Ok(arrays.into_iter().map(|(name, array)| (name, numbers(array))).collect());
    }
    let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(BTreeMap::from([(name, numbers(npz::read_npy(bytes)?))]))
}
