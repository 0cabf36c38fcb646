//! The grammar: one file a section. Each reads fields, and builds a part of the [`Settings`](super::settings::Settings) from them.

mod clients;
mod listen;
mod log;
mod store;

use std::time::Duration;

use super::{
    files::Files,
    reader::{Field, Table},
    settings::Settings,
};

/// Reads the whole tree. `None` exactly when a mistake was noted.
pub(super) fn settings(root: &Field<'_>, files: &Files) -> Option<Settings> {
    root.table(|root| {
        let listen = listen::read(&root.field("listen"));
        let store = store::read(&root.field("store"), files);
        let clients = clients::read(&root.field("clients"), files);
        let log = log::read(&root.field("log"));
        let shutdown_grace = shutdown_grace(root);
        for name in ["defaults", "endpoints", "exempt", "tiers", "limits"] {
            root.field(name);
        }
        root.not_yet("rls", "the grammar of Envoy's rate limit service");
        root.not_yet("gateway", "the gateway");
        Some(Settings {
            listen: listen?,
            store: store?,
            clients: clients?,
            log: log?,
            shutdown_grace: shutdown_grace?,
            warnings: Vec::new(),
        })
    })
}

fn shutdown_grace(root: &Table<'_>) -> Option<Duration> {
    root.field("shutdown_grace").duration(Duration::ZERO..=Duration::from_secs(60 * 60))
}
