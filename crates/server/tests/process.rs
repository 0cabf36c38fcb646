//! The built `sluice` as a process: how it starts and how it stops.

use std::{net::TcpListener, process::Command, time::Duration};

use sluice_testkit::{SluiceOptions, eventually};

const STOP_TIMEOUT: Duration = Duration::from_secs(20);

fn sluice() -> SluiceOptions {
    SluiceOptions::new(env!("CARGO_BIN_EXE_sluice"))
}

#[test]
fn it_exits_with_success_after_a_signal() {
    let sluice = sluice().env("SLUICE__SHUTDOWN_DELAY", "0s").start();
    sluice.sigterm();
    let exit = sluice.wait_exit(STOP_TIMEOUT);
    assert!(exit.success(), "{exit}: {}", sluice.log());
    assert!(sluice.log().contains("stopped"), "{}", sluice.log());
}

#[test]
fn it_is_not_ready_before_it_stops_and_a_second_signal_ends_the_wait() {
    let sluice = sluice().env("SLUICE__SHUTDOWN_DELAY", "10m").start();
    assert_eq!(sluice.status("/ready").unwrap(), 200);
    sluice.sigterm();
    eventually("readiness fails", || matches!(sluice.status("/ready"), Ok(503)));
    assert_eq!(sluice.status("/health").unwrap(), 200, "requests still get a response");
    sluice.sigterm();
    let exit = sluice.wait_exit(STOP_TIMEOUT);
    assert!(exit.success(), "{exit}: {}", sluice.log());
}

#[test]
fn a_port_in_use_is_named_and_ends_the_process() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let ended = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .current_dir(&directory)
        .args(["--listen-http", &address])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains(&format!(
            "sluice: listen.http: cannot listen on {address}: Address already in use"
        )),
        "{stderr}"
    );
    let remedy = "set listen.http, SLUICE__LISTEN__HTTP or --listen-http to another address";
    assert!(stderr.contains(remedy), "{stderr}");
}

#[test]
fn a_second_replica_is_told_how_to_choose_its_grpc_port() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let ended = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["--listen-http", "127.0.0.1:0"])
        .args(["--listen-grpc", &taken.local_addr().unwrap().to_string()])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr);
    let remedy = "set listen.grpc, SLUICE__LISTEN__GRPC or --listen-grpc to another address, \
                  or to `off`";
    assert!(!ended.status.success() && stderr.contains(remedy), "{stderr}");
}

#[test]
fn its_log_is_valid_json() {
    let sluice = sluice().env("SLUICE__LOG__FORMAT", "json").start();
    let log = sluice.log();
    let listening = log.lines().find(|line| line.contains("listening")).unwrap();
    let line: serde_json::Value = serde_json::from_str(listening).unwrap();
    assert_eq!(
        (&line["level"], &line["message"], &line["store"]),
        (&"INFO".into(), &"listening".into(), &"memory".into())
    );
    assert_eq!(line["http"], sluice.http_addr().to_string());
}

#[test]
fn its_log_begins_with_the_configuration_and_where_it_leads() {
    let yaml = "store: { url: 'redis://ops:hunter2@127.0.0.1:1/3' }\n\
                gateway: { upstream: ['http://127.0.0.1:1', 'http://127.0.0.1:2'] }\n";
    let sluice = sluice().config(yaml).env("SLUICE__LOG__FORMAT", "json").launch();
    eventually("the log has a line", || sluice.log().contains('\n'));
    let log = sluice.log();
    let line: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert_eq!(line["message"], "starting");
    assert_eq!(line["configuration"], sluice.config_path().to_str().unwrap());
    assert_eq!(line["store"], "redis://ops:***@127.0.0.1:1/3");
    assert_eq!(line["upstreams"], "http://127.0.0.1:1,http://127.0.0.1:2");
}
