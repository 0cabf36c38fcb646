//! Replicas as processes, and a store in the test that returns tokens.

use std::{path::Path, sync::Arc, time::Duration};

use serde_json::json;
use sluice_core::{Action, Algorithm, Check, Cost, Limit, Rate, Subject, Tagger};
use sluice_store::{RedisSettings, RedisStore, Store};
use sluice_testkit::{Sluice, SluiceOptions, built_sluice, eventually_async};
use sluice_tests::{http::Client, metrics::Metrics};

const REPLICAS: usize = 3;
pub(super) const BURST: u64 = 6;
pub(super) const LIMIT: &str = "daily";
/// A token comes back after an hour or more, so that none does.
pub(super) const RATE: &str = "6/day";
/// The longest that there is, so that Redis decides whatever is not a repeated denial.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Three replicas.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) replicas: Vec<Sluice>,
    clients: Vec<Client>,
    url: String,
    ca_file: Option<String>,
    repeats_errors: bool,
}

/// A store in the test, which is no replica, and knows none.
#[derive(Debug)]
pub(super) struct Returns(RedisStore);

// === impl Fleet ===

impl Fleet {
    /// Starts replicas, and waits until they hear of returned tokens.
    pub(super) async fn start(url: &str, ca_file: Option<&Path>) -> Self {
        let ca_file = ca_file.map(|path| path.display().to_string());
        let config = config(url, ca_file.as_deref(), RATE);
        let start = |_| SluiceOptions::new(built_sluice()).config(&config).launch();
        let replicas: Vec<_> = (0..REPLICAS).map(start).collect();
        tokio::task::block_in_place(|| replicas.iter().for_each(Sluice::wait_healthy));
        let clients = replicas.iter().map(|replica| Client::of(replica.http_addr())).collect();
        Self { replicas, clients, url: url.to_owned(), ca_file, repeats_errors: false }
    }

    /// Gives the limit another rate on all replicas.
    pub(super) fn change_rate(&self, rate: &str) {
        let config = config(&self.url, self.ca_file.as_deref(), rate);
        for replica in &self.replicas {
            replica.rewrite_config(&config);
            replica.sighup();
        }
    }

    /// Lets a replica decide about one token. Returns whether it was admitted.
    pub(super) async fn take(&mut self, replica: usize) -> bool {
        let check = json!({ "client": "anyone" });
        let mut response = self.clients[replica].post("/v1/check", &check).await;
        while self.repeats_errors && response.status == 503 {
            tokio::task::yield_now().await;
            response = self.clients[replica].post("/v1/check", &check).await;
        }
        assert!(matches!(response.status, 200 | 429), "{response}");
        response.status == 200
    }

    /// Repeats checks from now on that Redis could not decide.
    pub(super) fn repeat_errors(&mut self) {
        self.repeats_errors = true;
    }

    /// Takes tokens at a replica until none is left.
    pub(super) async fn drain(&mut self) {
        while self.take(0).await {}
    }

    /// Waits until every replica repeats its denials.
    pub(super) async fn wait_for_cached_denials(&mut self) {
        for replica in 0..self.replicas.len() {
            eventually_async("a denial is repeated without Redis", async || {
                let before = self.cached(replica).await;
                assert!(!self.take(replica).await, "there is no token");
                self.cached(replica).await > before
            })
            .await;
        }
    }

    /// Waits until every replica has admitted a token.
    pub(super) async fn wait_for_admissions(&mut self) {
        for replica in 0..self.replicas.len() {
            eventually_async("a replica admits", async || self.take(replica).await).await;
        }
    }

    async fn cached(&mut self, replica: usize) -> u64 {
        let metrics = Metrics::of(&mut self.clients[replica]).await;
        metrics.count("sluice_decisions_total", &[("source", "cache")])
    }
}

fn config(url: &str, ca_file: Option<&str>, rate: &str) -> String {
    let ca_file = ca_file.map(|path| format!(", ca_file: \"{path}\"")).unwrap_or_default();
    format!(
        "store: {{ url: \"{url}\", timeout: {}s, on_failure: error{ca_file} }}\n\
         defaults: off\nendpoints: {{}}\n\
         limits: [{{ name: {LIMIT}, rate: {rate}, burst: {BURST}, per: nothing }}]\n",
        TIMEOUT.as_secs()
    )
}

// === impl Returns ===

impl Returns {
    pub(super) fn to(url: &str, ca_file: Option<&Path>) -> Self {
        let ca_file = ca_file.map(Path::to_path_buf);
        let settings = RedisSettings::new(url).timeout(TIMEOUT).ca_file(ca_file);
        Self(RedisStore::new(&settings, ()).unwrap())
    }

    pub(super) async fn give_back(&self, tokens: u64) {
        self.act(Action::GiveBack, tokens).await;
    }

    /// Fills the bucket.
    pub(super) async fn reset(&self) {
        self.act(Action::Reset, 0).await;
    }

    async fn act(&self, action: Action, tokens: u64) {
        let rate = Rate::new(RATE.parse().unwrap(), BURST).unwrap();
        let limit = Arc::new(Limit::new(LIMIT, Algorithm::TokenBucket(rate)).unwrap());
        let everyone = Tagger::new(b"").tag(Subject::Everyone { limit: LIMIT });
        let check = Check::new(action).with(&limit, everyone, Cost::new(tokens).unwrap());
        // The first connection may be one to a server that is not the primary any more.
        eventually_async("Redis returns the tokens", async || {
            self.0.decide(&check).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }
}
