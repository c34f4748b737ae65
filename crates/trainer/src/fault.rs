//! Crash points, for tests that really kill a run.
//!
//! `HEADWAY_FAULT=step:7` kills the process with SIGKILL after optimiser step 7; `file:13` kills it at its 13th file
//! operation, half-way through if that writes or deletes; `full:13` makes that operation fail as on a full disk.
//! Failures of reading are in [`headway_exchange::disk`]. Without the variable, none of this has a cost.

use std::{
    io,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

enum Fault {
    KillAfterStep(u64),
    KillAtFile(u64),
    DiskFullAtFile(u64),
}

fn planned() -> Option<&'static Fault> {
    static PLAN: OnceLock<Option<Fault>> = OnceLock::new();
    PLAN.get_or_init(|| {
        let plan = std::env::var("HEADWAY_FAULT").ok()?;
        let (kind, number) = plan.split_once(':')?;
        let number = number.parse().ok()?;
        match kind {
            "step" => Some(Fault::KillAfterStep(number)),
            "file" => Some(Fault::KillAtFile(number)),
            "full" => Some(Fault::DiskFullAtFile(number)),
            _ => None,
        }
    })
    .as_ref()
}

fn kill() {
    // This cannot fail for a signal that a process may send to itself.
    let _ = signal_hook::low_level::raise(signal_hook::consts::SIGKILL);
}

/// Called after each optimiser step.
pub(crate) fn after_step(step: u64) {
    if let Some(Fault::KillAfterStep(at)) = planned()
        && *at == step
    {
        kill();
    }
}

/// Called before each file operation; `half` performs half of it, so that a crash leaves it incomplete.
///
/// # Errors
/// The simulated full disk.
pub(crate) fn before_file(half: impl FnOnce()) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let Some(fault) = planned() else { return Ok(()) };
    let number = COUNT.fetch_add(1, Ordering::SeqCst) + 1;
    match fault {
        Fault::KillAtFile(at) if *at == number => {
            half();
            kill();
        }
        Fault::DiskFullAtFile(at) if number >= *at => {
            half();
            return Err(io::ErrorKind::StorageFull.into());
        }
        _ => {}
    }
    Ok(())
}
