//! Several series over the same times, read from a table.

use std::{cmp::Ordering, io::Cursor};

use super::ForecastConfig;
use crate::file::table::{Table, listed};

/// Names by which a column of times is recognised, in small letters.
const TIMES: [&str; 4] = ["time", "date", "datetime", "timestamp"];

/// Numbers by time and channel, oldest first, none of them missing.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    /// Name of the column of times; `None` if there is none.
    pub time: Option<String>,
    /// Names of the channels.
    pub channels: Vec<String>,
    /// `[rows, channels]`
    pub values: Vec<f32>,
    /// Number of missing values in the place of which the last one before stands.
    pub carried: usize,
    /// For each time at which the config's split begins a part, how many rows are before it.
    pub before: Vec<usize>,
}

impl Series {
    /// Reads a table with a line for each time, oldest or newest first.
    ///
    /// # Errors
    /// A sentence about what is wrong, with line and column.
    pub fn read(bytes: &[u8], config: &ForecastConfig) -> Result<Self, String> {
        let mut table = Table::open(Cursor::new(bytes))?;
        let time = match &config.time {
            Some(name) => Some(table.column(name)?),
            None => table.names().iter().position(|name| TIMES.contains(&name.to_lowercase().as_str())),
        };
        let columns: Vec<usize> = if config.columns.is_empty() {
            // A line that ends in a comma has a column without a name.
            let all = table.names().iter().enumerate().filter(|(_, name)| !name.is_empty());
            all.map(|(column, _)| column).filter(|column| Some(*column) != time).collect()
        } else {
            config.columns.iter().map(|name| table.column(name)).collect::<Result<_, _>>()?
        };
        if columns.is_empty() {
            return Err("has no columns besides that of times".to_owned());
        }
        let missing: Vec<&str> = config.missing.iter().map(String::as_str).collect();
        let begins = config.split.begins();
        let mut before = vec![0; begins.len()];
        let (mut last, mut order) = (None::<String>, None);
        // A missing value is NaN, which no cell can be.
        let mut values = Vec::new();
        while table.next_line()? {
            if let Some(column) = time {
                let now = table.cell(column);
                let step = last.as_deref().map(|last| compare(last, now));
                if let Some(step) = step {
                    if !matches!(step, Some(Ordering::Less | Ordering::Greater))
                        || order.is_some_and(|order| order != step)
                    {
                        return Err(table.wrong(column, OUT_OF_ORDER));
                    }
                    order = Some(step);
                }
                for (count, begin) in before.iter_mut().zip(&begins) {
                    let Some(step) = compare(now, begin) else {
                        let problem =
                            format!("cannot be compared with {begin:?}, where split begins a part; write both alike");
                        return Err(table.wrong(column, &problem));
                    };
                    *count += usize::from(step == Ordering::Less);
                }
                last = Some(now.to_owned());
            }
            for &column in &columns {
                let value = table.number_or_missing(column, &missing)?.unwrap_or(f32::NAN);
                if config.log_returns && value <= 0.0 {
                    return Err(table.wrong(column, "has no logarithm; leave log_returns out"));
                }
                values.push(value);
            }
        }
        if values.is_empty() {
            return Err("holds no times below its first line".to_owned());
        }
        if order == Some(Some(Ordering::Greater)) {
            values = values.chunks_exact(columns.len()).rev().flatten().copied().collect();
        }
        let channels: Vec<String> = columns.iter().map(|column| table.names()[*column].clone()).collect();
        let carried = carry_forward(&mut values, &channels)?;
        let series = Self { time: time.map(|column| table.names()[column].clone()), channels, values, carried, before };
        Ok(if config.log_returns { series.log_returns() } else { series })
    }

    /// Number of times.
    pub fn rows(&self) -> usize {
        self.values.len() / self.channels.len()
    }

    /// ln(x_t / x_(t-1)), from the second time on; all numbers must be positive.
    fn log_returns(self) -> Self {
        let later = self.values.iter().skip(self.channels.len()).zip(&self.values);
        let values = later.map(|(now, before)| (f64::from(*now) / f64::from(*before)).ln() as f32).collect();
        // The return at a time is that from the time before.
        let before = self.before.iter().map(|rows| rows.saturating_sub(1)).collect();
        Self { values, before, ..self }
    }
}

const OUT_OF_ORDER: &str = "is not in the order of the lines before: sort by time, written such as 2013-01-31T06:00, 2013-01-31 or as a number";

/// Which of two times comes first: by size if both are numbers, else by their letters, as ISO 8601 orders them; `None` if
/// only one is a number.
fn compare(a: &str, b: &str) -> Option<Ordering> {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a.partial_cmp(&b),
        (Err(_), Err(_)) => Some(a.cmp(b)),
        _ => None,
    }
}

/// Puts the last value before it in the place of every missing one, which is NaN, and counts them.
fn carry_forward(values: &mut [f32], channels: &[String]) -> Result<usize, String> {
    let width = channels.len();
    let late = channels.iter().zip(&*values).filter(|(_, value)| value.is_nan()).map(|(name, _)| name.clone());
    let late: Vec<String> = late.collect();
    if !late.is_empty() {
        let problem =
            "no value at the first time, so that none can be carried forward; name other columns, or cut the file";
        return Err(format!("there is {problem}: {}", listed(&late)));
    }
    let mut carried = 0;
    for at in width..values.len() {
        if values[at].is_nan() {
            values[at] = values[at - width];
            carried += 1;
        }
    }
    Ok(carried)
}
