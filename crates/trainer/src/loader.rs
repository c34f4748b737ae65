//! Batches in the form of burn-train's data loaders.

use std::{ops::Range, sync::Arc, thread};

use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderIterator, Progress},
        dataset::DatasetError,
    },
    tensor::Device,
};
use headway_tasks::{Batch, Source, Split};

use crate::{
    device::OpenDevice,
    error::Error,
    prefetch::{Prefetch, WaitCounter, Waits},
};

/// Batches by index. Each is a pure function of its index, so a loader may start anywhere.
#[derive(Clone)]
pub(crate) enum Loader {
    /// Training batches.
    Train(Training),
    /// An evaluation set.
    Evaluation(Arc<Vec<Batch>>),
}

/// Training batches with these indices.
#[derive(Clone)]
pub(crate) struct Training {
    source: Arc<Source>,
    numbers: Range<u64>,
    /// Threads that make them ahead; for 0, each is made when it is asked for.
    threads: usize,
    waits: Arc<WaitCounter>,
}

/// Threads that make batches ahead for a GPU at most.
const MOST_THREADS: usize = 8;

/// Threads that make training batches ahead of the steps on a device. A GPU's host has little else to do: one thread issues launches,
/// and one hands them to the driver. On the CPU the steps use every core, and a further thread was no gain.
pub(crate) fn threads_ahead(device: &OpenDevice) -> usize {
    if !device.spec.is_gpu() {
        return 0;
    }
    thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(2).clamp(1, MOST_THREADS))
}

impl Training {
    /// The training batches of a source with these indices, made ahead by so many threads.
    pub(crate) fn new(source: Arc<Source>, numbers: Range<u64>, threads: usize) -> Self {
        Self { source, numbers, threads, waits: Arc::default() }
    }

    /// How often whoever took a batch had to wait for it so far; `None` unless they are made ahead.
    pub(crate) fn waits(&self) -> Option<Waits> {
        (self.threads > 0).then(|| self.waits.so_far())
    }

    /// Batch after batch.
    pub(crate) fn batches(&self) -> Box<dyn Iterator<Item = Result<Batch, DatasetError>> + Send> {
        let Self { source, numbers, threads, waits } = self.clone();
        if threads == 0 {
            return Box::new(numbers.map(move |number| Ok(source.train_batch(number))));
        }
        match Prefetch::start(numbers, threads, waits, move |number| source.train_batch(number)) {
            Ok(batches) => Box::new(batches.map(Ok)),
            Err(error) => Box::new(std::iter::once(Err(DatasetError::new(Error::NoThread(error))))),
        }
    }
}

impl Loader {
    pub(crate) fn evaluation(source: &Source, split: Split) -> Self {
        Self::Evaluation(Arc::new(source.evaluation(split)))
    }

    fn len(&self) -> usize {
        match self {
            Self::Train(training) => (training.numbers.end - training.numbers.start) as usize,
            Self::Evaluation(batches) => batches.len(),
        }
    }
}

impl DataLoader<Batch> for Loader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Batch> + 'a> {
        let batches: Box<dyn Iterator<Item = _> + Send + 'a> = match self {
            Self::Train(training) => training.batches(),
            Self::Evaluation(batches) => Box::new(batches.iter().cloned().map(Ok)),
        };
        Box::new(LoaderIterator { batches, taken: 0, of: self.len() })
    }

    fn num_items(&self) -> usize {
        self.len()
    }

    /// Batches are on the host; each is moved to the model's device when it is used.
    fn to_device(&self, _device: &Device) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(self.clone())
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(match self {
            Self::Train(training) => {
                let first = training.numbers.start;
                Self::Train(Training { numbers: first + start as u64..first + end as u64, ..training.clone() })
            }
            Self::Evaluation(batches) => Self::Evaluation(Arc::new(batches[start..end].to_vec())),
        })
    }
}

struct LoaderIterator<'a> {
    batches: Box<dyn Iterator<Item = Result<Batch, DatasetError>> + Send + 'a>,
    taken: usize,
    of: usize,
}

impl Iterator for LoaderIterator<'_> {
    type Item = Result<Batch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.taken += 1;
        self.batches.next()
    }
}

impl DataLoaderIterator<Batch> for LoaderIterator<'_> {
    fn progress(&self) -> Progress {
        Progress::new(self.taken, self.of, Some("batches".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use headway_tasks::{DataConfig, Seed, TaskConfig};

    use super::*;
    use crate::data;

    fn source(task: &TaskConfig, data: DataConfig) -> Arc<Source> {
        Arc::new(Source::new(task.open(&data::files(""), Seed(3)).unwrap(), Seed(3), data, 3))
    }

    fn taken(source: &Arc<Source>, numbers: Range<u64>, threads: usize) -> Vec<Batch> {
        let loader = Loader::Train(Training::new(Arc::clone(source), numbers, threads));
        loader.iter().map(Result::unwrap).collect()
    }

    /// Whatever the task, and whether its examples are fresh or a fixed set, whose epochs end with a smaller batch; from the start and
    /// from any step at which training goes on.
    #[test]
    fn batches_made_ahead_are_those_made_in_the_step() {
        let fixed = DataConfig::Fixed { train: 7, validation: 0, test: 1 };
        for name in ["truncated_linear", "icl_linear", "copy"] {
            let task = TaskConfig::with_defaults(name).unwrap();
            for data in [DataConfig::default(), fixed.clone()] {
                let source = source(&task, data);
                let direct = taken(&source, 0..8, 0);
                for (from, threads) in [(0, 1), (0, 3), (1, 2), (5, 1), (7, 2), (8, 2)] {
                    assert_eq!(taken(&source, from..8, threads), direct[from as usize..], "{name} from {from}");
                }
            }
        }
    }
}
