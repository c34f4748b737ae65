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

use crate::{Arrays, Error};

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

/// Every array of a file of f4 or f8 numbers in C order.
///
/// # Errors
/// What is not as it should be.
pub fn read(bytes: &[u8]) -> Result<BTreeMap<String, Array>, String> {
    // The end of the central directory lies in the last 64 KiB, and says where the directory is.
    let start = bytes.len().saturating_sub(22 + 0xffff);
    let end = bytes[start..].windows(4).rposition(|window| window == b"PK\x05\x06").map(|at| start + at);
    let end = end.ok_or("not a whole .npz file: the end of its directory is missing")?;
    let count = number(bytes, end + 10, 2)?;
    let mut at = number(bytes, end + 16, 4)?;
    let mut arrays = BTreeMap::new();
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
        let array = npy(slice(bytes, body, size)?).map_err(|problem| format!("`{name}`: {problem}"))?;
        arrays.insert(name, array);
        at += 46 + name_len + extra + comment;
    }
    Ok(arrays)
}

/// A little-endian number of `width` bytes.
fn number(bytes: &[u8], at: usize, width: usize) -> Result<usize, String> {
    Ok(slice(bytes, at, width)?.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

fn slice(bytes: &[u8], at: usize, len: usize) -> Result<&[u8], String> {
    let end = at.checked_add(len).filter(|end| *end <= bytes.len());
    end.map(|end| &bytes[at..end]).ok_or_else(|| "the file is cut short".to_owned())
}

/// One .npy file: magic, version, a header that reads like a Python dictionary, then the numbers.
fn npy(bytes: &[u8]) -> Result<Array, String> {
    if bytes.get(..6) != Some(b"\x93NUMPY".as_slice()) {
        return Err("is no .npy array".to_owned());
    }
    let width = if bytes.get(6) == Some(&1) { 2 } else { 4 };
    let header_len = number(bytes, 8, width)?;
    let header = String::from_utf8_lossy(slice(bytes, 8 + width, header_len)?).into_owned();
    if header.contains("'fortran_order': True") {
        return Err("is in Fortran order; save numpy.ascontiguousarray of it".to_owned());
    }
    let shape = header.split_once("'shape': (").and_then(|(_, rest)| rest.split_once(')')).map(|(shape, _)| shape);
    let sizes = shape.unwrap_or_default().split(',').map(str::trim).filter(|size| !size.is_empty());
    let shape: Vec<usize> =
        sizes.map(str::parse).collect::<Result<_, _>>().map_err(|_| "has a header without a shape")?;
    let count = shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size)).ok_or("is too large")?;
    let body = bytes.get(8 + width + header_len..).unwrap_or_default();
    let values: Vec<f32> = if header.contains("'<f4'") {
        body.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    } else if header.contains("'<f8'") {
        body.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect()
    } else {
        return Err("holds neither float32 nor float64".to_owned());
    };
    if values.len() != count {
        return Err(format!("holds {} numbers, its shape asks for {count}", values.len()));
    }
    Ok(Array { shape, values })
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
        let fortran = header.replace("False", "True");
        assert!(problem(&zipped("x.npy", &array(&fortran, &[0; 4]), 0)).contains("Fortran"));
        assert!(problem(&zipped("x.npy", &array(&header.replace("<f4", "<i4"), &[0; 4]), 0)).contains("float32"));
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
