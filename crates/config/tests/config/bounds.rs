//! An extreme file is one clear error, within bounds of memory and time: a running
//! replica reads it too, when it changes.

use std::{fs, process::Command, time::Duration};

use sluice_config::{ConfigErrors, Loader};

/// Loads a file called `name` that holds `text`, and returns its errors without the folder.
fn errors_of(name: &str, text: &str) -> ConfigErrors {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    fs::write(&file, text).unwrap();
    Loader::new().file(&file).load().unwrap_err()
}

/// The errors of a file of rules that holds `text`.
fn rule_errors_of(text: &str) -> ConfigErrors {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edge.yaml");
    fs::write(&file, text).unwrap();
    let rls = format!("{{ files: ['{}'] }}", file.display());
    Loader::new().flag("--rls", &["rls"], rls).load().unwrap_err()
}

/// Both readers of YAML refuse `text` with one error that holds `message`.
fn both_refuse(text: &str, message: &str) {
    for errors in [errors_of("sluice.yaml", text), rule_errors_of(text)] {
        assert_eq!(errors.count(), 1, "{errors}");
        assert!(errors.to_string().contains(message), "{errors}");
    }
}

#[test]
fn three_hundred_bytes_of_aliases_that_multiply() {
    let mut text = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (name, below) in ('b'..='i').zip('a'..) {
        let ten = vec![format!("*{below}"); 10].join(",");
        text.push_str(&format!("{name}: &{name} [{ten}]\n"));
    }
    assert!(text.len() < 400, "{}", text.len());
    both_refuse(&text, "with every alias written out, this is more than 1000000 values: use fewer");
}

#[test]
fn a_long_text_with_many_aliases() {
    let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 1_000].join(", "));
    both_refuse(&text, "this is more than 1000000 values");
}

#[test]
fn values_that_nest_too_deep_in_every_format() {
    both_refuse(&"- ".repeat(5_000), "1: nested more than 200 deep: flatten it");
    both_refuse(&"[".repeat(1 << 20), "1: nested more than 200 deep: flatten it");
    for (name, text) in [
        ("sluice.json", "[".repeat(1 << 20)),
        ("sluice.json", "{\"a\":".repeat(100_000)),
        ("sluice.toml", format!("a = {}", "[".repeat(1 << 20))),
        ("sluice.toml", format!("a{} = 1", ".a".repeat(1 << 20))),
    ] {
        let errors = errors_of(name, &text);
        assert_eq!(errors.count(), 1, "{errors}");
        assert!(errors.to_string().contains(&format!("{name}:1: ")), "{errors}");
    }
    let variable = ("SLUICE__LIMITS", format!("{}{}", "[".repeat(5_000), "]".repeat(5_000)));
    let errors = Loader::new().variables([variable]).load().unwrap_err();
    let expected = "SLUICE__LIMITS: nested more than 200 deep: flatten it";
    assert_eq!(errors.to_string(), expected);
}

#[test]
fn a_file_that_is_too_large() {
    let text = "# a comment\n".repeat(400_000);
    both_refuse(&text, "the file cannot be read: it is larger than 4 MiB: split or shorten it");
}

#[test]
fn half_a_million_wrong_keys() {
    let keys = |count| (0..count).map(|i| format!("{i:x}:\n")).collect::<String>();
    for errors in [
        errors_of("sluice.yaml", &keys(500_000)),
        rule_errors_of(&keys(50_000)),
        errors_of("sluice.yaml", &"a:\n".repeat(50_000)),
    ] {
        assert!(errors.count() >= 49_999, "{}", errors.count());
        let lines: Vec<String> = errors.lines().collect();
        assert_eq!(lines.len(), 101);
        assert_eq!(lines[100], format!("and {} more", errors.count() - 100));
    }
}

#[test]
fn long_lists_are_read_in_time_that_grows_with_their_length() {
    // If each item were compared with all others, this would take minutes.
    let list =
        |item: &dyn Fn(usize) -> String| (0..200_000).map(item).collect::<Vec<_>>().join(",");
    let headers = list(&|i| format!("'header:x-{i}'"));
    let upstreams = list(&|i| format!("'http://h{i}'"));
    for text in [
        format!("clients: {{ identify: [{headers},ip,ip] }}"),
        format!("gateway: {{ upstream: [{upstreams},'http://h7'] }}"),
    ] {
        let errors = errors_of("sluice.yaml", &text);
        assert_eq!(errors.count(), 1, "{errors}");
        assert!(errors.to_string().ends_with(": keep one"), "{errors}");
    }
}

#[test]
fn a_fifo_in_place_of_a_file_is_refused_at_once_also_by_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let make_fifo = |name: &str| {
        assert!(Command::new("mkfifo").arg(at(name)).status().unwrap().success());
    };
    fs::write(at("sluice.yaml"), "store: { prefix: a }").unwrap();
    let (_, watcher) = Loader::new().file(at("sluice.yaml")).load_and_watch().unwrap();
    make_fifo("fifo");
    fs::rename(at("fifo"), at("sluice.yaml")).unwrap();
    let expected = "the file cannot be read: it is not a regular file: name a file";
    let errors = Loader::new().file(at("sluice.yaml")).load().unwrap_err();
    assert!(errors.to_string().contains(expected), "{errors}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (sender, mut reloads) = tokio::sync::mpsc::unbounded_channel();
        let watching = watcher.run(Duration::from_millis(5), move |reload| {
            sender.send(reload).expect("the test waits for it");
        });
        let reload = tokio::select! {
            reload = reloads.recv() => reload.unwrap(),
            never = watching => match never {},
            () = tokio::time::sleep(Duration::from_secs(60)) => panic!("the reload hangs"),
        };
        assert!(matches!(reload, sluice_config::Reload::Refused(_)), "{reload:?}");
    });

    make_fifo("edge.yaml");
    fs::write(at("with_rules.yaml"), "rls: { files: [edge.yaml] }").unwrap();
    let errors = Loader::new().file(at("with_rules.yaml")).load().unwrap_err();
    assert!(errors.to_string().contains(expected), "{errors}");
}
