//! Proteins: hidden residues of sequences, given the others.

pub mod blosum62;
mod masking;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use headway_keys::Described;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::{
    baseline::{
        Baseline,
        n_gram::NGram,
        neighbours::{Hidden, Neighbours},
    },
    batch::{Example, Inputs, Targets, TaskDims, TaskInput},
    error::TaskError,
    fasta,
    files::Files,
    found::{Found, Held, Read, ReadFile, wrong},
    measure::{Measure, Wanted},
    scale::Scale,
    seed::SampleRng,
    task::{Alike, Gaps, Split, Task, TaskSpec},
    vocabulary::Vocabulary,
};
pub use masking::{Masking, Shares};

/// The letters that a file may have, which are the first tokens: those of the 20 residues, and B (D or N), J (I or L), O
/// (pyrrolysine), U (selenocysteine), X (any) and Z (E or Q).
pub const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
/// The token of a hidden residue, written `_`.
pub const MASK: u32 = 26;
/// The token after the end of a sequence, written `~`.
pub const PAD: u32 = 27;
/// How the tokens after the letters are written.
const OTHERS: &str = "_~";
/// The tokens of the 20 residues, which are hidden and predicted. The other letters never are.
pub const LETTERS: [u32; 20] = [0, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 15, 16, 17, 18, 19, 21, 22, 24];

/// Whether a token is one of the 20 residues.
pub(crate) fn is_residue(token: u32) -> bool {
    LETTERS.binary_search(&token).is_ok()
}

/// The part that a header names: that of its first word split=NAME.
fn part_of(header: &str) -> Option<&str> {
    header.split_whitespace().find_map(|word| word.strip_prefix("split="))
}

/// How a letter or a token after the letters is written.
fn written(token: usize) -> char {
    char::from(ALPHABET.as_bytes().iter().chain(OTHERS.as_bytes()).nth(token).copied().unwrap_or(b'X'))
}

/// Sequences, and what is asked about them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct ProteinsConfig {
    /// A FASTA file, which may be packed as `.gz`, relative to the file that names it. A word `split=NAME` in the header of a
    /// sequence says which part it belongs to.
    pub path: PathBuf,
    /// Names of the parts for training. Default `["train"]`.
    pub train: Vec<String>,
    /// Names of the parts for validation; may be empty. Default `["valid"]`.
    pub validation: Vec<String>,
    /// Names of the parts for the test; if there are several, each has its own scores. Default `["test"]`.
    pub test: Vec<String>,
    /// Number of residues of a window. Default 64.
    pub seq_len: usize,
    /// Which residues are hidden and how: `bert`, `performer`, or `none` to predict the next residue. Default `bert`.
    pub masking: Masking,
    /// Probability that a residue is hidden, above 0 and below 1. Default 0.15.
    pub rate: f64,
    /// What was found in the file when it was first read; not to be set by hand.
    #[described(found)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<FoundProteins>,
    /// The sequences, once they have been read.
    #[serde(skip)]
    held: Held<Sequences>,
}

impl Default for ProteinsConfig {
    fn default() -> Self {
        let one = |name: &str| vec![name.to_owned()];
        Self {
            path: PathBuf::new(),
            train: one("train"),
            validation: one("valid"),
            test: one("test"),
            seq_len: 64,
            masking: Masking::default(),
            rate: 0.15,
            found: None,
            held: Held::default(),
        }
    }
}

/// Content of the file: what a record of a run needs to know. A network can be used without it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields)]
pub struct FoundProteins {
    /// Sha256 of the file as unpacked.
    pub sha256: String,
    /// Number of sequences for validation.
    pub validation: usize,
    /// Number of sequences for the test.
    pub test: usize,
}

impl Found for FoundProteins {
    fn sha256(&self) -> &str {
        &self.sha256
    }
}

/// The sequences of all parts, as tokens.
#[derive(Debug)]
struct Sequences {
    train: Arc<Vec<Vec<u32>>>,
    validation: Vec<Vec<u32>>,
    test: Vec<Vec<u32>>,
    /// Which of the names of the test each of its sequences has.
    parts: Vec<u32>,
}

