//! The network between the stores and a primary loses everything.

use std::{
    process::{Command, ExitStatus},
    time::Duration,
};

use sluice_store::ColdStart;
use sluice_testkit::ClusterOptions;
use tokio::task::block_in_place;

use crate::{
    scale,
    scene::{assert_waits_are_few, places_in, under_load},
    stores::{STORES, Stores},
};

const TIMEOUT: Duration = Duration::from_millis(500);

/// A firewall of this network namespace, which is not the machine's.
struct Firewall;

impl Firewall {
    /// Starts to drop the packets to and from a port.
    fn drop_packets_of(port: u16) -> Self {
        nft(&["add", "table", "inet", "faults"]);
        let hook = "{ type filter hook input priority 0; }";
        nft(&["add", "chain", "inet", "faults", "lost", hook]);
        for direction in ["dport", "sport"] {
            let port = port.to_string();
            nft(&["add", "rule", "inet", "faults", "lost", "tcp", direction, &port, "drop"]);
        }
        Self
    }
}

impl Drop for Firewall {
    fn drop(&mut self) {
        nft(&["delete", "table", "inet", "faults"]);
    }
}

fn nft(arguments: &[&str]) {
    let status = Command::new("nft").args(arguments).status();
    assert!(status.as_ref().is_ok_and(ExitStatus::success), "nft {arguments:?}: {status:?}");
}

/// The cluster's bus has a port of its own and stays up, so that no replica takes over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and a network namespace of its own: run `cargo xtask faults`"]
async fn a_primary_that_stores_cannot_reach_is_used_again_afterwards() {
    for seed in scale::seeds() {
        let cluster = ClusterOptions::new(3).args(&["--cluster-require-full-coverage", "no"]);
        let cluster = cluster.start();
        let stores = Stores::connect(&cluster.url(), TIMEOUT, ColdStart::Full).await;
        let (places, primary) = places_in(&stores, &cluster);
        let before = (stores.unanswered(), stores.opened());
        let effect = under_load(("network partition", seed), &stores, &places, async |scene| {
            let firewall = block_in_place(|| Firewall::drop_packets_of(primary.port()));
            scene.wait_for_local_decisions().await;
            block_in_place(|| drop(firewall));
            scene.wait_until_recovered().await;
        })
        .await;
        effect.assert_promises(0);
        let opened = stores.opened() - before.1;
        assert!(opened >= STORES as u64, "{opened}");
        assert_waits_are_few(stores.unanswered() - before.0, opened);
    }
}
