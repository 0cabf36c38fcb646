//! Reports about tokens that were returned to buckets, for what is kept of a bucket elsewhere.

use sluice_core::BucketId;

/// Receives the buckets to which tokens were returned.
pub trait ObserveReturns: Send + Sync + 'static {
    /// Receives a bucket that held less than one token when tokens were returned to it. It must be
    /// quick: other reports wait.
    fn returned(&self, bucket: &BucketId);
}

/// What reports about returned tokens come through, without a gap for as long as it is the same.
/// If it has changed, reports may have been lost in between, or the server has lost its buckets.
///
/// Buckets with the same subscription are on one server, and a check of them is decided there at
/// one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubscriptionId(u64);

impl SubscriptionId {
    /// Makes an id of a number, of which each is another id.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
}
