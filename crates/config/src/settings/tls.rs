//! The TLS of a port.

use std::{
    fmt::{self, Debug},
    path::PathBuf,
};

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

impl Debug for ReadFile {
    /// Shows the path alone: the content may be a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Debug::fmt(&self.path, f)
    }
}
