//! Files of tensors from any source. The format is recognised by the content, never by the name.
//!
//! Reading takes at most ten times the file's size plus 64 MB of memory, whatever the file claims, and executes no code
//! that a pickle names. A file that would take more is refused before it is read.

mod cost;
mod folder;
mod named;
mod pytorch;
mod safetensors;

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use crate::{Arrays, Error, disk, npz, numbers::Rounded, told::Told};

/// Format of a file of tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// A JSON header and the bytes.
    Safetensors,
    /// Written by `torch.save` since PyTorch 1.6.
    PytorchZip,
    /// Written by `torch.save` before that.
    PytorchLegacy,
    /// Written by `numpy.savez`.
    Npz,
}

impl Container {
    /// The format in words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::PytorchZip => "PyTorch zip",
            Self::PytorchLegacy => "PyTorch legacy",
            Self::Npz => "npz",
        }
    }
}

/// The tensors of a file, or of one key in it, as f32.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Format of the file.
    pub container: Container,
    /// The key that contained the tensors; `None` if the file holds nothing else.
    pub key: Option<String>,
    /// Other names in the file, whose content was not used.
    pub beside: Vec<String>,
    /// Other keys that contain tensors of the same names and shapes; empty if the key was given.
    pub alike: Vec<String>,
    /// The tensors by name.
    pub tensors: Arrays,
    /// Tensors with numbers that f32 cannot hold exactly.
    pub rounded: Vec<Rounded>,
    /// Facts about the network that the file contains besides tensors.
    pub told: Vec<Told>,
    /// Files that were read instead of the requested path; empty if only that was read.
    pub files: Vec<PathBuf>,
}

/// Largest number of axes of a tensor; weights have at most four.
const MOST_AXES: usize = 8;

/// Bytes that reading a file may take besides ten times its size.
const ALLOWANCE: u64 = 64_000_000;

/// Number of bytes that reading a file may take.
#[derive(Clone, Copy)]
struct Budget {
    allowed: u64,
}

impl Budget {
    fn of(file: u64) -> Self {
        Self { allowed: file.saturating_mul(10).saturating_add(ALLOWANCE) }
    }

    /// # Errors
    /// [`Error::Memory`] if `needed` bytes are more than the budget.
    fn check(self, needed: u64) -> Result<(), Error> {
        const MB: u64 = 1_000_000;
        if needed <= self.allowed {
            return Ok(());
        }
        Err(Error::Memory { needed: needed.div_ceil(MB), allowed: self.allowed / MB })
    }
}

/// Reads every tensor of a file, or of a folder in Hugging Face's layout. If the file contains more than weights, only
/// those below `key` are read, or below the usual key of weights if `key` is `None`.
///
/// # Errors
/// [`Error::Unread`] if the system cannot read it, [`Error::File`] if it is not a complete file of tensors,
/// [`Error::Memory`] if it needs more memory than a valid file could, [`Error::Key`] if the weights cannot be found.
pub fn read(path: &Path, key: Option<&str>) -> Result<Contents, Error> {
    if disk::about(path).map_err(Error::unread(path))?.is_dir() {
        return folder::read(path, key);
    }
    if folder::is_index(path) { folder::read_index(path, key) } else { read_file(path, key) }
}

fn read_file(path: &Path, key: Option<&str>) -> Result<Contents, Error> {
    let mut file = disk::open(path).map_err(Error::unread(path))?;
    let size = file.metadata().map_err(Error::unread(path))?;
    if !size.is_file() {
        return Err(Error::file("is not a file"));
    }
    let size = size.len();
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(size).map_err(Error::file)?).map_err(Error::file)?;
    // A file that grows meanwhile is not read beyond its first size.
    (&mut file).take(size).read_to_end(&mut bytes).map_err(Error::unread(path))?;
    let budget = Budget::of(size);
    let contents = match Form::of(&bytes) {
        Some(Form::Zip) => match pytorch::of_archive(&bytes)? {
            pytorch::Archive::Checkpoint => pytorch::read_zip(path, bytes, key, budget),
            pytorch::Archive::Arrays => {
                let (tensors, rounded) = npz::read_rounded(&bytes).map_err(Error::File)?;
                select(Container::Npz, tensors, rounded, key)
            }
        },
        Some(Form::Legacy) => pytorch::read_legacy(path, bytes, key, budget),
        Some(Form::Pickle) => pytorch::refuse_pickle(&bytes, budget),
        Some(Form::Safetensors) => {
            let (tensors, rounded) = safetensors::read(&bytes, budget)?;
            select(Container::Safetensors, tensors, rounded, key)
        }
        Some(Form::Tar) if bytes.windows(8).take(1 << 16).any(|window| window == b"sys_info") => Err(Error::file(
            "is a TAR archive of PyTorch before 0.1.10; load it with torch.load and save it again with torch.save",
        )),
        Some(Form::Tar) => Err(Error::file("is a TAR archive; unpack it and import the file of weights in it")),
        None => Err(Error::File(named::what_it_is(&bytes, path).unwrap_or_else(|| {
            "is no file of tensors: neither safetensors, nor what torch.save writes, nor .npz. \
             From Python, write one with torch.save(model.state_dict(), FILE) or safetensors.torch.save_file"
                .to_owned()
        }))),
    }?;
    if contents.tensors.is_empty() {
        return Err(Error::file(
            "holds no tensors; arrays of numpy in a file of torch.save and tensors on the meta device are none",
        ));
    }
    Ok(contents)
}

