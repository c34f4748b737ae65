//! Arrays in numpy's .npz files, as `numpy.savez` writes them: a zip of .npy files, none of them compressed.
//!
//! Read here and not by a crate: those for .npz turn on features of crates beneath burn, which would then be built anew.
//!
//! # References
//! The format of .npy: numpy.lib.format, version 1.0.

use std::{
    collections::BTreeMap,
    io::{Cursor, Write},
};

use headway_model::weights::Array;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use crate::{
    Arrays, Error,
    file::{Numbers, Rounded},
};

/// Bytes at whose multiples the numbers of an array begin, for whoever maps the file into memory.
const ALIGNMENT: usize = 64;

/// The arrays as the bytes of a file that `numpy.load` takes, in f4 and C order, equal for equal arrays.
///
/// # Errors
/// [`Error::File`] when the archive refuses, which no array of ours provokes.
pub fn write(arrays: &Arrays) -> Result<Vec<u8>, Error> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, Array { shape, values }) in arrays {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .with_alignment(ALIGNMENT as u16)
            .large_file(values.len() > MOST_WITHOUT_ZIP64);
        archive.start_file(format!("{name}.npy"), options).map_err(Error::file)?;
        // A tuple of one ends in a comma, as Python writes it.
        let comma = if shape.len() == 1 { "," } else { "" };
        let sizes = shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({sizes}{comma}), }}");
        let unpadded = 10 + header.len() + 1;
        header.push_str(&" ".repeat(unpadded.next_multiple_of(ALIGNMENT) - unpadded));
        header.push('\n');
        let length = u16::try_from(header.len()).map_err(Error::file)?;
        let mut bytes = b"\x93NUMPY\x01\0".to_vec();
        bytes.extend(length.to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        archive.write_all(&bytes).map_err(Error::file)?;
    }
    Ok(archive.finish().map_err(Error::file)?.into_inner())
}

/// Numbers beyond which an array and its header pass 4 GB.
pub(crate) const MOST_WITHOUT_ZIP64: usize = (1 << 30) - (1 << 20);

/// Every array of a file, as f32.
///
/// # Errors
/// What is not as it should be.
pub fn read(bytes: &[u8]) -> Result<BTreeMap<String, Array>, String> {
    Ok(read_rounded(bytes)?.0)
}

/// Every array of a file, as f32, and which numbers that changed.
///
/// # Errors
/// What is not as it should be.
pub(crate) fn read_rounded(bytes: &[u8]) -> Result<(Arrays, Vec<Rounded>), String> {
    // The end of the central directory lies in the last 64 KiB, and says where the directory is.
    let start = bytes.len().saturating_sub(22 + 0xffff);
    let end = bytes[start..].windows(4).rposition(|window| window == b"PK\x05\x06").map(|at| start + at);
    let end = end.ok_or("not a whole .npz file: the end of its directory is missing")?;
    let count = number(bytes, end + 10, 2)?;
    let mut at = number(bytes, end + 16, 4)?;
    let (mut arrays, mut all_rounded) = (BTreeMap::new(), Vec::new());
    let mut left = bytes.len();
    for _ in 0..count {
        if bytes.get(at..at.saturating_add(4)) != Some(b"PK\x01\x02".as_slice()) {
            return Err("not a whole .npz file: its directory is damaged".to_owned());
        }
        let (method, size) = (number(bytes, at + 10, 2)?, number(bytes, at + 24, 4)?);
        let [name_len, extra, comment] =
            [number(bytes, at + 28, 2)?, number(bytes, at + 30, 2)?, number(bytes, at + 32, 2)?];
        let local = number(bytes, at + 42, 4)?;
        let name = String::from_utf8_lossy(slice(bytes, at + 46, name_len)?).into_owned();
        let name = name.strip_suffix(".npy").unwrap_or(&name).to_owned();
        if method != 0 {
            return Err(format!("`{name}` is compressed; write the file with numpy.savez, not savez_compressed"));
        }
        let body = local + 30 + number(bytes, local + 26, 2)? + number(bytes, local + 28, 2)?;
        // Files that lie over each other would make much of little.
        left = left.checked_sub(size).ok_or("its files lie over each other")?;
        let (array, rounded) =
            npy(&name, slice(bytes, body, size)?).map_err(|problem| format!("`{name}`: {problem}"))?;
        arrays.insert(name, array);
        all_rounded.extend(rounded);
        at += 46 + name_len + extra + comment;
    }
    Ok((arrays, all_rounded))
}

