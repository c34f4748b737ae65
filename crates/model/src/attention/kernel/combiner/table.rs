//! Combiner on a table of places, filled row by row: `axial` and `mixture`.

use burn::tensor::{Bool, Tensor, TensorData};

use super::{
    super::naive::{HIDDEN, softmax_of_visible},
    Placed, between, or_zero,
};
use crate::attention::view::View;

/// A table of places, and which of them a query may see.
#[derive(Clone, Copy)]
struct Table {
    batch: usize,
    n_heads: usize,
    rows: usize,
    columns: usize,
    /// Number of places that are keys.
    length: usize,
    causal: bool,
}

/// The rows of a table, or its columns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    Rows,
    Columns,
}

/// What the queries of a line see, one key with its value for each place of the line.
struct Part {
    lines: Lines,
    /// `[batch, n_heads, places, places of a line]`
    scores: Tensor<4>,
    values: Tensor<4>,
    /// Whether a query at a place (row, column) does not see the key at another place of the line.
    hidden: Box<dyn Fn([usize; 2], usize) -> bool>,
}

impl Table {
    fn place(&self, [row, column]: [usize; 2]) -> usize {
        row * self.columns + column
    }

    fn is_key(&self, at: [usize; 2]) -> bool {
        self.place(at) < self.length
    }

    /// Number of lines, and of the places of each.
    fn sizes(&self, lines: Lines) -> [usize; 2] {
        match lines {
            Lines::Rows => [self.rows, self.columns],
            Lines::Columns => [self.columns, self.rows],
        }
    }

    /// # Shapes
    /// `[batch, n_heads, places, width]` -> `[batch, n_heads · lines, places of a line, width]`
    fn divide(&self, lines: Lines, x: &Tensor<4>) -> Tensor<4> {
        let (width, [count, len]) = (x.dims()[3], self.sizes(lines));
        let shape = [self.batch, self.n_heads * count, len, width];
        match lines {
            Lines::Rows => x.clone().reshape(shape),
            Lines::Columns => {
                let table = x.clone().reshape([self.batch * self.n_heads, self.rows, self.columns, width]);
                table.swap_dims(1, 2).reshape(shape)
            }
        }
    }

    /// The inverse of [`Self::divide`].
    fn join(&self, lines: Lines, x: Tensor<4>) -> Tensor<4> {
        let width = x.dims()[3];
        let shape = [self.batch, self.n_heads, self.rows * self.columns, width];
        match lines {
            Lines::Rows => x.reshape(shape),
            Lines::Columns => {
                let table = x.reshape([self.batch * self.n_heads, self.columns, self.rows, width]);
                table.swap_dims(1, 2).reshape(shape)
            }
        }
    }

    /// For each place the block of its line before it, read from its end if so: the largest entries of its keys, and Σ_j p(j|t) v_j.
    ///
    /// # Shapes
    /// `[batch, n_heads, places, d_key]`, `[batch, n_heads, places, d_value]`
    fn blocks_before(&self, lines: Lines, from_end: bool, placed: &Placed, view: &View) -> [Tensor<4>; 2] {
        let [count, len] = self.sizes(lines);
        let turned = |x: Tensor<4>| if from_end { x.flip([2]) } else { x };
        let line = |x: &Tensor<4>| turned(self.divide(lines, x));
        let [q, k] = placed.pooled.each_ref().map(|x| {
            let largest = line(x).narrow(2, 0, len - 1).cummax(2);
            or_zero(between(largest, 1, 0, HIDDEN))
        });
        let scores = view.product(q, line(&placed.k).swap_dims(2, 3)); // [batch, n_heads · count, len, len]
        let hidden = (0..count * len * len).map(|n| {
            let [line, i, j] = [n / len / len, n / len % len, n % len];
            let key = if from_end { len - 1 - j } else { j };
            j >= i || !self.is_key(if lines == Lines::Rows { [line, key] } else { [key, line] })
        });
        let pattern = self.softmax(scores, hidden.collect(), [count, len]);
        let values = view.product(pattern, line(&placed.v));
        [k, values].map(|x| self.join(lines, turned(x)))
    }

    /// Softmax within lines, `hidden` alike in all sequences and heads.
    ///
    /// # Shapes
    /// scores `[batch, n_heads · count, len, width]` -> the same
    fn softmax(&self, scores: Tensor<4>, hidden: Vec<bool>, [count, len]: [usize; 2]) -> Tensor<4> {
        let (dims, width) = (scores.dims(), scores.dims()[3]);
        let scores = scores.reshape([self.batch * self.n_heads, count, len, width]);
        let hidden = TensorData::new(hidden, [1, count, len, width]);
        let hidden = Tensor::<4, Bool>::from_data(hidden, &scores.device()).expand(scores.dims());
        softmax_of_visible(scores, Some(hidden)).reshape(dims)
    }

    /// Scores of the queries of each line with its keys.
    ///
    /// # Shapes
    /// `[batch, n_heads, places, d_key]` each -> `[batch, n_heads, places, places of a line]`
    fn scores(&self, lines: Lines, q: &Tensor<4>, k: &Tensor<4>, view: &View) -> Tensor<4> {
        self.join(lines, view.product(self.divide(lines, q), self.divide(lines, k).swap_dims(2, 3)))
    }

