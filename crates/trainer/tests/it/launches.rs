//! A step on a GPU is few launches: on a small model it costs what they cost. Counted on whatever adapter there is, which takes the same.

use std::collections::BTreeMap;

use headway_trainer::{bench::Bench, device::DeviceSpec};

/// Benchmarks, made small, and the launches of a step at most.
const MOST: [(&str, &[&str], usize); 2] =
    [("A1", &["train.batch_size=2"], 29), ("C", &["train.batch_size=2", "task.relu_network.seq_len=16"], 107)];

#[test]
fn a_step_is_few_launches() {
    let Some(gpu) = headway_testkit::gpu_name() else { return };
    let (device, _) = gpu.parse::<DeviceSpec>().unwrap().open().unwrap();
    for (name, smaller, most) in MOST {
        let launches = Bench::find(name).unwrap().launches(&device, smaller).unwrap();
        let mut counts = BTreeMap::new();
        for kernel in &launches {
            *counts.entry(kernel).or_insert(0) += 1;
        }
        assert!((1..=most).contains(&launches.len()), "{name} takes {} launches: {counts:#?}", launches.len());
    }
}
