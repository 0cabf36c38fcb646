//! Counts and measures what the HTTP port answers.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use sluice::figures::Tally;
use sluice_telemetry::{BoundEndpoint, HttpRecorder, Method};

/// What an answer is counted under: never a raw path.
#[derive(Clone, Debug)]
pub(crate) enum Label {
    /// A path of our own.
    Own(&'static str),
    /// The pattern that covers the path, as the policy says.
    Endpoint(Arc<str>),
}

/// What is counted of one answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    pub(crate) method: Method,
    pub(crate) status: u16,
    pub(crate) took: Duration,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
}

/// An answer that is still on its way, to be recorded when it is over.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) label: Label,
    pub(crate) method: Method,
    pub(crate) status: u16,
    pub(crate) started: Instant,
}

/// Counts and measures requests by label.
#[derive(Debug)]
pub(crate) struct Traffic {
    recorder: HttpRecorder,
    tally: Tally,
    /// Grows with every label seen first. Labels are ours or the configuration's, so they are few.
    bound: ArcSwap<HashMap<Box<str>, BoundEndpoint>>,
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

impl Traffic {
    /// Records with `recorder`, and counts for the fleet in `tally`.
    pub(crate) fn new(recorder: &HttpRecorder, tally: &Tally) -> Self {
        Self { recorder: recorder.clone(), tally: tally.clone(), bound: ArcSwap::default() }
    }

    pub(crate) fn record(&self, label: &Label, answered: Answered) {
        self.tally.http_answered(answered.status, answered.took);
        let bound = self.bound.load();
        match bound.get(label.as_str()) {
            Some(endpoint) => answered.record(endpoint),
            None => {
                let endpoint = self.recorder.bind(label.as_str());
                answered.record(&endpoint);
                self.bound.rcu(|bound| {
                    let mut more = HashMap::clone(bound);
                    more.insert(label.as_str().into(), endpoint.clone());
                    more
                });
            }
        }
    }
}

impl Exchange {
    /// It is over, with bodies of this size.
    pub(crate) fn end(self, request_bytes: u64, response_bytes: u64) {
        let Self { traffic, label, method, status, started } = self;
        traffic.record(&label, Answered { method, status, took: started.elapsed(), request_bytes, response_bytes });
    }
}

impl Answered {
    fn record(self, endpoint: &BoundEndpoint) {
        endpoint.answered(self.method, self.status, self.took);
        endpoint.request_size(self.method, self.request_bytes);
        endpoint.response_size(self.method, self.response_bytes);
    }
}
