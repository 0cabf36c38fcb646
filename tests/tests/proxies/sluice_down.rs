//! Sluice hangs, is down, or cannot decide.

use std::time::Duration;

use sluice_testkit::{ReservedPort, eventually_async};
use sluice_tests::{
    echo::{FIRST_EVENT, LAST_EVENT, STREAMS},
    http::{Connection, Request, Response},
};

use crate::example::Example;
use crate::setup::{Setup, assert_passed, order};

/// Makes Sluice hang, end, and lose its store, one after the other, and calls `assert` with each
/// response in that time.
async fn while_sluice_is_down(example: Example, file: &str, assert: fn(&Response)) {
    let limits = "defaults: { rate: 1/day, burst: 1 }";
    let setup = Setup::start(example, file, limits).await;
    let ask = async || setup.client().send(&order()).await;
    let decided = async || ask().await.status == 429;
    eventually_async("the limit is spent", decided).await;

    setup.sluice.pause();
    eventually_async("Sluice hangs", async || !decided().await).await;
    assert(&ask().await);
    setup.sluice.resume();
    eventually_async("Sluice decides again after it hung", decided).await;

    setup.sluice.sigkill();
    let _ended = setup.sluice.wait_exit(Duration::from_secs(10));
    assert(&ask().await);
    assert(&ask().await);

    let unused = ReservedPort::new();
    let store =
        format!("store: {{ url: \"redis://127.0.0.1:{}\", on_failure: error }}", unused.number());
    setup.sluice.rewrite_config(&example.sluice(&format!("{limits}\n{store}")));
    setup.sluice.restart();
    assert(&ask().await);
    assert(&ask().await);

    setup.sluice.rewrite_config(&example.sluice(limits));
    setup.sluice.restart();
    eventually_async("a restarted Sluice decides again", decided).await;
}

pub(crate) async fn requests_pass_while_sluice_is_down(example: Example) {
    while_sluice_is_down(example, example.file, assert_passed).await;
}

pub(crate) async fn requests_are_rejected_while_sluice_is_down_if_so_configured(example: Example) {
    let file = (example.reject_when_down)(example.file);
    while_sluice_is_down(example, &file, |response| {
        assert!(matches!(response.status, 502..=504), "{response}");
    })
    .await;
}

/// More requests than the proxy has threads wait for Sluice; other responses continue.
pub(crate) async fn an_admitted_response_continues_while_sluice_hangs(example: Example) {
    const WAITING: usize = 16;
    let setup = Setup::start(
        example,
        &example.with_long_timeout(),
        "defaults: { rate: 1000/minute, burst: 1000 }",
    )
    .await;
    let mut stream = Connection::open(setup.proxy.addr()).await.unwrap();
    stream.write(&Request::get(STREAMS).to_bytes()).await.unwrap();
    stream.receive_until(FIRST_EVENT.as_bytes()).await.unwrap();
    let before = setup.api.requests();

    setup.sluice.pause();
    let mut waiting = Vec::new();
    for _ in 0..WAITING {
        let mut connection = Connection::open(setup.proxy.addr()).await.unwrap();
        connection.write(&order().to_bytes()).await.unwrap();
        waiting.push(connection);
    }
    setup.api.send_last_event();
    stream.receive_until(LAST_EVENT.as_bytes()).await.unwrap();
    assert_eq!(setup.api.requests(), before, "the others wait");

    setup.sluice.resume();
    for mut connection in waiting {
        assert_passed(&connection.response().await.unwrap());
    }
}
