//! Safetensors files, with every type of number that can be converted to f32.

use safetensors::{Dtype, SafeTensors};

use super::{Budget, MOST_AXES};
use crate::{
    Arrays, Error,
    numbers::{Numbers, Rounded},
};

/// Bytes that one value of the header takes while it is read, in lists that double their capacity.
const VALUE: u64 = 200;

pub(super) fn read(bytes: &[u8], budget: Budget) -> Result<(Arrays, Vec<Rounded>), Error> {
    // The header is JSON, in which a value may take only a byte or two.
    let length = bytes.first_chunk::<8>().map_or(0, |length| u64::from_le_bytes(*length));
    let end = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(8).min(bytes.len());
    let header = &bytes[8.min(end)..end];
    let values = header.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count() as u64;
    let parsing = values * VALUE + 4 * header.len() as u64;
    budget.check(parsing + bytes.len() as u64)?;
    let file = SafeTensors::deserialize(bytes)
        .map_err(|error| Error::file(format!("is not a whole safetensors file: {error}")))?;
    // The smallest numbers are single bytes, each of which becomes four.
    budget.check(parsing + 5 * bytes.len() as u64)?;
    let (mut tensors, mut all_rounded) = (Arrays::new(), Vec::new());
    for (name, view) in file.iter() {
        let numbers = numbers(view.dtype())
            .ok_or_else(|| Error::file(format!("`{name}` holds {:?}, which weights cannot have", view.dtype())))?;
        if view.shape().len() > MOST_AXES {
            return Err(Error::file(format!("`{name}` has {} axes; weights have up to four", view.shape().len())));
        }
        let (array, rounded) = numbers.array(name, view.shape(), view.data());
        tensors.insert(name.to_owned(), array);
        all_rounded.extend(rounded);
    }
    Ok((tensors, all_rounded))
}

fn numbers(dtype: Dtype) -> Option<Numbers> {
    Some(match dtype {
        Dtype::F64 => Numbers::F64,
        Dtype::F32 => Numbers::F32,
        Dtype::F16 => Numbers::F16,
        Dtype::BF16 => Numbers::Bf16,
        Dtype::I64 => Numbers::I64,
        Dtype::I32 => Numbers::I32,
        Dtype::I16 => Numbers::I16,
        Dtype::I8 => Numbers::I8,
        Dtype::U64 => Numbers::U64,
        Dtype::U32 => Numbers::U32,
        Dtype::U16 => Numbers::U16,
        Dtype::U8 => Numbers::U8,
        Dtype::BOOL => Numbers::Bool,
        _ => return None,
    })
}
