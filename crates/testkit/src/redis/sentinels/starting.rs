//! How a primary, its replicas and their sentinels are started.

use super::group::{SERVICE, Sentinels};
use super::options::SentinelOptions;
use crate::eventually::eventually;
use crate::redis::launch::KIT_USER;
use crate::redis::options::{RedisOptions, Role};
use crate::redis::program::{RedisProgram, major_version};
use crate::redis::server::RedisServer;
use crate::redis::tls::SharedCertificate;

/// Shorter periods, in milliseconds, than ten seconds, one second, and half a minute without a
/// failover for a sentinel that was paused.
const PERIODS: [&str; 6] = ["INFO-PERIOD", "500", "ASK-PERIOD", "200", "TILT-PERIOD", "500"];

/// How often, in milliseconds, sentinels announce themselves while the group starts.
const FIRST_PUBLISH_PERIOD: &str = "200";
/// And afterwards. For four times as long, a sentinel leaves a replica alone that another one is
/// about to promote, so this must not be much shorter.
const PUBLISH_PERIOD: &str = "1000";

/// After how many milliseconds a failover that did not succeed is repeated.
const FAILOVER_TIMEOUT: u32 = 3_000;

impl Sentinels {
    /// Starts a primary, so many replicas and so many sentinels, without TLS and passwords.
    ///
    /// # Panics
    /// As [`SentinelOptions::start`].
    #[must_use]
    #[track_caller]
    pub fn start(replicas: usize, sentinels: usize) -> Self {
        SentinelOptions::new(replicas, sentinels).start()
    }

    /// Changes what sentinels do until they restart.
    #[track_caller]
    fn debug(&self, settings: &[&str]) {
        for sentinel in &self.sentinels {
            sentinel.command(&[&["SENTINEL", "DEBUG"], settings].concat());
        }
    }
}

impl SentinelOptions {
    /// Starts the servers and the sentinels, and waits until every replica is linked to its primary
    /// and every sentinel knows the replicas and the other sentinels.
    ///
    /// # Panics
    /// When there is no sentinel, the program is not found, a process does not start, or this takes
    /// more than twenty seconds.
    #[must_use]
    #[track_caller]
    pub fn start(mut self) -> Sentinels {
        assert!(self.sentinels > 0, "at least one sentinel is needed");
        let program = self.program.take().unwrap_or_else(|| RedisProgram::Redis.path());
        let version = major_version(&program);
        let certificate = self.tls.then(SharedCertificate::create);
        let process = RedisOptions {
            tls: self.tls,
            certificate: certificate.as_ref().map(|shared| shared.files.clone()),
            program: Some(program),
            args: if self.tls { words(&["--tls-replication", "yes"]) } else { Vec::new() },
            ..RedisOptions::default()
        };

        let mut server = RedisOptions { user: self.user.clone(), ..process.clone() };
        server.args.extend(words(&["--masteruser", KIT_USER, "--masterauth", KIT_USER]));
        // The replica that waits five seconds for others to come is not yet one to fail over to.
        server.args.extend(words(&["--repl-diskless-sync-delay", "0"]));
        let mut replica = server.clone();
        let mut servers = vec![server.args(&as_words(&self.args)).start()];
        let port = servers[0].port();
        replica.args.extend(words(&["--replicaof", "127.0.0.1", &port.to_string()]));
        let replica = replica.args(&as_words(&self.args));
        servers.extend(RedisOptions::start_together(vec![replica; self.replicas]));
        // A sentinel asks the primary for its replicas when it starts.
        wait_for_replicas(&servers[0], self.replicas);

        let role = Role::Sentinel(configuration(&self, port));
        let sentinel = RedisOptions { user: self.sentinel_user.clone(), role, ..process };
        let sentinels = RedisOptions::start_together(vec![sentinel; self.sentinels]);
        let group = Sentinels { servers, sentinels, options: self, _certificate: certificate };
        // Redis 6 cannot change its periods.
        if version >= 7 {
            group.debug(&[&["PUBLISH-PERIOD", FIRST_PUBLISH_PERIOD], &PERIODS[..]].concat());
        }
        group.wait_until_ok();
        if version >= 7 {
            group.debug(&["PUBLISH-PERIOD", PUBLISH_PERIOD]);
        }
        group
    }
}

#[track_caller]
fn wait_for_replicas(primary: &RedisServer, count: usize) {
    eventually("the replicas are linked to their primary", || {
        let info = primary.command(&["INFO", "replication"]).text();
        let linked = info.matches("state=online").count();
        (linked == count).then_some(()).ok_or_else(|| format!("{linked} of {count} are"))
    });
}

fn configuration(options: &SentinelOptions, primary: u16) -> String {
    let SentinelOptions { sentinels, down_after, .. } = options;
    let quorum = sentinels / 2 + 1;
    format!(
        "sentinel monitor {SERVICE} 127.0.0.1 {primary} {quorum}\n\
         sentinel down-after-milliseconds {SERVICE} {down_after}\n\
         sentinel failover-timeout {SERVICE} {FAILOVER_TIMEOUT}\n\
         sentinel auth-user {SERVICE} {KIT_USER}\n\
         sentinel auth-pass {SERVICE} {KIT_USER}\n\
         sentinel sentinel-user {KIT_USER}\n\
         sentinel sentinel-pass {KIT_USER}\n"
    )
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn as_words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}
