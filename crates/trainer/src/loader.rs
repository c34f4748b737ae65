//! Batches in the form of burn-train's data loaders.

use std::{ops::Range, sync::Arc};

use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderIterator, Progress},
        dataset::DatasetError,
    },
    tensor::Device,
};
use headway_tasks::{Batch, Source, Split};

/// Batches by index. Each is a pure function of its index, so a loader may start anywhere.
#[derive(Clone)]
pub(crate) enum Loader {
    /// Training batches with these indices.
    Train(Arc<Source>, Range<u64>),
    /// An evaluation set.
    Evaluation(Arc<Vec<Batch>>),
}

impl Loader {
    pub(crate) fn evaluation(source: &Source, split: Split) -> Self {
        Self::Evaluation(Arc::new(source.evaluation(split)))
    }

    fn len(&self) -> usize {
        match self {
            Self::Train(_, numbers) => (numbers.end - numbers.start) as usize,
            Self::Evaluation(batches) => batches.len(),
        }
    }

    fn get(&self, index: usize) -> Batch {
        match self {
            Self::Train(source, numbers) => source.train_batch(numbers.start + index as u64),
            Self::Evaluation(batches) => batches[index].clone(),
        }
    }
}

impl DataLoader<Batch> for Loader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Batch> + 'a> {
        Box::new(LoaderIterator { loader: self, next: 0 })
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
            Self::Train(source, numbers) => {
                Self::Train(source.clone(), numbers.start + start as u64..numbers.start + end as u64)
            }
            Self::Evaluation(batches) => Self::Evaluation(Arc::new(batches[start..end].to_vec())),
        })
    }
}

struct LoaderIterator<'a> {
    loader: &'a Loader,
    next: usize,
}

impl Iterator for LoaderIterator<'_> {
    type Item = Result<Batch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.next;
        self.next += 1;
        (index < self.loader.len()).then(|| Ok(self.loader.get(index)))
    }
}

impl DataLoaderIterator<Batch> for LoaderIterator<'_> {
    fn progress(&self) -> Progress {
        Progress::new(self.next, self.loader.len(), Some("batches".to_owned()))
    }
}