impl Sequences {
    /// Reads the file of a config.
    ///
    /// # Errors
    /// The key, the file and the place in it where something is wrong.
    fn read(config: &ProteinsConfig, files: &Files) -> Result<Read<Self, FoundProteins>, TaskError> {
        let wrong = |key, problem: &str| wrong(key, files, &config.path, problem);
        let (bytes, file) = ReadFile::open("path", files, &config.path)?;
        let records = fasta::read(&bytes, ALPHABET).map_err(|problem| wrong("path", &problem))?;
        let (mut train, mut validation, mut test, mut parts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for fasta::Record { name, line, letters } in &records {
            if !letters.bytes().any(|letter| is_residue(u32::from(letter - b'A'))) {
                let problem = format!("line {line}: the letters of this sequence are none of the 20 residues");
                return Err(wrong("path", &problem));
            }
            let part = part_of(name);
            let unknown = || {
                let name: String = name.chars().take(40).collect();
                wrong("path", &format!("line {line}: `{name}` has no word split=NAME, which says what it is used for"))
            };
            let part = part.ok_or_else(unknown)?;
            let is_of = |names: &[String]| names.iter().position(|name| name == part);
            let tokens = || letters.bytes().map(|letter| u32::from(letter - b'A')).collect();
            if is_of(&config.train).is_some() {
                train.push(tokens());
            } else if is_of(&config.validation).is_some() {
                validation.push(tokens());
            } else if let Some(at) = is_of(&config.test) {
                test.push(tokens());
                parts.push(at as u32);
            }
        }
        // Every name must be met, or a typing error would leave sequences out.
        for (key, names) in config.parts() {
            let is_met = |name: &String| records.iter().any(|record| part_of(&record.name) == Some(name.as_str()));
            if let Some(name) = names.iter().find(|name| !is_met(name)) {
                return Err(wrong(key, &format!("by its header, no sequence belongs to split={name}")));
            }
        }
        let found = FoundProteins { sha256: file.sha256.clone(), validation: validation.len(), test: test.len() };
        let content = Self { train: Arc::new(train), validation, test, parts };
        Ok(Read { content, found, files: vec![file] })
    }
}

impl ProteinsConfig {
    fn parts(&self) -> [(&'static str, &[String]); 3] {
        [("train", &self.train), ("validation", &self.validation), ("test", &self.test)]
    }

    fn unread(&self) -> Option<TaskError> {
        let is_named = !self.path.as_os_str().is_empty();
        // With bad parts a file is not read, and it is not the one at fault.
        if self.found.is_some() || is_named && self.bad_parts().is_some() {
            return None;
        }
        let problem =
            if is_named { "was not read" } else { "names no file; give path = \"proteins.fasta\", or a .gz of it" };
        Some(TaskError::Key { key: "path", problem: problem.to_owned() })
    }

    /// A part without a name, or a name of two parts.
    fn bad_parts(&self) -> Option<TaskError> {
        let none = self.parts().into_iter().find(|(key, names)| names.is_empty() && *key != "validation");
        if let Some((key, _)) = none {
            let problem = format!("names no part of the sequences; give {key} = [\"{key}\"]");
            return Some(TaskError::Key { key, problem });
        }
        let all: Vec<(&str, &String)> =
            self.parts().into_iter().flat_map(|(key, names)| names.iter().map(move |name| (key, name))).collect();
        let again = all.iter().enumerate().find(|(at, (_, name))| all[..*at].iter().any(|(_, other)| other == name));
        again.map(|(_, (key, name))| {
            let key = if *key == "validation" { "validation" } else { "test" };
            TaskError::Key { key, problem: format!("`{name}` is used twice; a sequence belongs to one part") }
        })
    }

    fn bad_rate(&self) -> Option<TaskError> {
        let problem = if self.rate > 0.0 && self.rate < 1.0 {
            let is_given = self.rate.to_bits() != Self::default().rate.to_bits();
            if self.masking != Masking::None || !is_given {
                return None;
            }
            "nothing is hidden with masking = \"none\"; leave rate out".to_owned()
        } else {
            format!("{} must be above 0 and below 1", self.rate)
        };
        Some(TaskError::Key { key: "rate", problem })
    }
}

impl TaskSpec for ProteinsConfig {
    fn dims(&self) -> TaskDims {
        let vocab = ALPHABET.len() + OTHERS.len();
        TaskDims { seq_len: self.seq_len, input: TaskInput::Tokens { vocab }, d_out: ALPHABET.len() }
    }

