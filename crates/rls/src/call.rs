//! What is counted and logged about calls.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sluice_telemetry::{BoundRlsDomain, Recorders, RlsCode, RlsRecorder};

use crate::messages::{Code, RateLimitResponse};

/// How long nothing more is logged after a line of the same kind.
const PAUSE: Duration = Duration::from_secs(60);
/// How much of a domain's name is logged, in characters.
const MOST_NAME: usize = 100;

/// Counts calls, and logs those that point at a mistake.
#[derive(Debug)]
pub(crate) struct Calls {
    recorder: RlsRecorder,
    other: BoundRlsDomain,
    unknown_domains: LogGate,
    errors: LogGate,
}

/// One call that is being answered. A call that is dropped before it ends was given up by its
/// caller.
#[derive(Debug)]
pub(crate) struct Call<'c> {
    calls: &'c Calls,
    domain: BoundRlsDomain,
    started: Instant,
    has_ended: bool,
}

/// Lets one line of its kind pass in each [`PAUSE`], and counts the others.
#[derive(Debug, Default)]
struct LogGate(Mutex<Gate>);

#[derive(Debug, Default)]
struct Gate {
    last: Option<Instant>,
    held_back: u64,
}

impl Calls {
    pub(crate) fn new(recorders: &Recorders) -> Self {
        let recorder = recorders.rls.clone();
        let other = recorder.other();
        let (unknown_domains, errors) = (LogGate::default(), LogGate::default());
        Self { recorder, other, unknown_domains, errors }
    }

    /// Begins a call.
    pub(crate) fn begin(&self) -> Call<'_> {
        let (domain, started) = (self.other.clone(), Instant::now());
        Call { calls: self, domain, started, has_ended: false }
    }
}

impl Call<'_> {
    /// Counts the call in this domain.
    pub(crate) fn is_in(&mut self, domain: &BoundRlsDomain) {
        self.domain = domain.clone();
    }

    /// Counts the descriptors.
    pub(crate) fn matched(&self, matched: usize, unmatched: usize) {
        self.domain.descriptors(matched, unmatched);
    }

    /// Counts and logs that no rules file has the domain with this name.
    pub(crate) fn is_in_unknown_domain(&self, name: &[u8]) {
        self.calls.recorder.unknown_domain();
        if let Some(others) = self.calls.unknown_domains.pass(Instant::now()) {
            let name: String = String::from_utf8_lossy(name).chars().take(MOST_NAME).collect();
            tracing::warn!(
                domain = ?name,
                more_since_the_last_line = others,
                "a call has a domain that no rules file has, so nothing limits it: use the same \
                 `domain` in Envoy's filter and in a file of `rls.files`"
            );
        }
    }

    /// Ends the call with a response.
    pub(crate) fn responded(self, response: &RateLimitResponse) {
        self.ended(match response.overall_code() {
            Code::OverLimit => RlsCode::OverLimit,
            Code::Ok | Code::Unknown => RlsCode::Ok,
        });
    }

    /// Ends the call with an error: its gRPC status code, and what is wrong.
    pub(crate) fn failed(self, grpc_code: i32, message: &str) {
        let code = RlsCode::of_grpc_error(grpc_code);
        if let Some(others) = self.calls.errors.pass(Instant::now()) {
            tracing::warn!(
                code = code.as_str(),
                error = message,
                more_since_the_last_line = others,
                "a call of the rate limit service ended with an error, so Envoy decides"
            );
        }
        self.ended(code);
    }

    fn ended(mut self, code: RlsCode) {
        self.has_ended = true;
        self.domain.ended(code);
        self.calls.recorder.duration(self.started.elapsed());
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.domain.ended(RlsCode::Cancelled);
            self.calls.recorder.duration(self.started.elapsed());
        }
    }
}

impl LogGate {
    /// Returns how many lines were held back since the last one, if one may pass.
    fn pass(&self, now: Instant) -> Option<u64> {
        let mut gate = self.0.lock();
        if gate.last.is_some_and(|last| now.saturating_duration_since(last) < PAUSE) {
            gate.held_back += 1;
            return None;
        }
        gate.last = Some(now);
        Some(std::mem::take(&mut gate.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_passes_in_each_pause_and_says_how_many_did_not() {
        let (gate, start) = (LogGate::default(), Instant::now());
        let passes: Vec<_> = [0, 0, 1, 59, 60, 61, 120, 600]
            .into_iter()
            .map(|seconds| gate.pass(start + Duration::from_secs(seconds)))
            .collect();
        assert_eq!(passes, [Some(0), None, None, None, Some(3), None, Some(1), Some(0)]);
    }
}
