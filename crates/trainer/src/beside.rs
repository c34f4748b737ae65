//! Writing beside and renaming: a path holds either what it held or the new bytes, whatever happens in between. What is being
//! written carries the name of the process that writes it, so that what a killed one left is known and swept away.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process,
};

use crate::{bounded_read, disk, error::Error, machine, presence};

/// Begins the part of a name that tells who is writing.
pub const MARK: &str = ".tmp-";

/// Replaces a file.
///
/// # Errors
/// [`Error::Io`]
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let path = absolute(path)?;
    disk::replace_through(&temporary(&path), &path, bytes)
}

/// Replaces a file unless it already holds these bytes: processes that share a folder then do not renew each other's files.
///
/// # Errors
/// [`Error::Io`]
pub fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if bounded_read::read(path).is_ok_and(|there| there == bytes) { Ok(()) } else { write(path, bytes) }
}

/// Writes a file that is not there yet.
///
/// # Errors
/// [`Error::Occupied`] when it is; [`Error::Io`]
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_new_through(path, |temporary| disk::write(temporary, bytes))
}

/// Writes a file that is not there yet, by whatever writes one into the path that it is given and has it on disk when it returns.
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
        // A second name, unlike a new one, takes nobody's place. Some file systems give none.
        match fs::hard_link(&temporary, &whole) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(taken()),
            Ok(()) => fs::remove_file(&temporary).map_err(Error::io("cannot delete", &temporary)),
            Err(_) => fs::rename(&temporary, &whole).map_err(Error::io("cannot write", path)),
        }
    };
    whole_or_nothing().inspect_err(|_| {
        // Half a file is of no use; the error at hand is the one to tell.
        let _ = fs::remove_file(&temporary);
    })
}

/// Writes a folder of files that is not there yet.
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
        // Half a folder is of no use; the error at hand is the one to tell.
        let _ = fs::remove_dir_all(&temporary);
    })
}

/// A path from the root on: the folder above is synced too, and a relative path may name none.
///
/// # Errors
/// [`Error::Io`]
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(Error::io("cannot resolve", path))
}

/// Name beside `path` for what will become it. Nobody else writes there, and what dead processes left beside it is deleted.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let me = format!("{}-{}", process::id(), machine::host());
    if let Some(folder) = path.parent() {
        sweep(folder);
    }
    // Names end at 255 bytes.
    let name: String = presence::name(path).chars().take(40).collect();
    path.with_file_name(format!("{name}{MARK}{me}"))
}

/// Deletes what dead processes of this machine were writing in a folder. A courtesy: what cannot be deleted stays.
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

/// Whether a writer, `<process>-<machine>`, is gone. Of other machines that cannot be told.
fn is_dead(writer: &str) -> bool {
    let Some((process, host)) = writer.split_once('-') else { return false };
    let Ok(process) = process.parse::<u32>() else { return false };
    let there = |name: &str| presence::is_there(&Path::new("/proc").join(name)).unwrap_or(true);
    // An earlier process of our own number is gone, since we have it now; we have nothing half-written while we look.
    host == machine::host() && there("self") && (process == process::id() || !there(&process.to_string()))
}
