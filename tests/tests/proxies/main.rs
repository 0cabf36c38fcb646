//! The proxies of `deploy/examples`, each with its example file, in which only the addresses are
//! changed.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

mod decisions;
mod example;
mod fleet;
mod setup;
mod sluice_down;
mod upstream;

use crate::example::{CADDY, HAPROXY, NGINX, TRAEFIK};

/// Makes a test of each of these functions, in a module for each proxy.
macro_rules! for_every_proxy {
    ($($file:ident::$test:ident,)*) => {
        tests_of! { nginx, crate::NGINX, $($file::$test,)* }
        tests_of! { caddy, crate::CADDY, $($file::$test,)* }
        tests_of! { traefik, crate::TRAEFIK, $($file::$test,)* }
        tests_of! { haproxy, crate::HAPROXY, $($file::$test,)* }
    };
}

macro_rules! tests_of {
    ($proxy:ident, $example:expr, $($file:ident::$test:ident,)*) => {
        mod $proxy {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    crate::$file::$test($example).await;
                }
            )*
        }
    };
}

for_every_proxy! {
    decisions::requests_reach_the_api_until_the_limit_is_spent,
    decisions::forged_headers_are_ignored,
    decisions::oversized_requests_do_not_bypass_the_limit,
    fleet::two_proxies_and_three_replicas_share_one_limit,
    fleet::requests_pass_when_one_replica_is_gone,
    sluice_down::requests_pass_while_sluice_is_down,
    sluice_down::requests_are_rejected_while_sluice_is_down_if_so_configured,
    sluice_down::an_admitted_response_continues_while_sluice_hangs,
    upstream::streams_and_slow_responses_pass_through_the_proxy_unchanged,
    upstream::a_failing_api_gets_each_request_once,
}
