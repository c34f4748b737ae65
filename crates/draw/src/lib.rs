//! Drawings of numbers: a [`Figure`] of curves, a [`Forest`] of methods, a [`Heatmap`] and the attention [`Patterns`]
//! of a network become SVGs; a [`Report`] is one HTML page that holds text, tables and drawings.
//!
//! No drawing needs a font file, a network connection or a script, and all follow the reader's choice of a light or a
//! dark page.
//!
//! ```
//! use headway_draw::{Figure, Report, Section, Series, Style};
//!
//! let figure = Figure {
//!     title: "Loss during training".into(),
//!     x_label: "step".into(),
//!     y_label: "mean squared error".into(),
//!     y_log: true,
//!     series: vec![Series {
//!         label: "seed 0".into(),
//!         points: vec![(0.0, 1.0), (100.0, 0.01)],
//!         style: Style::Line,
//!         ..Series::default()
//!     }],
//!     ..Figure::default()
//! };
//! let report = Report {
//!     title: "First run".into(),
//!     summary: "One seed, 100 steps.".into(),
//!     command: "headway train experiments/quickstart.toml".into(),
//!     sections: vec![Section::Figure { title: figure.title.clone(), note: String::new(), svg: figure.to_svg() }],
//!     ..Report::default()
//! };
//! assert!(report.to_html().starts_with("<!DOCTYPE html>"));
//! ```

mod axis;
mod canvas;
mod csv;
mod escape;
mod figure;
mod forest;
mod heatmap;
mod ink;
mod legend;
mod number;
mod panels;
mod pattern;
mod pictures;
mod raster;
mod report;
mod style;
mod svg;
mod table;
mod tooltips;

pub use csv::csv;
pub use figure::{Figure, Series, Style};
pub use forest::{Forest, ForestRow};
pub use heatmap::Heatmap;
pub use number::{duration, number, number_within};
pub use panels::Panels;
pub use pattern::{Pattern, PatternError, Patterns};
pub use pictures::{Picture, Pictures};
pub use report::{File, Report, Section};
