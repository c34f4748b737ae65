//! Experiments of papers, each a sweep or a comparison inside this program. A new one takes one file and one row.

use std::path::Path;

use crate::{
    Study,
    error::Error,
    file::{Changes, StudyFile},
};

/// An experiment of a paper.
pub struct Reproduction {
    /// Name on the command line.
    pub id: &'static str,
    /// One-line summary.
    pub summary: &'static str,
    /// The file of the sweep or the comparison.
    text: &'static str,
}

macro_rules! reproductions {
    ($($id:literal, $summary:literal;)+) => {
        /// Every reproduction.
        pub const REPRODUCTIONS: &[Reproduction] = &[$(Reproduction {
            id: $id,
            summary: $summary,
            text: include_str!(concat!("../../../experiments/reproduce/", $id, ".toml")),
        },)+];
    };
}

reproductions! {
    "heads", "one layer on truncated linear functions: error against the number of heads, 1 to 16";
    "range", "one layer, one head: error against the width |b - a| of the range, 10 to 50";
    "anchors", "one layer, one head: error against p, the tokens with the interpolation tokens, 60 to 120";
    "seq2seq-heads", "two layers on a random ReLU network of the sequence: error against the number of heads, 1 to 32";
    "seq2seq-anchors", "two layers on a random ReLU network of the sequence: error against p, 10 to 20";
    "attention-map", "one layer, one head: attention patterns at |b - a| = 0.5, 1.5 and 3";
    "rival", "attention alone against feed-forward blocks at equal parameters on four in-context families, as AttentionPure has it";
    "interpreter", "the experiments on emulating algorithms, arXiv 2508.17550: a function, an attention head, statistical models, beside the exact predictors";
    "limits", "what theorems say that attention cannot do, beside what trained networks do not do: permutations, the k-th largest, several maxima, parity";
    "rank", "sorting and convex hulls by deep attention with and without skip connections, the tasks of the paper on rank collapse";
    "san", "attention alone on language, regression and recall: findings of the attention-only study, arXiv 2607.18363, at small sizes";
}

impl Reproduction {
    /// The reproduction with this name; `None` if there is none.
    pub fn find(id: &str) -> Option<&'static Self> {
        REPRODUCTIONS.iter().find(|reproduction| reproduction.id == id)
    }

    /// Its study, with changes from the command line.
    ///
    /// # Errors
    /// [`Error::Trainer`] for a profile that it does not have; [`Error::Experiment`] for a change that makes no sense.
    pub fn study(&self, changes: &Changes) -> Result<Study, Error> {
        let path = Path::new("experiments/reproduce").join(self.id).with_extension("toml");
        let file = StudyFile::from_text(&path, self.text.to_owned(), changes.profile.as_deref())?;
        Study::of(&file, changes)
    }
}
