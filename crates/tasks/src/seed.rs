//! (seed, stream, index) -> random numbers: the only place that makes a generator.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The generator that examples and weights are drawn from.
pub type SampleRng = ChaCha8Rng;

/// What a sequence of random numbers is for. Streams of one seed never overlap.
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
    /// Resamples of seeds for intervals, by their number.
    Resample = 7,
    /// Initial values of adapters.
    Adapter = 8,
    /// What adapters drop, by training batch.
    Dropout = 9,
}

/// The largest seed: the largest whole number of a TOML file, where the seed of every run stands.
pub const LARGEST_SEED: u64 = i64::MAX.cast_unsigned();

/// The seed of a run, at most [`LARGEST_SEED`]. All randomness of a run is a function of it, so there is no generator state to save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// The generator for one index of one stream: ChaCha8 with key (seed, stream) and stream number `index`.
    pub fn rng(self, stream: Stream, index: u64) -> SampleRng {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.0.to_le_bytes());
        key[8] = stream as u8;
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(index);
        rng
    }
}
