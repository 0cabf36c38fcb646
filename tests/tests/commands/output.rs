//! What holds for the output of every command.

use std::{
    io::{Read, Write},
    net::TcpListener,
    process::{Command, Stdio},
};

use serde_json::json;
use sluice_testkit::built_sluice;
use sluice_tests::command::CommandLine;

use crate::{RULES, RULES_CONFIG};

/// Commands that need no replica and print something.
const PRINTING: [&[&str]; 7] = [
    &["explain", "GET", "/", "--client", "a"],
    &["hash", "a"],
    &["config", "show"],
    &["config", "schema"],
    &["openapi"],
    &["completions", "zsh"],
    &["--help"],
];

fn printing(arguments: &[&str], out: impl Into<Stdio>) -> std::process::Output {
    Command::new(built_sluice())
        .args(arguments)
        .env_remove("SLUICE_CONFIG")
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(Stdio::piped())
        .output()
        .unwrap()
}

#[test]
fn a_reader_that_goes_away_is_no_error_to_report() {
    for arguments in PRINTING {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = printing(arguments, writer);
        assert!(ended.status.code().is_some(), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.is_empty(), "{arguments:?}: {ended:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_cannot_be_written_is_reported() {
    for arguments in PRINTING {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let ended = printing(arguments, full);
        assert_eq!(ended.status.code(), Some(1), "{arguments:?}: {ended:?}");
        let err = String::from_utf8(ended.stderr).unwrap();
        assert!(
            err.contains("the output cannot be written: No space left"),
            "{arguments:?}: {err}"
        );
    }
}

/// Whatever is in names and responses, a terminal gets no control characters.
#[test]
fn control_characters_are_printed_escaped() {
    const ESCAPE: &str = "\u{1b}[31m\u{9b}2J\u{7f}\r";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let responses = [
        format!(
            "200 OK\r\nx-ratelimit-limit: 5{}\r\n\r\n{}",
            ESCAPE.trim_end(),
            json!({ "allowed": true, "detail": format!("a{ESCAPE}\nb"),
                    "limits": [{ "name": format!("a{ESCAPE}\nb"), "remaining": ESCAPE }] })
        ),
        format!("503 x\r\n\r\n{}", json!({ "detail": format!("a{ESCAPE}\nb") })),
        format!("500 x\r\n\r\na{ESCAPE}"),
    ];
    let server = std::thread::spawn(move || {
        for response in responses {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(format!("HTTP/1.1 {response}").as_bytes()).unwrap();
        }
    });
    let hostile = format!("a{ESCAPE}");
    let entry = format!("path={hostile}");
    let flag = format!("--a{ESCAPE}");
    for (arguments, code) in [
        (&["check", &*url, "--client", "a"][..], 0),
        (&["check", &*url, "--client", "a"], 3),
        (&["check", &*url, "--client", "a"], 3),
        (&["explain", "GET", "/", "--tier", &*hostile], 0),
        (&["explain", "GET", &*hostile], 1),
        (&["explain", "--rls", "edge", &*entry], 0),
        (&["explain", "--rls", &*hostile, "a=b"], 1),
        (&["explain", "--rls", "edge", &*hostile], 2),
        (&["hash", &*hostile], 0),
        (&["config", "check", &*hostile], 78),
        (&["config", "diff", &*hostile, "sluice.yaml"], 78),
        (&["explain", &*flag], 2),
        (&[&*hostile], 2),
        (&["completions", &*hostile], 2),
    ] {
        let ended = CommandLine::new(arguments)
            .file("sluice.yaml", RULES_CONFIG)
            .file("edge.yaml", RULES)
            .run();
        assert_eq!(ended.code, code, "{arguments:?}: {ended:?}");
        let printed = format!("{}{}", ended.out, ended.err);
        assert!(
            !printed.contains(|c: char| c.is_control() && c != '\n'),
            "{arguments:?}: {ended:?}"
        );
        assert!(!printed.lines().any(|line| line == "b"), "{arguments:?}: {ended:?}");
    }
    server.join().unwrap();
}
