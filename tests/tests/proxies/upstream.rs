//! What the API does behind the proxy.

use sluice_tests::through_proxy;

use crate::example::Example;
use crate::setup::Setup;

pub(crate) async fn streams_and_slow_responses_pass_through_the_proxy_unchanged(example: Example) {
    let setup = Setup::start(example, example.file, "").await;
    through_proxy::assert_that_events_arrive_as_they_are_sent(setup.proxy.addr(), &setup.api).await;
    through_proxy::assert_that_a_slow_api_is_waited_for(setup.proxy.addr(), &setup.api).await;
}

pub(crate) async fn a_failing_api_gets_each_request_once(example: Example) {
    let setup = Setup::start(example, example.file, "").await;
    through_proxy::assert_that_a_failing_api_gets_each_request_once(setup.proxy.addr(), &setup.api)
        .await;
}
