//! Pictures that a network completes, beside what it is shown, classical predictors and the truth; drawn once when a run ends.

use burn::{module::Module, tensor::Device};
use headway_draw::{Picture, Pictures};
use headway_model::{Model, weights};
use headway_tasks::{Patches, Source, Split};
use headway_trainer::{loss, provenance::NETWORK};

use crate::error::Error;

/// Name of the figure in a run folder.
pub(crate) const NAME: &str = "pictures";

/// Caption of the figure.
pub(super) const NOTE: &str = "The first test pictures. What is orange is hidden: the network and the classical predictors complete it, \
                               and what is visible stays as it is.";

/// Number of pictures that are drawn.
const MOST: usize = 6;

/// The figure as SVG; `None` for tasks without pictures.
///
/// # Errors
/// [`Error::Pattern`] when it cannot be drawn.
pub(crate) fn draw(model: &Model, source: &Source, device: &Device) -> Result<Option<String>, Error> {
    let Some(patches) = source.task().patches() else { return Ok(None) };
    let batches = source.evaluation(Split::Test);
    let Some(batch) = batches.first().map(|batch| batch.part(0..MOST)) else { return Ok(None) };
    let output = model.valid().forward(loss::inputs(&batch, device)).narrow(2, 0, patches.size());
    let mut columns = vec![(NETWORK, weights::to_host(output))];
    let fit_set = source.fit_set();
    for mut baseline in source.task().baselines() {
        baseline.fit(&fit_set);
        columns.push((baseline.name(), baseline.predict(&batch)));
    }
    columns.push(("truth", batch.targets.continuous().to_vec()));
    let rows = (0..batch.size).map(|example| {
        let inputs = &batch.inputs.continuous()[example * patches.count() * patches.d_in()..];
        let (shown, hidden) = patches.shown(&inputs[..patches.count() * patches.d_in()]);
        let of = |numbers: &[f32]| {
            let size = patches.count() * patches.size();
            complete(patches, &shown, &hidden, Some(&patches.join(&numbers[example * size..][..size])))
        };
        std::iter::once(complete(patches, &shown, &hidden, None))
            .chain(columns.iter().map(|(_, numbers)| of(numbers)))
            .collect()
    });
    let rows = rows.collect();
    let names = std::iter::once("hidden").chain(columns.iter().map(|(name, _)| *name));
    let title = "Test pictures: what is hidden, what the network and classical predictors make of it, and the truth";
    let pictures = Pictures { title: title.to_owned(), columns: names.map(str::to_owned).collect(), rows };
    Ok(Some(pictures.to_svg()?))
}

/// What is shown, with hidden pixels from another picture if there is one.
fn complete(patches: Patches, shown: &[f32], hidden: &[bool], other: Option<&[f32]>) -> Picture {
    let channels = patches.channels;
    let pixel = |(at, hidden): (usize, &bool)| {
        let numbers = if *hidden { other? } else { shown };
        let numbers = &numbers[at * channels..][..channels];
        // Grey has one number for all three.
        Some([0, 1, 2].map(|colour: usize| numbers[colour.min(channels - 1)]))
    };
    Picture { width: patches.width, pixels: hidden.iter().enumerate().map(pixel).collect() }
}