/// A little-endian number of `width` bytes.
fn number(bytes: &[u8], at: usize, width: usize) -> Result<usize, String> {
    Ok(slice(bytes, at, width)?.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

fn slice(bytes: &[u8], at: usize, len: usize) -> Result<&[u8], String> {
    let end = at.checked_add(len).filter(|end| *end <= bytes.len());
    end.map(|end| &bytes[at..end]).ok_or_else(|| "the file is cut short".to_owned())
}

/// The array of a .npy file, as `numpy.save` writes it, as f32.
///
/// # Errors
/// What is not as it should be.
pub fn read_npy(bytes: &[u8]) -> Result<Array, String> {
    Ok(npy("array", bytes)?.0)
}

/// One .npy file: magic, version, a header that reads like a Python dictionary, then the numbers.
fn npy(name: &str, bytes: &[u8]) -> Result<(Array, Option<Rounded>), String> {
    if bytes.get(..6) != Some(b"\x93NUMPY".as_slice()) {
        return Err("is no .npy array".to_owned());
    }
    let width = if bytes.get(6) == Some(&1) { 2 } else { 4 };
    let header_len = number(bytes, 8, width)?;
    let header = String::from_utf8_lossy(slice(bytes, 8 + width, header_len)?).into_owned();
    let shape = header.split_once("'shape': (").and_then(|(_, rest)| rest.split_once(')')).map(|(shape, _)| shape);
    let sizes = shape.unwrap_or_default().split(',').map(str::trim).filter(|size| !size.is_empty());
    let shape: Vec<usize> =
        sizes.map(str::parse).collect::<Result<_, _>>().map_err(|_| "has a header without a shape")?;
    let count = shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size)).ok_or("is too large")?;
    let body = bytes.get(8 + width + header_len..).unwrap_or_default();
    let descr = header.split_once("'descr': '").and_then(|(_, rest)| rest.split_once('\'')).map(|(descr, _)| descr);
    let descr = descr.unwrap_or_default();
    let (order, kind) = descr.split_at_checked(1).unwrap_or_default();
    let numbers = match kind {
        "f2" => Numbers::F16,
        "f4" => Numbers::F32,
        "f8" => Numbers::F64,
        "i1" => Numbers::I8,
        "i2" => Numbers::I16,
        "i4" => Numbers::I32,
        "i8" => Numbers::I64,
        "u1" => Numbers::U8,
        "u2" => Numbers::U16,
        "u4" => Numbers::U32,
        "u8" => Numbers::U64,
        "b1" => Numbers::Bool,
        "O" => return Err("holds objects of Python and no numbers; save numpy.asarray of it as float32".to_owned()),
        _ => return Err(format!("holds `{descr}`, which is no type of number that is read; save it as float32")),
    };
    if body.len() != count.saturating_mul(numbers.width()) {
        let held = body.len() / numbers.width();
        return Err(format!("holds {held} numbers, its shape asks for {count}"));
    }
    let swapped: Vec<u8>;
    let body = if order == ">" {
        swapped = body.chunks(numbers.width()).flat_map(|number| number.iter().rev().copied()).collect();
        swapped.as_slice()
    } else {
        body
    };
    let (mut array, rounded) = numbers.array(name, &shape, body);
    if header.contains("'fortran_order': True") {
        array.values = row_major(&shape, &array.values);
    }
    Ok((array, rounded))
}

