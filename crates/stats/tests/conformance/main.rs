//! Properties of the statistics of a fleet that hold for every stats store.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;
mod hours;
mod redis_only;
mod running;
mod truths;

use fixture::Fixture;

/// Lists every property once.
macro_rules! truths {
    ($callback:ident $arguments:tt) => {
        $callback! {
            $arguments
            the_stats_of_no_replica_are_zero
            flushes_of_all_replicas_add_up
            a_flush_that_is_sent_again_adds_nothing
            a_client_of_many_replicas_and_endpoints_counts_once
            clients_are_counted_to_a_few_percent
            a_client_of_an_hour_ago_is_no_longer_counted
            the_most_denied_clients_come_first
            a_flood_of_denied_clients_does_not_displace_the_most_denied
            a_killed_replicas_connections_expire_and_its_counts_stay
            a_departed_replicas_connections_are_removed_at_once
            a_deployment_is_active_from_its_start_to_its_end
            a_deployments_end_may_come_before_its_start
            a_deployment_that_never_ends_expires_after_a_day
            the_later_of_two_reports_is_kept
            a_silent_instances_report_expires_and_one_for_all_instances_stays
            a_gauge_can_be_removed
            a_flood_of_gauges_is_bounded_and_expired_ones_make_room
            the_oldest_of_too_many_valid_gauges_make_room
        }
    };
}

/// Lists every property of hourly sums once.
macro_rules! truths_of_hours {
    ($callback:ident $arguments:tt) => {
        $callback! {
            $arguments
            amounts_of_all_replicas_are_added_to_the_current_hour
            an_amount_that_is_sent_again_adds_nothing
            amounts_stay_in_the_hour_in_which_they_were_added
            a_late_amount_is_added_to_the_hour_in_which_it_was_counted
            an_amount_of_before_yesterday_is_added_to_yesterday
            sums_are_shown_for_35_days
            a_flood_of_series_is_bounded_and_its_amounts_are_kept
        }
    };
}

/// Lists every property of deployments that cost by the hour once.
macro_rules! truths_of_running {
    ($callback:ident $arguments:tt) => {
        $callback! {
            $arguments
            a_deployment_costs_from_its_creation_to_its_deletion
            each_moment_is_charged_once_whoever_charges
            a_deployment_that_is_never_deleted_costs_for_400_days
            a_deletion_may_be_reported_before_the_creation
            a_creation_that_is_reported_twice_counts_once
            a_deployment_may_be_created_again
            further_deployments_than_a_thousand_cost_nothing
        }
    };
}

/// Makes a module of tests for a stats store, with a test for every property.
macro_rules! conform {
    (($store:ident, $truths:ident, $make:expr) $($truth:ident)*) => {
        mod $store {
            $(
                #[tokio::test]
                async fn $truth() {
                    let fixture: super::Fixture = $make;
                    super::$truths::$truth(&fixture).await;
                }
            )*
        }
    };
}

truths! { conform (memory, truths, crate::Fixture::memory()) }
truths! { conform (redis, truths, crate::Fixture::redis()) }
truths_of_hours! { conform (memory_hours, hours, crate::Fixture::memory()) }
truths_of_hours! { conform (redis_hours, hours, crate::Fixture::redis()) }
truths_of_running! { conform (memory_running, running, crate::Fixture::memory()) }
truths_of_running! { conform (redis_running, running, crate::Fixture::redis()) }
