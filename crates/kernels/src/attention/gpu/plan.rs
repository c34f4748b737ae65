//! Which form computes a pass, and in tiles of which size: every tiling that a device can run, and which of them a rule takes.

use cubecl::prelude::*;
use serde::{Deserialize, Serialize};

use super::{parts::Plan, tiles::row_pitch};
use crate::attention::Sizes;

/// Widest heads of which a unit has whole rows, unless tiles of the other form do not fit.
const NARROW: usize = 8;
/// Widest heads that units share.
const WIDEST: usize = 128;
/// Columns of a tile of the form with whole rows, and the bytes of shared memory that all devices have, which wide heads are held to.
const MOST_COLUMNS: usize = 64;
const TILE_BYTES: usize = 16 * 1024;
/// Numbers that the rows of a unit may hold in registers, if it has whole rows, and if units share them.
const MOST_OF_WHOLE_ROWS: usize = 100;
const MOST_OF_SHARED_ROWS: usize = 240;
/// Multiprocessors of a device that does not say.
const MULTIPROCESSORS: usize = 64;
/// Parts that a walk is cut into at most, and tiles that each must have.
const MOST_PARTS: usize = 16;
const LEAST_TILES: usize = 4;
/// Columns of a walk from which one row per unit is too few: the walk is cut instead.
const LONG: usize = 512;
/// Most rows of a unit that the rule takes.
const MOST_ROWS: usize = 4;
/// Candidates with which a trial is worth while.
const LEAST_CANDIDATES: usize = 4;

/// The pass that a kernel computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

/// How the rows of a cube are dealt out to its units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tiling {
    /// Units that share a row, each with four columns of a tile; one that has whole rows shares them with none.
    pub across: usize,
    /// Units above each other.
    pub down: usize,
    /// Rows of a unit.
    pub rows: usize,
}

/// Units across, down, and the rows that each may have.
const TILINGS: [(usize, usize, &[usize]); 8] = [
    (1, 64, &[4, 2, 1]),
    (1, 32, &[4, 2, 1]),
    (1, 128, &[4, 2, 1]),
    (8, 16, &[8, 4, 3, 2, 1]),
    (4, 16, &[4, 3, 2, 1]),
    (8, 32, &[4, 2]),
    (16, 8, &[8, 4, 2]),
    (16, 16, &[4, 2]),
];

impl Tiling {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let of_units = |(across, down, rows): (usize, usize, &'static [usize])| {
            rows.iter().map(move |&rows| Self { across, down, rows })
        };
        TILINGS.into_iter().flat_map(of_units)
    }

    fn has_whole_rows(self) -> bool {
        self.across == 1
    }

    /// What a kernel is compiled with; `base` has all that does not depend on the tiling.
    fn plan(self, pass: Pass, base: Plan) -> Plan {
        let Self { across, down, rows } = self;
        if !self.has_whole_rows() {
            return Plan { across, down, rows, tile: 4 * across, block: 4, ..base };
        }
        let block = match base.d_key.max(base.d_value) {
            0..=2 if pass == Pass::Forward => 8,
            0..=4 => 4,
            5..=NARROW => 2,
            _ => 1,
        };
        let tile = (TILE_BYTES / (16 * packed(pass, &base))).clamp(1, MOST_COLUMNS) / block * block;
        Plan { across, down, rows, tile, block, ..base }
    }

    /// Whether a device has the units and the shared memory, and a unit the registers.
    pub(super) fn fits(self, pass: Pass, base: Plan, limits: Limits) -> bool {
        let plan = self.plan(pass, base);
        let has_registers = if self.has_whole_rows() {
            self.rows == 1 || self.rows * numbers_of_whole_row(pass, &plan) <= MOST_OF_WHOLE_ROWS
        } else {
            numbers_of_shared_rows(pass, &plan) <= MOST_OF_SHARED_ROWS
        };
        has_registers && plan.units() <= limits.units && bytes(pass, &plan) <= limits.shared
    }
}

