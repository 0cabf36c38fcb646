//! The name of this process in its fleet.

use sluice_store::Replica;

/// Returns this process as a replica: the host's name with a unique suffix, and our version.
pub(crate) fn this_process() -> Replica {
    let host = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    Replica::with_unique_id(host.as_deref().unwrap_or("sluice"), env!("CARGO_PKG_VERSION"))
}
