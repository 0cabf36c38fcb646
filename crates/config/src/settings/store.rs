//! The settings of the store.

use std::{path::PathBuf, time::Duration};

use sluice::{
    RedisSettings,
    store::{ColdStart, SentinelSettings},
};
use sluice_core::OnStoreFailure;

use super::{Secret, StoreUrl};

/// The store of the buckets, and what happens when it fails.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreSettings {
    /// Which store.
    pub url: StoreUrl,
    /// What every key begins with. Replicas with the same URL and prefix are one fleet.
    pub prefix: String,
    /// How long one decision may wait for the store.
    pub timeout: Duration,
    /// How long after its start a replica is not ready while the store has never responded.
    pub wait_at_start: Duration,
    /// What happens when the store fails, unless a limit says it.
    pub on_failure: OnStoreFailure,
    /// What a bucket that was never seen holds, while the store has lost its memory lately.
    pub cold_start: ColdStart,
    /// How many connections a replica has to each server, which all its calls share.
    pub connections: usize,
    /// How many replicas the fleet should have at least; `None` if that is not known. While the
    /// store is away, limits are divided among that many, or among more that are live.
    pub expected_replicas: Option<u64>,
    /// A file with the password, which is read again at each new connection.
    pub password_file: Option<PathBuf>,
    /// A file with the certificates, in PEM, that verify the servers of a URL with TLS; `None` for
    /// the system's own.
    pub ca_file: Option<PathBuf>,
    /// The certificate that is shown to the servers.
    pub client_certificate: Option<ClientCertificate>,
    /// The name that the servers' certificates must have, instead of their hosts.
    pub tls_name: Option<String>,
    /// How to log in to Sentinels.
    pub sentinel: SentinelLogin,
}

/// The files of a client certificate and its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// The certificate's key.
    pub key: PathBuf,
}

/// How to log in to Sentinels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SentinelLogin {
    /// The user; `None` for `default`.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// A file with the password, which is read again for each question.
    pub password_file: Option<PathBuf>,
    /// A file with the certificates, in PEM, that verify Sentinels; `None` for those of the
    /// servers.
    pub ca_file: Option<PathBuf>,
}

impl StoreSettings {
    /// Returns the fewest replicas among which limits are divided while the store is away.
    #[must_use]
    pub fn fewest_replicas(&self) -> usize {
        let expected = self.expected_replicas.unwrap_or(1);
        usize::try_from(expected).unwrap_or(usize::MAX)
    }

    /// The same for a Redis store; `None` when buckets live in memory.
    #[must_use]
    pub fn redis(&self) -> Option<RedisSettings> {
        let StoreUrl::Redis(url) = &self.url else { return None };
        let SentinelLogin { user, password, password_file, ca_file } = self.sentinel.clone();
        let sentinel = SentinelSettings::new()
            .user(user)
            .password(password.map(|password| password.reveal().to_owned()))
            .password_file(password_file)
            .ca_file(ca_file);
        let settings = RedisSettings::new(url.reveal())
            .password_file(self.password_file.clone())
            .ca_file(self.ca_file.clone())
            .tls_name(self.tls_name.clone())
            .sentinel(sentinel)
            .cold_start(self.cold_start)
            .prefix(&self.prefix)
            .timeout(self.timeout)
            .connections(self.connections)
            .expected_replicas(self.fewest_replicas());
        Some(match &self.client_certificate {
            Some(ClientCertificate { certificate, key }) => {
                settings.client_certificate(certificate, key)
            }
            None => settings,
        })
    }
}
