//! Reads files, and remembers what was in them, so that a change can be told.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use glob::{MatchOptions, Pattern};

/// What a configuration is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// What was in each file; `None` for one that could not be read.
    files: BTreeMap<PathBuf, Option<Vec<u8>>>,
    /// Which files each pattern named; `None` for one that could not be followed.
    lists: BTreeMap<(PathBuf, String), Option<Vec<PathBuf>>>,
}

impl Contents {
    /// Whether the file at `path` was read.
    pub(crate) fn holds(&self, path: &Path) -> bool {
        self.files.get(path).is_some_and(Option::is_some)
    }

    /// Which files were asked for.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(PathBuf::as_path)
    }
}

/// Reads files, and remembers what was in them.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Whether files with secrets belong to another machine, so that nothing can be said about them
    /// here.
    without_secrets: bool,
    seen: RefCell<Contents>,
}

impl Files {
    /// Reads no files with secrets.
    pub(crate) fn without_secrets() -> Self {
        Self { without_secrets: true, ..Self::default() }
    }

    /// What is in the file with a secret at `path`, as text; `None` when secrets are not to be
    /// read.
    ///
    /// # Errors
    /// As [`Files::read_text`].
    pub(crate) fn read_secret(&self, path: &Path) -> io::Result<Option<String>> {
        if self.without_secrets { Ok(None) } else { self.read_text(path).map(Some) }
    }

    /// Whether the file with a secret at `path` could be read by whoever needs it; it may change
    /// without any consequence here.
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
        if let Some(Some(content)) = self.seen.borrow().files.get(path) {
            return Ok(content.clone());
        }
        let content = fs::read(path);
        self.seen.borrow_mut().files.insert(path.to_owned(), content.as_ref().ok().cloned());
        content
    }

    /// What is in the file at `path`, as text.
    ///
    /// # Errors
    /// When the file cannot be read, or is not UTF-8.
    pub(crate) fn read_text(&self, path: &Path) -> io::Result<String> {
        String::from_utf8(self.read(path)?)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
    }

    /// The files whose names fit `pattern`, in which `*` stands for any part of a name, in order; a
    /// relative one starts at `base`. Hidden files are not among them.
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

    /// Everything that was read.
    pub(crate) fn into_contents(self) -> Contents {
        self.seen.into_inner()
    }
}

/// What is in the same files now, and which files the same patterns name.
pub(crate) fn read_again(contents: &Contents) -> Contents {
    let files = contents.files.keys().map(|path| (path.clone(), fs::read(path).ok())).collect();
    let lists = contents
        .lists
        .keys()
        .map(|(base, pattern)| ((base.clone(), pattern.clone()), list(base, pattern).ok()))
        .collect();
    Contents { files, lists }
}

fn list(base: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
    let options = MatchOptions {
        require_literal_separator: true,
        require_literal_leading_dot: true,
        ..MatchOptions::default()
    };
    let base =
        base.to_str().ok_or_else(|| io::Error::other("the folder it starts from is not UTF-8"))?;
    // A pattern that starts at the root stays as it is.
    let whole = Path::new(&Pattern::escape(base)).join(pattern);
    let whole = whole.to_str().expect("two texts joined are text");
    let found = glob::glob_with(whole, options)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let mut names = found.map(|name| name.map_err(Into::into)).collect::<io::Result<Vec<_>>>()?;
    names.retain(|name| !name.is_dir());
    names.sort();
    Ok(names)
}
