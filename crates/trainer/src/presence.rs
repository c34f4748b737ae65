//! What is at a path. Only "not found" means that nothing is: whatever else the system answers is an error with the path, since
//! what could not be looked at may well be there.

use std::{
    fs::{self, FileType},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use crate::{error::Error, fault};

/// What is at a path, through links; nothing where nothing is.
///
/// # Errors
/// [`Error::Io`] when that cannot be told, also for a link to what is not there, a disk that is not mounted perhaps.
#[allow(clippy::disallowed_methods, reason = "this is the place that asks")]
pub fn kind(path: &Path) -> Result<Option<FileType>, Error> {
    match fault::before_reading().and_then(|()| fs::metadata(path)) {
        Ok(about) => Ok(Some(about.file_type())),
        // Below a file there is nothing, which the system says in these words.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            // The first part of the path that is there: a link that leads nowhere hides what is behind it.
            let there = path.ancestors().find_map(|part| Some((part, fs::symlink_metadata(part).ok()?)));
            match there {
                Some((link, about)) if about.is_symlink() && fs::metadata(link).is_err() => {
                    Err(Error::io("cannot follow the link", link)(error))
                }
                _ => Ok(None),
            }
        }
        Err(error) => Err(Error::unread(path)(error)),
    }
}

/// Whether anything is at a path.
///
/// # Errors
/// as [`kind`]
pub fn is_there(path: &Path) -> Result<bool, Error> {
    Ok(kind(path)?.is_some())
}

/// Whether a file is at a path.
///
/// # Errors
/// as [`kind`]
pub fn is_file(path: &Path) -> Result<bool, Error> {
    Ok(kind(path)?.is_some_and(|kind| kind.is_file()))
}

/// Whether a folder is at a path.
///
/// # Errors
/// as [`kind`]
pub fn is_folder(path: &Path) -> Result<bool, Error> {
    Ok(kind(path)?.is_some_and(|kind| kind.is_dir()))
}

/// What lies directly in a folder, by name; nothing where there is no folder.
///
/// # Errors
/// as [`kind`], and for what is no folder
#[allow(clippy::disallowed_methods, reason = "this is the place that asks")]
pub fn list(folder: &Path) -> Result<Option<Vec<PathBuf>>, Error> {
    let entries = fault::before_reading().and_then(|()| fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect());
    match entries {
        Ok(entries) => {
            let mut entries: Vec<PathBuf> = entries;
            entries.sort();
            Ok(Some(entries))
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) && !is_there(folder)? => {
            Ok(None)
        }
        Err(error) => Err(Error::unread(folder)(error)),
    }
}

/// The last part of a path, as text.
pub(crate) fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
