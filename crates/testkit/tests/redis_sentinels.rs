//! `Sentinels` with every server that Sluice has to work with.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};

use sluice_testkit::{RedisProgram, RedisServer, SentinelOptions};

/// Makes a test of each function for a program.
macro_rules! tests {
    ($module:ident, $program:ident: $($test:ident),+ $(,)?) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    super::$test(&super::options(sluice_testkit::RedisProgram::$program));
                }
            )+
        }
    };
}

tests!(redis, Redis:
    a_replica_takes_over_on_command_and_back,
    a_replica_takes_over_from_a_killed_primary,
    a_former_primary_that_restarts_becomes_a_replica,
    servers_and_sentinels_have_users_of_their_own,
    a_replica_takes_over_with_tls,
    sentinels_restart_with_what_they_know,
);
tests!(redis_6, Redis6: a_replica_takes_over_from_a_killed_primary);
tests!(valkey_8, Valkey8: a_replica_takes_over_from_a_killed_primary);
tests!(valkey_9, Valkey9: a_replica_takes_over_from_a_killed_primary);

fn options(program: RedisProgram) -> SentinelOptions {
    SentinelOptions::new(1, 3).program(program.path())
}

/// The reply to a line that a client sends without TLS.
fn reply(server: &RedisServer, line: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
    stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
    BufReader::new(stream).lines().next().unwrap().unwrap()
}

fn a_replica_takes_over_on_command_and_back(options: &SentinelOptions) {
    let group = options.clone().start();
    let ports: Vec<_> =
        group.sentinels().iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port())).collect();
    assert_eq!(group.url(), format!("redis+sentinel://{}/sluice", ports.join(",")));
    let first = group.primary();
    assert_eq!(first.port(), group.servers()[0].port());
    first.command(&["SET", "key", "value"]);
    first.command(&["WAIT", "1", "10000"]);

    group.failover();
    let second = group.primary();
    assert_eq!(second.port(), group.servers()[1].port());
    assert_eq!(second.command(&["GET", "key"]).text(), "value");
    group.wait_until_ok();
    assert_eq!(first.command(&["ROLE"]).items()[0].text(), "slave");

    group.failover();
    assert_eq!(group.primary().port(), first.port());
    first.command(&["SET", "key", "other"]);
}

fn a_replica_takes_over_from_a_killed_primary(options: &SentinelOptions) {
    let group = options.clone().start();
    let former = group.primary();
    former.kill();
    group.wait_for_another(former.port());
    let primary = group.primary();
    assert_ne!(primary.port(), former.port());
    primary.command(&["SET", "key", "value"]);
}

fn a_former_primary_that_restarts_becomes_a_replica(options: &SentinelOptions) {
    let group = options.clone().start();
    let former = group.primary();
    former.kill();
    group.wait_for_another(former.port());
    former.restart();
    group.wait_until_ok();
    assert_eq!(former.command(&["ROLE"]).items()[0].text(), "slave");
}

fn servers_and_sentinels_have_users_of_their_own(options: &SentinelOptions) {
    let group = options.clone().user("sluice", "p@ss").sentinel_user("watcher", "other").start();
    assert!(group.url().starts_with("redis+sentinel://sluice:p%40ss@127.0.0.1:"));
    let (server, sentinel) = (group.primary(), &group.sentinels()[0]);
    for refused in [reply(server, "PING"), reply(sentinel, "PING")] {
        assert!(refused.starts_with("-NOAUTH"), "{refused}");
    }
    assert_eq!(reply(server, "AUTH sluice p@ss"), "+OK");
    assert_eq!(reply(sentinel, "AUTH watcher other"), "+OK");
    assert!(reply(sentinel, "AUTH sluice p@ss").starts_with("-WRONGPASS"));
    group.failover();
}

fn a_replica_takes_over_with_tls(options: &SentinelOptions) {
    let group = options.clone().tls().start();
    assert!(group.url().starts_with("rediss+sentinel://127.0.0.1:"));
    assert!(group.ca_file().is_file());
    group.failover();
    assert_eq!(group.primary().port(), group.servers()[1].port());
}

fn sentinels_restart_with_what_they_know(options: &SentinelOptions) {
    let group = options.clone().sentinel_user("default", "secret").start();
    group.failover();
    let sentinel = &group.sentinels()[0];
    sentinel.restart();
    assert!(reply(sentinel, "PING").starts_with("-NOAUTH"));
    group.wait_until_ok();
    assert_eq!(group.primary().port(), group.servers()[1].port());
}
