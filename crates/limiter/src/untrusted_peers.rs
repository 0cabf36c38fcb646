//! Peers that send forwarding fields and are no trusted proxies: each is logged once.

use std::{
    collections::HashSet,
    net::IpAddr,
    sync::{PoisonError, RwLock},
};

/// How many peers are remembered, and so logged. Any client can send these fields, and must not be
/// able to fill the log.
const MOST: usize = 32;

/// The peers that were logged.
#[derive(Debug, Default)]
pub(crate) struct UntrustedPeers {
    logged: RwLock<HashSet<IpAddr>>,
}

impl UntrustedPeers {
    /// Logs that the forwarding fields of `peer` are ignored, once for each of the first peers.
    pub(crate) fn log(&self, peer: IpAddr) {
        if !self.is_new(peer) {
            return;
        }
        let count = {
            let mut logged = self.logged.write().unwrap_or_else(PoisonError::into_inner);
            if logged.len() >= MOST || !logged.insert(peer) {
                return;
            }
            logged.len()
        };
        tracing::warn!(
            %peer,
            "X-Forwarded-For or Forwarded of a peer that is no trusted proxy is ignored, and all \
             its requests have one address: if this is your proxy, add it to \
             clients.trusted_proxies"
        );
        if count == MOST {
            tracing::warn!(
                peers = MOST,
                "further peers with ignored forwarding fields are not logged: \
                 sluice_untrusted_forwarding_total counts their requests"
            );
        }
    }

    fn is_new(&self, peer: IpAddr) -> bool {
        let logged = self.logged.read().unwrap_or_else(PoisonError::into_inner);
        logged.len() < MOST && !logged.contains(&peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_new_once_and_only_so_many_peers_are() {
        let peers = UntrustedPeers::default();
        let peer = |number: u32| IpAddr::from(number.to_be_bytes());
        assert!(peers.is_new(peer(0)));
        peers.log(peer(0));
        assert!(!peers.is_new(peer(0)) && peers.is_new(peer(1)));
        for number in 0..1_000 {
            peers.log(peer(number));
        }
        assert_eq!(peers.logged.read().unwrap().len(), MOST);
        assert!(!peers.is_new(peer(2_000)), "the log is not filled by new peers");
    }
}
