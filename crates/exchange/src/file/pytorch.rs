//! Files written by `torch.save`, read by `pytorch-reader`, which executes nothing that a pickle names.
//!
//! That reader allows a file more memory than this crate does: it copies from the memo, decompresses, and copies views
//! of any size that fits the machine. So all sizes are checked first, from the bytes of the file.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{self, Cursor, Read},
    path::Path,
};

use pytorch_reader::{DType, PickleError, PytorchError, PytorchReader, Tensor};
use zip::{CompressionMethod, ZipArchive, result::ZipError};

use super::{Budget, Container, Contents, MOST_AXES, below, cost, named, top_keys, usual_key};
use crate::{Arrays, Error, numbers::Numbers, told::Told};

/// Largest number of files in an archive: ten times as many as any model has; their directory takes 30 MB.
const MOST_FILES: u64 = 65_536;

const CUT_SHORT: &str = "is not a whole zip archive: it was cut short or changed";

/// Content of a zip archive.
pub(super) enum Archive {
    /// A checkpoint written by `torch.save`.
    Checkpoint,
    /// NumPy arrays.
    Arrays,
}

/// Distinguishes a checkpoint from NumPy arrays.
///
/// # Errors
/// [`Error::File`] if the archive cannot be read, lists more files than any model has, or contains neither.
pub(super) fn of_archive(bytes: &[u8]) -> Result<Archive, Error> {
    let archive = open(bytes)?;
    let names = archive
        .file_names()
        .map(|name| name.map(Cow::into_owned))
        .collect::<Result<Vec<_>, _>>()
        .map_err(Error::file)?;
    // A TorchScript program contains a data.pkl too, but of another kind.
    let is_program = names.iter().any(|name| name.ends_with("constants.pkl"));
    if !is_program && names.iter().any(|name| is_pickle(name)) {
        Ok(Archive::Checkpoint)
    } else if names.iter().all(|name| name.rsplit_once('.').is_some_and(|(_, ending)| ending == "npy")) {
        Ok(Archive::Arrays)
    } else {
        Err(Error::file(named::zip_that_holds_no_weights(&names)))
    }
}

fn is_pickle(name: &str) -> bool {
    name.strip_suffix("data.pkl").is_some_and(|root| root.is_empty() || root.ends_with('/'))
}

fn open(bytes: &[u8]) -> Result<ZipArchive<Cursor<&[u8]>>, Error> {
    // The reader allocates an entry for each header, and room for as many as the archive claims, before it can be asked
    // anything.
    let mut headers = 0;
    for (at, window) in bytes.windows(4).enumerate() {
        match window {
            b"PK\x01\x02" => headers += 1,
            b"PK\x06\x06" => headers = headers.max(claimed(bytes, at)),
            _ => {}
        }
        if headers > MOST_FILES {
            return Err(Error::file(format!("lists more than {MOST_FILES} files, which no model has")));
        }
    }
    ZipArchive::new(Cursor::new(bytes)).map_err(|error| Error::file(format!("{CUT_SHORT} ({error})")))
}

/// Number of files claimed by a zip64 record at offset `at`, which has a length, versions and disks, and two counts.
/// Its signature may occur by chance among the numbers of weights, but not together with a length that lies within the
/// file.
fn claimed(bytes: &[u8], at: usize) -> u64 {
    let number = |from: usize| {
        let number = bytes.get(at + from..).and_then(<[u8]>::first_chunk::<8>);
        number.map(|number| u64::from_le_bytes(*number))
    };
    let is_record =
        number(4).and_then(|length| length.checked_add(at as u64 + 12)).is_some_and(|end| end <= bytes.len() as u64);
    if is_record { number(24).max(number(32)).unwrap_or(0) } else { 0 }
}

