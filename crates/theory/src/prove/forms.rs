//! Linear forms of a sequence as the one variable of a proof, for clamps: all positions are bounded at once, over every value that the form of
//! any of them can take.

use headway_tasks::Interval;

use super::{
    mixture::{Affine, Head},
    refused,
    weights::{Group, Row, Weight, dot_sizes, roundings},
};
use crate::refusal::Refusal;

/// Half a unit in the last place of 1 in float32.
const U32: f64 = 5.960_464_477_539_063e-8;

/// The forms that were asked for, w · x + t less a constant, one per position.
#[derive(Clone, Copy)]
pub struct Forms<'a> {
    /// w. `[seq_len][d_in]`
    pub weights: &'a [Vec<f64>],
    /// t less the constant. `[seq_len]`
    pub offsets: &'a [f64],
}

/// What a query number is at one position, as the file has it: factors on the position's own numbers, a constant, and what float32 adds.
struct Read {
    factors: Vec<f64>,
    constant: f64,
    noise: f64,
}

/// A query as s (u − m), s/2 of two columns, the row with these columns, how far u is from the form that was asked for, and m.
struct Turned {
    query: Weight,
    row: Row,
    shift: f64,
    origin: f64,
}

impl Forms<'_> {
    /// All positions as one whose row holds the form in its first column: the query's row, the keys' rows, where the form lies, and how far
    /// the file's form is from the one that was asked for. `reach` is the largest size of each input number.
    pub fn of_rows(self, rows: &[Row], keys: &[Row], reach: &[f64]) -> Result<(Row, Vec<Row>, Interval, f64), Refusal> {
        let Self { weights, offsets } = self;
        // A row with its form as the one variable.
        let one = |row: &Row, is_query: bool| {
            let of = |column: usize| vec![if column == 0 && is_query { 1.0 } else { 0.0 }];
            let linear: Vec<Vec<f64>> = (0..row.constant.len()).map(of).collect();
            let mut constant = row.constant.clone();
            constant[0] = if is_query { 0.0 } else { constant[0] };
            Row { linear, error: no_error(constant.len()), constant }
        };
        let d_in = reach.len() / rows.len();
        let (mut ends, mut shift, mut noise) = ((f64::INFINITY, f64::NEG_INFINITY), 0.0_f64, 0.0_f64);
        for (position, row) in rows.iter().enumerate() {
            let sum = |of: &dyn Fn(usize) -> f64| (0..reach.len()).map(|at| of(at) * reach[at]).sum::<f64>();
            let own = |at: usize| {
                at.checked_sub(position * d_in).and_then(|at| weights[position].get(at)).copied().unwrap_or(0.0)
            };
            let size = sum(&|at| row.linear[0][at].abs()) * (1.0 + 1e-12) + 1e-12;
            ends = (ends.0.min(row.constant[0] - size), ends.1.max(row.constant[0] + size));
            let off = sum(&|at| (row.linear[0][at] - own(at)).abs()) + (row.constant[0] - offsets[position]).abs();
            shift = shift.max(off * (1.0 + 1e-12) + 4.0 * f64::EPSILON * (size + offsets[position].abs()));
            noise = noise.max(row.error[0].offset + sum(&|at| row.error[0].factors[at]));
            if row.linear[1..].iter().flatten().any(|w| *w != 0.0) {
                return Err(refused("needs rows that differ in their forms alone"));
            }
        }
        let mut query = one(&rows[0], true);
        query.error[0].offset = noise;
        let mut keys: Vec<Row> = keys.iter().map(|row| one(row, false)).collect();
        // Columns that hold forms must not be read by keys, which the check of heads sees in the first of them.
        if let Some(first) = keys.first_mut() {
            first.linear[0][0] = 1.0;
        }
        Ok((query, keys, Interval::new(ends.0, ends.1), shift))
    }

    /// All positions as one whose row holds its numbers, of which the first query number of every head makes s (u − m) with a scale s and a
    /// middle m of its own, and the second s/2: the heads as mixtures in u, and where u lies. Every head reads a u that is rounded in its own
    /// way, which is its shift.
    pub fn of_heads(
        self,
        rows: &[Row],
        keys: &[Row],
        groups: &[Group],
        reach: &[f64],
    ) -> Result<(Vec<Head>, Interval), Refusal> {
        let d_in = reach.len() / rows.len();
        let sizes: Vec<&[f64]> = reach.chunks(d_in).collect();
        let side = self.side(&sizes);
        let keys: Vec<Row> = keys.iter().map(with_two_more).collect();
        let mut heads = Vec::new();
        for group in groups {
            let [by_query, by_key, by_value, by_output] = &group.maps;
            let (d_key, d_value) = (by_query.rows() / group.count, by_value.rows() / group.count);
            if d_key != 2 || group.readout.is_some() {
                return Err(refused("needs heads with two query numbers, the form and a constant"));
            }
            for head in 0..group.count {
                let own = |map: &Weight, size: usize| Weight {
                    columns: map.columns,
                    values: (head * size..(head + 1) * size).flat_map(|row| map.row(row).to_vec()).collect(),
                };
                let output = (0..by_output.rows()).flat_map(|row| &by_output.row(row)[head * d_value..][..d_value]);
                let output = Weight { columns: d_value, values: output.copied().collect() };
                let Turned { query, row, shift, origin } =
                    self.query(by_query.row(2 * head), by_query.row(2 * head + 1), rows, &sizes)?;
                // The two query numbers read two columns that stand before those of the file.
                let maps = [query, before(&own(by_key, 2)), before(&own(by_value, d_value)), output];
                let alone = Group { count: 1, maps, readout: None };
                let found = alone.heads(&row, &keys, 1);
                let found = found.ok_or_else(|| refused("needs keys and values that do not depend on the input"))?;
                heads.extend(found.into_iter().map(|head| Head { shift, origin, ..head }));
            }
        }
        Ok((heads, side))
    }

    /// Every value that the form of any position can take.
    fn side(self, sizes: &[&[f64]]) -> Interval {
        let ends = self.weights.iter().zip(self.offsets).zip(sizes).map(|((w, t), reach)| {
            let size = dot_sizes(w, reach) * (1.0 + 1e-12) + 1e-12 * (1.0 + t.abs());
            (t - size, t + size)
        });
        let (low, high) =
            ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (from, to)| (low.min(from), high.max(to)));
        Interval::new(low, high)
    }

    /// The query of one head in u − m.
    fn query(self, form: &[f64], constant: &[f64], rows: &[Row], sizes: &[&[f64]]) -> Result<Turned, Refusal> {
        let reads =
            rows.iter().enumerate().map(|(i, row)| Ok((read(form, i, row, sizes)?, read(constant, i, row, sizes)?)));
        let reads: Vec<(Read, Read)> = reads.collect::<Result<_, Refusal>>()?;
        let half = reads[0].1.constant;
        let even = |(_, second): &(Read, Read)| {
            second.factors.iter().all(|factor| *factor == 0.0) && second.constant.to_bits() == half.to_bits()
        };
        if half <= 0.0 || !reads.iter().all(even) {
            return Err(refused("needs queries whose second number is the same at every position"));
        }
        let scale = 2.0 * half;
        let middles = reads.iter().zip(self.offsets).map(|((first, _), t)| t - first.constant / scale);
        let (low, high) = middles.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), m| (low.min(m), high.max(m)));
        let middle = f64::midpoint(low, high);
        let (mut shift, mut noise) = (0.0_f64, 0.0_f64);
        for (((first, second), t), (w, reach)) in reads.iter().zip(self.offsets).zip(self.weights.iter().zip(sizes)) {
            let off: Vec<f64> = first.factors.iter().zip(w).map(|(factor, w)| factor / scale - w).collect();
            let size = dot_sizes(w, reach) + t.abs() + middle.abs();
            let off = dot_sizes(&off, reach) + (first.constant / scale + middle - t).abs();
            shift = shift.max(off * (1.0 + 1e-12) + 32.0 * f64::EPSILON * size);
            noise = noise.max((first.noise + second.noise) / scale * 1.001);
        }
        let width = 2 + form.len();
        let mut query = Weight { columns: width, values: vec![0.0; 2 * width] };
        (query.values[0], query.values[width + 1]) = (scale, half);
        let mut row = Row { linear: vec![vec![0.0]; width], constant: vec![0.0; width], error: no_error(width) };
        (row.linear[0][0], row.constant[1], row.error[0].offset) = (1.0, 1.0, noise);
        Ok(Turned { query, row, shift, origin: middle })
    }
}

