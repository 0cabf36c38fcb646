//! The command line: what is printed where, and the exit code.

use std::{ffi::OsString, fs, path::Path, process::ExitCode};

use clap::Parser;
use rcgen::{CertificateParams, KeyPair};
use sluice_config::Settings;
use sluice_server::cli::{Cli, EXIT_CONFIG};

/// The outcome of a command line.
struct CommandOutcome {
    code: String,
    out: String,
    err: String,
    served: Option<Settings>,
}

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> CommandOutcome {
    let cli =
        Cli::try_parse_from(std::iter::once("sluice").chain(arguments.iter().copied())).unwrap();
    let variables: Vec<(OsString, OsString)> =
        variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let (mut out, mut err, mut served) = (Vec::new(), Vec::new(), None);
    let serve = |settings, _| {
        served = Some(settings);
        ExitCode::from(7)
    };
    let code = format!("{:?}", cli.run(variables, serve, &mut out, &mut err));
    CommandOutcome {
        code,
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
        served,
    }
}

fn code(code: u8) -> String {
    format!("{:?}", ExitCode::from(code))
}

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../config/tests/config")
        .join(name)
        .display()
        .to_string()
}

#[test]
fn no_subcommand_means_serve_and_both_take_the_same_flags() {
    for arguments in [&["--store-prefix", "a"][..], &["serve", "--store-prefix", "a"]] {
        let ran =
            run(arguments, &[("SLUICE__STORE__PREFIX", "b"), ("SLUICE__STORE__TIMEOUT", "30ms")]);
        let store = ran.served.unwrap().store;
        assert_eq!((store.prefix.as_str(), store.timeout.as_millis()), ("a", 30));
        assert_eq!((ran.code, ran.out, ran.err), (code(7), String::new(), String::new()));
    }
}

#[test]
fn the_openapi_document_is_printed() {
    let ran = run(&["openapi"], &[]);
    assert_eq!((ran.code, ran.err.as_str(), ran.served.is_none()), (code(0), "", true));
    let document: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert!(document["paths"]["/v1/check"]["post"].is_object() && ran.out.ends_with("}\n"));
}

#[test]
fn show_names_the_flag_behind_each_value() {
    let arguments = [
        ["--listen-http", "127.0.0.1:1"],
        ["--listen-grpc", "off"],
        ["--store-url", "redis://cache"],
        ["--store-prefix", "p"],
        ["--trusted-proxies", "10.0.0.0/8,::1"],
        ["--log-format", "json"],
        ["--log-level", "debug"],
    ];
    let ran = run(&[&["config", "show"][..], arguments.as_flattened()].concat(), &[]);
    assert_eq!(ran.err, "");
    for (line, flag) in [
        ("http: 127.0.0.1:1", 0),
        ("grpc: off", 1),
        ("url: redis://cache", 2),
        ("prefix: p", 3),
        ("trusted_proxies: [10.0.0.0/8, \"::1\"]", 4),
        ("format: json", 5),
        ("level: debug", 6),
    ] {
        let line = format!("  {line}  # {}", arguments[flag][0]);
        assert!(ran.out.lines().any(|shown| shown == line), "{line}\n{}", ran.out);
    }
    assert_eq!(ran.code, code(0));
}

#[test]
fn a_variable_names_the_file_unless_a_flag_does() {
    let folder = tempfile::tempdir().unwrap();
    let file = |prefix: &str| {
        let file = folder.path().join(prefix).with_extension("yaml");
        fs::write(&file, format!("store: {{ prefix: {prefix} }}")).unwrap();
        file.display().to_string()
    };
    let (a, b) = (file("a"), file("b"));
    let prefix = |arguments: &[&str], variable: &str| {
        run(arguments, &[("SLUICE_CONFIG", variable)]).served.unwrap().store.prefix
    };
    assert_eq!(prefix(&[], &a), "a");
    assert_eq!(prefix(&["--config", &b], &a), "b");
    assert_eq!(prefix(&[], ""), "sluice", "an empty variable is ignored");
}

