//! Small multiples: figures side by side over the same axes, with one legend.

use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::{
    canvas::drawn,
    escape::one_line,
    figure::Figure,
    ink::ink,
    legend,
    svg::{MARGIN, PIXEL, WIDTH, shortened},
};

/// Figures of the same quantities under different conditions. Their axes are those of the first, as wide as all of them need; equal labels
/// look alike in all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Panels {
    /// What is shown, for screen readers; it is not drawn.
    pub title: String,
    /// Each figure under its heading, row by row.
    pub panels: Vec<(String, Figure)>,
}

/// Headings are cut to half the width.
const COLUMNS: usize = 2;
const HEIGHT: i32 = 250 * PIXEL;
const HEADING: i32 = 24 * PIXEL;

impl Panels {
    /// The figures as one SVG document, like [`Figure::to_svg`].
    pub fn to_svg(&self) -> String {
        let whole = self.whole();
        let legend = legend::arranged(whole.labels().into_iter().filter(|label| !label.is_empty()));
        let legend_height = legend::height(&legend);
        let rows = self.panels.len().div_ceil(COLUMNS).max(1);
        let height = HEIGHT.saturating_mul(i32::try_from(rows).unwrap_or(i32::MAX)).saturating_add(legend_height);
        drawn(&self.title, height, |area| {
            let (top, rest) = area.split_vertically(legend_height);
            for entry in &legend {
                whole.draw_entry(entry, &top)?;
            }
            let (mut hovered, middle) = (Vec::new(), ink().pos(Pos::new(HPos::Left, VPos::Center)));
            for ((heading, figure), area) in self.panels.iter().zip(rest.split_evenly((rows, COLUMNS))) {
                let (above, plot) = area.margin(0, MARGIN, 0, MARGIN).split_vertically(HEADING);
                let widest = WIDTH / 2 - 2 * MARGIN;
                above.draw_text(&shortened(&one_line(heading), widest), &middle, (0, HEADING / 3))?;
                let figure = Figure { colours: whole.colours.clone(), ..figure.clone() };
                hovered.extend(figure.draw_plot(&plot, [whole.x_axis(), whole.y_axis()])?);
            }
            Ok(hovered)
        })
    }

    /// All series over the axes of the first figure, each label with its place among the colours.
    fn whole(&self) -> Figure {
        let mut whole = self.panels.first().map(|(_, figure)| figure.clone()).unwrap_or_default();
        whole.series = self.panels.iter().flat_map(|(_, figure)| figure.series.clone()).collect();
        let further: Vec<String> = whole.labels().into_iter().map(str::to_owned).collect();
        for label in further {
            if !whole.colours.contains(&label) {
                whole.colours.push(label);
            }
        }
        whole
    }
}
