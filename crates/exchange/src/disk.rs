//! What lies on the disk, as the system says it: the one place that looks and reads.
//!
//! A test can have it fail: `HEADWAY_FAULT=read:13` makes the 13th look or read fail, as on a network disk, and no other.

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

/// About what is at a path, through links.
///
/// # Errors
/// What the system says.
pub fn about(path: &Path) -> io::Result<Metadata> {
    ask(|| fs::metadata(path))
}

/// About what is at a path, a link itself if there is one.
///
/// # Errors
/// What the system says.
pub fn about_link(path: &Path) -> io::Result<Metadata> {
    ask(|| fs::symlink_metadata(path))
}

/// What lies directly in a folder, by name.
///
/// # Errors
/// What the system says.
pub fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries: Vec<PathBuf> =
        ask(|| fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>())?;
    entries.sort();
    Ok(entries)
}

/// A file, to read it.
///
/// # Errors
/// What the system says.
pub fn open(path: &Path) -> io::Result<File> {
    ask(|| File::open(path))
}

/// The bytes of a file.
///
/// # Errors
/// What the system says.
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
