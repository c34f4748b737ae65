//! Access to the disk, with the system's own errors: the one module that examines and reads files.
//!
//! Tests can make it fail: `HEADWAY_FAULT=read:13` makes the 13th access fail, and only that one, as on a network disk.

#![allow(clippy::disallowed_methods, reason = "this is the place that asks")]

use std::{
    fs::{self, File, Metadata},
    io,
    path::{Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Metadata of what is at a path, following links.
///
/// # Errors
/// The system's error.
pub fn about(path: &Path) -> io::Result<Metadata> {
    ask(|| fs::metadata(path))
}

/// Metadata of what is at a path, without following a link.
///
/// # Errors
/// The system's error.
pub fn about_link(path: &Path) -> io::Result<Metadata> {
    ask(|| fs::symlink_metadata(path))
}

/// Entries of a folder, sorted by name.
///
/// # Errors
/// The system's error.
pub fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries: Vec<PathBuf> =
        ask(|| fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>())?;
    entries.sort();
    Ok(entries)
}

/// Opens a file for reading.
///
/// # Errors
/// The system's error.
pub fn open(path: &Path) -> io::Result<File> {
    ask(|| File::open(path))
}

/// The bytes of a file.
///
/// # Errors
/// The system's error.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    ask(|| fs::read(path))
}

fn ask<T>(question: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    static FAILING: LazyLock<Option<u64>> =
        LazyLock::new(|| std::env::var("HEADWAY_FAULT").ok()?.strip_prefix("read:")?.parse().ok());
    static COUNT: AtomicU64 = AtomicU64::new(0);
    if FAILING.is_some_and(|at| COUNT.fetch_add(1, Ordering::SeqCst) + 1 == at) {
        return Err(io::ErrorKind::StaleNetworkFileHandle.into());
    }
    question()
}