    fn validate(&self) -> Vec<TaskError> {
        let problems = [self.unread(), self.bad_parts(), TaskError::below("seq_len", self.seq_len, 1), self.bad_rate()];
        problems.into_iter().flatten().collect()
    }

    fn settle(&mut self, files: &Files) -> Result<(), TaskError> {
        if self.path.as_os_str().is_empty() {
            return Ok(());
        }
        if self.found.is_none() && self.bad_parts().is_none() {
            let Read { content, found, .. } = Sequences::read(self, files)?;
            (self.found, self.held) = (Some(found), Held::of(content));
        }
        self.path = files.path(&self.path);
        Ok(())
    }

    fn open(&self, files: &Files, _: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        let sequences = self.held.or_read(self.found.as_ref(), || Sequences::read(self, files))?;
        Ok(Box::new(Proteins { config: Self { held: Held::default(), ..self.clone() }, sequences }))
    }

    /// As in windows that no sequence ends in and that have no other letters.
    fn scored(&self) -> f64 {
        let asked = self.asked() as f64;
        if self.masking == Masking::None { asked } else { (self.rate * asked).max(1.0) }
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        (self.masking == Masking::None).then_some("every residue stands right after the place where it is asked for")
    }

    fn clues_ahead(&self) -> Option<&'static str> {
        (self.masking != Masking::None).then_some("what tells of a hidden residue stands on both sides of it")
    }

    fn held_evaluation(&self) -> Option<[usize; 2]> {
        self.found.as_ref().map(|found| [found.validation, found.test])
    }

    fn places_mut(&mut self) -> Vec<(&'static str, &mut PathBuf)> {
        if self.path == Path::new("") { Vec::new() } else { vec![("path", &mut self.path)] }
    }

    fn data_sha256(&self) -> Option<&str> {
        self.found.as_ref().map(|found| found.sha256.as_str())
    }

    fn vocabulary(&self) -> Option<Vocabulary> {
        let characters = ALPHABET.chars().chain(OTHERS.chars()).collect();
        Some(Vocabulary::Characters { characters, has_unknown: false })
    }

    fn gaps(&self) -> Option<Gaps> {
        let gaps = Gaps { letters: ALPHABET, mark: '_', mask: MASK, pad: PAD, answers: &LETTERS };
        self.masking.shares().map(|_| gaps)
    }

    /// BLOSUM62.
    fn alike(&self) -> Option<Alike> {
        let tokens = blosum62::ORDER.bytes().map(|letter| u32::from(letter - b'A')).collect();
        let entries = blosum62::BLOSUM62.map(|row| row.map(f64::from).to_vec()).to_vec();
        Some(Alike { name: "BLOSUM62", tokens, entries })
    }

    fn length_mut(&mut self) -> Option<(&'static str, &mut usize)> {
        Some(("seq_len", &mut self.seq_len))
    }
}

/// Hidden residues of proteins. An example is a window of one sequence, at a random place of it, or the whole
/// sequence, followed by [`PAD`], which is never hidden or scored. Each training example is of a random sequence, evaluation
/// example i of held-out sequence i. Positions of hidden residues are scored; with `masking = "none"` every position is,
/// and predicts the next residue:
///
/// ```text
/// masked   inputs  M K _ A W ~    targets . . T . .      nothing masked   inputs  M K T A ~    targets K T A W .
/// ```
///
/// # Shapes
/// inputs `[seq_len]`, ids below 28 -> targets `[seq_len]`, the 26 letters, of which the 20 residues occur
pub struct Proteins {
    config: ProteinsConfig,
    sequences: Arc<Sequences>,
}

impl Proteins {
    /// Sequence `index` of a part, or `index` less a multiple of their number, and which of the names of the test it has.
    fn sequence(&self, split: Split, index: u64) -> (&[u32], Option<u32>) {
        let Sequences { train, validation, test, parts, .. } = &*self.sequences;
        let of = match split {
            Split::Train => &**train,
            Split::Validation => validation,
            Split::Test => test,
        };
        let at = (index % (of.len() as u64).max(1)) as usize;
        let part = parts.get(at).copied().filter(|_| split == Split::Test && self.config.test.len() > 1);
        (of.get(at).map_or(&[], Vec::as_slice), part)
    }
}

impl Task for Proteins {
    fn dims(&self) -> TaskDims {
        self.config.dims()
    }

