//! From (seed, stream, index) to random numbers: the only place that makes generators.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The generator for examples and weights.
pub type SampleRng = ChaCha8Rng;

/// Purpose of a sequence of random numbers. Streams of one seed never overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stream {
    /// Initial weights.
    Init = 0,
    /// Constants of a task, such as the true weights of a regression that all examples share.
    Task = 1,
    /// Training examples, by index.
    Train = 2,
    /// Validation examples, by index.
    Validation = 3,
    /// Test examples, by index.
    Test = 4,
    /// Order of a fixed training set, by epoch.
    Order = 5,
    /// Examples that classical predictors are fitted to when training data is drawn fresh, by index.
    Fit = 6,
    /// Resamples of seeds for intervals, by index.
    Resample = 7,
    /// Initial values of adapters.
    Adapter = 8,
    /// Inputs that adapters drop, by training batch.
    Dropout = 9,
    /// Tokens of a generated text, by their number in it.
    Generate = 10,
    /// Directions of attention kernels that are drawn anew while training, by the number of the drawing.
    Redraw = 11,
    /// Training examples from boxes, by index.
    Boxes = 12,
}

/// The largest seed: the largest integer of a TOML file, which records the seed of every run.
pub const LARGEST_SEED: u64 = i64::MAX.cast_unsigned();

/// Purpose of points at which a proof or a measurement is evaluated. Each purpose has its own sequence, which is the
/// same in all runs unless a construction has a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Probe {
    /// Inputs on which a certificate is measured.
    Certificate = 0x5eed,
    /// Starting points of the search for a certificate's largest error.
    Ascent = 0xc11b,
    /// Points of a cube or a sphere at which the smoothness of a function is measured.
    Smoothness = 0x51_0be5,
    /// Points at which the slope of a function of sequences is measured.
    Slope = 0x51_0e5,
    /// Hidden units, and the samples that a ReLU network is fitted to.
    Hidden = 0xf17,
    /// Inputs that put hidden units at their kinks.
    Kink = 0x4e1,
    /// Prompts that are hard for gradient descent in context.
    Prompt = 0x1c1,
    /// Corners, walls and interior points of the cells of a cube.
    Cell = 0xc0de,
    /// Corners and faces of the cells of a box of sequences.
    Grid = 0x6d1d,
    /// An interior point of a partition.
    Inside = 0x9a9,
    /// Walls of a partition.
    Wall = 0xa11,
    /// Starting points of the search for the largest error of a network with any weights.
    Supremum = 0x5_0b0,
    /// Corners, kinks and ties of the nodes of a formula.
    Formula = 0xf0f,
}

impl Probe {
    /// The generator for this purpose.
    pub fn rng(self) -> SampleRng {
        Seed(0).probe(self)
    }
}

/// Seed of a run, at most [`LARGEST_SEED`]. All randomness of a run is a function of it, so no generator state has to
/// be saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// The generator for an index of a stream: ChaCha8 with key (seed, stream) and stream number `index`.
    pub fn rng(self, stream: Stream, index: u64) -> SampleRng {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.0.to_le_bytes());
        key[8] = stream as u8;
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(index);
        rng
    }

    /// The generator for a purpose: ChaCha8 with its key expanded from seed xor purpose.
    pub fn probe(self, purpose: Probe) -> SampleRng {
        ChaCha8Rng::seed_from_u64(self.0 ^ purpose as u64)
    }
}
