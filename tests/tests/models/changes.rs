//! A configuration that changes while the gateway runs.

use serde_json::json;
use sluice_testkit::eventually_async;
use sluice_tests::{
    fleet::memory_replica,
    http::{Client, Connection},
    model::{Answer, FakeModel},
};

use crate::setting::{
    BURST, CHAT, chat, in_front_of, one_limit, post, settles_to, streamed, taken,
};

const REPORTED: &str = r#"{"usage":{"prompt_tokens":9,"completion_tokens":1}}"#;

fn without_routes(model: &FakeModel) -> String {
    let upstream = model.address();
    format!("gateway: {{ upstream: \"http://{upstream}\", doors: on }}\n{}", one_limit(BURST))
}

#[tokio::test]
async fn routes_change_at_run_time_and_a_stream_keeps_its_own() {
    let model = FakeModel::start(Answer::json(REPORTED)).await;
    let sluice = memory_replica(&without_routes(&model));
    let mut client = Client::of(sluice.http_addr());
    assert_eq!(client.send(&post(CHAT, &chat(50))).await.status, 200);
    assert_eq!(taken(&mut client, "alice").await, 0, "no route meters it");

    sluice.rewrite_config(&in_front_of(&model, "", &one_limit(BURST)));
    let wrong = json!({ "messages": [], "max_tokens": -1 });
    eventually_async("the route applies", async || {
        client.send(&post(CHAT, &wrong)).await.status == 400
    })
    .await;
    assert_eq!(client.send(&post(CHAT, &chat(50))).await.status, 200);
    settles_to(&mut client, "alice", 10).await;

    let (first, last) = ("data: {\"choices\":[]}\n\n", format!("data: {REPORTED}\n\n"));
    model.answers(Answer::Stream(vec![first.into(), last.into()]));
    let mut connection = Connection::open(sluice.http_addr()).await.unwrap();
    connection.write(&post(CHAT, &streamed(chat(50))).to_bytes()).await.unwrap();
    connection.receive_until(first.as_bytes()).await.unwrap();
    sluice.rewrite_config(&without_routes(&model));
    eventually_async("the route is gone", async || {
        model.answers(Answer::json(REPORTED));
        client.send(&post(CHAT, &wrong)).await.status == 200
    })
    .await;
    model.release(1);
    settles_to(&mut client, "alice", 20).await;
}
