//! How a server is recognized, and reached with TLS.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{error::Error, time::Duration};

use sluice_store::{RedisHandle, RedisSettings, RedisStore, Store, StoreError};
use sluice_testkit::{RedisOptions, RedisServer};

/// Settings with a timeout that no call reaches, however slow the machine is.
fn settings(url: impl Into<String>) -> RedisSettings {
    RedisSettings::new(url).timeout(Duration::from_secs(60))
}

/// Returns the result of a write.
async fn write(settings: &RedisSettings) -> Result<(), StoreError> {
    RedisStore::new(settings, ()).unwrap().probe().await
}

/// Returns the cause of an error that only other settings mend.
fn cause(error: StoreError) -> String {
    let StoreError::WrongSettings(cause) = error else { panic!("{error:?}") };
    cause.to_string()
}

fn chain(error: &dyn Error) -> String {
    let cause = error.source().map(chain).unwrap_or_default();
    format!("{error}; {cause}")
}

#[tokio::test]
async fn a_server_of_another_kind_is_named_with_the_url_that_would_be_right() {
    let node = RedisServer::start_with(&["--cluster-enabled", "yes"]);
    let error = cause(write(&settings(node.url())).await.unwrap_err());
    assert!(error.contains(": the server is a node of a cluster"), "{error}");
    assert!(error.contains("`redis+cluster://h1:6379,h2:6379`"), "{error}");

    let single = RedisServer::start();
    let url = single.url().replace("redis://", "redis+cluster://");
    let error = cause(write(&settings(url)).await.unwrap_err());
    assert!(error.contains(": the server is no node of a cluster"), "{error}");
    assert!(error.contains("`redis://`"), "{error}");
}

#[tokio::test]
async fn connections_have_a_name_unless_the_user_may_not_give_one() {
    let server = RedisServer::start();
    let names = || server.command(&["CLIENT", "LIST"]).text().matches(" name=sluice ").count();
    let store = RedisStore::new(&settings(server.url()), ()).unwrap();
    store.probe().await.unwrap();
    assert_eq!(names(), 1);
    server.command(&["ACL", "SETUSER", "default", "-client", "-hello"]);
    let handle = RedisHandle::new(&settings(server.url()), Duration::ZERO).unwrap();
    let mut write = redis::pipe();
    write.cmd("SET").arg("key").arg(1);
    handle.run(&write).await.unwrap();
    assert_eq!((names(), handle.open_connections()), (1, 1));
}

#[tokio::test]
async fn a_url_without_tls_for_a_port_with_tls_is_named_and_the_reverse() {
    let (plain, encrypted) = (RedisServer::start(), RedisServer::start_tls());
    let url = format!("redis://127.0.0.1:{}", encrypted.port());
    // The server's reply may be lost, because it resets the connection.
    let error = chain(&write(&settings(url)).await.unwrap_err());
    assert!(error.contains("`rediss` instead of `redis`"), "{error}");

    let url = format!("rediss://127.0.0.1:{}", plain.port());
    // It waits for the end of a command, which never comes, so somebody has to give up.
    let settings =
        settings(url).ca_file(encrypted.ca_file().to_owned()).timeout(Duration::from_millis(100));
    let error = chain(&write(&settings).await.unwrap_err());
    assert!(error.contains("`redis` instead of `rediss`"), "{error}");
}

#[tokio::test]
async fn a_certificate_is_verified_against_the_name_in_the_settings() {
    let binds = ["--bind", "127.0.0.1", "127.0.0.2"];
    let server = RedisOptions::new().tls().args(&binds).start();
    // The certificate is for `localhost` and 127.0.0.1.
    let by_address = settings(format!("rediss://127.0.0.2:{}", server.port()))
        .ca_file(server.ca_file().to_owned());
    let error = write(&by_address).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
    assert!(chain(&error).contains("certificate not valid for name"), "{}", chain(&error));
    write(&by_address.clone().tls_name("localhost".to_owned())).await.unwrap();
    write(&settings(server.url()).ca_file(server.ca_file().to_owned())).await.unwrap();

    let other = by_address.tls_name("other.example".to_owned());
    assert!(matches!(write(&other).await, Err(StoreError::Unreachable(_))));
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_the_server() {
    let server = RedisOptions::new().tls().args(&["--tls-auth-clients", "yes"]).start();
    let without = settings(server.url()).ca_file(server.ca_file().to_owned());
    let error = write(&without).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
    let [certificate, key] = ["server.pem", "server.key"].map(|name| server.directory().join(name));
    write(&without.clone().client_certificate(&certificate, &key)).await.unwrap();

    let swapped = without.client_certificate(&key, &certificate);
    let error = RedisStore::new(&swapped, ()).unwrap_err().to_string();
    assert!(error.contains("server.key contains no certificate"), "{error}");
}

#[tokio::test]
async fn settings_of_tls_need_a_url_with_tls() {
    let plain = settings("redis://127.0.0.1:1");
    for settings in [
        plain.clone().ca_file(std::path::PathBuf::from("ca.pem")),
        plain.clone().client_certificate("a.pem", "a.key"),
        plain.clone().tls_name("redis.example".to_owned()),
    ] {
        let error = RedisStore::new(&settings, ()).unwrap_err().to_string();
        assert!(error.starts_with("only TLS has certificates"), "{error}");
    }
    let strange = settings("rediss://127.0.0.1:1").tls_name("not a name".to_owned());
    let error = RedisStore::new(&strange, ()).unwrap_err().to_string();
    assert!(error.starts_with("`not a name` cannot be the name"), "{error}");
}
