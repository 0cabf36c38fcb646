//! `sluice config show`: the merged configuration, as a file that is read as the same.

use std::{fs, path::Path};

use sluice_config::{Listen, Loader, StoreUrl};

use crate::{fixtures, limits};

/// What is shown, without the comments, which name the layers.
fn values(shown: &str) -> Vec<&str> {
    shown.lines().map(|line| line.split("  # ").next().unwrap()).collect()
}

#[test]
fn what_is_shown_is_read_as_the_same() {
    for file in fixtures::files("good") {
        let loader = Loader::new().file(&file);
        let (shown, settings) = (loader.show().unwrap(), loader.load().unwrap());
        let folder = tempfile::tempdir().unwrap();
        copy_folder(&file.parent().unwrap().join("secrets"), &folder.path().join("secrets"));
        let again = folder.path().join("again.yaml");
        fs::write(&again, &shown).unwrap();
        let loader = Loader::new().file(&again);
        assert_eq!(
            values(&loader.show().unwrap_or_else(|errors| panic!("{errors}\n{shown}"))),
            values(&shown)
        );
        let again = loader.load().unwrap();
        assert_eq!(limits(&again), limits(&settings));
        // The folders differ, and so do the paths of files.
        let listen = |listen: Listen| Listen { tls: None, ..listen };
        assert_eq!((listen(again.listen), again.log), (listen(settings.listen), settings.log));
        assert_eq!(format!("{:?}", again.identifier), format!("{:?}", settings.identifier));
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn each_value_is_shown_beside_its_origin() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sluice.yaml");
    let text = "limits:\n  - name: all\n    per: nothing\n    when: { path: [/a, /b] }\n    \
                rate: 5/second\n    burst: 9\n";
    fs::write(&file, text).unwrap();
    let loader = Loader::new().file(&file).variables([("SLUICE__STORE__TIMEOUT", "40ms")]);
    let shown = loader.flag("--listen-http", &["listen", "http"], "[::1]:80").show().unwrap();
    let name = file.display().to_string();
    let expected = [
        "  http: \"[::1]:80\"  # --listen-http".to_owned(),
        "  grpc: 0.0.0.0:8081  # built-in defaults".to_owned(),
        "  timeout: 40ms  # SLUICE__STORE__TIMEOUT".to_owned(),
        "  /api/v1/tools/execute: 40  # built-in defaults".to_owned(),
        format!("  - name: all  # {name}:2"),
        format!("      path: [/a, /b]  # {name}:4"),
        format!("    burst: 9  # {name}:6"),
    ];
    for line in expected {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
    assert!(shown.starts_with("listen:\n"), "{shown}");
}

#[test]
fn no_secret_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sluice.yaml");
    let text = "store: { url: 'redis://user:hunter2@cache/1' }\n\
                clients: { secret: hunter2 }\n\
                admin: { basic: { user: u, password: hunter2 }, bearer: { token: hunter2 } }\n\
                access: { tokens: [hunter2, hunter22] }\n\
                tiers: { pro: { multiply: 2, clients: [hunter2] } }\n";
    fs::write(&file, text).unwrap();
    let loader = Loader::new().file(&file);
    let shown = loader.show().unwrap();
    let masked = [
        "  url: redis://user:***@cache/1  #",
        "  secret: \"***\"  #",
        "    password: \"***\"  #",
        "    token: \"***\"  #",
        "    clients: []  # ",
        "  tokens: \"***\"  # ",
    ];
    for line in masked {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    assert!(shown.contains("which lists 1: not shown"), "{shown}");
    let settings = loader.load().unwrap();
    let StoreUrl::Redis(url) = &settings.store.url else { panic!("{settings:?}") };
    assert_eq!(url.reveal(), "redis://user:hunter2@cache/1");
    for text in [shown, format!("{settings:?}"), format!("{loader:?}")] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    let variables = [
        ("SLUICE__CLIENTS__SECRET", "hunter2"),
        ("SLUICE__STORE__URL", "redis://u:hunter2@cache:x"),
    ];
    let loader = Loader::new().variables(variables).flag(
        "--store-url",
        &["store", "url"],
        "redis://:hunter2@",
    );
    assert!(!format!("{loader:?} {}", loader.load().unwrap_err()).contains("hunter2"));
}
