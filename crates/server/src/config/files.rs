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
    seen: RefCell<Contents>,
}

impl Files {
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
