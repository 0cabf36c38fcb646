//! Why a gateway cannot be opened, and why a request gets no response.

use std::{path::PathBuf, time::Duration};

use sluice_http::{Problem, ProblemKind};
use sluice_telemetry::UpstreamFailure;

/// When a client may ask again after a response that says that the upstream is busy, in seconds.
const RETRY_AFTER: u32 = 1;

/// Why a connection to an upstream could not be made.
pub(crate) type ConnectError = Box<dyn std::error::Error + Send + Sync>;

/// Why a gateway cannot be opened with its settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenGatewayError {
    /// The file with the certificates cannot be read.
    #[error("gateway.ca_file: cannot read the certificates in `{}`", path.display())]
    CaFile {
        /// The path of the file.
        path: PathBuf,
        /// Why it cannot be read.
        source: rustls::pki_types::pem::Error,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// No certificate authority is known, so that no server could be trusted.
    #[error(
        "no certificate authority is known: install those of the system, or name a file with \
         yours in gateway.ca_file"
    )]
    NoAuthority,
}

/// Why a forwarded request gets no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    #[error("no upstream is healthy")]
    NoHealthyUpstream,
    #[error("cannot connect to the upstream")]
    NotConnected(#[source] ConnectError),
    #[error("all connections that the upstream may have are in use")]
    AllConnectionsInUse,
    #[error("the connection to the upstream broke before it responded")]
    ConnectionBroke(#[source] hyper::Error),
    #[error("the upstream's response has more header fields than a gateway accepts")]
    HeadTooLarge(#[source] hyper::Error),
    #[error("the upstream's response has a transfer coding other than `chunked`")]
    UnknownCoding,
    #[error("the upstream switched to a protocol that was not requested")]
    UnrequestedUpgrade,
    #[error("the upstream did not respond within {0:?}")]
    TimedOut(Duration),
    #[error("the rest of the body did not arrive within {0:?}")]
    ClientTimedOut(Duration),
    #[error("the client aborted the body")]
    ClientAborted,
    #[error("the request has lost its slot under a limit on requests in flight")]
    SlotLost,
}

impl ForwardError {
    /// Returns the failure of a connection with this error.
    pub(crate) fn broken(error: hyper::Error) -> Self {
        if error.is_parse_too_large() {
            Self::HeadTooLarge(error)
        } else {
            Self::ConnectionBroke(error)
        }
    }

    /// Returns how the failure is counted for the upstream. Returns `None` when the upstream is not
    /// the cause, or when its response was counted already.
    pub(crate) const fn counted_as(&self) -> Option<UpstreamFailure> {
        match self {
            Self::NotConnected(_) => Some(UpstreamFailure::NotConnected),
            Self::ConnectionBroke(_) | Self::HeadTooLarge(_) => Some(UpstreamFailure::Broken),
            Self::TimedOut(_) => Some(UpstreamFailure::TimedOut),
            Self::AllConnectionsInUse => Some(UpstreamFailure::Busy),
            Self::NoHealthyUpstream
            | Self::UnknownCoding
            | Self::UnrequestedUpgrade
            | Self::ClientTimedOut(_)
            | Self::ClientAborted
            | Self::SlotLost => None,
        }
    }
}

impl ForwardError {
    /// Returns whether the upstream has as many requests as it may have.
    pub(crate) const fn is_busy(&self) -> bool {
        matches!(self, Self::AllConnectionsInUse)
    }

    /// Returns whether the client is the cause.
    pub(crate) const fn is_the_clients(&self) -> bool {
        matches!(self, Self::ClientTimedOut(_) | Self::ClientAborted)
    }
}

impl From<ForwardError> for Problem {
    /// Leaves out the chain of causes, which names hosts. It is logged.
    fn from(failure: ForwardError) -> Self {
        let kind = match failure {
            ForwardError::NoHealthyUpstream => ProblemKind::NoUpstream,
            ForwardError::AllConnectionsInUse => ProblemKind::UpstreamBusy,
            ForwardError::NotConnected(_)
            | ForwardError::ConnectionBroke(_)
            | ForwardError::HeadTooLarge(_)
            | ForwardError::UnknownCoding
            | ForwardError::UnrequestedUpgrade => ProblemKind::UpstreamFailed,
            ForwardError::TimedOut(_) => ProblemKind::UpstreamTooSlow,
            ForwardError::ClientTimedOut(_) => ProblemKind::BodyTooSlow,
            ForwardError::ClientAborted => ProblemKind::MalformedBody,
            ForwardError::SlotLost => ProblemKind::StoreUnavailable,
        };
        let problem = Self::new(kind, failure.to_string());
        if failure.is_busy() { problem.retry_after(RETRY_AFTER) } else { problem }
    }
}
