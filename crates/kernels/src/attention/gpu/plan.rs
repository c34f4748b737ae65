//! Which form computes a pass, and in tiles of which size.

use cubecl::prelude::*;

use super::{parts::Plan, tiles::row_pitch};
use crate::attention::Sizes;

/// Widest heads of which a unit has whole rows, unless tiles of the other form do not fit.
const NARROW: usize = 8;
/// Widest heads that units share.
const WIDEST: usize = 128;
/// Units of a cube of the form with whole rows, a multiple of the plane size of every GPU.
const UNITS: usize = 64;
/// Columns of a tile of that form, and the bytes of shared memory that all devices have, which wide heads are held to.
const MOST_COLUMNS: usize = 64;
const TILE_BYTES: usize = 16 * 1024;
/// Numbers that the rows of a unit may hold in registers.
const MOST_REGISTERS: usize = 100;
/// Multiprocessors of a device that does not say.
const MULTIPROCESSORS: usize = 64;
/// Parts that a walk is cut into at most, and tiles that each must have.
const MOST_PARTS: usize = 16;
const LEAST_TILES: usize = 4;
/// Columns of a walk from which one row per unit is too few: the walk is cut instead.
const LONG: usize = 512;

/// The pass that a kernel computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    Forward,
    /// Gradient of the queries.
    Queries,
    /// Gradients of keys and values.
    Keys,
}

/// What a device has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bytes of shared memory that a cube may take.
    pub shared: usize,
    /// Units that a cube may have.
    pub units: usize,
    /// Cubes that keep the device busy.
    pub cubes: usize,
}

impl Limits {
    pub(super) fn of(client: &Client) -> Self {
        let hardware = &client.properties().hardware;
        let shared = hardware.max_shared_memory_size;
        // Where a multiprocessor lends all that it has to one cube, two share it.
        let shared = if shared > 64 * 1024 { shared / 2 - 1024 } else { shared };
        let multiprocessors = hardware.num_streaming_multiprocessors.map_or(MULTIPROCESSORS, |count| count as usize);
        Self { shared, units: hardware.max_units_per_cube as usize, cubes: 2 * multiprocessors }
    }
}

/// How a pass is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// Whether units share rows.
    pub tiles: bool,
    pub plan: Plan,
    /// Parts that the walk over the columns is cut into, each with a cube of its own.
    pub parts: usize,
}

impl Choice {
    /// `base` has all that does not depend on the choice.
    pub(super) fn new(pass: Pass, base: Plan, sizes: Sizes, limits: Limits) -> Self {
        let (rows, columns) = if pass == Pass::Keys { (sizes.k_len, sizes.q_len) } else { (sizes.q_len, sizes.k_len) };
        let cubes = |plan: &Plan| sizes.batch * sizes.heads * rows.div_ceil(plan.height());
        // The largest tiles that leave enough cubes, else the smallest.
        let pick = |plans: Vec<Plan>| {
            plans.iter().copied().find(|plan| cubes(plan) >= limits.cubes).or_else(|| plans.last().copied())
        };
        let shared = |across: usize| {
            let least = if columns > LONG { 2 } else { 1 };
            let plan = |rows| Plan { across, down: 16, rows, tile: 4 * across, block: 4, ..base };
            let fits = |plan: &Plan| bytes(pass, plan) <= limits.shared && plan.units() <= limits.units;
            let plans: Vec<Plan> = (1..=4).rev().map(plan).filter(fits).collect();
            let many = plans.iter().copied().filter(|plan| plan.rows >= least).collect::<Vec<Plan>>();
            pick(if many.is_empty() { plans } else { many })
        };
        let widest = base.d_key.max(base.d_value);
        let tiles = if widest > NARROW && widest <= WIDEST { shared(8).or_else(|| shared(4)) } else { None };
        let whole = || {
            let numbers = numbers_of_row(pass, &base);
            let vectors = if pass == Pass::Keys { base.packed_with_sums() } else { base.packed() };
            let block = match widest {
                0..=2 if pass == Pass::Forward => 8,
                0..=4 => 4,
                5..=NARROW => 2,
                _ => 1,
            };
            let tile = (TILE_BYTES / (16 * vectors)).clamp(1, MOST_COLUMNS) / block * block;
            let plan = |rows| Plan { across: 1, down: UNITS, rows, tile, block, ..base };
            pick(
                [4, 2, 1].into_iter().filter(|rows| *rows == 1 || rows * numbers <= MOST_REGISTERS).map(plan).collect(),
            )
        };
        let plan = tiles.or_else(whole).unwrap_or(base);
        let fewest = (columns / (LEAST_TILES * plan.tile)).clamp(1, MOST_PARTS);
        let parts = (limits.cubes / cubes(&plan)).clamp(1, fewest);
        Self { tiles: tiles.is_some(), plan, parts }
    }