/// One query number at a position whose row copies its own numbers into columns of their own, and constants into others.
fn read(query: &[f64], position: usize, row: &Row, sizes: &[&[f64]]) -> Result<Read, Refusal> {
    let d_in = sizes[position].len();
    let columns = row.linear.first().map_or(0, Vec::len);
    let first = if columns == d_in { 0 } else { position * d_in };
    let mut read = Read { factors: vec![0.0; d_in], constant: 0.0, noise: 0.0 };
    let mut terms = Vec::new();
    let is_one = |number: f64| number.to_bits() == 1.0_f64.to_bits();
    for ((weight, linear), constant) in query.iter().zip(&row.linear).zip(&row.constant) {
        let mut found = linear.iter().enumerate().filter(|(_, factor)| **factor != 0.0);
        // Products with 1 are exact, and so is a sum of one term.
        match (found.next(), found.next()) {
            (None, _) if *constant == 0.0 => continue,
            (None, _) if is_one(*constant) && read.constant == 0.0 => read.constant = *weight,
            (Some((at, factor)), None)
                if is_one(*factor) && *constant == 0.0 && at.checked_sub(first).is_some_and(|at| at < d_in) =>
            {
                if read.factors[at - first] != 0.0 {
                    return Err(refused("needs rows that copy each number once"));
                }
                read.factors[at - first] = *weight;
            }
            _ => return Err(refused("needs rows that copy the numbers of their positions")),
        }
        terms.push(*weight);
    }
    // Copies are exact; a factor on queries costs two roundings more.
    read.noise = (roundings(&terms) + 2.0) * U32 * (dot_sizes(&read.factors, sizes[position]) + read.constant.abs());
    Ok(read)
}

fn no_error(width: usize) -> Vec<Affine> {
    vec![Affine { offset: 0.0, factors: vec![0.0] }; width]
}

/// A map that reads nothing of two more columns before its own.
fn before(map: &Weight) -> Weight {
    let values = (0..map.rows()).flat_map(|row| [&[0.0, 0.0], map.row(row)].concat());
    Weight { columns: map.columns + 2, values: values.collect() }
}

/// A key's row with two more columns before its own; what depends on the input still does.
fn with_two_more(key: &Row) -> Row {
    let linear = key.linear.iter().map(|linear| {
        let any = linear.iter().any(|w| *w != 0.0);
        vec![if any { 1.0 } else { 0.0 }]
    });
    let constant = [&[0.0, 0.0][..], &key.constant].concat();
    Row {
        linear: [vec![0.0], vec![0.0]].into_iter().chain(linear).collect(),
        error: no_error(constant.len()),
        constant,
    }
}
