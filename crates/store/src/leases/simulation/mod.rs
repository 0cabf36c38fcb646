//! A simulation of leases. It is deterministic: a seed makes a schedule, in virtual time.
//!
//! Replicas, a store and a network between them do what they do in production, with the real
//! arithmetic, while messages are late or lost, replicas are stopped or crash, and clocks are
//! wrong. An oracle sees every admission at its true instant, and fails at the first one that some
//! window should not have had. Chance alone finds few faults, so an adversary spends at the
//! deadlines.
//!
//! A failure prints its seed and what happened. `docs/developing.md` says how to run more
//! schedules, and how to repeat one.
//!
//! # What is promised
//! In every window of length T at most burst + rate * T tokens are admitted, also while the store's
//! clock steps back, if no settlement is on its way across the step. Beyond that:
//!
//! - A step of the store's clock forward by d admits what refills within d, and as much as is out
//!   for as long as those leases last.
//! - A failover that loses the last writes admits what these had taken, and what they had lent for
//!   as long as those leases last.

mod act;
mod adversary;
mod booked;
mod driver;
mod fault;
mod mischief;
mod network;
mod oracle;
mod planted;
mod promise;
mod random;
mod replica;
mod schedules;
mod store;
mod time;
mod traffic;
mod world;
