//! What the answers of the HTTP port are counted and measured under.

use std::{sync::Arc, time::Instant};

use sluice::layer::metrics::{Answered, Traffic};
use sluice_telemetry::MethodLabel;

/// What an answer is counted under: never a raw path.
#[derive(Clone, Debug)]
pub(crate) enum Label {
    /// A path of our own.
    Own(&'static str),
    /// The pattern that covers the path, as the policy says.
    Endpoint(Arc<str>),
}

/// An answer that is still on its way, to be recorded when it is over.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) label: Label,
    pub(crate) method: MethodLabel,
    pub(crate) status: u16,
    pub(crate) started: Instant,
}

impl Label {
    /// What stands where no pattern covers the path, or none could be looked for.
    pub(crate) const OTHER: Self = Self::Own("other");

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Own(path) => path,
            Self::Endpoint(pattern) => pattern,
        }
    }
}

impl Exchange {
    /// It is over, with bodies of this size.
    pub(crate) fn end(self, request_bytes: u64, response_bytes: u64) {
        let Self { traffic, label, method, status, started } = self;
        traffic.record(
            label.as_str(),
            Answered { method, status, took: started.elapsed(), request_bytes, response_bytes },
        );
    }
}