/// Format indicated by the first bytes.
enum Form {
    Zip,
    Tar,
    Legacy,
    Pickle,
    Safetensors,
}

impl Form {
    fn of(bytes: &[u8]) -> Option<Self> {
        // The same test as in pytorch-reader, so that both agree: the number 0x1950a86a20f9469cfc6c in either encoding.
        const LEGACY: [&[u8]; 2] = [b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", b"119547037146038801333356"];
        let start = &bytes[..bytes.len().min(64)];
        if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
            Some(Self::Zip)
        } else if bytes.get(257..262) == Some(b"ustar") {
            Some(Self::Tar)
        } else if LEGACY.iter().any(|magic| start.windows(magic.len()).any(|window| window == *magic)) {
            Some(Self::Legacy)
        } else if bytes.get(8) == Some(&b'{') && bytes[..8].contains(&0) {
            // A text may have a brace there too, but no zero byte.
            Some(Self::Safetensors)
        } else {
            matches!(bytes.first(), Some(0x80 | b'(' | b'}' | b']' | b'c')).then_some(Self::Pickle)
        }
    }
}

/// Keys under which training scripts store the weights.
const USUAL_KEYS: [&str; 6] = ["model_state_dict", "state_dict", "model", "model_state", "network", "module"];

/// The usual key of weights among several keys that contain tensors; `None` if the tensors are at the top level.
///
/// # Errors
/// [`Error::Key`] if two keys are equally usual.
fn usual_key(keys: &[String]) -> Result<Option<&'static str>, Error> {
    let mut found = USUAL_KEYS.into_iter().filter(|usual| keys.iter().any(|key| key == usual));
    match (found.next(), found.next()) {
        (Some(first), Some(second)) => {
            let problem = format!("has tensors below `{first}` and below `{second}`; say which with --key");
            Err(Error::Key { problem, keys: keys.to_vec() })
        }
        (first, _) => Ok(first),
    }
}

/// First parts of names, each once.
fn top_keys<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut keys: Vec<String> =
        names.filter_map(|name| name.split_once('.')).map(|(first, _)| first.to_owned()).collect();
    keys.sort();
    keys.dedup();
    keys
}

/// The rest of a name below a key; `None` if it is not below the key.
fn below<'a>(name: &'a str, key: &str) -> Option<&'a str> {
    name.strip_prefix(key)?.strip_prefix('.')
}

/// Content of a container without nesting: all tensors, or those below `key` if it is given.
fn select(container: Container, tensors: Arrays, rounded: Vec<Rounded>, key: Option<&str>) -> Result<Contents, Error> {
    let Some(key) = key else {
        let (beside, alike, told, files) = Default::default();
        return Ok(Contents { container, key: None, beside, alike, tensors, rounded, told, files });
    };
    let keys = top_keys(tensors.keys());
    let (inside, outside): (Arrays, Arrays) = tensors.into_iter().partition(|(name, _)| below(name, key).is_some());
    if inside.is_empty() {
        return Err(Error::Key { problem: format!("has no tensors below `{key}`"), keys });
    }
    let rename = |name: String| below(&name, key).map(str::to_owned).unwrap_or(name);
    let tensors: Arrays = inside.into_iter().map(|(name, array)| (rename(name), array)).collect();
    let rounded = rounded.into_iter().filter(|rounded| below(&rounded.name, key).is_some());
    Ok(Contents {
        container,
        key: Some(key.to_owned()),
        beside: outside.into_keys().collect(),
        alike: Vec::new(),
        rounded: rounded.map(|rounded| Rounded { name: rename(rounded.name), ..rounded }).collect(),
        tensors,
        told: Vec::new(),
        files: Vec::new(),
    })
}
