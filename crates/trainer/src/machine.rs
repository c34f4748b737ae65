//! The machine that this process runs on: its name, its memory, its threads.

use std::{fs, num::NonZero, sync::OnceLock, thread};

/// Memory of this machine in bytes, where the system tells.
pub(crate) fn memory() -> Option<f64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kibibytes: f64 =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

/// Threads that rayon, and with it the CPU backend, uses.
pub(crate) fn threads() -> usize {
    let asked = std::env::var("RAYON_NUM_THREADS").ok().and_then(|text| text.parse().ok()).filter(|n| *n > 0);
    asked.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get))
}

/// This machine, in letters that a file name may have.
pub(crate) fn host() -> &'static str {
    static HOST: OnceLock<String> = OnceLock::new();
    HOST.get_or_init(|| {
        let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        name.chars().filter(char::is_ascii_alphanumeric).take(40).collect()
    })
}
