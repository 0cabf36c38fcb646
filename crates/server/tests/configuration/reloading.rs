//! How a running replica reads its configuration at the start, after a change, and on SIGHUP.

use std::time::Duration;

use sluice_server::cli::EXIT_CONFIG;
use sluice_testkit::{Sluice, SluiceOptions, eventually};

const STOP_TIMEOUT: Duration = Duration::from_secs(30);

fn sluice() -> SluiceOptions {
    SluiceOptions::new(env!("CARGO_BIN_EXE_sluice"))
}

fn is_logged(sluice: &Sluice, text: &str) {
    eventually(text, || sluice.log().contains(text));
}

#[test]
fn a_valid_change_is_applied_and_an_invalid_one_is_not() {
    let sluice = sluice().config("defaults: { rate: 1/day, burst: 1 }").start();
    assert_eq!(sluice.status("/any").unwrap(), 200);
    assert_eq!(sluice.status("/any").unwrap(), 429);

    sluice.rewrite_config("{ exempt: [/any], shutdown_grace: 9s }");
    eventually("the path is exempt", || sluice.status("/any").is_ok_and(|status| status == 200));
    is_logged(
        &sluice,
        "shutdown_grace has changed, which needs a restart: the old value stays active",
    );

    sluice.rewrite_config("{ exempt: [any], defaults: { burst_size: 0 } }");
    is_logged(&sluice, "sluice.yaml:1: exempt[0]: `any` matches no path: a path starts with `/`");
    is_logged(
        &sluice,
        "sluice.yaml:1: defaults.burst_size: 0 is out of range: from 1 to 1000000000000",
    );
    for _ in 0..3 {
        assert_eq!(sluice.status("/any").unwrap(), 200, "the active configuration is kept");
    }
}

#[test]
fn on_sighup_the_configuration_is_read_again() {
    let sluice = sluice().config("store: { prefix: a }").start();
    sluice.sighup();
    is_logged(&sluice, "the configuration was read again and is active");
    sluice.sigterm();
    assert!(sluice.wait_exit(STOP_TIMEOUT).success());
}

#[test]
fn an_invalid_configuration_is_reported_completely_and_ends_the_process() {
    let sluice = sluice()
        .config("store: { timeout: 25 }")
        .env("SLUICE__STORE__URI", "redis://u:hunter2@cache")
        .launch();
    assert_eq!(sluice.wait_exit(STOP_TIMEOUT).code(), Some(EXIT_CONFIG.into()));
    let log = sluice.log();
    assert!(
        log.contains(
            "sluice.yaml:1: store.timeout: `25` has no unit: write `25ms`, `25s` or `25m`\n"
        ),
        "{log}"
    );
    assert!(
        log.contains("SLUICE__STORE__URI: store.uri: unknown key: did you mean `url`?\n"),
        "{log}"
    );
    assert!(!log.contains("hunter2"), "{log}");
    assert_eq!(log.lines().count(), 2, "{log}");
}

#[test]
fn warnings_are_logged_at_the_start() {
    let sluice = sluice().env("SLUICE_STORE_PREFIXES", "p").start();
    is_logged(&sluice, "SLUICE_STORE_PREFIXES: is not read: did you mean `SLUICE__STORE__PREFIX`?");
}
