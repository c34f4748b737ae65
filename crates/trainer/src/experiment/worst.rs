//! The boxes from which training takes more examples, as `headway certify` found them.

use std::path::{Path, PathBuf};

use headway_keys::{Alternative, Described, Form};
use headway_tasks::Boxes;
use serde::{Deserialize, Serialize};

use crate::bounded_read;

/// Share of the training examples that come from boxes, if none is given.
pub const WORST_SHARE: f64 = 0.25;

/// The folder of a search, until it is read; then its boxes, which a run keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum WorstBoxes {
    /// Folder that `headway certify` has written.
    Folder(PathBuf),
    /// The boxes.
    Boxes(Boxes),
}

impl Described for WorstBoxes {
    fn form() -> Form {
        Form::Either(vec![
            Alternative::new("The folder that `headway certify` has written.", Form::Text),
            Alternative::new("The boxes themselves, as a run keeps them.", Boxes::form()),
        ])
    }
}

/// The worst of some boxes that a domain was divided into, as `headway certify` writes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Worst {
    /// Of how many boxes these are the worst.
    pub of: usize,
    /// Upper bound on the error in each.
    pub bounds: Vec<f64>,
    /// The boxes.
    pub boxes: Boxes,
}

impl Worst {
    /// Name of its file.
    pub const FILE: &str = "boxes.json";
}

impl WorstBoxes {
    /// Reads the boxes, unless they are read; `folder` is what the path is relative to.
    pub(super) fn settle(&mut self, folder: &Path) -> Result<(), String> {
        let Self::Folder(path) = self else { return Ok(()) };
        let path = folder.join(path).join(Worst::FILE);
        let bytes = bounded_read::read_if_there(&path).map_err(|error| error.to_string())?;
        let bytes = bytes.ok_or_else(|| {
            format!("{} is not there; give the folder that `headway certify` has written", path.display())
        })?;
        let worst: Worst = bounded_read::from_json(&bytes)
            .map_err(|problem| format!("{} holds no boxes ({problem})", path.display()))?;
        *self = Self::Boxes(worst.boxes);
        Ok(())
    }
}
