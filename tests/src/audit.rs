//! Whether the tokens of the hot bucket add up: its tokens at the start and the refill since then
//! equal the admitted tokens and the rest.
//!
//! Under load, the time of a decision is known only to tenths of a second. Before and after the
//! load, with a single client, it is known to milliseconds, so the sum is exact to a token or two.

use std::net::SocketAddr;

use serde_json::json;

use crate::{
    buckets,
    http::Client,
    load::{BucketKey, LoadRecord},
    window_limit::{Admitted, Instant, now},
};

/// The tokens that an audit takes first: enough that the bucket is not full again before the load
/// starts, so that no refill is lost.
const TAKEN_FIRST: u64 = 300;

/// An audit that was started.
#[derive(Debug)]
pub struct Audit {
    replica: SocketAddr,
    /// The instants between which the first tokens were taken.
    begin: (Instant, Instant),
}

impl Audit {
    /// Takes the first tokens of the hot bucket.
    ///
    /// # Panics
    /// When the bucket was not full.
    pub async fn begin(replica: SocketAddr) -> Self {
        let (begin, remaining) = take(replica, TAKEN_FIRST).await;
        assert_eq!(
            remaining,
            buckets::hot().burst() - TAKEN_FIRST,
            "the audit starts with a full bucket"
        );
        Self { replica, begin }
    }

    /// Compares the rest with the responses that the load recorded. Returns all admitted tokens.
    ///
    /// # Panics
    /// When there are more tokens than there can be, or fewer than requests without a response
    /// explain.
    pub async fn assert_that_tokens_add_up(self, record: &LoadRecord) -> u64 {
        let (end, remaining) = take(self.replica, 0).await;
        let of_load: u64 =
            record.admitted(buckets::HOT).iter().map(|&Admitted { tokens, .. }| tokens).sum();
        let admitted = TAKEN_FIRST + of_load;
        let unanswered = record
            .failed
            .iter()
            .flat_map(|failed| &failed.checks)
            .filter(|(subject, _)| *subject == buckets::HOT);
        let unanswered: u64 = unanswered.map(|(_, cost)| cost).sum();
        let seen = admitted + remaining;
        let most = buckets::hot().in_window(end.1 - self.begin.0);
        assert!(
            seen <= most,
            "{admitted} tokens were admitted and {remaining} are left, which is {} too many",
            seen - most
        );
        let least = buckets::hot().in_window(end.0 - self.begin.1);
        assert!(
            seen + unanswered >= least,
            "{admitted} tokens were admitted and {remaining} are left, which is {} too few; \
             requests without a response explain only {unanswered}",
            least - seen
        );
        admitted
    }
}

/// Takes `cost` from the hot bucket. Returns the instants between which that happened and the
/// remaining tokens.
async fn take(replica: SocketAddr, cost: u64) -> ((Instant, Instant), u64) {
    let BucketKey { client: key, path } = &buckets::all()[buckets::HOT];
    let mut client = Client::of(replica);
    let sent = now();
    let response =
        client.post("/v1/check", &json!({ "client": key, "path": path, "cost": cost })).await;
    ((sent, now()), response.number("x-ratelimit-remaining"))
}
