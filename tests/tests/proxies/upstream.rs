//! What the API does behind the proxy.

use sluice_tests::behind;

use crate::example::Example;
use crate::scene::Scene;

pub(crate) async fn an_api_that_streams_or_stalls_is_as_without_the_proxy(example: Example) {
    let scene = Scene::start(example, example.file, "").await;
    behind::assert_that_events_arrive_as_they_are_sent(scene.proxy.addr(), &scene.api).await;
    behind::assert_that_a_slow_api_is_waited_for(scene.proxy.addr(), &scene.api).await;
}

pub(crate) async fn an_api_that_fails_is_asked_once(example: Example) {
    let scene = Scene::start(example, example.file, "").await;
    behind::assert_that_an_api_that_fails_is_asked_once(scene.proxy.addr(), &scene.api).await;
}