/// The tilings that are worth a trial for a pass over heads of these widths, at most a dozen; each costs the compiler's time. The one
/// that the [rule](Problem::by_rule) takes is among them.
pub(super) fn candidates(pass: Pass, [d_key, d_value]: [usize; 2], limits: Limits) -> Vec<Tiling> {
    let base = Plan { d_key, d_value, ..Plan::default() };
    let vectors = base.key_vectors().max(base.value_vectors());
    let that_fit = |is_meant: &dyn Fn(&Tiling) -> bool| {
        Tiling::all().filter(|tiling| is_meant(tiling) && tiling.fits(pass, base, limits)).collect::<Vec<_>>()
    };
    let widest = d_key.max(d_value);
    if widest > NARROW && widest <= WIDEST {
        // Sixteen units across must all have channels; four would have many each, which is for devices with room for little else.
        let with_four = |four: bool| {
            that_fit(&|tiling| match tiling.across {
                1 => false,
                4 => four,
                16 => vectors >= 16,
                _ => true,
            })
        };
        let usual = with_four(vectors <= 8);
        let shared = if usual.len() < LEAST_CANDIDATES { with_four(true) } else { usual };
        if !shared.is_empty() {
            return shared;
        }
    }
    // Of wide heads a unit has one row, whatever the units, and the compiler takes long.
    that_fit(&|tiling| tiling.has_whole_rows() && (widest <= NARROW || (tiling.down, tiling.rows) == (64, 1)))
}

/// A pass over heads of some size on some device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Problem {
    pub pass: Pass,
    /// All constants of the kernel but those of the tiling.
    pub base: Plan,
    pub sizes: Sizes,
    pub limits: Limits,
}

impl Problem {
    /// Rows whose sums the cubes own, and columns that pass by.
    pub(super) fn rows_and_columns(&self) -> [usize; 2] {
        let Sizes { q_len, k_len, .. } = self.sizes;
        if self.pass == Pass::Keys { [k_len, q_len] } else { [q_len, k_len] }
    }

    /// Cubes, if no walk is cut.
    fn cubes(&self, plan: &Plan) -> usize {
        let [rows, _] = self.rows_and_columns();
        self.sizes.batch * self.sizes.heads * rows.div_ceil(plan.height())
    }

    /// In a tiling, with the walk cut where that leaves the device too few cubes.
    pub(super) fn in_tiles(&self, tiling: Tiling) -> Choice {
        let plan = tiling.plan(self.pass, self.base);
        let [_, columns] = self.rows_and_columns();
        let most = (columns / (LEAST_TILES * plan.tile)).clamp(1, MOST_PARTS);
        let parts = (self.limits.cubes / self.cubes(&plan)).clamp(1, most);
        Choice { tiles: !tiling.has_whole_rows(), plan, parts }
    }

