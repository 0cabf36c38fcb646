//! Why a gateway cannot be opened, and why a request gets no response.

use std::{path::PathBuf, time::Duration};

use sluice_http::{Problem, ProblemKind};
use sluice_telemetry::UpstreamFailure;

/// Why a connection to an upstream could not be made.
pub(crate) type ConnectError = Box<dyn std::error::Error + Send + Sync>;

/// Why a gateway cannot be made of its settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenGatewayError {
    /// The file with certificates is none.
    #[error("the certificates in {} cannot be read", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: rustls::pki_types::pem::Error,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// Nobody vouches for any server.
    #[error(
        "no certificate authority is known: install the system's, or name a file with yours in gateway.ca_file"
    )]
    NoAuthority,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    #[error("no upstream is well")]
    NoHealthyUpstream,
    #[error("the upstream cannot be connected to")]
    NotConnected(#[source] ConnectError),
    #[error("the connection to the upstream broke before it answered")]
    ConnectionBroke(#[source] hyper::Error),
    #[error("the upstream changed the protocol, which nobody had asked it to")]
    UnrequestedUpgrade,
    #[error("the upstream did not answer within {0:?}")]
    TimedOut(Duration),
    #[error("the rest of the body did not arrive within {0:?}")]
    ClientTimedOut(Duration),
    #[error("the body breaks off")]
    ClientAborted,
}

impl ForwardError {
    /// What it is counted as for the upstream; `None` when that is not to blame, or was told
    /// already that it answered.
    pub(crate) const fn of_upstream(&self) -> Option<UpstreamFailure> {
        match self {
            Self::NotConnected(_) => Some(UpstreamFailure::NotConnected),
            Self::ConnectionBroke(_) => Some(UpstreamFailure::Broken),
            Self::TimedOut(_) => Some(UpstreamFailure::TimedOut),
            Self::NoHealthyUpstream
            | Self::UnrequestedUpgrade
            | Self::ClientTimedOut(_)
            | Self::ClientAborted => None,
        }
    }
}

impl From<ForwardError> for Problem {
    /// The chain of causes is for the log: it names hosts.
    fn from(failure: ForwardError) -> Self {
        let kind = match failure {
            ForwardError::NoHealthyUpstream => ProblemKind::NoUpstream,
            ForwardError::NotConnected(_)
            | ForwardError::ConnectionBroke(_)
            | ForwardError::UnrequestedUpgrade => ProblemKind::UpstreamFailed,
            ForwardError::TimedOut(_) => ProblemKind::UpstreamTooSlow,
            ForwardError::ClientTimedOut(_) => ProblemKind::BodyTooSlow,
            ForwardError::ClientAborted => ProblemKind::MalformedBody,
        };
        Self::new(kind, failure.to_string())
    }
}