    /// One softmax over the keys of all parts, and the mixture of their values. -> `[batch, n_heads, places, d_value]`
    fn mix(&self, parts: &[Part], view: &View) -> Tensor<4> {
        let scores = Tensor::cat(parts.iter().map(|part| part.scores.clone()).collect(), 3);
        let hidden = (0..self.rows * self.columns).flat_map(|place| {
            let at = [place / self.columns, place % self.columns];
            parts.iter().flat_map(move |part| (0..self.sizes(part.lines)[1]).map(move |other| (part.hidden)(at, other)))
        });
        let pattern = self.softmax(scores, hidden.collect(), [1, self.rows * self.columns]);
        let mut start = 0;
        let mixed = parts.iter().map(|part| {
            let len = self.sizes(part.lines)[1];
            let pattern = self.divide(part.lines, &pattern.clone().narrow(3, start, len));
            start += len;
            self.join(part.lines, view.product(pattern, self.divide(part.lines, &part.values)))
        });
        mixed.reduce(|sum, of_part| sum + of_part).unwrap_or_else(|| unreachable!("rows are a part"))
    }

    /// The keys of the query's own row.
    fn own_row(self, placed: &Placed, view: &View) -> Part {
        let scores = self.scores(Lines::Rows, &placed.q, &placed.k, view);
        let hidden =
            move |[row, column]: [usize; 2], other| !self.is_key([row, other]) || (self.causal && other > column);
        Part { lines: Lines::Rows, scores, values: placed.v.clone(), hidden: Box::new(hidden) }
    }

    /// Whether a query does not see another row: its own, which is seen key by key; one behind it; one without keys.
    fn hides_row(&self, row: usize, other: usize) -> bool {
        other == row || (self.causal && other > row) || !self.is_key([other, 0])
    }
}

fn place(qkv: [Tensor<4>; 3], columns: usize, causal: bool) -> (Table, Placed) {
    let [batch, n_heads, length, _] = qkv[1].dims();
    let rows = length.div_ceil(columns);
    (Table { batch, n_heads, rows, columns, length, causal }, Placed::new(qkv, rows * columns, false))
}

/// The query's own row, and of every other row what the query that stands there in the same column answers.
pub(super) fn axial(qkv: [Tensor<4>; 3], columns: usize, causal: bool, view: &View) -> Tensor<4> {
    let (q_len, k_len) = (qkv[0].dims()[2], qkv[1].dims()[2]);
    let (table, placed) = place(qkv, columns, causal);
    let own = table.own_row(&placed, view);
    let (rows, scores) = (table.rows, table.divide(Lines::Rows, &own.scores)); // [batch, n_heads · rows, columns, columns]
    let hidden = (0..rows * columns * columns).map(|n| !table.is_key([n / columns / columns, n % columns]));
    let pattern = table.softmax(scores, hidden.collect(), [rows, columns]);
    let [keys, values] = [&placed.k, &placed.v].map(|x| {
        let answers = view.product(pattern.clone(), table.divide(Lines::Rows, x));
        table.join(Lines::Rows, answers)
    });
    let scores = table.scores(Lines::Columns, &placed.q, &keys, view);
    let hidden = Box::new(move |[row, _]: [usize; 2], other| table.hides_row(row, other));
    let others = Part { lines: Lines::Columns, scores, values, hidden };
    table.mix(&[own, others], view).narrow(2, k_len - q_len, q_len)
}

/// The query's own row and column, and of every other row and column the blocks before and behind the place where it crosses the query's.
pub(super) fn mixture(qkv: [Tensor<4>; 3], columns: usize, causal: bool, view: &View) -> Tensor<4> {
    let (q_len, k_len) = (qkv[0].dims()[2], qkv[1].dims()[2]);
    let (table, placed) = place(qkv, columns, causal);
    // At the place where a row crosses the query's column its blocks begin, and so those of a column.
    let blocks = |along: Lines, from_end, hidden: Box<dyn Fn([usize; 2], usize) -> bool>| {
        let [keys, values] = table.blocks_before(along, from_end, &placed, view);
        let lines = if along == Lines::Rows { Lines::Columns } else { Lines::Rows };
        Part { lines, scores: table.scores(lines, &placed.q, &keys, view), values, hidden }
    };
    let own_column = Part {
        lines: Lines::Columns,
        scores: table.scores(Lines::Columns, &placed.q, &placed.k, view),
        values: placed.v.clone(),
        hidden: Box::new(move |[row, column], other| table.hides_row(row, other) || !table.is_key([other, column])),
    };
    let left = move |[row, column]: [usize; 2], other| table.hides_row(row, other) || column == 0;
    let right = move |[row, column]: [usize; 2], other| {
        table.hides_row(row, other) || column + 1 == table.columns || !table.is_key([other, column + 1])
    };
    let above = move |[row, column]: [usize; 2], other| other == column || row == 0;
    let below = move |[row, column]: [usize; 2], other| {
        other == column || row + 1 == table.rows || !table.is_key([row + 1, other])
    };
    let mut parts = vec![table.own_row(&placed, view), own_column];
    // A line of one place has no blocks.
    if table.columns > 1 {
        parts.push(blocks(Lines::Rows, false, Box::new(left)));
        parts.push(blocks(Lines::Rows, true, Box::new(right)));
    }
    if table.rows > 1 {
        parts.push(blocks(Lines::Columns, false, Box::new(above)));
    }
    if table.rows > 1 && !causal {
        parts.push(blocks(Lines::Columns, true, Box::new(below)));
    }
    table.mix(&parts, view).narrow(2, k_len - q_len, q_len)
}
