//! Reading files from users: whole files that fit into memory, and texts that are not built to take many times their
//! size.
//!
//! Reading takes at most ten times the size of the file plus 64 MB.

use std::{
    fs::{File, Metadata},
    io,
    path::{Path, PathBuf},
};

use headway_exchange::{Arrays, disk, npz};
use headway_model::weights::arrays_from_bytes;
use serde::de::DeserializeOwned;

use crate::{error::Error, machine, presence, quote};

/// The bytes of a file.
///
/// # Errors
/// The system's error; also for a path that is not a regular file, such as a pipe or a device, and for a file larger
/// than the machine's memory.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let about = about(path)?;
    let (size, there) = (about.len() as f64, machine::memory());
    if let Some(there) = there.filter(|there| size > *there) {
        let problem = format!("{:.1} GB, and the machine has {:.1} GB of memory", size / 1e9, there / 1e9);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    disk::read(path)
}

/// Metadata of a file or folder; an error for a pipe or device, which may have no end.
fn about(path: &Path) -> io::Result<Metadata> {
    let about = disk::about(path)?;
    // Opening a pipe would block until somebody writes to it. Folders are refused by the system.
    if !about.is_file() && !about.is_dir() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a pipe or device; give a file"));
    }
    Ok(about)
}

/// Opens a file named by an option, to be read piece by piece.
///
/// # Errors
/// [`Error::NoFile`]; [`Error::Io`]
pub(crate) fn open_given(path: &Path) -> Result<File, Error> {
    let open = || {
        if about(path)?.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { disk::open(path) }
    };
    open().map_err(|error| Error::unreadable(path, error, |error| not_given(path, error)))
}

fn not_given(path: &Path, source: io::Error) -> Error {
    Error::NoFile { what: "", path: path.to_owned(), source, help: did_you_mean(path) }
}

/// The bytes of a file named by an option.
///
/// # Errors
/// [`Error::NoFile`]; [`Error::Io`]
pub fn read_given(path: &Path) -> Result<Vec<u8>, Error> {
    read(path).map_err(|error| Error::unreadable(path, error, |error| not_given(path, error)))
}

/// The arrays of a file named by an option: NumPy's format if its name ends in .npz, else safetensors.
///
/// # Errors
/// [`Error::NoFile`]; [`Error::Contents`] where what is there holds no arrays; [`Error::Io`]
pub fn read_arrays(path: &Path) -> Result<Arrays, Error> {
    let bytes = read_given(path)?;
    let is_npz = path.extension().is_some_and(|extension| extension == "npz");
    let arrays = if is_npz { npz::read(&bytes) } else { arrays_from_bytes(&bytes).map_err(|error| error.to_string()) };
    arrays.map_err(|problem| Error::Contents { path: path.to_owned(), problem })
}

/// The bytes of one of Headway's own files; `None` if it does not exist.
///
/// # Errors
/// [`Error::Io`]
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    if presence::is_there(path)? { read(path).map(Some).map_err(Error::unread(path)) } else { Ok(None) }
}

/// The text of a file that an option names.
///
/// # Errors
/// [`Error::NoFile`], also for what is not UTF-8; [`Error::Io`]
pub fn read_given_text(path: &Path) -> Result<String, Error> {
    read_text(path).map_err(|error| Error::unreadable(path, error, |error| not_given(path, error)))
}

/// The text of a file.
///
/// # Errors
/// As [`read`] does, and if the text is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let not_text = |error| io::Error::new(io::ErrorKind::InvalidData, format!("not UTF-8 text: {error}"));
    String::from_utf8(read(path)?).map_err(not_text)
}

/// For a missing file, a question about the file with the most similar name: `; did you mean `experiments/copy.toml`?`.
///
/// Empty if the file exists, if no name is similar, or if the folder cannot be read.
pub fn did_you_mean(path: &Path) -> String {
    if presence::is_there(path).unwrap_or(true) {
        return String::new();
    }
    nearest(path, &|_| true).map_or_else(String::new, |path| format!("; did you mean `{}`?", quote::shell_path(path)))
}

/// The existing path most similar to one that does not exist: in the same folder or, if that is missing too, in the
/// nearest existing folder; a file of exactly that name also one folder further down. Only paths that satisfy `wanted`
/// count.
fn nearest(path: &Path, wanted: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    const LONGEST: usize = 255;
    let name_wanted = path.file_name()?.to_str().filter(|name| name.len() <= LONGEST)?;
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    let folder = match above {
        Some(above) if !presence::is_there(above).ok()? => {
            nearest(above, &|path| presence::is_folder(path).unwrap_or(false))?
        }
        Some(above) => above.to_owned(),
        None => PathBuf::new(),
    };
    let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
    let names: Vec<String> =
        presence::list(listed).ok()??.iter().filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect();
    let distance = |name: &String| {
        strsim::damerau_levenshtein(name_wanted, name).min(strsim::damerau_levenshtein(name_wanted, stem(name)))
    };
    // A shared extension does not make names similar.
    let most = stem(name_wanted).chars().count() / 3;
    let shown = names.iter().filter(|name| !name.starts_with('.') && wanted(&folder.join(name)));
    let closest = shown.clone().map(|name| (distance(name), name)).min();
    if let Some((_, name)) = closest.filter(|(distance, _)| *distance <= most) {
        return Some(folder.join(name));
    }
    let mut below = shown.map(|name| folder.join(name).join(name_wanted));
    below.find(|path| presence::is_there(path).unwrap_or(false) && wanted(path))
}

/// A file name without its extension.
fn stem(name: &str) -> &str {
    Path::new(name).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
}

/// Parses a value from JSON.
///
/// # Errors
/// A sentence about what is wrong with the text.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    // A list of `0,` needs a whole value for every two characters, twice that while it grows; a named value may also be
    // copied into a report.
    let cost = |byte: &u8| match byte {
        b':' => 500,
        b',' | b'[' | b'{' => 100,
        _ => 0,
    };
    ensure_lean(bytes.len(), bytes.iter().map(cost).sum())?;
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// Refuses a TOML text whose parsed form would take too much memory.
///
/// # Errors
/// A sentence about what is wrong with the text.
pub fn ensure_lean_toml(text: &str) -> Result<(), String> {
    // The parser keeps every token, and the position and path of every key are kept as well.
    let cost = |byte: u8| match byte {
        b'=' | b'[' | b'{' => 900,
        b',' => 500,
        b'.' | b'\n' | b'}' | b']' | b'"' | b'\'' | b'#' | b' ' | b'\t' => 150,
        _ => 0,
    };
    ensure_lean(text.len(), text.bytes().map(cost).sum())
}

/// Refuses a text of length `len` whose values would take `bytes`, if that is too much for its length.
fn ensure_lean(len: usize, bytes: usize) -> Result<(), String> {
    if bytes <= SPARE + SHARE * len {
        return Ok(());
    }
    Err(format!("too many values: they would take about {:.0} MB of memory", bytes as f64 / 1e6))
}

/// Bytes that the values of any text may take …
const SPARE: usize = 48 << 20;
/// … plus this many for each byte of the text, not counting the text itself and copies of it.
const SHARE: usize = 6;
