//! `headway import`, `headway export` and `headway card`: weights from other programs, for other programs, and what to say
//! about them.

pub mod args;
pub mod card;
pub mod export;
pub mod import;

use std::{fs, io::Write, path::Path};

use headway_trainer::Error;

/// Writes a file that is not there yet.
///
/// # Errors
/// [`Error::Usage`] when it is, or its folder is not; [`Error::Io`] when it cannot be written.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let cannot = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::Usage(format!("{} is there already; choose another file with --out", path.display()))
        }
        std::io::ErrorKind::NotFound => Error::Usage(format!("cannot write {}: {error}", path.display())),
        _ => Error::Io { action: "cannot write", path: path.to_owned(), source: error },
    };
    let mut file = fs::File::create_new(path).map_err(cannot)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| {
        // Half a file is of no use; the error at hand is the one to tell.
        let _ = fs::remove_file(path);
        cannot(error)
    })
}

/// Writes a folder of files that is not there yet: out of sight until it is whole.
///
/// # Errors
/// [`Error::Usage`] when it is there; [`Error::Io`]
fn write_new_folder(path: &Path, files: &[(&str, Vec<u8>)]) -> Result<(), Error> {
    match fs::symlink_metadata(path) {
        Ok(_) => {
            return Err(Error::Usage(format!("{} is there already; choose another folder with --out", path.display())));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(Error::Io { action: "cannot look at", path: path.to_owned(), source }),
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.tmp-{}", std::process::id()));
    let write = || {
        fs::create_dir(&temporary)?;
        for (name, bytes) in files {
            let file = fs::File::create_new(temporary.join(name))?;
            (&file).write_all(bytes)?;
            file.sync_all()?;
        }
        fs::File::open(&temporary)?.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|source| {
        // Half a folder is of no use; the error at hand is the one to tell.
        let _ = fs::remove_dir_all(&temporary);
        Error::Io { action: "cannot write", path: path.to_owned(), source }
    })
}
