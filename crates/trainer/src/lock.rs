//! Locks on folders, each of which only one process can hold.

use std::{
    fs::{self, File},
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use headway_exchange::disk::open;

use crate::{error::Error, presence};

/// A lock on a folder; other processes cannot take it while this value lives.
#[derive(Debug)]
pub struct FolderLock {
    /// The file, kept open for its lock.
    _lock: File,
}

impl FolderLock {
    /// Name of the locked file.
    pub const LOCK: &str = ".lock";

    /// # Errors
    /// [`Error::InUse`] when another process holds it; [`Error::Io`]
    pub fn lock(root: &Path) -> Result<Self, Error> {
        // A process that checks whether the folder is locked holds the lock for a moment.
        Self::wait(root, Duration::from_secs(1))
    }

    /// Whether some process holds the lock at this moment.
    ///
    /// # Errors
    /// [`Error::Io`] if the lock cannot be examined.
    pub(crate) fn is_held(root: &Path) -> Result<bool, Error> {
        let path = root.join(Self::LOCK);
        // Opening a pipe would block.
        if !presence::is_file(&path)? {
            return Ok(false);
        }
        let file = open(&path).map_err(Error::unread(&path))?;
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(fs::TryLockError::WouldBlock) => Ok(true),
            // On a file system without locks, nobody holds one.
            Err(fs::TryLockError::Error(error)) if is_lockless(&error) => Ok(false),
            Err(fs::TryLockError::Error(error)) => Err(Error::unread(&path)(error)),
        }
    }

    /// [`FolderLock::lock`], waiting up to `patience` for another process to release it.
    ///
    /// # Errors
    /// as [`FolderLock::lock`]
    pub(crate) fn wait(root: &Path, patience: Duration) -> Result<Self, Error> {
        let path = root.join(Self::LOCK);
        if presence::kind(&path)?.is_some_and(|kind| !kind.is_file()) {
            return Err(Error::occupied(&path, "is no file", "delete it"));
        }
        let file = File::create(&path).map_err(Error::io("cannot write", &path))?;
        let deadline = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _lock: file }),
                Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(20));
                }
                Err(fs::TryLockError::WouldBlock) => {
                    return Err(Error::InUse(root.to_owned()));
                }
                Err(fs::TryLockError::Error(error)) if is_lockless(&error) => {
                    let problem = format!(
                        "{error}: this file system keeps no locks, which keep two processes out of one folder; choose a folder \
                         on a local disk with --out, or have it mounted with locks (Lustre: `-o flock`; NFS: without `nolock`)"
                    );
                    return Err(Error::io("cannot lock", path)(io::Error::new(error.kind(), problem)));
                }
                Err(fs::TryLockError::Error(error)) => return Err(Error::io("cannot lock", path)(error)),
            }
        }
    }
}

/// Whether the system does not support locks: ENOTSUP, ENOSYS, ENOLCK.
fn is_lockless(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported || matches!(error.raw_os_error(), Some(37 | 77 | 95))
}
