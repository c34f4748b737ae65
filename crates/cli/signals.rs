//! SIGINT and SIGTERM: finish the step, save, stop. A second one stops at once.

use std::{
    process::ExitCode,
    sync::atomic::{AtomicI32, Ordering},
    thread,
};

use headway_trainer::{Interrupter, Status};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::output;

static RECEIVED: AtomicI32 = AtomicI32::new(0);

/// Lets signals stop training through `interrupter`.
pub fn stop_on_signals(interrupter: Interrupter) {
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else {
        output::note("warning: signals cannot be caught here; Ctrl-C will not save");
        return;
    };
    thread::spawn(move || {
        for signal in signals.forever() {
            if RECEIVED.swap(signal, Ordering::SeqCst) != 0 {
                std::process::exit(128 + signal);
            }
            output::note("\nfinishing this step, then saving; once more stops at once");
            interrupter.stop(Some("signal"));
        }
    });
}

/// Exit code of a session: 0, or 128 + the signal that ended it.
pub fn exit_code(status: Status) -> ExitCode {
    if status == Status::Interrupted { stopped() } else { ExitCode::SUCCESS }
}

/// 128 + the signal that was received; 0 when there was none.
pub fn stopped() -> ExitCode {
    match RECEIVED.load(Ordering::SeqCst) {
        0 => ExitCode::SUCCESS,
        signal => ExitCode::from(u8::try_from(128 + signal).unwrap_or(1)),
    }
}
