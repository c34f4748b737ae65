//! What a config found in its files when they were first read, and what they must hold ever after.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{error::TaskError, files::Files};

/// What a config records of the content of its files: their digests, and what a model needs to know.
pub(crate) trait Found: PartialEq {
    /// Sha256 of each file in the order in which they are read, joined by `+`.
    fn sha256(&self) -> &str;
}

/// A file that was read.
#[derive(Clone, Debug)]
pub(crate) struct ReadFile {
    /// Key that names it.
    pub key: &'static str,
    pub path: PathBuf,
    pub sha256: String,
}

impl ReadFile {
    /// Reads a file that a key names: its bytes, unpacked, and how it is known again.
    ///
    /// # Errors
    /// [`TaskError::Key`] with the path.
    pub fn open(key: &'static str, files: &Files, named: &Path) -> Result<(Vec<u8>, Self), TaskError> {
        let contents = files.read(named).map_err(|error| wrong(key, files, named, error))?;
        Ok((contents.bytes, Self { key, path: files.path(named), sha256: contents.sha256 }))
    }
}

/// One digest for some files: that of the first, followed by the others.
pub(crate) fn joined(files: &[ReadFile]) -> String {
    files.iter().map(|file| file.sha256.as_str()).collect::<Vec<_>>().join("+")
}

/// What is wrong with a file that a key names.
pub(crate) fn wrong(key: &'static str, files: &Files, named: &Path, problem: impl Display) -> TaskError {
    TaskError::Key { key, problem: format!("{}: {problem}", files.path(named).display()) }
}

/// The error of a key, `found` or below it, with a value that no file gives.
pub(crate) fn by_hand(key: &'static str) -> TaskError {
    let problem = "is not what the files hold; leave it out, it is never to be written by hand".to_owned();
    TaskError::Key { key, problem }
}

/// What was read of files.
pub(crate) struct Read<T, F> {
    /// What examples are made of.
    pub content: T,
    /// What the config records of it.
    pub found: F,
    /// The files, in the order of their digests.
    pub files: Vec<ReadFile>,
}

/// What was read of the files of a config, shared by all copies of it. It is not compared, since its digest is.
#[derive(Debug)]
pub(crate) struct Held<T>(Option<Arc<T>>);

impl<T> Held<T> {
    /// Holds something.
    pub fn of(content: T) -> Self {
        Self(Some(Arc::new(content)))
    }

    /// What is held.
    pub fn get(&self) -> Option<&T> {
        self.0.as_deref()
    }

    /// What is held, or what `read` gives, which must be what was found `before`.
    ///
    /// # Errors
    /// [`TaskError::Changed`] for a file that changed; [`TaskError::Key`] if something else is recorded of the same files;
    /// those of `read`.
    pub fn or_read<F: Found>(
        &self,
        before: Option<&F>,
        read: impl FnOnce() -> Result<Read<T, F>, TaskError>,
    ) -> Result<Arc<T>, TaskError> {
        if let Some(content) = &self.0 {
            return Ok(content.clone());
        }
        let Read { content, found, files } = read()?;
        if let Some(before) = before {
            let mut digests = before.sha256().split('+').zip(files);
            if let Some((then, ReadFile { key, path, sha256: now })) = digests.find(|(then, file)| *then != file.sha256)
            {
                return Err(TaskError::Changed { key, path, then: then.to_owned(), now });
            }
            if *before != found {
                return Err(by_hand("found"));
            }
        }
        Ok(Arc::new(content))
    }
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> PartialEq for Held<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
