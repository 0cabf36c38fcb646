//! Reads files, and keeps what was in them, so that a change is noticed.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use glob::{MatchOptions, Pattern};

use crate::document::MAX_BYTES;

/// The content of all files of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// The content of each file, or why it could not be read.
    files: BTreeMap<PathBuf, Result<Vec<u8>, String>>,
    /// The files that fit each pattern; `None` if folders could not be listed.
    lists: BTreeMap<(PathBuf, String), Option<Vec<PathBuf>>>,
}

impl Contents {
    /// Whether the file at `path` was read.
    pub(crate) fn holds(&self, path: &Path) -> bool {
        self.files.get(path).is_some_and(Result::is_ok)
    }

    /// The names of the files.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(PathBuf::as_path)
    }
}

/// Reads files, and keeps what was in them.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Whether files with secrets are left alone, since they are on another machine.
    without_secrets: bool,
    seen: RefCell<Contents>,
}

impl Files {
    /// Leaves files with secrets alone.
    pub(crate) fn without_secrets() -> Self {
        Self { without_secrets: true, ..Self::default() }
    }

    /// Returns the text of the file with a secret at `path`; `None` where secrets are left alone.
    ///
    /// # Errors
    /// As [`Files::read_text`].
    pub(crate) fn read_secret(&self, path: &Path) -> io::Result<Option<String>> {
        if self.without_secrets { Ok(None) } else { self.read_text(path).map(Some) }
    }

    /// Returns the content of the file with a secret at `path`; `None` where secrets are left
    /// alone.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn read_secret_bytes(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        if self.without_secrets { Ok(None) } else { self.read(path).map(Some) }
    }

    /// Checks that the file with a secret at `path` can be read. It is read again where it is
    /// used, so a change of it is not a change of the configuration.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn probe_secret(&self, path: &Path) -> io::Result<()> {
        if self.without_secrets { Ok(()) } else { read_file(path).map(drop) }
    }

    /// Returns the content of the file at `path`, the same at every call.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if let Some(Ok(content)) = self.seen.borrow().files.get(path) {
            return Ok(content.clone());
        }
        let content = read_file(path);
        self.seen.borrow_mut().files.insert(path.to_owned(), kept(&content));
        content
    }

    /// Returns the text of the file at `path`.
    ///
    /// # Errors
    /// When the file cannot be read, or is not UTF-8.
    pub(crate) fn read_text(&self, path: &Path) -> io::Result<String> {
        String::from_utf8(self.read(path)?).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8: save it as UTF-8")
        })
    }

    /// Returns the files whose names fit `pattern`, in order. In it, `*` is any part of a name; a
    /// relative pattern starts at `base`. Hidden files do not fit.
    ///
    /// # Errors
    /// When `pattern` is not well formed, or a folder cannot be listed.
    pub(crate) fn list(&self, base: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
        let names = list(base, pattern);
        self.seen
            .borrow_mut()
            .lists
            .insert((base.to_owned(), pattern.to_owned()), names.as_ref().ok().cloned());
        names
    }

    /// Returns everything that was read.
    pub(crate) fn into_contents(self) -> Contents {
        self.seen.into_inner()
    }
}

/// Reads the same files and patterns again.
pub(crate) fn read_again(contents: &Contents) -> Contents {
    let files = contents.files.keys().map(|path| (path.clone(), kept(&read_file(path)))).collect();
    let lists = contents
        .lists
        .keys()
        .map(|(base, pattern)| ((base.clone(), pattern.clone()), list(base, pattern).ok()))
        .collect();
    Contents { files, lists }
}

/// What is kept of a read, so that another error of the same file is noticed too.
fn kept(content: &io::Result<Vec<u8>>) -> Result<Vec<u8>, String> {
    content.as_ref().map_err(ToString::to_string).cloned()
}

/// Reads a file of at most [`MAX_BYTES`]. Whatever else has a name is refused: opening a FIFO
/// would wait for a writer, for ever.
pub(crate) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file: name a file"));
    }
    let mut content = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_BYTES {
        let message = format!("it is larger than {} MiB: split or shorten it", MAX_BYTES >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(content)
}

fn list(base: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
    let options = MatchOptions {
        require_literal_separator: true,
        require_literal_leading_dot: true,
        ..MatchOptions::default()
    };
    let base =
        base.to_str().ok_or_else(|| io::Error::other("the name of the folder is not UTF-8"))?;
    // A pattern that starts at the root stays as it is.
    let whole = Path::new(&Pattern::escape(base)).join(pattern);
    let whole = whole.to_str().expect("two UTF-8 texts joined are UTF-8");
    let found = glob::glob_with(whole, options)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let mut names = found.map(|name| name.map_err(Into::into)).collect::<io::Result<Vec<_>>>()?;
    names.retain(|name| !name.is_dir());
    names.sort();
    Ok(names)
}
