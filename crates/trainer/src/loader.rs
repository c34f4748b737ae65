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
    experiment::Memory,
    micro_batch::{MicroBatch, Resident},
    prefetch::{Prefetch, WaitCounter, Waits},
};

/// An evaluation set.
#[derive(Clone)]
pub(crate) struct Evaluation(Arc<Vec<Batch>>);

/// Training batches with these indices. Each is a pure function of its index, so that training may begin anywhere.
#[derive(Clone)]
pub(crate) struct Training {
    source: Arc<Source>,
    /// The training set, if it lies on the device.
    resident: Option<Arc<Resident>>,
    numbers: Range<u64>,
    /// Threads that make them ahead; for 0, each is made when it is asked for.
    threads: usize,
    waits: Arc<WaitCounter>,
}

/// Threads that make batches ahead for a GPU at most.
const MOST_THREADS: usize = 8;

/// Threads that make training batches ahead of the steps on a device. A GPU's host has little else to do: one thread issues launches,
/// and one hands them to the driver. On the CPU the steps use every core already.
fn threads_ahead(device: &OpenDevice) -> usize {
    if !device.spec.is_gpu() {
        return 0;
    }
    thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(2).clamp(1, MOST_THREADS))
}

impl Training {
    /// The training batches of a source with these indices, for steps on a device that need so much memory.
    pub(crate) fn new(source: Arc<Source>, numbers: Range<u64>, device: &OpenDevice, needed: &Memory) -> Self {
        let resident = Resident::of(&source, device, needed).map(Arc::new);
        // To choose rows is nothing to do ahead with several threads.
        let threads = threads_ahead(device).min(if resident.is_some() { 1 } else { MOST_THREADS });
        Self { source, resident, numbers, threads, waits: Arc::default() }
    }

    /// How often whoever took a batch had to wait for it so far; `None` unless they are made ahead.
    pub(crate) fn waits(&self) -> Option<Waits> {
        (self.threads > 0).then(|| self.waits.so_far())
    }

    /// Batch after batch.
    pub(crate) fn batches(&self) -> Box<dyn Iterator<Item = Result<MicroBatch, DatasetError>> + Send> {
        let Self { source, resident, numbers, threads, waits } = self.clone();
        let make = move |number| match &resident {
            Some(set) => set.batch(source.chosen(number)),
            None => MicroBatch::Made(source.train_batch(number)),
        };
        if threads == 0 {
            return Box::new(numbers.map(move |number| Ok(make(number))));
        }
        match Prefetch::start(numbers, threads, waits, make) {
            Ok(batches) => Box::new(batches.map(Ok)),
            Err(error) => Box::new(std::iter::once(Err(DatasetError::new(Error::NoThread(error))))),
        }
    }
}

impl Evaluation {
    pub(crate) fn of(source: &Source, split: Split) -> Self {
        Self(Arc::new(source.evaluation(split)))
    }
}

impl DataLoader<MicroBatch> for Training {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<MicroBatch> + 'a> {
        Box::new(LoaderIterator { batches: self.batches(), taken: 0, of: self.num_items() })
    }

    fn num_items(&self) -> usize {
        (self.numbers.end - self.numbers.start) as usize
    }

    /// Each batch goes to the model's device when it is used.
    fn to_device(&self, _device: &Device) -> Arc<dyn DataLoader<MicroBatch>> {
        Arc::new(self.clone())
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<MicroBatch>> {
        let first = self.numbers.start;
        Arc::new(Self { numbers: first + start as u64..first + end as u64, ..self.clone() })
    }
}

impl DataLoader<Batch> for Evaluation {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Batch> + 'a> {
        Box::new(LoaderIterator { batches: Box::new(self.0.iter().cloned().map(Ok)), taken: 0, of: self.num_items() })
    }

    fn num_items(&self) -> usize {
        self.0.len()
    }

    /// As [`Training`]'s.
    fn to_device(&self, _device: &Device) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(self.clone())
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(Self(Arc::new(self.0[start..end].to_vec())))
    }
}

struct LoaderIterator<'a, T> {
    batches: Box<dyn Iterator<Item = Result<T, DatasetError>> + Send + 'a>,
    taken: usize,
    of: usize,
}

impl<T> Iterator for LoaderIterator<'_, T> {
    type Item = Result<T, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.taken += 1;
        self.batches.next()
    }
}

impl<T> DataLoaderIterator<T> for LoaderIterator<'_, T> {
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
        let training = Training { source: Arc::clone(source), resident: None, numbers, threads, waits: Arc::default() };
        let made = training.iter().map(|batch| match batch.unwrap() {
            MicroBatch::Made(batch) => batch,
            MicroBatch::Chosen(..) => unreachable!("the set is on the host"),
        });
        made.collect()
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
