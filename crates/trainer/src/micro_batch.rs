//! What a step is given: a batch made on the host, or a choice from a set that lies on a GPU.

use std::sync::Arc;

use burn::tensor::Device;
use headway_kernels::memory::{self, Limits};
use headway_tasks::{Batch, Source};

use crate::{
    device::OpenDevice,
    experiment::Memory,
    on_device::{Layout, OnDevice, counts},
};

/// The examples of one micro-batch, the same wherever they lie.
#[derive(Clone)]
pub(crate) enum MicroBatch {
    /// Made on the host.
    Made(Batch),
    /// Rows of a set on the device, and how they are laid out.
    Chosen(Arc<Resident>, Vec<u32>, Layout),
}

impl MicroBatch {
    pub(crate) fn layout(&self) -> Layout {
        match self {
            Self::Made(batch) => Layout::of(batch),
            Self::Chosen(_, _, layout) => *layout,
        }
    }

    /// The micro-batch on a device.
    pub(crate) fn upload(&self, device: &Device) -> OnDevice {
        match self {
            Self::Made(batch) => OnDevice::new(batch, device),
            Self::Chosen(set, rows, layout) => set.all.part(rows, *layout, &set.mask_of(rows)),
        }
    }

    /// Puts the micro-batch into the place of another, if it has the same layout; returns whether it has.
    pub(crate) fn refill(&self, there: &mut OnDevice) -> bool {
        match self {
            Self::Made(batch) => there.refill(batch),
            Self::Chosen(set, rows, layout) => there.refill_part(&set.all, rows, *layout, &set.mask_of(rows)),
        }
    }
}

/// A fixed training set in a GPU's memory.
pub(crate) struct Resident {
    all: OnDevice,
    /// Scored positions of each example, and numbers there without a target.
    counts: Vec<[usize; 2]>,
    /// Which positions are scored. `[examples · asked]`
    mask: Vec<bool>,
}

/// Share of a GPU's memory that a set may take.
const SHARE: u64 = 4;
/// Bytes that a set may take of a GPU that does not tell what it has.
const OF_UNKNOWN: u64 = 1 << 28;

impl Resident {
    /// The fixed training set of a source; `None` if its examples are fresh, the device is no GPU, or the set is too large for it
    /// beside what training needs.
    pub(crate) fn of(source: &Source, device: &OpenDevice, needed: &Memory) -> Option<Self> {
        let limits = device.spec.is_gpu().then(|| memory::limits(&device.device)).flatten()?;
        (source.fixed_bytes()? <= room_for_set(limits, needed)).then(|| Self::place(source, &device.device))
    }

    /// The fixed training set of a source on a device.
    fn place(source: &Source, device: &Device) -> Self {
        let set = source.fit_set();
        let asked = set.asked();
        let counts = (0..set.size).map(|example| counts(&set, example * asked..(example + 1) * asked)).collect();
        Self { all: OnDevice::dense(&set, device), counts, mask: set.loss_mask }
    }

    /// Which positions of these examples are scored. `[rows · asked]`
    fn mask_of(&self, rows: &[u32]) -> Vec<bool> {
        let asked = self.all.layout().asked();
        rows.iter().flat_map(|&row| &self.mask[row as usize * asked..][..asked]).copied().collect()
    }

    /// The training batch of these examples.
    pub(crate) fn batch(self: &Arc<Self>, rows: Vec<u32>) -> MicroBatch {
        let counts = rows.iter().map(|&row| self.counts[row as usize]);
        let counts = counts.fold([0; 2], |[a, b], [scored, missing]| [a + scored, b + missing]);
        let layout = self.all.layout().part(rows.len(), counts);
        MicroBatch::Chosen(Arc::clone(self), rows, layout)
    }
}

/// Bytes that a set may take.
fn room_for_set(limits: Limits, needed: &Memory) -> u64 {
    let beside = |total: u64| (total as f64 - needed.on_gpu()).max(0.0) as u64;
    limits.total.map_or(OF_UNKNOWN, |total| beside(total).min(total / SHARE)).min(limits.array)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use burn::tensor::Tensor;
    use headway_model::{Input, weights::to_host};
    use headway_tasks::{DataConfig, Seed, TaskConfig};
    use headway_testkit::devices;

    use super::*;
    use crate::{data, loss::Loss};

    /// The numbers of a batch on a device: its inputs, and its targets as far as they are scored, by the loss of an answer that is no
    /// target.
    fn numbers(batch: &OnDevice, width: usize) -> (Vec<f32>, Vec<f32>) {
        let (inputs, [n, seq_len], device) = match batch.input() {
            Input::Continuous(x) => (to_host(x.clone()), [x.dims()[0], x.dims()[1]], x.device()),
            Input::Tokens(tokens) => (to_host(tokens.clone().float()), tokens.dims(), tokens.device()),
        };
        let answer: Vec<f32> = (0..n * seq_len * width).map(|at| (at % 13) as f32 / 7.0).collect();
        let answer = Tensor::<1>::from_data(answer.as_slice(), &device).reshape([n * seq_len, width]);
        let answer = match batch.picked() {
            Some(rows) => answer.select(0, rows).unsqueeze(),
            None => answer.reshape([n, seq_len, width]),
        };
        (inputs, to_host(Loss::Plain.forward(answer, batch)))
    }

    /// To the bit, for numbers and tokens, where all positions are scored, some and few, over the end of an epoch with its smaller
    /// batch; and one in the place of another.
    #[test]
    fn a_batch_chosen_on_the_device_is_the_one_made_on_the_host() {
        for name in ["truncated_linear", "icl_linear", "copy", "mqar"] {
            let task = TaskConfig::with_defaults(name).unwrap().open(&data::files(""), Seed(3)).unwrap();
            let width = task.dims().d_out;
            let source = Source::new(task, Seed(3), DataConfig::Fixed { train: 7, validation: 0, test: 1 }, 3);
            for on in devices() {
                let set = Arc::new(Resident::place(&source, &on.device));
                let mut kept: Option<OnDevice> = None;
                for number in 0..5 {
                    let made = OnDevice::new(&source.train_batch(number), &on.device);
                    let chosen = set.batch(source.chosen(number));
                    let there = chosen.upload(&on.device);
                    assert_eq!(there.layout(), made.layout());
                    assert_eq!(chosen.layout(), made.layout());
                    let want = numbers(&made, width);
                    assert_eq!(numbers(&there, width), want, "{name}, batch {number} on {}", on.name);
                    assert_eq!(there.picked().is_some(), name == "mqar", "{name}");
                    let mut refilled = kept.take().filter(|kept| kept.layout() == made.layout()).unwrap_or(there);
                    assert!(chosen.refill(&mut refilled));
                    assert_eq!(numbers(&refilled, width), want, "{name}, batch {number} in place on {}", on.name);
                    kept = Some(refilled);
                }
            }
        }
    }

    #[test]
    fn a_set_leaves_room_for_training() {
        let needed = |weights| Memory {
            examples: 0.0,
            batch: 0.0,
            largest_array: 0.0,
            weights,
            gradients: 0.0,
            moments: 0.0,
            activations: 0.0,
        };
        let most = |total, array, weights| room_for_set(Limits { total, array }, &needed(weights));
        assert_eq!(most(Some(1000), 1000, 100.0), 250, "a share");
        assert_eq!(most(Some(1000), 1000, 900.0), 100, "what is left");
        assert_eq!(most(Some(1000), 1000, 2000.0), 0);
        assert_eq!(most(Some(1000), 200, 100.0), 200, "in one piece");
        assert_eq!(most(None, 1 << 40, 1e12), OF_UNKNOWN);
    }
}
