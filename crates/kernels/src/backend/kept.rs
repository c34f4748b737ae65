//! The cache of choices and compiled kernels, and the counts of those that it did not have.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::{
        Once, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use cubecl::{
    config::{CubeClRuntimeConfig, RuntimeConfig, cache::CacheConfig, compilation::CompilationLogLevel},
    environment,
};

/// Whether the cache is ours to place; whoever configures CubeCL has placed it.
static OURS: OnceLock<bool> = OnceLock::new();

/// Configures CubeCL, once: what it compiles and chooses is kept in the user's cache directory and reported. A `cubecl.toml`
/// or `burn.toml` of the user is left as it is.
pub(super) fn choose() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        let here = env::current_dir().unwrap_or_default();
        let config = if is_configured(&here) {
            CubeClRuntimeConfig::from_current_dir()
        } else {
            defaults(folder(|name| env::var_os(name).map(PathBuf::from)))
        };
        // Someone who configured CubeCL before, in the same process, keeps what they configured.
        let set = CubeClRuntimeConfig::try_set(config.override_from_env());
        let _ = OURS.set(set && !is_configured(&here) && env::var_os("CUBECL_ENVIRONMENT").is_none());
    });
}

fn defaults(folder: PathBuf) -> CubeClRuntimeConfig {
    let mut config = CubeClRuntimeConfig::default();
    config.environment.path = CacheConfig::Directory(folder);
    #[cfg(feature = "autotune")]
    {
        config.compilation.cache = true;
    }
    // Names alone, to count them.
    config.compilation.logger.level = CompilationLogLevel::Basic;
    config.compilation.logger.log.get_or_insert_default();
    config.autotune.logger.log.get_or_insert_default();
    config
}

/// Whether CubeCL finds a configuration in a folder or above it.
fn is_configured(folder: &Path) -> bool {
    let sections = CubeClRuntimeConfig::section_file_names().iter();
    let has_section = |file: &Path, section: &str| {
        fs::read_to_string(file)
            .is_ok_and(|text| text.lines().any(|line| line.trim().starts_with(&format!("[{section}"))))
    };
    folder.ancestors().any(|folder| {
        CubeClRuntimeConfig::file_names().iter().any(|name| folder.join(name).exists())
            || sections.clone().any(|(name, section)| has_section(&folder.join(name), section))
    })
}

/// `headway/kernels` in the user's cache directory, by the variables of the environment.
fn folder(variable: impl Fn(&str) -> Option<PathBuf>) -> PathBuf {
    // The base directory specification has it that a relative path counts as none.
    let named = |name: &str| variable(name).filter(|path| path.is_absolute());
    let caches = named("XDG_CACHE_HOME").or_else(|| named("HOME").map(|home| home.join(".cache")));
    caches.unwrap_or_else(env::temp_dir).join("headway").join("kernels")
}

/// Keeps what follows with what was compiled and chosen for GPUs of a name, since neither is fit for another one.
pub(super) fn by(name: &str) {
    if OURS.get() == Some(&true) && environment::active().as_ref() != named(name) {
        environment::activate(named(name));
    }
}

/// The database for GPUs of a name.
#[cfg(feature = "autotune")]
pub(super) fn file_of(name: &str) -> PathBuf {
    if OURS.get() == Some(&true) {
        environment::root().join(named(name)).with_added_extension(environment::EXTENSION)
    } else {
        environment::path()
    }
}

/// A name with nothing in it that a file system or CubeCL would not take.
fn named(name: &str) -> String {
    name.split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}

/// Who is told.
static REPORT: OnceLock<Box<dyn Fn(usize, usize) + Send + Sync>> = OnceLock::new();
static COMPILED: AtomicUsize = AtomicUsize::new(0);
static CHOSEN: AtomicUsize = AtomicUsize::new(0);

/// What CubeCL logs, counted.
struct Counter;

impl log::Log for Counter {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        counter(metadata.target()).is_some()
    }

    fn log(&self, record: &log::Record<'_>) {
        let Some(counter) = counter(record.target()) else { return };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Some(report) = REPORT.get() {
            report(COMPILED.load(Ordering::Relaxed), CHOSEN.load(Ordering::Relaxed));
        }
    }

    fn flush(&self) {}
}

fn counter(target: &str) -> Option<&'static AtomicUsize> {
    match target {
        "cubecl::compilation" => Some(&COMPILED),
        "cubecl::autotune" => Some(&CHOSEN),
        _ => None,
    }
}

pub(super) fn report_to(report: impl Fn(usize, usize) + Send + Sync + 'static) {
    // Whoever has a logger of their own sees the same lines there.
    if REPORT.set(Box::new(report)).is_ok() && log::set_logger(&Counter).is_ok() {
        log::set_max_level(log::LevelFilter::Info);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use super::*;

    #[test]
    fn kernels_are_kept_in_the_users_cache() {
        let place = |set: &[(&str, &str)]| {
            folder(|name| set.iter().find(|(other, _)| *other == name).map(|(_, value)| PathBuf::from(value)))
        };
        let home = ("HOME", "/home/ada");
        assert_eq!(place(&[("XDG_CACHE_HOME", "/var/cache/ada"), home]), Path::new("/var/cache/ada/headway/kernels"));
        assert_eq!(place(&[home]), Path::new("/home/ada/.cache/headway/kernels"));
        assert_eq!(place(&[("XDG_CACHE_HOME", ""), home]), Path::new("/home/ada/.cache/headway/kernels"));
        assert_eq!(place(&[("XDG_CACHE_HOME", "caches"), home]), Path::new("/home/ada/.cache/headway/kernels"));
        assert!(place(&[]).ends_with("headway/kernels") && place(&[]).is_absolute());
        assert_eq!(named("llvmpipe (LLVM 15.0.6, 256 bits)"), "llvmpipe-LLVM-15-0-6-256-bits");
        assert_eq!(named("../NVIDIA/H100"), "NVIDIA-H100");
    }

    #[test]
    fn a_configuration_of_the_users_is_seen() {
        let lab = env::temp_dir().join(format!("headway-kept-{}", std::process::id()));
        let below = lab.join("deeper");
        fs::create_dir_all(&below).unwrap();
        assert!(!is_configured(&below));
        fs::write(lab.join("burn.toml"), "[fusion]\n").unwrap();
        assert!(!is_configured(&below), "it says nothing of CubeCL");
        fs::write(lab.join("burn.toml"), "[cubecl.autotune]\n").unwrap();
        assert!(is_configured(&below));
        fs::remove_file(lab.join("burn.toml")).unwrap();
        fs::write(below.join("cubecl.toml"), "").unwrap();
        assert!(is_configured(&below) && !is_configured(&lab));
        fs::remove_dir_all(lab).unwrap();
    }
}