pub(super) fn read_zip(path: &Path, bytes: Vec<u8>, key: Option<&str>, budget: Budget) -> Result<Contents, Error> {
    let mut archive = open(&bytes)?;
    let (mut unpacked, mut largest) = (0_u64, 0_u64);
    let mut pickles = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(|error| Error::file(format!("{CUT_SHORT} ({error})")))?;
        unpacked = unpacked.saturating_add(entry.size());
        largest = largest.max(entry.size());
        let name = entry.name().map_err(Error::file)?.into_owned();
        if is_pickle(&name) {
            pickles.push((name.len(), index));
        }
    }
    // Compressed entries are decompressed into memory; torch.save never compresses.
    if unpacked > 2 * bytes.len() as u64 + 8_000_000 {
        return Err(Error::file(format!(
            "unpacks to {} MB from {} MB, which no checkpoint does",
            unpacked / 1_000_000,
            bytes.len() / 1_000_000
        )));
    }
    pickles.sort_unstable();
    let pickle = match pickles[..] {
        [] => return Err(Error::file("holds no data.pkl")),
        [(first, _), (second, _), ..] if first == second => {
            return Err(Error::file("holds two checkpoints, each with a data.pkl"));
        }
        [(_, index), ..] => index,
    };
    // An uncompressed pickle may lack a checksum, which PyTorch leaves out on request.
    let is_stored = archive.by_index_raw(pickle).is_ok_and(|entry| entry.compression() == CompressionMethod::Stored);
    let entry = if is_stored { archive.by_index_raw(pickle) } else { archive.by_index(pickle) }.map_err(Error::file)?;
    let mut data = Vec::new();
    let size = entry.size();
    entry.take(size).read_to_end(&mut data).map_err(Error::file)?;
    let walked = cost::of_pickle(&data, 0, budget)?;
    drop(archive);
    drop((bytes, data));
    let held = walked.needed.saturating_add(largest);
    let found = Found { told: walked.told, is_module: walked.is_module, held };
    tensors(path, Container::PytorchZip, key, found, budget)
}

/// What is known about a file before its tensors are read.
struct Found {
    told: Vec<Told>,
    /// Whether it is a module that was saved completely.
    is_module: bool,
    /// Bytes in use while its tensors are read.
    held: u64,
}

pub(super) fn read_legacy(path: &Path, bytes: Vec<u8>, key: Option<&str>, budget: Budget) -> Result<Contents, Error> {
    // Magic number, protocol, system, the object itself, keys of storages; the bytes of the storages follow.
    let mut found = Found { told: Vec::new(), is_module: false, held: bytes.len() as u64 };
    let mut at = 0;
    for _ in 0..5 {
        let walked = cost::of_pickle(&bytes, at, budget)?;
        found.held = found.held.saturating_add(walked.needed);
        found.is_module |= walked.is_module;
        found.told.extend(walked.told);
        at = walked.end;
    }
    drop(bytes);
    tensors(path, Container::PytorchLegacy, key, found, budget)
}

/// Refuses a pickle without storages, which cannot contain tensors.
pub(super) fn refuse_pickle(bytes: &[u8], budget: Budget) -> Result<Contents, Error> {
    cost::of_pickle(bytes, 0, budget)?;
    Err(Error::file(
        "is a plain pickle, as pickle.dump and joblib write it and torch.save does not; load it with what wrote it, and write the \
         weights with torch.save(model.state_dict(), FILE)",
    ))
}

/// The error for a checkpoint that could not be read.
fn refused(path: &Path, error: PytorchError) -> Error {
    match error {
        PytorchError::Io(error) | PytorchError::Zip(ZipError::Io(error)) if is_of_system(&error) => {
            Error::unread(path)(io::Error::other(error))
        }
        PytorchError::Pickle(PickleError::UnsupportedType(name)) => Error::File(named::unreadable_type(&name)),
        PytorchError::Pickle(PickleError::InvalidData(said)) if said.starts_with("persistent id must be a tuple") => {
            Error::file(
                "was written with pickle_protocol=0, which keeps no tensors so that any program reads them; write it without that \
                 argument",
            )
        }
        PytorchError::InvalidFormat(said) if said.contains("Expected a dictionary") => {
            let found = said.rsplit(' ').next().unwrap_or_default();
            Error::file(format!(
                "holds one `{found}` and no dictionary of tensors by name; write torch.save(model.state_dict(), FILE)"
            ))
        }
        error => Error::file(format!("is not a whole checkpoint: {error}")),
    }
}

/// Whether the error comes from the system and not from the reader of the bytes. If it concerns an entry of an archive,
/// only the system's text is left.
fn is_of_system(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof, Unsupported};
    let is_of_bytes = matches!(error.kind(), InvalidData | InvalidInput | Other | UnexpectedEof | Unsupported);
    !is_of_bytes || error.to_string().contains("(os error ")
}

