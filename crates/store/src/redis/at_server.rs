//! Says which server an error is about.

use std::{error::Error, fmt, sync::Arc};

use super::address::HostPort;
use crate::StoreError;

/// An error of one server: its address stands before the text, and the causes stay.
#[derive(Debug)]
struct AtServer {
    server: HostPort,
    error: Arc<dyn Error + Send + Sync>,
}

/// Names the server in an error whose text says nothing about it.
pub(super) fn at(server: Option<HostPort>, error: StoreError) -> StoreError {
    let Some(server) = server else { return error };
    let named = |error| Arc::new(AtServer { server, error });
    match error {
        StoreError::Unreachable(error) => StoreError::Unreachable(named(error)),
        StoreError::Refused(error) => StoreError::Refused(named(error)),
        StoreError::WrongSettings(error) => StoreError::WrongSettings(named(error)),
        other => other,
    }
}

impl fmt::Display for AtServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.server, self.error)
    }
}

impl Error for AtServer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}
