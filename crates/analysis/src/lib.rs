//! Numbers made visible: a [`Figure`] becomes an SVG, a [`Report`] one HTML page that holds text, tables and figures.
//!
//! Neither needs a font file, a network or a script, and both follow the reader's choice of a light or dark page.
//!
//! ```
//! use headway_analysis::{Figure, Report, Section, Series, Style};
//!
//! let figure = Figure {
//!     title: "Loss during training".into(),
//!     x_label: "step".into(),
//!     y_label: "mean squared error".into(),
//!     y_log: true,
//!     series: vec![Series { label: "seed 0".into(), points: vec![(0.0, 1.0), (100.0, 0.01)], style: Style::Line }],
//!     ..Figure::default()
//! };
//! let report = Report {
//!     title: "First run".into(),
//!     summary: "One seed, 100 steps.".into(),
//!     command: "headway train experiments/quickstart.toml".into(),
//!     sections: vec![Section::Figure { title: figure.title.clone(), note: String::new(), svg: figure.to_svg()? }],
//! };
//! assert!(report.to_html().starts_with("<!DOCTYPE html>"));
//! # Ok::<(), headway_analysis::FigureError>(())
//! ```

mod axis;
mod escape;
pub mod figure;
pub mod number;
mod rate;
pub mod report;
mod table;

pub use figure::{Figure, FigureError, Series, Style};
pub use number::number;
pub use rate::exponent;
pub use report::{Report, Section};
