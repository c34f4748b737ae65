//! Which residues of a window are hidden, and how.

use headway_keys::Described;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::{LETTERS, MASK, is_residue};
use crate::seed::SampleRng;

/// What a network is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum Masking {
    /// Residues chosen at random, of which 80 % become a mask, 10 % another residue and 10 % stay.
    #[default]
    Bert,
    /// Residues chosen at random, of which 10 % become a mask, 80 % another residue and 10 % stay.
    Performer,
    /// The next residue, given those before it. Nothing is hidden.
    None,
}

/// What becomes of a residue that is chosen, as shares of 1. A random residue may be the same one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares {
    /// It becomes a mask.
    pub mask: f64,
    /// It becomes one of the 20 residues, each with equal probability.
    pub random: f64,
    /// It stays.
    pub kept: f64,
}

impl Masking {
    /// What becomes of chosen residues; `None` if none are chosen.
    ///
    /// # References
    /// Devlin et al. 2019, arXiv 1810.04805, for `bert`; for `performer` the authors' code to Choromanski et al. 2021,
    /// arXiv 2009.14794.
    pub fn shares(self) -> Option<Shares> {
        match self {
            Self::Bert => Some(Shares { mask: 0.8, random: 0.1, kept: 0.1 }),
            Self::Performer => Some(Shares { mask: 0.1, random: 0.8, kept: 0.1 }),
            Self::None => None,
        }
    }
}

impl Shares {
    /// Hides residues, each with probability `rate`, one at least, and says which. Other letters stay and are never
    /// chosen.
    pub(super) fn hide(self, tokens: &mut [u32], rate: f64, rng: &mut SampleRng) -> Vec<usize> {
        let residues: Vec<usize> = (0..tokens.len()).filter(|at| is_residue(tokens[*at])).collect();
        let mut chosen: Vec<usize> = residues.iter().copied().filter(|_| rng.random_bool(rate)).collect();
        if chosen.is_empty() && !residues.is_empty() {
            chosen.push(residues[rng.random_range(0..residues.len())]);
        }
        for &at in &chosen {
            let share: f64 = rng.random();
            if share < self.mask {
                tokens[at] = MASK;
            } else if share < self.mask + self.random {
                tokens[at] = LETTERS[rng.random_range(0..LETTERS.len())];
            }
        }
        chosen
    }
}
