//! Peers that send forwarding fields and are no trusted proxies: each is logged once.

use std::net::IpAddr;

use crate::first_values::{FirstValues, MOST};

/// The peers that were logged.
#[derive(Debug, Default)]
pub(crate) struct UntrustedPeers {
    logged: FirstValues<IpAddr>,
}

impl UntrustedPeers {
    /// Logs that the forwarding fields of `peer` are ignored, once for each of the first peers.
    pub(crate) fn log(&self, peer: IpAddr) {
        let Some(count) = self.logged.note(&peer) else { return };
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
}
