//! Texts as tokens, read from files.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::LanguageConfig;
use crate::{
    error::TaskError,
    files::Files,
    vocabulary::{MOST_TOKENS, NoToken, Tokens, Vocabulary, utf8},
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
    pub train: Arc<Vec<Vec<u16>>>,
    pub validation: Vec<Vec<u16>>,
    pub test: Vec<Vec<u16>>,
    /// What was read, in the order of the parts above.
    pub files: Vec<ReadFile>,
}

impl Texts {
    /// Reads the files of a config.
    ///
    /// # Errors
    /// The key, the file and the place in it where something is wrong.
    pub fn read(config: &LanguageConfig, files: &Files) -> Result<Self, TaskError> {
        let unreadable = |key: &'static str, path: &PathBuf, place: &NoToken| {
            let way_out = match place.character {
                Some(_) => "give unknown = \"replace\" to read all such characters as one more token",
                None => "give tokens = \"bytes\", or store it as UTF-8",
            };
            wrong(key, files, path, &format!("{place}; {way_out}"))
        };
        let mut all = Vec::new();
        let mut read = |key: &'static str, path: &PathBuf| {
            let contents = files.read(path).map_err(|error| wrong(key, files, path, &error.to_string()))?;
            all.push(ReadFile { key, path: files.path(path), sha256: contents.sha256 });
            Ok(contents.bytes)
        };
        let train = config.train.iter().map(|path| read("train", path)).collect::<Result<Vec<_>, _>>()?;
        let vocabulary = match config.tokens {
            Tokens::Bytes => Vocabulary::Bytes,
            Tokens::Characters => {
                let texts = train.iter().zip(&config.train);
                let texts = texts.map(|(bytes, path)| utf8(bytes).map_err(|place| unreadable("train", path, &place)));
                Vocabulary::of_characters(&texts.collect::<Result<Vec<_>, _>>()?, config.unknown)
            }
        };
        if vocabulary.size() > MOST_TOKENS {
            let problem = format!("{} different characters are too many; give tokens = \"bytes\"", vocabulary.size());
            return Err(TaskError::Key { key: "train", problem });
        }
        let tokens = |key: &'static str, path: &PathBuf, bytes: &[u8]| {
            let tokens = vocabulary.tokens(bytes).map_err(|place| unreadable(key, path, &place))?;
            let problem =
                || format!("has {} of the two tokens that are needed, to predict one from the other", tokens.len());
            if tokens.len() < 2 { Err(wrong(key, files, path, &problem())) } else { Ok(tokens) }
        };
        let train = train.iter().zip(&config.train).map(|(bytes, path)| tokens("train", path, bytes));
        let train = Arc::new(train.collect::<Result<Vec<_>, _>>()?);
        let mut part = |key: &'static str, paths: &[PathBuf]| {
            paths.iter().map(|path| tokens(key, path, &read(key, path)?)).collect::<Result<Vec<_>, _>>()
        };
        let (validation, test) = (part("validation", &config.validation)?, part("test", &config.test)?);
        Ok(Self { vocabulary, train, validation, test, files: all })
    }

    /// One digest for all files: that of the first, followed by the others.
    pub fn sha256(&self) -> String {
        self.files.iter().map(|file| file.sha256.as_str()).collect::<Vec<_>>().join("+")
    }
}

fn wrong(key: &'static str, files: &Files, path: &Path, problem: &str) -> TaskError {
    TaskError::Key { key, problem: format!("{}: {problem}", files.path(path).display()) }
}
