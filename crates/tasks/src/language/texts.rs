//! Texts as tokens, read from files.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::LanguageConfig;
use crate::{
    error::TaskError,
    files::Files,
    tokenizer::Tokenizer,
    vocabulary::{Encoded, Lack, NoToken, Tokens, Unknown, Vocabulary, utf8},
};

/// A file of text that was read.
#[derive(Debug)]
pub(super) struct ReadFile {
    /// Key that names it.
    pub key: &'static str,
    pub path: PathBuf,
    pub sha256: String,
}

/// The texts of all parts, with their tokens.
#[derive(Debug)]
pub(super) struct Texts {
    pub vocabulary: Vocabulary,
    pub train: Arc<Vec<Vec<u32>>>,
    pub validation: Vec<Vec<u32>>,
    pub test: Vec<Vec<u32>>,
    /// For each token of each test text, the number of characters of the text up to its end.
    pub test_characters: Vec<Vec<u32>>,
    /// What was read, in the order of the parts above, and then the tokenizer.
    pub files: Vec<ReadFile>,
}

impl Texts {
    /// Reads the files of a config.
    ///
    /// # Errors
    /// The key, the file and the place in it where something is wrong.
    pub fn read(config: &LanguageConfig, files: &Files) -> Result<Self, TaskError> {
        let unreadable = |key: &'static str, path: &Path, place: &NoToken| {
            let way_out = match place.lack {
                Lack::Untrained(_) => "; give unknown = \"replace\" to read all such characters as one more token",
                Lack::Unlearned(_) => {
                    "; give unknown = \"replace\" to read it as the tokenizer does, or leave it out as it does"
                }
                Lack::Utf8 => "; give tokens = \"bytes\", or store it as UTF-8",
                Lack::Unread(_) => "",
            };
            wrong(key, files, path, &format!("{place}{way_out}"))
        };
        let mut all = Vec::new();
        let mut read = |key: &'static str, path: &Path| {
            let contents = files.read(path).map_err(|error| wrong(key, files, path, &error.to_string()))?;
            all.push(ReadFile { key, path: files.path(path), sha256: contents.sha256 });
            Ok(contents.bytes)
        };
        let train = config.train.iter().map(|path| read("train", path)).collect::<Result<Vec<_>, _>>()?;
        let (mut tokenizer, unknown) = (None, config.unknown);
        let vocabulary = match &config.tokens {
            Tokens::Bytes => Vocabulary::Bytes,
            Tokens::Characters => {
                let texts = train.iter().zip(&config.train);
                let texts = texts.map(|(bytes, path)| utf8(bytes).map_err(|place| unreadable("train", path, &place)));
                Vocabulary::of_characters(&texts.collect::<Result<Vec<_>, _>>()?, unknown)
            }
            Tokens::Tokenizer(path) => {
                let (read, file) = read_tokenizer(files, path)?;
                tokenizer = Some(file);
                Vocabulary::Tokenizer { tokenizer: read, has_unknown: unknown == Unknown::Replace }
            }
        };
        let enough = |key: &'static str, path: &Path, len: usize| {
            let problem = || format!("has {len} of the two tokens that are needed, to predict one from the other");
            if len < 2 { Err(wrong(key, files, path, &problem())) } else { Ok(()) }
        };
        let tokens = |key: &'static str, path: &Path, bytes: &[u8]| {
            let tokens = vocabulary.tokens(bytes).map_err(|place| unreadable(key, path, &place))?;
            enough(key, path, tokens.len()).map(|()| tokens)
        };
        let train = train.iter().zip(&config.train).map(|(bytes, path)| tokens("train", path, bytes));
        let train = Arc::new(train.collect::<Result<Vec<_>, _>>()?);
        let validation = config.validation.iter().map(|path| tokens("validation", path, &read("validation", path)?));
        let validation = validation.collect::<Result<Vec<_>, _>>()?;
        let encode = |path: &PathBuf| {
            let bytes = read("test", path)?;
            let Encoded { tokens, characters } =
                vocabulary.encode(&bytes).map_err(|place| unreadable("test", path, &place))?;
            enough("test", path, tokens.len()).map(|()| (tokens, characters))
        };
        let (test, test_characters) =
            config.test.iter().map(encode).collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        all.extend(tokenizer);
        Ok(Self { vocabulary, train, validation, test, test_characters, files: all })
    }

    /// One digest for all files: that of the first, followed by the others.
    pub fn sha256(&self) -> String {
        self.files.iter().map(|file| file.sha256.as_str()).collect::<Vec<_>>().join("+")
    }
}

/// The tokenizer of a file, and what was read.
///
/// # Errors
/// [`TaskError::Key`] with what is wrong with it.
pub(super) fn read_tokenizer(files: &Files, path: &Path) -> Result<(Tokenizer, ReadFile), TaskError> {
    let key = "tokens";
    let contents = files.read(path).map_err(|error| wrong(key, files, path, &error.to_string()))?;
    let tokenizer = Tokenizer::new(&contents.bytes).map_err(|problem| wrong(key, files, path, &problem))?;
    Ok((tokenizer, ReadFile { key, path: files.path(path), sha256: contents.sha256 }))
}

fn wrong(key: &'static str, files: &Files, path: &Path, problem: &str) -> TaskError {
    TaskError::Key { key, problem: format!("{}: {problem}", files.path(path).display()) }
}
