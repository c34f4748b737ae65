//! The device of `--device`, with its warning and the wait for its kernels.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::error::Error;
use headway_trainer::device::{self, DeviceSpec, OpenDevice};

use crate::output;

/// Opens the device, and prints the warning that comes with it, if any. On a terminal, a wait for kernels is explained.
///
/// # Errors
/// as [`DeviceSpec::open`]
pub fn open(spec: DeviceSpec) -> Result<OpenDevice, Error> {
    if output::renews() {
        explain_waiting();
    }
    let (device, warning) = spec.open()?;
    if let Some(warning) = warning {
        output::note(format!("warning: {warning}"));
    }
    Ok(device)
}

/// Says how many kernels have been compiled, from the second second on, in a line that renews itself.
fn explain_waiting() {
    const PATIENCE: Duration = Duration::from_secs(2);
    const PAUSE: Duration = Duration::from_millis(200);
    let began = Instant::now();
    let said = Mutex::new(None::<Instant>);
    device::on_compiling(move |compiled, chosen| {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if began.elapsed() > PATIENCE && said.is_none_or(|said| said.elapsed() > PAUSE) {
            *said = Some(Instant::now());
            let chosen =
                if chosen > 0 { format!(", {chosen} times the fastest of several chosen") } else { String::new() };
            output::progress_line(&format!("first steps on this GPU: {compiled} kernels compiled{chosen}"), true);
        }
    });
}
