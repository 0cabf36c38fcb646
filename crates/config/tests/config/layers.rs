//! Built-in defaults < file < environment < flags.

use std::{fs, path::PathBuf};

use sluice::identify::Identifier;
use sluice_config::{Loader, Secret, Settings, StoreUrl};
use tempfile::TempDir;

use crate::{default_limit, limits};

/// A file called `name` that holds `text`, in a folder of its own.
fn file(name: &str, text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn with_file(text: &str, variables: &[(&str, &str)]) -> Settings {
    let (_folder, path) = file("sluice.yaml", text);
    Loader::new().file(path).variables(variables.iter().copied()).load().unwrap()
}

fn errors(loader: &Loader) -> Vec<String> {
    loader.load().unwrap_err().lines().collect()
}

#[test]
fn the_built_in_defaults_are_those_of_the_document() {
    let settings = Loader::new().load().unwrap();
    let expected = [
        "/api/v1/blueprints (100/minute, burst 10)",
        "/api/v1/blueprints/generate-blueprint (30/minute, burst 10)",
        "/api/v1/conversation/chat-stream (20/minute, burst 10)",
        "/api/v1/tools/execute (40/minute, burst 10)",
        "default (60/minute, burst 10)",
    ];
    assert_eq!(limits(&settings), expected);
    let exempt = settings.policy.endpoints().iter().rev().take(3).map(|path| &**path);
    assert!(exempt.eq(["/monitoring", "/metrics", "/health"]));
    assert_eq!(settings.store.url, StoreUrl::Memory);
    assert_eq!(
        (settings.listen.http.to_string().as_str(), settings.store.timeout.as_millis()),
        ("0.0.0.0:8000", 25)
    );
    assert_eq!(settings.warnings, []);
}

#[test]
fn each_layer_wins_over_those_before_it() {
    let (_folder, path) =
        file("sluice.yaml", "store: { prefix: from-file, timeout: 30ms, connections: 4 }");
    let loader = Loader::new().file(path).variables([
        ("SLUICE__STORE__PREFIX", "from-variable"),
        ("SLUICE__STORE__TIMEOUT", "40ms"),
    ]);
    let store = loader
        .clone()
        .flag("--store-prefix", &["store", "prefix"], "from-flag")
        .load()
        .unwrap()
        .store;
    assert_eq!(
        (store.prefix.as_str(), store.timeout.as_millis(), store.connections),
        ("from-flag", 40, 4)
    );
    assert_eq!(loader.load().unwrap().store.prefix, "from-variable");
}

#[test]
fn a_value_that_no_later_layer_sets_stays() {
    assert_eq!(
        default_limit(&with_file("defaults: { burst_size: 20 }", &[])),
        "default (60/minute, burst 20)"
    );
    assert_eq!(default_limit(&with_file("defaults: off", &[])), "off");
}

/// The endpoints that have limits, and the built-in ones that the file replaced.
fn endpoints(settings: &Settings) -> (Vec<String>, usize) {
    let limits = limits(settings).into_iter().filter(|limit| limit.starts_with('/'));
    (limits.collect(), settings.replaced_endpoints.len())
}

#[test]
fn the_endpoints_of_a_file_replace_the_built_in_ones() {
    let of_file = |text: &str| endpoints(&with_file(text, &[]));
    assert_eq!(of_file("exempt: [/x]").0.len(), 4, "no word about endpoints");
    assert_eq!(of_file("exempt: [/x]").1, 0);
    assert_eq!(of_file("endpoints: {}"), (vec![], 4));
    assert_eq!(
        of_file("endpoints: { /api/orders: 5, /api/v1/tools/execute: off }"),
        (vec!["/api/orders (5/minute, burst 10)".to_owned()], 3)
    );
    let replaced = with_file("endpoints: { /api/v1/blueprints: 7 }", &[]).replaced_endpoints;
    assert_eq!(
        replaced,
        [
            "/api/v1/blueprints/generate-blueprint",
            "/api/v1/conversation/chat-stream",
            "/api/v1/tools/execute"
        ]
    );
    let (_folder, path) = file("sluice.toml", "[endpoints]\n\"/a\" = 5\n");
    let settings = Loader::new().file(path).load().unwrap();
    assert_eq!(endpoints(&settings), (vec!["/a (5/minute, burst 10)".to_owned()], 4));
}

#[test]
fn variables_and_flags_change_the_endpoints_that_stand() {
    let patch = [("SLUICE__ENDPOINTS__/api/orders", "5")];
    let settings = Loader::new().variables(patch).load().unwrap();
    let (limits, replaced) = endpoints(&settings);
    assert_eq!((limits.len(), replaced), (5, 0), "{limits:?}");
    assert_eq!(endpoints(&with_file("endpoints: { /a: 7 }", &patch)).0.len(), 2);
    let flag = |value: &str| {
        let loader = Loader::new().flag("--endpoints", &["endpoints"], value);
        endpoints(&loader.load().unwrap()).0
    };
    assert_eq!(flag("{/api/v1/blueprints: 7, /b: 8}").len(), 5);
}

#[test]
fn an_endpoint_that_is_default_is_as_if_it_were_not_written() {
    let patch = [("SLUICE__ENDPOINTS__/api/v1/tools/execute", "default")];
    let settings = Loader::new().variables(patch).load().unwrap();
    let (limits, replaced) = endpoints(&settings);
    assert_eq!((limits.len(), replaced), (3, 0), "{limits:?}");
    assert!(!limits.iter().any(|limit| limit.starts_with("/api/v1/tools/execute")));
    assert!(!settings.policy.endpoints().iter().any(|path| path.contains("tools")));
    assert_eq!(endpoints(&with_file("endpoints: { /a: default }", &[])), (vec![], 4));
    let of_tier = "tiers: { pro: { multiply: 2, endpoints: { /x: default }, clients: [a] } }";
    assert_eq!(endpoints(&with_file(of_tier, &[])).0.len(), 4);
}

#[test]
fn of_two_spellings_the_later_layer_wins() {
    assert_eq!(
        default_limit(&with_file("defaults: { rate: 5/second, burst: 7 }", &[])),
        "default (5/second, burst 7)"
    );
    let variables = [("SLUICE__DEFAULTS__REQUESTS_PER_MINUTE", "90")];
    assert_eq!(
        default_limit(&with_file("defaults: { rate: 5/second, burst: 7 }", &variables)),
        "default (90/minute, burst 7)"
    );
}

#[test]
fn a_variable_can_hold_numbers_booleans_lists_and_tables() {
    let variables = [
        ("SLUICE__CLIENTS__TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.1"),
        ("SLUICE__TIERS__VIP__UNLIMITED", "true"),
        ("SLUICE__ENDPOINTS", "{/api/v1.2/Chat: {rate: 1/second, burst: 3}}"),
        ("SLUICE__ENDPOINTS__/Other", "7"),
        ("SLUICE__CLIENTS__UNVERIFIED__PER_IP", "50/minute"),
        ("SLUICE__CLIENTS__IDENTIFY", "bearer,ip"),
        ("SLUICE__LIMITS", "[{name: all, per: nothing, rate: 9/second, burst: 9}]"),
        ("SLUICE__DEFAULTS", "off"),
    ];
    let settings = Loader::new().variables(variables).load().unwrap();
    let limits = limits(&settings);
    for expected in [
        "/api/v1.2/Chat (1/second, burst 3)",
        "/Other (7/minute, burst 10)",
        "all (9/second, burst 9)",
    ] {
        assert!(limits.iter().any(|limit| limit == expected), "{expected}: {limits:?}");
    }
    assert_eq!(default_limit(&settings), "off");
    assert!(format!("{:?}", settings.identifier).contains("192.0.2.1/32"));
}

#[test]
fn an_address_may_ask_so_much_under_unverified_keys() {
    let keys = |more: &str| {
        let text = format!("clients: {{ identify: [bearer, ip]{more} }}");
        format!("{:?}", with_file(&text, &[]).identifier)
    };
    let expected = |rate: Option<&str>| {
        let sources = ["bearer", "ip"].map(|source| source.parse().unwrap());
        let rate = rate.map(|rate| rate.parse::<sluice_core::Rate>().unwrap());
        format!("{:?}", Identifier::new(sources.to_vec()).with_unverified(rate))
    };
    for (written, rate) in [
        ("", Some("600/minute, burst 600")),
        (", unverified: off", None),
        (", unverified: { per_ip: off }", None),
        (", unverified: { per_ip: 5/minute }", Some("5/minute, burst 5")),
        (", unverified: { per_ip: 30 }", Some("30/minute, burst 30")),
        (", unverified: { per_ip: 10/second, burst: 50 }", Some("10/second, burst 50")),
        (", unverified: { per_ip: 30, burst_size: 50 }", Some("30/minute, burst 50")),
        (", unverified: { per_ip: { rate: 10/second } }", Some("10/second, burst 10")),
        (
            ", unverified: { per_ip: { requests_per_minute: 9, burst_size: 3 } }",
            Some("9/minute, burst 3"),
        ),
    ] {
        assert_eq!(keys(written), expected(rate), "{written}");
    }
    assert_eq!(
        format!("{:?}", with_file("", &[]).identifier),
        format!("{:?}", Identifier::default())
    );
}

#[test]
fn an_error_names_the_variable_or_flag() {
    let variables = [
        ("SLUICE__STORE__URI", "redis://cache"),
        ("SLUICE__STORE__TIMEOUT", "25"),
        ("SLUICE__CLIENTS__TRUSTED_PROXIES", "10.0.0.0/8,home"),
        ("SLUICE__LIMITS__0__RATE", "5/second"),
    ];
    let loader =
        Loader::new().variables(variables).flag("--listen-http", &["listen", "http"], "8000");
    let expected = [
        "--listen-http: listen.http: `8000` is not an address and port: \
         write `0.0.0.0:8000` or `:8000` for all interfaces, `127.0.0.1:8000`, or `[::1]:8000`",
        "SLUICE__STORE__TIMEOUT: store.timeout: `25` has no unit: write `25ms`, `25s` or `25m`",
        "SLUICE__STORE__URI: store.uri: unknown key: did you mean `url`?",
        "SLUICE__CLIENTS__TRUSTED_PROXIES: clients.trusted_proxies[1]: `home` is not a network: \
         write `10.0.0.0/8`, `fd00::/8` or one address",
        "SLUICE__LIMITS__0__RATE: limits: must be a list, not a table: write `[...]`",
    ];
    assert_eq!(errors(&loader), expected);
}

#[test]
fn the_three_formats_mean_the_same() {
    let texts = [
        (
            "sluice.yaml",
            "store: {prefix: p}\n\
             endpoints: {/api/v1.2/Chat: {rate: 5/second, burst: 1_000}}\n\
             exempt: [/Live]\n\
             tiers: {vip: {unlimited: true}}\n",
        ),
        (
            "sluice.toml",
            "exempt = ['/Live']\n\
             store.prefix = 'p'\n\
             [endpoints.'/api/v1.2/Chat']\n\
             rate = '5/second'\n\
             burst = 1_000\n\
             [tiers.vip]\n\
             unlimited = true\n",
        ),
        (
            "sluice.json",
            r#"{
                "store": {"prefix": "p"},
                "endpoints": {"/api/v1.2/Chat": {"rate": "5/second", "burst": 1000}},
                "exempt": ["/Live"],
                "tiers": {"vip": {"unlimited": true}}
            }"#,
        ),
    ];
    for (name, text) in texts {
        let (_folder, path) = file(name, text);
        let settings = Loader::new().file(path).load().unwrap();
        assert_eq!(settings.store.prefix, "p", "{name}");
        assert!(
            limits(&settings).contains(&"/api/v1.2/Chat (5/second, burst 1000)".to_owned()),
            "{name}"
        );
        assert!(settings.policy.endpoints().iter().any(|label| **label == *"/Live"), "{name}");
    }
}

