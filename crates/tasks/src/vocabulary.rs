//! Tokens of a text: which there are, and how they are written.

use std::{borrow::Cow, collections::BTreeSet, fmt, path::PathBuf};

use headway_keys::Described;
use serde::{Deserialize, Serialize};

use crate::{batch::Inputs, tokenizer::Tokenizer};

/// What a token of a text is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum Tokens {
    /// A character: a code point of UTF-8 text, one of those in the training texts.
    #[default]
    Characters,
    /// A byte, whatever the file contains.
    Bytes,
    /// A piece of UTF-8 text, learned as byte pairs: one of those in this `tokenizer.json`.
    Tokenizer(PathBuf),
}

/// What happens to characters that are in no training text, or for which a tokenizer has no token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// They are refused.
    #[default]
    Refuse,
    /// Each becomes one additional token, which stands for all of them. A tokenizer reads them as its file says: as its
    /// own token for the unknown, or not at all.
    Replace,
}

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
    /// The pieces of a tokenizer.
    Tokenizer {
        /// What divides a text into them.
        tokenizer: Tokenizer,
        /// Whether characters that have no token are read as the tokenizer says; else they are refused.
        has_unknown: bool,
    },
}

/// A piece of a text that no token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoToken {
    /// Line, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
    /// What is wrong there.
    pub lack: Lack,
}

/// Why a piece of a text has no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// These bytes are no UTF-8.
    Utf8,
    /// The character is in no training text.
    Untrained(char),
    /// The tokenizer has no token for the character.
    Unlearned(char),
    /// The tokenizer ends with this error.
    Unread(String),
}

/// A text as tokens.
pub(crate) struct Encoded {
    pub tokens: Vec<u32>,
    /// For each token, the number of characters of the text up to its end. Of UTF-8, continuation bytes begin no character.
    pub characters: Vec<u32>,
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
            Self::Tokenizer { tokenizer, .. } => tokenizer.size(),
        }
    }

    /// The tokens of a text.
    ///
    /// # Errors
    /// [`NoToken`] with the first place that cannot be read.
    pub fn tokens(&self, text: &[u8]) -> Result<Vec<u32>, NoToken> {
        match self {
            Self::Bytes => Ok(text.iter().copied().map(u32::from).collect()),
            Self::Characters { characters, has_unknown } => {
                let text = utf8(text)?;
                let token = |(at, character): (usize, char)| match characters.binary_search(&character) {
                    Ok(token) => Ok(token as u32),
                    Err(_) if *has_unknown => Ok(characters.len() as u32),
                    Err(_) => Err(NoToken::at(&text[..at], Lack::Untrained(character))),
                };
                // Space for all at once, as texts may be large.
                let mut tokens = Vec::with_capacity(text.chars().count());
                for character in text.char_indices() {
                    tokens.push(token(character)?);
                }
                Ok(tokens)
            }
            Self::Tokenizer { tokenizer, has_unknown } => {
                let mut tokens = Vec::new();
                pieces(tokenizer, *has_unknown, utf8(text)?, |token, _| tokens.push(token))?;
                Ok(tokens)
            }
        }
    }

    /// [`Self::tokens`] with the characters that they stand for.
    ///
    /// # Errors
    /// as [`Self::tokens`]
    pub(crate) fn encode(&self, text: &[u8]) -> Result<Encoded, NoToken> {
        match self {
            Self::Characters { .. } => {
                let tokens = self.tokens(text)?;
                Ok(Encoded { characters: (1..=tokens.len() as u32).collect(), tokens })
            }
            Self::Bytes => {
                let mut characters = Vec::with_capacity(text.len());
                for byte in text {
                    characters.push(characters.last().copied().unwrap_or(0) + u32::from(*byte & 0xc0 != 0x80));
                }
                Ok(Encoded { tokens: self.tokens(text)?, characters })
            }
            Self::Tokenizer { tokenizer, has_unknown } => {
                let (text, mut encoded) = (utf8(text)?, Encoded { tokens: Vec::new(), characters: Vec::new() });
                let (mut from, mut count) = (0, 0);
                pieces(tokenizer, *has_unknown, text, |token, end| {
                    // Several tokens may end in the same character.
                    count += text.get(from..end).unwrap_or_default().chars().count();
                    from = end.max(from);
                    encoded.tokens.push(token);
                    encoded.characters.push(count as u32);
                })?;
                Ok(encoded)
            }
        }
    }

    /// The bytes of a text that a token writes. A token for unknown characters writes U+FFFD.
    fn bytes(&self, token: u32) -> Vec<u8> {
        match self {
            Self::Characters { characters, .. } => {
                let character = characters.get(token as usize).copied().unwrap_or(char::REPLACEMENT_CHARACTER);
                character.to_string().into_bytes()
            }
            Self::Bytes => vec![token as u8],
            Self::Tokenizer { tokenizer, .. } => tokenizer.piece(token).into_bytes(),
        }
    }

    /// What writes tokens that follow others as text.
    pub fn writer(&self, before: &[u32]) -> Writer<'_> {
        let recent = &before[before.len().saturating_sub(CONTEXT)..];
        Writer { vocabulary: self, bytes: Vec::new(), recent: recent.to_vec(), written: recent.len() }
    }

    /// A name of a token for figures, visible and short: `a`, `␣`, `\n`, `0xc3`, `␣the`.
    pub fn name(&self, token: u32) -> String {
        let bytes = self.bytes(token);
        match std::str::from_utf8(&bytes) {
            Ok(text) => text.escape_debug().to_string().replace(' ', "␣"),
            Err(_) => format!("0x{:02x}", bytes.first().copied().unwrap_or_default()),
        }
    }

    /// Names of the tokens of an input.
    pub fn names(&self, inputs: &Inputs) -> Vec<String> {
        match inputs {
            Inputs::Tokens(tokens) => tokens.iter().map(|token| self.name(*token)).collect(),
            Inputs::Continuous(_) => Vec::new(),
        }
    }
}

