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

use headway_model::weights::Array;

use crate::{Arrays, Error, disk, npz, told::Told};

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

/// A tensor whose numbers were rounded to f32.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rounded {
    /// Its name.
    pub name: String,
    /// Type in the file.
    pub from: &'static str,
    /// How many numbers changed.
    pub numbers: usize,
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

/// Type of the numbers in a file.
#[derive(Clone, Copy)]
pub(crate) enum Numbers {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
}

impl Numbers {
    fn name(self) -> &'static str {
        match self {
            Self::F64 => "float64",
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
            Self::I64 => "int64",
            Self::I32 => "int32",
            Self::I16 => "int16",
            Self::I8 => "int8",
            Self::U64 => "uint64",
            Self::U32 => "uint32",
            Self::U16 => "uint16",
            Self::U8 => "uint8",
            Self::Bool => "bool",
        }
    }

    /// Little-endian bytes as f32, and how many numbers are not what they were.
    fn to_f32(self, bytes: &[u8]) -> (Vec<f32>, usize) {
        /// Those that f32 may not hold.
        macro_rules! wide {
            ($type:ty) => {{
                let numbers = bytes.as_chunks::<{ size_of::<$type>() }>().0.iter();
                let numbers = numbers.map(|bytes| <$type>::from_le_bytes(*bytes));
                // Through i128, which holds every integer of both.
                let changed = numbers.clone().filter(|n| (*n as f32) as i128 != i128::from(*n)).count();
                (numbers.map(|n| n as f32).collect(), changed)
            }};
        }
        /// Those that it holds.
        macro_rules! narrow {
            ($type:ty) => {{
                let numbers = bytes.as_chunks::<{ size_of::<$type>() }>().0.iter();
                (numbers.map(|bytes| f32::from(<$type>::from_le_bytes(*bytes))).collect(), 0)
            }};
        }
        match self {
            Self::F64 => {
                let numbers = bytes.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes));
                let changed = numbers.clone().filter(|n| (f64::from(*n as f32) - n).abs() > 0.0).count();
                (numbers.map(|n| n as f32).collect(), changed)
            }
            Self::F32 => (bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(), 0),
            Self::F16 => (bytes.as_chunks::<2>().0.iter().map(|bytes| half(u16::from_le_bytes(*bytes))).collect(), 0),
            Self::Bf16 => {
                let wide = |bytes: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
                (bytes.as_chunks::<2>().0.iter().map(wide).collect(), 0)
            }
            Self::I64 => wide!(i64),
            Self::I32 => wide!(i32),
            Self::I16 => narrow!(i16),
            Self::I8 => narrow!(i8),
            Self::U64 => wide!(u64),
            Self::U32 => wide!(u32),
            Self::U16 => narrow!(u16),
            Self::U8 => narrow!(u8),
            Self::Bool => (bytes.iter().map(|byte| f32::from(u8::from(*byte != 0))).collect(), 0),
        }
    }

    /// Bytes of one.
    pub(crate) fn width(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// The array, and what was rounded.
    pub(crate) fn array(self, name: &str, shape: &[usize], bytes: &[u8]) -> (Array, Option<Rounded>) {
        let (values, numbers) = self.to_f32(bytes);
        let rounded = (numbers > 0).then(|| Rounded { name: name.to_owned(), from: self.name(), numbers });
        (Array { shape: shape.to_vec(), values }, rounded)
    }
}

/// A number of IEEE 754's binary16: sign, five bits of exponent with bias 15, ten of fraction.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2.0_f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + fraction) * 2.0_f32.powi(exponent - 25),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_by_hand() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 0.333_251_95),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x03ff, 6.097_555e-5),
            (0x0400, 6.103_515_6e-5),
            (0x7c00, f32::INFINITY),
        ] {
            assert_eq!(half(bits).to_bits(), f32::to_bits(value), "{bits:#x}");
        }
        assert!(half(0x7e00).is_nan());
    }

    #[test]
    fn what_f32_does_not_hold_is_counted() {
        let bytes: Vec<u8> = [1.0_f64, 0.1, -2.5].iter().flat_map(|n| n.to_le_bytes()).collect();
        assert_eq!(Numbers::F64.to_f32(&bytes), (vec![1.0, 0.1, -2.5], 1));
        let bytes: Vec<u8> = [16_777_216_i64, 16_777_217, -3, i64::MAX].iter().flat_map(|n| n.to_le_bytes()).collect();
        let (values, changed) = Numbers::I64.to_f32(&bytes);
        assert_eq!((values[2], changed), (-3.0, 2));
        assert_eq!(Numbers::Bool.to_f32(&[0, 1, 7]), (vec![0.0, 1.0, 1.0], 0));
        assert_eq!(Numbers::Bf16.to_f32(&[0x80, 0x3f, 0x00, 0xc0]), (vec![1.0, -2.0], 0));
    }
}