#[test]
fn a_key_that_is_written_twice_is_refused_in_every_format() {
    let texts = [
        (
            "sluice.yaml",
            "endpoints:\n  /a: 1\n  /a: 2\n",
            "3: endpoints[\"/a\"]: already written in line 2: keep one",
        ),
        (
            "sluice.json",
            "{\"endpoints\": {\n\"/a\": 1,\n\"/a\": 2}}",
            "3: endpoints[\"/a\"]: already written in line 2: keep one",
        ),
        ("sluice.toml", "[endpoints]\n'/a' = 1\n'/a' = 2\n", "3: this is not TOML: duplicate key"),
    ];
    for (name, text, message) in texts {
        let (_folder, path) = file(name, text);
        assert_eq!(errors(&Loader::new().file(&path)), [format!("{}:{message}", path.display())]);
    }
}

#[test]
fn a_named_file_must_exist_and_its_extension_names_the_format() {
    let (folder, path) = file("sluice.conf", "");
    assert_eq!(
        errors(&Loader::new().file(&path)),
        [format!(
            "{}: the extension names the format: use `.yaml`, `.yml`, `.toml` or `.json`",
            path.display()
        )]
    );
    let absent = folder.path().join("absent.yaml");
    let found = errors(&Loader::new().file(&absent));
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with(&format!("{}: the file cannot be read: ", absent.display())),
        "{found:?}"
    );
    assert_eq!(
        default_limit(&Loader::new().file_if_present(absent).load().unwrap()),
        "default (60/minute, burst 10)"
    );
}

