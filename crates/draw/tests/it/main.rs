//! What drawings, tables and pages contain.

#![allow(clippy::unwrap_used, reason = "a test stops where something is missing")]

mod figure;
mod forest;
mod heatmap;
mod page;
mod panels;
mod pattern;
mod report;
