//! Tokens of a text: which there are, and how they are written.

use std::{borrow::Cow, collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use crate::batch::Inputs;

/// What a token of a text is.
// A learned tokenizer of longer pieces is a third kind here, and a third kind of `Vocabulary`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tokens {
    /// A character: a code point of UTF-8 text, one of those in the training texts.
    #[default]
    Characters,
    /// A byte, whatever the file contains.
    Bytes,
}

/// What happens to characters that are in no training text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// They are refused.
    #[default]
    Refuse,
    /// Each becomes one additional token, which stands for all of them.
    Replace,
}

/// Largest number of different tokens.
pub(crate) const MOST_TOKENS: usize = 1 << u16::BITS;

/// The tokens that texts consist of, numbered from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// Characters in ascending order, and after them, if `has_unknown`, one token for all others.
    Characters {
        /// The characters.
        characters: Vec<char>,
        /// Whether there is a token for all others.
        has_unknown: bool,
    },
    /// The 256 bytes.
    Bytes,
}

/// A piece of a text that no token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoToken {
    /// Line, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
    /// The character; `None` for bytes that are not UTF-8.
    pub character: Option<char>,
}

impl Vocabulary {
    /// The characters of some texts.
    pub(crate) fn of_characters(texts: &[&str], unknown: Unknown) -> Self {
        let characters: BTreeSet<char> = texts.iter().flat_map(|text| text.chars()).collect();
        Self::Characters { characters: characters.into_iter().collect(), has_unknown: unknown == Unknown::Replace }
    }

    /// Number of different tokens.
    pub fn size(&self) -> usize {
        match self {
            Self::Characters { characters, has_unknown } => characters.len() + usize::from(*has_unknown),
            Self::Bytes => 256,
        }
    }

    /// The tokens of a text.
    ///
    /// # Errors
    /// [`NoToken`] with the first place that cannot be read.
    pub fn tokens(&self, text: &[u8]) -> Result<Vec<u16>, NoToken> {
        let Self::Characters { characters, has_unknown } = self else {
            return Ok(text.iter().copied().map(u16::from).collect());
        };
        let text = utf8(text)?;
        let token = |(at, character): (usize, char)| match characters.binary_search(&character) {
            Ok(token) => Ok(token as u16),
            Err(_) if *has_unknown => Ok(characters.len() as u16),
            Err(_) => Err(NoToken { character: Some(character), ..NoToken::at(&text[..at]) }),
        };
        text.char_indices().map(token).collect()
    }

    /// The bytes that a token writes. A token for unknown characters writes U+FFFD.
    pub fn bytes(&self, token: u32) -> Vec<u8> {
        match self {
            Self::Characters { characters, .. } => {
                let character = characters.get(token as usize).copied().unwrap_or(char::REPLACEMENT_CHARACTER);
                character.to_string().into_bytes()
            }
            Self::Bytes => vec![token as u8],
        }
    }

    /// A name of a token for figures, visible and short: `a`, `␣`, `\n`, `0xc3`.
    pub fn name(&self, token: u32) -> String {
        match self.bytes(token).as_slice() {
            b" " => "␣".to_owned(),
            bytes => match std::str::from_utf8(bytes) {
                Ok(text) => text.escape_debug().to_string(),
                Err(_) => format!("0x{:02x}", bytes.first().copied().unwrap_or_default()),
            },
        }
    }

    /// Names of the tokens of an input.
    pub fn names(&self, inputs: &Inputs) -> Vec<String> {
        match inputs {
            Inputs::Tokens(tokens) => tokens.iter().map(|token| self.name(*token)).collect(),
            Inputs::Continuous(_) => Vec::new(),
        }
    }

    /// Number of characters in a text per token; 1 for an empty text. Of UTF-8, continuation bytes begin no character.
    pub(crate) fn characters_per_token<'a>(&self, texts: impl Iterator<Item = &'a [u16]>) -> f64 {
        match self {
            Self::Characters { .. } => 1.0,
            Self::Bytes => {
                let (begun, all) = texts
                    .flatten()
                    .fold((0_u64, 0_u64), |(begun, all), byte| (begun + u64::from(*byte & 0xc0 != 0x80), all + 1));
                begun.max(1) as f64 / all.max(1) as f64
            }
        }
    }
}

impl fmt::Display for NoToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, character } = self;
        match character {
            Some(character) => write!(f, "line {line}, column {column}: {character:?} is in no training text"),
            None => write!(f, "line {line}, column {column}: no UTF-8 text"),
        }
    }
}

/// A file as text.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, NoToken> {
    std::str::from_utf8(bytes).map_err(|error| {
        let sound: Cow<'_, str> = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        NoToken::at(&sound)
    })
}

impl NoToken {
    /// The place after a text.
    fn at(before: &str) -> Self {
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { line, column, character: None }
    }
}
