//! Language modelling: predicting the next token of a text.

mod texts;
mod window;

use std::{path::PathBuf, sync::Arc};

use headway_keys::Described;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::{
    baseline::{Baseline, n_gram::NGram},
    batch::{Example, Inputs, Targets, TaskDims, TaskInput},
    error::TaskError,
    files::Files,
    found::{Found, Held, Read, by_hand},
    measure::Measure,
    scale::Scale,
    seed::SampleRng,
    task::{Split, Task, TaskSpec},
    tokenizer::Tokenizer,
    vocabulary::{Tokens, Unknown, Vocabulary},
};
use texts::{Texts, read_tokenizer};
use window::{Window, Windows, first};

/// Texts, and how they are read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct LanguageConfig {
    /// Texts to train on, each a file, which may be packed as `.gz`; relative to the file that names them.
    pub train: Vec<PathBuf>,
    /// Texts for validation; may be empty.
    pub validation: Vec<PathBuf>,
    /// Texts for the test.
    pub test: Vec<PathBuf>,
    /// What a token is: `characters` of UTF-8 text, `bytes`, or with `{ tokenizer = "tokenizer.json" }` the byte pairs of a
    /// file. Default `characters`.
    pub tokens: Tokens,
    /// What happens to characters that are in no training text: `refuse`, or `replace` by one token for all of them; with
    /// a tokenizer, to those for which it has no token: `refuse`, or `replace` as its file says. Default `refuse`.
    pub unknown: Unknown,
    /// Number of tokens of a window, from each of which the next is predicted. Default 256.
    pub seq_len: usize,
    /// Number of tokens by which windows advance in validation and test. Each window scores the last `stride`
    /// predictions, so that the others give context; the first window of a text scores all. Default: `seq_len`, windows
    /// that do not overlap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// How many tokens from the beginning of the validation texts are used. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_tokens: Option<usize>,
    /// How many tokens from the beginning of the test texts are used. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_tokens: Option<usize>,
    /// What was found in the files when they were first read; not to be set by hand.
    #[described(found)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<FoundTexts>,
    /// The texts, once they have been read.
    #[serde(skip)]
    held: Held<Texts>,
    /// The tokenizer, once it has been read, which it can be without the texts.
    #[serde(skip)]
    tokenizer: Held<Tokenizer>,
}

impl Default for LanguageConfig {
    fn default() -> Self {
        Self {
            train: Vec::new(),
            validation: Vec::new(),
            test: Vec::new(),
            tokens: Tokens::default(),
            unknown: Unknown::default(),
            seq_len: 256,
            stride: None,
            validation_tokens: None,
            test_tokens: None,
            found: None,
            held: Held::default(),
            tokenizer: Held::default(),
        }
    }
}

/// Content of the texts: what a model and a record of it need to know. A network can be used without the files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields)]
pub struct FoundTexts {
    /// Sha256 of each file as unpacked, training texts first and a tokenizer last, joined by `+`.
    pub sha256: String,
    /// The characters of the training texts, ascending; `None` if tokens are something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub characters: Option<String>,
    /// Number of tokens of the tokenizer; `None` if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<usize>,
    /// Number of tokens of each validation text.
    pub validation: Vec<usize>,
    /// Number of tokens of each test text.
    pub test: Vec<usize>,
}

impl FoundTexts {
    fn of(texts: &Texts, sha256: String) -> Self {
        let lens = |texts: &[Vec<u32>]| texts.iter().map(Vec::len).collect();
        let (characters, vocabulary) = match &texts.vocabulary {
            Vocabulary::Characters { characters, .. } => (Some(characters.iter().collect()), None),
            Vocabulary::Bytes => (None, None),
            Vocabulary::Tokenizer { tokenizer, .. } => (None, Some(tokenizer.size())),
        };
        let (validation, test) = (lens(&texts.validation), lens(&texts.test));
        Self { sha256, characters, vocabulary, validation, test }
    }
}

impl Found for FoundTexts {
    fn sha256(&self) -> &str {
        &self.sha256
    }
}

impl LanguageConfig {
    fn windows(&self) -> Windows {
        Windows { seq_len: self.seq_len, stride: self.stride.unwrap_or(self.seq_len) }
    }

    /// Numbers of tokens that are used of each validation text, and of each test text.
    fn evaluated(&self, found: &FoundTexts) -> [Vec<usize>; 2] {
        [first(&found.validation, self.validation_tokens), first(&found.test, self.test_tokens)]
    }

