//! The grammar: one file a section. Each reads fields, and builds a part of the
//! [`Settings`](crate::Settings) from them.

mod admin;
mod clients;
mod gateway;
mod limits;
mod listen;
mod log;
mod metrics;
mod numbers;
mod policy;
mod rls;
mod store;
mod tiers;

use std::time::Duration;

use sluice_core::{OnStoreFailure, Tagger};

use self::policy::Elsewhere;
use crate::{
    files::Files,
    reader::Field,
    settings::{Settings, StoreUrl},
};

/// Longer than anybody waits for a process to end.
const LONGEST_SHUTDOWN: Duration = Duration::from_secs(60 * 60);

/// Reads the whole tree. `None` exactly when a mistake was noted.
pub(super) fn settings(field: &Field<'_>, files: &Files) -> Option<Settings> {
    field.table(|root| {
        let listen = listen::read(&root.field("listen"));
        let store = store::read(&root.field("store"), files);
        let clients_field = root.field("clients");
        let clients = clients::read(&clients_field, files);
        let elsewhere = Elsewhere {
            on_store_failure: store.as_ref().map_or(OnStoreFailure::default(), |store| store.on_failure),
            tagger: clients.as_ref().map_or_else(|| Tagger::new(b""), |clients| clients.tagger.clone()),
            ipv6_prefix: clients.as_ref().map_or(64, |clients| clients.ipv6_prefix),
        };
        let policy = policy::read(root, field, elsewhere, files);
        let rls = rls::read(&root.field("rls"), files);
        let gateway = gateway::read(&root.field("gateway"), files);
        let admin = admin::read(&root.field("admin"), listen.as_ref(), files);
        let custom_metrics = metrics::read(&root.field("metrics"));
        let log = log::read(&root.field("log"));
        let shutdown_delay = root.field("shutdown_delay").duration(Duration::ZERO..=LONGEST_SHUTDOWN);
        let shutdown_grace = root.field("shutdown_grace").duration(Duration::ZERO..=LONGEST_SHUTDOWN);
        let is_shared = store.as_ref().is_some_and(|store| store.url != StoreUrl::Memory);
        if is_shared && clients.as_ref().is_some_and(|clients| !clients.has_secret) {
            clients_field.warn(
                "no secret is set, so whoever can read the store can find out which addresses are in it: \
                 set the same `secret` for all replicas",
            );
        }
        Some(Settings {
            listen: listen?,
            store: store?,
            identifier: clients?.identifier,
            policy: policy?,
            rls: rls?,
            gateway: gateway?,
            admin: admin?,
            custom_metrics: custom_metrics?,
            log: log?,
            shutdown_delay: shutdown_delay?,
            shutdown_grace: shutdown_grace?,
            warnings: Vec::new(),
        })
    })
}
