//! The errors of a Redis store.

use std::{
    borrow::Cow,
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
};

use super::address_error::RedisAddressError;

/// The reason why a Redis store cannot be made, or cannot log in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedisError {
    /// The URL is invalid.
    #[error("invalid Redis URL")]
    Url(#[from] RedisAddressError),
    /// A certificate or a key cannot be used.
    #[error("TLS cannot be set up with these certificates and keys")]
    Tls(#[source] Box<dyn Error + Send + Sync>),
    /// The file of certificates or of a key contains none.
    #[error("the file {} contains no {content}", file.display())]
    WrongPem {
        /// The file.
        file: PathBuf,
        /// What it should contain.
        content: PemContent,
    },
    /// A certificate without its key, or the reverse.
    #[error("a client certificate needs both its file and the file of its key")]
    HalfOfClientCertificate,
    /// Files of certificates, and a URL without TLS.
    #[error(
        "only TLS has certificates: write the URL with rediss://, rediss+sentinel:// or \
         rediss+cluster://, or remove the files of certificates and keys"
    )]
    CertificateWithoutTls,
    /// A name that no certificate can have.
    #[error("`{name}` cannot be the name of a certificate: write a host name or an IP address")]
    TlsName {
        /// The name.
        name: String,
    },
    /// The server is of another kind than the URL says.
    #[error("the server is {what}")]
    Topology {
        /// What it is, and which URL would be right.
        what: Cow<'static, str>,
    },
    /// The user may not run a command that a script calls, which the server does not name.
    #[error("this user may not run {}, which a script calls: allow it", named(*command))]
    Forbidden {
        /// The command, if the script is one of the store's own.
        command: Option<&'static str>,
        /// What the server says.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The URL is for TLS, and the server does not speak it.
    #[error(
        "the server does not speak TLS on this port: write the URL with `redis` instead of \
         `rediss`, or the port on which it speaks TLS (`tls-port`)"
    )]
    NoTls(#[source] Box<dyn Error + Send + Sync>),
    /// The URL is not for TLS, and the server speaks nothing else.
    #[error(
        "the server speaks TLS on this port, or no Redis protocol: write the URL with `rediss` \
         instead of `redis` for TLS"
    )]
    OnlyTls(#[source] Box<dyn Error + Send + Sync>),
    /// The URL is not for TLS, and the server closed a new connection without a reply.
    #[error(
        "the server closed the connection before its first reply: if it expects TLS, write the URL \
         with `rediss` instead of `redis`"
    )]
    ClosedAtOnce(#[source] Box<dyn Error + Send + Sync>),
    /// The URL is for TLS, and no connection was ready in time.
    #[error(
        "the server did not set up TLS in time: if it does not speak TLS on this port, write the \
         URL with `redis` instead of `rediss`"
    )]
    NoHandshake(#[source] Box<dyn Error + Send + Sync>),
    /// No Sentinel knows a primary.
    #[error("no Sentinel names the primary of the service `{service}`: {reasons}")]
    NoPrimary {
        /// The service.
        service: String,
        /// What each Sentinel said.
        reasons: String,
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
    /// The server accepts no writes.
    #[error(
        "the server is a replica, which accepts no writes: name its primary, or write the URL with \
         `redis+sentinel://` or `redis+cluster://`, which find it"
    )]
    ReadOnly(#[source] Box<dyn Error + Send + Sync>),
    /// A file with a password, certificates or a key cannot be read.
    #[error("the file {} cannot be read", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why it cannot be read.
        #[source]
        source: io::Error,
    },
}

/// What a file in PEM format should contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PemContent {
    /// Certificates.
    Certificate,
    /// A private key.
    PrivateKey,
}

impl PemContent {
    /// Returns the lines with which such a part of a file can begin.
    pub(super) const fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Certificate => &["-----BEGIN CERTIFICATE-----"],
            Self::PrivateKey => &[
                "-----BEGIN PRIVATE KEY-----",
                "-----BEGIN RSA PRIVATE KEY-----",
                "-----BEGIN EC PRIVATE KEY-----",
            ],
        }
    }
}

impl fmt::Display for PemContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => {
                "certificate in PEM format, which begins with `-----BEGIN CERTIFICATE-----`"
            }
            Self::PrivateKey => {
                "private key in PEM format without a passphrase, which begins with \
                 `-----BEGIN PRIVATE KEY-----`"
            }
        })
    }
}

fn named(command: Option<&str>) -> Cow<'static, str> {
    match command {
        Some(command) => format!("`{command}`").into(),
        None => "the command that the server's `ACL LOG` names".into(),
    }
}

impl RedisError {
    pub(super) fn file(file: &Path, source: io::Error) -> Self {
        Self::File { file: file.to_owned(), source }
    }
}
