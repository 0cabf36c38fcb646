//! The servers and the sentinels of a group, and which server is the primary.

use std::path::Path;
use std::time::Duration;

use super::options::SentinelOptions;
use crate::eventually::{eventually, eventually_within};
use crate::redis::options::User;
use crate::redis::reply::Reply;
use crate::redis::server::RedisServer;
use crate::redis::tls::SharedCertificate;

/// The name by which clients ask for the primary.
pub(super) const SERVICE: &str = "sluice";

const WELL_TIMEOUT: Duration = Duration::from_secs(60);

/// A primary, its replicas and their sentinels on 127.0.0.1, which are killed on drop.
///
/// All are [`RedisServer`]s: a test can pause, kill and restart each. A server that restarts has
/// lost its data; as a former primary it becomes a replica.
///
/// ```
/// use sluice_testkit::Sentinels;
///
/// let sentinels = Sentinels::start(1, 3);
/// let former = sentinels.primary().port();
/// sentinels.failover();
/// assert_ne!(sentinels.primary().port(), former);
/// ```
#[derive(Debug)]
pub struct Sentinels {
    pub(super) servers: Vec<RedisServer>,
    pub(super) sentinels: Vec<RedisServer>,
    pub(super) options: SentinelOptions,
    pub(super) _certificate: Option<SharedCertificate>,
}

impl Sentinels {
    /// Returns the URL for clients, such as
    /// `redis+sentinel://127.0.0.1:12345,127.0.0.1:12346/sluice`, with all sentinels; with TLS its
    /// scheme is `rediss+sentinel`, and it contains the user and the password of the servers if
    /// there are any.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.options.tls { "rediss+sentinel" } else { "redis+sentinel" };
        let login = self.options.user.as_ref().map(User::login).unwrap_or_default();
        let addresses: Vec<_> = self
            .sentinels
            .iter()
            .map(|sentinel| format!("127.0.0.1:{}", sentinel.port()))
            .collect();
        format!("{scheme}://{login}{}/{SERVICE}", addresses.join(","))
    }

    /// Returns the PEM file of the authority that signed the certificate of all.
    ///
    /// # Panics
    /// When the group was started without TLS.
    #[must_use]
    #[track_caller]
    pub fn ca_file(&self) -> &Path {
        assert!(self.options.tls, "this group was started without TLS: use SentinelOptions::tls");
        self.servers[0].ca_file()
    }

    /// Returns the servers: at first the one that began as the primary.
    #[must_use]
    pub fn servers(&self) -> &[RedisServer] {
        &self.servers
    }

    /// Returns the sentinels.
    #[must_use]
    pub fn sentinels(&self) -> &[RedisServer] {
        &self.sentinels
    }

    /// Returns the server that a sentinel names, which may be one that has just failed.
    ///
    /// # Panics
    /// When no sentinel runs.
    #[must_use]
    #[track_caller]
    pub fn primary(&self) -> &RedisServer {
        self.named_by(self.any_sentinel()).unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// Waits until all running sentinels name a running primary that accepts writes, and know every
    /// running replica as one that is linked to it, and each other.
    ///
    /// # Panics
    /// When this takes more than a minute. A former primary that restarts needs half of that on
    /// Redis 6, whose sentinels cannot be made faster.
    #[track_caller]
    pub fn wait_until_ok(&self) {
        eventually_within(WELL_TIMEOUT, "all sentinels know the group", || self.check());
    }

    /// Makes a replica the primary by a command to a sentinel, and waits until all running
    /// sentinels name it and it accepts writes.
    ///
    /// # Panics
    /// When no other server is the primary after twenty seconds.
    #[track_caller]
    pub fn failover(&self) {
        let sentinel = self.any_sentinel();
        let former = self.primary().port();
        eventually("the sentinel has failed over", || {
            // A failover ends without success when no replica is good enough at that moment. While
            // it runs, another is refused.
            if self.named_by(sentinel)?.port() == former {
                ask(sentinel, &["SENTINEL", "FAILOVER", SERVICE])?;
                return Err("it has only begun".to_owned());
            }
            Ok(())
        });
        self.wait_for_another(former);
    }

    /// Waits until all running sentinels name another primary than the server on the port
    /// `former`, and it accepts writes.
    ///
    /// # Panics
    /// When this takes more than twenty seconds.
    #[track_caller]
    pub fn wait_for_another(&self, former: u16) {
        eventually("all sentinels name another primary", || {
            let primary = self.agreed_primary()?;
            if primary.port() == former {
                Err("all name the former one".to_owned())
            } else {
                Ok(())
            }
        });
    }

    /// Returns the primary that all running sentinels name, if it accepts writes.
    fn agreed_primary(&self) -> Result<&RedisServer, String> {
        let mut primary: Option<&RedisServer> = None;
        for sentinel in running(&self.sentinels) {
            let named = self.named_by(sentinel)?;
            match primary {
                Some(other) if other.port() != named.port() => {
                    return Err(format!("they name {} and {}", other.port(), named.port()));
                }
                _ => primary = Some(named),
            }
        }
        let primary = primary.ok_or("no sentinel runs")?;
        if !primary.is_running() {
            return Err(format!("the primary {} does not run", primary.port()));
        }
        let role = ask(primary, &["ROLE"])?;
        match role.items().first().map(Reply::text).as_deref() {
            Some("master") => Ok(primary),
            _ => Err(format!("the role of {} is {role:?}", primary.port())),
        }
    }

    /// Returns the first thing that is not well.
    fn check(&self) -> Result<(), String> {
        let primary = self.agreed_primary()?;
        let replicas = running(&self.servers).filter(|server| server.port() != primary.port());
        let replicas: Vec<_> = replicas.map(RedisServer::port).collect();
        for sentinel in running(&self.sentinels) {
            let about = |problem| format!("sentinel {}: {problem}", sentinel.port());
            let others = running(&self.sentinels).filter(|other| other.port() != sentinel.port());
            let others: Vec<_> = others.map(RedisServer::port).collect();
            let port = primary.port().to_string();
            let linked = [("master-link-status", "ok"), ("master-port", &*port)];
            knows(sentinel, "REPLICAS", &replicas, &linked).map_err(about)?;
            knows(sentinel, "SENTINELS", &others, &[]).map_err(about)?;
        }
        Ok(())
    }

    fn named_by(&self, sentinel: &RedisServer) -> Result<&RedisServer, String> {
        let address = ask(sentinel, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE])?;
        let port = address.items().get(1).ok_or("a sentinel does not know the service")?.integer();
        let named = self.servers.iter().find(|server| i64::from(server.port()) == port);
        named.ok_or_else(|| format!("a sentinel names an unknown server on port {port}"))
    }

    #[track_caller]
    fn any_sentinel(&self) -> &RedisServer {
        match running(&self.sentinels).next() {
            Some(sentinel) => sentinel,
            None => panic!("no sentinel runs"),
        }
    }
}

