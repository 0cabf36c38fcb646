//! The SDKs themselves. `cargo xtask e2e` installs and runs them; CI does not.
//!
//! To record again what they send: `UPDATE_SENT=1 cargo xtask e2e`.

use std::{collections::BTreeMap, env, fs, path::Path, process::Command, time::Duration};

use sluice_testkit::Program;
use sluice_tests::tap::{Exchange, Tap};

use crate::{gateway, recording, recording::Sent};

const PYTHON: Program = Program {
    name: "models-python",
    variable: "SLUICE_MODELS_PYTHON",
    remedy: "python3 -m venv somewhere, and pip install there anthropic, google-genai and openai",
};
const NODE: Program = Program {
    name: "node",
    variable: "SLUICE_NODE",
    remedy: "apt-get install --no-install-recommends nodejs npm",
};

/// One request comes back in 5 s, which is longer than SDKs wait by themselves.
const SOON: &str = "12/minute";
const OWN_WAIT: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it needs the SDKs: run `cargo xtask e2e`"]
async fn python() {
    let mut program = Command::new(PYTHON.path());
    program.args(["-B", &script("py/model_sdks.py")]);
    understand_the_gateway(
        program,
        &["openai", "anthropic", "genai"].map(|sdk| format!("{sdk}-python")),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it needs the SDKs: run `cargo xtask e2e`"]
async fn javascript() {
    let mut program = Command::new(NODE.path());
    program.arg(script("js/model_sdks.js"));
    understand_the_gateway(
        program,
        &["openai", "anthropic", "genai"].map(|sdk| format!("{sdk}-node")),
    )
    .await;
}

fn script(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).display().to_string()
}

async fn understand_the_gateway(mut program: Command, sdks: &[String]) {
    let (sluice, _model) = gateway::start(SOON).await;
    let tap = Tap::start(sluice.http_addr()).await;
    program.arg(format!("http://{}", tap.address()));
    let output = tokio::task::block_in_place(|| program.output()).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}\n{}", sluice.log());

    let exchanges = tap.exchanges();
    for sdk in sdks {
        let of_sdk: Vec<&Exchange> =
            exchanges.iter().filter(|exchange| recording::call(exchange).0 == *sdk).collect();
        obeys(sdk, &of_sdk);
        is_recorded(sdk, &of_sdk);
    }
}

/// Checks that a denied request came again only if, and when, the denial said so.
fn obeys(sdk: &str, exchanges: &[&Exchange]) {
    let mut calls = BTreeMap::<String, Vec<&Exchange>>::new();
    for exchange in exchanges {
        calls.entry(recording::call(exchange).1).or_default().push(exchange);
    }
    for (call, tries) in &calls {
        let statuses: Vec<_> = tries.iter().map(|one| Sent::of(one).status).collect();
        if !call.ends_with("_waits") {
            assert_eq!(statuses.len(), 1, "{sdk} {call}: {statuses:?}");
            continue;
        }
        assert_eq!(statuses, [429, 200], "{sdk} {call}");
        let wait = tries[0].response.as_ref().unwrap().number("retry-after-ms");
        let wait = Duration::from_millis(wait);
        assert!(wait > OWN_WAIT, "{sdk} {call}: {wait:?} are to be waited");
        let waited = tries[1].asked - (tries[0].asked + tries[0].answered_after);
        assert!(waited >= wait, "{sdk} {call}: waited {waited:?} instead of {wait:?}");
    }
    let denied = calls.keys().filter(|call| call.ends_with("_denied")).count();
    assert!(denied > 0, "{sdk}: {:?}", calls.keys());
}

/// Compares what was sent with what is recorded: the first request of each name.
fn is_recorded(sdk: &str, exchanges: &[&Exchange]) {
    let mut lines = BTreeMap::new();
    for (number, exchange) in exchanges.iter().enumerate() {
        let sent = Sent::of(exchange);
        lines.entry(sent.call.clone()).or_insert((number, sent.line()));
    }
    let mut lines: Vec<_> = lines.into_values().collect();
    lines.sort();
    let sent: String = lines.into_iter().map(|(_, line)| line).collect();
    let file = recording::file(sdk);
    if env::var_os("UPDATE_SENT").is_some() {
        return fs::write(file, sent).unwrap();
    }
    let recorded = fs::read_to_string(file).unwrap_or_default();
    for (sent, recorded) in sent.lines().zip(recorded.lines()) {
        assert_eq!(sent, recorded, "{sdk} sends something else: `UPDATE_SENT=1 cargo xtask e2e`");
    }
    assert_eq!(sent.lines().count(), recorded.lines().count(), "{sdk} sends other requests");
}