    /// Cubes for `rows` rows in each head of each batch.
    pub(super) fn cubes(&self, rows: usize, sizes: Sizes) -> CubeCount {
        let along = rows.div_ceil(self.plan.height()) * self.parts;
        CubeCount::Static(sizes.heads as u32, sizes.batch as u32, along as u32)
    }

    pub(super) fn units(&self) -> CubeDim {
        CubeDim::new_1d(self.plan.units() as u32)
    }
}

/// Bytes of shared memory of a cube whose units share rows.
fn bytes(pass: Pass, plan: &Plan) -> usize {
    let (keys, values) = (plan.key_vectors(), plan.value_vectors());
    let rows = |vectors: usize| plan.height() * row_pitch(vectors);
    let one = plan.columns(keys).max(plan.columns(values));
    let vectors = match pass {
        Pass::Forward => rows(keys) + one + plan.weights(),
        Pass::Queries => rows(keys) + rows(values) + one + plan.weights(),
        Pass::Keys => rows(keys) + rows(values) + plan.columns(keys) + plan.columns(values) + 2 * plan.weights(),
    };
    let numbers = if pass == Pass::Keys { 2 * plan.tile } else { plan.height() * plan.across };
    16 * vectors + 4 * numbers
}

/// Numbers that a unit with whole rows holds for each.
fn numbers_of_row(pass: Pass, plan: &Plan) -> usize {
    match pass {
        Pass::Forward => plan.d_key + plan.d_value + 2,
        Pass::Queries => 2 * plan.d_key + plan.d_value + 2,
        Pass::Keys => 2 * (plan.d_key + plan.d_value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSES: [Pass; 3] = [Pass::Forward, Pass::Queries, Pass::Keys];

    /// What WebGPU guarantees, what Vulkan offers on most cards, and an H100 under CUDA.
    const DEVICES: [Limits; 3] = [
        Limits { shared: 16 * 1024, units: 256, cubes: 128 },
        Limits { shared: 48 * 1024, units: 1024, cubes: 128 },
        Limits { shared: 113 * 1024, units: 1024, cubes: 264 },
    ];

    fn choice(pass: Pass, width: usize, [batch, heads, len]: [usize; 3], limits: Limits) -> Choice {
        let sizes = Sizes { batch, heads, q_len: len, k_len: len, d_key: width, d_value: width };
        Choice::new(pass, Plan { d_key: width, d_value: width, ..Plan::default() }, sizes, limits)
    }

    #[test]
    fn tiles_fit_every_device() {
        for limits in DEVICES {
            for width in [1, 2, 3, 8, 9, 32, 48, 64, 100, 128, 129, 1024] {
                for pass in PASSES {
                    let Choice { tiles, plan, parts } = choice(pass, width, [2, 3, 300], limits);
                    let vectors = if pass == Pass::Keys { plan.packed_with_sums() } else { plan.packed() };
                    let bytes = if tiles { bytes(pass, &plan) } else { 16 * vectors * plan.tile };
                    assert!(bytes <= limits.shared, "{pass:?} of width {width}: {bytes} bytes of {}", limits.shared);
                    assert!(
                        plan.tile > 0 && plan.tile.is_multiple_of(plan.block),
                        "{pass:?} of width {width}: {plan:?}"
                    );
                    assert!(plan.units() <= limits.units && (1..=MOST_PARTS).contains(&parts));
                }
            }
        }
    }

    #[test]
    fn few_heads_are_cut_into_more_cubes_than_many() {
        for width in [2, 64] {
            for pass in PASSES {
                let (few, many) =
                    (choice(pass, width, [1, 8, 512], DEVICES[2]), choice(pass, width, [64, 8, 512], DEVICES[2]));
                assert!(few.plan.rows < many.plan.rows, "{pass:?} of width {width}: {few:?}, {many:?}");
                assert_eq!(many.parts, 1);
                assert!(choice(pass, width, [1, 1, 4096], DEVICES[2]).parts > 1);
            }
        }
    }
}
