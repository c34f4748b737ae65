//! Learned tokens: pieces of text, as a `tokenizer.json` describes them.

use std::{fmt, ops::Range, sync::Arc};

use serde_json::Value;
use tokenizers::{Encoding, ModelWrapper};

/// What a `tokenizer.json` says: how a text becomes byte pairs, and they become a text. The file is that of the Python
/// package `tokenizers`.
///
/// What the file says of padding, of truncation, and of pairs that are left apart at random (dropout) serves other
/// purposes and is left out; tokens that it puts around a text are not added.
///
/// # References
/// Sennrich, Haddow, Birch 2016, arXiv 1508.07909, section 3.2.
#[derive(Clone)]
pub struct Tokenizer {
    file: Arc<[u8]>,
    rules: Arc<tokenizers::Tokenizer>,
    size: usize,
    /// The token that stands for all that has none; beyond `size` if the file has no such token.
    unknown: Option<u32>,
}

/// Number of bytes that are divided at a time, if the text can be cut: they take about 200 times their size meanwhile.
const AT_A_TIME: usize = 1 << 16;
/// Number of bytes on each side of a cut by which it is seen to change nothing.
const AROUND: usize = 64;

impl Tokenizer {
    /// The tokenizer that a file describes.
    ///
    /// # Errors
    /// What is wrong with the file, and where.
    pub fn new(file: &[u8]) -> Result<Self, String> {
        let mut told: Value = serde_json::from_slice(file).map_err(|error| format!("is no tokenizer.json: {error}"))?;
        ensure_sound_pairs(&told)?;
        let rules = rules(&told)?;
        let ModelWrapper::BPE(pairs) = rules.get_model() else {
            return Err("is a tokenizer of another kind than byte pairs (BPE)".to_owned());
        };
        let vocabulary = rules.get_vocab(true);
        let Some(last) = vocabulary.values().copied().max() else {
            return Err("is a tokenizer.json without tokens".to_owned());
        };
        let size = last as usize + 1;
        let (rules, unknown) = if let Some(token) = &pairs.unk_token {
            let unknown = rules.token_to_id(token);
            (rules, unknown)
        } else {
            // What has no token would be passed over in silence, and what follows be said to stand in its place.
            let mut name = "unknown".to_owned();
            while vocabulary.contains_key(&name) {
                name.push('?');
            }
            if let Some(model) = told.get_mut("model").and_then(Value::as_object_mut) {
                if let Some(tokens) = model.get_mut("vocab").and_then(Value::as_object_mut) {
                    tokens.insert(name.clone(), size.into());
                }
                model.insert("unk_token".to_owned(), name.into());
                model.insert("fuse_unk".to_owned(), false.into());
            }
            (self::rules(&told)?, Some(last + 1))
        };
        Ok(Self { file: file.into(), rules: Arc::new(rules), size, unknown })
    }

    /// The file as it was read.
    pub fn file(&self) -> &[u8] {
        &self.file
    }

    /// One more than the largest token.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The token that stands for all that has none, if there is one.
    pub(crate) fn unknown(&self) -> Option<u32> {
        self.unknown
    }

