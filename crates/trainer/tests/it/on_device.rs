//! Batches in the memory of devices.

use headway_model::{Input, weights::to_host};
use headway_tasks::{Batch, Inputs, Targets, TaskDims, TaskInput};
use headway_testkit::devices;
use headway_trainer::{loss::Loss, on_device::OnDevice};

const DIMS: TaskDims = TaskDims { seq_len: 3, input: TaskInput::Continuous { d_in: 2 }, d_out: 1 };

/// Two sequences, of which these positions are scored.
fn batch(first: f32, loss_mask: [bool; 6]) -> Batch {
    let numbers = |count: usize| (0..count).map(|at| first + at as f32).collect();
    Batch {
        size: 2,
        dims: DIMS,
        inputs: Inputs::Continuous(numbers(12)),
        targets: Targets::Continuous(numbers(6)),
        loss_mask: loss_mask.to_vec(),
        slices: vec![None; 6],
        units: Vec::new(),
    }
}

#[test]
fn a_batch_takes_the_place_of_one_that_is_laid_out_alike() {
    let masks = [[true, false, true, true, false, true], [false, true, true, true, true, false]];
    for on in devices() {
        let mut there = OnDevice::new(&batch(0.0, masks[0]), &on.device);
        let Input::Continuous(held) = there.input() else { unreachable!("vectors went in") };
        assert!(there.refill(&batch(7.0, masks[1])));
        // Σ (0 − target)² / 4 where the second batch is scored, the second channel being wanted to be zero.
        let prediction = held.zeros_like();
        let squares = [8.0_f32, 9.0, 10.0, 11.0].map(|target| target * target).iter().sum::<f32>();
        let losses = [Loss::Plain, Loss::Padded].map(|loss| to_host(loss.forward(prediction.clone(), &there))[0]);
        assert_eq!(losses.to_vec(), vec![squares / 4.0, squares / 8.0], "{}", on.name);
        let Input::Continuous(now) = there.input() else { unreachable!("vectors went in") };
        let want: Vec<f32> = (7..19).map(|number| number as f32).collect();
        assert_eq!(to_host(now), want, "{}", on.name);
        // A GPU's memory is the same: what was launched with it works on the new batch.
        let begins = if headway_kernels::is_flex(&on.device) { 0.0 } else { 7.0 };
        assert_eq!(to_host(held)[..1].to_vec(), vec![begins], "{}", on.name);
        for other in [batch(1.0, [true; 6]), Batch { size: 1, ..batch(1.0, masks[0]) }] {
            assert!(!there.refill(&other), "another layout");
        }
    }
}
