//! Pictures read from files.

use super::{FoundPictures, ImageConfig};
use crate::{
    error::TaskError,
    files::Files,
    found::{Read, ReadFile, joined, wrong},
    idx::{Idx, Values},
    picture::Pictures,
};

/// The pictures of the files of a config: those to train on, and those of the test if they have a file of their own.
///
/// # Errors
/// The key, the file, and what is wrong with it.
pub(super) fn pictures(config: &ImageConfig, files: &Files) -> Result<Read<Vec<Pictures>, FoundPictures>, TaskError> {
    let named = std::iter::once(("train", &config.train)).chain(config.test.iter().map(|path| ("test", path)));
    let read = named.map(|(key, path)| {
        let (bytes, file) = ReadFile::open(key, files, path)?;
        let pictures = Idx::read(&bytes).and_then(of_array).map_err(|problem| wrong(key, files, path, problem))?;
        Ok((pictures, file))
    });
    let (content, read): (Vec<Pictures>, Vec<ReadFile>) =
        read.collect::<Result<Vec<_>, TaskError>>()?.into_iter().unzip();
    if let ([train, test], Some(path)) = (&content[..], &config.test)
        && train.shape != test.shape
    {
        let [of_train, of_test] = [train, test].map(|pictures| in_words(pictures.shape));
        let problem = format!("pictures of {of_test}, and those to train on have {of_train}");
        return Err(wrong("test", files, path, problem));
    }
    Ok(Read { found: FoundPictures::of(&content, joined(&read)), content, files: read })
}

/// The size of a picture: `28 × 28 × 1`.
fn in_words([height, width, channels]: [usize; 3]) -> String {
    format!("{height} × {width} × {channels}")
}

fn of_array(Idx { shape, values }: Idx) -> Result<Pictures, String> {
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
