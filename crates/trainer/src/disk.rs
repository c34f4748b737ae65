//! File operations. Each is a crash point for tests, and its result is on disk when it returns.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
};

use crate::{error::Error, fault, presence};

/// Extension of the temporary file of [`replace`].
pub(crate) const HALF: &str = "tmp";

/// Replaces a file atomically: at any time it holds either the old bytes or the new ones.
///
/// # Errors
/// [`Error::Io`]
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    replace_through(&path.with_extension(HALF), path, bytes)
}

/// [`replace`] for several processes at once, each with a temporary file of its own.
///
/// # Errors
/// [`Error::Io`]
pub(crate) fn replace_through(temporary: &Path, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if let Some(parent) = path.parent() {
        create_dir(parent)?;
    }
    write(temporary, bytes)?;
    rename(temporary, path)
}

/// Writes files into a temporary folder, which is renamed to `path`, where nothing exists, when every byte is on disk.
///
/// # Errors
/// [`Error::Io`]
pub(crate) fn write_folder(temporary: &Path, path: &Path, files: &[(&str, Vec<u8>)]) -> Result<(), Error> {
    write_files(temporary, files)?;
    sync(temporary)?;
    rename(temporary, path)
}

pub(crate) fn write_files(folder: &Path, files: &[(&str, Vec<u8>)]) -> Result<(), Error> {
    create_dir(folder)?;
    files.iter().try_for_each(|(name, bytes)| write(&folder.join(name), bytes))
}

/// For `map_err`, as the action.
pub(crate) const CANNOT_WRITE: &str = "cannot write";

/// Creates a file to be written piece by piece; the caller must sync it.
pub(crate) fn create(path: &Path) -> Result<File, Error> {
    fault::before_file(|| ()).and_then(|()| File::create(path)).map_err(Error::io(CANNOT_WRITE, path))
}

pub(crate) fn create_dir(path: &Path) -> Result<(), Error> {
    if presence::is_folder(path)? {
        return Ok(());
    }
    fault::before_file(|| ()).and_then(|()| fs::create_dir_all(path)).map_err(Error::io("cannot create folder", path))
}

pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let torn = || drop(fs::write(path, &bytes[..bytes.len() / 2]));
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    fault::before_file(torn).and_then(|()| write()).map_err(Error::io(CANNOT_WRITE, path))
}

pub(crate) fn append(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let append = |bytes: &[u8]| File::options().create(true).append(true).open(path)?.write_all(bytes);
    fault::before_file(|| drop(append(&bytes[..bytes.len() / 2])))
        .and_then(|()| append(bytes))
        .map_err(Error::io("cannot append to", path))
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fault::before_file(|| ()).and_then(|()| fs::rename(from, to)).map_err(Error::io("cannot rename to", to))?;
    match to.parent() {
        Some(parent) => sync(parent),
        None => Ok(()),
    }
}

pub(crate) fn remove_file(path: &Path) -> Result<(), Error> {
    if !presence::is_there(path)? {
        return Ok(());
    }
    fault::before_file(|| ()).and_then(|()| fs::remove_file(path)).map_err(Error::io("cannot delete", path))
}

#[allow(clippy::disallowed_methods, reason = "half of a deletion, for a test")]
pub(crate) fn remove_dir(path: &Path) -> Result<(), Error> {
    let torn = || {
        let files = fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
        drop(files.map(|file| file.path()).max().map(fs::remove_file));
    };
    fault::before_file(torn).and_then(|()| fs::remove_dir_all(path)).map_err(Error::io("cannot delete", path))
}

/// Waits until a file or folder is on disk.
pub(crate) fn sync(path: &Path) -> Result<(), Error> {
    fault::before_file(|| ()).and_then(|()| File::open(path)?.sync_all()).map_err(Error::io(CANNOT_WRITE, path))
}
