//! Reads files, and remembers what was in them, so that a change can be told.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// What was in each file that a configuration is made of; `None` for one that could not be read.
pub(crate) type Contents = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// Reads files, and remembers what was in them.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Whether files with secrets belong to another machine, so that nothing can be said about them here.
    without_secrets: bool,
    seen: RefCell<Contents>,
}

impl Files {
    /// Reads no files with secrets.
    pub(crate) fn without_secrets() -> Self {
        Self { without_secrets: true, ..Self::default() }
    }

    /// What is in the file with a secret at `path`, as text; `None` when secrets are not to be read.
    ///
    /// # Errors
    /// As [`Files::read_text`].
    pub(crate) fn read_secret(&self, path: &Path) -> io::Result<Option<String>> {
        if self.without_secrets { Ok(None) } else { self.read_text(path).map(Some) }
    }

    /// Whether the file with a secret at `path` could be read by whoever needs it; it may change without any consequence here.
    ///
    /// # Errors
    /// When it could not.
    pub(crate) fn probe_secret(&self, path: &Path) -> io::Result<()> {
        if self.without_secrets { Ok(()) } else { fs::read(path).map(drop) }
    }

    /// What is in the file at `path`, the same for everyone who asks.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if let Some(Some(content)) = self.seen.borrow().get(path) {
            return Ok(content.clone());
        }
        let content = fs::read(path);
        self.seen.borrow_mut().insert(path.to_owned(), content.as_ref().ok().cloned());
        content
    }

    /// What is in the file at `path`, as text.
    ///
    /// # Errors
    /// When the file cannot be read, or is not UTF-8.
    pub(crate) fn read_text(&self, path: &Path) -> io::Result<String> {
        String::from_utf8(self.read(path)?).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
    }

    /// Everything that was read.
    pub(crate) fn into_contents(self) -> Contents {
        self.seen.into_inner()
    }
}

/// What is in the same files now.
pub(crate) fn read_again(contents: &Contents) -> Contents {
    contents.keys().map(|path| (path.clone(), fs::read(path).ok())).collect()
}