/// Hands `each` the tokens of a text by a tokenizer, with the byte at which each ends.
fn pieces(
    tokenizer: &Tokenizer,
    has_unknown: bool,
    text: &str,
    mut each: impl FnMut(u32, usize),
) -> Result<(), NoToken> {
    let lacking = |at, character| NoToken::at(&text[..at], Lack::Unlearned(character));
    // Tokenizers leave out white space, and what their pairs do not have.
    let nothing_left_out = |from: usize, to: usize| {
        let mut skipped = text.get(from..to).unwrap_or_default().char_indices();
        match skipped.find(|(_, character)| !character.is_whitespace()) {
            Some((at, character)) if !has_unknown => Err(lacking(from + at, character)),
            _ => Ok(()),
        }
    };
    let mut from = 0;
    let unread = |problem| NoToken { line: 1, column: 1, lack: Lack::Unread(problem) };
    tokenizer.encode(text, unread, |token, span| {
        nothing_left_out(from, span.start)?;
        if tokenizer.unknown() == Some(token)
            && !has_unknown
            && let Some(character) = text.get(span.clone()).and_then(|piece| piece.chars().next())
        {
            return Err(lacking(span.start, character));
        }
        from = span.end.max(from);
        if (token as usize) < tokenizer.size() {
            each(token, span.end);
        }
        Ok(())
    })?;
    nothing_left_out(from, text.len())
}

/// Number of tokens before those that are written by which it is known how these go on.
const CONTEXT: usize = 4;

/// Writes tokens as text, in pieces of whole characters.
pub struct Writer<'a> {
    vocabulary: &'a Vocabulary,
    /// What is left of characters that are not whole yet.
    bytes: Vec<u8>,
    /// Tokens of a tokenizer: the last ones that are written, then those that are not.
    recent: Vec<u32>,
    written: usize,
}

impl Writer<'_> {
    /// The text that is whole with one more token, or all of it if nothing follows. What is no UTF-8 becomes U+FFFD.
    pub fn write(&mut self, token: u32, is_last: bool) -> String {
        let Vocabulary::Tokenizer { tokenizer, .. } = self.vocabulary else {
            self.bytes.extend(self.vocabulary.bytes(token));
            return whole_characters(&mut self.bytes, is_last);
        };
        self.recent.push(token);
        let (before, all) = (tokenizer.decode(&self.recent[..self.written]), tokenizer.decode(&self.recent));
        // What ends in the middle of a character ends with U+FFFD.
        if all.ends_with(char::REPLACEMENT_CHARACTER) && !is_last {
            return String::new();
        }
        self.recent.drain(..self.written);
        self.written = self.recent.len();
        let shared = before.chars().zip(all.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
        all[shared..].to_owned()
    }
}

/// Takes the characters from `bytes` that are whole, or all of them if nothing follows. What is no UTF-8 becomes U+FFFD.
fn whole_characters(bytes: &mut Vec<u8>, is_last: bool) -> String {
    let mut text = String::new();
    loop {
        match std::str::from_utf8(bytes) {
            Ok(rest) => {
                text.push_str(rest);
                bytes.clear();
                return text;
            }
            Err(error) => {
                let sound = error.valid_up_to();
                text.push_str(&String::from_utf8_lossy(&bytes[..sound]));
                // No length means that the end is the beginning of a character.
                let Some(length) = error.error_len().or(is_last.then_some(bytes.len() - sound)) else {
                    bytes.drain(..sound);
                    return text;
                };
                text.push(char::REPLACEMENT_CHARACTER);
                bytes.drain(..sound + length);
            }
        }
    }
}

impl fmt::Display for NoToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, lack } = self;
        write!(f, "line {line}, column {column}: ")?;
        match lack {
            Lack::Utf8 => f.write_str("no UTF-8 text"),
            Lack::Untrained(character) => write!(f, "{character:?} is in no training text"),
            Lack::Unlearned(character) => write!(f, "the tokenizer has no token for {character:?}"),
            Lack::Unread(problem) => write!(f, "the tokenizer cannot read the text: {problem}"),
        }
    }
}

/// A file as text.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, NoToken> {
    std::str::from_utf8(bytes).map_err(|error| {
        let sound: Cow<'_, str> = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        NoToken::at(&sound, Lack::Utf8)
    })
}

impl NoToken {
    /// The place after a text.
    fn at(before: &str, lack: Lack) -> Self {
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { line, column, lack }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_text_when_their_character_is_whole() {
        let mut pending = Vec::new();
        let texts: Vec<String> = "né!€"
            .bytes()
            .map(|byte| {
                pending.push(byte);
                whole_characters(&mut pending, false)
            })
            .collect();
        assert_eq!(texts, ["n", "", "é", "!", "", "", "€"]);
        assert_eq!(whole_characters(&mut vec![b'a', 0xff, b'b', 0xe2, 0x82], false), "a\u{fffd}b");
        assert_eq!(whole_characters(&mut vec![b'a', 0xff, b'b', 0xe2, 0x82], true), "a\u{fffd}b\u{fffd}");
    }
}
