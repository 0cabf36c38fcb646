//! Every order of events, for a bucket of a few tokens and a few replicas, with the real arithmetic
//! of leases. No order may break the promise of every window.
//!
//! Time comes in steps of half a second: a term of leases is two steps, and a token comes back in
//! each. In a step, anything may happen in any order and any number of times: a replica asks for a
//! lease, messages arrive, are delayed and are lost, a token of a lease is admitted, leases are
//! settled whole or in part, others take tokens exactly. A replica that crashes or is stopped is
//! one that does nothing from then on, or for a while, so it needs no event.
//!
//! A virtual bucket sees every admission. It never lacks a token if, and only if, every window of
//! length T admits at most burst + rate * T. The search visits each state once, the nearest first,
//! so what it finds is the shortest way to break the promise. `faults` proves that it finds some.
//!
//! CI visits some hundred thousand states. `SLUICE_LEASE_SEARCH=5000000` visits as many of each
//! case, or all that there are.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod act;
mod faults;
mod search;
mod state;
mod store;

use std::env;

use search::{Found, search};
use state::Case;

/// The most states of a case.
const STATES: &str = "SLUICE_LEASE_SEARCH";
const FEW: usize = 60_000;

fn most_states() -> usize {
    env::var(STATES).map_or(FEW, |text| {
        text.parse().unwrap_or_else(|error| panic!("{STATES} is `{text}`: {error}"))
    })
}

/// Searches a case. Returns whether all of its states were visited.
#[track_caller]
fn keeps_the_promise(case: Case) -> bool {
    match search(case, None, most_states()) {
        Found::Nothing { states, is_all } => {
            #[allow(clippy::print_stdout, reason = "the test harness shows this if it is asked")]
            {
                println!(
                    "{case:?}: {states} states{}",
                    if is_all { ", which are all" } else { "" }
                );
            }
            is_all
        }
        Found::Excess { acts } => panic!("{case:?}: a token too many after {acts:#?}"),
    }
}

#[test]
fn one_replica_and_four_tokens() {
    keeps_the_promise(Case { burst: 4, per_step: 1, replicas: 1, messages: 2 });
}

#[test]
fn two_replicas_and_four_tokens() {
    keeps_the_promise(Case { burst: 4, per_step: 1, replicas: 2, messages: 2 });
}

#[test]
fn one_replica_and_a_bucket_that_fills_within_a_term() {
    keeps_the_promise(Case { burst: 4, per_step: 2, replicas: 1, messages: 2 });
}

#[test]
fn two_replicas_and_a_bucket_that_fills_within_a_step() {
    assert!(keeps_the_promise(Case { burst: 2, per_step: 2, replicas: 2, messages: 2 }));
}

#[test]
fn leases_of_three_tokens() {
    keeps_the_promise(Case { burst: 6, per_step: 1, replicas: 1, messages: 2 });
}