    /// In the largest tiles that leave the device enough cubes, else in the smallest.
    pub(super) fn by_rule(&self) -> Choice {
        let Self { pass, base, limits, .. } = *self;
        let fit = candidates(pass, [base.d_key, base.d_value], limits);
        let regular = |across: usize, down: usize| {
            let is_so = |tiling: &&Tiling| (tiling.across, tiling.down) == (across, down) && tiling.rows <= MOST_ROWS;
            let tilings: Vec<Tiling> = fit.iter().filter(is_so).copied().collect();
            (!tilings.is_empty()).then_some(tilings)
        };
        let usual = regular(8, 16).or_else(|| regular(4, 16)).or_else(|| regular(1, 64));
        let mut tilings = usual.unwrap_or_else(|| vec![Tiling { across: 1, down: 64, rows: 1 }]);
        let [_, columns] = self.rows_and_columns();
        if columns > LONG && tilings.iter().any(|tiling| !tiling.has_whole_rows() && tiling.rows > 1) {
            tilings.retain(|tiling| tiling.rows > 1);
        }
        let leaves_enough = |tiling: &&Tiling| self.cubes(&tiling.plan(pass, base)) >= limits.cubes;
        let smallest = &tilings[tilings.len() - 1];
        self.in_tiles(*tilings.iter().find(leaves_enough).unwrap_or(smallest))
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
    /// Cubes for `rows` rows in each head of each batch.
    pub(super) fn cubes(&self, rows: usize, sizes: Sizes) -> CubeCount {
        let along = rows.div_ceil(self.plan.height()) * self.parts;
        CubeCount::Static(sizes.heads as u32, sizes.batch as u32, along as u32)
    }

    pub(super) fn units(&self) -> CubeDim {
        CubeDim::new_1d(self.plan.units() as u32)
    }
}

/// Vectors of a column of the form with whole rows.
fn packed(pass: Pass, plan: &Plan) -> usize {
    if pass == Pass::Keys { plan.packed_with_sums() } else { plan.packed() }
}

/// Bytes of shared memory of a cube.
fn bytes(pass: Pass, plan: &Plan) -> usize {
    if plan.across == 1 {
        return 16 * packed(pass, plan) * plan.tile;
    }
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
fn numbers_of_whole_row(pass: Pass, plan: &Plan) -> usize {
    match pass {
        Pass::Forward => plan.d_key + plan.d_value + 2,
        Pass::Queries => 2 * plan.d_key + plan.d_value + 2,
        Pass::Keys => 2 * (plan.d_key + plan.d_value),
    }
}

/// Numbers that a unit which shares rows holds at once: sums of channels, products in the making with four columns, and what was made of
/// them. The compiler takes some 20 to 50 registers more.
fn numbers_of_shared_rows(pass: Pass, plan: &Plan) -> usize {
    let (keys, values) = (4 * plan.own(plan.key_vectors()), 4 * plan.own(plan.value_vectors()));
    let of_row = match pass {
        Pass::Forward => values + 4,
        Pass::Queries => keys + 8,
        Pass::Keys => keys + values + 8,
    };
    plan.rows * (of_row + 16) + 16
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

    fn problem(pass: Pass, width: usize, [batch, heads, len]: [usize; 3], limits: Limits) -> Problem {
        let sizes = Sizes { batch, heads, q_len: len, k_len: len, d_key: width, d_value: width };
        Problem { pass, base: Plan { d_key: width, d_value: width, ..Plan::default() }, sizes, limits }
    }

    #[test]
    fn candidates_fit_every_device_and_are_few() {
        for limits in DEVICES {
            for width in [1, 2, 3, 8, 9, 32, 48, 64, 100, 128, 129, 1024] {
                for pass in PASSES {
                    let problem = problem(pass, width, [2, 3, 300], limits);
                    let candidates = candidates(pass, [width; 2], limits);
                    let name = format!("{pass:?} of width {width} within {limits:?}: {candidates:?}");
                    assert!((1..=12).contains(&candidates.len()), "{name}");
                    for (at, tiling) in candidates.iter().enumerate() {
                        assert!(!candidates[..at].contains(tiling), "{name}");
                        let Choice { plan, parts, .. } = problem.in_tiles(*tiling);
                        assert!(bytes(pass, &plan) <= limits.shared && plan.units() <= limits.units, "{name}");
                        assert!(plan.tile > 0 && plan.tile.is_multiple_of(plan.block), "{name}");
                        assert!((1..=MOST_PARTS).contains(&parts), "{name}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_rule_takes_a_candidate() {
        for limits in DEVICES {
            for width in 1..=130 {
                for pass in PASSES {
                    let candidates = candidates(pass, [width; 2], limits);
                    for sizes in [[1, 1, 1], [1, 8, 512], [2, 3, 4099], [32, 16, 60]] {
                        let problem = problem(pass, width, sizes, limits);
                        let mut choices = candidates.iter().map(|tiling| problem.in_tiles(*tiling));
                        let taken = problem.by_rule();
                        assert!(choices.any(|choice| choice == taken), "{problem:?} in {taken:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn few_heads_are_cut_into_more_cubes_than_many() {
        for width in [2, 64] {
            for pass in PASSES {
                let by_rule = |sizes| problem(pass, width, sizes, DEVICES[2]).by_rule();
                let (few, many) = (by_rule([1, 8, 512]), by_rule([64, 8, 512]));
                assert!(few.plan.rows < many.plan.rows, "{pass:?} of width {width}: {few:?}, {many:?}");
                assert_eq!(many.parts, 1);
                assert!(by_rule([1, 1, 4096]).parts > 1);
            }
        }
    }
}