#[test]
fn a_file_in_another_encoding_is_refused_and_a_byte_order_mark_is_not() {
    let (folder, path) = file("sluice.yaml", "\u{feff}store: { prefix: marked }\n");
    assert_eq!(Loader::new().file(&path).load().unwrap().store.prefix, "marked");
    let latin = folder.path().join("latin.yaml");
    fs::write(&latin, b"store: { prefix: \xe9 }").unwrap();
    assert_eq!(
        errors(&Loader::new().file(&latin)),
        [format!(
            "{}: the file cannot be read: it is not UTF-8: save it as UTF-8",
            latin.display()
        )]
    );
}

#[test]
fn tokens_come_from_a_list_and_a_file_and_short_ones_cause_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    fs::write(&file, "# new\n 0123456789abcdef \n\nshort\n").unwrap();
    let variables = [
        ("SLUICE__ACCESS__TOKENS", "token-of-the-first-caller,x"),
        ("SLUICE__ACCESS__TOKENS_FILE", file.to_str().unwrap()),
    ];
    let settings = Loader::new().variables(variables).load().unwrap();
    let tokens: Vec<_> = settings.access.tokens.iter().map(Secret::reveal).collect();
    assert_eq!(tokens, ["token-of-the-first-caller", "x", "0123456789abcdef", "short"]);
    let warnings: Vec<_> = settings.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("access.tokens[1]"), "{warnings:?}");
    assert!(warnings[1].contains("access.tokens_file: line 4 of the file"), "{warnings:?}");
    assert!(!warnings.concat().contains("short"), "{warnings:?}");
}

