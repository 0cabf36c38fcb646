//! The errors of a Redis store.

use std::{borrow::Cow, error::Error, io, path::PathBuf};

/// The reason why a Redis store cannot be made, or cannot log in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedisError {
    /// The URL is invalid.
    #[error("invalid Redis URL: write redis://host:6379, or rediss:// for TLS")]
    Url(#[source] Box<dyn Error + Send + Sync>),
    /// The file of authorities contains no certificates, or the URL is not for TLS.
    #[error(
        "TLS cannot be set up: a file of authorities needs a rediss:// URL, and must contain \
         certificates in PEM format"
    )]
    Tls(#[source] Box<dyn Error + Send + Sync>),
    /// The file of authorities contains no certificate.
    #[error(
        "the file {} contains no certificate: a file of authorities has certificates in PEM \
         format, which begin with `-----BEGIN CERTIFICATE-----`",
        file.display()
    )]
    NoCertificate {
        /// The file.
        file: PathBuf,
    },
    /// The server is of a kind that this version cannot use.
    #[error(
        "the server is {what}, which this version cannot use: write the URL of one Redis or Valkey \
         server in standalone mode, and no node of a cluster and no Sentinel"
    )]
    Topology {
        /// What it is: a node of a cluster, or a Sentinel.
        what: Cow<'static, str>,
    },
    /// The prefix is invalid.
    #[error("invalid key prefix `{prefix}`: use 1 to 64 letters, digits, `-`, `_`, `.` or `:`")]
    Prefix {
        /// The prefix.
        prefix: String,
    },
    /// The number of connections is 0.
    #[error("a Redis store needs at least 1 connection")]
    NoConnections,
    /// The store was made outside of a Tokio runtime.
    #[error("a Redis store must be made inside of a Tokio runtime")]
    NoRuntime,
    /// The password file or the file of authorities cannot be read.
    #[error("the file {} cannot be read", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why it cannot be read.
        #[source]
        source: io::Error,
    },
}
