//! The command line's output and its exit codes: 0 for success, 1 for a failure, 2 for wrong usage,
//! 78 for a wrong configuration.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::{net::TcpListener, process::Command, time::Duration};

use sluice_testkit::{RedisServer, SluiceOptions, built_sluice};
use sluice_tests::{command::CommandLine, fleet::memory_replica, http::Client, metrics::Metrics};

const LONG: Duration = Duration::from_secs(20);

#[test]
fn the_version_is_printed() {
    let result = CommandLine::new(&["--version"]).run();
    assert_eq!(
        (result.code, result.out.as_str(), result.err.as_str()),
        (0, concat!("sluice ", env!("CARGO_PKG_VERSION"), "\n"), "")
    );
}

#[tokio::test]
async fn the_build_information_is_printed() {
    let sluice = memory_replica("");
    let metrics = Metrics::of(&mut Client::of(sluice.http_addr())).await;
    let line = metrics.text().lines().find(|line| line.starts_with("sluice_build_info{")).unwrap();
    let label = |name: &str| {
        line.split_once(&format!("{name}=\"")).unwrap().1.split('"').next().unwrap().to_owned()
    };
    assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
    let revision = label("revision");
    // The revision comes from the environment of the build, else from git if the sources are a
    // clone.
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .output();
        output.is_ok_and(|output| output.status.success())
    };
    match option_env!("SLUICE_REVISION").filter(|revision| !revision.is_empty()) {
        Some(expected) => assert_eq!(revision, expected),
        None if git(&["rev-parse", "--verify", "HEAD"]) => {
            assert!(git(&["cat-file", "-e", &format!("{revision}^{{commit}}")]), "{revision}");
        }
        None => assert_eq!(revision, "unknown"),
    }
}

#[test]
fn help_names_every_command() {
    for arguments in [&["--help"][..], &["-h"], &["help"]] {
        let result = CommandLine::new(arguments).run();
        assert_eq!((result.code, result.err.as_str()), (0, ""));
        for command in [
            "serve",
            "config",
            "check",
            "explain",
            "hash",
            "slo",
            "health",
            "openapi",
            "completions",
        ] {
            assert!(
                result.out.lines().any(|line| line.trim_start().starts_with(command)),
                "{}",
                result.out
            );
        }
    }
}

#[test]
fn an_unknown_argument_is_named_and_nothing_is_started() {
    for (arguments, named) in [
        (&["--listen-htp", "127.0.0.1:0"][..], "'--listen-http'"),
        (&["sevre"], "'sevre'"),
        (&["config", "chekc", "x.yaml"], "'check'"),
        (&["config", "show", "--config"], "'--config <FILE>'"),
        (&["serve", "extra"], "'extra'"),
    ] {
        let result = CommandLine::new(arguments).run();
        assert_eq!((result.code, result.out.as_str()), (2, ""), "{arguments:?}: {}", result.err);
        assert!(result.err.contains(named), "{arguments:?}: {}", result.err);
    }
}

#[test]
fn a_file_is_checked_without_serving() {
    let good = CommandLine::new(&["config", "check", "limits.yaml"])
        .file("limits.yaml", "endpoints: { /reports: 5 }")
        .run();
    assert_eq!(good.code, 0);
    assert_eq!(
        good.err,
        "note: `endpoints` replace the built-in ones: /api/v1/blueprints, \
         /api/v1/blueprints/generate-blueprint, /api/v1/conversation/chat-stream, \
         /api/v1/tools/execute no longer have a limit of their own\n"
    );
    assert_eq!(good.out, "limits.yaml: valid, 2 limits\n");

    let missing = CommandLine::new(&["config", "check", "limits.yaml"]).run();
    assert_eq!((missing.code, missing.out.as_str()), (78, ""));
    assert!(missing.err.starts_with("limits.yaml: the file cannot be read: "), "{}", missing.err);
}

#[test]
fn without_a_file_what_would_be_served_is_checked() {
    let check = || CommandLine::new(&["config", "check"]);
    let nothing = check().run();
    assert_eq!((nothing.code, nothing.err.as_str()), (0, ""));
    assert_eq!(nothing.out, "built-in defaults, as there is no sluice.yaml: valid, 5 limits\n");
    let found = check().file("sluice.yaml", "endpoints: { /reports: 5 }").run();
    assert_eq!((found.code, found.out.as_str()), (0, "sluice.yaml: valid, 2 limits\n"));
    let named = check()
        .file("sluice.yaml", "endpoints: { /reports: 0 }")
        .file("other.yaml", "defaults: off")
        .env("SLUICE_CONFIG", "other.yaml")
        .run();
    assert_eq!((named.code, named.out.as_str()), (0, "other.yaml: valid, 4 limits\n"));
    let missing = check().env("SLUICE_CONFIG", "missing.yaml").run();
    assert_eq!((missing.code, missing.out.as_str()), (78, ""));
    assert!(missing.err.starts_with("missing.yaml: the file cannot be read: "), "{}", missing.err);
    let variable = check().env("SLUICE_STORE_URL", "redis://:hunter2@cache").run();
    assert_eq!((variable.code, variable.out.as_str()), (78, ""));
    assert_eq!(
        variable.err,
        "SLUICE_STORE_URL: is not read: write `SLUICE__STORE__URL`, with two underscores between \
         keys\n"
    );
}

