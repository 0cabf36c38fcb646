//! The TLS of a port.

use std::{
    fmt::{self, Debug},
    io,
    path::{Path, PathBuf},
};

use crate::files::read_file;

/// The TLS of a port. The content of the files is not verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificate, and those between it and its authority.
    pub certificate: ReadFile,
    /// The certificate's key.
    pub key: ReadFile,
    /// The authorities of clients' certificates; `None` if clients are not asked for one.
    pub client_ca: Option<ReadFile>,
    /// Whether requests other than probes need a client certificate.
    pub requires_client_certificate: bool,
}

/// A file that was read together with the configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct ReadFile {
    /// Its path.
    pub path: PathBuf,
    /// Its content; nothing where files with secrets are left alone.
    pub content: Vec<u8>,
}

impl ReadFile {
    /// Creates a file from its path and what was in it.
    pub fn new(path: impl Into<PathBuf>, content: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), content: content.into() }
    }

    /// Reads the file at `path`, as a configuration does.
    ///
    /// # Errors
    /// When there is no such file, it is no regular one, or it cannot be read or is too large.
    pub fn read(path: &Path) -> io::Result<Self> {
        Ok(Self::new(path, read_file(path)?))
    }
}

impl Debug for ReadFile {
    /// Shows the path alone: the content may be a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Debug::fmt(&self.path, f)
    }
}
