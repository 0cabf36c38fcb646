//! The errors of a Redis store.

use std::{error::Error, io, path::PathBuf, time::Duration};

use crate::StoreError;

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

/// Translates an error of a call to Redis that had `timeout`.
pub(super) fn store_error(error: redis::RedisError, timeout: Duration) -> StoreError {
    if error.is_timeout() {
        StoreError::Timeout { within: timeout }
    } else if error.is_io_error() || error.is_connection_dropped() || error.is_connection_refusal()
    {
        StoreError::unreachable(error)
    } else {
        StoreError::refused(error)
    }
}