#[test]
fn rules_are_counted_and_a_file_of_rules_is_checked_as_one() {
    const RULES: &str = "domain: edge\ndescriptors:\n\
        - { key: a, rate_limit: { unit: day, requests_per_unit: 5 } }\n\
        - { key: b, descriptors: [{ key: c, rate_limit: { unit: day, requests_per_unit: 5 } }] }\n";
    let of_config = CommandLine::new(&["config", "check", "sluice.yaml"])
        .file("sluice.yaml", "rls: { files: [edge.yaml] }")
        .file("edge.yaml", RULES)
        .run();
    assert_eq!(
        (of_config.code, of_config.out.as_str()),
        (0, "sluice.yaml: valid, 5 limits, 2 RLS rules in 1 domain\n"),
        "{}",
        of_config.err
    );
    let check =
        |rules: &str| CommandLine::new(&["config", "check", "edge.yaml"]).file("edge.yaml", rules);
    let alone = check(RULES).run();
    assert_eq!((alone.code, alone.err.as_str()), (0, ""));
    assert_eq!(alone.out, "edge.yaml: valid, 2 RLS rules in 1 domain\n");
    let wrong = check(&RULES.replacen("unit: day", "unit: days", 1)).run();
    assert_eq!((wrong.code, wrong.out.as_str()), (78, ""));
    assert!(
        wrong.err.starts_with(
            "edge.yaml:3: descriptors[0].rate_limit.unit: `days` is not a unit of time"
        ),
        "{}",
        wrong.err
    );
    let served = CommandLine::new(&["--config", "edge.yaml"]).file("edge.yaml", RULES).run();
    assert_eq!(
        (served.code, served.err.as_str()),
        (
            78,
            "edge.yaml: these are rules of Envoy's rate limit service: write `rls: { files: [...] \
             }` in sluice.yaml, with the name of this file\n"
        )
    );
}

#[test]
fn all_configuration_errors_are_printed_together_with_place_and_remedy() {
    let file = "\
store: { timeout: 25 }
endpoints: { /reports: { rate: 5/fortnight } }
limits:
  - { name: a, rate: 5/second, burst: 0 }
  - { name: a, rate: 5/second, burst: 1, wehn: {} }
";
    let expected = "\
limits.yaml:1: store.timeout: `25` has no unit: write `25ms`, `25s` or `25m`
limits.yaml:2: endpoints[\"/reports\"].rate: `5/fortnight` is not a rate: write `60/minute` \
(second, minute, hour or day) or `100 per 90s`
limits.yaml:4: limits[0].burst: 0 is out of range: from 1 to 1000000000000
limits.yaml:5: limits[1].wehn: unknown key: did you mean `when`?
limits.yaml:5: limits[1].name: `a` is already taken by limits[0]: choose another name
";
    for arguments in [
        &["config", "check", "limits.yaml"][..],
        &["serve", "--config", "limits.yaml"],
        &["--config", "limits.yaml"],
    ] {
        let result = CommandLine::new(arguments).file("limits.yaml", file).run();
        assert_eq!(
            (result.code, result.out.as_str(), result.err.as_str()),
            (78, "", expected),
            "{arguments:?}"
        );
    }
}

#[test]
fn later_layers_override_earlier_ones_and_each_value_shows_its_origin() {
    let shown = CommandLine::new(&["config", "show", "--log-level", "debug"])
        .file("sluice.yaml", "store: { prefix: of-file, connections: 3 }\nlog: { level: warn }\n")
        .env("SLUICE__STORE__PREFIX", "of-variable")
        .env("SLUICE__LOG__LEVEL", "error")
        .run();
    assert_eq!(shown.code, 0, "{}", shown.err);
    for line in [
        "  timeout: 25ms  # built-in defaults",
        "  connections: 3  # sluice.yaml:1",
        "  prefix: of-variable  # SLUICE__STORE__PREFIX",
        "  level: debug  # --log-level",
    ] {
        assert!(shown.out.lines().any(|shown| shown == line), "{line}\n{}", shown.out);
    }
    let again =
        CommandLine::new(&["config", "check", "shown.yaml"]).file("shown.yaml", &shown.out).run();
    assert_eq!(again.code, 0, "what is shown can be read again: {}", again.err);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let result = CommandLine::new(&["--listen-http", &address, "--listen-grpc", "off"]).run();
    assert_eq!((result.code, result.out.as_str()), (1, ""));
    assert!(
        result.err.contains("listen.http")
            && result.err.contains(&address)
            && result.err.contains("in use"),
        "{}",
        result.err
    );
}

#[test]
fn an_invalid_store_url_is_an_error_and_an_unreachable_store_is_waited_for() {
    let result = CommandLine::new(&["--store-url", "memcached://localhost"]).run();
    assert_eq!(result.code, 78);
    assert!(result.err.starts_with("--store-url: store.url: "), "{}", result.err);

    let redis = RedisServer::start();
    redis.kill();
    let sluice = SluiceOptions::new(built_sluice()).args(&["--store-url", &redis.url()]).start();
    sluice.sigterm();
    assert_eq!(
        sluice.wait_exit(LONG).code(),
        Some(0),
        "also when the departure cannot be reported to Redis"
    );
}

#[tokio::test]
async fn the_log_is_text_or_json() {
    let json = memory_replica("log: { format: json }");
    let text = memory_replica("log: { format: text }");
    for sluice in [&json, &text] {
        assert_eq!(Client::of(sluice.http_addr()).get("/").await.status, 200);
        sluice.sigterm();
        assert!(sluice.wait_exit(LONG).success());
    }
    let lines: Vec<serde_json::Value> =
        json.log().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        lines
            .iter()
            .any(|line| line["message"] == "listening"
                && line["http"] == json.http_addr().to_string()),
        "{}",
        json.log()
    );
    assert!(
        lines.iter().all(|line| line["level"].is_string() && line["timestamp"].is_string()),
        "{}",
        json.log()
    );
    assert!(text.log().contains("listening") && !text.log().contains('{'), "{}", text.log());
    assert!(
        text.log().contains("stopped") && !text.log().contains("\u{1b}["),
        "no colours in a file: {}",
        text.log()
    );
}