/// Whether a key is a dictionary in the file, and not just the first part of names.
fn is_dictionary(path: &Path, key: &str) -> Result<bool, Error> {
    match PytorchReader::with_top_level_key(path, key).map_err(|error| refused(path, error)) {
        Ok(below) => Ok(!below.is_empty()),
        Err(error @ Error::Unread { .. }) => Err(error),
        Err(_) => Ok(false),
    }
}

/// Reads the tensors.
fn tensors(
    path: &Path,
    container: Container,
    key: Option<&str>,
    Found { told, is_module, held }: Found,
    budget: Budget,
) -> Result<Contents, Error> {
    budget.check(held)?;
    let reader = PytorchReader::new(path).map_err(|error| refused(path, error))?;
    let mut found: Vec<(String, Tensor)> = reader.into_tensors().into_iter().collect();
    let mut chosen = key.map(str::to_owned);
    if chosen.is_none()
        // In a module, these are names of parts of one network.
        && !is_module
        && let Some(usual) = usual_key(&top_keys(found.iter().map(|(name, _)| name)))?
        && is_dictionary(path, usual)?
    {
        chosen = Some(usual.to_owned());
    }
    let (mut beside, mut alike) = (Vec::new(), Vec::new());
    if let Some(taken) = chosen.as_ref().filter(|_| key.is_none()) {
        let below_key = |key: &str| -> BTreeMap<&str, &[usize]> {
            found.iter().filter_map(|(name, tensor)| Some((below(name, key)?, tensor.shape()))).collect()
        };
        let others = top_keys(found.iter().map(|(name, _)| name)).into_iter().filter(|other| other != taken);
        alike = others.filter(|other| below_key(other) == below_key(taken)).collect();
    }
    if let Some(key) = &chosen {
        let keys = top_keys(found.iter().map(|(name, _)| name));
        let (inside, outside): (Vec<_>, Vec<_>) = found.into_iter().partition(|(name, _)| below(name, key).is_some());
        if inside.is_empty() {
            return Err(Error::Key { problem: format!("has no tensors below `{key}`"), keys });
        }
        found = inside
            .into_iter()
            .map(|(name, tensor)| (below(&name, key).unwrap_or_default().to_owned(), tensor))
            .collect();
        beside = outside.into_iter().map(|(name, _)| name).collect();
        beside.sort();
    }
    // A view can have any size, whatever the size of the file.
    let mut needed = held;
    for (name, tensor) in &found {
        if tensor.shape().len() > MOST_AXES {
            return Err(Error::file(format!("`{name}` has {} axes; weights have up to four", tensor.shape().len())));
        }
        needed = needed.saturating_add(4 * tensor.num_elements() as u64);
    }
    let largest = found.iter().map(|(_, tensor)| tensor.byte_len() as u64).max().unwrap_or(0);
    budget.check(needed.saturating_add(largest))?;
    let (mut tensors, mut all_rounded) = (Arrays::new(), Vec::new());
    for (name, tensor) in found {
        let bytes = tensor.read().map_err(|error| refused(path, error.into()))?;
        let (array, rounded) = numbers(tensor.dtype()).array(&name, tensor.shape(), &bytes);
        tensors.insert(name, array);
        all_rounded.extend(rounded);
    }
    all_rounded.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Contents { container, key: chosen, beside, alike, tensors, rounded: all_rounded, told, files: Vec::new() })
}

fn numbers(dtype: DType) -> Numbers {
    match dtype {
        DType::F64 => Numbers::F64,
        DType::F32 => Numbers::F32,
        DType::F16 => Numbers::F16,
        DType::BF16 => Numbers::Bf16,
        DType::I64 => Numbers::I64,
        DType::I32 => Numbers::I32,
        DType::I16 => Numbers::I16,
        DType::I8 => Numbers::I8,
        DType::U64 => Numbers::U64,
        DType::U32 => Numbers::U32,
        DType::U16 => Numbers::U16,
        DType::U8 => Numbers::U8,
        DType::Bool => Numbers::Bool,
    }
}
