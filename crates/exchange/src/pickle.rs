//! A state dict as `torch.save` writes it, for `torch.load(FILE, weights_only=True)`.
//!
//! The file is a zip archive that contains the pickle of a dictionary from names to tensors, and one file per tensor
//! with its numbers, stored uncompressed and aligned so that they can be mapped into memory. The pickle refers to three
//! Python objects, all of which PyTorch allows for weights: the function that rebuilds a tensor, the class of its
//! storage, and `OrderedDict`.
//!
//! # References
//! Opcodes of protocol 2: Lib/pickletools.py of CPython. Layout of the archive: torch/serialization.py of PyTorch.

use std::io::{Cursor, Write};

use headway_model::weights::Array;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use crate::{Arrays, Error, npz::MOST_WITHOUT_ZIP64};

/// PyTorch places the numbers of a tensor at a multiple of this many bytes.
const ALIGNMENT: u16 = 64;

/// The arrays as the bytes of a file for `torch.load`; equal arrays give equal bytes.
///
/// # Errors
/// [`Error::File`] if the archive cannot be written, which does not happen with valid arrays.
pub fn write(arrays: &Arrays) -> Result<Vec<u8>, Error> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let mut put = |name: &str, bytes: &[u8], large: bool| {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .with_alignment(ALIGNMENT)
            .large_file(large);
        archive.start_file(format!("archive/{name}"), options).map_err(Error::file)?;
        archive.write_all(bytes).map_err(Error::file)
    };
    put("data.pkl", &state_dict(arrays), false)?;
    put("byteorder", b"little", false)?;
    for (key, Array { values, .. }) in arrays.values().enumerate() {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        put(&format!("data/{key}"), &bytes, values.len() > MOST_WITHOUT_ZIP64)?;
    }
    // Version of the archive's layout, not of PyTorch.
    put("version", b"3\n", false)?;
    Ok(archive.finish().map_err(Error::file)?.into_inner())
}

/// `{name: torch._utils._rebuild_tensor_v2(storage, 0, shape, stride, False, OrderedDict()), …}`
fn state_dict(arrays: &Arrays) -> Vec<u8> {
    let mut pickle = Pickle(b"\x80\x02}(".to_vec());
    for (key, (name, array)) in arrays.iter().enumerate() {
        pickle.text(name);
        pickle.tensor(key, array);
    }
    pickle.0.extend(b"u.");
    pickle.0
}

/// A pickle that is being written, opcode by opcode.
struct Pickle(Vec<u8>);

impl Pickle {
    fn global(&mut self, module: &str, name: &str) {
        self.0.extend(format!("c{module}\n{name}\n").as_bytes());
    }

    fn text(&mut self, text: &str) {
        self.0.push(b'X');
        // Names are far shorter than the 4 GiB that four bytes of length allow.
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.as_bytes());
    }

    /// Writes a signed integer of eight bytes; sizes are far below 2⁶³.
    fn integer(&mut self, number: usize) {
        self.0.extend(b"\x8a\x08");
        self.0.extend((number as u64).to_le_bytes());
    }

    fn integers(&mut self, numbers: &[usize]) {
        self.0.push(b'(');
        for number in numbers {
            self.integer(*number);
        }
        self.0.push(b't');
    }

    fn tensor(&mut self, key: usize, array: &Array) {
        self.global("torch._utils", "_rebuild_tensor_v2");
        self.0.extend(b"((");
        // A reference into the archive: ('storage', type, key, location, number of values).
        self.text("storage");
        self.global("torch", "FloatStorage");
        self.text(&key.to_string());
        self.text("cpu");
        self.integer(array.values.len());
        self.0.extend(b"tQ");
        self.integer(0);
        self.integers(&array.shape);
        self.integers(&strides(&array.shape));
        // requires_grad = False.
        self.0.push(0x89);
        self.global("collections", "OrderedDict");
        self.0.extend(b")RtR");
    }
}

/// Strides of a row-major array: the distance between neighbours along each axis.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut step = 1;
    let mut strides: Vec<usize> = shape
        .iter()
        .rev()
        .map(|size| {
            let stride = step;
            step *= (*size).max(1);
            stride
        })
        .collect();
    strides.reverse();
    strides
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use super::*;

    fn array(shape: &[usize]) -> Array {
        let count = shape.iter().product::<usize>();
        Array { shape: shape.to_vec(), values: (0..count).map(|n| n as f32 - 2.5).collect() }
    }

    #[test]
    fn strides_by_hand() {
        assert_eq!(strides(&[2, 3, 5]), [15, 5, 1]);
        assert_eq!(strides(&[]), [0; 0]);
        assert_eq!(strides(&[0, 3]), [3, 1]);
    }

    #[test]
    fn another_reader_finds_what_was_written() -> Result<(), Box<dyn std::error::Error>> {
        let arrays = BTreeMap::from([
            ("blocks.0.attention.query.weight".to_owned(), array(&[3, 5])),
            ("head.bias".to_owned(), array(&[7])),
            ("one".to_owned(), array(&[])),
            ("three".to_owned(), array(&[2, 3, 2])),
        ]);
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("weights.pt");
        let bytes = write(&arrays)?;
        fs::write(&path, &bytes)?;
        let reader = pytorch_reader::PytorchReader::new(&path)?;
        assert_eq!(reader.len(), arrays.len());
        for (name, wanted) in &arrays {
            let found = reader.get(name).ok_or("missing")?;
            assert_eq!(found.shape(), wanted.shape, "{name}");
            let values: Vec<u8> = wanted.values.iter().flat_map(|value| value.to_le_bytes()).collect();
            assert_eq!(found.read()?, values, "{name}");
            // Stored uncompressed, at a multiple of the alignment.
            let at = bytes.windows(values.len()).position(|window| window == values).ok_or("packed")?;
            assert_eq!(at % usize::from(ALIGNMENT), 0, "{name} at {at}");
        }
        Ok(())
    }
}
