//! Batches in the memory of devices.

use burn::tensor::Tensor;
use headway_model::{Input, weights::to_host};
use headway_tasks::{Batch, Inputs, Targets, TaskDims, TaskInput};
use headway_testkit::devices;
use headway_trainer::{loss::Loss, metric::Scores, on_device::OnDevice};

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

/// Numbers without a target count nowhere, on the device and among the scores alike, and a position with some counts by those that it has.
#[test]
fn missing_targets_do_not_count() {
    const MISSING: f32 = f32::NAN;
    const MASK: [bool; 6] = [true, false, true, true, true, false];
    let dims = TaskDims { d_out: 2, ..DIMS };
    let with = |targets: [f32; 12]| Batch { dims, targets: Targets::Continuous(targets.to_vec()), ..batch(0.0, MASK) };
    let first = with([1.0, MISSING, 0.0, 0.0, 2.0, 3.0, MISSING, -4.0, 5.0, 6.0, 0.0, 0.0]);
    let second = with([MISSING, 1.0, 0.0, 0.0, MISSING, 3.0, 7.0, -4.0, 5.0, 6.0, 0.0, 0.0]);
    for on in devices() {
        let mut there = OnDevice::new(&first, &on.device);
        assert_eq!((there.layout().scored(), there.layout().missing()), (4, 2));
        for (batch, errors) in
            [(&first, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), (&second, vec![1.0, 3.0, 7.0, 4.0, 5.0, 6.0])]
        {
            assert!(there.refill(batch));
            let Input::Continuous(input) = there.input() else { unreachable!("vectors went in") };
            let mean = |power: i32, count: f32| errors.iter().map(|error: &f32| error.powi(power)).sum::<f32>() / count;
            // Of a network with a third channel, which is padding.
            let prediction = Tensor::cat(vec![input.zeros_like(), input.clone().narrow(2, 0, 1).zeros_like()], 2);
            for (loss, wanted) in [
                (Loss::Plain, mean(2, 6.0)),
                (Loss::Absolute, mean(1, 6.0)),
                // Four scored positions have one channel of padding each.
                (Loss::Padded, mean(2, 10.0)),
            ] {
                let found = to_host(loss.forward(prediction.clone(), &there))[0];
                assert!((found - wanted).abs() < 1e-5 * wanted, "{loss:?} on {}: {found}, {wanted}", on.name);
                let mut scores = Scores::new(loss, Vec::new(), Vec::new());
                scores.add(batch, &[0.0; 18], 3, 3);
                let values = scores.values();
                assert!((values["loss"] - f64::from(wanted)).abs() < 1e-5, "{loss:?}: {values:?}, {wanted}");
                assert!((values["mse"] - f64::from(mean(2, 6.0))).abs() < 1e-5, "{loss:?}: {values:?}");
            }
        }
        let fewer = with([1.0, 9.0, 0.0, 0.0, 2.0, 3.0, MISSING, -4.0, 5.0, 6.0, 0.0, 0.0]);
        assert!(!there.refill(&fewer), "another layout");
    }
}
