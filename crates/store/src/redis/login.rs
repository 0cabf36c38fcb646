//! How a connection logs in and is encrypted, to a server or to a Sentinel.

use std::{fs, net::IpAddr, path::PathBuf, time::Duration};

use redis::{AsyncConnectionConfig, ConnectionAddr, RedisConnectionInfo};

use super::{
    address::HostPort,
    redis_error::RedisError,
    tls::{ServerOf, Tls},
};

/// A new connection may take this many times as long as a call, since it has to log in and perhaps
/// to set up TLS. Callers with a shorter deadline of their own do not wait for it.
pub(super) const CONNECT_FACTOR: u32 = 20;

/// How to log in, and how to encrypt.
#[derive(Clone)]
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    /// Read for every new connection, so that a password can be rotated.
    pub(super) password_file: Option<PathBuf>,
    /// `None` for plain text.
    pub(super) tls: Option<Tls>,
}

impl Login {
    /// Returns the password; reads its file, if there is one.
    pub(super) fn password(&self) -> Result<Option<String>, RedisError> {
        let Some(file) = &self.password_file else { return Ok(self.password.clone()) };
        let text = fs::read_to_string(file).map_err(|source| RedisError::file(file, source))?;
        Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
    }

    /// Returns the address of `server`, whose certificate must have the name `name`.
    pub(super) fn address(&self, server: &HostPort, name: &str) -> ConnectionAddr {
        match &self.tls {
            Some(tls) => tls.address(server, name),
            None => ConnectionAddr::Tcp(server.host.clone(), server.port),
        }
    }

    /// Returns how a connection logs in with `password`.
    pub(super) fn redis_settings(&self, password: Option<&str>) -> RedisConnectionInfo {
        // Connections have a name. The name of the library is worth no further permission.
        let mut settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(user) = &self.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = password {
            settings = settings.set_password(password);
        }
        settings
    }

    /// Returns the bounds of a connection to `server`.
    pub(super) fn configuration(
        &self,
        server: &HostPort,
        connect: Duration,
        response: Duration,
    ) -> AsyncConnectionConfig {
        let configuration = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connect))
            .set_response_timeout(Some(response));
        match &self.tls {
            // The name of the certificate may be another one than that of the host.
            Some(_) => configuration.set_dns_resolver(ServerOf(server.clone())),
            None => configuration,
        }
    }
}

pub(super) fn is_ip(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
}
