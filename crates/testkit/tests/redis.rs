//! `RedisServer` with a real redis-server.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::process::{Pid, test_kill_process};
use sluice_testkit::{CommandError, RedisOptions, RedisServer};

/// Sends each line over one connection without TLS, and returns the replies.
fn replies(redis: &RedisServer, lines: &[&str]) -> Vec<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, redis.port())).unwrap();
    let mut received = BufReader::new(stream.try_clone().unwrap()).lines();
    lines
        .iter()
        .map(|line| {
            stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
            received.next().unwrap().unwrap()
        })
        .collect()
}

#[test]
fn a_started_server_replies_to_clients_on_its_port() {
    let redis = RedisServer::start();
    assert_eq!(redis.url(), format!("redis://127.0.0.1:{}", redis.port()));
    assert_eq!(replies(&redis, &["PING"]), ["+PONG"]);
    assert_eq!(redis.info("process_id"), redis.pid().to_string());
}

#[test]
fn servers_that_start_at_the_same_time_share_nothing() {
    std::thread::scope(|scope| {
        for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            scope.spawn(move || {
                let redis = RedisServer::start();
                redis.command(&["SET", name, name]);
                assert_eq!(redis.command(&["KEYS", "*"]).texts(), [name]);
            });
        }
    });
}

#[test]
fn a_dropped_server_leaves_neither_a_process_nor_a_directory() {
    let redis = RedisServer::start();
    let (pid, directory) = (redis.pid(), redis.directory().to_owned());
    drop(redis);
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    assert!(test_kill_process(pid).is_err());
    assert!(!directory.exists());
}

#[test]
fn a_restart_keeps_the_port_and_loses_the_data() {
    let redis = RedisServer::start();
    let (port, pid) = (redis.port(), redis.pid());
    redis.command(&["SET", "key", "value"]);
    redis.restart();
    assert_eq!(redis.port(), port);
    assert_ne!(redis.pid(), pid);
    assert_eq!(replies(&redis, &["EXISTS key"]), [":0"]);
}

#[test]
fn data_survives_a_kill_with_persistence() {
    let redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    redis.command(&["SET", "key", "value"]);
    redis.kill();
    redis.restart();
    assert_eq!(redis.command(&["GET", "key"]).text(), "value");
}

#[test]
fn a_killed_server_refuses_connections_and_commands() {
    let redis = RedisServer::start();
    redis.kill();
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, redis.port())).is_err());
    assert!(matches!(redis.try_command(&["PING"]), Err(CommandError::Unreachable(_))));
}

#[test]
fn a_paused_server_accepts_connections_and_replies_when_resumed() {
    let redis = RedisServer::start();
    redis.pause();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, redis.port())).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut reply = String::new();
    assert!(BufReader::new(&stream).read_line(&mut reply).is_err());
    redis.resume();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    BufReader::new(&stream).read_line(&mut reply).unwrap();
    assert_eq!(reply, "+PONG\r\n");
}

#[test]
fn a_user_needs_the_password() {
    let redis = RedisOptions::new().user("sluice", "p@ss/word").start();
    assert_eq!(redis.url(), format!("redis://sluice:p%40ss%2Fword@127.0.0.1:{}", redis.port()));
    let received = replies(&redis, &["PING", "AUTH sluice p@ss/word", "SET key value"]);
    assert!(received[0].starts_with("-NOAUTH"), "{received:?}");
    assert_eq!(received[1..], ["+OK", "+OK"]);
}

#[test]
fn a_password_alone_belongs_to_the_default_user() {
    let redis = RedisOptions::new().user("default", "secret").start();
    assert_eq!(redis.url(), format!("redis://:secret@127.0.0.1:{}", redis.port()));
    let received = replies(&redis, &["PING", "AUTH secret", "PING"]);
    assert!(received[0].starts_with("-NOAUTH"), "{received:?}");
    assert_eq!(received[1..], ["+OK", "+PONG"]);
}

#[test]
fn the_kits_commands_work_after_a_password_change() {
    let redis = RedisOptions::new().user("sluice", "old").start();
    redis.command(&["ACL", "SETUSER", "sluice", "<old", ">new"]);
    assert!(replies(&redis, &["AUTH sluice old"])[0].starts_with("-WRONGPASS"));
    assert_eq!(replies(&redis, &["AUTH sluice new"]), ["+OK"]);
    assert_eq!(redis.command(&["PING"]).text(), "PONG");
}

#[test]
fn a_tls_server_has_a_certificate_and_executes_the_kits_commands() {
    let redis = RedisServer::start_tls();
    assert_eq!(redis.url(), format!("rediss://127.0.0.1:{}", redis.port()));
    assert!(
        std::fs::read_to_string(redis.ca_file())
            .unwrap()
            .starts_with("-----BEGIN CERTIFICATE-----")
    );
    assert_eq!(
        redis.command(&["CONFIG", "GET", "tls-port"]).texts(),
        ["tls-port", &redis.port().to_string()]
    );
    redis.restart();
    assert_eq!(redis.command(&["PING"]).text(), "PONG");
}

#[test]
fn the_error_of_a_command_has_the_reason() {
    let redis = RedisServer::start();
    let error = redis.try_command(&["GET"]).unwrap_err();
    assert_eq!(error.to_string(), "redis refused: ERR wrong number of arguments for 'get' command");
}

#[test]
fn a_restart_waits_until_the_port_is_free() {
    let redis = RedisServer::start();
    redis.kill();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, redis.port())).unwrap();
    std::thread::scope(|scope| {
        let restart = scope.spawn(|| redis.restart());
        drop(listener);
        restart.join().unwrap();
    });
    assert_eq!(replies(&redis, &["PING"]), ["+PONG"]);
}

#[test]
#[should_panic(expected = "Bad directive or wrong number of arguments")]
fn a_server_that_cannot_start_panics_with_its_log() {
    let _ = RedisServer::start_with(&["--no-such-option", "yes"]);
}
