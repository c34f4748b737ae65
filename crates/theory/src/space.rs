//! Names for the columns of a layer's rows.

use std::ops::Range;

/// The columns of a layer's rows, in named parts.
///
/// ```
/// let z = headway_theory::Space::new(&[("x", 3), ("one", 1)]);
/// assert_eq!((z.width(), z.part("x"), z.at("one")), (4, 0..3, 3));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    parts: Vec<(&'static str, usize)>,
}

impl Space {
    /// A space with these parts, given by name and width, in order.
    pub fn new(parts: &[(&'static str, usize)]) -> Self {
        Self { parts: parts.to_vec() }
    }

    /// Number of columns of all parts together.
    pub fn width(&self) -> usize {
        self.parts.iter().map(|(_, width)| width).sum()
    }

    /// Whether there is a part of this name.
    pub fn has(&self, name: &str) -> bool {
        self.parts.iter().any(|(known, _)| *known == name)
    }

    /// Range of the columns of a part.
    ///
    /// # Panics
    /// If there is no part of this name, which means that a construction misspells its own columns.
    pub fn part(&self, name: &str) -> Range<usize> {
        let mut start = 0;
        for (known, width) in &self.parts {
            if *known == name {
                return start..start + width;
            }
            start += width;
        }
        panic!("no part is called {name}; there are {:?}", self.parts)
    }

    /// Index of the first column of a part.
    ///
    /// # Panics
    /// As [`Space::part`].
    pub fn at(&self, name: &str) -> usize {
        self.part(name).start
    }

    /// Index of column `index` of a part.
    ///
    /// # Panics
    /// As [`Space::part`], and if `index` is beyond its width.
    pub fn nth(&self, name: &str, index: usize) -> usize {
        let part = self.part(name);
        assert!(index < part.len(), "{name} has {} columns, not {}", part.len(), index + 1);
        part.start + index
    }
}
