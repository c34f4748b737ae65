//! Sequences of letters with gaps, which a network fills.

use std::{io::Write, path::Path};

use headway_tasks::{Gaps, Inputs, fasta};

use super::{Examples, Predictor, contents};
use crate::{bad_inputs::BadInputs, beside, disk, error::Error};

/// A window of a sequence, in the middle of which there is a gap, where the sequence allows it.
struct Window {
    record: usize,
    begin: usize,
    /// The gap, as a position of the sequence.
    at: usize,
}

impl Predictor {
    /// Writes the sequences of a file with the likeliest letter in each gap, in lower case.
    pub(super) fn fasta(
        &self,
        inputs: &Path,
        out: &Path,
        on_progress: &mut dyn FnMut(usize, Option<usize>),
    ) -> Result<usize, Error> {
        let mut n = 0;
        beside::write_new_through(out, |temporary| {
            let records = self.filled(inputs, on_progress)?;
            n = records.len();
            let mut text = String::new();
            for record in &records {
                text.extend([">", &record.name, "\n", &record.letters, "\n"]);
            }
            disk::create(temporary)?.write_all(text.as_bytes()).map_err(Error::io(disk::CANNOT_WRITE, out))?;
            disk::sync(temporary)
        })?;
        Ok(n)
    }

    fn filled(
        &self,
        inputs: &Path,
        on_progress: &mut dyn FnMut(usize, Option<usize>),
    ) -> Result<Vec<fasta::Record>, Error> {
        let refused = |problem| Error::Inputs { path: inputs.to_owned(), problem };
        let gaps = self.experiment.task.gaps().ok_or_else(|| refused(BadInputs::NoGaps))?;
        let Gaps { letters, mark, answers, .. } = gaps;
        let records = fasta::read(&contents(inputs)?, &format!("{letters}{mark}"));
        let mut records = records.map_err(|problem| refused(BadInputs::Unreadable(problem)))?;
        let seq_len = self.form.dims.seq_len;
        let windows: Vec<Window> = (0..records.len())
            .flat_map(|record| {
                let text = &records[record].letters;
                let last = text.len().saturating_sub(seq_len);
                let of = move |(at, _)| Window {
                    record,
                    begin: usize::min(usize::saturating_sub(at, seq_len / 2), last),
                    at,
                };
                text.match_indices(mark).map(of).collect::<Vec<_>>()
            })
            .collect();
        let given: Vec<Vec<u8>> = records.iter().map(|record| record.letters.clone().into_bytes()).collect();
        let mut filled = given.clone();
        let mut done = 0;
        for some in windows.chunks(self.experiment.train.batch_size.max(1)) {
            let tokens = some.iter().flat_map(|window| gaps.window(&given[window.record][window.begin..], seq_len));
            let tokens = Inputs::Tokens(tokens.collect());
            let names = some.iter().map(|window| records[window.record].name.clone()).collect();
            let examples = Examples { n: some.len(), seq_len, inputs: tokens, names };
            let logits = self.answers(&examples, done, inputs)?;
            for (window, logits) in some.iter().zip(logits.chunks_exact(seq_len * self.form.dims.d_out)) {
                let logits = &logits[(window.at - window.begin) * self.form.dims.d_out..][..self.form.dims.d_out];
                let best = answers.iter().max_by(|a, b| logits[**a as usize].total_cmp(&logits[**b as usize]));
                let letter = best.and_then(|token| letters.as_bytes().get(*token as usize)).copied().unwrap_or(b'x');
                filled[window.record][window.at] = letter.to_ascii_lowercase();
            }
            done += some.len();
            on_progress(done, Some(windows.len()));
        }
        for (record, letters) in records.iter_mut().zip(filled) {
            record.letters = letters.into_iter().map(char::from).collect();
        }
        Ok(records)
    }
}
