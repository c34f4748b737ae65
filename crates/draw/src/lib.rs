#![doc = include_str!("../README.md")]

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