/// Column-major numbers, whose first axis moves fastest, in row-major order.
fn row_major(shape: &[usize], values: &[f32]) -> Vec<f32> {
    let place = |at: usize| {
        let (mut rest, mut from) = (at, 0);
        let mut step: usize = shape.iter().product();
        for size in shape.iter().rev() {
            step /= size;
            from += rest % size * step;
            rest /= size;
        }
        from
    };
    (0..values.len()).map(|at| values[place(at)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A zip of one stored file, as numpy.savez lays it out.
    fn zipped(name: &str, content: &[u8], method: u8) -> Vec<u8> {
        let short = |n: usize| (n as u16).to_le_bytes();
        let long = |n: usize| (n as u32).to_le_bytes();
        let mut file = b"PK\x03\x04\x14\0\0\0\0\0".to_vec();
        file.extend([0; 8]);
        file.extend([long(content.len()), long(content.len())].concat());
        file.extend([short(name.len()), short(0)].concat());
        file.extend(name.as_bytes());
        file.extend(content);
        let directory = file.len();
        file.extend(b"PK\x01\x02\x14\0\x14\0\0\0");
        file.extend([method, 0]);
        file.extend([0; 8]);
        file.extend([long(content.len()), long(content.len())].concat());
        file.extend([short(name.len()), short(0), short(0)].concat());
        file.extend([0; 8]);
        file.extend(long(0));
        file.extend(name.as_bytes());
        let size = file.len() - directory;
        file.extend(b"PK\x05\x06\0\0\0\0");
        file.extend([short(1), short(1)].concat());
        file.extend([long(size), long(directory)].concat());
        file.extend(short(0));
        file
    }

    fn array(header: &str, values: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\0".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(values);
        bytes
    }

    #[test]
    fn reads_what_numpy_writes() {
        let values: Vec<u8> = [1.0_f64, -2.0, 0.5].iter().flat_map(|value| value.to_le_bytes()).collect();
        let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 1), }\n";
        let arrays = read(&zipped("inputs.npy", &array(header, &values), 0)).unwrap_or_default();
        assert_eq!(arrays["inputs"], Array { shape: vec![3, 1], values: vec![1.0, -2.0, 0.5] });
    }

    /// Types and orders as numpy.savez writes them, by hand.
    #[test]
    fn reads_every_type_and_order() {
        let read_one = |descr: &str, order: &str, shape: &str, bytes: &[u8]| {
            let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
            let arrays = read(&zipped("x.npy", &array(&header, bytes), 0));
            arrays.map(|arrays| arrays["x"].values.clone())
        };
        assert_eq!(read_one("<f2", "False", "(2,)", &[0x00, 0x3c, 0x00, 0xc0]), Ok(vec![1.0, -2.0]));
        assert_eq!(read_one("|b1", "False", "(3,)", &[1, 0, 1]), Ok(vec![1.0, 0.0, 1.0]));
        assert_eq!(read_one(">i2", "False", "(2,)", &[1, 0, 0xff, 0xfe]), Ok(vec![256.0, -2.0]));
        assert_eq!(read_one("|u1", "True", "(2, 3)", &[1, 4, 2, 5, 3, 6]), Ok(vec![1., 2., 3., 4., 5., 6.]));
        assert_eq!(read_one("|u1", "True", "(2, 1, 2)", &[1, 3, 2, 4]), Ok(vec![1., 2., 3., 4.]));
        assert_eq!(read_one("|u1", "True", "()", &[7]), Ok(vec![7.0]));
    }

    #[test]
    fn what_was_written_is_read_again() {
        let array = |shape: &[usize], values: &[f32]| Array { shape: shape.to_vec(), values: values.to_vec() };
        let arrays = BTreeMap::from([
            ("blocks.0.bias".to_owned(), array(&[3], &[1.0, -2.0, 0.5])),
            ("one".to_owned(), array(&[], &[7.0])),
            ("pair".to_owned(), array(&[2, 1], &[f32::MIN, f32::MAX])),
        ]);
        let bytes = write(&arrays).unwrap_or_default();
        assert_eq!(read(&bytes), Ok(arrays));
        for (at, _) in bytes.windows(6).enumerate().filter(|(_, window)| *window == b"\x93NUMPY") {
            assert_eq!(at % ALIGNMENT, 0, "an array at {at}");
        }
    }

    #[test]
    fn says_what_is_wrong_and_never_panics() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }\n";
        let good = zipped("x.npy", &array(header, &1.0_f32.to_le_bytes()), 0);
        assert!(read(&good).is_ok());
        let problem = |bytes: &[u8]| read(bytes).err().unwrap_or_default();
        assert!(problem(b"nothing").contains("end of its directory"));
        assert!(problem(&zipped("x.npy", b"", 8)).contains("numpy.savez"));
        assert!(problem(&zipped("x.npy", b"junk", 0)).contains("no .npy array"));
        assert!(problem(&zipped("x.npy", &array(&header.replace("<f4", "<c8"), &[0; 8]), 0)).contains("float32"));
        assert!(problem(&zipped("x.npy", &array(&header.replace("<f4", "|O"), &[0; 8]), 0)).contains("objects"));
        assert!(problem(&zipped("x.npy", &array(header, &[0; 8]), 0)).contains("2 numbers"));
        // Every prefix and every changed byte: an answer or a message.
        for at in 0..good.len() {
            let _ = read(&good[..at]);
            let mut changed = good.clone();
            changed[at] ^= 0xff;
            let _ = read(&changed);
        }
    }
}
