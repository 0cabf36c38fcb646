//! TLS of the process: from its configuration to its probes, and its files while it runs.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use sluice_testkit::{ReservedPort, Sluice, SluiceOptions, eventually};

const PROGRAM: &str = env!("CARGO_BIN_EXE_sluice");

/// Writes a certificate that signs itself, and its key.
fn write_identity(folder: &Path) {
    write_identity_until(folder, 2100);
}

/// The same, with a certificate that expires when this year begins.
fn write_identity_until(folder: &Path, year: i32) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = date_time_ymd(year, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(folder.join("tls.crt"), certificate.pem()).unwrap();
    std::fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
}

fn launch(folder: &Path, more: &str) -> Sluice {
    let files = |name: &str| folder.join(name).display().to_string();
    let (certificate, key) = (files("tls.crt"), files("tls.key"));
    SluiceOptions::new(PROGRAM)
        .config(format!(
            "listen: {{ tls: {{ certificate: '{certificate}', key: '{key}'{more} }} }}"
        ))
        .launch()
}

fn health(sluice: &Sluice, address: Option<String>) -> Output {
    let mut command = Command::new(PROGRAM);
    command.arg("health").args(address).arg("--config").arg(sluice.config_path());
    // The test gives the replica its address by this variable.
    command.env("SLUICE__LISTEN__HTTP", sluice.http_addr().to_string());
    command.output().unwrap()
}

fn wait_ready(sluice: &Sluice) {
    eventually("the replica is ready", || health(sluice, None).status.success());
}

#[test]
fn health_speaks_tls_to_the_port_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    write_identity(folder.path());
    let sluice = launch(folder.path(), "");
    wait_ready(&sluice);
    let named = health(&sluice, Some(sluice.http_addr().to_string()));
    assert!(named.status.success(), "{named:?}");
    assert!(String::from_utf8_lossy(&named.stdout).contains("\"status\":\"ready\""), "{named:?}");
    assert_ne!(sluice.status("/ready").ok(), Some(200), "the port speaks TLS alone");
}

#[test]
fn health_finds_the_port_of_a_file_that_has_errors_by_now() {
    let folder = tempfile::tempdir().unwrap();
    write_identity(folder.path());
    let sluice = launch(folder.path(), "");
    wait_ready(&sluice);
    // The replica goes on with what it read before.
    let address = sluice.http_addr();
    std::fs::write(sluice.config_path(), format!("listen: {{ http: '{address}' }}\nfoo: 1\n"))
        .unwrap();
    let asked = || {
        let mut command = Command::new(PROGRAM);
        command.arg("health").arg("--config").arg(sluice.config_path()).output().unwrap()
    };
    let asked = asked();
    assert!(asked.status.success(), "{asked:?}");
    assert!(String::from_utf8_lossy(&asked.stderr).contains("foo: unknown key"), "{asked:?}");
}

#[test]
fn probes_need_no_client_certificate() {
    let folder = tempfile::tempdir().unwrap();
    write_identity(folder.path());
    let ca = folder.path().join("tls.crt").display().to_string();
    let sluice = launch(folder.path(), &format!(", client_ca: '{ca}'"));
    wait_ready(&sluice);
}

#[test]
fn metrics_show_when_the_certificate_in_use_expires() {
    let folder = tempfile::tempdir().unwrap();
    write_identity_until(folder.path(), 2100);
    let admin = ReservedPort::new();
    let files = |name: &str| folder.path().join(name).display().to_string();
    let sluice = SluiceOptions::new(PROGRAM)
        .config(format!(
            "listen: {{ tls: {{ certificate: '{}', key: '{}' }} }}\n\
             admin: {{ listen: '127.0.0.1:{}' }}",
            files("tls.crt"),
            files("tls.key"),
            admin.number()
        ))
        .launch();
    let shown = || {
        let mut text = String::new();
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", admin.number())) {
            stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
            stream.read_to_string(&mut text).unwrap();
        }
        let lines = text
            .lines()
            .filter(|line| line.starts_with("sluice_tls_certificate_expiry_timestamp_seconds{"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let expected = |seconds: &str| {
        vec![format!(
            "sluice_tls_certificate_expiry_timestamp_seconds{{section=\"listen\"}} {seconds}"
        )]
    };
    eventually("it is shown", || shown() == expected("4102444800"));
    write_identity_until(folder.path(), 2050);
    eventually("the new one is shown", || shown() == expected("2524608000"));
    assert!(sluice.is_running());
}

#[test]
fn a_broken_pair_keeps_the_old_one_and_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    write_identity(folder.path());
    let sluice = launch(folder.path(), "");
    wait_ready(&sluice);
    let key = KeyPair::generate().unwrap().serialize_pem();
    std::fs::write(folder.path().join("tls.key"), key).unwrap();
    let log = || sluice.log();
    eventually("it is logged", || log().contains("does not belong to the certificate"));
    assert!(!log().contains("was read again and is active"), "{}", log());
    wait_ready(&sluice);
    write_identity(folder.path());
    eventually("it is active again", || {
        let text = log();
        let broken = text.rfind("does not belong").unwrap();
        text[broken..].contains("was read again and is active")
    });
    wait_ready(&sluice);
}

#[test]
fn a_replica_whose_key_is_wrong_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    write_identity(folder.path());
    std::fs::write(folder.path().join("tls.key"), "").unwrap();
    let sluice = launch(folder.path(), "");
    eventually("it ends", || !sluice.is_running());
    let log = sluice.log();
    assert!(log.contains("listen.tls.key: TLS cannot be set up: `"), "{log}");
    assert!(log.contains("tls.key` has no private key"), "{log}");
    assert_eq!(sluice.wait_exit(Duration::from_secs(20)).code(), Some(78));
}

#[test]
fn check_verifies_the_certificate_by_the_authorities_that_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    write_identity(folder.path());
    let sluice = launch(folder.path(), "");
    wait_ready(&sluice);
    let port = sluice.http_addr().port();
    let check = |url: &str, arguments: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(["check", url, "--client", "alice"]).args(arguments);
        let ended = command.output().unwrap();
        (ended.status.code().unwrap(), String::from_utf8(ended.stderr).unwrap())
    };
    let ca = folder.path().join("tls.crt").display().to_string();
    let by_name = format!("https://localhost:{port}/orders");
    assert_eq!(check(&by_name, &["--ca-file", &ca]), (0, String::new()));
    let (code, error) = check(&by_name, &[]);
    assert_eq!(code, 3, "{error}");
    assert!(error.contains("TLS: the certificate is not trusted"), "{error}");
    let (code, error) = check(&format!("https://127.0.0.1:{port}"), &["--ca-file", &ca]);
    assert_eq!(code, 3, "{error}");
    assert!(error.contains("TLS: the certificate cannot be used"), "another name: {error}");
    assert!(error.contains("127.0.0.1"), "{error}");
    let (code, error) = check(&format!("http://localhost:{port}"), &[]);
    assert_eq!(code, 3, "{error}");
    assert!(error.contains("TLS"), "{error}");
}
