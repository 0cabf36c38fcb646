//! The name of this process in its fleet.

use std::hash::{BuildHasher, Hasher, RandomState};

use sluice_store::Replica;

/// Returns a replica with a unique name: the host's name and 64 random bits. The name changes when
/// the process restarts.
pub(crate) fn with_unique_name() -> Replica {
    let host = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    // The standard library seeds the hashers of its maps randomly.
    let random = RandomState::new().build_hasher().finish();
    let id = format!("{}-{random:016x}", host.as_deref().unwrap_or("sluice"));
    Replica::new(id, env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_unique() {
        assert_ne!(with_unique_name().id, with_unique_name().id);
    }
}
