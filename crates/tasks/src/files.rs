//! Files that a task reads: their paths and contents.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::gunzip;

/// Arrays by name.
pub type Arrays = BTreeMap<String, Numbers>;

/// Reads the arrays with given names from the bytes of a file, whose path shows its format.
pub type ReadArrays = fn(&Path, &[u8], &[&str]) -> Result<Arrays, String>;

/// Reads the files that a config names.
#[derive(Clone, Debug)]
pub struct Files {
    folder: PathBuf,
    read: fn(&Path) -> io::Result<Vec<u8>>,
    arrays: ReadArrays,
}

/// An array of numbers of a file, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    /// Size of each axis.
    pub shape: Vec<usize>,
    /// The numbers, as many as the shape requires.
    pub values: Vec<f32>,
}

/// Content of a file at the time when it was read; of a `.gz` file what it unpacks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// All its bytes.
    pub bytes: Vec<u8>,
    /// Sha256 of the bytes in hexadecimal, by which a run recognises its data.
    pub sha256: String,
}

impl Files {
    /// Files with paths relative to `folder`, which is the folder of the config that names them; an empty path is the
    /// working folder. `read` reads a whole file, and refuses anything that is not a regular file or does not fit into
    /// memory. `arrays` knows the formats of arrays by the extension of a path, and says what is wrong with a file.
    pub fn new(folder: impl Into<PathBuf>, read: fn(&Path) -> io::Result<Vec<u8>>, arrays: ReadArrays) -> Self {
        Self { folder: folder.into(), read, arrays }
    }

    /// Arrays of a file that has been read, by name; in a format without names, the array has the name of the file.
    ///
    /// # Errors
    /// A sentence about what is wrong with the bytes, or which name is missing.
    pub fn arrays(&self, named: &Path, bytes: &[u8], names: &[&str]) -> Result<Arrays, String> {
        (self.arrays)(named, bytes, names)
    }

    /// Path of a file that a config names.
    pub fn path(&self, named: &Path) -> PathBuf {
        self.folder.join(named)
    }

    /// Reads a file that a config names, and unpacks it if its name ends in `.gz`: packed or not, it is the same data.
    ///
    /// # Errors
    /// The system's error, the refusal of `read`, or what is wrong with a `.gz` file.
    pub fn read(&self, named: &Path) -> io::Result<Contents> {
        let bytes = unpacked(named, (self.read)(&self.path(named))?)?;
        let sha256 = Sha256::digest(&bytes).iter().fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
        Ok(Contents { bytes, sha256 })
    }
}

/// The bytes of a file; if its name ends in `.gz`, what they unpack to.
///
/// # Errors
/// What is wrong with a `.gz` file.
pub fn unpacked(named: &Path, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    if named.extension().is_some_and(|ending| ending == "gz") { gunzip::unpack(&bytes) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_to_the_folder_and_contents_have_their_digest() {
        let read = |path: &Path| match path.to_str() {
            Some("folder/abc") => Ok(b"abc".to_vec()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        let files = Files::new("folder", read, |_, _, _| Err("no arrays".to_owned()));
        // FIPS 180-2, appendix B.1.
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let found = files.read(Path::new("abc")).ok();
        assert_eq!(found, Some(Contents { bytes: b"abc".to_vec(), sha256: sha256.to_owned() }));
        assert!(files.read(Path::new("/abc")).is_err());
    }
}
