//! Targets from files: tables, samples, cells, linear forms, weights.

use std::{collections::BTreeMap, path::Path};

use headway_exchange::npz;
use headway_model::weights::{Array, arrays_from_bytes};
use headway_tasks::{GivenForms, Table};
use headway_theory::construct::max_affine;
use headway_trainer::{Error, input};

/// x and y of a CSV file; a first line that holds no numbers is a heading.
pub fn read_table(path: &Path) -> Result<Table, Error> {
    let wrong = |problem: String| Error::Usage(format!("{}: {problem}", path.display()));
    let bytes = read(path)?;
    let mut reader = csv::ReaderBuilder::new().has_headers(false).trim(csv::Trim::All).from_reader(bytes.as_slice());
    // The reader notes every cell of a line.
    if let Some(line) = bytes.split(|byte| *byte == b'\n').position(|line| line.len() > LONGEST_LINE) {
        return Err(wrong(format!(
            "line {}: more than {LONGEST_LINE} characters; give two numbers, x and y",
            line + 1
        )));
    }
    // Lists that grew would take their memory several times. A line is four characters at least.
    let most = bytes.len() / 4 + 1;
    let mut table = Table { x: Vec::with_capacity(most), y: Vec::with_capacity(most) };
    for (line, record) in (1..).zip(reader.records()) {
        let record = record.map_err(|error| wrong(error.to_string()))?;
        let numbers: Option<Vec<f64>> = record.iter().map(|cell| cell.parse().ok()).collect();
        match numbers.as_deref() {
            Some([x, y]) => {
                table.x.push(*x);
                table.y.push(*y);
            }
            None if line == 1 => {}
            _ => return Err(wrong(format!("line {line}: give two numbers, x and y"))),
        }
    }
    Ok(table)
}

/// Characters of a line of a table at most.
const LONGEST_LINE: usize = 1000;

/// Inputs and outputs of a file of samples, both with three axes.
pub fn read_samples(path: &Path) -> Result<[Array; 2], Error> {
    let mut arrays = if path.extension().is_some_and(|extension| extension == "npz") {
        npz::read(&read(path)?).map_err(|problem| Error::Usage(format!("{}: {problem}", path.display())))?
    } else {
        read_arrays(path)?
    };
    let (inputs, outputs) = (arrays.remove("inputs"), arrays.remove("outputs"));
    match (inputs, outputs) {
        (Some(inputs), Some(outputs))
            if inputs.shape.len() == 3
                && outputs.shape.len() == 3
                && inputs.shape[..2] == outputs.shape[..2]
                && inputs.shape.iter().chain(&outputs.shape).all(|size| *size > 0) =>
        {
            Ok([inputs, outputs])
        }
        _ => {
            let problem = "needs `inputs` [count, seq_len, d_in] and `outputs` [count, seq_len, d_out]";
            Err(Error::Usage(format!("{}: {problem}", path.display())))
        }
    }
}

/// Cells that a file may give.
const MOST_CELLS: usize = 100;

pub fn read_cells(path: &Path, gap: f64) -> Result<max_affine::GivenCells, Error> {
    let mut arrays = read_arrays(path)?;
    match ["slopes", "offsets", "values"].map(|name| arrays.remove(name)) {
        [Some(slopes), Some(offsets), Some(values)]
            if slopes.shape.len() == 2 && offsets.shape.len() == 1 && values.shape.len() == 2 =>
        {
            let counts = [slopes.shape[0], offsets.shape[0], values.shape[0]];
            let numbers = [&slopes, &offsets, &values].into_iter().flat_map(|array| &array.values);
            let problem = if counts.iter().any(|count| *count != counts[0]) || slopes.shape[1] * values.shape[1] == 0 {
                Some("the three must have as many rows, and slopes and values a column at least".to_owned())
            } else if !(1..=MOST_CELLS).contains(&counts[0]) {
                // The task of the same target writes every score into every term.
                Some(format!("holds {} cells; from 1 to {MOST_CELLS} can be given", counts[0]))
            } else {
                numbers
                    .clone()
                    .any(|n| !n.is_finite())
                    .then(|| "holds something that is not a finite number".to_owned())
            };
            if let Some(problem) = problem {
                return Err(Error::Usage(format!("--cells {}: {problem}", path.display())));
            }
            let (d_in, d_out) = (slopes.shape[1], values.shape[1]);
            Ok(max_affine::GivenCells {
                slopes: slopes.rows(d_in),
                offsets: offsets.doubles(),
                values: values.rows(d_out),
                gap,
            })
        }
        _ => {
            let problem = "needs `slopes` [cells, d_in], `offsets` [cells] and `values` [cells, d_out]";
            Err(Error::Usage(format!("{}: {problem}", path.display())))
        }
    }
}

pub fn read_forms(path: &Path) -> Result<GivenForms, Error> {
    let mut arrays = read_arrays(path)?;
    let mut take = |name: &str, axes: usize| {
        let array = arrays.remove(name).filter(|array| array.shape.len() == axes);
        array.ok_or_else(|| {
            let problem = "holds no `weights` [seq_len, d_in] and `offsets` [seq_len]";
            Error::Usage(format!("{} {problem}", path.display()))
        })
    };
    let (weights, offsets) = (take("weights", 2)?, take("offsets", 1)?);
    let d_in = weights.shape[1].max(1);
    Ok(GivenForms { weights: weights.rows(d_in), offsets: offsets.doubles() })
}

/// The tensors of a safetensors file.
pub fn read_arrays(path: &Path) -> Result<BTreeMap<String, Array>, Error> {
    arrays_from_bytes(&read(path)?).map_err(|error| Error::Usage(format!("{}: {error}", path.display())))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let given = |error| Error::Usage(format!("cannot read {}: {error}", path.display()));
    input::read(path).map_err(|error| Error::unreadable(path, error, given))
}

/// An array's numbers in double precision.
pub trait Doubles {
    fn doubles(&self) -> Vec<f64>;
    /// In rows of `width`.
    fn rows(&self, width: usize) -> Vec<Vec<f64>> {
        self.doubles().chunks(width).map(<[f64]>::to_vec).collect()
    }
}

impl Doubles for Array {
    fn doubles(&self) -> Vec<f64> {
        self.values.iter().copied().map(f64::from).collect()
    }
}
