//! What this process is called in its fleet.

use std::hash::{BuildHasher, Hasher, RandomState};

use sluice_store::Replica;

/// A name that no other process has, and that this one does not have again after a restart: the
/// host's, and 64 random bits.
pub(crate) fn named() -> Replica {
    let host = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    // The standard library's keys for hash maps are random for every process.
    let random = RandomState::new().build_hasher().finish();
    let id = format!("{}-{random:016x}", host.as_deref().unwrap_or("sluice"));
    Replica::new(id, env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replica_names_are_unique() {
        assert_ne!(named().id, named().id);
    }
}
