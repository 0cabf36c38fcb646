//! What every store promises. Each promise is a function in `truths`, and becomes a test for every
//! store. Wrappers are stores too.
#![allow(unreachable_pub, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod cold_truths;
mod fixture;
mod hold_truths;
mod lease_truths;
mod oracle;
mod other_truths;
mod truths;

use fixture::Fixture;

/// Lists the truths about decisions, and hands them to a macro.
macro_rules! truths {
    ($callback:ident $arguments:tt) => {
        $callback! {
            $arguments
            an_unused_bucket_is_full
            burst_is_spent_exactly
            a_denied_check_takes_nothing
            costs_in_one_bucket_add_up
            a_cost_of_zero_takes_nothing
            a_cost_above_the_burst_is_never_admitted
            a_denied_cost_is_admitted_after_the_retry_time
            a_peek_changes_nothing
            tokens_are_given_back_up_to_the_burst
            a_charge_may_leave_a_debt_that_refill_pays
            a_reset_fills_the_bucket
            a_shadow_limit_never_denies_and_takes_only_what_passes
            clients_and_limits_have_separate_buckets
            a_changed_limit_keeps_its_buckets
            a_full_bucket_is_forgotten
            a_batch_is_decided_in_order
            every_check_of_a_large_batch_is_decided
            an_empty_check_is_allowed
            concurrent_checks_never_overspend
            decisions_equal_those_of_the_core
        }
    };
}

/// Makes each truth a test in a module for the store.
macro_rules! conform {
    (($store:ident, $make:expr, $truths:ident) $($truth:ident)*) => {
        mod $store {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $truth() {
                    let fixture: super::Fixture = $make;
                    super::$truths::$truth(&fixture).await;
                }
            )*
        }
    };
}

truths! { conform (memory, crate::Fixture::memory(), truths) }
truths! { conform (redis, crate::Fixture::redis(), truths) }
truths! { conform (cluster, crate::Fixture::cluster(), truths) }
truths! { conform (failover, crate::Fixture::failover(), truths) }
truths! { conform (several_nodes, crate::Fixture::several_nodes(), truths) }
truths! { conform (minimal, crate::Fixture::minimal(), truths) }

/// Lists the truths about leases.
macro_rules! lease_truths {
    ($handle:ident $with:tt) => {
        $handle! {
            $with
            half_of_what_is_there_is_lent_and_half_of_the_burst
            what_is_not_spent_of_a_lease_returns_once
            a_lease_that_has_ended_counts_as_spent
            a_bucket_refills_only_up_to_what_is_not_leased
        }
    };
}

lease_truths! { conform (memory_leases, crate::Fixture::memory(), lease_truths) }
lease_truths! { conform (redis_leases, crate::Fixture::redis(), lease_truths) }
lease_truths! { conform (cluster_leases, crate::Fixture::cluster(), lease_truths) }
lease_truths! { conform (failover_leases, crate::Fixture::failover(), lease_truths) }
lease_truths! { conform (minimal_leases, crate::Fixture::minimal(), lease_truths) }

/// Lists the truths about holds.
macro_rules! hold_truths {
    ($handle:ident $with:tt) => {
        $handle! {
            $with
            a_hold_takes_its_estimate_and_is_corrected_by_its_settlement
            each_step_of_a_hold_is_made_once
            a_denied_reservation_takes_nothing_and_may_be_made_again
            a_hold_that_is_not_known_is_settled_late_and_once
            nothing_is_given_back_after_the_lifetime_of_a_hold
            a_repeated_reservation_ends_with_the_first_one
            an_extension_makes_a_hold_last_longer
            a_quota_that_releases_has_back_what_nobody_settles
            an_extension_keeps_what_a_quota_would_release
            a_settlement_after_the_lifetime_of_a_hold_ends_no_other_one
            a_hold_is_settled_under_another_rate
            a_settlement_may_leave_a_debt_that_refill_pays
            leases_and_holds_share_a_bucket
            steps_of_a_hold_in_one_batch_are_decided_in_order
            a_hold_of_several_clients_is_all_or_nothing
            a_step_that_is_sent_many_times_at_once_is_made_once
        }
    };
}

hold_truths! { conform (memory_holds, crate::Fixture::memory(), hold_truths) }
hold_truths! { conform (redis_holds, crate::Fixture::redis(), hold_truths) }
hold_truths! { conform (cluster_holds, crate::Fixture::cluster(), hold_truths) }
hold_truths! { conform (failover_holds, crate::Fixture::failover(), hold_truths) }
hold_truths! { conform (several_nodes_holds, crate::Fixture::several_nodes(), hold_truths) }
hold_truths! { conform (minimal_holds, crate::Fixture::minimal(), hold_truths) }