/// Whether a list that a sentinel keeps has every one of these ports, each of a process that runs,
/// and with these fields.
fn knows(
    sentinel: &RedisServer,
    list: &str,
    ports: &[u16],
    fields: &[(&str, &str)],
) -> Result<(), String> {
    let known = ask(sentinel, &["SENTINEL", list, SERVICE])?;
    for port in ports.iter().map(u16::to_string) {
        let text = |entry: &Reply, name| entry.field(name).map(Reply::text);
        let mut entries = known.items().iter();
        let entry = entries.find(|entry| text(entry, "port").as_ref() == Some(&port));
        let entry = entry.ok_or_else(|| format!("it does not know {port}"))?;
        let flags = text(entry, "flags").unwrap_or_default();
        if flags.split(',').any(|flag| ["s_down", "o_down", "disconnected"].contains(&flag)) {
            return Err(format!("it thinks that {port} is {flags}"));
        }
        for (name, expected) in fields {
            let found = text(entry, name).unwrap_or_default();
            if found != *expected {
                return Err(format!("the {name} of {port} is `{found}`, not `{expected}`"));
            }
        }
    }
    Ok(())
}

fn running(servers: &[RedisServer]) -> impl Iterator<Item = &RedisServer> {
    servers.iter().filter(|server| server.is_running())
}

fn ask(server: &RedisServer, command: &[&str]) -> Result<Reply, String> {
    server.try_command(command).map_err(|error| error.to_string())
}
