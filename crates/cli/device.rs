//! The device of `--device`, with its warning.

use crate::error::Error;
use headway_trainer::device::{DeviceSpec, OpenDevice};

use crate::output;

/// Opens the device, and prints the warning that comes with it, if any.
///
/// # Errors
/// as [`DeviceSpec::open`]
pub fn open(spec: DeviceSpec) -> Result<OpenDevice, Error> {
    let (device, warning) = spec.open()?;
    if let Some(warning) = warning {
        output::note(format!("warning: {warning}"));
    }
    Ok(device)
}