#[test]
fn serve_and_show_print_every_error_and_have_the_exit_code_of_invalid_configurations() {
    let variables = [("SLUICE__STORE__TIMEOUT", "25"), ("SLUICE__LOG__LEVEL", "loud")];
    for arguments in [&["serve"][..], &[], &["config", "show"]] {
        let ran = run(arguments, &variables);
        let lines: Vec<&str> = ran.err.lines().collect();
        assert_eq!(lines.len(), 2, "{}", ran.err);
        assert!(
            lines[0].starts_with("SLUICE__STORE__TIMEOUT: store.timeout: ")
                && lines[1].starts_with("SLUICE__LOG__LEVEL: log.level: ")
        );
        assert_eq!((ran.code, ran.out), (code(EXIT_CONFIG), String::new()));
        assert!(ran.served.is_none());
    }
}

#[test]
fn check_prints_one_line_for_a_valid_file_and_one_for_each_error_of_an_invalid_file() {
    let good = fixture("good/empty.yaml");
    let ran = run(&["config", "check", &good], &[]);
    assert_eq!(
        (ran.code, ran.out, ran.err),
        (code(0), format!("{good}: valid, 5 limits\n"), String::new())
    );
    let replacing = fixture("good/design.yaml");
    let ran = run(&["config", "check", &replacing], &[]);
    assert_eq!((ran.code, ran.out), (code(0), format!("{replacing}: valid, 4 limits\n")));
    let note = ran.err.lines().find(|line| line.starts_with("note: ")).unwrap_or_default();
    assert!(note.contains("/api/v1/blueprints, /api/v1/tools/execute no longer"), "{}", ran.err);

    let bad = fixture("bad/many_errors.yaml");
    let ran = run(&["config", "check", &bad], &[]);
    assert_eq!((ran.code, ran.out), (code(EXIT_CONFIG), String::new()));
    assert_eq!(ran.err.lines().count(), 8);
    assert!(ran.err.lines().all(|line| line.starts_with(&format!("{bad}:"))), "{}", ran.err);
}

#[test]
fn check_reads_only_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sluice.yaml");
    let text = "{ store: { url: rediss://cache, password_file: /nowhere/p, ca_file: /nowhere/c }, \
                clients: { secret_file: /nowhere/s } }";
    fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let ran = run(&["config", "check", &file], &[("SLUICE__STORE__TIMEOUT", "25")]);
    let unread = "ca_file: `/nowhere/c` is not on this machine, so that it is not checked";
    assert_eq!(ran.err, format!("warning: {file}:1: store.{unread}\n"));
    assert_eq!(ran.code, code(0), "{}", ran.out);
    let ran = run(&["serve", "--config", &file], &[]);
    assert_eq!(ran.err.matches("cannot be read").count(), 3, "{}", ran.err);
}

/// Writes a file with these lines beside those that it names, and returns the errors of its check.
fn check_beside(files: &[(&str, &str)], lines: &[&str]) -> (CommandOutcome, String) {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let file = folder.path().join("sluice.yaml");
    fs::write(&file, lines.join("\n")).unwrap();
    let ran = run(&["config", "check", &file.display().to_string()], &[]);
    let errors = ran.err.replace(&format!("{}/", folder.path().display()), "");
    (ran, errors)
}

fn identity() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

const TLS: [&str; 5] =
    ["listen:", "  tls:", "    certificate: tls.crt", "    key: tls.key", "    client_ca: ca.crt"];

