//! What exists at a path. Only the system's "not found" means that nothing does; any other failure is an error with the
//! path, since the file may well exist.

use std::{
    fs::FileType,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use headway_exchange::disk;

use crate::error::Error;

/// Type of what is at a path, following links; `None` if nothing is.
///
/// # Errors
/// [`Error::Io`] if the path cannot be examined; also for a link to a missing target, for example on a disk that is not
/// mounted.
pub fn kind(path: &Path) -> Result<Option<FileType>, Error> {
    match disk::about(path) {
        Ok(about) => Ok(Some(about.file_type())),
        Err(error) if is_not_there(&error) => {
            // The first existing part of the path: a broken link hides everything behind it.
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

/// Whether the system says that nothing exists there; for paths below a file it uses another error.
fn is_not_there(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Whether anything exists at a path.
///
/// # Errors
/// as [`kind`]
pub fn is_there(path: &Path) -> Result<bool, Error> {
    Ok(kind(path)?.is_some())
}

/// Whether a path is a file.
///
/// # Errors
/// as [`kind`]
pub fn is_file(path: &Path) -> Result<bool, Error> {
    Ok(kind(path)?.is_some_and(|kind| kind.is_file()))
}

/// Whether a path is a folder.
///
/// # Errors
/// as [`kind`]
pub fn is_folder(path: &Path) -> Result<bool, Error> {
    Ok(kind(path)?.is_some_and(|kind| kind.is_dir()))
}

/// Entries of a folder, sorted by name; `None` if the folder does not exist.
///
/// # Errors
/// as [`kind`], and for a path that is not a folder
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
