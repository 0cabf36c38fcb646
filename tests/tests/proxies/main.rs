//! The proxies of `deploy/examples`, each with its example file as it is, but for the addresses.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

mod away;
mod deciding;
mod example;
mod fleet;
mod scene;
mod upstream;

use crate::example::{CADDY, HAPROXY, NGINX, TRAEFIK};

/// Every promise, of every proxy.
macro_rules! promised {
    ($($chapter:ident::$promise:ident,)*) => {
        mod nginx { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $promise() { crate::$chapter::$promise(crate::NGINX).await })* }
        mod caddy { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $promise() { crate::$chapter::$promise(crate::CADDY).await })* }
        mod traefik { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $promise() { crate::$chapter::$promise(crate::TRAEFIK).await })* }
        mod haproxy { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $promise() { crate::$chapter::$promise(crate::HAPROXY).await })* }
    };
}

promised! {
    deciding::requests_reach_the_api_until_the_limit_is_spent,
    deciding::what_a_client_forges_changes_nothing,
    deciding::what_is_too_large_for_sluice_gets_nobody_past_the_limit,
    fleet::two_proxies_and_three_replicas_share_one_limit,
    fleet::a_replica_that_is_gone_is_not_missed,
    away::requests_pass_while_sluice_is_away,
    away::requests_are_refused_while_sluice_is_away_where_the_file_says_so,
    away::what_was_let_through_flows_on_while_sluice_hangs,
    upstream::an_api_that_streams_or_stalls_is_as_without_the_proxy,
    upstream::an_api_that_fails_is_asked_once,
}
