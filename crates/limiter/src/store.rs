//! The types of stores: those that there are, and what a program needs to write one.
//!
//! [`Store`] shows how to write one. The most common types are also at the top of the crate.

#[doc(inline)]
pub use sluice_core::{
    Action, Bucket, BucketId, Check, Cost, CostsDigest, Decision, Epoch, Guarded, HeldTokens, Hold,
    HoldId, HoldStep, Limit, LimitKey, Matched, Moment, Part, Record, RecordKey, RecordWrite,
    Retry, Settled, SettledTokens, Slices, Slots, Source, Span, Subject, Tag, Tagger, Timestamp,
    TokenBucket, Value, Verdict, Window,
};
#[doc(inline)]
pub use sluice_store::{
    BreakerState, Clock, ColdStart, Failover, FailoverState, Fleet, Formats, LiveReplica,
    ManualClock, MaybeReady, MemoryStore, MonotonicClock, ObserveRoundTrips, Replica, RoundTrip,
    Store, StoreError, StoreErrorKind, StoreFuture,
};
#[cfg(feature = "redis")]
#[doc(inline)]
pub use sluice_store::{
    PemContent, RedisAddress, RedisAddressError, RedisError, RedisSettings, RedisStore,
    SentinelSettings,
};
