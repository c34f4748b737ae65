//! Windows of texts: the stretches that a network reads, and the tokens of them that it is scored on.

use std::ops::Range;

/// A window of a text. Its inputs are the tokens `[begin, begin + seq_len)`; each must predict the one after it. Where
/// the text ends sooner, the window does too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// Index of the text.
    pub text: usize,
    /// First input.
    pub begin: usize,
    /// The tokens of the text that are scored as predictions.
    pub scored: Range<usize>,
}

/// How texts are divided into windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Windows {
    /// Number of inputs of a window.
    pub seq_len: usize,
    /// Number of tokens by which windows of an evaluation set advance; each scores this many.
    pub stride: usize,
}

impl Windows {
    /// Number of windows in which every token of a text of `len` tokens, except its first, is scored once.
    fn in_text(self, len: usize) -> usize {
        if len < 2 { 0 } else { 1 + (len - 1).saturating_sub(self.seq_len).div_ceil(self.stride.max(1)) }
    }

    /// Number of evaluation windows of texts with these lengths.
    pub fn count(self, lens: &[usize]) -> usize {
        lens.iter().map(|len| self.in_text(*len)).sum()
    }

    /// Evaluation window number `index`, or `index` less a multiple of their number; `None` if there are none. The first
    /// window of a text scores all its predictions, each later one the next `stride`, at its end; the last window ends
    /// with the text.
    pub fn evaluation(self, lens: &[usize], index: u64) -> Option<Window> {
        let mut index = (index % (self.count(lens) as u64).max(1)) as usize;
        for (text, &len) in lens.iter().enumerate() {
            let windows = self.in_text(len);
            if index < windows {
                let end_of = |window: usize| (self.seq_len + window * self.stride + 1).min(len);
                let end = end_of(index);
                let first = if index == 0 { 1 } else { end_of(index - 1) };
                return Some(Window { text, begin: (end - 1).saturating_sub(self.seq_len), scored: first..end });
            }
            index -= windows;
        }
        None
    }

    /// Number of places where a training window may begin.
    pub fn places(self, lens: &[usize]) -> u64 {
        lens.iter().map(|len| self.places_in(*len)).sum()
    }

    fn places_in(self, len: usize) -> u64 {
        if len < 2 { 0 } else { len.saturating_sub(self.seq_len).max(1) as u64 }
    }

    /// The training window at a place; `None` if there are fewer.
    pub fn training(self, lens: &[usize], mut place: u64) -> Option<Window> {
        for (text, &len) in lens.iter().enumerate() {
            let places = self.places_in(len);
            if place < places {
                let begin = place as usize;
                return Some(Window { text, begin, scored: begin + 1..(begin + self.seq_len + 1).min(len) });
            }
            place -= places;
        }
        None
    }
}

/// Lengths of texts of which only the first tokens count, `most` of all texts together.
pub(super) fn first(lens: &[usize], most: Option<usize>) -> Vec<usize> {
    let mut left = most.unwrap_or(usize::MAX);
    let taken = |len: &usize| {
        let taken = left.min(*len);
        left -= taken;
        taken
    };
    lens.iter().map(taken).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_but_the_first_of_each_text_is_scored_once_and_in_its_window() {
        for (seq_len, stride) in [(7, 7), (7, 3), (7, 1), (1, 1), (50, 50)] {
            let windows = Windows { seq_len, stride };
            let lens = [23, 1, 8, 7, 2, 0, 9];
            let all: Vec<Window> =
                (0..windows.count(&lens) as u64).filter_map(|index| windows.evaluation(&lens, index)).collect();
            let scored: Vec<(usize, usize)> =
                all.iter().flat_map(|window| window.scored.clone().map(|at| (window.text, at))).collect();
            let wanted: Vec<(usize, usize)> =
                lens.iter().enumerate().flat_map(|(text, len)| (1..*len).map(move |at| (text, at))).collect();
            assert_eq!(scored, wanted, "{seq_len} {stride}");
            for Window { text, begin, scored } in &all {
                // Each scored token is predicted at the position before it.
                assert!(*begin < scored.start && scored.end <= begin + seq_len + 1 && scored.end <= lens[*text]);
                // A text that is long enough fills the window.
                assert!(lens[*text] <= seq_len || scored.end == begin + seq_len + 1);
            }
            assert_eq!(windows.evaluation(&lens, all.len() as u64), windows.evaluation(&lens, 0));
        }
        assert_eq!(Windows { seq_len: 3, stride: 3 }.evaluation(&[1], 0), None);
    }

    #[test]
    fn training_windows_begin_everywhere() {
        let (windows, lens) = (Windows { seq_len: 4, stride: 4 }, [6, 1, 3, 5]);
        let begins: Vec<(usize, usize)> = (0..windows.places(&lens))
            .filter_map(|place| windows.training(&lens, place))
            .map(|window| (window.text, window.begin))
            .collect();
        assert_eq!(begins, [(0, 0), (0, 1), (2, 0), (3, 0)]);
        assert_eq!(windows.training(&lens, 2).map(|window| window.scored), Some(1..3));
        assert_eq!(windows.training(&lens, 4), None);
    }

    #[test]
    fn the_first_tokens_of_all_texts_together() {
        assert_eq!(first(&[5, 7, 2], Some(8)), [5, 3, 0]);
        assert_eq!(first(&[5, 7, 2], None), [5, 7, 2]);
    }
}