    fn unread(&self) -> Option<TaskError> {
        let missing = |key, paths: &[PathBuf], purpose: &str| {
            let problem = format!("names no text {purpose}; give {key} = [\"book.txt\"], or a .gz of it");
            (self.found.is_none() && paths.is_empty()).then_some(TaskError::Key { key, problem })
        };
        let unread = || {
            let problem = "was not read".to_owned();
            self.found.is_none().then_some(TaskError::Key { key: "train", problem })
        };
        missing("train", &self.train, "to train on")
            .or_else(|| missing("test", &self.test, "to score a network on"))
            .or_else(unread)
    }

    fn bad_stride(&self) -> Option<TaskError> {
        let stride = self.stride?;
        let problem = || format!("{stride} must be from 1 to seq_len = {}", self.seq_len);
        (stride < 1 || stride > self.seq_len).then(|| TaskError::Key { key: "stride", problem: problem() })
    }

    fn useless_unknown(&self) -> Option<TaskError> {
        let problem = "every byte is known; leave unknown out, or give tokens = \"characters\"";
        let is_useless = self.tokens == Tokens::Bytes && self.unknown != Unknown::Refuse;
        is_useless.then(|| TaskError::Key { key: "unknown", problem: problem.to_owned() })
    }

    fn bad_found(&self) -> Option<TaskError> {
        let found = self.found.as_ref()?;
        let characters: Vec<char> = found.characters.iter().flat_map(|characters| characters.chars()).collect();
        if !characters.is_sorted_by(|a, b| a < b) || characters.is_empty() == (self.tokens == Tokens::Characters) {
            return Some(by_hand("found.characters"));
        }
        let has_tokenizer = matches!(self.tokens, Tokens::Tokenizer(_));
        let read = self.tokenizer.get().map(Tokenizer::size);
        let is_sound = found.vocabulary.is_some_and(|size| size > 0 && read.is_none_or(|read| read == size));
        if found.vocabulary.is_some() != has_tokenizer || has_tokenizer && !is_sound {
            return Some(by_hand("found.vocabulary"));
        }
        None
    }

    fn too_few(&self) -> Option<TaskError> {
        let few = |key, most: Option<usize>| TaskError::below(key, most?, 2);
        few("validation_tokens", self.validation_tokens).or_else(|| few("test_tokens", self.test_tokens))
    }
}

impl TaskSpec for LanguageConfig {
    fn dims(&self) -> TaskDims {
        let of_tokenizer = self.found.as_ref().and_then(|found| found.vocabulary);
        let size = of_tokenizer.or_else(|| Some(self.vocabulary()?.size()));
        // Before the texts are read, one token is known.
        let vocab = size.unwrap_or(1);
        TaskDims { seq_len: self.seq_len, input: TaskInput::Tokens { vocab }, d_out: vocab }
    }

    fn validate(&self) -> Vec<TaskError> {
        let problems = [
            self.unread(),
            TaskError::below("seq_len", self.seq_len, 1),
            self.bad_stride(),
            self.useless_unknown(),
            self.too_few(),
            self.bad_found(),
        ];
        problems.into_iter().flatten().collect()
    }

    fn settle(&mut self, files: &Files) -> Result<(), TaskError> {
        if self.found.is_none() && !self.train.is_empty() && !self.test.is_empty() {
            let Read { content, found, .. } = Texts::read(self, files)?;
            if let Vocabulary::Tokenizer { tokenizer, .. } = &content.vocabulary {
                self.tokenizer = Held::of(tokenizer.clone());
            }
            (self.found, self.held) = (Some(found), Held::of(content));
        } else if let (Tokens::Tokenizer(path), Some(found)) = (&self.tokens, &self.found)
            // One that changed or is missing is told of where texts are read.
            && let Ok((tokenizer, file)) = read_tokenizer(files, path)
            && found.sha256.ends_with(&file.sha256)
        {
            self.tokenizer = Held::of(tokenizer);
        }
        self.places_mut().into_iter().for_each(|(_, path)| *path = files.path(path));
        Ok(())
    }

    fn open(&self, files: &Files, _: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        let texts = self.held.or_read(self.found.as_ref(), || Texts::read(self, files))?;
        let [validation, test] = self.evaluated(&FoundTexts::of(&texts, String::new()));
        let train = texts.train.iter().map(Vec::len).collect();
        Ok(Box::new(Language { dims: self.dims(), windows: self.windows(), lens: [train, validation, test], texts }))
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        Some("every token stands right after the place where it is asked for")
    }

    fn held_evaluation(&self) -> Option<[usize; 2]> {
        let found = self.found.as_ref()?;
        Some(self.evaluated(found).map(|lens| self.windows().count(&lens)))
    }

