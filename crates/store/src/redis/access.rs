//! What all servers of one store share: the login, TLS, and the bounds of their connections.

use std::{fmt, time::Duration};

use deadpool_redis::{Hook, HookError, Manager, Pool, Runtime};
use redis::{
    Client, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, PushInfo, RedisResult,
    aio::MultiplexedConnection,
};
use tokio::sync::mpsc::UnboundedSender;

use super::{
    address::{HostPort, RedisAddress, Servers},
    greeting::{self, Kind},
    login::{CONNECT_FACTOR, Login, is_ip},
    redis_error::RedisError,
    redis_settings::RedisSettings,
    sentinels::{SentinelSetup, Sentinels},
    tls::{self, Tls, TlsFiles},
};

/// The least time for a call that no decision waits for.
const LEAST_TIMEOUT: Duration = Duration::from_secs(1);

/// The server at the end of a pool's connections.
pub(super) enum Server {
    /// The one at this address. `certificate_name` is the name that the cluster says it has.
    At { host: String, port: u16, certificate_name: Option<String> },
    /// The primary that Sentinels name, which is another one after a failover.
    PrimaryOf(Sentinels),
}

impl Server {
    /// A server whose certificate has the name of its host, if nothing else is said.
    pub(super) fn at(HostPort { host, port }: HostPort) -> Self {
        Self::At { host, port, certificate_name: None }
    }
}

/// What all servers of one store share.
#[derive(Clone)]
pub(super) struct Access {
    login: Login,
    database: i64,
    /// The name that certificates must have, whatever the server's address is.
    tls_name: Option<String>,
    /// The name that the URL gives to a cluster.
    cluster_name: Option<String>,
    kind: Kind,
    /// The most connections of a pool.
    size: usize,
    timeout: Duration,
}

