//! A budget holds when many ask at once: with holds, exactly as many pass as it has tokens for.

use std::net::SocketAddr;

use sluice_testkit::{RedisServer, eventually_async};
use sluice_tests::{
    fleet::{Fleet, MAX_TIMEOUT},
    http::{Client, Connection},
    model::{Answer, FakeModel},
};

use crate::setting::{CHAT, Setting, chat, in_front_of, one_limit, post, settles_to};

const REPORTED: &str = r#"{"usage":{"prompt_tokens":9,"completion_tokens":80}}"#;
/// What three requests may use.
const BUDGET: u64 = 3 * 109;

/// Sends 30 requests at once, of which three fit, while no answer comes.
async fn thirty_at_once(addresses: &[SocketAddr], model: &FakeModel) {
    let asking: Vec<_> = (0..30)
        .map(|number| {
            let address = addresses[number % addresses.len()];
            tokio::spawn(async move {
                let mut connection = Connection::open(address).await.unwrap();
                connection.send(&post(CHAT, &chat(100))).await.unwrap().status
            })
        })
        .collect();
    eventually_async("all others are denied", async || {
        asking.iter().filter(|task| task.is_finished()).count() == 27
    })
    .await;
    model.release(30);
    let mut statuses = Vec::new();
    for task in asking {
        statuses.push(task.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!((&statuses[..3], &statuses[3..]), (&[200; 3][..], &[429; 27][..]));
    assert_eq!(model.requests().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_replica_lets_three_of_thirty_pass() {
    let answer = Answer::Late(REPORTED.into());
    let mut setting = Setting::with(answer, "", &one_limit(BUDGET)).await;
    thirty_at_once(&[setting.sluice.http_addr()], &setting.model).await;
    setting.settles_to(3 * 89).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_let_three_of_thirty_pass() {
    let model = FakeModel::start(Answer::Late(REPORTED.into())).await;
    let yaml = in_front_of(&model, "", &one_limit(BUDGET));
    let fleet = Fleet::start(3, RedisServer::start(), MAX_TIMEOUT, &yaml);
    thirty_at_once(&fleet.addresses(), &model).await;
    settles_to(&mut Client::of(fleet.addresses()[1]), "alice", 3 * 89).await;
}
