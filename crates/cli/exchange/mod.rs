//! `headway import`, `headway export` and `headway card`: weights from other programs, for other programs, and what to say
//! about them.

pub mod args;
pub mod card;
pub mod export;
pub mod import;

use std::{fs, path::Path};

use headway_trainer::Error;

/// Writes a file that is not there yet.
///
/// # Errors
/// [`Error::Usage`] when it is, or when it cannot be written.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    use std::io::Write;
    let cannot = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::Usage(format!("{} is there already; choose another file with --out", path.display()))
        }
        _ => Error::Usage(format!("cannot write {}: {error}", path.display())),
    };
    let mut file = fs::File::create_new(path).map_err(cannot)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| {
        // Half a file is of no use; the error at hand is the one to tell.
        let _ = fs::remove_file(path);
        cannot(error)
    })
}