impl Access {
    /// Reads the files that the settings name, except those of passwords.
    ///
    /// # Errors
    /// When the settings are invalid, or outside of a Tokio runtime.
    pub(super) fn new(
        settings: &RedisSettings,
        address: &RedisAddress,
    ) -> Result<Self, RedisError> {
        if settings.connections == 0 {
            return Err(RedisError::NoConnections);
        }
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(RedisError::NoRuntime);
        }
        let files = TlsFiles {
            authorities: settings.ca_file.as_deref(),
            certificate: settings.client_certificate.as_deref(),
            key: settings.client_key.as_deref(),
        };
        if let Some(name) = &settings.tls_name {
            if !address.is_encrypted {
                return Err(RedisError::CertificateWithoutTls);
            }
            require_name(name)?;
        }
        let login = Login {
            user: address.user.clone(),
            password: address.password.clone(),
            password_file: settings.password_file.clone(),
            tls: read_tls(address, files)?,
        };
        let (kind, cluster_name) = match &address.servers {
            Servers::Single { .. } => (Kind::Single, None),
            Servers::Sentinels { .. } => (Kind::WatchedPrimary, None),
            Servers::Cluster { nodes } => {
                let name = nodes.iter().find(|node| !is_ip(&node.host));
                (Kind::ClusterNode, name.map(|node| node.host.clone()))
            }
        };
        Ok(Self {
            login,
            database: address.database(),
            tls_name: settings.tls_name.clone(),
            cluster_name,
            kind,
            // Each lane holds one connection. The others are for announcements and probes.
            size: settings.connections + 2,
            timeout: settings.timeout,
        })
    }

    /// Returns the one server that `address` is about, or of a cluster the first node.
    pub(super) fn server(
        &self,
        settings: &RedisSettings,
        address: &RedisAddress,
    ) -> Result<Server, RedisError> {
        match &address.servers {
            Servers::Single { server, .. } => Ok(Server::at(server.clone())),
            Servers::Sentinels { sentinels, service, .. } => {
                let own = &settings.sentinel;
                let files = TlsFiles {
                    authorities: own.ca_file.as_deref().or(settings.ca_file.as_deref()),
                    certificate: settings.client_certificate.as_deref(),
                    key: settings.client_key.as_deref(),
                };
                let login = Login {
                    user: own.user.clone(),
                    password: own.password.clone(),
                    password_file: own.password_file.clone(),
                    tls: read_tls(address, files)?,
                };
                Ok(Server::PrimaryOf(Sentinels::new(SentinelSetup {
                    addresses: sentinels.clone(),
                    service: service.clone(),
                    login,
                    tls_name: self.tls_name.clone(),
                    timeout: self.timeout,
                })))
            }
            Servers::Cluster { nodes } => Ok(Server::at(nodes[0].clone())),
        }
    }

    /// Fails if no certificate can have the name that `server` needs.
    pub(super) fn check_name(&self, server: &Server) -> Result<(), RedisError> {
        match server {
            Server::At { host, certificate_name, .. } if self.is_encrypted() => {
                require_name(self.certificate_name(host, certificate_name.as_deref()))
            }
            _ => Ok(()),
        }
    }

    pub(super) const fn is_encrypted(&self) -> bool {
        self.login.tls.is_some()
    }

    pub(super) const fn login(&self) -> &Login {
        &self.login
    }

    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns how long it may take to open a connection.
    pub(super) fn connect_timeout(&self) -> Duration {
        self.timeout * CONNECT_FACTOR
    }

    /// Makes a pool of connections to `server` that log in with `password`.
    pub(super) fn pool(
        &self,
        server: &HostPort,
        certificate_name: Option<&str>,
        password: Option<&str>,
    ) -> Result<Pool, RedisError> {
        let configuration = self.login.configuration(server, self.connect_timeout(), self.timeout);
        let manager = self
            .target(server, certificate_name, password)
            .and_then(|target| Manager::new_with_config(target, configuration))
            .map_err(|error| RedisError::Tls(error.into()))?;
        let kind = self.kind;
        Pool::builder(manager)
            .max_size(self.size)
            .runtime(Runtime::Tokio1)
            .post_create(Hook::async_fn(move |connection, _| {
                Box::pin(greeting::greet(connection, kind))
            }))
            .build()
            .map_err(|_| RedisError::NoRuntime)
    }

    /// Opens a connection to `server` that hands what the server sends unasked to `pushes`.
    ///
    /// # Errors
    /// Those of a new connection of a pool.
    pub(super) async fn open_with_pushes(
        &self,
        server: &HostPort,
        certificate_name: Option<&str>,
        password: Option<&str>,
        pushes: UnboundedSender<PushInfo>,
    ) -> Result<MultiplexedConnection, HookError> {
        let response = self.timeout.max(LEAST_TIMEOUT);
        let configuration = self.login.configuration(server, self.connect_timeout(), response);
        let mut target =
            self.target(server, certificate_name, password).map_err(HookError::Backend)?;
        // In the older protocol, a connection with a subscription has no other replies.
        let login = target.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        target = target.set_redis_settings(login);
        let client = Client::open(target).map_err(HookError::Backend)?;
        let configuration = configuration.set_push_sender(pushes);
        let opened = client.get_multiplexed_async_connection_with_config(&configuration).await;
        let mut connection = opened.map_err(HookError::Backend)?;
        greeting::greet(&mut connection, self.kind).await?;
        Ok(connection)
    }

    /// Returns where `server` is, and how to log in there with `password`.
    fn target(
        &self,
        server: &HostPort,
        certificate_name: Option<&str>,
        password: Option<&str>,
    ) -> RedisResult<ConnectionInfo> {
        let name = self.certificate_name(&server.host, certificate_name);
        let login = self.login.redis_settings(password).set_db(self.database);
        let target = self.login.address(server, name).into_connection_info()?;
        Ok(target.set_redis_settings(login))
    }

    /// Returns the name that the certificate of `server` must have: the one in the settings, the
    /// one that the cluster says, or its host. A node of a cluster that is known by its IP address
    /// alone may have a certificate of the cluster.
    fn certificate_name<'a>(&'a self, host: &'a str, certificate_name: Option<&'a str>) -> &'a str {
        let of_cluster = self.cluster_name.as_deref().filter(|_| is_ip(host));
        self.tls_name.as_deref().or(certificate_name).or(of_cluster).unwrap_or(host)
    }
}

fn require_name(name: &str) -> Result<(), RedisError> {
    if tls::is_name(name) { Ok(()) } else { Err(RedisError::TlsName { name: name.to_owned() }) }
}

fn read_tls(address: &RedisAddress, files: TlsFiles<'_>) -> Result<Option<Tls>, RedisError> {
    if address.is_encrypted {
        return Tls::read(files).map(Some);
    }
    let TlsFiles { authorities, certificate, key } = files;
    if authorities.or(certificate).or(key).is_some() {
        return Err(RedisError::CertificateWithoutTls);
    }
    Ok(None)
}

/// Shows no login.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("kind", &self.kind)
            .field("database", &self.database)
            .field("size", &self.size)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
