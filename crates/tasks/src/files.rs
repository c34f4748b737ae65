//! Files that a task is read from: where they are, and what they hold.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// Arrays by name.
pub type Arrays = BTreeMap<String, Numbers>;

/// Reads those arrays of a file, whose path tells the format, that have these names, from its bytes.
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
    /// As many numbers as the shape names.
    pub values: Vec<f32>,
}

/// What stood in a file when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Every byte.
    pub bytes: Vec<u8>,
    /// Their sha256 in hexadecimal, by which a run knows its data again.
    pub sha256: String,
}

impl Files {
    /// Files whose paths are relative to `folder`, that of the config that names them; an empty one is the working folder. `read`
    /// gives a whole file and refuses what is no file or more than memory holds; `arrays` knows the formats of arrays by the ending of the
    /// path, and says what is wrong with a file.
    pub fn new(folder: impl Into<PathBuf>, read: fn(&Path) -> io::Result<Vec<u8>>, arrays: ReadArrays) -> Self {
        Self { folder: folder.into(), read, arrays }
    }

    /// Arrays of a file that was read, by name; one of a format without names has that of the file.
    ///
    /// # Errors
    /// What is wrong with the bytes, and where one of the names is missing.
    pub fn arrays(&self, named: &Path, bytes: &[u8], names: &[&str]) -> Result<Arrays, String> {
        (self.arrays)(named, bytes, names)
    }

    /// Where a file is that a config names.
    pub fn path(&self, named: &Path) -> PathBuf {
        self.folder.join(named)
    }

    /// Reads a file that a config names.
    ///
    /// # Errors
    /// What the system says, and what `read` refuses.
    pub fn read(&self, named: &Path) -> io::Result<Contents> {
        let bytes = (self.read)(&self.path(named))?;
        let sha256 = Sha256::digest(&bytes).iter().fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
        Ok(Contents { bytes, sha256 })
    }
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
