//! No error above a bound: a small part of `cargo bench --bench bounds`.

use burn::tensor::Device;
use headway_tasks::Seed;
use headway_theory::{Effort, attack, attacks, construct::CONSTRUCTIONS};

#[test]
fn no_error_is_above_its_bound() {
    let device = Device::flex();
    let effort = Effort { random: 32, climbers: 4, climb: 12, flops: 200_000_000 };
    let mut tried = Vec::new();
    for seed in [1000, 1001] {
        for construction in attacks::constructions(seed).unwrap() {
            let model = construction.network.assemble(&device);
            let found = attack(&construction, &model, &device, effort, Seed(seed));
            let bound = construction.bound.value + construction.rounding.value;
            assert!(found.error <= bound, "{}, seed {seed}: {found:?} above {bound}", construction.name);
            assert!(found.random + found.adversarial >= 16, "{} was not run: {found:?}", construction.name);
            tried.push(construction.name);
        }
    }
    for (name, _) in CONSTRUCTIONS {
        assert!(tried.contains(name), "{name} is not attacked");
    }
}