#[test]
fn check_verifies_the_files_of_tls_that_are_here() {
    let ((certificate, key), (other, other_key)) = (identity(), identity());
    let good = [("tls.crt", &*certificate), ("tls.key", &*key), ("ca.crt", &*other)];
    let (ran, errors) = check_beside(&good, &TLS);
    assert_eq!((ran.code, errors), (code(0), String::new()));

    let with = |name: &'static str, content| {
        let mut files = good;
        files.iter_mut().find(|(known, _)| *known == name).unwrap().1 = content;
        let (ran, errors) = check_beside(&files, &TLS);
        assert_eq!((ran.code, ran.out.as_str()), (code(EXIT_CONFIG), ""), "{name}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        errors
    };
    for (name, content, expected) in [
        ("tls.crt", "junk", "sluice.yaml:3: listen.tls.certificate: `tls.crt` has no certificate"),
        ("tls.key", "junk", "sluice.yaml:4: listen.tls.key: `tls.key` has no private key"),
        ("tls.key", &*other_key, "sluice.yaml:4: listen.tls.key: the key in `tls.key` does not"),
        ("ca.crt", "junk", "sluice.yaml:5: listen.tls.client_ca: `ca.crt` has no certificate"),
    ] {
        let errors = with(name, content);
        assert!(errors.starts_with(expected), "{errors}");
    }
}

#[test]
fn check_warns_of_files_that_are_not_here_and_verifies_the_others_alone() {
    let (ran, errors) = check_beside(&[], &TLS);
    assert_eq!(ran.code, code(0));
    let missing = ["3: listen.tls.certificate: `tls.crt`", "4: listen.tls.key: `tls.key`"];
    for (line, expected) in errors.lines().zip(missing) {
        let expected = format!("warning: sluice.yaml:{expected} is not on this machine");
        assert!(line.starts_with(&expected), "{errors}");
    }
    assert_eq!(errors.lines().count(), 3, "{errors}");

    let (ran, errors) = check_beside(&[("tls.key", "junk"), ("ca.crt", "junk")], &TLS);
    assert_eq!(ran.code, code(EXIT_CONFIG));
    let lines: Vec<_> = errors.lines().collect();
    assert_eq!(lines.len(), 2, "{errors}");
    assert!(lines[0].starts_with("sluice.yaml:4: listen.tls.key: "), "{errors}");
    assert!(lines[1].starts_with("sluice.yaml:5: listen.tls.client_ca: "), "{errors}");
}

#[test]
fn check_verifies_every_file_of_tls_towards_the_store_and_the_upstreams() {
    let lines = [
        "store: { url: rediss+sentinel://s1/main,",
        "  ca_file: ca.crt,",
        "  client_certificate: own.crt,",
        "  client_key: own.key,",
        "  sentinel: { ca_file: sentinels.crt } }",
        "gateway: { upstream: 'https://api',",
        "  ca_file: upstream.crt }",
    ];
    let (certificate, key) = identity();
    let good = [
        ("ca.crt", &*certificate),
        ("own.crt", &*certificate),
        ("own.key", &*key),
        ("sentinels.crt", &*certificate),
        ("upstream.crt", &*certificate),
    ];
    let (ran, _) = check_beside(&good, &lines);
    assert_eq!(ran.code, code(0), "{}", ran.err);
    for (name, place) in [
        ("ca.crt", "2: store.ca_file"),
        ("own.crt", "3: store.client_certificate"),
        ("own.key", "4: store.client_key"),
        ("sentinels.crt", "5: store.sentinel.ca_file"),
        ("upstream.crt", "7: gateway.ca_file"),
    ] {
        let junk = good.map(|(file, content)| (file, if file == name { "junk" } else { content }));
        let (ran, errors) = check_beside(&junk, &lines);
        assert_eq!(ran.code, code(EXIT_CONFIG));
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(errors.starts_with(&format!("sluice.yaml:{place}: `{name}` has no ")), "{errors}");
    }
}

#[test]
fn check_prints_warnings() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sluice.yaml");
    fs::write(&file, "store: { url: redis://cache }").unwrap();
    let ran = run(&["config", "check", &file.display().to_string()], &[]);
    assert_eq!(ran.code, code(0));
    assert!(ran.err.starts_with("warning: ") && ran.err.lines().count() == 1, "{}", ran.err);
}

#[test]
fn the_version_is_printed() {
    let version = Cli::try_parse_from(["sluice", "--version"]).unwrap_err();
    assert_eq!(version.to_string(), format!("sluice {}\n", env!("CARGO_PKG_VERSION")));
}
