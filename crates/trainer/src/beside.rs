//! Atomic writes: data is written to a temporary path beside the target and then renamed, so that the target holds
//! either the old or the new bytes at any time. Temporary names contain the process that writes, so that leftovers of a
//! killed process are recognised and deleted.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process,
};

use crate::{bounded_read, disk, error::Error, machine, presence};

/// Start of the part of a temporary name that identifies the writer.
pub const MARK: &str = ".tmp-";

/// Replaces a file atomically.
///
/// # Errors
/// [`Error::Io`]
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let path = absolute(path)?;
    disk::replace_through(&temporary(&path), &path, bytes)
}

/// Replaces a file unless it already holds these bytes, so that processes that share a folder do not rewrite each
/// other's files.
///
/// # Errors
/// [`Error::Io`]
pub fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if bounded_read::read(path).is_ok_and(|there| there == bytes) { Ok(()) } else { write(path, bytes) }
}

/// Writes a file that must not exist yet.
///
/// # Errors
/// [`Error::Occupied`] when it is; [`Error::Io`]
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_new_through(path, |temporary| disk::write(temporary, bytes))
}

/// Writes a new file with `write`, which writes to the path that it is given and has synced the file when it returns.
///
/// # Errors
/// [`Error::Occupied`] when it is, before anything is written; [`Error::Io`]; what `write` returns
pub(crate) fn write_new_through(path: &Path, write: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
    let taken = || Error::occupied(path, "is there already", "choose another file with --out");
    let whole = absolute(path)?;
    if presence::is_there(&whole)? {
        return Err(taken());
    }
    let temporary = temporary(&whole);
    let whole_or_nothing = || {
        write(&temporary)?;
        // Unlike a rename, a hard link never replaces an existing file. Some file systems have none.
        match fs::hard_link(&temporary, &whole) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(taken()),
            Ok(()) => fs::remove_file(&temporary).map_err(Error::io("cannot delete", &temporary)),
            Err(_) => fs::rename(&temporary, &whole).map_err(Error::io("cannot write", path)),
        }
    };
    whole_or_nothing().inspect_err(|_| {
        // Half a file is useless; the error in hand is the one to report.
        let _ = fs::remove_file(&temporary);
    })
}

/// Writes a folder of files that must not exist yet.
///
/// # Errors
/// [`Error::Occupied`] when it is; [`Error::Io`]
pub fn write_new_folder(path: &Path, files: &[(&str, Vec<u8>)]) -> Result<(), Error> {
    let whole = absolute(path)?;
    if presence::is_there(&whole)? {
        return Err(Error::occupied(path, "is there already", "choose another folder with --out"));
    }
    let temporary = temporary(&whole);
    disk::write_folder(&temporary, &whole, files).inspect_err(|_| {
        // Half a folder is useless; the error in hand is the one to report.
        let _ = fs::remove_dir_all(&temporary);
    })
}

/// The path made absolute: its parent folder is synced too, and a relative path may not name one.
///
/// # Errors
/// [`Error::Io`]
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(Error::io("cannot resolve", path))
}

/// Temporary path beside `path` for what will replace it. No other process writes there; leftovers of dead processes
/// beside it are deleted.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let me = format!("{}-{}", process::id(), machine::host());
    if let Some(folder) = path.parent() {
        sweep(folder);
    }
    // File names are limited to 255 bytes.
    let name: String = presence::name(path).chars().take(40).collect();
    path.with_file_name(format!("{name}{MARK}{me}"))
}

/// Deletes what dead processes of this machine left unfinished in a folder. Errors are ignored.
pub(crate) fn sweep(folder: &Path) {
    for path in presence::list(folder).ok().flatten().unwrap_or_default() {
        let name = presence::name(&path);
        if name.rsplit_once(MARK).is_some_and(|(_, writer)| is_dead(writer)) {
            let _ = if path.is_symlink() || presence::is_file(&path).unwrap_or(true) {
                fs::remove_file(&path)
            } else {
                fs::remove_dir_all(&path)
            };
        }
    }
}

/// Whether the writer `<process>-<machine>` has ended; false for writers on other machines, of which nothing is known.
fn is_dead(writer: &str) -> bool {
    let Some((process, host)) = writer.split_once('-') else { return false };
    let Ok(process) = process.parse::<u32>() else { return false };
    let there = |name: &str| presence::is_there(&Path::new("/proc").join(name)).unwrap_or(true);
    // Another process with this process's number must have ended, and this one has nothing unfinished at this moment.
    host == machine::host() && there("self") && (process == process::id() || !there(&process.to_string()))
}
