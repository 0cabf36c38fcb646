//! Faults that can be planted, each of which the search finds.

use crate::{
    search::{Found, search},
    state::Case,
};

/// A fault of the store or of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// What is lent is not counted, so the bucket refills in its place.
    LendsWithoutCounting,
    /// The bucket is capped by what is out now, and not by what was out before.
    CapsLazily,
    /// The store forgets a bucket that looks full while tokens are out.
    ForgetsWhileTokensAreOut,
    /// The store takes the tokens of a lease back that has ended.
    SettlesWhatHasEnded,
    /// A replica sends a settlement twice.
    SettlesTwice,
    /// A replica spends and settles without a look at the deadline.
    SpendsAfterTheDeadline,
    /// A replica counts a lease's time from the reply.
    CountsFromTheReply,
}

/// Far more than the search needs to find any of them.
const STATES: usize = 2_000_000;
const CASE: Case = Case { burst: 4, per_step: 1, replicas: 1, messages: 2 };

#[track_caller]
fn is_found(fault: Fault) {
    let found = search(CASE, Some(fault), STATES);
    assert!(matches!(found, Found::Excess { .. }), "{fault:?} is not found: {found:?}");
}

#[test]
fn what_is_lent_and_not_counted() {
    is_found(Fault::LendsWithoutCounting);
}

#[test]
fn a_cap_by_what_is_out_now_and_not_by_what_was() {
    is_found(Fault::CapsLazily);
}

#[test]
fn a_bucket_that_is_forgotten_while_tokens_are_out() {
    is_found(Fault::ForgetsWhileTokensAreOut);
}

#[test]
fn a_settlement_that_is_accepted_after_the_lease_has_ended() {
    is_found(Fault::SettlesWhatHasEnded);
}

#[test]
fn a_settlement_that_a_replica_sends_twice() {
    is_found(Fault::SettlesTwice);
}

#[test]
fn a_lease_without_a_deadline() {
    is_found(Fault::SpendsAfterTheDeadline);
}

#[test]
fn a_deadline_that_is_counted_from_the_reply() {
    is_found(Fault::CountsFromTheReply);
}
