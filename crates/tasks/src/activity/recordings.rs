//! Recordings of people, read from an array of samples and a table that says whose they are.

use std::{collections::BTreeMap, io::Cursor};

use super::{ActivityConfig, FoundRecordings};
use crate::{
    error::TaskError,
    file::table::Table,
    files::Files,
    found::{Read, ReadFile, joined, wrong},
    idx::{Idx, Values},
};

/// One recording: samples of one person doing one thing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recording {
    pub person: u32,
    /// Index of its class.
    pub class: u32,
    /// Index of its first sample.
    pub start: usize,
    /// Number of its samples.
    pub length: usize,
}

/// All recordings of two files.
#[derive(Debug)]
pub(super) struct Recordings {
    /// `[samples, channels]`, as in the file.
    samples: Vec<i16>,
    pub channels: usize,
    /// Names of the classes, ascending.
    pub classes: Vec<String>,
    pub all: Vec<Recording>,
}

impl Recordings {
    /// Reads the files of a config.
    ///
    /// # Errors
    /// The key, the file and the place in it where something is wrong.
    pub fn read(config: &ActivityConfig, files: &Files) -> Result<Read<Self, FoundRecordings>, TaskError> {
        let (bytes, of_samples) = ReadFile::open("samples", files, &config.samples)?;
        let (samples, channels) =
            samples(&bytes).map_err(|problem| wrong("samples", files, &config.samples, problem))?;
        let (bytes, of_table) = ReadFile::open("recordings", files, &config.recordings)?;
        let (classes, all) = recordings(&bytes, config, samples.len() / channels)
            .map_err(|problem| wrong("recordings", files, &config.recordings, problem))?;
        let (content, files) = (Self { samples, channels, classes, all }, vec![of_samples, of_table]);
        Ok(Read { found: FoundRecordings::of(&content, joined(&files)), content, files })
    }

    /// `length` samples of all channels, from sample `start` on.
    pub fn samples(&self, start: usize, length: usize) -> &[i16] {
        &self.samples[start * self.channels..][..length * self.channels]
    }
}

/// The numbers of an IDX file with two axes, and its number of channels.
fn samples(bytes: &[u8]) -> Result<(Vec<i16>, usize), String> {
    let Idx { shape, values } = Idx::read(bytes)?;
    match *shape {
        [rows, channels] if rows > 0 && channels > 0 => {
            let values = match values {
                Values::I16(values) => values,
                Values::U8(values) => values.into_iter().map(i16::from).collect(),
            };
            Ok((values, channels))
        }
        _ => Err(format!("has the shape {shape:?}, and recordings are [samples, channels]")),
    }
}

/// Names of the classes, and the recordings that a table lists.
fn recordings(bytes: &[u8], config: &ActivityConfig, samples: usize) -> Result<(Vec<String>, Vec<Recording>), String> {
    let mut table = Table::open(Cursor::new(bytes))?;
    let columns = [&config.person, &config.class, "start", "length"].map(|name| table.column(name));
    let [person, class, start, length] = columns;
    let (person, class, start, length) = (person?, class?, start?, length?);
    let mut all = Vec::new();
    let mut names = BTreeMap::new();
    while table.next_line()? {
        let mut number = |column: usize| {
            let number = table.cell(column).parse::<u32>();
            number.map_err(|_| table.wrong(column, "is no whole number that a recording can have"))
        };
        let [of, first, count] = [number(person)?, number(start)?, number(length)?];
        if (first as usize).saturating_add(count as usize) > samples {
            return Err(table.wrong(length, &format!("samples from {first} on are not there: the array has {samples}")));
        }
        let name = table.cell(class).to_owned();
        if name.is_empty() {
            return Err(table.wrong(class, "names no class"));
        }
        let known = names.len() as u32;
        let number = *names.entry(name).or_insert(known);
        all.push(Recording { person: of, class: number, start: first as usize, length: count as usize });
    }
    if names.len() < 2 {
        return Err(format!("lists {} classes in `{}`; two are needed to tell apart", names.len(), config.class));
    }
    shared(&all)?;
    // Numbered so far as they came.
    let mut rank = vec![0; names.len()];
    names.values().zip(0..).for_each(|(number, at)| rank[*number as usize] = at);
    for recording in &mut all {
        recording.class = rank[recording.class as usize];
    }
    Ok((names.into_keys().collect(), all))
}

/// An error if samples belong to two people: one of them may be in the test, and the other not.
fn shared(all: &[Recording]) -> Result<(), String> {
    let mut by_start: Vec<&Recording> = all.iter().filter(|recording| recording.length > 0).collect();
    by_start.sort_by_key(|recording| recording.start);
    let end = |recording: &Recording| recording.start + recording.length;
    // Of those so far, the one that ends last.
    let mut last: Option<&Recording> = None;
    for recording in by_start {
        let Recording { person, start, .. } = *recording;
        if let Some(before) = last.filter(|before| start < end(before) && person != before.person) {
            return Err(format!(
                "samples from {start} on belong to the people {} and {person}; give them to one alone",
                before.person
            ));
        }
        if last.is_none_or(|before| end(before) < end(recording)) {
            last = Some(recording);
        }
    }
    Ok(())
}
