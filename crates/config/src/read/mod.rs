//! The grammar: one file a section. Each reads fields, and builds a part of the
//! [`Settings`](crate::Settings) from them.

mod address;
mod admin;
mod clients;
mod gateway;
mod limits;
mod listen;
mod log;
mod metrics;
mod numbers;
mod places;
mod policy;
mod rls;
mod secret;
mod store;
mod tiers;

use std::time::Duration;

use sluice_core::{OnStoreFailure, Tagger};

use self::{policy::OtherSections, tiers::Members};
use crate::{
    error::Refused,
    files::Files,
    reader::Field,
    settings::{Settings, StoreUrl},
};

/// Longer than any orchestrator waits for a process to end.
const LONGEST_SHUTDOWN: Duration = Duration::from_secs(60 * 60);

/// Reads the whole tree.
pub(super) fn settings(field: &Field<'_>, files: &Files) -> Result<Settings, Refused> {
    field.table(|root| {
        let listen = listen::read(&root.field("listen"));
        let store = store::read(&root.field("store"), files);
        let clients_field = root.field("clients");
        let clients = clients::read(&clients_field, files);
        let (store_or, clients_or) = (store.as_ref().ok(), clients.as_ref().ok());
        let others = OtherSections {
            on_store_failure: store_or.map_or(OnStoreFailure::default(), |store| store.on_failure),
            tagger: clients_or.map_or_else(|| Tagger::new(b""), |clients| clients.tagger.clone()),
            ipv6_prefix: clients_or.map_or(64, |clients| clients.ipv6_prefix),
            members: clients_or.map(Members::by).unwrap_or_default(),
        };
        let policy = policy::read(root, field, others, files);
        let rls = root.field("rls").optional(|rls| rls::read(rls, files));
        let gateway = gateway::read(&root.field("gateway"), files);
        let admin = admin::read(&root.field("admin"), listen.as_ref().ok(), files);
        let custom_metrics = metrics::read(&root.field("metrics"));
        let log = log::read(&root.field("log"));
        let [shutdown_delay, shutdown_grace] = ["shutdown_delay", "shutdown_grace"].map(|name| {
            let field = root.field(name);
            field.needs_restart(field.duration(Duration::ZERO..=LONGEST_SHUTDOWN))
        });
        let is_shared = store_or.is_some_and(|store| store.url != StoreUrl::Memory);
        if is_shared && clients_or.is_some_and(|clients| !clients.has_secret) {
            clients_field.warn(
                "no secret is set, so that anyone who can read the store can find out which \
                 addresses are in it: set the same `secret` for all replicas",
            );
        }
        Ok(Settings {
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
            replaced_endpoints: Vec::new(),
            warnings: Vec::new(),
        })
    })
}