    fn places_mut(&mut self) -> Vec<(&'static str, &mut PathBuf)> {
        let parts = [("train", &mut self.train), ("validation", &mut self.validation), ("test", &mut self.test)];
        let texts = parts.into_iter().flat_map(|(key, paths)| paths.iter_mut().map(move |path| (key, path)));
        let tokenizer = match &mut self.tokens {
            Tokens::Tokenizer(path) => Some(("tokens", path)),
            Tokens::Characters | Tokens::Bytes => None,
        };
        texts.chain(tokenizer).collect()
    }

    fn tokenizer_mut(&mut self) -> Option<&mut PathBuf> {
        match &mut self.tokens {
            Tokens::Tokenizer(path) => Some(path),
            Tokens::Characters | Tokens::Bytes => None,
        }
    }

    fn data_sha256(&self) -> Option<&str> {
        self.found.as_ref().map(|found| found.sha256.as_str())
    }

    fn vocabulary(&self) -> Option<Vocabulary> {
        let (found, has_unknown) = (self.found.as_ref()?, self.unknown == Unknown::Replace);
        Some(match self.tokens {
            Tokens::Bytes => Vocabulary::Bytes,
            Tokens::Characters => Vocabulary::Characters {
                characters: found.characters.iter().flat_map(|characters| characters.chars()).collect(),
                has_unknown,
            },
            Tokens::Tokenizer(_) => Vocabulary::Tokenizer { tokenizer: self.tokenizer.get()?.clone(), has_unknown },
        })
    }

    fn length_mut(&mut self) -> Option<(&'static str, &mut usize)> {
        Some(("seq_len", &mut self.seq_len))
    }
}

/// The next token of a text, at every position of a window. Training windows begin anywhere, with equal probability;
/// evaluation windows cover each text from its beginning, and every token except the first of a text is scored once. No
/// window crosses from one text to the next. A window longer than its text ends with zeros, which are not scored.
///
/// ```text
/// position   0    1    2   …  n-1
/// input     t_1  t_2  t_3  …  t_n
/// target    t_2  t_3  t_4  …  t_(n+1)
/// ```
///
/// # Shapes
/// inputs `[seq_len]`, ids below the size of the vocabulary -> targets `[seq_len]`
pub struct Language {
    dims: TaskDims,
    windows: Windows,
    texts: Arc<Texts>,
    /// Numbers of tokens that are used of each text, for training, validation and test.
    lens: [Vec<usize>; 3],
}

impl Language {
    fn part(&self, split: Split) -> (&[Vec<u32>], &[usize]) {
        let Texts { train, validation, test, .. } = &*self.texts;
        let [train_lens, validation_lens, test_lens] = &self.lens;
        match split {
            Split::Train => (train, train_lens),
            Split::Validation => (validation, validation_lens),
            Split::Test => (test, test_lens),
        }
    }

    /// The example of a window; of no window, an example in which nothing is scored.
    fn window(&self, split: Split, window: Option<Window>) -> Example {
        let seq_len = self.dims.seq_len;
        let (texts, lens) = self.part(split);
        let (mut inputs, mut targets) = (vec![0; seq_len], vec![0; seq_len]);
        let mut loss_mask = vec![false; seq_len];
        if let Some(Window { text, begin, scored }) = window {
            let tokens = &texts[text][..lens[text]];
            inputs.iter_mut().zip(&tokens[begin..]).for_each(|(input, token)| *input = *token);
            for at in scored {
                targets[at - 1 - begin] = tokens[at];
                loss_mask[at - 1 - begin] = true;
            }
        }
        let slices = vec![None; seq_len];
        Example { inputs: Inputs::Tokens(inputs), targets: Targets::Classes(targets), loss_mask, slices }
    }
}

impl Task for Language {
    fn dims(&self) -> TaskDims {
        self.dims
    }

    fn example(&self, split: Split, index: u64, rng: &mut SampleRng) -> Example {
        let (_, lens) = self.part(split);
        let window = match split {
            Split::Train => self.windows.training(lens, rng.random_range(0..self.windows.places(lens).max(1))),
            Split::Validation | Split::Test => self.windows.evaluation(lens, index),
        };
        self.window(split, window)
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        NGram::every_order(&self.texts.train)
    }

    fn scale(&self) -> Option<Scale> {
        Some(Scale::default())
    }

    /// Bits per character, by the characters of the test text.
    fn measures(&self) -> Vec<Measure> {
        let [.., lens] = &self.lens;
        let used = |(ends, len): (&Vec<u32>, &usize)| ends[..*len].last().map_or(0, |end| u64::from(*end));
        let characters: u64 = self.texts.test_characters.iter().zip(lens).map(used).sum();
        vec![Measure::bits_per_character(characters.max(1) as f64 / lens.iter().sum::<usize>().max(1) as f64)]
    }
}
