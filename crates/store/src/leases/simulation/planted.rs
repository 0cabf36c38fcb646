//! Each planted fault is found, within a bounded number of schedules.

use super::{
    fault::Fault,
    schedules::{Kind, run},
};

/// Every fault must be found within so many schedules.
const SCHEDULES: u64 = 300;

fn is_found(fault: Fault, kind: Kind) {
    let found = (0..SCHEDULES).find(|seed| run(kind, Some(fault), *seed, false).result.is_err());
    assert!(
        found.is_some(),
        "{SCHEDULES} schedules did not find that a store or replica {fault:?}"
    );
}

#[test]
fn a_bucket_that_refills_to_the_burst_while_tokens_are_out() {
    is_found(Fault::RefillsToTheBurst, Kind::Adversarial);
}

#[test]
fn the_tokens_of_a_lease_that_has_ended_return() {
    is_found(Fault::ReturnsWhatHasEnded, Kind::Adversarial);
}

#[test]
fn a_cap_by_what_is_out_now_and_not_by_what_was() {
    is_found(Fault::CapsLazily, Kind::Adversarial);
}

#[test]
fn a_bucket_that_is_forgotten_while_tokens_are_out() {
    is_found(Fault::ForgetsWhileTokensAreOut, Kind::Adversarial);
}

#[test]
fn a_settlement_that_is_accepted_after_the_lease_has_ended() {
    is_found(Fault::SettlesWhatHasEnded, Kind::Adversarial);
}

#[test]
fn a_settlement_that_a_replica_sends_twice() {
    is_found(Fault::SettlesTwice, Kind::Adversarial);
}

#[test]
fn a_settlement_that_is_sent_again_when_its_connection_breaks() {
    is_found(Fault::ResendsSettlements, Kind::Adversarial);
}

#[test]
fn a_deadline_that_is_counted_from_the_reply() {
    is_found(Fault::CountsFromTheReply, Kind::Adversarial);
}

#[test]
fn a_look_at_the_clock_before_the_take() {
    is_found(Fault::LooksFirst, Kind::Stopping);
}

#[test]
fn no_margin_for_clocks_that_run_at_other_rates() {
    is_found(Fault::HasNoMargin, Kind::Drifting);
}

#[test]
fn faults_of_replicas_that_keep_a_book() {
    for fault in [
        Fault::RefillsToTheBurst,
        Fault::CapsLazily,
        Fault::CountsFromTheReply,
        Fault::LooksFirst,
        Fault::HasNoMargin,
    ] {
        is_found(fault, Kind::Booked);
    }
}
