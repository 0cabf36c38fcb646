//! What every store promises: truths first, stores second. Wrappers are stores too.
#![allow(unreachable_pub, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;
mod oracle;
mod truths;

use fixture::Fixture;

/// The truths, each once.
macro_rules! truths {
    ($callback:ident $arguments:tt) => {
        $callback! {
            $arguments
            a_bucket_never_seen_is_full
            burst_is_spent_exactly
            a_denied_check_takes_nothing
            costs_in_one_bucket_add_up
            a_cost_of_nothing_looks_and_takes_nothing
            a_cost_above_the_burst_is_never_admitted
            a_denial_passes_when_it_said_it_would
            a_peek_changes_nothing
            tokens_are_given_back_up_to_the_burst
            a_charge_goes_below_zero_and_refill_pays_it
            a_reset_fills_the_bucket
            a_shadow_limit_never_denies_and_takes_only_what_passes
            clients_and_limits_have_buckets_of_their_own
            a_changed_limit_keeps_its_buckets
            a_full_bucket_is_forgotten
            a_batch_is_decided_in_its_order
            a_batch_of_thousands_is_answered_in_full
            an_empty_check_is_allowed
            concurrent_checks_never_overspend
            every_history_equals_the_core
            replicas_that_announce_themselves_are_listed
        }
    };
}

/// Enrols a store: every truth becomes a test in a module of its name.
macro_rules! conform {
    (($store:ident, $make:expr) $($truth:ident)*) => {
        mod $store {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $truth() {
                    let fixture: super::Fixture = $make;
                    super::truths::$truth(&fixture).await;
                }
            )*
        }
    };
}

truths! { conform (memory, crate::Fixture::memory()) }
truths! { conform (redis, crate::Fixture::redis()) }
truths! { conform (failover, crate::Fixture::failover()) }
