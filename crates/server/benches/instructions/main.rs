//! Counts the instructions of a decision under callgrind: in the process, and in the built binary.
//!
//! Counts do not depend on how busy the machine is, so that a slower path is seen in them where
//! times would need a quiet machine. `cargo xtask bench instructions` runs this program, reads what
//! callgrind has written, and prints it beside the counts of the last release.
//!
//! Of each subject only decisions count that follow a warm-up. Redis runs outside of valgrind, as
//! do the clients. For each subject this prints a line with its name, the number of decisions, the
//! script calls of Redis (or `-`), and the path of callgrind's file, separated by tabs.
//!
//! The arguments are `--into DIRECTORY`, and words that a subject's name must contain.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, and fails by panicking"
)]

mod case;
mod count;
#[path = "../support/envoy.rs"]
mod envoy;
#[path = "../support/grpc.rs"]
mod grpc;
mod handshake;
#[path = "../support/http_caller.rs"]
mod http_caller;
mod in_memory;
mod in_process;
mod in_server;
mod on_redis;
#[path = "../support/protocol.rs"]
mod protocol;
#[allow(dead_code, reason = "benchmarks share it, and this one needs a part")]
#[path = "../support/redis_use.rs"]
mod redis_use;
mod slow_clock;
#[path = "../support/subject.rs"]
mod subject;
#[path = "../support/mod.rs"]
mod support;
#[allow(dead_code, reason = "benchmarks share it, and this one needs a part")]
#[path = "../support/traffic.rs"]
mod traffic;
mod valgrind;

use std::{
    env,
    path::{Path, PathBuf},
};

use sluice_testkit::RedisServer;

use crate::{case::Case, count::Count};

fn main() {
    if in_process::run_if_asked().is_some() {
        return;
    }
    let mut words: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    let Some(option) = words.iter().position(|word| word == "--into") else {
        return println!("`cargo xtask bench instructions` runs this under callgrind");
    };
    let directory = words.drain(option..(option + 2).min(words.len())).nth(1);
    let directory = PathBuf::from(directory.expect("`--into` needs a directory"));
    for case in Case::ALL {
        let name = case.to_string();
        if words.iter().all(|word| name.contains(word.as_str())) {
            let count = count(case, &directory.join(format!("{}.callgrind", case.file_stem())));
            let calls = count.calls.map_or_else(|| "-".to_owned(), |calls| calls.to_string());
            println!("{name}\t{}\t{calls}\t{}", count.decisions, count.file.display());
        }
    }
}

/// Counts under callgrind, which writes into files whose names begin with that of `file`.
fn count(case: Case, file: &Path) -> Count {
    match case {
        Case::InMemory { .. } => in_process::count(case, in_memory::DECISIONS, None, file),
        Case::OnRedis { .. } => {
            let redis = RedisServer::start();
            in_process::count(case, on_redis::DECISIONS, Some(&redis), file)
        }
        Case::InServer { door, mode, traffic } => in_server::count(door, mode, traffic, file),
    }
}
