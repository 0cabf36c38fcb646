//! Whether the tokens of the hot bucket add up: what it held at first and what came back is what
//! was admitted and what is left.
//!
//! In the middle of a crowd, nobody knows within tenths of a second when a check was decided.
//! Before and after it, when one client asks alone, they do within milliseconds, and that makes the
//! sum true to a token or two.

use std::net::SocketAddr;

use serde_json::json;

use crate::{
    buckets,
    http::Client,
    load::{BucketKey, LoadRecord},
    window_limit::{Admitted, Instant, now},
};

/// What an audit takes first: so much that the bucket is not full again before the crowd is there,
/// and nothing is lost over its brim.
const TAKEN_FIRST: u64 = 300;

/// An audit that has begun.
#[derive(Debug)]
pub struct Audit {
    replica: SocketAddr,
    /// Between which instants the first tokens were taken.
    begin: (Instant, Instant),
}

impl Audit {
    /// Takes the first tokens of the hot bucket.
    ///
    /// # Panics
    /// When they were not the first.
    pub async fn begin(replica: SocketAddr) -> Self {
        let (begin, remaining) = look(replica, TAKEN_FIRST).await;
        assert_eq!(
            remaining,
            buckets::hot().burst() - TAKEN_FIRST,
            "the audit begins with a full bucket"
        );
        Self { replica, begin }
    }

    /// Compares with what the crowd was told; the tokens admitted in all.
    ///
    /// # Panics
    /// When tokens were made up, or more were lost than went with requests that were not answered.
    pub async fn assert_that_tokens_add_up(self, record: &LoadRecord) -> u64 {
        let (end, remaining) = look(self.replica, 0).await;
        let of_crowd: u64 =
            record.admitted(buckets::HOT).iter().map(|&Admitted { tokens, .. }| tokens).sum();
        let admitted = TAKEN_FIRST + of_crowd;
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
            "{admitted} tokens were admitted and {remaining} are left, which is {} too few, and only {unanswered} can be lost",
            least - seen
        );
        admitted
    }
}

/// What remains in the hot bucket after taking `cost`, and between which instants that was so.
async fn look(replica: SocketAddr, cost: u64) -> ((Instant, Instant), u64) {
    let BucketKey { client: who, path } = &buckets::all()[buckets::HOT];
    let mut client = Client::of(replica);
    let sent = now();
    let response =
        client.post("/v1/check", &json!({ "client": who, "path": path, "cost": cost })).await;
    ((sent, now()), response.number("x-ratelimit-remaining"))
}
