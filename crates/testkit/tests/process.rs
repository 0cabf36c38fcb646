//! The guard of a `sluice` process, against a program that stands in for it.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use sluice_testkit::{SluiceOptions, eventually};

const LONG: Duration = Duration::from_secs(20);

fn stand_in() -> SluiceOptions {
    SluiceOptions::new(env!("CARGO_BIN_EXE_stand-in"))
}

#[test]
fn a_started_process_is_healthy_on_a_port_of_its_own() {
    let (one, other) = (stand_in().start(), stand_in().start());
    assert_ne!(one.http_addr(), other.http_addr());
    for sluice in [one, other] {
        assert_eq!(sluice.status("/health").unwrap(), 200);
        assert_eq!(sluice.status("/elsewhere").unwrap(), 404);
        assert_eq!(sluice.url("/health"), format!("http://{}/health", sluice.http_addr()));
    }
}

#[test]
fn arguments_settings_and_file_reach_the_process_and_its_output_the_log() {
    let sluice = stand_in()
        .args(&["--log", "json"])
        .env("SLUICE__STORE__URL", "memory://")
        .config("defaults: off")
        .grpc()
        .start();
    let log = sluice.log();
    let mut lines = log.lines();
    assert_eq!(
        lines.next().unwrap(),
        format!(
            "args: {:?}",
            ["serve", "--log", "json", "--config", sluice.config_path().to_str().unwrap()]
        )
    );
    let settings = [
        ("SLUICE__LISTEN__GRPC", sluice.grpc_addr().to_string()),
        ("SLUICE__LISTEN__HTTP", sluice.http_addr().to_string()),
        ("SLUICE__STORE__URL", "memory://".to_owned()),
    ];
    assert_eq!(lines.next().unwrap(), format!("settings: {settings:?}"));
    assert_eq!(lines.next().unwrap(), "file: defaults: off");
}

#[test]
fn the_grpc_door_is_off_unless_asked_for() {
    let sluice = stand_in().without_subcommand().start();
    let settings = [
        ("SLUICE__LISTEN__GRPC", "off".to_owned()),
        ("SLUICE__LISTEN__HTTP", sluice.http_addr().to_string()),
    ];
    assert_eq!(sluice.log(), format!("args: []\nsettings: {settings:?}\n"));
}

#[test]
fn a_rewritten_file_is_what_a_restart_reads_on_the_same_port() {
    let sluice = stand_in().config("one").start();
    let (address, pid) = (sluice.http_addr(), sluice.pid());
    sluice.rewrite_config("two");
    sluice.restart();
    assert_eq!(sluice.http_addr(), address);
    assert_ne!(sluice.pid(), pid);
    let log = sluice.log();
    let files: Vec<_> = log.lines().filter(|line| line.starts_with("file: ")).collect();
    assert_eq!(files, ["file: one", "file: two"]);
}

#[test]
fn signals_end_the_process() {
    let sluice = stand_in().start();
    assert!(sluice.is_running());
    sluice.sigterm();
    assert_eq!(sluice.wait_exit(LONG).signal(), Some(15));
    sluice.restart();
    sluice.sigkill();
    assert_eq!(sluice.wait_exit(LONG).signal(), Some(9));
    assert!(!sluice.is_running());
}

#[test]
fn a_process_need_not_be_waited_for() {
    let sluice = stand_in().args(&["--fail"]).launch();
    assert_eq!(sluice.wait_exit(LONG).code(), Some(3));
    assert!(sluice.log().ends_with("failing as requested\n"));
}

#[test]
#[cfg(target_os = "linux")]
fn a_paused_process_stands_still_and_is_healthy_when_resumed() {
    let sluice = stand_in().start();
    sluice.pause();
    eventually("the kernel has stopped the process", || {
        std::fs::read_to_string(format!("/proc/{}/status", sluice.pid()))
            .unwrap()
            .contains("State:\tT")
    });
    sluice.resume();
    assert_eq!(sluice.status("/health").unwrap(), 200);
}

#[test]
#[should_panic(expected = "failing as requested")]
fn a_process_that_ends_early_panics_with_its_log() {
    let _ = stand_in().args(&["--fail"]).start();
}

#[test]
#[should_panic(expected = "sluice still ran after 1ns")]
fn waiting_for_an_exit_has_an_end() {
    let _ = stand_in().start().wait_exit(Duration::from_nanos(1));
}

#[test]
fn a_dropped_process_is_gone() {
    let sluice = stand_in().start();
    let pid = rustix::process::Pid::from_raw(sluice.pid().try_into().unwrap()).unwrap();
    drop(sluice);
    assert!(rustix::process::test_kill_process(pid).is_err());
}
