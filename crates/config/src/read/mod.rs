//! The grammar: one file a section. Each reads fields, and builds a part of the
//! [`Settings`](crate::Settings) from them.

mod access;
mod address;
mod admin;
mod algorithm;
mod clients;
mod costs;
mod gateway;
mod limits;
mod listen;
mod llm;
mod log;
mod metering;
mod metrics;
mod number_key;
mod numbers;
mod places;
mod policy;
pub(crate) mod rls;
mod secret;
mod slos;
mod start_file;
mod store;
mod tiers;
mod tls;
mod uncounted;

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use config::{Map, Value, ValueKind};
use sluice_core::{OnStoreFailure, Tagger};

pub use self::address::parse as parse_address;
use self::{policy::OtherSections, tiers::Members};
use crate::{
    error::{ErrorLog, Refused},
    files::Files,
    origin::Origin,
    reader::{Field, Reading, Table},
    settings::{Settings, StoreUrl},
};

/// Longer than any orchestrator waits for a process to end.
const LONGEST_SHUTDOWN: Duration = Duration::from_secs(60 * 60);

/// Returns the path of every key that tables of the grammar have, as in `store.url`. The keys of
/// tables with free names, such as those of one tier, and those of lists are left out.
///
/// They are found by reading, so that there is no second list of them: a tree in which every known
/// key is an empty table shows the keys of these tables, and so on.
pub(super) fn keys() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    loop {
        let tree = Value::new(None, empty_tables(&keys));
        let (errors, warnings) = (ErrorLog::default(), ErrorLog::default());
        let reading = Reading::new(Origin::BuiltIn, &errors, &warnings).collecting_keys();
        // Most of it is refused, since few values are tables.
        let _errors = settings(&reading.root(&tree), &Files::without_secrets());
        let found = reading.into_keys();
        if found.len() <= keys.len() {
            return keys;
        }
        keys = found;
    }
}

/// Returns a tree in which each of these paths is a table.
fn empty_tables(paths: &BTreeSet<String>) -> Map<String, Value> {
    let mut root = Map::new();
    for path in paths {
        let mut table = &mut root;
        for key in path.split('.') {
            let value = table
                .entry(key.to_owned())
                .or_insert_with(|| Value::new(None, Map::<String, Value>::new()));
            match &mut value.kind {
                ValueKind::Table(inner) => table = inner,
                _ => break,
            }
        }
    }
    root
}

/// Reads `listen.http` alone; `None` if it has an error.
pub(super) fn http_address(field: &Field<'_>) -> Option<SocketAddr> {
    let listen = |listen: &Table<'_>| address::address(&listen.field("http"));
    field.table(|root| root.field("listen").table(listen)).ok()
}

/// Reads the whole tree.
pub(super) fn settings(field: &Field<'_>, files: &Files) -> Result<Settings, Refused> {
    field.table(|root| {
        let listen = listen::read(&root.field("listen"), files);
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
        let (policy, written) = match policy {
            Ok((policy, written)) => (Ok(policy), written),
            Err(refused) => (Err(refused), Vec::new()),
        };
        let preflights = root.field("preflights");
        let preflights = preflights.choice(&[("exempt", false), ("limited", true)]);
        let rls = root.field("rls").optional(|rls| rls::read(rls, files));
        let gateway = gateway::read(&root.field("gateway"), files);
        if matches!((&listen, &gateway), (Ok(listen), Ok(Some(_))) if !listen.any_path) {
            root.field("listen").warn(
                "`any_path: off` has no effect: the paths that are not Sluice's belong to \
                 gateway.upstream",
            );
        }
        let llm = llm::read(&root.field("llm"), gateway.as_ref().ok().map(Option::is_some));
        let admin = admin::read(&root.field("admin"), listen.as_ref().ok(), files);
        let access = access::read(&root.field("access"), files);
        let metrics = metrics::read(&root.field("metrics"), policy.as_ref().ok());
        let slos = slos::read(&root.field("slos"));
        let costs = costs::read(&root.field("costs"));
        uncounted::warn(
            field,
            &written,
            gateway.as_ref().ok().map(Option::is_some),
            llm.as_ref().ok().map(Option::as_ref),
            costs.as_ref().ok().map(|costs| &costs.prices),
        );
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
            limits_preflights: preflights?,
            rls: rls?,
            gateway: gateway?,
            llm: llm?,
            admin: admin?,
            access: access?,
            metrics: metrics?,
            slos: slos?,
            costs: costs?,
            log: log?,
            shutdown_delay: shutdown_delay?,
            shutdown_grace: shutdown_grace?,
            replaced_endpoints: Vec::new(),
            warnings: Vec::new(),
        })
    })
}
