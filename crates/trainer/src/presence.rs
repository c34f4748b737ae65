//! What is at a path. Only "not found" means that nothing is: whatever else the system answers is an error with the path, since
//! what could not be looked at may well be there.

use std::{
    fs::FileType,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use headway_exchange::disk;

use crate::error::Error;

/// What is at a path, through links; nothing where nothing is.
///
/// # Errors
/// [`Error::Io`] when that cannot be told, also for a link to what is not there, a disk that is not mounted perhaps.
pub fn kind(path: &Path) -> Result<Option<FileType>, Error> {
    match disk::about(path) {
        Ok(about) => Ok(Some(about.file_type())),
        Err(error) if is_not_there(&error) => {
            // The first part of the path that is there: a link that leads nowhere hides what is behind it.
            for part in path.ancestors() {
                match disk::about_link(part) {
                    Ok(about) if about.is_symlink() && disk::about(part).is_err() => {
                        return Err(Error::io("cannot follow the link", part)(error));
                    }
                    Ok(_) => break,
                    Err(error) if is_not_there(&error) => {}
                    Err(error) => return Err(Error::unread(part)(error)),
                }
            }
            Ok(None)
        }
        Err(error) => Err(Error::unread(path)(error)),
    }
}

/// Whether the system says that nothing is there. It has other words for what is below a file.
fn is_not_there(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
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
pub fn list(folder: &Path) -> Result<Option<Vec<PathBuf>>, Error> {
    match disk::entries(folder) {
        Ok(entries) => Ok(Some(entries)),
        Err(error) if is_not_there(&error) && !is_there(folder)? => Ok(None),
        Err(error) => Err(Error::unread(folder)(error)),
    }
}

/// The last part of a path, as text.
pub fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
