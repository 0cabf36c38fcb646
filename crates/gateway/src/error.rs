//! Why a gateway cannot be opened, and why a request gets no response.

use std::{path::PathBuf, time::Duration};

use sluice_http::{Problem, ProblemKind};
use sluice_telemetry::UpstreamFailure;

use crate::connect::ConnectError;

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
pub(crate) enum Failure {
    #[error("no upstream is well")]
    NoneIsWell,
    #[error("the upstream cannot be connected to")]
    Unconnected(#[source] ConnectError),
    #[error("the connection to the upstream broke before it answered")]
    Broke(#[source] hyper::Error),
    #[error("the upstream changed the protocol, which nobody had asked it to")]
    Unasked,
    #[error("the upstream did not answer within {0:?}")]
    Late(Duration),
    #[error("the rest of the body did not arrive within {0:?}")]
    ClientLate(Duration),
    #[error("the body breaks off")]
    ClientBrokeOff,
}

impl Failure {
    /// What it is counted as for the upstream; `None` when that is not to blame, or was told
    /// already that it answered.
    pub(crate) const fn of_upstream(&self) -> Option<UpstreamFailure> {
        match self {
            Self::Unconnected(_) => Some(UpstreamFailure::NotConnected),
            Self::Broke(_) => Some(UpstreamFailure::Broken),
            Self::Late(_) => Some(UpstreamFailure::TimedOut),
            Self::NoneIsWell | Self::Unasked | Self::ClientLate(_) | Self::ClientBrokeOff => None,
        }
    }
}

impl From<Failure> for Problem {
    /// The chain of causes is for the log: it names hosts.
    fn from(failure: Failure) -> Self {
        let kind = match failure {
            Failure::NoneIsWell => ProblemKind::NoUpstream,
            Failure::Unconnected(_) | Failure::Broke(_) | Failure::Unasked => {
                ProblemKind::UpstreamFailed
            }
            Failure::Late(_) => ProblemKind::UpstreamTooSlow,
            Failure::ClientLate(_) => ProblemKind::BodyTooSlow,
            Failure::ClientBrokeOff => ProblemKind::MalformedBody,
        };
        Self::new(kind, failure.to_string())
    }
}
