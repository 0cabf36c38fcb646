//! The promise, in schedules of each kind.

use std::env;

use super::{
    oracle::Excess,
    schedules::{Kind, run},
    world::Totals,
};

/// The number of schedules of each kind, if not a few hundred.
const SCHEDULES: &str = "SLUICE_LEASE_SCHEDULES";
/// The seed of the only schedule to run.
const SEED: &str = "SLUICE_LEASE_SEED";

const FEW: u64 = 300;

/// The last lines of a history are those that matter.
const SHOWN: usize = 60;

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable} is `{text}`: {error}")))
}

/// Runs schedules of `kind`, and returns what all of them did.
fn keeps_the_promise(kind: Kind) {
    let seeds = number(SEED).map_or(0..number(SCHEDULES).unwrap_or(FEW), |seed| seed..seed + 1);
    let mut sum = Totals::default();
    for seed in seeds {
        match run(kind, None, seed, false).result {
            Ok(totals) => {
                sum.spent += totals.spent;
                sum.returned += totals.returned;
                sum.ended += totals.ended;
            }
            Err(excess) => panic!("{}", report(kind, seed, excess)),
        }
    }
    assert!(sum.spent > 0 && sum.returned > 0 && sum.ended > 0, "{kind:?} did nothing: {sum:?}");
}

fn report(kind: Kind, seed: u64, excess: Excess) -> String {
    let history = run(kind, None, seed, true).history;
    let shown = &history[history.len().saturating_sub(SHOWN)..];
    let tokens = excess.tokens;
    format!(
        "{kind:?}, {SEED}={seed}: {tokens} tokens too many. What happened last:\n{}",
        shown.join("\n")
    )
}

#[test]
fn at_random() {
    keeps_the_promise(Kind::Random);
}

#[test]
fn when_an_adversary_strikes_as_leases_end() {
    keeps_the_promise(Kind::Adversarial);
}

#[test]
fn when_clocks_run_at_other_rates() {
    keeps_the_promise(Kind::Drifting);
}

#[test]
fn when_replicas_are_stopped_and_crash() {
    keeps_the_promise(Kind::Stopping);
}

#[test]
fn when_replicas_keep_a_book() {
    keeps_the_promise(Kind::Booked);
}

#[test]
fn when_the_limit_changes() {
    keeps_the_promise(Kind::Changing);
}

#[test]
fn when_the_clock_of_the_store_steps_back() {
    keeps_the_promise(Kind::SteppingBack);
}

#[test]
fn but_for_what_is_out_when_the_clock_of_the_store_steps_forward() {
    keeps_the_promise(Kind::SteppingForward);
}

#[test]
fn but_for_what_the_lost_writes_of_a_failover_admitted() {
    keeps_the_promise(Kind::FailingOver);
}
