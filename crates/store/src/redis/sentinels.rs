//! Asks Sentinels where the primary of a service is.
//!
//! The Sentinels are asked in turn, the one that last knew an answer first. What they say may be
//! out of date during a failover, so the new connection looks at the server's role, and a server
//! that turns out to be the wrong one lets the Sentinels be asked again.

use std::{fmt, time::Duration};

use redis::{Client, IntoConnectionInfo, RedisResult};
use tokio::sync::{Mutex, MutexGuard};

use super::{
    address::HostPort,
    error_meaning::Meaning,
    login::{CONNECT_FACTOR, Login, is_ip},
    redis_error::RedisError,
};
use crate::{StoreError, StoreFuture, join_all::join_all};

/// The longest time for one Sentinel's answer. The others may know it, so there is no use in
/// waiting for as long as a slow store is given.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Sentinels that watch the same service.
pub(super) struct Sentinels {
    setup: Box<SentinelSetup>,
    /// How long one of them may take to answer, connecting included.
    wait: Duration,
    order: Mutex<Order>,
}

/// Where Sentinels are, and how to ask them.
pub(super) struct SentinelSetup {
    pub(super) addresses: Vec<HostPort>,
    pub(super) service: String,
    pub(super) login: Login,
    /// The name that the certificates of those must have that are known by IP addresses.
    pub(super) tls_name: Option<String>,
    /// How long a call to the store may take.
    pub(super) timeout: Duration,
}

/// Which Sentinel is asked first. Whoever holds it asks alone.
#[derive(Debug, Default)]
pub(super) struct Order {
    first: usize,
}

/// What a Sentinel said, unless it named a primary.
struct NoAnswer {
    reason: String,
    /// Whether somebody has to correct the settings.
    is_about_settings: bool,
}

impl Sentinels {
    pub(super) fn new(setup: SentinelSetup) -> Self {
        let wait = (setup.timeout * CONNECT_FACTOR).min(MAX_WAIT);
        Self { setup: Box::new(setup), wait, order: Mutex::default() }
    }

    /// Waits until no other caller is asking.
    pub(super) async fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().await
    }

    /// Returns the address of the service's primary.
    ///
    /// # Errors
    /// When none of the Sentinels names one. The settings are wrong if all of them can be reached.
    pub(super) async fn primary(&self, order: &mut Order) -> Result<HostPort, StoreError> {
        let addresses = &self.setup.addresses;
        let mut reasons = Vec::with_capacity(addresses.len());
        let mut all_about_settings = true;
        let first = order.first;
        for offset in 0..addresses.len() {
            let index = (first + offset) % addresses.len();
            let address = &addresses[index];
            // If this caller gives up before there is an answer, the next one starts elsewhere.
            order.first = (index + 1) % addresses.len();
            match self.ask_in_time(address).await {
                Ok(primary) => {
                    order.first = index;
                    tracing::debug!(sentinel = %address, %primary, "found the primary");
                    return Ok(primary);
                }
                Err(NoAnswer { reason, is_about_settings }) => {
                    all_about_settings &= is_about_settings;
                    reasons.push(format!("{address}: {reason}"));
                }
            }
        }
        let (service, reasons) = (self.setup.service.clone(), reasons.join("; "));
        let error = RedisError::NoPrimary { service, reasons };
        Err(if all_about_settings {
            StoreError::wrong_settings(error)
        } else {
            StoreError::unreachable(error)
        })
    }

    /// Returns the primary if it is another one than `known`, as most Sentinels that answer say:
    /// one that is cut off may name the former primary for long.
    pub(super) async fn other_primary(&self, known: &HostPort) -> Option<HostPort> {
        let mut order = self.order().await;
        let primary = self.primary(&mut order).await.ok()?;
        drop(order);
        if primary == *known {
            return None;
        }
        let addresses = &self.setup.addresses;
        let asked = addresses.iter().map(|address| StoreFuture::pending(self.ask_in_time(address)));
        let answers: Vec<HostPort> = join_all(asked).await.into_iter().flatten().collect();
        let agree = answers.iter().filter(|answer| **answer == primary).count();
        (2 * agree > answers.len()).then_some(primary)
    }

    async fn ask_in_time(&self, address: &HostPort) -> Result<HostPort, NoAnswer> {
        let answer = tokio::time::timeout(self.wait, self.ask(address)).await;
        answer.unwrap_or_else(|_| Err(NoAnswer::timeout(self.wait)))
    }

    async fn ask(&self, address: &HostPort) -> Result<HostPort, NoAnswer> {
        let password = self.setup.login.password().map_err(|error| NoAnswer::password(&error))?;
        let named = self.named(address, password.as_deref()).await;
        let Some((host, port)) = named.map_err(|error| NoAnswer::error(&error))? else {
            return Err(NoAnswer::unknown_service());
        };
        Ok(HostPort { host, port })
    }

    /// Returns the host and port that a Sentinel names, or `None` if it does not know the service.
    async fn named(
        &self,
        address: &HostPort,
        password: Option<&str>,
    ) -> RedisResult<Option<(String, u16)>> {
        let SentinelSetup { login, tls_name, service, .. } = &*self.setup;
        let name = tls_name.as_deref().filter(|_| is_ip(&address.host));
        let target =
            login.address(address, name.unwrap_or(&address.host)).into_connection_info()?;
        let client = Client::open(target.set_redis_settings(login.redis_settings(password)))?;
        let configuration = login.configuration(address, self.wait, self.wait);
        let mut connection =
            client.get_multiplexed_async_connection_with_config(&configuration).await?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(service);
        command.query_async(&mut connection).await
    }
}

impl NoAnswer {
    fn timeout(wait: Duration) -> Self {
        Self { reason: format!("no reply within {wait:?}"), is_about_settings: false }
    }

    fn unknown_service() -> Self {
        Self { reason: "does not know the service".to_owned(), is_about_settings: true }
    }

    fn password(error: &RedisError) -> Self {
        Self { reason: error.to_string(), is_about_settings: false }
    }

    fn error(error: &redis::RedisError) -> Self {
        let text = error.to_string();
        if text.contains("unknown command") {
            return Self { reason: "is no Sentinel".to_owned(), is_about_settings: true };
        }
        let is_about_settings = Meaning::of(error) == Meaning::WrongSettings;
        Self { reason: text, is_about_settings }
    }
}

/// Shows no login.
impl fmt::Debug for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sentinels")
            .field("addresses", &self.setup.addresses)
            .field("service", &self.setup.service)
            .finish_non_exhaustive()
    }
}
