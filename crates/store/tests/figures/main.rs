//! What is known of a fleet, whoever keeps it: truths first, keepers second.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;
mod redis_alone;
mod truths;

use fixture::Fixture;

/// The truths, each once.
macro_rules! truths {
    ($callback:ident $arguments:tt) => {
        $callback! {
            $arguments
            what_nobody_told_is_nothing
            flushes_of_all_replicas_add_up
            a_flush_that_is_sent_again_adds_nothing
            a_client_of_many_replicas_and_endpoints_is_one_client
            clients_are_counted_to_a_few_percent
            a_client_gone_for_an_hour_is_no_longer_counted
            the_most_limited_come_first
            a_flood_of_limited_clients_leaves_the_most_limited
            a_killed_replicas_connections_vanish_and_its_counts_stay
            a_departed_replicas_connections_vanish_at_once
            a_deployment_runs_from_its_start_to_its_end
            a_deployments_end_may_come_before_its_start
            a_deployment_that_never_ends_is_forgotten_after_a_day
            of_two_reports_the_later_holds
            an_instance_that_is_silent_is_forgotten_and_the_whole_is_not
            a_gauge_can_be_taken_away
            a_flood_of_gauges_is_bounded_and_makes_way_for_the_living
            of_too_many_gauges_of_the_whole_the_oldest_make_room
        }
    };
}

/// Enrols a keeper of figures: every truth becomes a test in a module of its name.
macro_rules! conform {
    (($keeper:ident, $make:expr) $($truth:ident)*) => {
        mod $keeper {
            $(
                #[tokio::test]
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
