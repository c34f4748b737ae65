//! Texts as tokens, read from files.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{FoundTexts, LanguageConfig};
use crate::{
    error::TaskError,
    files::Files,
    found::{Read, ReadFile, joined, wrong},
    tokenizer::Tokenizer,
    vocabulary::{Encoded, Lack, NoToken, Tokens, Unknown, Vocabulary, utf8},
};

/// The texts of all parts, with their tokens.
#[derive(Debug)]
pub(super) struct Texts {
    pub vocabulary: Vocabulary,
    pub train: Arc<Vec<Vec<u32>>>,
    pub validation: Vec<Vec<u32>>,
    pub test: Vec<Vec<u32>>,
    /// For each token of each test text, the number of characters of the text up to its end.
    pub test_characters: Vec<Vec<u32>>,
}

impl Texts {
    /// Reads the files of a config.
    ///
    /// # Errors
    /// The key, the file and the place in it where something is wrong.
    pub fn read(config: &LanguageConfig, files: &Files) -> Result<Read<Self, FoundTexts>, TaskError> {
        let unreadable = |key: &'static str, path: &Path, place: &NoToken| {
            let way_out = match place.lack {
                Lack::Untrained(_) => "; give unknown = \"replace\" to read all such characters as one more token",
                Lack::Unlearned(_) => {
                    "; give unknown = \"replace\" to read it as the tokenizer does, or leave it out as it does"
                }
                Lack::Utf8 => "; give tokens = \"bytes\", or store it as UTF-8",
                Lack::Unread(_) => "",
            };
            wrong(key, files, path, format!("{place}{way_out}"))
        };
        let mut all = Vec::new();
        let mut read = |key: &'static str, path: &Path| {
            let (bytes, file) = ReadFile::open(key, files, path)?;
            all.push(file);
            Ok(bytes)
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
            if len < 2 { Err(wrong(key, files, path, problem())) } else { Ok(()) }
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
        let content = Self { vocabulary, train, validation, test, test_characters };
        Ok(Read { found: FoundTexts::of(&content, joined(&all)), content, files: all })
    }
}

/// The tokenizer of a file, and what was read.
///
/// # Errors
/// [`TaskError::Key`] with what is wrong with it.
pub(super) fn read_tokenizer(files: &Files, path: &Path) -> Result<(Tokenizer, ReadFile), TaskError> {
    let key = "tokens";
    let (bytes, file) = ReadFile::open(key, files, path)?;
    Ok((Tokenizer::new(&bytes).map_err(|problem| wrong(key, files, path, problem))?, file))
}