    /// Hands `each` the tokens of a text, with the bytes of the text that each stands for. A long text is divided between lines
    /// where that changes nothing, as it does for byte pairs of words, so that only a part of it takes memory at a time.
    ///
    /// # Errors
    /// Those of `each`; what `unread` makes of the reason why the tokenizer cannot read the text.
    pub(crate) fn encode<E>(
        &self,
        text: &str,
        unread: impl Fn(String) -> E,
        mut each: impl FnMut(u32, Range<usize>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut begin = 0;
        while begin < text.len() {
            let end = self.cut(text, begin).map_err(&unread)?;
            let part = self.encode_whole(&text[begin..end]).map_err(&unread)?;
            for (token, (from, to)) in part.get_ids().iter().zip(part.get_offsets()) {
                each(*token, begin + from..begin + to)?;
            }
            begin = end;
        }
        Ok(())
    }

    fn encode_whole(&self, text: &str) -> Result<Encoding, String> {
        self.rules.encode(text, false).map_err(|error| error.to_string())
    }

    /// Where a part of the text that starts at `begin` may end: after a line, far enough on, such that the characters
    /// before and after have the same tokens together as apart; or the end of the text.
    fn cut(&self, text: &str, begin: usize) -> Result<usize, String> {
        let mut from = begin + AT_A_TIME;
        while let Some(line) = text.as_bytes().get(from..).and_then(|rest| rest.iter().position(|byte| *byte == b'\n'))
        {
            let at = from + line + 1;
            let [before, after] = [text.floor_char_boundary(at - AROUND), text.ceil_char_boundary(at + AROUND)];
            let [first, second, both] =
                [before..at, at..after, before..after].map(|part| self.encode_whole(&text[part]));
            if [first?.get_ids(), second?.get_ids()].concat() == both?.get_ids() {
                return Ok(at);
            }
            from = at;
        }
        Ok(text.len())
    }

    /// The text of tokens.
    pub(crate) fn decode(&self, tokens: &[u32]) -> String {
        self.rules.decode(tokens, false).unwrap_or_else(|_| tokens.iter().map(|token| self.raw(*token)).collect())
    }

    /// The token as the file writes it.
    fn raw(&self, token: u32) -> String {
        self.rules.id_to_token(token).unwrap_or_else(|| format!("#{token}"))
    }

    /// What a token writes after another; where it is no whole text, the token as the file writes it.
    pub(crate) fn piece(&self, token: u32) -> String {
        // After another, since some write no space at the beginning of a text.
        let (one, two) = (self.decode(&[token]), self.decode(&[token, token]));
        match two.strip_prefix(&one) {
            Some(piece) if !piece.is_empty() && !piece.contains(char::REPLACEMENT_CHARACTER) => piece.to_owned(),
            _ => self.raw(token),
        }
    }
}

/// What a `tokenizer.json` describes, without what serves other purposes.
fn rules(told: &Value) -> Result<tokenizers::Tokenizer, String> {
    let wrong = |error: tokenizers::Error| format!("is no tokenizer.json: {error}");
    let mut rules = tokenizers::Tokenizer::from_bytes(told.to_string()).map_err(wrong)?;
    rules.with_truncation(None).map_err(wrong)?;
    rules.with_padding(None);
    if let ModelWrapper::BPE(pairs) = rules.get_model()
        && pairs.dropout.is_some()
    {
        let mut pairs = pairs.clone();
        pairs.dropout = None;
        rules.with_model(pairs);
    }
    Ok(rules)
}

/// Refuses byte pairs at which `tokenizers` would end the program: a mark may be longer than what it stands before, and a pair
/// may be longer than any token.
fn ensure_sound_pairs(told: &Value) -> Result<(), String> {
    let Some(model) = told.get("model") else { return Ok(()) };
    if model.get("continuing_subword_prefix").and_then(Value::as_str).is_some_and(|prefix| !prefix.is_empty()) {
        return Err("marks what continues a word (continuing_subword_prefix), which is not read".to_owned());
    }
    let (Some(tokens), Some(merges)) =
        (model.get("vocab").and_then(Value::as_object), model.get("merges").and_then(Value::as_array))
    else {
        return Ok(());
    };
    for merge in merges {
        let pair = match merge {
            Value::String(pair) => pair.split_once(' '),
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(one), Value::String(two)] => Some((one.as_str(), two.as_str())),
                _ => None,
            },
            _ => None,
        };
        // One that is no pair is refused where the file is read.
        if let Some((one, two)) = pair
            && !tokens.contains_key(&format!("{one}{two}"))
        {
            return Err(format!("joins {one:?} and {two:?} (model.merges) to what is no token of model.vocab"));
        }
    }
    Ok(())
}

impl PartialEq for Tokenizer {
    fn eq(&self, other: &Self) -> bool {
        self.file == other.file
    }
}

impl Eq for Tokenizer {}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokenizer({} tokens)", self.size)
    }
}
