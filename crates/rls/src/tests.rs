//! Calls, decided on a memory store whose clock is stopped.

mod calls;
mod counted;
mod deadlines;
mod overrun;
mod port;
mod properties;
mod wire;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use sluice::{Limiter, MemoryStore, Recorders, Store};
use sluice_core::{OnStoreFailure, Tagger, Timestamp};
use sluice_store::ManualClock;

use sluice_config::{Loader, RlsSettings};
use sluice_testkit::policies;

use crate::{
    EnvoyRls,
    deadline::CallDeadline,
    error::RlsError,
    messages::{
        Code, Descriptor, Entry, LimitOverride, RateLimitRequest, RateLimitResponse, UInt64Value,
        Unit,
    },
};

/// A service with rules, and the clock of its buckets.
pub(crate) struct Fixture {
    pub(crate) rls: EnvoyRls,
    pub(crate) clock: Arc<ManualClock>,
}

/// Reads the text of a rules file. Responses have header fields.
pub(crate) fn rules(text: &str) -> RlsSettings {
    rules_with(text, "response_headers: true")
}

/// Reads the text of a rules file, with `more` in the section that names it.
fn rules_with(text: &str, more: &str) -> RlsSettings {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yaml");
    std::fs::write(&file, text).unwrap();
    let rls = format!("{{ files: ['{}'], {more} }}", file.display());
    Loader::new().flag("--rls", &["rls"], rls).load().unwrap().rls.unwrap()
}

impl Fixture {
    pub(crate) fn new(text: &str) -> Self {
        Self::recording(text, &Recorders::disabled())
    }

    pub(crate) fn recording(text: &str, recorders: &Recorders) -> Self {
        Self::made(&rules(text), recorders)
    }

    fn of(rules: &RlsSettings) -> Self {
        Self::made(rules, &Recorders::disabled())
    }

    fn made(rules: &RlsSettings, recorders: &Recorders) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_micros(1_800_000_000_000_000)));
        let store = Arc::new(MemoryStore::with_clock(Arc::clone(&clock)));
        Self { rls: with_store(rules, store, OnStoreFailure::Local, recorders), clock }
    }

    async fn call(&self, request: RateLimitRequest) -> Result<RateLimitResponse, RlsError> {
        self.rls.decide(&request, CallDeadline::NONE).await
    }

    /// Calls with these descriptors in the domain `edge`. Returns the codes, that of the whole call
    /// first, and the remaining tokens.
    async fn ask(&self, descriptors: impl Into<Vec<Descriptor>>) -> Summary {
        Summary::of(&self.call(request(descriptors)).await.unwrap())
    }
}

impl EnvoyRls {
    /// Decides one call, as a protocol would.
    pub(crate) async fn decide(
        &self,
        request: &RateLimitRequest,
        deadline: CallDeadline,
    ) -> Result<RateLimitResponse, RlsError> {
        self.decide_call(request, deadline, &mut self.begin_call(), false).await
    }
}

/// Far longer than any caller here waits.
pub(crate) const STORE_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) fn with_store(
    rules: &RlsSettings,
    store: Arc<dyn Store>,
    on_store_failure: OnStoreFailure,
    recorders: &Recorders,
) -> EnvoyRls {
    let rls = EnvoyRls::new(
        Limiter::builder(policies::document()).store(store).recorders(recorders).build(),
        STORE_TIMEOUT,
    );
    rls.replace(Some(rules), on_store_failure, &Tagger::new(b""));
    rls
}

pub(crate) fn request(descriptors: impl Into<Vec<Descriptor>>) -> RateLimitRequest {
    RateLimitRequest {
        domain: Bytes::from_static(b"edge"),
        descriptors: descriptors.into(),
        hits_addend: 0,
    }
}

/// Returns a descriptor with these keys and values.
pub(crate) fn of<const N: usize>(entries: [(&str, &str); N]) -> Descriptor {
    let entry = |(key, value): (&str, &str)| Entry {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
    };
    Descriptor { entries: entries.map(entry).into(), ..Descriptor::default() }
}

impl Descriptor {
    fn hits(self, value: u64) -> Self {
        Self { hits_addend: Some(UInt64Value { value }), ..self }
    }

    fn back(self) -> Self {
        Self { is_negative_hits: true, ..self }
    }

    fn bringing(self, requests_per_unit: u32, unit: Unit) -> Self {
        Self { limit: Some(LimitOverride { requests_per_unit, unit: unit.into() }), ..self }
    }
}

/// The codes of a response, one letter each (`o` for OK, `-` for over the limit), and the remaining
/// tokens.
#[derive(Debug, PartialEq, Eq)]
struct Summary {
    overall: char,
    statuses: String,
    remaining: Vec<u32>,
}

impl Summary {
    fn of(response: &RateLimitResponse) -> Self {
        let letter = |code| match code {
            Code::Ok => 'o',
            Code::OverLimit => '-',
            Code::Unknown => '?',
        };
        Self {
            overall: letter(response.overall_code()),
            statuses: response.statuses.iter().map(|status| letter(status.code())).collect(),
            remaining: response.statuses.iter().map(|status| status.limit_remaining).collect(),
        }
    }
}

fn summary(overall: char, statuses: &str, remaining: &[u32]) -> Summary {
    Summary { overall, statuses: statuses.to_owned(), remaining: remaining.to_owned() }
}