#[test]
fn any_path_beside_a_gateway_causes_a_warning() {
    let warned = |any_path, upstream| {
        let variables =
            [("SLUICE__LISTEN__ANY_PATH", any_path), ("SLUICE__GATEWAY__UPSTREAM", upstream)];
        let settings = Loader::new().variables(variables).load().unwrap();
        assert_eq!(settings.listen.any_path, any_path != "off");
        settings.warnings.iter().any(|warning| warning.path.to_string() == "listen")
    };
    assert!(warned("off", "http://api:8000"));
    assert!(!warned("on", "http://api:8000") && !warned("off", ""));
}

#[test]
fn a_redis_without_a_secret_causes_a_warning() {
    let load = |text: &str| {
        with_file(text, &[])
            .warnings
            .iter()
            .map(|warning| warning.path.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(load("store: { url: redis://cache }"), ["clients"]);
    assert_eq!(
        load("{ store: { url: redis://cache }, clients: { secret: s3cret } }"),
        Vec::<String>::new()
    );
}

#[test]
fn clients_listed_in_a_file_have_the_tier() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("keys"), "# who pays\r\nbob\r\n\r\n  carol\n").unwrap();
    let path = folder.path().join("sluice.yaml");
    fs::write(&path, "tiers: { vip: { unlimited: true, clients: [alice], clients_file: keys } }")
        .unwrap();
    let settings = Loader::new().file(&path).load().unwrap();
    let parts = |client: &[u8]| {
        let request = sluice_core::Request::new(sluice_core::Client::Key(client), "GET", "/x");
        settings.policy.check(sluice_core::Action::Take, &request).unwrap().check.parts().len()
    };
    assert_eq!(
        [&b"alice"[..], b"bob", b"carol", b"dave", b"# who pays"].map(parts),
        [0, 0, 0, 1, 1]
    );
    fs::write(folder.path().join("keys"), "bob\nalice\n").unwrap();
    let expected = format!(
        "{}:1: tiers.vip.clients_file: this client is already listed at tiers.vip.clients[0]: a \
         client can have only one tier",
        path.display()
    );
    assert_eq!(errors(&Loader::new().file(&path)), [expected]);
}