/// Lists the truths about limits that are no token buckets.
macro_rules! other_truths {
    ($handle:ident $with:tt) => {
        $handle! {
            $with
            a_quota_returns_when_its_next_window_begins
            a_denied_cost_counts_where_the_quota_says_so
            a_check_of_several_algorithms_is_all_or_nothing
            what_counts_no_more_is_not_given_back
            slots_that_are_not_renewed_are_presumed_lost
            a_hold_takes_from_limits_of_all_algorithms
            an_extension_that_is_sent_again_renews_once
        }
    };
}

other_truths! { conform (memory_others, crate::Fixture::memory(), other_truths) }
other_truths! { conform (redis_others, crate::Fixture::redis(), other_truths) }
other_truths! { conform (cluster_others, crate::Fixture::cluster(), other_truths) }
other_truths! { conform (failover_others, crate::Fixture::failover(), other_truths) }
other_truths! { conform (several_nodes_others, crate::Fixture::several_nodes(), other_truths) }
other_truths! { conform (minimal_others, crate::Fixture::minimal(), other_truths) }

/// Lists the truths about a clock that a test moves, back too.
macro_rules! clock_truths {
    ($callback:ident $arguments:tt) => {
        $callback! {
            $arguments
            a_denied_client_earns_at_the_new_rate_from_the_first_look_on
            limits_in_shadow_mode_and_of_denied_checks_are_repaired_too
            configurations_that_take_turns_neither_starve_a_client_nor_add_tokens
            a_clock_that_steps_back_freezes_a_client_for_at_most_a_second
            a_clock_that_steps_back_prolongs_a_debt_by_at_most_a_second
            a_clock_that_starts_in_1970_freezes_nobody
            decisions_equal_those_of_the_core
        }
    };
}

clock_truths! { conform (memory_clock, crate::Fixture::memory(), truths) }
clock_truths! { conform (redis_clock, crate::Fixture::redis_with_clock(), truths) }
clock_truths! { conform (failover_clock, crate::Fixture::failover_with_clock(), truths) }
clock_truths! { conform (several_nodes_clock, crate::Fixture::several_nodes(), truths) }
clock_truths! { conform (minimal_clock, crate::Fixture::minimal(), truths) }
conform! {
    (memory_other_clock, crate::Fixture::memory(), other_truths)
    what_changes_nothing_leaves_no_trace_of_the_time
}
conform! {
    (redis_other_clock, crate::Fixture::redis_with_clock(), other_truths)
    what_changes_nothing_leaves_no_trace_of_the_time
}
conform! {
    (failover_other_clock, crate::Fixture::failover_with_clock(), other_truths)
    what_changes_nothing_leaves_no_trace_of_the_time
}

/// Lists the truths about a store whose memory has just begun with empty buckets.
macro_rules! cold_truths {
    ($callback:ident $arguments:tt) => {
        $callback! {
            $arguments
            an_unseen_bucket_is_empty_and_refills
            an_unseen_bucket_is_full_once_it_has_filled
            a_bucket_that_is_filled_stays_full
            a_changed_limit_counts_from_the_beginning_too
            a_clock_that_steps_back_behind_the_beginning_freezes_nobody
        }
    };
}

cold_truths! { conform (memory_cold, crate::Fixture::cold_memory(), cold_truths) }
cold_truths! { conform (redis_cold, crate::Fixture::cold_redis(), cold_truths) }
cold_truths! { conform (failover_cold, crate::Fixture::cold_failover(), cold_truths) }
conform! {
    (memory_cold_core, crate::Fixture::cold_memory(), truths) decisions_equal_those_of_the_core
}
conform! {
    (redis_cold_core, crate::Fixture::cold_redis(), truths) decisions_equal_those_of_the_core
}

// A minimal store has no value for others to agree on.
conform! { (memory_agrees, crate::Fixture::memory(), truths) the_first_value_is_agreed_on }
conform! { (redis_agrees, crate::Fixture::redis(), truths) the_first_value_is_agreed_on }
conform! { (cluster_agrees, crate::Fixture::cluster(), truths) the_first_value_is_agreed_on }
conform! { (failover_agrees, crate::Fixture::failover(), truths) the_first_value_is_agreed_on }

// A minimal store does not list replicas.
conform! {
    (memory_fleet, crate::Fixture::memory(), truths) replicas_that_announce_themselves_are_listed
}
conform! {
    (redis_fleet, crate::Fixture::redis(), truths) replicas_that_announce_themselves_are_listed
}
conform! {
    (cluster_fleet, crate::Fixture::cluster(), truths) replicas_that_announce_themselves_are_listed
}
conform! {
    (failover_fleet, crate::Fixture::failover(), truths)
    replicas_that_announce_themselves_are_listed
}
