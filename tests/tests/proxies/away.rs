//! Sluice hangs, is gone, or cannot decide.

use std::time::Duration;

use sluice_testkit::{ReservedPort, eventually_async};
use sluice_tests::{
    echo::{FIRST_EVENT, LAST_EVENT, STREAMS},
    http::{Answer, Connection, Request},
};

use crate::example::Example;
use crate::scene::{Scene, assert_passed, order};

/// The three ways in which Sluice can be away, one after the other; `holds` says what is true of
/// every answer meanwhile.
async fn while_sluice_is_away(example: Example, file: &str, holds: fn(&Answer)) {
    let limits = "defaults: { rate: 1/day, burst: 1 }";
    let scene = Scene::start(example, file, limits).await;
    let ask = async || scene.client().ask(&order()).await;
    let decided = async || ask().await.status == 429;
    eventually_async("the limit is spent", decided).await;

    scene.sluice.pause();
    eventually_async("Sluice hangs", async || !decided().await).await;
    holds(&ask().await);
    scene.sluice.resume();
    eventually_async("a Sluice that hung decides again", decided).await;

    scene.sluice.sigkill();
    let _ended = scene.sluice.wait_exit(Duration::from_secs(10));
    holds(&ask().await);
    holds(&ask().await);

    let nobody = ReservedPort::new();
    let store =
        format!("store: {{ url: \"redis://127.0.0.1:{}\", on_failure: error }}", nobody.number());
    scene.sluice.rewrite_config(&example.sluice(&format!("{limits}\n{store}")));
    scene.sluice.restart();
    holds(&ask().await);
    holds(&ask().await);

    scene.sluice.rewrite_config(&example.sluice(limits));
    scene.sluice.restart();
    eventually_async("a Sluice that was gone decides again", decided).await;
}

pub(crate) async fn requests_pass_while_sluice_is_away(example: Example) {
    while_sluice_is_away(example, example.file, assert_passed).await;
}

pub(crate) async fn requests_are_refused_while_sluice_is_away_where_the_file_says_so(
    example: Example,
) {
    let file = (example.refuse)(example.file);
    while_sluice_is_away(example, &file, |answer| {
        assert!(matches!(answer.status, 502..=504), "{answer}")
    })
    .await;
}

/// More requests than the proxy has threads wait for Sluice, and nothing else does.
pub(crate) async fn what_was_let_through_flows_on_while_sluice_hangs(example: Example) {
    const WAITING: usize = 16;
    let scene =
        Scene::start(example, &example.patient(), "defaults: { rate: 1000/minute, burst: 1000 }")
            .await;
    let mut stream = Connection::open(scene.proxy.addr()).await.unwrap();
    stream.send(&Request::get(STREAMS).to_bytes()).await.unwrap();
    stream.receive_until(FIRST_EVENT.as_bytes()).await.unwrap();
    let asked = scene.api.asked();

    scene.sluice.pause();
    let mut waiting = Vec::new();
    for _ in 0..WAITING {
        let mut connection = Connection::open(scene.proxy.addr()).await.unwrap();
        connection.send(&order().to_bytes()).await.unwrap();
        waiting.push(connection);
    }
    scene.api.go_on();
    stream.receive_until(LAST_EVENT.as_bytes()).await.unwrap();
    assert_eq!(scene.api.asked(), asked, "the others wait");

    scene.sluice.resume();
    for mut connection in waiting {
        assert_passed(&connection.answer().await.unwrap());
    }
}
