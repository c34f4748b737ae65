//! `--device`: the device that it means, and what a person should know about it.

use crate::error::Error;
use headway_trainer::device::{DeviceSpec, OpenDevice};

use crate::output;

/// Opens the device, and says what comes with it.
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
