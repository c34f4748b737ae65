//! Pictures read from files.

use std::path::{Path, PathBuf};

use super::ImageConfig;
use crate::{
    error::TaskError,
    files::Files,
    idx::{Idx, Values},
    picture::Pictures,
};

/// A file of pictures that was read.
#[derive(Debug)]
pub(super) struct ReadFile {
    /// Key that names it.
    pub key: &'static str,
    pub path: PathBuf,
    pub sha256: String,
    pub pictures: Pictures,
}

impl ReadFile {
    /// The files of a config: that of the training pictures, and that of the test pictures if there is one.
    ///
    /// # Errors
    /// The key, the file, and what is wrong with it.
    pub fn all(config: &ImageConfig, files: &Files) -> Result<Vec<Self>, TaskError> {
        let named = std::iter::once(("train", &config.train)).chain(config.test.iter().map(|path| ("test", path)));
        let read: Vec<Self> = named.map(|(key, path)| Self::one(key, path, files)).collect::<Result<_, _>>()?;
        if let [train, test] = &read[..]
            && train.pictures.shape != test.pictures.shape
        {
            let [of_train, of_test] = [train, test].map(|file| in_words(file.pictures.shape));
            let problem =
                format!("{}: pictures of {of_test}, and those to train on have {of_train}", test.path.display());
            return Err(TaskError::Key { key: "test", problem });
        }
        Ok(read)
    }

    fn one(key: &'static str, named: &Path, files: &Files) -> Result<Self, TaskError> {
        let path = files.path(named);
        let wrong = |problem: &str| TaskError::Key { key, problem: format!("{}: {problem}", path.display()) };
        let contents = files.read(named).map_err(|error| wrong(&error.to_string()))?;
        let pictures = pictures(Idx::read(&contents.bytes).map_err(|problem| wrong(&problem))?);
        let pictures = pictures.map_err(|problem| wrong(&problem))?;
        Ok(Self { key, sha256: contents.sha256, pictures, path })
    }
}

/// The size of a picture: `28 × 28 × 1`.
fn in_words([height, width, channels]: [usize; 3]) -> String {
    format!("{height} × {width} × {channels}")
}

fn pictures(Idx { shape, values }: Idx) -> Result<Pictures, String> {
    let Values::U8(pixels) = values else {
        return Err("holds 16-bit numbers; pixels are bytes".to_owned());
    };
    let (n, shape) = match shape[..] {
        [n, height, width] => (n, [height, width, 1]),
        [n, height, width, channels @ (1 | 3)] => (n, [height, width, channels]),
        _ => {
            return Err(format!(
                "has the shape {shape:?}; pictures are [n, height, width], or [n, height, width, 3] in colour"
            ));
        }
    };
    if n == 0 || shape.contains(&0) {
        return Err(format!("holds {n} pictures of {}; none to learn from", in_words(shape)));
    }
    Ok(Pictures { shape, pixels })
}