    fn example(&self, split: Split, index: u64, rng: &mut SampleRng) -> Example {
        let index = if split == Split::Train { rng.random_range(0..self.sequences.train.len() as u64) } else { index };
        let (sequence, part) = self.sequence(split, index);
        let (seq_len, shares) = (self.config.seq_len, self.config.masking.shares());
        let wanted = if shares.is_some() { seq_len } else { seq_len + 1 };
        let begin = rng.random_range(0..=sequence.len().saturating_sub(wanted));
        let window: Vec<u32> = sequence[begin..].iter().take(wanted).copied().collect();
        let mut inputs: Vec<u32> = window.iter().take(seq_len).copied().collect();
        let (mut targets, mut loss_mask, mut slices) = (vec![0; seq_len], vec![false; seq_len], vec![None; seq_len]);
        let scored: Vec<[usize; 2]> = match shares {
            Some(shares) => shares.hide(&mut inputs, self.config.rate, rng).into_iter().map(|at| [at, at]).collect(),
            None => (1..window.len()).filter(|at| is_residue(window[*at])).map(|at| [at - 1, at]).collect(),
        };
        for [at, answer] in scored {
            targets[at] = window[answer];
            loss_mask[at] = true;
            slices[at] = part;
        }
        inputs.resize(seq_len, PAD);
        Example { inputs: Inputs::Tokens(inputs), targets: Targets::Classes(targets), loss_mask, slices }
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        let Some(Shares { random, kept, .. }) = self.config.masking.shares() else {
            return NGram::every_order(&self.sequences.train);
        };
        let hidden = Hidden { possible: LETTERS.into(), mask: MASK, random, kept };
        Neighbours::none_and_all(["residue_frequencies", "neighbours"], &self.sequences.train, &hidden)
    }

    fn scale(&self) -> Option<Scale> {
        Some(Scale::default())
    }

    /// The parts of the test, if there are several.
    fn slices(&self) -> Vec<String> {
        if self.config.test.len() > 1 { self.config.test.clone() } else { Vec::new() }
    }

    /// Perplexity, and accuracy in which a wrong residue earns its entry of BLOSUM62; with several parts of the test, also
    /// the loss and this accuracy of each.
    fn measures(&self) -> Vec<Measure> {
        let mut all = vec![Measure::of_loss("perplexity", f64::exp), Measure::new("soft_accuracy", soft)];
        for (slice, part) in (0..).zip(self.slices()) {
            all.push(Measure::new(format!("loss[{part}]"), nats).within(slice));
            all.push(Measure::new(format!("soft_accuracy[{part}]"), soft).within(slice));
        }
        all
    }
}

/// What the likeliest letter is worth.
fn soft(prediction: &[f32], wanted: Wanted<'_>) -> Option<f64> {
    let Wanted::Class(right) = wanted else { return None };
    let letters = prediction.iter().take(ALPHABET.len()).enumerate();
    let (answer, _) = letters.reduce(|best, next| if next.1 > best.1 { next } else { best })?;
    Some(blosum62::credit(written(answer), written(right as usize)))
}

/// Cross-entropy, −ln softmax(prediction)_right.
fn nats(prediction: &[f32], wanted: Wanted<'_>) -> Option<f64> {
    let Wanted::Class(right) = wanted else { return None };
    let top = prediction.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = prediction.iter().map(|logit| f64::from(logit - top).exp()).sum();
    Some(total.ln() - f64::from(prediction[right as usize] - top))
}
