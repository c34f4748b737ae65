//! SIGINT, SIGTERM and SIGHUP: finish the micro-batch, save, stop. SIGUSR1: save and go on.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crate::error::Error;
use headway_trainer::{Interrupter, provenance::Status};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1},
    iterator::Signals,
};

use crate::{dashboard, output, stop};

/// Makes signals stop training through `interrupter` and request a checkpoint through `save_now`.
///
/// # Errors
/// [`Error::NoThread`](headway_trainer::Error::NoThread) when there is no thread to wait for them.
pub fn listen(interrupter: Interrupter, save_now: Arc<AtomicBool>) -> Result<(), Error> {
    listen_between(interrupter, save_now, "this micro-batch")
}

/// [`listen`] for work that can stop after each of its pieces; `piece` names the one under way.
///
/// # Errors
/// as [`listen`]
pub fn listen_between(interrupter: Interrupter, save_now: Arc<AtomicBool>, piece: &'static str) -> Result<(), Error> {
    let hangup = (!is_ignored(SIGHUP)).then_some(SIGHUP);
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGUSR1].into_iter().chain(hangup)) else {
        output::note("warning: signals cannot be caught here; Ctrl-C will not save");
        return Ok(());
    };
    let wait = move || {
        let mut asked = false;
        for signal in signals.forever() {
            if signal == SIGUSR1 {
                output::note(format!("saving after {piece}, then going on"));
                save_now.store(true, Ordering::SeqCst);
                continue;
            }
            // A closing terminal sends SIGHUP more than once, and the end of a session sends SIGTERM as well.
            if signal != SIGHUP && std::mem::replace(&mut asked, true) {
                dashboard::close();
                std::process::exit(128 + signal);
            }
            if stop::by(signal) {
                interrupter.stop(Some("signal"));
                output::note(format!("finishing {piece}, then saving; Ctrl-C once more stops at once"));
            }
        }
    };
    thread::Builder::new().spawn(wait).map_err(headway_trainer::Error::NoThread)?;
    Ok(())
}

/// Whether a signal was ignored when this process started, as SIGHUP is under nohup. False if the system does not tell.
fn is_ignored(signal: i32) -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return true };
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    ignored >> (signal - 1) & 1 == 1
}

/// Makes a write beyond the file size limit (`ulimit -f`) fail with an error that names the file, instead of a signal.
pub fn outlive_file_limits() {
    // The signal is caught and ignored; registering this cannot fail.
    #[cfg(unix)]
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
}

/// Exit code of a session: 0, or 128 + the number of the signal that ended it.
pub fn exit_code(status: Status) -> ExitCode {
    if status == Status::Interrupted { stop::code().into() } else { ExitCode::SUCCESS }
}
