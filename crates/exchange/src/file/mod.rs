//! A file of tensors that anybody may have made: its container is told by its content, never by its name.
//!
//! Reading takes at most ten times the file's size and 64 MB of memory, whatever the file says about itself, and runs no
//! code that a pickle names. What would take more is refused before it is read.

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

/// Form of a file of tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// A JSON header and the bytes.
    Safetensors,
    /// What `torch.save` has written since PyTorch 1.6.
    PytorchZip,
    /// What `torch.save` wrote before.
    PytorchLegacy,
    /// What `numpy.savez` writes.
    Npz,
}

impl Container {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::PytorchZip => "PyTorch zip",
            Self::PytorchLegacy => "PyTorch legacy",
            Self::Npz => "npz",
        }
    }
}

/// Every tensor of a file, or of one key in it, as f32.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Form of the file.
    pub container: Container,
    /// The key that the tensors were found below, in a file that holds more than weights.
    pub key: Option<String>,
    /// Names beside that key, which were not taken.
    pub beside: Vec<String>,
    /// Other keys with tensors of the same names and shapes below them, where nobody said which key is meant.
    pub alike: Vec<String>,
    /// The tensors.
    pub tensors: Arrays,
    /// Tensors that hold numbers which f32 does not.
    pub rounded: Vec<Rounded>,
    /// What the file says of the network beside its tensors.
    pub told: Vec<Told>,
    /// The files that were read, where not the one that was asked for.
    pub files: Vec<PathBuf>,
}

/// Most axes of a tensor; weights have up to four.
const MOST_AXES: usize = 8;

/// What a file may take beyond ten times its size, in bytes.
const ALLOWANCE: u64 = 64_000_000;

/// Bytes that reading a file may take.
#[derive(Clone, Copy)]
struct Budget {
    allowed: u64,
}

impl Budget {
    fn of(file: u64) -> Self {
        Self { allowed: file.saturating_mul(10).saturating_add(ALLOWANCE) }
    }

    /// # Errors
    /// [`Error::Memory`] where that is more than the file may take.
    fn check(self, needed: u64) -> Result<(), Error> {
        const MB: u64 = 1_000_000;
        if needed <= self.allowed {
            return Ok(());
        }
        Err(Error::Memory { needed: needed.div_ceil(MB), allowed: self.allowed / MB })
    }
}

/// Reads every tensor of a file, or of a folder as Hugging Face writes it; of a file that holds more than weights, those below
/// `key`, or below the key that weights are usually found at.
///
/// # Errors
/// [`Error::Unread`] where the system says so, [`Error::File`] for what is no whole file of tensors, [`Error::Memory`] for one that takes more memory than a sound one
/// could, [`Error::Key`] where the weights are not to be found.
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
    // One that grows meanwhile is not read to its end.
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

/// What the first bytes say.
enum Form {
    Zip,
    Tar,
    Legacy,
    Pickle,
    Safetensors,
}

impl Form {
    fn of(bytes: &[u8]) -> Option<Self> {
        // As pytorch-reader tells them, so that both see the same file: the number 0x1950a86a20f9469cfc6c in either form.
        const LEGACY: [&[u8]; 2] = [b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", b"119547037146038801333356"];
        let start = &bytes[..bytes.len().min(64)];
        if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
            Some(Self::Zip)
        } else if bytes.get(257..262) == Some(b"ustar") {
            Some(Self::Tar)
        } else if LEGACY.iter().any(|magic| start.windows(magic.len()).any(|window| window == *magic)) {
            Some(Self::Legacy)
        } else if bytes.get(8) == Some(&b'{') && bytes[..8].contains(&0) {
            // A text may have a brace there too, but no byte of zero.
            Some(Self::Safetensors)
        } else {
            matches!(bytes.first(), Some(0x80 | b'(' | b'}' | b']' | b'c')).then_some(Self::Pickle)
        }
    }
}

/// Keys below which training scripts put the weights.
const USUAL_KEYS: [&str; 6] = ["model_state_dict", "state_dict", "model", "model_state", "network", "module"];

/// Of several keys with tensors below them, the one with the weights; nothing where the tensors lie at the top.
///
/// # Errors
/// [`Error::Key`] where two are as good.
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

/// First parts of names.
fn top_keys<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut keys: Vec<String> =
        names.filter_map(|name| name.split_once('.')).map(|(first, _)| first.to_owned()).collect();
    keys.sort();
    keys.dedup();
    keys
}

/// Name below a key.
fn below<'a>(name: &'a str, key: &str) -> Option<&'a str> {
    name.strip_prefix(key)?.strip_prefix('.')
}

/// Tensors of a container without nesting: below a key only where one was asked for.
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
